/* kv_image.c: a slot as bytes, and its rows as f32.
 *
 * An image is a header, the shapes of all layers, then for every layer with storage K and V of each head,
 * rows in ascending position. It holds what a ring still has, so that a truncation after the import is as
 * good as before the export. Integers are little-endian as everywhere in this project.
 */
#include <string.h>

#include "objects.h"

#define MAGIC "TANDEMKV"
#define IMAGE_VERSION 1u

#define PLUGIN "reference\0\0\0\0\0\0" /* 16 bytes */

typedef struct image_header {
    char magic[8];
    char plugin[16];
    uint32_t version, layout, n_layer, max_chunk;
    uint32_t length, high;
    uint64_t bytes;    /* of the whole image */
    uint64_t checksum; /* of all other bytes */
} image_header;

typedef struct image_layer {
    uint32_t n_kv_head, head_dim, type, window, share_of, reserved;
    uint64_t capacity;
} image_layer;

_Static_assert(sizeof(image_header) == 64 && sizeof(image_layer) == 32, "no padding in an image");

/* First position that the storage of a layer still has. */
static uint64_t first_of(const ref_kv_layer *layer, uint32_t high) {
    return high > layer->n_place ? high - layer->n_place : 0;
}

static uint64_t image_bytes(const tandem_kv *kv, uint32_t length, uint32_t high) {
    uint64_t bytes = sizeof(image_header) + kv->n_layer * sizeof(image_layer);
    for (uint32_t l = 0; l < kv->n_layer; l++) {
        const ref_kv_layer *layer = &kv->layers[l];
        if (layer->owner == l)
            bytes += 2 * layer->desc.n_kv_head * (length - first_of(layer, high)) * layer->row_bytes;
    }
    return bytes;
}

static void describe(const tandem_kv *kv, uint32_t l, image_layer *image) {
    const tandem_kv_layer *k = &kv->layers[l].desc;
    *image = (image_layer){.n_kv_head = k->n_kv_head,
                           .head_dim = k->head_dim,
                           .type = k->type,
                           .window = k->window,
                           .share_of = k->share_of,
                           .capacity = k->capacity};
}

/* FNV-1a over 64-bit words, a last short one padded with zeros. h: the result of the bytes before. */
static uint64_t fnv(uint64_t h, const void *bytes, uint64_t n) {
    for (uint64_t i = 0; i < n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, (const unsigned char *)bytes + i, n - i < 8 ? n - i : 8);
        h = (h ^ word) * 0x100000001b3u;
    }
    return h;
}

/* Of a header and the bytes behind it. */
static uint64_t checksum(const image_header *header, const unsigned char *rest, uint64_t n) {
    return fnv(fnv(0xcbf29ce484222325u, header, offsetof(image_header, checksum)), rest, n);
}

/* Moves the rows of a slot out of the cache, or into it. */
static void move_rows(const tandem_kv *kv, uint32_t slot, unsigned char *out, const unsigned char *in) {
    for (uint32_t l = 0; l < kv->n_layer; l++) {
        const ref_kv_layer *layer = &kv->layers[l];
        if (layer->owner != l)
            continue;
        for (uint32_t plane = 0; plane < 2 * layer->desc.n_kv_head; plane++)
            for (uint64_t p = first_of(layer, kv->highs[slot]); p < kv->lengths[slot]; p++) {
                unsigned char *row = ref_kv_row(layer, plane % 2 ? layer->v : layer->k, slot, plane / 2, p);
                if (out) {
                    memcpy(out, row, layer->row_bytes);
                    out += layer->row_bytes;
                } else {
                    memcpy(row, in, layer->row_bytes);
                    in += layer->row_bytes;
                }
            }
    }
}

tandem_status ref_kv_export_bytes(tandem_kv *kv, uint32_t slot, uint64_t *bytes, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (!bytes)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "bytes is NULL");
    *bytes = image_bytes(kv, kv->lengths[slot], kv->highs[slot]);
    return TANDEM_OK;
}

tandem_status ref_kv_export(tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t needed = image_bytes(kv, kv->lengths[slot], kv->highs[slot]);
    if (!target || bytes < needed)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "the image of slot %u takes %llu bytes, %llu are given", slot,
                               (unsigned long long)needed, (unsigned long long)(target ? bytes : 0));
    ref_drain(kv->context);

    image_header header = {.plugin = PLUGIN,
                           .version = IMAGE_VERSION,
                           .layout = TANDEM_KV_LAYOUT_KV,
                           .n_layer = kv->n_layer,
                           .max_chunk = kv->max_chunk,
                           .length = kv->lengths[slot],
                           .high = kv->highs[slot],
                           .bytes = needed};
    memcpy(header.magic, MAGIC, sizeof header.magic);
    unsigned char *at = (unsigned char *)target + sizeof header;
    for (uint32_t l = 0; l < kv->n_layer; l++, at += sizeof(image_layer)) {
        image_layer layer;
        describe(kv, l, &layer);
        memcpy(at, &layer, sizeof layer);
    }
    move_rows(kv, slot, at, NULL);
    header.checksum =
        checksum(&header, (const unsigned char *)target + sizeof header, needed - sizeof header);
    memcpy(target, &header, sizeof header);
    return TANDEM_OK;
}

