/* lower_attention.c: ATTENTION as append and attention. */
#include "builder.h"

#include <tandem/rope.h>

#include <stdio.h>
#include <string.h>

/* The kernel, and how queries and keys are shared out. */
typedef struct attention_plan {
    char kernel[48];
    uint32_t block;
    uint32_t shared_bytes;
    uint32_t blocks_per_unit;    /* that a multiprocessor holds at once */
    uint32_t min_keys, max_keys; /* of a split */
    uint32_t n_query;            /* of a tile */
    uint32_t tile_rows;          /* prefill: a tile has whole rows; else 0 */
    uint32_t n_tile;
    uint32_t tiles_per_row; /* for what is counted: a tile holds rows_per_tile rows, or a part of one */
    uint32_t rows_per_tile;
    uint32_t keys_per_split;
    uint32_t max_split;
} attention_plan;

/* Shapes and addresses that the two launches share. */
typedef struct attention_lowering {
    const gpu_kv_layer *layer; /* the owner of the storage */
    gpu_rows rows;
    uint32_t head_dim, n_kv_head, window;
    uint32_t kv_type;
    uint64_t cache_bytes; /* of K, of V */
    uint64_t q_bytes;     /* a row of queries */
    uint64_t rope;
    gpu_scratch q, partial;
    attention_plan plan;
} attention_lowering;

static const char *type_name(uint32_t kv_type) {
    return kv_type == KV_F32 ? "f32" : kv_type == KV_F16 ? "f16" : "q8_0";
}

/* Matrix units take 16 queries at a time, of f16 or codes and of the head sizes there are kernels for, and
 * want some rows of one slot; f32 keys stay in f32. */
static int wants_prefill(const gpu_builder *builder, const attention_lowering *a, uint32_t group) {
    int one_slot_a_row = builder->program->limits.max_slots > 1 && a->rows.max <= 8;
    return a->kv_type != KV_F32 && (a->head_dim == 256 || a->head_dim == 512) && !one_slot_a_row &&
           group <= attention_prefill_queries(a->head_dim) && group * (uint64_t)a->rows.max >= 32;
}

static void plan_prefill(const gpu_builder *builder, const attention_lowering *a, uint32_t group,
                         attention_plan *plan) {
    int exact = builder->program->precision == TANDEM_PRECISION_EXACT;
    snprintf(plan->kernel, sizeof plan->kernel, "attention_prefill_%s_%u_%s", type_name(a->kv_type),
             a->head_dim, exact ? "exact" : "f16");
    plan->block = PREFILL_THREADS;
    plan->shared_bytes = attention_prefill_shared(a->kv_type, a->head_dim, exact);
    plan->blocks_per_unit = 1;
    plan->min_keys = PREFILL_MIN_KEYS;
    plan->max_keys = PREFILL_MAX_KEYS;
    plan->n_query = attention_prefill_queries(a->head_dim);
    plan->tile_rows = plan->rows_per_tile = plan->n_query / group;
    plan->tiles_per_row = 1;
    plan->n_tile = (a->rows.max + plan->tile_rows - 1) / plan->tile_rows;
}

/* A tile has the queries of a KV head, or of several rows. */
static void plan_split(const gpu_builder *builder, const attention_lowering *a, uint32_t group,
                       attention_plan *plan) {
    uint64_t queries = (uint64_t)group * a->rows.max;
    int one_slot_a_row = builder->program->limits.max_slots > 1 && a->rows.max <= 8;
    plan->n_query = queries <= 2 || (group <= 2 && one_slot_a_row) ? 2 : 8;
    snprintf(plan->kernel, sizeof plan->kernel, "attention_%s_%u_%u", type_name(a->kv_type),
             a->head_dim <= 256 ? 256u : 512u, plan->n_query);
    plan->block = ATTENTION_THREADS;
    plan->blocks_per_unit = 3;
    plan->min_keys = ATTENTION_MIN_KEYS;
    plan->max_keys = ATTENTION_MAX_KEYS;
    plan->n_tile = (uint32_t)((queries + plan->n_query - 1) / plan->n_query);
    plan->tiles_per_row = (group + plan->n_query - 1) / plan->n_query;
    plan->rows_per_tile = plan->n_query > group ? plan->n_query / group : 1;
}

