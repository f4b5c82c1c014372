/* hooks.h: what a plugin gives to the sources of this folder. Everything API-specific is behind these names.
 *
 * A plugin compiles the folder with its own (tandem_gpu in CMake), and its folder has a gpu_types.h, which
 * gives the types and constants:
 *
 *   GPU_NAME, GPU_TITLE   "vulkan", "Vulkan": for stamps of images, and for sentences
 *   gpu_device            a device as context_create found it; its `info` is a filled tandem_device_info
 *   gpu_api_context, gpu_api_block, gpu_api_launch, gpu_api_program
 *                         the plugin's part (member `api`) of a context, a driver allocation, a launch and a
 *                         program; all begin as zeroes
 *   run_header, run_row, next_block, RUN_*
 *                         the table of a run, as the plugin's kernels read it
 *   kv_position_bytes, kv_region_bytes, kv_padded_ring, kv_element_bytes, kv_scale_offset
 *                         the layout of a cache region
 *   GROUP_ROWS, STREAM_MAX_D, MOE_MAX_EXPERT, GPU_MAX_TOPK
 *                         rows of a group of packed weights, and limits of the kernels
 *
 * and the functions below. They are called in the order that one caller per context gives. "In order" means:
 * behind everything that was put there before, without waiting, with a serial by the next gpu_submit.
 */
#ifndef GPU_HOOKS_H
#define GPU_HOOKS_H

#include "builder.h"

/* ---- the plugin ---- */

extern const tandem_descriptor gpu_descriptor;
/* The plugin's own interfaces beside gpu_test/1; NULL: there is none of that name, or name is NULL. */
const void *gpu_get_interface(const char *name);
/* Options as if none was given. */
void gpu_options_reset(void);
/* Takes option `name` (n bytes, without the '='). UNSUPPORTED: there is none; the sentence lists them. */
tandem_status gpu_option(const char *option, size_t n, const char *value, tandem_error *error);
/* After the last option: refuses combinations, and lets them take effect. */
tandem_status gpu_options_end(tandem_error *error);

/* ---- devices and contexts ---- */

/* The ABI's functions of the same names. [any-thread] */
tandem_status gpu_device_count(uint32_t *n, tandem_error *error);
tandem_status gpu_device_info(uint32_t device, tandem_device_info *info, tandem_error *error);

/* Opens context->device for desc->device, with a queue, and fills driver_overhead. A half-open context is
 * closed by the caller. NO_DEVICE, NEEDS_NEW_PROCESS. */
tandem_status gpu_api_open(tandem_context *context, const tandem_context_desc *desc, tandem_error *error);
/* 1: there is a device to free things on. */
int gpu_api_is_open(const tandem_context *context);
/* Frees all of the plugin's part; nothing is pending, and no memory is left. */
void gpu_api_close(tandem_context *context);

/* What an entry of the ABI on a context begins and ends with (an API may keep a context current in a thread).
 * context may be NULL. gpu_leave follows where gpu_enter answered OK. */
tandem_status gpu_enter(const tandem_context *context, tandem_error *error);
void gpu_leave(const tandem_context *context);

/* ---- memory ---- */

/* Allocates block->bytes for block->class where block->placement says, and sets address, mapped and *counted,
 * what the driver was asked for. Checks the cap where that is more than block->bytes. */
tandem_status gpu_block_allocate(tandem_context *context, gpu_block *block, uint64_t *counted,
                                 tandem_error *error);
/* Frees what the block has, also of a failed allocation. */
void gpu_block_release(tandem_context *context, gpu_block *block);

/* ---- order ---- */

/* Serial `serial` ends when all that was put in order so far has. */
tandem_status gpu_queue_end(tandem_context *context, uint64_t serial, tandem_error *error);
/* Waits for *serial, and raises it where a later one is known to have ended. TIMEOUT without a sentence. */
tandem_status gpu_queue_wait(tandem_context *context, uint64_t *serial, uint64_t timeout_ns,
                             tandem_error *error);
/* A serial that has ended: at least `serial` where that is known to have. Never waits. */
uint64_t gpu_queue_ended(tandem_context *context, uint64_t serial);
/* Waits for all, by the bare driver; 1: nothing is pending. */
int gpu_queue_drain(tandem_context *context);

/* A copy in order; the ranges do not overlap. */
tandem_status gpu_copy(tandem_context *context, const gpu_memory *from, uint64_t from_offset,
                       const gpu_memory *to, uint64_t to_offset, uint64_t bytes, tandem_error *error);
/* Zeroes in order. May zero up to the next multiple of 4 bytes. */
tandem_status gpu_fill_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error);
/* Writes a few bytes in order, which are copied now. A multiple of 4. */
tandem_status gpu_update(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                         const void *source, uint64_t bytes, tandem_error *error);

