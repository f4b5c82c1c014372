/* lower_moe.c: MOE_ROUTE and MOE_FFN.
 *
 * MOE_ROUTE: the router's product, then the choice.
 *
 * MOE_FFN of few rows: a work-group finds the expert of its entry (row, choice) in the route and its weights
 * in the table. [round x] -> gate, up and GLU of every entry -> [round] -> down, added up over the choices of
 * a row Of many rows: entries are sorted by expert, and a work-group takes a tile of entries of one expert.
 *     [round x] and sort -> gate, up and GLU -> [round] -> down -> the sum over the choices of a row
 */
#include "builder.h"
#include "loops.h"

#include <stdio.h>
#include <string.h>

/* ---- MOE_ROUTE ---- */

static tandem_status lower_logits(gpu_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    const tandem_kit_pack *pack = &op->weights->packs[op->matrix];
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    vk_input x = vk_input_of_view(builder, op->head.rows, &op->x, pack->n_col);
    vk_product product = {.weights = op->weights,
                          .matrix = op->matrix,
                          .up = TANDEM_NONE,
                          .n_row = (uint32_t)pack->n_row,
                          .op_rows = op->head.rows,
                          .precision = TANDEM_PRECISION_EXACT, /* of a router, whatever the program's */
                          .kind = rows.max <= GPU_MAX_VEC_ROWS ? VK_MATMUL_VEC : VK_MATMUL_MAT,
                          .n_tok = rows.max,
                          .y = logits,
                          .y_stride = pack->n_row * 4,
                          .y_rows = rows.max};
    vk_matmul_plan plan;
    GPU_DO(gpu_uses_record(builder, op->weights, 0));
    GPU_DO(vk_product_plan(builder, &product, &plan));
    GPU_DO(gpu_step_begin(builder, plan.kernel));
    return vk_product_add(builder, &product, &plan, &x);
}

static tandem_status lower_choice(gpu_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_expert = (uint32_t)op->weights->packs[op->matrix].n_row;
    moe_route_push push = {.index = rows.index,
                           .logits = logits,
                           .expert_scale = gpu_view_address(&op->expert_scale),
                           .imposed = gpu_view_address(&op->imposed),
                           .route = gpu_view_address(&op->route),
                           .probabilities = gpu_view_address(&op->probabilities),
                           .imposed_stride = (uint32_t)op->imposed.stride,
                           .route_stride = (uint32_t)op->route.stride,
                           .probabilities_stride = (uint32_t)op->probabilities.stride,
                           .n_expert = n_expert,
                           .n_used = op->n_used,
                           .gather = gpu_view_gathered(op->head.rows, &op->imposed) ? MOE_GATHER_IMPOSED : 0};
    uint32_t spec[1] = {builder->context->device.policy.route_local};
    launch_rule rule = {.groups = {1, 1, 1}, .rows = op->head.rows, .row_axis = 1, .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, "moe_route"));
    GPU_DO(vk_dispatch_add(builder, "moe_route", spec, 1, &rule, &push, sizeof push, &dispatch));
    return gpu_declare_choice(builder, op, logits);
}

tandem_status gpu_lower_moe_route(gpu_builder *builder, const tandem_op_moe_route *op) {
    gpu_scratch logits;
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    GPU_DO(gpu_scratch_take(builder, rows.max * op->weights->packs[op->matrix].n_row * 4, &logits));
    GPU_DO(lower_logits(builder, op, logits.address));
    GPU_DO(lower_choice(builder, op, logits.address));
    gpu_scratch_give(builder, &logits);
    return TANDEM_OK;
}

/* ---- MOE_FFN ---- */

enum { GATE, UP, DOWN }; /* products; GATE alone where one kernel makes gate, up and GLU */
enum { TALL, SHORT };    /* tiles */

typedef struct ffn {
    gpu_ffn shape;
    vk_experts tiles[2]; /* grouped: TALL and SHORT */
    uint64_t commands;
    gpu_scratch lists;
} ffn;

