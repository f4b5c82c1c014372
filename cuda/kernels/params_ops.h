/* cuda/kernels/params_ops.h: parameters, grids and scratch of all kernels but those of the matrix products
 * and the experts (params_moe.h). Read by C and by CUDA C.
 *
 * Addresses are device addresses, 0 for an absent view, multiples of 16 unless said otherwise. Strides are
 * bytes between rows. "rows" of a grid is the most rows a run may have; n_tok -> u32 live rows of the op's
 * row set (n_rows, or n_out for an op on OUT rows), and blocks beyond have no work.
 *
 * Row i of an op on OUT rows is row index[i] of the run: `index` is the dense u32 list of the wanted rows, 0
 * on an op on ALL rows. It says which run row (position, slot) belongs to i; whether a view is read at row i
 * or at row index[i] is a bit of `gather` (set: the view holds ALL rows; 0 without an index).
 */
#ifndef TANDEM_CUDA_PARAMS_OPS_H
#define TANDEM_CUDA_PARAMS_OPS_H

#include "params_stream.h"
#include "run_block.h"

/* ---- cache ----
 *
 * K of a layer, and V of a layer, are each an array of regions [slot][kv head], region_bytes apart, each
 * below 4 GiB. A region holds `ring` rows of head_dim elements; position p is row p mod ring. A row is whole
 * units of 16 bytes, and lanes that read one read on where the row before stopped. Q8_0 has its signed bytes
 * so, and behind all rows, from kv_scale_offset on, the f16 scales of groups of 32, [row][head_dim / 32]. */
#define KV_F32 0u
#define KV_F16 1u
#define KV_Q8_0 8u

TANDEM_SHARED uint32_t kv_element_bytes(uint32_t type) {
    return type == KV_F32 ? 4u : type == KV_F16 ? 2u : 1u;
}

TANDEM_SHARED uint32_t kv_scale_offset(uint32_t head_dim, uint32_t ring) {
    return ring * head_dim;
}

/* Bytes of a position: its row, and its scales. The caller checks that ring * this + 127 is below 2^32. */
TANDEM_SHARED uint32_t kv_position_bytes(uint32_t type, uint32_t head_dim) {
    return head_dim * kv_element_bytes(type) + (type == KV_Q8_0 ? head_dim / 32u * 2u : 0u);
}

/* A multiple of 128. */
TANDEM_SHARED uint32_t kv_region_bytes(uint32_t type, uint32_t head_dim, uint32_t ring) {
    return (ring * kv_position_bytes(type, head_dim) + 127u) / 128u * 128u;
}

/* ---- attention_append_{f32,f16,q8_0}: head norms, rotation, append to the cache, queries to scratch ----
 *
 * Grid (n_head + 2 * n_kv_head where k is present, else n_head; rows; 1), block APPEND_THREADS.
 * head_dim is a multiple of 8 (32 for Q8_0), at most ATTENTION_MAX_DIM. */
#define APPEND_THREADS 64u
#define ATTENTION_MAX_DIM 512u
#define APPEND_V_NORM 1u
#define APPEND_K_IS_V 2u
#define APPEND_GATHER_Q 4u

typedef struct attention_append_params {
    uint64_t run;    /* run_header, and run_row[n_rows] behind it */
    uint64_t index;  /* u32, or 0; a multiple of 4 */
    uint64_t n_tok;  /* a multiple of 4 */
    uint64_t q;      /* [rows][n_head * head_dim] f32 */
    uint64_t k;      /* [rows][n_kv_head * head_dim] f32, or 0 */
    uint64_t v;      /* likewise; ignored with APPEND_K_IS_V */
    uint64_t q_norm; /* [head_dim] f32, or 0: no norm; a multiple of 4 */
    uint64_t k_norm; /* likewise */
    uint64_t rope;   /* {cos, sin} f32 [256 + n_high][n_rope_pair], tables of tandem/rope.h: low, then high */
    uint64_t q_out;  /* scratch [rows][n_head][head_dim] f32: scale * rope(norm(q)), dense */
    uint64_t k_cache; /* see "cache" */
    uint64_t v_cache;
    uint32_t q_stride;
    uint32_t k_stride;
    uint32_t v_stride;
    uint32_t ring;
    uint32_t region_bytes;
    uint32_t head_dim;
    uint32_t n_head;
    uint32_t n_kv_head;
    uint32_t n_rope_pair;
    uint32_t flags; /* APPEND_* */
    float scale;
    float eps;
} attention_append_params;

