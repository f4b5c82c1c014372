/* builder.h: makes the dispatches of a program out of ops. Shared by program.c, builder.c and lower*.c. */
#ifndef VK_BUILDER_H
#define VK_BUILDER_H

#include "program.h"

#define GPU_MAX_SCRATCH 64u

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
    uint32_t n_rule;     /* second pass: launch rules of the first */
    uint8_t *constants;  /* second pass: the constant part of the workspace, to be uploaded; else NULL */
    uint64_t n_constant; /* bytes so far */
    gpu_scratch_region scratch[GPU_MAX_SCRATCH];
    uint64_t scratch_end; /* most bytes used at once */
    gpu_rope ropes[GPU_MAX_ROPE];
    uint32_t n_rope;
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

/* The address of row 0 of a view, 0: absent. */
uint64_t gpu_view_address(const tandem_view *view);
/* 1: an op on OUT rows reads this view at index[i]. */
uint32_t gpu_view_gathered(uint32_t op_rows, const tandem_view *view);

/* Begins a step of the current op. */
tandem_status gpu_step_begin(gpu_builder *builder, const char *kernel);
/* Names a second op of the current step. */
void gpu_step_also(gpu_builder *builder, uint32_t op_index);
/* Adds a dispatch to the step. rule: copied, equal ones share an indirect command. */
tandem_status vk_dispatch_add(gpu_builder *builder, const char *shader, const uint32_t *spec, uint32_t n_spec,
                              const launch_rule *rule, const void *push, uint32_t push_bytes,
                              gpu_launch **dispatch);
/* The address of the indirect command of the last dispatch. */
uint64_t vk_dispatch_command(const gpu_builder *builder);

/* Declare what the last dispatch touches. */
tandem_status gpu_reads(gpu_builder *builder, uint64_t address, uint64_t bytes);
tandem_status gpu_writes(gpu_builder *builder, uint64_t address, uint64_t bytes);
tandem_status gpu_touches(gpu_builder *builder, uint64_t address, uint64_t row_bytes, uint64_t stride,
                          uint64_t n_row, uint32_t write);
/* The range declared last is written by several dispatches of the step, each row by one of them alone. */
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

/* Launches the last dispatch by a command that an earlier dispatch of the program writes, instead of a rule.
 */
tandem_status vk_dispatch_indirect(gpu_builder *builder, uint64_t command);

/* ---- lower*.c: one op each ---- */
tandem_status gpu_lower(gpu_builder *builder, const tandem_op *op);
tandem_status vk_lower_embed(gpu_builder *builder, const tandem_op_embed *op);
tandem_status vk_lower_matmul(gpu_builder *builder, const tandem_op_matmul *op);
tandem_status vk_lower_attention(gpu_builder *builder, const tandem_op_attention *op);
tandem_status vk_lower_topk(gpu_builder *builder, const tandem_op_topk *op);
tandem_status vk_lower_elementwise(gpu_builder *builder, const tandem_op_elementwise *op);
tandem_status vk_lower_moe_route(gpu_builder *builder, const tandem_op_moe_route *op);
tandem_status vk_lower_moe_ffn(gpu_builder *builder, const tandem_op_moe_ffn *op);
tandem_status gpu_lower_prepare(gpu_builder *builder);
tandem_status vk_lower_finish(gpu_builder *builder, const tandem_op_topk *op);

/* Where the outputs of a STREAM go beside the views of the op: f32 rows or q8 rows in scratch; 0: not. */
typedef struct gpu_stream_extra {
    uint64_t out[3];
    uint64_t out_stride[3];
    uint64_t q8[3];
} gpu_stream_extra;

/* extra may be NULL: a STREAM that stands alone. */
tandem_status vk_lower_stream(gpu_builder *builder, const tandem_op_stream *op,
                              const gpu_stream_extra *extra);

/* ---- lower_matmul.c: products, for other ops ---- */

#define GPU_MAX_VEC_ROWS 8u /* up to this many rows a product is bound by the weights */

/* Where products find their rows. */
typedef struct vk_input {
    uint64_t address;
    uint64_t stride;
    uint64_t rows;       /* address of the gather list, 0: dense */
    uint64_t row_bytes;  /* read of a row */
    uint64_t n_row;      /* rows that exist */
    gpu_scratch scratch; /* given back after the products; index TANDEM_NONE: a view */
} vk_input;

vk_input vk_input_of_view(const gpu_builder *builder, uint32_t op_rows, const tandem_view *view,
                          uint32_t n_col);
/* Rounds rows of a view (or of scratch) to q8 in scratch: rows_per_tok for each live row. Part of the step
 * that was begun last. */
tandem_status vk_quantise(gpu_builder *builder, uint32_t op_rows, uint32_t rows_per_tok, uint32_t n_col,
                          const vk_input *from, vk_input *to);

/* Which experts a product takes (params.h, EXPERTS_*). */
typedef struct vk_experts {
    uint32_t kind; /* EXPERTS_NONE: the product's record */
    uint32_t n_used;
    uint32_t entries_per_x; /* n_used or 1 */
    uint64_t route;         /* rows of the route; TILES: the tiles */
    uint64_t route_stride;
    uint64_t route_rows;  /* gather list of the route, or 0; TILES: the entries */
    uint64_t route_count; /* rows of the route that exist; TILES: tiles */
    uint64_t command;     /* TILES: the launch arguments */
    uint32_t uncounted;   /* TILES: 1: the traffic is booked on the step's other tiles */
} vk_experts;

/* One product: rows of a matrix (and of `up` with it) times the input. */
typedef struct vk_product {
    const tandem_weights *weights;
    uint32_t record;
    uint32_t matrix; /* in the record */
    uint32_t up;     /* the matrix of up rows; TANDEM_NONE: no GLU */
    uint32_t up_row;
    uint32_t n_row; /* outputs */
    uint32_t op_rows;
    uint32_t precision;
    uint32_t kind;  /* VK_MATMUL_* */
    uint32_t n_tok; /* rows of x that a workgroup may find */
    uint64_t y, y_stride, y_rows;
    float softcap;
    vk_experts experts;
} vk_product;

int vk_product_has_plan(const gpu_builder *builder, const vk_product *product, vk_matmul_plan *plan);
tandem_status vk_product_plan(gpu_builder *builder, const vk_product *product, vk_matmul_plan *plan);
/* Part of the step that was begun last. */
tandem_status vk_product_add(gpu_builder *builder, const vk_product *product, const vk_matmul_plan *plan,
                             const vk_input *input);

/* The workgroup size of a kernel that wants `gpu` threads on a GPU and `cpu` on a software device. */
uint32_t vk_local_size(const tandem_context *context, uint32_t gpu, uint32_t cpu);

#define GPU_DO(call)                                                                                         \
    do {                                                                                                     \
        tandem_status gpu_do_status = (call);                                                                \
        if (gpu_do_status != TANDEM_OK)                                                                      \
            return gpu_do_status;                                                                            \
    } while (0)

#endif
