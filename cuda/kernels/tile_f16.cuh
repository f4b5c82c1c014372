/* tile_f16.cuh: products of many rows with f16 activations on matrix units: the body of the kernels
 * matmul_FORMAT_f16_tall and _short.
 *
 * computes    tile_params (params_tile.h): y = f(W x)
 * inputs      W [n_row][n_col] as tandem/pack.h lays it; x rows of tile_round_f16
 * grid        x: tiles of TOK rows of x, so that blocks that run together share W; y: 128 rows of W. A warp
 *             has 32 rows of W and all rows of x, so that quants are used by one warp only and go from memory
 *             to its registers, a step ahead; x comes through a ring of STAGES copies of two blocks. What a
 *             tile lacks of its rows of x costs nothing, by sixteens
 * bytes       W once per tile, x once per 128 rows of W
 * phase       every product of a layer at prefill
 * order       mma m16n8k16 over the 32 columns of a block (16 with HALF_SCALES) from zero, in units of the
 *             codes, which f16 holds exactly; then sum += d * that in f32, blocks ascending, then the row's
 *             scale. F16 weights: mma on the sum. F32, BF16: blocks get a power of two as d
 * reference   backend/reference/matmul.c, moe_ffn.c
 */
#ifndef TANDEM_TILE_F16_CUH
#define TANDEM_TILE_F16_CUH

#include "tile.cuh"

