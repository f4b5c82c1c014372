/* lower_matmul.c: MATMUL, its prologue, and the rounding of its inputs.
 *
 * exact: [stream] -> products side by side.      q8: [stream, writing q8 rows | quantise] -> products side by
 * side. The prologue is a step of its own; fusing it into the mat-vec means to give the products the STREAM's
 * push block and to drop lower_prologue, nothing else.
 */
#include "builder.h"
#include "pipeline.h"

#include <stdio.h>
#include <string.h>

_Static_assert(N_SPEC_MATMUL <= VK_MAX_SPEC, "a pipeline holds all constants of matmul.comp");

static const tandem_kit_pack *get_pack(const tandem_op_matmul *op, uint32_t i) {
    return &op->weights->packs[op->first_matrix + i];
}

tandem_status vk_quantise(gpu_builder *builder, uint32_t op_rows, uint32_t rows_per_tok, uint32_t n_col,
                          const vk_input *from, vk_input *to) {
    gpu_rows rows = gpu_builder_rows(builder, op_rows);
    uint64_t q8_bytes = Q8_ROW_BYTES((uint64_t)n_col), n_row = (uint64_t)rows.max * rows_per_tok;
    uint32_t n_block = (n_col + 31) / 32;
    gpu_launch *dispatch;
    *to = (vk_input){.stride = q8_bytes, .row_bytes = q8_bytes, .n_row = n_row};
    GPU_DO(gpu_scratch_take(builder, n_row * q8_bytes, &to->scratch));
    to->address = to->scratch.address;
    quantise_push push = {.x = from->address,
                          .q8 = to->address,
                          .rows = from->rows,
                          .n_tok = rows.n_tok,
                          .n_col = n_col,
                          .x_stride = (uint32_t)from->stride,
                          .rows_per_tok = rows_per_tok};
    launch_rule rule = {.groups = {(n_block + QUANTISE_GROUPS - 1) / QUANTISE_GROUPS, rows_per_tok, 1},
                        .rows = op_rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    GPU_DO(vk_dispatch_add(builder, "quantise_q8", NULL, 0, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op_rows,
                                      .row_bytes = rows_per_tok * (n_col * 4ull + q8_bytes),
                                      .row_flops = rows_per_tok * n_col * 2ull};
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    if (from->rows)
        GPU_DO(gpu_reads(builder, from->rows, rows.max * 4ull));
    GPU_DO(gpu_touches(builder, from->address, from->row_bytes, from->stride, from->n_row, 0));
    return gpu_touches(builder, to->address, q8_bytes, q8_bytes, n_row, 1);
}

vk_input vk_input_of_view(const gpu_builder *builder, uint32_t op_rows, const tandem_view *view,
                          uint32_t n_col) {
    gpu_rows rows = gpu_builder_rows(builder, op_rows);
    vk_input input = {.address = gpu_view_address(view),
                      .stride = view->stride,
                      .row_bytes = n_col * 4ull,
                      .scratch = {.index = TANDEM_NONE}};
    input.rows = gpu_view_gathered(op_rows, view) ? rows.index : 0;
    input.n_row = view->rows == TANDEM_ROWS_ALL ? builder->program->limits.max_tokens
                                                : builder->program->limits.max_out;
    return input;
}

/* The prologue as a step: rows in scratch, rounded already where the precision asks for it. One input per
 * output. */
static tandem_status lower_prologue(gpu_builder *builder, const tandem_op_matmul *op, vk_input inputs[3]) {
    const tandem_op_stream *prologue = op->prologue;
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_slice = prologue->n_slice ? prologue->n_slice : 1;
    uint32_t n_col = prologue->d * n_slice;
    uint32_t fused_q8 = builder->program->precision == TANDEM_PRECISION_Q8 && n_slice == 1;
    gpu_stream_extra extra = {{0}, {0}, {0}};
    for (uint32_t m = 0; m < op->n_matrix; m++) {
        uint32_t i = op->x_output[m];
        vk_input *input = &inputs[i];
        if (input->address)
            continue;
        *input = (vk_input){.n_row = rows.max, .row_bytes = n_col * 4ull, .scratch = {.index = TANDEM_NONE}};
        if (fused_q8)
            input->row_bytes = Q8_ROW_BYTES((uint64_t)n_col);
        input->stride = input->row_bytes;
        if (!fused_q8 && prologue->out[i].buffer) {
            input->address = gpu_view_address(&prologue->out[i]);
            input->stride = prologue->out[i].stride;
            continue;
        }
        GPU_DO(gpu_scratch_take(builder, rows.max * input->row_bytes, &input->scratch));
        input->address = input->scratch.address;
        extra.out_stride[i] = input->stride;
        *(fused_q8 ? &extra.q8[i] : &extra.out[i]) = input->address;
    }
    return gpu_lower_stream(builder, prologue, &extra);
}

/* The inputs of the products, inputs[which[m]] for matrix m. */
static tandem_status lower_inputs(gpu_builder *builder, const tandem_op_matmul *op, vk_input inputs[3],
                                  uint32_t which[3]) {
    uint32_t q8 = builder->program->precision == TANDEM_PRECISION_Q8;
    uint32_t n_view = 0;
    uint32_t rounded = 0;
    if (op->prologue) {
        for (uint32_t m = 0; m < op->n_matrix; m++)
            which[m] = op->x_output[m];
        GPU_DO(lower_prologue(builder, op, inputs));
        n_view = 3;
        rounded = q8 && (op->prologue->n_slice ? op->prologue->n_slice : 1) == 1;
    }
    uint32_t n_input = op->activation == TANDEM_ACT_GELU_GLU ? 1 : op->n_matrix;
    for (uint32_t m = 0; m < n_input && !op->prologue; m++) {
        vk_input input = vk_input_of_view(builder, op->head.rows, &op->x[m], get_pack(op, m)->n_col);
        for (which[m] = 0; which[m] < n_view; which[m]++)
            if (inputs[which[m]].address == input.address && inputs[which[m]].stride == input.stride &&
                inputs[which[m]].row_bytes == input.row_bytes && inputs[which[m]].rows == input.rows)
                break;
        if (which[m] == n_view)
            inputs[n_view++] = input;
    }
    if (!q8 || rounded)
        return TANDEM_OK;
    GPU_DO(gpu_step_begin(builder, "quantise_q8"));
    for (uint32_t i = 0; i < n_view; i++) {
        vk_input from = inputs[i];
        if (!from.address)
            continue;
        GPU_DO(vk_quantise(builder, op->head.rows, 1, (uint32_t)(from.row_bytes / 4), &from, &inputs[i]));
        gpu_scratch_give(builder, &from.scratch);
    }
    return TANDEM_OK;
}

/* ---- products ---- */

int vk_product_has_plan(const gpu_builder *builder, const vk_product *product, vk_matmul_plan *plan) {
    const tandem_kit_pack *pack = &product->weights->packs[product->matrix];
    vk_matmul_request request = {.kind = product->kind,
                                 .precision = product->precision,
                                 .n_tok = product->n_tok,
                                 .glu = product->up != TANDEM_NONE,
                                 .n_row = product->n_row,
                                 .experts = product->experts.kind,
                                 .n_used = product->experts.n_used};
    return vk_matmul_plan_make(plan, pack, &request, &builder->context->device.policy);
}

tandem_status vk_product_plan(gpu_builder *builder, const vk_product *product, vk_matmul_plan *plan) {
    if (vk_product_has_plan(builder, product, plan))
        return TANDEM_OK;
    return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                              "No kernel multiplies a matrix of type %u at precision %u",
                              product->weights->packs[product->matrix].type, product->precision);
}

static matmul_push push_of(const vk_product *product, const vk_input *input, uint64_t n_tok) {
    const tandem_weights *weights = product->weights;
    const tandem_kit_pack *pack = &weights->packs[product->matrix];
    const vk_experts *experts = &product->experts;
    matmul_push push = {.table = gpu_weights_table(weights, product->record, product->matrix),
                        .x = input->address,
                        .y = product->y,
                        .rows = input->rows,
                        .n_tok = n_tok,
                        .n_row = product->n_row,
                        .n_col = pack->n_col,
                        .x_stride = (uint32_t)input->stride,
                        .y_stride = (uint32_t)product->y_stride,
                        .segment_shift = pack->segment_shift,
                        .up_row = product->up_row,
                        .softcap = product->softcap,
                        .entries_per_x = experts->entries_per_x,
                        .route = experts->route,
                        .route_rows = experts->route_rows,
                        .route_stride = (uint32_t)experts->route_stride,
                        .n_used = experts->n_used,
                        .n_expert = weights->n_record,
                        .expert_stride = weights->n_segment};
    if (product->up != TANDEM_NONE)
        push.table_up = gpu_weights_table(weights, product->record, product->up);
    return push;
}

static gpu_traffic traffic_of(const vk_product *product, const vk_matmul_plan *plan, const vk_input *input) {
    const vk_experts *experts = &product->experts;
    const tandem_kit_pack *pack = &product->weights->packs[product->matrix];
    uint64_t n_product = product->n_row * (product->up != TANDEM_NONE ? 2ull : 1ull);
    uint64_t per_row = experts->kind == EXPERTS_NONE ? 1 : experts->n_used;
    uint64_t n_y = experts->kind == EXPERTS_SUM ? 1 : per_row;
    return (gpu_traffic){.rows = product->op_rows,
                         .rows_per_pass = plan->cols_per_group,
                         .weight_bytes = plan->weight_bytes,
                         .weight_bytes_min = plan->weight_bytes_min,
                         .row_bytes = per_row * input->row_bytes /
                                          (experts->entries_per_x ? experts->entries_per_x : 1) +
                                      n_y * product->n_row * 4ull,
                         .row_flops = 2 * per_row * n_product * pack->n_col,
                         .weights = product->weights,
                         .record = product->record,
                         .n_used = experts->kind == EXPERTS_NONE ? 0 : experts->n_used};
}

/* The route or the lists that say which experts and rows a workgroup takes. */
static tandem_status declare_experts(gpu_builder *builder, const vk_product *product) {
    const vk_experts *experts = &product->experts;
    gpu_rows rows = gpu_builder_rows(builder, product->op_rows);
    if (experts->kind == EXPERTS_TILES) {
        GPU_DO(gpu_reads(builder, experts->route, experts->route_count * sizeof(moe_tile)));
        return gpu_reads(builder, experts->route_rows, (uint64_t)rows.max * experts->n_used * 4);
    }
    if (experts->route_rows)
        GPU_DO(gpu_reads(builder, experts->route_rows, rows.max * 4ull));
    return gpu_touches(builder, experts->route, experts->n_used * 8ull, experts->route_stride,
                       experts->route_count, 0);
}

/* What the product reads and writes, for the launch added last. */
static tandem_status declare_product(gpu_builder *builder, const vk_product *product, const vk_input *input) {
    const tandem_weights *weights = product->weights;
    const vk_experts *experts = &product->experts;
    gpu_rows rows = gpu_builder_rows(builder, product->op_rows);
    uint32_t first = experts->kind == EXPERTS_NONE ? product->record : 0;
    uint32_t end = experts->kind == EXPERTS_NONE ? first + 1 : weights->n_record;
    for (uint32_t record = first; record < end; record++) {
        GPU_DO(gpu_reads_matrix(builder, weights, record, product->matrix));
        if (product->up != TANDEM_NONE && product->up != product->matrix)
            GPU_DO(gpu_reads_matrix(builder, weights, record, product->up));
    }
    if (experts->kind == EXPERTS_NONE)
        GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    else
        GPU_DO(declare_experts(builder, product));
    if (input->rows)
        GPU_DO(gpu_reads(builder, input->rows, rows.max * 4ull));
    GPU_DO(gpu_touches(builder, input->address, input->row_bytes, input->stride, input->n_row, 0));
    GPU_DO(gpu_touches(builder, product->y, product->n_row * 4ull, product->y_stride, product->y_rows, 1));
    if (experts->kind == EXPERTS_TILES)
        gpu_written_apart(builder);
    return TANDEM_OK;
}

tandem_status vk_product_add(gpu_builder *builder, const vk_product *product, const vk_matmul_plan *plan,
                             const vk_input *input) {
    const vk_experts *experts = &product->experts;
    gpu_rows rows = gpu_builder_rows(builder, product->op_rows);
    matmul_push push = push_of(product, input, rows.n_tok);
    launch_rule rule = {.groups = {plan->grid_x, experts->kind == EXPERTS_ENTRY ? experts->n_used : 1, 1},
                        .rows = product->op_rows,
                        .row_axis = 1,
                        .rows_per_group = plan->cols_per_group};
    gpu_launch *dispatch;
    GPU_DO(vk_dispatch_add(builder, plan->shader, plan->spec, N_SPEC_MATMUL,
                           experts->kind == EXPERTS_TILES ? NULL : &rule, &push, sizeof push, &dispatch));
    dispatch->traffic =
        experts->uncounted ? (gpu_traffic){.rows = product->op_rows} : traffic_of(product, plan, input);
    if (experts->kind == EXPERTS_TILES)
        GPU_DO(vk_dispatch_indirect(builder, experts->command));
    return declare_product(builder, product, input);
}

tandem_status vk_products_add(gpu_builder *builder, const vk_product *products, uint32_t n,
                              const vk_matmul_plan *plan, const vk_input *input) {
    gpu_rows rows = gpu_builder_rows(builder, products->op_rows);
    matmul_push push = push_of(products, input, rows.n_tok);
    vk_matmul_plan shared = *plan;
    vk_product all = *products;
    void *place;
    gpu_launch *dispatch;
    if (n == 1)
        return vk_product_add(builder, products, plan, input);
    GPU_DO(gpu_constant(builder, n * sizeof push, &push.table, &place));
    shared.spec[SPEC_N_PRODUCT] = n;
    all.n_row = 0;
    shared.grid_x = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t groups = (products[i].n_row + plan->rows_per_group - 1) / plan->rows_per_group;
        shared.grid_x = groups > shared.grid_x ? groups : shared.grid_x;
        all.n_row += products[i].n_row;
        if (place)
            ((matmul_push *)place)[i] = push_of(&products[i], input, rows.n_tok);
    }
    launch_rule rule = {.groups = {shared.grid_x, 1, n},
                        .rows = products->op_rows,
                        .row_axis = 1,
                        .rows_per_group = plan->cols_per_group};
    GPU_DO(vk_dispatch_add(builder, shared.shader, shared.spec, N_SPEC_MATMUL, &rule, &push, sizeof push,
                           &dispatch));
    dispatch->traffic = traffic_of(&all, plan, input);
    GPU_DO(gpu_reads(builder, push.table, n * sizeof push));
    for (uint32_t i = 0; i < n; i++)
        GPU_DO(declare_product(builder, &products[i], input));
    return TANDEM_OK;
}

