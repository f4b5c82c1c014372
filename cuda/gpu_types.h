/* gpu_types.h: the CUDA side of the types that the GPU plugins share (backend/gpu/hooks.h). */
#ifndef CU_GPU_TYPES_H
#define CU_GPU_TYPES_H

#include "device.h"
#include "gpu/limits.h"

#include "kernels/params.h"
#include "kernels/params_moe.h"
#include "kernels/params_ops.h"
#include "kernels/run_block.h"

#define GPU_NAME "cuda"
#define GPU_TITLE "CUDA"
#define GPU_MAX_TOPK TOPK_MAX_N

#define CU_N_EVENT 64u /* serials that have an event of their own */

typedef cu_device gpu_device;

struct cu_kernel;

/* One stream; behind each serial stands an event. */
typedef struct gpu_api_context {
    const cu_driver *cu;
    CUcontext handle;
    uint32_t n_enter; /* entries of the ABI under way: one, and those that the validator makes */
    int pushed;       /* the first of them made the CUDA context current */
    CUstream stream;
    CUevent ends[CU_N_EVENT]; /* [serial % CU_N_EVENT] */
    struct cu_kernel *kernels;
    CUevent begin[GPU_N_PENDING], end[GPU_N_PENDING]; /* of the run in a slot, with times */
    CUevent last_end; /* end of the last finished run: changes places with the slot's, so nobody records it
                         anew */
    int last_known;
} gpu_api_context;

/* What to free: one of the two. */
typedef struct gpu_api_block {
    CUdeviceptr device;
    void *host;
} gpu_api_block;

typedef struct gpu_api_launch {
    const struct cu_kernel *kernel;
    uint32_t grid[3]; /* of the largest run */
    uint32_t block;
    uint32_t shared_bytes;
} gpu_api_launch;

typedef struct gpu_api_program {
    uint64_t n_run; /* runs queued: run n reads table n % GPU_N_PENDING, as prepare counts too */
    CUgraph graph;
    CUgraphExec exec;
    uint32_t n_edge;         /* dependences in the graph */
    CUevent *profile_events; /* [n_step + 1]; made by the first PROFILE run */
} gpu_api_program;

/* A region is as long as its ring (params_ops.h). */
static inline uint32_t kv_padded_ring(uint32_t ring) {
    return ring;
}

#endif
