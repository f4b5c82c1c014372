/* host/plugin_call.c: calls into a plugin, checked (contract: plugin_call.h). */
#include "plugin_call.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tandem/message.h>

#include "plugin_watch.h"

/* ---- what every call has ---- */

/* Rewrites the plugin's sentence to one that names plugin and call. */
static tandem_status refuse(const tandem_backend *b, uint32_t call, tandem_status status,
                            tandem_error *error) {
    const tandem_error given = error ? *error : (tandem_error){0};
    char text[sizeof given.message] = "";
    const char *name = b->descriptor->name;
    if (error) { /* a plugin may have forgotten the end, or all of it */
        memcpy(text, given.message, sizeof text);
        text[sizeof text - 1] = 0;
        tandem_kit_printable(text);
    }
    if (!tandem_kit_status_known(status) || status > 0) {
        tandem_kit_fail(error, TANDEM_E_INTERNAL, "plugin %s, %s: it answered %d, which is no status", name,
                        plugin_call_name(call), status);
        return TANDEM_E_INTERNAL;
    }
    tandem_kit_fail_driver(error, status, given.driver_code, "plugin %s, %s: %s", name,
                           plugin_call_name(call), text[0] ? text : tandem_kit_status_sentence(status));
    if (error)
        error->op_index = given.status ? given.op_index : TANDEM_NONE;
    return status == TANDEM_E_INVALID ? TANDEM_E_INTERNAL : status;
}

TANDEM_KIT_PRINTF(4, 5)
static tandem_status disbelieve(const tandem_backend *b, uint32_t call, tandem_error *error,
                                const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return tandem_kit_fail(error, TANDEM_E_INTERNAL, "plugin %s, %s: %s", b->descriptor->name,
                           plugin_call_name(call), text);
}

/* The sentence starts empty, so that what an earlier call left is not taken for this one's. */
static void begin(const tandem_backend *b, uint32_t call, tandem_error *error) {
    if (error) {
        error->status = TANDEM_OK;
        error->message[0] = 0;
    }
    plugin_watch_begin(b->descriptor->name, call);
}

static tandem_status end(const tandem_backend *b, uint32_t call, tandem_status status, tandem_error *error) {
    plugin_watch_end();
    return status == TANDEM_OK ? TANDEM_OK : refuse(b, call, status, error);
}

