/* lower_moe.c: MOE_ROUTE and MOE_FFN.
 *
 * MOE_ROUTE: the router's product, then the choice.
 *
 * MOE_FFN, few rows: a work-group finds the expert of its entry (row, choice) in the route and its weights in
 * the table.
 *     [round x] -> gate, up and GLU of every entry -> [round] -> down, added up over the choices of a row
 */
#include "builder.h"

#include <stdio.h>
#include <string.h>

/* ---- MOE_ROUTE ---- */

static tandem_status lower_logits(vk_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    const vk_pack *pack = &op->weights->packs[op->matrix];
    vk_rows rows = vk_builder_rows(builder, op->head.rows);
    vk_input x = vk_input_of_view(builder, op->head.rows, &op->x, pack->n_col);
    vk_product product = {.weights = op->weights,
                          .matrix = op->matrix,
                          .up = TANDEM_NONE,
                          .n_row = (uint32_t)pack->n_row,
                          .op_rows = op->head.rows,
                          .precision = TANDEM_PRECISION_EXACT, /* of a router, whatever the program's */
                          .kind = rows.max <= VK_MAX_VEC_ROWS ? VK_MATMUL_VEC : VK_MATMUL_MAT,
                          .n_tok = rows.max,
                          .y = logits,
                          .y_stride = pack->n_row * 4,
                          .y_rows = rows.max};
    vk_matmul_plan plan;
    VK_DO(vk_uses_record(builder, op->weights, 0));
    VK_DO(vk_product_plan(builder, &product, &plan));
    VK_DO(vk_step_begin(builder, plan.kernel));
    return vk_product_add(builder, &product, &plan, &x);
}

