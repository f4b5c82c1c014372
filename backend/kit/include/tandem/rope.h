/* tandem/rope.h: rotation angles that are exact at every position.
 *
 * An f32 product position * omega is off by up to 0.015 rad at position 262143. Here a position is split,
 * p = high * 256 + low, the cosines and sines of low * omega and of high * 256 * omega come from tables made
 * in double, and one complex multiply joins them: cos p = cos h cos l - sin h sin l      sin p = sin h cos l
 * + cos h sin l The joined values are within 2e-7 of the exact ones (three f32 roundings). Part of
 * tandem-kit; [any-thread].
 */
#ifndef TANDEM_ROPE_H
#define TANDEM_ROPE_H

#include <tandem/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TANDEM_KIT_ROPE_LOW 256u /* positions that the low table covers */

/* Rows of the high table for positions below n_ctx: ceil(n_ctx / 256), at least 1. */
uint32_t tandem_kit_rope_n_high(uint64_t n_ctx);

/* Both tables: omega [n_pair] radians per position; table [rows][n_pair][2] = cos, sin, where row r has the
 * angle r * omega[i] in the low table (256 rows) and r * 256 * omega[i] in the high one (n_high rows). */
void tandem_kit_rope_low(const double *omega, uint32_t n_pair, float *table);
void tandem_kit_rope_high(const double *omega, uint32_t n_pair, uint32_t n_high, float *table);

/* Cosine and sine of position * omega, the product carried in two doubles: the reference's truth. */
void tandem_kit_rope_exact(double omega, uint32_t position, double *cosine, double *sine);

/* What a plugin computes from the tables for one position and pair, in f32 without contraction. */
void tandem_kit_rope_join(const float *low, const float *high, uint32_t n_pair, uint32_t position,
                          uint32_t pair, float *cosine, float *sine);

#ifdef __cplusplus
}
#endif
#endif
