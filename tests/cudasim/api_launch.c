/* Launching kernels, and asking how many blocks fit. */
#include "driver.h"
#include "pose.h"

#include <stdlib.h>
#include <string.h>

/* Everything that hardware would refuse. */
static CUresult check_shape(const struct kernel *k, const uint32_t *grid, const uint32_t *threads,
                            uint32_t dynamic_bytes, bool cooperative) {
    const uint64_t total = (uint64_t)threads[0] * threads[1] * threads[2];
    if (!total || !grid[0] || !grid[1] || !grid[2] || grid[0] > INT32_MAX || grid[1] > 65535 ||
        grid[2] > 65535 || threads[0] > 1024 || threads[1] > 1024 || threads[2] > 64 ||
        total > MAX_THREADS_PER_BLOCK)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: a grid of %ux%ux%u blocks of %ux%ux%u threads", k->name,
                      grid[0], grid[1], grid[2], threads[0], threads[1], threads[2]);
    if ((uint64_t)grid[0] * grid[1] * grid[2] > UINT32_MAX)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: more than 2^32 blocks are not simulated", k->name);
    if (k->max_threads[0]) {
        const uint64_t most = (uint64_t)k->max_threads[0] * k->max_threads[1] * k->max_threads[2];
        if (total > most || (k->required_threads && memcmp(threads, k->max_threads, sizeof k->max_threads)))
            return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: %llu threads, and it is compiled for %llu", k->name,
                          (unsigned long long)total, (unsigned long long)most);
    }
    const uint32_t allowed = k->max_dynamic ? k->max_dynamic : SHARED_PER_BLOCK - k->static_shared;
    if (dynamic_bytes > allowed)
        return REFUSE(CUDA_ERROR_INVALID_VALUE,
                      "%s: %u bytes of dynamic shared memory, and %u are allowed "
                      "(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)",
                      k->name, dynamic_bytes, allowed);
    const uint32_t fit = occupancy(k, (uint32_t)total, dynamic_bytes);
    if (!fit)
        return REFUSE(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "%s: %llu threads of %u registers do not fit a multiprocessor", k->name,
                      (unsigned long long)total, kernel_registers(k, (uint32_t)total));
    if (cooperative && (uint64_t)grid[0] * grid[1] * grid[2] > (uint64_t)fit * options.sms)
        return REFUSE(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                      "%s: %llu blocks, and %u fit the device at once", k->name,
                      (unsigned long long)grid[0] * grid[1] * grid[2], fit * options.sms);
    return CUDA_SUCCESS;
}

/* kernelParams: a pointer each. extra: one buffer, whose size must be that of the parameters. */
static CUresult copy_params(const struct kernel *k, void **params, void **extra, uint8_t **out) {
    const void *buffer = NULL;
    size_t bytes = 0;
    if (params && extra)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: parameters are given twice", k->name);
    for (void **e = extra; e && *e != CU_LAUNCH_PARAM_END; e += 2) {
        if (*e == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = e[1];
        else if (*e == CU_LAUNCH_PARAM_BUFFER_SIZE)
            bytes = *(const size_t *)e[1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (k->n_param && !params && !buffer)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s takes %u parameters, and none are given", k->name,
                      k->n_param);
    if (extra && bytes != k->param_bytes)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: %zu bytes of parameters, and it takes %u", k->name,
                      bytes, k->param_bytes);
    uint8_t *copy = calloc(1, k->param_bytes + 1u);
    if (!copy)
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < k->n_param; i++) {
        const struct param p = k->params[i];
        const void *from = params ? params[i] : (const uint8_t *)buffer + p.offset;
        if (!from) {
            free(copy);
            return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: no pointer to parameter %u", k->name, i);
        }
        memcpy(copy + p.offset, from, p.bytes);
    }
    *out = copy;
    return CUDA_SUCCESS;
}

