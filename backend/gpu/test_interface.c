/* test_interface.c: the inside of a plugin, for its tests. */
#include "test_interface.h"
#include "hooks.h"

#include <stdio.h>
#include <string.h>

static uint32_t launch_count(const tandem_program *program) {
    return program->launches.n;
}

static void get_launch(const tandem_program *program, uint32_t index, gpu_test_launch *out) {
    const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, index);
    memset(out, 0, sizeof *out);
    snprintf(out->kernel, sizeof out->kernel, "%s", gpu_launch_name(program, launch));
    out->step = index == 0 ? TANDEM_NONE : launch->step;
    out->n_range = launch->n_range;
}

static void get_range(const tandem_program *program, uint32_t index, uint32_t range_index,
                      gpu_test_range *out) {
    const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, index);
    gpu_range range =
        gpu_range_resolve(GPU_AT(program->ranges, gpu_range, launch->first_range + range_index));
    *out = (gpu_test_range){range.address, range.row_bytes, range.stride,
                            range.n_row,   range.write,     range.weights != NULL};
}

static int ranges_overlap(const gpu_test_range *a, const gpu_test_range *b) {
    const gpu_range x = {
        .address = a->address, .row_bytes = a->row_bytes, .stride = a->stride, .n_row = a->n_row};
    const gpu_range y = {
        .address = b->address, .row_bytes = b->row_bytes, .stride = b->stride, .n_row = b->n_row};
    return gpu_ranges_overlap(&x, &y);
}

static uint32_t check_barriers(const tandem_program *program, uint32_t drop, uint32_t add, char *sentence,
                               size_t room) {
    uint8_t *barrier = gpu_alloc(program->steps.n);
    if (!barrier)
        return UINT32_MAX;
    for (uint32_t i = 0; i < program->steps.n; i++)
        barrier[i] = (i != drop && GPU_AT(program->steps, gpu_step, i)->barrier_before) || i == add;
    uint32_t n_fault = gpu_check_barriers(program, barrier, sentence, room);
    gpu_free(barrier);
    return n_fault;
}

/* ---- launches ---- */

static tandem_status begin_run(tandem_program *program, const tandem_run *run, tandem_error *error) {
    tandem_status status = gpu_wait_all(program->context, error);
    if (status == TANDEM_OK)
        gpu_run_fill_table(program, run, gpu_run_table(program, 0));
    return status;
}

static tandem_status run_alone(tandem_program *program, uint32_t index, tandem_error *error) {
    tandem_status status = gpu_launch_alone(program, index, error);
    if (status == TANDEM_OK)
        status = gpu_submit(program->context, NULL, error);
    if (status == TANDEM_OK)
        status = gpu_wait_all(program->context, error);
    return status;
}

static tandem_status run_launch(tandem_program *program, uint32_t index, tandem_error *error) {
    tandem_status status = gpu_enter(program->context, error);
    if (status != TANDEM_OK)
        return status;
    status = run_alone(program, index, error);
    gpu_leave(program->context);
    return status;
}

/* ---- memory ---- */

static uint32_t allocation_count(const tandem_context *context) {
    uint32_t n = 0;
    for (const gpu_block *block = context->blocks; block; block = block->next)
        n++;
    return n;
}

static gpu_block *find_block(const tandem_context *context, uint32_t index) {
    gpu_block *block = context->blocks;
    while (block && index-- > 0)
        block = block->next;
    return block;
}

static int allocation(const tandem_context *context, uint32_t index, uint64_t *address, uint64_t *bytes) {
    const gpu_block *block = find_block(context, index);
    *address = block->address;
    *bytes = block->bytes;
    return block->class != GPU_CLASS_STAGING;
}

static gpu_memory all_of(gpu_block *block) {
    return (gpu_memory){
        .block = block, .bytes = block->bytes, .address = block->address, .mapped = block->mapped};
}

static tandem_status read_allocation(tandem_context *context, uint32_t index, void *target,
                                     tandem_error *error) {
    gpu_memory memory = all_of(find_block(context, index));
    tandem_status status = gpu_enter(context, error);
    if (status != TANDEM_OK)
        return status;
    status = gpu_download(context, &memory, 0, target, memory.bytes, error);
    gpu_leave(context);
    return status;
}

static tandem_status write_allocation(tandem_context *context, uint32_t index, const void *source,
                                      tandem_error *error) {
    gpu_memory memory = all_of(find_block(context, index));
    tandem_status status = gpu_enter(context, error);
    if (status != TANDEM_OK)
        return status;
    status = gpu_wait_all(context, error);
    if (status == TANDEM_OK)
        status = gpu_upload(context, &memory, 0, source, memory.bytes, error);
    gpu_leave(context);
    return status;
}

const gpu_test_interface gpu_the_test_interface = {
    .struct_size = sizeof(gpu_test_interface),
    .n_pending = GPU_N_PENDING,
    .launch_count = launch_count,
    .launch = get_launch,
    .range = get_range,
    .ranges_overlap = ranges_overlap,
    .check_barriers = check_barriers,
    .begin_run = begin_run,
    .run_launch = run_launch,
    .allocation_count = allocation_count,
    .allocation = allocation,
    .read = read_allocation,
    .write = write_allocation,
};
