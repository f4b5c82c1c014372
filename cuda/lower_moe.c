/* lower_moe.c: MOE_ROUTE and MOE_FFN.
 *
 * MOE_ROUTE: the router's product, then the choice.
 *
 * MOE_FFN of few rows: a block finds the expert of its entry (row, choice) in the route and its weights in
 * the table. [round x] -> gate, up and GLU of every entry -> [round] -> down, added up over the choices of a
 * row Of many rows: entries are sorted by expert, and a block takes a tile of entries of one expert. [round
 * x] and sort -> gate, up and GLU -> [round] -> down -> the sum over the choices of a row
 */
#include "matmul.h"

#include <stddef.h>

/* ---- MOE_ROUTE ---- */

static tandem_status lower_logits(gpu_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    const tandem_kit_pack *pack = &op->weights->packs[op->matrix];
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    cu_input x = cu_input_of_view(builder, op->head.rows, &op->x, pack->n_col);
    const cu_input *inputs[1] = {&x};
    uint32_t output = 0;
    const tandem_op_stream *prologue =
        rows.max == 1 ? cu_prologue_of(builder, op->head.rows, &op->x, pack->n_col, &output) : NULL;
    cu_product product = {.weights = op->weights,
                          .matrix = op->matrix,
                          .up = TANDEM_NONE,
                          .n_row = (uint32_t)pack->n_row,
                          .op_rows = op->head.rows,
                          .precision = TANDEM_PRECISION_EXACT, /* of a router, whatever the program's */
                          .kind = cu_product_kind(rows.max),
                          .n_tok = rows.max,
                          .y = logits,
                          .y_stride = pack->n_row * 4,
                          .y_rows = rows.max};
    /* Computed again, it need not wait for the step that leaves it. */
    if (prologue && !cu_input_of_prologue(TANDEM_PRECISION_EXACT, prologue, output, &x))
        x = cu_input_of_view(builder, op->head.rows, &op->x, pack->n_col);
    GPU_DO(gpu_uses_record(builder, op->weights, 0));
    return cu_products_add(builder, &product, inputs, 1, "");
}

static tandem_status lower_choice(gpu_builder *builder, const tandem_op_moe_route *op, uint64_t logits) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_expert = (uint32_t)op->weights->packs[op->matrix].n_row;
    const uint32_t grid[3] = {rows.max, 1, 1};
    moe_route_params params = {.index = rows.index,
                               .n_tok = rows.n_tok,
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
                               .gather =
                                   gpu_view_gathered(op->head.rows, &op->imposed) ? MOE_GATHER_IMPOSED : 0};
    gpu_launch *launch;
    GPU_DO(gpu_step_begin(builder, "moe_route"));
    GPU_DO(cu_launch_add(builder, "moe_route", grid, MOE_ROUTE_THREADS, 0, &params, sizeof params, &launch));
    GPU_DO(gpu_reads(builder, rows.n_tok, 4));
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
    cu_experts tiles[2]; /* grouped: TALL and SHORT */
    gpu_scratch lists;
} ffn;

static const tandem_kit_pack *pack_of(const ffn *f, uint32_t matrix) {
    return &f->shape.op->weights->packs[matrix];
}

/* How the products read their rows, for the form of rounded ones. */
static uint32_t kind_of(const ffn *f) {
    return f->shape.grouped ? CU_PRODUCT_TALL : CU_PRODUCT_VEC;
}

/* A product without its result's place: which 0..2. */
static cu_product product_of(const ffn *f, uint32_t which) {
    uint32_t matrix = which == GATE ? f->shape.gate : which == UP ? f->shape.up : f->shape.down;
    cu_product product = {.weights = f->shape.op->weights,
                          .matrix = matrix,
                          .up = TANDEM_NONE,
                          .n_row = (uint32_t)pack_of(f, matrix)->n_row,
                          .op_rows = f->shape.op->head.rows,
                          .n_tok = f->shape.rows.max,
                          .precision = f->shape.precision};
    if (which == GATE && f->shape.is_one_kernel) {
        product.up = f->shape.up;
        product.up_row = f->shape.gate == f->shape.up ? f->shape.width : 0;
        product.n_row = f->shape.width;
    }
    return product;
}

