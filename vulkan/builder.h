/* builder.h: makes the dispatches of a program out of ops. Shared by program.c, builder.c and lower*.c. */
#ifndef VK_BUILDER_H
#define VK_BUILDER_H

#include "program.h"

#define VK_MAX_SCRATCH 64u

/* A piece of scratch memory. */
typedef struct vk_scratch {
    uint64_t address;
    uint64_t bytes;
    uint32_t index; /* in the builder's list; TANDEM_NONE: none */
} vk_scratch;

typedef struct vk_scratch_region {
    uint64_t offset, bytes;
    uint32_t busy;
    uint32_t free_step; /* the step that freed it; it is given out again some steps later */
    uint32_t used;      /* 1: an entry */
} vk_scratch_region;

#define VK_MAX_ROPE 8u

/* Rotation tables in constant memory. */
typedef struct vk_rope {
    const double *omega;
    uint32_t n_pair;
    uint32_t n_high;
    uint64_t address;
} vk_rope;

typedef struct vk_builder {
    tandem_context *context;
    tandem_program *program;
    tandem_error *error;
    uint32_t op_index;
    const char *op_label;
    vk_layout layout;
    uint64_t base;       /* address of the workspace */
    uint32_t n_rule;     /* second pass: launch rules of the first */
    uint8_t *constants;  /* second pass: the constant part of the workspace, to be uploaded; else NULL */
    uint64_t n_constant; /* bytes so far */
    vk_scratch_region scratch[VK_MAX_SCRATCH];
    uint64_t scratch_end; /* most bytes used at once */
    vk_rope ropes[VK_MAX_ROPE];
    uint32_t n_rope;
} vk_builder;

/* The live rows of an op, as kernels are told. */
typedef struct vk_rows {
    uint32_t rows;  /* TANDEM_ROWS_* */
    uint32_t max;   /* most of them */
    uint64_t n_tok; /* -> u32 live rows */
    uint64_t index; /* -> u32 run row of each, 0: row i is row i */
} vk_rows;

vk_rows vk_builder_rows(const vk_builder *builder, uint32_t rows);
uint64_t vk_builder_run(const vk_builder *builder); /* address of the run block */

/* The address of row 0 of a view, 0: absent. */
uint64_t vk_view_address(const tandem_view *view);
/* 1: an op on OUT rows reads this view at index[i]. */
uint32_t vk_view_gathered(uint32_t op_rows, const tandem_view *view);

/* Begins a step of the current op. */
tandem_status vk_step_begin(vk_builder *builder, const char *kernel);
/* Names a second op of the current step. */
void vk_step_also(vk_builder *builder, uint32_t op_index);
/* Adds a dispatch to the step. rule: copied, equal ones share an indirect command. */
tandem_status vk_dispatch_add(vk_builder *builder, const char *shader, const uint32_t *spec, uint32_t n_spec,
                              const launch_rule *rule, const void *push, uint32_t push_bytes,
                              vk_dispatch **dispatch);
/* The address of the indirect command of the last dispatch. */
uint64_t vk_dispatch_command(const vk_builder *builder);

/* Declare what the last dispatch touches. */
tandem_status vk_reads(vk_builder *builder, uint64_t address, uint64_t bytes);
tandem_status vk_writes(vk_builder *builder, uint64_t address, uint64_t bytes);
tandem_status vk_touches(vk_builder *builder, uint64_t address, uint64_t row_bytes, uint64_t stride,
                         uint64_t n_row, uint32_t write);
/* The range declared last is written by several dispatches of the step, each row by one of them alone. */
void vk_written_apart(vk_builder *builder);
/* Live rows of a view (all of them, or one if CONST) of row_bytes each. An absent view: nothing. */
tandem_status vk_reads_view(vk_builder *builder, const tandem_view *view, uint64_t row_bytes);
tandem_status vk_writes_view(vk_builder *builder, const tandem_view *view, uint64_t row_bytes);
/* The table entries and segments of a matrix, and notes that runs need the record. */
tandem_status vk_reads_matrix(vk_builder *builder, const tandem_weights *weights, uint32_t record,
                              uint32_t matrix);
