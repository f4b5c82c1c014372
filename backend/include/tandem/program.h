/* tandem/program.h: programs (recorded ops), runs, tickets, cost and time. */
#ifndef TANDEM_PROGRAM_H
#define TANDEM_PROGRAM_H

#include "op.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tandem_program_desc {
    uint32_t struct_size;
    uint32_t n_op;              /* >= 1 */
    const tandem_op *const *ops; /* [n_op], in order; copied */
    uint32_t max_tokens;        /* rows of a run; >= 1 */
    uint32_t max_out;           /* 0..max_tokens */
    uint32_t max_slots;         /* >= 1 */
    uint32_t precision;         /* TANDEM_PRECISION_* of every matrix product */
} tandem_program_desc;

/* One row of a run. */
typedef struct tandem_row {
    uint32_t token;
    uint32_t position;
    uint32_t slot;
} tandem_row;

/* One wanted output. */
typedef struct tandem_out {
    uint32_t row;    /* index of the run's row; ascending in the list */
    uint32_t target; /* token whose logit TOPK reports, or TANDEM_NONE */
} tandem_out;

#define TANDEM_SOURCE_HOST 0u        /* rows or tokens below */
#define TANDEM_SOURCE_DEVICE_NEXT 1u /* one row: id[0] of the last TOPK row of the context's previous run of a program
                                        with a TOPK, at that row's position + 1 and slot; rows and tokens are NULL */

#define TANDEM_RUN_PROFILE 1u /* measure every step; may drain the context before and after */

/* Arguments are copied by `run`. Rows of one slot have consecutive positions that begin at the slot's length in the
 * program's cache. Shorthand: tokens != NULL gives n_rows rows at position, position + 1, ... of slot 0. */
typedef struct tandem_run {
    uint32_t struct_size;
    uint32_t source;
    uint32_t n_rows; /* 1..max_tokens */
    uint32_t n_out;  /* 0..max_out */
    const tandem_row *rows;  /* [n_rows], or NULL */
    const uint32_t *tokens;  /* [n_rows], or NULL */
    const tandem_out *out;   /* [n_out]; NULL: the last n_out rows without targets */
    uint32_t position;       /* of tokens[0] */
    uint32_t flags;          /* TANDEM_RUN_* */
    tandem_buffer *result;   /* NULL, or where the first TOPK op's out rows are also copied to when this run ends */
    uint64_t result_offset;  /* bytes, a multiple of 16; rows keep the TOPK op's stride */
} tandem_run;

/* One launch of a program. */
typedef struct tandem_step {
    uint32_t struct_size;
    uint32_t n_op;             /* ops with a part in this step */
    uint32_t ops[8];           /* their indices, ascending; the first 8 */
    uint32_t n_dispatch;       /* launches that run side by side */
    uint32_t barrier_before;   /* 1: waits for earlier steps */
    char kernel[64];           /* "matvec_q4_0_exact" */
    char label[64];            /* label of its main op */
} tandem_step;

/* What one step must move and moves for a given run, bytes; and its multiply-adds times two. */
typedef struct tandem_cost {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t weight_bytes_min; /* GGUF bytes of the rows it needs, each once */
    uint64_t weight_bytes;     /* read, padding included */
    uint64_t kv_bytes_min;     /* visible rows once per KV head, and appended rows */
    uint64_t kv_bytes;
    uint64_t activation_bytes; /* inputs, outputs and scratch */
    uint64_t host_bytes;       /* of these, over the bus from host-placed memory */
    uint64_t flops;
    uint64_t n_expert; /* MOE_FFN: distinct experts that the weight bytes count: min(n_rows * n_used, n_expert) */
} tandem_cost;

/* Device time of a finished run, nanoseconds. */
typedef struct tandem_times {
    uint32_t struct_size;
    uint32_t n_step;     /* steps with times (profile runs), else 0 */
    uint64_t device_ns;  /* from its first to its last step */
    uint64_t gap_ns;     /* device idle between the previous run of the context and this one; 0: unknown */
    uint64_t host_ns;    /* host time inside `run` */
    uint64_t upload_bytes; /* host to device for this run */
} tandem_times;

#ifdef __cplusplus
}
#endif
#endif
