/* matvec.cuh: products of a matrix with few rows of x (params.h, matvec_params): the body of the kernels
 * matvec_FORMAT_PRECISION_NCOL.
 *
 * computes    y = f(W x); f: identity, soft cap, or with GLU two matrices and gelu(gate x) * (up x); with
 *             EXPERTS_SUM the sum over a row's experts, weighted. x: rows, or an output of a STREAM
 * inputs      W [n_row][n_col] as tandem/pack.h lays it; x f32 rows (exact, f16: rounded before), or rows of
 *             quantise_q8 (dp4a)
 * grid        x: strips of 16 rows of up to three products; y: NCOL rows of x, or entries, or rows (experts).
 *             block: the warps of a strip, parts (gate and up, or experts) times splits of the columns. Two
 *             lanes share a row, blocks of 32 columns alternate between them, so that 704, 2112 and 2816
 *             columns (22, 66, 88 blocks) leave no lane idle
 * bytes       W once per NCOL rows of x: whole 16-byte units of whole 128-byte lines, past the first-level
 *             cache; a header and two or four units a lane are asked for before their first use. A row of x
 *             once a block, into shared memory; several at exact precision stay in the first-level cache
 *             With a prologue the residual stream comes from the second-level cache, a row of each input a
 *             block
 * phase       every product of a layer at decode, with the norms before it, and the head
 * order       exact: columns of a block ascending (formats with nibbles: of its halves, then both), blocks
 *             of a lane ascending, lane 0 + lane 1, splits ascending, parts ascending. q8: 32 columns
 *             (HALF_SCALES: 16) exactly in int32, then f32
 * reference   backend/reference/matmul.c, moe_ffn.c
 */
#ifndef TANDEM_MATVEC_CUH
#define TANDEM_MATVEC_CUH

#include "activations.cuh"
#include "q8.cuh"
#include "quant.cuh"
#include "round_f16.cuh"
#include "stream.cuh"

/* Where a lane works. */
typedef struct matvec_lane {
    const uint4 *w;   /* first unit of the row */
    uint32_t w_row;   /* of its group */
    uint32_t part;    /* 0 or 1: blocks part, part + 2, ... */
    uint32_t n_block; /* of a row */
    uint32_t n_col;
    const uint4 *x;
} matvec_lane;

TANDEM_INLINE float dot4(float4 v, float4 x, float sum) {
    sum = fmaf(v.x, x.x, sum);
    sum = fmaf(v.y, x.y, sum);
    sum = fmaf(v.z, x.z, sum);
    return fmaf(v.w, x.w, sum);
}

TANDEM_INLINE float4 as_floats(uint4 u) {
    return make_float4(__uint_as_float(u.x), __uint_as_float(u.y), __uint_as_float(u.z),
                       __uint_as_float(u.w));
}

/* ---- formats without codes ---- */

/* Columns 4 q .. 4 q + 3 of a row of x; zero from n_col on. */
TANDEM_INLINE float4 load_x_tail(const uint4 *x, uint32_t q, uint32_t n_col) {
    if (4 * q + 4 <= n_col)
        return as_floats(x[q]);
    const float *scalars = (const float *)(x + q);
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (4 * q < n_col)
        v.x = scalars[0];
    if (4 * q + 1 < n_col)
        v.y = scalars[1];
    if (4 * q + 2 < n_col)
        v.z = scalars[2];
    return v;
}

TANDEM_INLINE float4 load_x_codes(const uint4 *x, uint32_t k, uint32_t i, uint32_t n_block) {
    uint32_t word = ((const uint32_t *)x)[8 * k + i];
    float d = __uint_as_float(((const uint32_t *)x)[8 * n_block + 2 * k]);
    float4 v = signed_floats(word);
    return make_float4(d * v.x, d * v.y, d * v.z, d * v.w);
}

/* A unit of weights is loaded once, and used whole. */
template <class FORMAT, bool Q8, uint32_t N_COL>
TANDEM_INLINE void multiply_values(const matvec_lane &lane, const uint32_t *x_at, uint32_t k,
                                   float sum[N_COL]) {
    constexpr uint32_t UNITS = FORMAT::BLOCK_UNITS, FOURS = 8 / UNITS;
    constexpr uint32_t UNROLL = N_COL <= 2 ? 4 / FOURS : 1;
#pragma unroll UNROLL
    for (uint32_t unit = 0; unit < UNITS; unit++) {
        uint4 bits = load_unit(lane.w + (k * UNITS + unit) * 8);
#pragma unroll
        for (uint32_t four = 0; four < FOURS; four++) {
            float4 v = FORMAT::values_of(bits, four);
            uint32_t i = unit * FOURS + four;
#pragma unroll
            for (uint32_t n = 0; n < N_COL; n++) {
                const uint4 *x = lane.x + x_at[n];
                sum[n] =
                    dot4(v, Q8 ? load_x_codes(x, k, i, lane.n_block) : load_x_tail(x, 8 * k + i, lane.n_col),
                         sum[n]);
            }
        }
    }
}

