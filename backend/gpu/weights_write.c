/* weights_write.c: packs GGUF rows into a record, range by range.
 *
 * Where the host reaches the storage, rows are packed in place. Elsewhere they are packed into staging memory
 * and copied by whole groups; a range that ends inside a group leaves the group in the record's tail until
 * the next range.
 */
#include "weights.h"

#include <tandem/validate.h>

#include <string.h>

typedef struct write_job {
    tandem_weights *weights;
    gpu_record *record;
    const tandem_kit_pack *pack;
    uint32_t matrix;
    gpu_memory *parts;
} write_job;

static const gpu_segment *segment_of(const write_job *job, uint64_t row) {
    uint32_t index = job->weights->first_segment[job->matrix] + tandem_kit_pack_segment(job->pack, row);
    return &job->weights->segments[index];
}

/* Packs rows of one segment in place. */
static tandem_status write_mapped(write_job *job, uint64_t first, uint64_t n, const uint8_t *source,
                                  tandem_error *error) {
    const gpu_segment *segment = segment_of(job, first);
    tandem_status status = gpu_wait_all(job->weights->context, error);
    if (status == TANDEM_OK)
        tandem_kit_pack_rows(job->pack, first, n, source,
                             job->parts[segment->part].mapped + segment->offset +
                                 tandem_kit_pack_offset(job->pack, first));
    return status;
}

/* Keeps the group that the range ends in, or forgets it where the range ends with a group or with the matrix.
 */
static tandem_status keep_tail(write_job *job, uint64_t end, const uint8_t *group, tandem_error *error) {
    uint8_t **tail = &job->record->tail[job->matrix];
    if (end % GROUP_ROWS == 0 || end == job->pack->n_row) {
        gpu_free(*tail);
        *tail = NULL;
        return TANDEM_OK;
    }
    if (!*tail)
        *tail = gpu_alloc(job->pack->group_bytes);
    if (!*tail)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a group of rows");
    memcpy(*tail, group, (size_t)job->pack->group_bytes);
    return TANDEM_OK;
}

/* Packs rows of one segment, at most a staging buffer full, and sends the groups they lie in. */
static tandem_status write_staged(write_job *job, uint64_t first, uint64_t n, const uint8_t *source,
                                  tandem_error *error) {
    tandem_context *context = job->weights->context;
    const tandem_kit_pack *pack = job->pack;
    const gpu_segment *segment = segment_of(job, first);
    uint64_t n_group = (first % GROUP_ROWS + n + GROUP_ROWS - 1) / GROUP_ROWS;
    uint64_t offset = segment->offset + tandem_kit_pack_offset(pack, first);
    const gpu_memory *staging;
    tandem_status status = gpu_stage_begin(context, &staging, error);
    if (status != TANDEM_OK)
        return status;
    uint8_t *place = staging->mapped;
    if (first % GROUP_ROWS != 0)
        memcpy(place, job->record->tail[job->matrix], (size_t)pack->group_bytes);
    tandem_kit_pack_rows(pack, first, n, source, place);
    status = keep_tail(job, first + n, place + (n_group - 1) * pack->group_bytes, error);
    if (status != TANDEM_OK)
        return status;
    return gpu_stage_end(context, &job->parts[segment->part], offset, n_group * pack->group_bytes, error);
}

static tandem_status write_rows(write_job *job, uint64_t first, uint64_t n, const uint8_t *source,
                                tandem_error *error) {
    const tandem_kit_pack *pack = job->pack;
    int mapped = job->parts[0].mapped != NULL;
    uint64_t room = GPU_STAGING_BYTES / pack->group_bytes * GROUP_ROWS;
    if (!mapped && room == 0)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "Eight rows of %u columns are longer than the staging buffer of %u bytes",
                               pack->n_col, GPU_STAGING_BYTES);
    while (n > 0) {
        /* Stay inside the segment, and behind the first piece on whole groups. */
        uint64_t segment_end = ((first >> pack->segment_shift) + 1) << pack->segment_shift;
        uint64_t piece = n < segment_end - first ? n : segment_end - first;
        if (!mapped && piece > room - first % GROUP_ROWS)
            piece = room - first % GROUP_ROWS;
        tandem_status status = mapped ? write_mapped(job, first, piece, source, error)
                                      : write_staged(job, first, piece, source, error);
        if (status != TANDEM_OK)
            return status;
        first += piece;
        n -= piece;
        source += piece * pack->row_bytes;
    }
    return TANDEM_OK;
}

/* The record has been written anew from row 0: it is incomplete, and another copy of it is out of date. */
static void start_over(write_job *job) {
    tandem_weights *weights = job->weights;
    gpu_record *record = job->record;
    record->n_row[job->matrix] = 0;
    if (record->complete) {
        record->complete = 0;
        weights->context->n_incomplete++;
    }
    if (record->placement == TANDEM_PLACE_DEVICE && record->host) {
        gpu_storage_release(weights, &record->host, 1);
        weights->n_on_host--;
    }
}

static void note_rows(write_job *job, uint64_t end) {
    gpu_record *record = job->record;
    record->n_row[job->matrix] = end;
    int complete = 1;
    for (uint32_t m = 0; m < job->weights->n_matrix; m++)
        complete &= record->n_row[m] == job->weights->packs[m].n_row;
    if (complete && !record->complete)
        job->weights->context->n_incomplete--;
    record->complete = complete;
}

tandem_status gpu_weights_write(tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
                                uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags,
                                tandem_error *error) {
    if (!weights)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The weights are NULL");
    tandem_status status = gpu_context_check(weights->context, error);
    if (status != TANDEM_OK)
        return status;
    if (record >= weights->n_record || matrix >= weights->n_matrix)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Record %u, matrix %u of weights with %u and %u",
                               record, matrix, weights->n_record, weights->n_matrix);
    /* note: TANDEM_WRITE_BORROW allows not to copy; the packed layout is a copy in any case. */
    status =
        tandem_kit_validate_write(&weights->matrices[matrix], first_row, n_row, source, bytes, flags, error);
    if (status != TANDEM_OK)
        return status;
    write_job job = {.weights = weights,
                     .record = &weights->records[record],
                     .pack = &weights->packs[matrix],
                     .matrix = matrix};
    job.parts = job.record->placement == TANDEM_PLACE_DEVICE ? job.record->device : job.record->host;
    if (first_row != 0 && first_row != job.record->n_row[matrix])
        return tandem_kit_fail(
            error, TANDEM_E_INVALID,
            "Rows of record %u, matrix %u must go on at %llu or start over at 0, not at %llu", record, matrix,
            (unsigned long long)job.record->n_row[matrix], (unsigned long long)first_row);
    if (n_row == 0)
        return TANDEM_OK;
    if (first_row == 0)
        start_over(&job);
    status = write_rows(&job, first_row, n_row, source, error);
    if (status == TANDEM_OK)
        note_rows(&job, first_row + n_row);
    return status;
}
