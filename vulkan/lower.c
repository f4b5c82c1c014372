/* lower.c: the small ops, and the two ends of a run, as dispatches. */
#include "builder.h"

#include <stdio.h>
#include <string.h>

tandem_status gpu_lower_prepare(gpu_builder *builder) {
    const tandem_program *program = builder->program;
    prepare_push push = {.run = gpu_builder_run(builder),
                         .rules = builder->base + vk_rules_offset(program),
                         .indirect = builder->base + vk_indirect_offset(program),
                         .next = builder->context->next.address,
                         .n_rule = program->api.n_rule,
                         .max_tokens = program->limits.max_tokens,
                         .max_out = program->limits.max_out};
    gpu_launch *dispatch;
    GPU_DO(vk_dispatch_add(builder, "prepare", NULL, 0, NULL, &push, sizeof push, &dispatch));
    dispatch->api.groups[0] = dispatch->api.groups[1] = dispatch->api.groups[2] = 1;
    GPU_DO(gpu_reads(builder, push.rules, (uint64_t)push.n_rule * sizeof(launch_rule)));
    GPU_DO(gpu_reads(builder, push.next, sizeof(next_block)));
    GPU_DO(gpu_writes(builder, push.run, gpu_builder_run_bytes(builder)));
    return gpu_writes(builder, push.indirect, (uint64_t)push.n_rule * INDIRECT_BYTES);
}

tandem_status gpu_lower_finish(gpu_builder *builder, const tandem_op_topk *op) {
    uint32_t row_words = 2 * op->k + 2;
    finish_push push = {.run = gpu_builder_run(builder),
                        .topk = gpu_view_address(&op->out),
                        .next = builder->context->next.address,
                        .rows = op->head.rows,
                        .stride = (uint32_t)op->out.stride,
                        .row_words = row_words};
    launch_rule rule = {.groups = {1, 1, 1}, .rows = op->head.rows, .rows_per_group = FINISH_ROWS};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, "finish"));
    GPU_DO(vk_dispatch_add(builder, "finish", NULL, 0, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows, .row_bytes = row_words * 8u};
    GPU_DO(gpu_reads(builder, push.run, sizeof(run_header)));
    GPU_DO(gpu_reads_view(builder, &op->out, row_words * 4u));
    return gpu_writes(builder, push.next, sizeof(uint32_t));
}

bool vk_embed_shader(char name[32], const tandem_kit_pack *pack) {
    const char *format = tandem_kit_pack_format_name(pack->type);
    if (!format)
        return false;
    snprintf(name, 32, "embed_%s", format);
    return true;
}

tandem_status gpu_lower_embed(gpu_builder *builder, const tandem_op_embed *op) {
    const tandem_weights *table = op->table;
    const tandem_kit_pack *pack = &table->packs[op->matrix];
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t run = gpu_builder_run(builder);
    char shader[32];
    if (!vk_embed_shader(shader, pack))
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "EMBED: no kernel for tables of type %u", pack->type);
    embed_push push = {.table = gpu_weights_table(table, 0, op->matrix),
                       .y = gpu_view_address(&op->out),
                       .tokens = run + RUN_ROWS_OFFSET + offsetof(run_row, token),
                       .rows = rows.index,
                       .n_tok = rows.n_tok,
                       .n_row = (uint32_t)pack->n_row,
                       .n_col = pack->n_col,
                       .y_stride = (uint32_t)op->out.stride,
                       .token_stride = RUN_ROW_BYTES,
                       .segment_shift = pack->segment_shift,
                       .scale = op->scale};
    launch_rule rule = {.groups = {((pack->n_col + 31) / 32 + EMBED_BLOCKS - 1) / EMBED_BLOCKS, 1, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, shader));
    GPU_DO(vk_dispatch_add(builder, shader, NULL, 0, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows,
                                      .weight_bytes = (pack->group_bytes + GROUP_ROWS - 1) / GROUP_ROWS,
                                      .weight_bytes_min = pack->row_bytes,
                                      .row_bytes = pack->n_col * 4ull,
                                      .row_flops = pack->n_col,
                                      .weights = table};
    GPU_DO(gpu_uses_record(builder, table, 0));
    GPU_DO(gpu_reads_matrix(builder, table, 0, op->matrix));
    GPU_DO(gpu_reads(builder, run, gpu_builder_run_bytes(builder)));
    return gpu_writes_view(builder, &op->out, pack->n_col * 4ull);
}

