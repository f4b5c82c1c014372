/* tandem/quants.h: the number formats of GGUF tensors, and the rounding of activations.
 *
 * Part of tandem-kit: no ABI promise, link it statically. Blocks follow one another without padding and may
 * start at any address. All functions are [any-thread], deterministic, and take any bit pattern as input.
 */
#ifndef TANDEM_QUANTS_H
#define TANDEM_QUANTS_H

#include <tandem/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tandem_type_info {
    uint32_t type;        /* TANDEM_TYPE_* */
    uint32_t block;       /* elements of a block */
    uint32_t block_bytes; /* bytes of a block */
    uint32_t reserved;
    const char *name; /* "Q4_0" */
} tandem_type_info;

/* The format with this GGUF number, or NULL. */
const tandem_type_info *tandem_kit_type(uint32_t type);

/* The format with this name, in any case, or NULL. */
const tandem_type_info *tandem_kit_type_by_name(const char *name);

/* The formats in ascending order of their number: index 0, 1, ... until NULL. */
const tandem_type_info *tandem_kit_type_at(uint32_t index);

/* Bytes of a row of n_col elements; 0: unknown type, n_col not a multiple of the block, or more than 64 bits.
 */
uint64_t tandem_kit_row_bytes(uint32_t type, uint64_t n_col);

/* src: n / block blocks; dst: [n]. INVALID: unknown type, or n not a multiple of the block; dst is then
 * untouched. */
tandem_status tandem_kit_dequantise(uint32_t type, const void *src, float *dst, uint64_t n);

/* Least-squares choice of scales among a few candidates. Formats with blocks read NaN as 0 and saturate
 * beyond their range; F16 and BF16 round to nearest even and keep inf and NaN. INVALID as above. */
tandem_status tandem_kit_quantise(uint32_t type, const float *src, void *dst, uint64_t n);

/* 1: tandem_kit_quantise writes this type. */
int tandem_kit_can_quantise(uint32_t type);

/* IEEE half and bfloat16; to the narrow side round to nearest even, with subnormals, inf, and quiet NaN. */
float tandem_kit_f16_to_f32(uint16_t h);
uint16_t tandem_kit_f32_to_f16(float f);
float tandem_kit_bf16_to_f32(uint16_t h);
uint16_t tandem_kit_f32_to_bf16(float f);

/* What a program's precision does to one row of activations before a matrix product: y = what the product
 * sees. x and y may be the same; [n] each. INVALID: unknown precision. Every plugin rounds by these rules, so
 * that two plugins see the same bits; they need only integer operations and correctly rounded f32 additions
 * and products, none of them contracted to a fused one (GLSL: `precise`). Any finite x gives a finite y.
 *
 * TANDEM_PRECISION_EXACT: y = x.
 *
 * TANDEM_PRECISION_F16, per row: with E the exponent field (bits 30..23) of max |x|,
 *     scale = 2^min(141 - E, 126), its inverse is exact;    y = f16(x * scale) / scale, at most FLT_MAX.
 *   The largest element lands in [2^14, 2^15), half of what f16 can hold.
 *
 * TANDEM_PRECISION_Q8, per group of 32 (the last may be shorter): with m = max |x|,
 *     m < 2^-100:   d = 0, q = 0
 *     otherwise:    f = m's mantissa in [1, 2), E = its exponent: m = f * 2^E
 *                   r = 24/17 - f * 8/17, then three times r = r * (2 - f * r)      (r = 1/f to the last
 * bits) s = (127 * r) * 2^-E, by subtracting E from the exponent field d = m * f32(1/127), q = round half to
 * even of x * s y = d * q, -127 <= q <= 127. That is d = m / 127 and q = rint(x / d) in arithmetic that has
 * one result on every device: a division need not be correctly rounded on a GPU, and one ulp of x / d would
 * move q in one row out of ten. */
tandem_status tandem_kit_round_activations(uint32_t precision, const float *x, float *y, uint64_t n);

/* The scale of the F16 rule for a row whose largest magnitude is max_abs (finite); its inverse in *inverse.
 */
float tandem_kit_f16_row_scale(float max_abs, float *inverse);

/* d and s of the Q8 rule for a group whose largest magnitude is max_abs (finite, >= 0). */
void tandem_kit_q8_group_scale(float max_abs, float *d, float *s);

/* The group of the Q8 rule, n <= 32: q[n], returns d. A group with inf or NaN gives d = NaN, q = 1. */
float tandem_kit_q8_group(const float *x, int8_t *q, uint32_t n);

#ifdef __cplusplus
}
#endif
#endif