/* ---- attention_{f32,f16,q8_0}_{256,512}_{2,8}: split over the keys, the last block combines ----
 *
 * Named by storage, largest head_dim and N_QUERY. The queries of a KV head are numbered
 * row * (n_head / n_kv_head) + head of the group. A block takes a tile of N_QUERY successive ones, which
 * share every K and V row it loads, and one split of the keys that the tile sees. With one split it writes
 * `y`; with more, a partial record {f32 acc[head_dim]; f32 m, l, 2 unused} for each query:
 *
 *     partial [tile][kv head][ATTENTION_RECORDS(max_split)][N_QUERY]
 *
 * The last block of a group of ATTENTION_GROUP splits to arrive merges the group's, the last group merges
 * those, both in the order of the splits. Counters go back to 0 by themselves.
 *
 * Grid (tiles, n_kv_head, max_split), block ATTENTION_THREADS. */
#define ATTENTION_THREADS 128u
#define ATTENTION_KEYS 64u /* of a tile: splits are multiples of it */
#define ATTENTION_GROUP 16u
/* Keys of a split. A smaller one's partial results are over a tenth of its keys and values; f32 sums over
 * more lose digits. */
#define ATTENTION_MIN_KEYS 64u
#define ATTENTION_MAX_KEYS 16384u
#define ATTENTION_MAX_SPLIT 256u
#define ATTENTION_GROUPS(n_split) (((n_split) + ATTENTION_GROUP - 1u) / ATTENTION_GROUP)
#define ATTENTION_RECORDS(max_split) ((max_split) + ATTENTION_GROUPS(max_split))
#define ATTENTION_COUNTERS(max_split) (1u + ATTENTION_GROUPS(max_split))
#define ATTENTION_GATHER_VISIBLE 1u

/* Parts that the keys of a tile are cut into: as many of keys_per_split as needed, at least 1, at most
 * max_split (beyond which the parts grow longer). keys: n_context, or at most window + n_rows - 1. */
TANDEM_SHARED uint32_t attention_splits(uint32_t n_context, uint32_t n_rows, uint32_t window,
                                        uint32_t keys_per_split, uint32_t max_split) {
    uint32_t keys = window > 0u && window + n_rows - 1u < n_context ? window + n_rows - 1u : n_context;
    uint32_t n = (keys + keys_per_split - 1u) / keys_per_split;
    return n < 1u ? 1u : n < max_split ? n : max_split;
}

typedef struct attention_params {
    uint64_t run;   /* run_header, and run_row[n_rows] behind it */
    uint64_t index; /* u32, or 0; a multiple of 4 */
    uint64_t n_tok; /* a multiple of 4 */
    uint64_t q;     /* q_out of attention_append */
    uint64_t k_cache;
    uint64_t v_cache;
    uint64_t visible_until; /* u32 of each row, visible_stride apart, or 0; a multiple of 4 */
    uint64_t partial;       /* scratch; unused where max_split is 1 */
    uint64_t counters;      /* u32 [tile][kv head][ATTENTION_COUNTERS(max_split)], 0 between runs; likewise */
    uint64_t y;             /* [rows][n_head * head_dim] f32 */
    uint32_t y_stride;
    uint32_t visible_stride;
    uint32_t ring;
    uint32_t region_bytes;
    uint32_t window; /* 0: none */
    uint32_t gather; /* ATTENTION_GATHER_VISIBLE */
    uint32_t head_dim;
    uint32_t n_head;
    uint32_t n_kv_head;
    uint32_t keys_per_split;
    uint32_t max_split;
    uint32_t group;     /* n_head / n_kv_head */
    uint32_t tile_rows; /* prefill: rows of a tile */
    uint32_t reserved;
} attention_params;

/* ---- attention_prefill_{f16,q8_0}_{256,512}_{exact,f16}: many queries, on matrix units ----
 *
 * Named by storage, head_dim and what queries and weights are rounded to. Parameters, splits, records and
 * counters are those above, with the differences that a tile has the group's queries of tile_rows whole rows,
 * tile_rows * n_head / n_kv_head <= attention_prefill_queries(head_dim), which is N_QUERY of a record.
 *
 * Grid (tiles, n_kv_head, max_split), block PREFILL_THREADS, attention_prefill_shared bytes. */
#define PREFILL_THREADS 256u
/* Keys of a split. Only where the device has more multiprocessors than there are tiles is there more than
 * one, and then the time of a block counts, not its partial results, which are as large as 64 keys and
 * values. Sums over keys are of whole tiles of them, so that few add up. */
#define PREFILL_MIN_KEYS 128u
#define PREFILL_MAX_KEYS 131072u
#define PREFILL_MAX_SHARED 101376u /* 99 KiB: what a block may have on compute capability 8.6 and 8.9 */

TANDEM_SHARED uint32_t attention_prefill_queries(uint32_t head_dim) {
    return head_dim == 256u ? 64u : 32u;
}

