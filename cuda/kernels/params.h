/* cuda/kernels/params.h: parameters and activation layouts of the matrix kernels that the mat-vec, the
 * rounding and EMBED use. Read by C and by CUDA C.
 *
 * A kernel takes one struct by value. Addresses are device addresses, 0 for what is absent; strides are
 * bytes. Weights lie in the layout of tandem/pack.h: groups of 8 rows, 16-byte units, one table entry (an
 * address) per segment of rows. The table is read at execution.
 */
#ifndef TANDEM_CUDA_PARAMS_H
#define TANDEM_CUDA_PARAMS_H

#include "params_stream.h"

#include <stdint.h>

/* Rows of a weight group: 8 rows x 16 bytes are one 128-byte line. */
#define GROUP_ROWS 8u

/* Activations of precision q8, written by quantise_q8 and by stream. Row i starts at i * Q8_ROW_BYTES(n_col);
 * B = ceil(n_col / 32) groups:
 *   codes [B][32] int8           x ~ d * code, columns beyond n_col are 0
 *   meta  [B] {f32 d; int16 sum of codes 0..15; int16 sum of codes 16..31}
 * then up to 8 bytes of padding. */
#define Q8_ROW_BYTES(n_col) (((((n_col) + 31u) / 32u * 40u) + 15u) / 16u * 16u)

/* ---- matvec_FORMAT_PRECISION_NCOL: up to three products of matrices of one format with few rows of x ----
 *
 * y[i][r] = f(sum over c of W[r][c] * x[row(i)][c]) for i < n_tok, r < n_row. With parts = 1 one matrix a
 * product; f(v) = softcap * tanh(v / softcap) if softcap > 0, else v. With GLU two parts, gate and up:
 * y = gelu_tanh(gate row) * up row.
 *
 * Experts: the table holds the matrix of every expert, and entry e = i * n_used + j stands for choice j of
 * row i. A row of a route is {u32 id[n_used]; f32 weight[n_used]}. EXPERTS_ENTRY  y[e] = f(W[id of e] x[row(e
 * / entries_per_x)])               grid y: entries EXPERTS_SUM    y[i] = sum over j of weight_j * W[id_j] x[i
 * * n_used + j]     grid y: rows; not with GLU An id that is no expert's reads some expert; with EXPERTS_SUM
 * its row becomes NaN.
 *
 * A warp has MATVEC_WARP_ROWS rows, two lanes a row. The warps of a block have the same rows: warp
 * part * n_split + split takes the chunks of columns split * n_chunk / n_split ... of a part. Parts are gate
 * and up (GLU) or, with SUM, choices j = part, part + n_part, ...
 * grid (sum of ceil(n_row / MATVEC_WARP_ROWS) over the products, entries or ceil(rows / NCOL)),
 * block 32 * n_part * n_split, at most MATVEC_MAX_WARPS(NCOL) warps, shared memory MATVEC_SHARED_BYTES and
 * what a stage takes. */
#define EXPERTS_NONE 0u
#define EXPERTS_ENTRY 1u
#define EXPERTS_SUM 2u

#define MATVEC_WARP_ROWS 16u
#define MATVEC_MAX_WARPS(n_col) ((n_col) > 1u ? 8u : 16u) /* 64 registers; more for more rows of x */
#define MATVEC_MAX_JOBS 3u
#define MATVEC_SHARED_BYTES(n_warp, n_col) ((n_warp) * (n_col)*MATVEC_WARP_ROWS * 4u)

/* What a block does to x first, in shared memory behind the sums: MATVEC_STAGE_BYTES for each of NCOL rows
 * (SUM: n_used rows). F16 and F32 leave whole blocks of 32 columns, then the f32 sum of each block. */
#define STAGE_NONE 0u /* x is as the kernel wants it */
#define STAGE_Q8 1u   /* x is f32; rounded as quantise_q8 does */
#define STAGE_F16 2u  /* x is f32; rounded as round_f16 does */
#define STAGE_F32 3u  /* x is f32; copied. One row of x, or the rows of choices */
#define MATVEC_STAGE_BYTES(stage, n_col)                                                                     \
    ((stage) == STAGE_Q8     ? Q8_ROW_BYTES(n_col)                                                           \
     : (stage) == STAGE_NONE ? 0u                                                                            \
                             : (((n_col) + 31u) / 32u * 132u + 15u) / 16u * 16u)

