/* host/peaks_rates.c: bandwidths and product rates, over growing sizes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "peaks_rig.h"
#include "progress.h"

#define MIB (UINT64_C(1) << 20)
#define MOST_SAMPLES 24u
/* Passes of small sizes in one run, so that the launch is a small part of it. */
#define PASS_BYTES (64 * MIB)
#define MOST_PASSES 16u

/* Rows and inputs repeat, so that all results can be checked against a few sums; primes, so that a plugin
 * that mixes up rows is found out. */
#define DISTINCT_ROWS 61u
#define DISTINCT_INPUTS 7u
/* What any right program may differ by; garbage has an error of about 1. */
#define ERROR_MOST 1e-8

static bool is_software(const rig *r) {
    return r->desc->info.kind == TANDEM_DEVICE_SOFTWARE;
}

/* Most bytes of one object: a quarter of what is free, so that two of them and a plugin's copies fit. */
static uint64_t size_limit(const rig *r) {
    const tandem_device_info *info = &r->desc->info;
    uint64_t most = r->desc->max_bytes ? r->desc->max_bytes : is_software(r) ? 64 * MIB : 1024 * MIB;
    uint64_t room = info->memory_free ? info->memory_free : info->memory_total;
    if (r->desc->memory_cap && r->desc->memory_cap < room)
        room = r->desc->memory_cap;
    return most < room / 4 ? most : room / 4;
}

/* ---- a ladder ---- */

typedef struct rung {
    rig *r;
    uint64_t size;
    uint32_t n_rows;
    uint32_t precision;
    double work; /* of one run: bytes or operations */
    peak_point *point;
} rung;

/* Makes program 0 and sets n_rows and work; compares what it left with what is right: point->error. */
typedef int (*rung_build)(rung *g, tandem_message *message);
typedef int (*rung_check)(rung *g, tandem_message *message);

static int sample(rung *g, uint64_t room_ns, tandem_message *message) {
    double rate[MOST_SAMPLES];
    uint64_t ns;
    int status = rig_run(g->r, 0, g->n_rows, &ns, message); /* the driver compiles at the first */
    const uint64_t start = now_ns();
    uint32_t n = 0;
    while (!status && n < MOST_SAMPLES && (n < STATS_LEAST || now_ns() - start < room_ns)) {
        status = rig_run(g->r, 0, g->n_rows, &ns, message);
        if (!status && !ns)
            return message_fail(message, TANDEM_E_UNSUPPORTED, "The plugin gives no time of a run.");
        rate[n++] = g->work * 1e9 / (double)ns;
    }
    if (status)
        return status;
    g->point->n = n;
    g->point->rate = stats_bootstrap(rate, n, g->r->desc->seed);
    return TANDEM_OK;
}

static int climb_one(rung *g, rung_build build, rung_check check, uint64_t room_ns, tandem_message *message) {
    rig_clear(g->r);
    int status = build(g, message);
    if (!status)
        status = rig_steps(g->r, 0, NULL, NULL, g->point->kernel, message);
    if (!status)
        status = sample(g, room_ns, message);
    if (!status)
        status = check(g, message);
    if (!status && !(g->point->error <= ERROR_MOST))
        return message_fail(message, TANDEM_E_INTERNAL, "%s computes wrong results (error %.1e): no peaks.",
                            g->point->kernel, g->point->error);
    return status;
}

/* Sizes from `first` on, `factor` times the one before, up to `most`, as long as there is time; `growth` is
 * what the next size costs over this one. */
typedef struct ladder_spec {
    uint64_t first, most;
    uint32_t factor, growth;
    uint32_t precision;
    rung_build build;
    rung_check check;
} ladder_spec;

/* A refusal that ends a ladder but not the measurement. */
static bool ends_ladder(int status, uint32_t n) {
    return status == TANDEM_E_OUT_OF_MEMORY || (status == TANDEM_E_UNSUPPORTED && n == 0);
}

