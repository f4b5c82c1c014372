/* q8.cuh: the rounding of activations to 8 bits in groups of 32, in arithmetic that has one result on every
 * device (the rule: tandem/quants.h, tandem_kit_round_activations). A group lies in memory as Q8_ROW_BYTES of
 * params.h says. Eight neighbouring lanes of a warp hold a group, four columns each.
 */
#ifndef TANDEM_Q8_CUH
#define TANDEM_Q8_CUH

#include <stdint.h>

/* d and s of a group whose largest magnitude has these bits: code = round(x * s), x ~ d * code. The
 * reciprocal of the mantissa comes from a line and three Newton steps, so that every device gets the same. */
static __device__ __forceinline__ void q8_scale(uint32_t max_bits, float &d, float &s) {
    float f = __uint_as_float((max_bits & 0x7fffffu) | 0x3f800000u);
    float r = __fadd_rn((float)(24.0 / 17.0), -__fmul_rn(f, (float)(8.0 / 17.0)));
#pragma unroll
    for (int i = 0; i < 3; i++)
        r = __fmul_rn(r, __fadd_rn(2.0f, -__fmul_rn(f, r)));
    float r127 = __fmul_rn(127.0f, r);
    bool tiny = max_bits < 0x0d800000u; /* 2^-100 */
    d = tiny ? 0.0f : __fmul_rn(__uint_as_float(max_bits), (float)(1.0 / 127.0));
    s = tiny ? 0.0f : __uint_as_float(__float_as_uint(r127) - (((max_bits >> 23) - 127u) << 23));
}

/* To nearest even by adding 1.5 * 2^23. */
static __device__ __forceinline__ uint32_t q8_code(float x, float s) {
    return __float_as_uint(__fadd_rn(__fmul_rn(x, s), 12582912.0f)) & 255u;
}

/* Columns 4 * (lane % 8) .. + 3 of a group. Returns their codes; meta is the group's two words in lanes 0
 * of 8. inf or NaN in a group make d NaN. Every lane of the warp calls it. */
static __device__ __forceinline__ uint32_t q8_round_group(float4 x, uint2 &meta) {
    uint32_t most = max(max(__float_as_uint(fabsf(x.x)), __float_as_uint(fabsf(x.y))),
                        max(__float_as_uint(fabsf(x.z)), __float_as_uint(fabsf(x.w))));
#pragma unroll
    for (uint32_t mask = 1; mask < 8u; mask *= 2u)
        most = max(most, __shfl_xor_sync(0xffffffffu, most, mask));
    bool bad = most >= 0x7f800000u;
    float d, s;
    q8_scale(most, d, s);
    uint32_t codes =
        bad ? 0x01010101u
            : q8_code(x.x, s) | q8_code(x.y, s) << 8 | q8_code(x.z, s) << 16 | q8_code(x.w, s) << 24;
    int sum = __dp4a((int)codes, 0x01010101, 0);
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    uint32_t other = __shfl_xor_sync(0xffffffffu, (uint32_t)sum, 4);
    meta = make_uint2(bad ? 0x7fc00000u : __float_as_uint(d), ((uint32_t)sum & 0xffffu) | other << 16);
    return codes;
}

#endif
