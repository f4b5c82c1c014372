/* matmul_round.cu: activations to f16 for the matrix units of matmul_*_f16_*.
 *
 * computes    row i of y = row(i) of x times a power of two, in f16, with sums and the power's inverse
 * inputs      tile_round_params (params_tile.h): x f32 rows
 * grid        x: rows; block: TILE_ROUND_THREADS, a thread takes every so many eighths of columns of a row
 * bytes       x is read twice, the second time from a cache; 2.25 bytes per column are written once
 * phase       before the products of a layer at prefill
 * order       sums of 16 codes: four of a lane, then lanes by an exclusive-or tree; a maximum has no order
 * reference   tandem_kit_round_activations: scale = 2^min(141 - E, 126), E the exponent field of max |x|
 */
#include "params_tile.h"
#include "quant.cuh"

TANDEM_INLINE float4 load_columns(const float *x, uint32_t c, uint32_t n_col) {
    if (c + 4 <= n_col)
        return *(const float4 *)(x + c);
    return make_float4(c < n_col ? x[c] : 0.0f, c + 1 < n_col ? x[c + 1] : 0.0f,
                       c + 2 < n_col ? x[c + 2] : 0.0f, 0.0f);
}

TANDEM_INLINE uint32_t max_bits(uint32_t bits, float4 v) {
    bits = max(bits, __float_as_uint(v.x) & 0x7fffffffu);
    bits = max(bits, __float_as_uint(v.y) & 0x7fffffffu);
    bits = max(bits, __float_as_uint(v.z) & 0x7fffffffu);
    return max(bits, __float_as_uint(v.w) & 0x7fffffffu);
}

TANDEM_INLINE uint2 round_four(float4 v, float scale, float *sum) {
    __half2 low = __floats2half2_rn(v.x * scale, v.y * scale),
            high = __floats2half2_rn(v.z * scale, v.w * scale);
    float2 a = __half22float2(low), b = __half22float2(high);
    *sum = (a.x + a.y) + (b.x + b.y);
    return make_uint2(*(uint32_t *)&low, *(uint32_t *)&high);
}

extern "C" __global__ void __launch_bounds__(TILE_ROUND_THREADS)
    tile_round_f16(const __grid_constant__ tile_round_params p) {
    __shared__ uint32_t best[TILE_ROUND_THREADS / 32];
    uint32_t i = blockIdx.x, n_block = TILE_BLOCKS(p.n_col), n_unit = n_block * 4;
    if (i >= *(const uint32_t *)p.n_tok * p.rows_per_tok)
        return;
    const float *x = (const float *)(p.x + (uint64_t)row_index(p.rows, i) * p.x_stride);
    uint64_t y = p.y + (uint64_t)i * TILE_F16_BYTES(p.n_col);

    uint32_t bits = 0;
    for (uint32_t q = threadIdx.x; q < n_block * 8; q += TILE_ROUND_THREADS)
        bits = max_bits(bits, load_columns(x, 4 * q, p.n_col));
    bits = __reduce_max_sync(0xffffffffu, bits);
    if (threadIdx.x % 32 == 0)
        best[threadIdx.x / 32] = bits;
    __syncthreads();
    for (uint32_t w = 0; w < TILE_ROUND_THREADS / 32; w++)
        bits = max(bits, best[w]);
    uint32_t exponent = max(bits >> 23, 15u);
    float scale = __uint_as_float((268u - exponent) << 23);
    if (threadIdx.x == 0)
        *(float *)(y + n_block * 72) = __uint_as_float((exponent - 14u) << 23);

    /* whole warps go round together: the sums of a block come from four lanes */
    for (uint32_t first = threadIdx.x / 32 * 32; first < n_unit; first += TILE_ROUND_THREADS) {
        uint32_t unit = first + threadIdx.x % 32, block = unit / 4, t = unit % 4;
        float sum[2] = {0.0f, 0.0f};
        uint2 low = make_uint2(0, 0), high = make_uint2(0, 0);
        if (unit < n_unit) {
            low = round_four(load_columns(x, block * 32 + 4 * t, p.n_col), scale, &sum[0]);
            high = round_four(load_columns(x, block * 32 + 16 + 4 * t, p.n_col), scale, &sum[1]);
            ((uint4 *)y)[unit] = make_uint4(low.x, low.y, high.x, high.y);
        }
        for (uint32_t part = 0; part < 2; part++) {
            sum[part] += __shfl_xor_sync(0xffffffffu, sum[part], 1);
            sum[part] += __shfl_xor_sync(0xffffffffu, sum[part], 2);
        }
        if (unit < n_unit && t == 0)
            ((float2 *)(y + n_block * 64))[block] = make_float2(sum[0], sum[1]);
    }
}
