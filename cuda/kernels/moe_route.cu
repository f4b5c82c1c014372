/* moe_route.cu: the experts of a row from the router's logits.
 *
 * computes    p = softmax(z); the n_used largest, ties to the lower index, or the imposed ones; their weights
 *             p / max(sum of the chosen p, 2^-14) * scale
 * inputs      moe_route_params (params_moe.h); logits f32
 * grid        x: rows; a block is a row, its threads take the experts in turn
 * bytes       4 per expert, 8 per choice, each once
 * phase       between the router's product and the experts
 * order       the sum of exp(z - max): experts of a thread ascending, lanes as a tree, warps ascending; the
 *             chosen p: in the order of the choices. Which are chosen depends on no sum: logits are compared
 * as integers (a NaN below all), and each expert counts those before it reference
 * backend/reference/moe_route.c
 */
#include "ops.cuh"
#include "params_moe.h"

#define NO_ID 0xffffffffu
#define MIN_SUM 6.103515625e-5f /* 2^-14 */
#define N_WARP (MOE_ROUTE_THREADS / 32u)

struct route_shared {
    uint4 keys[MOE_MAX_EXPERT / 4u];
    float share[MOE_MAX_EXPERT]; /* exp(z - max) */
    uint32_t chosen[MOE_MAX_EXPERT];
    uint32_t warp_max[N_WARP];
    float warp_sum[N_WARP];
};

/* Experts that come before expert e. */
static __device__ __forceinline__ uint32_t rank_of(const route_shared &shared, uint32_t e,
                                                   uint32_t n_expert) {
    uint32_t key = reinterpret_cast<const uint32_t *>(shared.keys)[e], rank = 0;
    for (uint32_t q = 0; 4u * q < n_expert; q++) {
        uint4 other = shared.keys[q];
        rank += other.x > key || (other.x == key && 4u * q < e);
        rank += other.y > key || (other.y == key && 4u * q + 1u < e);
        rank += other.z > key || (other.z == key && 4u * q + 2u < e);
        rank += other.w > key || (other.w == key && 4u * q + 3u < e);
    }
    return rank;
}

/* Leaves shares and choices in shared memory; returns 1 / the sum of shares. */
static __device__ __forceinline__ float choose(route_shared &shared, const moe_route_params &p, uint32_t i) {
    const uint32_t *logits = at<const uint32_t>(row_address(p.logits, i, p.n_expert * 4u));
    uint32_t *keys = reinterpret_cast<uint32_t *>(shared.keys), largest_key = 0;
    for (uint32_t e = threadIdx.x; e < (p.n_expert + 3u) / 4u * 4u; e += MOE_ROUTE_THREADS) {
        uint32_t key = e < p.n_expert ? key_of(logits[e]) : 0u;
        keys[e] = key;
        largest_key = max(largest_key, key);
    }
    float largest = value_of(block_max<N_WARP>(largest_key, shared.warp_max)), sum = 0.0f;
    for (uint32_t e = threadIdx.x; e < p.n_expert; e += MOE_ROUTE_THREADS) {
        float share = expf(value_of(keys[e]) - largest);
        shared.share[e] = share;
        sum += share;
        uint32_t rank = rank_of(shared, e, p.n_expert);
        if (rank < p.n_used)
            shared.chosen[rank] = e;
    }
    return 1.0f / block_sum<N_WARP>(sum, shared.warp_sum);
}

extern "C" __global__ void __launch_bounds__(MOE_ROUTE_THREADS)
    moe_route(const __grid_constant__ moe_route_params p) {
    __shared__ route_shared shared;
    uint32_t i = blockIdx.x, thread = threadIdx.x;
    if (i >= load_word(p.n_tok))
        return;
    float each = choose(shared, p, i); /* a barrier has followed the choices */
    if (p.imposed) {
        uint32_t row = p.gather & MOE_GATHER_IMPOSED ? row_index(p.index, i) : i;
        const uint32_t *ids = at<const uint32_t>(row_address(p.imposed, row, p.imposed_stride));
        if (ids[0] != NO_ID)
            for (uint32_t j = thread; j < p.n_used; j += MOE_ROUTE_THREADS)
                shared.chosen[j] = ids[j];
        __syncthreads();
    }
    float chosen_sum = 0.0f;
    for (uint32_t j = 0; j < p.n_used; j++)
        if (shared.chosen[j] < p.n_expert)
            chosen_sum += shared.share[shared.chosen[j]] * each;
    chosen_sum = chosen_sum < MIN_SUM ? MIN_SUM : chosen_sum; /* a NaN stays */

    uint32_t *route = at<uint32_t>(row_address(p.route, i, p.route_stride));
    for (uint32_t j = thread; j < p.n_used; j += MOE_ROUTE_THREADS) {
        uint32_t id = shared.chosen[j];
        float weight = __uint_as_float(NAN_BITS); /* of an imposed id that is no expert */
        if (id < p.n_expert) {
            weight = shared.share[id] * each / chosen_sum;
            weight *= p.expert_scale ? at<const float>(p.expert_scale)[id] : 1.0f;
        }
        route[j] = id;
        route[p.n_used + j] = __float_as_uint(weight);
    }
    if (p.probabilities) {
        float *probabilities = at<float>(row_address(p.probabilities, i, p.probabilities_stride));
        for (uint32_t e = thread; e < p.n_expert; e += MOE_ROUTE_THREADS)
            probabilities[e] = shared.share[e] * each;
    }
}
