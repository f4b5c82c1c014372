/* test_interface.c: what only this plugin has inside, for its tests. */
#include "test_interface.h"
#include "loops.h"

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

static int is_gpu_shape(const tandem_context *context) {
    return context->device.policy.shape == VK_SHAPE_GPU;
}

static void limit_loops(tandem_context *context, uint32_t n) {
    static uint32_t of_driver; /* of the one device that a test has */
    uint32_t *budget = &context->device.policy.loop_budget;
    if (!of_driver)
        of_driver = *budget;
    *budget = n ? n : of_driver;
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

const char *gpu_launch_name(const tandem_program *program, const gpu_launch *launch) {
    return program->context->api.pipelines->items[launch->api.pipeline].shader->name;
}

static void get_dispatch(const tandem_program *program, uint32_t index, vk_test_dispatch *out) {
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, index);
    const vk_pipeline *pipeline = &program->context->api.pipelines->items[dispatch->api.pipeline];
    out->n_spec = pipeline->n_spec;
    _Static_assert(sizeof out->spec == sizeof pipeline->spec, "a test sees all constants of a pipeline");
    memcpy(out->spec, pipeline->spec, sizeof pipeline->spec);
    out->loop_iterations = vk_loop_iterations(program, index);
}

const vk_test_interface vk_the_test_interface = {
    .struct_size = sizeof(vk_test_interface),
    .n_messages = n_messages,
    .provoke = provoke,
    .validates = validates,
    .is_gpu_assisted = is_gpu_assisted,
    .is_gpu_shape = is_gpu_shape,
    .limit_loops = limit_loops,
    .inject = inject,
    .n_calls = n_calls,
    .dispatch = get_dispatch,
};
