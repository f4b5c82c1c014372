/* builder.c: launches, ranges, scratch and constants of a program in the making. */
#include "builder.h"

#include <stdio.h>
#include <string.h>

#define SCRATCH_ALIGNMENT 256u

static tandem_status no_memory(gpu_builder *builder) {
    return tandem_kit_fail_op(builder->error, TANDEM_E_OUT_OF_MEMORY, builder->op_index,
                              "No host memory to compile the program");
}

/* ---- views ---- */

uint64_t gpu_builder_run(const gpu_builder *builder) {
    return builder->base + builder->layout.run;
}

uint64_t gpu_builder_run_bytes(const gpu_builder *builder) {
    const tandem_kit_limits *limits = &builder->program->limits;
    return RUN_BLOCK_BYTES((uint64_t)limits->max_tokens, limits->max_out);
}

gpu_rows gpu_builder_rows(const gpu_builder *builder, uint32_t rows) {
    const tandem_program *program = builder->program;
    uint64_t run = gpu_builder_run(builder);
    if (rows == TANDEM_ROWS_ALL)
        return (gpu_rows){rows, program->limits.max_tokens, run + offsetof(run_header, n_rows), 0};
    return (gpu_rows){rows, program->limits.max_out, run + offsetof(run_header, n_out),
                      run + RUN_OUT_ROW_OFFSET((uint64_t)program->limits.max_tokens)};
}

uint64_t gpu_view_address(const tandem_view *view) {
    return view->buffer ? view->buffer->memory.address + view->offset : 0;
}

uint32_t gpu_view_gathered(uint32_t op_rows, const tandem_view *view) {
    return op_rows == TANDEM_ROWS_OUT && view->buffer && view->rows == TANDEM_ROWS_ALL;
}

/* ---- steps and launches ---- */

tandem_status gpu_step_begin(gpu_builder *builder, const char *kernel) {
    tandem_program *program = builder->program;
    gpu_step *step = gpu_list_add(&program->steps, sizeof *step);
    if (!step)
        return no_memory(builder);
    step->first_launch = program->launches.n;
    snprintf(step->kernel, sizeof step->kernel, "%s", kernel);
    snprintf(step->label, sizeof step->label, "%s", builder->op_label ? builder->op_label : "");
    step->n_op = 1;
    step->ops[0] = builder->op_index;
    return TANDEM_OK;
}

void gpu_step_also(gpu_builder *builder, uint32_t op_index) {
    gpu_step *step = GPU_AT(builder->program->steps, gpu_step, builder->program->steps.n - 1);
    if (step->n_op < 8)
        step->ops[step->n_op] = op_index;
    step->n_op++;
}

gpu_launch *gpu_last_launch(const gpu_builder *builder) {
    return GPU_AT(builder->program->launches, gpu_launch, builder->program->launches.n - 1);
}

tandem_status gpu_launch_add(gpu_builder *builder, const void *params, uint32_t params_bytes,
                             gpu_launch **result) {
    tandem_program *program = builder->program;
    void *copy = gpu_alloc(params_bytes);
    gpu_launch *launch = copy ? gpu_list_add(&program->launches, sizeof *launch) : NULL;
    if (!launch) {
        gpu_free(copy);
        return no_memory(builder);
    }
    memcpy(copy, params, params_bytes);
    launch->params = copy;
    launch->params_bytes = params_bytes;
    launch->first_range = program->ranges.n;
    if (program->steps.n) {
        gpu_step *step = GPU_AT(program->steps, gpu_step, program->steps.n - 1);
        launch->step = program->steps.n - 1;
        step->n_launch++;
    }
    *result = launch;
    return TANDEM_OK;
}

/* ---- declared ranges ---- */

static gpu_range *add_range(gpu_builder *builder) {
    tandem_program *program = builder->program;
    gpu_range *range = gpu_list_add(&program->ranges, sizeof *range);
    if (range)
        gpu_last_launch(builder)->n_range++;
    return range;
}

gpu_range *gpu_last_range(const gpu_builder *builder) {
    return GPU_AT(builder->program->ranges, gpu_range, builder->program->ranges.n - 1);
}

tandem_status gpu_touches(gpu_builder *builder, uint64_t address, uint64_t row_bytes, uint64_t stride,
                          uint64_t n_row, uint32_t write) {
    if (n_row == 0 || row_bytes == 0)
        return TANDEM_OK;
    gpu_range *range = add_range(builder);
    if (!range)
        return no_memory(builder);
    /* Rows without a gap are one piece. */
    if (stride == row_bytes) {
        row_bytes *= n_row;
        n_row = 1;
    }
    range->address = address;
    range->row_bytes = row_bytes;
    range->stride = n_row > 1 ? stride : row_bytes;
    range->n_row = n_row;
    range->write = write;
    return TANDEM_OK;
}

void gpu_written_apart(gpu_builder *builder) {
    gpu_last_range(builder)->apart = builder->program->steps.n;
}

tandem_status gpu_reads(gpu_builder *builder, uint64_t address, uint64_t bytes) {
    return address ? gpu_touches(builder, address, bytes, bytes, 1, 0) : TANDEM_OK;
}

tandem_status gpu_writes(gpu_builder *builder, uint64_t address, uint64_t bytes) {
    return address ? gpu_touches(builder, address, bytes, bytes, 1, 1) : TANDEM_OK;
}

