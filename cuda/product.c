/* product.c: launches of products and of the rounding of their inputs (matmul.h). */
#include "matmul.h"

#include "kernels/params_ops.h"

#include <stdio.h>

static const tandem_kit_pack *pack_of(const cu_product *product) {
    return &product->weights->packs[product->matrix];
}

cu_input cu_input_of_view(const gpu_builder *builder, uint32_t op_rows, const tandem_view *view,
                          uint32_t n_col) {
    const tandem_kit_limits *limits = &builder->program->limits;
    gpu_rows rows = gpu_builder_rows(builder, op_rows);
    cu_input input = {.address = gpu_view_address(view),
                      .stride = view->stride,
                      .row_bytes = n_col * 4ull,
                      .scratch = {.index = TANDEM_NONE}};
    input.rows = gpu_view_gathered(op_rows, view) ? rows.index : 0;
    input.n_row = view->rows == TANDEM_ROWS_ALL ? limits->max_tokens : limits->max_out;
    return input;
}

/* ---- rounding ---- */

enum { MAX_STAGE_BYTES = 48128 }; /* with the sums, two blocks of a multiprocessor's 100 KB */

uint32_t cu_stage_of(uint32_t precision, uint32_t kind, uint32_t n_col, uint32_t n_row) {
    uint32_t stage = precision == TANDEM_PRECISION_Q8    ? STAGE_Q8
                     : precision == TANDEM_PRECISION_F16 ? STAGE_F16
                                                         : STAGE_F32;
    uint64_t bytes = MATVEC_STAGE_BYTES(stage, (uint64_t)n_col) * n_row;
    return kind == CU_PRODUCT_VEC && bytes <= MAX_STAGE_BYTES ? stage : STAGE_NONE;
}

int cu_input_of_prologue(uint32_t precision, const tandem_op_stream *op, uint32_t output, cu_input *input) {
    uint32_t stage = cu_stage_of(precision, CU_PRODUCT_VEC, op->d, 1);
    *input = (cu_input){.prologue = op,
                        .output = output,
                        .stage = stage,
                        .row_bytes = op->d * 4ull,
                        .n_row = 1,
                        .scratch = {.index = TANDEM_NONE}};
    return op->n_slice <= 1 && stage != STAGE_NONE &&
           MATVEC_PROLOGUE_BYTES(stage, (uint64_t)op->d) <= MAX_STAGE_BYTES;
}

uint64_t cu_rounded_bytes(uint32_t precision, uint32_t kind, uint32_t n_col) {
    if (precision == TANDEM_PRECISION_Q8)
        return Q8_ROW_BYTES((uint64_t)n_col);
    if (precision != TANDEM_PRECISION_F16)
        return 0;
    return kind == CU_PRODUCT_VEC ? (n_col * 4ull + 15) / 16 * 16 : TILE_F16_BYTES((uint64_t)n_col);
}

static tandem_status launch_rounding(gpu_builder *builder, uint32_t precision, uint32_t kind,
                                     const quantise_params *params, uint32_t n_row, gpu_launch **launch) {
    const uint32_t n_block = (params->n_col + 31) / 32;
    if (precision == TANDEM_PRECISION_Q8) {
        const uint32_t grid[3] = {n_row, (n_block + QUANTISE_GROUPS - 1) / QUANTISE_GROUPS, 1};
        return cu_launch_add(builder, "quantise_q8", grid, 8 * QUANTISE_GROUPS, 0, params, sizeof *params,
                             launch);
    }
    const uint32_t grid[3] = {n_row, 1, 1};
    if (kind == CU_PRODUCT_VEC)
        return cu_launch_add(builder, "round_f16", grid, QUANTISE_ROW_THREADS, 0, params, sizeof *params,
                             launch);
    tile_round_params tile = {.x = params->x,
                              .y = params->y,
                              .rows = params->rows,
                              .n_tok = params->n_tok,
                              .n_col = params->n_col,
                              .x_stride = params->x_stride,
                              .rows_per_tok = params->rows_per_tok};
    return cu_launch_add(builder, "tile_round_f16", grid, TILE_ROUND_THREADS, 0, &tile, sizeof tile, launch);
}

