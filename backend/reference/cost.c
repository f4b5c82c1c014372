/* cost.c: what a run moves, op by op. `visible_until` lies in a buffer and is not looked at: attention is
 * counted causal. There is no bus between host and device, so host_bytes stays 0. */
#include "objects.h"

typedef struct counted {
    const tandem_program *program;
    const tandem_run *run;
    uint32_t rows, n_rows; /* of the op at hand */
} counted;

/* The run's row of row i of the op. */
static tandem_row row_of(const counted *c, uint32_t i) {
    return ref_row_of(c->program, c->run, c->rows == TANDEM_ROWS_OUT ? tandem_kit_run_out(c->run, i).row : i);
}

static void count_embed(const counted *c, const tandem_op_embed *op, tandem_cost *cost) {
    const ref_matrix *matrix = &op->table->matrices[op->matrix];
    uint64_t n_distinct = 0;
    for (uint32_t i = 0; i < c->n_rows; i++) {
        uint32_t token = row_of(c, i).token, before = 0;
        while (before < i && row_of(c, before).token != token)
            before++;
        n_distinct += before == i;
    }
    cost->weight_bytes_min = n_distinct * matrix->row_bytes;
    cost->weight_bytes = c->n_rows * matrix->row_bytes;
    cost->activation_bytes = c->n_rows * matrix->desc.n_col * sizeof(float);
    cost->flops = c->n_rows * matrix->desc.n_col;
}

/* A norm is two passes of a multiply-add an element. */
static void count_stream(const counted *c, const tandem_op_stream *op, tandem_cost *cost) {
    uint64_t width = (uint64_t)op->d * (op->n_slice ? op->n_slice : 1), n_in = 1, n_out = 0,
             n_norm = op->n_out;
    for (int i = 0; i < 2; i++)
        n_in += op->a[i].buffer != NULL;
    n_norm += n_in == 3 ? 3 : n_in - 1;
    n_out += op->out_h.buffer != NULL;
    for (int i = 0; i < 3; i++)
        n_out += op->out[i].buffer != NULL;
    cost->activation_bytes += c->n_rows * width * (n_in + n_out) * sizeof(float);
    cost->flops += c->n_rows * width * n_norm * 4;
}

static void count_matmul(const counted *c, const tandem_op_matmul *op, tandem_cost *cost) {
    if (op->prologue)
        count_stream(c, op->prologue, cost);
    if (c->n_rows == 0)
        return;
    for (uint32_t m = 0; m < op->n_matrix; m++) {
        const ref_matrix *matrix = &op->weights->matrices[op->first_matrix + m];
        cost->weight_bytes_min += matrix->bytes;
        cost->flops += 2 * c->n_rows * matrix->desc.n_row * matrix->desc.n_col;
        if (op->x[m].buffer)
            cost->activation_bytes += c->n_rows * matrix->desc.n_col * sizeof(float);
        if (op->y[m].buffer) {
            int joined = op->activation == TANDEM_ACT_GELU_GLU && op->n_matrix == 1;
            cost->activation_bytes += c->n_rows * (matrix->desc.n_row >> joined) * sizeof(float);
        }
    }
    cost->activation_bytes +=
        2 * c->n_rows * ref_matmul_inputs(op); /* the widened inputs, written and read */
    cost->weight_bytes = cost->weight_bytes_min;
}

/* Keys that rows [first, end) of the op, all of one slot and ascending, see together. */
static uint64_t seen_together(const counted *c, uint32_t window, uint32_t first, uint32_t end) {
    uint64_t n = 0, covered = 0;
    for (uint32_t i = first; i < end; i++) {
        uint64_t to = (uint64_t)row_of(c, i).position + 1, from = window && to > window ? to - window : 0;
        from = from > covered ? from : covered;
        n += to > from ? to - from : 0;
        covered = to;
    }
    return n;
}

/* End of the stretch of one slot that begins at row `first`, at most `limit`. */
static uint32_t end_of_slot(const counted *c, uint32_t first, uint32_t limit) {
    uint32_t slot = row_of(c, first).slot, end = first + 1;
    while (end < limit && row_of(c, end).slot == slot)
        end++;
    return end;
}

static void count_attention(const counted *c, const tandem_op_attention *op, tandem_cost *cost) {
    const tandem_kv_layer *layer = &op->kv->layers[op->layer].desc;
    const ref_kv_layer *owner = &op->kv->layers[op->kv->layers[op->layer].owner];
    uint64_t position_bytes = 2 * layer->n_kv_head * owner->row_bytes, n_min = 0, n_read = 0, n_pair = 0;

    for (uint32_t i = 0, end; i < c->n_rows; i = end) {
        end = end_of_slot(c, i, c->n_rows);
        n_min += seen_together(c, layer->window, i, end);
    }
    for (uint32_t tile = 0; tile < c->n_rows; tile += REF_ROW_TILE) {
        uint32_t limit = c->n_rows - tile < REF_ROW_TILE ? c->n_rows : tile + REF_ROW_TILE;
        for (uint32_t i = tile, end; i < limit; i = end) {
            end = end_of_slot(c, i, limit);
            n_read += seen_together(c, layer->window, i, end);
        }
    }
    for (uint32_t i = 0; i < c->n_rows; i++)
        n_pair += seen_together(c, layer->window, i, i + 1);
    uint64_t n_append = op->k.buffer ? c->n_rows : 0,
             q_bytes = (uint64_t)op->n_head * layer->head_dim * sizeof(float);
    cost->kv_bytes_min = (n_min + n_append) * position_bytes;
    cost->kv_bytes = (n_read + n_append) * position_bytes;
    cost->activation_bytes = c->n_rows * 2 * q_bytes;
    cost->activation_bytes +=
        n_append * (op->v.buffer ? 2 : 1) * layer->n_kv_head * layer->head_dim * sizeof(float);
    cost->flops = 4 * n_pair * op->n_head * layer->head_dim;
}

