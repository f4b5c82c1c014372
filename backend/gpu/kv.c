/* kv.c: the cache: storage by layer, lengths by slot, rings.
 *
 * Layout (params_ops.h of the kernels): K and V of a layer apart, each [slot][kv head] regions of `ring`
 * rows; position p lives in row p mod ring. A layer that shares another's storage has none of its own.
 */
#include "kv.h"
#include "hooks.h"

#include <tandem/growth.h>
#include <tandem/validate.h>

#include <string.h>

#define MAX_GRID_ROWS 65535u
#define MAX_PAD_ROWS 32u /* a region is longer than its ring by less than this many rows */

/* ---- create and destroy ---- */

static tandem_status take_layer(tandem_kv *kv, const tandem_kv_desc *desc, uint32_t i, tandem_error *error) {
    gpu_kv_layer *layer = &kv->layers[i];
    tandem_status status = TANDEM_KIT_TAKE(tandem_kv_layer, &layer->info, desc->layers[i], error);
    if (status != TANDEM_OK)
        return status;
    layer->owner = layer->info.share_of == TANDEM_NONE ? i : layer->info.share_of;
    if (layer->info.head_dim % 8 != 0 || layer->info.head_dim > GPU_MAX_HEAD_DIM)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "Cache layer %u: the " GPU_TITLE
                               " plugin has kernels for head sizes that are multiples of 8 "
                               "up to %u, not %u",
                               i, GPU_MAX_HEAD_DIM, layer->info.head_dim);
    return TANDEM_OK;
}

/* The positions that every layer can take: the least capacity of the layers that forget nothing. */
static uint32_t find_max_position(const tandem_kv *kv) {
    uint64_t least = UINT64_MAX, most = 0;
    for (uint32_t i = 0; i < kv->n_layer; i++) {
        const tandem_kv_layer *info = &kv->layers[i].info;
        if (info->window == 0 && info->capacity < least)
            least = info->capacity;
        if (info->capacity > most)
            most = info->capacity;
    }
    return (uint32_t)(least == UINT64_MAX ? most : least);
}

static tandem_status create_layer(tandem_kv *kv, uint32_t i, tandem_error *error) {
    gpu_kv_layer *layer = &kv->layers[i];
    const tandem_kv_layer *info = &layer->info;
    uint64_t ring = info->window ? (uint64_t)info->window + kv->max_chunk : info->capacity;
    if (info->window && ring > kv->max_position)
        ring = kv->max_position;
    uint64_t row = kv_position_bytes(info->type, info->head_dim);
    if (ring + MAX_PAD_ROWS > UINT32_MAX / row)
        return tandem_kit_fail(
            error, TANDEM_E_UNSUPPORTED,
            "Cache layer %u: %llu positions of %llu bytes are over the 4 GiB that kernels address "
            "per head",
            i, (unsigned long long)ring, (unsigned long long)row);
    layer->ring = (uint32_t)ring;
    layer->region_bytes = kv_region_bytes(info->type, info->head_dim, layer->ring);
    if (layer->owner != i)
        return TANDEM_OK;
    uint64_t bytes = (uint64_t)kv->n_slot * info->n_kv_head * layer->region_bytes;
    tandem_status status =
        gpu_memory_allocate(kv->context, GPU_CLASS_KV, TANDEM_PLACE_DEVICE, bytes, &layer->k, error);
    if (status == TANDEM_OK)
        status = gpu_memory_allocate(kv->context, GPU_CLASS_KV, TANDEM_PLACE_DEVICE, bytes, &layer->v, error);
    kv->bytes += 2 * bytes;
    return status;
}

tandem_status gpu_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **result,
                            tandem_error *error) {
    tandem_kv_desc taken;
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_kv(desc, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_kv_desc, &taken, desc, error);
    if (status != TANDEM_OK)
        return status;
    if (!result)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "kv_create: the place for the handle is NULL");
    if (taken.layout == TANDEM_KV_LAYOUT_V_ONLY)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "The " GPU_TITLE " plugin has no kernels for V-only caches yet");
    tandem_kv *kv = gpu_alloc(sizeof *kv);
    if (!kv)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a cache");
    context->n_object++;
    kv->context = context;
    kv->n_layer = taken.n_layer;
    kv->max_chunk = taken.max_chunk;
    kv->n_slot = taken.n_slot;
    kv->layers = gpu_alloc(kv->n_layer * sizeof *kv->layers);
    kv->length = gpu_alloc(kv->n_slot * sizeof *kv->length);
    kv->highest = gpu_alloc(kv->n_slot * sizeof *kv->highest);
    if (!kv->layers || !kv->length || !kv->highest)
        status =
            tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                            "No host memory for a cache of %u layers and %u slots", kv->n_layer, kv->n_slot);
    gpu_memory_collect(context, 0);
    for (uint32_t i = 0; i < kv->n_layer && status == TANDEM_OK; i++)
        status = take_layer(kv, &taken, i, error);
    if (status == TANDEM_OK)
        kv->max_position = find_max_position(kv);
    for (uint32_t i = 0; i < kv->n_layer && status == TANDEM_OK; i++)
        status = create_layer(kv, i, error);
    if (status != TANDEM_OK) {
        gpu_kv_destroy(kv);
        return status;
    }
    *result = kv;
    return TANDEM_OK;
}