/* ---- formats with codes ---- */

/* Eight sums are worked on by fours, so that x of four rows at most is in registers: swaps the fours. */
template <uint32_t N_COL> TANDEM_INLINE void take_turns(float sum[N_COL]) {
#pragma unroll
    for (uint32_t n = 0; n + 4 < N_COL; n++) {
        float other = sum[n];
        sum[n] = sum[n + 4];
        sum[n + 4] = other;
    }
}

/* d and m - d * zero of half a block: value = d * float + the second. */
template <class FORMAT>
TANDEM_INLINE float2 affine_of(const typename FORMAT::header &h, const typename FORMAT::block &b, uint32_t j,
                               uint32_t part, bool live) {
    float2 s = FORMAT::scale(h, b, j, part);
    float bias = FORMAT::HAS_MIN ? s.y - s.x * FORMAT::FLOAT_ZERO : -s.x * FORMAT::FLOAT_ZERO;
    return live ? make_float2(s.x, bias) : make_float2(0.0f, 0.0f);
}

template <class FORMAT, uint32_t N_COL>
TANDEM_INLINE void multiply_word(const matvec_lane &lane, const uint32_t *x_at,
                                 const typename FORMAT::block &b, float2 s, uint32_t part, uint32_t word,
                                 uint32_t k, float sum[N_COL]) {
    float4 f = FORMAT::floats(b, word, part);
    float4 v =
        make_float4(fmaf(f.x, s.x, s.y), fmaf(f.y, s.x, s.y), fmaf(f.z, s.x, s.y), fmaf(f.w, s.x, s.y));
    const uint4 *x = lane.x + (k * 8 + 4 * part + word);
#pragma unroll
    for (uint32_t n = 0; n < N_COL; n++)
        sum[n] = dot4(v, as_floats(x[x_at[n]]), sum[n]);
}

/* d * (128 + code) + (m - d * (128 + zero)): one product per weight, exact where m = 0. Loops are rolled as
 * far as keeps x in flight within 64 registers. */
template <class FORMAT, uint32_t N_COL>
TANDEM_INLINE void multiply_exact(const matvec_lane &lane, const uint32_t *x_at,
                                  const typename FORMAT::header &h, const typename FORMAT::block &b,
                                  uint32_t j, uint32_t k, bool live, float sum[N_COL]) {
    constexpr uint32_t UNROLL = N_COL > 2    ? 1
                                : N_COL == 2 ? 4
                                             : 2,
                       FEW = N_COL < 4 ? N_COL : 4, TURNS = N_COL / FEW;
    float2 s;
    if (!FORMAT::HALF_SCALES)
        s = affine_of<FORMAT>(h, b, j, 0, live);
#pragma unroll 1
    for (uint32_t half = 0; half < 2 * TURNS; half++) {
        uint32_t part = half / TURNS, first = half % TURNS * FEW;
        if (FORMAT::HALF_SCALES)
            s = affine_of<FORMAT>(h, b, j, part, live);
#pragma unroll UNROLL
        for (uint32_t word = 0; word < 4; word++)
            multiply_word<FORMAT, FEW>(lane, x_at + first, b, s, part, word, k, sum);
        take_turns<N_COL>(sum);
    }
}

/* Formats whose codes are four bits and mean themselves. */
template <class FORMAT> constexpr bool has_nibbles = false;
template <> constexpr bool has_nibbles<quant_q4_0> = true;
template <> constexpr bool has_nibbles<quant_q4_1> = true;
template <> constexpr bool has_nibbles<quant_q4_k> = true;

/* Formats whose rows are whole super-blocks. */
template <class FORMAT> constexpr bool has_whole_chunks = false;
template <> constexpr bool has_whole_chunks<quant_q2_k> = true;
template <> constexpr bool has_whole_chunks<quant_q3_k> = true;
template <> constexpr bool has_whole_chunks<quant_q4_k> = true;
template <> constexpr bool has_whole_chunks<quant_q5_k> = true;
template <> constexpr bool has_whole_chunks<quant_q6_k> = true;
template <> constexpr bool has_whole_chunks<quant_iq4_xs> = true;

