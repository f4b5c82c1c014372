/* shaders/params_ops.h: push constants, specialisation constants, grids and scratch of all shaders but those
 * of the matrix products and the experts (params_moe.h). Read by C and by GLSL (the words: params.h).
 *
 * Addresses are device addresses, 0 for an absent view, multiples of 16 unless said otherwise. Strides are
 * bytes between rows. "rows" of a grid is the live row count of the op's row set: n_rows for an op on ALL
 * rows, n_out for one on OUT rows; command buffers are recorded once, so grids come from indirect commands.
 *
 * Row i of an op on OUT rows is row index[i] of the run: `index` is the dense u32 list of the wanted rows, 0
 * on an op on ALL rows. It says which run row (position, slot) belongs to i; whether a view is read at row i
 * or at row index[i] is a bit of `gather` (set: the view holds ALL rows; 0 without an index).
 *
 * Specialisation constant 0 of every shader is LOCAL_SIZE, the threads of a workgroup: a power of two, a
 * multiple of the subgroup size, at most 256. Every shader runs at any subgroup size from 4 to 64.
 */
#ifndef TANDEM_SHADERS_PARAMS_OPS_H
#define TANDEM_SHADERS_PARAMS_OPS_H

#include "params.h"
#include "run_block.h"

#ifdef VULKAN
#define TANDEM_SHARED
#else
#define TANDEM_SHARED static inline
#endif

/* ---- attention_append: head norms, rotation, append to the cache, queries to scratch ----
 *
 * Grid: (N_HEAD + 2 * N_KV_HEAD, rows, 1) where k is present, else (N_HEAD, rows, 1).
 * Specialisation: 0 LOCAL_SIZE (32 serves), 1 HEAD_DIM (a multiple of 8; of 32 for KV_Q8_0), 2 N_HEAD,
 * 3 N_KV_HEAD, 4 N_ROPE_PAIR, 5 KV_TYPE, 6 FLAGS (APPEND_*).
 *
 * rope: the two tables of tandem/rope.h, the low one (256 rows), then the high one. */
#define SPEC_HEAD_DIM 1
#define SPEC_N_HEAD 2
#define SPEC_N_KV_HEAD 3
#define SPEC_N_ROPE_PAIR 4
#define SPEC_KV_TYPE 5
#define SPEC_APPEND_FLAGS 6
#define APPEND_V_NORM 1u
#define APPEND_K_IS_V 2u
#define APPEND_GATHER_Q 1u

TANDEM_STRUCT_BEGIN(attention_append_push)
    TANDEM_ADDRESS run;      /* run_header, and run_row[n_rows] behind it */
    TANDEM_ADDRESS index;    /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS q;        /* [rows][N_HEAD * HEAD_DIM] f32 */
    TANDEM_ADDRESS k;        /* [rows][N_KV_HEAD * HEAD_DIM] f32, or 0 */
    TANDEM_ADDRESS v;        /* likewise; ignored with APPEND_K_IS_V */
    TANDEM_ADDRESS q_norm;   /* [HEAD_DIM] f32, or 0: no norm; a multiple of 4 */
    TANDEM_ADDRESS k_norm;   /* likewise */
    TANDEM_ADDRESS rope;     /* {cos, sin} f32 [256 + n_high][N_ROPE_PAIR]; unused when N_ROPE_PAIR is 0 */
    TANDEM_ADDRESS q_out;    /* scratch [rows][N_HEAD][HEAD_DIM] f32: scale * rope(norm(q)), dense */
    TANDEM_ADDRESS k_cache;  /* see "cache" */
    TANDEM_ADDRESS v_cache;
    TANDEM_U32 q_stride;
    TANDEM_U32 k_stride;
    TANDEM_U32 v_stride;
    TANDEM_F32 scale;
    TANDEM_F32 eps;
    TANDEM_U32 ring; /* positions a region holds; position p lives at p mod ring */
    TANDEM_U32 region_bytes;
    TANDEM_U32 gather; /* APPEND_GATHER_Q */
TANDEM_STRUCT_END(attention_append_push)