/* Keys of a tile. Where each product is two or three, fewer make as much work between barriers. */
TANDEM_SHARED uint32_t attention_prefill_keys(uint32_t exact) {
    return exact ? 16u : 32u;
}

/* Shared memory: keys and values, scores, and a word, as attention_prefill.cuh lays them. */
TANDEM_SHARED uint32_t attention_prefill_shared(uint32_t type, uint32_t head_dim, uint32_t exact) {
    return attention_prefill_keys(exact) *
               (type == KV_F16 ? head_dim * 4u
                               : head_dim * (exact ? 6u : 4u) + (head_dim == 256u ? 40u : 104u)) +
           (type == KV_Q8_0 && !exact ? head_dim * 2u : 0u) + attention_prefill_keys(exact) * 512u + 16u;
}

/* ---- topk ----
 *
 * A block finds the best of a part of TOPK_PART elements; the last block of a row to arrive merges the parts,
 * and sets the counter back to 0. Grid (topk_parts_of(n), rows, 1), block TOPK_THREADS. */
#define TOPK_THREADS 256u
#define TOPK_PART 4096u
#define TOPK_MAX 64u                 /* largest k */
#define TOPK_MAX_N (64u * TOPK_PART) /* 262144: the best 64 of each of 64 parts are one part of the merge */
#define TOPK_GATHER_X 1u

typedef struct topk_params {
    uint64_t index;    /* u32, or 0; a multiple of 4 */
    uint64_t n_tok;    /* a multiple of 4 */
    uint64_t target;   /* out_target of the run block; read with an index only */
    uint64_t x;        /* [rows][n] f32 */
    uint64_t partial;  /* scratch of topk_partial_bytes */
    uint64_t y;        /* [rows] {u32 id[k]; f32 value[k]; f32 logsumexp; f32 target} */
    uint64_t counters; /* u32 [rows], 0 between runs */
    uint32_t x_stride;
    uint32_t y_stride;
    uint32_t n;
    uint32_t k;
    uint32_t gather; /* TOPK_GATHER_X */
    uint32_t reserved;
} topk_params;

TANDEM_SHARED uint32_t topk_parts_of(uint32_t n) {
    return (n + TOPK_PART - 1u) / TOPK_PART;
}

/* Per row and part: {f32 max; f32 sum of exp(x - max); 8 unused bytes}, k times {u32 id; f32 value}, k made
 * even. */
TANDEM_SHARED uint32_t topk_part_bytes(uint32_t k) {
    return 16u + (k + 1u) / 2u * 16u;
}

/* ---- elementwise_{glu,add,scale,copy} ----
 *
 * Grid (rows * rows_per_tok, elementwise_blocks(n), 1), block ELEMENTWISE_THREADS, 4 elements a thread.
 * `y` may be `a`. */
#define ELEMENTWISE_THREADS 128u
#define ELEMENTWISE_GATHER_A 1u
#define ELEMENTWISE_GATHER_B 2u

typedef struct elementwise_params {
    uint64_t index; /* u32, or 0; a multiple of 4 */
    uint64_t n_tok; /* a multiple of 4 */
    uint64_t a;     /* [rows][n] f32 */
    uint64_t b;     /* likewise, or 0 */
    uint64_t y;     /* likewise */
    uint32_t a_stride;
    uint32_t b_stride;
    uint32_t y_stride;
    uint32_t n;
    uint32_t rows_per_tok; /* 1 with an index */
    uint32_t gather;       /* ELEMENTWISE_GATHER_* */
    float scale;
    uint32_t reserved;
} elementwise_params;

TANDEM_SHARED uint32_t elementwise_blocks(uint32_t n) {
    return (n + 4u * ELEMENTWISE_THREADS - 1u) / (4u * ELEMENTWISE_THREADS);
}

/* ---- kv_fill_{f32,f16,q8_0} and kv_read_{f32,f16,q8_0}: seeded rows into a layer, rows of a layer as f32
 * ----
 *
 * Grid (n_row, n_kv_head, 1), block KV_THREADS. On a ring only the last `ring` positions need filling. */
#define KV_THREADS 64u
typedef struct kv_params {
    uint64_t cache; /* K or V of the layer */
    uint64_t rows;  /* kv_read: [n_row][n_kv_head][head_dim] f32; kv_fill: 0 */
    uint32_t first_position;
    uint32_t slot;
    uint32_t ring;
    uint32_t region_bytes;
    uint32_t head_dim;
    uint32_t n_kv_head;
    uint32_t seed;  /* kv_fill */
    uint32_t layer; /* kv_fill: index of the layer that owns the storage */
    uint32_t which; /* TANDEM_KV_K or TANDEM_KV_V */
    uint32_t reserved;
} kv_params;

#endif
