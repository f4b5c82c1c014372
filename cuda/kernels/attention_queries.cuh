/* attention_queries.cuh: the queries of a tile of prefill attention: operands in registers, and which keys
 * they see.
 */
#ifndef TANDEM_ATTENTION_QUERIES_CUH
#define TANDEM_ATTENTION_QUERIES_CUH

#include "attention_rows.cuh"
#include "matrix.cuh"

#define LOG2_E 1.4426950408889634f

/* What a block has. Found anew where it is wanted, since registers are few while keys are read. */
struct prefill_place {
    uint32_t n_rows, n_split, tile, first_row;
    uint32_t n_tile_row; /* of the tile; 0: the block has no work */
};

static __device__ __forceinline__ prefill_place find_place(const attention_params &p) {
    const run_header *header = at<const run_header>(p.run);
    uint32_t n_rows = load_word(p.n_tok), n_tile = (n_rows + p.tile_rows - 1u) / p.tile_rows;
    uint32_t n_split =
        attention_splits(header->n_context, header->n_rows, p.window, p.keys_per_split, p.max_split);
    uint32_t tile = n_tile - 1u - blockIdx.x, first_row = tile * p.tile_rows;
    bool has_work = blockIdx.x < n_tile && blockIdx.z < n_split;
    return {n_rows, n_split, tile, first_row, has_work ? min(p.tile_rows, n_rows - first_row) : 0u};
}

