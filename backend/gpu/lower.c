/* lower.c: an op to the function that makes its launches, and what those of both plugins have in common. */
#include "hooks.h"

#include <tandem/rope.h>

#include <string.h>

tandem_status gpu_lower(gpu_builder *builder, const tandem_op *op) {
    if (op->rows == TANDEM_ROWS_OUT && builder->program->limits.max_out == 0)
        return TANDEM_OK; /* no run of this program has a row for it */
    switch (op->kind) {
    case TANDEM_OP_EMBED:
        return gpu_lower_embed(builder, (const tandem_op_embed *)op);
    case TANDEM_OP_STREAM:
        return gpu_lower_stream(builder, (const tandem_op_stream *)op, NULL);
    case TANDEM_OP_MATMUL:
        return gpu_lower_matmul(builder, (const tandem_op_matmul *)op);
    case TANDEM_OP_ATTENTION:
        return gpu_lower_attention(builder, (const tandem_op_attention *)op);
    case TANDEM_OP_TOPK:
        return gpu_lower_topk(builder, (const tandem_op_topk *)op);
    case TANDEM_OP_GLU:
    case TANDEM_OP_ADD:
    case TANDEM_OP_SCALE:
    case TANDEM_OP_COPY:
        return gpu_lower_elementwise(builder, (const tandem_op_elementwise *)op);
    case TANDEM_OP_MOE_ROUTE:
        return gpu_lower_moe_route(builder, (const tandem_op_moe_route *)op);
    case TANDEM_OP_MOE_FFN:
        return gpu_lower_moe_ffn(builder, (const tandem_op_moe_ffn *)op);
    default:
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "The " GPU_TITLE " plugin has no kernels for op kind %u", op->kind);
    }
}

tandem_status gpu_rope_tables(gpu_builder *builder, const tandem_op_attention *op, uint64_t *address) {
    uint64_t n_ctx = op->kv->max_position;
    uint32_t n_high = tandem_kit_rope_n_high(n_ctx);
    uint64_t low_bytes = (uint64_t)TANDEM_KIT_ROPE_LOW * op->n_rope_pair * 8;
    uint64_t high_bytes = (uint64_t)n_high * op->n_rope_pair * 8;
    void *place;
    *address = 0;
    if (op->n_rope_pair == 0)
        return TANDEM_OK;
    for (uint32_t i = 0; i < builder->n_rope; i++) {
        const gpu_rope *rope = &builder->ropes[i];
        if (rope->n_pair == op->n_rope_pair && rope->n_high == n_high &&
            memcmp(rope->omega, op->rope_omega, op->n_rope_pair * sizeof(double)) == 0) {
            *address = rope->address;
            return TANDEM_OK;
        }
    }
    GPU_DO(gpu_constant(builder, low_bytes + high_bytes, address, &place));
    if (place) {
        tandem_kit_rope_low(op->rope_omega, op->n_rope_pair, place);
        tandem_kit_rope_high(op->rope_omega, op->n_rope_pair, n_high, (float *)((char *)place + low_bytes));
    }
    if (builder->n_rope < GPU_MAX_ROPE)
        builder->ropes[builder->n_rope++] = (gpu_rope){op->rope_omega, op->n_rope_pair, n_high, *address};
    return TANDEM_OK;
}

tandem_status gpu_declare_stream(gpu_builder *builder, const tandem_op_stream *op,
                                 const gpu_stream_extra *extra, uint64_t row_bytes, gpu_traffic *traffic) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t vector_bytes = op->d * 4ull;
    traffic->row_bytes += row_bytes;
    GPU_DO(gpu_reads_view(builder, &op->h, row_bytes));
    for (uint32_t i = 0; i < 2; i++) {
        GPU_DO(gpu_reads_view(builder, &op->a[i], row_bytes));
        traffic->row_bytes += op->a[i].buffer ? row_bytes : 0;
    }
    for (uint32_t i = 0; i < 3; i++)
        GPU_DO(gpu_reads_view(builder, &op->w[i], vector_bytes));
    GPU_DO(gpu_writes_view(builder, &op->out_h, row_bytes));
    traffic->row_bytes += op->out_h.buffer ? row_bytes : 0;
    for (uint32_t i = 0; i < op->n_out; i++) {
        GPU_DO(gpu_reads_view(builder, &op->out_w[i], vector_bytes));
        GPU_DO(gpu_writes_view(builder, &op->out[i], row_bytes));
        traffic->row_bytes += op->out[i].buffer ? row_bytes : 0;
        if (!extra)
            continue;
        if (!op->out[i].buffer && extra->out[i]) {
            GPU_DO(gpu_touches(builder, extra->out[i], row_bytes, extra->out_stride[i], rows.max, 1));
            traffic->row_bytes += row_bytes;
        }
        if (extra->q8[i]) {
            uint64_t q8_bytes = Q8_ROW_BYTES((uint64_t)op->d);
            GPU_DO(gpu_touches(builder, extra->q8[i], q8_bytes, q8_bytes, rows.max, 1));
            traffic->row_bytes += q8_bytes;
        }
    }
    return TANDEM_OK;
}

