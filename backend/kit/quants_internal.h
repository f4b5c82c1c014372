/* quants_internal.h: the converters that quants.c chooses from, and what they share.
 *
 * A format is dequantised and quantised in whole blocks; the functions are named after the format.
 */
#ifndef TANDEM_KIT_QUANTS_INTERNAL_H
#define TANDEM_KIT_QUANTS_INTERNAL_H

#include <math.h>
#include <string.h>

#include <tandem/quants.h>

enum { SUPER = 256 }; /* elements of a K super-block */

#define KIT_DEQUANTISE(name) void kit_dequantise_##name(const uint8_t *src, float *dst, uint64_t n_block)
#define KIT_QUANTISE(name) void kit_quantise_##name(const float *src, uint8_t *dst, uint64_t n_block)

/* quants_legacy.c: blocks of 32 */
KIT_DEQUANTISE(q4_0);
KIT_DEQUANTISE(q4_1);
KIT_DEQUANTISE(q5_0);
KIT_DEQUANTISE(q5_1);
KIT_DEQUANTISE(q8_0);
KIT_DEQUANTISE(iq4_nl);
KIT_DEQUANTISE(mxfp4);
KIT_QUANTISE(q4_0);
KIT_QUANTISE(q4_1);
KIT_QUANTISE(q5_0);
KIT_QUANTISE(q5_1);
KIT_QUANTISE(q8_0);
KIT_QUANTISE(iq4_nl);
KIT_QUANTISE(mxfp4);

/* quants_k.c: super-blocks of 256 */
KIT_DEQUANTISE(q2_k);
KIT_DEQUANTISE(q3_k);
KIT_DEQUANTISE(q4_k);
KIT_DEQUANTISE(q5_k);
KIT_DEQUANTISE(q6_k);
KIT_DEQUANTISE(iq4_xs);

/* quants_k_write.c */
KIT_QUANTISE(q2_k);
KIT_QUANTISE(q3_k);
KIT_QUANTISE(q4_k);
KIT_QUANTISE(q5_k);
KIT_QUANTISE(q6_k);
KIT_QUANTISE(iq4_xs);

/* The 16 levels of IQ4_NL and IQ4_XS. */
extern const int8_t kit_iq4_levels[16];

/* quants_fit.c: scale, and offset, that bring x closest to integers in a range, or to the levels of IQ4. n is
 * 16 or 32. */

/* x ~ scale * q, q in [q_min, -q_min - 1]; the scale may be negative, so that the largest magnitude can take
 * q_min. */
float kit_fit_symmetric(const float *x, uint32_t n, int32_t q_min);

/* x ~ scale * q + *offset, q in [0, q_max], scale >= 0. offset_below_zero: the format can only store offsets
 * <= 0. */
float kit_fit_affine(const float *x, uint32_t n, int32_t q_max, int offset_below_zero, float *offset);

/* x ~ scale * level, n = 32. */
float kit_fit_iq4(const float *x);

/* q[i] = index of the level nearest to x[i] * inverse, n = 32. */
void kit_nearest_iq4(const float *x, float inverse, uint8_t *q);

static inline uint16_t kit_load_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t kit_load_u32(const uint8_t *p) {
    return (uint32_t)kit_load_u16(p) | (uint32_t)kit_load_u16(p + 2) << 16;
}

static inline float kit_load_f16(const uint8_t *p) {
    return tandem_kit_f16_to_f32(kit_load_u16(p));
}

static inline void kit_store_u16(uint8_t *p, uint16_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

/* Stores a scale, saturated to what f16 can hold; returns the value a reader will see. */
static inline float kit_store_f16(uint8_t *p, float value) {
    value = value > 65504.0f ? 65504.0f : value < -65504.0f ? -65504.0f : value;
    uint16_t h = tandem_kit_f32_to_f16(value);
    kit_store_u16(p, h);
    return tandem_kit_f16_to_f32(h);
}

/* 1/x, or 0 where that is not finite: a scale too small to matter quantises to zeros. */
static inline float kit_inverse(float x) {
    return fabsf(x) < 0x1p-120f ? 0.0f : 1.0f / x;
}

/* Nearest integer of x in [low, high], |low|, |high| < 2^22; ties to even. Plain arithmetic, so that loops
 * over it become vector code. */
static inline float kit_round(float x, float low, float high) {
    x = x > low ? x : low; /* NaN becomes low */
    x = x < high ? x : high;
    float shifted = x + 0x1.8p23f;
    return shifted - 0x1.8p23f;
}

/* Quantisers read their input through this: no NaN, nothing beyond 2^30, which is more than any format can
 * hold, so that sums of squares stay finite. */
static inline void kit_read_tame(const float *src, float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float v = src[i] == src[i] ? src[i] : 0.0f;
        v = v > 0x1p30f ? 0x1p30f : v;
        x[i] = v < -0x1p30f ? -0x1p30f : v;
    }
}

#endif
