/* memory.h: device and host memory of a context, counted by class and held under the cap.
 *
 * A gpu_memory is a range of a driver allocation. Large ranges have an allocation of their own; small ones,
 * and the many of one size that the records of experts are, share blocks, since drivers round every
 * allocation up and may limit their number (Vulkan guarantees 4096). Counted is what the driver was asked
 * for: a block counts until its last range is freed.
 */
#ifndef GPU_MEMORY_H
#define GPU_MEMORY_H

#include "gpu_types.h"

#include <tandem/memory.h>

#define GPU_CLASS_WEIGHTS_DEVICE 0u
#define GPU_CLASS_WEIGHTS_HOST 1u
#define GPU_CLASS_KV 2u
#define GPU_CLASS_BUFFERS 3u
#define GPU_CLASS_WORKSPACE 4u
#define GPU_CLASS_STAGING 5u
#define GPU_N_CLASS 6u

/* Every range starts at a multiple of this: a cache line of any GPU, and any storage alignment. */
#define GPU_MEMORY_ALIGNMENT 256u

#define GPU_MAX_UNIT 4096u /* of a shared block */

/* A driver allocation. */
typedef struct gpu_block {
    struct gpu_block *next; /* of the context's list */
    struct gpu_block *previous;
    uint64_t bytes;
    uint64_t counted; /* bytes that the driver was asked for; 0: not allocated */
    uint64_t address;
    uint8_t *mapped; /* for the host; NULL: the host cannot reach it */
    uint32_t class;
    uint32_t placement;
    gpu_api_block api;
    uint64_t unit;              /* bytes; 0: the block is one range */
    uint32_t n_unit;            /* of a shared block */
    uint32_t n_used;            /* units in use */
    uint8_t used[GPU_MAX_UNIT]; /* 1: the unit is taken */
} gpu_block;

typedef struct gpu_memory {
    gpu_block *block; /* NULL: nothing allocated */
    uint64_t offset;  /* in the block */
    uint64_t bytes;
    uint64_t address; /* of the first byte, for kernels */
    uint8_t *mapped;  /* the same byte for the host; NULL: the host cannot reach it */
} gpu_memory;

/* Bytes in use. */
typedef struct gpu_memory_count {
    uint64_t cap; /* 0: none */
    uint64_t by_class[GPU_N_CLASS];
    uint64_t total;
    uint64_t peak;
} gpu_memory_count;

/* placement: TANDEM_PLACE_DEVICE (mapped too where device memory is host memory) or _HOST (always mapped).
 * Contents are undefined. OUT_OF_MEMORY: the cap, the driver, or more than the device's allocation limit;
 * nothing has changed. [context] */
tandem_status gpu_memory_allocate(tandem_context *context, uint32_t class, uint32_t placement, uint64_t bytes,
                                  gpu_memory *memory, tandem_error *error);

/* Likewise, one of many ranges of the same size, which share blocks of up to 64 MiB (each is a unit). n_more:
 * so many, this one included, are asked for in a row; a range that comes alone makes a block for as many as
 * an eighth of those that there are. Where memory is short, blocks are smaller. */
tandem_status gpu_memory_allocate_unit(tandem_context *context, uint32_t class, uint32_t placement,
                                       uint64_t bytes, uint32_t n_more, gpu_memory *memory,
                                       tandem_error *error);

/* Frees at once: the caller knows that no pending work uses it. NULL block: nothing. */
void gpu_memory_free(tandem_context *context, gpu_memory *memory);

/* Frees once the work submitted so far has ended. */
void gpu_memory_retire(tandem_context *context, gpu_memory *memory);

/* Frees the retired ranges whose work has ended (all of them, if `all`). */
void gpu_memory_collect(tandem_context *context, int all);

/* OUT_OF_MEMORY: the cap does not hold so many bytes more. */
tandem_status gpu_memory_check_cap(const tandem_context *context, uint32_t class, uint64_t bytes,
                                   tandem_error *error);
/* "weights", for sentences. */
const char *gpu_memory_class_name(uint32_t class);

#endif
