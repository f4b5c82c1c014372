/* tile.cuh: what the products of many rows (params_tile.h) share: which rows a block has, reading packed
 * weights a word a lane, and what is done to a sum before it is stored. */
#ifndef TANDEM_TILE_CUH
#define TANDEM_TILE_CUH

#include "activations.cuh"
#include "params_tile.h"
#include "quant.cuh"

#define TILE_HALF (TILE_ROWS / 2)

TANDEM_INLINE uint32_t min_of(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* The part of the product that a block has. */
struct tile_place {
    uint32_t expert;
    uint32_t first;   /* row of x, or place in the list of entries */
    uint32_t count;   /* rows of x; 0: nothing to do */
    uint32_t row;     /* first row of W */
    uint32_t n_block; /* of 32 columns */
};

template <uint32_t TOK> TANDEM_INLINE tile_place place_of(const tile_params &p) {
    tile_place place = {0, blockIdx.x * TOK, 0, blockIdx.y * (p.glu ? TILE_HALF : TILE_ROWS),
                        TILE_BLOCKS(p.n_col)};
    if (p.tiles) {
        if (blockIdx.x >= *(const uint32_t *)p.n_tile)
            return place;
        uint4 tile = ((const uint4 *)p.tiles)[blockIdx.x]; /* moe_tile */
        place.expert = tile.x;
        place.first = tile.y;
        place.count = min_of(tile.z, TOK);
    } else {
        uint32_t n_tok = *(const uint32_t *)p.n_tok;
        place.count = n_tok > place.first ? min_of(n_tok - place.first, TOK) : 0;
    }
    return place;
}

/* Row n of the tile: of y, and of x. */
TANDEM_INLINE uint32_t y_row_of(const tile_params &p, const tile_place &place, uint32_t n) {
    return p.tiles ? ((const uint32_t *)p.entries)[place.first + n] : place.first + n;
}

TANDEM_INLINE uint64_t x_row_of(const tile_params &p, uint32_t y_row) {
    uint32_t i = p.tiles ? y_row / p.entries_per_x : y_row;
    return p.x + (uint64_t)row_index(p.rows, i) * p.x_stride;
}

/* Where each row of the tile begins; rows beyond its count are its last one. Ends with a barrier. */
template <uint32_t TOK>
TANDEM_INLINE void find_rows(const tile_params &p, const tile_place &place, uint64_t *x_at, uint64_t *y_at) {
    if (threadIdx.x < TOK) {
        uint32_t row = y_row_of(p, place, min_of(threadIdx.x, place.count - 1));
        x_at[threadIdx.x] = x_row_of(p, row);
        y_at[threadIdx.x] = p.y + (uint64_t)row * p.y_stride;
    }
    __syncthreads();
}

/* Row `i` of the tile's rows of W: the lower half are gate rows with glu, the upper half those of up. Rows
 * beyond the matrix are its last one. */
struct weight_row {
    const uint4 *w; /* the segment */
    uint32_t at;    /* its first unit */
    uint32_t row;   /* of its group */
};

template <class FORMAT>
TANDEM_INLINE weight_row find_weight_row(const tile_params &p, const tile_place &place, uint32_t i) {
    uint32_t is_up = p.glu && i >= TILE_HALF ? 1u : 0u;
    uint32_t row = min_of(place.row + (is_up ? i - TILE_HALF : i), p.n_row - 1);
    const uint64_t *table = (const uint64_t *)(is_up ? p.table_up : p.table) + place.expert * p.expert_stride;
    uint32_t segment = p.glu ? 0 : row >> p.segment_shift;
    row = is_up ? row + p.up_row : p.glu ? row : row & ((1u << p.segment_shift) - 1u);
    weight_row found = {(const uint4 *)table[segment], row_at<FORMAT>(row, place.n_block), row % GROUP_ROWS};
    return found;
}

/* ---- one word a lane ----
 *
 * word_block(w, at, c, j, t) has of block j of chunk c what codes(b, t, part) needs: four lanes share a row,
 * lane t has columns 4t .. 4t + 3 and 16 + 4t .. 16 + 4t + 3, so that a load of a warp is a line of 128 bytes
 * of 8 rows and no byte is loaded twice. */
TANDEM_INLINE uint4 splat(uint32_t word) {
    return make_uint4(word, word, word, word);
}

TANDEM_INLINE uint32_t unit_word(const uint4 *unit, uint32_t t) {
    return __ldg((const uint32_t *)unit + t);
}

template <bool MIN>
TANDEM_INLINE typename quant_q4<MIN>::block word_block(quant_q4<MIN>, const uint4 *w, uint32_t at, uint32_t c,
                                                       uint32_t j, uint32_t t) {
    typedef quant_q4<MIN> format;
    return {splat(unit_word(w + at + c * format::CHUNK_UNITS + 8 + j * 8, t))};
}

TANDEM_INLINE quant_q5_block word_block(quant_q5_0, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                        uint32_t t) {
    const uint4 *four = w + at + c * quant_q5_0::CHUNK_UNITS + 8 + j / 4 * 40;
    return {splat(unit_word(four + 8 + j % 4 * 8, t)), unit_word(four, j % 4), 0};
}

TANDEM_INLINE quant_q5_block word_block(quant_q5_k, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                        uint32_t t) {
    return word_block(quant_q5_0(), w, at, c, j, t); /* the same chunks */
}

TANDEM_INLINE quant_q5_block word_block(quant_q5_1, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                        uint32_t t) {
    const uint4 *two = w + at + c * quant_q5_1::CHUNK_UNITS + j / 2 * 24;
    uint2 pair = load_pair(two, j % 2);
    return {splat(unit_word(two + 8 + j % 2 * 8, t)), pair.y, pair.x};
}

TANDEM_INLINE quant_q8_0::block word_block(quant_q8_0, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                           uint32_t t) {
    const uint4 *quants = w + at + c * quant_q8_0::CHUNK_UNITS + 8 + j * 16;
    return {splat(unit_word(quants, t)), splat(unit_word(quants + 8, t))};
}

TANDEM_INLINE quant_q4_k::block word_block(quant_q4_k, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                           uint32_t t) {
    return {splat(unit_word(w + at + c * quant_q4_k::CHUNK_UNITS + 8 + j * 8, t))};
}

TANDEM_INLINE quant_q6_k::block word_block(quant_q6_k, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                           uint32_t t) {
    const uint4 *two = w + at + c * quant_q6_k::CHUNK_UNITS + 8 + j / 2 * 24;
    return {splat(unit_word(two + 8 + j % 2 * 8, t)), load_pair(two, j % 2)};
}

TANDEM_INLINE quant_q2_k::block word_block(quant_q2_k, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                           uint32_t) {
    return {load_pair(w + at + c * quant_q2_k::CHUNK_UNITS + 8 + j / 2 * 8, j % 2)};
}

TANDEM_INLINE quant_q3_k::block word_block(quant_q3_k, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                           uint32_t) {
    const uint4 *four = w + at + c * quant_q3_k::CHUNK_UNITS + 8 + j / 4 * 24;
    return {load_pair(four + 8 + j % 4 / 2 * 8, j % 2), unit_word(four, j % 4)};
}

TANDEM_INLINE quant_iq4_nl::block word_block(quant_iq4_nl, const uint4 *w, uint32_t at, uint32_t c,
                                             uint32_t j, uint32_t t) {
    return {splat(unit_word(w + at + c * quant_iq4_nl::CHUNK_UNITS + 8 + j * 8, t))};
}

TANDEM_INLINE quant_iq4_xs::block word_block(quant_iq4_xs, const uint4 *w, uint32_t at, uint32_t c,
                                             uint32_t j, uint32_t t) {
    return {splat(unit_word(w + at + c * quant_iq4_xs::CHUNK_UNITS + j * 8, t))};
}

TANDEM_INLINE quant_mxfp4::block word_block(quant_mxfp4, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                            uint32_t t) {
    return {splat(unit_word(w + at + c * quant_mxfp4::CHUNK_UNITS + j * 8, t))};
}

/* F32, F16, BF16: columns 4t .. 4t + 3 and 16 + 4t .. of block k, as bits. */
struct wide_block {
    uint4 part[2];
};
struct narrow_block {
    uint2 part[2];
};

TANDEM_INLINE wide_block word_block(quant_f32, const uint4 *w, uint32_t at, uint32_t c, uint32_t j,
                                    uint32_t t) {
    const uint4 *unit = w + at + (c * quant_f32::CHUNK_BLOCKS + j) * 64;
    return {{load_unit(unit + t * 8), load_unit(unit + (4 + t) * 8)}};
}

template <bool BRAIN>
TANDEM_INLINE narrow_block word_block(quant_narrow<BRAIN>, const uint4 *w, uint32_t at, uint32_t c,
                                      uint32_t j, uint32_t t) {
    const uint4 *unit = w + at + (c * quant_narrow<BRAIN>::CHUNK_BLOCKS + j) * 32;
    return {{load_pair(unit + t / 2 * 8, t % 2), load_pair(unit + (2 + t / 2) * 8, t % 2)}};
}

TANDEM_INLINE float4 part_floats(quant_f32, const wide_block &b, uint32_t part) {
    return make_float4(__uint_as_float(b.part[part].x), __uint_as_float(b.part[part].y),
                       __uint_as_float(b.part[part].z), __uint_as_float(b.part[part].w));
}

template <bool BRAIN>
TANDEM_INLINE float4 part_floats(quant_narrow<BRAIN>, const narrow_block &b, uint32_t part) {
    uint2 u = b.part[part];
    if (BRAIN)
        return make_float4(__uint_as_float(u.x << 16), __uint_as_float(u.x & 0xffff0000u),
                           __uint_as_float(u.y << 16), __uint_as_float(u.y & 0xffff0000u));
    float2 low = half2_bits(u.x), high = half2_bits(u.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

/* The scales of a chunk; the formats of plain numbers have none. */
struct no_header {};

template <class FORMAT, bool FLOAT> struct header_of {
    typedef typename FORMAT::header type;
    static TANDEM_MEMBER type load(const weight_row &row, uint32_t n_block, uint32_t c) {
        return FORMAT::load_header(row.w, row.at, row.row, n_block, c);
    }
};
template <class FORMAT> struct header_of<FORMAT, true> {
    typedef no_header type;
    static TANDEM_MEMBER type load(const weight_row &, uint32_t, uint32_t) {
        return {};
    }
};

/* Codes that are signed bytes as they are. */
template <class FORMAT> struct is_signed {
    static constexpr bool value = !FORMAT::HAS_MIN && FORMAT::DOT_ZERO == 0;
};

/* ---- results ---- */

/* Stores f of the sums of one row of x and one row of W; `up` goes with it with glu. */
TANDEM_INLINE void store_result(const tile_params &p, uint64_t y, uint32_t row, float sum, float up) {
    if (row < p.n_row)
        ((float *)y)[row] = p.glu ? gelu_tanh(sum) * up : soft_cap(sum, p.softcap);
}

/* The same for rows of W row .. row + 3, in one store where they lie so. */
TANDEM_INLINE void store_four(const tile_params &p, uint64_t y, uint32_t row, const float sum[4],
                              const float up[4]) {
    uint64_t at = y + row * 4ull;
    if (row + 4 > p.n_row || at % 16 != 0) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++)
            store_result(p, y, row + i, sum[i], up[i]);
        return;
    }
    float4 v = p.glu ? make_float4(gelu_tanh(sum[0]) * up[0], gelu_tanh(sum[1]) * up[1],
                                   gelu_tanh(sum[2]) * up[2], gelu_tanh(sum[3]) * up[3])
                     : make_float4(soft_cap(sum[0], p.softcap), soft_cap(sum[1], p.softcap),
                                   soft_cap(sum[2], p.softcap), soft_cap(sum[3], p.softcap));
    *(float4 *)at = v;
}

/* ---- copies that arrive at wait_copies ---- */

TANDEM_INLINE void copy_16(void *to, const void *from) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}

TANDEM_INLINE void copy_8(void *to, const void *from) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(at), "l"(from) : "memory");
}

TANDEM_INLINE void end_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most LEFT groups of copies are under way. */
template <int LEFT> TANDEM_INLINE void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

/* The two kernels of a format and precision. */
#define TILE_KERNEL(FORMAT, PRECISION, HEIGHT, TOK)                                                          \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS)                                               \
        matmul_##FORMAT##_##PRECISION##_##HEIGHT(const __grid_constant__ tile_params p) {                    \
        multiply_tile_##PRECISION<quant_##FORMAT, TOK>(p);                                                   \
    }
#define TILE_KERNELS(FORMAT, PRECISION)                                                                      \
    TILE_KERNEL(FORMAT, PRECISION, tall, TILE_TALL)                                                          \
    TILE_KERNEL(FORMAT, PRECISION, short, TILE_SHORT)

#endif
