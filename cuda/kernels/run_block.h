/* cuda/kernels/run_block.h: what changes from run to run, as kernels see it. Read by C and by CUDA C.
 *
 * Every program owns one run block in device memory; its address never changes. The host writes the table of
 * run number n of a program (same layout) into slot n % n_slot of pinned memory that the device sees. The
 * graph's first kernel, prepare, counts runs in device memory, so it knows the slot; it copies the table into
 * the run block and resolves DEVICE_NEXT. Kernels get addresses of parts of the block, and read how much of
 * their grid, which is that of the largest run, has work.
 *
 *   0                    run_header
 *   RUN_ROWS_OFFSET      run_row rows[max_tokens]
 *   + 16 * max_tokens    u32 out_row[max_out], ascending
 *   + 4 * max_out        u32 out_target[max_out], 0xffffffff: none
 */
#ifndef TANDEM_CUDA_RUN_BLOCK_H
#define TANDEM_CUDA_RUN_BLOCK_H

#include <stdint.h>

typedef struct run_header {
    uint32_t n_rows;    /* live rows; offset 0: what `n_tok` points at for an op on ALL rows */
    uint32_t n_out;     /* wanted outputs; offset 4: `n_tok` of an op on OUT rows */
    uint32_t n_context; /* highest position of a row + 1: keys that the longest row may see */
    uint32_t source;    /* TANDEM_SOURCE_*: 1 takes the token of row 0 from the context's next block */
    uint64_t result;    /* where finish copies the rows of the first TOPK to; 0: nowhere */
    uint32_t reserved[10];
} run_header;

typedef struct run_row {
    uint32_t token;
    uint32_t position;
    uint32_t slot;
    uint32_t reserved;
} run_row;

#define RUN_ROWS_OFFSET 64u
#define RUN_ROW_BYTES 16u
#define RUN_OUT_ROW_OFFSET(max_tokens) (RUN_ROWS_OFFSET + RUN_ROW_BYTES * (max_tokens))
#define RUN_OUT_TARGET_OFFSET(max_tokens, max_out) (RUN_OUT_ROW_OFFSET(max_tokens) + 4u * (max_out))
#define RUN_BLOCK_BYTES(max_tokens, max_out) (RUN_OUT_TARGET_OFFSET(max_tokens, max_out) + 4u * (max_out))

/* The context's next block, written by finish of a program with a TOPK: where DEVICE_NEXT goes on. */
typedef struct next_block {
    uint32_t token; /* id[0] of the last TOPK row */
    uint32_t reserved[3];
} next_block;

/* prepare: one block of PREPARE_THREADS. */
#define PREPARE_THREADS 128u
typedef struct prepare_params {
    uint64_t tables;  /* the host's tables, one a slot, table_bytes apart; a multiple of 16 */
    uint64_t run;     /* the program's run block */
    uint64_t counter; /* u32, 0 when the program is made: runs begun */
    uint64_t next;    /* next_block */
    uint64_t table_bytes;
    uint32_t n_slot; /* a power of two, so that the counter may wrap */
    uint32_t max_tokens;
    uint32_t max_out;
    uint32_t reserved;
} prepare_params;

/* finish: rows of the first TOPK to the run's result, id[0] of the last to the next block.
 * Grid (ceil(most rows / FINISH_ROWS), 1, 1), block FINISH_THREADS. */
#define FINISH_ROWS 16u
#define FINISH_THREADS 128u
typedef struct finish_params {
    uint64_t run;
    uint64_t topk; /* the TOPK's `out` rows */
    uint64_t next;
    uint32_t rows;      /* row set of the TOPK: 0 ALL, 1 OUT */
    uint32_t stride;    /* bytes between rows, in both places */
    uint32_t row_words; /* 32-bit words of a row: 2 k + 2 */
    uint32_t reserved;
} finish_params;

#endif
