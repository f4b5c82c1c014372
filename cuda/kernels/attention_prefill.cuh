/* attention_prefill.cuh: masked softmax attention of many queries on matrix units, over one split of the keys
 * they see: prefill over f16 and q8_0 caches with heads of 256 and 512.
 *
 * computes    y = sum_j w_j v_j, w = softmax over the visible keys j of q . k_j (q is scaled already), by
 *             online softmax over tiles of KEYS keys; tiles that no row of the block sees are not read, and
 *             a warp whose rows see none of a tile leaves it out
 * inputs      q [rows][n_head][head_dim] f32, rotated; K and V of the cache (params_ops.h); the run's rows
 * grid        x: tiles of tile_rows rows, the last first, since it sees the most keys; y: KV heads; z:
 *             splits. The rows' heads of the KV head are N_QUERY queries or fewer. A warp has 16 of them and
 *             128 elements of the head, in the scores as in the result; PARTS warps share the queries
 * bytes       each visible K and V row once per tile
 * phase       after attention_append. The last block of a tile to arrive merges the splits
 * precision   q is two f16, whose products are added: 22 bits, scaled by a power of two to below 2^15. A
 *             single one moves scores by 2e-3 where they are of ordinary size, and results beyond the budget
 *             of precision f16. Weights, scaled by 2^14, are two f16 as well with SPLIT, else one. Sums are
 *             f32, and those of a tile start from zero, as matrix units do not round to nearest
 * order       q . k: 16 elements by mma, ascending over 128 elements (q8_0: 32 from zero, times the scale,
 *             ascending), parts ascending. Sum of weights: keys of a lane ascending, lanes as a tree. acc:
 *             keys of a tile by mma, tiles ascending. Splits as attention_merge.cuh
 * reference   backend/reference/attention.c
 */
#ifndef TANDEM_ATTENTION_PREFILL_CUH
#define TANDEM_ATTENTION_PREFILL_CUH

#include "attention_merge.cuh"
#include "attention_queries.cuh"
#include "attention_tile.cuh"

#define LN_2 0.6931471805599453f
/* Weights are at most 2^14: an f16 keeps all its bits down to 2^-28 of the largest. */
#define WEIGHT_EXPONENT 14.0f

static __device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

