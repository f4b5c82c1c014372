/* stub.c: functions that answer UNSUPPORTED (contract: stub.h). */
#include <tandem/message.h>
#include <tandem/negotiate.h>

#include "stub.h"

static tandem_status nothing(tandem_error *error, const char *what) {
    return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "this test plugin has no %s", what);
}

#define STUB(name, ...)                                                                                      \
    static tandem_status name(__VA_ARGS__, tandem_error *error) {                                            \
        return nothing(error, #name);                                                                        \
    }

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter" /* they take everything and use nothing */
#endif

static tandem_status device_count(uint32_t *n, tandem_error *error) {
    (void)error;
    *n = 0;
    return TANDEM_OK;
}

static const void *get_interface(const char *name) {
    return NULL;
}

static void context_destroy(tandem_context *context) {
}

static void buffer_destroy(tandem_buffer *buffer) {
}

static void weights_destroy(tandem_weights *weights) {
}

static void kv_destroy(tandem_kv *kv) {
}

static void program_destroy(tandem_program *program) {
}

STUB(device_info, uint32_t device, tandem_device_info *info)
STUB(context_create, const tandem_context_desc *desc, tandem_context **context)
STUB(context_memory, tandem_context *context, tandem_memory_info *info)
STUB(supports, tandem_context *context, const tandem_op *op, uint32_t precision)
STUB(buffer_create, tandem_context *context, const tandem_buffer_desc *desc, tandem_buffer **buffer)
STUB(buffer_info, const tandem_buffer *buffer, tandem_buffer_info *info)
STUB(buffer_write, tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes)
STUB(buffer_read, tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes, uint32_t flags)
STUB(weights_create, tandem_context *context, const tandem_weights_desc *desc, tandem_weights **weights)
STUB(weights_info, const tandem_weights *weights, tandem_weights_info *info)
STUB(weights_matrix, const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc)
STUB(weights_write, tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
     uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags)
STUB(weights_place, tandem_weights *weights, uint32_t record, uint32_t placement, tandem_ticket *ticket)
STUB(kv_create, tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv)
STUB(kv_info, const tandem_kv *kv, tandem_kv_info *info)
STUB(kv_layer, const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info)
STUB(kv_length, const tandem_kv *kv, uint32_t slot, uint32_t *length)
STUB(kv_truncate, tandem_kv *kv, uint32_t slot, uint32_t length)
STUB(kv_copy_slot, tandem_kv *kv, uint32_t from, uint32_t to)
STUB(kv_fill, tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length)
STUB(kv_export_bytes, tandem_kv *kv, uint32_t slot, uint64_t *bytes)
STUB(kv_export, tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes)
STUB(kv_import, tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes)
STUB(kv_read, tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which, uint32_t first_position,
     uint32_t n_row, float *target)
STUB(program_create, tandem_context *context, const tandem_program_desc *desc, tandem_program **program)
STUB(program_step_count, const tandem_program *program, uint32_t *n)
STUB(program_step, const tandem_program *program, uint32_t step, tandem_step *info)
STUB(program_cost, const tandem_program *program, const tandem_run *run_, tandem_cost *const *costs,
     uint32_t n_step)
STUB(run, tandem_program *program, const tandem_run *run_, tandem_ticket *ticket)
STUB(wait, tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns)
STUB(times, tandem_context *context, tandem_ticket ticket, tandem_times *times_)
STUB(step_times, tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step)

#define SLOT(name) .name = name,

const tandem_backend stub_backend = {.struct_size = sizeof stub_backend,
                                     .abi_major = TANDEM_ABI_MAJOR,
                                     .abi_minor = TANDEM_ABI_MINOR,
                                     .descriptor = &stub_descriptor,
                                     TANDEM_KIT_SLOTS(SLOT)};

const tandem_descriptor stub_descriptor = {
    .struct_size = sizeof stub_descriptor,
    .flags = TANDEM_PLUGIN_UNLOADABLE,
    .name = "stub",
    .version = "1",
    .git = "unknown",
    .toolchain = "unknown",
    .targets = "none",
    .shaders = "none",
    .needs = "nothing",
};
