/* MOE_FFN: rows spread over experts in every way. Experts that no row uses hold NaN in every byte, and so do
 * the ids and weights of rows that a run does not have. */
#include "cases.h"

#include "tandem/quants.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* How rows choose. */
enum { SPREAD_RANDOM, SPREAD_ONE, SPREAD_SKEWED, SPREAD_TURNS };
/* Where the route comes from. */
enum { ROUTE_HOST, ROUTE_ROUTER, ROUTE_IMPOSED };

/* Expert number j of row i; the j of one row differ. */
static uint32_t choose(const op_case *c, uint32_t i, uint32_t j) {
    uint32_t n = c->u.moe_ffn.n_expert, first = (uint32_t)(fabsf(side_random(77, i)) * 1e6f);
    switch (c->u.moe_ffn.spread) {
    case SPREAD_ONE: /* one expert takes all rows, or as many as a row uses */
        return (n / 2 + j) % n;
    case SPREAD_SKEWED: /* half of the rows go to expert 1 first, the rest where they like */
        return i % 2 ? (1 + j) % n : (first + j) % n;
    case SPREAD_TURNS:
        return (i + j) % n;
    default: /* an odd step, so that ids of a row are no neighbours; n is a power of two or coprime to 3 */
        return (first + 3 * j) % n;
    }
}

/* note: a row is uint32 id[n_used], f32 weight[n_used]. */
static void fill_route_row(const op_case *c, uint32_t i, unsigned char *row, unsigned char *poison) {
    uint32_t n_used = c->u.moe_ffn.n_used;
    for (uint32_t j = 0; j < n_used; j++) {
        uint32_t id = choose(c, i, j);
        float weight = (0.2f + fabsf(side_random(78, i * n_used + j))) / (float)n_used;
        if ((i + j) % 7 == 3)
            weight = i % 2 ? -weight : 0;
        memcpy(row + 4 * j, &id, 4);
        memcpy(row + 4 * (n_used + j), &weight, 4);
        poison[id] = 0;
    }
}

static int is_wanted(const side *s, const op_case *c, uint32_t row) {
    for (uint32_t i = 0; c->u.moe_ffn.out_set && i < c->n_out; i++)
        if (s->out[i].row == row)
            return 1;
    return !c->u.moe_ffn.out_set;
}

/* A route given by the host. Rows without an owner keep ids of no expert, and NaN for weights. */
static tandem_status host_route(side *s, const op_case *c, unsigned char *poison, tandem_view *view) {
    uint64_t stride = (8ull * c->u.moe_ffn.n_used + 15) / 16 * 16 + 16;
    unsigned char *route = side_memory(s, stride * c->max_tokens);
    memset(route, 0xff, stride * c->max_tokens);
    for (uint32_t i = 0; i < c->n_rows; i++)
        if (is_wanted(s, c, i))
            fill_route_row(c, i, route + i * stride, poison);
    *view = (tandem_view){.stride = stride};
    return side_buffer(s, route, stride * c->max_tokens, &view->buffer);
}

static tandem_status imposed_ids(side *s, const op_case *c, unsigned char *poison, tandem_view *view) {
    uint64_t n_used = c->u.moe_ffn.n_used;
    uint32_t *ids = side_memory(s, 4 * n_used * c->max_tokens);
    for (uint32_t i = 0; i < c->n_rows; i++)
        for (uint32_t j = 0; j < n_used; j++) {
            ids[i * n_used + j] = choose(c, i, j);
            poison[ids[i * n_used + j]] = 0;
        }
    *view = (tandem_view){.stride = 4 * n_used};
    return side_buffer(s, ids, 4 * n_used * c->max_tokens, &view->buffer);
}

/* The router in front: its margins are not known here, so a different id is a mistake, and the seeds are such
 * that it is one. */
static tandem_status add_router(side *s, const op_case *c, tandem_view x, unsigned char *poison,
                                tandem_view *route) {
    uint32_t set = c->u.moe_ffn.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL, n = c->u.moe_ffn.n_expert;
    uint32_t rows = set ? c->n_out : c->max_tokens, live = set ? c->n_out : c->n_rows;
    tandem_op_moe_route op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_MOE_ROUTE, .rows = set, .label = "router"},
        .n_used = c->u.moe_ffn.n_used,
        .x = x};
    const side_matrix m = {TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, n, c->u.moe_ffn.d};
    double *margin = side_memory(s, sizeof *margin * live * op.n_used);
    for (uint32_t i = 0; i < live * op.n_used; i++)
        margin[i] = INFINITY;
    SIDE_TRY(side_weights(s, 1, 1, &m, &op.weights));
    SIDE_TRY(side_vector(s, n, &op.expert_scale));
    if (c->u.moe_ffn.chain == ROUTE_IMPOSED)
        SIDE_TRY(imposed_ids(s, c, poison, &op.imposed));
    else
        memset(poison, 0, n);
    SIDE_TRY(side_route_result(s, set, rows, live, op.n_used, margin, &op.route));
    side_op(s, &op, 1);
    *route = op.route;
    return TANDEM_OK;
}

