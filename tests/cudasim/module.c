/* Modules: an image becomes variables in device memory and decoded kernels. */
#include "driver.h"
#include "fatbin.h"
#include "pose.h"

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
        k->arch = image->by_cubin ? image->cubin_arch : options.arch;
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
    CUresult r;
    struct module *m = calloc(1, sizeof *m);
    if (!m)
        return CUDA_ERROR_OUT_OF_MEMORY;
    m->context = context;
    r = image_read(data, &image, error, sizeof error);
    if (r)
        goto fail;
    r = CUDA_ERROR_INVALID_PTX;
    ptx = ptx_parse(image.ptx, image.ptx_bytes, error, sizeof error);
    if (!ptx)
        goto fail;
    if (!pose_runs_ptx(options.arch, ptx->target, ptx->target_kind)) {
        snprintf(error, sizeof error, "the PTX is for sm_%u%s, and the device is an sm_%u", ptx->target,
                 ptx->target_kind == TARGET_ARCH     ? "a"
                 : ptx->target_kind == TARGET_FAMILY ? "f"
                                                     : "",
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

/* As cuda_occupancy.h has it: registers are given to warps in pieces of 256, warps to the four schedulers of
 * a multiprocessor; and a block starts only if its warps, rounded up to a multiple of four, have their
 * registers. */
enum { REGISTER_UNIT = 256, SCHEDULERS = 4, MAX_REGISTERS = 255 };

static uint32_t round_up(uint32_t n, uint32_t unit) {
    return (n + unit - 1) / unit * unit;
}
static uint32_t warps_of(uint32_t threads) {
    return (threads + LANES - 1) / LANES;
}
static uint32_t warps_by_registers(uint32_t registers) {
    return REGISTERS_PER_SM / SCHEDULERS / round_up(registers * LANES, REGISTER_UNIT) * SCHEDULERS;
}

/* Without a cubin nobody knows: as many as still let the block start, which is what a compiler told to keep
 * within .maxntid does, and no more than .maxnreg says. */
uint32_t kernel_registers(const struct kernel *k, uint32_t threads) {
    if (k->registers)
        return k->registers;
    const uint32_t warps = round_up(warps_of(threads ? threads : 1), SCHEDULERS);
    uint32_t fit = REGISTERS_PER_SM / warps / REGISTER_UNIT * REGISTER_UNIT / LANES;
    if (k->max_registers && fit > k->max_registers)
        fit = k->max_registers;
    return fit > MAX_REGISTERS ? MAX_REGISTERS : fit;
}

uint32_t threads_by_registers(uint32_t registers) {
    return registers ? warps_by_registers(registers) * LANES : MAX_THREADS_PER_BLOCK;
}

uint32_t occupancy(const struct kernel *k, uint32_t threads, uint32_t dynamic_bytes) {
    const struct device_kind *device = pose_device(options.arch);
    const uint32_t warps = warps_of(threads);
    const uint32_t shared = round_up(k->static_shared + dynamic_bytes + SHARED_RESERVED, 128);
    uint32_t blocks = device->blocks_per_sm;
    if (!warps)
        return 0;
    if (blocks > device->threads_per_sm / LANES / warps)
        blocks = device->threads_per_sm / LANES / warps;
    const uint32_t by_registers = warps_by_registers(kernel_registers(k, threads));
    if (round_up(warps, SCHEDULERS) > by_registers)
        return 0;
    if (blocks > by_registers / warps)
        blocks = by_registers / warps;
    if (blocks > device->shared_per_sm / shared)
        blocks = device->shared_per_sm / shared;
    return blocks;
}
