/* MOE_ROUTE: which experts, in which order, with what weights. The margins that decide whether another id is
 * a mistake are computed here, in double, from the same inputs. */
#include "cases.h"

#include "tandem/quants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PLANT_NONE, PLANT_TWINS, PLANT_ZEROS, PLANT_INTEGERS, PLANT_SMALL_ROUTER };

typedef struct routing {
    uint32_t n, d, n_used, live;
    float *x;            /* [live][d] */
    float *w;            /* [n][d] what the router's rows dequantise to */
    unsigned char *gguf; /* the router's rows */
    double *z;           /* [live][n] */
    uint32_t *order;     /* [live][n] experts from the most to the least likely */
    double *margin;      /* [live][n_used] */
    uint32_t *imposed;   /* [max_tokens][n_used] */
} routing;

static float small_integer(uint64_t seed, uint64_t index) {
    return rintf(side_random(seed, index));
}

static void plant(const op_case *c, routing *r, uint64_t seed) {
    uint64_t n_x = (uint64_t)r->live * r->d;
    float scale = 2 / sqrtf((float)r->d);
    if (c->u.moe_route.plant == PLANT_SMALL_ROUTER)
        scale /= c->amplitude;
    for (uint64_t i = 0; i < n_x; i++)
        r->x[i] = c->u.moe_route.plant == PLANT_ZEROS      ? 0
                  : c->u.moe_route.plant == PLANT_INTEGERS ? small_integer(seed, i)
                                                           : c->amplitude * side_random(seed, i);
    for (uint64_t e = 0; e < r->n; e++)
        for (uint64_t i = 0; i < r->d; i++) {
            /* Twins: every expert has the same row as the one n / 2 behind it. */
            uint64_t from = c->u.moe_route.plant == PLANT_TWINS ? e % (r->n / 2) : e;
            /* Integers: sums are exact in any order, and many are equal. */
            r->w[e * r->d + i] = c->u.moe_route.plant == PLANT_INTEGERS
                                     ? 0.0625f * small_integer(seed + 1, from * r->d + i)
                                     : scale * side_random(seed + 1, from * r->d + i);
        }
    uint64_t row_bytes = tandem_kit_row_bytes(c->u.moe_route.type, r->d);
    for (uint32_t e = 0; e < r->n; e++) {
        tandem_kit_quantise(c->u.moe_route.type, r->w + (uint64_t)e * r->d, r->gguf + e * row_bytes, r->d);
        tandem_kit_dequantise(c->u.moe_route.type, r->gguf + e * row_bytes, r->w + (uint64_t)e * r->d, r->d);
    }
}

static int by_logit(const void *a, const void *b, void *logits) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const double *z = logits;
    return z[x] != z[y] ? (z[x] < z[y] ? 1 : -1) : x < y ? -1 : 1;
}

static void find_order(routing *r, uint32_t row) {
    double *z = r->z + (uint64_t)row * r->n, *margin = r->margin + (uint64_t)row * r->n_used;
    uint32_t *order = r->order + (uint64_t)row * r->n;
    for (uint32_t e = 0; e < r->n; e++) {
        order[e] = e;
        z[e] = 0;
        for (uint32_t i = 0; i < r->d; i++)
            z[e] += (double)r->w[(uint64_t)e * r->d + i] * (double)r->x[(uint64_t)row * r->d + i];
    }
    qsort_r(order, r->n, sizeof *order, by_logit, z);
    for (uint32_t j = 0; j < r->n_used; j++) {
        double gap = j + 1 < r->n ? z[order[j]] - z[order[j + 1]] : INFINITY;
        margin[j] =
            gap > 0 ? -expm1(-gap) : INFINITY; /* equal ones have an order, too: the lower index first */
    }
}

/* In turn: the router's own choice, the least likely experts, some at regular distances. */
static void impose(routing *r, uint32_t row) {
    uint32_t *ids = r->imposed + (uint64_t)row * r->n_used;
    for (uint32_t j = 0; j < r->n_used; j++)
        ids[j] = row % 3 == 0   ? TANDEM_NONE
                 : row % 3 == 1 ? r->order[(uint64_t)row * r->n + r->n - 1 - j]
                                : (7 * row + 3 * j) % r->n;
    for (uint32_t j = 0; j < r->n_used && row % 3 != 0; j++)
        r->margin[(uint64_t)row * r->n_used + j] = INFINITY;
}