/* Fills the block of a STREAM that lies in constant memory. */
static void fill_stream_block(stream_block *block, const tandem_op_stream *op,
                              const gpu_stream_extra *extra) {
    for (uint32_t i = 0; i < 3; i++) {
        block->w[i] = gpu_view_address(&op->w[i]);
        block->y_w[i] = gpu_view_address(&op->out_w[i]);
        block->y[i] = gpu_view_address(&op->out[i]);
        block->y_stride[i] = (uint32_t)op->out[i].stride;
        block->y_scale[i] = op->out_scale[i];
        if (extra && !block->y[i]) {
            block->y[i] = extra->out[i];
            block->y_stride[i] = (uint32_t)extra->out_stride[i];
        }
        if (extra)
            block->y_q8[i] = extra->q8[i];
        if (i >= op->n_out)
            block->y[i] = block->y_q8[i] = 0;
    }
}

tandem_status gpu_lower_stream(gpu_builder *builder, const tandem_op_stream *op,
                               const gpu_stream_extra *extra) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_slice = op->n_slice ? op->n_slice : 1;
    uint64_t row_bytes = (uint64_t)n_slice * op->d * 4;
    uint32_t q8 = 0;
    void *place;
    stream_push push = {.index = rows.index,
                        .h = gpu_view_address(&op->h),
                        .a0 = gpu_view_address(&op->a[0]),
                        .a1 = gpu_view_address(&op->a[1]),
                        .y_h = gpu_view_address(&op->out_h),
                        .h_stride = (uint32_t)op->h.stride,
                        .a0_stride = (uint32_t)op->a[0].stride,
                        .a1_stride = (uint32_t)op->a[1].stride,
                        .y_h_stride = (uint32_t)op->out_h.stride,
                        .eps = op->eps,
                        .scale = op->scale,
                        .gather = (gpu_view_gathered(op->head.rows, &op->h) ? STREAM_GATHER_H : 0) |
                                  (gpu_view_gathered(op->head.rows, &op->a[0]) ? STREAM_GATHER_A0 : 0) |
                                  (gpu_view_gathered(op->head.rows, &op->a[1]) ? STREAM_GATHER_A1 : 0)};
    GPU_DO(gpu_constant(builder, sizeof(stream_block), &push.block, &place));
    if (place)
        fill_stream_block(place, op, extra);
    for (uint32_t i = 0; extra && i < op->n_out; i++)
        q8 |= extra->q8[i] ? 1u << i : 0;
    uint32_t spec[5] = {builder->context->device.policy.stream_local,
                        !op->a[0].buffer   ? 0
                        : !op->a[1].buffer ? 1
                                           : 2,
                        op->n_out, q8, op->d};
    launch_rule rule = {.groups = {n_slice, 1, 1}, .rows = op->head.rows, .row_axis = 1, .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, q8 ? "stream_q8" : "stream"));
    GPU_DO(vk_dispatch_add(builder, "stream", spec, 5, &rule, &push, sizeof push, &dispatch));
    /* note: the dispatch list does not grow while its ranges are declared, so the pointer stays good. */
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows, .row_flops = row_bytes * (1 + op->n_out)};
    GPU_DO(gpu_reads(builder, push.block, sizeof(stream_block)));
    if (rows.index)
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    return gpu_declare_stream(builder, op, extra, row_bytes, &dispatch->traffic);
}

