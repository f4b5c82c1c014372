/* tandem/op.h: the operations a program is made of. Formulas, shapes, types and error budgets: backend/OPS.md.
 *
 * Ops are semantic: the host states what depends on what through views, in order; how ops become steps (launches) is
 * the plugin's art. Activations are f32 rows in buffers. Unless OPS.md says otherwise an output overlaps neither an
 * input nor another output of its op.
 */
#ifndef TANDEM_OP_H
#define TANDEM_OP_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Row sets. A run has n_rows rows and a list of n_out of them whose outputs are wanted. */
#define TANDEM_ROWS_ALL 0u   /* row i belongs to row i of the run */
#define TANDEM_ROWS_OUT 1u   /* row i belongs to row out[i].row of the run */
#define TANDEM_ROWS_CONST 2u /* one row for all (norm weights) */

/* Rows of bytes inside a buffer: row i starts at offset + i * stride. A NULL buffer means "absent". An op on OUT rows
 * that reads an ALL view gathers row out[i].row; an op on ALL rows cannot read an OUT view. Offset and stride are
 * multiples of 16 for f32 activations (4 for CONST rows' stride, which is ignored). */
typedef struct tandem_view {
    tandem_buffer *buffer;
    uint64_t offset; /* bytes */
    uint64_t stride; /* bytes between rows */
    uint32_t rows;   /* TANDEM_ROWS_* */
    uint32_t reserved;
} tandem_view;

#define TANDEM_OP_EMBED 1u
#define TANDEM_OP_STREAM 2u
#define TANDEM_OP_MATMUL 3u
#define TANDEM_OP_ATTENTION 4u
#define TANDEM_OP_TOPK 5u
#define TANDEM_OP_GLU 6u
#define TANDEM_OP_ADD 7u
#define TANDEM_OP_SCALE 8u
#define TANDEM_OP_COPY 9u
#define TANDEM_OP_MOE_ROUTE 10u
#define TANDEM_OP_MOE_FFN 11u

/* First member of every op. */
typedef struct tandem_op {
    uint32_t struct_size; /* of the whole op struct */
    uint32_t kind;        /* TANDEM_OP_* */
    uint32_t rows;        /* TANDEM_ROWS_ALL or TANDEM_ROWS_OUT */
    uint32_t reserved;
    const char *label; /* "blk.3.attn_q"; copied; may be NULL */
} tandem_op;

/* out[i] = scale * table[token of row i]. */
typedef struct tandem_op_embed {
    tandem_op head;
    tandem_weights *table; /* record 0 */
    uint32_t matrix;       /* index in the record; n_col wide */
    float scale;
    tandem_view out; /* [rows][n_col] f32 */
} tandem_op_embed;

/* The residual stream between two phases. With norm(x; w) = x / sqrt(mean(x^2) + eps) * w (w absent: 1):
 *   b  = 0                                            (a[0] absent)
 *      = norm(a[0]; w[0])                             (a[1] absent)
 *      = norm(norm(a[0]; w[0]) + norm(a[1]; w[1]); w[2])
 *   h' = scale * (h + b)                              written to out_h if present
 *   out[i] = norm(h'; out_w[i]) * out_scale[i]        i < n_out
 * Means run over slices of d elements; a row has n_slice slices that share the weights. */
typedef struct tandem_op_stream {
    tandem_op head;
    uint32_t d;       /* elements of a slice */
    uint32_t n_slice; /* slices of a row; 0 counts as 1 */
    uint32_t n_out;   /* 0..3 */
    float eps;
    float scale;
    uint32_t reserved;
    tandem_view h;        /* [rows][n_slice * d] f32 */
    tandem_view a[2];     /* likewise, or absent */
    tandem_view w[3];     /* CONST [d] f32, or absent */
    tandem_view out_h;    /* likewise h, or absent */
    tandem_view out[3];   /* likewise h; absent only where the op is a prologue */
    tandem_view out_w[3]; /* CONST [d] f32, or absent */
    float out_scale[3];
    uint32_t reserved2;
} tandem_op_stream;

#define TANDEM_ACT_NONE 0u
#define TANDEM_ACT_GELU_GLU 1u /* y[0] = gelu_tanh(gate x) * (up x) */

/* y[m] = W[m] x[m] for 1..3 matrices of one record, read once. With GELU_GLU the matrices are gate and up (or one
 * GATE_UP) and there is one y. softcap > 0: y = softcap * tanh(y / softcap). A prologue computes the inputs from the
 * residual stream: x[m] is then absent and x_output[m] names the prologue's output that matrix m reads. */