/* Splits: what fills the device as deep as the registers of the kernel allow. */
static attention_plan choose_plan(const gpu_builder *builder, const tandem_op_attention *op,
                                  const attention_lowering *a) {
    uint32_t group = op->n_head / a->n_kv_head, ring = a->layer->ring;
    uint32_t n_unit = cu_n_units(builder->context);
    attention_plan plan = {0};
    if (wants_prefill(builder, a, group))
        plan_prefill(builder, a, group, &plan);
    else
        plan_split(builder, a, group, &plan);

    uint32_t least = (ring + plan.max_keys - 1) / plan.max_keys;
    uint64_t n_block = (uint64_t)a->n_kv_head * plan.n_tile,
             target = plan.blocks_per_unit * (n_unit ? n_unit : 28);
    uint64_t wanted = (target + n_block - 1) / n_block;
    plan.max_split = wanted < ATTENTION_MAX_SPLIT ? (uint32_t)wanted : ATTENTION_MAX_SPLIT;
    plan.keys_per_split = plan.min_keys;
    if (plan.max_split <= least) {
        plan.max_split = least > 0 ? least : 1;
        plan.keys_per_split = plan.max_keys;
    }
    /* A short window never fills more than these. */
    uint32_t most = (ring + plan.keys_per_split - 1) / plan.keys_per_split;
    if (plan.max_split > most)
        plan.max_split = most;
    return plan;
}

/* Partial results of a tile, and of a row and split for what is counted. */
static uint64_t record_bytes(const attention_lowering *a) {
    return a->head_dim * 4ull + 16;
}

static uint64_t partial_bytes(const attention_lowering *a) {
    uint64_t n_record = (uint64_t)ATTENTION_RECORDS(a->plan.max_split) * a->plan.n_query;
    return a->plan.max_split == 1 ? 0 : a->plan.n_tile * a->n_kv_head * n_record * record_bytes(a);
}

static tandem_status lower_append(gpu_builder *builder, const tandem_op_attention *op,
                                  attention_lowering *a) {
    int append = op->k.buffer != NULL;
    uint32_t flags = (op->flags & TANDEM_ATTENTION_V_NORM ? APPEND_V_NORM : 0) |
                     (op->flags & TANDEM_ATTENTION_K_IS_V ? APPEND_K_IS_V : 0) |
                     (gpu_view_gathered(op->head.rows, &op->q) ? APPEND_GATHER_Q : 0);
    attention_append_params params = {.run = gpu_builder_run(builder),
                                      .index = a->rows.index,
                                      .n_tok = a->rows.n_tok,
                                      .q = gpu_view_address(&op->q),
                                      .k = gpu_view_address(&op->k),
                                      .v = gpu_view_address(&op->v),
                                      .q_norm = gpu_view_address(&op->q_norm),
                                      .k_norm = gpu_view_address(&op->k_norm),
                                      .rope = a->rope,
                                      .q_out = a->q.address,
                                      .k_cache = a->layer->k.address,
                                      .v_cache = a->layer->v.address,
                                      .q_stride = (uint32_t)op->q.stride,
                                      .k_stride = (uint32_t)op->k.stride,
                                      .v_stride = (uint32_t)op->v.stride,
                                      .ring = a->layer->ring,
                                      .region_bytes = a->layer->region_bytes,
                                      .head_dim = a->head_dim,
                                      .n_head = op->n_head,
                                      .n_kv_head = a->n_kv_head,
                                      .n_rope_pair = op->n_rope_pair,
                                      .flags = flags,
                                      .scale = op->scale,
                                      .eps = op->eps};
    const uint32_t grid[3] = {op->n_head + (append ? 2 * a->n_kv_head : 0), a->rows.max, 1};
    char kernel[64];
    gpu_launch *launch;
    snprintf(kernel, sizeof kernel, "attention_append_%s", type_name(a->kv_type));
    GPU_DO(gpu_step_begin(builder, append ? "attention_append" : "attention_query"));
    GPU_DO(cu_launch_add(builder, kernel, grid, APPEND_THREADS, 0, &params, sizeof params, &launch));
    const gpu_append ranges = {.layer = a->layer,
                               .q_bytes = a->q_bytes,
                               .kv_bytes = (uint64_t)a->n_kv_head * a->head_dim * 4,
                               .cache_bytes = a->cache_bytes,
                               .head_dim = a->head_dim,
                               .rope = a->rope,
                               .q_out = a->q.address};
    return gpu_declare_append(builder, op, &ranges);
}

/* Counters of the blocks that arrive; the kernel leaves them at 0. */
static tandem_status get_counters(gpu_builder *builder, const attention_lowering *a, uint64_t *address,
                                  uint64_t *bytes) {
    void *place;
    *address = 0;
    *bytes = 0;
    if (a->plan.max_split == 1)
        return TANDEM_OK;
    *bytes = (uint64_t)a->plan.n_tile * a->n_kv_head * ATTENTION_COUNTERS(a->plan.max_split) * 4;
    GPU_DO(gpu_constant(builder, *bytes, address, &place));
    if (place)
        memset(place, 0, *bytes);
    return TANDEM_OK;
}