/* Formats in which four blocks share a unit, of which each has a word. */
template <class FORMAT> constexpr bool has_common_unit = false;
template <> constexpr bool has_common_unit<quant_q5_0> = true;
template <> constexpr bool has_common_unit<quant_q5_k> = true;
template <> constexpr bool has_common_unit<quant_q3_k> = true;

/* The low (part 0) or high four bits of each byte of word as 16 + code: below the exponent of 16. */
TANDEM_INLINE float4 nibble_floats(uint32_t word, uint32_t part) {
    uint32_t up;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" /* (a & b) | c */
        : "=r"(up)
        : "r"(part == 0 ? word << 3 : word >> 1), "n"(0x78787878u), "n"(0x80808080u));
    return make_float4(__uint_as_float(__byte_perm(up, 0x41000000u, 0x7044)),
                       __uint_as_float(__byte_perm(up, 0x41000000u, 0x7144)),
                       __uint_as_float(__byte_perm(up, 0x41000000u, 0x7244)),
                       __uint_as_float(__byte_perm(up, 0x41000000u, 0x7344)));
}

/* d * (sum of (16 + code) * x - (16 + zero) * sum of x) + m * sum of x: no product for the scale of a weight.
 * Sums of x by blocks lie behind the staged row. The codes' offset is small, so that little cancels: an error
 * of a block is at most 32 ulp of 24 |x|. */
template <class FORMAT>
TANDEM_INLINE void multiply_factored(const matvec_lane &lane, const typename FORMAT::header &h,
                                     const typename FORMAT::block &b, uint32_t j, uint32_t k, bool live,
                                     float &sum) {
    float2 s = FORMAT::scale(h, b, j, 0);
    float x_sum = ((const float *)(lane.x + 8 * lane.n_block))[k], part_sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (uint32_t part = 0; part < 2; part++)
#pragma unroll
        for (uint32_t word = 0; word < 4; word++)
            part_sum[part] = dot4(nibble_floats(word_of(b.quants, word), part),
                                  as_floats(lane.x[k * 8 + 4 * part + word]), part_sum[part]);
    float total = fmaf(-(16.0f + (float)FORMAT::DOT_ZERO), x_sum, part_sum[0] + part_sum[1]);
    total *= s.x;
    if (FORMAT::HAS_MIN)
        total = fmaf(s.y, x_sum, total);
    sum += live ? total : 0.0f;
}

/* Half of a block, for as many rows of x as leave no registers for all of it. */
template <class FORMAT, uint32_t N_COL>
TANDEM_INLINE void multiply_q8_half(const matvec_lane &lane, const uint32_t *x_at, uint32_t part,
                                    float2 scale, const uint32_t codes[4], uint32_t k, float sum[N_COL]) {
#pragma unroll
    for (uint32_t n = 0; n < N_COL; n++) {
        const uint4 *x = lane.x + x_at[n];
        uint4 xv = x[2 * k + part];
        uint2 meta = ((const uint2 *)x)[4 * lane.n_block + k];
        int total = __dp4a((int)codes[0], (int)xv.x, 0);
        total = __dp4a((int)codes[1], (int)xv.y, total);
        total = __dp4a((int)codes[2], (int)xv.z, total);
        total = __dp4a((int)codes[3], (int)xv.w, total);
        float d = __uint_as_float(meta.x);
        int x_sum = part == 0 ? (int)(meta.y << 16) >> 16 : (int)meta.y >> 16;
        sum[n] = fmaf(d * scale.x, (float)(total - FORMAT::DOT_ZERO * x_sum), sum[n]);
        if (FORMAT::HAS_MIN)
            sum[n] = fmaf(d * scale.y, (float)x_sum, sum[n]);
    }
}

template <class FORMAT, uint32_t N_COL>
TANDEM_INLINE void multiply_q8_halves(const matvec_lane &lane, const uint32_t *x_at,
                                      const typename FORMAT::header &h, const typename FORMAT::block &b,
                                      uint32_t j, uint32_t k, bool live, float sum[N_COL]) {
    constexpr uint32_t FEW = N_COL < 4 ? N_COL : 4;
#pragma unroll 1
    for (uint32_t part = 0; part < 2; part++) {
        float2 scale = live ? FORMAT::scale(h, b, j, part) : make_float2(0.0f, 0.0f);
        uint32_t codes[4];
#pragma unroll
        for (uint32_t word = 0; word < 4; word++)
            codes[word] = FORMAT::codes(b, word, part);
#pragma unroll 1
        for (uint32_t first = 0; first < N_COL; first += FEW) {
            multiply_q8_half<FORMAT, FEW>(lane, x_at + first, part, scale, codes, k, sum);
            take_turns<N_COL>(sum);
        }
    }
}

