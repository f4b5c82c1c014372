/* reference_model.h: a model of four ops for the tests of the reference plugin, small enough to follow by
 * hand. */
#ifndef TANDEM_TESTS_REFERENCE_MODEL_H
#define TANDEM_TESTS_REFERENCE_MODEL_H

#include "reference_fixture.h"

enum { N_COL = 64, N_VOCAB = 40, MAX_ROWS = 8, K = 3 };

/* EMBED, ATTENTION (window 6, its own row as q, k and v), MATMUL with the table, TOPK: a model small enough
 * to follow. */
typedef struct model {
    made_matrix table;
    tandem_weights *weights;
    tandem_kv *kv;
    tandem_op_embed embed;
    tandem_op_attention attention;
    tandem_op_matmul head;
    tandem_op_topk top;
    const tandem_op *ops[4];
    tandem_program *program;
} model;

static inline tandem_kv *small_kv(uint32_t type, uint32_t n_slot, uint32_t max_chunk) {
    const tandem_kv_layer layers[] = {
        {.struct_size = sizeof *layers,
         .n_kv_head = 1,
         .head_dim = N_COL,
         .type = type,
         .window = 6,
         .share_of = TANDEM_NONE,
         .capacity = 64},
        {.struct_size = sizeof *layers,
         .n_kv_head = 2,
         .head_dim = 32,
         .type = type,
         .share_of = TANDEM_NONE,
         .capacity = 64},
    };
    const tandem_kv_layer *const list[] = {&layers[0], &layers[1]};
    tandem_kv_desc desc = {
        .struct_size = sizeof desc, .n_layer = 2, .layers = list, .max_chunk = max_chunk, .n_slot = n_slot};
    tandem_kv *kv = NULL;
    OK(fx.api.kv_create(fx.context, &desc, &kv, &fx.error));
    return kv;
}

static inline void describe_model(model *m) {
    m->embed = (tandem_op_embed){.head = head_of(sizeof m->embed, TANDEM_OP_EMBED, TANDEM_ROWS_ALL, "embed"),
                                 .table = m->weights,
                                 .scale = 2};
    m->attention = (tandem_op_attention){
        .head = head_of(sizeof m->attention, TANDEM_OP_ATTENTION, TANDEM_ROWS_ALL, "attend"),
        .kv = m->kv,
        .n_head = 1,
        .scale = 0.5f};
    m->head = (tandem_op_matmul){.head = head_of(sizeof m->head, TANDEM_OP_MATMUL, TANDEM_ROWS_OUT, "head"),
                                 .weights = m->weights,
                                 .n_matrix = 1};
    m->top = (tandem_op_topk){
        .head = head_of(sizeof m->top, TANDEM_OP_TOPK, TANDEM_ROWS_OUT, "top"), .n = N_VOCAB, .k = K};
    m->ops[0] = &m->embed.head;
    m->ops[1] = &m->attention.head;
    m->ops[2] = &m->head.head;
    m->ops[3] = &m->top.head;
}

static inline void connect_model(model *m, tandem_view hidden, tandem_view attended, tandem_view logits,
                                 tandem_view top) {
    m->embed.out = m->attention.q = m->attention.k = m->attention.v = hidden;
    m->attention.out = m->head.x[0] = attended;
    m->head.y[0] = m->top.x = logits;
    m->top.out = top;
}

static inline void make_model(model *m) {
    make_matrix(&m->table, TANDEM_ROLE_SINGLE, TANDEM_TYPE_F16, N_VOCAB, N_COL);
    m->weights = borrowed_weights(&m->table, 1);
    m->kv = small_kv(TANDEM_TYPE_F32, 1, MAX_ROWS);
    describe_model(m);
    connect_model(m, rows_view(NULL, MAX_ROWS, N_COL, TANDEM_ROWS_ALL),
                  rows_view(NULL, MAX_ROWS, N_COL, TANDEM_ROWS_ALL),
                  rows_view(NULL, MAX_ROWS, N_VOCAB, TANDEM_ROWS_OUT),
                  rows_view(NULL, MAX_ROWS, 2 * K + 2, TANDEM_ROWS_OUT));
    m->program = compile(m->ops, 4, MAX_ROWS, MAX_ROWS, TANDEM_PRECISION_EXACT);
}

static inline void free_model(model *m) {
    fx.api.program_destroy(m->program);
    fx.api.kv_destroy(m->kv);
    clear();
    free_matrix(&m->table);
    open_context(1, 0); /* for the teardown */
}

static inline tandem_run run_of(const uint32_t *tokens, uint32_t n_rows, uint32_t position) {
    return (tandem_run){.struct_size = sizeof(tandem_run),
                        .n_rows = n_rows,
                        .n_out = 1,
                        .tokens = tokens,
                        .position = position};
}

/* id[0] of the first row after a run of these tokens. */
static inline uint32_t next_token(model *m, const uint32_t *tokens, uint32_t n_rows, uint32_t position) {
    tandem_run run = run_of(tokens, n_rows, position);
    uint32_t id;
    OK(fx.api.run(m->program, &run, NULL, &fx.error));
    OK(fx.api.buffer_read(m->top.out.buffer, 0, &id, sizeof id, 0, &fx.error));
    return id;
}

static inline tandem_memory_info memory_now(void) {
    tandem_memory_info info = {.struct_size = sizeof info};
    OK(fx.api.context_memory(fx.context, &info, &fx.error));
    assert_int_equal(info.total, info.weights_device + info.weights_host + info.kv + info.buffers +
                                     info.workspace + info.staging);
    assert_true(info.peak >= info.total);
    return info;
}

#endif