static tandem_status add_experts(side *s, const op_case *c, const unsigned char *poison,
                                 tandem_weights **weights) {
    uint64_t d = c->u.moe_ffn.d, width = c->u.moe_ffn.width;
    const uint32_t *type = c->u.moe_ffn.type;
    const side_matrix split[] = {{TANDEM_ROLE_GATE, type[0], width, d},
                                 {TANDEM_ROLE_UP, type[1], width, d},
                                 {TANDEM_ROLE_DOWN, type[2], d, width}};
    const side_matrix joined[] = {{TANDEM_ROLE_GATE_UP, type[0], 2 * width, d},
                                  {TANDEM_ROLE_DOWN, type[2], d, width}};
    int is_joined = c->u.moe_ffn.n_matrix == 2;
    return side_experts(s, c->u.moe_ffn.n_expert, c->u.moe_ffn.n_matrix, is_joined ? joined : split, poison,
                        weights);
}

static tandem_status build(side *s, const op_case *c) {
    uint32_t set = c->u.moe_ffn.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL, d = c->u.moe_ffn.d;
    uint32_t rows = set ? c->n_out : c->max_tokens, live = set ? c->n_out : c->n_rows;
    tandem_op_moe_ffn op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_MOE_FFN, .rows = set, .label = "experts"},
        .n_used = c->u.moe_ffn.n_used};
    unsigned char *poison = side_memory(s, c->u.moe_ffn.n_expert);
    memset(poison, 1, c->u.moe_ffn.n_expert);
    side_rows(s, c->n_rows, c->n_out, 1000, 0);
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, d, c->amplitude, &op.x));
    if (c->u.moe_ffn.chain == ROUTE_HOST)
        SIDE_TRY(host_route(s, c, poison, &op.route));
    else
        SIDE_TRY(add_router(s, c, op.x, poison, &op.route));
    SIDE_TRY(add_experts(s, c, poison, &op.weights));
    SIDE_TRY(side_result(s, set, rows, live, d, "y", &op.y));
    side_op(s, &op, 1);
    return TANDEM_OK;
}

/* q8: the last bit of a product that enters the down projection may tip the rounding of one element by a step
 * of its group, (10 / 127)^2 of the mean square at worst, in one of `width` elements. That is rare, so the
 * median row is judged as if it did not happen. */
static double budget_of(uint32_t precision, uint32_t width) {
    double tipped = 0.006 / width;
    return precision == TANDEM_PRECISION_EXACT ? 1e-10 : tipped > 1e-6 ? tipped : 1e-6;
}

static op_case *add(case_list *list, uint32_t type, uint32_t n_expert, uint32_t n_used, uint32_t d,
                    uint32_t width, uint32_t n_rows, uint32_t precision) {
    static const char *const precisions[] = {"exact", "f16", "q8"};
    op_case *c = case_add(list, (op_case){.build = build,
                                          .precision = precision,
                                          .n_rows = n_rows,
                                          .max_tokens = n_rows,
                                          .amplitude = 1,
                                          .budget = budget_of(precision, width),
                                          .typical = 1e-10,
                                          .kind = TANDEM_OP_MOE_FFN});
    for (uint32_t i = 0; i < 3; i++)
        c->u.moe_ffn.type[i] = type;
    c->u.moe_ffn.n_expert = n_expert;
    c->u.moe_ffn.n_used = n_used;
    c->u.moe_ffn.d = d;
    c->u.moe_ffn.width = width;
    c->u.moe_ffn.n_matrix = 2;
    snprintf(c->name, sizeof c->name, "moe_ffn %s %s, %u of %u, %u by %u, %u rows",
             tandem_kit_type(type)->name, precisions[precision], n_used, n_expert, width, d, n_rows);
    return c;
}