/* ---- caches ---- */

#define GPU_KV_FILL 0u
#define GPU_KV_READ 1u

/* Rows of K or V of one slot, all KV heads. */
typedef struct gpu_kv_rows {
    uint32_t what;  /* GPU_KV_* */
    uint32_t layer; /* that owns storage */
    uint32_t which; /* TANDEM_KV_* */
    uint32_t slot;
    uint32_t first_position;
    uint32_t n_row; /* at most 65535 */
    uint32_t seed;  /* FILL */
    uint64_t rows;  /* READ: address of f32 [n_row][n_kv_head][head_dim] */
} gpu_kv_rows;

/* Makes ready the kernels that fill or read a layer (TANDEM_NONE: every layer). */
tandem_status gpu_kv_load(tandem_kv *kv, uint32_t what, uint32_t layer, tandem_error *error);
/* Launches in order. Launches between two submits do not meet in any byte. */
tandem_status gpu_kv_launch(tandem_kv *kv, const gpu_kv_rows *rows, tandem_error *error);

/* ---- programs ---- */

/* UNSUPPORTED: no kernel for the table of an EMBED; for any product at this precision; for a product of this
 * matrix (n_used > 0: of one of the records, of which a row uses so many). */
tandem_status gpu_supports_table(const tandem_weights *weights, uint32_t matrix, uint32_t op_index,
                                 tandem_error *error);
tandem_status gpu_supports_precision(const tandem_context *context, const char *name, uint32_t precision,
                                     uint32_t op_index, tandem_error *error);
tandem_status gpu_supports_product(const tandem_context *context, const tandem_weights *weights,
                                   uint32_t matrix, const char *name, uint32_t precision, uint32_t n_used,
                                   uint32_t op_index, tandem_error *error);

/* Make the launches of an op, and those of the two ends of a run: prepare, before all others, and finish,
 * where there is a TOPK. Called twice for each program (program.h). */
tandem_status gpu_lower_prepare(gpu_builder *builder);
tandem_status gpu_lower_embed(gpu_builder *builder, const tandem_op_embed *op);
/* extra may be NULL: a STREAM that stands alone. */
tandem_status gpu_lower_stream(gpu_builder *builder, const tandem_op_stream *op,
                               const gpu_stream_extra *extra);
tandem_status gpu_lower_matmul(gpu_builder *builder, const tandem_op_matmul *op);
tandem_status gpu_lower_attention(gpu_builder *builder, const tandem_op_attention *op);
tandem_status gpu_lower_topk(gpu_builder *builder, const tandem_op_topk *op);
tandem_status gpu_lower_elementwise(gpu_builder *builder, const tandem_op_elementwise *op);
tandem_status gpu_lower_moe_route(gpu_builder *builder, const tandem_op_moe_route *op);
tandem_status gpu_lower_moe_ffn(gpu_builder *builder, const tandem_op_moe_ffn *op);
tandem_status gpu_lower_finish(gpu_builder *builder, const tandem_op_topk *op);
/* Between the two passes: the bytes of workspace that the plugin wants for itself (layout.commands), and
 * forgets of the first pass what the second says again. */
uint64_t gpu_program_plan(tandem_program *program);
/* Fills them. */
tandem_status gpu_program_upload(tandem_program *program, tandem_error *error);
/* Makes the program ready to launch, with its barriers. */
tandem_status gpu_program_record(tandem_program *program, tandem_error *error);
/* Frees the plugin's part, also of a half-made program. */
void gpu_program_release(tandem_program *program);

/* ---- runs ---- */

/* Which of the GPU_N_PENDING tables the next run in this slot reads. */
uint32_t gpu_run_table(const tandem_program *program, uint32_t slot);
/* Before a profile run, whose times of steps will be wanted. */
tandem_status gpu_profile_begin(tandem_program *program, tandem_error *error);
/* Puts a run in order, with times at both ends in `slot`; it ends serial `serial`. */
tandem_status gpu_run_launch(tandem_program *program, uint32_t slot, int profile, uint64_t serial,
                             tandem_error *error);
/* The device times of a run that has ended; left at 0 where the driver does not tell. */
void gpu_run_times(tandem_context *context, gpu_ticket *entry);
/* The times of the steps of the last profile run, which has ended. ns has room for one more. */
tandem_status gpu_profile_times(tandem_program *program, uint64_t *ns, tandem_error *error);

/* ---- tests ---- */

/* The name of a launch's kernel or shader. */
const char *gpu_launch_name(const tandem_program *program, const gpu_launch *launch);
/* One launch alone in order; number 0 (prepare) reads the table that gpu_run_table(program, 0)
 * named. */
tandem_status gpu_launch_alone(tandem_program *program, uint32_t index, tandem_error *error);

#endif
