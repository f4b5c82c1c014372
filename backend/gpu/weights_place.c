/* weights_place.c: moves a record between device and host while runs are pending.
 *
 * The copy and the new table entries come behind the runs before and before the runs after. Runs
 * find the record through the table, so the pending ones read the old place, which is freed after them.
 */
#include "hooks.h"
#include "ticket.h"
#include "weights.h"

/* Puts the move in order; `copy`: the bytes are not at the target yet. */
static tandem_status submit_move(tandem_weights *weights, uint32_t record, uint32_t placement, int copy,
                                 tandem_error *error) {
    gpu_record *r = &weights->records[record];
    tandem_context *context = weights->context;
    const gpu_memory *from = placement == TANDEM_PLACE_DEVICE ? r->host : r->device;
    const gpu_memory *to = placement == TANDEM_PLACE_DEVICE ? r->device : r->host;
    uint32_t old = r->placement;
    uint64_t bytes = weights->n_segment * sizeof(uint64_t);
    uint64_t *entries = gpu_alloc(bytes);
    tandem_status status = TANDEM_OK;
    if (!entries)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory to edit the table of weights");
    r->placement = placement;
    gpu_table_entries(weights, record, entries);
    for (uint32_t i = 0; copy && i < weights->n_part && status == TANDEM_OK; i++)
        status = gpu_copy(context, &from[i], 0, &to[i], 0, weights->part_bytes[i], error);
    if (status == TANDEM_OK)
        status = gpu_update(context, &weights->table, record * bytes, entries, bytes, error);
    tandem_status ended = gpu_submit(context, NULL, status == TANDEM_OK ? error : NULL);
    if (status == TANDEM_OK)
        status = ended;
    if (status != TANDEM_OK)
        r->placement = old;
    gpu_free(entries);
    return status;
}

static tandem_status move_record(tandem_weights *weights, uint32_t record, uint32_t placement,
                                 tandem_error *error) {
    gpu_record *r = &weights->records[record];
    int to_device = placement == TANDEM_PLACE_DEVICE;
    gpu_memory **target = to_device ? &r->device : &r->host;
    int copy = *target == NULL;
    tandem_status status = TANDEM_OK;
    gpu_memory_collect(weights->context, 0);
    if (copy)
        status = gpu_storage_create(weights, placement, 1, target, error);
    if (status != TANDEM_OK)
        return status;
    status = submit_move(weights, record, placement, copy, error);
    if (status != TANDEM_OK) {
        if (copy)
            gpu_storage_release(weights, target, 1);
        return status;
    }
    *(to_device ? &weights->n_on_device : &weights->n_on_host) += (uint32_t)copy;
    if (!to_device) {
        gpu_storage_release(weights, &r->device, 1);
        weights->n_on_device--;
    }
    /* A record that lived on the host keeps its home copy there: going back costs a table entry. */
    return TANDEM_OK;
}

tandem_status gpu_weights_place(tandem_weights *weights, uint32_t record, uint32_t placement,
                                tandem_ticket *ticket, tandem_error *error) {
    if (!weights)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The weights are NULL");
    tandem_status status = gpu_context_check(weights->context, error);
    if (status != TANDEM_OK)
        return status;
    if (record >= weights->n_record || placement > TANDEM_PLACE_HOST)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Record %u of %u to placement %u", record,
                               weights->n_record, placement);
    if (!weights->records[record].complete)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Record %u has missing rows and cannot be moved",
                               record);
    if (weights->records[record].placement != placement)
        status = move_record(weights, record, placement, error);
    if (status != TANDEM_OK)
        return status;
    gpu_ticket *issued = gpu_ticket_issue(weights->context);
    issued->serial = weights->context->serial;
    if (ticket)
        *ticket = issued->ticket;
    return TANDEM_OK;
}
