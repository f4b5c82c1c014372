/* embed.c: EMBED, rows of a quantised table by token. */
#include "objects.h"

typedef struct embed_task {
    const ref_work *work;
    const tandem_op_embed *op;
} embed_task;

static void embed_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const embed_task *task = argument;
    const tandem_op_embed *op = task->op;
    const ref_matrix *matrix = &op->table->matrices[op->matrix];
    const unsigned char *table = ref_cell_of(op->table, 0, op->matrix)->rows;
    (void)thread;

    for (uint64_t i = first; i < end; i++) {
        uint64_t token = task->work->batch->rows[ref_run_row(task->work, (uint32_t)i)].token;
        float *out = ref_view_row(task->work, &op->out, (uint32_t)i);
        tandem_kit_dequantise(matrix->desc.type, table + token * matrix->row_bytes, out, matrix->desc.n_col);
        for (uint64_t j = 0; j < matrix->desc.n_col; j++)
            out[j] = (float)((double)op->scale * out[j]);
    }
}

void ref_embed(const ref_work *work, const tandem_op_embed *op) {
    embed_task task = {work, op};
    ref_parallel(work->program->context->pool, work->n_rows, 4, embed_rows, &task);
}
