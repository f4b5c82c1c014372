#include "gpu_model.h"

#include "cases/side.h"
#include "tandem/quants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESULT_ROWS = 64, N_VECTOR = 5 * MODEL_LAYERS + 2 };

#define SMALL                                                                                                \
    .d = 128, .ff = 192, .n_head = 4, .n_kv_head = 1, .head_dim = 32, .window = 16, .n_vocab = 1100,         \
    .n_ctx = 256, .chunk = 24, .n_out = 24, .kv_type = TANDEM_TYPE_F16, .n_slot = 1

const model_shape model_small = {SMALL};
const model_shape model_experts = {SMALL, .n_expert = 8, .n_used = 2, .d_expert = 96};

const model_shape model_wide = {.d = 2816,
                                .ff = 2112,
                                .n_head = 16,
                                .n_kv_head = 2,
                                .head_dim = 512,
                                .window = 1024,
                                .n_vocab = 262144,
                                .n_ctx = 262144,
                                .chunk = 512,
                                .n_out = 2,
                                .kv_type = TANDEM_TYPE_F16,
                                .n_slot = 1,
                                .n_expert = 128,
                                .n_used = 8,
                                .d_expert = 704,
                                .empty = 1};

/* ---- fixture ---- */

static void on_log(void *user, uint32_t level, const char *message) {
    fixture *f = user;
    if (level == TANDEM_LOG_ERROR)
        f->n_log_error++;
    if (level <= TANDEM_LOG_WARNING)
        fprintf(stderr, "%s\n", message);
}

void fixture_open(fixture *f, const char *plugin, int n_argument, char **arguments) {
    static const char *options[8];
    tandem_host host = {.struct_size = sizeof host, .user = f, .log = on_log, .options = options};
    memset(f, 0, sizeof *f);
    f->error.struct_size = sizeof f->error;
    for (int i = 1; i + 1 < n_argument; i += 2) {
        if (strcmp(arguments[i], "--option") == 0 && host.n_options < 8)
            options[host.n_options++] = arguments[i + 1];
        else if (strcmp(arguments[i], "--plugin") == 0)
            plugin = arguments[i + 1];
        else if (strcmp(arguments[i], "--cache") == 0)
            host.cache_dir = arguments[i + 1];
    }
    if (host.n_options == 0)
        host.options = NULL;
    if (tandem_plugin_open(plugin, &host, &f->plugin, &f->error) != TANDEM_OK) {
        fprintf(stderr, "%s: %s\n", plugin, f->error.message);
        exit(1);
    }
    f->api = tandem_plugin_backend(f->plugin);
    f->inside = f->api->get_interface(GPU_TEST_INTERFACE);
    f->vulkan = f->api->get_interface(VK_TEST_INTERFACE);
    f->context = fixture_context(f, 0);
    if (!f->context) {
        fprintf(stderr, "%s: %s\n", plugin, f->error.message);
        exit(1);
    }
}

tandem_context *fixture_context(fixture *f, uint64_t memory_cap) {
    tandem_context_desc desc = {.struct_size = sizeof desc, .device = f->device, .memory_cap = memory_cap};
    tandem_context *context = NULL;
    f->api->context_create(&desc, &context, &f->error);
    return context;
}

int fixture_offers(const fixture *f, uint32_t precision) {
    tandem_device_info info = {.struct_size = sizeof info};
    if (!f->vulkan || precision != TANDEM_PRECISION_Q8)
        return 1;
    return f->api->device_info(f->device, &info, NULL) == TANDEM_OK &&
           (info.matrix_used & TANDEM_MATRIX_DOT) != 0;
}

void fixture_close(fixture *f) {
    f->api->context_destroy(f->context);
    tandem_plugin_close(f->plugin);
}

/* ---- objects ---- */

