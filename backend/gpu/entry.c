/* entry.c: the exported symbol, and the function table: every function of the ABI between gpu_enter and
 * gpu_leave. */
#include "hooks.h"
#include "kv.h"
#include "test_interface.h"

#include <tandem/negotiate.h>

#include <string.h>

static const tandem_context *of_buffer(const tandem_buffer *buffer) {
    return buffer ? buffer->context : NULL;
}

static const tandem_context *of_weights(const tandem_weights *weights) {
    return weights ? weights->context : NULL;
}

static const tandem_context *of_kv(const tandem_kv *kv) {
    return kv ? kv->context : NULL;
}

static const tandem_context *of_program(const tandem_program *program) {
    return program ? program->context : NULL;
}

#define ENTRY(context, call)                                                                                 \
    do {                                                                                                     \
        const tandem_context *entry_context = (context);                                                     \
        tandem_status entry_status = gpu_enter(entry_context, error);                                        \
        if (entry_status != TANDEM_OK)                                                                       \
            return entry_status;                                                                             \
        entry_status = call;                                                                                 \
        gpu_leave(entry_context);                                                                            \
        return entry_status;                                                                                 \
    } while (0)

/* Destroy functions work whatever gpu_enter says. */
#define EXIT(context, call)                                                                                  \
    do {                                                                                                     \
        const tandem_context *entry_context = (context);                                                     \
        int entered = gpu_enter(entry_context, NULL) == TANDEM_OK;                                           \
        call;                                                                                                \
        if (entered)                                                                                         \
            gpu_leave(entry_context);                                                                        \
    } while (0)

static tandem_status entry_context_memory(tandem_context *context, tandem_memory_info *info,
                                          tandem_error *error) {
    ENTRY(context, gpu_context_memory(context, info, error));
}

static tandem_status entry_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                                    tandem_error *error) {
    ENTRY(context, gpu_supports(context, op, precision, error));
}

static tandem_status entry_buffer_create(tandem_context *context, const tandem_buffer_desc *desc,
                                         tandem_buffer **buffer, tandem_error *error) {
    ENTRY(context, gpu_buffer_create(context, desc, buffer, error));
}

static void entry_buffer_destroy(tandem_buffer *buffer) {
    EXIT(of_buffer(buffer), gpu_buffer_destroy(buffer));
}

static tandem_status entry_buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info,
                                       tandem_error *error) {
    ENTRY(of_buffer(buffer), gpu_buffer_info(buffer, info, error));
}

static tandem_status entry_buffer_write(tandem_buffer *buffer, uint64_t offset, const void *source,
                                        uint64_t bytes, tandem_error *error) {
    ENTRY(of_buffer(buffer), gpu_buffer_write(buffer, offset, source, bytes, error));
}

static tandem_status entry_buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                                       uint32_t flags, tandem_error *error) {
    ENTRY(of_buffer(buffer), gpu_buffer_read(buffer, offset, target, bytes, flags, error));
}

static tandem_status entry_weights_create(tandem_context *context, const tandem_weights_desc *desc,
                                          tandem_weights **weights, tandem_error *error) {
    ENTRY(context, gpu_weights_create(context, desc, weights, error));
}

static void entry_weights_destroy(tandem_weights *weights) {
    EXIT(of_weights(weights), gpu_weights_destroy(weights));
}

static tandem_status entry_weights_info(const tandem_weights *weights, tandem_weights_info *info,
                                        tandem_error *error) {
    ENTRY(of_weights(weights), gpu_weights_info(weights, info, error));
}

static tandem_status entry_weights_matrix(const tandem_weights *weights, uint32_t matrix,
                                          tandem_matrix_desc *desc, tandem_error *error) {
    ENTRY(of_weights(weights), gpu_weights_matrix(weights, matrix, desc, error));
}

static tandem_status entry_weights_write(tandem_weights *weights, uint32_t record, uint32_t matrix,
                                         uint64_t first_row, uint64_t n_row, const void *source,
                                         uint64_t bytes, uint32_t flags, tandem_error *error) {
    ENTRY(of_weights(weights),
          gpu_weights_write(weights, record, matrix, first_row, n_row, source, bytes, flags, error));
}

static tandem_status entry_weights_place(tandem_weights *weights, uint32_t record, uint32_t placement,
                                         tandem_ticket *ticket, tandem_error *error) {
    ENTRY(of_weights(weights), gpu_weights_place(weights, record, placement, ticket, error));
}

static tandem_status entry_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                                     tandem_error *error) {
    ENTRY(context, gpu_kv_create(context, desc, kv, error));
}

static void entry_kv_destroy(tandem_kv *kv) {
    EXIT(of_kv(kv), gpu_kv_destroy(kv));
}

static tandem_status entry_kv_info(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_info(kv, info, error));
}

static tandem_status entry_kv_layer(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                                    tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_layer_info(kv, layer, info, error));
}

static tandem_status entry_kv_length(const tandem_kv *kv, uint32_t slot, uint32_t *length,
                                     tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_length(kv, slot, length, error));
}

static tandem_status entry_kv_truncate(tandem_kv *kv, uint32_t slot, uint32_t length, tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_truncate(kv, slot, length, error));
}

static tandem_status entry_kv_copy_slot(tandem_kv *kv, uint32_t from, uint32_t to, tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_copy_slot(kv, from, to, error));
}

static tandem_status entry_kv_fill(tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length,
                                   tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_fill(kv, slot, seed, length, error));
}

static tandem_status entry_kv_export_bytes(tandem_kv *kv, uint32_t slot, uint64_t *bytes,
                                           tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_export_bytes(kv, slot, bytes, error));
}

static tandem_status entry_kv_export(tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes,
                                     tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_export(kv, slot, target, bytes, error));
}