typedef struct tandem_op_matmul {
    tandem_op head;
    tandem_weights *weights;
    uint32_t record;
    uint32_t first_matrix;
    uint32_t n_matrix; /* 1..3 */
    uint32_t activation;
    float softcap; /* 0: none */
    uint32_t x_output[3];
    tandem_view x[3];                 /* [rows][n_col of matrix m] f32 */
    tandem_view y[3];                 /* [rows][n_row of matrix m] f32 */
    const tandem_op_stream *prologue; /* NULL: none; head.rows equals this op's */
} tandem_op_matmul;

#define TANDEM_ATTENTION_V_NORM 1u /* v = v / sqrt(mean(v^2) + eps), no weight */
#define TANDEM_ATTENTION_K_IS_V 2u /* v is the raw k: before norm and rotation */

/* Head norms, rotation, append to the cache, masked softmax attention. RoPE pairs element i with i + head_dim / 2 for
 * i < n_rope_pair, angle = position * rope_omega[i]; other elements pass. Query head n reads KV head
 * n / (n_head / n_kv_head). A key j is visible to position p if j < max(p + 1, visible_until of the row), j is in the
 * cache, and there is no window or p - j < window. k and v are absent on a layer that shares another's storage. */
typedef struct tandem_op_attention {
    tandem_op head;
    tandem_kv *kv;
    uint32_t layer;
    uint32_t n_head;
    uint32_t n_rope_pair; /* <= head_dim / 2 */
    uint32_t flags;       /* TANDEM_ATTENTION_* */
    float scale;          /* multiplies q.k */
    float eps;
    const double *rope_omega; /* [n_rope_pair] radians per position, copied */
    tandem_view q;            /* [rows][n_head * head_dim] f32 */
    tandem_view k;            /* [rows][n_kv_head * head_dim] f32, or absent */
    tandem_view v;            /* likewise, or absent */
    tandem_view q_norm;       /* CONST [head_dim] f32, or absent: no norm */
    tandem_view k_norm;       /* likewise */
    tandem_view visible_until; /* [rows] uint32, or absent */
    tandem_view out;           /* [rows][n_head * head_dim] f32 */
} tandem_op_attention;

/* Per row: the k largest of x with their indices, descending, ties to the lower index; logsumexp of the row; the value
 * at the row's target. Row of `out`: uint32 id[k], f32 value[k], f32 logsumexp, f32 target value (0 without target). */
typedef struct tandem_op_topk {
    tandem_op head;
    uint32_t n; /* elements of a row of x */
    uint32_t k; /* 1..64 */
    tandem_view x;
    tandem_view out; /* stride >= 8 k + 8 */
} tandem_op_topk;

/* GLU: out = gelu_tanh(a) * b.  ADD: out = scale * (a + b).  SCALE: out = scale * a.  COPY: out = a.
 * `out` may be exactly `a` (same buffer, offset, stride). b is absent for SCALE and COPY. */
typedef struct tandem_op_elementwise {
    tandem_op head;
    uint32_t n; /* elements of a row */
    float scale;
    tandem_view a;
    tandem_view b;
    tandem_view out;
} tandem_op_elementwise;

/* Picks the experts of each row: p = softmax(W x) over all n_expert rows of W, the n_used largest in descending order,
 * ties to the lower index, weight = p / sum of the chosen p * expert_scale[id]. Row of `route`: uint32 id[n_used],
 * f32 weight[n_used]. A row of `imposed` (uint32 id[n_used]) whose first id is not TANDEM_NONE gives the ids instead;
 * their weights follow from this run's own p. */
typedef struct tandem_op_moe_route {
    tandem_op head;
    tandem_weights *weights; /* record 0: the router */
    uint32_t matrix;         /* index in the record; [n_expert][n_col] */
    uint32_t n_used;         /* 1..n_expert */
    tandem_view x;             /* [rows][n_col] f32 */
    tandem_view expert_scale;  /* CONST [n_expert] f32, or absent: 1 */
    tandem_view imposed;       /* [rows] uint32[n_used], or absent */
    tandem_view route;         /* [rows], stride >= 8 n_used */
    tandem_view probabilities; /* [rows][n_expert] f32, or absent */
} tandem_op_moe_route;

/* y = sum over j of weight_j * Wdown[id_j] (gelu_tanh(Wgate[id_j] x) * (Wup[id_j] x)), j ascending. One record an expert:
 * matrices GATE_UP, DOWN, or GATE, UP, DOWN, in this order. Each expert that a run uses is read once per step. */
typedef struct tandem_op_moe_ffn {
    tandem_op head;
    tandem_weights *weights; /* n_record experts */
    uint32_t n_used;
    uint32_t reserved;
    tandem_view x;     /* [rows][n_col of gate] f32 */
    tandem_view route; /* as written by MOE_ROUTE, or by the host */
    tandem_view y;     /* [rows][n_row of down] f32 */
} tandem_op_moe_ffn;

#ifdef __cplusplus
}
#endif
#endif
