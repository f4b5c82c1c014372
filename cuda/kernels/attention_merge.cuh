/* attention_merge.cuh: partial results of a tile of N_QUERY queries, where its keys are split among blocks.
 *
 * Splits write records (params_ops.h). The last block of a group of ATTENTION_GROUP splits to arrive merges
 * theirs into the group's record, the last of the groups those into the rows of y; a group that is alone
 * writes y itself. Both go in the order of the splits, so the bits do not depend on who was last.
 */
#ifndef TANDEM_ATTENTION_MERGE_CUH
#define TANDEM_ATTENTION_MERGE_CUH

#include "attention_rows.cuh"

template <uint32_t N_QUERY, uint32_t THREADS> struct attention_merge {
    struct shared_memory {
        float m[ATTENTION_GROUP][N_QUERY], l[ATTENTION_GROUP][N_QUERY]; /* m becomes the weight */
        float total_m[N_QUERY], total_l[N_QUERY];
        uint32_t is_last;
    };

    const attention_params &p;
    shared_memory &shared;
    uint32_t kv_head, tile, n_tile_query; /* the tile's queries, N_QUERY or fewer */

    /* Of part i; group g has part max_split + g. */
    __device__ __forceinline__ uint64_t record(uint32_t i, uint32_t n) const {
        uint64_t at_tile = (uint64_t)tile * p.n_kv_head + kv_head;
        return p.partial +
               ((at_tile * ATTENTION_RECORDS(p.max_split) + i) * N_QUERY + n) * (p.head_dim * 4u + 16u);
    }

    __device__ __forceinline__ void put_sums(uint32_t i, uint32_t n, float m, float l) const {
        __stcg(at<float4>(record(i, n) + 4ull * p.head_dim), make_float4(m, l, 0.0f, 0.0f));
    }

    /* Where the result of query n of the tile goes; 0: there is no such row. */
    __device__ __forceinline__ uint64_t result(uint32_t n, uint32_t n_rows) const {
        uint32_t query = tile * n_tile_query + n;
        if (n >= n_tile_query || query / p.group >= n_rows)
            return 0;
        return row_address(p.y, query / p.group, p.y_stride) +
               (kv_head * p.group + query % p.group) * 4ull * p.head_dim;
    }

    /* Counts this block in; 1 in every thread of the last of n to come. The counter goes back to 0. */
    __device__ __forceinline__ bool arrive(uint32_t counter, uint32_t n) {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            uint64_t at_tile = (uint64_t)tile * p.n_kv_head + kv_head;
            uint32_t *counters = at<uint32_t>(p.counters) + at_tile * ATTENTION_COUNTERS(p.max_split);
            shared.is_last = atomicInc(counters + counter, n - 1u) == n - 1u;
            __threadfence();
        }
        __syncthreads();
        return shared.is_last;
    }

    /* What each of the records first .. first + count - 1 counts, count <= ATTENTION_GROUP. */
    __device__ __forceinline__ void weigh(uint32_t first, uint32_t count) {
        for (uint32_t item = threadIdx.x; item < count * N_QUERY; item += THREADS) {
            uint32_t s = item / N_QUERY, n = item % N_QUERY;
            float2 ml = __ldcg(at<const float2>(record(first + s, n) + 4ull * p.head_dim));
            shared.m[s][n] = ml.x;
            shared.l[s][n] = ml.y;
        }
        __syncthreads();
        if (threadIdx.x < N_QUERY) {
            uint32_t n = threadIdx.x;
            float most = LOWEST, l = 0.0f;
            for (uint32_t s = 0; s < count; s++)
                most = fmaxf(most, shared.m[s][n]);
            for (uint32_t s = 0; s < count; s++) {
                float w = expf(shared.m[s][n] - most);
                shared.m[s][n] = w;
                l += w * shared.l[s][n];
            }
            shared.total_m[n] = most;
            shared.total_l[n] = l;
        }
        __syncthreads();
    }

    /* Merges into record `to`, or into the rows with NO_RECORD. */
    __device__ __forceinline__ void merge(uint32_t first, uint32_t count, uint32_t to, uint32_t n_rows) {
        uint32_t units = p.head_dim / 4u;
        weigh(first, count);
        for (uint32_t item = threadIdx.x; item < N_QUERY * units; item += THREADS) {
            uint32_t n = item / units, u = item % units;
            uint64_t at_result = to == NO_RECORD ? result(n, n_rows) : record(to, n);
            if (!at_result)
                continue;
            float4 x = make_float4(0, 0, 0, 0);
            for (uint32_t s = 0; s < count; s++) {
                float4 part = __ldcg(at<const float4>(record(first + s, n)) + u);
                float w = shared.m[s][n];
                x = make_float4(fmaf(w, part.x, x.x), fmaf(w, part.y, x.y), fmaf(w, part.z, x.z),
                                fmaf(w, part.w, x.w));
            }
            if (to == NO_RECORD) {
                float l = shared.total_l[n];
                at<float4>(at_result)[u] = make_float4(x.x / l, x.y / l, x.z / l, x.w / l);
            } else {
                __stcg(at<float4>(at_result) + u, x);
            }
        }
        if (to != NO_RECORD && threadIdx.x < N_QUERY)
            put_sums(to, threadIdx.x, shared.total_m[threadIdx.x], shared.total_l[threadIdx.x]);
    }

    /* Behind the record of this block's split. */
    __device__ __forceinline__ void finish(uint32_t n_rows, uint32_t n_split) {
        uint32_t group = blockIdx.z / ATTENTION_GROUP, n_group = ATTENTION_GROUPS(n_split);
        uint32_t n_member = min(ATTENTION_GROUP, n_split - group * ATTENTION_GROUP);
        uint32_t counter = 1u + group, first = group * ATTENTION_GROUP, n = n_member;
        uint32_t to = n_group > 1u ? p.max_split + group : NO_RECORD;
#pragma unroll 1
        while (arrive(counter, n)) {
            merge(first, n, to, n_rows);
            if (to == NO_RECORD)
                return;
            counter = 0;
            first = p.max_split;
            n = n_group;
            to = NO_RECORD;
        }
    }

    static constexpr uint32_t NO_RECORD = 0xffffffffu;
};

#endif
