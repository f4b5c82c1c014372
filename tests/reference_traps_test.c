/* reference_traps_test.c: what other engines have got wrong in Gemma 4's layers with experts. Each test is
 * named after the truth; it computes the layer in plain loops, once as it is and once as it was got wrong,
 * and the plugin's result must be the first and visibly not the second. (What went wrong with shared memory,
 * with experts left on the host, and with results that did not repeat: tests/cases/moe_ffn.c and
 * reference_moe_test.c.) */
#include "reference_fixture.h"

enum { D = 64, D_FF = 96, WIDTH = 32, N_EXPERT = 16, N_USED = 4, ROWS = 3 };

/* The mistakes. */
typedef enum trap {
    NONE,
    ROUTER_READS_THE_EXPERTS_INPUT,
    ROUTER_WITHOUT_ROOT_OF_WIDTH,
    ROUTER_WITHOUT_ITS_SCALE,
    SCALE_BEFORE_RENORMALISATION,
    SCALE_FORGOTTEN,
    WEIGHTS_NOT_RENORMALISED,
    ONE_NORM_FOR_BOTH_BRANCHES,
    SUM_NOT_NORMED,
    SCALAR_ON_THE_BRANCH_ONLY,
    UP_BEFORE_GATE,
    GELU_WITHOUT_TANH,
    SILU,
} trap;

typedef struct layer {
    float h[ROWS * D];
    float dense_in[D], experts_in[D], router_in[D], dense_out[D], experts_out[D], sum_out[D],
        expert_scale[N_EXPERT];
    made_matrix gate_up, down, router, expert[N_EXPERT][2];
    float scalar;
    float out[ROWS * D], branch[ROWS * D], probabilities[ROWS * N_EXPERT], weights[ROWS * N_USED];
} layer;

static layer shared;

/* ---- as plain loops ---- */

static void norm(const double *x, const float *w, double *y) {
    double mean = 0;
    for (int i = 0; i < D; i++)
        mean += x[i] * x[i] / D;
    for (int i = 0; i < D; i++)
        y[i] = x[i] / sqrt(mean + 1e-6) * (w ? w[i] : 1);
}

static void product(const made_matrix *m, uint32_t first_row, uint32_t n_row, const double *x, double *y) {
    for (uint32_t r = 0; r < n_row; r++) {
        y[r] = 0;
        for (uint32_t c = 0; c < m->n_col; c++)
            y[r] += m->values[(first_row + r) * m->n_col + c] * x[c];
    }
}

