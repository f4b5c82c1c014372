// quant.glsl: reads the packed layout of one format (FORMAT_*), chosen at compile time.
//
// A row of a group (vulkan/pack.h) is a sequence of 16-byte units 8 units apart; `at` is the index of its
// first unit. Columns come in blocks of 32, blocks in chunks of CHUNK_BLOCKS that share a header. Every
// quant_*.glsl gives:
//
//   group_units()                       units of a group (8 rows)
//   Header, load_header(w, at, row, c)  the scales of chunk c; row: of the group, 0..7
//   Block, load_block(w, at, c, j)      the bits of block j of chunk c
//   block_scale(h, b, j, part)          (d, m) of columns 16 part .. + 15; parts differ with HALF_SCALES only
//   block_codes(b, word, part)          int8 codes of columns 16 part + 4 word .. + 3, packed
//   block_floats(b, word, part)         the same as floats, plus 2^CODE_BITS (Q8_0: plus 2^8 + 2^7; IQ4 and
//                                       MXFP4: the value itself)
//
//   value = d * (code - DOT_ZERO) + m = d * (float - FLOAT_ZERO) + m. Without HAS_MIN m is 0.
//
// F32, F16 and BF16 have no codes (IS_FLOAT): load_values(w, at, k, p) gives columns 4p .. 4p + 3 of block k.

uint n_block; // of a row; set by the main function

// Word i of v without an indexed register.
uint word_of(uvec4 v, uint i) {
    uint low = (i & 1u) == 0u ? v.x : v.y;
    uint high = (i & 1u) == 0u ? v.z : v.w;
    return i < 2u ? low : high;
}

// The f16 number i of v.
float half_of(uvec4 v, uint i) {
    return unpackHalf2x16(word_of(v, i >> 1) >> (16u * (i & 1u))).x;
}

uint shift_left(uint word, int n) {
    return n >= 0 ? word << n : word >> -n;
}

// The low `bits` bits of each byte of word, each as 2^bits + code: put at the top of the mantissa. No integer
// to float conversion, which runs at a quarter of the rate on NVIDIA.
vec4 code_floats(uint word, int bits) {
    int n = 23 - bits;
    uvec4 m = uvec4(shift_left(word, n), shift_left(word, n - 8), shift_left(word, n - 16),
                    shift_left(word, n - 24));
    return uintBitsToFloat((m & (((1u << bits) - 1u) << n)) | (uint(127 + bits) << 23));
}

#if defined(FORMAT_F32)
#include "quant_f32.glsl"
#elif defined(FORMAT_F16) || defined(FORMAT_BF16)
#include "quant_f16.glsl"
#elif defined(FORMAT_Q4_0) || defined(FORMAT_Q4_1)
#include "quant_q4.glsl"
#elif defined(FORMAT_Q5_0) || defined(FORMAT_Q5_1)
#include "quant_q5.glsl"
#elif defined(FORMAT_Q8_0)
#include "quant_q8_0.glsl"
#elif defined(FORMAT_Q4_K) || defined(FORMAT_Q5_K)
#include "quant_k.glsl"
#elif defined(FORMAT_Q6_K)
#include "quant_q6_k.glsl"
#elif defined(FORMAT_Q2_K)
#include "quant_q2_k.glsl"
#elif defined(FORMAT_Q3_K)
#include "quant_q3_k.glsl"
#elif defined(FORMAT_IQ4_NL) || defined(FORMAT_IQ4_XS)
#include "quant_iq4.glsl"
#elif defined(FORMAT_MXFP4)
#include "quant_mxfp4.glsl"
#else
#error no FORMAT_ given
#endif

// Unit index of a row inside its segment.
uint row_at(uint row) {
    return (row / GROUP_ROWS) * group_units() + row % GROUP_ROWS;
}
