/* f16 and bf16, converted by the processor (F16C) or by hand, always to nearest even and with one NaN:
 * 0x7fff. */
#ifndef CUDASIM_HALF_H
#define CUDASIM_HALF_H

#include "lanes.h"

#include <immintrin.h>

static inline float f16_to_float(uint16_t x) {
    return _cvtsh_ss(x);
}
static inline uint16_t f16_from_float(float x) {
    return x == x ? _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT) : 0x7fff;
}
static inline float bf16_to_float(uint16_t x) {
    return float_of((uint32_t)x << 16);
}
static inline uint16_t bf16_from_float(float x) {
    const uint32_t bits = bits_of(x);
    return x == x ? (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : 0x7fff;
}

/* n a multiple of 8 */
static inline void f16_row_to_float(float *to, const uint16_t *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(from + i))));
}
static inline void f16_row_from_float(uint16_t *to, const float *from, uint32_t n) {
    for (uint32_t i = 0; i < n; i += 8) {
        const __m256 x = _mm256_loadu_ps(from + i);
        const __m128i halves = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
        const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        const __m128i nan16 = _mm_packs_epi32(_mm256_castsi256_si128(nan), _mm256_extracti128_si256(nan, 1));
        _mm_storeu_si128((__m128i *)(void *)(to + i), _mm_blendv_epi8(halves, _mm_set1_epi16(0x7fff), nan16));
    }
}

#endif
