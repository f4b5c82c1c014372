/* attention_split.cuh: masked softmax attention of a few queries over one split of the keys they see, in f32:
 * decode in every type and precision; prefill over an f32 cache and with head sizes that
 * attention_prefill.cuh has no kernel for.
 *
 * computes    y = sum_j w_j v_j, w = softmax over the visible keys j of q . k_j (q is scaled already), by
 *             online softmax over tiles of ATTENTION_KEYS keys
 * inputs      q [rows][n_head][head_dim] f32, rotated; K and V of the cache (params_ops.h); the run's rows
 * grid        x: tiles of N_QUERY queries, y: KV heads, z: splits. A key is read by `lanes` lanes of a warp,
 *             16 bytes each of f16 (8 elements in any type), so a warp reads 32 / lanes keys at once; with
 *             WIDE by two warps. IN_FLIGHT such loads are under way
 * bytes       each visible K and V row once per tile: the least there is where a tile holds the group's heads
 * phase       after attention_append. The last block of a tile to arrive merges the splits
 * order       q . k: 8 elements in a lane, lanes as a tree, warps ascending. Sum of weights: keys of a thread
 *             ascending, threads as a tree. acc: keys of a slot ascending, slots of a warp as a tree, warps
 *             ascending. Splits ascending in groups of ATTENTION_GROUP, groups ascending
 * reference   backend/reference/attention.c
 */
#ifndef TANDEM_ATTENTION_SPLIT_CUH
#define TANDEM_ATTENTION_SPLIT_CUH

#include "attention_chunk.cuh"
#include "attention_merge.cuh"