static double activate(double x, trap t) {
    if (t == SILU)
        return x / (1 + exp(-x));
    if (t == GELU_WITHOUT_TANH)
        return x / 2 * (1 + erf(x / sqrt(2)));
    return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* down(act(gate x) * (up x)) */
static void feed_forward(const made_matrix *gate_up, const made_matrix *down, const double *x, double *y,
                         trap t) {
    uint32_t width = gate_up->n_row / 2, gate = t == UP_BEFORE_GATE ? width : 0;
    double g[D_FF], u[D_FF];
    product(gate_up, gate, width, x, g);
    product(gate_up, width - gate, width, x, u);
    for (uint32_t i = 0; i < width; i++)
        g[i] = activate(g[i], t) * u[i];
    product(down, 0, D, g, y);
}

static void choose(const layer *l, const double *in, uint32_t *id, double *weight, trap t) {
    double z[N_EXPERT], p[N_EXPERT], all = 0, sum = 0;
    uint8_t taken[N_EXPERT] = {0};
    product(&l->router, 0, N_EXPERT, in, z);
    for (uint32_t e = 0; e < N_EXPERT; e++)
        all += p[e] = exp(z[e]);
    for (uint32_t e = 0; e < N_EXPERT; e++)
        p[e] /= all;
    for (uint32_t j = 0; j < N_USED; j++) {
        id[j] = TANDEM_NONE;
        for (uint32_t e = 0; e < N_EXPERT; e++)
            if (!taken[e] && (id[j] == TANDEM_NONE || p[e] > p[id[j]]))
                id[j] = e;
        taken[id[j]] = 1;
        weight[j] = t == SCALE_BEFORE_RENORMALISATION ? p[id[j]] * l->expert_scale[id[j]] : p[id[j]];
        sum += weight[j];
    }
    for (uint32_t j = 0; j < N_USED; j++) {
        weight[j] /= t == WEIGHTS_NOT_RENORMALISED ? 1 : sum;
        if (t != SCALE_BEFORE_RENORMALISATION && t != SCALE_FORGOTTEN)
            weight[j] *= l->expert_scale[id[j]];
    }
}

static void experts_branch(const layer *l, const double *h, double *y, trap t) {
    double in[D], router_in[D], one[D], weight[N_USED];
    uint32_t id[N_USED];
    norm(h, l->experts_in, in);
    norm(h,
         t == ROUTER_READS_THE_EXPERTS_INPUT ? l->experts_in
         : t == ROUTER_WITHOUT_ITS_SCALE     ? NULL
                                             : l->router_in,
         router_in);
    for (int i = 0; i < D && t != ROUTER_WITHOUT_ROOT_OF_WIDTH; i++)
        router_in[i] /= sqrt(D);
    choose(l, router_in, id, weight, t);
    for (int i = 0; i < D; i++)
        y[i] = 0;
    for (uint32_t j = 0; j < N_USED; j++) {
        feed_forward(&l->expert[id[j]][0], &l->expert[id[j]][1], in, one, t);
        for (int i = 0; i < D; i++)
            y[i] += weight[j] * one[i];
    }
}

/* The stream behind the layer, and what the experts add before their norm: a factor common to all weights is
 * lost in that norm. */
static void naive_row(const layer *l, uint32_t row, double *out, double *branch, trap t) {
    double h[D], in[D], dense[D], experts[D], sum[D];
    for (int i = 0; i < D; i++)
        h[i] = l->h[row * D + i];
    norm(h, l->dense_in, in);
    feed_forward(&l->gate_up, &l->down, in, dense, t);
    experts_branch(l, h, experts, t);
    memcpy(branch, experts, sizeof experts);
    if (t != ONE_NORM_FOR_BOTH_BRANCHES) {
        norm(dense, l->dense_out, dense);
        norm(experts, l->experts_out, experts);
    }
    for (int i = 0; i < D; i++)
        sum[i] = dense[i] + experts[i];
    if (t != SUM_NOT_NORMED)
        norm(sum, l->sum_out, sum);
    for (int i = 0; i < D; i++)
        out[i] = t == SCALAR_ON_THE_BRANCH_ONLY ? h[i] + l->scalar * sum[i] : l->scalar * (h[i] + sum[i]);
}

/* ---- on the plugin ---- */

static void make_layer(layer *l) {
    float *vectors[] = {l->dense_in,    l->experts_in, l->router_in,   l->dense_out,
                        l->experts_out, l->sum_out,    l->expert_scale};
    fill_normal(l->h, ROWS * D, 3);
    for (uint32_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t n = i == 6 ? N_EXPERT : D;
        fill_normal(vectors[i], n, 0.4);
        for (uint32_t j = 0; j < n; j++)
            vectors[i][j] += i == 2 ? 8 : 1; /* the router's scale undoes its 1 / sqrt(D) */
    }
    l->scalar = 0.6f;
    make_matrix(&l->gate_up, TANDEM_ROLE_GATE_UP, TANDEM_TYPE_F16, 2 * D_FF, D);
    make_matrix(&l->down, TANDEM_ROLE_DOWN, TANDEM_TYPE_F16, D, D_FF);
    make_matrix(&l->router, TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, N_EXPERT, D);
    for (uint32_t e = 0; e < N_EXPERT; e++) {
        make_matrix(&l->expert[e][0], TANDEM_ROLE_GATE_UP, TANDEM_TYPE_Q8_0, 2 * WIDTH, D);
        make_matrix(&l->expert[e][1], TANDEM_ROLE_DOWN, TANDEM_TYPE_Q5_0, D, WIDTH);
    }
}

static void free_layer(layer *l) {
    free_matrix(&l->gate_up);
    free_matrix(&l->down);
    free_matrix(&l->router);
    for (uint32_t e = 0; e < N_EXPERT; e++) {
        free_matrix(&l->expert[e][0]);
        free_matrix(&l->expert[e][1]);
    }
}

static tandem_view scratch_rows(uint32_t n) {
    return rows_view(NULL, ROWS, n, TANDEM_ROWS_ALL);
}

static tandem_op_matmul dense_op(const made_matrix *m, uint32_t activation, tandem_view x, uint32_t n_out) {
    tandem_op_matmul op = {.head = head_of(sizeof op, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, "dense"),
                           .weights = borrowed_weights(m, 1),
                           .n_matrix = 1,
                           .activation = activation,
                           .x = {x}};
    op.y[0] = scratch_rows(n_out);
    return op;
}

static tandem_weights *lent_experts(const layer *l) {
    tandem_weights *w = create_weights(l->expert[0], 2, N_EXPERT);
    for (uint32_t e = 0; e < N_EXPERT; e++)
        for (uint32_t i = 0; i < 2; i++)
            OK(write_rows(w, e, i, &l->expert[e][i], 0, l->expert[e][i].n_row, TANDEM_WRITE_BORROW));
    return w;
}

static void run_layer(layer *l) {
    static const uint32_t tokens[ROWS];
    tandem_op_stream norms = {.head = head_of(sizeof norms, TANDEM_OP_STREAM, TANDEM_ROWS_ALL, "norms"),
                              .d = D,
                              .n_out = 3,
                              .eps = 1e-6f,
                              .scale = 1,
                              .h = rows_view(l->h, ROWS, D, TANDEM_ROWS_ALL),
                              .out_scale = {1, 1, 1 / sqrtf(D)}};
    const float *const in[] = {l->dense_in, l->experts_in, l->router_in};
    for (int i = 0; i < 3; i++) {
        norms.out[i] = scratch_rows(D);
        norms.out_w[i] = vector_view(in[i], D);
    }
    tandem_op_matmul up = dense_op(&l->gate_up, TANDEM_ACT_GELU_GLU, norms.out[0], D_FF);
    tandem_op_matmul down = dense_op(&l->down, TANDEM_ACT_NONE, up.y[0], D);
    tandem_op_moe_route route = {.head = head_of(sizeof route, TANDEM_OP_MOE_ROUTE, TANDEM_ROWS_ALL, "route"),
                                 .weights = borrowed_weights(&l->router, 1),
                                 .n_used = N_USED,
                                 .x = norms.out[2],
                                 .expert_scale = vector_view(l->expert_scale, N_EXPERT),
                                 .route = scratch_rows(2 * N_USED),
                                 .probabilities = scratch_rows(N_EXPERT)};
    tandem_op_moe_ffn ffn = {.head = head_of(sizeof ffn, TANDEM_OP_MOE_FFN, TANDEM_ROWS_ALL, "experts"),
                             .weights = lent_experts(l),
                             .n_used = N_USED,
                             .x = norms.out[1],
                             .route = route.route,
                             .y = scratch_rows(D)};
    tandem_op_stream join = {
        .head = head_of(sizeof join, TANDEM_OP_STREAM, TANDEM_ROWS_ALL, "join"),
        .d = D,
        .eps = 1e-6f,
        .scale = l->scalar,
        .h = norms.h,
        .a = {down.y[0], ffn.y},
        .w = {vector_view(l->dense_out, D), vector_view(l->experts_out, D), vector_view(l->sum_out, D)},
        .out_h = scratch_rows(D)};
    const tandem_op *ops[] = {&norms.head, &up.head, &down.head, &route.head, &ffn.head, &join.head};
    run_once(ops, 6, tokens, ROWS, 0, TANDEM_PRECISION_EXACT);
    for (uint32_t i = 0; i < ROWS; i++) {
        float row[2 * N_USED];
        read_row(join.out_h, i, l->out + i * D, D);
        read_row(ffn.y, i, l->branch + i * D, D);
        read_row(route.probabilities, i, l->probabilities + i * N_EXPERT, N_EXPERT);
        read_row(route.route, i, row, 2 * N_USED);
        memcpy(l->weights + i * N_USED, row + N_USED, N_USED * sizeof *row);
    }
}

/* ---- the tests ---- */

static double distance(const float *actual, const double *expected) {
    double off = 0, size = 0;
    for (int i = 0; i < D; i++) {
        off += (actual[i] - expected[i]) * (actual[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    return off / size;
}

/* Of row `row` of the experts' branch and of the stream from the plain loops, whichever is further off. */
static double row_distance(const layer *l, uint32_t row, trap t) {
    double stream[D], branch[D];
    naive_row(l, row, stream, branch, t);
    return fmax(distance(l->out + row * D, stream), distance(l->branch + row * D, branch));
}

static void falls_into(trap t) {
    layer *l = &shared;
    make_layer(l);
    run_layer(l);
    for (uint32_t i = 0; i < ROWS; i++) {
        double off = row_distance(l, i, NONE), trapped = row_distance(l, i, t);
        if (!(off <= 1e-13))
            fail_msg("row %u is %.1e away from the plain loops", i, off);
        if (!(trapped >= 1e-9)) /* what nobody could see would be no trap */
            fail_msg("the mistake would move row %u by no more than %.1e", i, trapped);
    }
    free_layer(l);
}

#define TRAP(name, mistake)                                                                                  \
    static void name(void **state) {                                                                         \
        (void)state;                                                                                         \
        falls_into(mistake);                                                                                 \
    }

TRAP(router_reads_the_residual_under_its_own_norm, ROUTER_READS_THE_EXPERTS_INPUT)
TRAP(router_input_is_divided_by_the_root_of_the_width, ROUTER_WITHOUT_ROOT_OF_WIDTH)
TRAP(router_input_has_a_learned_scale, ROUTER_WITHOUT_ITS_SCALE)
TRAP(expert_scale_acts_after_renormalisation, SCALE_BEFORE_RENORMALISATION)
TRAP(expert_scale_is_not_forgotten, SCALE_FORGOTTEN)
TRAP(chosen_weights_are_renormalised, WEIGHTS_NOT_RENORMALISED)
TRAP(branches_have_post_norms_of_their_own, ONE_NORM_FOR_BOTH_BRANCHES)
TRAP(the_sum_of_the_branches_has_a_norm, SUM_NOT_NORMED)
TRAP(layer_scalar_multiplies_the_stream, SCALAR_ON_THE_BRANCH_ONLY)
TRAP(gate_is_the_first_half_of_gate_up, UP_BEFORE_GATE)
TRAP(gelu_is_the_tanh_form, GELU_WITHOUT_TANH)
TRAP(gelu_is_not_silu, SILU)

/* Renormalised weights would be the same; what is read for a trace would not. */
static void softmax_is_over_all_experts(void **state) {
    (void)state;
    layer *l = &shared;
    make_layer(l);
    run_layer(l);
    for (uint32_t i = 0; i < ROWS; i++) {
        double all = 0, chosen = 0;
        for (uint32_t e = 0; e < N_EXPERT; e++)
            all += l->probabilities[i * N_EXPERT + e];
        for (uint32_t j = 0; j < N_USED; j++)
            chosen += l->weights[i * N_USED + j];
        assert_true(fabs(all - 1) < 1e-6);
        assert_true(fabs(chosen - 1) > 1e-3); /* scaled after renormalisation, they need not sum to 1 */
    }
    free_layer(l);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, context_setup, context_teardown)
    const struct CMUnitTest tests[] = {
        TEST(router_reads_the_residual_under_its_own_norm),
        TEST(router_input_is_divided_by_the_root_of_the_width),
        TEST(router_input_has_a_learned_scale),
        TEST(expert_scale_acts_after_renormalisation),
        TEST(expert_scale_is_not_forgotten),
        TEST(chosen_weights_are_renormalised),
        TEST(branches_have_post_norms_of_their_own),
        TEST(the_sum_of_the_branches_has_a_norm),
        TEST(layer_scalar_multiplies_the_stream),
        TEST(gate_is_the_first_half_of_gate_up),
        TEST(gelu_is_the_tanh_form),
        TEST(gelu_is_not_silu),
        TEST(softmax_is_over_all_experts),
    };
    return cmocka_run_group_tests_name("traps of layers with experts", tests, fixture_open, fixture_close);
}
