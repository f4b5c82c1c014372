/* synth_internal.h: what the parts of the weight generator share. */
#ifndef TANDEM_HOST_SYNTH_INTERNAL_H
#define TANDEM_HOST_SYNTH_INTERNAL_H

#include "hash.h"
#include "synth.h"

#define SYNTH_GOLDEN 0x9e3779b97f4a7c15u

/* Quantised blocks of a standard normal distribution, made once per format. A tensor's blocks are drawn from
 * the pool with replacement, rescaled, and their lowest quant bits replaced by fresh ones, so that no two are
 * alike: a copy of a block costs nanoseconds where quantising one costs microseconds. */
typedef struct block_pool {
    uint32_t type;
    uint32_t block_bytes;
    uint8_t *blocks;
} block_pool;

#define SYNTH_MAX_POOLS 16u

struct synth {
    model_config config;
    model_mix mix;
    uint64_t seed;
    model_tensor *tensors;
    uint32_t n_tensors;
    block_pool pools[SYNTH_MAX_POOLS];
    uint32_t n_pools;
    float branch; /* rms of what a branch adds to the residual stream */
    float layer_scale[MODEL_MAX_LAYERS];
    float stream[MODEL_MAX_LAYERS]; /* rms of the residual stream a layer begins with */
};

/* Element `index` of the standard normal sequence of `key`: a sum of four uniform numbers, bounded by 3.46,
 * the same on every machine. */
static inline float synth_normal(uint64_t key, uint64_t index) {
    uint64_t h = hash_mix(key + index * SYNTH_GOLDEN);
    uint32_t sum = (uint32_t)(h & 0xffff) + (uint32_t)(h >> 16 & 0xffff) + (uint32_t)(h >> 32 & 0xffff) +
                   (uint32_t)(h >> 48);
    /* mean 4 * 32767.5, variance 4 * (65536^2 - 1) / 12 */
    return (float)((int32_t)sum - 131070) * (1.0f / 37837.227f);
}

int block_pool_create(block_pool *pool, uint32_t type, uint64_t seed, tandem_message *message);
bool block_pool_has_type(uint32_t type);

/* Blocks [first, first + n) of the sequence of `key`, with standard deviation `sigma`. */
void block_pool_fill(const block_pool *pool, uint64_t key, float sigma, uint64_t first, uint64_t n,
                     uint8_t *dst);

#endif