/* ---- MATMUL ---- */

/* A product of the op; what it writes where is still to be said. */
static vk_product product_of(const gpu_builder *builder, const tandem_op_matmul *op, uint32_t m) {
    uint32_t max = gpu_builder_rows(builder, op->head.rows).max;
    return (vk_product){.weights = op->weights,
                        .record = op->record,
                        .matrix = op->first_matrix + m,
                        .up = TANDEM_NONE,
                        .n_row = (uint32_t)get_pack(op, m)->n_row,
                        .op_rows = op->head.rows,
                        .precision = builder->program->precision,
                        .kind = max <= GPU_MAX_VEC_ROWS ? VK_MATMUL_VEC : VK_MATMUL_MAT,
                        .n_tok = max};
}

/* 1: gate and up are read by one kernel. */
static int glu_is_one_kernel(const tandem_op_matmul *op) {
    const tandem_kit_pack *gate = get_pack(op, 0), *up = get_pack(op, op->n_matrix - 1);
    return gate->type == up->type && gate->n_segment == 1 && up->n_segment == 1;
}

/* GLU of the two halves in scratch. */
static tandem_status lower_halves(gpu_builder *builder, const tandem_op_matmul *op, const uint64_t half[2],
                                  uint32_t n_row, uint64_t stride) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    gpu_launch *dispatch;
    elementwise_push push = {.a = half[0],
                             .b = half[1],
                             .y = gpu_view_address(&op->y[0]),
                             .a_stride = (uint32_t)stride,
                             .b_stride = (uint32_t)stride,
                             .y_stride = (uint32_t)op->y[0].stride,
                             .n = n_row};
    uint32_t local = builder->context->device.policy.elementwise_local;
    uint32_t spec[2] = {local, ELEMENTWISE_GLU};
    launch_rule rule = {.groups = {elementwise_groups(n_row, local), 1, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    GPU_DO(gpu_step_begin(builder, "glu"));
    GPU_DO(vk_dispatch_add(builder, "elementwise", spec, 2, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows, .row_bytes = n_row * 12ull, .row_flops = n_row};
    for (uint32_t i = 0; i < 2; i++)
        GPU_DO(gpu_touches(builder, half[i], n_row * 4ull, stride, rows.max, 0));
    return gpu_writes_view(builder, &op->y[0], n_row * 4ull);
}

/* Gate and up of different formats, or in several segments: plain products into scratch, then GLU. */
static tandem_status lower_apart_glu(gpu_builder *builder, const tandem_op_matmul *op, vk_input *input) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_product = op->n_matrix;
    uint32_t n_row = (uint32_t)get_pack(op, 0)->n_row / (n_product == 1 ? 2 : 1);
    uint64_t half_bytes = (n_row * 4ull + 15) / 16 * 16;
    uint64_t stride = 2 * half_bytes;
    gpu_scratch scratch;
    if (n_product == 1 && n_row % 4 != 0)
        return tandem_kit_fail_op(
            builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
            "MATMUL: a GATE_UP matrix in several segments needs gate rows by fours, not %u", n_row);
    GPU_DO(gpu_scratch_take(builder, rows.max * stride, &scratch));
    for (uint32_t i = 0; i < n_product; i++) {
        vk_matmul_plan plan;
        vk_product product = product_of(builder, op, i);
        product.y = scratch.address + i * half_bytes;
        product.y_stride = stride;
        product.y_rows = rows.max;
        GPU_DO(vk_product_plan(builder, &product, &plan));
        if (i == 0)
            GPU_DO(gpu_step_begin(builder, plan.kernel));
        GPU_DO(vk_product_add(builder, &product, &plan, input));
    }
    const uint64_t half[2] = {scratch.address, scratch.address + half_bytes};
    GPU_DO(lower_halves(builder, op, half, n_row, stride));
    gpu_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

/* Product m of the op, whole. */
static vk_product whole_product(const gpu_builder *builder, const tandem_op_matmul *op, uint32_t m) {
    int glu = op->activation == TANDEM_ACT_GELU_GLU;
    vk_product product = product_of(builder, op, m);
    product.n_row /= glu && op->n_matrix == 1 ? 2 : 1;
    product.y = gpu_view_address(&op->y[m]);
    product.y_stride = op->y[m].stride;
    product.softcap = op->softcap;
    product.y_rows = op->y[m].rows == TANDEM_ROWS_ALL ? builder->program->limits.max_tokens
                                                      : builder->program->limits.max_out;
    if (glu) {
        product.up = op->first_matrix + op->n_matrix - 1;
        product.up_row = op->n_matrix == 1 ? product.n_row : 0;
    }
    return product;
}

/* Products m and the next ones that the same launch can hold. */
static uint32_t count_alike(const tandem_op_matmul *op, const uint32_t which[3], uint32_t m, uint32_t n) {
    const tandem_kit_pack *pack = get_pack(op, m);
    uint32_t end = m + 1;
    while (end < n && which[end] == which[m] && get_pack(op, end)->type == pack->type &&
           get_pack(op, end)->n_col == pack->n_col)
        end++;
    return end - m;
}

static tandem_status lower_products(gpu_builder *builder, const tandem_op_matmul *op,
                                    const vk_input inputs[3], const uint32_t which[3]) {
    int glu = op->activation == TANDEM_ACT_GELU_GLU;
    uint32_t n = glu ? 1 : op->n_matrix, n_alike;
    for (uint32_t m = 0; m < n; m += n_alike) {
        vk_product products[3], all = whole_product(builder, op, m);
        vk_matmul_plan plan;
        char kernel[64];
        products[0] = all;
        n_alike = count_alike(op, which, m, n);
        for (uint32_t i = 1; i < n_alike; i++) {
            products[i] = whole_product(builder, op, m + i);
            all.n_row += products[i].n_row;
        }
        GPU_DO(vk_product_plan(builder, &all, &plan));
        snprintf(kernel, sizeof kernel, "%s%s", plan.kernel, glu ? "_glu" : "");
        if (m == 0)
            GPU_DO(gpu_step_begin(builder, kernel));
        GPU_DO(vk_products_add(builder, products, n_alike, &plan, &inputs[which[m]]));
    }
    return TANDEM_OK;
}

tandem_status gpu_lower_matmul(gpu_builder *builder, const tandem_op_matmul *op) {
    vk_input inputs[3] = {{.scratch = {.index = TANDEM_NONE}},
                          {.scratch = {.index = TANDEM_NONE}},
                          {.scratch = {.index = TANDEM_NONE}}};
    uint32_t which[3] = {0, 0, 0};
    GPU_DO(gpu_uses_record(builder, op->weights, op->record));
    GPU_DO(lower_inputs(builder, op, inputs, which));
    if (op->activation == TANDEM_ACT_GELU_GLU && !glu_is_one_kernel(op))
        GPU_DO(lower_apart_glu(builder, op, &inputs[which[0]]));
    else
        GPU_DO(lower_products(builder, op, inputs, which));
    for (uint32_t i = 0; i < 3; i++)
        gpu_scratch_give(builder, &inputs[i].scratch);
    return TANDEM_OK;
}
