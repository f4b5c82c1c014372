/* stream.cuh: rows of the residual stream (params_stream.h), and STREAM as the prologue of a
 * mat-vec: every block computes the row that it multiplies, in shared memory.
 */
#ifndef TANDEM_STREAM_CUH
#define TANDEM_STREAM_CUH

#include "norm.cuh"
#include "params_stream.h"

/* Elements 4 u to 4 u + 3 of a row, 0 beyond d. Rows whose d is a multiple of 4 are aligned. */
static __device__ __forceinline__ float4 load_four(uint64_t from, uint32_t u, uint32_t d) {
    if (d % 4u == 0)
        return 4u * u < d ? load_vector(from, u) : make_float4(0, 0, 0, 0);
    const float *x = at<const float>(from) + 4u * u;
    return make_float4(4u * u < d ? x[0] : 0.0f, 4u * u + 1u < d ? x[1] : 0.0f, 4u * u + 2u < d ? x[2] : 0.0f,
                       4u * u + 3u < d ? x[3] : 0.0f);
}

static __device__ __forceinline__ void store_four(uint64_t to, uint32_t u, uint32_t d, float4 x) {
    if (d % 4u == 0) {
        if (4u * u < d)
            at<float4>(to)[u] = x;
        return;
    }
    float *y = at<float>(to) + 4u * u;
    const float e[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
    for (uint32_t i = 0; i < 4u; i++)
        if (4u * u + i < d)
            y[i] = e[i];
}

static __device__ __forceinline__ float4 normed(float4 x, float2 factors, uint64_t weight, uint32_t u,
                                                uint32_t d) {
    x = scaled(scaled(x, factors.x), factors.y);
    return weight ? product(x, load_four(weight, u, d)) : x;
}

/* ---- as a prologue ---- */

#define PROLOGUE_WARPS 16u

struct prologue_scratch {
    float sums[4][PROLOGUE_WARPS];
    float3 exact[PROLOGUE_WARPS];
};

/* Factors of the norm of a row that get(u) gives four elements of. The sum of squares is taken of the row as
 * it is; where it overflowed or vanished, again as norm_add does. Every thread of the block calls it. */
template <class GET>
static __device__ __forceinline__ float2 prologue_factors(GET get, const stream_params &p,
                                                          prologue_scratch &scratch, uint32_t turn) {
    uint32_t n_four = (p.d + 3u) / 4u;
    float sum = 0.0f;
#pragma unroll 1
    for (uint32_t u = threadIdx.x; u < n_four; u += blockDim.x)
        sum += squares(get(u));
    for (uint32_t mask = 1; mask < 32u; mask *= 2u)
        sum += __shfl_xor_sync(ALL_LANES, sum, mask);
    if (threadIdx.x % 32u == 0)
        scratch.sums[turn][threadIdx.x / 32u] = sum;
    __syncthreads();
    sum = scratch.sums[turn][0];
    for (uint32_t i = 1; i < blockDim.x / 32u; i++)
        sum += scratch.sums[turn][i];
    float3 sums = make_float3(sum, 0.0f, 0.0f);
    if (!(sum <= 1.0e38f && sum / (float)p.d + p.eps > 1.0e-30f)) { /* the same in every thread */
        sums.x = 0.0f;
#pragma unroll 1
        for (uint32_t u = threadIdx.x; u < n_four; u += blockDim.x)
            norm_add(sums, get(u));
        __syncthreads();
        sums = norm_total(sums, scratch.exact);
    }
    return norm_factors(sums, (float)p.d, p.eps);
}

/* Output `output` of row i of a STREAM into shared memory, 16-byte units; where p says so, h' and the outputs
 * to global memory too. A thread comes back to its own units of `row`, so that only sums need barriers. Ends
 * with one. */
static __device__ __forceinline__ void stage_stream(const stream_params &p, uint32_t i, uint32_t run_at,
                                                    uint32_t output, float4 *row) {
    __shared__ prologue_scratch scratch;
    uint32_t n_four = (p.d + 3u) / 4u;
    uint64_t h = row_address(p.h, p.gather & STREAM_GATHER_H ? run_at : i, p.h_stride);
    uint64_t a0 = row_address(p.a[0], p.gather & STREAM_GATHER_A0 ? run_at : i, p.a_stride[0]);
    uint64_t a1 = row_address(p.a[1], p.gather & STREAM_GATHER_A1 ? run_at : i, p.a_stride[1]);
    float2 f0 = make_float2(0, 0), f1 = make_float2(0, 0);
    if (p.n_a > 0)
        f0 = prologue_factors([&](uint32_t u) { return load_four(a0, u, p.d); }, p, scratch, 0);
    if (p.n_a > 1) {
        f1 = prologue_factors([&](uint32_t u) { return load_four(a1, u, p.d); }, p, scratch, 1);
#pragma unroll 1
        for (uint32_t u = threadIdx.x; u < n_four; u += blockDim.x)
            row[u] = total(normed(load_four(a0, u, p.d), f0, p.w[0], u, p.d),
                           normed(load_four(a1, u, p.d), f1, p.w[1], u, p.d));
        f1 = prologue_factors([&](uint32_t u) { return row[u]; }, p, scratch, 2);
    }
    uint64_t y_h = p.y_h ? row_address(p.y_h, i, p.y_h_stride) : 0;
    bool writes = blockIdx.x == 0;
#pragma unroll 1
    for (uint32_t u = threadIdx.x; u < n_four; u += blockDim.x) {
        float4 x = load_four(h, u, p.d);
        if (p.n_a > 0)
            x = total(x, p.n_a > 1 ? normed(row[u], f1, p.w[2], u, p.d)
                                   : normed(load_four(a0, u, p.d), f0, p.w[0], u, p.d));
        x = scaled(x, p.scale);
        row[u] = x;
        if (writes && y_h)
            store_four(y_h, u, p.d, x);
    }
    float2 factors = prologue_factors([&](uint32_t u) { return row[u]; }, p, scratch, 3);
#pragma unroll 1
    for (uint32_t u = threadIdx.x; u < n_four; u += blockDim.x) {
        float4 x = row[u];
        for (uint32_t n = 0; writes && n < p.n_out; n++)
            if (p.y[n])
                store_four(row_address(p.y[n], i, p.y_stride[n]), u, p.d,
                           scaled(normed(x, factors, p.y_w[n], u, p.d), p.y_scale[n]));
        row[u] = scaled(normed(x, factors, p.y_w[output], u, p.d), p.y_scale[output]);
    }
    __syncthreads();
}

#endif