static tandem_status touches_view(gpu_builder *builder, const tandem_view *view, uint64_t row_bytes,
                                  uint32_t write) {
    const tandem_program *program = builder->program;
    if (!view->buffer)
        return TANDEM_OK;
    uint64_t n = view->rows == TANDEM_ROWS_ALL   ? program->limits.max_tokens
                 : view->rows == TANDEM_ROWS_OUT ? program->limits.max_out
                                                 : 1;
    return gpu_touches(builder, gpu_view_address(view), row_bytes, view->stride, n, write);
}

tandem_status gpu_reads_view(gpu_builder *builder, const tandem_view *view, uint64_t row_bytes) {
    return touches_view(builder, view, row_bytes, 0);
}

tandem_status gpu_writes_view(gpu_builder *builder, const tandem_view *view, uint64_t row_bytes) {
    return touches_view(builder, view, row_bytes, 1);
}

tandem_status gpu_reads_matrix(gpu_builder *builder, const tandem_weights *weights, uint32_t record,
                               uint32_t matrix) {
    const tandem_kit_pack *pack = &weights->packs[matrix];
    GPU_DO(gpu_reads(builder, gpu_weights_table(weights, record, matrix), (uint64_t)pack->n_segment * 8));
    for (uint32_t i = 0; i < pack->n_segment; i++) {
        gpu_range *range = add_range(builder);
        if (!range)
            return no_memory(builder);
        range->weights = weights;
        range->record = record;
        range->segment = weights->first_segment[matrix] + i;
    }
    return TANDEM_OK;
}

tandem_status gpu_uses_record(gpu_builder *builder, const tandem_weights *weights, uint32_t record) {
    gpu_list *uses = &builder->program->uses;
    for (uint32_t i = 0; i < uses->n; i++) {
        const gpu_weight_use *use = GPU_AT(*uses, gpu_weight_use, i);
        if (use->weights == weights && use->record == record)
            return TANDEM_OK;
    }
    gpu_weight_use *use = gpu_list_add(uses, sizeof *use);
    if (!use)
        return no_memory(builder);
    *use = (gpu_weight_use){weights, record};
    return TANDEM_OK;
}

/* ---- scratch and constants ---- */

/* 1: the region may be overwritten by the present step. Some steps pass after the last reader, so that a step
 * need not wait for another only because both were given the same memory: about as many as lie between two
 * that could stand side by side. Where rows are many that costs more memory than it saves time. */
static int is_free(const gpu_builder *builder, const gpu_scratch_region *region) {
    uint32_t rest = builder->program->limits.max_tokens <= GPU_MAX_VEC_ROWS ? 8 : 2;
    return !region->busy && builder->program->steps.n >= region->free_step + rest;
}

/* The lowest offset where `bytes` fit between the regions that are not free. */
static uint64_t find_gap(const gpu_builder *builder, uint64_t bytes) {
    uint64_t offset = 0;
    for (int moved = 1; moved;) {
        moved = 0;
        for (uint32_t i = 0; i < GPU_MAX_SCRATCH; i++) {
            const gpu_scratch_region *region = &builder->scratch[i];
            if (!region->used || is_free(builder, region))
                continue;
            if (offset < region->offset + region->bytes && region->offset < offset + bytes) {
                offset = region->offset + region->bytes;
                moved = 1;
            }
        }
    }
    return offset;
}

tandem_status gpu_scratch_take(gpu_builder *builder, uint64_t bytes, gpu_scratch *scratch) {
    *scratch = (gpu_scratch){.index = TANDEM_NONE};
    if (bytes == 0)
        return TANDEM_OK;
    bytes = (bytes + SCRATCH_ALIGNMENT - 1) / SCRATCH_ALIGNMENT * SCRATCH_ALIGNMENT;
    for (uint32_t i = 0; i < GPU_MAX_SCRATCH; i++)
        if (builder->scratch[i].used && is_free(builder, &builder->scratch[i]))
            builder->scratch[i].used = 0;
    for (uint32_t i = 0; i < GPU_MAX_SCRATCH; i++) {
        gpu_scratch_region *region = &builder->scratch[i];
        if (region->used)
            continue;
        uint64_t offset = find_gap(builder, bytes);
        *region = (gpu_scratch_region){.offset = offset, .bytes = bytes, .busy = 1, .used = 1};
        if (offset + bytes > builder->scratch_end)
            builder->scratch_end = offset + bytes;
        *scratch = (gpu_scratch){builder->base + builder->layout.scratch + offset, bytes, i};
        return TANDEM_OK;
    }
    return tandem_kit_fail_op(builder->error, TANDEM_E_INTERNAL, builder->op_index,
                              "More than %u pieces of scratch memory are in use", GPU_MAX_SCRATCH);
}

void gpu_scratch_give(gpu_builder *builder, gpu_scratch *scratch) {
    if (scratch->index == TANDEM_NONE)
        return;
    builder->scratch[scratch->index].busy = 0;
    builder->scratch[scratch->index].free_step = builder->program->steps.n;
    scratch->index = TANDEM_NONE;
}

tandem_status gpu_constant(gpu_builder *builder, uint64_t bytes, uint64_t *address, void **place) {
    *address = builder->base + builder->layout.constants + builder->n_constant;
    *place = builder->constants ? builder->constants + builder->n_constant : NULL;
    builder->n_constant += (bytes + 15) / 16 * 16;
    return TANDEM_OK;
}