template <uint32_t TYPE, uint32_t DIM, bool SPLIT> struct attention_prefill {
    static constexpr uint32_t PARTS = DIM / 128u, N_QUERY = attention_prefill_queries(DIM);
    static constexpr uint32_t KEYS = attention_prefill_keys(SPLIT), N_TILE = KEYS / 8u;
    static_assert(N_QUERY / 16u * PARTS * 32u == PREFILL_THREADS, "a warp has 16 queries and 128 elements");

    using merger = attention_merge<N_QUERY, PREFILL_THREADS>;
    using tile_type = kv_tile<TYPE, DIM, KEYS, SPLIT, PREFILL_THREADS>;

    struct shared_memory {
        union {
            typename tile_type::memory tile;
            typename merger::shared_memory merge;
        };
        float4 partial[PREFILL_THREADS / 32u][N_TILE][32]; /* scores over 128 elements, by warp */
        uint32_t word;
    };
    static_assert(sizeof(shared_memory) == attention_prefill_shared(TYPE, DIM, SPLIT), "the host's figure");
    static_assert(sizeof(shared_memory) <= PREFILL_MAX_SHARED, "more than a block may have");

    shared_memory &shared;
    prefill_queries<DIM> own;
    tile_type keys;
    float best[2], sum[2]; /* of the lane's rows */
    float acc[16][4];

    __device__ __forceinline__ attention_prefill(const attention_params &params, shared_memory &memory)
        : shared(memory), own(params), keys(memory.tile, own.part) {
    }

    __device__ __forceinline__ merger merge(const prefill_place &place) const {
        return merger{own.p, shared.merge, blockIdx.y, place.tile, own.p.tile_rows * own.p.group};
    }

    /* Scores over the warp's 128 elements. */
    __device__ __forceinline__ void score_keys() {
        float s[N_TILE][4];
#pragma unroll
        for (uint32_t n = 0; n < N_TILE; n++)
            s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0.0f;
#pragma unroll
        for (uint32_t j = 0; j < 4u; j++)
#pragma unroll
            for (uint32_t n = 0; n < N_TILE; n++)
                keys.add_scores(s[n], n, j, own.q[j]);
#pragma unroll
        for (uint32_t n = 0; n < N_TILE; n++)
            shared.partial[own.warp][n][own.lane] =
                make_float4(s[n][0] * own.to_score[0], s[n][1] * own.to_score[0], s[n][2] * own.to_score[1],
                            s[n][3] * own.to_score[1]);
    }

    /* Scores of keys first.. to weights; leaves the factors for earlier sums. Of q8_0 the weight counts the
     * key's power of two, which the sum of weights does not. */
    __device__ __forceinline__ void soften(float (&s)[N_TILE][4], uint32_t first, uint32_t end,
                                           float (&factor)[2]) {
        bool is_whole = first + KEYS <= end && own.see_all(first, first + KEYS);
        float most[2] = {best[0], best[1]};
        uint32_t from = shared_address(shared.partial[own.warp - own.part][0] + own.lane);
#pragma unroll
        for (uint32_t n = 0; n < N_TILE; n++) {
            float4 x = make_float4(0, 0, 0, 0), powers = keys.powers(n);
#pragma unroll
            for (uint32_t i = 0; i < PARTS; i++)
                x = total(x, load_shared_floats(from + (i * N_TILE + n) * 512u));
            s[n][0] = x.x;
            s[n][1] = x.y;
            s[n][2] = x.z;
            s[n][3] = x.w;
#pragma unroll
            for (uint32_t i = 0; i < 4u; i++)
                s[n][i] = fminf(fmaxf(s[n][i], -2.0e38f), 2.0e38f);
            if (tile_type::HAS_POWERS) {
                s[n][0] += powers.x;
                s[n][1] += powers.z;
                s[n][2] += powers.x;
                s[n][3] += powers.z;
            }
        }
        if (!is_whole)
            own.mask_keys(s, first, end);
#pragma unroll
        for (uint32_t n = 0; n < N_TILE; n++)
#pragma unroll
            for (uint32_t i = 0; i < 4u; i++)
                most[i / 2u] = fmaxf(most[i / 2u], s[n][i]);
        float add[2] = {0.0f, 0.0f};
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            most[r] = fmaxf(most[r], __shfl_xor_sync(ALL_LANES, most[r], 1));
            most[r] = fmaxf(most[r], __shfl_xor_sync(ALL_LANES, most[r], 2));
            factor[r] = power_of_two(best[r] - most[r]);
            best[r] = most[r];
        }
#pragma unroll
        for (uint32_t n = 0; n < N_TILE; n++) {
            float4 powers = keys.powers(n);
#pragma unroll
            for (uint32_t i = 0; i < 4u; i++) {
                s[n][i] = power_of_two(s[n][i] - most[i / 2u] + WEIGHT_EXPONENT);
                add[i / 2u] = fmaf(s[n][i], i % 2u ? powers.w : powers.y, add[i / 2u]);
            }
        }
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++)
            sum[r] = fmaf(sum[r], factor[r], add[r]);
    }

    /* acc = factor * acc + weights times values. */
    __device__ __forceinline__ void add_values(const float (&w)[N_TILE][4], const float (&factor)[2]) {
        uint32_t high[N_TILE / 2u][4], low[N_TILE / 2u][4];
#pragma unroll
        for (uint32_t step = 0; step < N_TILE / 2u; step++)
#pragma unroll
            for (uint32_t i = 0; i < 4u; i++) {
                const float *x = &w[2u * step + i / 2u][i % 2u * 2u];
                __half2 rounded = __floats2half2_rn(x[0], x[1]);
                high[step][i] = half2_bits(rounded);
                if (SPLIT) {
                    float2 y = __half22float2(rounded);
                    low[step][i] = half2_bits(__floats2half2_rn(x[0] - y.x, x[1] - y.y));
                }
            }
#pragma unroll
        for (uint32_t u = 0; u < 8u; u++) {
            float c[2][4] = {};
#pragma unroll
            for (uint32_t step = 0; step < N_TILE / 2u; step++) {
                uint4 v = keys.high_values(step, u);
                mma_f16(c[0], high[step], v.x, v.y);
                mma_f16(c[1], high[step], v.z, v.w);
                if (SPLIT) {
                    mma_f16(c[0], low[step], v.x, v.y);
                    mma_f16(c[1], low[step], v.z, v.w);
                }
                if (tile_type::HAS_LOW) {
                    v = keys.low_values(step, u);
                    mma_f16(c[0], high[step], v.x, v.y);
                    mma_f16(c[1], high[step], v.z, v.w);
                }
            }
#pragma unroll
            for (uint32_t i = 0; i < 8u; i++)
                acc[2u * u + i / 4u][i % 4u] =
                    fmaf(acc[2u * u + i / 4u][i % 4u], factor[i % 4u / 2u], c[i / 4u][i % 4u]);
        }
    }

    /* Keys first .. end - 1 of a slot. A barrier where keys have arrived, one where scores and values have.
     */
    __device__ __forceinline__ void attend_keys(const kv_source &from, uint32_t first, uint32_t end) {
        if (first < end)
            keys.ask(from, first % own.p.ring, min(KEYS, end - first));
        for (; first < end; first += KEYS) {
            bool is_busy = own.sees_any(first, first + KEYS);
            wait_for_copies();
            __syncthreads();
            keys.prepare_values(from, first % own.p.ring, min(KEYS, end - first));
            if (is_busy)
                score_keys();
            wait_for_copies();
            __syncthreads();
            if (first + KEYS < end)
                keys.ask(from, (first + KEYS) % own.p.ring, min(KEYS, end - first - KEYS));
            if (is_busy) {
                float w[N_TILE][4], factor[2];
                soften(w, first, end, factor);
                add_values(w, factor);
            }
        }
    }

    /* This split's part of the keys of the tile's rows, slot by slot. */
    __device__ __forceinline__ void attend() {
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            best[r] = LOWEST;
            sum[r] = 0.0f;
        }