namespace tile_f16 {

enum { STEP = 2, STAGES = 3 };

/* d may be anything that f32 holds, so that it cannot be multiplied before the row's scale is. */
template <class FORMAT> struct has_wide_scale { static constexpr bool value = false; };
template <> struct has_wide_scale<quant_f32> { static constexpr bool value = true; };
template <> struct has_wide_scale<quant_bf16> { static constexpr bool value = true; };
template <> struct has_wide_scale<quant_mxfp4> { static constexpr bool value = true; };

template <class FORMAT, bool FLOAT> struct traits {
    static constexpr bool MIN = FORMAT::HAS_MIN, HALF = FORMAT::HALF_SCALES, PLAIN = false;
};
template <class FORMAT> struct traits<FORMAT, true> {
    static constexpr bool MIN = false, HALF = false, PLAIN = !has_wide_scale<FORMAT>::value;
};

/* Shared memory of a block. */
template <uint32_t TOK, bool MIN> struct shared {
    uint4 codes[STAGES][STEP][TOK][4]; /* 64 bytes a row: the 8 lanes of a quarter of a load cover two of
                                          them, 128 bytes, so that no bank has two */
    float2 sums[STAGES][STEP][MIN ? TOK : 1];
    float2 inverse[TOK]; /* two powers of two, whose product is 1 / scale */
    uint64_t x[TOK], y[TOK];
};

TANDEM_INLINE void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

TANDEM_INLINE uint32_t half2_word(__half2 v) {
    return *(uint32_t *)&v;
}

TANDEM_INLINE __half2 word_half2(uint32_t v) {
    return *(__half2 *)&v;
}

/* Two codes each, exact: a byte put below the exponent of 1024 is 1024 + byte. */
template <class FORMAT> TANDEM_INLINE uint2 half_codes(uint32_t codes) {
    uint32_t zero = is_signed<FORMAT>::value ? 128 : FORMAT::DOT_ZERO;
    if (is_signed<FORMAT>::value)
        codes ^= 0x80808080u;
    __half2 bias = word_half2((0x6400u + zero) * 0x10001u);
    uint32_t low = __byte_perm(codes, 0x64646464u, 0x4140), high = __byte_perm(codes, 0x64646464u, 0x4342);
    return make_uint2(half2_word(__hsub2(word_half2(low), bias)),
                      half2_word(__hsub2(word_half2(high), bias)));
}

/* What a lane has of a row and block: codes of part 0 and 1, two words each, and their scales. */
struct operand {
    uint2 codes[2];
    float2 scale[2];
};

template <class FORMAT, bool FLOAT> struct operand_of {
    template <class BLOCK>
    static TANDEM_MEMBER operand get(const typename FORMAT::header &h, const BLOCK &b, uint32_t j,
                                     uint32_t t) {
        operand o;
        o.codes[0] = half_codes<FORMAT>(FORMAT::codes(b, t, 0));
        o.codes[1] = half_codes<FORMAT>(FORMAT::codes(b, t, 1));
        o.scale[0] = FORMAT::scale(h, b, j, 0);
        o.scale[1] = FORMAT::HALF_SCALES ? FORMAT::scale(h, b, j, 1) : o.scale[0];
        return o;
    }
};

/* Numbers: those of a block are scaled by a power of two, the largest to below 2^15, as rows of x are. */
TANDEM_INLINE uint32_t max_bits(float4 v) {
    uint32_t a = max(__float_as_uint(v.x) & 0x7fffffffu, __float_as_uint(v.y) & 0x7fffffffu);
    return max(a, max(__float_as_uint(v.z) & 0x7fffffffu, __float_as_uint(v.w) & 0x7fffffffu));
}

TANDEM_INLINE uint2 scaled_halves(float4 v, float by) {
    return make_uint2(half2_word(__floats2half2_rn(v.x * by, v.y * by)),
                      half2_word(__floats2half2_rn(v.z * by, v.w * by)));
}

template <class FORMAT> struct operand_of<FORMAT, true> {
    template <class BLOCK>
    static TANDEM_MEMBER operand get(const no_header &, const BLOCK &b, uint32_t, uint32_t) {
        operand o;
        float4 first = part_floats(FORMAT(), b, 0), second = part_floats(FORMAT(), b, 1);
        uint32_t bits = max(max_bits(first), max_bits(second));
        bits = max(bits, __shfl_xor_sync(0xffffffffu, bits, 1));
        bits = max(bits, __shfl_xor_sync(0xffffffffu, bits, 2));
        uint32_t exponent = max(bits >> 23, 15u); /* 2^126 at most */
        float by = __uint_as_float((268u - exponent) << 23);
        o.codes[0] = scaled_halves(first, by);
        o.codes[1] = scaled_halves(second, by);
        o.scale[0] = o.scale[1] = make_float2(__uint_as_float(max(exponent, 15u) - 14u << 23), 0.0f);
        return o;
    }
};

template <> struct operand_of<quant_f16, true> {
    static TANDEM_MEMBER operand get(const no_header &, const narrow_block &b, uint32_t, uint32_t) {
        operand o;
        o.codes[0] = b.part[0];
        o.codes[1] = b.part[1];
        o.scale[0] = o.scale[1] = make_float2(1.0f, 0.0f);
        return o;
    }
};

/* Asks for the rows of x of a step. */
template <uint32_t TOK, bool MIN>
TANDEM_INLINE void copy_step(shared<TOK, MIN> &s, uint32_t step, uint32_t n_block, uint32_t n_live) {
    uint32_t stage = step % STAGES;
    for (uint32_t i = threadIdx.x; i < n_live * 4 * STEP; i += TILE_THREADS) {
        uint32_t unit = i % 4, u = i / 4 % STEP, n = i / (4 * STEP), k = step * STEP + u;
        if (k < n_block)
            copy_16(&s.codes[stage][u][n][unit], (const uint4 *)s.x[n] + k * 4 + unit);
    }
    if (MIN)
        for (uint32_t i = threadIdx.x; i < n_live * STEP; i += TILE_THREADS) {
            uint32_t u = i % STEP, n = i / STEP, k = step * STEP + u;
            if (k < n_block)
                copy_8(&s.sums[stage][u][n], (const float2 *)(s.x[n] + n_block * 64) + k);
        }
    end_copies();
}

/* sum[row g: tokens 2t, 2t + 1; row g + 8: the same] of a tile of 16 rows of W and 8 of x. */
template <class FORMAT, bool MIN, bool HALF, bool PLAIN, bool WIDE>
TANDEM_INLINE void add_block(float sum[4], const operand o[2], uint4 b, float4 sums, float4 inverse) {
    uint32_t first[4] = {o[0].codes[0].x, o[1].codes[0].x, o[0].codes[0].y, o[1].codes[0].y};
    uint32_t second[4] = {o[0].codes[1].x, o[1].codes[1].x, o[0].codes[1].y, o[1].codes[1].y};
    if (PLAIN) {
        multiply(sum, first, b.x, b.y);
        multiply(sum, second, b.z, b.w);
        return;
    }
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f}, c_second[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    multiply(c, first, b.x, b.y);
    multiply(HALF ? c_second : c, second, b.z, b.w);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const operand &row = o[i / 2];
        if (WIDE) {
            float2 by = i % 2 == 0 ? make_float2(inverse.x, inverse.y) : make_float2(inverse.z, inverse.w);
            sum[i] = fmaf(c[i] * by.x, row.scale[0].x * by.y, sum[i]);
            continue;
        }
        sum[i] = fmaf(row.scale[0].x, c[i], sum[i]);
        if (HALF)
            sum[i] = fmaf(row.scale[1].x, c_second[i], sum[i]);
        if (MIN) {
            float2 x_sums = i % 2 == 0 ? make_float2(sums.x, sums.y) : make_float2(sums.z, sums.w);
            if (HALF) {
                sum[i] = fmaf(row.scale[0].y, x_sums.x, sum[i]);
                sum[i] = fmaf(row.scale[1].y, x_sums.y, sum[i]);
            } else {
                sum[i] = fmaf(row.scale[0].y, x_sums.x + x_sums.y, sum[i]);
            }
        }
    }
}

} /* namespace tile_f16 */