tandem_status cu_round(gpu_builder *builder, uint32_t precision, uint32_t kind, uint32_t op_rows,
                       uint32_t rows_per_tok, uint32_t n_col, const cu_input *from, cu_input *to) {
    gpu_rows rows = gpu_builder_rows(builder, op_rows);
    uint64_t bytes = cu_rounded_bytes(precision, kind, n_col), n_row = (uint64_t)rows.max * rows_per_tok;
    gpu_launch *launch;
    *to = (cu_input){.stride = bytes, .row_bytes = bytes, .n_row = n_row};
    GPU_DO(gpu_scratch_take(builder, n_row * bytes, &to->scratch));
    to->address = to->scratch.address;
    quantise_params params = {.x = from->address,
                              .y = to->address,
                              .rows = from->rows,
                              .n_tok = rows.n_tok,
                              .n_col = n_col,
                              .x_stride = (uint32_t)from->stride,
                              .y_stride = (uint32_t)bytes,
                              .rows_per_tok = rows_per_tok};
    GPU_DO(launch_rounding(builder, precision, kind, &params, (uint32_t)n_row, &launch));
    launch->traffic = (gpu_traffic){.rows = op_rows,
                                    .row_bytes = rows_per_tok * (n_col * 4ull + bytes),
                                    .row_flops = rows_per_tok * n_col * 2ull};
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    if (from->rows)
        GPU_DO(gpu_reads(builder, from->rows, rows.max * 4ull));
    GPU_DO(gpu_touches(builder, from->address, from->row_bytes, from->stride, from->n_row, 0));
    return gpu_touches(builder, to->address, bytes, bytes, n_row, 1);
}

/* ---- products ---- */

static gpu_traffic traffic_of(const cu_product *product, const cu_plan *plan, const cu_input *input) {
    const cu_experts *experts = &product->experts;
    const tandem_kit_pack *pack = pack_of(product);
    uint64_t n_weight_row = product->n_row * (product->up != TANDEM_NONE ? 2ull : 1ull);
    uint64_t per_row = experts->n_used ? experts->n_used : 1;
    uint64_t n_y = experts->kind == EXPERTS_SUM ? 1 : per_row;
    if (experts->uncounted)
        return (gpu_traffic){.rows = product->op_rows};
    return (gpu_traffic){.rows = product->op_rows,
                         .rows_per_pass = plan->rows_per_pass,
                         .weight_bytes = (n_weight_row * pack->group_bytes + GROUP_ROWS - 1) / GROUP_ROWS,
                         .weight_bytes_min = n_weight_row * pack->row_bytes,
                         .row_bytes = per_row * input->row_bytes /
                                          (experts->entries_per_x ? experts->entries_per_x : 1) +
                                      n_y * product->n_row * 4ull,
                         .row_flops = 2 * per_row * n_weight_row * pack->n_col,
                         .weights = product->weights,
                         .record = product->record,
                         .n_used = experts->n_used};
}

/* The route or the lists that say which experts and rows a block takes. */
static tandem_status declare_experts(gpu_builder *builder, const cu_product *product) {
    const cu_experts *experts = &product->experts;
    gpu_rows rows = gpu_builder_rows(builder, product->op_rows);
    if (product->kind != CU_PRODUCT_VEC) {
        GPU_DO(gpu_reads(builder, experts->n_tile, 4));
        GPU_DO(gpu_reads(builder, experts->route, experts->route_count * sizeof(moe_tile)));
        return gpu_reads(builder, experts->route_rows, (uint64_t)rows.max * experts->n_used * 4);
    }
    if (experts->route_rows)
        GPU_DO(gpu_reads(builder, experts->route_rows, rows.max * 4ull));
    return gpu_touches(builder, experts->route, experts->n_used * 8ull, experts->route_stride,
                       experts->route_count, 0);
}

static tandem_status declare_product(gpu_builder *builder, const cu_product *product, const cu_input *input) {
    const tandem_weights *weights = product->weights;
    gpu_rows rows = gpu_builder_rows(builder, product->op_rows);
    uint32_t first = product->experts.n_used ? 0 : product->record;
    uint32_t end = product->experts.n_used ? weights->n_record : first + 1;
    for (uint32_t record = first; record < end; record++) {
        GPU_DO(gpu_reads_matrix(builder, weights, record, product->matrix));
        if (product->up != TANDEM_NONE && product->up != product->matrix)
            GPU_DO(gpu_reads_matrix(builder, weights, record, product->up));
    }
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    if (product->experts.n_used)
        GPU_DO(declare_experts(builder, product));
    if (input->rows)
        GPU_DO(gpu_reads(builder, input->rows, rows.max * 4ull));
    if (!input->prologue)
        GPU_DO(gpu_touches(builder, input->address, input->row_bytes, input->stride, input->n_row, 0));
    GPU_DO(gpu_touches(builder, product->y, product->n_row * 4ull, product->y_stride, product->y_rows, 1));
    if (product->kind != CU_PRODUCT_VEC && product->experts.n_used)
        gpu_written_apart(builder);
    return TANDEM_OK;
}

