/* builder.h: makes the launches of a program out of ops. Shared by program.c, builder.c and lower*.c. */
#ifndef GPU_BUILDER_H
#define GPU_BUILDER_H

#include "program.h"

#define GPU_MAX_SCRATCH 64u
#define GPU_MAX_VEC_ROWS 8u /* up to this many rows a product is bound by the weights */

/* A piece of scratch memory. */
typedef struct gpu_scratch {
    uint64_t address;
    uint64_t bytes;
    uint32_t index; /* in the builder's list; TANDEM_NONE: none */
} gpu_scratch;

typedef struct gpu_scratch_region {
    uint64_t offset, bytes;
    uint32_t busy;
    uint32_t free_step; /* the step that freed it; it is given out again some steps later */
    uint32_t used;      /* 1: an entry */
} gpu_scratch_region;

#define GPU_MAX_ROPE 8u

/* Rotation tables in constant memory. */
typedef struct gpu_rope {
    const double *omega;
    uint32_t n_pair;
    uint32_t n_high;
    uint64_t address;
} gpu_rope;

typedef struct gpu_builder {
    tandem_context *context;
    tandem_program *program;
    tandem_error *error;
    uint32_t op_index;
    const char *op_label;
    gpu_layout layout;
    uint64_t base;       /* address of the workspace */
    uint8_t *constants;  /* second pass: the constant part of the workspace, to be uploaded; else NULL */
    uint64_t n_constant; /* bytes so far */
    gpu_scratch_region scratch[GPU_MAX_SCRATCH];
    uint64_t scratch_end; /* most bytes used at once */
    gpu_rope ropes[GPU_MAX_ROPE];
    uint32_t n_rope;
    const tandem_op_stream *prologue; /* that products computed last as theirs; NULL: none */
    uint32_t prologue_launch;         /* the launch that writes what it leaves */
} gpu_builder;

/* The live rows of an op, as kernels are told. */
typedef struct gpu_rows {
    uint32_t rows;  /* TANDEM_ROWS_* */
    uint32_t max;   /* most of them */
    uint64_t n_tok; /* -> u32 live rows */
    uint64_t index; /* -> u32 run row of each, 0: row i is row i */
} gpu_rows;

gpu_rows gpu_builder_rows(const gpu_builder *builder, uint32_t rows);
uint64_t gpu_builder_run(const gpu_builder *builder); /* address of the run block */
uint64_t gpu_builder_run_bytes(const gpu_builder *builder);

/* The address of row 0 of a view, 0: absent. */
uint64_t gpu_view_address(const tandem_view *view);
/* 1: an op on OUT rows reads this view at index[i]. */
uint32_t gpu_view_gathered(uint32_t op_rows, const tandem_view *view);

/* Begins a step of the current op. */
tandem_status gpu_step_begin(gpu_builder *builder, const char *kernel);
/* Names a second op of the current step. */
void gpu_step_also(gpu_builder *builder, uint32_t op_index);
/* Adds a launch to the step, or before the first one; params: one struct, copied. The caller sets `api`. */
tandem_status gpu_launch_add(gpu_builder *builder, const void *params, uint32_t params_bytes,
                             gpu_launch **launch);
/* The launch that was added last, and the range that was declared last. */
gpu_launch *gpu_last_launch(const gpu_builder *builder);
gpu_range *gpu_last_range(const gpu_builder *builder);

/* Declare what the last launch touches. */
tandem_status gpu_reads(gpu_builder *builder, uint64_t address, uint64_t bytes);
tandem_status gpu_writes(gpu_builder *builder, uint64_t address, uint64_t bytes);
tandem_status gpu_touches(gpu_builder *builder, uint64_t address, uint64_t row_bytes, uint64_t stride,
                          uint64_t n_row, uint32_t write);