/* Calls a slot; the value is the checked status. */
#define CALL(slot, ...)                                                                                      \
    (begin(b, PLUGIN_CALL_##slot, error), end(b, PLUGIN_CALL_##slot, b->slot(__VA_ARGS__, error), error))
#define DOUBT(slot, ...) disbelieve(b, PLUGIN_CALL_##slot, error, __VA_ARGS__)
#define DESTROY(slot, object)                                                                                \
    do {                                                                                                     \
        if (!(object))                                                                                       \
            return;                                                                                          \
        plugin_watch_begin(b->descriptor->name, PLUGIN_CALL_##slot);                                         \
        b->slot(object);                                                                                     \
        plugin_watch_end();                                                                                  \
    } while (0)
/* Creates *out with a slot: success without an object is none. */
#define CREATE(slot, out, ...)                                                                               \
    do {                                                                                                     \
        *(out) = NULL;                                                                                       \
        tandem_status status = CALL(slot, __VA_ARGS__);                                                      \
        if (status)                                                                                          \
            *(out) = NULL;                                                                                   \
        return status || *(out) ? status : DOUBT(slot, "it answered OK and gave no object");                 \
    } while (0)

/* ---- devices ---- */

tandem_status plugin_device_count(const tandem_backend *b, uint32_t *n, tandem_error *error) {
    uint32_t found = 0;
    tandem_status status = CALL(device_count, &found);
    if (!status && found > PLUGIN_MOST_DEVICES)
        status = DOUBT(device_count, "%u devices, which is not believed", found);
    if (!status && !found)
        status =
            tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                            "plugin %s, device_count: it found none and gave no reason", b->descriptor->name);
    *n = status ? 0 : found;
    return status;
}

tandem_status plugin_device_info(const tandem_backend *b, uint32_t device, tandem_device_info *info,
                                 tandem_error *error) {
    tandem_status status = CALL(device_info, device, info);
    if (status)
        return status;
    char *const texts[] = {info->name, info->driver, info->abilities};
    const size_t room[] = {sizeof info->name, sizeof info->driver, sizeof info->abilities};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        texts[i][room[i] - 1] = 0;
        tandem_kit_printable(texts[i]);
    }
    if (!info->name[0])
        return DOUBT(device_info, "device %u has no name", device);
    if (info->kind > TANDEM_DEVICE_SIMULATED)
        return DOUBT(device_info, "device %u is of kind %u, which this host does not know", device,
                     info->kind);
    if (info->memory_total > PLUGIN_MOST_BYTES || info->memory_free > PLUGIN_MOST_BYTES)
        return DOUBT(device_info, "device %u has %llu bytes of memory, which is not believed", device,
                     (unsigned long long)info->memory_total);
    return TANDEM_OK;
}

/* ---- contexts ---- */

tandem_status plugin_context_create(const tandem_backend *b, const tandem_context_desc *desc,
                                    tandem_context **context, tandem_error *error) {
    CREATE(context_create, context, desc, context);
}

void plugin_context_destroy(const tandem_backend *b, tandem_context *context) {
    DESTROY(context_destroy, context);
}

tandem_status plugin_context_memory(const tandem_backend *b, tandem_context *context,
                                    tandem_memory_info *info, tandem_error *error) {
    tandem_status status = CALL(context_memory, context, info);
    if (!status && (info->total > PLUGIN_MOST_BYTES || info->peak > PLUGIN_MOST_BYTES))
        status = DOUBT(context_memory, "%llu bytes are allocated, which is not believed",
                       (unsigned long long)(info->total > info->peak ? info->total : info->peak));
    return status;
}

/* ---- buffers ---- */

tandem_status plugin_buffer_create(const tandem_backend *b, tandem_context *context,
                                   const tandem_buffer_desc *desc, tandem_buffer **buffer,
                                   tandem_error *error) {
    CREATE(buffer_create, buffer, context, desc, buffer);
}

void plugin_buffer_destroy(const tandem_backend *b, tandem_buffer *buffer) {
    DESTROY(buffer_destroy, buffer);
}

tandem_status plugin_buffer_write(const tandem_backend *b, tandem_buffer *buffer, uint64_t offset,
                                  const void *source, uint64_t bytes, tandem_error *error) {
    return CALL(buffer_write, buffer, offset, source, bytes);
}

tandem_status plugin_buffer_read(const tandem_backend *b, tandem_buffer *buffer, uint64_t offset,
                                 void *target, uint64_t bytes, uint32_t flags, tandem_error *error) {
    memset(target, 0xff, bytes);
    return CALL(buffer_read, buffer, offset, target, bytes, flags);
}

/* ---- weights ---- */

tandem_status plugin_weights_create(const tandem_backend *b, tandem_context *context,
                                    const tandem_weights_desc *desc, tandem_weights **weights,
                                    tandem_error *error) {
    CREATE(weights_create, weights, context, desc, weights);
}

void plugin_weights_destroy(const tandem_backend *b, tandem_weights *weights) {
    DESTROY(weights_destroy, weights);
}

tandem_status plugin_weights_info(const tandem_backend *b, const tandem_weights *weights,
                                  tandem_weights_info *info, tandem_error *error) {
    tandem_status status = CALL(weights_info, weights, info);
    if (!status && (info->device_bytes > PLUGIN_MOST_BYTES || info->host_bytes > PLUGIN_MOST_BYTES))
        status = DOUBT(weights_info, "%llu bytes on the device and %llu on the host, which is not believed",
                       (unsigned long long)info->device_bytes, (unsigned long long)info->host_bytes);
    return status;
}

tandem_status plugin_weights_write(const tandem_backend *b, tandem_weights *weights, uint32_t record,
                                   uint32_t matrix, uint64_t first_row, uint64_t n_row, const void *source,
                                   uint64_t bytes, uint32_t flags, tandem_error *error) {
    return CALL(weights_write, weights, record, matrix, first_row, n_row, source, bytes, flags);
}

/* 0 is never issued, and the greatest number stands for all tickets. */
static tandem_status check_ticket(const tandem_backend *b, uint32_t call, tandem_ticket ticket,
                                  tandem_error *error) {
    if (ticket != 0 && ticket != TANDEM_TICKET_ALL)
        return TANDEM_OK;
    return disbelieve(b, call, error, "it answered OK and gave no ticket");
}

tandem_status plugin_weights_place(const tandem_backend *b, tandem_weights *weights, uint32_t record,
                                   uint32_t placement, tandem_ticket *ticket, tandem_error *error) {
    *ticket = 0;
    tandem_status status = CALL(weights_place, weights, record, placement, ticket);
    return status ? status : check_ticket(b, PLUGIN_CALL_weights_place, *ticket, error);
}

/* ---- caches ---- */

tandem_status plugin_kv_create(const tandem_backend *b, tandem_context *context, const tandem_kv_desc *desc,
                               tandem_kv **kv, tandem_error *error) {
    CREATE(kv_create, kv, context, desc, kv);
}

void plugin_kv_destroy(const tandem_backend *b, tandem_kv *kv) {
    DESTROY(kv_destroy, kv);
}

tandem_status plugin_kv_layer(const tandem_backend *b, const tandem_kv *kv, uint32_t layer,
                              tandem_kv_layer *info, tandem_error *error) {
    tandem_status status = CALL(kv_layer, kv, layer, info);
    if (!status && (!info->n_kv_head || !info->head_dim || info->n_kv_head > 65536 || info->head_dim > 65536))
        status = DOUBT(kv_layer, "layer %u has %u heads of %u elements, which is not believed", layer,
                       info->n_kv_head, info->head_dim);
    return status;
}

tandem_status plugin_kv_truncate(const tandem_backend *b, tandem_kv *kv, uint32_t slot, uint32_t length,
                                 tandem_error *error) {
    return CALL(kv_truncate, kv, slot, length);
}

tandem_status plugin_kv_fill(const tandem_backend *b, tandem_kv *kv, uint32_t slot, uint32_t seed,
                             uint32_t length, tandem_error *error) {
    return CALL(kv_fill, kv, slot, seed, length);
}

tandem_status plugin_kv_read(const tandem_backend *b, tandem_kv *kv, uint32_t layer, uint32_t slot,
                             uint32_t which, uint32_t first_position, uint32_t n_row, uint64_t row_floats,
                             float *target, tandem_error *error) {
    memset(target, 0xff, n_row * row_floats * sizeof *target);
    begin(b, PLUGIN_CALL_kv_read, error);
    tandem_status status = b->kv_read(kv, layer, slot, which, first_position, n_row, target, error);
    tandem_status checked = end(b, PLUGIN_CALL_kv_read, status, error);
    return status == TANDEM_E_INVALID ? status : checked;
}

/* ---- programs ---- */

tandem_status plugin_program_create(const tandem_backend *b, tandem_context *context,
                                    const tandem_program_desc *desc, tandem_program **program,
                                    tandem_error *error) {
    CREATE(program_create, program, context, desc, program);
}

void plugin_program_destroy(const tandem_backend *b, tandem_program *program) {
    DESTROY(program_destroy, program);
}

tandem_status plugin_program_step_count(const tandem_backend *b, const tandem_program *program, uint32_t *n,
                                        tandem_error *error) {
    uint32_t found = 0;
    tandem_status status = CALL(program_step_count, program, &found);
    if (!status && (!found || found > PLUGIN_MOST_STEPS))
        status = DOUBT(program_step_count, "a program of %u steps, which is not believed", found);
    *n = status ? 0 : found;
    return status;
}

tandem_status plugin_program_step(const tandem_backend *b, const tandem_program *program, uint32_t step,
                                  tandem_step *info, tandem_error *error) {
    tandem_status status = CALL(program_step, program, step, info);
    if (status)
        return status;
    info->kernel[sizeof info->kernel - 1] = info->label[sizeof info->label - 1] = 0;
    tandem_kit_printable(info->kernel);
    tandem_kit_printable(info->label);
    if (!info->kernel[0] || info->n_dispatch > PLUGIN_MOST_STEPS)
        status = DOUBT(program_step, "step %u has the kernel '%s' and %u launches, which is not believed",
                       step, info->kernel, info->n_dispatch);
    return status;
}

tandem_status plugin_program_cost(const tandem_backend *b, const tandem_program *program,
                                  const tandem_run *run, tandem_cost *const *costs, uint32_t n_step,
                                  tandem_error *error) {
    tandem_status status = CALL(program_cost, program, run, costs, n_step);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n_step && !status; i++) {
        const tandem_cost *c = costs[i];
        const uint64_t parts[] = {c->weight_bytes_min, c->weight_bytes,     c->kv_bytes_min,
                                  c->kv_bytes,         c->activation_bytes, c->host_bytes};
        for (size_t k = 0; k < sizeof parts / sizeof *parts && !status; k++) {
            if (parts[k] > PLUGIN_MOST_BYTES)
                status = DOUBT(program_cost, "step %u moves %llu bytes, which is not believed", i,
                               (unsigned long long)parts[k]);
            sum += parts[k];
        }
        if (!status && c->flops > UINT64_C(1) << 60)
            status = DOUBT(program_cost, "step %u takes %llu operations, which is not believed", i,
                           (unsigned long long)c->flops);
    }
    if (!status && !sum)
        status = DOUBT(program_cost, "it answered OK and gave no bytes for any of %u steps", n_step);
    return status;
}