static matvec_job job_of(const cu_product *product, const cu_input *input, uint32_t first_block) {
    const tandem_kit_pack *pack = pack_of(product);
    matvec_job job = {.table = {gpu_weights_table(product->weights, product->record, product->matrix), 0},
                      .x = input->address,
                      .y = product->y,
                      .rows = input->rows,
                      .n_row = product->n_row,
                      .n_col = pack->n_col,
                      .x_stride = (uint32_t)input->stride,
                      .y_stride = (uint32_t)product->y_stride,
                      .first_block = first_block,
                      .segment_shift = pack->segment_shift,
                      .up_row = product->up_row,
                      .softcap = product->softcap,
                      .stage = input->stage,
                      .output = input->output};
    if (product->up != TANDEM_NONE)
        job.table[1] = gpu_weights_table(product->weights, product->record, product->up);
    return job;
}

/* The first launch writes what the prologue leaves. */
static void set_prologue(gpu_builder *builder, const tandem_op_stream *op, matvec_params *params) {
    params->has_prologue = 1;
    params->prologue = cu_stream_params(builder, op, NULL);
    if (builder->prologue == op) {
        params->prologue.y_h = 0;
        for (uint32_t i = 0; i < 3; i++)
            params->prologue.y[i] = 0;
    }
}

static tandem_status launch_vec(gpu_builder *builder, const cu_product *products,
                                const cu_input *const *inputs, uint32_t n, const cu_plan *plan,
                                gpu_launch **launch) {
    const cu_product *first = &products[0];
    const cu_experts *experts = &first->experts;
    matvec_params params = {.n_tok = gpu_builder_rows(builder, first->op_rows).n_tok,
                            .route = experts->route,
                            .route_rows = experts->route_rows,
                            .route_stride = (uint32_t)experts->route_stride,
                            .n_job = n,
                            .n_part = plan->n_part,
                            .n_split = plan->n_split,
                            .glu = first->up != TANDEM_NONE,
                            .experts = experts->kind,
                            .n_used = experts->n_used,
                            .n_expert = first->weights->n_record,
                            .expert_stride = first->weights->n_segment,
                            .entries_per_x = experts->entries_per_x};
    uint32_t first_block = 0, n_x = experts->kind == EXPERTS_SUM ? experts->n_used : plan->rows_per_pass;
    uint32_t stage_bytes = 0;
    if (inputs[0]->prologue)
        set_prologue(builder, inputs[0]->prologue, &params);
    for (uint32_t i = 0; i < n; i++) {
        params.job[i] = job_of(&products[i], inputs[i], first_block);
        uint32_t stage = inputs[i]->stage, n_col = params.job[i].n_col;
        uint32_t bytes = inputs[i]->prologue ? MATVEC_PROLOGUE_BYTES(stage, n_col)
                                             : n_x * MATVEC_STAGE_BYTES(stage, n_col);
        stage_bytes = bytes > stage_bytes ? bytes : stage_bytes;
        first_block += (products[i].n_row + MATVEC_WARP_ROWS - 1) / MATVEC_WARP_ROWS;
    }
    return cu_launch_add(builder, plan->kernel, plan->grid, plan->block, plan->shared_bytes + stage_bytes,
                         &params, sizeof params, launch);
}

