/* validate_world.c: the world that validate_test.c breaks. */
#include <string.h>

#include <tandem/growth.h>

#include "validate_world.h"

static tandem_status buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error) {
    const tandem_buffer_info found = {.struct_size = sizeof found, .bytes = buffer->bytes};
    return TANDEM_KIT_GIVE(tandem_buffer_info, info, &found, error);
}

static tandem_status weights_info(const tandem_weights *w, tandem_weights_info *info, tandem_error *error) {
    const tandem_weights_info found = {
        .struct_size = sizeof found, .n_record = w->n_record, .n_matrix = w->n_matrix};
    return TANDEM_KIT_GIVE(tandem_weights_info, info, &found, error);
}

static tandem_status weights_matrix(const tandem_weights *w, uint32_t matrix, tandem_matrix_desc *desc,
                                    tandem_error *error) {
    return TANDEM_KIT_GIVE(tandem_matrix_desc, desc, &w->matrices[matrix], error);
}

static tandem_status kv_info(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error) {
    const tandem_kv_info found = {.struct_size = sizeof found,
                                  .n_layer = kv->n_layer,
                                  .max_chunk = kv->max_chunk,
                                  .n_slot = kv->n_slot};
    return TANDEM_KIT_GIVE(tandem_kv_info, info, &found, error);
}

static tandem_status kv_layer(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                              tandem_error *error) {
    return TANDEM_KIT_GIVE(tandem_kv_layer, info, &kv->layers[layer], error);
}

const tandem_backend world_table = {
    .buffer_info = buffer_info,
    .weights_info = weights_info,
    .weights_matrix = weights_matrix,
    .kv_info = kv_info,
    .kv_layer = kv_layer,
};

#define HEAD_OF(op, KIND, ROWS, NAME)                                                                        \
    (tandem_op) {                                                                                            \
        .struct_size = sizeof(op), .kind = TANDEM_OP_##KIND, .rows = TANDEM_ROWS_##ROWS, .label = NAME       \
    }

static tandem_view rows_in(tandem_buffer *buffer, uint64_t n, uint32_t rows) {
    buffer->bytes = n * 4 * (rows == TANDEM_ROWS_OUT ? N_OUT : N_TOK);
    return (tandem_view){.buffer = buffer, .stride = n * 4, .rows = rows};
}

static tandem_view vector_in(tandem_buffer *buffer) {
    return (tandem_view){.buffer = buffer, .rows = TANDEM_ROWS_CONST};
}

tandem_matrix_desc world_matrix(uint32_t role, uint64_t n_row, uint64_t n_col) {
    return (tandem_matrix_desc){sizeof(tandem_matrix_desc), role, TANDEM_TYPE_Q8_0, 0, n_row, n_col};
}

static void build_objects(world *w) {
    memset(w, 0, sizeof *w);
    w->vectors.bytes = D * 4;
    w->result.bytes = 1024;
    w->embed = (tandem_weights){1, 1, {world_matrix(TANDEM_ROLE_SINGLE, N_VOCAB, D)}};
    w->qkv = (tandem_weights){1,
                              3,
                              {world_matrix(TANDEM_ROLE_Q, N_HEAD * HEAD_DIM, D),
                               world_matrix(TANDEM_ROLE_K, N_KV * HEAD_DIM, D),
                               world_matrix(TANDEM_ROLE_V, N_KV * HEAD_DIM, D)}};
    w->output = (tandem_weights){1, 1, {world_matrix(TANDEM_ROLE_SINGLE, D, N_HEAD * HEAD_DIM)}};
    w->gate_up = (tandem_weights){
        1, 2, {world_matrix(TANDEM_ROLE_GATE, D_FF, D), world_matrix(TANDEM_ROLE_UP, D_FF, D)}};
    w->joined = (tandem_weights){1, 1, {world_matrix(TANDEM_ROLE_GATE_UP, 2 * D_FF, D)}};
    w->down = (tandem_weights){1, 1, {world_matrix(TANDEM_ROLE_DOWN, D, D_FF)}};
    w->router = (tandem_weights){1, 1, {world_matrix(TANDEM_ROLE_SINGLE, N_EXPERT, D)}};
    w->experts =
        (tandem_weights){N_EXPERT,
                         3,
                         {world_matrix(TANDEM_ROLE_GATE, D_FF, D), world_matrix(TANDEM_ROLE_UP, D_FF, D),
                          world_matrix(TANDEM_ROLE_DOWN, D, D_FF)}};
    w->kv = (tandem_kv){
        2, 2, N_TOK, {{sizeof(tandem_kv_layer), N_KV, HEAD_DIM, TANDEM_TYPE_F16, 0, TANDEM_NONE, 20}}};
    w->kv.layers[1] = w->kv.layers[0];
    w->kv.layers[1].share_of = 0;
    w->other_kv = w->kv;
    for (int i = 0; i < HEAD_DIM / 2; i++)
        w->omega[i] = 1.0 / (1 + i);
}

