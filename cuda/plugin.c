/* plugin.c: the exported symbol, the function table, the descriptor and the options. */
#include "kv.h"
#include "program.h"

#include <tandem/negotiate.h>

#include <stdlib.h>
#include <string.h>

#define MIN_SEGMENT 65536u /* least value of option cuda.max_segment */

static const tandem_descriptor descriptor = {
    .struct_size = sizeof(tandem_descriptor),
    .flags = TANDEM_PLUGIN_UNLOADABLE,
    .name = "cuda",
    .version = TANDEM_PLUGIN_VERSION,
    .git = TANDEM_GIT,
    .toolchain = TANDEM_TOOLCHAIN,
    .targets = "sm_86, sm_89, PTX for compute capability 8.6 and newer",
    .shaders = TANDEM_NVCC,
    .needs = "libcuda.so.1 of CUDA 13.0 or newer, and a device of compute capability 8.6 or newer",
};

static const void *get_interface(const char *name) {
    (void)name;
    return NULL;
}

const tandem_backend gpu_backend = {
    .struct_size = sizeof(tandem_backend),
    .abi_major = TANDEM_ABI_MAJOR,
    .abi_minor = TANDEM_ABI_MINOR,
    .descriptor = &descriptor,
    .device_count = gpu_device_count,
    .device_info = gpu_device_info,
    .get_interface = get_interface,
    .context_create = gpu_context_create,
    .context_destroy = gpu_context_destroy,
    .context_memory = gpu_context_memory,
    .supports = gpu_supports,
    .buffer_create = gpu_buffer_create,
    .buffer_destroy = gpu_buffer_destroy,
    .buffer_info = gpu_buffer_info,
    .buffer_write = gpu_buffer_write,
    .buffer_read = gpu_buffer_read,
    .weights_create = gpu_weights_create,
    .weights_destroy = gpu_weights_destroy,
    .weights_info = gpu_weights_info,
    .weights_matrix = gpu_weights_matrix,
    .weights_write = gpu_weights_write,
    .weights_place = gpu_weights_place,
    .kv_create = gpu_kv_create,
    .kv_destroy = gpu_kv_destroy,
    .kv_info = gpu_kv_info,
    .kv_layer = gpu_kv_layer_info,
    .kv_length = gpu_kv_length,
    .kv_truncate = gpu_kv_truncate,
    .kv_copy_slot = gpu_kv_copy_slot,
    .kv_fill = gpu_kv_fill,
    .kv_export_bytes = gpu_kv_export_bytes,
    .kv_export = gpu_kv_export,
    .kv_import = gpu_kv_import,
    .kv_read = gpu_kv_read,
    .program_create = gpu_program_create,
    .program_destroy = gpu_program_destroy,
    .program_step_count = gpu_program_step_count,
    .program_step = gpu_program_step,
    .program_cost = gpu_program_cost,
    .run = gpu_run,
    .wait = gpu_wait,
    .times = gpu_times,
    .step_times = gpu_step_times,
};

/* ---- options ---- */

static tandem_status take_bytes(const char *option, const char *value, uint64_t *target,
                                tandem_error *error) {
    char *end;
    unsigned long long bytes = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != 0 || bytes < MIN_SEGMENT)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "Option %s: the value must be a number of bytes, at least %u", option,
                               MIN_SEGMENT);
    *target = bytes;
    return TANDEM_OK;
}

/* One "name=value". */
static tandem_status take_option(cu_plugin *plugin, const char *option, tandem_error *error) {
    const char *equals = option ? strchr(option, '=') : NULL;
    if (!equals)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Option %s is not of the form name=value",
                               option ? option : "NULL");
    size_t n = (size_t)(equals - option);
    const char *value = equals + 1;
    if (n == strlen("cuda.library") && strncmp(option, "cuda.library", n) == 0) {
        plugin->library = value;
        return TANDEM_OK;
    }
    if (n == strlen("cuda.max_segment") && strncmp(option, "cuda.max_segment", n) == 0)
        return take_bytes(option, value, &plugin->max_segment, error);
    return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                           "Unknown option %s: the CUDA plugin has cuda.library and cuda.max_segment",
                           option);
}

static tandem_status take_options(cu_plugin *plugin, tandem_error *error) {
    for (uint32_t i = 0; i < plugin->host.n_options; i++) {
        tandem_status status = take_option(plugin, plugin->host.options[i], error);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}

tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    cu_plugin *plugin = &cu_the_plugin;
    if (!backend)
        return TANDEM_E_INVALID;
    uint32_t size = backend->struct_size < sizeof *backend ? backend->struct_size : (uint32_t)sizeof *backend;
    if (size >= offsetof(tandem_backend, reserved)) {
        backend->abi_major = TANDEM_ABI_MAJOR;
        backend->abi_minor = TANDEM_ABI_MINOR;
    }
    tandem_status status = tandem_kit_check_host(host, &plugin->host);
    if (status != TANDEM_OK)
        return status;
    plugin->max_segment = 0;
    plugin->library = NULL;
    status = take_options(plugin, plugin->host.error);
    if (status == TANDEM_OK)
        cu_driver_set_library(plugin->library);
    plugin->library = NULL;
    plugin->host.error = NULL;
    if (status != TANDEM_OK)
        return status;
    memcpy(backend, &gpu_backend, size);
    backend->struct_size = size;
    return TANDEM_OK;
}
