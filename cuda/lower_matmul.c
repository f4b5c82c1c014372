/* lower_matmul.c: MATMUL, its prologue, and the rounding of its inputs.
 *
 * [stream] -> [round] -> products. A single row's STREAM is computed by every block of its products. Of more
 * rows it is a step, which at q8 writes rounded rows; few rows are rounded in the mat-vec. Products of one
 * format are one launch at decode; others are launches side by side in one step.
 */
#include "matmul.h"

#include <string.h>

static const tandem_kit_pack *get_pack(const tandem_op_matmul *op, uint32_t i) {
    return &op->weights->packs[op->first_matrix + i];
}

static uint32_t kind_of(const gpu_builder *builder, const tandem_op_matmul *op) {
    return cu_product_kind(gpu_builder_rows(builder, op->head.rows).max);
}

/* The prologue as a step: rows in scratch, rounded already at q8. One input per output. */
static tandem_status lower_prologue(gpu_builder *builder, const tandem_op_matmul *op, cu_input inputs[3]) {
    const tandem_op_stream *prologue = op->prologue;
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_slice = prologue->n_slice ? prologue->n_slice : 1;
    uint32_t n_col = prologue->d * n_slice;
    int fused_q8 = builder->program->precision == TANDEM_PRECISION_Q8 && n_slice == 1;
    gpu_stream_extra extra = {{0}, {0}, {0}};
    for (uint32_t m = 0; m < op->n_matrix; m++) {
        uint32_t i = op->x_output[m];
        cu_input *input = &inputs[i];
        if (input->address)
            continue;
        *input = (cu_input){.n_row = rows.max, .row_bytes = n_col * 4ull, .scratch = {.index = TANDEM_NONE}};
        if (fused_q8)
            input->row_bytes = Q8_ROW_BYTES((uint64_t)n_col);
        input->stride = (input->row_bytes + 15) / 16 * 16;
        if (!fused_q8 && prologue->out[i].buffer) {
            input->address = gpu_view_address(&prologue->out[i]);
            input->stride = prologue->out[i].stride;
            continue;
        }
        GPU_DO(gpu_scratch_take(builder, rows.max * input->stride, &input->scratch));
        input->address = input->scratch.address;
        extra.out_stride[i] = input->stride;
        *(fused_q8 ? &extra.q8[i] : &extra.out[i]) = input->address;
    }
    return gpu_lower_stream(builder, prologue, &extra);
}

/* Rows of weights whose blocks compute a prologue. More of them, a head's, take longer for that than a step.
 */
enum { MAX_PROLOGUE_ROWS = 32768 };

/* Mat-vecs of one row that compute the prologue themselves; 0: not these. */
static int fuse_prologue(const gpu_builder *builder, const tandem_op_matmul *op, cu_input inputs[3]) {
    uint64_t n_row = 0;
    if (gpu_builder_rows(builder, op->head.rows).max != 1)
        return 0;
    for (uint32_t m = 0; m < op->n_matrix; m++) {
        n_row += get_pack(op, m)->n_row;
        if (!cu_input_of_prologue(builder->program->precision, op->prologue, op->x_output[m],
                                  &inputs[op->x_output[m]]))
            n_row = UINT32_MAX;
    }
    if (n_row <= MAX_PROLOGUE_ROWS)
        return 1;
    for (uint32_t i = 0; i < 3; i++)
        inputs[i] = (cu_input){.scratch = {.index = TANDEM_NONE}};
    return 0;
}

static int same_input(const cu_input *a, const cu_input *b) {
    return a->address == b->address && a->stride == b->stride && a->row_bytes == b->row_bytes &&
           a->rows == b->rows;
}

/* Rounds every input where the precision asks for it: in the mat-vec where its shared memory holds the rows,
 * else in a step before. At exact precision a mat-vec keeps a single row there. */
static tandem_status round_inputs(gpu_builder *builder, const tandem_op_matmul *op, cu_input inputs[3],
                                  uint32_t n) {
    uint32_t precision = builder->program->precision, kind = kind_of(builder, op), begun = 0;
    uint32_t n_x = cu_vec_columns(gpu_builder_rows(builder, op->head.rows).max);
    if (precision == TANDEM_PRECISION_EXACT && n_x > 1)
        return TANDEM_OK;
    for (uint32_t i = 0; i < n; i++) {
        cu_input from = inputs[i];
        uint32_t n_col = (uint32_t)(from.row_bytes / 4);
        if (!from.address)
            continue;
        inputs[i].stage = cu_stage_of(precision, kind, n_col, n_x);
        if (inputs[i].stage != STAGE_NONE || precision == TANDEM_PRECISION_EXACT)
            continue;
        if (!begun++)
            GPU_DO(gpu_step_begin(builder, precision == TANDEM_PRECISION_Q8 ? "quantise_q8" : "round_f16"));
        GPU_DO(cu_round(builder, precision, kind, op->head.rows, 1, n_col, &from, &inputs[i]));
        gpu_scratch_give(builder, &from.scratch);
    }
    return TANDEM_OK;
}

