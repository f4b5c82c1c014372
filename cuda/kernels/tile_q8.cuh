/* tile_q8.cuh: products of many rows with q8 activations on matrix units: the body of the kernels
 * matmul_FORMAT_q8_tall and _short. F32, F16 and BF16 have no codes: their q8 products are the f32 ones
 * (tile_exact.cuh) with x taken from the codes.
 *
 * computes    tile_params (params_tile.h): y = f(W x)
 * inputs      W [n_row][n_col] as tandem/pack.h lays it; x rows of quantise_q8 (params.h)
 * grid        as tile_f16.cuh
 * bytes       W once per tile, x once per 128 rows of W
 * phase       every product of a layer at prefill
 * order       a block of 32 columns (16 with HALF_SCALES) exactly in int32 by mma m16n8k32 (k16), then
 *             sum += (d of W * d of x) * that in f32, blocks ascending; the minimum times the sum of x
 * likewise reference   backend/reference/matmul.c, moe_ffn.c
 */
#ifndef TANDEM_TILE_Q8_CUH
#define TANDEM_TILE_Q8_CUH

#include "tile.cuh"

namespace tile_q8 {

enum { STEP = 2, STAGES = 3 };

/* Shared memory of a block. */
template <uint32_t TOK> struct shared {
    uint4 codes[STAGES][STEP][TOK][2]; /* the halves of rows 4..7 of eight change places: the 16 bytes of
                                          eight rows that ldmatrix takes at a time lie in different banks */
    uint2 meta[STAGES][STEP][TOK];
    uint64_t x[TOK], y[TOK];
};

TANDEM_INLINE uint32_t half_place(uint32_t n, uint32_t half) {
    return half ^ (n / 4 & 1u);
}

TANDEM_INLINE void multiply_32(int c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

TANDEM_INLINE void multiply_16(int c[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
}

/* Codes of two tiles of eight rows of x: words t and 4 + t of row g, then of row 8 + g. */
TANDEM_INLINE uint4 load_x(const void *lane_row) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(lane_row);
    uint4 v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(at)
                 : "memory");
    return v;
}

/* code - DOT_ZERO in each byte: with bit 7 set, no byte borrows from the next. */
template <class FORMAT> TANDEM_INLINE uint32_t signed_codes(uint32_t codes) {
    if (FORMAT::DOT_ZERO == 0)
        return codes;
    return ((codes | 0x80808080u) - FORMAT::DOT_ZERO * 0x01010101u) ^ 0x80808080u;
}

/* Integer sums start from 1.5 * 2^23, so that their bits are those of a float: |sum| < 2^19. */
static constexpr int ZERO_BITS = 0x4b400000;

TANDEM_INLINE float sum_float(int c) {
    return __int_as_float(c) - 12582912.0f;
}

/* What a lane has of a row and block. */
struct operand {
    uint32_t codes[2];
    float2 scale[2];
};

template <class FORMAT>
TANDEM_INLINE void add_block(float sum[4], const operand o[2], uint32_t b0, uint32_t b1, uint4 meta) {
    int c[4] = {ZERO_BITS, ZERO_BITS, ZERO_BITS, ZERO_BITS};
    int second[4] = {ZERO_BITS, ZERO_BITS, ZERO_BITS, ZERO_BITS};
    uint32_t a[4] = {o[0].codes[0], o[1].codes[0], o[0].codes[1], o[1].codes[1]};
    if (FORMAT::HALF_SCALES) {
        multiply_16(c, a[0], a[1], b0);
        multiply_16(second, a[2], a[3], b1);
    } else {
        multiply_32(c, a, b0, b1);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const operand &row = o[i / 2];
        float d = __uint_as_float(i % 2 == 0 ? meta.x : meta.z);
        uint32_t sums = i % 2 == 0 ? meta.y : meta.w;
        sum[i] = fmaf(d * row.scale[0].x, sum_float(c[i]), sum[i]);
        if (FORMAT::HALF_SCALES)
            sum[i] = fmaf(d * row.scale[1].x, sum_float(second[i]), sum[i]);
        if (FORMAT::HAS_MIN) {
            int low = (int)(sums << 16) >> 16, high = (int)sums >> 16;
            float min = FORMAT::HALF_SCALES ? fmaf(row.scale[0].y, (float)low, row.scale[1].y * (float)high)
                                            : row.scale[0].y * (float)(low + high);
            sum[i] = fmaf(d, min, sum[i]);
        }
    }
}

/* Asks for the rows of x of a step. */
template <uint32_t TOK>
TANDEM_INLINE void copy_step(shared<TOK> &s, uint32_t step, uint32_t n_block, uint32_t n_live) {
    uint32_t stage = step % STAGES;
    for (uint32_t i = threadIdx.x; i < n_live * 2 * STEP; i += TILE_THREADS) {
        uint32_t half = i % 2, u = i / 2 % STEP, n = i / (2 * STEP), k = step * STEP + u;
        if (k < n_block)
            copy_16(&s.codes[stage][u][n][half_place(n, half)], (const uint4 *)s.x[n] + k * 2 + half);
    }
    for (uint32_t i = threadIdx.x; i < n_live * STEP; i += TILE_THREADS) {
        uint32_t u = i % STEP, n = i / STEP, k = step * STEP + u;
        if (k < n_block)
            copy_8(&s.meta[stage][u][n], (const uint2 *)(s.x[n] + n_block * 32) + k);
    }
    end_copies();
}

} /* namespace tile_q8 */

