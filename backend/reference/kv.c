/* kv.c: the key/value cache.
 *
 * The lengths belong to the caller's thread: a run moves them when it is submitted. The rows belong to the
 * executor, and everything here that touches rows waits for it first.
 */
#include <string.h>

#include <tandem/fill.h>

#include "objects.h"

/* ---- rows ---- */

void ref_kv_store(uint32_t type, const float *row, unsigned char *target, uint32_t head_dim) {
    if (type != TANDEM_TYPE_F16) {
        tandem_kit_quantise(type, row, target, head_dim);
        return;
    }
    for (uint32_t j = 0; j < head_dim; j++) {
        float x = row[j] > 65504.0f ? 65504.0f : row[j] < -65504.0f ? -65504.0f : row[j];
        uint16_t h = tandem_kit_f32_to_f16(x);
        memcpy(target + 2 * j, &h, sizeof h);
    }
}

void ref_kv_load(uint32_t type, const unsigned char *row, float *target, uint32_t head_dim) {
    tandem_kit_dequantise(type, row, target, head_dim);
}

/* ---- life ---- */

/* Copies layer l and adds the bytes of its rows to *total. */
static tandem_status take_layer(const tandem_kv_desc *d, uint32_t l, ref_kv_layer *layer, uint64_t *total,
                                tandem_error *error) {
    tandem_status status = TANDEM_KIT_TAKE(tandem_kv_layer, &layer->desc, d->layers[l], error);
    if (status != TANDEM_OK)
        return status;
    const tandem_kv_layer *k = &layer->desc;
    layer->owner = l;
    if (k->share_of != TANDEM_NONE) {
        layer->owner = k->share_of;
        return TANDEM_OK;
    }
    layer->n_place = k->window ? (uint64_t)k->window + d->max_chunk : k->capacity;
    layer->row_bytes = tandem_kit_row_bytes(k->type, k->head_dim);
    uint64_t n_row = ref_mul(2 * (uint64_t)d->n_slot, ref_mul(k->n_kv_head, layer->n_place));
    layer->bytes = ref_mul(n_row, layer->row_bytes);
    *total = ref_add(*total, layer->bytes);
    return TANDEM_OK;
}

static tandem_status take_desc(const tandem_kv_desc *desc, tandem_kv_desc *d, tandem_error *error) {
    tandem_status status = TANDEM_KIT_TAKE(tandem_kv_desc, d, desc, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_kv(d, error);
    if (status == TANDEM_OK && d->layout == TANDEM_KV_LAYOUT_V_ONLY)
        status = tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                                 "the reference plugin stores K and V apart, not V alone");
    return status;
}

tandem_status ref_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                            tandem_error *error) {
    tandem_kv_desc d;
    uint64_t total = 0;
    void *memory;
    tandem_status status = take_desc(desc, &d, error);
    if (status != TANDEM_OK)
        return status;

    uint64_t self_bytes =
        sizeof(tandem_kv) + d.n_layer * sizeof(ref_kv_layer) + 2 * (uint64_t)d.n_slot * sizeof(uint32_t);
    status = ref_alloc(context, REF_KV, self_bytes, "the table of a cache", &memory, error);
    if (status != TANDEM_OK)
        return status;
    tandem_kv *result = memory;
    *result = (tandem_kv){.context = context,
                          .self_bytes = self_bytes,
                          .n_layer = d.n_layer,
                          .n_slot = d.n_slot,
                          .max_chunk = d.max_chunk};
    result->layers = (ref_kv_layer *)(void *)(result + 1);
    result->lengths = (uint32_t *)(void *)(result->layers + d.n_layer);
    result->highs = result->lengths + d.n_slot;
    for (uint32_t l = 0; l < d.n_layer; l++) {
        status = take_layer(&d, l, &result->layers[l], &total, error);
        if (status != TANDEM_OK)
            goto fail;
    }
    status = ref_alloc(context, REF_KV, total, "the key/value cache", &memory, error);
    if (status != TANDEM_OK)
        goto fail;
    result->rows = memory;
    result->rows_bytes = total;
    unsigned char *at = memory;
    for (uint32_t l = 0; l < d.n_layer; l++) {
        ref_kv_layer *layer = &result->layers[l];
        layer->k = at;
        layer->v = at + layer->bytes / 2;
        at += layer->bytes;
    }
    *kv = result;
    return TANDEM_OK;
fail:
    ref_free(context, REF_KV, result, self_bytes);
    return status;
}

void ref_kv_destroy(tandem_kv *kv) {
    if (!kv)
        return;
    tandem_context *context = kv->context;
    ref_drain(context);
    ref_free(context, REF_KV, kv->rows, kv->rows_bytes);
    ref_free(context, REF_KV, kv, kv->self_bytes);
}

tandem_status ref_kv_info(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error) {
    tandem_kv_info known = {
        .n_layer = kv->n_layer,
        .max_chunk = kv->max_chunk,
        .n_slot = kv->n_slot,
        .layout = TANDEM_KV_LAYOUT_KV,
        .bytes = kv->self_bytes + kv->rows_bytes,
    };
    return TANDEM_KIT_GIVE(tandem_kv_info, info, &known, error);
}

