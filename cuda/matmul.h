/* matmul.h: products of matrices with rows of activations, for the ops that have them (lower_matmul.c,
 * lower_moe.c).
 *
 * A product of up to GPU_MAX_VEC_ROWS rows is bound by the weights and runs as a mat-vec
 * (kernels/matvec.cuh), several matrices to a launch; one of more rows runs on matrix units by tiles
 * (kernels/tile.cuh).
 */
#ifndef CU_MATMUL_H
#define CU_MATMUL_H

#include "builder.h"

#include "kernels/params.h"
#include "kernels/params_moe.h"
#include "kernels/params_tile.h"

/* How a product reads its rows. */
#define CU_PRODUCT_VEC 0u
#define CU_PRODUCT_TALL 1u  /* tiles of TILE_TALL rows */
#define CU_PRODUCT_SHORT 2u /* tiles of TILE_SHORT rows */

/* Where products find their rows. */
typedef struct cu_input {
    uint64_t address;
    uint64_t stride;
    uint64_t rows;                    /* address of the gather list, 0: dense */
    uint64_t row_bytes;               /* read of a row */
    uint64_t n_row;                   /* rows that exist */
    gpu_scratch scratch;              /* given back after the products; index TANDEM_NONE: a view */
    const tandem_op_stream *prologue; /* not NULL: blocks of mat-vecs compute the row themselves, ... */
    uint32_t output;                  /* ... this output; address is 0 */
    uint32_t stage;                   /* STAGE_*: rows are f32, and mat-vecs stage them */
} cu_input;

/* Which experts a product takes. */
typedef struct cu_experts {
    uint32_t kind;          /* EXPERTS_*, of a mat-vec */
    uint32_t n_used;        /* > 0: a product of experts */
    uint32_t entries_per_x; /* n_used where a row of x serves all choices, else 1 */
    uint64_t route;         /* mat-vec: rows of the route; tiles: moe_tile[] */
    uint64_t route_stride;
    uint64_t route_rows;  /* mat-vec: gather list of the route, or 0; tiles: the entries */
    uint64_t route_count; /* rows of the route that exist; tiles: most of them */
    uint64_t n_tile;      /* tiles: -> u32 live ones */
    uint32_t uncounted;   /* 1: the traffic is booked on the step's other tiles */
} cu_experts;

/* One product: rows of a matrix (and of `up` with it) times the input. */
typedef struct cu_product {
    const tandem_weights *weights;
    uint32_t record;
    uint32_t matrix; /* in the record */
    uint32_t up;     /* the matrix of up rows; TANDEM_NONE: no GLU */
    uint32_t up_row;
    uint32_t n_row; /* outputs */
    uint32_t op_rows;
    uint32_t precision;
    uint32_t kind;  /* CU_PRODUCT_* */
    uint32_t n_tok; /* most rows of x */
    uint64_t y, y_stride, y_rows;
    float softcap;
    cu_experts experts;
} cu_product;

/* How to launch one product, or several of one format together. */
typedef struct cu_plan {
    char kernel[48];
    uint32_t grid[3];
    uint32_t block;
    uint32_t shared_bytes;
    uint32_t n_part, n_split; /* mat-vec */
    uint32_t rows_per_pass;   /* rows of x that a pass over the weights serves */
    uint32_t x_kind;          /* tiles: TILE_X_* */
} cu_plan;

/* 1: the products can share a launch, or n is 1. */
int cu_products_fit(const cu_product *products, uint32_t n);
/* Rows of x that a block of a mat-vec of n_tok rows has. */
uint32_t cu_vec_columns(uint32_t n_tok);
/* Tile sizes and grid for a device of n_unit multiprocessors. 0: no kernel. */
int cu_plan_make(cu_plan *plan, const cu_product *products, uint32_t n, int has_prologue, uint32_t n_unit);

/* CU_PRODUCT_VEC or _TALL or _SHORT for so many rows. */
uint32_t cu_product_kind(uint32_t n_tok);

cu_input cu_input_of_view(const gpu_builder *builder, uint32_t op_rows, const tandem_view *view,
                          uint32_t n_col);
/* Bytes of a row of n_col activations as products of this kind and precision read it; 0: plain f32. */
uint64_t cu_rounded_bytes(uint32_t precision, uint32_t kind, uint32_t n_col);
/* STAGE_* by which mat-vecs of so many rows of x a block stage them; STAGE_NONE: cu_round has to round. */
uint32_t cu_stage_of(uint32_t precision, uint32_t kind, uint32_t n_col, uint32_t n_row);
/* How mat-vecs of one row stage this output of a STREAM, computing it; 0: their shared memory is too small.
 */
int cu_input_of_prologue(uint32_t precision, const tandem_op_stream *op, uint32_t output, cu_input *input);
/* Rounds rows of a view (or of scratch) into scratch: rows_per_tok for each live row. Part of the step that
 * was begun last. */
tandem_status cu_round(gpu_builder *builder, uint32_t precision, uint32_t kind, uint32_t op_rows,
                       uint32_t rows_per_tok, uint32_t n_col, const cu_input *from, cu_input *to);

/* One launch of all products. `step`: begins a step of this name (may be NULL; "": of the kernel's name). */
tandem_status cu_products_add(gpu_builder *builder, const cu_product *products, const cu_input *const *inputs,
                              uint32_t n, const char *step);

/* gelu(half[0]) * half[1], rows of n, to y. A step. Of rows_per_tok rows for each live row. */
tandem_status cu_lower_halves(gpu_builder *builder, uint32_t op_rows, uint32_t rows_per_tok, uint32_t n,
                              const uint64_t half[2], uint64_t stride, uint64_t y, uint64_t y_stride,
                              uint64_t y_rows);

#endif