/* With a prologue, for its f32 row too. */
#define MATVEC_PROLOGUE_BYTES(stage, n_col)                                                                  \
    (MATVEC_STAGE_BYTES(stage, n_col) + ((stage) == STAGE_Q8 ? ((n_col) + 3u) / 4u * 16u : 0u))

typedef struct matvec_job {
    uint64_t table[2]; /* -> addresses of the segments of the matrix; [1]: of up with GLU */
    uint64_t x;        /* exact: f32 rows, x_stride apart, 16-byte aligned; q8: rows of quantise_q8 */
    uint64_t y;        /* f32 rows, y_stride apart, 4-byte aligned */
    uint64_t rows;     /* -> u32 row of x for each i; 0: row(i) = i */
    uint32_t n_row;    /* rows of the output (GLU: of gate alone) */
    uint32_t n_col;
    uint32_t x_stride;      /* exact: a multiple of 16; q8: Q8_ROW_BYTES(n_col) */
    uint32_t y_stride;      /* a multiple of 4 */
    uint32_t first_block;   /* of the grid's x */
    uint32_t segment_shift; /* segment of row r = r >> segment_shift */
    uint32_t up_row;        /* GLU: row of `up` that goes with gate row 0; n_row in a GATE_UP matrix */
    float softcap;          /* 0: none */
    uint32_t stage;         /* STAGE_* */
    uint32_t output;        /* with a prologue: x is this output of it */
} matvec_job;

typedef struct matvec_params {
    matvec_job job[MATVEC_MAX_JOBS];
    uint64_t n_tok;      /* -> u32 live rows */
    uint64_t route;      /* experts: rows of the route, route_stride apart */
    uint64_t route_rows; /* -> u32 route row of each i, or 0 */
    uint32_t route_stride;
    uint32_t n_job;
    uint32_t n_part;
    uint32_t n_split;
    uint32_t glu;     /* 0 or 1 */
    uint32_t experts; /* EXPERTS_* */
    uint32_t n_used;
    uint32_t n_expert;
    uint32_t expert_stride; /* table entries from one expert's to the next one's */
    uint32_t entries_per_x; /* ENTRY: n_used where x has one row for all choices, else 1 */
    uint32_t has_prologue;  /* 1: one row of x, which every block computes and stages; the first writes */
    uint32_t reserved;
    stream_params prologue; /* y_h, y: 0 where another launch writes them; y_q8 is not written */
} matvec_params;

/* ---- quantise_q8, round_f16: rows of x, i < n_tok * rows_per_tok, to row i of y ----
 *
 * quantise_q8  grid (rows, ceil(ceil(n_col / 32) / QUANTISE_GROUPS)), block 8 * QUANTISE_GROUPS; y as above
 * round_f16    grid (rows), block QUANTISE_ROW_THREADS; y f32 rows, y_stride apart: what f16 rounding leaves
 * of x, for the mat-vec (matrix units: params_tile.h) */
#define QUANTISE_GROUPS 32u
#define QUANTISE_ROW_THREADS 256u
typedef struct quantise_params {
    uint64_t x;     /* f32 rows, x_stride apart, 16-byte aligned */
    uint64_t y;     /* 16-byte aligned */
    uint64_t rows;  /* -> u32 row of x for each i; 0: row(i) = i */
    uint64_t n_tok; /* -> u32 live rows */
    uint32_t n_col;
    uint32_t x_stride;
    uint32_t y_stride;
    uint32_t rows_per_tok;
} quantise_params;

/* ---- embed_FORMAT: y[i] = scale * W[token(i)], token(i) = tokens[row(i) * token_stride / 4], i < n_tok ----
 *
 * grid (rows, ceil(ceil(n_col / 32) / EMBED_BLOCKS)), block EMBED_BLOCKS. A token >= n_row gives zeros. */
#define EMBED_BLOCKS 64u
typedef struct embed_params {
    uint64_t table;  /* as in matvec_job */
    uint64_t y;      /* f32 rows, y_stride apart, 16-byte aligned */
    uint64_t tokens; /* -> u32 token of row 0 */
    uint64_t rows;   /* -> u32 index into tokens for each i; 0: row(i) = i */
    uint64_t n_tok;  /* -> u32 live rows */
    uint32_t n_row;
    uint32_t n_col;
    uint32_t y_stride;     /* a multiple of 16 */
    uint32_t token_stride; /* a multiple of 4 */
    uint32_t segment_shift;
    float scale;
} embed_params;

#endif