/* ---- cache ----
 *
 * K of a layer, and V of a layer, are each an array of regions [slot][kv head], region_bytes apart, each
 * below 4 GiB. A region holds `ring` rows, cut into blocks of KV_BLOCK rows, and those into columns of 64
 * elements:
 *     [block][column][row of the block][element of the column]
 * so that lanes that share a column of a row, and go on to the next row, read on where they stopped: twice
 * the speed on a CPU, whole 128-byte lines on a GPU. Q8_0 has its signed bytes so, and behind them, from
 * kv_scale_offset on, the f16 scales of groups of 32, a u32 for a column (its first group low):
 *     [block][column][row of the block]
 * Copy whole blocks or whole regions, nothing finer. */
#define KV_F32 0u
#define KV_F16 1u
#define KV_Q8_0 8u
#define KV_BLOCK 32u

TANDEM_SHARED TANDEM_U32 kv_element_bytes(TANDEM_U32 type)
{
    return type == KV_F32 ? 4u : type == KV_F16 ? 2u : 1u;
}

TANDEM_SHARED TANDEM_U32 kv_columns(TANDEM_U32 head_dim)
{
    return (head_dim + 63u) / 64u;
}

TANDEM_SHARED TANDEM_U32 kv_padded_ring(TANDEM_U32 ring)
{
    return (ring + KV_BLOCK - 1u) / KV_BLOCK * KV_BLOCK;
}

TANDEM_SHARED TANDEM_U32 kv_scale_offset(TANDEM_U32 head_dim, TANDEM_U32 ring)
{
    return kv_padded_ring(ring) * head_dim;
}

/* The caller has checked that kv_padded_ring * kv_position_bytes is below 2^32. A multiple of 128. */
TANDEM_SHARED TANDEM_U32 kv_position_bytes(TANDEM_U32 type, TANDEM_U32 head_dim)
{
    return head_dim * kv_element_bytes(type) + (type == KV_Q8_0 ? 4u * kv_columns(head_dim) : 0u);
}

TANDEM_SHARED TANDEM_U32 kv_region_bytes(TANDEM_U32 type, TANDEM_U32 head_dim, TANDEM_U32 ring)
{
    return kv_padded_ring(ring) * kv_position_bytes(type, head_dim);
}

/* Where element d of ring row r is in its region, in elements. A last, short column is narrower. */
TANDEM_SHARED TANDEM_U32 kv_element(TANDEM_U32 head_dim, TANDEM_U32 r, TANDEM_U32 d)
{
    TANDEM_U32 column = d / 64u * 64u, width = head_dim - column < 64u ? head_dim - column : 64u;
    return r / KV_BLOCK * KV_BLOCK * head_dim + column * KV_BLOCK + r % KV_BLOCK * width + d - column;
}

/* ---- attention_split and attention_combine ----
 *
 * The queries of a KV head are numbered row * (N_HEAD / N_KV_HEAD) + head of the group. A workgroup of
 * attention_split takes a tile of N_QUERY successive ones, which share every K and V row it loads, and one
 * split of the keys that the tile sees. With one split it writes `y`; with more, partial results that
 * attention_combine merges in the order of the splits.
 *     split grid    (N_KV_HEAD, tiles_per_row * ceil(rows / rows_per_tile), n_split)
 *     combine grid  (N_HEAD, rows, 1) where n_split > 1, else nothing (RULE_ONLY_IF_SPLIT)
 * n_split = RULE_SPLITS(keys, keys_per_split, max_split), see launch_rule in run_block.h; vulkan/attention_plan.c
 * gives these numbers. Specialisation: 0 LOCAL_SIZE, 1 HEAD_DIM (a multiple of 8, at most 512), 2 N_HEAD; of
 * the split also 3 N_KV_HEAD, 4 N_QUERY (a power of two, at most 8), 5 KV_TYPE, 6 SUBGROUP_SIZE (the
 * pipeline's, exactly), 7 KEYS_IN_FLIGHT. LOCAL_SIZE of the split is the plan's; of the combine 64 serves. */
#define SPEC_N_QUERY 4
#define SPEC_SUBGROUP_SIZE 6
#define SPEC_KEYS_IN_FLIGHT 7
#define SPLIT_GATHER_VISIBLE 1u