static tandem_status entry_kv_import(tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes,
                                     tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_import(kv, slot, source, bytes, error));
}

static tandem_status entry_kv_read(tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which,
                                   uint32_t first_position, uint32_t n_row, float *target,
                                   tandem_error *error) {
    ENTRY(of_kv(kv), gpu_kv_read(kv, layer, slot, which, first_position, n_row, target, error));
}

static tandem_status entry_program_create(tandem_context *context, const tandem_program_desc *desc,
                                          tandem_program **program, tandem_error *error) {
    ENTRY(context, gpu_program_create(context, desc, program, error));
}

static void entry_program_destroy(tandem_program *program) {
    EXIT(of_program(program), gpu_program_destroy(program));
}

static tandem_status entry_program_step_count(const tandem_program *program, uint32_t *n,
                                              tandem_error *error) {
    ENTRY(of_program(program), gpu_program_step_count(program, n, error));
}

static tandem_status entry_program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                                        tandem_error *error) {
    ENTRY(of_program(program), gpu_program_step(program, step, info, error));
}

static tandem_status entry_program_cost(const tandem_program *program, const tandem_run *run,
                                        tandem_cost *const *costs, uint32_t n_step, tandem_error *error) {
    ENTRY(of_program(program), gpu_program_cost(program, run, costs, n_step, error));
}

static tandem_status entry_run(tandem_program *program, const tandem_run *run, tandem_ticket *ticket,
                               tandem_error *error) {
    ENTRY(of_program(program), gpu_run(program, run, ticket, error));
}

static tandem_status entry_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                                tandem_error *error) {
    ENTRY(context, gpu_wait(context, ticket, timeout_ns, error));
}

static tandem_status entry_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                                 tandem_error *error) {
    ENTRY(context, gpu_times(context, ticket, times, error));
}

static tandem_status entry_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns,
                                      uint32_t n_step, tandem_error *error) {
    ENTRY(context, gpu_step_times(context, ticket, ns, n_step, error));
}

static const void *get_interface(const char *name) {
    if (name && strcmp(name, GPU_TEST_INTERFACE) == 0)
        return &gpu_the_test_interface;
    return gpu_get_interface(name);
}

const tandem_backend gpu_backend = {
    .struct_size = sizeof(tandem_backend),
    .abi_major = TANDEM_ABI_MAJOR,
    .abi_minor = TANDEM_ABI_MINOR,
    .descriptor = &gpu_descriptor,
    .get_interface = get_interface,
    .device_count = gpu_device_count,
    .device_info = gpu_device_info,
    .context_create = gpu_context_create,
    .context_destroy = gpu_context_destroy,
    .context_memory = entry_context_memory,
    .supports = entry_supports,
    .buffer_create = entry_buffer_create,
    .buffer_destroy = entry_buffer_destroy,
    .buffer_info = entry_buffer_info,
    .buffer_write = entry_buffer_write,
    .buffer_read = entry_buffer_read,
    .weights_create = entry_weights_create,
    .weights_destroy = entry_weights_destroy,
    .weights_info = entry_weights_info,
    .weights_matrix = entry_weights_matrix,
    .weights_write = entry_weights_write,
    .weights_place = entry_weights_place,
    .kv_create = entry_kv_create,
    .kv_destroy = entry_kv_destroy,
    .kv_info = entry_kv_info,
    .kv_layer = entry_kv_layer,
    .kv_length = entry_kv_length,
    .kv_truncate = entry_kv_truncate,
    .kv_copy_slot = entry_kv_copy_slot,
    .kv_fill = entry_kv_fill,
    .kv_export_bytes = entry_kv_export_bytes,
    .kv_export = entry_kv_export,
    .kv_import = entry_kv_import,
    .kv_read = entry_kv_read,
    .program_create = entry_program_create,
    .program_destroy = entry_program_destroy,
    .program_step_count = entry_program_step_count,
    .program_step = entry_program_step,
    .program_cost = entry_program_cost,
    .run = entry_run,
    .wait = entry_wait,
    .times = entry_times,
    .step_times = entry_step_times,
};

/* ---- options ---- */

static tandem_status take_option(const char *option, tandem_error *error) {
    const char *equals = option ? strchr(option, '=') : NULL;
    if (!equals)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Option %s is not of the form name=value",
                               option ? option : "NULL");
    size_t n = (size_t)(equals - option);
    if (gpu_option_is(option, n, GPU_NAME ".max_segment"))
        return gpu_take_bytes(option, equals + 1, &gpu_the_plugin.max_segment, error);
    return gpu_option(option, n, equals + 1, error);
}

static tandem_status take_options(tandem_error *error) {
    const tandem_host *host = &gpu_the_plugin.host;
    gpu_options_reset();
    gpu_the_plugin.max_segment = 0;
    for (uint32_t i = 0; i < host->n_options; i++) {
        tandem_status status = take_option(host->options[i], error);
        if (status != TANDEM_OK)
            return status;
    }
    return gpu_options_end(error);
}

tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    if (!backend)
        return TANDEM_E_INVALID;
    uint32_t size = backend->struct_size < sizeof *backend ? backend->struct_size : (uint32_t)sizeof *backend;
    if (size >= offsetof(tandem_backend, reserved)) {
        backend->abi_major = TANDEM_ABI_MAJOR;
        backend->abi_minor = TANDEM_ABI_MINOR;
    }
    tandem_status status = tandem_kit_check_host(host, &gpu_the_plugin.host);
    if (status != TANDEM_OK)
        return status;
    status = take_options(gpu_the_plugin.host.error);
    gpu_the_plugin.host.error = NULL;
    if (status != TANDEM_OK)
        return status;
    memcpy(backend, &gpu_backend, size);
    backend->struct_size = size;
    return TANDEM_OK;
}