tandem_status vk_uses_record(vk_builder *builder, const tandem_weights *weights, uint32_t record);

/* Scratch memory until vk_scratch_give. Zero bytes: an address of 0. */
tandem_status vk_scratch_take(vk_builder *builder, uint64_t bytes, vk_scratch *scratch);
void vk_scratch_give(vk_builder *builder, vk_scratch *scratch);
/* Constant memory: `place` gets where to write the bytes, NULL in the first pass. */
tandem_status vk_constant(vk_builder *builder, uint64_t bytes, uint64_t *address, void **place);

/* Launches the last dispatch by a command that an earlier dispatch of the program writes, instead of a rule.
 */
tandem_status vk_dispatch_indirect(vk_builder *builder, uint64_t command);

/* ---- lower*.c: one op each ---- */
tandem_status vk_lower(vk_builder *builder, const tandem_op *op);
tandem_status vk_lower_embed(vk_builder *builder, const tandem_op_embed *op);
tandem_status vk_lower_matmul(vk_builder *builder, const tandem_op_matmul *op);
tandem_status vk_lower_attention(vk_builder *builder, const tandem_op_attention *op);
tandem_status vk_lower_topk(vk_builder *builder, const tandem_op_topk *op);
tandem_status vk_lower_elementwise(vk_builder *builder, const tandem_op_elementwise *op);
tandem_status vk_lower_moe_route(vk_builder *builder, const tandem_op_moe_route *op);
tandem_status vk_lower_moe_ffn(vk_builder *builder, const tandem_op_moe_ffn *op);
tandem_status vk_lower_prepare(vk_builder *builder);
tandem_status vk_lower_finish(vk_builder *builder, const tandem_op_topk *op);

/* Where the outputs of a STREAM go beside the views of the op: f32 rows or q8 rows in scratch; 0: not. */
typedef struct vk_stream_extra {
    uint64_t out[3];
    uint64_t out_stride[3];
    uint64_t q8[3];
} vk_stream_extra;

/* extra may be NULL: a STREAM that stands alone. */
tandem_status vk_lower_stream(vk_builder *builder, const tandem_op_stream *op, const vk_stream_extra *extra);

/* ---- lower_matmul.c: products, for other ops ---- */

#define VK_MAX_VEC_ROWS 8u /* up to this many rows a product is bound by the weights */

/* Where products find their rows. */
typedef struct vk_input {
    uint64_t address;
    uint64_t stride;
    uint64_t rows;      /* address of the gather list, 0: dense */
    uint64_t row_bytes; /* read of a row */
    uint64_t n_row;     /* rows that exist */
    vk_scratch scratch; /* given back after the products; index TANDEM_NONE: a view */
} vk_input;

vk_input vk_input_of_view(const vk_builder *builder, uint32_t op_rows, const tandem_view *view,
                          uint32_t n_col);
/* Rounds rows of a view (or of scratch) to q8 in scratch: rows_per_tok for each live row. Part of the step
 * that was begun last. */
tandem_status vk_quantise(vk_builder *builder, uint32_t op_rows, uint32_t rows_per_tok, uint32_t n_col,
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

int vk_product_has_plan(const vk_builder *builder, const vk_product *product, vk_matmul_plan *plan);
tandem_status vk_product_plan(vk_builder *builder, const vk_product *product, vk_matmul_plan *plan);
/* Part of the step that was begun last. */
tandem_status vk_product_add(vk_builder *builder, const vk_product *product, const vk_matmul_plan *plan,
                             const vk_input *input);

/* The workgroup size of a kernel that wants `gpu` threads on a GPU and `cpu` on a software device. */
uint32_t vk_local_size(const tandem_context *context, uint32_t gpu, uint32_t cpu);

#define VK_DO(call)                                                                                          \
    do {                                                                                                     \
        tandem_status vk_do_status = (call);                                                                 \
        if (vk_do_status != TANDEM_OK)                                                                       \
            return vk_do_status;                                                                             \
    } while (0)

#endif
