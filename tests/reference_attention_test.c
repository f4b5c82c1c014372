/* reference_attention_test.c: ATTENTION and the cache of the reference plugin against plain loops in long
 * double. */
#include "reference_fixture.h"

#include <tandem/fill.h>

enum { MAX_DIM = 256, MAX_HEADS = 4, MAX_ROWS = 24 };

typedef struct shape {
    uint32_t n_head, n_kv_head, head_dim, n_pair, window, type, flags;
    uint32_t with_norms, with_until;
    uint32_t start, n_rows; /* kv_fill up to start, then n_rows rows */
} shape;

typedef struct attention {
    tandem_kv *kv;
    tandem_op_attention op;
    double omega[MAX_DIM / 2];
    float q[MAX_ROWS * MAX_HEADS * MAX_DIM], k[MAX_ROWS * MAX_HEADS * MAX_DIM],
        v[MAX_ROWS * MAX_HEADS * MAX_DIM];
    float q_norm[MAX_DIM], k_norm[MAX_DIM];
    uint32_t until[MAX_ROWS];
} attention;

static tandem_kv *make_kv(const tandem_kv_layer *layers, uint32_t n_layer, uint32_t max_chunk,
                          uint32_t n_slot) {
    const tandem_kv_layer *list[8];
    for (uint32_t i = 0; i < n_layer; i++)
        list[i] = &layers[i];
    tandem_kv_desc desc = {.struct_size = sizeof desc,
                           .n_layer = n_layer,
                           .layers = list,
                           .max_chunk = max_chunk,
                           .n_slot = n_slot};
    tandem_kv *kv = NULL;
    OK(fx.api.kv_create(fx.context, &desc, &kv, &fx.error));
    return kv;
}

static tandem_kv_layer layer_of(const shape *s, uint64_t capacity) {
    return (tandem_kv_layer){.struct_size = sizeof(tandem_kv_layer),
                             .n_kv_head = s->n_kv_head,
                             .head_dim = s->head_dim,
                             .type = s->type,
                             .window = s->window,
                             .share_of = TANDEM_NONE,
                             .capacity = capacity};
}

static void make_attention(attention *a, const shape *s, uint32_t max_chunk) {
    tandem_kv_layer layer = layer_of(s, (uint64_t)s->start + s->n_rows);
    uint32_t q_width = s->n_head * s->head_dim, kv_width = s->n_kv_head * s->head_dim;
    a->kv = make_kv(&layer, 1, max_chunk, 1);
    fill_normal(a->q, s->n_rows * q_width, 2);
    fill_normal(a->k, s->n_rows * kv_width, 2);
    fill_normal(a->v, s->n_rows * kv_width, 2);
    fill_normal(a->q_norm, s->head_dim, 1);
    fill_normal(a->k_norm, s->head_dim, 1);
    for (uint32_t i = 0; i < s->n_pair; i++)
        a->omega[i] = pow(10000, -2.0 * i / s->head_dim);
    a->op = (tandem_op_attention){
        .head = head_of(sizeof a->op, TANDEM_OP_ATTENTION, TANDEM_ROWS_ALL, "attention"),
        .kv = a->kv,
        .n_head = s->n_head,
        .n_rope_pair = s->n_pair,
        .flags = s->flags,
        .scale = 0.3f,
        .eps = 1e-6f,
        .rope_omega = a->omega,
        .q = rows_view(a->q, s->n_rows, q_width, TANDEM_ROWS_ALL),
        .k = rows_view(a->k, s->n_rows, kv_width, TANDEM_ROWS_ALL),
        .out = rows_view(NULL, s->n_rows, q_width, TANDEM_ROWS_ALL)};
    if (!(s->flags & TANDEM_ATTENTION_K_IS_V))
        a->op.v = rows_view(a->v, s->n_rows, kv_width, TANDEM_ROWS_ALL);
    if (s->with_norms) {
        a->op.q_norm = vector_view(a->q_norm, s->head_dim);
        a->op.k_norm = vector_view(a->k_norm, s->head_dim);
    }
    if (s->with_until) {
        a->op.visible_until = (tandem_view){.stride = 4, .rows = TANDEM_ROWS_ALL};
        for (uint32_t i = 0; i < s->n_rows;
             i++) /* blocks of four see each other; the last reaches beyond the end */
            a->until[i] = s->start + (i / 4 + 1) * 4;
        a->op.visible_until.buffer = buffer_of(a->until, sizeof a->until);
    }
}

