/* Modules, functions, libraries. */
#include "driver.h"
#include "pose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CUresult load(struct context *c, CUmodule *out, const void *image, unsigned n, CUjit_option *names,
                     void **values) {
    char *log = NULL;
    size_t log_bytes = 0;
    struct module *m;
    if (!out || !image || (n && (!names || !values)))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n; i++) {
        if (names[i] == CU_JIT_ERROR_LOG_BUFFER)
            log = values[i];
        if (names[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            log_bytes = (size_t)(uintptr_t)values[i];
    }
    CUresult r = capture_forbids_unsafe(c);
    if (!r)
        r = module_load(c, image, &m, log, log_bytes);
    if (!r)
        *out = (CUmodule)m;
    return r;
}

static CUresult load_file(struct context *c, CUmodule *out, const char *path) {
    FILE *file = path ? fopen(path, "rb") : NULL;
    char *data = NULL;
    long bytes = -1;
    CUresult r = CUDA_ERROR_FILE_NOT_FOUND;
    if (!path)
        return CUDA_ERROR_INVALID_VALUE;
    if (!file)
        return REFUSE(r, "the module %s cannot be opened", path);
    if (!fseek(file, 0, SEEK_END) && (bytes = ftell(file)) >= 0 && !fseek(file, 0, SEEK_SET))
        data = calloc(1, (size_t)bytes + 64); /* text needs its end, a short header its room */
    if (data && fread(data, 1, (size_t)bytes, file) == (size_t)bytes)
        r = load(c, out, data, 0, NULL, NULL);
    free(data);
    fclose(file);
    return r;
}

static CUresult unload(CUmodule handle) {
    if (!handle_is(handle, HANDLE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    module_unload((struct module *)handle);
    return CUDA_SUCCESS;
}

static CUresult get_function(CUfunction *out, CUmodule handle, const char *name) {
    struct module *m = (struct module *)handle;
    if (!handle_is(m, HANDLE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!out || !name)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < m->n_function; i++)
        if (!strcmp(m->functions[i].kernel->name, name)) {
            *out = (CUfunction)&m->functions[i];
            return CUDA_SUCCESS;
        }
    return REFUSE(CUDA_ERROR_NOT_FOUND, "the module has no kernel '%s'", name);
}

static CUresult get_global(CUdeviceptr *address, size_t *bytes, CUmodule handle, const char *name) {
    const struct module *m = (const struct module *)handle;
    if (!handle_is(m, HANDLE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!name || (!address && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    for (const struct variable *v = m->variables; v; v = v->next)
        if (!strcmp(v->name, name)) {
            if (address)
                *address = v->memory->base;
            if (bytes)
                *bytes = v->memory->bytes;
            return CUDA_SUCCESS;
        }
    return REFUSE(CUDA_ERROR_NOT_FOUND, "the module has no variable '%s'", name);
}

static CUresult count_functions(unsigned *n, CUmodule handle) {
    if (!handle_is(handle, HANDLE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    *n = ((struct module *)handle)->n_function;
    return CUDA_SUCCESS;
}
static CUresult list_functions(CUfunction *out, unsigned n, CUmodule handle) {
    struct module *m = (struct module *)handle;
    if (!handle_is(m, HANDLE_MODULE))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n && i < m->n_function; i++)
        out[i] = (CUfunction)&m->functions[i];
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    API("cuModuleLoadData", NEEDS_CONTEXT, load(c, module, image, 0, NULL, NULL));
}
CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned n, CUjit_option *names,
                            void **values) {
    API("cuModuleLoadDataEx", NEEDS_CONTEXT, load(c, module, image, n, names, values));
}
CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) {
    API("cuModuleLoadFatBinary", NEEDS_CONTEXT, load(c, module, image, 0, NULL, NULL));
}
CUresult cuModuleLoad(CUmodule *module, const char *path) {
    API("cuModuleLoad", NEEDS_CONTEXT, load_file(c, module, path));
}
CUresult cuModuleUnload(CUmodule module) {
    API("cuModuleUnload", NEEDS_CONTEXT | ALLOWS_STICKY, unload(module));
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    API("cuModuleGetFunction", NEEDS_CONTEXT, get_function(function, module, name));
}
CUresult cuModuleGetFunctionCount(unsigned *n, CUmodule module) {
    API("cuModuleGetFunctionCount", NEEDS_CONTEXT, count_functions(n, module));
}
CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned n, CUmodule module) {
    API("cuModuleEnumerateFunctions", NEEDS_CONTEXT, list_functions(functions, n, module));
}
CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module, const char *name) {
    API("cuModuleGetGlobal", NEEDS_CONTEXT, get_global(address, bytes, module, name));
}
static CUresult eager(CUmoduleLoadingMode *mode) {
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_EAGER_LOADING;
    return CUDA_SUCCESS;
}
CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode) {
    API("cuModuleGetLoadingMode", NEEDS_INIT, eager(mode));
}

/* ---- functions ---- */

static CUresult kernel_attribute(const struct kernel *k, int *out, CUfunction_attribute which) {
    const uint32_t threads =
        k->max_threads[0] ? k->max_threads[0] * k->max_threads[1] * k->max_threads[2] : MAX_THREADS_PER_BLOCK;
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: {
        /* as many as the registers let start */
        const uint32_t fit = threads_by_registers(kernel_registers(k, threads));
        *out = (int)(fit < threads ? fit : threads);
        return CUDA_SUCCESS;
    }
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *out = (int)k->static_shared;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *out = 0;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *out = (int)(k->registers ? k->stack_bytes : k->local_bytes);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *out = (int)kernel_registers(k, threads);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *out = (int)k->module->arch;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *out = (int)k->arch;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
        *out = 0;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *out = (int)(k->max_dynamic ? k->max_dynamic : SHARED_PER_BLOCK - k->static_shared);
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *out = k->carveout;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static CUresult set_kernel_attribute(struct kernel *k, CUfunction_attribute which, int value) {
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || (uint32_t)value + k->static_shared > pose_device(options.arch)->shared_per_block)
            return CUDA_ERROR_INVALID_VALUE;
        k->max_dynamic = (uint32_t)value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100)
            return CUDA_ERROR_INVALID_VALUE;
        k->carveout = value;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

static struct kernel *kernel_of(const void *handle) {
    return handle_is(handle, HANDLE_FUNCTION) ? ((const struct function *)handle)->kernel : NULL;
}
#define WITH_KERNEL(handle, expression) (kernel_of(handle) ? (expression) : CUDA_ERROR_INVALID_HANDLE)

static CUresult param_info(const struct kernel *k, size_t index, size_t *offset, size_t *bytes) {
    if (index >= k->n_param || !offset)
        return CUDA_ERROR_INVALID_VALUE;
    *offset = k->params[index].offset;
    if (bytes)
        *bytes = k->params[index].bytes;
    return CUDA_SUCCESS;
}
static CUresult function_name(const char **name, const struct kernel *k) {
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    *name = k->name;
    return CUDA_SUCCESS;
}
static CUresult function_module(CUmodule *module, const struct kernel *k) {
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    *module = (CUmodule)k->module;
    return CUDA_SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction f) {
    API("cuFuncGetAttribute", NEEDS_CONTEXT,
        value ? WITH_KERNEL(f, kernel_attribute(kernel_of(f), value, which)) : CUDA_ERROR_INVALID_VALUE);
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute which, int value) {
    API("cuFuncSetAttribute", NEEDS_CONTEXT,
        WITH_KERNEL(f, set_kernel_attribute(kernel_of(f), which, value)));
}
CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache config) {
    API("cuFuncSetCacheConfig", NEEDS_CONTEXT, WITH_KERNEL(f, ((void)config, CUDA_SUCCESS)));
}
CUresult cuFuncGetModule(CUmodule *module, CUfunction f) {
    API("cuFuncGetModule", NEEDS_CONTEXT, WITH_KERNEL(f, function_module(module, kernel_of(f))));
}
CUresult cuFuncGetName(const char **name, CUfunction f) {
    API("cuFuncGetName", NEEDS_CONTEXT, WITH_KERNEL(f, function_name(name, kernel_of(f))));
}
CUresult cuFuncGetParamInfo(CUfunction f, size_t index, size_t *offset, size_t *bytes) {
    API("cuFuncGetParamInfo", NEEDS_CONTEXT, WITH_KERNEL(f, param_info(kernel_of(f), index, offset, bytes)));
}

/* ---- libraries: here a library is a module of the current context, and a kernel a function ---- */

CUresult cuLibraryLoadData(CUlibrary *library, const void *image, CUjit_option *names, void **values,
                           unsigned n, CUlibraryOption *library_names, void **library_values,
                           unsigned n_library) {
    (void)library_names;
    (void)library_values;
    API("cuLibraryLoadData", NEEDS_CONTEXT,
        n_library ? CUDA_ERROR_NOT_SUPPORTED : load(c, (CUmodule *)library, image, n, names, values));
}
CUresult cuLibraryUnload(CUlibrary library) {
    API("cuLibraryUnload", NEEDS_CONTEXT | ALLOWS_STICKY, unload((CUmodule)library));
}
CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    API("cuLibraryGetKernel", NEEDS_CONTEXT, get_function((CUfunction *)kernel, (CUmodule)library, name));
}
static CUresult same_handle(void **out, const void *handle, enum handle_kind kind) {
    if (!handle_is(handle, kind) || !out)
        return out ? CUDA_ERROR_INVALID_HANDLE : CUDA_ERROR_INVALID_VALUE;
    *out = (void *)(uintptr_t)handle;
    return CUDA_SUCCESS;
}
CUresult cuLibraryGetModule(CUmodule *module, CUlibrary library) {
    API("cuLibraryGetModule", NEEDS_CONTEXT, same_handle((void **)module, library, HANDLE_MODULE));
}
CUresult cuKernelGetFunction(CUfunction *function, CUkernel kernel) {
    API("cuKernelGetFunction", NEEDS_CONTEXT, same_handle((void **)function, kernel, HANDLE_FUNCTION));
}
CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary library, const char *name) {
    API("cuLibraryGetGlobal", NEEDS_CONTEXT, get_global(address, bytes, (CUmodule)library, name));
}
CUresult cuKernelGetAttribute(int *value, CUfunction_attribute which, CUkernel kernel, CUdevice device) {
    API("cuKernelGetAttribute", NEEDS_CONTEXT,
        device  ? CUDA_ERROR_INVALID_DEVICE
        : value ? WITH_KERNEL(kernel, kernel_attribute(kernel_of(kernel), value, which))
                : CUDA_ERROR_INVALID_VALUE);
}
CUresult cuKernelSetAttribute(CUfunction_attribute which, int value, CUkernel kernel, CUdevice device) {
    API("cuKernelSetAttribute", NEEDS_CONTEXT,
        device ? CUDA_ERROR_INVALID_DEVICE
               : WITH_KERNEL(kernel, set_kernel_attribute(kernel_of(kernel), which, value)));
}
