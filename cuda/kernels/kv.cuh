/* kv.cuh: rows of the key/value cache (layout: params_ops.h, "cache"). Rounding to the layer's type: f16 to
 * nearest even within +-65504; Q8_0 as GGUF does, d = max / 127 as f16, codes to the nearest of x / d.
 */
#ifndef TANDEM_KV_CUH
#define TANDEM_KV_CUH

#include <cuda_fp16.h>

#include "ops.cuh"
#include "params_ops.h"

static __device__ __forceinline__ uint64_t kv_region(uint64_t cache, uint32_t slot, uint32_t n_kv_head,
                                                     uint32_t head, uint32_t region_bytes) {
    return row_address(cache, slot * n_kv_head + head, region_bytes);
}

template <uint32_t TYPE>
static __device__ __forceinline__ uint64_t kv_row(uint64_t region, uint32_t r, uint32_t head_dim) {
    return row_address(region, r, head_dim * (TYPE == KV_F32 ? 4u : TYPE == KV_F16 ? 2u : 1u));
}

/* The f16 scales of a row (Q8_0). */
static __device__ __forceinline__ uint64_t kv_scales(uint64_t region, uint32_t r, uint32_t head_dim,
                                                     uint32_t ring) {
    return region + kv_scale_offset(head_dim, ring) + r * (head_dim / 16u);
}

static __device__ __forceinline__ float2 halves(uint32_t bits) {
    return __half22float2(*reinterpret_cast<const __half2 *>(&bits));
}

static __device__ __forceinline__ uint32_t pack_halves(float a, float b) {
    __half2 x = __floats2half2_rn(fminf(fmaxf(a, -65504.0f), 65504.0f), fminf(fmaxf(b, -65504.0f), 65504.0f));
    return *reinterpret_cast<uint32_t *>(&x);
}

static __device__ __forceinline__ float4 four_codes(uint32_t codes, float d) {
    int q = (int)codes;
    return make_float4(d * (float)(q << 24 >> 24), d * (float)(q << 16 >> 24), d * (float)(q << 8 >> 24),
                       d * (float)(q >> 24));
}

static __device__ __forceinline__ uint32_t kv_code(float x, float inverse) {
    return (uint32_t)(int)fminf(fmaxf(rintf(x * inverse), -127.0f), 127.0f) & 255u;
}

/* Elements 4 u to 4 u + 3 of ring row r. Q8_0: eight neighbouring lanes of a warp hold a group of 32; every
 * lane of the warp calls it, those without elements with is_live 0. */
template <uint32_t TYPE>
static __device__ __forceinline__ void kv_store_four(uint64_t region, uint32_t ring, uint32_t r,
                                                     uint32_t head_dim, uint32_t u, float4 x, bool is_live) {
    uint64_t row = kv_row<TYPE>(region, r, head_dim);
    if (TYPE == KV_F32) {
        if (is_live)
            at<float4>(row)[u] = x;
    } else if (TYPE == KV_F16) {
        if (is_live)
            at<uint2>(row)[u] = make_uint2(pack_halves(x.x, x.y), pack_halves(x.z, x.w));
    } else {
        float most = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
        for (uint32_t mask = 1; mask < 8u; mask *= 2u)
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, mask));
        __half scale = __float2half_rn(fminf(most / 127.0f, 65504.0f));
        float d = __half2float(scale), inverse = d > 0.0f ? 1.0f / d : 0.0f;
        if (!is_live)
            return;
        at<uint32_t>(row)[u] = kv_code(x.x, inverse) | kv_code(x.y, inverse) << 8 |
                               kv_code(x.z, inverse) << 16 | kv_code(x.w, inverse) << 24;
        if (u % 8u == 0)
            at<__half>(kv_scales(region, r, head_dim, ring))[u / 8u] = scale;
    }
}

/* Elements 4 u to 4 u + 3 of ring row r. */
template <uint32_t TYPE>
static __device__ __forceinline__ float4 kv_load_four(uint64_t region, uint32_t ring, uint32_t r,
                                                      uint32_t head_dim, uint32_t u) {
    uint64_t row = kv_row<TYPE>(region, r, head_dim);
    if (TYPE == KV_F32)
        return at<const float4>(row)[u];
    if (TYPE == KV_F16) {
        uint2 bits = at<const uint2>(row)[u];
        float2 a = halves(bits.x), b = halves(bits.y);
        return make_float4(a.x, a.y, b.x, b.y);
    }
    float d = __half2float(at<const __half>(kv_scales(region, r, head_dim, ring))[u / 8u]);
    return four_codes(at<const uint32_t>(row)[u], d);
}

#endif
