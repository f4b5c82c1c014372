/* lower_embed.c: EMBED. */
#include "builder.h"

#include "kernels/params.h"
#include "kernels/run_block.h"

#include <stddef.h>
#include <stdio.h>

#include <tandem/pack.h>

tandem_status gpu_lower_embed(gpu_builder *builder, const tandem_op_embed *op) {
    const tandem_kit_pack *pack = &op->table->packs[op->matrix];
    const char *format = tandem_kit_pack_format_name(pack->type);
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t run = gpu_builder_run(builder);
    uint32_t n_block = (pack->n_col + 31) / 32;
    const uint32_t grid[3] = {rows.max, (n_block + EMBED_BLOCKS - 1) / EMBED_BLOCKS, 1};
    embed_params params = {.table = gpu_weights_table(op->table, 0, op->matrix),
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
    char kernel[32];
    gpu_launch *launch;
    if (!format)
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "EMBED: no kernel for tables of type %u", pack->type);
    snprintf(kernel, sizeof kernel, "embed_%s", format);
    GPU_DO(gpu_uses_record(builder, op->table, 0));
    GPU_DO(gpu_step_begin(builder, kernel));
    GPU_DO(cu_launch_add(builder, kernel, grid, EMBED_BLOCKS, 0, &params, sizeof params, &launch));
    launch->traffic = (gpu_traffic){.rows = op->head.rows,
                                    .weight_bytes = pack->group_bytes / GROUP_ROWS,
                                    .weight_bytes_min = pack->row_bytes,
                                    .row_bytes = pack->n_col * 4ull,
                                    .row_flops = pack->n_col,
                                    .weights = op->table};
    GPU_DO(gpu_reads_matrix(builder, op->table, 0, op->matrix));
    GPU_DO(gpu_reads(builder, run,
                     RUN_ROWS_OFFSET + (uint64_t)RUN_ROW_BYTES * builder->program->limits.max_tokens));
    if (rows.index)
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    return gpu_writes_view(builder, &op->out, pack->n_col * 4ull);
}
