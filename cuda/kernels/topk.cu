/* topk.cu: the k largest of a row with their indices, its logsumexp, and the value at a target.
 *
 * computes    for each part of TOPK_PART elements its k best, its maximum M and the sum of exp(x - M); in the
 * last block of a row to arrive the k best of those, logsumexp, the target's value inputs      x f32 rows
 * grid        x: parts, y: rows
 * bytes       x once; 8 k + 16 per part written and read
 * phase       after the head
 * order       sums: elements of a thread ascending, lanes as a tree, warps ascending; parts likewise. Which
 *             elements are found does not depend on order: values are compared as integers (a NaN below all),
 *             ties by index
 * reference   backend/reference/topk.c
 *
 * A part has 256 groups of 16 neighbours. The k groups with the largest maxima hold the k largest elements,
 * and at most 16 k elements are not below the last of those maxima. These are gathered, and each counts how
 * many come before it.
 */
#include "ops.cuh"
#include "params_ops.h"

#define GROUP (TOPK_PART / TOPK_THREADS)
#define MAX_FOUND (TOPK_MAX * GROUP)
#define N_WARP (TOPK_THREADS / 32u)
#define MINUS_INF_BITS 0xff800000u
#define NO_ID 0xffffffffu

struct topk_shared {
    uint32_t bits[TOPK_PART + TOPK_THREADS]; /* element i at i + i / GROUP: groups begin in different banks */
    __align__(16) uint32_t group_key[TOPK_THREADS];
    uint32_t found_key[MAX_FOUND], found_at[MAX_FOUND];
    uint32_t warp_max[N_WARP];
    float warp_sum[N_WARP];
    uint32_t threshold_key, threshold_group, n_found, is_last;
};

/* Where the record of a part of row i is. */
static __device__ __forceinline__ uint64_t record_of(const topk_params &p, uint32_t i, uint32_t part) {
    return row_address(p.partial, i * topk_parts_of(p.n) + part, topk_part_bytes(p.k));
}

static __device__ __forceinline__ uint2 entry_of(const topk_params &p, uint32_t i, uint32_t entry) {
    return __ldcg(at<const uint2>(record_of(p, i, entry / p.k) + 16u) + entry % p.k);
}

/* Elements n_here of the part that starts at x, or entries of the row's records, to shared memory. */
template <bool MERGE>
static __device__ __forceinline__ void load_values(topk_shared &shared, const topk_params &p, uint32_t i,
                                                   uint64_t x, uint32_t n_here) {
    if constexpr (MERGE) {
        for (uint32_t e = threadIdx.x; e < TOPK_PART; e += TOPK_THREADS)
            shared.bits[e + e / GROUP] = e < n_here ? entry_of(p, i, e).y : NAN_BITS;
    } else {
#pragma unroll
        for (uint32_t k = 0; k < GROUP / 4u; k++) {
            uint32_t e = 4u * (k * TOPK_THREADS + threadIdx.x), to = e + e / GROUP;
            uint4 four = make_uint4(NAN_BITS, NAN_BITS, NAN_BITS, NAN_BITS);
            const uint32_t *from = at<const uint32_t>(x) + e;
            if (e + 4u <= n_here)
                four = *reinterpret_cast<const uint4 *>(from);
            else if (e < n_here) {
                four.x = from[0];
                four.y = e + 1u < n_here ? from[1] : NAN_BITS;
                four.z = e + 2u < n_here ? from[2] : NAN_BITS;
            }
            shared.bits[to] = four.x;
            shared.bits[to + 1u] = four.y;
            shared.bits[to + 2u] = four.z;
            shared.bits[to + 3u] = four.w;
        }
    }
}

/* Sets the threshold to the k-th group, the first with the largest key being number 1. */
static __device__ __forceinline__ void find_threshold(topk_shared &shared, uint32_t key, uint32_t largest,
                                                      uint32_t k) {
    uint32_t thread = threadIdx.x, rank = 0;
    if (k == 1u) {
        if (key == largest)
            atomicMin(&shared.threshold_group, thread);
        if (thread == 0)
            shared.threshold_key = largest;
        return;
    }
    for (uint32_t g = 0; g < TOPK_THREADS; g += 4u) {
        uint4 other = *reinterpret_cast<const uint4 *>(shared.group_key + g);
        rank += other.x > key || (other.x == key && g < thread);
        rank += other.y > key || (other.y == key && g + 1u < thread);
        rank += other.z > key || (other.z == key && g + 2u < thread);
        rank += other.w > key || (other.w == key && g + 3u < thread);
    }
    if (rank == k - 1u) {
        shared.threshold_key = key;
        shared.threshold_group = thread;
    }
}

/* Finds the k best of what load_values brought: calls write(rank, element). Returns the key of the largest
 * and the thread's part of the sum of exp(x - largest). */
