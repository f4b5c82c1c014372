/* cuda/kernels/params_moe.h: parameters, grids and lists of the kernels moe_route, moe_group and moe_sum.
 * Read by C and by CUDA C; what holds for all of params_ops.h holds here.
 *
 * Entry e = i * n_used + j stands for choice j of row i. A row of a route is
 * {u32 id[n_used]; f32 weight[n_used]}.
 */
#ifndef TANDEM_CUDA_PARAMS_MOE_H
#define TANDEM_CUDA_PARAMS_MOE_H

#include <stdint.h>

#define MOE_MAX_EXPERT 1024u /* their keys and probabilities are held in shared memory */

/* moe_route: grid (rows, 1, 1), block MOE_ROUTE_THREADS. */
#define MOE_ROUTE_THREADS 128u
#define MOE_GATHER_IMPOSED 1u
typedef struct moe_route_params {
    uint64_t index;         /* u32, or 0; a multiple of 4 */
    uint64_t n_tok;         /* -> u32 live rows; a multiple of 4 */
    uint64_t logits;        /* [rows][n_expert] f32, dense; a multiple of 4 */
    uint64_t expert_scale;  /* [n_expert] f32, or 0; a multiple of 4 */
    uint64_t imposed;       /* [rows] u32[n_used], or 0; a multiple of 4, like its stride */
    uint64_t route;         /* rows of a route */
    uint64_t probabilities; /* [rows][n_expert] f32, or 0 */
    uint32_t imposed_stride;
    uint32_t route_stride;
    uint32_t probabilities_stride;
    uint32_t n_expert;
    uint32_t n_used;
    uint32_t gather; /* MOE_GATHER_IMPOSED */
} moe_route_params;

/* Up to tall_rows (short_rows) entries of one expert: places first .. first + count - 1 of the sorted list.
 */
typedef struct moe_tile {
    uint32_t expert;
    uint32_t first;
    uint32_t count;
    uint32_t reserved;
} moe_tile;

/* moe_group: grid (1, 1, 1), block MOE_GROUP_THREADS.
 *
 * entries[n_tok * n_used]: the entries sorted by expert and then by entry; those whose id is no expert's are
 * left out. An expert's entries are cut into tiles of two heights, tall_rows first; a rest of up to
 * short_rows becomes a short tile. Products over tiles are launched with MOE_TALL_TILES (MOE_SHORT_TILES)
 * blocks on an axis, and read from `counts` how many have work. */
#define MOE_GROUP_THREADS 512u
#define MOE_TALL_TILES(n_entry, n_expert, tall_rows)                                                         \
    ((n_entry) / (tall_rows) + ((n_entry) < (n_expert) ? (n_entry) : (n_expert)))
#define MOE_SHORT_TILES(n_entry, n_expert) ((n_entry) < (n_expert) ? (n_entry) : (n_expert))

/* Where the live counts lie. */
typedef struct moe_counts {
    uint32_t n_tall;
    uint32_t n_short;
    uint32_t n_entry; /* in `entries` */
    uint32_t reserved;
} moe_counts;

/* Shared memory holds one bit for each expert and entry of a chunk. */
#define MOE_MASK_WORDS 4096u
#define MOE_CHUNK_WORDS(n_expert) (MOE_MASK_WORDS / (n_expert) < 32u ? MOE_MASK_WORDS / (n_expert) : 32u)

typedef struct moe_group_params {
    uint64_t index;       /* u32 row of the route for each i, or 0; a multiple of 4 */
    uint64_t n_tok;       /* -> u32 live rows; a multiple of 4 */
    uint64_t route;       /* rows of a route; a multiple of 4 */
    uint64_t entries;     /* u32 */
    uint64_t tall_tiles;  /* moe_tile */
    uint64_t short_tiles; /* moe_tile */
    uint64_t counts;      /* moe_counts */
    uint32_t route_stride;
    uint32_t n_used;
    uint32_t n_expert;
    uint32_t tall_rows;
    uint32_t short_rows;
    uint32_t reserved;
} moe_group_params;

/* moe_sum: y[i] = sum over j of weight_j * x[i * n_used + j], j ascending.
 * Grid (MOE_SUM_BLOCKS(n), rows, 1), block MOE_SUM_THREADS, four elements a thread. */
#define MOE_SUM_THREADS 128u
#define MOE_SUM_BLOCKS(n) (((n) + 4u * MOE_SUM_THREADS - 1u) / (4u * MOE_SUM_THREADS))
typedef struct moe_sum_params {
    uint64_t index; /* u32 row of the route for each i, or 0; a multiple of 4 */
    uint64_t n_tok; /* -> u32 live rows; a multiple of 4 */
    uint64_t route; /* rows of a route; a multiple of 4 */
    uint64_t x;     /* [entries][n] f32, rows whole units of 16 bytes */
    uint64_t y;     /* [rows][n] f32 */
    uint32_t route_stride;
    uint32_t x_stride;
    uint32_t y_stride;
    uint32_t n;
    uint32_t n_used;
    uint32_t n_expert; /* an id from here on makes its row NaN */
} moe_sum_params;

#endif