/* ---- the plain loops ---- */

static void naive_head(const float *x, const float *w, int norm, const shape *s, const double *omega,
                       uint32_t position, long double *y) {
    long double mean = 0, r = 1;
    for (uint32_t j = 0; j < s->head_dim; j++)
        mean += (long double)x[j] * x[j] / s->head_dim;
    if (norm)
        r = 1 / sqrtl(mean + 1e-6f);
    for (uint32_t j = 0; j < s->head_dim; j++)
        y[j] = x[j] * r * (w ? w[j] : 1);
    for (uint32_t i = 0; omega && i < s->n_pair; i++) {
        long double angle = (long double)omega[i] * position, first = y[i], second = y[i + s->head_dim / 2];
        y[i] = first * cosl(angle) - second * sinl(angle);
        y[i + s->head_dim / 2] = second * cosl(angle) + first * sinl(angle);
    }
}

/* What a stored element may differ by from the exact one. */
static double storage_error(uint32_t type, double x, double largest) {
    return type == TANDEM_TYPE_F32   ? 0x1.1p-24 * fabs(x) + 1e-12
           : type == TANDEM_TYPE_F16 ? 0x1.1p-11 * fabs(x) + 1e-7
                                     : largest / 127 * 0.52;
}

static void check_stored(const attention *a, const shape *s, const float *stored, uint32_t which) {
    const float *given = which == TANDEM_KV_K || (s->flags & TANDEM_ATTENTION_K_IS_V) ? a->k : a->v;
    for (uint32_t n = 0; n < s->n_rows * s->n_kv_head; n++) {
        long double y[MAX_DIM], largest = 0;
        uint32_t position = s->start + n / s->n_kv_head;
        const float *x = given + n * s->head_dim;
        if (which == TANDEM_KV_K)
            naive_head(x, s->with_norms ? a->k_norm : NULL, (int)s->with_norms, s, a->omega, position, y);
        else
            naive_head(x, NULL, (s->flags & TANDEM_ATTENTION_V_NORM) != 0, s, NULL, position, y);
        for (uint32_t j = 0; j < s->head_dim; j++)
            largest = fabsl(y[j]) > largest ? fabsl(y[j]) : largest;
        for (uint32_t j = 0; j < s->head_dim; j++)
            if (!(fabs(stored[n * s->head_dim + j] - (double)y[j]) <=
                  storage_error(s->type, (double)y[j], (double)largest)))
                fail_msg("stored %s row %u element %u: %.9g instead of %.9Lg", which ? "V" : "K", n, j,
                         stored[n * s->head_dim + j], y[j]);
    }
}