static bool is_q8(const ffn *f) {
    return f->shape.precision == TANDEM_PRECISION_Q8;
}

static const tandem_kit_pack *pack_of(const ffn *f, uint32_t matrix) {
    return &f->shape.op->weights->packs[matrix];
}

/* A product without its result's place: which 0..2. */
static vk_product product_of(const gpu_builder *builder, const ffn *f, uint32_t which) {
    uint32_t matrix = which == GATE ? f->shape.gate : which == UP ? f->shape.up : f->shape.down;
    vk_product product = {.weights = f->shape.op->weights,
                          .matrix = matrix,
                          .up = TANDEM_NONE,
                          .n_row = (uint32_t)pack_of(f, matrix)->n_row,
                          .op_rows = f->shape.op->head.rows,
                          .precision = builder->program->precision};
    if (which == GATE && f->shape.is_one_kernel) {
        product.up = f->shape.up;
        product.up_row = f->shape.gate == f->shape.up ? f->shape.width : 0;
        product.n_row = f->shape.width;
    }
    return product;
}

/* Experts straight from the route. */
static void take_from_route(const ffn *f, vk_product *product, uint32_t which) {
    product->kind = VK_MATMUL_VEC;
    product->n_tok = 1;
    product->experts = (vk_experts){.kind = which == DOWN ? EXPERTS_SUM : EXPERTS_ENTRY,
                                    .n_used = f->shape.op->n_used,
                                    .entries_per_x = which == DOWN ? 1 : f->shape.op->n_used,
                                    .route = gpu_view_address(&f->shape.op->route),
                                    .route_stride = f->shape.op->route.stride,
                                    .route_rows = f->shape.route_rows,
                                    .route_count = f->shape.route_count};
}

/* What can only be sorted: a choice of more experts than a work-group can add up. */
static bool must_group(gpu_builder *builder, const ffn *f) {
    vk_product down = product_of(builder, f, DOWN);
    vk_matmul_plan plan;
    take_from_route(f, &down, DOWN);
    return !vk_product_has_plan(builder, &down, &plan);
}

/* Experts by tiles of one height. */
static void take_tiles(const gpu_builder *builder, const ffn *f, vk_product *product, uint32_t which,
                       uint32_t height) {
    product->kind = height == TALL ? VK_MATMUL_MAT : VK_MATMUL_VEC;
    product->n_tok = height == TALL ? f->shape.rows.max : builder->context->device.policy.short_tile_rows;
    product->experts = f->tiles[height];
    product->experts.kind = EXPERTS_TILES;
    product->experts.n_used = f->shape.op->n_used;
    product->experts.entries_per_x = which == DOWN ? 1 : f->shape.op->n_used;
    product->experts.command = f->commands + (2 * which + height) * INDIRECT_BYTES;
    product->experts.uncounted = height == SHORT;
}

/* Adds a product, as one dispatch or one for each height of tiles. `what`: begins a step of this name. */
static tandem_status add_product(gpu_builder *builder, const ffn *f, vk_product *product, uint32_t which,
                                 const vk_input *x, const char *what) {
    for (uint32_t height = TALL; height <= (f->shape.grouped ? SHORT : TALL); height++) {
        vk_matmul_plan plan;
        char kernel[64];
        if (f->shape.grouped)
            take_tiles(builder, f, product, which, height);
        else
            take_from_route(f, product, which);
        GPU_DO(vk_product_plan(builder, product, &plan));
        snprintf(kernel, sizeof kernel, "moe_%s_%s", what, plan.kernel);
        if (*what && height == TALL)
            GPU_DO(gpu_step_begin(builder, kernel));
        GPU_DO(vk_product_add(builder, product, &plan, x));
    }
    return TANDEM_OK;
}

/* ---- sorting ---- */

