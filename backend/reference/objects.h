/* objects.h: the objects of a context and the run that the executor works on. */
#ifndef TANDEM_REFERENCE_OBJECTS_H
#define TANDEM_REFERENCE_OBJECTS_H

#include <tandem/validate.h>

#include "reference.h"

/* ---- buffers (buffer.c) ---- */

struct tandem_buffer {
    tandem_context *context;
    uint64_t bytes;
    uint32_t placement;
    uint32_t reserved;
    unsigned char *data; /* [bytes] */
};

tandem_status ref_buffer_create(tandem_context *context, const tandem_buffer_desc *desc,
                                tandem_buffer **buffer, tandem_error *error);
void ref_buffer_destroy(tandem_buffer *buffer);
tandem_status ref_buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error);
tandem_status ref_buffer_write(tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes,
                               tandem_error *error);
tandem_status ref_buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                              uint32_t flags, tandem_error *error);

/* ---- weights (weights.c) ---- */

/* One matrix of one record: GGUF rows, the caller's own while they lie in one piece, else a copy. */
typedef struct ref_cell {
    const unsigned char *rows; /* borrowed or owned */
    unsigned char *owned;      /* NULL, or room for the whole matrix */
    uint64_t n_row;            /* rows written so far */
} ref_cell;

typedef struct ref_matrix {
    tandem_matrix_desc desc;
    uint64_t row_bytes, bytes;
} ref_matrix;

struct tandem_weights {
    tandem_context *context;
    uint64_t self_bytes; /* of this allocation: handle, cells and placements */
    ref_use home;        /* the account of self_bytes */
    uint32_t n_record, n_matrix;
    ref_matrix matrices[4];
    ref_cell *cells;          /* [n_record][n_matrix] */
    unsigned char *placement; /* [n_record] */
};

static inline ref_cell *ref_cell_of(const tandem_weights *w, uint32_t record, uint32_t matrix) {
    return w->cells + (uint64_t)record * w->n_matrix + matrix;
}

tandem_status ref_weights_create(tandem_context *context, const tandem_weights_desc *desc,
                                 tandem_weights **weights, tandem_error *error);
void ref_weights_destroy(tandem_weights *weights);
tandem_status ref_weights_info(const tandem_weights *weights, tandem_weights_info *info, tandem_error *error);
tandem_status ref_weights_matrix(const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc,
                                 tandem_error *error);
tandem_status ref_weights_write(tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
                                uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags,
                                tandem_error *error);
tandem_status ref_weights_place(tandem_weights *weights, uint32_t record, uint32_t placement,
                                tandem_ticket *ticket, tandem_error *error);

/* ---- KV cache (kv.c, kv_image.c) ---- */

/* note: K then V of a layer, each [n_slot][n_kv_head][n_place][row_bytes]; position p lives at place p mod
 * n_place. */
typedef struct ref_kv_layer {
    tandem_kv_layer desc;
    uint32_t owner; /* the layer whose storage this one reads: itself, or share_of */
    uint32_t reserved;
    uint64_t n_place;   /* capacity, or window + max_chunk */
    uint64_t row_bytes; /* head_dim elements in the stored type */
    uint64_t bytes;     /* allocated for K and V of all slots; 0: another layer's */
    unsigned char *k, *v;
} ref_kv_layer;

struct tandem_kv {
    tandem_context *context;
    uint64_t self_bytes;
    uint32_t n_layer, n_slot, max_chunk, reserved;
    uint64_t rows_bytes;
    unsigned char *rows;  /* [rows_bytes], the storage of all layers */
    ref_kv_layer *layers; /* [n_layer] */
    uint32_t *lengths;    /* [n_slot], as of the last submission */
    uint32_t
        *highs; /* [n_slot] greatest length since the slot was last empty: a ring has n_place before it */
};

