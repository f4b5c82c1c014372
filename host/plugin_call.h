/* host/plugin_call.h: calls into a plugin. Nothing else in the host calls through a plugin's table.
 *
 * A plugin is a stranger's code. Each function here calls the slot of its name (contract: tandem/backend.h)
 * and checks what came back, so that no caller ever sees
 *   - success without an object or a ticket;
 *   - a status that the ABI does not know, or INVALID for what the host asked: both become INTERNAL, since the
 *     fault is not the user's (kv_read apart);
 *   - counts and figures that no machine has (PLUGIN_MOST_*), or a kind of device that this host does not know;
 *   - texts without an end, with control characters, or that are no UTF-8;
 *   - a target that a read left as it was: bytes not written are 0xff, as floats NaN and as integers no index.
 * The sentence of a failure names the plugin and the call. plugin_watch.h knows the call that is under way.
 */
#ifndef TANDEM_HOST_PLUGIN_CALL_H
#define TANDEM_HOST_PLUGIN_CALL_H

#include <tandem/backend.h>

/* Results that are no results: NaN, infinite, or an index out of range. No plugin answers it; the host does,
 * on what a run left behind. A command ends with exit code 1. */
#define PLUGIN_WRONG_RESULT (-1000)

#define PLUGIN_MOST_DEVICES 1024u
#define PLUGIN_MOST_STEPS (1u << 20)
#define PLUGIN_MOST_BYTES (UINT64_C(1) << 50)          /* of a device, a context or a step */
#define PLUGIN_MOST_NS (UINT64_C(86400) * 1000000000u) /* of a run or a step */

/* At least 1: NO_DEVICE for none. */
tandem_status plugin_device_count(const tandem_backend *b, uint32_t *n, tandem_error *error);
tandem_status plugin_device_info(const tandem_backend *b, uint32_t device, tandem_device_info *info,
                                 tandem_error *error);

tandem_status plugin_context_create(const tandem_backend *b, const tandem_context_desc *desc,
                                    tandem_context **context, tandem_error *error);
void plugin_context_destroy(const tandem_backend *b, tandem_context *context);
tandem_status plugin_context_memory(const tandem_backend *b, tandem_context *context,
                                    tandem_memory_info *info, tandem_error *error);

tandem_status plugin_buffer_create(const tandem_backend *b, tandem_context *context,
                                   const tandem_buffer_desc *desc, tandem_buffer **buffer,
                                   tandem_error *error);
void plugin_buffer_destroy(const tandem_backend *b, tandem_buffer *buffer);
tandem_status plugin_buffer_write(const tandem_backend *b, tandem_buffer *buffer, uint64_t offset,
                                  const void *source, uint64_t bytes, tandem_error *error);
tandem_status plugin_buffer_read(const tandem_backend *b, tandem_buffer *buffer, uint64_t offset,
                                 void *target, uint64_t bytes, uint32_t flags, tandem_error *error);

tandem_status plugin_weights_create(const tandem_backend *b, tandem_context *context,
                                    const tandem_weights_desc *desc, tandem_weights **weights,
                                    tandem_error *error);
void plugin_weights_destroy(const tandem_backend *b, tandem_weights *weights);
tandem_status plugin_weights_info(const tandem_backend *b, const tandem_weights *weights,
                                  tandem_weights_info *info, tandem_error *error);
tandem_status plugin_weights_write(const tandem_backend *b, tandem_weights *weights, uint32_t record,
                                   uint32_t matrix, uint64_t first_row, uint64_t n_row, const void *source,
                                   uint64_t bytes, uint32_t flags, tandem_error *error);
tandem_status plugin_weights_place(const tandem_backend *b, tandem_weights *weights, uint32_t record,
                                   uint32_t placement, tandem_ticket *ticket, tandem_error *error);

tandem_status plugin_kv_create(const tandem_backend *b, tandem_context *context, const tandem_kv_desc *desc,
                               tandem_kv **kv, tandem_error *error);
void plugin_kv_destroy(const tandem_backend *b, tandem_kv *kv);
tandem_status plugin_kv_layer(const tandem_backend *b, const tandem_kv *kv, uint32_t layer,
                              tandem_kv_layer *info, tandem_error *error);
tandem_status plugin_kv_truncate(const tandem_backend *b, tandem_kv *kv, uint32_t slot, uint32_t length,
                                 tandem_error *error);
tandem_status plugin_kv_fill(const tandem_backend *b, tandem_kv *kv, uint32_t slot, uint32_t seed,
                             uint32_t length, tandem_error *error);
/* target has room for n_row rows of row_floats. INVALID: rows that are not held. */
tandem_status plugin_kv_read(const tandem_backend *b, tandem_kv *kv, uint32_t layer, uint32_t slot,
                             uint32_t which, uint32_t first_position, uint32_t n_row, uint64_t row_floats,
                             float *target, tandem_error *error);

tandem_status plugin_program_create(const tandem_backend *b, tandem_context *context,
                                    const tandem_program_desc *desc, tandem_program **program,
                                    tandem_error *error);
void plugin_program_destroy(const tandem_backend *b, tandem_program *program);
/* At least 1. */
tandem_status plugin_program_step_count(const tandem_backend *b, const tandem_program *program, uint32_t *n,
                                        tandem_error *error);
tandem_status plugin_program_step(const tandem_backend *b, const tandem_program *program, uint32_t step,
                                  tandem_step *info, tandem_error *error);
tandem_status plugin_program_cost(const tandem_backend *b, const tandem_program *program,
                                  const tandem_run *run, tandem_cost *const *costs, uint32_t n_step,
                                  tandem_error *error);

tandem_status plugin_run(const tandem_backend *b, tandem_program *program, const tandem_run *run,
                         tandem_ticket *ticket, tandem_error *error);
tandem_status plugin_wait(const tandem_backend *b, tandem_context *context, tandem_ticket ticket,
                          uint64_t timeout_ns, tandem_error *error);
tandem_status plugin_times(const tandem_backend *b, tandem_context *context, tandem_ticket ticket,
                           tandem_times *times, tandem_error *error);
tandem_status plugin_step_times(const tandem_backend *b, tandem_context *context, tandem_ticket ticket,
                                uint64_t *ns, uint32_t n_step, tandem_error *error);

#endif
