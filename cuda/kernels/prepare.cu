/* prepare.cu: the two ends of a run.
 *
 * prepare
 * computes    the program's run block
 * inputs      the host's table of this run in slot counter % n_slot, the context's next block
 * grid        one block of PREPARE_THREADS
 * bytes       16 per row, 8 per wanted output, each once, over the bus
 * phase       before the first step
 * order       no sums
 * reference   backend/reference reads the run directly
 *
 * finish
 * computes    the rows of the first TOPK in the run's result, id[0] of the last one in the context's next
 * block inputs      run block (result address, row counts), TOPK rows of 2 k + 2 words, `stride` apart grid
 * x: FINISH_ROWS rows each, FINISH_THREADS bytes       8 k + 8 read and written per row phase       last step
 * order       no sums
 * reference   backend/reference copies likewise
 */
#include "ops.cuh"

extern "C" __global__ void __launch_bounds__(PREPARE_THREADS)
    prepare(const __grid_constant__ prepare_params p) {
    uint32_t thread = threadIdx.x, run_number = *at<const volatile uint32_t>(p.counter);
    uint64_t source = p.tables + (run_number & (p.n_slot - 1u)) * p.table_bytes;
    /* note: the host may have written a slot since an earlier run read it, so nothing may come from L1. */
    const volatile run_header *from = at<const volatile run_header>(source);
    uint32_t n_rows = min(from->n_rows, p.max_tokens), n_out = min(from->n_out, p.max_out);
    uint32_t is_next = from->source;
    for (uint32_t i = thread; i < n_rows; i += PREPARE_THREADS) {
        uint4 row = __ldcv(at<const uint4>(source + RUN_ROWS_OFFSET) + i);
        if (is_next && i == 0)
            row.x = at<const volatile next_block>(p.next)->token;
        at<uint4>(p.run + RUN_ROWS_OFFSET)[i] = row;
    }
    const uint32_t *words = at<const uint32_t>(source + RUN_OUT_ROW_OFFSET((uint64_t)p.max_tokens));
    uint32_t *to = at<uint32_t>(p.run + RUN_OUT_ROW_OFFSET((uint64_t)p.max_tokens));
    for (uint32_t i = thread; i < n_out; i += PREPARE_THREADS) {
        to[i] = __ldcv(words + i);
        to[i + p.max_out] = __ldcv(words + i + p.max_out);
    }
    if (thread == 0) {
        run_header *header = at<run_header>(p.run);
        header->n_rows = n_rows;
        header->n_out = n_out;
        header->n_context = from->n_context;
        header->source = is_next;
        header->result = from->result;
    }
    __syncthreads(); /* every thread has read the counter */
    if (thread == 0)
        *at<volatile uint32_t>(p.counter) = run_number + 1u;
}

extern "C" __global__ void __launch_bounds__(FINISH_THREADS) finish(const __grid_constant__ finish_params p) {
    const run_header *header = at<const run_header>(p.run);
    uint32_t n = p.rows == 0u ? header->n_rows : header->n_out, first = blockIdx.x * FINISH_ROWS;
    if (first >= n)
        return;
    uint32_t last = min(first + FINISH_ROWS, n);
    if (header->result)
        for (uint32_t i = threadIdx.x; i < (last - first) * p.row_words; i += FINISH_THREADS) {
            uint32_t row = first + i / p.row_words, word = i % p.row_words;
            uint32_t value = load_word(row_address(p.topk, row, p.stride) + 4u * word);
            at<uint32_t>(row_address(header->result, row, p.stride))[word] = value;
        }
    if (last == n && threadIdx.x == 0)
        at<next_block>(p.next)->token = load_word(row_address(p.topk, n - 1u, p.stride));
}
