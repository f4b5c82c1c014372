/* product.c: see product.h. */
#include "product.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/base.h>
#include <tandem/device.h>
#include <tandem/quants.h>

static void *allocate(uint64_t bytes) {
    void *p = calloc(1, bytes ? bytes : 1);
    if (!p)
        bench_die("out of memory", 0);
    return p;
}

/* xorshift64*, uniform in [-1, 1). */
static float next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (float)((double)(*state * UINT64_C(2685821657736338717) >> 40) / (1 << 23) - 1);
}

static bench_buffer upload_new(const bench_device *device, const void *from, uint64_t bytes) {
    bench_buffer buffer = bench_buffer_create(device, bytes);
    bench_upload(device, &buffer, from, bytes);
    return buffer;
}

/* GGUF rows of random weights. Few distinct rows are quantised; the others repeat them, since only the bits
 * matter. */
static uint8_t *random_matrix(const tandem_kit_pack *pack, uint64_t *state) {
    enum { DISTINCT = 48 };
    uint8_t *gguf = allocate(pack->n_row * pack->row_bytes);
    float *row = allocate((uint64_t)pack->n_col * sizeof *row);
    for (uint64_t r = 0; r < pack->n_row; r++) {
        uint8_t *to = gguf + r * pack->row_bytes;
        if (r >= DISTINCT) {
            memcpy(to, gguf + (r * 7 % DISTINCT) * pack->row_bytes, pack->row_bytes);
            continue;
        }
        for (uint32_t c = 0; c < pack->n_col; c++)
            row[c] = 0.05f * next_random(state) + 0.01f;
        if (tandem_kit_quantise(pack->type, row, to, pack->n_col) != TANDEM_OK)
            bench_die("a format that cannot be written", (int)pack->type);
    }
    free(row);
    return gguf;
}

/* Packs in odd ranges, so that groups are filled from both ends. */
static void upload_matrix(const bench_device *device, product *p, uint32_t which, const uint8_t *gguf) {
    const tandem_kit_pack *pack = &p->pack;
    if (pack->n_segment > PRODUCT_MAX_SEGMENTS)
        bench_die("too many segments", (int)pack->n_segment);
    uint64_t addresses[PRODUCT_MAX_SEGMENTS];
    for (uint32_t s = 0; s < pack->n_segment; s++) {
        uint64_t bytes = tandem_kit_pack_segment_bytes(pack, s);
        uint64_t first = (uint64_t)s << pack->segment_shift;
        uint64_t end = first + (UINT64_C(1) << pack->segment_shift);
        uint8_t *packed = allocate(bytes);
        end = end < pack->n_row ? end : pack->n_row;
        for (uint64_t r = first, n; r < end; r += n) {
            n = end - r < 13 ? end - r : 13;
            tandem_kit_pack_rows(pack, r, n, gguf + r * pack->row_bytes,
                                 packed + tandem_kit_pack_offset(pack, r));
        }
        p->segments[which][s] = upload_new(device, packed, bytes);
        addresses[s] = p->segments[which][s].address;
        free(packed);
    }
    p->tables[which] = upload_new(device, addresses, pack->n_segment * sizeof addresses[0]);
}