static tandem_status lower_choice(vk_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    vk_rows rows = vk_builder_rows(builder, op->head.rows);
    uint32_t n_expert = (uint32_t)op->weights->packs[op->matrix].n_row;
    uint64_t expert_bytes = n_expert * 4ull, imposed_bytes = op->n_used * 4ull;
    moe_route_push push = {.index = rows.index,
                           .logits = logits,
                           .expert_scale = vk_view_address(&op->expert_scale),
                           .imposed = vk_view_address(&op->imposed),
                           .route = vk_view_address(&op->route),
                           .probabilities = vk_view_address(&op->probabilities),
                           .imposed_stride = (uint32_t)op->imposed.stride,
                           .route_stride = (uint32_t)op->route.stride,
                           .probabilities_stride = (uint32_t)op->probabilities.stride,
                           .n_expert = n_expert,
                           .n_used = op->n_used,
                           .gather = vk_view_gathered(op->head.rows, &op->imposed) ? MOE_GATHER_IMPOSED : 0};
    uint32_t spec[1] = {vk_local_size(builder->context, 128, 32)};
    launch_rule rule = {.groups = {1, 1, 1}, .rows = op->head.rows, .row_axis = 1, .rows_per_group = 1};
    vk_dispatch *dispatch;
    VK_DO(vk_step_begin(builder, "moe_route"));
    VK_DO(vk_dispatch_add(builder, "moe_route", spec, 1, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic =
        (vk_traffic){.rows = op->head.rows,
                     .row_bytes = expert_bytes * (op->probabilities.buffer ? 2 : 1) +
                                  (op->imposed.buffer ? imposed_bytes : 0) + op->n_used * 8ull,
                     .row_flops = n_expert * 4ull};
    if (push.gather)
        VK_DO(vk_reads(builder, rows.index, rows.max * 4ull));
    VK_DO(vk_reads(builder, logits, rows.max * expert_bytes));
    VK_DO(vk_reads_view(builder, &op->expert_scale, expert_bytes));
    VK_DO(vk_reads_view(builder, &op->imposed, imposed_bytes));
    VK_DO(vk_writes_view(builder, &op->probabilities, expert_bytes));
    return vk_writes_view(builder, &op->route, op->n_used * 8ull);
}

tandem_status vk_lower_moe_route(vk_builder *builder, const tandem_op_moe_route *op) {
    vk_scratch logits;
    vk_rows rows = vk_builder_rows(builder, op->head.rows);
    VK_DO(vk_scratch_take(builder, rows.max * op->weights->packs[op->matrix].n_row * 4, &logits));
    VK_DO(lower_logits(builder, op, logits.address));
    VK_DO(lower_choice(builder, op, logits.address));
    vk_scratch_give(builder, &logits);
    return TANDEM_OK;
}

/* ---- MOE_FFN ---- */

typedef struct ffn {
    const tandem_op_moe_ffn *op;
    const vk_pack *gate_pack, *down_pack;
    uint32_t gate, up, down; /* matrices of a record; gate == up: one holds both */
    uint32_t width;
    uint32_t q8;
    vk_rows rows;
    uint64_t n_entry;    /* most of them */
    vk_experts experts;  /* of the gate and up products */
    vk_experts combined; /* of the down product */
} ffn;

static ffn ffn_of(const vk_builder *builder, const tandem_op_moe_ffn *op) {
    uint32_t joined = op->weights->n_matrix == 2;
    ffn f = {.op = op, .up = joined ? 0 : 1, .down = joined ? 1 : 2};
    f.gate_pack = &op->weights->packs[0];
    f.down_pack = &op->weights->packs[f.down];
    f.width = f.down_pack->n_col;
    f.q8 = builder->program->precision == TANDEM_PRECISION_Q8;
    f.rows = vk_builder_rows(builder, op->head.rows);
    f.n_entry = (uint64_t)f.rows.max * op->n_used;
    return f;
}

/* Experts straight from the route. */
static void take_from_route(const vk_builder *builder, ffn *f) {
    const tandem_op_moe_ffn *op = f->op;
    uint32_t gathered = vk_view_gathered(op->head.rows, &op->route);
    f->experts = (vk_experts){.kind = EXPERTS_ENTRY,
                              .n_used = op->n_used,
                              .entries_per_x = op->n_used,
                              .route = vk_view_address(&op->route),
                              .route_stride = op->route.stride,
                              .route_rows = gathered ? f->rows.index : 0,
                              .route_count = gathered ? builder->program->limits.max_tokens : f->rows.max};
    f->combined = f->experts;
    f->combined.kind = EXPERTS_SUM;
    f->combined.entries_per_x = 1;
}

static vk_product product_of(const vk_builder *builder, const ffn *f, uint32_t matrix) {
    return (vk_product){.weights = f->op->weights,
                        .matrix = matrix,
                        .up = TANDEM_NONE,
                        .n_row = (uint32_t)f->op->weights->packs[matrix].n_row,
                        .op_rows = f->op->head.rows,
                        .precision = builder->program->precision,
                        .kind = VK_MATMUL_VEC,
                        .n_tok = 1,
                        .experts = f->experts};
}

/* Plans the product, begins its step where it is the step's first, and adds it. */
static tandem_status add_product(vk_builder *builder, const vk_product *product, const vk_input *x,
                                 const char *what, uint32_t begin) {
    vk_matmul_plan plan;
    char kernel[64];
    VK_DO(vk_product_plan(builder, product, &plan));
    snprintf(kernel, sizeof kernel, "moe_%s_%s", what, plan.kernel);
    if (begin)
        VK_DO(vk_step_begin(builder, kernel));
    return vk_product_add(builder, product, &plan, x);
}

static int glu_is_one_kernel(const ffn *f) {
    const vk_pack *gate = f->gate_pack, *up = &f->op->weights->packs[f->up];
    return gate->type == up->type && gate->n_segment == 1 && up->n_segment == 1;
}

/* GLU of every entry's two halves. */
static tandem_status lower_halves(vk_builder *builder, const ffn *f, const uint64_t half[2], uint64_t stride,
                                  const vk_input *y) {
    uint32_t n_used = f->op->n_used;
    elementwise_push push = {.a = half[0],
                             .b = half[1],
                             .y = y->address,
                             .a_stride = (uint32_t)stride,
                             .b_stride = (uint32_t)stride,
                             .y_stride = (uint32_t)y->stride,
                             .n = f->width};
    uint32_t spec[2] = {64, ELEMENTWISE_GLU};
    launch_rule rule = {.groups = {elementwise_groups(f->width, 64), n_used, 1},
                        .rows = f->op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    vk_dispatch *dispatch;
    VK_DO(vk_step_begin(builder, "moe_glu"));
    VK_DO(vk_dispatch_add(builder, "elementwise", spec, 2, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (vk_traffic){
        .rows = f->op->head.rows, .row_bytes = n_used * f->width * 12ull, .row_flops = n_used * f->width};
    for (uint32_t i = 0; i < 2; i++)
        VK_DO(vk_touches(builder, half[i], f->width * 4ull, stride, f->n_entry, 0));
    return vk_touches(builder, y->address, f->width * 4ull, y->stride, f->n_entry, 1);
}

/* Gate and up of different formats, or in several segments: plain products into scratch, then GLU. */
static tandem_status lower_apart(vk_builder *builder, const ffn *f, const vk_input *x, const vk_input *y) {
    uint64_t half_bytes = (f->width * 4ull + 15) / 16 * 16, stride = 2 * half_bytes;
    vk_scratch scratch;
    if (f->gate == f->up && f->width % 4 != 0)
        return tandem_kit_fail_op(
            builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
            "MOE_FFN: a GATE_UP matrix in several segments needs gate rows by fours, not %u", f->width);
    VK_DO(vk_scratch_take(builder, f->n_entry * stride, &scratch));
    for (uint32_t m = f->gate; m <= f->up; m++) {
        vk_product product = product_of(builder, f, m);
        product.y = scratch.address + m * half_bytes;
        product.y_stride = stride;
        product.y_rows = f->n_entry;
        VK_DO(add_product(builder, &product, x, m == f->gate ? "gate" : "up", m == f->gate));
    }
    const uint64_t half[2] = {scratch.address, scratch.address + half_bytes};
    VK_DO(lower_halves(builder, f, half, stride, y));
    vk_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

/* gelu(gate x) * (up x) of every entry into scratch. */
static tandem_status lower_up(vk_builder *builder, const ffn *f, const vk_input *x, vk_input *y) {
    *y = (vk_input){
        .row_bytes = f->width * 4ull, .stride = (f->width * 4ull + 15) / 16 * 16, .n_row = f->n_entry};
    VK_DO(vk_scratch_take(builder, f->n_entry * y->stride, &y->scratch));
    y->address = y->scratch.address;
    if (!glu_is_one_kernel(f))
        return lower_apart(builder, f, x, y);
    vk_product product = product_of(builder, f, f->gate);
    product.up = f->up;
    product.up_row = f->gate == f->up ? f->width : 0;
    product.n_row = f->width;
    product.y = y->address;
    product.y_stride = y->stride;
    product.y_rows = f->n_entry;
    return add_product(builder, &product, x, "up", 1);
}

static tandem_status lower_down(vk_builder *builder, const ffn *f, const vk_input *x) {
    const tandem_op_moe_ffn *op = f->op;
    vk_product product = product_of(builder, f, f->down);
    product.experts = f->combined;
    product.y = vk_view_address(&op->y);
    product.y_stride = op->y.stride;
    product.y_rows = f->rows.max;
    return add_product(builder, &product, x, "down", 1);
}

/* Rounds the rows of *input where the precision asks for it. */
static tandem_status round_input(vk_builder *builder, const ffn *f, uint32_t rows_per_tok, uint32_t n_col,
                                 vk_input *input) {
    vk_input from = *input;
    if (!f->q8)
        return TANDEM_OK;
    VK_DO(vk_step_begin(builder, "quantise_q8"));
    VK_DO(vk_quantise(builder, f->op->head.rows, rows_per_tok, n_col, &from, input));
    vk_scratch_give(builder, &from.scratch);
    return TANDEM_OK;
}

tandem_status vk_lower_moe_ffn(vk_builder *builder, const tandem_op_moe_ffn *op) {
    ffn f = ffn_of(builder, op);
    vk_input x = vk_input_of_view(builder, op->head.rows, &op->x, f.gate_pack->n_col), y;
    for (uint32_t r = 0; r < op->weights->n_record; r++)
        VK_DO(vk_uses_record(builder, op->weights, r));
    take_from_route(builder, &f);
    VK_DO(round_input(builder, &f, 1, f.gate_pack->n_col, &x));
    VK_DO(lower_up(builder, &f, &x, &y));
    vk_scratch_give(builder, &x.scratch);
    VK_DO(round_input(builder, &f, op->n_used, f.width, &y));
    VK_DO(lower_down(builder, &f, &y));
    vk_scratch_give(builder, &y.scratch);
    return TANDEM_OK;
}
