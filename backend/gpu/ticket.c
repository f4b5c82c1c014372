/* ticket.c: waiting, and device times. */
#include "ticket.h"
#include "hooks.h"

#include <string.h>

static gpu_ticket *entry_of(tandem_context *context, tandem_ticket ticket) {
    return &context->tickets[ticket % GPU_N_TICKET];
}

void gpu_tickets_collect(tandem_context *context) {
    while (context->first_unfinished <= context->last_ticket) {
        gpu_ticket *entry = entry_of(context, context->first_unfinished);
        if (!gpu_is_done(context, entry->serial))
            return;
        if (entry->slot != TANDEM_NONE) {
            gpu_run_times(context, entry);
            context->slot_ticket[entry->slot] = 0;
        }
        entry->finished = 1;
        context->first_unfinished++;
    }
}

gpu_ticket *gpu_ticket_issue(tandem_context *context) {
    tandem_ticket ticket = ++context->last_ticket;
    gpu_ticket *entry = entry_of(context, ticket);
    if (ticket > GPU_N_TICKET && !entry->finished) {
        gpu_drain(context);
        context->last_ticket--; /* the new one is not in the ring yet */
        gpu_tickets_collect(context);
        context->last_ticket++;
    }
    gpu_free(entry->step_ns);
    memset(entry, 0, sizeof *entry);
    entry->ticket = ticket;
    entry->slot = TANDEM_NONE;
    return entry;
}

/* The entry of a ticket, or NULL with a status: never issued, or forgotten. */
static gpu_ticket *find(tandem_context *context, tandem_ticket ticket, tandem_status *status,
                        tandem_error *error) {
    if (ticket == 0 || ticket > context->last_ticket) {
        *status = tandem_kit_fail(error, TANDEM_E_INVALID, "Ticket %llu was never issued",
                                  (unsigned long long)ticket);
        return NULL;
    }
    gpu_ticket *entry = entry_of(context, ticket);
    if (entry->ticket == ticket)
        return entry;
    *status = tandem_kit_fail(error, TANDEM_E_INVALID, "The times of ticket %llu are forgotten: %u are kept",
                              (unsigned long long)ticket, GPU_N_TICKET);
    return NULL;
}

tandem_status gpu_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                       tandem_error *error) {
    tandem_status status = gpu_context_check(context, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t serial = context->serial;
    if (ticket != TANDEM_TICKET_ALL) {
        gpu_ticket *entry = find(context, ticket, &status, NULL);
        if (ticket == 0 || ticket > context->last_ticket)
            return tandem_kit_fail(error, TANDEM_E_INVALID, "Ticket %llu was never issued",
                                   (unsigned long long)ticket);
        if (!entry)
            return TANDEM_OK; /* replaced in the ring, hence ended */
        serial = entry->serial;
    }
    status = gpu_wait_serial(context, serial, timeout_ns, error);
    if (status == TANDEM_OK)
        gpu_tickets_collect(context);
    return status;
}

/* The entry of a run that has ended. */
static gpu_ticket *find_finished(tandem_context *context, tandem_ticket ticket, tandem_status *status,
                                 tandem_error *error) {
    *status = gpu_context_check(context, error);
    if (*status != TANDEM_OK)
        return NULL;
    gpu_tickets_collect(context);
    gpu_ticket *entry = find(context, ticket, status, error);
    if (entry && !entry->finished) {
        *status = tandem_kit_fail(error, TANDEM_E_TIMEOUT, "Ticket %llu has not ended yet",
                                  (unsigned long long)ticket);
        return NULL;
    }
    return entry;
}

tandem_status gpu_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                        tandem_error *error) {
    tandem_status status;
    const gpu_ticket *entry = find_finished(context, ticket, &status, error);
    if (!entry)
        return status;
    tandem_times filled = {.n_step = entry->n_step,
                           .device_ns = entry->device_ns,
                           .gap_ns = entry->gap_ns,
                           .host_ns = entry->host_ns,
                           .upload_bytes = entry->upload_bytes};
    return TANDEM_KIT_GIVE(tandem_times, times, &filled, error);
}

tandem_status gpu_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                             tandem_error *error) {
    tandem_status status;
    const gpu_ticket *entry = find_finished(context, ticket, &status, error);
    if (!entry)
        return status;
    if (entry->n_step == 0 || !ns || n_step != entry->n_step)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "Ticket %llu has times of %u steps (profile runs have them), not of %u",
                               (unsigned long long)ticket, entry->n_step, n_step);
    memcpy(ns, entry->step_ns, n_step * sizeof *ns);
    return TANDEM_OK;
}