static int climb(rig *r, const ladder_spec *spec, double seconds, peak_ladder *out, tandem_message *message) {
    const uint64_t start = now_ns(), room = (uint64_t)(seconds * 1e9);
    uint64_t before = start;
    int status = TANDEM_OK;
    *out = (peak_ladder){0};
    for (uint64_t size = spec->first; size <= spec->most && out->n < PEAKS_MAX_POINTS; size *= spec->factor) {
        const uint64_t now = now_ns(), expected = out->n ? (now - before) * spec->growth : 0;
        if (expected > room - (now - start < room ? now - start : room)) {
            snprintf(out->reason, sizeof out->reason, "it would take too long (--seconds)");
            break;
        }
        peak_point *point = &out->point[out->n];
        *point = (peak_point){.size = size};
        rung g = {.r = r, .size = size, .precision = spec->precision, .point = point};
        tandem_message why;
        status = climb_one(&g, spec->build, spec->check, room / 8, &why);
        if (ends_ladder(status, out->n)) {
            snprintf(out->reason, sizeof out->reason, "%.*s", (int)sizeof out->reason - 1, why.text);
            status = TANDEM_OK;
            break;
        }
        if (status)
            return message_fail(message, status, "%s", why.text);
        out->n++;
        before = now;
    }
    rig_clear(r);
    if (!out->n && !out->reason[0])
        snprintf(out->reason, sizeof out->reason, "not even the smallest size fits the memory");
    return TANDEM_OK;
}

/* ---- products ---- */

typedef struct product_data {
    uint32_t n_input; /* distinct rows of x */
    uint64_t n_row, n_col;
    uint8_t *rows;    /* [DISTINCT_ROWS] in the weights' format */
    float *x;         /* [n_input][n_col] */
    double *expected; /* [n_input][DISTINCT_ROWS] */
} product_data;

static void free_data(product_data *d) {
    free(d->rows);
    free(d->x);
    free(d->expected);
}

static int expect_sums(product_data *d, uint32_t type, uint32_t precision, tandem_message *message) {
    float *w = malloc(2 * d->n_col * sizeof *w), *rounded = w + d->n_col;
    if (!w)
        return message_out_of_memory(message, "a row", 2 * d->n_col * sizeof *w);
    const uint64_t row_bytes = tandem_kit_row_bytes(type, d->n_col);
    for (uint32_t i = 0; i < d->n_input; i++) {
        tandem_kit_round_activations(precision, d->x + i * d->n_col, rounded, d->n_col);
        for (uint32_t k = 0; k < DISTINCT_ROWS; k++) {
            double sum = 0;
            tandem_kit_dequantise(type, d->rows + k * row_bytes, w, d->n_col);
            for (uint64_t c = 0; c < d->n_col; c++)
                sum += (double)w[c] * (double)rounded[c];
            d->expected[i * DISTINCT_ROWS + k] = sum;
        }
    }
    free(w);
    return TANDEM_OK;
}

static int make_data(product_data *d, uint32_t type, tandem_message *message) {
    const uint64_t row_bytes = tandem_kit_row_bytes(type, d->n_col);
    float *w = malloc(d->n_col * sizeof *w);
    d->rows = malloc(DISTINCT_ROWS * row_bytes);
    d->x = malloc(d->n_input * d->n_col * sizeof *d->x);
    d->expected = malloc(d->n_input * DISTINCT_ROWS * sizeof *d->expected);
    const bool good = w && d->rows && d->x && d->expected;
    for (uint32_t k = 0; k < DISTINCT_ROWS && good; k++) {
        rig_random(w, d->n_col, k + 1);
        tandem_kit_quantise(type, w, d->rows + k * row_bytes, d->n_col);
    }
    free(w);
    if (!good)
        return message_out_of_memory(message, "a matrix", DISTINCT_ROWS * row_bytes);
    rig_random(d->x, d->n_input * d->n_col, 1000);
    return TANDEM_OK;
}

static void matrix_shape(const rung *g, product_data *d);
static uint32_t weight_type(const rung *g) {
    static const uint32_t types[] = {TANDEM_TYPE_F32, TANDEM_TYPE_F16, TANDEM_TYPE_Q8_0};
    return types[g->precision];
}