static double gelu(double x) {
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

/* Rows of y from rounded x and dequantised W, in double. */
static void compute_expected(product *p, const uint8_t *const gguf[2], const float *x) {
    const product_desc *d = &p->desc;
    uint32_t n = d->n_col;
    float *w = allocate((uint64_t)n * 2 * sizeof *w);
    float *rounded = allocate((uint64_t)d->n_tok * n * sizeof *rounded);
    for (uint32_t i = 0; i < d->n_tok; i++)
        tandem_kit_round_activations(d->precision, x + (uint64_t)(d->gather ? 2 * i : i) * p->x_stride / 4,
                                     rounded + (uint64_t)i * n, n);
    for (uint32_t r = 0; r < d->n_row; r++) {
        uint64_t up = d->form == PRODUCT_GATE_UP ? r + d->n_row : r;
        tandem_kit_dequantise(d->type, gguf[0] + r * p->pack.row_bytes, w, n);
        if (d->form != PRODUCT_PLAIN)
            tandem_kit_dequantise(d->type, gguf[1] + up * p->pack.row_bytes, w + n, n);
        for (uint32_t i = 0; i < d->n_tok; i++) {
            double sum[2] = {0, 0};
            for (uint32_t c = 0; c < n; c++) {
                sum[0] += (double)w[c] * rounded[(uint64_t)i * n + c];
                sum[1] += d->form != PRODUCT_PLAIN ? (double)w[n + c] * rounded[(uint64_t)i * n + c] : 0;
            }
            double y = d->form != PRODUCT_PLAIN ? gelu(sum[0]) * sum[1] : sum[0];
            p->expected[(uint64_t)i * d->n_row + r] = d->softcap > 0 ? d->softcap * tanh(y / d->softcap) : y;
        }
    }
    free(rounded);
    free(w);
}

/* x with rubbish between the rows, which a product must not look at. */
static float *random_inputs(product *p, uint64_t *state) {
    float *x = allocate((uint64_t)p->n_x_row * p->x_stride);
    for (uint32_t i = 0; i < p->n_x_row; i++)
        for (uint32_t c = 0; c < p->x_stride / 4; c++)
            x[(uint64_t)i * p->x_stride / 4 + c] =
                c < p->desc.n_col ? p->desc.amplitude * (next_random(state) + 0.1f) : NAN;
    return x;
}

static void round_inputs(const bench_device *device, const char *shaders, product *p) {
    char path[512];
    uint32_t groups = (p->desc.n_col + 31) / 32;
    p->q8 = bench_buffer_create(device, (uint64_t)p->desc.n_tok * Q8_ROW_BYTES(p->desc.n_col));
    quantise_push push = {.x = p->x.address,
                          .q8 = p->q8.address,
                          .rows = p->desc.gather ? p->rows.address : 0,
                          .n_tok = p->n_tok.address,
                          .n_col = p->desc.n_col,
                          .x_stride = p->x_stride,
                          .rows_per_tok = 1};
    snprintf(path, sizeof path, "%s/quantise_q8.spv", shaders);
    bench_pipeline pipeline = bench_pipeline_create(device, path, sizeof push, NULL, 0);
    bench_run(device, &pipeline, &push, (groups + QUANTISE_GROUPS - 1) / QUANTISE_GROUPS, p->desc.n_tok,
              BENCH_DEVICE_TIME);
    bench_pipeline_destroy(device, &pipeline);
}

product product_create(const bench_device *device, const char *shaders, const product_desc *desc) {
    product p = {.desc = *desc};
    uint64_t state = 88172645463325252ull + desc->type * 977 + desc->n_col;
    uint64_t n_weight_row = (uint64_t)desc->n_row * (desc->form == PRODUCT_GATE_UP ? 2 : 1);
    uint64_t limit = desc->max_segment_bytes ? desc->max_segment_bytes : UINT64_C(1) << 31;
    if (!tandem_kit_pack_init(&p.pack, desc->type, n_weight_row, desc->n_col, limit))
        bench_die("tandem_kit_pack_init refuses the matrix", (int)desc->type);
    uint8_t *gguf[2] = {random_matrix(&p.pack, &state), NULL};
    gguf[1] = desc->form == PRODUCT_GLU ? random_matrix(&p.pack, &state) : gguf[0];
    upload_matrix(device, &p, 0, gguf[0]);
    if (desc->form == PRODUCT_GLU)
        upload_matrix(device, &p, 1, gguf[1]);

    p.n_x_row = desc->gather ? 2 * desc->n_tok : desc->n_tok;
    p.x_stride = (desc->n_col * 4 + 15) / 16 * 16 + 16;
    p.y_stride = desc->n_row * 4 + 4;
    uint32_t *rows = allocate(desc->n_tok * sizeof *rows);
    for (uint32_t i = 0; i < desc->n_tok; i++)
        rows[i] = 2 * i;
    float *x = random_inputs(&p, &state);
    p.x = upload_new(device, x, (uint64_t)p.n_x_row * p.x_stride);
    p.rows = upload_new(device, rows, desc->n_tok * sizeof *rows);
    p.n_tok = upload_new(device, &desc->n_tok, sizeof desc->n_tok);
    p.y = bench_buffer_create(device, (uint64_t)desc->n_tok * p.y_stride);
    if (desc->precision == TANDEM_PRECISION_Q8)
        round_inputs(device, shaders, &p);
    if (desc->expected) {
        p.expected = allocate((uint64_t)desc->n_tok * desc->n_row * sizeof *p.expected);
        compute_expected(&p, (const uint8_t *const *)gguf, x);
    }
    free(x);
    free(rows);
    if (gguf[1] != gguf[0])
        free(gguf[1]);
    free(gguf[0]);
    return p;
}

void product_destroy(const bench_device *device, product *p) {
    for (uint32_t m = 0; m < 2; m++) {
        for (uint32_t s = 0; s < p->pack.n_segment; s++)
            bench_buffer_destroy(device, &p->segments[m][s]);
        bench_buffer_destroy(device, &p->tables[m]);
    }
    bench_buffer_destroy(device, &p->x);
    bench_buffer_destroy(device, &p->q8);
    bench_buffer_destroy(device, &p->y);
    bench_buffer_destroy(device, &p->rows);
    bench_buffer_destroy(device, &p->n_tok);
    free(p->expected);
    *p = (product){0};
}

vk_matmul_plan product_plan(const bench_device *device, const product *p, uint32_t kind, uint32_t int64,
                            uint32_t software, uint32_t n_unit) {
    vk_matmul_request request = {.kind = kind,
                                 .precision = p->desc.precision,
                                 .n_tok = p->desc.n_tok,
                                 .glu = p->desc.form != PRODUCT_PLAIN,
                                 .n_row = p->desc.n_row};
    vk_policy_facts facts = {.kind = software ? TANDEM_DEVICE_SOFTWARE : TANDEM_DEVICE_GPU,
                             .shape = VK_SHAPE_BY_KIND,
                             .n_unit = n_unit,
                             .max_local = 256,
                             .subgroup_size = device->subgroup_size,
                             .counts_loops = device->software,
                             .dot_accelerated = !software,
                             .int64 = int64};
    vk_policy policy = vk_policy_make(&facts);
    vk_matmul_plan plan;
    if (!vk_matmul_plan_make(&plan, &p->pack, &request, &policy))
        bench_die("no plan for a product", (int)p->desc.type);
    return plan;
}

bench_pipeline product_pipeline(const bench_device *device, const char *shaders, const vk_matmul_plan *plan) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.spv", shaders, plan->shader);
    return bench_pipeline_create(device, path, sizeof(matmul_push), plan->spec, N_SPEC_MATMUL);
}

