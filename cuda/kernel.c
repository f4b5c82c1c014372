/* kernel.c: finds kernels in the embedded images and loads images on first use.
 *
 * Images are fat binaries whose PTX is stored uncompressed, so which one has a kernel is read from its text.
 */
#include "kernel.h"

#include <stdio.h>
#include <string.h>

/* The image whose PTX has `.entry NAME(`; cu_n_image: none. */
static uint32_t find_image(const char *name) {
    char entry[80];
    int n = snprintf(entry, sizeof entry, ".entry %s(", name);
    for (uint32_t i = 0; n > 0 && i < cu_n_image; i++)
        if (memmem(cu_images[i].data, (size_t)(cu_images[i].end - cu_images[i].data), entry, (size_t)n))
            return i;
    return cu_n_image;
}

int cu_kernel_exists(const char *name) {
    return find_image(name) < cu_n_image;
}

static tandem_status load_module(tandem_context *context, uint32_t image, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    if (!context->api.modules)
        context->api.modules = gpu_alloc(cu_n_image * sizeof *context->api.modules);
    if (!context->api.modules)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the kernels' modules");
    if (!context->api.modules[image])
        CU_TRY(context, ModuleLoadData, &context->api.modules[image], cu_images[image].data);
fail:
    return status;
}

static tandem_status load_kernel(tandem_context *context, const char *name, cu_kernel *kernel,
                                 tandem_error *error) {
    uint32_t image = find_image(name);
    if (image == cu_n_image)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "The CUDA plugin has no kernel %s", name);
    tandem_status status = load_module(context, image, error);
    if (status != TANDEM_OK)
        return status;
    int static_bytes = 0;
    CU_TRY(context, ModuleGetFunction, &kernel->function, context->api.modules[image], name);
    CU_TRY(context, FuncGetAttribute, &static_bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, kernel->function);
    kernel->static_bytes = (uint32_t)static_bytes;
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
fail:
    return status;
}

static tandem_status allow_shared(tandem_context *context, cu_kernel *kernel, uint32_t bytes,
                                  tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const cu_device *device = &context->device;
    uint32_t need = cu_shared_need(device, kernel->static_bytes, bytes);
    if (need == CU_SHARED_BEYOND)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "Kernel %s takes %u bytes of shared memory a block, and %s gives a block %u",
                               kernel->name, kernel->static_bytes + bytes, device->info.name,
                               device->shared_most);
    if (need == CU_SHARED_PLAIN || bytes <= kernel->shared_bytes)
        return status;
    CU_TRY(context, FuncSetAttribute, kernel->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
           (int)bytes);
    kernel->shared_bytes = bytes;
fail:
    return status;
}

tandem_status cu_kernel_find(tandem_context *context, const char *name, uint32_t shared_bytes,
                             const cu_kernel **result, tandem_error *error) {
    cu_kernel *kernel = context->api.kernels;
    while (kernel && strcmp(kernel->name, name) != 0)
        kernel = kernel->next;
    if (!kernel) {
        kernel = gpu_alloc(sizeof *kernel);
        if (!kernel)
            return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a kernel");
        tandem_status status = load_kernel(context, name, kernel, error);
        if (status != TANDEM_OK) {
            gpu_free(kernel);
            return status;
        }
        kernel->next = context->api.kernels;
        context->api.kernels = kernel;
    }
    *result = kernel;
    return allow_shared(context, kernel, shared_bytes, error);
}

const char *gpu_launch_name(const tandem_program *program, const gpu_launch *launch) {
    (void)program;
    return launch->api.kernel->name;
}

void cu_kernels_free(tandem_context *context) {
    while (context->api.kernels) {
        cu_kernel *next = context->api.kernels->next;
        gpu_free(context->api.kernels);
        context->api.kernels = next;
    }
    for (uint32_t i = 0; context->api.modules && i < cu_n_image; i++)
        if (context->api.modules[i])
            context->api.cu->ModuleUnload(context->api.modules[i]);
    gpu_free(context->api.modules);
    context->api.modules = NULL;
}