/* Whether an image of this length can have come from this cache. */
static tandem_status check_lengths(const tandem_kv *kv, const image_header *header, tandem_error *error) {
    int good = header->length <= header->high && (header->length > 0 || header->high == 0);
    for (uint32_t l = 0; l < kv->n_layer && good; l++) {
        const ref_kv_layer *layer = &kv->layers[kv->layers[l].owner];
        if (header->high > layer->n_place) /* wrapped, which only a ring may be */
            good = layer->desc.window && header->high - header->length <= kv->max_chunk;
    }
    if (!good)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "a slot of this cache cannot hold %u positions of %u",
                               header->length, header->high);
    return TANDEM_OK;
}

static tandem_status check_image(const tandem_kv *kv, const unsigned char *source, uint64_t bytes,
                                 image_header *header, tandem_error *error) {
    uint64_t table_bytes = kv->n_layer * sizeof(image_layer);
    if (!source || bytes < sizeof *header)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "%llu bytes are no image of a cache",
                               (unsigned long long)(source ? bytes : 0));
    memcpy(header, source, sizeof *header);
    if (memcmp(header->magic, MAGIC, sizeof header->magic) != 0)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "the bytes are no image of a cache");
    if (memcmp(header->plugin, PLUGIN, sizeof header->plugin) != 0 || header->version != IMAGE_VERSION ||
        header->layout != TANDEM_KV_LAYOUT_KV)
        return tandem_kit_fail(
            error, TANDEM_E_UNSUPPORTED,
            "the image is of plugin '%.16s' version %u layout %u, not of 'reference' %u %u", header->plugin,
            header->version, header->layout, IMAGE_VERSION, TANDEM_KV_LAYOUT_KV);
    if (header->n_layer != kv->n_layer || header->max_chunk != kv->max_chunk ||
        bytes < sizeof *header + table_bytes)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "the image has %u layers in chunks of %u, the cache %u and %u",
                               header->n_layer, header->max_chunk, kv->n_layer, kv->max_chunk);
    for (uint32_t l = 0; l < kv->n_layer; l++) {
        image_layer layer;
        describe(kv, l, &layer);
        if (memcmp(source + sizeof *header + l * sizeof layer, &layer, sizeof layer) != 0)
            return tandem_kit_fail(error, TANDEM_E_INVALID, "layer %u of the image has another shape", l);
    }
    tandem_status status = check_lengths(kv, header, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t needed = image_bytes(kv, header->length, header->high);
    if (header->bytes != bytes || needed != bytes)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "an image of %u positions has %llu bytes, not %llu",
                               header->length, (unsigned long long)needed, (unsigned long long)bytes);
    if (checksum(header, source + sizeof *header, bytes - sizeof *header) != header->checksum)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "the image is damaged: its checksum does not fit");
    return TANDEM_OK;
}

tandem_status ref_kv_import(tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes,
                            tandem_error *error) {
    image_header header;
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status == TANDEM_OK)
        status = check_image(kv, source, bytes, &header, error);
    if (status != TANDEM_OK)
        return status;
    ref_drain(kv->context);
    kv->lengths[slot] = header.length;
    kv->highs[slot] = header.high;
    move_rows(kv, slot, NULL,
              (const unsigned char *)source + sizeof header + kv->n_layer * sizeof(image_layer));
    return TANDEM_OK;
}

tandem_status ref_kv_read(tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which,
                          uint32_t first_position, uint32_t n_row, float *target, tandem_error *error) {
    tandem_status status = ref_kv_check_slot(kv, slot, error);
    if (status != TANDEM_OK)
        return status;
    if (layer >= kv->n_layer || which > TANDEM_KV_V || !target)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "layer %u of %u, part %u, into %s", layer,
                               kv->n_layer, which, target ? "memory" : "NULL");
    const ref_kv_layer *owner = &kv->layers[kv->layers[layer].owner];
    uint64_t first = first_of(owner, kv->highs[slot]);
    uint32_t length = kv->lengths[slot];
    if (first_position < first || first_position > length || n_row > length - first_position)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "positions [%u, +%u) are not among [%llu, %u) that layer %u holds",
                               first_position, n_row, (unsigned long long)first, length, layer);
    ref_drain(kv->context);
    for (uint64_t p = first_position; p < (uint64_t)first_position + n_row; p++)
        for (uint32_t head = 0; head < owner->desc.n_kv_head; head++, target += owner->desc.head_dim)
            ref_kv_load(owner->desc.type,
                        ref_kv_row(owner, which == TANDEM_KV_K ? owner->k : owner->v, slot, head, p), target,
                        owner->desc.head_dim);
    return TANDEM_OK;
}
