/* ops.cuh: what the kernels beside the matrix products share: addresses, sums over a block, root mean
 * squares, numbers as integers that order like them.
 */
#ifndef TANDEM_OPS_CUH
#define TANDEM_OPS_CUH

#include <stdint.h>

#include "run_block.h"

#define ALL_LANES 0xffffffffu
#define NAN_BITS 0x7fc00000u

static __device__ __forceinline__ uint64_t row_address(uint64_t base, uint32_t row, uint32_t stride) {
    return base + (uint64_t)row * stride;
}

template <class T> static __device__ __forceinline__ T *at(uint64_t address) {
    return reinterpret_cast<T *>(address);
}

static __device__ __forceinline__ uint32_t load_word(uint64_t address) {
    return *at<const uint32_t>(address);
}

/* Row of a list, or i without one. */
static __device__ __forceinline__ uint32_t row_index(uint64_t list, uint32_t i) {
    return list ? at<const uint32_t>(list)[i] : i;
}

static __device__ __forceinline__ run_row load_run_row(uint64_t run, uint32_t i) {
    uint4 bits = at<const uint4>(run + RUN_ROWS_OFFSET)[i];
    run_row row = {bits.x, bits.y, bits.z, bits.w};
    return row;
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

/* ---- sums over a block: lanes as a tree, warps ascending; every thread gets the result ---- */

template <uint32_t WARPS> static __device__ __forceinline__ float block_sum(float x, float *scratch) {
    for (uint32_t mask = 1; mask < 32u; mask *= 2u)
        x += __shfl_xor_sync(ALL_LANES, x, mask);
    __syncthreads();
    if (threadIdx.x % 32u == 0)
        scratch[threadIdx.x / 32u] = x;
    __syncthreads();
    x = scratch[0];
    for (uint32_t i = 1; i < WARPS; i++)
        x += scratch[i];
    return x;
}

template <uint32_t WARPS>
static __device__ __forceinline__ uint32_t block_max(uint32_t x, uint32_t *scratch) {
    for (uint32_t mask = 1; mask < 32u; mask *= 2u)
        x = max(x, __shfl_xor_sync(ALL_LANES, x, mask));
    __syncthreads();
    if (threadIdx.x % 32u == 0)
        scratch[threadIdx.x / 32u] = x;
    __syncthreads();
    for (uint32_t i = 0; i < WARPS; i++)
        x = max(x, scratch[i]);
    return x;
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

/* ---- numbers as integers that order like them ---- */

static __device__ __forceinline__ bool is_nan(uint32_t bits) {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

/* NaN lowest, -0 equal to 0. */
static __device__ __forceinline__ uint32_t key_of(uint32_t bits) {
    if (is_nan(bits))
        return 0u;
    bits = bits == 0x80000000u ? 0u : bits;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ float value_of(uint32_t key) {
    return __uint_as_float(key == 0u ? NAN_BITS : key >> 31 ? key & 0x7fffffffu : ~key);
}

#endif