/* Rows [first, first + n) of the cache, K and V as the kernels see them. */
static void check_out(const attention *a, const shape *s, const float *k, const float *v, uint32_t first) {
    uint32_t dim = s->head_dim, width = s->n_kv_head * dim, end = s->start + s->n_rows;
    float out[MAX_HEADS * MAX_DIM];
    for (uint32_t i = 0; i < s->n_rows; i++) {
        uint32_t position = s->start + i, until = position + 1;
        if (s->with_until && a->until[i] > until)
            until = a->until[i] < end ? a->until[i] : end;
        uint32_t from = s->window && position + 1 > s->window ? position + 1 - s->window : 0;
        read_row(a->op.out, i, out, s->n_head * dim);
        for (uint32_t head = 0; head < s->n_head; head++) {
            uint32_t kv_head = head / (s->n_head / s->n_kv_head);
            long double q[MAX_DIM], sum = 0, max = -HUGE_VALL, expected[MAX_DIM] = {0}, terms = 0;
            static long double scores[200000];
            naive_head(a->q + (i * s->n_head + head) * dim, s->with_norms ? a->q_norm : NULL,
                       (int)s->with_norms, s, a->omega, position, q);
            for (uint32_t j = from; j < until; j++) {
                scores[j] = 0;
                for (uint32_t e = 0; e < dim; e++)
                    scores[j] += 0.3f * q[e] * k[(uint64_t)(j - first) * width + kv_head * dim + e];
                max = scores[j] > max ? scores[j] : max;
            }
            for (uint32_t j = from; j < until; j++) {
                long double weight = expl(scores[j] - max);
                sum += weight;
                for (uint32_t e = 0; e < dim; e++) {
                    long double value = v[(uint64_t)(j - first) * width + kv_head * dim + e];
                    expected[e] += weight * value;
                    terms = fabsl(value) > terms ? fabsl(value) : terms;
                }
            }
            for (uint32_t e = 0; e < dim; e++)
                if (!(fabsl(out[head * dim + e] - expected[e] / sum) <=
                      0x1.1p-24L * fabsl(expected[e] / sum) + 1e-10L * terms))
                    fail_msg("row %u head %u element %u: %.9g instead of %.9Lg", i, head, e,
                             out[head * dim + e], expected[e] / sum);
        }
    }
}

static void check_shape(const shape *s) {
    static attention a;
    const uint32_t tokens[MAX_ROWS] = {0};
    uint32_t first = s->window && s->start > s->window ? s->start - s->window : 0;
    uint32_t n_row = s->start + s->n_rows - first, width = s->n_kv_head * s->head_dim;
    float *rows[2];
    make_attention(&a, s, s->n_rows);
    OK(fx.api.kv_fill(a.kv, 0, 99, s->start, &fx.error));
    const tandem_op *ops[] = {&a.op.head};
    run_once(ops, 1, tokens, s->n_rows, s->start, TANDEM_PRECISION_EXACT);
    for (uint32_t which = 0; which < 2; which++) {
        rows[which] = malloc((uint64_t)n_row * width * sizeof(float));
        OK(fx.api.kv_read(a.kv, 0, 0, which, first, n_row, rows[which], &fx.error));
        check_stored(&a, s, rows[which] + (uint64_t)(s->start - first) * width, which);
    }
    check_out(&a, s, rows[TANDEM_KV_K], rows[TANDEM_KV_V], first);
    free(rows[0]);
    free(rows[1]);
    fx.api.kv_destroy(a.kv);
    clear();
    open_context(2, 0);
}