template <class FORMAT, uint32_t N_COL>
TANDEM_INLINE void multiply_q8(const matvec_lane &lane, const uint32_t *x_at,
                               const typename FORMAT::header &h, const typename FORMAT::block &b, uint32_t j,
                               uint32_t k, bool live, float sum[N_COL]) {
    float2 first = FORMAT::scale(h, b, j, 0),
           second = FORMAT::HALF_SCALES ? FORMAT::scale(h, b, j, 1) : first;
    if (!live)
        first = second = make_float2(0.0f, 0.0f);
#pragma unroll
    for (uint32_t n = 0; n < N_COL; n++) {
        const uint4 *x = lane.x + x_at[n];
        int total[2] = {0, 0};
#pragma unroll
        for (uint32_t part = 0; part < 2; part++) {
            uint4 xv = x[2 * k + part];
#pragma unroll
            for (uint32_t word = 0; word < 4; word++) {
                int &t = total[FORMAT::HALF_SCALES ? part : 0];
                t = __dp4a((int)FORMAT::codes(b, word, part), (int)word_of(xv, word), t);
            }
        }
        uint2 meta = ((const uint2 *)x)[4 * lane.n_block + k];
        float d = __uint_as_float(meta.x), y = sum[n];
        int first_sum = (int)(meta.y << 16) >> 16, second_sum = (int)meta.y >> 16;
        if (FORMAT::HALF_SCALES) {
            y = fmaf(d * first.x, (float)(total[0] - FORMAT::DOT_ZERO * first_sum), y);
            y = fmaf(d * second.x, (float)(total[1] - FORMAT::DOT_ZERO * second_sum), y);
            if (FORMAT::HAS_MIN)
                y = fmaf(d, fmaf(first.y, (float)first_sum, second.y * (float)second_sum), y);
        } else {
            y = fmaf(d * first.x, (float)(total[0] - FORMAT::DOT_ZERO * (first_sum + second_sum)), y);
            if (FORMAT::HAS_MIN)
                y = fmaf(d * first.y, (float)(first_sum + second_sum), y);
        }
        sum[n] = y;
    }
}

template <class FORMAT, bool Q8, uint32_t N_COL, bool FACTORED>
TANDEM_INLINE void multiply_block(const matvec_lane &lane, const uint32_t *x_at,
                                  const typename FORMAT::header &h, const typename FORMAT::block &b,
                                  uint32_t j, uint32_t k, bool live, float sum[N_COL]) {
    if constexpr (FACTORED)
        multiply_factored<FORMAT>(lane, h, b, j, k, live, sum[0]);
    else if constexpr (Q8 && N_COL > 2)
        multiply_q8_halves<FORMAT, N_COL>(lane, x_at, h, b, j, k, live, sum);
    else if constexpr (Q8)
        multiply_q8<FORMAT, N_COL>(lane, x_at, h, b, j, k, live, sum);
    else
        multiply_exact<FORMAT, N_COL>(lane, x_at, h, b, j, k, live, sum);
}

/* Blocks of the lane that are asked for before the first is used: all of a chunk where registers allow. Two
 * at least where four blocks have a unit in common, which is loaded once for both. */
template <class FORMAT, bool Q8, uint32_t N_COL, bool FACTORED, bool WHOLE> struct matvec_piece {
    static constexpr bool HAS_COMMON = has_common_unit<FORMAT>;
    static constexpr bool IS_SMALL = Q8 && sizeof(typename FORMAT::block) == 16;
    static constexpr bool IS_WIDE = !Q8 && FORMAT::HALF_SCALES && sizeof(typename FORMAT::block) > 16;
    static constexpr bool IS_TIGHT = N_COL > 1 || IS_WIDE || (!WHOLE && !FACTORED);
    static constexpr uint32_t PER_LANE = HAS_COMMON ? 2
                                         : IS_TIGHT ? 1
                                         : IS_SMALL ? FORMAT::CHUNK_BLOCKS / 2
                                                    : 2;
};

/* The lane's blocks of the n_left of chunk c; WHOLE: n_left is CHUNK_BLOCKS. Blocks 2 u and 2 u + 1 are those
 * of the two lanes of a row. */
