/* validate_ops.c: the rules of each op (OPS.md says them in words). */
#include <math.h>
#include <stdio.h>

#include <tandem/quants.h>

#include "validate_internal.h"

enum { MAX_EXPERT = 1024 };

static view_need required_if(int condition) {
    return condition ? VIEW_REQUIRED : VIEW_ABSENT;
}

/* Matrix `index` of record `record`, as the plugin has it. */
static tandem_status read_matrix(const check *c, const char *member, const tandem_weights *weights,
                                 uint32_t record, uint32_t index, tandem_matrix_desc *matrix) {
    if (weights == NULL)
        return check_fail(c, TANDEM_KIT_RULE_POINTER, member, "no weights");
    tandem_weights_info info = {.struct_size = sizeof info};
    CHECK_TRY(c->table->weights_info(weights, &info, c->error));
    if (record >= info.n_record || index >= info.n_matrix)
        return check_fail(c, TANDEM_KIT_RULE_MATRIX_INDEX, member, "record %u of %u, matrix %u of %u", record,
                          info.n_record, index, info.n_matrix);
    *matrix = (tandem_matrix_desc){.struct_size = sizeof *matrix};
    return c->table->weights_matrix(weights, index, matrix, c->error);
}

static tandem_status check_embed(check *c, const tandem_op_embed *op) {
    tandem_matrix_desc table;
    CHECK_TRY(check_finite(c, "scale", op->scale));
    CHECK_TRY(read_matrix(c, "table", op->table, 0, op->matrix, &table));
    check_add_view(c, "out", -1, &op->out, VIEW_OUTPUT, VIEW_REQUIRED, check_f32_bytes(table.n_col));
    return check_views(c, 0);
}

/* eps of a norm. */
static tandem_status check_eps(const check *c, float eps) {
    return isfinite(eps) && eps >= 0 ? TANDEM_OK
                                     : check_fail(c, TANDEM_KIT_RULE_EPS, "eps", "%g", (double)eps);
}

/* The rules of a stream and its views, alone or as a prologue (prefix "prologue."). */
static tandem_status add_stream(check *c, const tandem_op_stream *op, const char *prefix, int alone) {
    char name[24];
    if (op->reserved != 0 || op->reserved2 != 0)
        return check_fail(c, TANDEM_KIT_RULE_RESERVED, alone ? "reserved" : "prologue.reserved", "%u, %u",
                          op->reserved, op->reserved2);
    if (op->d == 0 || op->n_out > 3)
        return check_fail(c, TANDEM_KIT_RULE_STREAM_SHAPE, alone ? "d" : "prologue.d", "d %u, n_out %u",
                          op->d, op->n_out);
    CHECK_TRY(check_eps(c, op->eps));
    CHECK_TRY(check_finite(c, "scale", op->scale));
    for (uint32_t i = 0; i < op->n_out; i++)
        CHECK_TRY(check_finite(c, "out_scale", op->out_scale[i]));
    int branches = op->a[0].buffer != NULL ? op->a[1].buffer != NULL ? 2 : 1 : 0;
    if (branches == 0 && op->a[1].buffer != NULL)
        return check_fail(c, TANDEM_KIT_RULE_STREAM_BRANCH, "a[1]", "a[0] is absent");
    for (int i = 0; i < 3; i++)
        if (op->w[i].buffer != NULL && branches < (i == 0 ? 1 : 2))
            return check_fail(c, TANDEM_KIT_RULE_STREAM_BRANCH, "w", "w[%d] with %d branches", i, branches);
    uint64_t vector = check_f32_bytes(op->d),
             row = check_f32_bytes((uint64_t)op->d * (op->n_slice == 0 ? 1 : op->n_slice));
#define NAME(member) (snprintf(name, sizeof name, "%s%s", prefix, member), name)
    check_add_view(c, NAME("h"), -1, &op->h, VIEW_INPUT, VIEW_REQUIRED, row);
    for (int i = 0; i < 2; i++)
        check_add_view(c, NAME("a"), i, &op->a[i], VIEW_INPUT, VIEW_OPTIONAL, row);
    for (int i = 0; i < 3; i++)
        check_add_view(c, NAME("w"), i, &op->w[i], VIEW_VECTOR, VIEW_OPTIONAL, vector);
    check_add_view(c, NAME("out_h"), -1, &op->out_h, VIEW_OUTPUT, VIEW_OPTIONAL, row);
    for (int i = 0; i < 3; i++) {
        view_need need = (uint32_t)i >= op->n_out ? VIEW_ABSENT : alone ? VIEW_REQUIRED : VIEW_OPTIONAL;
        check_add_view(c, NAME("out"), i, &op->out[i], VIEW_OUTPUT, need, row);
        check_add_view(c, NAME("out_w"), i, &op->out_w[i], VIEW_VECTOR,
                       (uint32_t)i >= op->n_out ? VIEW_ABSENT : VIEW_OPTIONAL, vector);
    }
#undef NAME
    return TANDEM_OK;
}

