/* The whole feed-forward part of a layer with experts: STREAM for the three inputs, a dense branch, router
 * and experts, and the STREAM that joins the branches. What each op leaves is compared, too. */
#include "cases.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { D = 256, D_FF = 352, WIDTH = 96, N_EXPERT = 32, N_USED = 8 };

typedef struct block {
    uint32_t set, rows, live; /* of what comes out */
    tandem_view h, dense_in, experts_in, router_in, dense, experts;
} block;

static tandem_status result(side *s, const block *b, uint32_t n, const char *name, tandem_view *view) {
    return side_result(s, b->set, b->rows, b->live, n, name, view);
}

/* Three norms of the residual, each with its own weights; the router's is scaled by 1 / sqrt(D). */
static tandem_status add_norms(side *s, const op_case *c, block *b) {
    tandem_op_stream op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_STREAM, .rows = b->set, .label = "norms"},
        .d = D,
        .n_out = 3,
        .eps = 1e-6f,
        .scale = 1,
        .out_scale = {1, 1, 1 / sqrtf(D)}};
    static const char *const names[] = {"dense in", "experts in", "router in"};
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, D, c->amplitude, &op.h));
    for (uint32_t i = 0; i < 3; i++) {
        SIDE_TRY(side_vector(s, D, &op.out_w[i]));
        SIDE_TRY(result(s, b, D, names[i], &op.out[i]));
    }
    b->h = op.h;
    b->dense_in = op.out[0];
    b->experts_in = op.out[1];
    b->router_in = op.out[2];
    side_op(s, &op, 1);
    return TANDEM_OK;
}

static tandem_status add_dense(side *s, block *b) {
    const side_matrix up[] = {{TANDEM_ROLE_GATE, TANDEM_TYPE_Q4_0, D_FF, D},
                              {TANDEM_ROLE_UP, TANDEM_TYPE_Q4_0, D_FF, D}};
    const side_matrix down = {TANDEM_ROLE_DOWN, TANDEM_TYPE_Q8_0, D, D_FF};
    tandem_op_matmul glu = {
        .head = {.struct_size = sizeof glu, .kind = TANDEM_OP_MATMUL, .rows = b->set, .label = "gate_up"},
        .n_matrix = 2,
        .activation = TANDEM_ACT_GELU_GLU};
    tandem_op_matmul out = {
        .head = {.struct_size = sizeof out, .kind = TANDEM_OP_MATMUL, .rows = b->set, .label = "down"},
        .n_matrix = 1};
    SIDE_TRY(side_weights(s, 1, 2, up, &glu.weights));
    SIDE_TRY(side_weights(s, 1, 1, &down, &out.weights));
    glu.x[0] = b->dense_in;
    SIDE_TRY(result(s, b, D_FF, "dense product", &glu.y[0]));
    out.x[0] = glu.y[0];
    SIDE_TRY(result(s, b, D, "dense", &out.y[0]));
    b->dense = out.y[0];
    side_op(s, &glu, 1);
    side_op(s, &out, 1);
    return TANDEM_OK;
}

static tandem_status add_experts(side *s, block *b) {
    const side_matrix router = {TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, N_EXPERT, D};
    const side_matrix expert[] = {{TANDEM_ROLE_GATE_UP, TANDEM_TYPE_Q4_0, 2 * WIDTH, D},
                                  {TANDEM_ROLE_DOWN, TANDEM_TYPE_Q5_1, D, WIDTH}};
    tandem_op_moe_route route = {
        .head = {.struct_size = sizeof route, .kind = TANDEM_OP_MOE_ROUTE, .rows = b->set, .label = "router"},
        .n_used = N_USED,
        .x = b->router_in};
    tandem_op_moe_ffn ffn = {
        .head = {.struct_size = sizeof ffn, .kind = TANDEM_OP_MOE_FFN, .rows = b->set, .label = "experts"},
        .n_used = N_USED,
        .x = b->experts_in};
    double *margin = side_memory(s, (uint64_t)b->live * N_USED * sizeof *margin);
    for (uint32_t i = 0; i < b->live * N_USED; i++)
        margin[i] = INFINITY; /* the seeds leave no doubt */
    SIDE_TRY(side_weights(s, 1, 1, &router, &route.weights));
    SIDE_TRY(side_vector(s, N_EXPERT, &route.expert_scale));
    SIDE_TRY(side_route_result(s, b->set, b->rows, b->live, N_USED, margin, &route.route));
    SIDE_TRY(side_weights(s, N_EXPERT, 2, expert, &ffn.weights));
    ffn.route = route.route;
    SIDE_TRY(result(s, b, D, "experts", &ffn.y));
    b->experts = ffn.y;
    side_op(s, &route, 1);
    side_op(s, &ffn, 1);
    return TANDEM_OK;
}

/* Each branch has a norm of its own, and their sum a third; the layer's scalar multiplies the stream. */
static tandem_status add_join(side *s, block *b) {
    tandem_op_stream op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_STREAM, .rows = b->set, .label = "join"},
        .d = D,
        .eps = 1e-6f,
        .scale = 0.6f,
        .h = b->h,
        .a = {b->dense, b->experts}};
    for (uint32_t i = 0; i < 3; i++)
        SIDE_TRY(side_vector(s, D, &op.w[i]));
    SIDE_TRY(result(s, b, D, "stream", &op.out_h));
    side_op(s, &op, 1);
    return TANDEM_OK;
}

static tandem_status build(side *s, const op_case *c) {
    int out_set = c->n_out > 0;
    block b = {.set = out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL,
               .rows = out_set ? c->n_out : c->max_tokens,
               .live = out_set ? c->n_out : c->n_rows};
    side_rows(s, c->n_rows, c->n_out, 1000, 0);
    SIDE_TRY(add_norms(s, c, &b));
    SIDE_TRY(add_dense(s, &b));
    SIDE_TRY(add_experts(s, &b));
    return add_join(s, &b);
}

void moe_block_cases(case_list *list) {
    static const uint32_t counts[] = {1, 3, 17};
    for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8)
        for (uint32_t n = 0; n < 3; n++)
            for (uint32_t out_set = 0; out_set < 2; out_set++) {
                /* q8: the last bit of a norm or a product may tip the rounding of an element (see moe_ffn.c).
                 */
                op_case *c = case_add(list, (op_case){.build = build,
                                                      .precision = p,
                                                      .n_rows = counts[n],
                                                      .max_tokens = counts[n] + 2 * n,
                                                      .n_out = out_set ? (counts[n] + 1) / 2 : 0,
                                                      .amplitude = 30,
                                                      .budget = p ? 0.006 / WIDTH : 1e-10,
                                                      .typical = 1e-10,
                                                      .kind = TANDEM_OP_MOE_FFN});
                snprintf(c->name, sizeof c->name, "moe_block, %s, %u rows%s", p ? "q8" : "exact", counts[n],
                         out_set ? ", out rows" : "");
            }
}
