/* cost.c: what each step of a run must move and moves. */
#include "program.h"

/* Rows of a run as the cost counts them. */
typedef struct run_view {
    const tandem_program *program;
    const tandem_run *run;
    uint32_t n[2]; /* live rows: ALL, OUT */
    uint32_t n_context;
} run_view;

static tandem_row get_row(const run_view *view, uint32_t i) {
    const tandem_context *context = view->program->context;
    if (view->run->source == TANDEM_SOURCE_DEVICE_NEXT)
        return (tandem_row){0, context->next_position, context->next_slot};
    return tandem_kit_run_row(view->run, i);
}

/* Row i of the op's row set. */
static tandem_row get_op_row(const run_view *view, uint32_t rows, uint32_t i) {
    return get_row(view, rows == TANDEM_ROWS_ALL ? i : tandem_kit_run_out(view->run, i).row);
}

static uint64_t first_key(uint32_t position, uint32_t window) {
    return window > 0 && position >= window ? (uint64_t)position - window + 1 : 0;
}

/* Keys that at least one row of [from, to) sees, per slot and added up. Rows of a slot ascend. */
static uint64_t count_keys(const run_view *view, const gpu_traffic *traffic, uint32_t from, uint32_t to) {
    uint64_t sum = 0;
    for (uint32_t slot = 0; slot < view->program->limits.max_slots; slot++) {
        uint64_t low = UINT64_MAX, high = 0;
        for (uint32_t i = from; i < to; i++) {
            tandem_row row = get_op_row(view, traffic->rows, i);
            if (row.slot != slot)
                continue;
            uint64_t first = first_key(row.position, traffic->window);
            low = first < low ? first : low;
            high = row.position + 1ull > high ? row.position + 1ull : high;
        }
        sum += high > low ? high - low : 0;
    }
    return sum;
}

/* Bytes of K and V of one position, over all KV heads. */
static uint64_t position_bytes(const gpu_kv_layer *layer) {
    return 2ull * layer->info.n_kv_head * kv_position_bytes(layer->info.type, layer->info.head_dim);
}

static void add_attention(const run_view *view, const gpu_traffic *traffic, tandem_cost *cost) {
    const gpu_kv_layer *layer = traffic->attention;
    uint32_t n = view->n[traffic->rows];
    cost->kv_bytes_min += count_keys(view, traffic, 0, n) * position_bytes(layer);
    for (uint32_t i = 0; i < n; i += traffic->rows_per_tile) {
        uint32_t end = n - i < traffic->rows_per_tile ? n : i + traffic->rows_per_tile;
        cost->kv_bytes += count_keys(view, traffic, i, end) * position_bytes(layer) * traffic->tiles_per_row;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t position = get_op_row(view, traffic->rows, i).position;
        uint64_t n_key = position + 1ull - first_key(position, traffic->window);
        cost->flops += 4ull * traffic->n_head * layer->info.head_dim * n_key;
    }
}

/* Partial results, where the launch rule gives more than one split. */
static uint64_t split_bytes(const run_view *view, const gpu_traffic *traffic) {
    if (traffic->split_row_bytes == 0)
        return 0;
    uint64_t keys = view->n_context;
    if (traffic->window > 0 && traffic->window + view->n[0] - 1ull < keys)
        keys = traffic->window + view->n[0] - 1ull;
    uint64_t n_split = (keys + traffic->keys_per_split - 1) / traffic->keys_per_split;
    if (n_split > traffic->max_split)
        n_split = traffic->max_split;
    return n_split > 1 ? n_split * traffic->split_row_bytes * view->n[traffic->rows] : 0;
}

/* Expert weights: each distinct expert once for the minimum. What is moved follows from how many of a row's
 * choices share a pass, if they are spread evenly. */
static void add_experts(const gpu_traffic *traffic, uint64_t n, tandem_cost *cost) {
    const tandem_weights *weights = traffic->weights;
    uint64_t n_entry = n * traffic->n_used;
    uint64_t n_expert = n_entry < weights->n_record ? n_entry : weights->n_record;
    uint64_t per_expert = (n_entry + n_expert - 1) / n_expert;
    uint64_t n_pass = n_expert * ((per_expert + traffic->rows_per_pass - 1) / traffic->rows_per_pass);
    n_pass = n_pass < n_entry ? n_pass : n_entry;
    uint64_t n_host = 0;
    for (uint32_t r = 0; r < weights->n_record; r++)
        n_host += weights->records[r].placement == TANDEM_PLACE_HOST;
    cost->n_expert = n_expert;
    cost->weight_bytes_min += n_expert * traffic->weight_bytes_min;
    cost->weight_bytes += n_pass * traffic->weight_bytes;
    cost->host_bytes += n_pass * traffic->weight_bytes * n_host / weights->n_record;
}

static void add_weights(const gpu_traffic *traffic, uint64_t n, tandem_cost *cost) {
    uint64_t n_pass = traffic->rows_per_pass ? (n + traffic->rows_per_pass - 1) / traffic->rows_per_pass : n;
    uint64_t weight_bytes = n_pass * traffic->weight_bytes;
    cost->weight_bytes += weight_bytes;
    cost->weight_bytes_min += (traffic->rows_per_pass ? 1 : n) * traffic->weight_bytes_min;
    if (traffic->weights && traffic->weights->records[traffic->record].placement == TANDEM_PLACE_HOST)
        cost->host_bytes += weight_bytes;
}

static void add_launch(const run_view *view, const gpu_traffic *traffic, tandem_cost *cost) {
    uint64_t n = view->n[traffic->rows];
    if (n == 0)
        return;
    if (traffic->n_used)
        add_experts(traffic, n, cost);
    else
        add_weights(traffic, n, cost);
    cost->activation_bytes += n * traffic->row_bytes + split_bytes(view, traffic);
    cost->flops += n * traffic->row_flops;
    if (traffic->attention)
        add_attention(view, traffic, cost);
    if (traffic->append) {
        cost->kv_bytes_min += n * position_bytes(traffic->append);
        cost->kv_bytes += n * position_bytes(traffic->append);
    }
}

tandem_status gpu_program_cost(const tandem_program *program, const tandem_run *desc,
                               tandem_cost *const *costs, uint32_t n_step, tandem_error *error) {
    tandem_run run;
    if (!program)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The program is NULL");
    const tandem_context *context = program->context;
    const tandem_row next = {0, context->next_position, context->next_slot};
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_run(&gpu_backend, &program->limits, desc,
                                         program->kv ? program->kv->length : NULL,
                                         context->next_known ? &next : NULL, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_run, &run, desc, error);
    if (status == TANDEM_OK && (n_step != program->steps.n || !costs))
        status = tandem_kit_fail(error, TANDEM_E_INVALID,
                                 "The program has %u steps, and there is room for %u costs", program->steps.n,
                                 costs ? n_step : 0);
    if (status != TANDEM_OK)
        return status;
    run_view view = {.program = program, .run = &run, .n = {run.n_rows, run.n_out}};
    for (uint32_t i = 0; i < run.n_rows; i++)
        if (get_row(&view, i).position + 1 > view.n_context)
            view.n_context = get_row(&view, i).position + 1;
    for (uint32_t s = 0; s < n_step && status == TANDEM_OK; s++) {
        const gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        tandem_cost cost = {0};
        for (uint32_t i = 0; i < step->n_launch; i++)
            add_launch(&view, &GPU_AT(program->launches, gpu_launch, step->first_launch + i)->traffic, &cost);
        status = TANDEM_KIT_GIVE(tandem_cost, costs[s], &cost, error);
    }
    return status;
}