static tandem_status check_stream(check *c, const tandem_op_stream *op) {
    CHECK_TRY(add_stream(c, op, "", 1));
    if (op->n_out == 0 && op->out_h.buffer == NULL)
        return check_fail(c, TANDEM_KIT_RULE_STREAM_IDLE, "n_out", "no out_h and n_out 0");
    return check_views(c, 0);
}

/* gate and up of one shape, or one matrix that holds both. *n_row: rows of the result. */
static tandem_status check_glu(const check *c, const tandem_op_matmul *op, const tandem_matrix_desc m[3],
                               uint64_t *n_row) {
    int pair = op->n_matrix == 2 && m[0].role == TANDEM_ROLE_GATE && m[1].role == TANDEM_ROLE_UP &&
               m[0].n_row == m[1].n_row && m[0].n_col == m[1].n_col;
    int joined = op->n_matrix == 1 && m[0].role == TANDEM_ROLE_GATE_UP && m[0].n_row % 2 == 0;
    if (!pair && !joined)
        return check_fail(c, TANDEM_KIT_RULE_MATMUL_GLU, "activation",
                          "%u matrices, the first of role %u and %llu by %llu", op->n_matrix, m[0].role,
                          (unsigned long long)m[0].n_row, (unsigned long long)m[0].n_col);
    if (op->softcap != 0)
        return check_fail(c, TANDEM_KIT_RULE_MATMUL_SOFTCAP, "softcap", "%g", (double)op->softcap);
    *n_row = joined ? m[0].n_row / 2 : m[0].n_row;
    return TANDEM_OK;
}

/* The prologue's own rules, and that it yields what the n_x inputs read. */
static tandem_status check_prologue(check *c, const tandem_op_matmul *op, const tandem_matrix_desc m[3],
                                    uint32_t n_x) {
    tandem_kit_op taken;
    const tandem_op *head = &op->prologue->head;
    if (head->struct_size < sizeof *head || head->kind != TANDEM_OP_STREAM)
        return check_fail(c, TANDEM_KIT_RULE_PROLOGUE_KIND, "prologue", "struct_size %u, kind %u",
                          head->struct_size, head->kind);
    CHECK_TRY(tandem_kit_take_op(&taken, head, c->op_index, c->error));
    const tandem_op_stream *stream = &taken.stream;
    if (stream->head.rows != op->head.rows)
        return check_fail(c, TANDEM_KIT_RULE_PROLOGUE_KIND, "prologue.head.rows", "%u, and %u of the op",
                          stream->head.rows, op->head.rows);
    if (stream->head.reserved != 0)
        return check_fail(c, TANDEM_KIT_RULE_RESERVED, "prologue.head.reserved", "%u", stream->head.reserved);
    CHECK_TRY(add_stream(c, stream, "prologue.", 0));
    uint64_t width = (uint64_t)stream->d * (stream->n_slice == 0 ? 1 : stream->n_slice);
    for (uint32_t i = 0; i < n_x; i++) {
        if (op->x_output[i] >= stream->n_out)
            return check_fail(c, TANDEM_KIT_RULE_PROLOGUE_OUTPUT, "x_output", "output %u of %u for matrix %u",
                              op->x_output[i], stream->n_out, i);
        if (width != m[i].n_col)
            return check_fail(c, TANDEM_KIT_RULE_PROLOGUE_WIDTH, "prologue.d",
                              "%llu elements, and %llu columns of matrix %u", (unsigned long long)width,
                              (unsigned long long)m[i].n_col, i);
    }
    return TANDEM_OK;
}

