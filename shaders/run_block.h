/* shaders/run_block.h: what changes from run to run, as kernels see it, and the rules of indirect launches.
 *
 * Read by C and by GLSL. Every program owns one run block in device memory; its address never changes. At the
 * head of each run prepare.comp copies it from the host's table of that run (same layout), resolves
 * DEVICE_NEXT, and evaluates the launch rules into indirect arguments. Kernels get addresses of parts of the
 * block (params.h: n_tok, rows, tokens).
 *
 *   0                    run_header
 *   RUN_ROWS_OFFSET      run_row rows[max_tokens]
 *   + 16 * max_tokens    u32 out_row[max_out], ascending
 *   + 4 * max_out        u32 out_target[max_out], 0xffffffff: none
 */
#ifndef TANDEM_SHADERS_RUN_BLOCK_H
#define TANDEM_SHADERS_RUN_BLOCK_H

#include "params.h"

TANDEM_STRUCT_BEGIN(run_header)
    TANDEM_U32 n_rows;     /* live rows; offset 0: what `n_tok` points at for an op on ALL rows */
    TANDEM_U32 n_out;      /* wanted outputs; offset 4: `n_tok` of an op on OUT rows */
    TANDEM_U32 n_context;  /* highest position of a row + 1: keys that the longest row may see */
    TANDEM_U32 source;     /* TANDEM_SOURCE_*: 1 takes the token of row 0 from the context's next block */
    TANDEM_ADDRESS result; /* where finish.comp copies the rows of the first TOPK to; 0: nowhere */
    TANDEM_U32 reserved[10];
TANDEM_STRUCT_END(run_header)

TANDEM_STRUCT_BEGIN(run_row)
    TANDEM_U32 token;
    TANDEM_U32 position;
    TANDEM_U32 slot;
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(run_row)

#define RUN_ROWS_OFFSET 64u
#define RUN_ROW_BYTES 16u
#define RUN_OUT_ROW_OFFSET(max_tokens) (RUN_ROWS_OFFSET + RUN_ROW_BYTES * (max_tokens))
#define RUN_OUT_TARGET_OFFSET(max_tokens, max_out) (RUN_OUT_ROW_OFFSET(max_tokens) + 4u * (max_out))
#define RUN_BLOCK_BYTES(max_tokens, max_out) (RUN_OUT_TARGET_OFFSET(max_tokens, max_out) + 4u * (max_out))

/* A launch whose size depends on the run. With n = n_rows or n_out (`rows`), the three counts are `groups`,
 * and
 *   counts[row_axis] *= ceil(n / rows_per_group)                    if rows_per_group > 0
 *   counts[key_axis] *= RULE_SPLITS(keys, ...)                      if keys_per_split > 0
 * where keys = n_context, or at most window + n_rows - 1 with a window. All are 0 if n = 0. With key_axis =
 * RULE_ONLY_IF_SPLIT nothing is multiplied by the splits, but all are 0 if there is only one. */
#define RULE_ONLY_IF_SPLIT 3u
TANDEM_STRUCT_BEGIN(launch_rule)
    TANDEM_U32 groups[3];
    TANDEM_U32 rows; /* TANDEM_ROWS_ALL (0) or TANDEM_ROWS_OUT (1) */
    TANDEM_U32 row_axis;
    TANDEM_U32 rows_per_group;
    TANDEM_U32 key_axis;
    TANDEM_U32 keys_per_split;
    TANDEM_U32 max_split;
    TANDEM_U32 window; /* 0: none */
    TANDEM_U32 reserved[2];
TANDEM_STRUCT_END(launch_rule)

/* Parts that the keys of a row tile are cut into: as many of keys_per_split as needed, at least 1, at most
 * max_split (beyond which the parts grow longer). The kernel that is launched by it computes the same number. */
#define RULE_SPLITS(keys, keys_per_split, max_split)                                                           \
    min(max(((keys) + (keys_per_split)-1u) / (keys_per_split), 1u), max_split)

/* VkDispatchIndirectCommand, padded. One for each rule. */
#define INDIRECT_BYTES 16u

/* The context's next block, written by finish.comp of a program with a TOPK: where DEVICE_NEXT goes on. */
TANDEM_STRUCT_BEGIN(next_block)
    TANDEM_U32 token; /* id[0] of the last TOPK row */
    TANDEM_U32 reserved[3];
TANDEM_STRUCT_END(next_block)

/* prepare.comp: one workgroup. */
TANDEM_STRUCT_BEGIN(prepare_push)
    TANDEM_ADDRESS source;   /* the host's table of this run */
    TANDEM_ADDRESS run;      /* the program's run block */
    TANDEM_ADDRESS rules;    /* launch_rule[n_rule] */
    TANDEM_ADDRESS indirect; /* INDIRECT_BYTES each */
    TANDEM_ADDRESS next;     /* next_block */
    TANDEM_U32 n_rule;
    TANDEM_U32 max_tokens;
    TANDEM_U32 max_out;
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(prepare_push)

/* finish.comp: rows of the first TOPK to the run's result, id[0] of the last to the next block.
 * Grid: (ceil(rows / FINISH_ROWS), 1, 1). */
#define FINISH_ROWS 16u
TANDEM_STRUCT_BEGIN(finish_push)
    TANDEM_ADDRESS run;
    TANDEM_ADDRESS topk; /* the TOPK's `out` rows */
    TANDEM_ADDRESS next;
    TANDEM_U32 rows;      /* row set of the TOPK: 0 ALL, 1 OUT */
    TANDEM_U32 stride;    /* bytes between rows, in both places */
    TANDEM_U32 row_words; /* 32-bit words of a row: 2 k + 2 */
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(finish_push)

#endif