static tandem_status lower_attention(gpu_builder *builder, const tandem_op_attention *op,
                                     attention_lowering *a) {
    attention_params params = {
        .run = gpu_builder_run(builder),
        .index = a->rows.index,
        .n_tok = a->rows.n_tok,
        .q = a->q.address,
        .k_cache = a->layer->k.address,
        .v_cache = a->layer->v.address,
        .visible_until = gpu_view_address(&op->visible_until),
        .partial = a->partial.address,
        .y = gpu_view_address(&op->out),
        .y_stride = (uint32_t)op->out.stride,
        .visible_stride = (uint32_t)op->visible_until.stride,
        .ring = a->layer->ring,
        .region_bytes = a->layer->region_bytes,
        .window = a->window,
        .gather = gpu_view_gathered(op->head.rows, &op->visible_until) ? ATTENTION_GATHER_VISIBLE : 0,
        .head_dim = a->head_dim,
        .n_head = op->n_head,
        .n_kv_head = a->n_kv_head,
        .keys_per_split = a->plan.keys_per_split,
        .max_split = a->plan.max_split,
        .group = op->n_head / a->n_kv_head,
        .tile_rows = a->plan.tile_rows};
    const uint32_t grid[3] = {a->plan.n_tile, a->n_kv_head, a->plan.max_split};
    uint64_t counter_bytes;
    gpu_launch *launch;
    GPU_DO(get_counters(builder, a, &params.counters, &counter_bytes));
    GPU_DO(gpu_step_begin(builder, a->plan.kernel));
    GPU_DO(cu_launch_add(builder, a->plan.kernel, grid, a->plan.block, a->plan.shared_bytes, &params,
                         sizeof params, &launch));
    launch->traffic = (gpu_traffic){.rows = op->head.rows,
                                    .row_bytes = 2 * a->q_bytes,
                                    .attention = a->layer,
                                    .n_head = op->n_head,
                                    .window = a->window,
                                    .rows_per_tile = a->plan.rows_per_tile,
                                    .tiles_per_row = a->plan.tiles_per_row,
                                    .keys_per_split = a->plan.keys_per_split,
                                    .max_split = a->plan.max_split,
                                    .split_row_bytes = 2 * op->n_head * record_bytes(a)};
    GPU_DO(gpu_reads(builder, params.run, gpu_builder_run_bytes(builder)));
    GPU_DO(gpu_reads(builder, params.q, a->rows.max * a->q_bytes));
    GPU_DO(gpu_reads(builder, params.k_cache, a->cache_bytes));
    GPU_DO(gpu_reads(builder, params.v_cache, a->cache_bytes));
    GPU_DO(gpu_reads_view(builder, &op->visible_until, 4));
    if (a->partial.bytes) {
        GPU_DO(gpu_writes(builder, params.partial, a->partial.bytes));
        GPU_DO(gpu_writes(builder, params.counters, counter_bytes));
    }
    return gpu_writes_view(builder, &op->out, a->q_bytes);
}

tandem_status gpu_lower_attention(gpu_builder *builder, const tandem_op_attention *op) {
    const tandem_kv *kv = op->kv;
    const gpu_kv_layer *layer = &kv->layers[op->layer];
    attention_lowering a = {.layer = &kv->layers[layer->owner],
                            .rows = gpu_builder_rows(builder, op->head.rows),
                            .head_dim = layer->info.head_dim,
                            .n_kv_head = layer->info.n_kv_head,
                            .window = layer->info.window,
                            .kv_type = layer->info.type};
    a.q_bytes = (uint64_t)op->n_head * a.head_dim * 4;
    a.cache_bytes = (uint64_t)kv->n_slot * a.n_kv_head * a.layer->region_bytes;
    a.plan = choose_plan(builder, op, &a);
    GPU_DO(gpu_rope_tables(builder, op, &a.rope));
    GPU_DO(gpu_scratch_take(builder, a.rows.max * a.q_bytes, &a.q));
    GPU_DO(lower_append(builder, op, &a));
    GPU_DO(gpu_scratch_take(builder, partial_bytes(&a), &a.partial));
    GPU_DO(lower_attention(builder, op, &a));
    gpu_scratch_give(builder, &a.q);
    gpu_scratch_give(builder, &a.partial);
    return TANDEM_OK;
}
