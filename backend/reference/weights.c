/* weights.c: records of GGUF matrices, read in place.
 *
 * Rows given with TANDEM_WRITE_BORROW stay where the caller has them as long as the ranges of a matrix follow
 * one another in memory; otherwise they are copied. Device and host placement are the same memory here, so
 * moving a record moves its bytes between the accounts and nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "objects.h"

static ref_use use_of(const tandem_weights *w, uint32_t record) {
    return w->placement[record] == TANDEM_PLACE_HOST ? REF_WEIGHTS_HOST : REF_WEIGHTS_DEVICE;
}

tandem_status ref_weights_create(tandem_context *context, const tandem_weights_desc *desc,
                                 tandem_weights **weights, tandem_error *error) {
    tandem_weights_desc d;
    tandem_status status = TANDEM_KIT_TAKE(tandem_weights_desc, &d, desc, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_weights(&d, error);
    if (status != TANDEM_OK)
        return status;
    tandem_weights w = {.context = context, .n_record = d.n_record, .n_matrix = d.n_matrix};
    for (uint32_t i = 0; i < d.n_matrix; i++) {
        ref_matrix *m = &w.matrices[i];
        status = TANDEM_KIT_TAKE(tandem_matrix_desc, &m->desc, d.matrices[i], error);
        if (status != TANDEM_OK)
            return status;
        m->row_bytes = tandem_kit_row_bytes(m->desc.type, m->desc.n_col);
        m->bytes = ref_mul(m->row_bytes, m->desc.n_row);
    }

    char what[96];
    snprintf(what, sizeof what, "the table of weights '%.60s'", d.label ? d.label : "");
    uint64_t cell_bytes = (uint64_t)d.n_record * d.n_matrix * sizeof(ref_cell);
    ref_use use = d.placement == TANDEM_PLACE_HOST ? REF_WEIGHTS_HOST : REF_WEIGHTS_DEVICE;
    void *memory;
    w.self_bytes = sizeof w + cell_bytes + d.n_record;
    status = ref_alloc(context, use, w.self_bytes, what, &memory, error);
    if (status != TANDEM_OK)
        return status;
    tandem_weights *result = memory;
    *result = w;
    result->cells = (ref_cell *)(result + 1);
    result->placement = (unsigned char *)result->cells + cell_bytes;
    memset(result->placement, (int)d.placement, d.n_record);
    result->home = use;
    *weights = result;
    return TANDEM_OK;
}

void ref_weights_destroy(tandem_weights *weights) {
    if (!weights)
        return;
    tandem_context *context = weights->context;
    ref_drain(context);
    for (uint32_t r = 0; r < weights->n_record; r++)
        for (uint32_t m = 0; m < weights->n_matrix; m++)
            ref_free(context, use_of(weights, r), ref_cell_of(weights, r, m)->owned,
                     weights->matrices[m].bytes);
    ref_free(context, weights->home, weights, weights->self_bytes);
}

tandem_status ref_weights_info(const tandem_weights *weights, tandem_weights_info *info,
                               tandem_error *error) {
    tandem_weights_info known = {.n_record = weights->n_record, .n_matrix = weights->n_matrix};
    for (uint32_t r = 0; r < weights->n_record; r++)
        for (uint32_t m = 0; m < weights->n_matrix; m++) {
            uint64_t owned = ref_cell_of(weights, r, m)->owned ? weights->matrices[m].bytes : 0;
            known.source_bytes += weights->matrices[m].bytes;
            if (weights->placement[r] == TANDEM_PLACE_HOST)
                known.host_bytes += owned;
            else
                known.device_bytes += owned;
        }
    return TANDEM_KIT_GIVE(tandem_weights_info, info, &known, error);
}

tandem_status ref_weights_matrix(const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc,
                                 tandem_error *error) {
    if (matrix >= weights->n_matrix)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "matrix %u does not exist; a record has %u", matrix,
                               weights->n_matrix);
    return TANDEM_KIT_GIVE(tandem_matrix_desc, desc, &weights->matrices[matrix].desc, error);
}

static tandem_status check_write(const tandem_weights *w, uint32_t record, uint32_t matrix,
                                 uint64_t first_row, uint64_t n_row, const void *source, uint64_t bytes,
                                 uint32_t flags, tandem_error *error) {
    if (record >= w->n_record || matrix >= w->n_matrix)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "record %u matrix %u does not exist; there are %u records of %u", record,
                               matrix, w->n_record, w->n_matrix);
    tandem_status status =
        tandem_kit_validate_write(&w->matrices[matrix].desc, first_row, n_row, source, bytes, flags, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t written = ref_cell_of(w, record, matrix)->n_row;
    if (first_row != 0 && first_row != written)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "rows come in order: row %llu is next, not %llu",
                               (unsigned long long)written, (unsigned long long)first_row);
    return TANDEM_OK;
}

tandem_status ref_weights_write(tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
                                uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags,
                                tandem_error *error) {
    tandem_status status =
        check_write(weights, record, matrix, first_row, n_row, source, bytes, flags, error);
    if (status != TANDEM_OK)
        return status;
    tandem_context *context = weights->context;
    const ref_matrix *m = &weights->matrices[matrix];
    ref_cell *cell = ref_cell_of(weights, record, matrix);
    uint64_t done_bytes = first_row * m->row_bytes;
    ref_drain(context);

    int borrowed_so_far = first_row == 0 || cell->rows != cell->owned;
    if ((flags & TANDEM_WRITE_BORROW) && borrowed_so_far &&
        (first_row == 0 || cell->rows + done_bytes == source)) {
        if (first_row == 0) {
            ref_free(context, use_of(weights, record), cell->owned, m->bytes);
            cell->owned = NULL;
            cell->rows = source;
        }
        cell->n_row = first_row + n_row;
        return TANDEM_OK;
    }
    if (!cell->owned) {
        void *memory;
        status = ref_alloc(context, use_of(weights, record), m->bytes, "a copy of a weight matrix", &memory,
                           error);
        if (status != TANDEM_OK)
            return status;
        if (done_bytes)
            memcpy(memory, cell->rows, done_bytes); /* rows borrowed up to now */
        cell->owned = memory;
    }
    cell->rows = cell->owned;
    memcpy(cell->owned + done_bytes, source, bytes);
    cell->n_row = first_row + n_row;
    return TANDEM_OK;
}

tandem_status ref_weights_place(tandem_weights *weights, uint32_t record, uint32_t placement,
                                tandem_ticket *ticket, tandem_error *error) {
    tandem_context *context = weights->context;
    uint64_t start = ref_now(context);
    if (record >= weights->n_record || placement > TANDEM_PLACE_HOST)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "record %u of %u to placement %u", record,
                               weights->n_record, placement);
    for (uint32_t m = 0; m < weights->n_matrix; m++)
        if (ref_cell_of(weights, record, m)->n_row != weights->matrices[m].desc.n_row)
            return tandem_kit_fail(error, TANDEM_E_INVALID, "record %u lacks rows of its matrix %u", record,
                                   m);
    if (ref_queue_full(context))
        return tandem_kit_fail(error, TANDEM_E_BUSY, "%u runs and moves are pending", REF_MAX_PENDING);

    ref_use from = use_of(weights, record);
    weights->placement[record] = (unsigned char)placement;
    for (uint32_t m = 0; m < weights->n_matrix; m++)
        if (ref_cell_of(weights, record, m)->owned)
            ref_recount(context, from, use_of(weights, record), weights->matrices[m].bytes);
    tandem_ticket issued = ref_submit(context, NULL, 0, start, 0);
    if (ticket)
        *ticket = issued;
    return TANDEM_OK;
}