/* Where one head's row of a position lies. */
static inline unsigned char *ref_kv_row(const ref_kv_layer *owner, unsigned char *base, uint32_t slot,
                                        uint32_t head, uint64_t position) {
    uint64_t plane = (uint64_t)slot * owner->desc.n_kv_head + head;
    return base + (plane * owner->n_place + position % owner->n_place) * owner->row_bytes;
}

/* The stored rounding of one head's row, and what kernels see of it. */
void ref_kv_store(uint32_t type, const float *row, unsigned char *target, uint32_t head_dim);
void ref_kv_load(uint32_t type, const unsigned char *row, float *target, uint32_t head_dim);

tandem_status ref_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                            tandem_error *error);
void ref_kv_destroy(tandem_kv *kv);
tandem_status ref_kv_info(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error);
tandem_status ref_kv_layer_info(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                                tandem_error *error);
tandem_status ref_kv_length(const tandem_kv *kv, uint32_t slot, uint32_t *length, tandem_error *error);
tandem_status ref_kv_truncate(tandem_kv *kv, uint32_t slot, uint32_t length, tandem_error *error);
tandem_status ref_kv_copy_slot(tandem_kv *kv, uint32_t from, uint32_t to, tandem_error *error);
tandem_status ref_kv_fill(tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length, tandem_error *error);
tandem_status ref_kv_export_bytes(tandem_kv *kv, uint32_t slot, uint64_t *bytes, tandem_error *error);
tandem_status ref_kv_export(tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes, tandem_error *error);
tandem_status ref_kv_import(tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes,
                            tandem_error *error);
tandem_status ref_kv_read(tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which,
                          uint32_t first_position, uint32_t n_row, float *target, tandem_error *error);
tandem_status ref_kv_check_slot(const tandem_kv *kv, uint32_t slot, tandem_error *error);

/* ---- programs (program.c), runs (run.c), cost (cost.c) ---- */

/* A copy of an op that owns all it points to. */
typedef struct ref_op {
    tandem_kit_op u;
    tandem_op_stream prologue; /* of a MATMUL that has one; u.matmul.prologue points here */
    char label[64];
    char kernel[64];
} ref_op;

/* The copied arguments of one pending run. */
typedef struct ref_batch {
    tandem_row *rows; /* [max_tokens] */
    uint32_t *ends;   /* [max_tokens]: the length of the row's slot when the run has appended */
    tandem_out *out;  /* [max_out] */
    uint32_t n_rows, n_out;
    uint32_t source;
    uint32_t reserved;
    tandem_buffer *result;
    uint64_t result_offset;
} ref_batch;

struct tandem_program {
    tandem_context *context;
    uint64_t self_bytes; /* of this allocation: handle and ops */
    uint64_t memory_bytes;
    unsigned char *memory; /* everything below that is an array */
    uint32_t n_op, precision;
    ref_op *ops;                        /* [n_op] */
    tandem_kit_limits limits;           /* what a run must keep to; names the cache */
    uint32_t appends;                   /* a run appends to the cache */
    uint32_t topk;                      /* index of the first TOPK op, or TANDEM_NONE */
    ref_batch batches[REF_MAX_PENDING]; /* ticket modulo the size */
    uint64_t *step_ns;                  /* [REF_KEPT_TIMES][n_op] */
    double *omega;                      /* rope_omega of all ops */
    double *inputs;                     /* rounded inputs of the product at work */
    double *rotation;                   /* [rows][n_rope_pair][2] of the attention at work */
    unsigned char *scratch;             /* [threads][scratch_bytes] */
    uint64_t scratch_bytes;
};

tandem_status ref_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                           tandem_error *error);
tandem_status ref_program_create(tandem_context *context, const tandem_program_desc *desc,
                                 tandem_program **program, tandem_error *error);
void ref_program_destroy(tandem_program *program);
tandem_status ref_program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error);
tandem_status ref_program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                               tandem_error *error);
tandem_status ref_program_cost(const tandem_program *program, const tandem_run *run,
                               tandem_cost *const *costs, uint32_t n_step, tandem_error *error);
