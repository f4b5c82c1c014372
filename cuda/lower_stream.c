/* lower_stream.c: STREAM, alone or as the prologue that a mat-vec computes itself. */
#include "builder.h"

#include "kernels/params.h"

/* Outputs, and what of them is another op's scratch. */
static void fill_outputs(stream_params *params, const tandem_op_stream *op, const gpu_stream_extra *extra) {
    for (uint32_t i = 0; i < 3; i++) {
        params->w[i] = gpu_view_address(&op->w[i]);
        if (i >= op->n_out)
            continue;
        params->y_w[i] = gpu_view_address(&op->out_w[i]);
        params->y[i] = gpu_view_address(&op->out[i]);
        params->y_stride[i] = (uint32_t)op->out[i].stride;
        params->y_scale[i] = op->out_scale[i];
        if (extra && !params->y[i]) {
            params->y[i] = extra->out[i];
            params->y_stride[i] = (uint32_t)extra->out_stride[i];
        }
        if (extra)
            params->y_q8[i] = extra->q8[i];
    }
}

stream_params cu_stream_params(const gpu_builder *builder, const tandem_op_stream *op,
                               const gpu_stream_extra *extra) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    stream_params params = {.index = rows.index,
                            .n_tok = rows.n_tok,
                            .h = gpu_view_address(&op->h),
                            .a = {gpu_view_address(&op->a[0]), gpu_view_address(&op->a[1])},
                            .y_h = gpu_view_address(&op->out_h),
                            .h_stride = (uint32_t)op->h.stride,
                            .a_stride = {(uint32_t)op->a[0].stride, (uint32_t)op->a[1].stride},
                            .y_h_stride = (uint32_t)op->out_h.stride,
                            .d = op->d,
                            .n_a = !op->a[0].buffer   ? 0
                                   : !op->a[1].buffer ? 1
                                                      : 2,
                            .n_out = op->n_out,
                            .eps = op->eps,
                            .scale = op->scale,
                            .gather = (gpu_view_gathered(op->head.rows, &op->h) ? STREAM_GATHER_H : 0) |
                                      (gpu_view_gathered(op->head.rows, &op->a[0]) ? STREAM_GATHER_A0 : 0) |
                                      (gpu_view_gathered(op->head.rows, &op->a[1]) ? STREAM_GATHER_A1 : 0)};
    fill_outputs(&params, op, extra);
    return params;
}

static uint64_t row_bytes_of(const tandem_op_stream *op) {
    return (op->n_slice ? op->n_slice : 1ull) * op->d * 4;
}

tandem_status gpu_lower_stream(gpu_builder *builder, const tandem_op_stream *op,
                               const gpu_stream_extra *extra) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint64_t row_bytes = row_bytes_of(op);
    const uint32_t grid[3] = {op->n_slice ? op->n_slice : 1, rows.max, 1};
    const char *kernel = op->d <= STREAM_NARROW_D ? "stream" : "stream_wide";
    stream_params params = cu_stream_params(builder, op, extra);
    gpu_launch *launch;
    uint64_t any_q8 = params.y_q8[0] | params.y_q8[1] | params.y_q8[2];
    GPU_DO(gpu_step_begin(builder, any_q8 ? "stream_q8" : "stream"));
    GPU_DO(cu_launch_add(builder, kernel, grid, stream_threads(op->d), 0, &params, sizeof params, &launch));
    /* note: the list of launches does not grow while its ranges are declared, so the pointer stays good. */
    launch->traffic = (gpu_traffic){.rows = op->head.rows, .row_flops = row_bytes * (1 + op->n_out)};
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    if (rows.index)
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    return gpu_declare_stream(builder, op, extra, row_bytes, &launch->traffic);
}

/* ---- as a prologue ---- */

tandem_status cu_declare_prologue(gpu_builder *builder, const tandem_op_stream *op, gpu_traffic *traffic) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    tandem_op_stream declared = *op;
    if (builder->prologue == op) { /* it writes nothing again */
        declared.out_h = (tandem_view){0};
        for (uint32_t i = 0; i < 3; i++)
            declared.out[i] = (tandem_view){0};
    } else {
        builder->prologue = op;
        builder->prologue_launch = builder->program->launches.n - 1;
    }
    traffic->row_flops += row_bytes_of(op) * (1 + op->n_out);
    if (rows.index)
        GPU_DO(gpu_reads(builder, rows.index, rows.max * 4ull));
    return gpu_declare_stream(builder, &declared, NULL, row_bytes_of(op), traffic);
}

/* 1: launches after `first` write what the STREAM reads. */
static int inputs_changed(const gpu_builder *builder, const tandem_op_stream *op, uint32_t first) {
    const tandem_program *program = builder->program;
    const tandem_view *views[3] = {&op->h, &op->a[0], &op->a[1]};
    for (uint32_t l = first; l < program->launches.n; l++) {
        const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, l);
        for (uint32_t r = launch->first_range; r < launch->first_range + launch->n_range; r++) {
            const gpu_range *range = GPU_AT(program->ranges, gpu_range, r);
            for (uint32_t i = 0; i < 3 && range->write; i++) {
                uint64_t bytes = row_bytes_of(op);
                gpu_range read = {gpu_view_address(views[i]), bytes, bytes, 1, 0, 0, 0, NULL, 0, 0};
                if (views[i]->buffer && gpu_ranges_overlap(&read, range))
                    return 1;
            }
        }
    }
    return 0;
}

const tandem_op_stream *cu_prologue_of(const gpu_builder *builder, uint32_t op_rows, const tandem_view *x,
                                       uint32_t n_col, uint32_t *output) {
    const tandem_op_stream *op = builder->prologue;
    if (!op || op->head.rows != op_rows || op->d != n_col || !x->buffer)
        return NULL;
    for (uint32_t i = 0; i < op->n_out; i++)
        if (op->out[i].buffer == x->buffer && op->out[i].offset == x->offset && op->out[i].rows == x->rows) {
            *output = i;
            return inputs_changed(builder, op, builder->prologue_launch) ? NULL : op;
        }
    return NULL;
}
