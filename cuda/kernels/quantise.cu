/* quantise.cu: activations rounded once for every product that reads them.
 *
 * computes    quantise_q8: row i of y = row(i) of x in groups of 32: d = max |x| / 127, codes x / d, their
 * sums quantise_f16, round_f16: row(i) of x times a power of two, rounded to f16; as f16 and the inverse of
 * the power, or multiplied back to f32 inputs      x f32 rows; y as in params.h grid        quantise_q8: x:
 * groups of a row / QUANTISE_GROUPS, y: rows; eight lanes a group. The others: y: rows, one block a row bytes
 * q8 reads 4 and writes 1.25 per column, each once; round_f16 reads x twice,
 *             the second time from cache phase
 * before the products of a layer that did not get their input rounded by STREAM order       integer sums, and
 * maxima reference   tandem_kit_round_activations, bit for bit
 */
#include "ops.cuh"
#include "params.h"
#include "q8.cuh"
#include "round_f16.cuh"

/* Columns 4 u .. 4 u + 3 of a row, zero from n_col on. */
static __device__ __forceinline__ float4 load_columns(const float *x, uint32_t u, uint32_t n_col) {
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (4 * u + 4 <= n_col)
        return ((const float4 *)x)[u];
    if (4 * u < n_col)
        v.x = x[4 * u];
    if (4 * u + 1 < n_col)
        v.y = x[4 * u + 1];
    if (4 * u + 2 < n_col)
        v.z = x[4 * u + 2];
    return v;
}

static __device__ __forceinline__ const float *row_of(const quantise_params &p, uint32_t i) {
    return at<const float>(row_address(p.x, row_index(p.rows, i), p.x_stride));
}

extern "C" __global__ void __launch_bounds__(8 * QUANTISE_GROUPS)
    quantise_q8(const __grid_constant__ quantise_params p) {
    uint32_t n_group = (p.n_col + 31) / 32, i = blockIdx.x;
    if (i >= *at<const uint32_t>(p.n_tok) * p.rows_per_tok)
        return;
    uint32_t g = blockIdx.y * QUANTISE_GROUPS + threadIdx.x / 8, lane = threadIdx.x % 8;
    uint2 meta;
    uint32_t codes = q8_round_group(load_columns(row_of(p, i), 8 * g + lane, p.n_col), meta);
    if (g >= n_group)
        return;
    uint32_t *row = at<uint32_t>(p.y + (uint64_t)i * Q8_ROW_BYTES(p.n_col));
    row[8 * g + lane] = codes;
    if (lane == 0)
        ((uint2 *)row)[4 * n_group + g] = meta;
}

extern "C" __global__ void __launch_bounds__(QUANTISE_ROW_THREADS)
    round_f16(const __grid_constant__ quantise_params p) {
    __shared__ uint32_t scratch[QUANTISE_ROW_THREADS / 32];
    uint32_t i = blockIdx.x, most = 0;
    if (i >= *at<const uint32_t>(p.n_tok) * p.rows_per_tok)
        return;
    const float *x = row_of(p, i);
    float4 *row = at<float4>(p.y + (uint64_t)i * p.y_stride);
    for (uint32_t u = threadIdx.x; 4 * u < p.n_col; u += QUANTISE_ROW_THREADS)
        most = most_bits(most, load_columns(x, u, p.n_col));
    float2 scale = f16_scale(block_max<QUANTISE_ROW_THREADS / 32>(most, scratch));
    for (uint32_t u = threadIdx.x; 4 * u < p.n_col; u += QUANTISE_ROW_THREADS)
        row[u] = round_columns(load_columns(x, u, p.n_col), scale);
}