template <class WRITE>
static __device__ __forceinline__ uint32_t find_best(topk_shared &shared, const topk_params &p,
                                                     uint32_t n_here, float &sum, WRITE write) {
    uint32_t thread = threadIdx.x, key = 0;
    __syncthreads();
    for (uint32_t e = 0; e < GROUP; e++)
        key = max(key, key_of(shared.bits[thread * (GROUP + 1u) + e]));
    shared.group_key[thread] = key;
    if (thread == 0) {
        shared.n_found = 0;
        shared.threshold_group = TOPK_THREADS;
    }
    uint32_t largest_key = block_max<N_WARP>(key, shared.warp_max);
    float largest = value_of(largest_key);
    find_threshold(shared, key, largest_key, p.k);
    __syncthreads();

    uint32_t least = shared.threshold_key, last_group = shared.threshold_group;
    bool chosen = key > least || (key == least && thread <= last_group);
    sum = 0.0f;
    for (uint32_t e = 0; e < GROUP; e++) {
        uint32_t bits = shared.bits[thread * (GROUP + 1u) + e], its_key = key_of(bits);
        if (thread * GROUP + e < n_here)
            sum += expf(__uint_as_float(bits) - largest);
        if (chosen && (its_key > least || (its_key == least && thread <= last_group))) {
            uint32_t slot = atomicAdd(&shared.n_found, 1u);
            shared.found_key[slot] = its_key;
            shared.found_at[slot] = thread * GROUP + e;
        }
    }
    __syncthreads();
    uint32_t m = shared.n_found;
    for (uint32_t f = thread; f < m; f += TOPK_THREADS) {
        uint32_t mine = shared.found_key[f], where = shared.found_at[f], rank = 0;
        for (uint32_t o = 0; o < m; o++) {
            uint32_t other = shared.found_key[o];
            rank += other > mine || (other == mine && shared.found_at[o] < where);
        }
        if (rank < p.k)
            write(rank, where, shared.bits[where + where / GROUP]);
    }
    return largest_key;
}

/* Merges the maxima and sums of the parts. */
static __device__ __forceinline__ float logsumexp(topk_shared &shared, const topk_params &p, uint32_t i) {
    uint32_t n_part = topk_parts_of(p.n), part = min(threadIdx.x, n_part - 1u);
    float2 of_part = __ldcg(at<const float2>(record_of(p, i, part)));
    uint32_t bits = threadIdx.x < n_part ? __float_as_uint(of_part.x) : NAN_BITS;
    float largest = value_of(block_max<N_WARP>(key_of(bits), shared.warp_max)), sum = 0.0f;
    if (threadIdx.x < n_part && bits != MINUS_INF_BITS)
        sum = of_part.y * expf(of_part.x - largest);
    sum = block_sum<N_WARP>(sum, shared.warp_sum);
    if (isinf(largest))
        return largest;
    return largest + logf(sum);
}

static __device__ __forceinline__ void merge_parts(topk_shared &shared, const topk_params &p, uint32_t i,
                                                   uint64_t x) {
    uint32_t *y = at<uint32_t>(row_address(p.y, i, p.y_stride)), n_here = topk_parts_of(p.n) * p.k;
    float sum;
    load_values<true>(shared, p, i, 0, n_here);
    find_best(shared, p, n_here, sum, [&](uint32_t rank, uint32_t where, uint32_t bits) {
        y[rank] = entry_of(p, i, where).x;
        y[p.k + rank] = bits;
    });
    float all = logsumexp(shared, p, i);
    if (threadIdx.x > 0)
        return;
    /* Targets belong to the wanted rows of the run. */
    uint32_t target = p.index ? at<const uint32_t>(p.target)[i] : NO_ID;
    y[2u * p.k] = __float_as_uint(all);
    y[2u * p.k + 1u] = target < p.n ? at<const uint32_t>(x)[target] : 0u;
}

extern "C" __global__ void __launch_bounds__(TOPK_THREADS) topk(const __grid_constant__ topk_params p) {
    __shared__ topk_shared shared;
    uint32_t i = blockIdx.y, part = blockIdx.x;
    if (i >= load_word(p.n_tok))
        return;
    uint64_t x = row_address(p.x, p.gather & TOPK_GATHER_X ? row_index(p.index, i) : i, p.x_stride);
    uint32_t first = part * TOPK_PART, n_here = min(TOPK_PART, p.n - first);
    uint64_t record = record_of(p, i, part);
    float sum;
    load_values<false>(shared, p, i, x + 4ull * first, n_here);
    uint32_t largest = find_best(shared, p, n_here, sum, [&](uint32_t rank, uint32_t where, uint32_t bits) {
        __stcg(at<uint2>(record + 16u) + rank, make_uint2(where < n_here ? first + where : NO_ID, bits));
    });
    sum = block_sum<N_WARP>(sum, shared.warp_sum);
    if (threadIdx.x == 0)
        __stcg(at<float2>(record), make_float2(value_of(largest), sum));

    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared.is_last = atomicInc(at<uint32_t>(p.counters) + i, gridDim.x - 1u) == gridDim.x - 1u;
        __threadfence();
    }
    __syncthreads();
    if (shared.is_last)
        merge_parts(shared, p, i, x);
}