static void note(op_case *c, const char *what) {
    strncat(c->name, what, sizeof c->name - strlen(c->name) - 1);
}

static void set_types(op_case *c, uint32_t gate, uint32_t up, uint32_t down) {
    char mix[64];
    c->u.moe_ffn.type[0] = gate;
    c->u.moe_ffn.type[1] = up;
    c->u.moe_ffn.type[2] = down;
    snprintf(mix, sizeof mix, ", up %s, down %s", tandem_kit_type(up)->name, tandem_kit_type(down)->name);
    note(c, mix);
}

static void format_cases(case_list *list, uint32_t p) {
    static const uint32_t rows[] = {1, 17};
    for (uint32_t f = 0; f < N_CASE_FORMATS; f++) {
        uint32_t k = tandem_kit_type(case_formats[f])->block == 256;
        for (uint32_t n = 0; n < 2; n++) {
            op_case *c = add(list, case_formats[f], 8, 2, 256, k ? 256 : 96, rows[n], p);
            c->smoke = 1;
            c->u.moe_ffn.n_matrix = 2 + (f + n) % 2;
            note(c, c->u.moe_ffn.n_matrix == 2 ? ", gate and up joined" : ", gate and up apart");
        }
    }
    for (uint32_t n = 0; n < 2; n++) {
        op_case *c = add(list, TANDEM_TYPE_Q4_K, 8, 3, 512, 224, rows[n], p);
        set_types(c, TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q4_K,
                  TANDEM_TYPE_Q5_0); /* a down projection is no K-quant */
        c = add(list, TANDEM_TYPE_Q4_0, 8, 3, 320, 224, rows[n], p);
        set_types(c, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q5_1);
        c = add(list, TANDEM_TYPE_Q4_0, 8, 3, 320, 224, rows[n], p);
        set_types(c, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q8_0);
        c = add(list, TANDEM_TYPE_Q6_K, 8, 3, 256, 96, rows[n], p);
        c->u.moe_ffn.n_matrix = 3;
        set_types(c, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q4_1, TANDEM_TYPE_F16);
    }
}

static void shape_cases(case_list *list, uint32_t p) {
    static const uint32_t rows[] = {1, 2, 5, 17, 64};
    for (uint32_t n = 0; n < 5; n++) {
        add(list, TANDEM_TYPE_Q4_0, 128, 8, 256, 96, rows[n], p)->smoke = 1; /* 128 experts, 5 tokens */
        add(list, TANDEM_TYPE_Q4_0, 8, 8, 256, 96, rows[n], p);
        add(list, TANDEM_TYPE_Q8_0, 16, 1, 256, 96, rows[n], p);
        op_case *c = add(list, TANDEM_TYPE_Q4_0, 32, 1, 256, 96, rows[n], p);
        c->u.moe_ffn.spread = SPREAD_ONE;
        note(c, ", all rows to one expert");
        c = add(list, TANDEM_TYPE_Q4_0, 32, 4, 256, 96, rows[n], p);
        c->u.moe_ffn.spread = SPREAD_SKEWED;
        note(c, ", skewed");
    }
    add(list, TANDEM_TYPE_Q4_0, 4, 2, 2816, 704, 1, p)->smoke = 1; /* the 26B's matrices */
    add(list, TANDEM_TYPE_Q4_0, 4, 2, 2816, 704, 5, p);
    add(list, TANDEM_TYPE_Q4_0, 2, 1, 2816, 2112, 2, p);
    add(list, TANDEM_TYPE_Q8_0, 8, 3, 640, 704, 9, p);
    add(list, TANDEM_TYPE_Q4_0, 1, 1, 640, 32, 3, p);
    add(list, TANDEM_TYPE_Q4_0, 2, 2, 32, 32, 130, p);
    add(list, TANDEM_TYPE_F32, 5, 3, 37, 19, 7, p);
    add(list, TANDEM_TYPE_F16, 3, 3, 129, 33, 33, p);
}

