/* quant.cuh: reads the packed layout of the weight formats; one struct a format, in quant_*.cuh.
 *
 * A row of a group (tandem/pack.h) is a sequence of 16-byte units 8 units apart; `at` is the index of its
 * first unit. Columns come in blocks of 32, blocks in chunks of CHUNK_BLOCKS that share a header. A format
 * has
 *
 *   CHUNK_BLOCKS, HAS_MIN, HALF_SCALES, DOT_ZERO, FLOAT_ZERO; IS_FLOAT is false
 *   group_units(n_block)                       units of a group (8 rows)
 *   header load_header(w, at, row, n_block, c)  the scales of chunk c; row: of the group, 0..7
 *   block load_block(w, at, c, j)              the bits of block j of chunk c
 *   load_common(w, at, c, i), load_rest(unit, w, at, c, j)  the same in two, where blocks 4 i .. 4 i + 3 have
 *                                              a unit in common
 *   float2 scale(h, b, j, part)                (d, m) of columns 16 part .. + 15; parts differ with
 *                                              HALF_SCALES only
 *   uint32_t codes(b, word, part)              int8 codes of columns 16 part + 4 word .. + 3, packed
 *   float4 floats(b, word, part)               the codes as floats, plus 128 where FLOAT_ZERO says so
 *
 *   value = d * (code - DOT_ZERO) + m = d * (float - FLOAT_ZERO) + m. Without HAS_MIN m is 0.
 *
 * F32, F16 and BF16 have no codes (IS_FLOAT): float4 values(w, at, k, p) gives columns 4p .. 4p + 3 of block
 * k, values_of(unit, i) the i-th four of a unit. Every load of a whole unit is one 16-byte load that leaves
 * the first-level cache alone.
 */
#ifndef TANDEM_QUANT_CUH
#define TANDEM_QUANT_CUH

#include <cuda_fp16.h>
#include <stdint.h>

#include "params.h"

#define TANDEM_INLINE static __device__ __forceinline__
#define TANDEM_MEMBER __device__ __forceinline__

TANDEM_INLINE uint4 load_unit(const uint4 *unit) {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(unit));
    return v;
}

TANDEM_INLINE uint32_t load_word(const uint4 *units, uint32_t word) {
    return __ldg((const uint32_t *)units + word);
}

TANDEM_INLINE uint2 load_pair(const uint4 *units, uint32_t pair) {
    return __ldg((const uint2 *)units + pair);
}

/* Word i of v without an indexed register. */
TANDEM_INLINE uint32_t word_of(uint4 v, uint32_t i) {
    uint32_t low = (i & 1u) == 0 ? v.x : v.y;
    uint32_t high = (i & 1u) == 0 ? v.z : v.w;
    return i < 2 ? low : high;
}

/* Pair i of v. */
TANDEM_INLINE uint2 pair_of(uint4 v, uint32_t i) {
    return i == 0 ? make_uint2(v.x, v.y) : make_uint2(v.z, v.w);
}

TANDEM_INLINE float half_bits(uint32_t bits) {
    return __half2float(__ushort_as_half((unsigned short)bits));
}

/* The two f16 of a word. */
TANDEM_INLINE float2 half2_bits(uint32_t bits) {
    return make_float2(half_bits(bits & 0xffffu), half_bits(bits >> 16));
}

/* The f16 number i of v. */
TANDEM_INLINE float half_of(uint4 v, uint32_t i) {
    return half_bits(word_of(v, i >> 1) >> (16u * (i & 1u)));
}

/* Each byte of word, below 128, as 128 + code: one byte permutation puts it below the exponent of 128. */
TANDEM_INLINE float4 code_floats(uint32_t word) {
    return make_float4(__uint_as_float(__byte_perm(word, 0x43000000u, 0x7044)),
                       __uint_as_float(__byte_perm(word, 0x43000000u, 0x7144)),
                       __uint_as_float(__byte_perm(word, 0x43000000u, 0x7244)),
                       __uint_as_float(__byte_perm(word, 0x43000000u, 0x7344)));
}

/* Each signed byte of word as it is. */
TANDEM_INLINE float4 signed_floats(uint32_t word) {
    uint32_t up = word ^ 0x80808080u; /* plus 128: behind the exponent of 32768 */
    return make_float4(__uint_as_float(__byte_perm(up, 0x47000000u, 0x7404)) - 32896.0f,
                       __uint_as_float(__byte_perm(up, 0x47000000u, 0x7414)) - 32896.0f,
                       __uint_as_float(__byte_perm(up, 0x47000000u, 0x7424)) - 32896.0f,
                       __uint_as_float(__byte_perm(up, 0x47000000u, 0x7434)) - 32896.0f);
}

/* Four bytes of a table of sixteen: the low four bits of each byte of `nibbles` choose. */
TANDEM_INLINE uint32_t look_up(uint32_t nibbles, uint32_t t0, uint32_t t1, uint32_t t2, uint32_t t3) {
    uint32_t low = nibbles & 0x07070707u;    /* byte b: index */
    uint32_t choose = low | low >> 4;        /* bytes 0, 2: two selector nibbles each */
    choose = __byte_perm(choose, 0, 0x4420); /* four selector nibbles */
    uint32_t first = __byte_perm(t0, t1, choose), second = __byte_perm(t2, t3, choose);
    uint32_t is_second = (nibbles >> 3 & 0x01010101u) * 255u;
    return (first & ~is_second) | (second & is_second);
}

#include "quant_f.cuh"
#include "quant_q4.cuh"
#include "quant_q5.cuh"
#include "quant_q8_0.cuh"
#include "quant_k.cuh"
#include "quant_q6_k.cuh"
#include "quant_q2_k.cuh"
#include "quant_q3_k.cuh"
#include "quant_iq4.cuh"
#include "quant_mxfp4.cuh"

/* Unit index of a row inside its segment. */
template <class FORMAT> TANDEM_INLINE uint32_t row_at(uint32_t row, uint32_t n_block) {
    return row / GROUP_ROWS * FORMAT::group_units(n_block) + row % GROUP_ROWS;
}

/* Entry i of an optional index list. */
TANDEM_INLINE uint32_t row_index(uint64_t list, uint32_t i) {
    return list ? ((const uint32_t *)list)[i] : i;
}

#endif