/* The inputs of the products, inputs[which[m]] for matrix m. */
static tandem_status lower_inputs(gpu_builder *builder, const tandem_op_matmul *op, cu_input inputs[3],
                                  uint32_t which[3]) {
    uint32_t n_view = 0;
    if (op->prologue) {
        for (uint32_t m = 0; m < op->n_matrix; m++)
            which[m] = op->x_output[m];
        if (fuse_prologue(builder, op, inputs))
            return TANDEM_OK;
        GPU_DO(lower_prologue(builder, op, inputs));
        if (builder->program->precision == TANDEM_PRECISION_Q8 && op->prologue->n_slice <= 1)
            return TANDEM_OK;
        return round_inputs(builder, op, inputs, 3);
    }
    uint32_t n_input = op->activation == TANDEM_ACT_GELU_GLU ? 1 : op->n_matrix;
    for (uint32_t m = 0; m < n_input; m++) {
        cu_input input = cu_input_of_view(builder, op->head.rows, &op->x[m], get_pack(op, m)->n_col);
        for (which[m] = 0; which[m] < n_view; which[m]++)
            if (same_input(&inputs[which[m]], &input))
                break;
        if (which[m] == n_view)
            inputs[n_view++] = input;
    }
    return round_inputs(builder, op, inputs, n_view);
}

/* A product of the op; what it writes where is still to be said. */
static cu_product product_of(const gpu_builder *builder, const tandem_op_matmul *op, uint32_t m) {
    uint32_t max = gpu_builder_rows(builder, op->head.rows).max;
    return (cu_product){.weights = op->weights,
                        .record = op->record,
                        .matrix = op->first_matrix + m,
                        .up = TANDEM_NONE,
                        .n_row = (uint32_t)get_pack(op, m)->n_row,
                        .op_rows = op->head.rows,
                        .precision = builder->program->precision,
                        .kind = kind_of(builder, op),
                        .n_tok = max};
}

/* 1: gate and up are read by one kernel. */
static int glu_is_one_kernel(const tandem_op_matmul *op) {
    const tandem_kit_pack *gate = get_pack(op, 0), *up = get_pack(op, op->n_matrix - 1);
    return gate->type == up->type && gate->n_segment == 1 && up->n_segment == 1;
}

/* Products as few launches as their formats allow, in one step. */
static tandem_status add_products(gpu_builder *builder, const cu_product *products,
                                  const cu_input *const *inputs, uint32_t n, const char *step) {
    uint32_t done = 0;
    while (done < n) {
        cu_product group[3];
        const cu_input *from[3];
        uint32_t n_group = 0, rest = done;
        for (uint32_t i = done; i < n && n_group < 3; i++, rest++) {
            group[n_group] = products[i];
            from[n_group] = inputs[i];
            if (!cu_products_fit(group, n_group + 1))
                break;
            n_group++;
        }
        GPU_DO(cu_products_add(builder, group, from, n_group, done == 0 ? step : NULL));
        done = rest;
    }
    return TANDEM_OK;
}

/* Gate and up of different formats, or in several segments: plain products into scratch, then GLU. */
static tandem_status lower_apart_glu(gpu_builder *builder, const tandem_op_matmul *op,
                                     const cu_input *input) {
    gpu_rows rows = gpu_builder_rows(builder, op->head.rows);
    uint32_t n_row = (uint32_t)get_pack(op, 0)->n_row / (op->n_matrix == 1 ? 2 : 1);
    uint64_t half_bytes = (n_row * 4ull + 15) / 16 * 16, stride = 2 * half_bytes;
    gpu_scratch scratch;
    cu_product products[2];
    const cu_input *inputs[2] = {input, input};
    if (op->n_matrix == 1 && n_row % 4 != 0)
        return tandem_kit_fail_op(
            builder->error, TANDEM_E_UNSUPPORTED, builder->op_index,
            "MATMUL: a GATE_UP matrix in several segments needs gate rows by fours, not %u", n_row);
    GPU_DO(gpu_scratch_take(builder, rows.max * stride, &scratch));
    for (uint32_t i = 0; i < op->n_matrix; i++) {
        products[i] = product_of(builder, op, i);
        products[i].y = scratch.address + i * half_bytes;
        products[i].y_stride = stride;
        products[i].y_rows = rows.max;
    }
    GPU_DO(add_products(builder, products, inputs, op->n_matrix, ""));
    const uint64_t half[2] = {scratch.address, scratch.address + half_bytes};
    GPU_DO(cu_lower_halves(builder, op->head.rows, 1, n_row, half, stride, gpu_view_address(&op->y[0]),
                           op->y[0].stride, rows.max));
    gpu_scratch_give(builder, &scratch);
    return TANDEM_OK;
}

static tandem_status lower_products(gpu_builder *builder, const tandem_op_matmul *op,
                                    const cu_input inputs[3], const uint32_t which[3]) {
    const tandem_kit_limits *limits = &builder->program->limits;
    int glu = op->activation == TANDEM_ACT_GELU_GLU;
    uint32_t n = glu ? 1 : op->n_matrix;
    cu_product products[3];
    const cu_input *from[3];
    for (uint32_t m = 0; m < n; m++) {
        cu_product *product = &products[m];
        *product = product_of(builder, op, m);
        product->n_row /= glu && op->n_matrix == 1 ? 2 : 1;
        product->y = gpu_view_address(&op->y[m]);
        product->y_stride = op->y[m].stride;
        product->softcap = op->softcap;
        product->y_rows = op->y[m].rows == TANDEM_ROWS_ALL ? limits->max_tokens : limits->max_out;
        if (glu) {
            product->up = op->first_matrix + op->n_matrix - 1;
            product->up_row = op->n_matrix == 1 ? product->n_row : 0;
        }
        from[m] = &inputs[which[m]];
    }
    return add_products(builder, products, from, n, glu ? "glu_" : "");
}

tandem_status gpu_lower_matmul(gpu_builder *builder, const tandem_op_matmul *op) {
    cu_input inputs[3];
    uint32_t which[3] = {0, 0, 0};
    for (uint32_t i = 0; i < 3; i++)
        inputs[i] = (cu_input){.scratch = {.index = TANDEM_NONE}};
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
