/* tile_exact.cuh: products of many rows in f32: the body of the kernels matmul_FORMAT_exact_tall and _short.
 *
 * computes    tile_params (params_tile.h): y = f(W x)
 * inputs      W [n_row][n_col] as tandem/pack.h lays it; x f32 rows. F32, F16 and BF16: or rows of
 * quantise_q8 grid        as tile_f16.cuh. The block's 128 rows of W, dequantised, and its rows of x lie in
 * shared memory, 32 columns at a time, column by column; what comes next is on its way to registers
 * meanwhile. A thread has 8 rows of W (4 of each half) by TOK / 8 rows of x bytes       W once per tile, x
 * once per 128 rows of W phase       every product of a layer at prefill order       columns ascending, f32
 * fused multiply-add reference   backend/reference/matmul.c, moe_ffn.c
 */
#ifndef TANDEM_TILE_EXACT_CUH
#define TANDEM_TILE_EXACT_CUH

#include "tile.cuh"

namespace tile_exact {

/* Shared memory of a block: column k of a row is at [k][row ^ mask of k], so that the lanes of a store, which
 * share their rows and differ in k, do not share banks; the mask keeps aligned fours of rows together. */
template <uint32_t TOK> struct shared {
    static constexpr uint32_t STRIDE = TOK == TILE_TALL ? TOK : TOK + 2;
    float w[32][TILE_ROWS];
    float x[32][STRIDE];
    uint64_t x_at[TOK], y_at[TOK];
};

TANDEM_INLINE uint32_t w_mask(uint32_t k) {
    return k / 4 % 4 * 8;
}

template <uint32_t TOK> TANDEM_INLINE uint32_t x_mask(uint32_t k) {
    return TOK == TILE_TALL ? k / 4 * 4 : k / 16 * 4;
}

/* Columns 4q .. 4q + 3 of a row of x, q of the whole row; zero from n_col on. */
TANDEM_INLINE float4 load_x(const tile_params &p, uint64_t row, uint32_t q, uint32_t n_block, bool is_float) {
    if (is_float && p.x_kind == TILE_X_Q8) {
        float d = *(const float *)(row + n_block * 32 + q / 8 * 8);
        float4 v = signed_floats(*(const uint32_t *)(row + q * 4));
        return make_float4(d * v.x, d * v.y, d * v.z, d * v.w);
    }
    const float *x = (const float *)row + 4 * q;
    if (4 * q + 4 <= p.n_col)
        return *(const float4 *)x;
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (4 * q < p.n_col)
        v.x = x[0];
    if (4 * q + 1 < p.n_col)
        v.y = x[1];
    if (4 * q + 2 < p.n_col)
        v.z = x[2];
    return v;
}

template <class FORMAT, bool FLOAT> struct part_of {
    template <class BLOCK>
    static TANDEM_MEMBER float4 get(const typename FORMAT::header &h, const BLOCK &b, uint32_t j, uint32_t t,
                                    uint32_t part) {
        float4 v = FORMAT::floats(b, t, part);
        float2 s = FORMAT::scale(h, b, j, part);
        float zero = FORMAT::FLOAT_ZERO;
        return make_float4(fmaf(s.x, v.x - zero, s.y), fmaf(s.x, v.y - zero, s.y), fmaf(s.x, v.z - zero, s.y),
                           fmaf(s.x, v.w - zero, s.y));
    }
};
template <class FORMAT> struct part_of<FORMAT, true> {
    template <class BLOCK>
    static TANDEM_MEMBER float4 get(const no_header &, const BLOCK &b, uint32_t, uint32_t, uint32_t part) {
        return part_floats(FORMAT(), b, part);
    }
};

TANDEM_INLINE float4 load_four(const float *at) {
    return *(const float4 *)at;
}

/* sum += W x of the 32 columns in shared memory, for the first N of the thread's rows of x. */
template <uint32_t TOK, uint32_t N>
TANDEM_INLINE void multiply_columns(const shared<TOK> &s, uint32_t r, uint32_t n, float sum[8][TOK / 8]) {
#pragma unroll 4
    for (uint32_t c = 0; c < 32; c++) {
        float4 lower = load_four(&s.w[c][(4 * r) ^ w_mask(c)]);
        float4 upper = load_four(&s.w[c][(TILE_HALF + 4 * r) ^ w_mask(c)]);
        float w[8] = {lower.x, lower.y, lower.z, lower.w, upper.x, upper.y, upper.z, upper.w};
        float v[8]; /* the first N of them */
        if (TOK == TILE_TALL) {
            float4 a = load_four(&s.x[c][(4 * n) ^ x_mask<TOK>(c)]);
            v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
            if (N > 4) {
                float4 b = load_four(&s.x[c][(TOK / 2 + 4 * n) ^ x_mask<TOK>(c)]);
                v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
            }
        } else {
            float2 a = *(const float2 *)&s.x[c][(2 * n) ^ x_mask<TOK>(c)];
            v[0] = a.x, v[1] = a.y;
        }
#pragma unroll
        for (uint32_t i = 0; i < 8; i++)
#pragma unroll
            for (uint32_t m = 0; m < N; m++)
                sum[i][m] = fmaf(w[i], v[m], sum[i][m]);
    }
}

} /* namespace tile_exact */