/* What the plans of the tiles' products say: how high tiles are, and the work-groups of each product. */
static tandem_status plan_tiles(gpu_builder *builder, const ffn *f, moe_group_push *push) {
    for (uint32_t which = GATE; which <= DOWN; which++) {
        for (uint32_t height = TALL; height <= SHORT; height++) {
            vk_product product = product_of(builder, f, which);
            vk_matmul_plan plan;
            uint32_t *rows = height == TALL ? &push->tall_rows : &push->short_rows;
            if (which == UP && f->shape.is_one_kernel)
                continue;
            take_tiles(builder, f, &product, which, height);
            GPU_DO(vk_product_plan(builder, &product, &plan));
            push->grid_x[2 * which + height] = plan.grid_x;
            if (*rows && *rows != plan.cols_per_group)
                return tandem_kit_fail_op(builder->error, TANDEM_E_INTERNAL, builder->op_index,
                                          "MOE_FFN: products want tiles of %u and of %u rows", *rows,
                                          plan.cols_per_group);
            *rows = plan.cols_per_group;
        }
    }
    return TANDEM_OK;
}

/* Makes the lists in scratch memory and says where they are. Part of the step that was begun last. */
static tandem_status lower_group(gpu_builder *builder, ffn *f) {
    const tandem_op_moe_ffn *op = f->shape.op;
    const vk_policy *policy = &builder->context->device.policy;
    moe_group_push push = {.index = f->shape.route_rows,
                           .n_tok = f->shape.rows.n_tok,
                           .route = gpu_view_address(&op->route),
                           .route_stride = (uint32_t)op->route.stride,
                           .n_used = op->n_used,
                           .n_expert = op->weights->n_record};
    uint32_t spec[1] = {policy->group_local};
    gpu_launch *dispatch;
    GPU_DO(plan_tiles(builder, f, &push));
    uint64_t n_tall = MOE_TALL_TILES(f->shape.n_entry, push.n_expert, push.tall_rows);
    uint64_t n_short = MOE_SHORT_TILES(f->shape.n_entry, push.n_expert);
    if (f->shape.n_entry > GPU_MAX_ROWS ||
        vk_moe_group_iterations(push.n_expert, f->shape.n_entry, push.tall_rows, spec[0]) >
            policy->loop_budget)
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "MOE_FFN: %u experts each of %u rows are more than kernels sort",
                                  op->n_used, f->shape.rows.max);
    uint64_t entry_bytes = (f->shape.n_entry * 4 + 15) / 16 * 16,
             command_bytes = MOE_N_COMMAND * INDIRECT_BYTES;
    uint64_t tile_bytes = (n_tall + n_short) * sizeof(moe_tile);
    GPU_DO(gpu_scratch_take(builder, command_bytes + tile_bytes + entry_bytes, &f->lists));
    push.commands = f->commands = f->lists.address;
    push.tall_tiles = push.commands + command_bytes;
    push.short_tiles = push.tall_tiles + n_tall * sizeof(moe_tile);
    push.entries = push.short_tiles + n_short * sizeof(moe_tile);
    f->tiles[TALL] =
        (vk_experts){.route = push.tall_tiles, .route_count = n_tall, .route_rows = push.entries};
    f->tiles[SHORT] =
        (vk_experts){.route = push.short_tiles, .route_count = n_short, .route_rows = push.entries};
    GPU_DO(vk_dispatch_add(builder, "moe_group", spec, 1, NULL, &push, sizeof push, &dispatch));
    dispatch->api.groups[0] = dispatch->api.groups[1] = dispatch->api.groups[2] = 1;
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows, .row_bytes = op->n_used * 12ull};
    GPU_DO(gpu_reads(builder, push.n_tok, 4));
    if (push.index)
        GPU_DO(gpu_reads(builder, push.index, f->shape.rows.max * 4ull));
    GPU_DO(gpu_touches(builder, push.route, op->n_used * 8ull, op->route.stride, f->shape.route_count, 0));
    return gpu_writes(builder, f->lists.address, command_bytes + tile_bytes + f->shape.n_entry * 4);
}

/* ---- gate and up ---- */