void gpu_kv_destroy(tandem_kv *kv) {
    if (!kv)
        return;
    tandem_context *context = kv->context;
    if (!gpu_is_done(context, context->serial))
        gpu_drain(context);
    for (uint32_t i = 0; kv->layers && i < kv->n_layer; i++) {
        gpu_memory_free(context, &kv->layers[i].k);
        gpu_memory_free(context, &kv->layers[i].v);
    }
    gpu_free(kv->layers);
    gpu_free(kv->length);
    gpu_free(kv->highest);
    gpu_free(kv);
    context->n_object--;
}

/* ---- queries ---- */

tandem_status gpu_kv_check(const tandem_kv *kv, uint32_t slot, tandem_error *error) {
    if (!kv)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The cache is NULL");
    tandem_status status = gpu_context_check(kv->context, error);
    if (status == TANDEM_OK && slot >= kv->n_slot)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "Slot %u of a cache with %u", slot, kv->n_slot);
    return status;
}

tandem_status gpu_kv_info(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, 0, error);
    if (status != TANDEM_OK)
        return status;
    tandem_kv_info filled = {.n_layer = kv->n_layer,
                             .max_chunk = kv->max_chunk,
                             .n_slot = kv->n_slot,
                             .layout = TANDEM_KV_LAYOUT_KV,
                             .bytes = kv->bytes};
    return TANDEM_KIT_GIVE(tandem_kv_info, info, &filled, error);
}

tandem_status gpu_kv_layer_info(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                                tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, 0, error);
    if (status == TANDEM_OK && layer >= kv->n_layer)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "Layer %u of a cache with %u", layer, kv->n_layer);
    if (status != TANDEM_OK)
        return status;
    return TANDEM_KIT_GIVE(tandem_kv_layer, info, &kv->layers[layer].info, error);
}

tandem_status gpu_kv_length(const tandem_kv *kv, uint32_t slot, uint32_t *length, tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, slot, error);
    if (status == TANDEM_OK && !length)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "kv_length: the place for the length is NULL");
    if (status == TANDEM_OK)
        *length = kv->length[slot];
    return status;
}

/* ---- edits ---- */

tandem_status gpu_kv_truncate(tandem_kv *kv, uint32_t slot, uint32_t length, tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (length > kv->length[slot])
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Slot %u holds %u positions and cannot be cut to %u",
                               slot, kv->length[slot], length);
    uint32_t highest = kv->highest[slot];
    for (uint32_t i = 0; i < kv->n_layer && length > 0; i++) {
        /* note: a ring that never wrapped has forgotten nothing. */
        if (highest > kv->layers[i].ring && highest - length > kv->max_chunk)
            return tandem_kit_fail(
                error, TANDEM_E_UNSUPPORTED,
                "Slot %u reached %u positions; layer %u keeps a ring and can go back by %u at most, "
                "not to %u",
                slot, highest, i, kv->max_chunk, length);
    }
    kv->length[slot] = length;
    if (length == 0)
        kv->highest[slot] = 0;
    return TANDEM_OK;
}

/* Submits what an edit has put in order, and says how that went. */
static tandem_status end_edit(tandem_kv *kv, tandem_status status, tandem_error *error) {
    tandem_status ended = gpu_submit(kv->context, NULL, status == TANDEM_OK ? error : NULL);
    return status == TANDEM_OK ? ended : status;
}

tandem_status gpu_kv_copy_slot(tandem_kv *kv, uint32_t from, uint32_t to, tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, from, error);
    if (status == TANDEM_OK)
        status = gpu_kv_check(kv, to, error);
    if (status != TANDEM_OK || from == to)
        return status;
    for (uint32_t i = 0; i < kv->n_layer && status == TANDEM_OK; i++) {
        const gpu_kv_layer *layer = &kv->layers[i];
        if (layer->owner != i)
            continue;
        uint64_t bytes = (uint64_t)layer->info.n_kv_head * layer->region_bytes;
        status = gpu_copy(kv->context, &layer->k, from * bytes, &layer->k, to * bytes, bytes, error);
        if (status == TANDEM_OK)
            status = gpu_copy(kv->context, &layer->v, from * bytes, &layer->v, to * bytes, bytes, error);
    }
    status = end_edit(kv, status, error);
    if (status == TANDEM_OK) {
        kv->length[to] = kv->length[from];
        kv->highest[to] = kv->highest[from];
    }
    return status;
}

