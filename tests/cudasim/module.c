/* Modules: an image becomes variables in device memory and decoded kernels. */
#include "driver.h"
#include "fatbin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool place_variable(struct module *m, struct ptx_variable *v) {
    struct variable *mine = calloc(1, sizeof *mine);
    if (!mine)
        return false;
    mine->next = m->variables;
    m->variables = mine;
    mine->name = strdup(v->name);
    mine->memory = memory_add(MEMORY_VARIABLE, v->bytes ? v->bytes : 1, NULL, m->context);
    if (!mine->name || !mine->memory)
        return false;
    mine->memory->read_only = v->space == SPACE_CONST;
    if (v->initial)
        memcpy(mine->memory->host, v->initial, v->bytes);
    v->offset = mine->memory->base;
    v->placed = true;
    return true;
}

static CUresult decode_all(struct module *m, struct ptx_module *ptx, const struct image *image, char *error,
                           size_t bytes) {
    struct kernel **last = &m->kernels;
    for (struct ptx_variable *v = ptx->variables; v; v = v->next)
        if (v->space != SPACE_SHARED && !place_variable(m, v)) {
            snprintf(error, bytes, "no memory for variable %s", v->name);
            return CUDA_ERROR_OUT_OF_MEMORY;
        }
    for (const struct ptx_function *f = ptx->kernels; f; f = f->next) {
        if (!f->defined)
            continue;
        struct kernel *k = kernel_decode(ptx, f, error, bytes);
        if (!k)
            return CUDA_ERROR_INVALID_PTX;
        k->module = m;
        k->arch = options.arch;
        *last = k;
        last = &k->next;
        m->n_function++;
        if (image->cubin)
            cubin_facts(image->cubin, image->cubin_bytes, k->name, &k->registers, &k->stack_bytes);
    }
    return CUDA_SUCCESS;
}

static CUresult make_functions(struct module *m) {
    uint32_t i = 0;
    m->functions = calloc(m->n_function + 1u, sizeof *m->functions);
    if (!m->functions)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (struct kernel *k = m->kernels; k; k = k->next) {
        m->functions[i] = (struct function){k, m};
        if (!handle_add(&m->functions[i++], HANDLE_FUNCTION))
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

static void free_module(struct module *m) {
    while (m->kernels) {
        struct kernel *k = m->kernels;
        m->kernels = k->next;
        counters_keep(k);
        kernel_free(k);
    }
    while (m->variables) {
        struct variable *v = m->variables;
        m->variables = v->next;
        free(v->name);
        free(v);
    }
    free(m->functions);
    free(m);
}

CUresult module_load(struct context *context, const void *data, struct module **out, char *log,
                     size_t log_bytes) {
    char error[1024] = "";
    struct image image;
    struct ptx_module *ptx = NULL;
    CUresult r = CUDA_ERROR_NO_BINARY_FOR_GPU;
    struct module *m = calloc(1, sizeof *m);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    m->context = context;
    if (!image_read(data, options.arch, &image, error, sizeof error))
        goto fail;
    r = CUDA_ERROR_INVALID_PTX;
    ptx = ptx_parse(image.ptx, image.ptx_bytes, error, sizeof error);
    if (!ptx)
        goto fail;
    if (ptx->target > options.arch) {
        snprintf(error, sizeof error, "the PTX is for sm_%u, and the device is an sm_%u", ptx->target,
                 options.arch);
        r = CUDA_ERROR_NO_BINARY_FOR_GPU;
        goto fail;
    }
    m->ptx_version = ptx->version;
    m->arch = ptx->target;
    r = decode_all(m, ptx, &image, error, sizeof error);
    if (!r)
        r = make_functions(m);
    if (r || !handle_add(m, HANDLE_MODULE)) {
        r = r ? r : CUDA_ERROR_OUT_OF_MEMORY;
        goto fail;
    }
    ptx_free(ptx);
    m->next = context->modules;
    context->modules = m;
    *out = m;
    return CUDA_SUCCESS;
fail:
    message("module: %s", *error ? error : "out of memory");
    if (log && log_bytes)
        snprintf(log, log_bytes, "%s", error);
    ptx_free(ptx);
    for (uint32_t i = 0; m->functions && i < m->n_function; i++)
        handle_remove(&m->functions[i]);
    for (struct variable *v = m->variables; v; v = v->next)
        if (v->memory)
            memory_remove(v->memory);
    free_module(m);
    return r;
}

/* Its variables and handles go at once; its code when the last pending launch has been dropped. */
void module_unload(struct module *m) {
    struct module **link = &m->context->modules;
    while (*link && *link != m)
        link = &(*link)->next;
    if (*link)
        *link = m->next;
    for (uint32_t i = 0; i < m->n_function; i++)
        handle_remove(&m->functions[i]);
    handle_remove(m);
    for (struct variable *v = m->variables; v; v = v->next)
        memory_remove(v->memory);
    m->unloaded = true;
    m->users++;
    module_release(m);
}

void module_release(struct module *m) {
    m->users--;
    if (m->unloaded && m->users == 0)
        free_module(m);
}

/* ---- what fits on a multiprocessor ---- */

/* Without a cubin nobody knows: as many as still let the block start. */
uint32_t kernel_registers(const struct kernel *k, uint32_t threads) {
    if (k->registers)
        return k->registers;
    const uint32_t fit = threads ? REGISTERS_PER_SM / ((threads + 31) / 32 * 32) / 8 * 8 : 255;
    return fit > 255 ? 255 : fit;
}

uint32_t occupancy(const struct kernel *k, uint32_t threads, uint32_t dynamic_bytes) {
    const uint32_t warps = (threads + LANES - 1) / LANES;
    /* Registers are given to warps in pieces of 256, and to four schedulers, so warps come in fours. */
    const uint32_t per_warp = (kernel_registers(k, threads) * LANES + 255) / 256 * 256;
    const uint32_t warps_by_registers =
        per_warp ? REGISTERS_PER_SM / per_warp / 4 * 4 : MAX_THREADS_PER_SM / LANES;
    const uint32_t shared = (k->static_shared + dynamic_bytes + SHARED_RESERVED + 127) / 128 * 128;
    uint32_t blocks = options.arch >= 89 ? MAX_BLOCKS_PER_SM_89 : MAX_BLOCKS_PER_SM_86;
    if (!warps)
        return 0;
    if (blocks > MAX_THREADS_PER_SM / LANES / warps)
        blocks = MAX_THREADS_PER_SM / LANES / warps;
    if (blocks > warps_by_registers / warps)
        blocks = warps_by_registers / warps;
    if (blocks > SHARED_PER_SM / shared)
        blocks = SHARED_PER_SM / shared;
    return blocks;
}