CUresult launch_action(struct action *a, CUfunction handle, const uint32_t *grid, const uint32_t *threads,
                       uint32_t dynamic_bytes, bool cooperative, void **params, void **extra) {
    struct function *f = (struct function *)handle;
    *a = (struct action){.kind = ACTION_KERNEL};
    if (!handle_is(f, HANDLE_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult r = check_shape(f->kernel, grid, threads, dynamic_bytes, cooperative);
    if (!r)
        r = copy_params(f->kernel, params, extra, &a->kernel.params);
    if (r)
        return r;
    a->kernel.function = f;
    a->kernel.cooperative = cooperative;
    a->kernel.dynamic_bytes = dynamic_bytes;
    memcpy(a->kernel.grid, grid, sizeof a->kernel.grid);
    memcpy(a->kernel.threads, threads, sizeof a->kernel.threads);
    f->module->users++;
    return CUDA_SUCCESS;
}

static CUresult launch(struct context *c, CUfunction f, const uint32_t *grid, const uint32_t *threads,
                       uint32_t dynamic_bytes, CUstream handle, bool cooperative, void **params,
                       void **extra) {
    struct stream *s = stream_find(c, handle);
    struct action a;
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult r = launch_action(&a, f, grid, threads, dynamic_bytes, cooperative, params, extra);
    return r ? r : stream_add(s, &a, NULL);
}

static CUresult launch_config(struct context *c, const CUlaunchConfig *config, CUfunction f, void **params,
                              void **extra) {
    bool cooperative = false;
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < config->numAttrs; i++)
        switch (config->attrs[i].id) {
        case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
            cooperative = config->attrs[i].value.cooperative != 0;
            break;
        case CU_LAUNCH_ATTRIBUTE_IGNORE:
        case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
            break;
        default:
            return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "launch attribute %d is not simulated",
                          (int)config->attrs[i].id);
        }
    const uint32_t grid[3] = {config->gridDimX, config->gridDimY, config->gridDimZ};
    const uint32_t threads[3] = {config->blockDimX, config->blockDimY, config->blockDimZ};
    return launch(c, f, grid, threads, config->sharedMemBytes, config->hStream, cooperative, params, extra);
}

CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned dynamic_bytes, CUstream stream, void **params, void **extra) {
    const uint32_t grid[3] = {gx, gy, gz}, threads[3] = {bx, by, bz};
    API("cuLaunchKernel", NEEDS_CONTEXT,
        launch(c, f, grid, threads, dynamic_bytes, stream, false, params, extra));
}
CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                                   unsigned by, unsigned bz, unsigned dynamic_bytes, CUstream stream,
                                   void **params) {
    const uint32_t grid[3] = {gx, gy, gz}, threads[3] = {bx, by, bz};
    API("cuLaunchCooperativeKernel", NEEDS_CONTEXT,
        launch(c, f, grid, threads, dynamic_bytes, stream, true, params, NULL));
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **params, void **extra) {
    API("cuLaunchKernelEx", NEEDS_CONTEXT, launch_config(c, config, f, params, extra));
}

/* ---- occupancy ---- */

static CUresult active_blocks(int *n, CUfunction handle, int threads, size_t dynamic_bytes) {
    if (!handle_is(handle, HANDLE_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!n || threads <= 0 || dynamic_bytes > UINT32_MAX / 2)
        return CUDA_ERROR_INVALID_VALUE;
    *n = threads > MAX_THREADS_PER_BLOCK ? 0
                                         : (int)occupancy(((struct function *)handle)->kernel,
                                                          (uint32_t)threads, (uint32_t)dynamic_bytes);
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int threads,
                                                     size_t dynamic_bytes) {
    API("cuOccupancyMaxActiveBlocksPerMultiprocessor", NEEDS_CONTEXT,
        active_blocks(n, f, threads, dynamic_bytes));
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, CUfunction f, int threads,
                                                              size_t dynamic_bytes, unsigned flags) {
    API("cuOccupancyMaxActiveBlocksPerMultiprocessor", NEEDS_CONTEXT,
        flags & ~1u ? CUDA_ERROR_INVALID_VALUE : active_blocks(n, f, threads, dynamic_bytes));
}

/* The largest block among those with the most resident threads. */
static CUresult best_block(int *grid, int *block, CUfunction handle, CUoccupancyB2DSize size_of,
                           size_t dynamic_bytes, int limit) {
    if (!handle_is(handle, HANDLE_FUNCTION))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!grid || !block)
        return CUDA_ERROR_INVALID_VALUE;
    const struct kernel *k = ((struct function *)handle)->kernel;
    uint32_t most =
        k->max_threads[0] ? k->max_threads[0] * k->max_threads[1] * k->max_threads[2] : MAX_THREADS_PER_BLOCK;
    uint32_t best = 0;
    if (limit > 0 && (uint32_t)limit < most)
        most = (uint32_t)limit;
    for (uint32_t threads = most / LANES * LANES; threads; threads -= LANES) {
        const size_t bytes = size_of ? size_of((int)threads) : dynamic_bytes;
        const uint32_t n =
            bytes > pose_device(options.arch)->shared_per_block ? 0 : occupancy(k, threads, (uint32_t)bytes);
        if (n * threads > best) {
            best = n * threads;
            *block = (int)threads;
            *grid = (int)(n * options.sms);
        }
    }
    return best ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
}
CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction f, CUoccupancyB2DSize size_of,
                                          size_t dynamic_bytes, int limit) {
    API("cuOccupancyMaxPotentialBlockSize", NEEDS_CONTEXT,
        best_block(grid, block, f, size_of, dynamic_bytes, limit));
}