static void attends_like_plain_loops(void **state) {
    const uint32_t f32 = TANDEM_TYPE_F32, f16 = TANDEM_TYPE_F16, q8 = TANDEM_TYPE_Q8_0;
    const uint32_t k_is_v = TANDEM_ATTENTION_K_IS_V, v_norm = TANDEM_ATTENTION_V_NORM;
    (void)state;
    const shape shapes[] = {
        {4, 1, 256, 128, 0, f32, 0, 1, 0, 0, 24},      {4, 2, 256, 128, 0, f16, 0, 1, 0, 70, 9},
        {1, 1, 2, 1, 0, f32, 0, 0, 0, 0, 5},           {3, 3, 10, 0, 4, f32, v_norm, 0, 0, 100, 17},
        {2, 1, 16, 8, 5, f32, 0, 0, 0, 0, 17},         {4, 2, 64, 16, 20, f32, k_is_v | v_norm, 1, 0, 130, 8},
        {4, 4, 32, 16, 0, q8, 0, 1, 0, 63, 2},         {2, 1, 96, 48, 64, q8, v_norm, 1, 0, 1000, 3},
        {4, 2, 18, 9, 0, f32, 0, 1, 1, 5, 11},         {2, 2, 16, 8, 6, f16, 0, 0, 1, 40, 13},
        {2, 1, 128, 64, 32, f32, 0, 1, 0, 100003, 4},  {2, 1, 16, 8, 0, f16, 0, 1, 0, 100003, 1},
        {2, 1, 128, 64, 512, f32, 0, 1, 0, 199970, 1},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(&shapes[i]);
}

/* ---- invariances ---- */

/* Two layers, one windowed, over 200 rows in chunks of `chunk`; `ring`: window + chunk positions, else all of
 * them. */
static void run_chunks(uint32_t chunk, int ring, uint32_t n_threads, float *out) {
    enum { N = 200, DIM = 32, HEADS = 4 };
    const shape global = {HEADS, 2, DIM, 16, 0, TANDEM_TYPE_F16, 0, 0, 0, 0, N};
    const shape local = {HEADS, 2, DIM, 16, 23, TANDEM_TYPE_F32, 0, 0, 0, 0, N};
    const tandem_kv_layer layers[2] = {layer_of(&global, N), layer_of(&local, N)};
    static float q[N * HEADS * DIM], k[N * 2 * DIM];
    static double omega[16];
    static const uint32_t tokens[N];
    open_context(n_threads, 0);
    fx.seed = 3;
    fill_normal(q, N * HEADS * DIM, 1);
    fill_normal(k, N * 2 * DIM, 1);
    for (int i = 0; i < 16; i++)
        omega[i] = pow(10000, -i / 16.0);
    tandem_kv *kv = make_kv(layers, 2, ring ? chunk : N, 1);
    tandem_op_attention op[2];
    for (uint32_t l = 0; l < 2; l++)
        op[l] = (tandem_op_attention){.head = head_of(sizeof *op, TANDEM_OP_ATTENTION, TANDEM_ROWS_ALL, NULL),
                                      .kv = kv,
                                      .layer = l,
                                      .n_head = HEADS,
                                      .n_rope_pair = 16,
                                      .scale = 0.2f,
                                      .rope_omega = omega,
                                      .q = rows_view(NULL, chunk, HEADS * DIM, TANDEM_ROWS_ALL),
                                      .k = rows_view(NULL, chunk, 2 * DIM, TANDEM_ROWS_ALL),
                                      .out = rows_view(NULL, chunk, HEADS * DIM, TANDEM_ROWS_ALL)};
    op[0].v = op[1].v = op[0].k;
    op[1].q = op[0].out; /* the second layer asks with what the first one found */
    const tandem_op *ops[] = {&op[0].head, &op[1].head};
    tandem_program *program = compile(ops, 2, chunk, 0, TANDEM_PRECISION_EXACT);
    for (uint32_t at = 0; at < N; at += chunk) {
        uint32_t n = N - at < chunk ? N - at : chunk;
        tandem_run run = {.struct_size = sizeof run, .n_rows = n, .tokens = tokens, .position = at};
        OK(fx.api.buffer_write(op[0].q.buffer, 0, q + at * HEADS * DIM, n * HEADS * DIM * 4, &fx.error));
        for (int l = 0; l < 2; l++)
            OK(fx.api.buffer_write(op[l].k.buffer, 0, k + at * 2 * DIM, n * 2 * DIM * 4, &fx.error));
        OK(fx.api.run(program, &run, NULL, &fx.error));
        OK(fx.api.buffer_read(op[1].out.buffer, 0, out + at * HEADS * DIM, n * HEADS * DIM * 4, 0,
                              &fx.error));
    }
    fx.api.program_destroy(program);
    fx.api.kv_destroy(kv);
    clear();
}

static void chunks_rings_and_threads_change_no_bit(void **state) {
    static float expected[200 * 128], actual[200 * 128];
    (void)state;
    const struct {
        uint32_t chunk, n_threads;
        int ring;
    } ways[] = {{1, 1, 1}, {1, 3, 0}, {7, 2, 1}, {64, 5, 1}, {64, 1, 0}, {200, 2, 1}};
    run_chunks(200, 0, 1, expected);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        memset(actual, 0, sizeof actual);
        run_chunks(ways[i].chunk, ways[i].ring, ways[i].n_threads, actual);
        assert_memory_equal(actual, expected, sizeof expected);
    }
}

