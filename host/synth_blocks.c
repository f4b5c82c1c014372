/* Quantised random blocks at memory speed. */
#include "synth_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#define POOL_BITS 10u
#define POOL_BLOCKS (1u << POOL_BITS)
#define NO_FIELD 0xffffu

/* Where a block keeps its f16 factors, and which bits of its quants are replaced: the lowest of each, which
 * shifts a value by at most one step (Q8_0: the lowest four, 15 of 127). */
typedef struct block_layout {
    uint32_t type;
    uint16_t scale, minimum;  /* offsets of f16 fields; NO_FIELD: there is none */
    uint16_t quants, n_quant; /* bytes; a multiple of 8 */
    uint8_t noise;
} block_layout;

static const block_layout LAYOUTS[] = {
    {TANDEM_TYPE_Q4_0, 0, NO_FIELD, 2, 16, 0x11}, {TANDEM_TYPE_Q4_1, 0, 2, 4, 16, 0x11},
    {TANDEM_TYPE_Q5_0, 0, NO_FIELD, 6, 16, 0x11}, {TANDEM_TYPE_Q5_1, 0, 2, 8, 16, 0x11},
    {TANDEM_TYPE_Q8_0, 0, NO_FIELD, 2, 32, 0x0f}, {TANDEM_TYPE_Q4_K, 0, 2, 16, 128, 0x11},
    {TANDEM_TYPE_Q5_K, 0, 2, 48, 128, 0x11},      {TANDEM_TYPE_Q6_K, 208, NO_FIELD, 0, 128, 0x11},
};

static const block_layout *layout_of(uint32_t type) {
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof *LAYOUTS; i++) {
        if (LAYOUTS[i].type == type)
            return &LAYOUTS[i];
    }
    return NULL;
}

bool block_pool_has_type(uint32_t type) {
    return layout_of(type) != NULL;
}

/* Q8_0 by hand: quants within 111, so that replaced low bits stay within what the format's writers produce
 * (never -128, which some kernels cannot negate). */
static void make_q8_0(const float *x, uint8_t *block) {
    float most = 0;
    for (uint32_t i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(x[i]));
    float d = most / 111.0f;
    uint16_t half = tandem_kit_f32_to_f16(d);
    memcpy(block, &half, sizeof half);
    for (uint32_t i = 0; i < 32; i++)
        block[2 + i] = (uint8_t)(int8_t)lrintf(x[i] / d);
}

int block_pool_create(block_pool *pool, uint32_t type, uint64_t seed, tandem_message *message) {
    const tandem_type_info *info = tandem_kit_type(type);
    uint64_t key = hash_mix(seed + type), n = 0;
    float x[256];
    pool->type = type;
    pool->block_bytes = info->block_bytes;
    pool->blocks = malloc((size_t)POOL_BLOCKS * info->block_bytes);
    if (!pool->blocks)
        return message_out_of_memory(message, "synthetic blocks", (uint64_t)POOL_BLOCKS * info->block_bytes);
    for (uint32_t b = 0; b < POOL_BLOCKS; b++) {
        uint8_t *block = pool->blocks + (size_t)b * info->block_bytes;
        for (uint32_t i = 0; i < info->block; i++)
            x[i] = synth_normal(key, n++);
        if (type == TANDEM_TYPE_Q8_0)
            make_q8_0(x, block);
        else if (tandem_kit_quantise(type, x, block, info->block) != TANDEM_OK)
            return message_fail(message, TANDEM_E_UNSUPPORTED, "tandem cannot write %s", info->name);
    }
    return TANDEM_OK;
}

static void rescale(uint8_t *field, float sigma) {
    uint16_t half;
    memcpy(&half, field, sizeof half);
    half = tandem_kit_f32_to_f16(tandem_kit_f16_to_f32(half) * sigma);
    memcpy(field, &half, sizeof half);
}

void block_pool_fill(const block_pool *pool, uint64_t key, float sigma, uint64_t first, uint64_t n,
                     uint8_t *dst) {
    const block_layout *layout = layout_of(pool->type);
    const uint64_t noise = layout->noise * 0x0101010101010101u;
    for (uint64_t i = 0; i < n; i++, dst += pool->block_bytes) {
        uint64_t h = hash_mix(key + (first + i) * SYNTH_GOLDEN);
        memcpy(dst, pool->blocks + (h >> (64 - POOL_BITS)) * pool->block_bytes, pool->block_bytes);
        rescale(dst + layout->scale, sigma);
        if (layout->minimum != NO_FIELD)
            rescale(dst + layout->minimum, sigma);
        h |= 1; /* xorshift has no way out of 0 */
        for (uint32_t at = layout->quants; at < layout->quants + layout->n_quant; at += 8) {
            uint64_t word;
            h ^= h << 13;
            h ^= h >> 7;
            h ^= h << 17;
            memcpy(&word, dst + at, sizeof word);
            word ^= h & noise;
            memcpy(dst + at, &word, sizeof word);
        }
    }
}