static void build_attention(world *w) {
    tandem_op_attention *op = &w->attend_op;
    op->head = HEAD_OF(*op, ATTENTION, ALL, "blk.0.attention");
    op->kv = &w->kv;
    op->n_head = N_HEAD;
    op->n_rope_pair = HEAD_DIM / 2;
    op->scale = 1;
    op->eps = 1e-6f;
    op->rope_omega = w->omega;
    op->q = rows_in(&w->q, N_HEAD * HEAD_DIM, TANDEM_ROWS_ALL);
    op->k = rows_in(&w->k, N_KV * HEAD_DIM, TANDEM_ROWS_ALL);
    op->v = rows_in(&w->v, N_KV * HEAD_DIM, TANDEM_ROWS_ALL);
    op->q_norm = op->k_norm = vector_in(&w->vectors);
    op->out = rows_in(&w->mixed, N_HEAD * HEAD_DIM, TANDEM_ROWS_ALL);
    w->shared_op = *op;
    w->shared_op.layer = 1;
    w->shared_op.k = w->shared_op.v = w->shared_op.k_norm = (tandem_view){0};
}

static void build_streams(world *w) {
    tandem_op_stream *op = &w->prologue;
    op->head = HEAD_OF(*op, STREAM, ALL, "blk.0.norm");
    op->d = D;
    op->n_out = 1;
    op->eps = 1e-6f;
    op->scale = op->out_scale[0] = 1;
    op->h = rows_in(&w->h[0], D, TANDEM_ROWS_ALL);
    op->out_w[0] = vector_in(&w->vectors);
    w->stream_op = *op;
    w->stream_op.a[0] = rows_in(&w->branch, D, TANDEM_ROWS_ALL);
    w->stream_op.w[0] = vector_in(&w->vectors);
    w->stream_op.out_h = rows_in(&w->h[1], D, TANDEM_ROWS_ALL);
    w->stream_op.out[0] = rows_in(&w->normed, D, TANDEM_ROWS_ALL);
}

static tandem_op_matmul product(tandem_weights *weights, uint32_t n_matrix, tandem_view x, tandem_view y) {
    tandem_op_matmul op = {.weights = weights, .n_matrix = n_matrix};
    op.head = HEAD_OF(op, MATMUL, ALL, "product");
    op.x[0] = x;
    op.y[0] = y;
    return op;
}

