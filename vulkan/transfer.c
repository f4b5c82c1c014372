/* transfer.c: copies between host and device, each a small command buffer in order with the runs. */
#include "context.h"

#include <string.h>

#define READ_ACCESS                                                                                          \
    (VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_INDIRECT_COMMAND_READ_BIT)
#define WRITE_ACCESS (VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT)
#define WORK_STAGES                                                                                          \
    (VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |                                 \
     VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT)

/* Begins the next command buffer of the ring, after whatever was submitted before. */
tandem_status vk_commands_begin(tandem_context *context, VkCommandBuffer *commands, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    gpu_transfer *transfer = &context->transfers[context->next_transfer];
    status = gpu_wait_serial(context, transfer->serial, UINT64_MAX, error);
    if (status != TANDEM_OK)
        return status;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    if (transfer->open) /* a failure left it half recorded */
        VK_TRY(context, ResetCommandBuffer, transfer->commands, 0);
    VK_TRY(context, BeginCommandBuffer, transfer->commands, &begin);
    transfer->open = 1;
    vk_barrier(context, transfer->commands, WORK_STAGES, WRITE_ACCESS, WORK_STAGES,
               READ_ACCESS | WRITE_ACCESS);
    *commands = transfer->commands;
fail:
    return status;
}

tandem_status vk_commands_end(tandem_context *context, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    gpu_transfer *transfer = &context->transfers[context->next_transfer];
    vk_barrier(context, transfer->commands, WORK_STAGES, WRITE_ACCESS,
               WORK_STAGES | VK_PIPELINE_STAGE_HOST_BIT,
               READ_ACCESS | WRITE_ACCESS | VK_ACCESS_HOST_READ_BIT);
    VK_TRY(context, EndCommandBuffer, transfer->commands);
    status = vk_submit(context, &transfer->commands, 1, &transfer->serial, error);
    if (status != TANDEM_OK)
        return status;
    transfer->open = 0;
    context->next_transfer = (context->next_transfer + 1) % GPU_N_TRANSFER;
fail:
    return status;
}

/* The next transfer, idle, with staging memory. */
static tandem_status get_staging(tandem_context *context, gpu_transfer **result, tandem_error *error) {
    gpu_transfer *transfer = &context->transfers[context->next_transfer];
    tandem_status status = gpu_wait_serial(context, transfer->serial, UINT64_MAX, error);
    if (status == TANDEM_OK && !transfer->staging.block)
        status = gpu_memory_allocate(context, GPU_CLASS_STAGING, TANDEM_PLACE_HOST, GPU_STAGING_BYTES,
                                     &transfer->staging, error);
    if (status == TANDEM_OK)
        *result = transfer;
    return status;
}

static void record_copy(tandem_context *context, VkCommandBuffer commands, const gpu_memory *from,
                        uint64_t from_offset, const gpu_memory *to, uint64_t to_offset, uint64_t bytes) {
    VkBufferCopy region = {
        .srcOffset = from->offset + from_offset, .dstOffset = to->offset + to_offset, .size = bytes};
    context->vk.CmdCopyBuffer(commands, from->buffer, to->buffer, 1, &region);
}

tandem_status gpu_stage_begin(tandem_context *context, const gpu_memory **staging, tandem_error *error) {
    gpu_transfer *transfer;
    tandem_status status = get_staging(context, &transfer, error);
    if (status == TANDEM_OK)
        *staging = &transfer->staging;
    return status;
}

tandem_status gpu_stage_end(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error) {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    const gpu_memory *staging = &context->transfers[context->next_transfer].staging;
    tandem_status status = vk_commands_begin(context, &commands, error);
    if (status != TANDEM_OK)
        return status;
    record_copy(context, commands, staging, 0, memory, offset, bytes);
    return vk_commands_end(context, error);
}

tandem_status gpu_upload(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                         const void *source, uint64_t bytes, tandem_error *error) {
    const uint8_t *from = source;
    if (memory->mapped && gpu_is_done(context, context->serial)) {
        memcpy(memory->mapped + offset, source, (size_t)bytes);
        return TANDEM_OK;
    }
    while (bytes > 0) {
        const gpu_memory *staging;
        uint64_t n = bytes < GPU_STAGING_BYTES ? bytes : GPU_STAGING_BYTES;
        tandem_status status = gpu_stage_begin(context, &staging, error);
        if (status != TANDEM_OK)
            return status;
        memcpy(staging->mapped, from, (size_t)n);
        status = gpu_stage_end(context, memory, offset, n, error);
        if (status != TANDEM_OK)
            return status;
        from += n;
        offset += n;
        bytes -= n;
    }
    return TANDEM_OK;
}

tandem_status gpu_download(tandem_context *context, const gpu_memory *memory, uint64_t offset, void *target,
                           uint64_t bytes, tandem_error *error) {
    uint8_t *to = target;
    tandem_status status = gpu_wait_all(context, error);
    if (status != TANDEM_OK)
        return status;
    if (memory->mapped) {
        memcpy(target, memory->mapped + offset, (size_t)bytes);
        return TANDEM_OK;
    }
    while (bytes > 0) {
        gpu_transfer *transfer;
        VkCommandBuffer commands = VK_NULL_HANDLE;
        uint64_t n = bytes < GPU_STAGING_BYTES ? bytes : GPU_STAGING_BYTES;
        status = get_staging(context, &transfer, error);
        if (status == TANDEM_OK)
            status = vk_commands_begin(context, &commands, error);
        if (status != TANDEM_OK)
            return status;
        record_copy(context, commands, memory, offset, &transfer->staging, 0, n);
        status = vk_commands_end(context, error);
        if (status == TANDEM_OK)
            status = gpu_wait_all(context, error);
        if (status != TANDEM_OK)
            return status;
        memcpy(to, transfer->staging.mapped, (size_t)n);
        to += n;
        offset += n;
        bytes -= n;
    }
    return TANDEM_OK;
}

tandem_status gpu_copy(tandem_context *context, const gpu_memory *from, uint64_t from_offset,
                       const gpu_memory *to, uint64_t to_offset, uint64_t bytes, tandem_error *error) {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    tandem_status status = vk_commands_begin(context, &commands, error);
    if (status != TANDEM_OK)
        return status;
    record_copy(context, commands, from, from_offset, to, to_offset, bytes);
    return vk_commands_end(context, error);
}

tandem_status gpu_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset, uint64_t bytes,
                       tandem_error *error) {
    if (memory->mapped && gpu_is_done(context, context->serial)) {
        memset(memory->mapped + offset, 0, (size_t)bytes);
        return TANDEM_OK;
    }
    VkCommandBuffer commands = VK_NULL_HANDLE;
    tandem_status status = vk_commands_begin(context, &commands, error);
    if (status != TANDEM_OK)
        return status;
    /* note: fills go by whole words; ranges start at words and are padded to them (GPU_MEMORY_ALIGNMENT). */
    context->vk.CmdFillBuffer(commands, memory->buffer, memory->offset + offset, (bytes + 3) & ~(uint64_t)3,
                              0);
    return vk_commands_end(context, error);
}