static void form_cases(case_list *list, uint32_t p) {
    for (uint32_t n = 1; n <= 17; n += 16) {
        op_case *c = add(list, TANDEM_TYPE_Q4_0, 16, 4, 256, 96, n + 3, p);
        c->u.moe_ffn.out_set = 1;
        c->n_out = n > 1 ? 9 : 1;
        note(c, ", out rows");

        c = add(list, TANDEM_TYPE_Q4_0, 16, 4, 256, 96, n, p);
        c->max_tokens = n + 30;
        note(c, ", fewer rows than the program takes");

        c = add(list, TANDEM_TYPE_Q4_0, 32, 4, 256, 96, n, p);
        c->u.moe_ffn.chain = ROUTE_ROUTER;
        c->smoke = 1;
        note(c, ", behind its router");

        c = add(list, TANDEM_TYPE_Q4_0, 32, 4, 256, 96, n + 3, p);
        c->u.moe_ffn.chain = ROUTE_ROUTER;
        c->u.moe_ffn.out_set = 1;
        c->n_out = n > 1 ? 9 : 2;
        note(c, ", behind its router, out rows");

        c = add(list, TANDEM_TYPE_Q4_0, 32, 4, 256, 96, n, p);
        c->u.moe_ffn.chain = ROUTE_IMPOSED;
        note(c, ", behind its router, imposed ids");

        c = add(list, TANDEM_TYPE_Q4_0, 16, 4, 256, 96, n, p);
        c->moves = 1;
        note(c, ", records move between runs");

        c = add(list, TANDEM_TYPE_Q8_0, 16, 4, 256, 96, n, p);
        c->u.moe_ffn.chain = ROUTE_ROUTER;
        c->u.moe_ffn.n_matrix = 3;
        c->moves = 1;
        note(c, ", behind its router, records move between runs");
    }
    static const float amplitudes[] = {1e-6f, 1e3f, 1e5f, 1e7f};
    for (uint32_t i = 0; i < 4; i++) {
        op_case *c = add(list, TANDEM_TYPE_Q4_0, 8, 2, 256, 96, 5, p);
        c->amplitude = amplitudes[i];
        snprintf(c->name, sizeof c->name, "moe_ffn Q4_0 %s amplitude %g", p ? "q8" : "exact",
                 (double)amplitudes[i]);
    }
}

/* What went wrong in others' engines. */
static void trap_cases(case_list *list, uint32_t p) {
    op_case *c = add(list, TANDEM_TYPE_Q4_0, 128, 8, 32, 32, 512, p);
    snprintf(c->name, sizeof c->name, "moe_ffn trap, %s: more entries than a work-group's memory holds",
             p ? "q8" : "exact");
    c = add(list, TANDEM_TYPE_Q4_0, 128, 8, 32, 32, 1024, p);
    c->u.moe_ffn.spread = SPREAD_ONE;
    snprintf(c->name, sizeof c->name, "moe_ffn trap, %s: 1024 rows, all to the same experts",
             p ? "q8" : "exact");
    c = add(list, TANDEM_TYPE_Q4_0, 128, 8, 64, 32, 16, p);
    c->u.moe_ffn.spread = SPREAD_TURNS;
    snprintf(c->name, sizeof c->name, "moe_ffn trap, %s: every expert has one row", p ? "q8" : "exact");
    c = add(list, TANDEM_TYPE_Q4_0, 128, 8, 64, 32, 3, p);
    c->u.moe_ffn.chain = ROUTE_ROUTER;
    c->moves = 1;
    snprintf(c->name, sizeof c->name, "moe_ffn trap, %s: part of the experts in host memory",
             p ? "q8" : "exact");
}

void moe_ffn_cases(case_list *list) {
    for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8) {
        format_cases(list, p);
        shape_cases(list, p);
        form_cases(list, p);
        trap_cases(list, p);
    }
}

/* Precision f16. F32 weights are rounded, too: the median row is off as the worst may be. */
void moe_ffn_f16_cases(case_list *list) {
    static const uint32_t rows[] = {1, 17, 64};
    for (uint32_t f = 0; f < N_CASE_FORMATS; f++) {
        uint32_t k = tandem_kit_type(case_formats[f])->block == 256;
        op_case *c = add(list, case_formats[f], 8, 2, 256, k ? 256 : 96, rows[f % 3], TANDEM_PRECISION_F16);
        c->smoke = 1;
        if (case_formats[f] == TANDEM_TYPE_F32)
            c->typical = 1e-6;
    }
    for (uint32_t n = 0; n < 3; n++) {
        op_case *c = add(list, TANDEM_TYPE_Q4_0, 32, 4, 256, 96, rows[n], TANDEM_PRECISION_F16);
        c->u.moe_ffn.spread = SPREAD_SKEWED;
        c->amplitude = 1e5f;
        note(c, ", skewed, amplitude 1e5");
    }
    add(list, TANDEM_TYPE_Q4_0, 128, 8, 32, 32, 512, TANDEM_PRECISION_F16);
}