TANDEM_STRUCT_BEGIN(attention_split_push)
    TANDEM_ADDRESS run;           /* run_header, and run_row[n_rows] behind it */
    TANDEM_ADDRESS index;         /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS n_tok;         /* -> u32 live rows of the op; a multiple of 4 */
    TANDEM_ADDRESS q;             /* q_out of attention_append */
    TANDEM_ADDRESS k_cache;
    TANDEM_ADDRESS v_cache;
    TANDEM_ADDRESS visible_until; /* u32 of each row, visible_stride apart, or 0; a multiple of 4 */
    TANDEM_ADDRESS partial;       /* scratch of vk_attention_partial_bytes; unused where max_split is 1 */
    TANDEM_ADDRESS y;             /* [rows][N_HEAD * HEAD_DIM] f32 */
    TANDEM_U32 y_stride;
    TANDEM_U32 visible_stride;
    TANDEM_U32 ring;
    TANDEM_U32 region_bytes;
    TANDEM_U32 window; /* 0: none */
    TANDEM_U32 gather; /* SPLIT_GATHER_VISIBLE */
TANDEM_STRUCT_END(attention_split_push)

TANDEM_STRUCT_BEGIN(attention_combine_push)
    TANDEM_ADDRESS partial;
    TANDEM_ADDRESS y;
    TANDEM_ADDRESS split_command; /* the split's indirect command, whose z is n_split; a multiple of 4 */
    TANDEM_U32 y_stride;
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(attention_combine_push)

#define ATTENTION_MAX_SPLIT 256u

/* ---- stream: the residual stream between two phases ----
 *
 * Grid: (n_slice, rows, 1). Specialisation: 0 LOCAL_SIZE (256 on a GPU, 32 on a CPU), 1 N_A (0..2), 2 N_OUT
 * (0..3), 3 Q8 (bit i: output i is also, or only, written as q8 activations; n_slice is then 1), 4 D (at most
 * STREAM_MAX_D).
 * note: what a row needs first is in the push block, what it needs later in a block in memory. */
#define SPEC_N_A 1
#define SPEC_N_OUT 2
#define SPEC_STREAM_Q8 3
#define SPEC_D 4
#define STREAM_MAX_D 7680u /* a slice and its sums fit in 32 KiB of shared memory */
#define STREAM_GATHER_H 1u
#define STREAM_GATHER_A0 2u
#define STREAM_GATHER_A1 4u

TANDEM_STRUCT_BEGIN(stream_block)
    TANDEM_ADDRESS w[3];      /* [D] f32, or 0; a multiple of 4 */
    TANDEM_ADDRESS y[3];      /* [rows][n_slice * D] f32, or 0 */
    TANDEM_ADDRESS y_w[3];    /* [D] f32, or 0; a multiple of 4 */
    TANDEM_ADDRESS y_q8[3];   /* dense rows of Q8_ROW_BYTES(D), where Q8 has the bit */
    TANDEM_U32 y_stride[3];
    TANDEM_F32 y_scale[3];
TANDEM_STRUCT_END(stream_block)

TANDEM_STRUCT_BEGIN(stream_push)
    TANDEM_ADDRESS index; /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS block; /* -> stream_block; a multiple of 8 */
    TANDEM_ADDRESS h;     /* [rows][n_slice * D] f32 */
    TANDEM_ADDRESS a0;    /* likewise, where N_A > 0 */
    TANDEM_ADDRESS a1;    /* likewise, where N_A > 1 */
    TANDEM_ADDRESS y_h;   /* likewise, or 0 */
    TANDEM_U32 h_stride;
    TANDEM_U32 a0_stride;
    TANDEM_U32 a1_stride;
    TANDEM_U32 y_h_stride;
    TANDEM_F32 eps;
    TANDEM_F32 scale;
    TANDEM_U32 gather; /* STREAM_GATHER_* */
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(stream_push)

/* ---- topk ----
 *
 * Two dispatches of one shader with a barrier between: STAGE 0 finds the best of each part of TOPK_PART
 * elements, STAGE 1 the best of those. Grids: (topk_parts(n), rows, 1), then (1, rows, 1).
 * Specialisation: 0 LOCAL_SIZE (256 on a GPU, 64 on a CPU; at least 64), 1 STAGE. n is at most TOPK_MAX_N. */
#define SPEC_TOPK_STAGE 1
#define TOPK_PART 4096u
#define TOPK_MAX 64u /* largest k */
#define TOPK_MAX_N (64u * TOPK_PART) /* 262144: the best 64 of each of 64 parts are one part of stage 1 */
#define TOPK_GATHER_X 1u