static tandem_status launch_tiles(gpu_builder *builder, const cu_product *product, const cu_input *input,
                                  const cu_plan *plan, gpu_launch **launch) {
    const tandem_kit_pack *pack = pack_of(product);
    const cu_experts *experts = &product->experts;
    tile_params params = {.table = gpu_weights_table(product->weights, product->record, product->matrix),
                          .x = input->address,
                          .y = product->y,
                          .rows = input->rows,
                          .n_tok = gpu_builder_rows(builder, product->op_rows).n_tok,
                          .n_row = product->n_row,
                          .n_col = pack->n_col,
                          .x_stride = (uint32_t)input->stride,
                          .y_stride = (uint32_t)product->y_stride,
                          .x_kind = plan->x_kind,
                          .segment_shift = pack->segment_shift,
                          .glu = product->up != TANDEM_NONE,
                          .up_row = product->up_row,
                          .softcap = product->softcap,
                          .entries_per_x = experts->entries_per_x,
                          .n_expert = product->weights->n_record,
                          .expert_stride = product->weights->n_segment};
    if (product->up != TANDEM_NONE)
        params.table_up = gpu_weights_table(product->weights, product->record, product->up);
    if (experts->n_used) {
        params.tiles = experts->route;
        params.entries = experts->route_rows;
        params.n_tile = experts->n_tile;
    }
    return cu_launch_add(builder, plan->kernel, plan->grid, plan->block, plan->shared_bytes, &params,
                         sizeof params, launch);
}

static void add_traffic(gpu_traffic *sum, const gpu_traffic *more) {
    sum->weight_bytes += more->weight_bytes;
    sum->weight_bytes_min += more->weight_bytes_min;
    sum->row_bytes += more->row_bytes;
    sum->row_flops += more->row_flops;
}

tandem_status cu_products_add(gpu_builder *builder, const cu_product *products, const cu_input *const *inputs,
                              uint32_t n, const char *step) {
    cu_plan plan;
    gpu_launch *launch;
    if (!cu_plan_make(&plan, products, n, inputs[0]->prologue != NULL, builder->context->device.info.n_units))
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "No kernel multiplies a matrix of type %u at precision %u",
                                  pack_of(products)->type, products->precision);
    if (step) {
        char name[80];
        snprintf(name, sizeof name, "%s%s%s", inputs[0]->prologue ? "stream_" : "", step, plan.kernel);
        GPU_DO(gpu_step_begin(builder, name));
    }
    if (products[0].kind == CU_PRODUCT_VEC)
        GPU_DO(launch_vec(builder, products, inputs, n, &plan, &launch));
    else
        GPU_DO(launch_tiles(builder, products, inputs[0], &plan, &launch));
    launch->traffic = traffic_of(&products[0], &plan, inputs[0]);
    for (uint32_t i = 1; i < n; i++) {
        gpu_traffic more = traffic_of(&products[i], &plan, inputs[i]);
        add_traffic(&launch->traffic, &more);
    }
    for (uint32_t i = 0; i < n; i++)
        GPU_DO(declare_product(builder, &products[i], inputs[i]));
    return inputs[0]->prologue ? cu_declare_prologue(builder, inputs[0]->prologue, &launch->traffic)
                               : TANDEM_OK;
}

/* ---- GLU of products that are no single kernel ---- */

tandem_status cu_lower_halves(gpu_builder *builder, uint32_t op_rows, uint32_t rows_per_tok, uint32_t n,
                              const uint64_t half[2], uint64_t stride, uint64_t y, uint64_t y_stride,
                              uint64_t y_rows) {
    gpu_rows rows = gpu_builder_rows(builder, op_rows);
    const uint32_t grid[3] = {rows.max * rows_per_tok, elementwise_blocks(n), 1};
    elementwise_params params = {.n_tok = rows.n_tok,
                                 .a = half[0],
                                 .b = half[1],
                                 .y = y,
                                 .a_stride = (uint32_t)stride,
                                 .b_stride = (uint32_t)stride,
                                 .y_stride = (uint32_t)y_stride,
                                 .n = n,
                                 .rows_per_tok = rows_per_tok};
    gpu_launch *launch;
    GPU_DO(gpu_step_begin(builder, "glu"));
    GPU_DO(cu_launch_add(builder, "elementwise_glu", grid, ELEMENTWISE_THREADS, 0, &params, sizeof params,
                         &launch));
    launch->traffic = (gpu_traffic){
        .rows = op_rows, .row_bytes = rows_per_tok * n * 12ull, .row_flops = (uint64_t)rows_per_tok * n};
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
    for (uint32_t i = 0; i < 2; i++)
        GPU_DO(gpu_touches(builder, half[i], n * 4ull, stride, (uint64_t)rows.max * rows_per_tok, 0));
    return gpu_touches(builder, y, n * 4ull, y_stride, y_rows, 1);
}
