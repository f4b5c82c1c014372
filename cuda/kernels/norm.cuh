/* norm.cuh: addresses, vectors of four, and root mean squares of rows. */
#ifndef TANDEM_NORM_CUH
#define TANDEM_NORM_CUH

#include <stdint.h>

#define ALL_LANES 0xffffffffu

static __device__ __forceinline__ uint64_t row_address(uint64_t base, uint32_t row, uint32_t stride) {
    return base + (uint64_t)row * stride;
}

template <class T> static __device__ __forceinline__ T *at(uint64_t address) {
    return reinterpret_cast<T *>(address);
}

/* Elements 4 u to 4 u + 3 of a vector that is 4-byte aligned. */
static __device__ __forceinline__ float4 load_vector(uint64_t vector, uint32_t u) {
    if (vector % 16u == 0)
        return at<const float4>(vector)[u];
    const float *v = at<const float>(vector) + 4u * u;
    return make_float4(v[0], v[1], v[2], v[3]);
}

static __device__ __forceinline__ float4 scaled(float4 x, float s) {
    return make_float4(x.x * s, x.y * s, x.z * s, x.w * s);
}

static __device__ __forceinline__ float4 product(float4 x, float4 y) {
    return make_float4(x.x * y.x, x.y * y.y, x.z * y.z, x.w * y.w);
}

static __device__ __forceinline__ float4 total(float4 x, float4 y) {
    return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}

/* ---- root mean squares, for every finite input ----
 *
 * A square overflows f32 beyond 1.8e19 and vanishes below 1e-23. Sums of squares are therefore taken of x, of
 * x * 2^-80 and of x * 2^80 at once, and the one that lost nothing is used. */
#define NORM_DOWN 8.271806125530277e-25f /* 2^-80 */
#define NORM_UP 1.2089258196146292e24f   /* 2^80 */

static __device__ __forceinline__ float squares(float4 x) {
    return x.x * x.x + x.y * x.y + (x.z * x.z + x.w * x.w);
}

static __device__ __forceinline__ void norm_add(float3 &sums, float4 x) {
    sums.x += squares(x);
    sums.y += squares(scaled(x, NORM_DOWN));
    sums.z += squares(scaled(x, NORM_UP));
}

/* The sums of all threads. scratch: one a warp; not in use by an earlier call. */
static __device__ __forceinline__ float3 norm_total(float3 sums, float3 *scratch) {
    for (uint32_t mask = 1; mask < 32u; mask *= 2u) {
        sums.x += __shfl_xor_sync(ALL_LANES, sums.x, mask);
        sums.y += __shfl_xor_sync(ALL_LANES, sums.y, mask);
        sums.z += __shfl_xor_sync(ALL_LANES, sums.z, mask);
    }
    if (threadIdx.x % 32u == 0)
        scratch[threadIdx.x / 32u] = sums;
    __syncthreads();
    sums = scratch[0];
    for (uint32_t i = 1; i < blockDim.x / 32u; i++) {
        sums.x += scratch[i].x;
        sums.y += scratch[i].y;
        sums.z += scratch[i].z;
    }
    return sums;
}

/* norm(x) = x * factors.x * factors.y, multiplied in this order: x / sqrt(mean of squares + eps). */
static __device__ __forceinline__ float2 norm_factors(float3 sums, float n, float eps) {
    float mean = sums.x / n + eps;
    if (sums.x > 1.0e38f)
        return make_float2(NORM_DOWN, 1.0f / sqrtf(sums.y / n));
    if (mean > 1.0e-30f)
        return make_float2(1.0f, 1.0f / sqrtf(mean));
    mean = sums.z / n + eps * NORM_UP * NORM_UP;
    return make_float2(NORM_UP, mean > 0.0f ? 1.0f / sqrtf(mean) : 0.0f);
}

#endif
