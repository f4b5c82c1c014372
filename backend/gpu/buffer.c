/* buffer.c: plain bytes. */
#include "object.h"

#include <tandem/growth.h>

#include <string.h>

tandem_status gpu_buffer_create(tandem_context *context, const tandem_buffer_desc *desc,
                                tandem_buffer **result, tandem_error *error) {
    tandem_buffer_desc taken;
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_buffer_desc, &taken, desc, error);
    if (status != TANDEM_OK)
        return status;
    if (!result || taken.bytes == 0 || taken.placement > TANDEM_PLACE_HOST)
        return tandem_kit_fail(
            error, TANDEM_E_INVALID,
            "A buffer needs a place for its handle, bytes > 0 and a placement of 0 or 1, got "
            "%llu bytes and placement %u",
            (unsigned long long)taken.bytes, taken.placement);
    tandem_buffer *buffer = gpu_alloc(sizeof *buffer);
    if (!buffer)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the record of a buffer");
    buffer->context = context;
    buffer->placement = taken.placement;
    context->n_object++;
    gpu_memory_collect(context, 0);
    status =
        gpu_memory_allocate(context, GPU_CLASS_BUFFERS, taken.placement, taken.bytes, &buffer->memory, error);
    if (status == TANDEM_OK)
        status = gpu_zero(context, &buffer->memory, 0, taken.bytes, error);
    if (status != TANDEM_OK) {
        gpu_buffer_destroy(buffer);
        return status;
    }
    *result = buffer;
    return TANDEM_OK;
}

void gpu_buffer_destroy(tandem_buffer *buffer) {
    if (!buffer)
        return;
    if (buffer->memory.block) {
        if (!gpu_is_done(buffer->context, buffer->context->serial))
            gpu_drain(buffer->context);
        gpu_memory_free(buffer->context, &buffer->memory);
    }
    buffer->context->n_object--;
    gpu_free(buffer);
}

tandem_status gpu_buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error) {
    if (!buffer)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The buffer is NULL");
    tandem_status status = gpu_context_check(buffer->context, error);
    if (status != TANDEM_OK)
        return status;
    tandem_buffer_info filled = {.placement = buffer->placement, .bytes = buffer->memory.bytes};
    return TANDEM_KIT_GIVE(tandem_buffer_info, info, &filled, error);
}

static tandem_status check_range(const tandem_buffer *buffer, uint64_t offset, const void *host,
                                 uint64_t bytes, tandem_error *error) {
    if (!buffer)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The buffer is NULL");
    tandem_status status = gpu_context_check(buffer->context, error);
    if (status != TANDEM_OK)
        return status;
    if (offset > buffer->memory.bytes || bytes > buffer->memory.bytes - offset)
        return tandem_kit_fail(
            error, TANDEM_E_INVALID, "%llu bytes at offset %llu leave a buffer of %llu bytes",
            (unsigned long long)bytes, (unsigned long long)offset, (unsigned long long)buffer->memory.bytes);
    if (!host && bytes > 0)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The host address of %llu bytes is NULL",
                               (unsigned long long)bytes);
    return TANDEM_OK;
}

tandem_status gpu_buffer_write(tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes,
                               tandem_error *error) {
    tandem_status status = check_range(buffer, offset, source, bytes, error);
    if (status != TANDEM_OK || bytes == 0)
        return status;
    return gpu_upload(buffer->context, &buffer->memory, offset, source, bytes, error);
}

tandem_status gpu_buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                              uint32_t flags, tandem_error *error) {
    tandem_status status = check_range(buffer, offset, target, bytes, error);
    if (status != TANDEM_OK || bytes == 0)
        return status;
    if (flags & ~TANDEM_READ_NOW)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "buffer_read: unknown flags 0x%x", flags);
    if ((flags & TANDEM_READ_NOW) && buffer->memory.mapped) {
        memcpy(target, buffer->memory.mapped + offset, (size_t)bytes);
        return TANDEM_OK;
    }
    return gpu_download(buffer->context, &buffer->memory, offset, target, bytes, error);
}
