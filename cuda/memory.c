/* memory.c: driver allocations: of the device, or pinned memory of the host that kernels reach. */
#include "context.h"

tandem_status gpu_block_allocate(tandem_context *context, gpu_block *block, uint64_t *counted,
                                 tandem_error *error) {
    tandem_status status = TANDEM_OK;
    CUdeviceptr address = 0;
    if (block->placement == TANDEM_PLACE_HOST) {
        CU_TRY(context, MemHostAlloc, &block->api.host, block->bytes,
               CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
        CU_TRY(context, MemHostGetDevicePointer, &address, block->api.host, 0);
        block->mapped = block->api.host;
    } else {
        CU_TRY(context, MemAlloc, &address, block->bytes);
        block->api.device = address;
    }
    block->address = address;
    *counted = block->bytes;
fail:
    return status;
}

/* note: cuMemFree does not wait for the stream; callers free what no pending work uses. */
void gpu_block_release(tandem_context *context, gpu_block *block) {
    if (block->api.host)
        context->api.cu->MemFreeHost(block->api.host);
    if (block->api.device)
        context->api.cu->MemFree(block->api.device);
}
