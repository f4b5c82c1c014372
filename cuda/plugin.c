/* plugin.c: the descriptor and the options. */
#include "context.h"

const tandem_descriptor gpu_descriptor = {
    .struct_size = sizeof(tandem_descriptor),
    .flags = TANDEM_PLUGIN_UNLOADABLE,
    .name = "cuda",
    .version = TANDEM_PLUGIN_VERSION,
    .git = TANDEM_GIT,
    .toolchain = TANDEM_TOOLCHAIN,
    .targets = TANDEM_CUDA_CODE ", PTX 8.2 for compute capability 8.0 and newer",
    .shaders = TANDEM_NVCC,
    .needs = "libcuda.so.1 of CUDA 12.2 or newer, and a device of compute capability 8.0 or newer",
};

const void *gpu_get_interface(const char *name) {
    (void)name;
    return NULL;
}

static const char *library; /* option cuda.library, while a query is under way; NULL: the system's */

void gpu_options_reset(void) {
    library = NULL;
}

tandem_status gpu_option(const char *option, size_t n, const char *value, tandem_error *error) {
    if (gpu_option_is(option, n, "cuda.library")) {
        library = value;
        return TANDEM_OK;
    }
    return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                           "Unknown option %s: the CUDA plugin has cuda.library and cuda.max_segment",
                           option);
}

tandem_status gpu_options_end(tandem_error *error) {
    (void)error;
    cu_driver_set_library(library);
    library = NULL;
    return TANDEM_OK;
}