tandem_status gpu_declare_append(gpu_builder *builder, const tandem_op_attention *op,
                                 const gpu_append *append) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    int has_keys = op->k.buffer != NULL;
    uint64_t kv_bytes = has_keys ? append->kv_bytes : 0;
    gpu_last_launch(builder)->traffic = (gpu_traffic){.rows = op->head.rows,
                                                      .row_bytes = 2 * append->q_bytes + 2 * kv_bytes,
                                                      .row_flops = append->q_bytes + kv_bytes,
                                                      .append = has_keys ? append->layer : NULL};
    GPU_DO(gpu_reads(builder, gpu_builder_run(builder), gpu_builder_run_bytes(builder)));
    GPU_DO(gpu_reads_view(builder, &op->q, append->q_bytes));
    GPU_DO(gpu_reads_view(builder, &op->q_norm, append->head_dim * 4ull));
    if (op->n_rope_pair)
        GPU_DO(gpu_reads(builder, append->rope,
                         (uint64_t)(TANDEM_KIT_ROPE_LOW + tandem_kit_rope_n_high(op->kv->max_position)) *
                             op->n_rope_pair * 8));
    GPU_DO(gpu_writes(builder, append->q_out, rows.max * append->q_bytes));
    if (!has_keys)
        return TANDEM_OK;
    GPU_DO(gpu_reads_view(builder, &op->k, kv_bytes));
    GPU_DO(gpu_reads_view(builder, &op->v, kv_bytes));
    GPU_DO(gpu_reads_view(builder, &op->k_norm, append->head_dim * 4ull));
    GPU_DO(gpu_writes(builder, append->layer->k.address, append->cache_bytes));
    return gpu_writes(builder, append->layer->v.address, append->cache_bytes);
}

tandem_status gpu_declare_choice(gpu_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t expert_bytes = op->weights->packs[op->matrix].n_row * 4ull, imposed_bytes = op->n_used * 4ull;
    gpu_last_launch(builder)->traffic =
        (gpu_traffic){.rows = op->head.rows,
                      .row_bytes = expert_bytes * (op->probabilities.buffer ? 2 : 1) +
                                   (op->imposed.buffer ? imposed_bytes : 0) + op->n_used * 8ull,
                      .row_flops = expert_bytes};
    if (gpu_view_gathered(op->head.rows, &op->imposed))
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    GPU_DO(gpu_reads(builder, logits, rows.max * expert_bytes));
    GPU_DO(gpu_reads_view(builder, &op->expert_scale, expert_bytes));
    GPU_DO(gpu_reads_view(builder, &op->imposed, imposed_bytes));
    GPU_DO(gpu_writes_view(builder, &op->probabilities, expert_bytes));
    return gpu_writes_view(builder, &op->route, op->n_used * 8ull);
}

gpu_ffn gpu_ffn_of(const gpu_builder *builder, const tandem_op_moe_ffn *op) {
    const tandem_kit_pack *packs = op->weights->packs;
    uint32_t joined = op->weights->n_matrix == 2;
    uint32_t gathered = gpu_view_gathered(op->head.rows, &op->route);
    gpu_ffn f = {.op = op,
                 .up = joined ? 0 : 1,
                 .down = joined ? 1 : 2,
                 .precision = builder->program->precision,
                 .rows = gpu_builder_rows(builder, op->head.rows)};
    const tandem_kit_pack *gate = &packs[f.gate], *up = &packs[f.up];
    f.width = packs[f.down].n_col;
    f.is_one_kernel = gate->type == up->type && gate->n_segment == 1 && up->n_segment == 1;
    f.n_entry = (uint64_t)f.rows.max * op->n_used;
    f.route_rows = gathered ? f.rows.index : 0;
    f.route_count = gathered ? builder->program->limits.max_tokens : f.rows.max;
    /* Rows that hardly ever share an expert gain nothing from being sorted. */
    f.grouped =
        f.rows.max > GPU_MAX_VEC_ROWS || (f.rows.max > 1 && f.n_entry >= 2ull * op->weights->n_record);
    return f;
}