static tandem_status write_record(model *m, tandem_weights *weights, uint32_t record, uint32_t n_matrix,
                                  const tandem_matrix_desc *matrices, uint64_t seed) {
    for (uint32_t i = 0; i < n_matrix; i++) {
        const tandem_matrix_desc *matrix = &matrices[i];
        uint64_t row_bytes = tandem_kit_row_bytes(matrix->type, matrix->n_col), n = matrix->n_row;
        float *values = malloc(matrix->n_col * sizeof *values);
        unsigned char *rows = malloc(n * row_bytes);
        tandem_status status = TANDEM_E_OUT_OF_MEMORY;
        for (uint64_t r = 0; values && rows && r < n; r++) {
            for (uint64_t c = 0; c < matrix->n_col; c++)
                values[c] = side_random(seed + i, r * matrix->n_col + c) / sqrtf((float)matrix->n_col);
            tandem_kit_quantise(matrix->type, values, rows + r * row_bytes, matrix->n_col);
        }
        /* Two ranges, the first of which ends inside a group of rows. */
        uint64_t half = n / 2 | 1;
        if (values && rows)
            status = m->api->weights_write(weights, record, i, 0, half, rows, half * row_bytes, 0, &m->error);
        if (status == TANDEM_OK && half < n)
            status = m->api->weights_write(weights, record, i, half, n - half, rows + half * row_bytes,
                                           (n - half) * row_bytes, 0, &m->error);
        free(values);
        free(rows);
        SIDE_TRY(status);
    }
    return TANDEM_OK;
}

static tandem_status make_records(model *m, uint32_t n_record, uint32_t n_matrix,
                                  const tandem_matrix_desc *matrices, uint64_t seed,
                                  tandem_weights **weights) {
    const tandem_matrix_desc *list[4];
    for (uint32_t i = 0; i < n_matrix; i++)
        list[i] = &matrices[i];
    tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = n_record, .n_matrix = n_matrix, .matrices = list};
    SIDE_TRY(m->api->weights_create(m->context, &desc, weights, &m->error));
    for (uint32_t r = 0; r < n_record && !m->shape.empty; r++)
        SIDE_TRY(write_record(m, *weights, r, n_matrix, matrices, seed + 100 * r));
    return TANDEM_OK;
}

static tandem_status make_weights(model *m, uint32_t n_matrix, const tandem_matrix_desc *matrices,
                                  uint64_t seed, tandem_weights **weights) {
    return make_records(m, 1, n_matrix, matrices, seed, weights);
}

static tandem_matrix_desc matrix(uint32_t role, uint32_t type, uint64_t n_row, uint64_t n_col) {
    return (tandem_matrix_desc){.struct_size = sizeof(tandem_matrix_desc),
                                .role = role,
                                .type = type,
                                .n_row = n_row,
                                .n_col = n_col};
}

static tandem_status make_all_weights(model *m) {
    const model_shape *s = &m->shape;
    uint64_t q_row = (uint64_t)s->n_head * s->head_dim, kv_row = (uint64_t)s->n_kv_head * s->head_dim;
    const tandem_matrix_desc head[] = {matrix(TANDEM_ROLE_SINGLE, TANDEM_TYPE_Q8_0, s->n_vocab, s->d)};
    SIDE_TRY(make_weights(m, 1, head, 100, &m->table));
    for (uint32_t i = 0; i < MODEL_LAYERS; i++) {
        model_weights *w = &m->layers[i];
        const tandem_matrix_desc qkv[] = {matrix(TANDEM_ROLE_Q, TANDEM_TYPE_Q4_0, q_row, s->d),
                                          matrix(TANDEM_ROLE_K, TANDEM_TYPE_Q8_0, kv_row, s->d),
                                          matrix(TANDEM_ROLE_V, TANDEM_TYPE_Q5_0, kv_row, s->d)};
        const tandem_matrix_desc out[] = {matrix(TANDEM_ROLE_SINGLE, TANDEM_TYPE_Q5_1, s->d, q_row)};
        const tandem_matrix_desc gate_up[] = {
            matrix(TANDEM_ROLE_GATE, TANDEM_TYPE_Q4_1, s->ff, s->d),
            matrix(TANDEM_ROLE_UP, i == 0 ? TANDEM_TYPE_Q4_1 : TANDEM_TYPE_Q4_0, s->ff, s->d)};
        const tandem_matrix_desc down[] = {matrix(TANDEM_ROLE_DOWN, TANDEM_TYPE_F16, s->d, s->ff)};
        SIDE_TRY(make_weights(m, 3, qkv, 200 + 10 * i, &w->qkv));
        SIDE_TRY(make_weights(m, 1, out, 203 + 10 * i, &w->out));
        SIDE_TRY(make_weights(m, 2, gate_up, 204 + 10 * i, &w->gate_up));
        SIDE_TRY(make_weights(m, 1, down, 206 + 10 * i, &w->down));
        if (!s->n_expert)
            continue;
        const tandem_matrix_desc router[] = {matrix(TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, s->n_expert, s->d)};
        const tandem_matrix_desc expert[] = {
            matrix(TANDEM_ROLE_GATE_UP, TANDEM_TYPE_Q4_0, 2ull * s->d_expert, s->d),
            matrix(TANDEM_ROLE_DOWN, TANDEM_TYPE_Q5_0, s->d, s->d_expert)};
        SIDE_TRY(make_weights(m, 1, router, 207 + 10 * i, &w->router));
        SIDE_TRY(make_records(m, s->n_expert, 2, expert, 208 + 10 * i, &w->experts));
    }
    return TANDEM_OK;
}

