/* transfer.c: copies between host and device, through pinned memory and in order with the runs. */
#include "context.h"

#include <string.h>

/* The next staging memory, idle. */
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

static tandem_status submit_staging(tandem_context *context, tandem_error *error) {
    tandem_status status = cu_submit(context, &context->transfers[context->next_transfer].serial, error);
    context->next_transfer = (context->next_transfer + 1) % GPU_N_TRANSFER;
    return status;
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
    const gpu_memory *staging = &context->transfers[context->next_transfer].staging;
    tandem_status status = gpu_copy(context, staging, 0, memory, offset, bytes, error);
    return status == TANDEM_OK ? submit_staging(context, error) : status;
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
        gpu_transfer *transfer;
        uint64_t n = bytes < GPU_STAGING_BYTES ? bytes : GPU_STAGING_BYTES;
        status = get_staging(context, &transfer, error);
        if (status == TANDEM_OK)
            status = gpu_copy(context, memory, offset, &transfer->staging, 0, n, error);
        if (status == TANDEM_OK)
            status = submit_staging(context, error);
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
    tandem_status status = TANDEM_OK;
    CUdeviceptr target = to->address + to_offset, source = from->address + from_offset;
    if (from->mapped && !to->mapped)
        CU_TRY(context, MemcpyHtoDAsync, target, from->mapped + from_offset, bytes, context->stream);
    else if (to->mapped && !from->mapped)
        CU_TRY(context, MemcpyDtoHAsync, to->mapped + to_offset, source, bytes, context->stream);
    else
        CU_TRY(context, MemcpyDtoDAsync, target, source, bytes, context->stream);
fail:
    return status;
}

tandem_status gpu_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset, uint64_t bytes,
                       tandem_error *error) {
    tandem_status status = TANDEM_OK;
    if (memory->mapped && gpu_is_done(context, context->serial)) {
        memset(memory->mapped + offset, 0, (size_t)bytes);
        return TANDEM_OK;
    }
    CU_TRY(context, MemsetD8Async, memory->address + offset, 0, bytes, context->stream);
    status = cu_submit(context, NULL, error);
fail:
    return status;
}
