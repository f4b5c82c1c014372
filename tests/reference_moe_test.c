/* reference_moe_test.c: MOE_ROUTE and MOE_FFN of the reference plugin against loops written out here in the
 * plainest way, and what they promise about rows, threads, records and cost. */
#include <sys/mman.h>
#include <unistd.h>

#include <tandem/growth.h>

#include "reference_fixture.h"

static void close_to(double actual, double expected, double terms, const char *what, uint32_t row,
                     uint32_t at) {
    if (!(fabs(actual - expected) <= 0x1.02p-24 * fabs(expected) + 1e-12 * terms + 1e-45))
        fail_msg("%s, row %u element %u: %.9g instead of %.9g", what, row, at, actual, expected);
}

static double gelu(double x) {
    return x / 2 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double naive_dot(const float *w, const float *x, uint32_t n) {
    long double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += (long double)w[c] * x[c];
    return (double)sum;
}

/* ---- MOE_ROUTE ---- */

enum { MAX_EXPERT = 128, MAX_USED = 128, MAX_ROW = 40, MAX_IN = 128 };

typedef struct routing {
    made_matrix router;
    tandem_op_moe_route op;
    uint32_t n_rows;
    float x[MAX_ROW * MAX_IN], scale[MAX_EXPERT];
    uint32_t id[MAX_ROW][MAX_USED]; /* what came out */
    float weight[MAX_ROW][MAX_USED];
} routing;

static void make_routing(routing *r, uint32_t type, uint32_t n_expert, uint32_t n_used, uint32_t n_col,
                         uint32_t n_rows, double amplitude) {
    make_matrix(&r->router, TANDEM_ROLE_SINGLE, type, n_expert, n_col);
    fill_normal(r->x, n_rows * n_col, amplitude);
    fill_normal(r->scale, n_expert, 1);
    r->n_rows = n_rows;
    r->op =
        (tandem_op_moe_route){.head = head_of(sizeof r->op, TANDEM_OP_MOE_ROUTE, TANDEM_ROWS_ALL, "route"),
                              .weights = borrowed_weights(&r->router, 1),
                              .n_used = n_used};
}

/* Buffers of the op; x, scale and imposed as they are now. */
static void connect_routing(routing *r, int with_scale, const uint32_t *imposed) {
    uint32_t n_used = r->op.n_used, n_expert = r->router.n_row;
    r->op.x = rows_view(r->x, r->n_rows, r->router.n_col, TANDEM_ROWS_ALL);
    r->op.route = rows_view(NULL, r->n_rows, 2 * n_used, TANDEM_ROWS_ALL);
    r->op.probabilities = rows_view(NULL, r->n_rows, n_expert, TANDEM_ROWS_ALL);
    if (with_scale)
        r->op.expert_scale = vector_view(r->scale, n_expert);
    if (imposed)
        r->op.imposed = (tandem_view){.buffer = buffer_of(imposed, (uint64_t)r->n_rows * n_used * 4),
                                      .stride = n_used * 4};
}

static void run_routing(routing *r, uint32_t precision) {
    static const uint32_t tokens[MAX_ROW];
    const tandem_op *ops[] = {&r->op.head};
    run_once(ops, 1, tokens, r->n_rows, 0, precision);
    for (uint32_t i = 0; i < r->n_rows; i++) {
        uint32_t n_used = r->op.n_used, row[2 * MAX_USED];
        OK(fx.api.buffer_read(r->op.route.buffer, i * r->op.route.stride, row, 8 * n_used, 0, &fx.error));
        memcpy(r->id[i], row, 4 * n_used);
        memcpy(r->weight[i], row + n_used, 4 * n_used);
    }
}

static void naive_probabilities(const routing *r, uint32_t row, double *z, double *p) {
    uint32_t n = r->router.n_row, n_col = r->router.n_col;
    double max = -INFINITY, sum = 0;
    for (uint32_t e = 0; e < n; e++) {
        z[e] = naive_dot(r->router.values + e * n_col, r->x + row * n_col, n_col);
        max = fmax(max, z[e]);
    }
    for (uint32_t e = 0; e < n; e++)
        sum += exp(z[e] - max);
    for (uint32_t e = 0; e < n; e++)
        p[e] = exp(z[e] - max) / sum;
}

/* The expert that comes j-th: the largest not taken yet, the lowest index of equal ones. */
static uint32_t naive_pick(const double *z, uint32_t n, uint8_t *taken) {
    uint32_t best = TANDEM_NONE;
    for (uint32_t e = 0; e < n; e++)
        if (!taken[e] && (best == TANDEM_NONE || z[e] > z[best]))
            best = e;
    taken[best] = 1;
    return best;
}

/* Row i against the loops; ids: those that must have been used, NULL: the router's choice. */
static void check_route(routing *r, uint32_t i, int with_scale, const uint32_t *ids) {
    uint32_t n_expert = r->router.n_row, n_used = r->op.n_used, chosen[MAX_USED];
    double z[MAX_EXPERT], p[MAX_EXPERT], sum = 0;
    uint8_t taken[MAX_EXPERT] = {0};
    float out[MAX_EXPERT];
    naive_probabilities(r, i, z, p);
    for (uint32_t j = 0; j < n_used; j++) {
        chosen[j] = ids ? ids[j] : naive_pick(z, n_expert, taken);
        assert_int_equal(r->id[i][j], chosen[j]);
        sum += p[chosen[j]];
    }
    sum = fmax(sum, 6.103515625e-5);
    for (uint32_t j = 0; j < n_used; j++)
        close_to(r->weight[i][j], p[chosen[j]] / sum * (with_scale ? r->scale[chosen[j]] : 1),
                 1e3 * p[chosen[j]] / sum, "weight", i, j);
    read_row(r->op.probabilities, i, out, n_expert);
    for (uint32_t e = 0; e < n_expert; e++)
        close_to(out[e], p[e], 1e3 * p[e], "probability", i, e);
}

static void end_routing(routing *r) {
    free_matrix(&r->router);
    clear();
    open_context(2, 0);
}

static routing shared_routing;

static void routes_like_plain_loops(void **state) {
    (void)state;
    static const struct {
        uint32_t type, n_expert, n_used, n_col, n_rows;
    } shapes[] = {
        {TANDEM_TYPE_F32, 1, 1, 64, 3},     {TANDEM_TYPE_F32, 4, 4, 33, 7},
        {TANDEM_TYPE_F16, 8, 1, 64, 1},     {TANDEM_TYPE_Q8_0, 8, 8, 96, 17},
        {TANDEM_TYPE_F32, 128, 8, 128, 40}, {TANDEM_TYPE_BF16, 128, 128, 64, 2},
        {TANDEM_TYPE_Q4_0, 100, 3, 64, 33},
    };
    routing *r = &shared_routing;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (uint32_t precision = TANDEM_PRECISION_EXACT; precision <= TANDEM_PRECISION_Q8; precision++) {
            int with_scale = precision != TANDEM_PRECISION_F16;
            make_routing(r, shapes[s].type, shapes[s].n_expert, shapes[s].n_used, shapes[s].n_col,
                         shapes[s].n_rows, 2);
            connect_routing(r, with_scale, NULL);
            run_routing(r, precision); /* the router is exact in every precision */
            for (uint32_t i = 0; i < r->n_rows; i++)
                check_route(r, i, with_scale, NULL);
            end_routing(r);
        }
}

static void equal_experts_take_the_lower_index(void **state) {
    (void)state;
    routing *r = &shared_routing;
    make_routing(r, TANDEM_TYPE_F32, 16, 5, 64, 3, 1);
    for (uint32_t e = 0; e < 16;
         e++) /* four different rows, four times over; Q is borrowed, so it changes too */
        memcpy(r->router.values + e * 64, r->router.values + e % 4 * 64, 64 * sizeof(float));
    memcpy(r->router.bytes, r->router.values, 16 * 64 * sizeof(float));
    memset(r->x + 64, 0, 64 * sizeof(float)); /* row 1: all equal */
    r->x[2 * 64 + 7] = NAN;                   /* row 2: no number at all */
    connect_routing(r, 0, NULL);
    run_routing(r, TANDEM_PRECISION_EXACT);
    check_route(r, 0, 0, NULL);
    for (uint32_t j = 1; j < 4; j++)
        assert_int_equal(r->id[0][j], r->id[0][0] + 4 * j);
    check_route(r, 1, 0, (const uint32_t[]){0, 1, 2, 3, 4});
    for (uint32_t j = 0; j < 5; j++) {
        assert_int_equal(r->id[2][j], j);
        assert_true(isnan(r->weight[2][j]));
    }
    end_routing(r);
}

static void huge_logits_choose_one_expert_and_order_the_rest(void **state) {
    (void)state;
    routing *r = &shared_routing;
    make_routing(r, TANDEM_TYPE_F32, 64, 64, 128, 4, 1e7);
    connect_routing(r, 0, NULL);
    run_routing(r, TANDEM_PRECISION_EXACT);
    for (uint32_t i = 0; i < 4; i++) {
        check_route(r, i, 0, NULL);
        assert_true(r->weight[i][0] == 1 && r->weight[i][1] == 0);
    }
    end_routing(r);
}

static void imposed_ids_get_the_weights_of_this_run(void **state) {
    enum { EXPERTS = 12, USED = 3, ROWS = 6 };
    (void)state;
    routing *r = &shared_routing;
    const uint32_t imposed[ROWS][USED] = {{11, 0, 5},      {TANDEM_NONE, 0, 0}, {4, 4, 2},
                                          {3, EXPERTS, 1}, {7, TANDEM_NONE, 8}, {UINT32_MAX - 1, 0, 1}};
    make_routing(r, TANDEM_TYPE_F32, EXPERTS, USED, 64, ROWS, 3);
    connect_routing(r, 1, imposed[0]);
    run_routing(r, TANDEM_PRECISION_EXACT);
    check_route(r, 0, 1, imposed[0]);
    check_route(r, 1, 1, NULL);
    check_route(r, 2, 1, imposed[2]); /* twice the same: its probability counts twice */
    /* Ids of no expert: nobody's memory is read for them, and the weight shows it. */
    assert_true(isnan(r->weight[3][1]) && isfinite(r->weight[3][0]) && isfinite(r->weight[3][2]));
    assert_true(isnan(r->weight[4][1]));
    assert_true(isnan(r->weight[5][0]));
    end_routing(r);
}

/* The chosen probabilities are divided by 2^-14 at least, so that the least likely experts get small weights.
 */
static void unlikely_experts_are_not_blown_up(void **state) {
    (void)state;
    routing *r = &shared_routing;
    uint32_t least[2] = {0, 0};
    double z[MAX_EXPERT], p[MAX_EXPERT];
    make_routing(r, TANDEM_TYPE_F32, 32, 2, 64, 1, 8);
    naive_probabilities(r, 0, z, p);
    for (uint32_t e = 0; e < 32; e++)
        if (p[e] < p[least[0]]) {
            least[1] = least[0];
            least[0] = e;
        }
    assert_true(p[least[0]] + p[least[1]] < 6e-6);
    connect_routing(r, 0, least);
    run_routing(r, TANDEM_PRECISION_EXACT);
    check_route(r, 0, 0, least);
    assert_true(r->weight[0][0] + r->weight[0][1] < 0.1f);
    end_routing(r);
}

/* ---- MOE_FFN ---- */

typedef struct experts {
    uint32_t n, n_matrix, n_in, width, n_out;
    made_matrix m[MAX_EXPERT][3];
    tandem_weights *weights;
    tandem_op_moe_ffn op;
    uint32_t n_rows;
    float x[MAX_ROW * MAX_IN];
    uint32_t route[MAX_ROW][2 * MAX_USED]; /* ids, then weights */
} experts;

static void set_route(experts *x, uint32_t row, uint32_t j, uint32_t id, float weight) {
    x->route[row][j] = id;
    memcpy(&x->route[row][x->op.n_used + j], &weight, sizeof weight);
}

static float weight_of(const experts *x, uint32_t row, uint32_t j) {
    float weight;
    memcpy(&weight, &x->route[row][x->op.n_used + j], sizeof weight);
    return weight;
}

/* types: of gate_up and down, or of gate, up and down. Every row goes to n_used different experts at random.
 */
static void make_experts(experts *x, uint32_t n, uint32_t n_matrix, const uint32_t *types, uint32_t n_in,
                         uint32_t width, uint32_t n_out, uint32_t n_used, uint32_t n_rows, double amplitude) {
    *x = (experts){
        .n = n, .n_matrix = n_matrix, .n_in = n_in, .width = width, .n_out = n_out, .n_rows = n_rows};
    for (uint32_t e = 0; e < n; e++) {
        if (n_matrix == 2) {
            make_matrix(&x->m[e][0], TANDEM_ROLE_GATE_UP, types[0], 2 * width, n_in);
        } else {
            make_matrix(&x->m[e][0], TANDEM_ROLE_GATE, types[0], width, n_in);
            make_matrix(&x->m[e][1], TANDEM_ROLE_UP, types[1], width, n_in);
        }
        make_matrix(&x->m[e][n_matrix - 1], TANDEM_ROLE_DOWN, types[n_matrix - 1], n_out, width);
    }
    x->weights = create_weights(x->m[0], n_matrix, n);
    fill_normal(x->x, n_rows * n_in, amplitude);
    x->op = (tandem_op_moe_ffn){.head = head_of(sizeof x->op, TANDEM_OP_MOE_FFN, TANDEM_ROWS_ALL, "experts"),
                                .weights = x->weights,
                                .n_used = n_used};
    for (uint32_t i = 0; i < n_rows; i++) {
        uint32_t first = (uint32_t)test_random(&fx.seed) % n;
        for (uint32_t j = 0; j < n_used; j++)
            set_route(x, i, j, (first + j * 5) % n, (float)test_normal(&fx.seed));
    }
}

static void lend_experts(experts *x) {
    for (uint32_t e = 0; e < x->n; e++)
        for (uint32_t i = 0; i < x->n_matrix; i++)
            OK(write_rows(x->weights, e, i, &x->m[e][i], 0, x->m[e][i].n_row, TANDEM_WRITE_BORROW));
}

static void connect_experts(experts *x) {
    uint32_t n = 2 * x->op.n_used;
    x->op.x = rows_view(x->x, x->n_rows, x->n_in, TANDEM_ROWS_ALL);
    x->op.route =
        (tandem_view){.buffer = buffer_of(NULL, row_stride(n) * x->n_rows), .stride = row_stride(n)};
    for (uint32_t i = 0; i < x->n_rows; i++)
        OK(fx.api.buffer_write(x->op.route.buffer, i * row_stride(n), x->route[i], 4 * n, &fx.error));
    x->op.y = rows_view(NULL, x->n_rows, x->n_out, TANDEM_ROWS_ALL);
}

static void run_experts(experts *x, uint32_t precision) {
    static const uint32_t tokens[MAX_ROW];
    const tandem_op *ops[] = {&x->op.head};
    run_once(ops, 1, tokens, x->n_rows, 0, precision);
}

/* What expert e adds to a row, unweighted. x: rounded already. terms: magnitudes. */
static void naive_expert(const experts *f, uint32_t e, uint32_t precision, const float *x, double *y,
                         double *terms) {
    const made_matrix *down = &f->m[e][f->n_matrix - 1];
    const float *gate = f->m[e][0].values;
    const float *up = f->n_matrix == 2 ? gate + f->width * f->n_in : f->m[e][1].values;
    double product[MAX_IN];
    float rounded[MAX_IN];
    for (uint32_t r = 0; r < f->width; r++) {
        product[r] =
            gelu(naive_dot(gate + r * f->n_in, x, f->n_in)) * naive_dot(up + r * f->n_in, x, f->n_in);
        rounded[r] = (float)product[r];
    }
    if (precision != TANDEM_PRECISION_EXACT) {
        OK(tandem_kit_round_activations(precision, rounded, rounded, f->width));
        for (uint32_t r = 0; r < f->width; r++)
            product[r] = rounded[r];
    }
    for (uint32_t r = 0; r < f->n_out; r++) {
        y[r] = terms[r] = 0;
        for (uint32_t c = 0; c < f->width; c++) {
            y[r] += down->values[r * f->width + c] * product[c];
            terms[r] += fabs(down->values[r * f->width + c] * product[c]);
        }
    }
}

static void check_expert_row(const experts *f, uint32_t i, uint32_t precision) {
    float x[MAX_IN], y[MAX_IN];
    double sum[MAX_IN] = {0}, terms[MAX_IN] = {0}, one[MAX_IN], one_terms[MAX_IN];
    OK(tandem_kit_round_activations(precision, f->x + i * f->n_in, x, f->n_in));
    for (uint32_t j = 0; j < f->op.n_used; j++) {
        naive_expert(f, f->route[i][j], precision, x, one, one_terms);
        for (uint32_t r = 0; r < f->n_out; r++) {
            sum[r] += weight_of(f, i, j) * one[r];
            terms[r] += fabs(weight_of(f, i, j)) * one_terms[r];
        }
    }
    read_row(f->op.y, i, y, f->n_out);
    for (uint32_t r = 0; r < f->n_out; r++)
        close_to(y[r], sum[r], terms[r], "y", i, r);
}

static void end_experts(experts *x) {
    for (uint32_t e = 0; e < x->n; e++)
        for (uint32_t i = 0; i < x->n_matrix; i++)
            free_matrix(&x->m[e][i]);
    clear();
    open_context(2, 0);
}

static experts shared_experts;

static void experts_like_plain_loops(void **state) {
    (void)state;
    static const struct {
        uint32_t n, n_matrix, types[3], n_in, width, n_out, n_used, n_rows;
    } shapes[] = {
        {8, 3, {TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q8_0}, 64, 32, 64, 2, 1},
        {8, 2, {TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q5_1, 0}, 96, 64, 33, 8, 5},
        {128, 2, {TANDEM_TYPE_Q8_0, TANDEM_TYPE_Q5_0, 0}, 64, 32, 32, 8, 5},
        {5, 3, {TANDEM_TYPE_F32, TANDEM_TYPE_BF16, TANDEM_TYPE_F16}, 37, 19, 23, 3, 40},
        {3, 2, {TANDEM_TYPE_F32, TANDEM_TYPE_F32, 0}, 1, 1, 1, 3, 7},
        {1, 3, {TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q4_1}, 128, 96, 128, 1, 35},
    };
    experts *x = &shared_experts;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (uint32_t precision = TANDEM_PRECISION_EXACT; precision <= TANDEM_PRECISION_Q8; precision++) {
            make_experts(x, shapes[s].n, shapes[s].n_matrix, shapes[s].types, shapes[s].n_in, shapes[s].width,
                         shapes[s].n_out, shapes[s].n_used, shapes[s].n_rows, precision == 0 ? 1e3 : 1);
            lend_experts(x);
            connect_experts(x);
            run_experts(x, precision);
            for (uint32_t i = 0; i < x->n_rows; i++)
                check_expert_row(x, i, precision);
            end_experts(x);
        }
}

static const uint32_t plain_types[3] = {TANDEM_TYPE_Q8_0, TANDEM_TYPE_Q8_0, TANDEM_TYPE_Q8_0};

static void all_rows_to_one_expert(void **state) {
    (void)state;
    experts *x = &shared_experts;
    make_experts(x, 16, 3, plain_types, 64, 64, 64, 2, 40, 1);
    for (uint32_t i = 0; i < 40; i++) {
        set_route(x, i, 0, 9, 0.25f);
        set_route(x, i, 1, i % 2 ? 9 : 3, 2); /* and every second one to it twice */
    }
    lend_experts(x);
    connect_experts(x);
    run_experts(x, TANDEM_PRECISION_EXACT);
    for (uint32_t i = 0; i < 40; i++)
        check_expert_row(x, i, TANDEM_PRECISION_EXACT);
    end_experts(x);
}

/* The weights of experts that nobody uses lie in pages that may not be read. */
static void experts_without_rows_are_not_read(void **state) {
    (void)state;
    experts *x = &shared_experts;
    make_experts(x, 8, 2, plain_types, 64, 32, 64, 2, 6, 1);
    for (uint32_t i = 0; i < 6; i++) {
        set_route(x, i, 0, 5, 1);
        set_route(x, i, 1, 2, -1);
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), bytes = (64 * 68 + page - 1) / page * page;
    unsigned char *pages = mmap(NULL, 16 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(pages != MAP_FAILED);
    for (uint32_t e = 0; e < 8; e++)
        for (uint32_t i = 0; i < 2; i++) {
            made_matrix lent = x->m[e][i];
            lent.bytes = pages + (2 * e + i) * bytes;
            memcpy(lent.bytes, x->m[e][i].bytes, lent.n_row * tandem_kit_row_bytes(lent.type, lent.n_col));
            OK(write_rows(x->weights, e, i, &lent, 0, lent.n_row, TANDEM_WRITE_BORROW));
            if (e != 5 && e != 2)
                assert_int_equal(mprotect(lent.bytes, bytes, PROT_NONE), 0);
        }
    connect_experts(x);
    run_experts(x, TANDEM_PRECISION_Q8);
    for (uint32_t i = 0; i < 6; i++)
        check_expert_row(x, i, TANDEM_PRECISION_Q8);
    fx.api.weights_destroy(fx.weights[--fx.n_weights]);
    munmap(pages, 16 * bytes);
    end_experts(x);
}

static void a_row_has_the_same_bits_in_every_company(void **state) {
    (void)state;
    experts *x = &shared_experts;
    static float together[MAX_ROW][64], alone[64];
    make_experts(x, 8, 3, plain_types, 64, 96, 64, 3, 40, 1);
    for (uint32_t n_thread = 1; n_thread <= 3; n_thread++) {
        clear();
        open_context(n_thread, 0);
        x->op.weights = x->weights = create_weights(x->m[0], 3, 8);
        lend_experts(x);
        x->n_rows = 40;
        connect_experts(x);
        run_experts(x, TANDEM_PRECISION_Q8);
        for (uint32_t i = 0; i < 40; i++) {
            read_row(x->op.y, i, n_thread == 1 ? together[i] : alone, 64);
            if (n_thread > 1)
                assert_memory_equal(alone, together[i], sizeof alone);
        }
        x->n_rows = 1;
        tandem_view all = x->op.x, route = x->op.route;
        for (uint32_t i = 0; i < 40; i += 13) {
            x->op.x.offset = all.offset + i * all.stride;
            x->op.route.offset = route.offset + i * route.stride;
            run_experts(x, TANDEM_PRECISION_Q8);
            read_row(x->op.y, 0, alone, 64);
            assert_memory_equal(alone, together[i], sizeof alone);
        }
    }
    end_experts(x);
}

static void a_wrong_id_spoils_its_own_row_only(void **state) {
    (void)state;
    experts *x = &shared_experts;
    float y[64];
    make_experts(x, 4, 2, plain_types, 64, 32, 64, 2, 5, 1);
    set_route(x, 1, 1, 4, 1);
    set_route(x, 3, 0, TANDEM_NONE, 0);
    lend_experts(x);
    connect_experts(x);
    run_experts(x, TANDEM_PRECISION_EXACT);
    for (uint32_t i = 0; i < 5; i++)
        if (i == 1 || i == 3) {
            read_row(x->op.y, i, y, 64);
            for (uint32_t r = 0; r < 64; r++)
                assert_true(isnan(y[r]));
        } else {
            check_expert_row(x, i, TANDEM_PRECISION_EXACT);
        }
    x->n_rows = 1; /* a run without any expert */
    x->op.x.offset = x->op.x.stride;
    set_route(x, 1, 0, 77, 1);
    OK(fx.api.buffer_write(x->op.route.buffer, 0, x->route[1], 16, &fx.error));
    run_experts(x, TANDEM_PRECISION_Q8);
    read_row(x->op.y, 0, y, 64);
    assert_true(isnan(y[0]) && isnan(y[63]));
    end_experts(x);
}

/* ---- together, and around ---- */

/* The router's choice goes on to the experts, for the wanted rows only. */
static void wanted_rows_are_routed_and_computed(void **state) {
    (void)state;
    experts *x = &shared_experts;
    routing *r = &shared_routing;
    const uint32_t tokens[6] = {0};
    const tandem_out outs[] = {{.row = 1, .target = TANDEM_NONE}, {.row = 4, .target = TANDEM_NONE}};
    make_routing(r, TANDEM_TYPE_F32, 8, 3, 64, 6, 2);
    make_experts(x, 8, 3, plain_types, 64, 32, 64, 3, 6, 1);
    memcpy(x->x, r->x, sizeof x->x);
    lend_experts(x);
    connect_routing(r, 1, NULL);
    connect_experts(x);
    r->op.head.rows = x->op.head.rows = TANDEM_ROWS_OUT;
    r->op.route.rows = r->op.probabilities.rows = x->op.y.rows = TANDEM_ROWS_OUT;
    x->op.route = r->op.route;
    const tandem_op *ops[] = {&r->op.head, &x->op.head};
    tandem_program *program = compile(ops, 2, 6, 2, TANDEM_PRECISION_EXACT);
    tandem_run run = {.struct_size = sizeof run, .n_rows = 6, .n_out = 0, .tokens = tokens};
    OK(fx.api.run(program, &run, NULL, &fx.error)); /* no row: nothing happens */
    run.n_out = 2;
    run.out = outs;
    OK(fx.api.run(program, &run, NULL, &fx.error));
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t from = outs[i].row;
        OK(fx.api.buffer_read(r->op.route.buffer, i * r->op.route.stride, x->route[i], 24, 0, &fx.error));
        memcpy(r->id[i], x->route[i], 12);
        memcpy(r->weight[i], x->route[i] + 3, 12);
        memcpy(r->x + i * 64, r->x + from * 64, 64 * sizeof(float));
        memcpy(x->x + i * 64, x->x + from * 64, 64 * sizeof(float));
        check_route(r, i, 1, NULL);
        check_expert_row(x, i, TANDEM_PRECISION_EXACT);
    }
    fx.api.program_destroy(program);
    free_matrix(&r->router);
    end_experts(x);
}

static void every_expert_must_be_written(void **state) {
    (void)state;
    experts *x = &shared_experts;
    const uint32_t token = 0;
    make_experts(x, 4, 3, plain_types, 64, 32, 64, 1, 1, 1);
    set_route(x, 0, 0, 0, 1);
    connect_experts(x);
    const tandem_op *ops[] = {&x->op.head};
    tandem_program *program = compile(ops, 1, 1, 0, TANDEM_PRECISION_EXACT);
    tandem_run run = {.struct_size = sizeof run, .n_rows = 1, .tokens = &token};
    for (uint32_t e = 0; e < 4; e++)
        for (uint32_t i = 0; i < 3; i++) {
            char words[40];
            snprintf(words, sizeof words, "record %u matrix %u", e, i);
            REFUSED(fx.api.run(program, &run, NULL, &fx.error), TANDEM_E_INVALID, words);
            assert_int_equal(fx.error.op_index, 0);
            OK(write_rows(x->weights, e, i, &x->m[e][i], 0, x->m[e][i].n_row, TANDEM_WRITE_BORROW));
        }
    OK(fx.api.run(program, &run, NULL, &fx.error));
    fx.api.program_destroy(program);
    end_experts(x);
}

static void refuses_objects_of_another_context(void **state) {
    (void)state;
    experts *x = &shared_experts;
    routing *r = &shared_routing;
    make_routing(r, TANDEM_TYPE_F32, 4, 2, 64, 2, 1);
    make_experts(x, 4, 3, plain_types, 64, 32, 64, 2, 2, 1);
    connect_routing(r, 1, (const uint32_t[]){0, 1, 2, 3});
    connect_experts(x);
    tandem_context *own = fx.context, *other = NULL;
    tandem_context_desc desc = {.struct_size = sizeof desc, .n_threads = 1};
    OK(fx.api.context_create(&desc, &other, &fx.error));
    OK(fx.api.supports(own, &r->op.head, 0, &fx.error));
    OK(fx.api.supports(own, &x->op.head, 0, &fx.error));
    REFUSED(fx.api.supports(other, &r->op.head, 0, &fx.error), TANDEM_E_INVALID, "another context");
    REFUSED(fx.api.supports(other, &x->op.head, 0, &fx.error), TANDEM_E_INVALID, "another context");
    tandem_buffer *foreign = NULL;
    tandem_buffer_desc bytes = {.struct_size = sizeof bytes, .bytes = 4096};
    OK(fx.api.buffer_create(other, &bytes, &foreign, &fx.error));
    tandem_view *views[] = {&r->op.x, &r->op.expert_scale, &r->op.imposed, &r->op.route, &r->op.probabilities,
                            &x->op.x, &x->op.route,        &x->op.y};
    for (uint32_t i = 0; i < sizeof views / sizeof *views; i++) {
        tandem_buffer *kept = views[i]->buffer;
        views[i]->buffer = foreign;
        REFUSED(fx.api.supports(own, i < 5 ? &r->op.head : &x->op.head, 0, &fx.error), TANDEM_E_INVALID,
                "another context");
        views[i]->buffer = kept;
    }
    fx.api.buffer_destroy(foreign);
    fx.api.context_destroy(other);
    free_matrix(&r->router);
    end_experts(x);
}

static tandem_program *both(experts *x, routing *r, uint32_t max_tokens, uint32_t precision) {
    const tandem_op *ops[] = {&r->op.head, &x->op.head};
    x->op.route = r->op.route;
    return compile(ops, 2, max_tokens, 0, precision);
}

static void counts_experts_bytes_and_products(void **state) {
    (void)state;
    experts *x = &shared_experts;
    routing *r = &shared_routing;
    const uint32_t tokens[10] = {0};
    make_routing(r, TANDEM_TYPE_F32, 16, 4, 64, 10, 1);
    make_experts(x, 16, 3, plain_types, 64, 32, 64, 4, 10, 1);
    lend_experts(x);
    connect_routing(r, 0, NULL);
    connect_experts(x);
    tandem_program *program = both(x, r, 10, TANDEM_PRECISION_Q8);
    const uint64_t record = 32 * 68 * 2 + 64 * 34;
    for (uint32_t n = 1; n <= 10; n += 3) {
        tandem_run run = {.struct_size = sizeof run, .n_rows = n, .tokens = tokens};
        tandem_cost c[2] = {{.struct_size = sizeof *c}, {.struct_size = sizeof *c}};
        tandem_cost *const costs[] = {&c[0], &c[1]};
        OK(fx.api.program_cost(program, &run, costs, 2, &fx.error));
        uint64_t n_expert = n * 4 < 16 ? n * 4 : 16;
        assert_int_equal(c[0].weight_bytes, 16 * 64 * 4);
        assert_int_equal(c[0].flops, 2 * n * 16 * 64);
        assert_int_equal(c[0].n_expert, 0);
        assert_int_equal(c[1].n_expert, n_expert);
        assert_int_equal(c[1].weight_bytes, n_expert * record);
        assert_int_equal(c[1].weight_bytes_min, n_expert * record);
        assert_int_equal(c[1].flops, 2 * n * 4 * 3 * 32 * 64);
        assert_true(c[1].activation_bytes >= n * (2 * 64 * 4 + 32));
        assert_int_equal(c[1].host_bytes + c[1].kv_bytes, 0);
        /* A host of the first version has no n_expert. */
        c[1].struct_size = TANDEM_KIT_MIN_tandem_cost;
        c[1].n_expert = 77;
        OK(fx.api.program_cost(program, &run, costs, 2, &fx.error));
        assert_int_equal(c[1].struct_size, TANDEM_KIT_MIN_tandem_cost);
        assert_int_equal(c[1].n_expert, 77);
    }
    tandem_step step = {.struct_size = sizeof step};
    OK(fx.api.program_step(program, 0, &step, &fx.error));
    assert_string_equal(step.kernel, "moe_route_f32_exact");
    OK(fx.api.program_step(program, 1, &step, &fx.error));
    assert_string_equal(step.kernel, "moe_ffn_q8_0_q8");
    fx.api.program_destroy(program);
    free_matrix(&r->router);
    end_experts(x);
}

/* Records move while runs are pending: the same bits, and the accounts follow. */
static void records_move_between_pending_runs(void **state) {
    (void)state;
    experts *x = &shared_experts;
    routing *r = &shared_routing;
    const uint32_t tokens[8] = {0};
    float first[64], again[64];
    make_routing(r, TANDEM_TYPE_F32, 8, 2, 64, 8, 1);
    make_experts(x, 8, 3, plain_types, 64, 32, 64, 2, 8, 1);
    for (uint32_t e = 0; e < 8; e++) /* copied, so that there is something to account for */
        for (uint32_t i = 0; i < 3; i++)
            OK(write_rows(x->weights, e, i, &x->m[e][i], 0, x->m[e][i].n_row, 0));
    connect_routing(r, 0, NULL);
    connect_experts(x);
    tandem_program *program = both(x, r, 8, TANDEM_PRECISION_EXACT);
    tandem_run run = {.struct_size = sizeof run, .n_rows = 8, .tokens = tokens};
    OK(fx.api.run(program, &run, NULL, &fx.error));
    read_row(x->op.y, 7, first, 64);
    const uint64_t record = 32 * 68 * 2 + 64 * 34;
    for (uint32_t e = 0; e < 12; e++) {
        tandem_ticket moved = 0;
        tandem_weights_info info = {.struct_size = sizeof info};
        OK(fx.api.run(program, &run, NULL, &fx.error));
        OK(fx.api.weights_place(x->weights, e % 8, e < 8 ? TANDEM_PLACE_HOST : TANDEM_PLACE_DEVICE, &moved,
                                &fx.error));
        OK(fx.api.run(program, &run, NULL, &fx.error));
        OK(fx.api.weights_info(x->weights, &info, &fx.error));
        assert_int_equal(info.host_bytes, (e < 8 ? e + 1 : 15 - e) * record);
        assert_int_equal(info.host_bytes + info.device_bytes, 8 * record);
        read_row(x->op.y, 7, again, 64);
        assert_memory_equal(first, again, sizeof first);
        OK(fx.api.wait(fx.context, moved, 0, &fx.error)); /* the read waited for the run behind it */
    }
    fx.api.program_destroy(program);
    free_matrix(&r->router);
    end_experts(x);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, context_setup, context_teardown)
    const struct CMUnitTest tests[] = {
        TEST(routes_like_plain_loops),
        TEST(equal_experts_take_the_lower_index),
        TEST(huge_logits_choose_one_expert_and_order_the_rest),
        TEST(imposed_ids_get_the_weights_of_this_run),
        TEST(unlikely_experts_are_not_blown_up),
        TEST(experts_like_plain_loops),
        TEST(all_rows_to_one_expert),
        TEST(experts_without_rows_are_not_read),
        TEST(a_row_has_the_same_bits_in_every_company),
        TEST(a_wrong_id_spoils_its_own_row_only),
        TEST(wanted_rows_are_routed_and_computed),
        TEST(every_expert_must_be_written),
        TEST(refuses_objects_of_another_context),
        TEST(counts_experts_bytes_and_products),
        TEST(records_move_between_pending_runs),
    };
    return cmocka_run_group_tests_name("experts of the reference", tests, fixture_open, fixture_close);
}