static tandem_status check_matmul(check *c, const tandem_op_matmul *op) {
    tandem_matrix_desc m[3] = {{0}};
    if (op->n_matrix < 1 || op->n_matrix > 3 || op->first_matrix > UINT32_MAX - op->n_matrix)
        return check_fail(c, TANDEM_KIT_RULE_MATMUL_COUNT, "n_matrix", "%u from matrix %u on", op->n_matrix,
                          op->first_matrix);
    if (op->activation > TANDEM_ACT_GELU_GLU)
        return check_fail(c, TANDEM_KIT_RULE_MATMUL_ACTIVATION, "activation", "%u", op->activation);
    if (!isfinite(op->softcap) || op->softcap < 0)
        return check_fail(c, TANDEM_KIT_RULE_MATMUL_SOFTCAP, "softcap", "%g", (double)op->softcap);
    for (uint32_t i = 0; i < op->n_matrix; i++)
        CHECK_TRY(read_matrix(c, "weights", op->weights, op->record, op->first_matrix + i, &m[i]));
    uint64_t n_row[3] = {m[0].n_row, m[1].n_row, m[2].n_row};
    uint32_t n_x = op->n_matrix, n_y = op->n_matrix;
    if (op->activation == TANDEM_ACT_GELU_GLU) {
        CHECK_TRY(check_glu(c, op, m, &n_row[0]));
        n_x = n_y = 1;
    }
    for (uint32_t i = 0; i < 3; i++) {
        check_add_view(c, "x", (int)i, &op->x[i], VIEW_INPUT, required_if(i < n_x && op->prologue == NULL),
                       check_f32_bytes(m[i].n_col));
        check_add_view(c, "y", (int)i, &op->y[i], VIEW_OUTPUT, required_if(i < n_y),
                       check_f32_bytes(n_row[i]));
    }
    if (op->prologue != NULL)
        CHECK_TRY(check_prologue(c, op, m, n_x));
    return check_views(c, 0);
}

/* Whether the op may bring k and v, and brings both or none. */
static tandem_status check_append(const check *c, const tandem_op_attention *op,
                                  const tandem_kv_layer *layer) {
    int has_k = op->k.buffer != NULL, has_v = op->v.buffer != NULL;
    int k_is_v = (op->flags & TANDEM_ATTENTION_K_IS_V) != 0;
    if ((has_k || has_v) && (layer->share_of != TANDEM_NONE || op->head.rows != TANDEM_ROWS_ALL))
        return check_fail(c, TANDEM_KIT_RULE_ATTENTION_APPEND, has_k ? "k" : "v", "layer %u %s", op->layer,
                          layer->share_of != TANDEM_NONE ? "shares another's storage" : "on OUT rows");
    if (has_v != (has_k && !k_is_v))
        return check_fail(c, TANDEM_KIT_RULE_ATTENTION_KV_PAIR, has_v ? "v" : "k",
                          "k is %s, v is %s, K_IS_V is %s", has_k ? "given" : "absent",
                          has_v ? "given" : "absent", k_is_v ? "set" : "not set");
    return TANDEM_OK;
}

static tandem_status check_attention(check *c, const tandem_op_attention *op) {
    if (op->kv == NULL)
        return check_fail(c, TANDEM_KIT_RULE_POINTER, "kv", "no cache");
    tandem_kv_info info = {.struct_size = sizeof info};
    tandem_kv_layer layer = {.struct_size = sizeof layer};
    CHECK_TRY(c->table->kv_info(op->kv, &info, c->error));
    if (op->layer >= info.n_layer)
        return check_fail(c, TANDEM_KIT_RULE_KV_LAYER, "layer", "%u of %u", op->layer, info.n_layer);
    CHECK_TRY(c->table->kv_layer(op->kv, op->layer, &layer, c->error));
    if (op->n_head == 0 || layer.n_kv_head == 0 || op->n_head % layer.n_kv_head != 0)
        return check_fail(c, TANDEM_KIT_RULE_ATTENTION_HEADS, "n_head", "%u, and %u KV heads", op->n_head,
                          layer.n_kv_head);
    if (op->n_rope_pair > layer.head_dim / 2)
        return check_fail(c, TANDEM_KIT_RULE_ATTENTION_ROPE, "n_rope_pair", "%u, and a head size of %u",
                          op->n_rope_pair, layer.head_dim);
    if ((op->flags & ~(TANDEM_ATTENTION_V_NORM | TANDEM_ATTENTION_K_IS_V)) != 0)
        return check_fail(c, TANDEM_KIT_RULE_FLAGS, "flags", "0x%x", op->flags);
    CHECK_TRY(check_finite(c, "scale", op->scale));
    CHECK_TRY(check_eps(c, op->eps));
    if (op->n_rope_pair > 0 && op->rope_omega == NULL)
        return check_fail(c, TANDEM_KIT_RULE_POINTER, "rope_omega", "NULL with %u pairs", op->n_rope_pair);
    for (uint32_t i = 0; i < op->n_rope_pair; i++)
        CHECK_TRY(check_finite(c, "rope_omega", op->rope_omega[i]));
    CHECK_TRY(check_append(c, op, &layer));
    int has_k = op->k.buffer != NULL;
    uint64_t head = check_f32_bytes(layer.head_dim);
    uint64_t q_row = head * op->n_head, kv_row = head * layer.n_kv_head; /* head is at most 4096 */
    check_add_view(c, "q", -1, &op->q, VIEW_INPUT, VIEW_REQUIRED, q_row);
    check_add_view(c, "k", -1, &op->k, VIEW_INPUT, VIEW_OPTIONAL, kv_row);
    check_add_view(c, "v", -1, &op->v, VIEW_INPUT, VIEW_OPTIONAL, kv_row);
    check_add_view(c, "q_norm", -1, &op->q_norm, VIEW_VECTOR, VIEW_OPTIONAL, head);
    check_add_view(c, "k_norm", -1, &op->k_norm, VIEW_VECTOR, has_k ? VIEW_OPTIONAL : VIEW_ABSENT, head);
    check_add_view(c, "visible_until", -1, &op->visible_until, VIEW_INDEX, VIEW_OPTIONAL, sizeof(uint32_t));
    check_add_view(c, "out", -1, &op->out, VIEW_OUTPUT, VIEW_REQUIRED, q_row);
    return check_views(c, 0);
}

