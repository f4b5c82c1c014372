/* attention_rows.cuh: which keys a row sees (backend/OPS.md, ATTENTION). */
#ifndef TANDEM_ATTENTION_ROWS_CUH
#define TANDEM_ATTENTION_ROWS_CUH

#include "kv.cuh"

#define LOWEST -3.0e38f /* below every score: real ones are kept above -2e38 */

/* Positions the slot holds: visible_until never shows more. Every thread of the block calls it. */
static __device__ __forceinline__ uint32_t end_of_slot(const attention_params &p, uint32_t slot,
                                                       uint32_t *slot_end) {
    if (threadIdx.x == 0)
        *slot_end = 0;
    __syncthreads();
    uint32_t n_rows = at<const run_header>(p.run)->n_rows, end = 0;
    for (uint32_t i = threadIdx.x; i < n_rows; i += blockDim.x) {
        run_row row = load_run_row(p.run, i);
        if (row.slot == slot)
            end = max(end, row.position + 1u);
    }
    atomicMax(slot_end, end);
    __syncthreads();
    end = *slot_end;
    __syncthreads();
    return end;
}

/* Keys [x, y) that row i of the op sees. end: of its slot. */
static __device__ __forceinline__ uint2 visible_keys(const attention_params &p, uint32_t i, uint32_t run_at,
                                                     uint32_t position, uint32_t end) {
    uint32_t until = position + 1u;
    if (p.visible_until) {
        uint32_t row = p.gather & ATTENTION_GATHER_VISIBLE ? run_at : i;
        until = max(until, min(end, load_word(row_address(p.visible_until, row, p.visible_stride))));
    }
    return make_uint2(p.window && position + 1u > p.window ? position + 1u - p.window : 0u, until);
}

#endif