tandem_status ref_run(tandem_program *program, const tandem_run *run, tandem_ticket *ticket,
                      tandem_error *error);
/* Whether the run may be submitted now; `run` is taken. */
tandem_status ref_check_run(const tandem_program *program, const tandem_run *run, tandem_error *error);
/* Row i of a checked run; the token of DEVICE_NEXT is not known before it executes. */
tandem_row ref_row_of(const tandem_program *program, const tandem_run *run, uint32_t i);
/* Executes the batch of a ticket. Called by the executor. */
void ref_execute(tandem_program *program, tandem_ticket ticket, uint32_t profiled);

/* ---- ops: one file each ---- */

/* What an op works on. */
typedef struct ref_work {
    tandem_program *program;
    const ref_batch *batch;
    uint32_t rows;   /* the op's row set: TANDEM_ROWS_ALL or _OUT */
    uint32_t n_rows; /* its live rows */
} ref_work;

/* Row i of the op in a view; NULL: the view is absent. */
static inline void *ref_view_row(const ref_work *work, const tandem_view *view, uint32_t i) {
    if (!view->buffer)
        return NULL;
    uint64_t row = i;
    if (view->rows == TANDEM_ROWS_CONST)
        row = 0;
    else if (view->rows == TANDEM_ROWS_ALL && work->rows == TANDEM_ROWS_OUT)
        row = work->batch->out[i].row;
    return view->buffer->data + view->offset + row * view->stride;
}

/* The run's row that row i of the op belongs to. */
static inline uint32_t ref_run_row(const ref_work *work, uint32_t i) {
    return work->rows == TANDEM_ROWS_OUT ? work->batch->out[i].row : i;
}

static inline unsigned char *ref_scratch(const tandem_program *program, uint32_t thread) {
    return program->scratch + thread * program->scratch_bytes;
}

/* Doubles from one input row of a product to the next; the pad is against rows that share cache sets. */
static inline uint64_t ref_input_stride(uint64_t n_col) {
    return n_col + 8;
}

/* x as a product sees it: rounded as the precision says (rounded: [n], may be x) and widened. */
void ref_round_row(uint32_t precision, const float *x, float *rounded, double *target, uint64_t n);

void ref_embed(const ref_work *work, const tandem_op_embed *op);
void ref_stream(const ref_work *work, const tandem_op_stream *op);
/* One row of the op: writes the views that are present, and output n also to wanted[n] [n_slice * d] if not
 * NULL. */
void ref_stream_row(const ref_work *work, const tandem_op_stream *op, uint32_t i, float *const wanted[3],
                    double *scratch);
uint64_t ref_stream_scratch(const tandem_op_stream *op); /* doubles for ref_stream_row */
void ref_matmul(const ref_work *work, const tandem_op_matmul *op);
void ref_attention(const ref_work *work, const tandem_op_attention *op);
void ref_topk(const ref_work *work, const tandem_op_topk *op);
void ref_elementwise(const ref_work *work, const tandem_op_elementwise *op);
void ref_moe_route(const ref_work *work, const tandem_op_moe_route *op);
void ref_moe_ffn(const ref_work *work, const tandem_op_moe_ffn *op);

/* Bytes of scratch for one thread, and of rounded inputs for one row. */
uint64_t ref_matmul_scratch(const tandem_op_matmul *op);
uint64_t ref_matmul_inputs(const tandem_op_matmul *op);
uint64_t ref_attention_scratch(const tandem_op_attention *op);
uint64_t ref_moe_route_scratch(const tandem_op_moe_route *op);
uint64_t ref_moe_route_inputs(const tandem_op_moe_route *op);
/* The same for all of n_rows rows: entries sorted by expert are no multiple of a row's. */
uint64_t ref_moe_ffn_scratch(const tandem_op_moe_ffn *op, uint64_t n_rows);
uint64_t ref_moe_ffn_inputs(const tandem_op_moe_ffn *op, uint64_t n_rows);

#endif
