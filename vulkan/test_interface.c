/* test_interface.c: the inside of the plugin, for its tests. */
#include "test_interface.h"
#include "loops.h"

#include <stdio.h>
#include <string.h>

static uint32_t n_messages(void) {
    return atomic_load(&vk_the_plugin.n_messages);
}

static void provoke(const tandem_context *context) {
    const VkBufferCreateInfo empty = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                      .usage = VK_BUFFER_USAGE_TRANSFER_SRC_BIT};
    VkBuffer buffer = VK_NULL_HANDLE;
    if (context->api.vk.CreateBuffer(context->api.handle, &empty, NULL, &buffer) == VK_SUCCESS)
        context->api.vk.DestroyBuffer(context->api.handle, buffer, NULL);
}

static int validates(void) {
    return vk_the_plugin.validation;
}

static int is_gpu_assisted(void) {
    return vk_the_plugin.gpu_assisted;
}

static void inject(uint64_t n, int32_t result) {
    vk_fault *fault = &vk_the_plugin.fault;
    atomic_store(&fault->countdown, 0);
    atomic_store(&fault->n_calls, 0);
    atomic_store(&fault->result, result);
    atomic_store(&fault->countdown, n);
}

static uint64_t n_calls(void) {
    return atomic_load(&vk_the_plugin.fault.n_calls);
}

static uint32_t dispatch_count(const tandem_program *program) {
    return program->launches.n;
}

static void get_dispatch(const tandem_program *program, uint32_t index, vk_test_dispatch *out) {
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, index);
    const vk_pipeline *pipeline = &program->context->api.pipelines->items[dispatch->api.pipeline];
    memset(out, 0, sizeof *out);
    snprintf(out->shader, sizeof out->shader, "%s", pipeline->shader->name);
    out->n_spec = pipeline->n_spec;
    _Static_assert(sizeof out->spec == sizeof pipeline->spec, "a test sees all constants of a pipeline");
    memcpy(out->spec, pipeline->spec, sizeof pipeline->spec);
    out->step = index == 0 ? TANDEM_NONE : dispatch->step;
    out->n_range = dispatch->n_range;
    out->loop_iterations = vk_loop_iterations(program, index);
}

static void get_range(const tandem_program *program, uint32_t dispatch, uint32_t index, vk_test_range *out) {
    const gpu_launch *d = GPU_AT(program->launches, gpu_launch, dispatch);
    gpu_range range = gpu_range_resolve(GPU_AT(program->ranges, gpu_range, d->first_range + index));
    *out = (vk_test_range){range.address, range.row_bytes, range.stride,
                           range.n_row,   range.write,     range.weights != NULL};
}

static int ranges_overlap(const vk_test_range *a, const vk_test_range *b) {
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

static tandem_status begin_run(tandem_program *program, const tandem_run *run, tandem_error *error) {
    tandem_status status = gpu_wait_all(program->context, error);
    if (status == TANDEM_OK)
        gpu_run_fill_table(program, run, 0);
    return status;
}

static tandem_status run_dispatch(tandem_program *program, uint32_t index, tandem_error *error) {
    tandem_status status = gpu_launch_alone(program, index, error);
    if (status == TANDEM_OK)
        status = gpu_submit(program->context, NULL, error);
    if (status == TANDEM_OK)
        status = gpu_wait_all(program->context, error);
    return status;
}

static int allocation(const tandem_context *context, uint32_t index, uint64_t *address, uint64_t *bytes,
                      void **pointer) {
    const gpu_block *block = context->blocks;
    while (block && index-- > 0)
        block = block->next;
    if (!block || !block->mapped)
        return 0;
    *address = block->address;
    *bytes = block->bytes;
    *pointer = block->mapped;
    return 1;
}

const vk_test_interface vk_the_test_interface = {
    .struct_size = sizeof(vk_test_interface),
    .n_pending = GPU_N_PENDING,
    .n_messages = n_messages,
    .provoke = provoke,
    .validates = validates,
    .is_gpu_assisted = is_gpu_assisted,
    .inject = inject,
    .n_calls = n_calls,
    .dispatch_count = dispatch_count,
    .dispatch = get_dispatch,
    .range = get_range,
    .ranges_overlap = ranges_overlap,
    .check_barriers = check_barriers,
    .begin_run = begin_run,
    .run_dispatch = run_dispatch,
    .allocation = allocation,
};