/* The range declared last is written by several launches of the step, each row by one of them alone. */
void gpu_written_apart(gpu_builder *builder);
/* Live rows of a view (all of them, or one if CONST) of row_bytes each. An absent view: nothing. */
tandem_status gpu_reads_view(gpu_builder *builder, const tandem_view *view, uint64_t row_bytes);
tandem_status gpu_writes_view(gpu_builder *builder, const tandem_view *view, uint64_t row_bytes);
/* The table entries and segments of a matrix, and notes that runs need the record. */
tandem_status gpu_reads_matrix(gpu_builder *builder, const tandem_weights *weights, uint32_t record,
                               uint32_t matrix);
tandem_status gpu_uses_record(gpu_builder *builder, const tandem_weights *weights, uint32_t record);

/* Scratch memory until gpu_scratch_give. Zero bytes: an address of 0. */
tandem_status gpu_scratch_take(gpu_builder *builder, uint64_t bytes, gpu_scratch *scratch);
void gpu_scratch_give(gpu_builder *builder, gpu_scratch *scratch);
/* Constant memory: `place` gets where to write the bytes, NULL in the first pass. */
tandem_status gpu_constant(gpu_builder *builder, uint64_t bytes, uint64_t *address, void **place);

/* Where the outputs of a STREAM go beside the views of the op: f32 rows or q8 rows in scratch; 0: not. */
typedef struct gpu_stream_extra {
    uint64_t out[3];
    uint64_t out_stride[3];
    uint64_t q8[3];
} gpu_stream_extra;

/* ---- lower.c ---- */

/* Makes the launches of an op. */
tandem_status gpu_lower(gpu_builder *builder, const tandem_op *op);
/* Declares what a STREAM reads and writes, and adds to its traffic. */
tandem_status gpu_declare_stream(gpu_builder *builder, const tandem_op_stream *op,
                                 const gpu_stream_extra *extra, uint64_t row_bytes, gpu_traffic *traffic);
/* The two rotation tables of an ATTENTION (tandem/rope.h), shared by ops that rotate alike. 0: it rotates
 * nothing. */
tandem_status gpu_rope_tables(gpu_builder *builder, const tandem_op_attention *op, uint64_t *address);

/* Head norms, rotation and append of an ATTENTION, as one launch. */
typedef struct gpu_append {
    const gpu_kv_layer *layer;  /* the owner of the storage */
    uint64_t q_bytes, kv_bytes; /* of a row of queries, of keys */
    uint64_t cache_bytes;       /* of K, of V */
    uint32_t head_dim;
    uint64_t rope;  /* gpu_rope_tables */
    uint64_t q_out; /* rotated queries, dense */
} gpu_append;

/* Sets the traffic of the launch added last, and declares what it reads and writes. */
tandem_status gpu_declare_append(gpu_builder *builder, const tandem_op_attention *op,
                                 const gpu_append *append);

/* The same for the choice of experts, MOE_ROUTE's launch behind the product that left `logits`. */
tandem_status gpu_declare_choice(gpu_builder *builder, const tandem_op_moe_route *op, uint64_t logits);

/* The shape of a MOE_FFN. */
typedef struct gpu_ffn {
    const tandem_op_moe_ffn *op;
    uint32_t gate, up, down; /* matrices of a record; gate == up: one holds both */
    uint32_t width;
    uint32_t is_one_kernel; /* gate, up and GLU */
    uint32_t precision;
    gpu_rows rows;
    uint64_t n_entry; /* most of them */
    uint64_t route_rows, route_count;
    uint32_t grouped; /* entries are sorted by expert */
} gpu_ffn;

gpu_ffn gpu_ffn_of(const gpu_builder *builder, const tandem_op_moe_ffn *op);

#define GPU_DO(call)                                                                                         \
    do {                                                                                                     \
        tandem_status gpu_do_status = (call);                                                                \
        if (gpu_do_status != TANDEM_OK)                                                                      \
            return gpu_do_status;                                                                            \
    } while (0)

#endif