static void build_products(world *w) {
    tandem_view none = {0};
    w->qkv_op = product(&w->qkv, 3, none, rows_in(&w->q, N_HEAD * HEAD_DIM, TANDEM_ROWS_ALL));
    w->qkv_op.y[1] = w->attend_op.k;
    w->qkv_op.y[2] = w->attend_op.v;
    w->qkv_op.prologue = &w->prologue;
    w->output_op = product(&w->output, 1, w->attend_op.out, w->stream_op.a[0]);
    w->glu_op = product(&w->gate_up, 2, w->stream_op.out[0], rows_in(&w->glu, D_FF, TANDEM_ROWS_ALL));
    w->glu_op.activation = TANDEM_ACT_GELU_GLU;
    w->down_op = product(&w->down, 1, w->glu_op.y[0], w->stream_op.a[0]);
    w->add_op = (tandem_op_elementwise){.n = D, .scale = 1, .a = w->stream_op.out_h, .b = w->stream_op.a[0]};
    w->add_op.head = HEAD_OF(w->add_op, ADD, ALL, "sum");
    w->add_op.out = rows_in(&w->sum, D, TANDEM_ROWS_ALL);
    w->head_op = product(&w->embed, 1, w->add_op.out, rows_in(&w->logits, N_VOCAB, TANDEM_ROWS_OUT));
    w->head_op.head.rows = TANDEM_ROWS_OUT;
    w->head_op.softcap = 30;
    w->topk_op = (tandem_op_topk){.n = N_VOCAB, .k = 3, .x = w->head_op.y[0]};
    w->topk_op.head = HEAD_OF(w->topk_op, TOPK, OUT, NULL);
    w->topk_op.out = rows_in(&w->top, 8, TANDEM_ROWS_OUT);
}

static void build_experts(world *w) {
    tandem_op_moe_route *route = &w->route_op;
    *route = (tandem_op_moe_route){.weights = &w->router, .n_used = N_USED, .x = w->stream_op.out[0]};
    route->head = HEAD_OF(*route, MOE_ROUTE, ALL, "blk.0.router");
    route->expert_scale = vector_in(&w->vectors);
    route->imposed = rows_in(&w->imposed, N_USED, TANDEM_ROWS_ALL);
    route->route = rows_in(&w->route, 8, TANDEM_ROWS_ALL);
    route->probabilities = rows_in(&w->probabilities, 8, TANDEM_ROWS_ALL);
    tandem_op_moe_ffn *experts = &w->experts_op;
    *experts = (tandem_op_moe_ffn){
        .weights = &w->experts, .n_used = N_USED, .x = w->stream_op.out[0], .route = route->route};
    experts->head = HEAD_OF(*experts, MOE_FFN, ALL, "blk.0.experts");
    experts->y = rows_in(&w->moe, D, TANDEM_ROWS_ALL);
}

void world_build(world *w) {
    build_objects(w);
    build_attention(w);
    build_streams(w);
    build_products(w);
    build_experts(w);
    w->embed_op = (tandem_op_embed){.table = &w->embed, .scale = 8, .out = w->prologue.h};
    w->embed_op.head = HEAD_OF(w->embed_op, EMBED, ALL, "token_embd");
    const tandem_op *ops[N_OP] = {
        &w->embed_op.head, &w->qkv_op.head,  &w->attend_op.head, &w->output_op.head,  &w->stream_op.head,
        &w->glu_op.head,   &w->down_op.head, &w->route_op.head,  &w->experts_op.head, &w->shared_op.head,
        &w->add_op.head,   &w->head_op.head, &w->topk_op.head};
    memcpy(w->ops, ops, sizeof ops);
    w->desc = (tandem_program_desc){.struct_size = sizeof w->desc,
                                    .n_op = N_OP,
                                    .ops = w->ops,
                                    .max_tokens = N_TOK,
                                    .max_out = N_OUT,
                                    .max_slots = 2};
}

tandem_status world_build_run(world *w, tandem_error *error) {
    world_build(w);
    tandem_status status = tandem_kit_program_limits(&world_table, &w->desc, &w->limits, error);
    if (status != TANDEM_OK)
        return status;
    w->lengths[0] = 5;
    w->lengths[1] = 2;
    for (uint32_t i = 0; i < N_TOK; i++) {
        w->tokens[i] = i;
        w->rows[i] = (tandem_row){.token = i, .position = 5 + i, .slot = 0};
    }
    w->outs[0] = (tandem_out){.row = 2, .target = TANDEM_NONE};
    w->outs[1] = (tandem_out){.row = 3, .target = 7};
    w->next = (tandem_row){.position = 5, .slot = 0};
    w->run = (tandem_run){.struct_size = sizeof w->run,
                          .n_rows = 4,
                          .n_out = 2,
                          .rows = w->rows,
                          .out = w->outs,
                          .result = &w->result};
    return TANDEM_OK;
}
