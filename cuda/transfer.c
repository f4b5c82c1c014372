/* transfer.c: copies, fills and small edits on the stream. */
#include "context.h"

#include <string.h>

tandem_status gpu_copy(tandem_context *context, const gpu_memory *from, uint64_t from_offset,
                       const gpu_memory *to, uint64_t to_offset, uint64_t bytes, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    CUstream stream = context->api.stream;
    CUdeviceptr target = to->address + to_offset, source = from->address + from_offset;
    if (from->mapped && !to->mapped)
        CU_TRY(context, MemcpyHtoDAsync, target, from->mapped + from_offset, bytes, stream);
    else if (to->mapped && !from->mapped)
        CU_TRY(context, MemcpyDtoHAsync, to->mapped + to_offset, source, bytes, stream);
    else
        CU_TRY(context, MemcpyDtoDAsync, target, source, bytes, stream);
fail:
    return status;
}

tandem_status gpu_fill_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    CU_TRY(context, MemsetD8Async, memory->address + offset, 0, bytes, context->api.stream);
fail:
    return status;
}

/* By way of the present staging memory, which the next submit sends on. */
tandem_status gpu_update(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                         const void *source, uint64_t bytes, tandem_error *error) {
    const gpu_memory *staging;
    if (bytes > GPU_STAGING_BYTES)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "An edit of %llu bytes is more than one staging buffer",
                               (unsigned long long)bytes);
    tandem_status status = gpu_stage_begin(context, &staging, error);
    if (status != TANDEM_OK)
        return status;
    memcpy(staging->mapped, source, (size_t)bytes);
    return gpu_copy(context, staging, 0, memory, offset, bytes, error);
}