static tandem_status make_kv(model *m) {
    const model_shape *s = &m->shape;
    tandem_kv_layer layers[MODEL_LAYERS];
    const tandem_kv_layer *list[MODEL_LAYERS];
    for (uint32_t i = 0; i < MODEL_LAYERS; i++) {
        layers[i] = (tandem_kv_layer){.struct_size = sizeof layers[i],
                                      .n_kv_head = s->n_kv_head,
                                      .head_dim = s->head_dim,
                                      .type = s->kv_type,
                                      .window = i == 0 ? s->window : 0,
                                      .share_of = TANDEM_NONE,
                                      .capacity = s->n_ctx};
        list[i] = &layers[i];
    }
    tandem_kv_desc desc = {.struct_size = sizeof desc,
                           .n_layer = MODEL_LAYERS,
                           .layers = list,
                           .max_chunk = s->chunk,
                           .n_slot = s->n_slot};
    return m->api->kv_create(m->context, &desc, &m->kv, &m->error);
}

/* A vector of the longest kind. */
static uint64_t vector_floats(const model *m) {
    return m->shape.d > m->shape.head_dim ? m->shape.d : m->shape.head_dim;
}

static tandem_status make_vectors(model *m) {
    uint64_t n = (uint64_t)N_VECTOR * vector_floats(m);
    float *values = malloc(n * sizeof *values);
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = n * sizeof *values};
    if (!values)
        return TANDEM_E_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < n; i++)
        values[i] = 1 + 0.3f * side_random(7, i);
    tandem_status status = m->api->buffer_create(m->context, &desc, &m->vectors, &m->error);
    if (status == TANDEM_OK)
        status = m->api->buffer_write(m->vectors, 0, values, desc.bytes, &m->error);
    free(values);
    return status;
}

static tandem_status make_result(model *m) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc,
                               .placement = TANDEM_PLACE_HOST,
                               .bytes = RESULT_ROWS * model_result_stride()};
    return m->api->buffer_create(m->context, &desc, &m->result, &m->error);
}

/* ---- ops ---- */

uint64_t model_result_stride(void) {
    return (MODEL_TOPK * 8 + 8 + 15) / 16 * 16;
}

static tandem_view vector(const model *m, uint32_t index) {
    return (tandem_view){
        .buffer = m->vectors, .offset = index * vector_floats(m) * 4, .rows = TANDEM_ROWS_CONST};
}

/* Rows of n floats at the end of what is taken. */
static tandem_view area(const model *m, uint64_t *end, uint32_t n, uint32_t rows) {
    tandem_view view = {
        .buffer = m->activations, .offset = *end, .stride = (n * 4ull + 15) / 16 * 16, .rows = rows};
    *end += view.stride * (rows == TANDEM_ROWS_ALL ? m->shape.chunk : m->shape.n_out);
    return view;
}

