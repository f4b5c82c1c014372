/* reference_ops_test.c: every op of the reference plugin against sums written out here in the plainest way.
 *
 * A result may differ from the exact one by its rounding to f32 and by what doubles lose on the way: 2^-24 of
 * itself and 1e-12 of the terms it is made of.
 */
#include "reference_fixture.h"

#include "reference/reference.h"

static void close_to(double actual, double expected, double terms, const char *what, uint32_t row,
                     uint32_t at) {
    if (!(fabs(actual - expected) <= 0x1.02p-24 * fabs(expected) + 1e-12 * terms + 1e-45))
        fail_msg("%s, row %u element %u: %.9g instead of %.9g", what, row, at, actual, expected);
}

static double gelu(double x) {
    return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static const uint32_t formats[] = {
    TANDEM_TYPE_F32,  TANDEM_TYPE_F16,    TANDEM_TYPE_BF16,   TANDEM_TYPE_Q4_0,
    TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q5_0,   TANDEM_TYPE_Q5_1,   TANDEM_TYPE_Q8_0,
    TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q5_K,   TANDEM_TYPE_Q6_K,   TANDEM_TYPE_Q2_K,
    TANDEM_TYPE_Q3_K, TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_IQ4_XS, TANDEM_TYPE_MXFP4};
enum { N_FORMAT = sizeof formats / sizeof *formats };

/* ---- EMBED ---- */

static void embeds_rows_of_every_format(void **state) {
    (void)state;
    const uint32_t tokens[] = {3, 0, 8, 3};
    for (uint32_t f = 0; f < N_FORMAT; f++) {
        made_matrix m;
        float row[512];
        make_matrix(&m, TANDEM_ROLE_SINGLE, formats[f], 9, 512);
        tandem_op_embed op = {.head = head_of(sizeof op, TANDEM_OP_EMBED, TANDEM_ROWS_ALL, "embed"),
                              .table = borrowed_weights(&m, 1),
                              .scale = 25.3f,
                              .out = rows_view(NULL, 4, 512, TANDEM_ROWS_ALL)};
        const tandem_op *ops[] = {&op.head};
        run_once(ops, 1, tokens, 4, 0, TANDEM_PRECISION_EXACT);
        for (uint32_t i = 0; i < 4; i++) {
            read_row(op.out, i, row, 512);
            for (uint32_t j = 0; j < 512; j++)
                close_to(row[j], 25.3f * (double)m.values[tokens[i] * 512 + j], 0,
                         tandem_kit_type(formats[f])->name, i, j);
        }
        free_matrix(&m);
    }
}

/* ---- STREAM ---- */

enum { D = 20, N_SLICE = 3, WIDTH = D * N_SLICE, STREAM_ROWS = 5 };

static void naive_norm(const double *x, const float *w, double eps, double *y) {
    double mean = 0;
    for (int j = 0; j < D; j++)
        mean += x[j] * x[j] / D;
    for (int j = 0; j < D; j++)
        y[j] = x[j] / sqrt(mean + eps) * (w ? w[j] : 1);
}

typedef struct stream_data {
    float h[STREAM_ROWS * WIDTH], a[2][STREAM_ROWS * WIDTH], w[3][D], out_w[3][D];
} stream_data;

/* n_branch 0..2; with_w: all norm vectors given. */
static void check_stream_form(uint32_t n_branch, int with_w) {
    static stream_data s;
    const uint32_t tokens[STREAM_ROWS] = {0};
    tandem_op_stream op = {.head = head_of(sizeof op, TANDEM_OP_STREAM, TANDEM_ROWS_ALL, "stream"),
                           .d = D,
                           .n_slice = N_SLICE,
                           .n_out = 3,
                           .eps = 1e-3f,
                           .scale = 0.75f,
                           .out_scale = {1, -2, 0.125f}};
    fill_normal(s.h, STREAM_ROWS * WIDTH, 100);
    op.h = rows_view(s.h, STREAM_ROWS, WIDTH, TANDEM_ROWS_ALL);
    op.out_h = rows_view(NULL, STREAM_ROWS, WIDTH, TANDEM_ROWS_ALL);
    for (uint32_t i = 0; i < 3; i++) {
        fill_normal(s.w[i], D, 1);
        fill_normal(s.out_w[i], D, 1);
        op.out[i] = rows_view(NULL, STREAM_ROWS, WIDTH, TANDEM_ROWS_ALL);
        if (with_w && (i == 0 ? n_branch > 0 : n_branch == 2))
            op.w[i] = vector_view(s.w[i], D);
        if (with_w)
            op.out_w[i] = vector_view(s.out_w[i], D);
    }
    for (uint32_t i = 0; i < n_branch; i++) {
        fill_normal(s.a[i], STREAM_ROWS * WIDTH, 3);
        op.a[i] = rows_view(s.a[i], STREAM_ROWS, WIDTH, TANDEM_ROWS_ALL);
    }
    const tandem_op *ops[] = {&op.head};
    run_once(ops, 1, tokens, STREAM_ROWS, 0, TANDEM_PRECISION_EXACT);

    for (uint32_t at = 0; at < STREAM_ROWS * WIDTH; at += D) {
        uint32_t row = at / WIDTH, from = at % WIDTH;
        double b[D] = {0}, c[D], h[D], y[D];
        float out[WIDTH];
        for (uint32_t i = 0; i < n_branch; i++) {
            for (int j = 0; j < D; j++)
                c[j] = s.a[i][at + j];
            naive_norm(c, with_w ? s.w[i] : NULL, 1e-3f, c);
            for (int j = 0; j < D; j++)
                b[j] += c[j];
        }
        if (n_branch == 2)
            naive_norm(b, with_w ? s.w[2] : NULL, 1e-3f, b);
        read_row(op.out_h, row, out, WIDTH);
        for (int j = 0; j < D; j++) {
            h[j] = 0.75 * (s.h[at + j] + b[j]);
            close_to(out[from + j], h[j], 100, "out_h", row, from + j);
        }
        for (uint32_t i = 0; i < 3; i++) {
            naive_norm(h, with_w ? s.out_w[i] : NULL, 1e-3f, y);
            read_row(op.out[i], row, out, WIDTH);
            for (int j = 0; j < D; j++)
                close_to(out[from + j], y[j] * op.out_scale[i], 10, "out", row, from + j);
        }
    }
    clear();
    open_context(2, 0);
}

static void streams_in_every_form(void **state) {
    (void)state;
    for (uint32_t n_branch = 0; n_branch <= 2; n_branch++)
        for (int with_w = 0; with_w <= 1; with_w++)
            check_stream_form(n_branch, with_w);
}

/* ---- MATMUL ---- */

/* y[i][r] = sum w[r][c] x[i][c] in long double, and the sum of the terms' magnitudes. */
static double naive_dot(const float *w, const float *x, uint32_t n, double *terms) {
    long double sum = 0;
    *terms = 0;
    for (uint32_t c = 0; c < n; c++) {
        sum += (long double)w[c] * x[c];
        *terms += fabs((double)w[c] * x[c]);
    }
    return (double)sum;
}

static void check_product(uint32_t type, uint32_t n_row, uint32_t n_col, uint32_t n_rows, uint32_t precision,
                          double amplitude, float softcap) {
    made_matrix m;
    float *x = malloc(n_rows * n_col * sizeof *x), *y = malloc(n_row * sizeof *y);
    uint32_t *tokens = calloc(n_rows, sizeof *tokens);
    make_matrix(&m, TANDEM_ROLE_SINGLE, type, n_row, n_col);
    fill_normal(x, n_rows * n_col, amplitude);
    tandem_op_matmul op = {.head = head_of(sizeof op, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, "product"),
                           .weights = borrowed_weights(&m, 1),
                           .n_matrix = 1,
                           .softcap = softcap};
    op.x[0] = rows_view(x, n_rows, n_col, TANDEM_ROWS_ALL);
    op.y[0] = rows_view(NULL, n_rows, n_row, TANDEM_ROWS_ALL);
    const tandem_op *ops[] = {&op.head};
    run_once(ops, 1, tokens, n_rows, 0, precision);
    for (uint32_t i = 0; i < n_rows; i++) {
        OK(tandem_kit_round_activations(precision, x + i * n_col, x + i * n_col, n_col));
        read_row(op.y[0], i, y, n_row);
        for (uint32_t r = 0; r < n_row; r++) {
            double terms, expected = naive_dot(m.values + r * n_col, x + i * n_col, n_col, &terms);
            if (softcap > 0)
                expected = softcap * tanh(expected / softcap);
            close_to(y[r], expected, terms, tandem_kit_type(type)->name, i, r);
        }
    }
    free_matrix(&m);
    free(x);
    free(y);
    free(tokens);
    clear();
    open_context(2, 0);
}

static void multiplies_every_format_at_every_precision(void **state) {
    (void)state;
    for (uint32_t f = 0; f < N_FORMAT; f++)
        for (uint32_t precision = TANDEM_PRECISION_EXACT; precision <= TANDEM_PRECISION_Q8; precision++) {
            check_product(formats[f], 21, 512, 1, precision, 1, 0);
            check_product(formats[f], 9, 256, 35, precision, 1e5, 0);
        }
}

static void multiplies_odd_shapes(void **state) {
    (void)state;
    for (uint32_t n_col = 1; n_col <= 19; n_col++)
        check_product(TANDEM_TYPE_F32, 1 + n_col % 3, n_col, n_col % 7 + 1, TANDEM_PRECISION_Q8, 1, 0);
    check_product(TANDEM_TYPE_Q8_0, 3, 704, 2, TANDEM_PRECISION_EXACT, 1e7, 0);
    check_product(TANDEM_TYPE_BF16, 70, 33, 64, TANDEM_PRECISION_F16, 1e7, 0);
    check_product(TANDEM_TYPE_F32, 40, 64, 3, TANDEM_PRECISION_EXACT, 30, 30);
}

/* q, k and v of one record, of different formats and heights, the first and last from one input. */
static void multiplies_three_matrices_by_two_inputs(void **state) {
    enum { N_COL = 96, ROWS = 5 };
    (void)state;
    const uint32_t tokens[ROWS] = {0}, n_row[] = {3, 20, 9, 8}, input[] = {0, 1, 0};
    made_matrix m[4];
    float x[2][ROWS * N_COL], y[20];
    make_matrix(&m[0], TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, n_row[0], N_COL);
    make_matrix(&m[1], TANDEM_ROLE_Q, TANDEM_TYPE_Q5_1, n_row[1], N_COL);
    make_matrix(&m[2], TANDEM_ROLE_K, TANDEM_TYPE_F32, n_row[2], N_COL);
    make_matrix(&m[3], TANDEM_ROLE_V, TANDEM_TYPE_Q8_0, n_row[3], N_COL);
    tandem_op_matmul op = {.head = head_of(sizeof op, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, "qkv"),
                           .weights = borrowed_weights(m, 4),
                           .first_matrix = 1,
                           .n_matrix = 3};
    for (int i = 0; i < 2; i++) {
        fill_normal(x[i], ROWS * N_COL, 1);
        op.x[i] = rows_view(x[i], ROWS, N_COL, TANDEM_ROWS_ALL);
    }
    op.x[2] = op.x[0];
    for (int i = 0; i < 3; i++)
        op.y[i] = rows_view(NULL, ROWS, n_row[i + 1], TANDEM_ROWS_ALL);
    const tandem_op *ops[] = {&op.head};
    run_once(ops, 1, tokens, ROWS, 0, TANDEM_PRECISION_EXACT);
    for (uint32_t n = 0; n < 3; n++)
        for (uint32_t i = 0; i < ROWS; i++) {
            read_row(op.y[n], i, y, n_row[n + 1]);
            for (uint32_t r = 0; r < n_row[n + 1]; r++) {
                double terms,
                    expected = naive_dot(m[n + 1].values + r * N_COL, x[input[n]] + i * N_COL, N_COL, &terms);
                close_to(y[r], expected, terms, "one of three products", i, r);
            }
        }
    for (int i = 0; i < 4; i++)
        free_matrix(&m[i]);
}

/* GLU as a pair of matrices and as one, with a prologue; all rows equal what STREAM and plain products give.
 */
static void glu_and_prologue_are_their_parts(void **state) {
    enum { N_COL = 64, N_ROW = 11, ROWS = 6 };
    (void)state;
    made_matrix m[2];
    const uint32_t tokens[ROWS] = {0};
    float h[ROWS * N_COL], a[ROWS * N_COL], w[N_COL], norm[N_COL], y[N_ROW], joined[N_ROW], parts[2][N_ROW];
    make_matrix(&m[0], TANDEM_ROLE_GATE, TANDEM_TYPE_F16, N_ROW, N_COL);
    make_matrix(&m[1], TANDEM_ROLE_UP, TANDEM_TYPE_F16, N_ROW, N_COL);
    fill_normal(h, ROWS * N_COL, 10);
    fill_normal(a, ROWS * N_COL, 1);
    fill_normal(w, N_COL, 1);

    tandem_op_stream stream = {.head = head_of(sizeof stream, TANDEM_OP_STREAM, TANDEM_ROWS_ALL, "norm"),
                               .d = N_COL,
                               .n_out = 2,
                               .eps = 1e-6f,
                               .scale = 1,
                               .out_scale = {5, 1}};
    stream.h = rows_view(h, ROWS, N_COL, TANDEM_ROWS_ALL);
    stream.a[0] = rows_view(a, ROWS, N_COL, TANDEM_ROWS_ALL);
    stream.out_w[1] = vector_view(w, N_COL);
    tandem_op_stream prologue = stream; /* its normed rows are the plugin's own */
    prologue.out_h = rows_view(NULL, ROWS, N_COL, TANDEM_ROWS_ALL);
    for (int i = 0; i < 2; i++)
        stream.out[i] = rows_view(NULL, ROWS, N_COL, TANDEM_ROWS_ALL);

    tandem_op_matmul pair = {.head = head_of(sizeof pair, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, "pair"),
                             .weights = borrowed_weights(m, 2),
                             .n_matrix = 2,
                             .activation = TANDEM_ACT_GELU_GLU,
                             .x_output = {1},
                             .prologue = &prologue};
    pair.y[0] = rows_view(NULL, ROWS, N_ROW, TANDEM_ROWS_ALL);
    tandem_op_matmul plain = {.head = head_of(sizeof plain, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, "plain"),
                              .weights = pair.weights,
                              .n_matrix = 2};
    plain.x[0] = plain.x[1] = stream.out[1];
    for (int i = 0; i < 2; i++)
        plain.y[i] = rows_view(NULL, ROWS, N_ROW, TANDEM_ROWS_ALL);

    made_matrix both = {
        .role = TANDEM_ROLE_GATE_UP, .type = TANDEM_TYPE_F16, .n_row = 2 * N_ROW, .n_col = N_COL};
    both.bytes = malloc(2 * N_ROW * N_COL * 2);
    for (int i = 0; i < 2; i++)
        memcpy(both.bytes + i * N_ROW * N_COL * 2, m[i].bytes, N_ROW * N_COL * 2);
    tandem_op_matmul one = pair;
    one.weights = borrowed_weights(&both, 1);
    one.n_matrix = 1;
    one.y[0] = rows_view(NULL, ROWS, N_ROW, TANDEM_ROWS_ALL);
    tandem_op_stream second = prologue;
    second.out_h = (tandem_view){0};
    one.prologue = &second;

    const tandem_op *ops[] = {&stream.head, &pair.head, &plain.head, &one.head};
    run_once(ops, 4, tokens, ROWS, 0, TANDEM_PRECISION_Q8);
    for (uint32_t i = 0; i < ROWS; i++) {
        read_row(stream.out[1], i, norm, N_COL);
        OK(tandem_kit_round_activations(TANDEM_PRECISION_Q8, norm, norm, N_COL));
        read_row(pair.y[0], i, y, N_ROW);
        read_row(one.y[0], i, joined, N_ROW);
        for (int p = 0; p < 2; p++)
            read_row(plain.y[p], i, parts[p], N_ROW);
        assert_memory_equal(y, joined, sizeof y);
        for (uint32_t r = 0; r < N_ROW; r++) {
            double terms, product[2];
            for (int p = 0; p < 2; p++) {
                product[p] = naive_dot(m[p].values + r * N_COL, norm, N_COL, &terms);
                close_to(parts[p][r], product[p], terms, "plain product", i, r);
            }
            close_to(y[r], gelu(product[0]) * product[1], terms * terms, "GLU", i, r);
        }
        read_row(prologue.out_h, i, norm, N_COL);
        double mean = 0;
        for (int c = 0; c < N_COL; c++)
            mean += (double)a[i * N_COL + c] * a[i * N_COL + c] / N_COL;
        for (uint32_t c = 0; c < N_COL; c++)
            close_to(norm[c], h[i * N_COL + c] + a[i * N_COL + c] / sqrt(mean + 1e-6f), 10,
                     "prologue's out_h", i, c);
    }
    free(both.bytes);
    free_matrix(&m[0]);
    free_matrix(&m[1]);
}

/* The wide kernel is only faster: the same bits at every length and number of rows, for every finite input.
 */
static void dot_kernels_agree_to_the_bit(void **state) {
    (void)state;
    ref_dot_fn wide = ref_dot_avx2();
    if (!wide)
        skip();
    for (uint32_t n = 0; n < 70; n++)
        for (uint32_t n_x = 1; n_x <= 9; n_x++) {
            float w[70];
            double x[9 * 71], a[9], b[9];
            for (uint32_t i = 0; i < n; i++)
                w[i] = (float)(test_normal(&fx.seed) * exp(60 * test_normal(&fx.seed)));
            for (uint32_t i = 0; i < 9 * 71; i++)
                x[i] = (float)(test_normal(&fx.seed) * exp(10 * test_normal(&fx.seed)));
            ref_dot_plain(w, x, 71, n_x, n, a);
            wide(w, x, 71, n_x, n, b);
            assert_memory_equal(a, b, n_x * sizeof *a);
        }
}

/* ---- the small ops ---- */

static void small_ops_match_and_work_in_place(void **state) {
    enum { N = 37, ROWS = 3 };
    (void)state;
    const uint32_t tokens[ROWS] = {0},
                   kinds[] = {TANDEM_OP_GLU, TANDEM_OP_ADD, TANDEM_OP_SCALE, TANDEM_OP_COPY};
    float a[ROWS * N], b[ROWS * N], out[N];
    for (uint32_t k = 0; k < 4; k++)
        for (int in_place = 0; in_place <= 1; in_place++) {
            fill_normal(a, ROWS * N, k == 0 ? 4 : 1e30);
            fill_normal(b, ROWS * N, 1);
            tandem_op_elementwise op = {.head = head_of(sizeof op, kinds[k], TANDEM_ROWS_ALL, "small"),
                                        .n = N,
                                        .scale = 0.3f,
                                        .a = rows_view(a, ROWS, N, TANDEM_ROWS_ALL)};
            op.out = in_place ? op.a : rows_view(NULL, ROWS, N, TANDEM_ROWS_ALL);
            if (kinds[k] == TANDEM_OP_GLU || kinds[k] == TANDEM_OP_ADD)
                op.b = rows_view(b, ROWS, N, TANDEM_ROWS_ALL);
            const tandem_op *ops[] = {&op.head};
            run_once(ops, 1, tokens, ROWS, 0, TANDEM_PRECISION_EXACT);
            for (uint32_t i = 0; i < ROWS; i++) {
                read_row(op.out, i, out, N);
                for (uint32_t j = 0; j < N; j++) {
                    double x = a[i * N + j], y = b[i * N + j];
                    double expected = kinds[k] == TANDEM_OP_GLU     ? gelu(x) * y
                                      : kinds[k] == TANDEM_OP_ADD   ? 0.3f * (x + y)
                                      : kinds[k] == TANDEM_OP_SCALE ? 0.3f * x
                                                                    : x;
                    close_to(out[j], expected, fabs(x), "small op", i, j);
                }
            }
        }
}

static void gelu_is_finite_everywhere(void **state) {
    (void)state;
    const uint32_t token = 0;
    float x[] = {-3, -1, 0.5f, 1, 3, 3.4e38f, -3.4e38f, 1e-45f, 0}, one[9], y[9];
    const double expected[] = {-0.0036374, -0.1588080, 0.3457140, 0.8411920, 2.9963626, 3.4e38, 0, 0, 0};
    for (int i = 0; i < 9; i++)
        one[i] = 1;
    tandem_op_elementwise op = {.head = head_of(sizeof op, TANDEM_OP_GLU, TANDEM_ROWS_ALL, NULL),
                                .n = 9,
                                .a = rows_view(x, 1, 9, TANDEM_ROWS_ALL),
                                .b = rows_view(one, 1, 9, TANDEM_ROWS_ALL),
                                .out = rows_view(NULL, 1, 9, TANDEM_ROWS_ALL)};
    const tandem_op *ops[] = {&op.head};
    run_once(ops, 1, &token, 1, 0, TANDEM_PRECISION_EXACT);
    read_row(op.out, 0, y, 9);
    for (int i = 0; i < 9; i++)
        assert_true(fabs(y[i] - expected[i]) <= 6e-8 + 1e-7 * fabs(expected[i]));
}

/* ---- TOPK ---- */

static void run_topk(const float *x, uint32_t n, uint32_t k, uint32_t target, unsigned char *out) {
    const uint32_t token = 0;
    const tandem_out wanted = {.row = 0, .target = target};
    tandem_op_topk op = {.head = head_of(sizeof op, TANDEM_OP_TOPK, TANDEM_ROWS_OUT, "top"),
                         .n = n,
                         .k = k,
                         .x = rows_view(x, 1, n, TANDEM_ROWS_ALL),
                         .out = rows_view(NULL, 1, 2 * k + 2, TANDEM_ROWS_OUT)};
    const tandem_op *ops[] = {&op.head};
    tandem_program *program = compile(ops, 1, 1, 1, TANDEM_PRECISION_EXACT);
    tandem_run run = {.struct_size = sizeof run, .n_rows = 1, .n_out = 1, .tokens = &token, .out = &wanted};
    OK(fx.api.run(program, &run, NULL, &fx.error));
    OK(fx.api.buffer_read(op.out.buffer, 0, out, 8 * k + 8, 0, &fx.error));
    fx.api.program_destroy(program);
}

static void topk_breaks_ties_and_sinks_nan(void **state) {
    (void)state;
    const float x[] = {1, NAN, 7, 7, -INFINITY, 7, 2, NAN, -0.0f, 0.0f};
    const uint32_t expected[] = {2, 3, 5, 6, 0, 8, 9, 4, 1, 7};
    unsigned char out[88];
    uint32_t id[10];
    float value[10], target;
    run_topk(x, 10, 10, 6, out);
    memcpy(id, out, sizeof id);
    memcpy(value, out + 40, sizeof value);
    memcpy(&target, out + 84, sizeof target);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(id[i], expected[i]);
        assert_memory_equal(&value[i], &x[expected[i]], sizeof *value);
    }
    assert_true(target == 2);
}