matmul_push product_push(const product *p) {
    const product_desc *d = &p->desc;
    bool q8 = d->precision == TANDEM_PRECISION_Q8;
    return (matmul_push){.table = p->tables[0].address,
                         .table_up = p->tables[d->form == PRODUCT_GLU ? 1 : 0].address,
                         .x = q8 ? p->q8.address : p->x.address,
                         .y = p->y.address,
                         .rows = d->gather && !q8 ? p->rows.address : 0,
                         .n_tok = p->n_tok.address,
                         .n_row = d->n_row,
                         .n_col = d->n_col,
                         .x_stride = q8 ? Q8_ROW_BYTES(d->n_col) : p->x_stride,
                         .y_stride = p->y_stride,
                         .segment_shift = p->pack.segment_shift,
                         .up_row = d->form == PRODUCT_GATE_UP ? d->n_row : 0,
                         .softcap = d->softcap};
}

double product_error(const bench_device *device, const product *p) {
    uint64_t stride = p->y_stride / 4;
    float *y = allocate((uint64_t)p->desc.n_tok * p->y_stride);
    bench_download(device, &p->y, y, (uint64_t)p->desc.n_tok * p->y_stride);
    double worst = 0;
    for (uint32_t i = 0; i < p->desc.n_tok; i++) {
        double error = 0, norm = 0;
        for (uint32_t r = 0; r < p->desc.n_row; r++) {
            double want = p->expected[(uint64_t)i * p->desc.n_row + r];
            double off = y[i * stride + r] - want;
            error += off * off;
            norm += want * want;
        }
        double share = norm > 0 ? error / norm : error;
        if (!(share <= worst))
            worst = isnan(share) ? INFINITY : share;
    }
    free(y);
    return worst;
}
