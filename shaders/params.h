/* shaders/params.h: push constants, specialisation constants and activation layouts of the matrix shaders.
 *
 * Read by C and by GLSL. Addresses are buffer device addresses: uint64_t in C, uvec2 in GLSL (same 8 bytes).
 * Strides are bytes. Every block is at most 128 bytes, the least a Vulkan device offers.
 *
 * Weights lie in the layout of vulkan/pack.h: groups of 8 rows, 16-byte units, one table entry (address) per
 * segment of rows. The table is read at execution.
 */
#ifndef TANDEM_SHADERS_PARAMS_H
#define TANDEM_SHADERS_PARAMS_H

#ifdef VULKAN
#define TANDEM_ADDRESS uvec2
#define TANDEM_U32 uint
#define TANDEM_F32 float
#define TANDEM_STRUCT_BEGIN(name) struct name {
#define TANDEM_STRUCT_END(name) };
#else
#include <stdint.h>
#define TANDEM_ADDRESS uint64_t
#define TANDEM_U32 uint32_t
#define TANDEM_F32 float
#define TANDEM_STRUCT_BEGIN(name) typedef struct name {
#define TANDEM_STRUCT_END(name) } name;
#endif

/* Rows of a weight group: 8 rows x 16 bytes are one 128-byte line. */
#define GROUP_ROWS 8u

/* Activations of precision q8, written by quantise_q8 and read by matmul_*_q8. Row i starts at
 * i * Q8_ROW_BYTES(n_col); B = ceil(n_col / 32) groups:
 *   codes [B][32] int8           x ~ d * code, columns beyond n_col are 0
 *   meta  [B] {f32 d; int16 sum of codes 0..15; int16 sum of codes 16..31}
 * then up to 8 bytes of padding. */
#define Q8_ROW_BYTES(n_col) (((((n_col) + 31u) / 32u * 40u) + 15u) / 16u * 16u)

/* matmul.comp: y[i][r] = f(sum over c of W[r][c] * x[row(i)][c]) for i < *n_tok, r < n_row.
 * f(v) = softcap * tanh(v / softcap) if softcap > 0, else v; with GLU = 1, y = gelu_tanh(gate row) * up row.
 * Grid: (plan.grid_x, ceil(*n_tok / plan.cols_per_group), 1); the plan: vk_matmul_plan_make of vulkan/pack.h.
 * x is loaded 16 bytes at a time: buffers end on a multiple of 16.
 *
 * With SPEC_EXPERTS the table holds the matrix of every expert, and entry e = i * n_used + j stands for
 * choice j of row i. A row of a route is {u32 id[n_used]; f32 weight[n_used]}.
 *   EXPERTS_ENTRY  y[e] = f(W[id of e] x[row(e / entries_per_x)])               grid y: entries
 *   EXPERTS_SUM    y[i] = sum over j of weight_j * W[id_j] x[i * n_used + j]     grid y: rows; not with GLU
 *   EXPERTS_TILES  as ENTRY, entries of one expert together (moe_tile)          grid y: tiles
 * An id that is no expert's reads some expert; with EXPERTS_SUM its row becomes NaN. */
#define EXPERTS_NONE 0
#define EXPERTS_ENTRY 1
#define EXPERTS_SUM 2
#define EXPERTS_TILES 3
TANDEM_STRUCT_BEGIN(matmul_push)
    TANDEM_ADDRESS table;    /* -> addresses of the segments of the matrix (of gate with GLU) */
    TANDEM_ADDRESS table_up; /* GLU: likewise for up; else unused */
    TANDEM_ADDRESS x;        /* exact: f32 rows, x_stride apart, 16-byte aligned; q8: rows of quantise_q8 */
    TANDEM_ADDRESS y;        /* f32 rows, y_stride apart, 4-byte aligned */
    TANDEM_ADDRESS rows;     /* -> u32 row of x for each i; 0: row(i) = i */
    TANDEM_ADDRESS n_tok;    /* -> u32 live rows */
    TANDEM_U32 n_row;        /* rows of the output (GLU: of gate alone) */
    TANDEM_U32 n_col;
    TANDEM_U32 x_stride;      /* exact: bytes, a multiple of 16; q8: Q8_ROW_BYTES(n_col) */
    TANDEM_U32 y_stride;      /* bytes, a multiple of 4 */
    TANDEM_U32 segment_shift; /* segment of row r = r >> segment_shift */
    TANDEM_U32 up_row;        /* GLU: row of `up` that goes with gate row 0; n_row in a GATE_UP matrix */
    TANDEM_F32 softcap;       /* 0: none */
    TANDEM_U32 entries_per_x; /* ENTRY, TILES: n_used where x has one row for all choices, else 1 */
    TANDEM_ADDRESS route;      /* ENTRY, SUM: rows of the route, route_stride apart; TILES: moe_tile[] */
    TANDEM_ADDRESS route_rows; /* ENTRY, SUM: -> u32 route row of each i, or 0; TILES: -> u32 entries */
    TANDEM_U32 route_stride;
    TANDEM_U32 n_used;
    TANDEM_U32 n_expert;
    TANDEM_U32 expert_stride; /* table entries from one expert's to the next one's */
