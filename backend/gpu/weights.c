/* weights.c: records of packed matrices, and the table of addresses by which kernels find them. */
#include "weights.h"

#include <tandem/growth.h>
#include <tandem/quants.h>
#include <tandem/validate.h>

#include <string.h>

uint64_t gpu_weights_table(const tandem_weights *weights, uint32_t record, uint32_t matrix) {
    uint64_t entry = (uint64_t)record * weights->n_segment + weights->first_segment[matrix];
    return weights->table.address + entry * sizeof(uint64_t);
}

uint64_t gpu_weights_segment(const tandem_weights *weights, uint32_t record, uint32_t segment,
                             uint64_t *bytes) {
    const gpu_record *r = &weights->records[record];
    const gpu_segment *s = &weights->segments[segment];
    const gpu_memory *parts = r->placement == TANDEM_PLACE_DEVICE ? r->device : r->host;
    *bytes = s->bytes;
    return parts[s->part].address + s->offset;
}

/* ---- storage of a record ---- */

void gpu_storage_release(tandem_weights *weights, gpu_memory **parts, int retire) {
    if (!*parts)
        return;
    for (uint32_t i = 0; i < weights->n_part; i++) {
        if (retire)
            gpu_memory_retire(weights->context, &(*parts)[i]);
        else
            gpu_memory_free(weights->context, &(*parts)[i]);
    }
    gpu_free(*parts);
    *parts = NULL;
}

tandem_status gpu_storage_create(tandem_weights *weights, uint32_t placement, uint32_t n_more,
                                 gpu_memory **parts, tandem_error *error) {
    uint32_t class = placement == TANDEM_PLACE_DEVICE ? GPU_CLASS_WEIGHTS_DEVICE : GPU_CLASS_WEIGHTS_HOST;
    *parts = gpu_alloc(weights->n_part * sizeof **parts);
    if (!*parts)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the record of weights");
    for (uint32_t i = 0; i < weights->n_part; i++) {
        tandem_context *context = weights->context;
        uint64_t bytes = weights->part_bytes[i];
        gpu_memory *part = &(*parts)[i];
        tandem_status status =
            weights->n_record > 1
                ? gpu_memory_allocate_unit(context, class, placement, bytes, n_more, part, error)
                : gpu_memory_allocate(context, class, placement, bytes, part, error);
        if (status != TANDEM_OK) {
            gpu_storage_release(weights, parts, 0);
            return status;
        }
    }
    return TANDEM_OK;
}

void gpu_table_entries(const tandem_weights *weights, uint32_t record, uint64_t *entries) {
    for (uint32_t s = 0; s < weights->n_segment; s++) {
        uint64_t bytes;
        entries[s] = gpu_weights_segment(weights, record, s, &bytes);
    }
}

/* ---- layout ---- */

static uint64_t segment_limit(const tandem_weights *weights) {
    uint64_t device = weights->context->device.info.max_allocation, option = gpu_the_plugin.max_segment;
    return option && option < device ? option : device;
}

/* Puts the segments of a record one behind another into as few allocations as the device's limit allows. */
static tandem_status plan_parts(tandem_weights *weights, tandem_error *error) {
    uint64_t limit = segment_limit(weights);
    uint32_t index = 0;
    weights->segments = gpu_alloc(weights->n_segment * sizeof *weights->segments);
    weights->part_bytes = gpu_alloc(weights->n_segment * sizeof *weights->part_bytes);
    if (!weights->segments || !weights->part_bytes)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the layout of weights");
    weights->n_part = 1;
    for (uint32_t m = 0; m < weights->n_matrix; m++) {
        for (uint32_t i = 0; i < weights->packs[m].n_segment; i++) {
            uint64_t *used = &weights->part_bytes[weights->n_part - 1];
            uint64_t bytes = tandem_kit_pack_segment_bytes(&weights->packs[m], i);
            uint64_t offset = (*used + GPU_MEMORY_ALIGNMENT - 1) & ~(uint64_t)(GPU_MEMORY_ALIGNMENT - 1);
            if (offset + bytes > limit) {
                used = &weights->part_bytes[weights->n_part++];
                offset = 0;
            }
            weights->segments[index++] = (gpu_segment){weights->n_part - 1, offset, bytes};
            *used = offset + bytes;
        }
    }
    for (uint32_t i = 0; i < weights->n_part; i++)
        weights->record_bytes += weights->part_bytes[i];
    return TANDEM_OK;
}

static tandem_status take_matrix(tandem_weights *weights, const tandem_weights_desc *desc, uint32_t m,
                                 tandem_error *error) {
    tandem_matrix_desc *matrix = &weights->matrices[m];
    uint64_t limit = segment_limit(weights);
    tandem_status status = TANDEM_KIT_TAKE(tandem_matrix_desc, matrix, desc->matrices[m], error);
    if (status != TANDEM_OK)
        return status;
    const tandem_type_info *type = tandem_kit_type(matrix->type);
    if (!tandem_kit_pack_init(&weights->packs[m], matrix->type, matrix->n_row, matrix->n_col, limit))
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "The " GPU_TITLE
                               " plugin has no layout for a matrix of %llu by %llu of type %s",
                               (unsigned long long)matrix->n_row, (unsigned long long)matrix->n_col,
                               type ? type->name : "unknown");
    weights->first_segment[m] = weights->n_segment;
    weights->n_segment += weights->packs[m].n_segment;
    weights->source_bytes +=
        weights->n_record * tandem_kit_row_bytes(matrix->type, matrix->n_col) * matrix->n_row;
    return TANDEM_OK;
}

