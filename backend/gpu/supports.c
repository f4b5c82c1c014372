/* supports.c: what there are kernels for. program_create asks the same questions before it compiles. */
#include "hooks.h"

#include <tandem/quants.h>

#include <string.h>

#define MAX_SLICES 65535u

static tandem_status check_stride(const tandem_view *view, const char *name, uint32_t op_index,
                                  tandem_error *error) {
    if (!view->buffer || view->stride <= UINT32_MAX)
        return TANDEM_OK;
    return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                              "%s: kernels take strides below 4 GiB, not %llu bytes", name,
                              (unsigned long long)view->stride);
}

static tandem_status check_strides(const tandem_view *const *views, uint32_t n, const char *name,
                                   uint32_t op_index, tandem_error *error) {
    for (uint32_t i = 0; i < n; i++) {
        tandem_status status = check_stride(views[i], name, op_index, error);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}

static tandem_status check_embed(const tandem_op_embed *op, uint32_t op_index, tandem_error *error) {
    tandem_status status = gpu_supports_table(op->table, op->matrix, op_index, error);
    return status == TANDEM_OK ? check_stride(&op->out, "EMBED out", op_index, error) : status;
}

static tandem_status check_stream(const tandem_op_stream *op, uint32_t op_index, tandem_error *error) {
    const tandem_view *views[7] = {&op->h,      &op->a[0],   &op->a[1],  &op->out_h,
                                   &op->out[0], &op->out[1], &op->out[2]};
    if (op->n_slice > MAX_SLICES)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index, "STREAM: at most %u slices, not %u",
                                  MAX_SLICES, op->n_slice);
    if (op->d > STREAM_MAX_D)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "STREAM: kernels take slices of up to %u elements, not %u", STREAM_MAX_D,
                                  op->d);
    return check_strides(views, 7, "STREAM", op_index, error);
}

static tandem_status check_matmul(const tandem_context *context, const tandem_op_matmul *op,
                                  uint32_t precision, uint32_t op_index, tandem_error *error) {
    const tandem_view *views[6] = {&op->x[0], &op->x[1], &op->x[2], &op->y[0], &op->y[1], &op->y[2]};
    tandem_status status = gpu_supports_precision(context, "MATMUL", precision, op_index, error);
    if (status == TANDEM_OK && op->prologue)
        status = check_stream(op->prologue, op_index, error);
    if (status == TANDEM_OK)
        status = check_strides(views, 6, "MATMUL", op_index, error);
    for (uint32_t m = 0; m < op->n_matrix && status == TANDEM_OK; m++)
        status = gpu_supports_product(context, op->weights, op->first_matrix + m, "MATMUL", precision, 0,
                                      op_index, error);
    return status;
}

/* Its product is exact at every precision. */
static tandem_status check_moe_route(const tandem_context *context, const tandem_op_moe_route *op,
                                     uint32_t op_index, tandem_error *error) {
    const tandem_view *views[4] = {&op->x, &op->imposed, &op->route, &op->probabilities};
    tandem_status status = check_strides(views, 4, "MOE_ROUTE", op_index, error);
    if (status != TANDEM_OK)
        return status;
    return gpu_supports_product(context, op->weights, op->matrix, "MOE_ROUTE", TANDEM_PRECISION_EXACT, 0,
                                op_index, error);
}

static tandem_status check_moe_ffn(const tandem_context *context, const tandem_op_moe_ffn *op,
                                   uint32_t precision, uint32_t op_index, tandem_error *error) {
    const tandem_view *views[3] = {&op->x, &op->route, &op->y};
    tandem_status status = gpu_supports_precision(context, "MOE_FFN", precision, op_index, error);
    if (status == TANDEM_OK)
        status = check_strides(views, 3, "MOE_FFN", op_index, error);
    if (status == TANDEM_OK && op->weights->n_record > MOE_MAX_EXPERT)
        status = tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                    "MOE_FFN: kernels take up to %u experts, not %u", MOE_MAX_EXPERT,
                                    op->weights->n_record);
    for (uint32_t m = 0; m < op->weights->n_matrix && status == TANDEM_OK; m++)
        status =
            gpu_supports_product(context, op->weights, m, "MOE_FFN", precision, op->n_used, op_index, error);
    return status;
}

static tandem_status check_attention(const tandem_op_attention *op, uint32_t op_index, tandem_error *error) {
    const tandem_view *views[5] = {&op->q, &op->k, &op->v, &op->visible_until, &op->out};
    const tandem_kv_layer *layer = &op->kv->layers[op->layer].info;
    if (op->n_head + 2ull * layer->n_kv_head > 65535)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "ATTENTION: %u query heads and %u KV heads are more than one launch covers",
                                  op->n_head, layer->n_kv_head);
    return check_strides(views, 5, "ATTENTION", op_index, error);
}

static tandem_status check_topk(const tandem_op_topk *op, uint32_t op_index, tandem_error *error) {
    const tandem_view *views[2] = {&op->x, &op->out};
    if (op->n > GPU_MAX_TOPK)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "TOPK: kernels take rows of up to %u, not %u", GPU_MAX_TOPK, op->n);
    return check_strides(views, 2, "TOPK", op_index, error);
}

/* ---- handles of other contexts ---- */

