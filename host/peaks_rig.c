/* host/peaks_rig.c: objects and timed runs of a peaks measurement. */
#include "peaks_rig.h"

#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "hash.h"
#include "plugin_call.h"
#include "plugin_error.h"
#include "progress.h"

/* A run of these that takes ten minutes hangs. */
#define WAIT_NS (600u * UINT64_C(1000000000))

int rig_open(rig *r, const peaks_desc *desc, tandem_message *message) {
    *r = (rig){.desc = desc, .backend = desc->backend, .start_ns = now_ns()};
    tandem_context_desc context = {.struct_size = sizeof context,
                                   .device = desc->device,
                                   .memory_cap = desc->memory_cap,
                                   .n_threads = desc->n_threads};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_context_create(r->backend, &context, &r->context, &error);
    return status ? message_plugin(message, status, &error, "context") : TANDEM_OK;
}

void rig_clear(rig *r) {
    while (r->n_program)
        plugin_program_destroy(r->backend, r->program[--r->n_program]);
    plugin_weights_destroy(r->backend, r->weights);
    r->weights = NULL;
    while (r->n_buffer)
        plugin_buffer_destroy(r->backend, r->buffer[--r->n_buffer]);
}

void rig_close(rig *r) {
    if (!r->context)
        return;
    rig_clear(r);
    plugin_context_destroy(r->backend, r->context);
    r->context = NULL;
}

int rig_buffer(rig *r, uint64_t bytes, const void *piece, uint64_t piece_bytes, tandem_message *message) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = bytes, .label = "peaks"};
    tandem_buffer *buffer;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_buffer_create(r->backend, r->context, &desc, &buffer, &error);
    if (status)
        return message_plugin(message, status, &error, "buffer");
    r->buffer[r->n_buffer++] = buffer;
    for (uint64_t at = 0; piece && at < bytes && !status; at += piece_bytes) {
        const uint64_t n = bytes - at < piece_bytes ? bytes - at : piece_bytes;
        status = plugin_buffer_write(r->backend, buffer, at, piece, n, &error);
    }
    return status ? message_plugin(message, status, &error, "buffer") : TANDEM_OK;
}

int rig_weights(rig *r, uint32_t type, uint64_t n_row, uint64_t n_col, const void *rows, uint32_t n_distinct,
                tandem_message *message) {
    const tandem_matrix_desc matrix = {
        .struct_size = sizeof matrix, .type = type, .n_row = n_row, .n_col = n_col};
    const tandem_matrix_desc *const matrices[] = {&matrix};
    const tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = 1, .n_matrix = 1, .matrices = matrices, .label = "peaks"};
    const uint64_t row_bytes = tandem_kit_row_bytes(type, n_col);
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_weights_create(r->backend, r->context, &desc, &r->weights, &error);
    if (status) {
        r->weights = NULL;
        return message_plugin(message, status, &error, "matrix");
    }
    for (uint64_t row = 0; row < n_row && !status; row += n_distinct) {
        const uint64_t n = n_row - row < n_distinct ? n_row - row : n_distinct;
        status = plugin_weights_write(r->backend, r->weights, 0, 0, row, n, rows, n * row_bytes, 0, &error);
    }
    return status ? message_plugin(message, status, &error, "matrix") : TANDEM_OK;
}

int rig_program(rig *r, const tandem_op *const *ops, uint32_t n_op, uint32_t n_rows, uint32_t precision,
                tandem_message *message) {
    const tandem_program_desc desc = {.struct_size = sizeof desc,
                                      .n_op = n_op,
                                      .ops = ops,
                                      .max_tokens = n_rows,
                                      .max_slots = 1,
                                      .precision = precision};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_program *program;
    tandem_status status = plugin_program_create(r->backend, r->context, &desc, &program, &error);
    if (status)
        return message_plugin(message, status, &error, "program");
    r->program[r->n_program++] = program;
    return TANDEM_OK;
}

