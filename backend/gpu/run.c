/* run.c: queues a run: fills a table, one launch, no allocation and no recording. */
#include "hooks.h"
#include "ticket.h"

#include <tandem/validate.h>

#include <string.h>

/* A slot whose run has ended; TANDEM_NONE: all are pending. */
static uint32_t find_slot(const tandem_context *context) {
    for (uint32_t i = 0; i < GPU_N_PENDING; i++)
        if (context->slot_ticket[i] == 0)
            return i;
    return TANDEM_NONE;
}

static tandem_status check_run(const tandem_program *program, const tandem_run *run, tandem_error *error) {
    const tandem_context *context = program->context;
    const tandem_row next = {0, context->next_position, context->next_slot};
    tandem_status status =
        tandem_kit_validate_run(&gpu_backend, &program->limits, run, program->kv ? program->kv->length : NULL,
                                context->next_known ? &next : NULL, error);
    if (status != TANDEM_OK || context->n_incomplete == 0)
        return status;
    for (uint32_t i = 0; i < program->uses.n; i++) {
        const gpu_weight_use *use = GPU_AT(program->uses, gpu_weight_use, i);
        if (!use->weights->records[use->record].complete)
            return tandem_kit_fail(error, TANDEM_E_INVALID,
                                   "The run reads weights whose record %u has missing rows", use->record);
    }
    return TANDEM_OK;
}

/* Row i of a run, from wherever it is given. */
static tandem_row get_row(const tandem_context *context, const tandem_run *run, uint32_t i) {
    if (run->source == TANDEM_SOURCE_DEVICE_NEXT)
        return (tandem_row){0, context->next_position, context->next_slot};
    return tandem_kit_run_row(run, i);
}

uint64_t gpu_run_fill_table(const tandem_program *program, const tandem_run *run, uint32_t table_index) {
    uint8_t *table = program->tables.mapped + table_index * program->table_bytes;
    run_row *rows = (run_row *)(table + RUN_ROWS_OFFSET);
    uint32_t *out_row = (uint32_t *)(table + RUN_OUT_ROW_OFFSET((uint64_t)program->limits.max_tokens));
    uint32_t *target = out_row + program->limits.max_out;
    run_header header = {.n_rows = run->n_rows, .n_out = run->n_out, .source = run->source};
    for (uint32_t i = 0; i < run->n_rows; i++) {
        tandem_row row = get_row(program->context, run, i);
        rows[i] = (run_row){row.token, row.position, row.slot, 0};
        if (row.position + 1 > header.n_context)
            header.n_context = row.position + 1;
    }
    for (uint32_t i = 0; i < run->n_out; i++) {
        tandem_out out = tandem_kit_run_out(run, i);
        out_row[i] = out.row;
        target[i] = out.target;
    }
    if (run->result)
        header.result = run->result->memory.address + run->result_offset;
    memcpy(table, &header, sizeof header);
    return sizeof header + (uint64_t)run->n_rows * sizeof(run_row) + (uint64_t)run->n_out * 8;
}

/* What DEVICE_NEXT will continue from, and the new lengths of the cache. */
static void note_run(tandem_program *program, const tandem_run *run) {
    tandem_context *context = program->context;
    const tandem_kit_limits *limits = &program->limits;
    tandem_row last = get_row(context, run, 0);
    uint32_t n_topk = limits->n_logit == 0                   ? 0
                      : limits->topk_rows == TANDEM_ROWS_ALL ? run->n_rows
                                                             : run->n_out;
    for (uint32_t i = 0; i < run->n_rows; i++) {
        tandem_row row = get_row(context, run, i);
        if (!program->kv)
            break;
        program->kv->length[row.slot] = row.position + 1;
        if (program->kv->highest[row.slot] < row.position + 1)
            program->kv->highest[row.slot] = row.position + 1;
    }
    if (n_topk == 0)
        return;
    if (limits->topk_rows == TANDEM_ROWS_ALL)
        last = get_row(context, run, run->n_rows - 1);
    else
        last = get_row(context, run, tandem_kit_run_out(run, run->n_out - 1).row);
    context->next_known = 1;
    context->next_position = last.position + 1;
    context->next_slot = last.slot;
}

/* What a profile run needs beforehand: the plugin's part, an idle device, room for times. */
static tandem_status prepare_profile(tandem_program *program, uint64_t **step_ns, tandem_error *error) {
    tandem_status status = gpu_profile_begin(program, error);
    if (status == TANDEM_OK)
        status = gpu_wait_all(program->context, error);
    if (status != TANDEM_OK)
        return status;
    *step_ns = gpu_alloc((program->steps.n + 1ull) * sizeof **step_ns);
    if (!*step_ns)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the times of %u steps",
                               program->steps.n);
    return TANDEM_OK;
}

/* Waits for a profile run and reads the times of its steps. */
static tandem_status finish_profile(tandem_program *program, gpu_ticket *entry, tandem_error *error) {
    tandem_status status = gpu_wait_serial(program->context, entry->serial, UINT64_MAX, error);
    if (status == TANDEM_OK)
        status = gpu_profile_times(program, entry->step_ns, error);
    if (status == TANDEM_OK)
        entry->n_step = program->steps.n;
    return status;
}

/* Queues a checked run and issues its ticket. */
static tandem_status queue_run(tandem_program *program, const tandem_run *run, uint32_t slot,
                               gpu_ticket **result, tandem_error *error) {
    tandem_context *context = program->context;
    uint64_t serial = context->serial + 1, queued_ns = gpu_clock_ns(), *step_ns = NULL;
    int profile = (run->flags & TANDEM_RUN_PROFILE) != 0;
    tandem_status status = profile ? prepare_profile(program, &step_ns, error) : TANDEM_OK;
    uint64_t upload_bytes = gpu_run_fill_table(program, run, gpu_run_table(program, slot));
    if (status == TANDEM_OK)
        status = gpu_run_launch(program, slot, profile, serial, error);
    if (status != TANDEM_OK) {
        gpu_free(step_ns);
        return status;
    }
    context->serial = serial;
    note_run(program, run);
    gpu_ticket *entry = gpu_ticket_issue(context);
    entry->serial = serial;
    entry->slot = slot;
    entry->queued_ns = queued_ns;
    entry->upload_bytes = upload_bytes;
    entry->step_ns = step_ns;
    context->slot_ticket[slot] = entry->ticket;
    *result = entry;
    return TANDEM_OK;
}

tandem_status gpu_run(tandem_program *program, const tandem_run *desc, tandem_ticket *ticket,
                      tandem_error *error) {
    tandem_run run;
    uint64_t begin = gpu_clock_ns();
    if (!program)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The program is NULL");
    tandem_context *context = program->context;
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = check_run(program, desc, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_run, &run, desc, error);
    if (status != TANDEM_OK)
        return status;
    if (run.result && run.result->context != context)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The result buffer belongs to another context");
    gpu_tickets_collect(context);
    uint32_t slot = find_slot(context);
    if (slot == TANDEM_NONE)
        return tandem_kit_fail(error, TANDEM_E_BUSY, "%u runs are pending, as many as a context takes",
                               GPU_N_PENDING);
    gpu_ticket *entry;
    status = queue_run(program, &run, slot, &entry, error);
    if (status != TANDEM_OK)
        return status;
    if (run.flags & TANDEM_RUN_PROFILE)
        status = finish_profile(program, entry, error);
    entry->host_ns = gpu_clock_ns() - begin;
    if (status == TANDEM_OK && ticket)
        *ticket = entry->ticket;
    return status;
}
