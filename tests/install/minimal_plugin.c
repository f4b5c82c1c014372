/* minimal_plugin.c: the smallest plugin that does something, as a template: one device (this process),
 * buffers, and programs of SCALE, ADD and COPY. Everything else answers UNSUPPORTED. It needs the installed
 * headers and tandem-kit.
 *
 * What a real plugin must add: weights, caches, the other ops, work that runs while the host goes on.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tandem/growth.h>
#include <tandem/message.h>
#include <tandem/negotiate.h>
#include <tandem/validate.h>

#define KEPT_TIMES 64u

struct tandem_context {
    uint64_t memory_cap, bytes, peak;
    tandem_ticket last; /* runs are finished when `run` returns */
    uint64_t device_ns[KEPT_TIMES];
};

struct tandem_buffer {
    tandem_context *context;
    uint32_t placement;
    uint64_t bytes;
    unsigned char *data;
};

struct tandem_program {
    tandem_context *context;
    tandem_kit_limits limits;
    uint32_t n_op;
    tandem_op_elementwise ops[]; /* [n_op] */
};

static const tandem_backend backend_table;

static uint64_t now_ns(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- devices ---- */

static tandem_status device_count(uint32_t *n, tandem_error *error) {
    if (n == NULL)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "n is NULL");
    *n = 1;
    return TANDEM_OK;
}

static tandem_status device_info(uint32_t device, tandem_device_info *info, tandem_error *error) {
    tandem_device_info found = {.struct_size = sizeof found,
                                .kind = TANDEM_DEVICE_SOFTWARE,
                                .matrix_paths = TANDEM_MATRIX_FMA,
                                .pci_domain = TANDEM_NONE,
                                .subgroup_size = 1,
                                .n_units = 1,
                                .max_allocation = SIZE_MAX / 2,
                                .name = "this process",
                                .driver = "none",
                                .abilities = "scale, add, copy"};
    if (device != 0)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "there is no device %u, only device 0", device);
    return TANDEM_KIT_GIVE(tandem_device_info, info, &found, error);
}

static const void *get_interface(const char *name) {
    (void)name;
    return NULL;
}

/* ---- contexts and buffers ---- */

static tandem_status context_create(const tandem_context_desc *desc, tandem_context **context,
                                    tandem_error *error) {
    tandem_context_desc d;
    tandem_status status = tandem_kit_validate_context(desc, 1, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_context_desc, &d, desc, error);
    if (status != TANDEM_OK)
        return status;
    tandem_context *made = calloc(1, sizeof *made);
    if (made == NULL)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory for a context");
    made->memory_cap = d.memory_cap;
    *context = made;
    return TANDEM_OK;
}

static void context_destroy(tandem_context *context) {
    free(context);
}

static tandem_status context_memory(tandem_context *context, tandem_memory_info *info, tandem_error *error) {
    const tandem_memory_info found = {.struct_size = sizeof found,
                                      .cap = context->memory_cap,
                                      .total = context->bytes,
                                      .peak = context->peak,
                                      .buffers = context->bytes};
    return TANDEM_KIT_GIVE(tandem_memory_info, info, &found, error);
}

static tandem_status buffer_create(tandem_context *context, const tandem_buffer_desc *desc,
                                   tandem_buffer **buffer, tandem_error *error) {
    tandem_buffer_desc d;
    tandem_status status = tandem_kit_validate_buffer(desc, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_buffer_desc, &d, desc, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t room = (context->memory_cap != 0 ? context->memory_cap : SIZE_MAX / 2) - context->bytes;
    tandem_buffer *made = d.bytes <= room ? malloc(sizeof *made) : NULL;
    unsigned char *data = made != NULL ? calloc(1, d.bytes) : NULL;
    if (data == NULL) {
        free(made);
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory for a buffer of %llu bytes",
                               (unsigned long long)d.bytes);
    }
    *made = (tandem_buffer){.context = context, .placement = d.placement, .bytes = d.bytes, .data = data};
    context->bytes += d.bytes;
    context->peak = context->bytes > context->peak ? context->bytes : context->peak;
    *buffer = made;
    return TANDEM_OK;
}

static void buffer_destroy(tandem_buffer *buffer) {
    if (buffer == NULL)
        return;
    buffer->context->bytes -= buffer->bytes;
    free(buffer->data);
    free(buffer);
}

static tandem_status buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error) {
    const tandem_buffer_info found = {
        .struct_size = sizeof found, .placement = buffer->placement, .bytes = buffer->bytes};
    return TANDEM_KIT_GIVE(tandem_buffer_info, info, &found, error);
}

static tandem_status buffer_write(tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes,
                                  tandem_error *error) {
    tandem_status status =
        tandem_kit_validate_range("the buffer", buffer->bytes, offset, bytes, source, error);
    if (status == TANDEM_OK && bytes > 0)
        memcpy(buffer->data + offset, source, bytes);
    return status;
}

