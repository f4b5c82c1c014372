/* embed.cu: rows of a quantised table, dequantised and scaled.
 *
 * computes    y[i] = scale * W[token(i)]; zero for a token outside the table
 * inputs      W in the layout of tandem/pack.h (the head may share it); token ids token_stride apart
 * grid        x: rows, y: blocks of 32 columns / EMBED_BLOCKS. One thread a block of columns
 * bytes       one packed row and 4 n_col a row; a row has 16 bytes of each 128-byte line, so up to twice as
 * many cross the bus as are used. A token reads one row: under 1 / 5000 of its weights phase       first of a
 * token order       no sums reference   backend/reference/embed.c
 */
#include "quant.cuh"

/* Columns 4 q .. 4 q + 3 of a row of y. */
TANDEM_INLINE void store_columns(float *y, uint32_t q, uint32_t n_col, float4 v) {
    if (4 * q + 4 <= n_col) {
        ((float4 *)y)[q] = v;
        return;
    }
    if (4 * q < n_col)
        y[4 * q] = v.x;
    if (4 * q + 1 < n_col)
        y[4 * q + 1] = v.y;
    if (4 * q + 2 < n_col)
        y[4 * q + 2] = v.z;
}

TANDEM_INLINE float4 scaled4(float4 v, float s) {
    return make_float4(v.x * s, v.y * s, v.z * s, v.w * s);
}

template <class FORMAT> TANDEM_INLINE float4 dequantise(float4 f, float2 s) {
    return make_float4(fmaf(f.x - FORMAT::FLOAT_ZERO, s.x, s.y), fmaf(f.y - FORMAT::FLOAT_ZERO, s.x, s.y),
                       fmaf(f.z - FORMAT::FLOAT_ZERO, s.x, s.y), fmaf(f.w - FORMAT::FLOAT_ZERO, s.x, s.y));
}

template <class FORMAT> TANDEM_INLINE void embed(const embed_params &p) {
    uint32_t n_block = (p.n_col + 31) / 32, k = blockIdx.y * EMBED_BLOCKS + threadIdx.x, i = blockIdx.x;
    if (k >= n_block || i >= *(const uint32_t *)p.n_tok)
        return;
    uint32_t token = ((const uint32_t *)p.tokens)[(uint64_t)row_index(p.rows, i) * (p.token_stride / 4)];
    float scale = token < p.n_row ? p.scale : 0.0f;
    token = min(token, p.n_row - 1);
    const uint4 *w = (const uint4 *)((const uint64_t *)p.table)[token >> p.segment_shift];
    uint32_t at = row_at<FORMAT>(token & ((1u << p.segment_shift) - 1), n_block);
    float *y = (float *)(p.y + (uint64_t)i * p.y_stride);
    if constexpr (FORMAT::IS_FLOAT) {
#pragma unroll
        for (uint32_t q = 0; q < 8; q++)
            store_columns(y, 8 * k + q, p.n_col, scaled4(FORMAT::values(w, at, k, q), scale));
    } else {
        uint32_t c = k / FORMAT::CHUNK_BLOCKS, j = k % FORMAT::CHUNK_BLOCKS;
        typename FORMAT::header h = FORMAT::load_header(w, at, token % GROUP_ROWS, n_block, c);
        typename FORMAT::block b = FORMAT::load_block(w, at, c, j);
#pragma unroll
        for (uint32_t q = 0; q < 8; q++) {
            float4 v = dequantise<FORMAT>(FORMAT::floats(b, q % 4, q / 4), FORMAT::scale(h, b, j, q / 4));
            store_columns(y, 8 * k + q, p.n_col, scaled4(v, scale));
        }
    }
}

#define EMBED_KERNEL(FORMAT)                                                                                 \
    extern "C" __global__ void __launch_bounds__(EMBED_BLOCKS)                                               \
        embed_##FORMAT(const __grid_constant__ embed_params p) {                                             \
        embed<quant_##FORMAT>(p);                                                                            \
    }

EMBED_KERNEL(f32)
EMBED_KERNEL(f16)
EMBED_KERNEL(bf16)
EMBED_KERNEL(q4_0)
EMBED_KERNEL(q4_1)
EMBED_KERNEL(q5_0)
EMBED_KERNEL(q5_1)
EMBED_KERNEL(q8_0)
EMBED_KERNEL(q4_k)
EMBED_KERNEL(q5_k)
EMBED_KERNEL(q6_k)
EMBED_KERNEL(q2_k)
EMBED_KERNEL(q3_k)
EMBED_KERNEL(iq4_nl)
EMBED_KERNEL(iq4_xs)
EMBED_KERNEL(mxfp4)