/* Experts straight from the route. */
static void take_from_route(const ffn *f, cu_product *product, uint32_t which) {
    product->kind = CU_PRODUCT_VEC;
    product->experts = (cu_experts){.kind = which == DOWN ? EXPERTS_SUM : EXPERTS_ENTRY,
                                    .n_used = f->shape.op->n_used,
                                    .entries_per_x = which == DOWN ? 1 : f->shape.op->n_used,
                                    .route = gpu_view_address(&f->shape.op->route),
                                    .route_stride = f->shape.op->route.stride,
                                    .route_rows = f->shape.route_rows,
                                    .route_count = f->shape.route_count};
}

/* Experts by tiles of one height. */
static void take_tiles(const ffn *f, cu_product *product, uint32_t which, uint32_t height) {
    product->kind = height == TALL ? CU_PRODUCT_TALL : CU_PRODUCT_SHORT;
    product->experts = f->tiles[height];
    product->experts.n_used = f->shape.op->n_used;
    product->experts.entries_per_x = which == DOWN ? 1 : f->shape.op->n_used;
    product->experts.uncounted = height == SHORT;
}

/* Adds a product, as one launch or one for each height of tiles. `step`: begins a step of this name, or NULL.
 */
static tandem_status add_product(gpu_builder *builder, const ffn *f, cu_product *product, uint32_t which,
                                 const cu_input *x, const char *step) {
    for (uint32_t height = TALL; height <= (f->shape.grouped ? SHORT : TALL); height++) {
        if (f->shape.grouped)
            take_tiles(f, product, which, height);
        else
            take_from_route(f, product, which);
        GPU_DO(cu_products_add(builder, product, &x, 1, height == TALL ? step : NULL));
    }
    return TANDEM_OK;
}

/* ---- sorting ---- */

/* Makes the lists in scratch memory and says where they are. Part of the step that was begun last. */
static tandem_status lower_group(gpu_builder *builder, ffn *f) {
    const tandem_op_moe_ffn *op = f->shape.op;
    const uint32_t grid[3] = {1, 1, 1};
    moe_group_params params = {.index = f->shape.route_rows,
                               .n_tok = f->shape.rows.n_tok,
                               .route = gpu_view_address(&op->route),
                               .route_stride = (uint32_t)op->route.stride,
                               .n_used = op->n_used,
                               .n_expert = op->weights->n_record,
                               .tall_rows = TILE_TALL,
                               .short_rows = TILE_SHORT};
    uint64_t n_tall = MOE_TALL_TILES(f->shape.n_entry, params.n_expert, TILE_TALL);
    uint64_t n_short = MOE_SHORT_TILES(f->shape.n_entry, params.n_expert);
    gpu_launch *launch;
    uint64_t count_bytes = sizeof(moe_counts), tile_bytes = (n_tall + n_short) * sizeof(moe_tile);
    uint64_t bytes = count_bytes + tile_bytes + (f->shape.n_entry * 4 + 15) / 16 * 16;
    if (f->shape.n_entry > INT32_MAX)
        return tandem_kit_fail_op(builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
                                  "MOE_FFN: %u experts each of %u rows are more than kernels sort",
                                  op->n_used, f->shape.rows.max);
    GPU_DO(gpu_scratch_take(builder, bytes, &f->lists));
    params.counts = f->lists.address;
    params.tall_tiles = params.counts + count_bytes;
    params.short_tiles = params.tall_tiles + n_tall * sizeof(moe_tile);
    params.entries = params.short_tiles + n_short * sizeof(moe_tile);
    f->tiles[TALL] = (cu_experts){.route = params.tall_tiles,
                                  .route_count = n_tall,
                                  .route_rows = params.entries,
                                  .n_tile = params.counts + offsetof(moe_counts, n_tall)};
    f->tiles[SHORT] = (cu_experts){.route = params.short_tiles,
                                   .route_count = n_short,
                                   .route_rows = params.entries,
                                   .n_tile = params.counts + offsetof(moe_counts, n_short)};
    GPU_DO(cu_launch_add(builder, "moe_group", grid, MOE_GROUP_THREADS, 0, &params, sizeof params, &launch));
    launch->traffic = (gpu_traffic){.rows = op->head.rows, .row_bytes = op->n_used * 12ull};
    GPU_DO(gpu_reads(builder, params.n_tok, 4));
    if (params.index)
        GPU_DO(gpu_reads(builder, params.index, f->shape.rows.max * 4ull));
    GPU_DO(gpu_touches(builder, params.route, op->n_used * 8ull, op->route.stride, f->shape.route_count, 0));
    return gpu_writes(builder, f->lists.address, count_bytes + tile_bytes + f->shape.n_entry * 4);
}