/* One product of all rows of x with the whole matrix, n_pass times over. */
static int build_product(rung *g, const product_data *d, uint32_t n_pass, tandem_message *message) {
    rig *r = g->r;
    tandem_op_matmul op = {.head = {.struct_size = sizeof op, .kind = TANDEM_OP_MATMUL}, .n_matrix = 1};
    const tandem_op *ops[MOST_PASSES];
    int status = rig_weights(r, weight_type(g), d->n_row, d->n_col, d->rows, DISTINCT_ROWS, message);
    if (!status)
        status = rig_buffer(r, g->n_rows * d->n_col * 4, d->x, d->n_input * d->n_col * 4, message);
    if (!status)
        status = rig_buffer(r, g->n_rows * d->n_row * 4, NULL, 0, message);
    if (status)
        return status;
    op.weights = r->weights;
    op.x[0] = (tandem_view){.buffer = r->buffer[0], .stride = d->n_col * 4};
    op.y[0] = (tandem_view){.buffer = r->buffer[1], .stride = d->n_row * 4};
    for (uint32_t i = 0; i < n_pass; i++)
        ops[i] = &op.head;
    return rig_program(r, ops, n_pass, g->n_rows, g->precision, message);
}

/* Every element of y: matrix row k and input i repeat. */
static int check_product(rung *g, const product_data *d, tandem_message *message) {
    float *y = malloc(d->n_row * sizeof *y);
    if (!y)
        return message_out_of_memory(message, "a row", d->n_row * sizeof *y);
    int status = TANDEM_OK;
    g->point->error = 0;
    for (uint32_t i = 0; i < g->n_rows && !status; i++) {
        double off = 0, norm = 0;
        status = rig_read(g->r, 1, (uint64_t)i * d->n_row * 4, y, d->n_row * sizeof *y, message);
        for (uint64_t k = 0; k < d->n_row && !status; k++) {
            const double want = d->expected[i % d->n_input * DISTINCT_ROWS + k % DISTINCT_ROWS];
            off += ((double)y[k] - want) * ((double)y[k] - want);
            norm += want * want;
        }
        if (!status && !(off / norm <= g->point->error)) /* NaN too */
            g->point->error = off / norm;
    }
    free(y);
    return status;
}

/* What depends on the rung alone is made anew for the check: it is cheap against the runs. */
static int with_data(rung *g, bool checking, tandem_message *message) {
    product_data d = {0};
    matrix_shape(g, &d);
    const uint64_t bytes = d.n_row * tandem_kit_row_bytes(weight_type(g), d.n_col);
    const uint64_t wanted = g->n_rows == 1 && !is_software(g->r) ? PASS_BYTES / bytes : 1;
    const uint32_t n_pass = wanted < 1 ? 1 : wanted > MOST_PASSES ? MOST_PASSES : (uint32_t)wanted;
    g->work = n_pass * (g->n_rows == 1 ? (double)bytes : 2.0 * (double)(d.n_row * d.n_col) * g->n_rows);
    int status = make_data(&d, weight_type(g), message);
    if (!status && checking)
        status = expect_sums(&d, weight_type(g), g->precision, message);
    if (!status)
        status = checking ? check_product(g, &d, message) : build_product(g, &d, n_pass, message);
    free_data(&d);
    return status;
}

#define READ_COLUMNS 4096u

/* size: bytes of an f32 matrix of one-row products (n_rows 1), or rows and columns. */
static void matrix_shape(const rung *g, product_data *d) {
    const bool reads = g->n_rows == 1;
    d->n_col = reads ? READ_COLUMNS : g->size;
    d->n_row = reads ? g->size / (READ_COLUMNS * 4) : g->size;
    d->n_input = reads ? 1 : DISTINCT_INPUTS;
}

static int build_read(rung *g, tandem_message *message) {
    g->n_rows = 1;
    return with_data(g, false, message);
}

static int build_batch(rung *g, tandem_message *message) {
    g->n_rows = is_software(g->r) ? 128 : 1024;
    return with_data(g, false, message);
}

static int check_sums(rung *g, tandem_message *message) {
    return with_data(g, true, message);
}

