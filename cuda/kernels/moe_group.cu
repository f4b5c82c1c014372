/* moe_group.cu: sorts the entries (row, choice) of a run by expert and cuts them into tiles.
 *
 * computes    the sorted list of entries, two lists of tiles, and how long they are (params_moe.h)
 * inputs      moe_group_params; the ids of the route
 * grid        one block
 * bytes       4 per entry read twice and written once, 16 per tile
 * phase       prefill, between the route and the experts' products
 * order       no sums of floats. Counts are integers, so that atomics have one result; an entry's place is
 * the number of entries of its expert before it, found from one bit per expert and entry reference
 * sort_entries of backend/reference/moe_ffn.c
 */
#include "ops.cuh"
#include "params_moe.h"

struct group_shared {
    uint32_t count[MOE_MAX_EXPERT]; /* entries of an expert */
    uint32_t place[MOE_MAX_EXPERT]; /* where its next entry goes */
    uint32_t mask[MOE_MASK_WORDS];  /* of the chunk: [n_expert][words] */
};

static __device__ __forceinline__ uint32_t id_of(const moe_group_params &p, uint32_t entry) {
    uint32_t row = row_index(p.index, entry / p.n_used);
    return at<const uint32_t>(row_address(p.route, row, p.route_stride))[entry % p.n_used];
}

/* Tiles of an expert with n entries: tall, short. */
static __device__ __forceinline__ uint2 tiles_of(const moe_group_params &p, uint32_t n) {
    uint32_t rest = n % p.tall_rows, is_tall = rest > p.short_rows;
    return make_uint2(n / p.tall_rows + is_tall, rest > 0u && !is_tall);
}

static __device__ __forceinline__ void write_tiles(const moe_group_params &p, uint32_t expert, uint32_t n,
                                                   uint32_t first, uint2 to) {
    uint2 n_tile = tiles_of(p, n);
    for (uint32_t t = 0; t < n_tile.x; t++) {
        uint32_t rows = min(n, p.tall_rows);
        at<uint4>(p.tall_tiles)[to.x + t] = make_uint4(expert, first, rows, 0u); /* moe_tile */
        first += rows;
        n -= rows;
    }
    if (n_tile.y > 0u)
        at<uint4>(p.short_tiles)[to.y] = make_uint4(expert, first, n, 0u);
}

static __device__ __forceinline__ void count_entries(group_shared &shared, const moe_group_params &p,
                                                     uint32_t n_entry) {
    for (uint32_t e = threadIdx.x; e < p.n_expert; e += MOE_GROUP_THREADS)
        shared.count[e] = 0;
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < n_entry; e += MOE_GROUP_THREADS) {
        uint32_t id = id_of(p, e);
        if (id < p.n_expert)
            atomicAdd(&shared.count[id], 1u);
    }
    __syncthreads();
}

/* First place and tiles of every expert: sums over the experts before it. */
static __device__ __forceinline__ void place_experts(group_shared &shared, const moe_group_params &p) {
    for (uint32_t e = threadIdx.x; e < p.n_expert; e += MOE_GROUP_THREADS) {
        uint32_t first = 0, n = shared.count[e];
        uint2 to = make_uint2(0u, 0u);
        for (uint32_t before = 0; before < e; before++) {
            uint2 tiles = tiles_of(p, shared.count[before]);
            first += shared.count[before];
            to.x += tiles.x;
            to.y += tiles.y;
        }
        shared.place[e] = first;
        write_tiles(p, e, n, first, to);
        if (e == p.n_expert - 1u) {
            uint2 tiles = tiles_of(p, n);
            *at<uint4>(p.counts) = make_uint4(to.x + tiles.x, to.y + tiles.y, first + n, 0u); /* moe_counts */
        }
    }
}

static __device__ __forceinline__ uint32_t bits_before(const group_shared &shared, uint32_t expert,
                                                       uint32_t word, uint32_t n_word) {
    uint32_t n = 0;
    for (uint32_t w = 0; w < word; w++)
        n += __popc(shared.mask[expert * n_word + w]);
    return n;
}

/* Writes the entries from `start` to `end` to their places. */
static __device__ __forceinline__ void place_entries(group_shared &shared, const moe_group_params &p,
                                                     uint32_t start, uint32_t end, uint32_t n_word) {
    for (uint32_t i = threadIdx.x; i < p.n_expert * n_word; i += MOE_GROUP_THREADS)
        shared.mask[i] = 0;
    __syncthreads();
    for (uint32_t e = start + threadIdx.x; e < end; e += MOE_GROUP_THREADS) {
        uint32_t id = id_of(p, e), bit = e - start;
        if (id < p.n_expert)
            atomicOr(&shared.mask[id * n_word + bit / 32u], 1u << bit % 32u);
    }
    __syncthreads();
    for (uint32_t e = start + threadIdx.x; e < end; e += MOE_GROUP_THREADS) {
        uint32_t id = id_of(p, e), bit = e - start, word = bit / 32u;
        if (id >= p.n_expert)
            continue;
        uint32_t below = shared.mask[id * n_word + word] & ((1u << bit % 32u) - 1u);
        at<uint32_t>(p.entries)[shared.place[id] + bits_before(shared, id, word, n_word) + __popc(below)] = e;
    }
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < p.n_expert; e += MOE_GROUP_THREADS)
        shared.place[e] += bits_before(shared, e, n_word, n_word);
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(MOE_GROUP_THREADS)
    moe_group(const __grid_constant__ moe_group_params p) {
    __shared__ group_shared shared;
    uint32_t n_entry = load_word(p.n_tok) * p.n_used, n_word = MOE_CHUNK_WORDS(p.n_expert);
    count_entries(shared, p, n_entry);
    place_experts(shared, p);
    for (uint32_t start = 0; start < n_entry; start += 32u * n_word)
        place_entries(shared, p, start, min(start + 32u * n_word, n_entry), n_word);
}
