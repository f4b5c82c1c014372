/* cuda/kernels/params_tile.h: parameters of the products of many rows (prefill), and the layout of f16
 * activations. Read by C and by CUDA C. Addresses are device addresses, strides are bytes.
 *
 * Weights lie in the layout of tandem/pack.h, one table entry (address) per segment of rows.
 */
#ifndef TANDEM_CUDA_PARAMS_TILE_H
#define TANDEM_CUDA_PARAMS_TILE_H

#include <stdint.h>

#define TILE_THREADS 128u
#define TILE_ROWS 128u /* rows of W of a block; with GLU 64 of gate and 64 of up */
#define TILE_TALL 64u  /* rows of x of a block, at most */
#define TILE_SHORT 16u

/* Activations of precision f16, written by tile_round_f16 and read by matmul_*_f16_*. With B = ceil(n_col /
 * 32), a row is codes [B][4][8] f16    x * scale; unit t of a block holds columns 4t .. 4t + 3 and 16 + 4t ..
 * 16 + 4t + 3, those of word t of a block of packed quants; zero beyond n_col sums  [B][2] f32       of the
 * codes of columns 0..15 and 16..31 of a block inverse f32            1 / scale, a power of two then padding
 * to a multiple of 16. */
#define TILE_BLOCKS(n_col) (((n_col) + 31u) / 32u)
#define TILE_F16_BYTES(n_col) ((TILE_BLOCKS(n_col) * 72u + 4u + 15u) / 16u * 16u)

/* x of a product */
#define TILE_X_F32 0u /* f32 rows: matmul_*_exact_* */
#define TILE_X_Q8 1u  /* rows of quantise_q8: matmul_*_q8_*, and matmul_*_exact_* of F32, F16 and BF16 */
#define TILE_X_F16 2u /* rows of tile_round_f16: matmul_*_f16_* */

/* matmul_FORMAT_PRECISION_tall and _short:
 *   y[i][r] = f(sum over c of W[r][c] * x[row(i)][c]) for i < *n_tok, r < n_row
 * f(v) = softcap * tanh(v / softcap) if softcap > 0, else v; with glu, y = gelu_tanh(gate row) * up row.
 * Grid (tiles of x, ceil(n_row / rows of a block), 1).
 * With `tiles` a tile of x is moe_tile t < *n_tile: y[e] = f(W[expert] x[row(e / entries_per_x)]) for the
 * entries e at places first .. first + count - 1 of the list `entries`; count is at most the tile's height.
 * moe_tile is {u32 expert, first, count, reserved}. */
typedef struct tile_params {
    uint64_t table;    /* -> addresses of the segments of the matrix (of gate with glu) */
    uint64_t table_up; /* glu: likewise for up */
    uint64_t x;        /* 16-byte aligned rows */
    uint64_t y;        /* f32 rows, 4-byte aligned */
    uint64_t rows;     /* -> u32 row of x for each i; 0: row(i) = i */
    uint64_t n_tok;    /* -> u32 live rows; unused with tiles */
    uint64_t tiles;    /* moe_tile[], or 0 */
    uint64_t entries;  /* u32[] */
    uint64_t n_tile;   /* -> u32 live tiles */
    uint32_t n_row;    /* rows of the output (glu: of gate alone) */
    uint32_t n_col;
    uint32_t x_stride;      /* a multiple of 16 */
    uint32_t y_stride;      /* a multiple of 4 */
    uint32_t x_kind;        /* TILE_X_* */
    uint32_t segment_shift; /* segment of row r = r >> segment_shift */
    uint32_t glu;
    uint32_t up_row;        /* glu: row of `up` that goes with gate row 0 */
    float softcap;          /* 0: none */
    uint32_t entries_per_x; /* n_used where x has one row for all choices, else 1 */
    uint32_t n_expert;
    uint32_t expert_stride; /* table entries from one expert's to the next one's */
} tile_params;

/* tile_round_f16: row(i) of x, i < *n_tok * rows_per_tok, to row i. Grid (most rows, 1, 1). */
#define TILE_ROUND_THREADS 128u
typedef struct tile_round_params {
    uint64_t x;     /* f32 rows, x_stride apart, 16-byte aligned */
    uint64_t y;     /* rows of TILE_F16_BYTES(n_col), 16-byte aligned */
    uint64_t rows;  /* -> u32 row of x for each i; 0: row(i) = i */
    uint64_t n_tok; /* -> u32 live rows */
    uint32_t n_col;
    uint32_t x_stride;
    uint32_t rows_per_tok;
    uint32_t reserved;
} tile_round_params;

#endif
