/* builder.h: makes the dispatches of a program out of ops. Shared by builder.c and lower*.c. */
#ifndef VK_BUILDER_H
#define VK_BUILDER_H

#include "pack.h"
#include "program.h"

/* Adds a dispatch to the step. rule: copied, equal ones share an indirect command. */
tandem_status vk_dispatch_add(gpu_builder *builder, const char *shader, const uint32_t *spec, uint32_t n_spec,
                              const launch_rule *rule, const void *push, uint32_t push_bytes,
                              gpu_launch **dispatch);
/* The address of the indirect command of the last dispatch. */
uint64_t vk_dispatch_command(const gpu_builder *builder);

/* Launches the last dispatch by a command that an earlier dispatch of the program writes, instead of a rule.
 */
tandem_status vk_dispatch_indirect(gpu_builder *builder, uint64_t command);

/* ---- lower_matmul.c: products, for other ops ---- */

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
/* Parts of the step that was begun last. */
tandem_status vk_product_add(gpu_builder *builder, const vk_product *product, const vk_matmul_plan *plan,
                             const vk_input *input);
/* Products of one op with the same input, format and width, and without experts, as one launch. plan: of a
 * product with the rows of all. */
tandem_status vk_products_add(gpu_builder *builder, const vk_product *products, uint32_t n,
                              const vk_matmul_plan *plan, const vk_input *input);

#endif
