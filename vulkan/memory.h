/* memory.h: device and host memory of a context, counted by class and held under the cap.
 *
 * A gpu_memory is a range of a driver allocation. Large ranges have an allocation of their own; small ones
 * share blocks, since drivers round every allocation up and may limit their number. Counted is what the
 * driver was asked for.
 */
#ifndef VK_MEMORY_H
#define VK_MEMORY_H

#include "driver.h"

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

typedef struct gpu_block gpu_block;

typedef struct gpu_memory {
    gpu_block *block; /* NULL: nothing allocated */
    VkBuffer buffer;
    uint64_t offset; /* in the buffer */
    uint64_t bytes;
    uint64_t address; /* of the first byte, for shaders */
    uint8_t *mapped;  /* the same byte for the host; NULL: the host cannot reach it */
} gpu_memory;

/* Bytes in use. */
typedef struct gpu_memory_count {
    uint64_t cap; /* 0: none */
    uint64_t by_class[GPU_N_CLASS];
    uint64_t total;
    uint64_t peak;
} gpu_memory_count;

/* placement: TANDEM_PLACE_DEVICE (mapped too on unified memory) or _HOST (always mapped, coherent). Contents
 * are undefined. OUT_OF_MEMORY: the cap, the driver, or more than the device's allocation limit; nothing has
 * changed. [context] */
tandem_status gpu_memory_allocate(tandem_context *context, uint32_t class, uint32_t placement, uint64_t bytes,
                                  gpu_memory *memory, tandem_error *error);

/* Frees at once: the caller knows that no pending work uses it. NULL block: nothing. */
void gpu_memory_free(tandem_context *context, gpu_memory *memory);

/* Frees once the work submitted so far has ended. */
void gpu_memory_retire(tandem_context *context, gpu_memory *memory);

/* Frees the retired ranges whose work has ended (all of them, if `all`). */
void gpu_memory_collect(tandem_context *context, int all);

/* Allocation number `index` as the host sees it, for tests; 0: no such one, or not mapped. */
int gpu_memory_block(const tandem_context *context, uint32_t index, uint64_t *address, uint64_t *bytes,
                     void **pointer);

#endif