template <class FORMAT, bool Q8, uint32_t N_COL, bool FACTORED, bool WHOLE>
TANDEM_INLINE void multiply_blocks(const matvec_lane &lane, const uint32_t *x_at,
                                   const typename FORMAT::header &h, uint32_t c, uint32_t n_left,
                                   float sum[N_COL]) {
    constexpr uint32_t PER_LANE = matvec_piece<FORMAT, Q8, N_COL, FACTORED, WHOLE>::PER_LANE;
    constexpr uint32_t UNROLL =
        FACTORED && WHOLE && !has_whole_chunks<FORMAT> ? FORMAT::CHUNK_BLOCKS / 2 / PER_LANE : 1;
#pragma unroll UNROLL
    for (uint32_t piece = 0; piece < (WHOLE ? FORMAT::CHUNK_BLOCKS : n_left); piece += 2 * PER_LANE) {
        typename FORMAT::block b[PER_LANE];
        [[maybe_unused]] uint4 common;
        if constexpr (has_common_unit<FORMAT>)
            common = FORMAT::load_common(lane.w, 0, c, piece / 4);
#pragma unroll
        for (uint32_t u = 0; u < PER_LANE; u++) {
            uint32_t j = piece + 2 * u;
            if (!WHOLE && j >= n_left)
                break;
            j += WHOLE || j + 1 < n_left ? lane.part : 0; /* a lane without a block loads its neighbour's */
            if constexpr (has_common_unit<FORMAT>)
                b[u] = FORMAT::load_rest(common, lane.w, 0, c, j);
            else
                b[u] = FORMAT::load_block(lane.w, 0, c, j);
        }
#pragma unroll
        for (uint32_t u = 0; u < PER_LANE; u++) {
            uint32_t j = piece + 2 * u;
            bool is_pair = WHOLE || j + 1 < n_left, live = is_pair || lane.part == 0;
            if (!WHOLE && j >= n_left)
                break;
            j += is_pair ? lane.part : 0;
            multiply_block<FORMAT, Q8, N_COL, FACTORED>(lane, x_at, h, b[u], j, c * FORMAT::CHUNK_BLOCKS + j,
                                                        live, sum);
        }
    }
}

/* The lane's blocks of chunk c. */
template <class FORMAT, bool Q8, uint32_t N_COL, bool FACTORED>
TANDEM_INLINE void multiply_chunk(const matvec_lane &lane, const uint32_t *x_at, uint32_t c,
                                  float sum[N_COL]) {
    constexpr uint32_t CHUNK = FORMAT::CHUNK_BLOCKS;
    uint32_t n_left = min(lane.n_block - c * CHUNK, CHUNK);
    if constexpr (FORMAT::IS_FLOAT) {
        for (uint32_t j = lane.part; j < n_left; j += 2)
            multiply_values<FORMAT, Q8, N_COL>(lane, x_at, c * CHUNK + j, sum);
    } else {
        typename FORMAT::header h = FORMAT::load_header(lane.w, 0, lane.w_row, lane.n_block, c);
        if (N_COL == 1 && (has_whole_chunks<FORMAT> || (!has_common_unit<FORMAT> && n_left == CHUNK)))
            multiply_blocks<FORMAT, Q8, N_COL, FACTORED, true>(lane, x_at, h, c, CHUNK, sum);
        else
            multiply_blocks<FORMAT, Q8, N_COL, FACTORED, false>(lane, x_at, h, c, n_left, sum);
    }
}

/* ---- the strip ---- */

TANDEM_INLINE const uint32_t *route_row(const matvec_params &p, uint32_t i) {
    return (const uint32_t *)(p.route + (uint64_t)row_index(p.route_rows, i) * p.route_stride);
}

/* Row of x for row r of the block's. */
TANDEM_INLINE uint32_t x_row_of(const matvec_params &p, const matvec_job &job, uint32_t first_tok, uint32_t r,
                                uint32_t n_live) {
    if (p.experts == EXPERTS_SUM)
        return first_tok * p.n_used + r;
    return row_index(job.rows, p.experts == EXPERTS_ENTRY ? first_tok / p.entries_per_x
                                                          : first_tok + min(r, n_live - 1));
}