/* Sequences in two slots, their rows alternating in one run, against each sequence alone. */
static void slots_do_not_see_each_other(void **state) {
    enum { N = 12, DIM = 16 };
    (void)state;
    const shape s = {1, 1, DIM, 0, 5, TANDEM_TYPE_F32, 0, 0, 0, 0, N};
    const tandem_kv_layer layer = layer_of(&s, N);
    float x[2 * N * DIM], alone[N * DIM], row[DIM];
    tandem_row rows[2 * N];
    fill_normal(x, 2 * N * DIM, 1);
    tandem_kv *kv = make_kv(&layer, 1, N, 3);
    tandem_op_attention op = {.head = head_of(sizeof op, TANDEM_OP_ATTENTION, TANDEM_ROWS_ALL, NULL),
                              .kv = kv,
                              .n_head = 1,
                              .scale = 1,
                              .q = rows_view(x, 2 * N, DIM, TANDEM_ROWS_ALL),
                              .out = rows_view(NULL, 2 * N, DIM, TANDEM_ROWS_ALL)};
    op.k = op.v = op.q;
    const tandem_op *ops[] = {&op.head};
    tandem_program_desc desc = {
        .struct_size = sizeof desc, .n_op = 1, .ops = ops, .max_tokens = 2 * N, .max_slots = 3};
    tandem_program *program;
    OK(fx.api.program_create(fx.context, &desc, &program, &fx.error));
    for (uint32_t i = 0; i < 2 * N; i++)
        rows[i] = (tandem_row){.position = i / 2, .slot = i % 2 ? 2 : 0};
    tandem_run run = {.struct_size = sizeof run, .n_rows = 2 * N, .rows = rows};
    OK(fx.api.run(program, &run, NULL, &fx.error));

    for (uint32_t slot = 0; slot < 2; slot++) {
        for (uint32_t i = 0; i < N; i++)
            read_row(op.out, 2 * i + slot, alone + i * DIM, DIM);
        tandem_op_attention one = op;
        one.kv = make_kv(&layer, 1, N, 1);
        one.q = rows_view(NULL, N, DIM, TANDEM_ROWS_ALL);
        for (uint32_t i = 0; i < N; i++)
            OK(fx.api.buffer_write(one.q.buffer, i * one.q.stride, x + (2 * i + slot) * DIM, DIM * 4,
                                   &fx.error));
        one.k = one.v = one.q;
        one.out = rows_view(NULL, N, DIM, TANDEM_ROWS_ALL);
        const tandem_op *single[] = {&one.head};
        const uint32_t tokens[N] = {0};
        run_once(single, 1, tokens, N, 0, TANDEM_PRECISION_EXACT);
        for (uint32_t i = 0; i < N; i++) {
            read_row(one.out, i, row, DIM);
            assert_memory_equal(row, alone + i * DIM, sizeof row);
        }
        fx.api.kv_destroy(one.kv);
    }
    uint32_t length;
    OK(fx.api.kv_length(kv, 1, &length, &fx.error));
    assert_int_equal(length, 0);
    OK(fx.api.kv_length(kv, 2, &length, &fx.error));
    assert_int_equal(length, N);
    fx.api.program_destroy(program);
    fx.api.kv_destroy(kv);
}

