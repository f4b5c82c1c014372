/* transfer.c: copies between host and device, through host memory of the driver's and in order with the runs.
 */
#include "hooks.h"

#include <string.h>

tandem_status gpu_stage_begin(tandem_context *context, const gpu_memory **staging, tandem_error *error) {
    gpu_transfer *transfer = &context->transfers[context->next_transfer];
    tandem_status status = gpu_wait_serial(context, transfer->serial, UINT64_MAX, error);
    if (status == TANDEM_OK && !transfer->staging.block)
        status = gpu_memory_allocate(context, GPU_CLASS_STAGING, TANDEM_PLACE_HOST, GPU_STAGING_BYTES,
                                     &transfer->staging, error);
    if (status == TANDEM_OK)
        *staging = &transfer->staging;
    return status;
}

tandem_status gpu_stage_end(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error) {
    const gpu_memory *staging = &context->transfers[context->next_transfer].staging;
    tandem_status status = gpu_copy(context, staging, 0, memory, offset, bytes, error);
    return status == TANDEM_OK ? gpu_submit(context, NULL, error) : status;
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
    if (status == TANDEM_OK && memory->mapped)
        memcpy(target, memory->mapped + offset, (size_t)bytes);
    if (status != TANDEM_OK || memory->mapped)
        return status;
    while (bytes > 0) {
        const gpu_memory *staging;
        uint64_t n = bytes < GPU_STAGING_BYTES ? bytes : GPU_STAGING_BYTES;
        status = gpu_stage_begin(context, &staging, error);
        if (status == TANDEM_OK)
            status = gpu_copy(context, memory, offset, staging, 0, n, error);
        if (status == TANDEM_OK)
            status = gpu_submit(context, NULL, error);
        if (status == TANDEM_OK)
            status = gpu_wait_all(context, error);
        if (status != TANDEM_OK)
            return status;
        memcpy(to, staging->mapped, (size_t)n);
        to += n;
        offset += n;
        bytes -= n;
    }
    return TANDEM_OK;
}

tandem_status gpu_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset, uint64_t bytes,
                       tandem_error *error) {
    if (memory->mapped && gpu_is_done(context, context->serial)) {
        memset(memory->mapped + offset, 0, (size_t)bytes);
        return TANDEM_OK;
    }
    tandem_status status = gpu_fill_zero(context, memory, offset, bytes, error);
    return status == TANDEM_OK ? gpu_submit(context, NULL, error) : status;
}