/* GLU of every entry's two halves. */
static tandem_status lower_halves(gpu_builder *builder, const ffn *f, const uint64_t half[2], uint64_t stride,
                                  const vk_input *y) {
    uint32_t n_used = f->shape.op->n_used;
    elementwise_push push = {.a = half[0],
                             .b = half[1],
                             .y = y->address,
                             .a_stride = (uint32_t)stride,
                             .b_stride = (uint32_t)stride,
                             .y_stride = (uint32_t)y->stride,
                             .n = f->shape.width};
    uint32_t local = builder->context->device.policy.elementwise_local;
    uint32_t spec[2] = {local, ELEMENTWISE_GLU};
    launch_rule rule = {.groups = {elementwise_groups(f->shape.width, local), n_used, 1},
                        .rows = f->shape.op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, "moe_glu"));
    GPU_DO(vk_dispatch_add(builder, "elementwise", spec, 2, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = f->shape.op->head.rows,
                                      .row_bytes = n_used * f->shape.width * 12ull,
                                      .row_flops = n_used * f->shape.width};
    for (uint32_t i = 0; i < 2; i++)
        GPU_DO(gpu_touches(builder, half[i], f->shape.width * 4ull, stride, f->shape.n_entry, 0));
    return gpu_touches(builder, y->address, f->shape.width * 4ull, y->stride, f->shape.n_entry, 1);
}

