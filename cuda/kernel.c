/* kernel.c: loads kernels on first use, in the form that the device gets them in (images.h). */
#include "kernel.h"

#include <stdio.h>
#include <string.h>

int cu_kernel_exists(const char *name) {
    const unsigned char *file;
    return cu_image_find(name, &file) != NULL;
}

/* note: a fat binary is given to drivers that run its machine code, and the text alone to all others: which
 * of both is used is never the driver's choice. */
static tandem_status load_kernel(tandem_context *context, const char *name, cu_kernel *kernel,
                                 tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const unsigned char *file;
    int static_bytes = 0;
    const cu_image *image = cu_image_find(name, &file);
    if (!image)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "The CUDA plugin has no kernel %s", name);
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
    CU_TRY(context, ModuleLoadData, &kernel->module,
           file + (context->device.code ? image->fatbin : image->ptx));
    CU_TRY(context, ModuleGetFunction, &kernel->function, kernel->module, name);
    CU_TRY(context, FuncGetAttribute, &static_bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, kernel->function);
    kernel->static_bytes = (uint32_t)static_bytes;
fail:
    return status;
}

static void unload_kernel(tandem_context *context, cu_kernel *kernel) {
    if (kernel->module)
        context->api.cu->ModuleUnload(kernel->module);
    gpu_free(kernel);
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
            unload_kernel(context, kernel);
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
        unload_kernel(context, context->api.kernels);
        context->api.kernels = next;
    }
}
