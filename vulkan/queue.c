/* queue.c: command buffers of what is put in order, submits, and waits on the timeline. */
#include "context.h"

#define READ_ACCESS                                                                                          \
    (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT)
#define WRITE_ACCESS (VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)
#define WORK_STAGES                                                                                          \
    (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |                                 \
     VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT)

tandem_status vk_context_failed(tandem_context *context, tandem_error *error, VkResult result,
                                const char *call) {
    if (result == VK_ERROR_DEVICE_LOST)
        context->lost = 1;
    return vk_fail_driver(error, result, call);
}

tandem_status vk_submit(tandem_context *context, const VkCommandBuffer *commands, uint32_t n, uint64_t serial,
                        tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                              .signalSemaphoreValueCount = 1,
                                              .pSignalSemaphoreValues = &serial};
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .commandBufferCount = n,
                         .pCommandBuffers = commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &context->api.timeline};
    VK_TRY(context, QueueSubmit, context->api.queue, 1, &info, VK_NULL_HANDLE);
fail:
    return status;
}

tandem_status vk_commands_get(tandem_context *context, VkCommandBuffer *result, tandem_error *error) {
    vk_commands *commands = &context->api.commands[context->next_transfer];
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    *result = commands->handle;
    if (commands->open)
        return TANDEM_OK;
    tandem_status status =
        gpu_wait_serial(context, context->transfers[context->next_transfer].serial, UINT64_MAX, error);
    if (status != TANDEM_OK)
        return status;
    if (commands->spoilt)
        VK_TRY(context, ResetCommandBuffer, commands->handle, 0);
    commands->spoilt = 1;
    VK_TRY(context, BeginCommandBuffer, commands->handle, &begin);
    commands->open = 1;
    /* After whatever was submitted before. */
    vk_barrier(context, commands->handle, WORK_STAGES, WRITE_ACCESS, WORK_STAGES, READ_ACCESS | WRITE_ACCESS);
fail:
    return status;
}

tandem_status gpu_queue_end(tandem_context *context, uint64_t serial, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    vk_commands *commands = &context->api.commands[context->next_transfer];
    uint32_t n = commands->open ? 1 : 0;
    commands->open = 0; /* what cannot be sent is forgotten */
    if (n) {
        vk_barrier(context, commands->handle, WORK_STAGES, WRITE_ACCESS,
                   WORK_STAGES | VK_PIPELINE_STAGE_HOST_BIT,
                   READ_ACCESS | WRITE_ACCESS | VK_ACCESS_HOST_READ_BIT);
        VK_TRY(context, EndCommandBuffer, commands->handle);
    }
    status = vk_submit(context, &commands->handle, n, serial, error);
    if (status == TANDEM_OK && n)
        commands->spoilt = 0;
fail:
    return status;
}

tandem_status gpu_queue_wait(tandem_context *context, uint64_t *serial, uint64_t timeout_ns,
                             tandem_error *error) {
    VkSemaphoreWaitInfo info = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
                                .semaphoreCount = 1,
                                .pSemaphores = &context->api.timeline,
                                .pValues = serial};
    VkResult result = vk_fault_check();
    if (result == VK_SUCCESS)
        result = context->api.vk.WaitSemaphores(context->api.handle, &info, timeout_ns);
    if (result == VK_TIMEOUT)
        return TANDEM_E_TIMEOUT;
    return result == VK_SUCCESS ? TANDEM_OK : vk_context_failed(context, error, result, "vkWaitSemaphores");
}

uint64_t gpu_queue_ended(tandem_context *context, uint64_t serial) {
    uint64_t value = 0;
    (void)serial;
    if (context->api.vk.GetSemaphoreCounterValue(context->api.handle, context->api.timeline, &value) !=
        VK_SUCCESS)
        return 0;
    return value;
}

int gpu_queue_drain(tandem_context *context) {
    /* A lost device answers at once, and then nothing is running any more. */
    return context->api.vk.DeviceWaitIdle(context->api.handle) == VK_SUCCESS;
}

void vk_barrier(tandem_context *context, VkCommandBuffer commands, VkPipelineStageFlags from,
                VkAccessFlags from_access, VkPipelineStageFlags to, VkAccessFlags to_access) {
    VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER, .srcAccessMask = from_access, .dstAccessMask = to_access};
    context->api.vk.CmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}
