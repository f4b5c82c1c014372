/* kernel.h: kernels by name, out of the embedded images. */
#ifndef CU_KERNEL_H
#define CU_KERNEL_H

#include "context.h"
#include "module.h"

typedef struct cu_kernel {
    struct cu_kernel *next;
    char name[48];
    CUfunction function;
    uint32_t shared_bytes; /* dynamic shared memory that it has been allowed */
} cu_kernel;

/* The kernel, loaded with its image on first use. It lives as long as the context. UNSUPPORTED: no image has
 * it. */
tandem_status cu_kernel_find(tandem_context *context, const char *name, uint32_t shared_bytes,
                             const cu_kernel **kernel, tandem_error *error);
/* 1: some image has it. [any-thread] */
int cu_kernel_exists(const char *name);

/* Frees kernels and modules of a context. */
void cu_kernels_free(tandem_context *context);

#endif