static tandem_status create_records(tandem_weights *weights, uint32_t placement, tandem_error *error) {
    weights->records = gpu_alloc(weights->n_record * sizeof *weights->records);
    if (!weights->records)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for %u records of weights",
                               weights->n_record);
    for (uint32_t r = 0; r < weights->n_record; r++) {
        gpu_record *record = &weights->records[r];
        int on_device = placement == TANDEM_PLACE_DEVICE;
        tandem_status status = gpu_storage_create(weights, placement, weights->n_record - r,
                                                  on_device ? &record->device : &record->host, error);
        if (status != TANDEM_OK)
            return status;
        record->placement = placement;
        *(on_device ? &weights->n_on_device : &weights->n_on_host) += 1;
        weights->context->n_incomplete++;
    }
    return TANDEM_OK;
}

static tandem_status create_table(tandem_weights *weights, tandem_error *error) {
    uint64_t n = (uint64_t)weights->n_record * weights->n_segment;
    uint64_t *entries = gpu_alloc(n * sizeof *entries);
    if (!entries)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a table of weights");
    tandem_status status =
        gpu_memory_allocate(weights->context, GPU_CLASS_WEIGHTS_DEVICE, TANDEM_PLACE_DEVICE,
                            n * sizeof *entries, &weights->table, error);
    if (status == TANDEM_OK) {
        for (uint32_t r = 0; r < weights->n_record; r++)
            gpu_table_entries(weights, r, entries + (uint64_t)r * weights->n_segment);
        status = gpu_upload(weights->context, &weights->table, 0, entries, n * sizeof *entries, error);
    }
    gpu_free(entries);
    return status;
}

tandem_status gpu_weights_create(tandem_context *context, const tandem_weights_desc *desc,
                                 tandem_weights **result, tandem_error *error) {
    tandem_weights_desc taken;
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_weights(desc, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_weights_desc, &taken, desc, error);
    if (status != TANDEM_OK)
        return status;
    if (!result)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "weights_create: the place for the handle is NULL");
    tandem_weights *weights = gpu_alloc(sizeof *weights);
    if (!weights)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for weights");
    context->n_object++;
    weights->context = context;
    weights->n_record = taken.n_record;
    weights->n_matrix = taken.n_matrix;
    gpu_memory_collect(context, 0);
    for (uint32_t m = 0; m < taken.n_matrix && status == TANDEM_OK; m++)
        status = take_matrix(weights, &taken, m, error);
    if (status == TANDEM_OK)
        status = plan_parts(weights, error);
    if (status == TANDEM_OK)
        status = create_records(weights, taken.placement, error);
    if (status == TANDEM_OK)
        status = create_table(weights, error);
    if (status != TANDEM_OK) {
        gpu_weights_destroy(weights);
        return status;
    }
    *result = weights;
    return TANDEM_OK;
}

void gpu_weights_destroy(tandem_weights *weights) {
    if (!weights)
        return;
    tandem_context *context = weights->context;
    if (!gpu_is_done(context, context->serial))
        gpu_drain(context);
    for (uint32_t r = 0; weights->records && r < weights->n_record; r++) {
        gpu_record *record = &weights->records[r];
        if ((record->device || record->host) && !record->complete)
            context->n_incomplete--;
        gpu_storage_release(weights, &record->device, 0);
        gpu_storage_release(weights, &record->host, 0);
        for (uint32_t m = 0; m < 4; m++)
            gpu_free(record->tail[m]);
    }
    gpu_memory_free(context, &weights->table);
    gpu_free(weights->records);
    gpu_free(weights->segments);
    gpu_free(weights->part_bytes);
    gpu_free(weights);
    context->n_object--;
}

static tandem_status check_weights(const tandem_weights *weights, tandem_error *error) {
    if (!weights)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The weights are NULL");
    return gpu_context_check(weights->context, error);
}

tandem_status gpu_weights_info(const tandem_weights *weights, tandem_weights_info *info,
                               tandem_error *error) {
    tandem_status status = check_weights(weights, error);
    if (status != TANDEM_OK)
        return status;
    tandem_weights_info filled = {.n_record = weights->n_record,
                                  .n_matrix = weights->n_matrix,
                                  .source_bytes = weights->source_bytes,
                                  .device_bytes = weights->n_on_device * weights->record_bytes,
                                  .host_bytes = weights->n_on_host * weights->record_bytes};
    return TANDEM_KIT_GIVE(tandem_weights_info, info, &filled, error);
}

tandem_status gpu_weights_matrix(const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc,
                                 tandem_error *error) {
    tandem_status status = check_weights(weights, error);
    if (status != TANDEM_OK)
        return status;
    if (matrix >= weights->n_matrix)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Matrix %u of weights with %u", matrix,
                               weights->n_matrix);
    return TANDEM_KIT_GIVE(tandem_matrix_desc, desc, &weights->matrices[matrix], error);
}