static tandem_status buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                                 uint32_t flags, tandem_error *error) {
    if ((flags & ~TANDEM_READ_NOW) != 0)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "unknown flags 0x%x", flags);
    tandem_status status =
        tandem_kit_validate_range("the buffer", buffer->bytes, offset, bytes, target, error);
    if (status == TANDEM_OK && bytes > 0)
        memcpy(target, buffer->data + offset, bytes);
    return status;
}

/* ---- programs ---- */

static tandem_status check_kind(const tandem_op *op, uint32_t index, tandem_error *error) {
    if (op->kind == TANDEM_OP_SCALE || op->kind == TANDEM_OP_ADD || op->kind == TANDEM_OP_COPY)
        return TANDEM_OK;
    return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, index, "op %u: the minimal plugin has no %s",
                              index, tandem_kit_op_name(op->kind));
}

static tandem_status supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                              tandem_error *error) {
    (void)context;
    tandem_status status = tandem_kit_validate_op(&backend_table, op, precision, error);
    return status == TANDEM_OK ? check_kind(op, 0, error) : status;
}

static tandem_status program_create(tandem_context *context, const tandem_program_desc *desc,
                                    tandem_program **program, tandem_error *error) {
    tandem_kit_limits limits;
    tandem_status status = tandem_kit_program_limits(&backend_table, desc, &limits, error);
    for (uint32_t i = 0; status == TANDEM_OK && i < desc->n_op; i++)
        status = check_kind(desc->ops[i], i, error);
    if (status != TANDEM_OK)
        return status;
    tandem_program *made = malloc(sizeof *made + desc->n_op * sizeof made->ops[0]);
    if (made == NULL)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory for a program of %u ops",
                               desc->n_op);
    *made = (tandem_program){.context = context, .limits = limits, .n_op = desc->n_op};
    for (uint32_t i = 0; i < desc->n_op; i++) {
        tandem_kit_op op;
        tandem_kit_take_op(&op, desc->ops[i], i, NULL); /* it has been valid a moment ago */
        made->ops[i] = op.elementwise;
    }
    *program = made;
    return TANDEM_OK;
}

static void program_destroy(tandem_program *program) {
    free(program);
}

static tandem_status program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error) {
    (void)error;
    *n = program->n_op;
    return TANDEM_OK;
}

static tandem_status program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                                  tandem_error *error) {
    tandem_step found = {
        .struct_size = sizeof found, .n_op = 1, .ops = {step}, .n_dispatch = 1, .barrier_before = 1};
    if (step >= program->n_op)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "step %u of %u", step, program->n_op);
    strncpy(found.kernel, tandem_kit_op_name(program->ops[step].head.kind), sizeof found.kernel - 1);
    return TANDEM_KIT_GIVE(tandem_step, info, &found, error);
}

static uint32_t live_rows(const tandem_op_elementwise *op, const tandem_run *run) {
    return op->head.rows == TANDEM_ROWS_OUT ? run->n_out : run->n_rows;
}

static tandem_status program_cost(const tandem_program *program, const tandem_run *run,
                                  tandem_cost *const *costs, uint32_t n_step, tandem_error *error) {
    tandem_run r;
    tandem_status status = TANDEM_KIT_TAKE(tandem_run, &r, run, error);
    if (status == TANDEM_OK && n_step != program->n_op)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "n_step is %u, the program has %u", n_step,
                                 program->n_op);
    for (uint32_t i = 0; status == TANDEM_OK && i < n_step; i++) {
        const tandem_op_elementwise *op = &program->ops[i];
        uint64_t elements = (uint64_t)op->n * live_rows(op, &r);
        const tandem_cost cost = {.struct_size = sizeof cost,
                                  .activation_bytes = elements * 4 * (op->head.kind == TANDEM_OP_ADD ? 3 : 2),
                                  .flops = op->head.kind == TANDEM_OP_COPY ? 0 : elements};
        status = TANDEM_KIT_GIVE(tandem_cost, costs[i], &cost, error);
    }
    return status;
}

/* Row i of the op in a view; an OUT op gathers from ALL rows. */
static float *row_of(const tandem_view *view, const tandem_op_elementwise *op, const tandem_run *run,
                     uint32_t i) {
    if (view->buffer == NULL)
        return NULL;
    if (op->head.rows == TANDEM_ROWS_OUT && view->rows == TANDEM_ROWS_ALL)
        i = tandem_kit_run_out(run, i).row;
    return (float *)(void *)(view->buffer->data + view->offset + i * view->stride);
}

static void execute(const tandem_op_elementwise *op, const tandem_run *run) {
    for (uint32_t i = 0; i < live_rows(op, run); i++) {
        const float *a = row_of(&op->a, op, run, i), *b = row_of(&op->b, op, run, i);
        float *out = row_of(&op->out, op, run, i);
        for (uint32_t j = 0; j < op->n; j++)
            out[j] = op->head.kind == TANDEM_OP_ADD     ? op->scale * (a[j] + b[j])
                     : op->head.kind == TANDEM_OP_SCALE ? op->scale * a[j]
                                                        : a[j];
    }
}

