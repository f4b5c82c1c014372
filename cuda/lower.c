/* lower.c: the small ops, and the two ends of a run, as launches. */
#include "builder.h"

#include "kernels/params.h"

#include <stdio.h>
#include <string.h>

/* Words that are 0 when the program is made and that its kernels leave at 0, or count up. */
static tandem_status get_counters(gpu_builder *builder, uint64_t n, uint64_t *address) {
    void *place;
    GPU_DO(gpu_constant(builder, n * 4, address, &place));
    if (place)
        memset(place, 0, n * 4);
    return TANDEM_OK;
}

tandem_status gpu_lower_prepare(gpu_builder *builder) {
    const tandem_program *program = builder->program;
    const uint32_t grid[3] = {1, 1, 1};
    prepare_params params = {.tables = program->tables.address,
                             .run = gpu_builder_run(builder),
                             .next = builder->context->next.address,
                             .table_bytes = program->table_bytes,
                             .n_slot = GPU_N_PENDING,
                             .max_tokens = program->limits.max_tokens,
                             .max_out = program->limits.max_out};
    gpu_launch *launch;
    GPU_DO(get_counters(builder, 1, &params.counter));
    GPU_DO(cu_launch_add(builder, "prepare", grid, PREPARE_THREADS, 0, &params, sizeof params, &launch));
    GPU_DO(gpu_reads(builder, params.next, sizeof(next_block)));
    GPU_DO(gpu_writes(builder, params.counter, 4));
    return gpu_writes(builder, params.run, gpu_builder_run_bytes(builder));
}

tandem_status gpu_lower_finish(gpu_builder *builder, const tandem_op_topk *op) {
    uint32_t row_words = 2 * op->k + 2, max = gpu_builder_rows(builder, op->head.rows).max;
    const uint32_t grid[3] = {(max + FINISH_ROWS - 1) / FINISH_ROWS, 1, 1};
    finish_params params = {.run = gpu_builder_run(builder),
                            .topk = gpu_view_address(&op->out),
                            .next = builder->context->next.address,
                            .rows = op->head.rows,
                            .stride = (uint32_t)op->out.stride,
                            .row_words = row_words};
    gpu_launch *launch;
    GPU_DO(gpu_step_begin(builder, "finish"));
    GPU_DO(cu_launch_add(builder, "finish", grid, FINISH_THREADS, 0, &params, sizeof params, &launch));
    launch->traffic = (gpu_traffic){.rows = op->head.rows, .row_bytes = row_words * 8u};
    GPU_DO(gpu_reads(builder, params.run, sizeof(run_header)));
    GPU_DO(gpu_reads_view(builder, &op->out, row_words * 4u));
    return gpu_writes(builder, params.next, sizeof(uint32_t));
}

/* ---- GLU, ADD, SCALE, COPY ---- */

tandem_status gpu_lower_elementwise(gpu_builder *builder, const tandem_op_elementwise *op) {
    const char *name = op->head.kind == TANDEM_OP_GLU     ? "glu"
                       : op->head.kind == TANDEM_OP_ADD   ? "add"
                       : op->head.kind == TANDEM_OP_SCALE ? "scale"
                                                          : "copy";
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t row_bytes = op->n * 4ull;
    const uint32_t grid[3] = {rows.max, elementwise_blocks(op->n), 1};
    elementwise_params params = {.index = rows.index,
                                 .n_tok = rows.n_tok,
                                 .a = gpu_view_address(&op->a),
                                 .b = gpu_view_address(&op->b),
                                 .y = gpu_view_address(&op->out),
                                 .a_stride = (uint32_t)op->a.stride,
                                 .b_stride = (uint32_t)op->b.stride,
                                 .y_stride = (uint32_t)op->out.stride,
                                 .n = op->n,
                                 .rows_per_tok = 1,
                                 .gather =
                                     (gpu_view_gathered(op->head.rows, &op->a) ? ELEMENTWISE_GATHER_A : 0) |
                                     (gpu_view_gathered(op->head.rows, &op->b) ? ELEMENTWISE_GATHER_B : 0),
                                 .scale = op->scale};
    char kernel[32];
    gpu_launch *launch;
    snprintf(kernel, sizeof kernel, "elementwise_%s", name);
    GPU_DO(gpu_step_begin(builder, name));
    GPU_DO(cu_launch_add(builder, kernel, grid, ELEMENTWISE_THREADS, 0, &params, sizeof params, &launch));
    launch->traffic = (gpu_traffic){
        .rows = op->head.rows, .row_bytes = row_bytes * (op->b.buffer ? 3 : 2), .row_flops = op->n};
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    if (rows.index)
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    GPU_DO(gpu_reads_view(builder, &op->a, row_bytes));
    GPU_DO(gpu_reads_view(builder, &op->b, row_bytes));
    return gpu_writes_view(builder, &op->out, row_bytes);
}

/* ---- TOPK ---- */

tandem_status gpu_lower_topk(gpu_builder *builder, const tandem_op_topk *op) {
    const tandem_kit_limits *limits = &builder->program->limits;
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t run = gpu_builder_run(builder);
    uint64_t part_bytes = (uint64_t)topk_parts_of(op->n) * topk_part_bytes(op->k);
    uint64_t row_bytes = op->n * 4ull, out_bytes = op->k * 8ull + 8;
    const uint32_t grid[3] = {topk_parts_of(op->n), rows.max, 1};
    gpu_scratch partial;
    gpu_launch *launch;
    GPU_DO(gpu_scratch_take(builder, rows.max * part_bytes, &partial));
    topk_params params = {.index = rows.index,
                          .n_tok = rows.n_tok,
                          .target =
                              run + RUN_OUT_TARGET_OFFSET((uint64_t)limits->max_tokens, limits->max_out),
                          .x = gpu_view_address(&op->x),
                          .partial = partial.address,
                          .y = gpu_view_address(&op->out),
                          .x_stride = (uint32_t)op->x.stride,
                          .y_stride = (uint32_t)op->out.stride,
                          .n = op->n,
                          .k = op->k,
                          .gather = gpu_view_gathered(op->head.rows, &op->x) ? TOPK_GATHER_X : 0};
    GPU_DO(get_counters(builder, rows.max, &params.counters));
    GPU_DO(gpu_step_begin(builder, "topk"));
    GPU_DO(cu_launch_add(builder, "topk", grid, TOPK_THREADS, 0, &params, sizeof params, &launch));
    launch->traffic = (gpu_traffic){.rows = op->head.rows,
                                    .row_bytes = row_bytes + 2 * part_bytes + out_bytes,
                                    .row_flops = op->n * 4ull};
    GPU_DO(gpu_reads_view(builder, &op->x, row_bytes));
    GPU_DO(gpu_reads(builder, run, gpu_builder_run_bytes(builder)));
    GPU_DO(gpu_writes(builder, partial.address, rows.max * part_bytes));
    GPU_DO(gpu_writes(builder, params.counters, rows.max * 4ull));
    GPU_DO(gpu_writes_view(builder, &op->out, out_bytes));
    gpu_scratch_give(builder, &partial);
    return TANDEM_OK;
}