int peaks_read(rig *r, double seconds, peak_ladder *out, tandem_message *message) {
    const ladder_spec spec = {.first = MIB,
                              .most = size_limit(r),
                              .factor = 4,
                              .growth = 4,
                              .precision = TANDEM_PRECISION_EXACT,
                              .build = build_read,
                              .check = check_sums};
    int status = climb(r, &spec, seconds, out, message);
    out->best = out->n ? out->n - 1 : 0;
    return status;
}

int peaks_product(rig *r, uint32_t precision, double seconds, peak_ladder *out, tandem_message *message) {
    uint64_t most = is_software(r) ? 1024 : 8192;
    while (most > 256 && 4 * most * most > size_limit(r))
        most /= 2;
    const ladder_spec spec = {.first = 256,
                              .most = most,
                              .factor = 2,
                              .growth = 4,
                              .precision = precision,
                              .build = build_batch,
                              .check = check_sums};
    int status = climb(r, &spec, seconds, out, message);
    for (uint32_t i = 1; i < out->n; i++)
        if (out->point[i].rate.median > out->point[out->best].rate.median)
            out->best = i;
    return status;
}

/* ---- copies ---- */

#define COPY_ROWS 256u
#define PIECE_BYTES MIB

static int make_piece(float **piece, tandem_message *message) {
    if (!(*piece = malloc(PIECE_BYTES)))
        return message_out_of_memory(message, "a piece", PIECE_BYTES);
    rig_random(*piece, PIECE_BYTES / 4, 2000);
    return TANDEM_OK;
}

static int build_copy(rung *g, tandem_message *message) {
    rig *r = g->r;
    const uint64_t stride = g->size / COPY_ROWS;
    tandem_op_elementwise op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_COPY}, .n = (uint32_t)(stride / 4), .scale = 1};
    const tandem_op *ops[MOST_PASSES];
    const uint64_t wanted = is_software(r) ? 1 : PASS_BYTES / g->size;
    const uint32_t n_pass = wanted < 1 ? 1 : wanted > MOST_PASSES ? MOST_PASSES : (uint32_t)wanted;
    float *piece;
    g->n_rows = COPY_ROWS;
    g->work = 2.0 * n_pass * (double)g->size;
    int status = make_piece(&piece, message);
    if (!status)
        status = rig_buffer(r, g->size, piece, PIECE_BYTES, message);
    if (!status)
        status = rig_buffer(r, g->size, NULL, 0, message);
    free(piece);
    if (status)
        return status;
    op.a = (tandem_view){.buffer = r->buffer[0], .stride = stride};
    op.out = (tandem_view){.buffer = r->buffer[1], .stride = stride};
    for (uint32_t i = 0; i < n_pass; i++)
        ops[i] = &op.head;
    return rig_program(r, ops, n_pass, COPY_ROWS, TANDEM_PRECISION_EXACT, message);
}

/* First, middle and last piece, bit by bit. */
static int check_copy(rung *g, tandem_message *message) {
    const uint64_t n = g->size / PIECE_BYTES, at[] = {0, n / 2, n - 1};
    float *piece = NULL, *copied = malloc(PIECE_BYTES);
    int status =
        copied ? make_piece(&piece, message) : message_out_of_memory(message, "a piece", PIECE_BYTES);
    for (uint32_t i = 0; i < 3 && !status; i++) {
        status = rig_read(g->r, 1, at[i] * PIECE_BYTES, copied, PIECE_BYTES, message);
        if (!status && memcmp(piece, copied, PIECE_BYTES))
            g->point->error = 1;
    }
    free(piece);
    free(copied);
    return status;
}

int peaks_copy(rig *r, double seconds, peak_ladder *out, tandem_message *message) {
    const ladder_spec spec = {.first = MIB,
                              .most = size_limit(r),
                              .factor = 4,
                              .growth = 4,
                              .precision = TANDEM_PRECISION_EXACT,
                              .build = build_copy,
                              .check = check_copy};
    int status = climb(r, &spec, seconds, out, message);
    out->best = out->n ? out->n - 1 : 0;
    return status;
}