/* Rounds a row of x into shared memory, eight lanes a group. */
TANDEM_INLINE void stage_q8(const uint4 *x, uint32_t n_col, uint32_t *to) {
    uint32_t n_block = (n_col + 31) / 32, lane = threadIdx.x % 8;
    for (uint32_t first = 0; first < n_block; first += blockDim.x / 8) {
        uint32_t g = first + threadIdx.x / 8;
        uint2 meta;
        uint32_t codes = q8_round_group(load_x_tail(x, 8 * g + lane, n_col), meta);
        if (g < n_block)
            to[8 * g + lane] = codes;
        if (g < n_block && lane == 0)
            ((uint2 *)to)[4 * n_block + g] = meta;
    }
}

/* Power of two by which a row is rounded to f16, and its inverse. Has two barriers. */
TANDEM_INLINE float2 row_scale(const uint4 *x, uint32_t n_col) {
    __shared__ uint32_t scratch[32];
    uint32_t most = 0;
    for (uint32_t u = threadIdx.x; 4 * u < n_col; u += blockDim.x)
        most = most_bits(most, load_x_tail(x, u, n_col));
    most = __reduce_max_sync(0xffffffffu, most);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        scratch[threadIdx.x / 32] = most;
    __syncthreads();
    for (uint32_t i = 0; i < blockDim.x / 32; i++)
        most = max(most, scratch[i]);
    return f16_scale(most);
}

/* Copies a row, rounded to f16 if ROUND, and behind it the sums of its blocks, eight lanes a block. */
template <bool ROUND> TANDEM_INLINE void stage_floats(const uint4 *x, uint32_t n_col, float4 *to) {
    uint32_t n_unit = (n_col + 31) / 32 * 8;
    float2 scale = ROUND ? row_scale(x, n_col) : make_float2(1.0f, 1.0f);
    for (uint32_t first = 0; first < n_unit; first += blockDim.x) {
        uint32_t u = first + threadIdx.x;
        float4 v = load_x_tail(x, u, n_col);
        if (ROUND)
            v = round_columns(v, scale);
        float sum = (v.x + v.y) + (v.z + v.w);
#pragma unroll
        for (uint32_t mask = 1; mask < 8u; mask *= 2u)
            sum += __shfl_xor_sync(0xffffffffu, sum, mask);
        if (u < n_unit)
            to[u] = v;
        if (u < n_unit && u % 8 == 0)
            ((float *)(to + n_unit))[u / 8] = sum;
    }
}

template <bool Q8> TANDEM_INLINE void stage_row(const matvec_job &job, const uint4 *x, uint4 *to) {
    if (Q8)
        stage_q8(x, job.n_col, (uint32_t *)to);
    else if (job.stage == STAGE_F16)
        stage_floats<true>(x, job.n_col, (float4 *)to);
    else
        stage_floats<false>(x, job.n_col, (float4 *)to);
}

/* Stages the n_row rows of x of the block into `to`. Ends with a barrier. */
template <bool Q8, uint32_t N_COL>
TANDEM_INLINE void stage_rows(const matvec_params &p, const matvec_job &job, uint32_t first_tok,
                              uint32_t n_live, uint32_t n_row, uint4 *to) {
    uint32_t units = MATVEC_STAGE_BYTES(job.stage, job.n_col) / 16;
    if (N_COL == 1 && p.has_prologue) {
        uint4 *row = Q8 ? to + units : to;
        stage_stream(p.prologue, first_tok, row_index(p.prologue.index, first_tok), job.output,
                     (float4 *)row);
        stage_row<Q8>(job, row, to);
    } else {
        for (uint32_t r = 0; r < n_row; r++, to += units)
            stage_row<Q8>(
                job, (const uint4 *)(job.x + (uint64_t)x_row_of(p, job, first_tok, r, n_live) * job.x_stride),
                to);
    }
    __syncthreads();
}

/* One expert's share of the sums, or the only one's. */
template <class FORMAT, bool Q8, uint32_t N_COL, bool FACTORED>
TANDEM_INLINE void multiply_rows(const matvec_params &p, const matvec_job &job, const uint4 *x, uint32_t part,
                                 uint32_t split, uint32_t expert, const uint32_t *x_at, float sum[N_COL]) {
    uint32_t thread = threadIdx.x % 32, is_up = p.glu & part;
    uint32_t row = min(blockIdx.x - job.first_block, (job.n_row - 1) / MATVEC_WARP_ROWS) * MATVEC_WARP_ROWS;
    uint32_t first = (is_up ? job.up_row : 0) + row;
    const uint64_t *table = (const uint64_t *)(is_up ? job.table[1] : job.table[0]);
    /* a strip never crosses a segment */
    uint32_t in_segment = (1u << job.segment_shift) - 1;
    row = min(row + thread % 16, job.n_row - 1) + (is_up ? job.up_row : 0);
    matvec_lane lane;
    lane.n_col = job.n_col;
    lane.n_block = (job.n_col + 31) / 32;
    lane.w = (const uint4 *)table[(uint64_t)expert * p.expert_stride + (first >> job.segment_shift)] +
             row_at<FORMAT>(row & in_segment, lane.n_block);
    lane.w_row = row % GROUP_ROWS;
    lane.part = thread / 16;
    lane.x = x;
    uint32_t n_chunk = (lane.n_block + FORMAT::CHUNK_BLOCKS - 1) / FORMAT::CHUNK_BLOCKS;
    uint32_t end = n_chunk * (split + 1) / p.n_split;
    for (uint32_t c = n_chunk * split / p.n_split; c < end; c++)
        multiply_chunk<FORMAT, Q8, N_COL, FACTORED>(lane, x_at, c, sum);
}