static tandem_status check_topk(check *c, const tandem_op_topk *op) {
    if (op->k < 1 || op->k > 64 || op->k > op->n)
        return check_fail(c, TANDEM_KIT_RULE_TOPK_K, "k", "%u of %u", op->k, op->n);
    uint64_t row = 8 * (uint64_t)op->k + 8;
    if (op->out.buffer != NULL && op->out.stride < row)
        return check_fail(c, TANDEM_KIT_RULE_VIEW_STRIDE, "out", "stride %llu for rows of %llu bytes",
                          (unsigned long long)op->out.stride, (unsigned long long)row);
    check_add_view(c, "x", -1, &op->x, VIEW_INPUT, VIEW_REQUIRED, check_f32_bytes(op->n));
    check_add_view(c, "out", -1, &op->out, VIEW_OUTPUT, VIEW_REQUIRED, row);
    return check_views(c, 0);
}

static tandem_status check_elementwise(check *c, const tandem_op_elementwise *op) {
    uint32_t kind = op->head.kind;
    uint64_t row = check_f32_bytes(op->n);
    if (op->n == 0)
        return check_fail(c, TANDEM_KIT_RULE_ELEMENTS, "n", "0");
    CHECK_TRY(check_finite(c, "scale", op->scale));
    check_add_view(c, "a", -1, &op->a, VIEW_INPUT, VIEW_REQUIRED, row);
    check_add_view(c, "b", -1, &op->b, VIEW_INPUT,
                   required_if(kind == TANDEM_OP_GLU || kind == TANDEM_OP_ADD), row);
    check_add_view(c, "out", -1, &op->out, VIEW_OUTPUT, VIEW_REQUIRED, row);
    return check_views(c, 1);
}

static tandem_status check_route_stride(const check *c, const tandem_view *route, uint32_t n_used) {
    if (route->buffer != NULL && route->stride < 8 * (uint64_t)n_used)
        return check_fail(c, TANDEM_KIT_RULE_VIEW_STRIDE, "route", "stride %llu for rows of %llu bytes",
                          (unsigned long long)route->stride, 8 * (unsigned long long)n_used);
    return TANDEM_OK;
}

static tandem_status check_moe_route(check *c, const tandem_op_moe_route *op) {
    tandem_matrix_desc router;
    CHECK_TRY(read_matrix(c, "weights", op->weights, 0, op->matrix, &router));
    if (op->n_used < 1 || op->n_used > router.n_row || router.n_row > MAX_EXPERT)
        return check_fail(c, TANDEM_KIT_RULE_MOE_USED, "n_used", "%u of %llu", op->n_used,
                          (unsigned long long)router.n_row);
    CHECK_TRY(check_route_stride(c, &op->route, op->n_used));
    uint64_t per_expert = check_f32_bytes(router.n_row);
    check_add_view(c, "x", -1, &op->x, VIEW_INPUT, VIEW_REQUIRED, check_f32_bytes(router.n_col));
    check_add_view(c, "expert_scale", -1, &op->expert_scale, VIEW_VECTOR, VIEW_OPTIONAL, per_expert);
    check_add_view(c, "imposed", -1, &op->imposed, VIEW_INDEX, VIEW_OPTIONAL, 4 * (uint64_t)op->n_used);
    check_add_view(c, "route", -1, &op->route, VIEW_OUTPUT, VIEW_REQUIRED, 8 * (uint64_t)op->n_used);
    check_add_view(c, "probabilities", -1, &op->probabilities, VIEW_OUTPUT, VIEW_OPTIONAL, per_expert);
    return check_views(c, 0);
}

