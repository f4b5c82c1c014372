/* tandem/fill.h: the values that kv_fill writes: a cheap stand-in for the cache of a long prompt.
 *
 * Every value follows from (seed, layer, which, head, position, dim) alone, in 32-bit integer operations and
 * one exact conversion, so that every plugin, in any language and with any cut of the work, writes the same
 * bits:
 *
 *     mix(h) = h ^= h >> 16; h *= 0x85ebca6b; h ^= h >> 13; h *= 0xc2b2ae35; h ^= h >> 16       (modulo 2^32)
 *     row    = mix(mix(mix(mix(seed + 0x9e3779b9) ^ (2 * layer + which)) ^ head) ^ position)
 *     bits   = mix(row ^ dim)
 *     value  = (b0 + b1 + b2 + b3 - 510) / 128                    b0..b3: the four bytes of bits
 *
 * The sum of four bytes is near enough to a normal distribution: mean 0, standard deviation 1.155, within
 * +-3.985. All values are multiples of 1/128 with at most 9 bits, hence exact in f16; a Q8_0 cache quantises
 * them as usual. which: TANDEM_KV_K or TANDEM_KV_V. K is written as kernels see it: no norm, no rotation is
 * applied on top. A layer that shares another's storage has the values of its owner. Part of tandem-kit;
 * [any-thread].
 */
#ifndef TANDEM_FILL_H
#define TANDEM_FILL_H

#include <tandem/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The key of one head's row at one position. */
uint32_t tandem_kit_fill_row(uint32_t seed, uint32_t layer, uint32_t which, uint32_t head, uint32_t position);

/* One value of a row. */
float tandem_kit_fill_value(uint32_t row, uint32_t dim);

/* A whole row, values [head_dim]. */
void tandem_kit_fill(uint32_t row, float *values, uint32_t head_dim);

#ifdef __cplusplus
}
#endif
#endif
