/* kv_image.c: a slot's contents as bytes, and back.
 *
 * A stamp, then for every layer that owns storage K and V, head by head: the rows in use, then their scales
 * (Q8_0). Rows keep their places in the ring, so an image fits only a cache of the same shapes, which the
 * stamp's hash covers.
 */
#include "kv.h"

#include <string.h>

#define IMAGE_MAGIC_BYTES                                                                                    \
    { 't', 'a', 'n', 'd', 'e', 'm', 'k', 'v' }
#define IMAGE_PLUGIN GPU_NAME
#define IMAGE_VERSION 1u

typedef struct kv_stamp {
    char magic[8];
    char plugin[8];
    uint32_t version;
    uint32_t length;
    uint32_t highest;
    uint32_t reserved;
    uint64_t shapes;
    uint64_t bytes;
} kv_stamp;

static uint64_t hash_word(uint64_t hash, uint64_t word) {
    for (uint32_t i = 0; i < 8; i++)
        hash = (hash ^ ((word >> (8 * i)) & 0xff)) * 0x100000001b3u;
    return hash;
}

/* What two caches must have in common to exchange images. */
static uint64_t hash_shapes(const tandem_kv *kv) {
    uint64_t hash = hash_word(0xcbf29ce484222325u, kv->n_layer);
    for (uint32_t i = 0; i < kv->n_layer; i++) {
        const gpu_kv_layer *layer = &kv->layers[i];
        hash = hash_word(hash, layer->info.n_kv_head);
        hash = hash_word(hash, layer->info.head_dim);
        hash = hash_word(hash, layer->info.type);
        hash = hash_word(hash, layer->info.window);
        hash = hash_word(hash, layer->owner);
        hash = hash_word(hash, layer->ring);
    }
    return hash;
}

/* One contiguous piece of an image: called for each, in order. */
typedef tandem_status (*piece_fn)(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                                  uint8_t *bytes, uint64_t n, tandem_error *error);

static tandem_status measure_piece(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                                   uint8_t *bytes, uint64_t n, tandem_error *error) {
    (void)context, (void)memory, (void)offset, (void)bytes, (void)n, (void)error;
    return TANDEM_OK;
}

static tandem_status export_piece(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                                  uint8_t *bytes, uint64_t n, tandem_error *error) {
    return gpu_download(context, memory, offset, bytes, n, error);
}

static tandem_status import_piece(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                                  uint8_t *bytes, uint64_t n, tandem_error *error) {
    return gpu_upload(context, memory, offset, bytes, n, error);
}

/* Walks the rows of `highest` positions of a slot. `bytes` may be NULL where `each` does not use it. */
static tandem_status walk(tandem_kv *kv, uint32_t slot, uint32_t highest, uint8_t *bytes, piece_fn each,
                          uint64_t *total, tandem_error *error) {
    uint64_t done = 0;
    for (uint32_t i = 0; i < kv->n_layer; i++) {
        const gpu_kv_layer *layer = &kv->layers[i];
        const tandem_kv_layer *info = &layer->info;
        if (layer->owner != i)
            continue;
        uint64_t n_row = kv_padded_ring(highest < layer->ring ? highest : layer->ring);
        uint64_t row = (uint64_t)info->head_dim * kv_element_bytes(info->type);
        uint64_t scale_row = kv_position_bytes(info->type, info->head_dim) - row;
        for (uint32_t piece = 0; piece < 2 * info->n_kv_head; piece++) {
            const gpu_memory *plane = piece < info->n_kv_head ? &layer->k : &layer->v;
            uint64_t head = piece % info->n_kv_head;
            uint64_t region = ((uint64_t)slot * info->n_kv_head + head) * layer->region_bytes;
            const uint64_t offsets[2] = {region, region + kv_scale_offset(info->head_dim, layer->ring)};
            const uint64_t sizes[2] = {n_row * row, n_row * scale_row};
            for (uint32_t part = 0; part < 2; part++) {
                if (sizes[part] == 0)
                    continue;
                tandem_status status =
                    each(kv->context, plane, offsets[part], bytes ? bytes + done : NULL, sizes[part], error);
                if (status != TANDEM_OK)
                    return status;
                done += sizes[part];
            }
        }
    }
    *total = done;
    return TANDEM_OK;
}

