/* queue.c: submits in order and waits on the timeline. */
#include "context.h"

tandem_status vk_context_failed(tandem_context *context, tandem_error *error, VkResult result,
                                const char *call) {
    if (result == VK_ERROR_DEVICE_LOST)
        context->lost = 1;
    return vk_fail_driver(error, result, call);
}

tandem_status gpu_context_check(const tandem_context *context, tandem_error *error) {
    if (!context)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The context is NULL");
    if (context->lost)
        return tandem_kit_fail(error, TANDEM_E_DEVICE_LOST,
                               "The device is lost: only destroy functions work on this context");
    return TANDEM_OK;
}

tandem_status vk_submit(tandem_context *context, const VkCommandBuffer *commands, uint32_t n,
                        uint64_t *serial, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    uint64_t value = context->serial + 1;
    VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &value};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = n,
                         .pCommandBuffers = commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &context->timeline};
    VK_TRY(context, QueueSubmit, context->queue, 1, &info, VK_NULL_HANDLE);
    context->serial = value;
    if (serial)
        *serial = value;
fail:
    return status;
}

tandem_status gpu_wait_serial(tandem_context *context, uint64_t serial, uint64_t timeout_ns,
                              tandem_error *error) {
    if (serial <= context->completed)
        return TANDEM_OK;
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &context->timeline,
                                .pValues = &serial};
    VkResult result = vk_fault_check();
    if (result == VK_SUCCESS)
        result = context->vk.WaitSemaphores(context->handle, &info, timeout_ns);
    if (result == VK_TIMEOUT)
        return tandem_kit_fail(error, TANDEM_E_TIMEOUT, "The work has not ended within %llu ns",
                               (unsigned long long)timeout_ns);
    if (result != VK_SUCCESS)
        return vk_context_failed(context, error, result, "vkWaitSemaphores");
    context->completed = serial;
    return TANDEM_OK;
}

int gpu_is_done(tandem_context *context, uint64_t serial) {
    if (serial <= context->completed)
        return 1;
    uint64_t value = 0;
    if (context->vk.GetSemaphoreCounterValue(context->handle, context->timeline, &value) != VK_SUCCESS)
        return 0;
    if (value > context->completed)
        context->completed = value;
    return serial <= context->completed;
}

tandem_status gpu_wait_all(tandem_context *context, tandem_error *error) {
    return gpu_wait_serial(context, context->serial, UINT64_MAX, error);
}

void gpu_drain(tandem_context *context) {
    /* A lost device answers at once, and then nothing is running any more. */
    if (context->vk.DeviceWaitIdle(context->handle) == VK_SUCCESS)
        context->completed = context->serial;
}

void vk_barrier(tandem_context *context, VkCommandBuffer commands, VkPipelineStageFlags from,
                VkAccessFlags from_access, VkPipelineStageFlags to, VkAccessFlags to_access) {
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = from_access, .dstAccessMask = to_access};
    context->vk.CmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}
