/* builder.h: makes the launches of a program out of ops. Shared by builder.c, lower*.c and product.c. */
#ifndef CU_BUILDER_H
#define CU_BUILDER_H

#include "kernel.h"

#include "kernels/params_ops.h"

/* Multiprocessors of the device. */
uint32_t cu_n_units(const tandem_context *context);

/* Adds a launch of kernel [grid][block] to the step; params: one struct, copied. */
tandem_status cu_launch_add(gpu_builder *builder, const char *kernel, const uint32_t grid[3], uint32_t block,
                            uint32_t shared_bytes, const void *params, uint32_t params_bytes,
                            gpu_launch **launch);

/* ---- lower_stream.c ---- */

/* What the kernel of a STREAM takes; extra may be NULL: it stands alone. */
stream_params cu_stream_params(const gpu_builder *builder, const tandem_op_stream *op,
                               const gpu_stream_extra *extra);
/* What the launch that was added last reads and writes as this prologue; the first one that has it writes. */
tandem_status cu_declare_prologue(gpu_builder *builder, const tandem_op_stream *op, gpu_traffic *traffic);
/* The prologue that computes x in a step before, where it can be computed again now: its inputs are as they
 * were. NULL: none; else x is its `output`. */
const tandem_op_stream *cu_prologue_of(const gpu_builder *builder, uint32_t op_rows, const tandem_view *x,
                                       uint32_t n_col, uint32_t *output);

#endif
