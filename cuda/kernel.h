/* kernel.h: kernels by name, out of the embedded images; each is a module of its own. */
#ifndef CU_KERNEL_H
#define CU_KERNEL_H

#include "context.h"
#include "images.h"

typedef struct cu_kernel {
    struct cu_kernel *next;
    char name[48];
    CUmodule module;
    CUfunction function;
    uint32_t static_bytes; /* shared memory of every block, by the driver */
    uint32_t shared_bytes; /* dynamic shared memory that it has been allowed */
} cu_kernel;

/* What a launch must do about its shared memory. */
#define CU_SHARED_PLAIN 0u  /* nothing */
#define CU_SHARED_OPT_IN 1u /* set CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES first */
#define CU_SHARED_BEYOND 2u /* it cannot run on the device */

/* The static and the dynamic bytes of a block count together against both limits of the device. */
static inline uint32_t cu_shared_need(const cu_device *device, uint32_t static_bytes,
                                      uint32_t dynamic_bytes) {
    uint64_t bytes = (uint64_t)static_bytes + dynamic_bytes;
    return bytes <= device->shared_plain  ? CU_SHARED_PLAIN
           : bytes <= device->shared_most ? CU_SHARED_OPT_IN
                                          : CU_SHARED_BEYOND;
}

/* The kernel, loaded on first use. It lives as long as the context. UNSUPPORTED: no image has
 * it, or its static and `shared_bytes` of dynamic shared memory are more than a block of the device may have.
 */
tandem_status cu_kernel_find(tandem_context *context, const char *name, uint32_t shared_bytes,
                             const cu_kernel **kernel, tandem_error *error);
/* 1: there is an image of it. [any-thread] */
int cu_kernel_exists(const char *name);

/* Frees kernels and modules of a context. */
void cu_kernels_free(tandem_context *context);

#endif