static tandem_op head_of(uint32_t size, uint32_t kind, uint32_t rows, const char *label) {
    return (tandem_op){.struct_size = size, .kind = kind, .rows = rows, .label = label};
}

static void add(model *m, const tandem_op *op) {
    m->ops[m->n_op++] = op;
}

typedef struct areas {
    tandem_view h[2], q, k, v, mixed, branch, glu, logits, top;
    tandem_view router_in, expert_in, route, expert_branch;
} areas;

/* What the two branches of a layer with experts add to the stream. */
static void join_branches(const model *m, const areas *a, tandem_op_stream *stream) {
    stream->a[1] = a->expert_branch;
    stream->w[1] = vector(m, 5 * MODEL_LAYERS);
    stream->w[2] = vector(m, 5 * MODEL_LAYERS + 1);
}

static void add_experts(model *m, uint32_t i, const areas *a, const tandem_op *down) {
    static const char *const names[MODEL_LAYERS][2] = {{"blk.0.route", "blk.0.experts"},
                                                       {"blk.1.route", "blk.1.experts"}};
    tandem_op_moe_route *route = &m->routes[i];
    tandem_op_moe_ffn *experts = &m->experts[i];
    tandem_op_stream *inputs = &m->streams[2 * i + 1];
    inputs->n_out = 3;
    for (uint32_t k = 1; k < 3; k++) {
        inputs->out[k] = k == 1 ? a->router_in : a->expert_in;
        inputs->out_w[k] = vector(m, 5 * MODEL_LAYERS + k % 2);
        inputs->out_scale[k] = 1;
    }
    *route = (tandem_op_moe_route){
        .head = head_of(sizeof *route, TANDEM_OP_MOE_ROUTE, TANDEM_ROWS_ALL, names[i][0]),
        .weights = m->layers[i].router,
        .n_used = m->shape.n_used,
        .x = a->router_in,
        .route = a->route};
    *experts =
        (tandem_op_moe_ffn){.head = head_of(sizeof *experts, TANDEM_OP_MOE_FFN, TANDEM_ROWS_ALL, names[i][1]),
                            .weights = m->layers[i].experts,
                            .n_used = m->shape.n_used,
                            .x = a->expert_in,
                            .route = a->route,
                            .y = a->expert_branch};
    add(m, &route->head);
    add(m, down);
    add(m, &experts->head);
}

