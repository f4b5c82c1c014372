/* ops.cuh: what the kernels beside the matrix products share: sums over a block, numbers as integers that
 * order like them, and norm.cuh.
 */
#ifndef TANDEM_OPS_CUH
#define TANDEM_OPS_CUH

#include <stdint.h>

#include "norm.cuh"
#include "run_block.h"

#define NAN_BITS 0x7fc00000u

static __device__ __forceinline__ uint32_t load_word(uint64_t address) {
    return *at<const uint32_t>(address);
}

/* Row of a list, or i without one. */
static __device__ __forceinline__ uint32_t row_index(uint64_t list, uint32_t i) {
    return list ? at<const uint32_t>(list)[i] : i;
}

static __device__ __forceinline__ run_row load_run_row(uint64_t run, uint32_t i) {
    uint4 bits = at<const uint4>(run + RUN_ROWS_OFFSET)[i];
    run_row row = {bits.x, bits.y, bits.z, bits.w};
    return row;
}

/* ---- sums over a block: lanes as a tree, warps ascending; every thread gets the result ---- */

template <uint32_t WARPS> static __device__ __forceinline__ float block_sum(float x, float *scratch) {
    for (uint32_t mask = 1; mask < 32u; mask *= 2u)
        x += __shfl_xor_sync(ALL_LANES, x, mask);
    __syncthreads();
    if (threadIdx.x % 32u == 0)
        scratch[threadIdx.x / 32u] = x;
    __syncthreads();
    x = scratch[0];
    for (uint32_t i = 1; i < WARPS; i++)
        x += scratch[i];
    return x;
}

template <uint32_t WARPS>
static __device__ __forceinline__ uint32_t block_max(uint32_t x, uint32_t *scratch) {
    for (uint32_t mask = 1; mask < 32u; mask *= 2u)
        x = max(x, __shfl_xor_sync(ALL_LANES, x, mask));
    __syncthreads();
    if (threadIdx.x % 32u == 0)
        scratch[threadIdx.x / 32u] = x;
    __syncthreads();
    for (uint32_t i = 0; i < WARPS; i++)
        x = max(x, scratch[i]);
    return x;
}

/* ---- numbers as integers that order like them ---- */

static __device__ __forceinline__ bool is_nan(uint32_t bits) {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

/* NaN lowest, -0 equal to 0. */
static __device__ __forceinline__ uint32_t key_of(uint32_t bits) {
    if (is_nan(bits))
        return 0u;
    bits = bits == 0x80000000u ? 0u : bits;
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ float value_of(uint32_t key) {
    return __uint_as_float(key == 0u ? NAN_BITS : key >> 31 ? key & 0x7fffffffu : ~key);
}

#endif