/* ---- runs ---- */

tandem_status plugin_run(const tandem_backend *b, tandem_program *program, const tandem_run *run,
                         tandem_ticket *ticket, tandem_error *error) {
    *ticket = 0;
    tandem_status status = CALL(run, program, run, ticket);
    return status ? status : check_ticket(b, PLUGIN_CALL_run, *ticket, error);
}

tandem_status plugin_wait(const tandem_backend *b, tandem_context *context, tandem_ticket ticket,
                          uint64_t timeout_ns, tandem_error *error) {
    return CALL(wait, context, ticket, timeout_ns);
}

tandem_status plugin_times(const tandem_backend *b, tandem_context *context, tandem_ticket ticket,
                           tandem_times *times, tandem_error *error) {
    tandem_status status = CALL(times, context, ticket, times);
    if (!status && (times->device_ns > PLUGIN_MOST_NS || times->gap_ns > UINT64_C(1) << 60))
        status = DOUBT(times, "a run of %llu ns after %llu ns without one, which is not believed",
                       (unsigned long long)times->device_ns, (unsigned long long)times->gap_ns);
    return status;
}

tandem_status plugin_step_times(const tandem_backend *b, tandem_context *context, tandem_ticket ticket,
                                uint64_t *ns, uint32_t n_step, tandem_error *error) {
    tandem_status status = CALL(step_times, context, ticket, ns, n_step);
    for (uint32_t i = 0; i < n_step && !status; i++)
        if (ns[i] > PLUGIN_MOST_NS)
            status = DOUBT(step_times, "step %u took %llu ns, which is not believed", i,
                           (unsigned long long)ns[i]);
    return status;
}
