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

/* ---- lower*.c: one op each ---- */
tandem_status cu_lower_embed(gpu_builder *builder, const tandem_op_embed *op);
tandem_status cu_lower_matmul(gpu_builder *builder, const tandem_op_matmul *op);
tandem_status cu_lower_attention(gpu_builder *builder, const tandem_op_attention *op);
tandem_status cu_lower_topk(gpu_builder *builder, const tandem_op_topk *op);
tandem_status cu_lower_elementwise(gpu_builder *builder, const tandem_op_elementwise *op);
tandem_status cu_lower_moe_route(gpu_builder *builder, const tandem_op_moe_route *op);
tandem_status cu_lower_moe_ffn(gpu_builder *builder, const tandem_op_moe_ffn *op);

/* extra may be NULL: a STREAM that stands alone. */
tandem_status cu_lower_stream(gpu_builder *builder, const tandem_op_stream *op,
                              const gpu_stream_extra *extra);

#endif