static void make_routing(side *s, const op_case *c, routing *r) {
    *r = (routing){.n = c->u.moe_route.n_expert,
                   .d = c->u.moe_route.d,
                   .n_used = c->u.moe_route.n_used,
                   .live = c->n_rows};
    uint64_t live = r->live;
    r->x = side_memory(s, live * r->d * sizeof *r->x);
    r->w = side_memory(s, (uint64_t)r->n * r->d * sizeof *r->w);
    r->gguf = side_memory(s, r->n * tandem_kit_row_bytes(c->u.moe_route.type, r->d));
    r->z = side_memory(s, live * r->n * sizeof *r->z);
    r->order = side_memory(s, live * r->n * sizeof *r->order);
    r->margin = side_memory(s, live * r->n_used * sizeof *r->margin);
    r->imposed = side_memory(s, (uint64_t)c->max_tokens * r->n_used * sizeof *r->imposed);
    plant(c, r, s->seed + 1000 * c->u.moe_route.seed);
    s->seed += 2;
    for (uint32_t i = 0; i < c->n_rows; i++) {
        find_order(r, i);
        if (c->u.moe_route.imposed)
            impose(r, i);
    }
    for (uint64_t i = live * r->n_used; i < (uint64_t)c->max_tokens * r->n_used; i++)
        r->imposed[i] = 0xdeadbeef; /* of dead rows */
}

/* The margins of the rows that come out. */
static const double *margins_out(side *s, const op_case *c, const routing *r) {
    if (!c->u.moe_route.out_set)
        return r->margin;
    double *margin = side_memory(s, (uint64_t)c->n_out * r->n_used * sizeof *margin);
    for (uint32_t i = 0; i < c->n_out; i++)
        memcpy(margin + (uint64_t)i * r->n_used, r->margin + (uint64_t)s->out[i].row * r->n_used,
               r->n_used * sizeof *margin);
    return margin;
}

static tandem_status build(side *s, const op_case *c) {
    uint32_t set = c->u.moe_route.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL;
    uint32_t rows = set ? c->n_out : c->max_tokens, live = set ? c->n_out : c->n_rows;
    tandem_op_moe_route op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_MOE_ROUTE, .rows = set, .label = "router"},
        .n_used = c->u.moe_route.n_used};
    routing r;
    side_rows(s, c->n_rows, c->n_out, 1000, 0);
    make_routing(s, c, &r);
    const side_matrix m = {TANDEM_ROLE_SINGLE, c->u.moe_route.type, r.n, r.d};
    SIDE_TRY(side_matrix_given(s, &m, r.gguf, &op.weights));
    SIDE_TRY(side_given(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, r.d, r.x, &op.x));
    if (c->u.moe_route.scale)
        SIDE_TRY(side_vector(s, r.n, &op.expert_scale));
    if (c->u.moe_route.imposed) {
        op.imposed.stride = 4ull * r.n_used;
        SIDE_TRY(side_buffer(s, r.imposed, op.imposed.stride * c->max_tokens, &op.imposed.buffer));
    }
    SIDE_TRY(side_route_result(s, set, rows, live, r.n_used, margins_out(s, c, &r), &op.route));
    if (c->u.moe_route.probabilities)
        SIDE_TRY(side_result(s, set, rows, live, r.n, "probabilities", &op.probabilities));
    side_op(s, &op, 1);
    return TANDEM_OK;
}

static op_case *add(case_list *list, uint32_t type, uint32_t n_expert, uint32_t n_used, uint32_t d,
                    uint32_t n_rows) {
    op_case *c = case_add(
        list,
        (op_case){.build = build, .n_rows = n_rows, .max_tokens = n_rows, .amplitude = 1, .budget = 1e-10});
    c->u.moe_route.type = type;
    c->u.moe_route.n_expert = n_expert;
    c->u.moe_route.n_used = n_used;
    c->u.moe_route.d = d;
    c->u.moe_route.scale = c->u.moe_route.probabilities = 1;
    snprintf(c->name, sizeof c->name, "moe_route %s, %u of %u, width %u, %u rows",
             tandem_kit_type(type)->name, n_used, n_expert, d, n_rows);
    return c;
}

static void note(op_case *c, const char *what) {
    strncat(c->name, what, sizeof c->name - strlen(c->name) - 1);
}