/* Gate and up of different formats, or in several segments: plain products into scratch, then GLU. */
static tandem_status lower_apart(gpu_builder *builder, const ffn *f, const vk_input *x, const vk_input *y) {
    uint64_t half_bytes = (f->shape.width * 4ull + 15) / 16 * 16, stride = 2 * half_bytes;
    gpu_scratch scratch;
    if (f->shape.gate == f->shape.up && f->shape.width % 4 != 0)
        return tandem_kit_fail_op(
            builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
            "MOE_FFN: a GATE_UP matrix in several segments needs gate rows by fours, not %u", f->shape.width);
    GPU_DO(gpu_scratch_take(builder, f->shape.n_entry * stride, &scratch));
    const uint64_t half[2] = {scratch.address, scratch.address + half_bytes};
    for (uint32_t which = GATE; which <= (f->shape.gate == f->shape.up ? GATE : UP); which++) {
        vk_product product = product_of(builder, f, which);
        product.y = half[which];
        product.y_stride = stride;
        product.y_rows = f->shape.n_entry;
        GPU_DO(add_product(builder, f, &product, which, x, which == GATE ? "gate" : ""));
    }
    GPU_DO(lower_halves(builder, f, half, stride, y));
    gpu_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

/* gelu(gate x) * (up x) of every entry into scratch. */
static tandem_status lower_up(gpu_builder *builder, const ffn *f, const vk_input *x, vk_input *y) {
    *y = (vk_input){.row_bytes = f->shape.width * 4ull,
                    .stride = (f->shape.width * 4ull + 15) / 16 * 16,
                    .n_row = f->shape.n_entry};
    GPU_DO(gpu_scratch_take(builder, f->shape.n_entry * y->stride, &y->scratch));
    y->address = y->scratch.address;
    if (!f->shape.is_one_kernel)
        return lower_apart(builder, f, x, y);
    vk_product product = product_of(builder, f, GATE);
    product.y = y->address;
    product.y_stride = y->stride;
    product.y_rows = f->shape.n_entry;
    return add_product(builder, f, &product, GATE, x, "up");
}

/* ---- down ---- */

static tandem_status lower_sum(gpu_builder *builder, const ffn *f, const vk_product *down) {
    const tandem_op_moe_ffn *op = f->shape.op;
    uint64_t row_bytes = down->n_row * 4ull;
    moe_sum_push push = {.index = f->shape.route_rows,
                         .route = gpu_view_address(&op->route),
                         .x = down->y,
                         .y = gpu_view_address(&op->y),
                         .route_stride = (uint32_t)op->route.stride,
                         .x_stride = (uint32_t)down->y_stride,
                         .y_stride = (uint32_t)op->y.stride,
                         .n = down->n_row,
                         .n_used = op->n_used,
                         .n_expert = op->weights->n_record};
    uint32_t spec[1] = {MOE_SUM_LOCAL};
    launch_rule rule = {.groups = {MOE_SUM_GROUPS(down->n_row), 1, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, "moe_sum"));
    GPU_DO(vk_dispatch_add(builder, "moe_sum", spec, 1, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows,
                                      .row_bytes = (op->n_used + 1) * row_bytes + op->n_used * 8ull,
                                      .row_flops = 2ull * op->n_used * down->n_row};
    if (push.index)
        GPU_DO(gpu_reads(builder, push.index, f->shape.rows.max * 4ull));
    GPU_DO(gpu_touches(builder, push.route, op->n_used * 8ull, op->route.stride, f->shape.route_count, 0));
    GPU_DO(gpu_touches(builder, push.x, down->y_stride, down->y_stride, f->shape.n_entry, 0));
    return gpu_writes_view(builder, &op->y, row_bytes);
}

static tandem_status lower_down(gpu_builder *builder, const ffn *f, const vk_input *x) {
    const tandem_op_moe_ffn *op = f->shape.op;
    vk_product product = product_of(builder, f, DOWN);
    gpu_scratch scratch;
    if (!f->shape.grouped) {
        product.y = gpu_view_address(&op->y);
        product.y_stride = op->y.stride;
        product.y_rows = f->shape.rows.max;
        return add_product(builder, f, &product, DOWN, x, "down");
    }
    product.y_stride = (product.n_row * 4ull + 15) / 16 * 16;
    product.y_rows = f->shape.n_entry;
    GPU_DO(gpu_scratch_take(builder, f->shape.n_entry * product.y_stride, &scratch));
    product.y = scratch.address;
    GPU_DO(add_product(builder, f, &product, DOWN, x, "down"));
    GPU_DO(lower_sum(builder, f, &product));
    gpu_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

/* Rounds the rows of *input. Part of the step that was begun last. */
static tandem_status round_input(gpu_builder *builder, const ffn *f, uint32_t rows_per_tok, uint32_t n_col,
                                 vk_input *input) {
    vk_input from = *input;
    GPU_DO(vk_quantise(builder, f->shape.op->head.rows, rows_per_tok, n_col, &from, input));
    gpu_scratch_give(builder, &from.scratch);
    return TANDEM_OK;
}

tandem_status gpu_lower_moe_ffn(gpu_builder *builder, const tandem_op_moe_ffn *op) {
    ffn f = {.shape = gpu_ffn_of(builder, op), .lists = {.index = TANDEM_NONE}};
    uint32_t n_col = pack_of(&f, f.shape.gate)->n_col;
    vk_input x = vk_input_of_view(builder, op->head.rows, &op->x, n_col), y;
    for (uint32_t r = 0; r < op->weights->n_record; r++)
        GPU_DO(gpu_uses_record(builder, op->weights, r));
    f.shape.grouped = f.shape.grouped || must_group(builder, &f);
    if (f.shape.grouped || is_q8(&f))
        GPU_DO(gpu_step_begin(builder, f.shape.grouped ? "moe_group" : "quantise_q8"));
    if (f.shape.grouped)
        GPU_DO(lower_group(builder, &f));
    if (is_q8(&f))
        GPU_DO(round_input(builder, &f, 1, n_col, &x));
    GPU_DO(lower_up(builder, &f, &x, &y));
    gpu_scratch_give(builder, &x.scratch);
    if (is_q8(&f)) {
        GPU_DO(gpu_step_begin(builder, "moe_quantise_q8"));
        GPU_DO(round_input(builder, &f, op->n_used, f.shape.width, &y));
    }
    GPU_DO(lower_down(builder, &f, &y));
    gpu_scratch_give(builder, &y.scratch);
    gpu_scratch_give(builder, &f.lists);
    return TANDEM_OK;
}