template <class FORMAT, uint32_t TOK> TANDEM_INLINE void multiply_tile_q8(const tile_params &p) {
    using namespace tile_q8;
    typedef typename FORMAT::header header_t;
    typedef decltype(word_block(FORMAT(), nullptr, 0, 0, 0, 0)) block_t;
    constexpr uint32_t CHUNK = FORMAT::CHUNK_BLOCKS, N_TILE = TOK / 8;
    __shared__ shared<TOK> s;

    tile_place place = place_of<TOK>(p);
    if (place.count == 0)
        return;
    find_rows<TOK>(p, place, s.x, s.y);
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    uint32_t n_block = place.n_block, n_step = (n_block + STEP - 1) / STEP;
    uint32_t n_live = (place.count + 15) / 16 * 16;
    uint32_t x_lane = lane / 16 * 8 + lane % 8, x_half = half_place(x_lane, lane / 8 % 2); /* of ldmatrix */

    weight_row row[4]; /* g and g + 8 of the lower half, then of the upper */
#pragma unroll
    for (uint32_t r = 0; r < 4; r++)
        row[r] = find_weight_row<FORMAT>(p, place, r / 2 * TILE_HALF + warp * 16 + r % 2 * 8 + g);
    for (uint32_t step = 0; step < STAGES - 1; step++) {
        if (step < n_step)
            copy_step(s, step, n_block, n_live);
        else
            end_copies();
    }

    float sum[2][N_TILE][4];
#pragma unroll
    for (uint32_t i = 0; i < 2 * N_TILE * 4; i++)
        (&sum[0][0][0])[i] = 0.0f;
    header_t head[4], next_head[4];
    block_t block[STEP][4], next[STEP][4];
#pragma unroll
    for (uint32_t r = 0; r < 4; r++) {
        next_head[r] = FORMAT::load_header(row[r].w, row[r].at, row[r].row, n_block, 0);
#pragma unroll
        for (uint32_t u = 0; u < STEP; u++)
            next[u][r] = word_block(FORMAT(), row[r].w, row[r].at, 0, min_of(u, n_block - 1), t);
    }

    for (uint32_t step = 0; step < n_step; step++) {
        wait_copies<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < n_step)
            copy_step(s, step + STAGES - 1, n_block, n_live);
        else
            end_copies();
#pragma unroll
        for (uint32_t r = 0; r < 4; r++) {
            head[r] = next_head[r];
#pragma unroll
            for (uint32_t u = 0; u < STEP; u++)
                block[u][r] = next[u][r];
        }
        if (step + 1 < n_step) {
            uint32_t k = (step + 1) * STEP;
#pragma unroll
            for (uint32_t r = 0; r < 4; r++) {
                if (k % CHUNK == 0)
                    next_head[r] = FORMAT::load_header(row[r].w, row[r].at, row[r].row, n_block, k / CHUNK);
#pragma unroll
                for (uint32_t u = 0; u < STEP; u++)
                    next[u][r] = word_block(FORMAT(), row[r].w, row[r].at, k / CHUNK,
                                            min_of(k + u, n_block - 1) % CHUNK, t);
            }
        }
        uint32_t stage = step % STAGES;
#pragma unroll
        for (uint32_t u = 0; u < STEP; u++) {
            uint32_t k = step * STEP + u;
            if (k >= n_block)
                break;
            operand o[4];
#pragma unroll
            for (uint32_t r = 0; r < 4; r++)
#pragma unroll
                for (uint32_t part = 0; part < 2; part++) {
                    o[r].codes[part] = signed_codes<FORMAT>(FORMAT::codes(block[u][r], t, part));
                    o[r].scale[part] = FORMAT::scale(head[r], block[u][r], k % CHUNK, part);
                }
#pragma unroll
            for (uint32_t n = 0; n < N_TILE; n += 2) {
                if (n * 8 >= n_live)
                    break;
                uint4 b = load_x(&s.codes[stage][u][n * 8 + x_lane][x_half]);
                uint4 meta = *(const uint4 *)&s.meta[stage][u][n * 8 + 2 * t];
                uint4 next_meta = *(const uint4 *)&s.meta[stage][u][n * 8 + 8 + 2 * t];
#pragma unroll
                for (uint32_t m = 0; m < 2; m++) {
                    add_block<FORMAT>(sum[m][n], &o[2 * m], b.x, b.y, meta);
                    add_block<FORMAT>(sum[m][n + 1], &o[2 * m], b.z, b.w, next_meta);
                }
            }
        }
    }

#pragma unroll
    for (uint32_t n = 0; n < N_TILE; n++)
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t tok = n * 8 + 2 * t + i % 2, at = warp * 16 + i / 2 * 8 + g;
            if (tok >= place.count)
                continue;
            store_result(p, s.y[tok], place.row + at, sum[0][n][i], sum[1][n][i]);
            if (!p.glu)
                store_result(p, s.y[tok], place.row + TILE_HALF + at, sum[1][n][i], 0.0f);
        }
}

#endif
