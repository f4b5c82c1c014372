/* builder.h: makes the launches of a program out of ops. Shared by builder.c, lower*.c and product.c. */
#ifndef CU_BUILDER_H
#define CU_BUILDER_H

#include "kernel.h"

/* Multiprocessors of the device. */
uint32_t cu_n_units(const tandem_context *context);

/* Adds a launch of kernel [grid][block] to the step; params: one struct, copied. */
tandem_status cu_launch_add(gpu_builder *builder, const char *kernel, const uint32_t grid[3], uint32_t block,
                            uint32_t shared_bytes, const void *params, uint32_t params_bytes,
                            gpu_launch **launch);

#endif