static void add_layer(model *m, uint32_t i, const areas *a) {
    static const char *const names[MODEL_LAYERS][5] = {
        {"blk.0.qkv", "blk.0.attention", "blk.0.out", "blk.0.gate_up", "blk.0.down"},
        {"blk.1.qkv", "blk.1.attention", "blk.1.out", "blk.1.gate_up", "blk.1.down"}};
    tandem_op_stream *before = &m->streams[2 * i], *after = &m->streams[2 * i + 1];
    tandem_op_matmul *qkv = &m->matmuls[4 * i], *out = qkv + 1, *gate_up = qkv + 2, *down = qkv + 3;
    const model_weights *w = &m->layers[i];
    uint32_t v = 5 * i;
    *before = (tandem_op_stream){.head = head_of(sizeof *before, TANDEM_OP_STREAM, TANDEM_ROWS_ALL, NULL),
                                 .d = m->shape.d,
                                 .n_out = 1,
                                 .eps = 1e-6f,
                                 .scale = 1,
                                 .h = a->h[0],
                                 .out_h = a->h[1],
                                 .out_w = {vector(m, v)},
                                 .out_scale = {1}};
    if (i > 0) {
        before->a[0] = a->branch;
        before->w[0] = vector(m, v - 1);
        if (m->shape.n_expert)
            join_branches(m, a, before);
    }
    *qkv = (tandem_op_matmul){.head = head_of(sizeof *qkv, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, names[i][0]),
                              .weights = w->qkv,
                              .n_matrix = 3,
                              .y = {a->q, a->k, a->v},
                              .prologue = before};
    m->attentions[i] = (tandem_op_attention){
        .head = head_of(sizeof m->attentions[i], TANDEM_OP_ATTENTION, TANDEM_ROWS_ALL, names[i][1]),
        .kv = m->kv,
        .layer = i,
        .n_head = m->shape.n_head,
        .n_rope_pair = m->shape.head_dim / 2,
        .flags = TANDEM_ATTENTION_V_NORM,
        .scale = 0.25f,
        .eps = 1e-6f,
        .rope_omega = m->rope_omega,
        .q = a->q,
        .k = a->k,
        .v = a->v,
        .q_norm = vector(m, v + 1),
        .k_norm = vector(m, v + 2),
        .out = a->mixed};
    *out = (tandem_op_matmul){.head = head_of(sizeof *out, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, names[i][2]),
                              .weights = w->out,
                              .n_matrix = 1,
                              .x = {a->mixed},
                              .y = {a->branch}};
    *after = *before;
    after->h = a->h[1];
    after->out_h = a->h[0];
    after->a[0] = a->branch;
    after->a[1] = (tandem_view){0};
    after->w[0] = vector(m, v + 3);
    after->w[1] = after->w[2] = (tandem_view){0};
    after->out_w[0] = vector(m, 5 * MODEL_LAYERS);
    *gate_up =
        (tandem_op_matmul){.head = head_of(sizeof *gate_up, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, names[i][3]),
                           .weights = w->gate_up,
                           .n_matrix = 2,
                           .activation = TANDEM_ACT_GELU_GLU,
                           .y = {a->glu},
                           .prologue = after};
    *down = (tandem_op_matmul){.head = head_of(sizeof *down, TANDEM_OP_MATMUL, TANDEM_ROWS_ALL, names[i][4]),
                               .weights = w->down,
                               .n_matrix = 1,
                               .x = {a->glu},
                               .y = {a->branch}};
    add(m, &qkv->head);
    add(m, &m->attentions[i].head);
    add(m, &out->head);
    add(m, &gate_up->head);
    if (m->shape.n_expert)
        add_experts(m, i, a, &down->head);
    else
        add(m, &down->head);
}

static void add_head(model *m, const areas *a) {
    tandem_op_stream *last = &m->streams[2 * MODEL_LAYERS];
    tandem_op_matmul *head = &m->matmuls[4 * MODEL_LAYERS];
    *last = m->streams[2];
    last->head.rows = TANDEM_ROWS_OUT;
    last->out_h = (tandem_view){0};
    last->a[0] = a->branch;
    last->w[0] = vector(m, 5 * MODEL_LAYERS - 1);
    last->out_w[0] = vector(m, 5 * MODEL_LAYERS + 1);
    *head = (tandem_op_matmul){.head = head_of(sizeof *head, TANDEM_OP_MATMUL, TANDEM_ROWS_OUT, "head"),
                               .weights = m->table,
                               .n_matrix = 1,
                               .softcap = 30,
                               .y = {a->logits},
                               .prologue = last};
    m->topk = (tandem_op_topk){.head = head_of(sizeof m->topk, TANDEM_OP_TOPK, TANDEM_ROWS_OUT, "top"),
                               .n = m->shape.n_vocab,
                               .k = m->shape.empty ? 64 : MODEL_TOPK,
                               .x = a->logits,
                               .out = a->top};
    add(m, &head->head);
    add(m, &m->topk.head);
}