/* Fills one layer's K and V. */
static tandem_status fill_layer(tandem_kv *kv, uint32_t i, uint32_t slot, uint32_t seed, uint32_t length,
                                tandem_error *error) {
    const gpu_kv_layer *layer = &kv->layers[i];
    tandem_status status = TANDEM_OK;
    for (uint32_t which = TANDEM_KV_K; which <= TANDEM_KV_V; which++) {
        uint32_t position = length > layer->ring ? length - layer->ring : 0;
        while (position < length && status == TANDEM_OK) {
            uint32_t n = length - position < MAX_GRID_ROWS ? length - position : MAX_GRID_ROWS;
            gpu_kv_rows rows = {.what = GPU_KV_FILL,
                                .layer = i,
                                .which = which,
                                .slot = slot,
                                .first_position = position,
                                .n_row = n,
                                .seed = seed};
            status = gpu_kv_launch(kv, &rows, error);
            position += n;
        }
    }
    return status;
}

tandem_status gpu_kv_fill(tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length, tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (length > kv->max_position)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "%u positions are beyond the cache's capacity of %u",
                               length, kv->max_position);
    status = gpu_kv_load(kv, GPU_KV_FILL, TANDEM_NONE, error);
    if (status != TANDEM_OK)
        return status;
    for (uint32_t i = 0; i < kv->n_layer && status == TANDEM_OK; i++)
        if (kv->layers[i].owner == i)
            status = fill_layer(kv, i, slot, seed, length, error);
    status = end_edit(kv, status, error);
    if (status == TANDEM_OK)
        kv->length[slot] = kv->highest[slot] = length;
    return status;
}

/* Reads up to a staging buffer full of rows. */
static tandem_status read_rows(tandem_kv *kv, gpu_kv_rows *rows, uint64_t row_bytes, float *target,
                               tandem_error *error) {
    const gpu_memory *staging;
    tandem_status status = gpu_stage_begin(kv->context, &staging, error);
    if (status != TANDEM_OK)
        return status;
    rows->rows = staging->address;
    status = end_edit(kv, gpu_kv_launch(kv, rows, error), error);
    if (status == TANDEM_OK)
        status = gpu_wait_all(kv->context, error);
    if (status == TANDEM_OK)
        memcpy(target, staging->mapped, (size_t)(rows->n_row * row_bytes));
    return status;
}

static tandem_status check_read(const tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which,
                                uint32_t first, uint32_t n_row, const float *target, tandem_error *error) {
    tandem_status status = gpu_kv_check(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (layer >= kv->n_layer || which > TANDEM_KV_V || (!target && n_row > 0))
        return tandem_kit_fail(
            error, TANDEM_E_INVALID,
            "kv_read needs a layer below %u, K or V and a target, got layer %u and plane %u", kv->n_layer,
            layer, which);
    if (first > kv->length[slot] || n_row > kv->length[slot] - first)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Rows %u + %u are beyond the slot's length of %u",
                               first, n_row, kv->length[slot]);
    uint32_t ring = kv->layers[layer].ring, highest = kv->highest[slot];
    if (n_row > 0 && highest > ring && first < highest - ring)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "The ring of layer %u has forgotten position %u: it keeps %u", layer, first,
                               ring);
    return TANDEM_OK;
}

tandem_status gpu_kv_read(tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which,
                          uint32_t first_position, uint32_t n_row, float *target, tandem_error *error) {
    tandem_status status = check_read(kv, layer, slot, which, first_position, n_row, target, error);
    if (status != TANDEM_OK)
        return status;
    uint32_t owner = kv->layers[layer].owner;
    const tandem_kv_layer *info = &kv->layers[owner].info;
    uint64_t row_floats = (uint64_t)info->n_kv_head * info->head_dim;
    uint64_t room = GPU_STAGING_BYTES / (row_floats * 4);
    if (room == 0)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "A row of layer %u is longer than the staging buffer", layer);
    if (room > MAX_GRID_ROWS)
        room = MAX_GRID_ROWS;
    status = gpu_kv_load(kv, GPU_KV_READ, owner, error);
    while (n_row > 0 && status == TANDEM_OK) {
        uint32_t n = n_row < room ? n_row : (uint32_t)room;
        gpu_kv_rows rows = {.what = GPU_KV_READ,
                            .layer = owner,
                            .which = which,
                            .slot = slot,
                            .first_position = first_position,
                            .n_row = n};
        status = read_rows(kv, &rows, row_floats * 4, target, error);
        target += n * row_floats;
        first_position += n;
        n_row -= n;
    }
    return status;
}