/* A warp has 16 queries and 128 elements of the head; the head's PARTS warps are neighbours. */
template <uint32_t DIM> struct prefill_queries {
    static constexpr uint32_t PARTS = DIM / 128u;

    const attention_params &p;
    uint32_t lane, warp, part;
    uint32_t q[4][2][2][4]; /* [32 elements][half of a lane's eight][high, low] */
    float to_score[2];      /* undoes the scale of a row of q; scores are in units of ln 2 */
    uint2 mine[2];          /* keys that the rows of this lane see */

    __device__ __forceinline__ prefill_queries(const attention_params &params) : p(params) {
        lane = threadIdx.x % 32u;
        warp = threadIdx.x / 32u;
        part = warp % PARTS;
    }

    /* The lane's rows of the tile are r = 0 and 1. */
    __device__ __forceinline__ uint32_t query_of(uint32_t r) const {
        return warp / PARTS * 16u + r * 8u + lane / 4u;
    }

    /* Elements 32 j + 8 t to + 7 of the part, as attention_tile.cuh reads keys. Two neighbours read 32 bytes
     * together, the even one's and then the odd one's, and swap halves, so that requests are whole sectors.
     */
    __device__ __forceinline__ void load_query(const prefill_place &place, uint32_t query,
                                               float4 (&x)[4][2]) const {
        bool is_odd = lane % 2u != 0;
        uint64_t head =
            (place.first_row + query / p.group) * p.n_head + blockIdx.y * p.group + query % p.group;
        const float4 *from =
            at<const float4>(p.q + head * (DIM * 4u)) + part * 32u + lane % 4u / 2u * 4u + lane % 2u;
#pragma unroll
        for (uint32_t j = 0; j < 4u; j++) {
            float4 a = make_float4(0, 0, 0, 0), b = a;
            if (query < place.n_tile_row * p.group) {
                a = from[j * 8u];
                b = from[j * 8u + 2u];
            }
            float4 give = is_odd ? a : b, take;
            take.x = __shfl_xor_sync(ALL_LANES, give.x, 1);
            take.y = __shfl_xor_sync(ALL_LANES, give.y, 1);
            take.z = __shfl_xor_sync(ALL_LANES, give.z, 1);
            take.w = __shfl_xor_sync(ALL_LANES, give.w, 1);
            x[j][0] = is_odd ? take : a;
            x[j][1] = is_odd ? b : take;
        }
    }

    __device__ __forceinline__ void load_queries(const prefill_place &place) {
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            float4 x[4][2];
            float most = 0.0f;
            load_query(place, query_of(r), x);
#pragma unroll
            for (uint32_t i = 0; i < 8u; i++) {
                float4 y = x[i / 2u][i % 2u];
                most = fmaxf(most, fmaxf(fmaxf(fabsf(y.x), fabsf(y.y)), fmaxf(fabsf(y.z), fabsf(y.w))));
            }
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
            /* 2^k, |k| <= 126, takes the largest to between 2^14 and 2^15. */
            uint32_t exponent = max(__float_as_uint(most) >> 23, 15u);
            float by = __uint_as_float((268u - exponent) << 23);
            to_score[r] = __uint_as_float((exponent - 14u) << 23) * LOG2_E;
#pragma unroll
            for (uint32_t i = 0; i < 8u; i++) {
                float4 y = scaled(x[i / 2u][i % 2u], by);
                put_query(i / 2u, i % 2u, r, y.x, y.y);
                put_query(i / 2u, i % 2u, r + 2u, y.z, y.w);
            }
        }
    }

    __device__ __forceinline__ void put_query(uint32_t j, uint32_t h, uint32_t i, float x, float y) {
        __half2 high = __floats2half2_rn(x, y);
        q[j][h][0][i] = half2_bits(high);
        float2 rounded = __half22float2(high);
        q[j][h][1][i] = half2_bits(__floats2half2_rn(x - rounded.x, y - rounded.y));
    }

    /* Takes the rows from `row` on that share its slot, and moves `row` behind them: the keys [x, y) that any
     * of them sees, and those that this lane's see. */
    __device__ __forceinline__ uint2 take_slot(const prefill_place &place, uint32_t &row, uint32_t slot,
                                               uint32_t *word) {
        uint32_t end = p.visible_until ? end_of_slot(p, slot, word) : 0u;
        uint32_t last_row = place.first_row + place.n_tile_row, from = row, low = 0xffffffffu, high = 0;
        for (bool is_more = true; is_more; row = min(row, last_row)) {
            uint32_t i = min(row + lane, last_row - 1u), run_at = row_index(p.index, i);
            run_row found = load_run_row(p.run, run_at);
            uint32_t other = __ballot_sync(ALL_LANES, row + lane >= last_row || found.slot != slot);
            uint32_t n = other ? (uint32_t)__ffs((int)other) - 1u : 32u;
            if (lane < n) {
                uint2 keys = visible_keys(p, i, run_at, found.position, end);
                low = min(low, keys.x);
                high = max(high, keys.y);
            }
            row += n;
            is_more = n == 32u;
        }
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            uint32_t i = place.first_row + query_of(r) / p.group;
            mine[r] = make_uint2(0u, 0u);
            if (i >= from && i < row) {
                uint32_t run_at = row_index(p.index, i);
                mine[r] = visible_keys(p, i, run_at, load_run_row(p.run, run_at).position, end);
            }
        }
        return make_uint2(__reduce_min_sync(ALL_LANES, low), __reduce_max_sync(ALL_LANES, high));
    }

    /* A row of the warp sees one of the keys from `first` to below `end`; all rows see all of them. */
    __device__ __forceinline__ bool sees_any(uint32_t first, uint32_t end) const {
        return __any_sync(ALL_LANES,
                          (first < mine[0].y && end > mine[0].x) || (first < mine[1].y && end > mine[1].x));
    }
    __device__ __forceinline__ bool see_all(uint32_t first, uint32_t end) const {
        return __all_sync(ALL_LANES, first >= max(mine[0].x, mine[1].x) && end <= min(mine[0].y, mine[1].y));
    }

    /* Minus infinity for keys that a row does not see. */
    template <uint32_t N_TILE>
    __device__ __forceinline__ void mask_keys(float (&s)[N_TILE][4], uint32_t first, uint32_t end) const {
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            uint32_t high = min(mine[r].y, end), count = high > mine[r].x ? high - mine[r].x : 0u;
            uint32_t before = first + lane % 4u * 2u - mine[r].x; /* may wrap around */
#pragma unroll
            for (uint32_t n = 0; n < N_TILE; n++)
#pragma unroll
                for (uint32_t i = 0; i < 2u; i++)
                    if (before + n * 8u + i >= count)
                        s[n][2u * r + i] = __int_as_float(0xff800000);
        }
    }
};

#endif