/* Weight of a choice of the block's row; NaN for an id that is no expert. Asked for after the product, from
 * the row's number again, so that no register keeps it. */
TANDEM_INLINE float choice_weight(const matvec_params &p, uint32_t choice) {
    uint32_t group;
    asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(group));
    const volatile uint32_t *route = route_row(p, group);
    uint32_t expert = route[choice], weight = route[p.n_used + choice];
    return __uint_as_float(expert < p.n_expert ? weight : 0x7fc00000u);
}

/* One row of x, or the rows of the choices of a token: their matrices are those of experts then. */
template <class FORMAT, bool Q8, bool FACTORED>
TANDEM_INLINE void multiply_one(const matvec_params &p, const matvec_job &job, const uint4 *x,
                                uint32_t x_units, bool staged, uint32_t part, uint32_t split, float sum[1]) {
    const uint32_t zero[1] = {0};
    if (p.experts == EXPERTS_SUM) {
        for (uint32_t choice = part; choice < p.n_used; choice += p.n_part) {
            uint32_t expert = route_row(p, blockIdx.y)[choice];
            float one[1] = {0.0f};
            uint32_t at = (staged ? choice : x_row_of(p, job, blockIdx.y, choice, 1)) * x_units;
            multiply_rows<FORMAT, Q8, 1, FACTORED>(p, job, x + at, 0, split, min(expert, p.n_expert - 1),
                                                   zero, one);
            sum[0] = fmaf(choice_weight(p, choice), one[0], sum[0]);
        }
        return;
    }
    uint32_t expert = 0;
    if (p.experts == EXPERTS_ENTRY)
        expert = min(route_row(p, blockIdx.y / p.n_used)[blockIdx.y % p.n_used], p.n_expert - 1);
    uint32_t at = staged ? 0 : x_row_of(p, job, blockIdx.y, 0, 1) * x_units;
    multiply_rows<FORMAT, Q8, 1, FACTORED>(p, job, x + at, part, split, expert, zero, sum);
}

/* The sum over the splits of a part. */
TANDEM_INLINE float part_sum(const matvec_params &p, const float *sums, uint32_t part, uint32_t t,
                             uint32_t n_sum) {
    float sum = 0.0f;
    for (uint32_t s = 0; s < p.n_split; s++)
        sum += sums[(part * p.n_split + s) * n_sum + t];
    return sum;
}

TANDEM_INLINE const matvec_job &job_of(const matvec_params &p, uint32_t block) {
    return p.job[p.n_job > 2 && block >= p.job[2].first_block   ? 2
                 : p.n_job > 1 && block >= p.job[1].first_block ? 1
                                                                : 0];
}

/* Sums of the warps to rows of y. What it needs to know it asks for again, so that no register keeps it
 * during the products. */
template <uint32_t N_COL> TANDEM_INLINE void write_rows(const matvec_params &p, const float *sums) {
    constexpr uint32_t N_SUM = N_COL * MATVEC_WARP_ROWS;
    uint32_t thread, block, group;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
    asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(group));
    const matvec_job &job = job_of(p, block);
    uint32_t first_tok = p.experts == EXPERTS_NONE ? group * N_COL : group;
    uint32_t n_tok = *(const volatile uint32_t *)p.n_tok * (p.experts == EXPERTS_ENTRY ? p.n_used : 1);
    for (uint32_t t = thread; t < N_SUM; t += blockDim.x) {
        uint32_t tok = first_tok + t / MATVEC_WARP_ROWS;
        uint32_t row = (block - job.first_block) * MATVEC_WARP_ROWS + t % MATVEC_WARP_ROWS;
        float v = part_sum(p, sums, 0, t, N_SUM);
        if (p.glu)
            v = gelu_tanh(v) * part_sum(p, sums, 1, t, N_SUM);
        else
            for (uint32_t i = 1; i < p.n_part; i++)
                v += part_sum(p, sums, i, t, N_SUM);
        if (!p.glu)
            v = soft_cap(v, job.softcap);
        if (row < job.n_row && tok < n_tok)
            ((float *)(job.y + (uint64_t)tok * job.y_stride))[row] = v;
    }
}

