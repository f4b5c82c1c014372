/* attention_chunk.cuh: eight elements of a cached row as one lane reads them, and arithmetic on fours. */
#ifndef TANDEM_ATTENTION_CHUNK_CUH
#define TANDEM_ATTENTION_CHUNK_CUH

#include "kv.cuh"

/* Eight elements as they lie in memory: F32 takes a and b, F16 a, Q8_0 a.xy and the scale. F32 has units of
 * four c and c + head_dim / 8, so that a request is whole; the others the units 2 c and 2 c + 1. */
struct kv_bits {
    uint4 a, b;
    float scale;
};

struct eight {
    float4 a, b;
};

template <uint32_t TYPE> struct kv_chunk {
    static __device__ __forceinline__ uint32_t unit_a(uint32_t c) {
        return TYPE == KV_F32 ? c : 2u * c;
    }

    static __device__ __forceinline__ uint32_t unit_b(uint32_t c, uint32_t n_chunk) {
        return TYPE == KV_F32 ? c + n_chunk : 2u * c + 1u;
    }

    static __device__ __forceinline__ void fetch(kv_bits &x, uint64_t region, const attention_params &p,
                                                 uint32_t r, uint32_t c) {
        uint64_t row = kv_row<TYPE>(region, r, p.head_dim);
        if (TYPE == KV_F32) {
            x.a = at<const uint4>(row)[c];
            x.b = at<const uint4>(row)[c + p.head_dim / 8u];
        } else if (TYPE == KV_F16) {
            x.a = at<const uint4>(row)[c];
        } else {
            uint2 codes = at<const uint2>(row)[c];
            x.a.x = codes.x;
            x.a.y = codes.y;
            x.scale = __half2float(at<const __half>(kv_scales(region, r, p.head_dim, p.ring))[c / 4u]);
        }
    }

    static __device__ __forceinline__ eight values(const kv_bits &x) {
        eight v;
        if (TYPE == KV_F32) {
            v.a = make_float4(__uint_as_float(x.a.x), __uint_as_float(x.a.y), __uint_as_float(x.a.z),
                              __uint_as_float(x.a.w));
            v.b = make_float4(__uint_as_float(x.b.x), __uint_as_float(x.b.y), __uint_as_float(x.b.z),
                              __uint_as_float(x.b.w));
        } else if (TYPE == KV_F16) {
            float2 a = halves(x.a.x), b = halves(x.a.y), c = halves(x.a.z), d = halves(x.a.w);
            v.a = make_float4(a.x, a.y, b.x, b.y);
            v.b = make_float4(c.x, c.y, d.x, d.y);
        } else {
            v.a = four_codes(x.a.x, x.scale);
            v.b = four_codes(x.a.y, x.scale);
        }
        return v;
    }
};

/* ---- four floats ---- */

static __device__ __forceinline__ float dot(float4 x, float4 y) {
    return fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, x.x * y.x)));
}

static __device__ __forceinline__ void add_scaled(float4 &sum, float w, float4 x) {
    sum = make_float4(fmaf(w, x.x, sum.x), fmaf(w, x.y, sum.y), fmaf(w, x.z, sum.z), fmaf(w, x.w, sum.w));
}

static __device__ __forceinline__ float4 xor_sum(float4 x, uint32_t mask) {
    x.x += __shfl_xor_sync(ALL_LANES, x.x, mask);
    x.y += __shfl_xor_sync(ALL_LANES, x.y, mask);
    x.z += __shfl_xor_sync(ALL_LANES, x.z, mask);
    x.w += __shfl_xor_sync(ALL_LANES, x.w, mask);
    return x;
}

#endif