/* The roles in their order, and shapes that fit. m: the n matrices of a record. */
static tandem_status check_expert(const check *c, const tandem_matrix_desc m[3], uint32_t n) {
    int joined = n == 2 && m[0].role == TANDEM_ROLE_GATE_UP && m[0].n_row % 2 == 0;
    int split = n == 3 && m[0].role == TANDEM_ROLE_GATE && m[1].role == TANDEM_ROLE_UP &&
                m[0].n_row == m[1].n_row && m[0].n_col == m[1].n_col;
    const tandem_matrix_desc *down = joined ? &m[1] : &m[2];
    uint64_t width = joined ? m[0].n_row / 2 : m[0].n_row;
    if ((!joined && !split) || down->role != TANDEM_ROLE_DOWN || down->n_col != width)
        return check_fail(c, TANDEM_KIT_RULE_MOE_MATRICES, "weights",
                          "%u matrices, the first two of role %u and %u, %llu by %llu and %llu by %llu", n,
                          m[0].role, m[1].role, (unsigned long long)m[0].n_row,
                          (unsigned long long)m[0].n_col, (unsigned long long)m[1].n_row,
                          (unsigned long long)m[1].n_col);
    return TANDEM_OK;
}

static tandem_status check_moe_ffn(check *c, const tandem_op_moe_ffn *op) {
    tandem_matrix_desc m[3] = {{0}};
    tandem_weights_info info = {.struct_size = sizeof info};
    if (op->reserved != 0)
        return check_fail(c, TANDEM_KIT_RULE_RESERVED, "reserved", "%u", op->reserved);
    if (op->weights == NULL)
        return check_fail(c, TANDEM_KIT_RULE_POINTER, "weights", "no weights");
    CHECK_TRY(c->table->weights_info(op->weights, &info, c->error));
    for (uint32_t i = 0; i < 3 && i < info.n_matrix; i++)
        CHECK_TRY(read_matrix(c, "weights", op->weights, 0, i, &m[i]));
    CHECK_TRY(check_expert(c, m, info.n_matrix));
    if (op->n_used < 1 || op->n_used > info.n_record)
        return check_fail(c, TANDEM_KIT_RULE_MOE_USED, "n_used", "%u of %u", op->n_used, info.n_record);
    CHECK_TRY(check_route_stride(c, &op->route, op->n_used));
    check_add_view(c, "x", -1, &op->x, VIEW_INPUT, VIEW_REQUIRED, check_f32_bytes(m[0].n_col));
    check_add_view(c, "route", -1, &op->route, VIEW_INPUT, VIEW_REQUIRED, 8 * (uint64_t)op->n_used);
    check_add_view(c, "y", -1, &op->y, VIEW_OUTPUT, VIEW_REQUIRED,
                   check_f32_bytes(m[info.n_matrix - 1].n_row));
    return check_views(c, 0);
}

tandem_status check_op(check *c, const tandem_kit_op *op) {
    c->head = &op->head;
    c->n_view = 0;
    if (op->head.rows != TANDEM_ROWS_ALL && op->head.rows != TANDEM_ROWS_OUT)
        return check_fail(c, TANDEM_KIT_RULE_OP_ROWS, "head.rows", "%u", op->head.rows);
    if (op->head.reserved != 0)
        return check_fail(c, TANDEM_KIT_RULE_RESERVED, "head.reserved", "%u", op->head.reserved);
    switch (op->head.kind) {
    case TANDEM_OP_EMBED:
        return check_embed(c, &op->embed);
    case TANDEM_OP_STREAM:
        return check_stream(c, &op->stream);
    case TANDEM_OP_MATMUL:
        return check_matmul(c, &op->matmul);
    case TANDEM_OP_ATTENTION:
        return check_attention(c, &op->attention);
    case TANDEM_OP_TOPK:
        return check_topk(c, &op->topk);
    case TANDEM_OP_MOE_ROUTE:
        return check_moe_route(c, &op->moe_route);
    case TANDEM_OP_MOE_FFN:
        return check_moe_ffn(c, &op->moe_ffn);
    default: /* tandem_kit_take_op lets no other kind pass */
        return check_elementwise(c, &op->elementwise);
    }
}