template <class FORMAT, bool Q8, uint32_t N_COL> TANDEM_INLINE void matvec(const matvec_params &p) {
    extern __shared__ __align__(16) float sums[]; /* [warp][N_COL][16], then rows of a stage */
    uint32_t warp = threadIdx.x / 32, part = warp / p.n_split, split = warp % p.n_split;
    const matvec_job &job = job_of(p, blockIdx.x);
    uint32_t group = blockIdx.y, first_tok = p.experts == EXPERTS_NONE ? group * N_COL : group;
    uint32_t n_tok = *(const uint32_t *)p.n_tok * (p.experts == EXPERTS_ENTRY ? p.n_used : 1);
    if (first_tok >= n_tok)
        return;
    uint32_t n_live = min(n_tok - first_tok, N_COL), x_units = job.x_stride / 16;
    bool staged = job.stage != STAGE_NONE;
    uint4 *stage = (uint4 *)(sums + blockDim.x / 32 * N_COL * MATVEC_WARP_ROWS);
    if (staged) {
        stage_rows<Q8, N_COL>(p, job, first_tok, n_live, p.experts == EXPERTS_SUM ? p.n_used : N_COL, stage);
        x_units = MATVEC_STAGE_BYTES(job.stage, job.n_col) / 16;
    }
    const uint4 *x = staged ? stage : (const uint4 *)job.x;
    float sum[N_COL];
#pragma unroll
    for (uint32_t n = 0; n < N_COL; n++)
        sum[n] = 0.0f;
    if constexpr (N_COL > 1) {
        __shared__ uint32_t x_at[N_COL]; /* unit where a row of x begins: eight registers saved */
        if (threadIdx.x < N_COL)
            x_at[threadIdx.x] =
                (staged ? threadIdx.x : x_row_of(p, job, first_tok, threadIdx.x, n_live)) * x_units;
        __syncthreads();
        multiply_rows<FORMAT, Q8, N_COL, false>(p, job, x, part, split, 0, x_at, sum);
    } else if (!Q8 && has_nibbles<FORMAT> && staged) {
        multiply_one<FORMAT, Q8, !Q8 && has_nibbles<FORMAT>>(p, job, stage, x_units, true, part, split, sum);
    } else {
        multiply_one<FORMAT, Q8, false>(p, job, x, x_units, staged, part, split, sum);
    }

#pragma unroll
    for (uint32_t n = 0; n < N_COL; n++) {
        float other = __shfl_xor_sync(0xffffffffu, sum[n], 16);
        if (threadIdx.x % 32 < 16)
            sums[(threadIdx.x / 32 * N_COL + n) * MATVEC_WARP_ROWS + threadIdx.x % 32] = sum[n] + other;
    }
    __syncthreads();
    write_rows<N_COL>(p, sums);
}

#define MATVEC_KERNEL(FORMAT, PRECISION, IS_Q8, N_COL)                                                       \
    extern "C" __global__ void __launch_bounds__(32 * MATVEC_MAX_WARPS(N_COL), (N_COL) > 1 ? 4 : 2)          \
        matvec_##FORMAT##_##PRECISION##_##N_COL(const __grid_constant__ matvec_params p) {                   \
        matvec<quant_##FORMAT, IS_Q8, N_COL>(p);                                                             \
    }

/* Every kernel of a format. */
#define MATVEC_KERNELS(FORMAT)                                                                               \
    MATVEC_KERNEL(FORMAT, exact, false, 1)                                                                   \
    MATVEC_KERNEL(FORMAT, exact, false, 2)                                                                   \
    MATVEC_KERNEL(FORMAT, exact, false, 4)                                                                   \
    MATVEC_KERNEL(FORMAT, exact, false, 8)                                                                   \
    MATVEC_KERNEL(FORMAT, q8, true, 1)                                                                       \
    MATVEC_KERNEL(FORMAT, q8, true, 2)                                                                       \
    MATVEC_KERNEL(FORMAT, q8, true, 4)                                                                       \
    MATVEC_KERNEL(FORMAT, q8, true, 8)

#endif