TANDEM_STRUCT_BEGIN(topk_push)
    TANDEM_ADDRESS index;   /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS target;  /* out_target of the run block; read with an index only */
    TANDEM_ADDRESS x;       /* [rows][n] f32 */
    TANDEM_ADDRESS partial; /* scratch of topk_partial_bytes */
    TANDEM_ADDRESS y;       /* [rows] {u32 id[k]; f32 value[k]; f32 logsumexp; f32 target} */
    TANDEM_U32 x_stride;
    TANDEM_U32 y_stride;
    TANDEM_U32 n;
    TANDEM_U32 k;
    TANDEM_U32 gather; /* TOPK_GATHER_X */
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(topk_push)

TANDEM_SHARED TANDEM_U32 topk_parts(TANDEM_U32 n)
{
    return (n + TOPK_PART - 1u) / TOPK_PART;
}

/* Per row and part: {f32 max; f32 sum of exp(x - max); 8 unused bytes}, k times {u32 id; f32 value}, k made
 * even. */
TANDEM_SHARED TANDEM_U32 topk_part_bytes(TANDEM_U32 k)
{
    return 16u + (k + 1u) / 2u * 16u;
}

TANDEM_SHARED TANDEM_U32 topk_partial_bytes(TANDEM_U32 n_rows, TANDEM_U32 n, TANDEM_U32 k)
{
    return n_rows * topk_parts(n) * topk_part_bytes(k);
}

/* ---- elementwise ----
 *
 * Grid: (elementwise_groups(n, LOCAL_SIZE), rows, 1), 4 elements a thread.
 * Specialisation: 0 LOCAL_SIZE (64), 1 KIND. `y` may be `a`. */
#define SPEC_ELEMENTWISE_KIND 1
#define ELEMENTWISE_GLU 0u   /* gelu_tanh(a) * b */
#define ELEMENTWISE_ADD 1u   /* scale * (a + b) */
#define ELEMENTWISE_SCALE 2u /* scale * a */
#define ELEMENTWISE_COPY 3u  /* a */
#define ELEMENTWISE_GATHER_A 1u
#define ELEMENTWISE_GATHER_B 2u

TANDEM_STRUCT_BEGIN(elementwise_push)
    TANDEM_ADDRESS index; /* u32, or 0; a multiple of 4 */
    TANDEM_ADDRESS a;     /* [rows][n] f32 */
    TANDEM_ADDRESS b;     /* likewise, or 0 */
    TANDEM_ADDRESS y;     /* likewise */
    TANDEM_U32 a_stride;
    TANDEM_U32 b_stride;
    TANDEM_U32 y_stride;
    TANDEM_U32 n;
    TANDEM_F32 scale;
    TANDEM_U32 gather; /* ELEMENTWISE_GATHER_* */
TANDEM_STRUCT_END(elementwise_push)

TANDEM_SHARED TANDEM_U32 elementwise_groups(TANDEM_U32 n, TANDEM_U32 local_size)
{
    return (n + 4u * local_size - 1u) / (4u * local_size);
}

/* ---- kv_fill and kv_read: seeded rows into a layer, rows of a layer as f32 ----
 *
 * Grid of both: (n_row, N_KV_HEAD, 1), n_row at most 65535 a dispatch; first_position moves on. On a ring
 * only the last `ring` positions need filling.
 * Specialisation: 0 LOCAL_SIZE (32), 1 HEAD_DIM, 3 N_KV_HEAD, 5 KV_TYPE. */
TANDEM_STRUCT_BEGIN(kv_push)
    TANDEM_ADDRESS cache; /* K or V of the layer */
    TANDEM_ADDRESS rows;  /* kv_read: [n_row][N_KV_HEAD][HEAD_DIM] f32; kv_fill: 0 */
    TANDEM_U32 first_position;
    TANDEM_U32 slot;
    TANDEM_U32 ring;
    TANDEM_U32 region_bytes;
    TANDEM_U32 seed;  /* kv_fill */
    TANDEM_U32 layer; /* kv_fill: index of the layer that owns the storage */
    TANDEM_U32 which; /* TANDEM_KV_K or TANDEM_KV_V */
    TANDEM_U32 reserved;
TANDEM_STRUCT_END(kv_push)

#endif
