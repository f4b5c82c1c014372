/* stream.cu: the residual stream between two phases of a layer.
 *
 * computes    b = norm(a0; w0), or norm(norm(a0; w0) + norm(a1; w1); w2); h' = scale * (h + b); y_h = h';
 *             y[i] = norm(h'; y_w[i]) * y_scale[i], as f32 and, where asked for, rounded to q8 activations
 *             (params.h)
 * inputs      f32 rows, vectors of d; slices of a row are normed alone
 * grid        x: slices, y: rows; a block is one slice. Its elements stay in registers, N units of four a
 *             thread, so that all loads are under way at once
 * bytes       each input row once, each output once
 * phase       between the phases of a layer
 * order       sums of squares: elements of a thread ascending, lanes as a tree, warps ascending
 * reference   backend/reference/stream.c
 */
#include "ops.cuh"
#include "params.h"
#include "params_ops.h"
#include "q8.cuh"
#include "stream.cuh"

template <uint32_t N>
static __device__ __forceinline__ float2 factors_of(const float4 (&x)[N], const stream_params &p,
                                                    float3 *scratch) {
    float3 sums = make_float3(0.0f, 0.0f, 0.0f);
#pragma unroll
    for (uint32_t n = 0; n < N; n++)
        norm_add(sums, x[n]);
    return norm_factors(norm_total(sums, scratch), (float)p.d, p.eps);
}

/* One output row, from h' in registers. */
template <uint32_t N>
static __device__ __forceinline__ void write_output(const float4 (&x)[N], float2 factors, uint32_t n,
                                                    uint32_t i, const stream_params &p) {
    uint64_t y = p.y[n] ? row_address(p.y[n], i, p.y_stride[n]) + blockIdx.x * 4ull * p.d : 0;
    uint64_t y_q8 = p.y_q8[n] ? row_address(p.y_q8[n], i, Q8_ROW_BYTES(p.d)) : 0;
    uint32_t n_group = (p.d + 31u) / 32u;
#pragma unroll
    for (uint32_t k = 0; k < N; k++) {
        uint32_t u = k * blockDim.x + threadIdx.x;
        if (k * blockDim.x * 4u >= p.d)
            break;
        float4 z = scaled(normed(x[k], factors, p.y_w[n], u, p.d), p.y_scale[n]);
        if (y)
            store_four(y, u, p.d, z);
        if (!y_q8)
            continue;
        uint2 meta;
        uint32_t codes = q8_round_group(z, meta);
        if (u / 8u >= n_group)
            continue;
        at<uint32_t>(y_q8)[u] = codes;
        if (u % 8u == 0)
            at<uint2>(y_q8)[4u * n_group + u / 8u] = meta;
    }
}

template <uint32_t N> static __device__ __forceinline__ void stream_row(const stream_params &p) {
    __shared__ float3 scratch[4][STREAM_THREADS / 32u];
    uint32_t i = blockIdx.y;
    if (i >= load_word(p.n_tok))
        return;
    uint32_t run_at = row_index(p.index, i);
    uint64_t slice = blockIdx.x * 4ull * p.d;
    uint64_t h = row_address(p.h, p.gather & STREAM_GATHER_H ? run_at : i, p.h_stride) + slice;
    float4 x[N], a[2][N];
#pragma unroll
    for (uint32_t k = 0; k < N; k++)
        x[k] = load_four(h, k * blockDim.x + threadIdx.x, p.d);
#pragma unroll
    for (uint32_t m = 0; m < 2u; m++) {
        uint32_t gather = m == 0 ? STREAM_GATHER_A0 : STREAM_GATHER_A1;
        uint64_t from = row_address(p.a[m], p.gather & gather ? run_at : i, p.a_stride[m]) + slice;
        if (m < p.n_a)
#pragma unroll
            for (uint32_t k = 0; k < N; k++)
                a[m][k] = load_four(from, k * blockDim.x + threadIdx.x, p.d);
    }
    if (p.n_a > 0) {
        float2 factors = factors_of(a[0], p, scratch[0]);
#pragma unroll
        for (uint32_t k = 0; k < N; k++)
            a[0][k] = normed(a[0][k], factors, p.w[0], k * blockDim.x + threadIdx.x, p.d);
    }
    if (p.n_a > 1) {
        float2 factors = factors_of(a[1], p, scratch[1]);
#pragma unroll
        for (uint32_t k = 0; k < N; k++)
            a[0][k] = total(a[0][k], normed(a[1][k], factors, p.w[1], k * blockDim.x + threadIdx.x, p.d));
        factors = factors_of(a[0], p, scratch[2]);
#pragma unroll
        for (uint32_t k = 0; k < N; k++)
            a[0][k] = normed(a[0][k], factors, p.w[2], k * blockDim.x + threadIdx.x, p.d);
    }
    uint64_t y_h = p.y_h ? row_address(p.y_h, i, p.y_h_stride) + slice : 0;
#pragma unroll
    for (uint32_t k = 0; k < N; k++) {
        x[k] = scaled(p.n_a > 0 ? total(x[k], a[0][k]) : x[k], p.scale);
        if (y_h)
            store_four(y_h, k * blockDim.x + threadIdx.x, p.d, x[k]);
    }
    if (p.n_out == 0)
        return;
    float2 factors = factors_of(x, p, scratch[3]);
    for (uint32_t n = 0; n < p.n_out; n++)
        write_output(x, factors, n, i, p);
}

/* d up to 4 * 4 * STREAM_THREADS. At most 80 registers: three blocks of a multiprocessor. */
extern "C" __global__ void __launch_bounds__(STREAM_THREADS, 3) stream(const __grid_constant__ stream_params p) {
    stream_row<4>(p);
}

extern "C" __global__ void __launch_bounds__(STREAM_THREADS)
    stream_wide(const __grid_constant__ stream_params p) {
    stream_row<8>(p);
}