static void count_moe_route(const counted *c, const tandem_op_moe_route *op, tandem_cost *cost) {
    const ref_matrix *router = &op->weights->matrices[op->matrix];
    uint64_t n_expert = router->desc.n_row, n_col = router->desc.n_col;
    if (c->n_rows == 0)
        return;
    cost->weight_bytes_min = cost->weight_bytes = router->bytes;
    cost->activation_bytes = c->n_rows * (n_col * sizeof(float) + 8 * (uint64_t)op->n_used);
    if (op->probabilities.buffer)
        cost->activation_bytes += c->n_rows * n_expert * sizeof(float);
    cost->activation_bytes += 2 * c->n_rows * ref_moe_route_inputs(op); /* scratch, written and read */
    cost->flops = 2 * c->n_rows * n_expert * n_col;
}

/* Which experts a run will use nobody knows yet: as many as the rows can name, each once. */
static void count_moe_ffn(const counted *c, const tandem_op_moe_ffn *op, tandem_cost *cost) {
    const tandem_weights *w = op->weights;
    uint64_t n_entry = (uint64_t)c->n_rows * op->n_used, record_bytes = 0;
    for (uint32_t m = 0; m < w->n_matrix; m++) {
        record_bytes += w->matrices[m].bytes;
        cost->flops += 2 * n_entry * w->matrices[m].desc.n_row * w->matrices[m].desc.n_col;
    }
    cost->n_expert = n_entry < w->n_record ? n_entry : w->n_record;
    cost->weight_bytes_min = cost->weight_bytes = cost->n_expert * record_bytes;
    cost->activation_bytes =
        c->n_rows * (w->matrices[0].desc.n_col + w->matrices[w->n_matrix - 1].desc.n_row) * sizeof(float) +
        8 * n_entry;
    cost->activation_bytes += 2 * ref_moe_ffn_inputs(op, c->n_rows);
}

static void count_elementwise(const counted *c, const tandem_op_elementwise *op, tandem_cost *cost) {
    uint64_t n = (uint64_t)c->n_rows * op->n;
    cost->activation_bytes = n * (op->b.buffer ? 3 : 2) * sizeof(float);
    cost->flops = op->head.kind == TANDEM_OP_COPY ? 0 : n;
}

static void count(counted *c, const tandem_kit_op *op, tandem_cost *cost) {
    c->rows = op->head.rows;
    c->n_rows = op->head.rows == TANDEM_ROWS_OUT ? c->run->n_out : c->run->n_rows;
    switch (op->head.kind) {
    case TANDEM_OP_EMBED:
        count_embed(c, &op->embed, cost);
        return;
    case TANDEM_OP_STREAM:
        count_stream(c, &op->stream, cost);
        return;
    case TANDEM_OP_MATMUL:
        count_matmul(c, &op->matmul, cost);
        return;
    case TANDEM_OP_ATTENTION:
        count_attention(c, &op->attention, cost);
        return;
    case TANDEM_OP_TOPK:
        cost->activation_bytes =
            c->n_rows * ((uint64_t)op->topk.n * sizeof(float) + 8 * (uint64_t)op->topk.k + 8);
        return;
    case TANDEM_OP_MOE_ROUTE:
        count_moe_route(c, &op->moe_route, cost);
        return;
    case TANDEM_OP_MOE_FFN:
        count_moe_ffn(c, &op->moe_ffn, cost);
        return;
    default:
        count_elementwise(c, &op->elementwise, cost);
        return;
    }
}

tandem_status ref_program_cost(const tandem_program *program, const tandem_run *run,
                               tandem_cost *const *costs, uint32_t n_step, tandem_error *error) {
    tandem_run r;
    tandem_status status = TANDEM_KIT_TAKE(tandem_run, &r, run, error);
    if (status == TANDEM_OK)
        status = ref_check_run(program, &r, error);
    if (status != TANDEM_OK)
        return status;
    if (!costs || n_step != program->n_op)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "room for %u costs was given, the program has %u steps", costs ? n_step : 0,
                               program->n_op);
    counted c = {.program = program, .run = &r};
    for (uint32_t i = 0; i < n_step; i++) {
        tandem_cost known = {0};
        count(&c, &program->ops[i].u, &known);
        status = TANDEM_KIT_GIVE(tandem_cost, costs[i], &known, error);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}