static int by_value(const void *a, const void *b) {
    const float *x = *(const float *const *)a, *y = *(const float *const *)b;
    return *x != *y ? (*x < *y) - (*x > *y) : (x > y) - (x < y);
}

static void topk_sorts_and_sums_a_long_row(void **state) {
    enum { N = 5000, K = 64 };
    (void)state;
    static float x[N];
    static const float *order[N];
    unsigned char out[8 * K + 8];
    uint32_t id[K];
    float rest[2];
    double sum = 0;
    for (uint32_t i = 0; i < N; i++) {
        x[i] = rintf((float)(300 * test_normal(&fx.seed))); /* many ties */
        order[i] = &x[i];
    }
    qsort(order, N, sizeof *order, by_value);
    for (uint32_t i = 0; i < N; i++)
        sum += exp((double)x[i] - *order[0]);
    run_topk(x, N, K, TANDEM_NONE, out);
    memcpy(id, out, sizeof id);
    memcpy(rest, out + 8 * K, sizeof rest);
    for (int i = 0; i < K; i++)
        assert_int_equal(id[i], order[i] - x);
    close_to(rest[0], *order[0] + log(sum), 1, "logsumexp", 0, 0);
    assert_true(rest[1] == 0);
}

static void logsumexp_of_extremes(void **state) {
    (void)state;
    const float low[] = {-INFINITY, -INFINITY}, large[] = {3.4e38f, 3.4e38f}, high[] = {INFINITY, 0};
    const float *rows[] = {low, large, high};
    const float expected[] = {-INFINITY, 3.4e38f, INFINITY};
    for (int i = 0; i < 3; i++) {
        unsigned char out[16];
        float sum;
        run_topk(rows[i], 2, 1, TANDEM_NONE, out);
        memcpy(&sum, out + 8, sizeof sum);
        assert_true(sum == expected[i]);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, context_setup, context_teardown)
    const struct CMUnitTest tests[] = {
        TEST(embeds_rows_of_every_format),
        TEST(streams_in_every_form),
        TEST(multiplies_every_format_at_every_precision),
        TEST(multiplies_odd_shapes),
        TEST(multiplies_three_matrices_by_two_inputs),
        TEST(glu_and_prologue_are_their_parts),
        TEST(dot_kernels_agree_to_the_bit),
        TEST(small_ops_match_and_work_in_place),
        TEST(gelu_is_finite_everywhere),
        TEST(topk_breaks_ties_and_sinks_nan),
        TEST(topk_sorts_and_sums_a_long_row),
        TEST(logsumexp_of_extremes),
    };
    return cmocka_run_group_tests_name("ops of the reference", tests, fixture_open, fixture_close);
}