tandem_status ref_kv_layer_info(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                                tandem_error *error) {
    if (layer >= kv->n_layer)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "layer %u does not exist; the cache has %u", layer,
                               kv->n_layer);
    return TANDEM_KIT_GIVE(tandem_kv_layer, info, &kv->layers[layer].desc, error);
}

/* ---- slots ---- */

tandem_status ref_kv_check_slot(const tandem_kv *kv, uint32_t slot, tandem_error *error) {
    if (slot >= kv->n_slot)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "slot %u does not exist; the cache has %u", slot,
                               kv->n_slot);
    return TANDEM_OK;
}

tandem_status ref_kv_length(const tandem_kv *kv, uint32_t slot, uint32_t *length, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (!length)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "length is NULL");
    *length = kv->lengths[slot];
    return TANDEM_OK;
}

/* Rows of pending runs lie behind the new length or are overwritten in order: nothing to wait for. */
tandem_status ref_kv_truncate(tandem_kv *kv, uint32_t slot, uint32_t length, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    uint32_t high = kv->highs[slot];
    if (length > kv->lengths[slot])
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "slot %u holds %u positions and cannot be truncated to %u", slot,
                               kv->lengths[slot], length);
    if (length == 0) {
        kv->lengths[slot] = kv->highs[slot] = 0;
        return TANDEM_OK;
    }
    for (uint32_t l = 0; l < kv->n_layer; l++) {
        const ref_kv_layer *layer = &kv->layers[kv->layers[l].owner];
        if (layer->desc.window && high > layer->n_place && high - length > kv->max_chunk)
            return tandem_kit_fail(
                error, TANDEM_E_UNSUPPORTED,
                "layer %u keeps %llu positions and held %u: it goes back by %u positions, not to %u", l,
                (unsigned long long)layer->n_place, high, kv->max_chunk, length);
    }
    kv->lengths[slot] = length;
    return TANDEM_OK;
}

tandem_status ref_kv_copy_slot(tandem_kv *kv, uint32_t from, uint32_t to, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, from, error);
    if (status == TANDEM_OK)
        status = ref_kv_check_slot(kv, to, error);
    if (status != TANDEM_OK || from == to)
        return status;
    ref_drain(kv->context);
    for (uint32_t l = 0; l < kv->n_layer; l++) {
        const ref_kv_layer *layer = &kv->layers[l];
        uint64_t slot_bytes = layer->bytes / 2 / kv->n_slot; /* 0 where another layer owns the storage */
        memcpy(layer->k + to * slot_bytes, layer->k + from * slot_bytes, slot_bytes);
        memcpy(layer->v + to * slot_bytes, layer->v + from * slot_bytes, slot_bytes);
    }
    kv->lengths[to] = kv->lengths[from];
    kv->highs[to] = kv->highs[from];
    return TANDEM_OK;
}

/* ---- synthetic fill ---- */

typedef struct fill_task {
    const tandem_kv *kv;
    uint32_t slot, seed, layer;
    uint64_t first; /* position of item 0 */
} fill_task;

static void fill_positions(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const fill_task *task = argument;
    const ref_kv_layer *layer = &task->kv->layers[task->layer];
    float row[REF_MAX_HEAD_DIM];
    (void)thread;
    for (uint64_t p = task->first + first; p < task->first + end; p++)
        for (uint32_t head = 0; head < layer->desc.n_kv_head; head++)
            for (uint32_t which = TANDEM_KV_K; which <= TANDEM_KV_V; which++) {
                unsigned char *base = which == TANDEM_KV_K ? layer->k : layer->v;
                uint32_t key = tandem_kit_fill_row(task->seed, task->layer, which, head, (uint32_t)p);
                tandem_kit_fill(key, row, layer->desc.head_dim);
                ref_kv_store(layer->desc.type, row, ref_kv_row(layer, base, task->slot, head, p),
                             layer->desc.head_dim);
            }
}

tandem_status ref_kv_fill(tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    for (uint32_t l = 0; l < kv->n_layer; l++)
        if (!kv->layers[l].desc.window && length > kv->layers[l].desc.capacity)
            return tandem_kit_fail(error, TANDEM_E_INVALID, "layer %u has room for %llu positions, not %u", l,
                                   (unsigned long long)kv->layers[l].desc.capacity, length);
    ref_drain(kv->context); /* the pool is the executor's while a run is on */
    for (uint32_t l = 0; l < kv->n_layer; l++) {
        const ref_kv_layer *layer = &kv->layers[l];
        if (layer->owner != l)
            continue;
        fill_task task = {.kv = kv, .slot = slot, .seed = seed, .layer = l};
        if (length > layer->n_place)
            task.first = length - layer->n_place; /* a ring has no room for more */
        ref_parallel(kv->context->pool, length - task.first, 64, fill_positions, &task);
    }
    kv->lengths[slot] = kv->highs[slot] = length;
    return TANDEM_OK;
}