TANDEM_STRUCT_END(matmul_push)

/* Up to cols_per_group entries of one expert: places first .. first + count - 1 of the sorted list. */
TANDEM_STRUCT_BEGIN(moe_tile)
    TANDEM_U32 expert;
    TANDEM_U32 first;
    TANDEM_U32 count;
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(moe_tile)

/* Specialisation constants of matmul.comp: constant_id = index in vk_matmul_plan.spec. */
#define SPEC_LOCAL_SIZE 0      /* threads of a workgroup, a multiple of the subgroup size */
#define SPEC_LANES_PER_ROW 1   /* lanes that share a row of W: a power of two, at most the subgroup size */
#define SPEC_ROWS_PER_LANE 2   /* rows of W of a lane */
#define SPEC_N_COL 3           /* rows of x of a lane */
#define SPEC_GLU 4             /* 0 or 1 */
#define SPEC_COL_SUBGROUPS 5   /* subgroups of a workgroup that differ in rows of x, not in rows of W */
#define SPEC_BLOCKS_IN_FLIGHT 6 /* blocks of a row loaded before the first is used */
#define SPEC_UNROLL 7           /* 8: the 8 x 4 columns of a block are straight code; 1, 2, 4: a loop */
#define SPEC_EXPERTS 8          /* EXPERTS_* */
#define SPEC_DOT_PAIRS 9        /* Q8: 32-bit products of pairs of codes instead of integer dot products */
#define SPEC_N_PRODUCT 10       /* more than 1: products in grid z, `table` -> matmul_push of each, n_col is theirs */
#define N_SPEC_MATMUL 11

/* Most loop iterations of a subgroup: per block one and 8 / UNROLL, per chunk one, a few at the end; n_pass
 * times with EXPERTS_SUM. */
#define MATMUL_ITERATIONS(n_col, unroll, n_pass) \
    ((((n_col) + 31u) / 32u * (1u + 8u / (unroll)) + ((n_col) + 127u) / 128u + 3u) * (n_pass) + 8u)

/* quantise_q8.comp: row(i) of x, i < *n_tok * rows_per_tok, to row i of q8.
 * Grid (ceil(ceil(n_col / 32) / QUANTISE_GROUPS), *n_tok * rows_per_tok, 1). */
#define QUANTISE_GROUPS 64u
TANDEM_STRUCT_BEGIN(quantise_push)
    TANDEM_ADDRESS x;     /* f32 rows, x_stride apart, 16-byte aligned */
    TANDEM_ADDRESS q8;    /* rows of Q8_ROW_BYTES(n_col), 16-byte aligned */
    TANDEM_ADDRESS rows;  /* -> u32 row of x for each i; 0: row(i) = i */
    TANDEM_ADDRESS n_tok; /* -> u32 live rows */
    TANDEM_U32 n_col;
    TANDEM_U32 x_stride; /* bytes, a multiple of 16 */
    TANDEM_U32 rows_per_tok;
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(quantise_push)

/* embed.comp: y[i] = scale * W[token(i)], token(i) = tokens[row(i) * token_stride / 4], i < *n_tok.
 * Grid (ceil(ceil(n_col / 32) / EMBED_BLOCKS), *n_tok, 1). A token >= n_row gives a row of zeros. */
#define EMBED_BLOCKS 64u
TANDEM_STRUCT_BEGIN(embed_push)
    TANDEM_ADDRESS table;  /* as in matmul_push */
    TANDEM_ADDRESS y;      /* f32 rows, y_stride apart, 16-byte aligned */
    TANDEM_ADDRESS tokens; /* -> u32 token of row 0 */
    TANDEM_ADDRESS rows;   /* -> u32 index into tokens for each i; 0: row(i) = i */
    TANDEM_ADDRESS n_tok;  /* -> u32 live rows */
    TANDEM_U32 n_row;
    TANDEM_U32 n_col;
    TANDEM_U32 y_stride;     /* bytes, a multiple of 16 */
    TANDEM_U32 token_stride; /* bytes, a multiple of 4 */
    TANDEM_U32 segment_shift;
    TANDEM_F32 scale;
TANDEM_STRUCT_END(embed_push)

#endif