tandem_status gpu_lower_elementwise(gpu_builder *builder, const tandem_op_elementwise *op) {
    static const char *const names[4] = {"glu", "add", "scale", "copy"};
    uint32_t kind = op->head.kind == TANDEM_OP_GLU     ? ELEMENTWISE_GLU
                    : op->head.kind == TANDEM_OP_ADD   ? ELEMENTWISE_ADD
                    : op->head.kind == TANDEM_OP_SCALE ? ELEMENTWISE_SCALE
                                                       : ELEMENTWISE_COPY;
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t row_bytes = op->n * 4ull;
    elementwise_push push = {.index = rows.index,
                             .a = gpu_view_address(&op->a),
                             .b = gpu_view_address(&op->b),
                             .y = gpu_view_address(&op->out),
                             .a_stride = (uint32_t)op->a.stride,
                             .b_stride = (uint32_t)op->b.stride,
                             .y_stride = (uint32_t)op->out.stride,
                             .n = op->n,
                             .scale = op->scale,
                             .gather = (gpu_view_gathered(op->head.rows, &op->a) ? ELEMENTWISE_GATHER_A : 0) |
                                       (gpu_view_gathered(op->head.rows, &op->b) ? ELEMENTWISE_GATHER_B : 0)};
    uint32_t local = builder->context->device.policy.elementwise_local;
    uint32_t spec[2] = {local, kind};
    launch_rule rule = {.groups = {elementwise_groups(op->n, local), 1, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, names[kind]));
    GPU_DO(vk_dispatch_add(builder, "elementwise", spec, 2, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){
        .rows = op->head.rows, .row_bytes = row_bytes * (op->b.buffer ? 3 : 2), .row_flops = op->n};
    if (rows.index)
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    GPU_DO(gpu_reads_view(builder, &op->a, row_bytes));
    GPU_DO(gpu_reads_view(builder, &op->b, row_bytes));
    return gpu_writes_view(builder, &op->out, row_bytes);
}

tandem_status gpu_lower_topk(gpu_builder *builder, const tandem_op_topk *op) {
    const tandem_program *program = builder->program;
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t run = gpu_builder_run(builder);
    uint64_t partial_bytes = (uint64_t)rows.max * topk_parts(op->n) * topk_part_bytes(op->k);
    uint64_t row_bytes = op->n * 4ull, out_bytes = op->k * 8ull + 8;
    gpu_scratch partial;
    gpu_launch *dispatch;
    if (partial_bytes > UINT32_MAX)
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "TOPK: %u rows of %u with k = %u need more than 4 GiB of scratch memory",
                                  rows.max, op->n, op->k);
    GPU_DO(gpu_scratch_take(builder, partial_bytes, &partial));
    topk_push push = {
        .index = rows.index,
        .target = run + RUN_OUT_TARGET_OFFSET((uint64_t)program->limits.max_tokens, program->limits.max_out),
        .x = gpu_view_address(&op->x),
        .partial = partial.address,
        .y = gpu_view_address(&op->out),
        .x_stride = (uint32_t)op->x.stride,
        .y_stride = (uint32_t)op->out.stride,
        .n = op->n,
        .k = op->k,
        .gather = gpu_view_gathered(op->head.rows, &op->x) ? TOPK_GATHER_X : 0};
    for (uint32_t stage = 0; stage < 2; stage++) {
        uint32_t spec[2] = {builder->context->device.policy.topk_local, stage};
        launch_rule rule = {.groups = {stage == 0 ? topk_parts(op->n) : 1, 1, 1},
                            .rows = op->head.rows,
                            .row_axis = 1,
                            .rows_per_group = 1};
        GPU_DO(gpu_step_begin(builder, stage == 0 ? "topk_parts" : "topk_merge"));
        GPU_DO(vk_dispatch_add(builder, "topk", spec, 2, &rule, &push, sizeof push, &dispatch));
        dispatch->traffic = (gpu_traffic){.rows = op->head.rows, .row_flops = stage == 0 ? op->n * 4ull : 0};
        dispatch->traffic.row_bytes = partial_bytes / rows.max + (stage == 0 ? row_bytes : out_bytes);
        GPU_DO(gpu_reads_view(builder, &op->x, row_bytes)); /* the second stage reads the target's value */
        GPU_DO(gpu_touches(builder, partial.address, partial_bytes, partial_bytes, 1, stage == 0));
        GPU_DO(gpu_reads(builder, run, gpu_builder_run_bytes(builder)));
    }
    GPU_DO(gpu_writes_view(builder, &op->out, out_bytes));
    gpu_scratch_give(builder, &partial);
    return TANDEM_OK;
}