int rig_steps(rig *r, uint32_t program, uint32_t *n_step, uint32_t *n_dispatch, char kernel[64],
              tandem_message *message) {
    uint32_t n = 0, dispatches = 0;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_program_step_count(r->backend, r->program[program], &n, &error);
    for (uint32_t i = 0; i < n && !status; i++) {
        tandem_step step = {.struct_size = sizeof step};
        status = plugin_program_step(r->backend, r->program[program], i, &step, &error);
        dispatches += step.n_dispatch;
        /* What rounds the inputs comes before the product. */
        if (!status && kernel && i + 1 == n)
            memcpy(kernel, step.kernel, sizeof step.kernel);
    }
    if (status)
        return message_plugin(message, status, &error, "steps");
    if (n_step)
        *n_step = n;
    if (n_dispatch)
        *n_dispatch = dispatches;
    return TANDEM_OK;
}

int rig_run(rig *r, uint32_t program, uint32_t n_rows, uint64_t *device_ns, tandem_message *message) {
    static const uint32_t tokens[4096];
    tandem_run run = {.struct_size = sizeof run, .n_rows = n_rows, .tokens = tokens};
    tandem_times times = {.struct_size = sizeof times};
    tandem_ticket ticket;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_run(r->backend, r->program[program], &run, &ticket, &error);
    if (!status)
        status = plugin_wait(r->backend, r->context, ticket, WAIT_NS, &error);
    if (!status)
        status = plugin_times(r->backend, r->context, ticket, &times, &error);
    if (status)
        return message_plugin(message, status, &error, "run");
    *device_ns = times.device_ns;
    return TANDEM_OK;
}

int rig_read(rig *r, uint32_t buffer, uint64_t offset, void *target, uint64_t bytes,
             tandem_message *message) {
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status =
        plugin_buffer_read(r->backend, r->buffer[buffer], offset, target, bytes, 0, &error);
    return status ? message_plugin(message, status, &error, "read") : TANDEM_OK;
}

void rig_random(float *x, uint64_t n, uint64_t seed) {
    for (uint64_t i = 0; i < n; i++)
        x[i] = (float)((double)(hash_mix(seed + i * 0x9e3779b97f4a7c15u) >> 40) / (1 << 23) - 1);
}

/* ---- the whole ---- */

static void announce(const peaks_desc *desc, const char *what) {
    if (desc->begins)
        desc->begins(desc->user, what);
}

/* Shares of the time: reading goes to the largest size and counts most. */
static int measure_all(rig *r, peaks *out, tandem_message *message) {
    static const char *const names[] = {"f32 products", "f16 products", "q8 products"};
    const double seconds = r->desc->seconds;
    announce(r->desc, "read bandwidth");
    int status = peaks_read(r, 0.3 * seconds, &out->read, message);
    announce(r->desc, "copy bandwidth");
    if (!status)
        status = peaks_copy(r, 0.15 * seconds, &out->copy, message);
    for (uint32_t i = 0; i < PEAKS_N_PRECISION && !status; i++) {
        announce(r->desc, names[i]);
        status = peaks_product(r, i, 0.12 * seconds, &out->product[i], message);
    }
    announce(r->desc, "launch costs");
    if (!status)
        status = peaks_chains(r, 0.12 * seconds, &out->dispatch, &out->step, message);
    return status ? status : peaks_submit(r, 0.07 * seconds, &out->submit, &out->gap, message);
}

int peaks_check_device(const tandem_device_info *info, tandem_message *message) {
    if (info->kind != TANDEM_DEVICE_SIMULATED)
        return TANDEM_OK;
    return message_fail(message, TANDEM_E_UNSUPPORTED,
                        "%s is a simulated device: its times say nothing about any device.", info->name);
}

int peaks_measure(const peaks_desc *desc, peaks *out, tandem_message *message) {
    rig r;
    *out = (peaks){0};
    int status = peaks_check_device(&desc->info, message);
    if (status)
        return status;
    status = rig_open(&r, desc, message);
    if (!status)
        status = measure_all(&r, out, message);
    out->seconds = (double)(now_ns() - r.start_ns) * 1e-9;
    rig_close(&r);
    return status;
}

double peaks_rate(const peak_ladder *ladder) {
    return ladder->n ? ladder->point[ladder->best].rate.median : 0;
}