template <class FORMAT, uint32_t TOK> TANDEM_INLINE void multiply_tile_f16(const tile_params &p) {
    using namespace tile_f16;
    typedef traits<FORMAT, FORMAT::IS_FLOAT> is;
    typedef header_of<FORMAT, FORMAT::IS_FLOAT> header;
    typedef typename header::type header_t;
    typedef decltype(word_block(FORMAT(), nullptr, 0, 0, 0, 0)) block_t;
    constexpr bool WIDE = has_wide_scale<FORMAT>::value;
    constexpr uint32_t CHUNK = FORMAT::CHUNK_BLOCKS, N_TILE = TOK / 8;
    __shared__ shared<TOK, is::MIN> s;

    tile_place place = place_of<TOK>(p);
    if (place.count == 0)
        return;
    find_rows<TOK>(p, place, s.x, s.y);
    uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    uint32_t n_block = place.n_block, n_step = (n_block + STEP - 1) / STEP;
    uint32_t n_live = (place.count + 15) / 16 * 16;

    weight_row row[4]; /* g and g + 8 of the lower half, then of the upper */
#pragma unroll
    for (uint32_t r = 0; r < 4; r++)
        row[r] = find_weight_row<FORMAT>(p, place, r / 2 * TILE_HALF + warp * 16 + r % 2 * 8 + g);
    if (threadIdx.x < TOK) {
        float inverse = *(const float *)(s.x[threadIdx.x] + n_block * 72);
        uint32_t exponent = __float_as_uint(inverse) >> 23, half = (exponent + 127) / 2;
        s.inverse[threadIdx.x] =
            make_float2(__uint_as_float(half << 23), __uint_as_float((exponent + 127 - half) << 23));
    }
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
        next_head[r] = header::load(row[r], n_block, 0);
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
                    next_head[r] = header::load(row[r], n_block, k / CHUNK);
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
                o[r] = operand_of<FORMAT, FORMAT::IS_FLOAT>::get(head[r], block[u][r], k % CHUNK, t);
#pragma unroll
            for (uint32_t n = 0; n < N_TILE; n++) {
                if (n * 8 >= n_live)
                    break;
                uint4 b = s.codes[stage][u][n * 8 + g][t];
                float4 sums = {}, inverse = {};
                if (is::MIN)
                    sums = *(const float4 *)&s.sums[stage][u][n * 8 + 2 * t];
                if (WIDE)
                    inverse = *(const float4 *)&s.inverse[n * 8 + 2 * t];
#pragma unroll
                for (uint32_t m = 0; m < 2; m++)
                    add_block<FORMAT, is::MIN, is::HALF, is::PLAIN, WIDE>(sum[m][n], &o[2 * m], b, sums,
                                                                          inverse);
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
            float2 by = WIDE ? make_float2(1.0f, 1.0f) : s.inverse[tok];
            float lower = sum[0][n][i] * by.x * by.y, upper = sum[1][n][i] * by.x * by.y;
            store_result(p, s.y[tok], place.row + at, lower, upper);
            if (!p.glu)
                store_result(p, s.y[tok], place.row + TILE_HALF + at, upper, 0.0f);
        }
}

#endif