/* The activation areas; returns their bytes. */
static uint64_t plan_areas(const model *m, areas *a) {
    const model_shape *s = &m->shape;
    uint64_t end = 0;
    a->h[0] = area(m, &end, s->d, TANDEM_ROWS_ALL);
    a->h[1] = area(m, &end, s->d, TANDEM_ROWS_ALL);
    a->q = area(m, &end, s->n_head * s->head_dim, TANDEM_ROWS_ALL);
    a->k = area(m, &end, s->n_kv_head * s->head_dim, TANDEM_ROWS_ALL);
    a->v = area(m, &end, s->n_kv_head * s->head_dim, TANDEM_ROWS_ALL);
    a->mixed = area(m, &end, s->n_head * s->head_dim, TANDEM_ROWS_ALL);
    a->branch = area(m, &end, s->d, TANDEM_ROWS_ALL);
    a->glu = area(m, &end, s->ff, TANDEM_ROWS_ALL);
    if (s->n_expert) {
        a->router_in = area(m, &end, s->d, TANDEM_ROWS_ALL);
        a->expert_in = area(m, &end, s->d, TANDEM_ROWS_ALL);
        a->expert_branch = area(m, &end, s->d, TANDEM_ROWS_ALL);
        a->route = area(m, &end, 2 * s->n_used, TANDEM_ROWS_ALL);
    }
    a->logits = area(m, &end, s->n_vocab, TANDEM_ROWS_OUT);
    a->top = area(m, &end, s->empty ? 2 * 64 + 2 : (uint32_t)(model_result_stride() / 4), TANDEM_ROWS_OUT);
    return end;
}

static tandem_status make_ops(model *m) {
    areas a;
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = plan_areas(m, &a)};
    SIDE_TRY(m->api->buffer_create(m->context, &desc, &m->activations, &m->error));
    plan_areas(m, &a);
    for (uint32_t i = 0; i < m->shape.head_dim / 2; i++)
        m->rope_omega[i] = pow(10000, -2.0 * i / m->shape.head_dim);
    m->embed = (tandem_op_embed){.head = head_of(sizeof m->embed, TANDEM_OP_EMBED, TANDEM_ROWS_ALL, "embed"),
                                 .table = m->table,
                                 .scale = 11,
                                 .out = a.h[0]};
    add(m, &m->embed.head);
    for (uint32_t i = 0; i < MODEL_LAYERS; i++)
        add_layer(m, i, &a);
    add_head(m, &a);
    return TANDEM_OK;
}

tandem_status model_open(model *m, const tandem_backend *api, tandem_context *context,
                         const model_shape *shape) {
    memset(m, 0, sizeof *m);
    m->api = api;
    m->context = context;
    m->shape = *shape;
    m->error.struct_size = sizeof m->error;
    SIDE_TRY(make_all_weights(m));
    SIDE_TRY(make_kv(m));
    SIDE_TRY(make_vectors(m));
    SIDE_TRY(make_result(m));
    return make_ops(m);
}

void model_close(model *m) {
    m->api->kv_destroy(m->kv);
    m->api->buffer_destroy(m->vectors);
    m->api->buffer_destroy(m->activations);
    m->api->buffer_destroy(m->result);
    m->api->weights_destroy(m->table);
    for (uint32_t i = 0; i < MODEL_LAYERS; i++) {
        m->api->weights_destroy(m->layers[i].qkv);
        m->api->weights_destroy(m->layers[i].out);
        m->api->weights_destroy(m->layers[i].gate_up);
        m->api->weights_destroy(m->layers[i].down);
        m->api->weights_destroy(m->layers[i].router);
        m->api->weights_destroy(m->layers[i].experts);
    }
}

tandem_status model_program(model *m, uint32_t max_tokens, uint32_t max_out, uint32_t precision,
                            tandem_program **program) {
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .n_op = m->n_op,
                                .ops = m->ops,
                                .max_tokens = max_tokens,
                                .max_out = max_out,
                                .max_slots = 1,
                                .precision = precision};
    return m->api->program_create(m->context, &desc, program, &m->error);
}

tandem_status model_run(model *m, tandem_program *program, const uint32_t *tokens, uint32_t n,
                        uint32_t position, uint32_t result_row, tandem_ticket *ticket) {
    tandem_run run = {.struct_size = sizeof run,
                      .n_rows = n,
                      .n_out = 1,
                      .tokens = tokens,
                      .position = position,
                      .result = m->result,
                      .result_offset = result_row * model_result_stride()};
    if (!tokens) {
        run.source = TANDEM_SOURCE_DEVICE_NEXT;
        run.position = 0;
    }
    return m->api->run(program, &run, ticket, &m->error);
}

tandem_status model_result(model *m, uint32_t result_row, model_top *top) {
    return m->api->buffer_read(m->result, result_row * model_result_stride(), top, sizeof *top, 0, &m->error);
}
