/* transfer.c: copies, fills and small edits, into the command buffer of what is put in order. */
#include "context.h"

#define MAX_UPDATE_BYTES 65536u /* of one vkCmdUpdateBuffer */

tandem_status gpu_copy(tandem_context *context, const gpu_memory *from, uint64_t from_offset,
                       const gpu_memory *to, uint64_t to_offset, uint64_t bytes, tandem_error *error) {
    VkCommandBuffer commands;
    VkBufferCopy region = {
        .srcOffset = from->offset + from_offset, .dstOffset = to->offset + to_offset, .size = bytes};
    tandem_status status = vk_commands_get(context, &commands, error);
    if (status == TANDEM_OK)
        context->api.vk.CmdCopyBuffer(commands, from->block->api.buffer, to->block->api.buffer, 1, &region);
    return status;
}

tandem_status gpu_fill_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error) {
    VkCommandBuffer commands;
    tandem_status status = vk_commands_get(context, &commands, error);
    /* note: fills go by whole words; ranges start at words and are padded to them (GPU_MEMORY_ALIGNMENT). */
    if (status == TANDEM_OK)
        context->api.vk.CmdFillBuffer(commands, memory->block->api.buffer, memory->offset + offset,
                                      (bytes + 3) & ~(uint64_t)3, 0);
    return status;
}

tandem_status gpu_update(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                         const void *source, uint64_t bytes, tandem_error *error) {
    VkCommandBuffer commands;
    tandem_status status = vk_commands_get(context, &commands, error);
    for (uint64_t done = 0; status == TANDEM_OK && done < bytes;) {
        uint64_t n = bytes - done < MAX_UPDATE_BYTES ? bytes - done : MAX_UPDATE_BYTES;
        context->api.vk.CmdUpdateBuffer(commands, memory->block->api.buffer, memory->offset + offset + done,
                                        n, (const char *)source + done);
        done += n;
    }
    return status;
}