static tandem_status run(tandem_program *program, const tandem_run *run_, tandem_ticket *ticket,
                         tandem_error *error) {
    tandem_run r;
    tandem_context *context = program->context;
    tandem_status status = tandem_kit_validate_run(&backend_table, &program->limits, run_, NULL, NULL, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_run, &r, run_, error);
    if (status == TANDEM_OK && (r.flags & TANDEM_RUN_PROFILE) != 0)
        status =
            tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the minimal plugin does not time single steps");
    if (status != TANDEM_OK)
        return status;
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < program->n_op; i++)
        execute(&program->ops[i], &r);
    context->last++;
    context->device_ns[context->last % KEPT_TIMES] = now_ns() - start;
    *ticket = context->last;
    return TANDEM_OK;
}

static tandem_status wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                          tandem_error *error) {
    (void)timeout_ns;
    if (ticket == 0 || (ticket > context->last && ticket != TANDEM_TICKET_ALL))
        return tandem_kit_fail(error, TANDEM_E_INVALID, "ticket %llu was never issued",
                               (unsigned long long)ticket);
    return TANDEM_OK;
}

static tandem_status times(tandem_context *context, tandem_ticket ticket, tandem_times *out,
                           tandem_error *error) {
    if (ticket == 0 || ticket > context->last || context->last - ticket >= KEPT_TIMES)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "there are no times of ticket %llu",
                               (unsigned long long)ticket);
    const uint64_t ns = context->device_ns[ticket % KEPT_TIMES];
    const tandem_times found = {.struct_size = sizeof found, .device_ns = ns, .host_ns = ns};
    return TANDEM_KIT_GIVE(tandem_times, out, &found, error);
}

/* ---- what it does not offer ---- */

#define NOT_OFFERED(name, ...)                                                                               \
    static tandem_status name(__VA_ARGS__, tandem_error *error) {                                            \
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the minimal plugin has no %s", #name);          \
    }

#pragma GCC diagnostic ignored "-Wunused-parameter"

NOT_OFFERED(weights_create, tandem_context *context, const tandem_weights_desc *desc,
            tandem_weights **weights)
NOT_OFFERED(weights_info, const tandem_weights *weights, tandem_weights_info *info)
NOT_OFFERED(weights_matrix, const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc)
NOT_OFFERED(weights_write, tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
            uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags)
NOT_OFFERED(weights_place, tandem_weights *weights, uint32_t record, uint32_t placement,
            tandem_ticket *ticket)
NOT_OFFERED(kv_create, tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv)
NOT_OFFERED(kv_info, const tandem_kv *kv, tandem_kv_info *info)
NOT_OFFERED(kv_layer, const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info)
NOT_OFFERED(kv_length, const tandem_kv *kv, uint32_t slot, uint32_t *length)
NOT_OFFERED(kv_truncate, tandem_kv *kv, uint32_t slot, uint32_t length)
NOT_OFFERED(kv_copy_slot, tandem_kv *kv, uint32_t from, uint32_t to)
NOT_OFFERED(kv_fill, tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length)
NOT_OFFERED(kv_export_bytes, tandem_kv *kv, uint32_t slot, uint64_t *bytes)
NOT_OFFERED(kv_export, tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes)
NOT_OFFERED(kv_import, tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes)
NOT_OFFERED(kv_read, tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which, uint32_t first_position,
            uint32_t n_row, float *target)
NOT_OFFERED(step_times, tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step)

static void weights_destroy(tandem_weights *weights) {
}

static void kv_destroy(tandem_kv *kv) {
}

/* ---- entry ---- */

static const tandem_descriptor descriptor = {
    .struct_size = sizeof descriptor,
    .flags = TANDEM_PLUGIN_UNLOADABLE,
    .name = "minimal",
    .version = "1.0",
    .git = "unknown",
    .toolchain = __VERSION__,
    .targets = "the host's processor",
    .shaders = "none",
    .needs = "nothing",
};

static const tandem_backend backend_table = {.struct_size = sizeof backend_table,
                                             .abi_major = TANDEM_ABI_MAJOR,
                                             .abi_minor = TANDEM_ABI_MINOR,
                                             .descriptor = &descriptor,
#define SLOT(name) .name = name,
                                             TANDEM_KIT_SLOTS(SLOT)
#undef SLOT
};

tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    tandem_host services;
    backend->abi_major = TANDEM_ABI_MAJOR;
    backend->abi_minor = TANDEM_ABI_MINOR;
    tandem_status status = tandem_kit_check_host(host, &services);
    if (status == TANDEM_OK && services.n_options > 0)
        status = tandem_kit_fail(services.error, TANDEM_E_INVALID, "the minimal plugin has no option %s",
                                 services.options[0]);
    if (status == TANDEM_OK)
        status = tandem_kit_give(backend, &backend_table, sizeof backend_table, sizeof backend_table,
                                 services.error, "tandem_backend");
    return status;
}