static void shape_cases(case_list *list) {
    static const uint32_t experts[][2] = {{1, 1}, {4, 1}, {4, 4}, {8, 8}, {128, 1}, {128, 8}, {128, 128}};
    static const uint32_t counts[] = {1, 2, 17, 64};
    for (uint32_t e = 0; e < sizeof experts / sizeof *experts; e++)
        for (uint32_t n = 0; n < 4; n++)
            /* note: short cases alone; every load of an instrumented shader is a search, in a loop, and the
             * software device gives a subgroup 65,534 iterations. */
            add(list, TANDEM_TYPE_F32, experts[e][0], experts[e][1], n % 2 ? 640 : 2816, counts[n])->smoke =
                e == 5 && n < 2;
    for (uint32_t f = 1; f < N_CASE_FORMATS; f++) { /* a quantised file quantises its router, too */
        add(list, case_formats[f], 128, 8, 768, 1)->smoke = 1;
        add(list, case_formats[f], 30, 4, 512, 17);
    }
    add(list, TANDEM_TYPE_F32, 1024, 64, 128, 3);
    add(list, TANDEM_TYPE_F32, 100, 7, 37, 9);
    add(list, TANDEM_TYPE_F32, 3, 2, 1, 5);
    for (uint32_t part = 0; part < 10; part++) { /* 10,000 random tokens */
        op_case *c = add(list, TANDEM_TYPE_F32, 128, 8, 640, 1000);
        c->u.moe_route.seed = part;
        snprintf(c->name, sizeof c->name, "moe_route 10000 random tokens, part %u", part);
    }
}

static void form_cases(case_list *list) {
    for (uint32_t n = 1; n <= 33; n += 16) {
        op_case *c = add(list, TANDEM_TYPE_F32, 128, 8, 640, n);
        c->u.moe_route.scale = c->u.moe_route.probabilities = 0;
        note(c, ", neither scale nor probabilities");

        c = add(list, TANDEM_TYPE_F32, 128, 8, 640, n);
        c->u.moe_route.probabilities = 0;
        note(c, ", scale");

        c = add(list, TANDEM_TYPE_F32, 128, 8, 640, n + 2);
        c->u.moe_route.imposed = c->smoke = 1;
        note(c, ", imposed ids");

        c = add(list, TANDEM_TYPE_F32, 16, 16, 640, n + 2);
        c->u.moe_route.imposed = 1;
        note(c, ", imposed ids");

        c = add(list, TANDEM_TYPE_F32, 128, 8, 640, n + 3);
        c->u.moe_route.out_set = c->u.moe_route.imposed = 1;
        c->n_out = n > 1 ? 7 : 2;
        note(c, ", out rows, imposed ids");

        c = add(list, TANDEM_TYPE_F32, 128, 8, 640, n);
        c->max_tokens = n + 40;
        note(c, ", fewer rows than the program takes");

        c = add(list, TANDEM_TYPE_F32, 128, 8, 640, n);
        c->precision = TANDEM_PRECISION_Q8;
        note(c, ", q8 (the router stays exact)");
    }
}

/* Exact ties, and logits from the smallest to the largest. */
static void planted_cases(case_list *list) {
    static const char *const ties[] = {"", ", equal experts", ", all equal", ", ties among integers"};
    for (uint32_t plant_kind = PLANT_TWINS; plant_kind <= PLANT_INTEGERS; plant_kind++)
        for (uint32_t n = 1; n <= 33; n += 32) {
            static const uint32_t experts[][2] = {{128, 8}, {128, 128}, {8, 3}, {64, 63}};
            for (uint32_t e = 0; e < 4; e++) {
                op_case *c = add(list, TANDEM_TYPE_F32, experts[e][0], experts[e][1], 640, n);
                c->u.moe_route.plant = plant_kind;
                c->smoke = e == 0;
                note(c, ties[plant_kind]);
            }
        }
    static const float amplitudes[] = {1e3f, 1e5f, 1e7f};
    for (uint32_t i = 0; i < 3; i++) {
        op_case *c = add(list, TANDEM_TYPE_F32, 128, 8, 640, 17);
        c->amplitude = amplitudes[i];
        c->u.moe_route.plant = PLANT_SMALL_ROUTER;
        snprintf(c->name, sizeof c->name, "moe_route amplitude %g, usual logits", (double)amplitudes[i]);
        if (i == 0)
            continue; /* a thousand is where an f32 logit decides, and cannot, what the second weight is */
        c = add(list, TANDEM_TYPE_F32, 128, 8, 640, 17);
        c->amplitude = amplitudes[i];
        snprintf(c->name, sizeof c->name, "moe_route amplitude %g, one expert takes all",
                 (double)amplitudes[i]);
    }
}

void moe_route_cases(case_list *list) {
    shape_cases(list);
    form_cases(list);
    planted_cases(list);
}