template <class FORMAT, uint32_t TOK> TANDEM_INLINE void multiply_tile_exact(const tile_params &p) {
    using namespace tile_exact;
    typedef header_of<FORMAT, FORMAT::IS_FLOAT> header;
    typedef typename header::type header_t;
    typedef decltype(word_block(FORMAT(), nullptr, 0, 0, 0, 0)) block_t;
    constexpr uint32_t CHUNK = FORMAT::CHUNK_BLOCKS, N_LOAD = TOK / 16, N_X = TOK / 8;
    __shared__ __align__(16) shared<TOK> s;

    tile_place place = place_of<TOK>(p);
    if (place.count == 0)
        return;
    find_rows<TOK>(p, place, s.x_at, s.y_at);
    uint32_t n_block = place.n_block, is_low = place.count <= TOK / 2 ? 1u : 0u; /* half the work */

    /* to load: word t of rows thread / 4 + 32 i; columns 4q .. of rows of x thread / 8 + 16 i */
    uint32_t t = threadIdx.x % 4, q = threadIdx.x % 8, load_row = threadIdx.x / 4,
             load_x_row = threadIdx.x / 8;
    weight_row row[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++)
        row[i] = find_weight_row<FORMAT>(p, place, load_row + 32 * i);
    header_t head[4];
    block_t block[4];
    float4 x[N_LOAD];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        head[i] = header::load(row[i], n_block, 0);
        block[i] = word_block(FORMAT(), row[i].w, row[i].at, 0, 0, t);
    }
#pragma unroll
    for (uint32_t i = 0; i < N_LOAD; i++)
        x[i] = load_x(p, s.x_at[load_x_row + 16 * i], q, n_block, FORMAT::IS_FLOAT);

    /* to multiply: rows of W 4 r .. 4 r + 3 of both halves, rows of x 4 n .. of both halves (TALL) or 2 n ..
     */
    uint32_t n = threadIdx.x % 8, r = threadIdx.x / 8;
    float sum[8][N_X];
#pragma unroll
    for (uint32_t i = 0; i < 8 * N_X; i++)
        (&sum[0][0])[i] = 0.0f;

    for (uint32_t k = 0; k < n_block; k++) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
#pragma unroll
            for (uint32_t part = 0; part < 2; part++) {
                float4 v = part_of<FORMAT, FORMAT::IS_FLOAT>::get(head[i], block[i], k % CHUNK, t, part);
                uint32_t first = 16 * part + 4 * t, at = (load_row + 32 * i) ^ w_mask(first);
                s.w[first][at] = v.x;
                s.w[first + 1][at] = v.y;
                s.w[first + 2][at] = v.z;
                s.w[first + 3][at] = v.w;
            }
#pragma unroll
        for (uint32_t i = 0; i < N_LOAD; i++) {
            uint32_t at = (load_x_row + 16 * i) ^ x_mask<TOK>(4 * q);
            s.x[4 * q][at] = x[i].x;
            s.x[4 * q + 1][at] = x[i].y;
            s.x[4 * q + 2][at] = x[i].z;
            s.x[4 * q + 3][at] = x[i].w;
        }
        __syncthreads();
        if (k + 1 < n_block) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                if ((k + 1) % CHUNK == 0)
                    head[i] = header::load(row[i], n_block, (k + 1) / CHUNK);
                block[i] = word_block(FORMAT(), row[i].w, row[i].at, (k + 1) / CHUNK, (k + 1) % CHUNK, t);
            }
#pragma unroll
            for (uint32_t i = 0; i < N_LOAD; i++)
                x[i] = load_x(p, s.x_at[load_x_row + 16 * i], (k + 1) * 8 + q, n_block, FORMAT::IS_FLOAT);
        }
        if (TOK == TILE_TALL && is_low)
            multiply_columns<TOK, TOK / 16>(s, r, n, sum);
        else
            multiply_columns<TOK, N_X>(s, r, n, sum);
        __syncthreads();
    }

#pragma unroll
    for (uint32_t m = 0; m < N_X; m++) {
        uint32_t tok = TOK == TILE_TALL ? m / 4 * (TOK / 2) + 4 * n + m % 4 : 2 * n + m;
        if (tok >= place.count)
            continue;
        float lower[4] = {sum[0][m], sum[1][m], sum[2][m], sum[3][m]};
        float upper[4] = {sum[4][m], sum[5][m], sum[6][m], sum[7][m]};
        store_four(p, s.y_at[tok], place.row + 4 * r, lower, upper);
        if (!p.glu)
            store_four(p, s.y_at[tok], place.row + TILE_HALF + 4 * r, upper, upper);
    }
}

#endif
