/* builder.c: launches and their kernels. */
#include "builder.h"

uint32_t cu_n_units(const tandem_context *context) {
    return context->device.info.n_units;
}

tandem_status cu_launch_add(gpu_builder *builder, const char *kernel, const uint32_t grid[3], uint32_t block,
                            uint32_t shared_bytes, const void *params, uint32_t params_bytes,
                            gpu_launch **result) {
    const cu_kernel *found;
    gpu_launch *launch;
    GPU_DO(cu_kernel_find(builder->context, kernel, shared_bytes, &found, builder->error));
    GPU_DO(gpu_launch_add(builder, params, params_bytes, &launch));
    launch->api = (gpu_api_launch){
        .kernel = found, .grid = {grid[0], grid[1], grid[2]}, .block = block, .shared_bytes = shared_bytes};
    if (result)
        *result = launch;
    return TANDEM_OK;
}
