/* tandem/growth.h: the growth rule of tandem/base.h, for both sides.
 *
 * Part of tandem-kit. A struct's `minimum` is the end of the last member that a caller of the first version
 * had to give; what lies behind it counts as zero where it is missing.
 */
#ifndef TANDEM_GROWTH_H
#define TANDEM_GROWTH_H

#include <tandem/tandem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* No struct of any version is larger; a larger size is an uninitialised one, and is not read. */
#define TANDEM_KIT_MAX_STRUCT 65536u

/* Copies an input struct into `local` (local_bytes, at least minimum), zero-fills what the caller did not
 * give, and sets local's struct_size to local_bytes. `name` is for messages. `local` is all zero on error.
 * INVALID: input is NULL, or its struct_size is below minimum or beyond TANDEM_KIT_MAX_STRUCT.
 * UNSUPPORTED: a byte beyond local_bytes is not zero; the message has its offset. */
tandem_status tandem_kit_take(void *local, uint32_t local_bytes, uint32_t minimum, const void *input,
                              tandem_error *error, const char *name);

/* Copies `local` into an output struct, as far as the caller's struct_size reaches, and stores the size
 * filled there. INVALID: output is NULL, or its struct_size is below minimum or beyond TANDEM_KIT_MAX_STRUCT.
 */
tandem_status tandem_kit_give(void *output, const void *local, uint32_t local_bytes, uint32_t minimum,
                              tandem_error *error, const char *name);

/* The minimum of a struct whose last mandatory member is `member`. */
#define TANDEM_KIT_END(type, member) ((uint32_t)(offsetof(type, member) + sizeof(((type *)0)->member)))

/* Minimums of ABI 0.1, by struct. A later version never changes a line. */
#define TANDEM_KIT_MIN_tandem_error TANDEM_KIT_END(tandem_error, message)
#define TANDEM_KIT_MIN_tandem_host TANDEM_KIT_END(tandem_host, error)
#define TANDEM_KIT_MIN_tandem_descriptor TANDEM_KIT_END(tandem_descriptor, needs)
#define TANDEM_KIT_MIN_tandem_device_info TANDEM_KIT_END(tandem_device_info, abilities)
#define TANDEM_KIT_MIN_tandem_context_desc TANDEM_KIT_END(tandem_context_desc, device)
#define TANDEM_KIT_MIN_tandem_memory_info TANDEM_KIT_END(tandem_memory_info, total)
#define TANDEM_KIT_MIN_tandem_buffer_desc TANDEM_KIT_END(tandem_buffer_desc, bytes)
#define TANDEM_KIT_MIN_tandem_buffer_info TANDEM_KIT_END(tandem_buffer_info, bytes)
#define TANDEM_KIT_MIN_tandem_matrix_desc TANDEM_KIT_END(tandem_matrix_desc, n_col)
#define TANDEM_KIT_MIN_tandem_weights_desc TANDEM_KIT_END(tandem_weights_desc, matrices)
#define TANDEM_KIT_MIN_tandem_weights_info TANDEM_KIT_END(tandem_weights_info, n_matrix)
#define TANDEM_KIT_MIN_tandem_kv_layer TANDEM_KIT_END(tandem_kv_layer, capacity)
#define TANDEM_KIT_MIN_tandem_kv_desc TANDEM_KIT_END(tandem_kv_desc, n_slot)
#define TANDEM_KIT_MIN_tandem_kv_info TANDEM_KIT_END(tandem_kv_info, n_slot)
#define TANDEM_KIT_MIN_tandem_program_desc TANDEM_KIT_END(tandem_program_desc, max_slots)
#define TANDEM_KIT_MIN_tandem_run TANDEM_KIT_END(tandem_run, position)
#define TANDEM_KIT_MIN_tandem_step TANDEM_KIT_END(tandem_step, n_op)
#define TANDEM_KIT_MIN_tandem_cost TANDEM_KIT_END(tandem_cost, flops)
#define TANDEM_KIT_MIN_tandem_times TANDEM_KIT_END(tandem_times, device_ns)
#define TANDEM_KIT_MIN_tandem_op_embed TANDEM_KIT_END(tandem_op_embed, out)
#define TANDEM_KIT_MIN_tandem_op_stream TANDEM_KIT_END(tandem_op_stream, out_scale)
#define TANDEM_KIT_MIN_tandem_op_matmul TANDEM_KIT_END(tandem_op_matmul, y)
#define TANDEM_KIT_MIN_tandem_op_attention TANDEM_KIT_END(tandem_op_attention, out)
#define TANDEM_KIT_MIN_tandem_op_topk TANDEM_KIT_END(tandem_op_topk, out)
#define TANDEM_KIT_MIN_tandem_op_elementwise TANDEM_KIT_END(tandem_op_elementwise, out)
#define TANDEM_KIT_MIN_tandem_op_moe_route TANDEM_KIT_END(tandem_op_moe_route, route)
#define TANDEM_KIT_MIN_tandem_op_moe_ffn TANDEM_KIT_END(tandem_op_moe_ffn, y)

/* TANDEM_KIT_TAKE(tandem_run, &local, run, error) */
#define TANDEM_KIT_TAKE(type, local, input, error)                                                           \
    tandem_kit_take(local, (uint32_t)sizeof(type), TANDEM_KIT_MIN_##type, input, error, #type)
#define TANDEM_KIT_GIVE(type, output, local, error)                                                          \
    tandem_kit_give(output, local, (uint32_t)sizeof(type), TANDEM_KIT_MIN_##type, error, #type)

/* Any op. */
typedef union tandem_kit_op {
    tandem_op head;
    tandem_op_embed embed;
    tandem_op_stream stream;
    tandem_op_matmul matmul;
    tandem_op_attention attention;
    tandem_op_topk topk;
    tandem_op_elementwise elementwise;
    tandem_op_moe_route moe_route;
    tandem_op_moe_ffn moe_ffn;
} tandem_kit_op;

/* "MATMUL", or "unknown". */
const char *tandem_kit_op_name(uint32_t kind);

/* Takes an op of any kind (a MATMUL's prologue stays a pointer to the caller's struct). op_index goes into
 * the error. Beyond the codes of tandem_kit_take, UNSUPPORTED: a kind that this version does not have. */
tandem_status tandem_kit_take_op(tandem_kit_op *local, const tandem_op *op, uint32_t op_index,
                                 tandem_error *error);

#ifdef __cplusplus
}
#endif
#endif
