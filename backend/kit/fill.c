/* fill.c: the values of a synthetic KV cache (contract: tandem/fill.h). */
#include <tandem/fill.h>

static uint32_t mix(uint32_t h) {
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

uint32_t tandem_kit_fill_row(uint32_t seed, uint32_t layer, uint32_t which, uint32_t head,
                             uint32_t position) {
    return mix(mix(mix(mix(seed + 0x9e3779b9u) ^ (2 * layer + which)) ^ head) ^ position);
}

float tandem_kit_fill_value(uint32_t row, uint32_t dim) {
    uint32_t bits = mix(row ^ dim);
    uint32_t pairs = (bits & 0x00ff00ffu) + (bits >> 8 & 0x00ff00ffu);
    int32_t sum = (int32_t)((pairs & 0xffffu) + (pairs >> 16));
    return (float)(sum - 510) * (1.0f / 128.0f);
}

void tandem_kit_fill(uint32_t row, float *values, uint32_t head_dim) {
    for (uint32_t dim = 0; dim < head_dim; dim++)
        values[dim] = tandem_kit_fill_value(row, dim);
}
