/* round_f16.cuh: the rounding of a row of activations to f16 behind a power of two (the rule:
 * tandem/quants.h, tandem_kit_round_activations), back in f32. */
#ifndef TANDEM_ROUND_F16_CUH
#define TANDEM_ROUND_F16_CUH

#include <cuda_fp16.h>
#include <stdint.h>

/* Bits of the largest magnitude so far. */
static __device__ __forceinline__ uint32_t most_bits(uint32_t most, float4 v) {
    most = max(most, max(__float_as_uint(fabsf(v.x)), __float_as_uint(fabsf(v.y))));
    return max(most, max(__float_as_uint(fabsf(v.z)), __float_as_uint(fabsf(v.w))));
}

/* The power of two of a row and its inverse, from the largest magnitude's bits. */
static __device__ __forceinline__ float2 f16_scale(uint32_t most) {
    uint32_t scale = min(268 - (most >> 23), 253u);
    return make_float2(__uint_as_float(scale << 23), __uint_as_float((254 - scale) << 23));
}

/* 2^128 - ulp rounds up to 2^128: at most the largest f32. */
static __device__ __forceinline__ float round_column(float x, float2 scale) {
    float y = __fmul_rn(__half2float(__float2half_rn(__fmul_rn(x, scale.x))), scale.y);
    return isinf(y) && !isinf(x) ? copysignf(3.402823466e38f, y) : y;
}

static __device__ __forceinline__ float4 round_columns(float4 v, float2 scale) {
    return make_float4(round_column(v.x, scale), round_column(v.y, scale), round_column(v.z, scale),
                       round_column(v.w, scale));
}

#endif
