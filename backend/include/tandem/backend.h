/* tandem/backend.h: the table of functions a plugin fills, and its one exported symbol. */
#ifndef TANDEM_BACKEND_H
#define TANDEM_BACKEND_H

#include "device.h"
#include "kv.h"
#include "memory.h"
#include "program.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All slots are mandatory. Every function that can fail takes an optional tandem_error as its last argument. Destroy
 * functions accept NULL and cannot fail; on a lost device they only free. */
typedef struct tandem_backend {
    uint32_t struct_size;
    uint32_t abi_major; /* of the plugin */
    uint32_t abi_minor;
    uint32_t reserved;
    const tandem_descriptor *descriptor;

    /* ---- devices [any-thread] ---- */

    /* Devices found now. NO_DEVICE, with the reason, where there is none. Indices are stable until unload. */
    tandem_status (*device_count)(uint32_t *n, tandem_error *error);
    tandem_status (*device_info)(uint32_t device, tandem_device_info *info, tandem_error *error);

    /* An extension table by name and revision ("expert_cache/1"), or NULL. */
    const void *(*get_interface)(const char *name);

    /* ---- context ---- */

    /* [any-thread] OUT_OF_MEMORY, NO_DEVICE, NEEDS_NEW_PROCESS. */
    tandem_status (*context_create)(const tandem_context_desc *desc, tandem_context **context, tandem_error *error);
    /* [context] Waits for pending work; every object of the context must have been destroyed before. */
    void (*context_destroy)(tandem_context *context);
    /* [context] */
    tandem_status (*context_memory)(tandem_context *context, tandem_memory_info *info, tandem_error *error);

    /* [context] TANDEM_OK: the op would be compiled natively at this precision. UNSUPPORTED: the message says why.
     * program_create uses the same predicate. */
    tandem_status (*supports)(tandem_context *context, const tandem_op *op, uint32_t precision, tandem_error *error);

    /* ---- buffers [context] ---- */

    tandem_status (*buffer_create)(tandem_context *context, const tandem_buffer_desc *desc, tandem_buffer **buffer,
                                   tandem_error *error);
    void (*buffer_destroy)(tandem_buffer *buffer);
    tandem_status (*buffer_info)(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error);
    /* The source is copied before the call returns. */
    tandem_status (*buffer_write)(tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes,
                                  tandem_error *error);
    /* Waits for the runs submitted before, unless flags hold TANDEM_READ_NOW. */
    tandem_status (*buffer_read)(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes, uint32_t flags,
                                 tandem_error *error);

    /* ---- weights [context] ---- */

    tandem_status (*weights_create)(tandem_context *context, const tandem_weights_desc *desc, tandem_weights **weights,
                                    tandem_error *error);
    void (*weights_destroy)(tandem_weights *weights);
    tandem_status (*weights_info)(const tandem_weights *weights, tandem_weights_info *info, tandem_error *error);
    tandem_status (*weights_matrix)(const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc,
                                    tandem_error *error);
    /* Rows [first_row, first_row + n_row) of one matrix of one record, `bytes` GGUF bytes. Ranges of a matrix come in
     * ascending order without gaps; first_row = 0 starts over. A run that reads a record with missing rows is INVALID.
     * flags: TANDEM_WRITE_BORROW. */
    tandem_status (*weights_write)(tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
                                   uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags,
                                   tandem_error *error);
    /* Moves a complete record; ordered like a write; the same bits come out of every later run. OUT_OF_MEMORY leaves
     * the record where it was. */
    tandem_status (*weights_place)(tandem_weights *weights, uint32_t record, uint32_t placement, tandem_ticket *ticket,
                                   tandem_error *error);

    /* ---- KV cache [context] ---- */

    tandem_status (*kv_create)(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                               tandem_error *error);
    void (*kv_destroy)(tandem_kv *kv);
    tandem_status (*kv_info)(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error);
    tandem_status (*kv_layer)(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info, tandem_error *error);
    /* Positions held by a slot (the next position to append). */
    tandem_status (*kv_length)(const tandem_kv *kv, uint32_t slot, uint32_t *length, tandem_error *error);
    /* Forgets positions >= length. Where a layer has wrapped its ring, UNSUPPORTED deeper than max_chunk below the
     * greatest length since the slot was last empty (rows beyond it have replaced older ones); 0 is always possible. */
    tandem_status (*kv_truncate)(tandem_kv *kv, uint32_t slot, uint32_t length, tandem_error *error);
    tandem_status (*kv_copy_slot)(tandem_kv *kv, uint32_t from, uint32_t to, tandem_error *error);
    /* Fills positions [0, length) of every layer with seeded values (tandem/fill.h defines them) and sets the length:
     * the cheap stand-in for a long prompt. */
    tandem_status (*kv_fill)(tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length, tandem_error *error);
    /* Size of, write and read an image of one slot, stamped with plugin, layout and shapes; import refuses another's. */
    tandem_status (*kv_export_bytes)(tandem_kv *kv, uint32_t slot, uint64_t *bytes, tandem_error *error);
    tandem_status (*kv_export)(tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes, tandem_error *error);
    tandem_status (*kv_import)(tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes, tandem_error *error);
    /* Rows as the kernels see them, f32 [n_row][n_kv_head][head_dim]. which: TANDEM_KV_K (normed, rotated) or _V. */
    tandem_status (*kv_read)(tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which, uint32_t first_position,
                             uint32_t n_row, float *target, tandem_error *error);

    /* ---- programs [context] ---- */

    /* Validates everything once and compiles. INVALID and UNSUPPORTED name op and member. The buffers, weights and
     * caches named by the ops must outlive the program. */
    tandem_status (*program_create)(tandem_context *context, const tandem_program_desc *desc, tandem_program **program,
                                    tandem_error *error);
    void (*program_destroy)(tandem_program *program);
    tandem_status (*program_step_count)(const tandem_program *program, uint32_t *n, tandem_error *error);
    tandem_status (*program_step)(const tandem_program *program, uint32_t step, tandem_step *info,
                                  tandem_error *error);
    /* What each step would move for this run (at the cache's present length for DEVICE_NEXT). costs: [n_step]. */
    tandem_status (*program_cost)(const tandem_program *program, const tandem_run *run, tandem_cost *const *costs,
                                  uint32_t n_step, tandem_error *error);

    /* Queues one run; at least four may be pending, then BUSY. No allocation, no recording, no host round trip. */
    tandem_status (*run)(tandem_program *program, const tandem_run *run, tandem_ticket *ticket, tandem_error *error);
    /* 0 polls. TIMEOUT leaves the ticket valid. Waiting twice is fine. */
    tandem_status (*wait)(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns, tandem_error *error);
    /* Times of a finished run; kept for at least the last 64 tickets. */
    tandem_status (*times)(tandem_context *context, tandem_ticket ticket, tandem_times *times, tandem_error *error);
    /* Device nanoseconds of each step of a finished PROFILE run. */
    tandem_status (*step_times)(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                                tandem_error *error);
} tandem_backend;

#define TANDEM_QUERY_SYMBOL "tandem_backend_query"

/* The one exported symbol. [any-thread], once per load. The plugin checks host->abi_*, fills `backend` (struct_size set
 * by the host) and returns TANDEM_OK, or refuses with a status and a sentence in host->error. A refusal is final. */
typedef tandem_status (*tandem_backend_query_fn)(const tandem_host *host, tandem_backend *backend);
TANDEM_EXPORT tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend);

#ifdef __cplusplus
}
#endif
#endif