/* A layer that shares storage, on OUT rows: the same as attention on all rows of the owner. */
static void shared_layers_read_their_owner(void **state) {
    enum { N = 9, DIM = 16 };
    (void)state;
    const shape s = {2, 1, DIM, 4, 0, TANDEM_TYPE_F32, 0, 0, 0, 0, N};
    tandem_kv_layer layers[2] = {layer_of(&s, N), layer_of(&s, N)};
    layers[1].share_of = 0;
    static attention a;
    float all[2 * DIM], some[2 * DIM];
    const tandem_out wanted[] = {{.row = 2, .target = TANDEM_NONE}, {.row = 8, .target = TANDEM_NONE}};
    const uint32_t tokens[N] = {0};
    make_attention(&a, &s, N);
    tandem_kv *kv = make_kv(layers, 2, N, 1);
    a.op.kv = kv;
    tandem_op_attention shared = a.op;
    shared.head.rows = TANDEM_ROWS_OUT;
    shared.layer = 1;
    shared.k = shared.v = shared.k_norm = (tandem_view){0};
    shared.out = rows_view(NULL, 2, 2 * DIM, TANDEM_ROWS_OUT);
    const tandem_op *ops[] = {&a.op.head, &shared.head};
    tandem_program *program = compile(ops, 2, N, 2, TANDEM_PRECISION_EXACT);
    tandem_run run = {.struct_size = sizeof run, .n_rows = N, .n_out = 2, .tokens = tokens, .out = wanted};
    OK(fx.api.run(program, &run, NULL, &fx.error));
    for (uint32_t i = 0; i < 2; i++) {
        read_row(a.op.out, wanted[i].row, all, 2 * DIM);
        read_row(shared.out, i, some, 2 * DIM);
        assert_memory_equal(all, some, sizeof all);
    }
    fx.api.program_destroy(program);
    fx.api.kv_destroy(kv);
    fx.api.kv_destroy(a.kv);
}

static void f16_storage_clamps(void **state) {
    (void)state;
    const shape s = {1, 1, 2, 0, 0, TANDEM_TYPE_F16, 0, 0, 0, 0, 1};
    static attention a;
    const uint32_t token = 0;
    float row[2];
    make_attention(&a, &s, 1);
    const float large[2] = {1e9f, -1e9f};
    OK(fx.api.buffer_write(a.op.v.buffer, 0, large, sizeof large, &fx.error));
    const tandem_op *ops[] = {&a.op.head};
    run_once(ops, 1, &token, 1, 0, TANDEM_PRECISION_EXACT);
    read_row(a.op.out, 0, row, 2);
    assert_true(row[0] == 65504 && row[1] == -65504);
    fx.api.kv_destroy(a.kv);
}

/* The option for comparing with engines that multiply position and frequency in f32. */
static void rope_f32_rounds_the_angle(void **state) {
    (void)state;
    const shape s = {1, 1, 4, 2, 8, TANDEM_TYPE_F32, 0, 0, 0, 100003, 1};
    static attention a;
    static const char *const options[] = {"reference.rope=f32"};
    tandem_host host = plain_host();
    const uint32_t token = 0;
    float row[4];
    host.n_options = 1;
    host.options = options;
    clear();
    OK(fx.query(&host, &fx.api));
    open_context(1, 0);
    make_attention(&a, &s, 1);
    OK(fx.api.kv_fill(a.kv, 0, 1, s.start, &fx.error));
    const tandem_op *ops[] = {&a.op.head};
    run_once(ops, 1, &token, 1, s.start, TANDEM_PRECISION_EXACT);
    OK(fx.api.kv_read(a.kv, 0, 0, TANDEM_KV_K, s.start, 1, row, &fx.error));
    for (int i = 0; i < 2; i++) {
        double angle = 100003.0f * (float)a.omega[i];
        assert_true(fabs(row[i] - (a.k[i] * cos(angle) - a.k[i + 2] * sin(angle))) < 1e-6);
    }
    /* omega[1] = 0.01 has no exact f32: the exact angle is another one. */
    assert_true(fabs(row[1] - (a.k[1] * cos(1000.03) - a.k[3] * sin(1000.03))) > 1e-6);
    fx.api.kv_destroy(a.kv);
    clear();
    host = plain_host();
    OK(fx.query(&host, &fx.api));
    open_context(1, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, context_setup, context_teardown)
    const struct CMUnitTest tests[] = {
        TEST(attends_like_plain_loops),    cmocka_unit_test(chunks_rings_and_threads_change_no_bit),
        TEST(slots_do_not_see_each_other), TEST(shared_layers_read_their_owner),
        TEST(f16_storage_clamps),          TEST(rope_f32_rounds_the_angle),
    };
    return cmocka_run_group_tests_name("attention of the reference", tests, fixture_open, fixture_close);
}