tandem_status gpu_kv_export_bytes(tandem_kv *kv, uint32_t slot, uint64_t *bytes, tandem_error *error) {
    uint64_t total = 0;
    tandem_status status = gpu_kv_check(kv, slot, error);
    if (status == TANDEM_OK && !bytes)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "kv_export_bytes: the place for the size is NULL");
    if (status == TANDEM_OK)
        status = walk(kv, slot, kv->highest[slot], NULL, measure_piece, &total, error);
    if (status == TANDEM_OK)
        *bytes = total + sizeof(kv_stamp);
    return status;
}

tandem_status gpu_kv_export(tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes, tandem_error *error) {
    uint64_t needed = 0;
    tandem_status status = gpu_kv_export_bytes(kv, slot, &needed, error);
    if (status != TANDEM_OK)
        return status;
    if (!target || bytes < needed)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "An image of slot %u takes %llu bytes, and there are %llu", slot,
                               (unsigned long long)needed, (unsigned long long)(target ? bytes : 0));
    kv_stamp stamp = {.magic = IMAGE_MAGIC_BYTES,
                      .plugin = IMAGE_PLUGIN,
                      .version = IMAGE_VERSION,
                      .length = kv->length[slot],
                      .highest = kv->highest[slot],
                      .shapes = hash_shapes(kv),
                      .bytes = needed};
    memcpy(target, &stamp, sizeof stamp);
    return walk(kv, slot, kv->highest[slot], (uint8_t *)target + sizeof stamp, export_piece, &needed, error);
}

static tandem_status check_stamp(const tandem_kv *kv, uint32_t slot, const kv_stamp *stamp, uint64_t bytes,
                                 tandem_error *error) {
    const char plugin[8] = IMAGE_PLUGIN;
    const char magic[8] = IMAGE_MAGIC_BYTES;
    uint64_t total = 0;
    if (memcmp(stamp->magic, magic, sizeof magic) != 0)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The bytes are not the image of a cache");
    if (memcmp(stamp->plugin, plugin, sizeof plugin) != 0 || stamp->version != IMAGE_VERSION)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The image was made by another plugin or version");
    if (stamp->shapes != hash_shapes(kv))
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The image was made of a cache of other shapes");
    if (stamp->length > stamp->highest || stamp->highest > kv->max_position)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "The image says %u of %u positions, the cache takes %u", stamp->length,
                               stamp->highest, kv->max_position);
    tandem_status status = walk((tandem_kv *)kv, slot, stamp->highest, NULL, measure_piece, &total, error);
    if (status == TANDEM_OK && (stamp->bytes != total + sizeof *stamp || bytes < stamp->bytes))
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "The image has %llu bytes and must have %llu",
                                 (unsigned long long)bytes, (unsigned long long)(total + sizeof *stamp));
    return status;
}

tandem_status gpu_kv_import(tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes,
                            tandem_error *error) {
    kv_stamp stamp;
    uint64_t total;
    tandem_status status = gpu_kv_check(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (!source || bytes < sizeof stamp)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The bytes are not the image of a cache");
    memcpy(&stamp, source, sizeof stamp);
    status = check_stamp(kv, slot, &stamp, bytes, error);
    if (status != TANDEM_OK)
        return status;
    /* The upload only reads: `walk` serves both directions with one type of pointer. */
    status = walk(kv, slot, stamp.highest, (uint8_t *)(uintptr_t)source + sizeof stamp, import_piece, &total,
                  error);
    if (status == TANDEM_OK) {
        kv->length[slot] = stamp.length;
        kv->highest[slot] = stamp.highest;
    }
    return status;
}