static int views_belong(const tandem_context *context, const tandem_view *views, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (views[i].buffer && views[i].buffer->context != context)
            return 0;
    return 1;
}

static int stream_belongs(const tandem_context *context, const tandem_op_stream *op) {
    return views_belong(context, &op->h, 1) && views_belong(context, op->a, 2) &&
           views_belong(context, op->w, 3) && views_belong(context, &op->out_h, 1) &&
           views_belong(context, op->out, 3) && views_belong(context, op->out_w, 3);
}

static int op_belongs(const tandem_context *context, const tandem_kit_op *op) {
    switch (op->head.kind) {
    case TANDEM_OP_EMBED:
        return op->embed.table->context == context && views_belong(context, &op->embed.out, 1);
    case TANDEM_OP_STREAM:
        return stream_belongs(context, &op->stream);
    case TANDEM_OP_MATMUL:
        return op->matmul.weights->context == context && views_belong(context, op->matmul.x, 3) &&
               views_belong(context, op->matmul.y, 3) &&
               (!op->matmul.prologue || stream_belongs(context, op->matmul.prologue));
    case TANDEM_OP_ATTENTION: {
        const tandem_view views[7] = {op->attention.q,      op->attention.k,      op->attention.v,
                                      op->attention.q_norm, op->attention.k_norm, op->attention.visible_until,
                                      op->attention.out};
        return op->attention.kv->context == context && views_belong(context, views, 7);
    }
    case TANDEM_OP_TOPK:
        return views_belong(context, &op->topk.x, 1) && views_belong(context, &op->topk.out, 1);
    case TANDEM_OP_GLU:
    case TANDEM_OP_ADD:
    case TANDEM_OP_SCALE:
    case TANDEM_OP_COPY:
        return views_belong(context, &op->elementwise.a, 1) && views_belong(context, &op->elementwise.b, 1) &&
               views_belong(context, &op->elementwise.out, 1);
    case TANDEM_OP_MOE_ROUTE: {
        const tandem_view views[5] = {op->moe_route.x, op->moe_route.expert_scale, op->moe_route.imposed,
                                      op->moe_route.route, op->moe_route.probabilities};
        return op->moe_route.weights->context == context && views_belong(context, views, 5);
    }
    case TANDEM_OP_MOE_FFN: {
        const tandem_view views[3] = {op->moe_ffn.x, op->moe_ffn.route, op->moe_ffn.y};
        return op->moe_ffn.weights->context == context && views_belong(context, views, 3);
    }
    default:
        return 1; /* refused for its kind */
    }
}

/* ---- the predicate ---- */

tandem_status gpu_supports_op(tandem_context *context, const tandem_kit_op *op, uint32_t precision,
                              uint32_t op_index, tandem_error *error) {
    if (!op_belongs(context, op))
        return tandem_kit_fail_op(error, TANDEM_E_INVALID, op_index,
                                  "%s: an object belongs to another context",
                                  tandem_kit_op_name(op->head.kind));
    switch (op->head.kind) {
    case TANDEM_OP_EMBED:
        return check_embed(&op->embed, op_index, error);
    case TANDEM_OP_STREAM:
        return check_stream(&op->stream, op_index, error);
    case TANDEM_OP_MATMUL:
        return check_matmul(context, &op->matmul, precision, op_index, error);
    case TANDEM_OP_ATTENTION:
        return check_attention(&op->attention, op_index, error);
    case TANDEM_OP_TOPK:
        return check_topk(&op->topk, op_index, error);
    case TANDEM_OP_GLU:
    case TANDEM_OP_ADD:
    case TANDEM_OP_SCALE:
    case TANDEM_OP_COPY: {
        const tandem_view *views[3] = {&op->elementwise.a, &op->elementwise.b, &op->elementwise.out};
        return check_strides(views, 3, tandem_kit_op_name(op->head.kind), op_index, error);
    }
    case TANDEM_OP_MOE_ROUTE:
        return check_moe_route(context, &op->moe_route, op_index, error);
    case TANDEM_OP_MOE_FFN:
        return check_moe_ffn(context, &op->moe_ffn, precision, op_index, error);
    default:
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "%s: the " GPU_TITLE " plugin has no kernels for it yet",
                                  tandem_kit_op_name(op->head.kind));
    }
}

tandem_status gpu_take_op(tandem_kit_op *taken, tandem_op_stream *prologue, const tandem_op *op,
                          uint32_t op_index, tandem_error *error) {
    tandem_kit_op inner;
    tandem_status status = tandem_kit_take_op(taken, op, op_index, error);
    if (status != TANDEM_OK || taken->head.kind != TANDEM_OP_MATMUL || !taken->matmul.prologue)
        return status;
    status = tandem_kit_take_op(&inner, &taken->matmul.prologue->head, op_index, error);
    if (status != TANDEM_OK)
        return status;
    *prologue = inner.stream;
    taken->matmul.prologue = prologue;
    return TANDEM_OK;
}

tandem_status gpu_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                           tandem_error *error) {
    tandem_kit_op taken;
    tandem_op_stream prologue;
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_op(&gpu_backend, op, precision, error);
    if (status == TANDEM_OK)
        status = gpu_take_op(&taken, &prologue, op, 0, error);
    if (status == TANDEM_OK)
        status = gpu_supports_op(context, &taken, precision, 0, error);
    return status;
}