template <uint32_t TYPE, bool WIDE, uint32_t N_QUERY> struct attention_block {
    static constexpr uint32_t MAX_DIM = WIDE ? 512u : 256u;
    static constexpr uint32_t N_PART = WIDE ? 2u : 1u; /* warps that share a key */
    static constexpr uint32_t N_WARP = ATTENTION_THREADS / 32u;
    static constexpr uint32_t LEVELS = N_QUERY == 8u ? 3u : 1u;
    static constexpr uint32_t IN_FLIGHT = TYPE == KV_F32 ? 2u : 4u;
    /* Threads that share a query in the softmax: neighbours in one warp. */
    static constexpr uint32_t TEAM = ATTENTION_THREADS / N_QUERY < 32u ? ATTENTION_THREADS / N_QUERY : 32u;

    using merger = attention_merge<N_QUERY, ATTENTION_THREADS>;

    struct shared_memory {
        /* Part 0 becomes the weights. Padded, so that threads of a query meet fewer in a bank. */
        __align__(16) float score[N_PART][ATTENTION_KEYS][N_QUERY == 8u ? 12u : N_QUERY];
        union {
            float4 q[2][N_QUERY][MAX_DIM / 8u]; /* [half of a chunk][query][lane]: while keys are read */
            float4 result[N_QUERY][MAX_DIM / 4u];
        };
        float m[N_QUERY], l[N_QUERY], factor[N_QUERY];
        uint32_t word;
        typename merger::shared_memory merge;
    };

    const attention_params &p;
    shared_memory &shared;
    uint32_t lane, warp, lanes, n_chunk, chunk, q_lane, key_slot, n_slot, part, group, first_query, kv_head;
    uint32_t my_query;
    uint2 mine; /* keys that this thread's query sees */
    float best, sum;
    eight acc[N_QUERY];

    __device__ __forceinline__ attention_block(const attention_params &params, shared_memory &memory)
        : p(params), shared(memory) {
        lane = threadIdx.x % 32u;
        warp = threadIdx.x / 32u;
        n_chunk = p.head_dim / 8u;
        lanes = WIDE || n_chunk > 16u ? 32u : n_chunk > 8u ? 16u : 8u;
        chunk = WIDE ? threadIdx.x % 64u : lane % lanes;
        key_slot = WIDE ? warp / 2u : warp * (32u / lanes) + lane / lanes;
        n_slot = WIDE ? N_WARP / 2u : N_WARP * (32u / lanes);
        part = WIDE ? warp % 2u : 0u;
        group = p.group;
        kv_head = blockIdx.y;
        first_query = blockIdx.x * N_QUERY;
        my_query = threadIdx.x / TEAM;
        best = LOWEST;
        sum = 0.0f;
    }

    __device__ __forceinline__ merger merge() const {
        return merger{p, shared.merge, kv_head, blockIdx.x, N_QUERY};
    }

    /* Queries to shared memory, where they cost no registers. Lanes beyond the head read its first chunk
     * against zeros. */
    __device__ __forceinline__ void load_queries(uint32_t n_rows) {
        uint32_t width = WIDE ? 64u : lanes;
        for (uint32_t item = threadIdx.x; item < N_QUERY * width; item += ATTENTION_THREADS) {
            uint32_t n = item / width, c = item % width;
            uint32_t row = (first_query + n) / group, head = kv_head * group + (first_query + n) % group;
            float4 a = make_float4(0, 0, 0, 0), b = a;
            if (row < n_rows && c < n_chunk) {
                uint64_t from = row_address(p.q, row * p.n_head + head, p.head_dim * 4u);
                a = at<const float4>(from)[kv_chunk<TYPE>::unit_a(c)];
                b = at<const float4>(from)[kv_chunk<TYPE>::unit_b(c, n_chunk)];
            }
            shared.q[0][n][c] = a;
            shared.q[1][n][c] = b;
        }
        q_lane = chunk;
        chunk = chunk < n_chunk ? chunk : 0u;
#pragma unroll
        for (uint32_t n = 0; n < N_QUERY; n++)
            acc[n].a = acc[n].b = make_float4(0, 0, 0, 0);
        __syncthreads();
    }

    __device__ __forceinline__ uint32_t ring_row(uint32_t r) const {
        return r < p.ring ? r : r - p.ring;
    }

    /* Adds s over the lanes of a key: each level halves the queries that a lane holds while it doubles the
     * lanes that a sum spans. Lane l ends with the query of the bits of l, the lowest first. */
    __device__ __forceinline__ float add_lanes(float (&s)[N_QUERY]) const {
#pragma unroll
        for (uint32_t level = 0; level < LEVELS; level++) {
            bool upper = lane >> level & 1u;
            uint32_t half = N_QUERY >> (level + 1u);
#pragma unroll
            for (uint32_t n = 0; n < N_QUERY / 2u; n++)
                if (n < half) {
                    float keep = upper ? s[n + half] : s[n], send = upper ? s[n] : s[n + half];
                    s[n] = keep + __shfl_xor_sync(ALL_LANES, send, 1u << level);
                }
        }
        float x = s[0];
        for (uint32_t mask = 1u << LEVELS; mask < lanes; mask *= 2u)
            x += __shfl_xor_sync(ALL_LANES, x, mask);
        return x;
    }

    __device__ __forceinline__ void fetch_keys(kv_bits (&bits)[IN_FLIGHT], uint64_t region,
                                               uint32_t ring_first, uint32_t j0, uint32_t count) const {
#pragma unroll
        for (uint32_t u = 0; u < IN_FLIGHT; u++) {
            uint32_t j = min(j0 + u * n_slot + key_slot, count - 1u);
            kv_chunk<TYPE>::fetch(bits[u], region, p, ring_row(ring_first + j), chunk);
        }
    }

    /* Scores of `count` keys whose first is in ring row `ring_first`. */
    __device__ __forceinline__ void score_keys(uint64_t region, uint32_t ring_first, uint32_t count) {
        uint32_t query = __brev(lane) >> (32u - LEVELS);
        for (uint32_t j0 = 0; j0 < count; j0 += n_slot * IN_FLIGHT) {
            kv_bits bits[IN_FLIGHT];
            eight k[IN_FLIGHT];
            float s[IN_FLIGHT][N_QUERY];
            fetch_keys(bits, region, ring_first, j0, count);
#pragma unroll
            for (uint32_t u = 0; u < IN_FLIGHT; u++)
                k[u] = kv_chunk<TYPE>::values(bits[u]);
#pragma unroll
            for (uint32_t n = 0; n < N_QUERY; n++) {
                float4 a = shared.q[0][n][q_lane], b = shared.q[1][n][q_lane];
#pragma unroll
                for (uint32_t u = 0; u < IN_FLIGHT; u++)
                    s[u][n] = dot(a, k[u].a) + dot(b, k[u].b);
            }
#pragma unroll
            for (uint32_t u = 0; u < IN_FLIGHT; u++) {
                float x = add_lanes(s[u]);
                if (lane % lanes < N_QUERY)
                    shared.score[part][j0 + u * n_slot + key_slot][query] = x;
            }
        }
    }

    /* Turns the scores of this thread's query into weights; leaves the factor for earlier sums. */
    __device__ __forceinline__ void soften(uint32_t first, uint32_t count) {
        float before = best;
        for (uint32_t j = threadIdx.x % TEAM; j < ATTENTION_KEYS; j += TEAM) {
            float s = LOWEST;
            if (j < count && first + j >= mine.x && first + j < mine.y) {
                s = shared.score[0][j][my_query];
                if (WIDE)
                    s += shared.score[N_PART - 1u][j][my_query];
                s = fmaxf(s, -2.0e38f);
            }
            shared.score[0][j][my_query] = s;
            best = fmaxf(best, s);
        }
#pragma unroll
        for (uint32_t mask = 1; mask < TEAM; mask *= 2u)
            best = fmaxf(best, __shfl_xor_sync(ALL_LANES, best, mask));
        float scale = expf(before - best), add = 0.0f;
        for (uint32_t j = threadIdx.x % TEAM; j < ATTENTION_KEYS; j += TEAM) {
            float s = shared.score[0][j][my_query], w = s > LOWEST ? expf(s - best) : 0.0f;
            shared.score[0][j][my_query] = w;
            add += w;
        }
#pragma unroll
        for (uint32_t mask = 1; mask < TEAM; mask *= 2u)
            add += __shfl_xor_sync(ALL_LANES, add, mask);
        sum = sum * scale + add;
        if (threadIdx.x % TEAM == 0)
            shared.factor[my_query] = scale;
    }

    __device__ __forceinline__ void add_values(uint64_t region, uint32_t ring_first, uint32_t count) {
#pragma unroll
        for (uint32_t n = 0; n < N_QUERY; n++) {
            float scale = shared.factor[n];
            acc[n].a = scaled(acc[n].a, scale);
            acc[n].b = scaled(acc[n].b, scale);
        }
        for (uint32_t j0 = 0; j0 < count; j0 += n_slot * IN_FLIGHT) {
            kv_bits bits[IN_FLIGHT];
            fetch_keys(bits, region, ring_first, j0, count);
#pragma unroll
            for (uint32_t u = 0; u < IN_FLIGHT; u++) {
                eight v = kv_chunk<TYPE>::values(bits[u]);
                const float *weights = shared.score[0][j0 + u * n_slot + key_slot];
#pragma unroll
                for (uint32_t n = 0; n < N_QUERY; n++) {
                    float w = weights[n];
                    add_scaled(acc[n].a, w, v.a);
                    add_scaled(acc[n].b, w, v.b);
                }
            }
        }
    }

    /* Takes the rows from `row` on that share its slot: the keys [x, y) any of them sees. Moves `row` behind
     * them. */
    __device__ __forceinline__ uint2 take_slot(uint32_t &row, uint32_t last_row, uint32_t slot) {
        uint32_t end = p.visible_until ? end_of_slot(p, slot, &shared.word) : 0u;
        uint32_t my_row = (first_query + my_query) / group;
        uint2 seen = make_uint2(0xffffffffu, 0u);
        mine = make_uint2(0u, 0u);
        for (; row <= last_row; row++) {
            uint32_t run_at = row_index(p.index, row);
            run_row found = load_run_row(p.run, run_at);
            if (found.slot != slot)
                break;
            uint2 keys = visible_keys(p, row, run_at, found.position, end);
            seen = make_uint2(min(seen.x, keys.x), max(seen.y, keys.y));
            mine = row == my_row ? keys : mine;
        }
        return seen;
    }

    /* This split's part of the keys of the tile's rows, slot by slot. */
    __device__ __forceinline__ void attend(uint32_t n_rows, uint32_t n_split) {
        uint32_t row = first_query / group, last_row = min((first_query + N_QUERY - 1u) / group, n_rows - 1u);
        while (row <= last_row) {
            uint32_t slot = load_run_row(p.run, row_index(p.index, row)).slot;
            uint2 seen = take_slot(row, last_row, slot);
            uint64_t k_region = kv_region(p.k_cache, slot, p.n_kv_head, kv_head, p.region_bytes);
            uint64_t v_region = kv_region(p.v_cache, slot, p.n_kv_head, kv_head, p.region_bytes);
            uint32_t n_key = (seen.y - seen.x + n_split - 1u) / n_split;
            n_key = (n_key + ATTENTION_KEYS - 1u) / ATTENTION_KEYS * ATTENTION_KEYS;
            uint32_t first = seen.x + blockIdx.z * n_key, last = min(seen.y, first + n_key);
            for (; first < last; first += ATTENTION_KEYS) {
                uint32_t count = min(ATTENTION_KEYS, last - first), ring_first = first % p.ring;
                score_keys(k_region, ring_first, count);
                __syncthreads();
                if (my_query < N_QUERY)
                    soften(first, count);
                __syncthreads();
                add_values(v_region, ring_first, count);
                __syncthreads(); /* the next tile overwrites the weights */
            }
        }
    }

    /* Leaves the sums of all key slots in shared memory. */
    __device__ __forceinline__ void gather_result() {
        __syncthreads();
        if (my_query < N_QUERY && threadIdx.x % TEAM == 0) {
            shared.m[my_query] = best;
            shared.l[my_query] = sum;
        }
        for (uint32_t mask = lanes; mask < 32u; mask *= 2u)
#pragma unroll
            for (uint32_t n = 0; n < N_QUERY; n++) {
                acc[n].a = xor_sum(acc[n].a, mask);
                acc[n].b = xor_sum(acc[n].b, mask);
            }
        bool mine_counts = WIDE ? threadIdx.x % 64u < n_chunk : lane < n_chunk;
        for (uint32_t turn = 0; turn < N_WARP / N_PART; turn++) {
            if (warp / N_PART == turn && mine_counts)
#pragma unroll
                for (uint32_t n = 0; n < N_QUERY; n++) {
                    float4 *a = &shared.result[n][kv_chunk<TYPE>::unit_a(chunk)];
                    float4 *b = &shared.result[n][kv_chunk<TYPE>::unit_b(chunk, n_chunk)];
                    *a = turn == 0 ? acc[n].a : total(*a, acc[n].a);
                    *b = turn == 0 ? acc[n].b : total(*b, acc[n].b);
                }
            __syncthreads();
        }
    }

    /* ---- results, from shared memory ---- */

    __device__ __forceinline__ void write_rows(uint32_t n_rows) const {
        for (uint32_t item = threadIdx.x; item < N_QUERY * n_chunk * 2u; item += ATTENTION_THREADS) {
            uint32_t n = item / (n_chunk * 2u), u = item % (n_chunk * 2u);
            uint64_t to = merge().result(n, n_rows);
            if (!to)
                break;
            float4 x = shared.result[n][u];
            float l = shared.l[n];
            at<float4>(to)[u] = make_float4(x.x / l, x.y / l, x.z / l, x.w / l);
        }
    }

    __device__ __forceinline__ void merge_splits(uint32_t n_rows, uint32_t n_split) {
        for (uint32_t item = threadIdx.x; item < N_QUERY * n_chunk * 2u; item += ATTENTION_THREADS) {
            uint32_t n = item / (n_chunk * 2u), u = item % (n_chunk * 2u);
            __stcg(at<float4>(merge().record(blockIdx.z, n)) + u, shared.result[n][u]);
        }
        if (threadIdx.x < N_QUERY)
            merge().put_sums(blockIdx.z, threadIdx.x, shared.m[threadIdx.x], shared.l[threadIdx.x]);
        merge().finish(n_rows, n_split);
    }
};

template <uint32_t TYPE, bool WIDE, uint32_t N_QUERY>
static __device__ __forceinline__ void attention(const attention_params &p) {
    using block_type = attention_block<TYPE, WIDE, N_QUERY>;
    __shared__ typename block_type::shared_memory shared;
    const run_header *header = at<const run_header>(p.run);
    uint32_t n_rows = load_word(p.n_tok);
    uint32_t n_split =
        attention_splits(header->n_context, header->n_rows, p.window, p.keys_per_split, p.max_split);
    if (blockIdx.x * N_QUERY >= n_rows * p.group || blockIdx.z >= n_split)
        return;
    block_type block(p, shared);
    block.load_queries(n_rows);
    block.attend(n_rows, n_split);
    block.gather_result();
    if (n_split == 1u)
        block.write_rows(n_rows);
    else
        block.merge_splits(n_rows, n_split);
}

#define ATTENTION_KERNEL(name, type, wide, n_query)                                                          \
    extern "C" __global__ void __launch_bounds__(ATTENTION_THREADS, 3)                                       \
        attention_##name(const __grid_constant__ attention_params p) {                                       \
        attention<type, wide, n_query>(p);                                                                   \
    }

#endif
