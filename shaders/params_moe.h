/* shaders/params_moe.h: push constants, grids and lists of the shaders moe_*. Read by C and by GLSL; the
 * words are those of params.h, and what holds for all of params_ops.h holds here.
 *
 * Entry e = i * n_used + j stands for choice j of row i. A row of a route is
 * {u32 id[n_used]; f32 weight[n_used]}.
 */
#ifndef TANDEM_SHADERS_PARAMS_MOE_H
#define TANDEM_SHADERS_PARAMS_MOE_H

#include "params.h"

#define MOE_MAX_EXPERT 1024u /* their keys and probabilities are held in shared memory */

/* moe_route.comp: grid (1, rows, 1). Specialisation: 0 LOCAL_SIZE (128 on a GPU, 32 on a CPU). */
#define MOE_GATHER_IMPOSED 1u
TANDEM_STRUCT_BEGIN(moe_route_push)
    TANDEM_ADDRESS index;         /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS logits;        /* [rows][n_expert] f32, dense; a multiple of 4 */
    TANDEM_ADDRESS expert_scale;  /* [n_expert] f32, or 0; a multiple of 4 */
    TANDEM_ADDRESS imposed;       /* [rows] u32[n_used], or 0; a multiple of 4, like its stride */
    TANDEM_ADDRESS route;         /* rows of a route */
    TANDEM_ADDRESS probabilities; /* [rows][n_expert] f32, or 0 */
    TANDEM_U32 imposed_stride;
    TANDEM_U32 route_stride;
    TANDEM_U32 probabilities_stride;
    TANDEM_U32 n_expert;
    TANDEM_U32 n_used;
    TANDEM_U32 gather; /* MOE_GATHER_IMPOSED */
TANDEM_STRUCT_END(moe_route_push)

/* moe_group.comp: grid (1, 1, 1), one workgroup. Specialisation: 0 LOCAL_SIZE (256).
 *
 * entries[n_tok * n_used]: the entries sorted by expert and then by entry; those whose id is no expert's are
 * left out. An expert's entries are cut into tiles of two heights, tall_rows first; a rest of up to
 * short_rows becomes a short tile. Command c launches grid_x[c] workgroups for each tile, a short one where c
 * is odd. */
#define MOE_N_COMMAND 6u
#define MOE_TALL_TILES(n_entry, n_expert, tall_rows) \
    ((n_entry) / (tall_rows) + ((n_entry) < (n_expert) ? (n_entry) : (n_expert)))
#define MOE_SHORT_TILES(n_entry, n_expert) ((n_entry) < (n_expert) ? (n_entry) : (n_expert))

/* Shared memory holds one bit for each expert and entry of a chunk. */
#define MOE_MASK_WORDS 4096u
#define MOE_CHUNK_WORDS(n_expert) (MOE_MASK_WORDS / (n_expert) < 32u ? MOE_MASK_WORDS / (n_expert) : 32u)

TANDEM_STRUCT_BEGIN(moe_group_push)
    TANDEM_ADDRESS index;       /* u32 row of the route for each i, or 0; a multiple of 4 */
    TANDEM_ADDRESS n_tok;       /* -> u32 live rows; a multiple of 4 */
    TANDEM_ADDRESS route;       /* rows of a route; a multiple of 4 */
    TANDEM_ADDRESS entries;     /* u32 */
    TANDEM_ADDRESS tall_tiles;  /* moe_tile */
    TANDEM_ADDRESS short_tiles; /* moe_tile */
    TANDEM_ADDRESS commands;    /* u32[4] each: a launch command, and a word that is unused */
    TANDEM_U32 grid_x[MOE_N_COMMAND];
    TANDEM_U32 route_stride;
    TANDEM_U32 n_used;
    TANDEM_U32 n_expert;
    TANDEM_U32 tall_rows;
    TANDEM_U32 short_rows;
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(moe_group_push)

/* moe_sum.comp: y[i] = sum over j of weight_j * x[i * n_used + j], j ascending.
 * Grid: (MOE_SUM_GROUPS(n), rows, 1), four elements a thread.
 * Specialisation: 0 LOCAL_SIZE (MOE_SUM_LOCAL). */
#define MOE_SUM_LOCAL 64u
#define MOE_SUM_GROUPS(n) (((n) + 4u * MOE_SUM_LOCAL - 1u) / (4u * MOE_SUM_LOCAL))
TANDEM_STRUCT_BEGIN(moe_sum_push)
    TANDEM_ADDRESS index; /* u32 row of the route for each i, or 0; a multiple of 4 */
    TANDEM_ADDRESS route; /* rows of a route; a multiple of 4 */
    TANDEM_ADDRESS x;     /* [entries][n] f32 */
    TANDEM_ADDRESS y;     /* [rows][n] f32 */
    TANDEM_U32 route_stride;
    TANDEM_U32 x_stride;
    TANDEM_U32 y_stride;
    TANDEM_U32 n;
    TANDEM_U32 n_used;
    TANDEM_U32 n_expert; /* an id from here on makes its row NaN */
TANDEM_STRUCT_END(moe_sum_push)

#endif