#pragma unroll
        for (uint32_t n = 0; n < 16u; n++)
#pragma unroll
            for (uint32_t i = 0; i < 4u; i++)
                acc[n][i] = 0.0f;
        for (uint32_t row = find_place(own.p).first_row;;) {
            prefill_place place = find_place(own.p);
            if (row >= place.first_row + place.n_tile_row)
                break;
            uint32_t slot = load_run_row(own.p.run, row_index(own.p.index, row)).slot;
            uint2 seen = own.take_slot(place, row, slot, &shared.word);
            kv_source from = {own.p, slot * own.p.n_kv_head + blockIdx.y};
            uint32_t n_key = (seen.y - seen.x + place.n_split - 1u) / place.n_split;
            n_key = (n_key + KEYS - 1u) / KEYS * KEYS;
            uint32_t first = seen.x + blockIdx.z * n_key;
            attend_keys(from, first, min(seen.y, first + n_key));
        }
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            sum[r] += __shfl_xor_sync(ALL_LANES, sum[r], 1);
            sum[r] += __shfl_xor_sync(ALL_LANES, sum[r], 2);
        }
    }

    /* The lane's elements of its rows, eight lanes' rows whole sectors each. */
    __device__ __forceinline__ void write_result() {
        prefill_place place = find_place(own.p);
        merger to_merge = merge(place);
        bool is_part = place.n_split > 1u;
        uint32_t element = own.part * 128u + own.lane % 4u * 2u;
#pragma unroll
        for (uint32_t r = 0; r < 2u; r++) {
            uint64_t to = is_part ? to_merge.record(blockIdx.z, own.query_of(r))
                                  : to_merge.result(own.query_of(r), place.n_rows);
            float share = is_part ? 1.0f : 1.0f / sum[r];
            if (!to)
                continue;
#pragma unroll
            for (uint32_t n = 0; n < 16u; n++) {
                float2 x = make_float2(acc[n][2u * r] * share, acc[n][2u * r + 1u] * share);
                float2 *at_element = at<float2>(to + (element + n * 8u) * 4ull);
                if (is_part)
                    __stcg(at_element, x);
                else
                    *at_element = x;
            }
            if (is_part && element == 0)
                to_merge.put_sums(blockIdx.z, own.query_of(r), best[r] * LN_2, sum[r]);
        }
        if (is_part)
            to_merge.finish(place.n_rows, place.n_split);
    }
};

template <uint32_t TYPE, uint32_t DIM, bool SPLIT>
static __device__ __forceinline__ void prefill(const attention_params &p) {
    using block_type = attention_prefill<TYPE, DIM, SPLIT>;
    extern __shared__ __align__(128) uint4 memory[];
    prefill_place place = find_place(p);
    if (place.n_tile_row == 0)
        return;
    block_type block(p, *reinterpret_cast<typename block_type::shared_memory *>(memory));
    block.own.load_queries(place);
    block.attend();
    block.write_result();
}

#define PREFILL_KERNEL(name, type, dim, split)                                                               \
    extern "C" __global__ void __launch_bounds__(PREFILL_THREADS)                                            \
        attention_prefill_##name(const __grid_constant__ attention_params p) {                               \
        prefill<type, dim, split>(p);                                                                        \
    }

#endif