/* ---- gate and up ---- */

/* Gate and up of different formats, or in several segments: plain products into scratch, then GLU. */
static tandem_status lower_apart(gpu_builder *builder, const ffn *f, const cu_input *x, const cu_input *y) {
    uint64_t half_bytes = (f->shape.width * 4ull + 15) / 16 * 16, stride = 2 * half_bytes;
    gpu_scratch scratch;
    if (f->shape.gate == f->shape.up && f->shape.width % 4 != 0)
        return tandem_kit_fail_op(
            builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
            "MOE_FFN: a GATE_UP matrix in several segments needs gate rows by fours, not %u", f->shape.width);
    GPU_DO(gpu_scratch_take(builder, f->shape.n_entry * stride, &scratch));
    const uint64_t half[2] = {scratch.address, scratch.address + half_bytes};
    for (uint32_t which = GATE; which <= (f->shape.gate == f->shape.up ? GATE : UP); which++) {
        cu_product product = product_of(f, which);
        product.y = half[which];
        product.y_stride = stride;
        product.y_rows = f->shape.n_entry;
        GPU_DO(add_product(builder, f, &product, which, x, which == GATE ? "moe_gate_" : NULL));
    }
    GPU_DO(cu_lower_halves(builder, f->shape.op->head.rows, f->shape.op->n_used, f->shape.width, half, stride,
                           y->address, y->stride, f->shape.n_entry));
    gpu_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

/* gelu(gate x) * (up x) of every entry into scratch. */
static tandem_status lower_up(gpu_builder *builder, const ffn *f, const cu_input *x, cu_input *y) {
    *y = (cu_input){.row_bytes = f->shape.width * 4ull,
                    .stride = (f->shape.width * 4ull + 15) / 16 * 16,
                    .n_row = f->shape.n_entry};
    GPU_DO(gpu_scratch_take(builder, f->shape.n_entry * y->stride, &y->scratch));
    y->address = y->scratch.address;
    if (!f->shape.is_one_kernel)
        return lower_apart(builder, f, x, y);
    cu_product product = product_of(f, GATE);
    product.y = y->address;
    product.y_stride = y->stride;
    product.y_rows = f->shape.n_entry;
    return add_product(builder, f, &product, GATE, x, "moe_up_");
}

/* ---- down ---- */

static tandem_status lower_sum(gpu_builder *builder, const ffn *f, const cu_product *down) {
    const tandem_op_moe_ffn *op = f->shape.op;
    uint64_t row_bytes = down->n_row * 4ull;
    const uint32_t grid[3] = {MOE_SUM_BLOCKS(down->n_row), f->shape.rows.max, 1};
    moe_sum_params params = {.index = f->shape.route_rows,
                             .n_tok = f->shape.rows.n_tok,
                             .route = gpu_view_address(&op->route),
                             .x = down->y,
                             .y = gpu_view_address(&op->y),
                             .route_stride = (uint32_t)op->route.stride,
                             .x_stride = (uint32_t)down->y_stride,
                             .y_stride = (uint32_t)op->y.stride,
                             .n = down->n_row,
                             .n_used = op->n_used,
                             .n_expert = op->weights->n_record};
    gpu_launch *launch;
    GPU_DO(gpu_step_begin(builder, "moe_sum"));
    GPU_DO(cu_launch_add(builder, "moe_sum", grid, MOE_SUM_THREADS, 0, &params, sizeof params, &launch));
    launch->traffic = (gpu_traffic){.rows = op->head.rows,
                                    .row_bytes = (op->n_used + 1) * row_bytes + op->n_used * 8ull,
                                    .row_flops = 2ull * op->n_used * down->n_row};
    GPU_DO(gpu_reads(builder, f->shape.rows.n_tok, 4));
    if (params.index)
        GPU_DO(gpu_reads(builder, params.index, f->shape.rows.max * 4ull));
    GPU_DO(gpu_touches(builder, params.route, op->n_used * 8ull, op->route.stride, f->shape.route_count, 0));
    GPU_DO(gpu_touches(builder, params.x, down->y_stride, down->y_stride, f->shape.n_entry, 0));
    return gpu_writes_view(builder, &op->y, row_bytes);
}

static tandem_status lower_down(gpu_builder *builder, const ffn *f, const cu_input *x) {
    const tandem_op_moe_ffn *op = f->shape.op;
    cu_product product = product_of(f, DOWN);
    gpu_scratch scratch;
    if (!f->shape.grouped) {
        product.y = gpu_view_address(&op->y);
        product.y_stride = op->y.stride;
        product.y_rows = f->shape.rows.max;
        return add_product(builder, f, &product, DOWN, x, "moe_down_");
    }
    product.y_stride = (product.n_row * 4ull + 15) / 16 * 16;
    product.y_rows = f->shape.n_entry;
    GPU_DO(gpu_scratch_take(builder, f->shape.n_entry * product.y_stride, &scratch));
    product.y = scratch.address;
    GPU_DO(add_product(builder, f, &product, DOWN, x, "moe_down_"));
    GPU_DO(lower_sum(builder, f, &product));
    gpu_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

/* Rounds the rows of *input, n_x of them to a block of a mat-vec: there, where its shared memory holds them,
 * else now; `step`: begins a step of this name then, or NULL. */
static tandem_status round_input(gpu_builder *builder, const ffn *f, uint32_t rows_per_tok, uint32_t n_col,
                                 uint32_t n_x, cu_input *input, const char *step) {
    cu_input from = *input;
    input->stage = cu_stage_of(f->shape.precision, kind_of(f), n_col, n_x);
    if (input->stage != STAGE_NONE || f->shape.precision == TANDEM_PRECISION_EXACT)
        return TANDEM_OK;
    if (step)
        GPU_DO(gpu_step_begin(builder, step));
    GPU_DO(cu_round(builder, f->shape.precision, kind_of(f), f->shape.op->head.rows, rows_per_tok, n_col,
                    &from, input));
    gpu_scratch_give(builder, &from.scratch);
    return TANDEM_OK;
}

tandem_status gpu_lower_moe_ffn(gpu_builder *builder, const tandem_op_moe_ffn *op) {
    ffn f = {.shape = gpu_ffn_of(builder, op), .lists = {.index = TANDEM_NONE}};
    uint32_t n_col = pack_of(&f, f.shape.gate)->n_col;
    cu_input x = cu_input_of_view(builder, op->head.rows, &op->x, n_col), y;
    for (uint32_t r = 0; r < op->weights->n_record; r++)
        GPU_DO(gpu_uses_record(builder, op->weights, r));
    if (f.shape.grouped) {
        GPU_DO(gpu_step_begin(builder, "moe_group"));
        GPU_DO(lower_group(builder, &f));
    }
    GPU_DO(round_input(builder, &f, 1, n_col, 1, &x, f.shape.grouped ? NULL : "moe_round"));
    GPU_DO(lower_up(builder, &f, &x, &y));
    gpu_scratch_give(builder, &x.scratch);
    GPU_DO(round_input(builder, &f, op->n_used, f.shape.width, op->n_used, &y, "moe_round"));
    GPU_DO(lower_down(builder, &f, &y));
    gpu_scratch_give(builder, &y.scratch);
    gpu_scratch_give(builder, &f.lists);
    return TANDEM_OK;
}
