/* lower_attention.c: ATTENTION as append, split and combine. */
#include "attention_plan.h"
#include "builder.h"

#include <tandem/rope.h>

#include <string.h>

/* Shapes and addresses that the three dispatches share. */
typedef struct vk_attention {
    const gpu_kv_layer *layer; /* the owner of the storage */
    gpu_rows rows;
    uint32_t head_dim, n_kv_head, window;
    uint32_t kv_type;
    uint64_t cache_bytes; /* of K, of V */
    uint64_t q_bytes;     /* a row of queries */
    uint64_t rope;
    gpu_scratch q, partial;
    vk_attention_plan plan;
} vk_attention;

/* Of one row and split. */
static uint64_t partial_row_bytes(const tandem_op_attention *op, const vk_attention *a) {
    return vk_attention_partial_bytes(&a->plan, a->head_dim, op->n_head, 1) / a->plan.max_split;
}

static tandem_status lower_append(gpu_builder *builder, const tandem_op_attention *op, vk_attention *a) {
    int append = op->k.buffer != NULL;
    attention_append_push push = {.run = gpu_builder_run(builder),
                                  .index = a->rows.index,
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
                                  .scale = op->scale,
                                  .eps = op->eps,
                                  .ring = a->layer->ring,
                                  .region_bytes = a->layer->region_bytes,
                                  .gather = gpu_view_gathered(op->head.rows, &op->q) ? APPEND_GATHER_Q : 0};
    uint32_t flags = (op->flags & TANDEM_ATTENTION_V_NORM ? APPEND_V_NORM : 0) |
                     (op->flags & TANDEM_ATTENTION_K_IS_V ? APPEND_K_IS_V : 0);
    uint32_t spec[7] = {builder->context->device.policy.append_local,
                        a->head_dim,
                        op->n_head,
                        a->n_kv_head,
                        op->n_rope_pair,
                        a->kv_type,
                        flags};
    launch_rule rule = {.groups = {op->n_head + (append ? 2 * a->n_kv_head : 0), 1, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, append ? "attention_append" : "attention_query"));
    GPU_DO(vk_dispatch_add(builder, "attention_append", spec, 7, &rule, &push, sizeof push, &dispatch));
    const gpu_append ranges = {.layer = a->layer,
                               .q_bytes = a->q_bytes,
                               .kv_bytes = (uint64_t)a->n_kv_head * a->head_dim * 4,
                               .cache_bytes = a->cache_bytes,
                               .head_dim = a->head_dim,
                               .rope = a->rope,
                               .q_out = a->q.address};
    return gpu_declare_append(builder, op, &ranges);
}

static tandem_status lower_split(gpu_builder *builder, const tandem_op_attention *op, vk_attention *a,
                                 uint64_t *command) {
    attention_split_push push = {
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
        .gather = gpu_view_gathered(op->head.rows, &op->visible_until) ? SPLIT_GATHER_VISIBLE : 0};
    uint32_t spec[8] = {a->plan.local_size,
                        a->head_dim,
                        op->n_head,
                        a->n_kv_head,
                        a->plan.n_query,
                        a->kv_type,
                        builder->context->device.policy.subgroup_size,
                        a->plan.keys_in_flight};
    const char *shader = builder->context->device.policy.int64 ? "attention_split_wide" : "attention_split";
    launch_rule rule = {.groups = {a->n_kv_head, a->plan.tiles_per_row, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = a->plan.rows_per_tile,
                        .key_axis = 2,
                        .keys_per_split = a->plan.keys_per_split,
                        .max_split = a->plan.max_split,
                        .window = a->window};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, "attention_split"));
    GPU_DO(vk_dispatch_add(builder, shader, spec, 8, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows,
                                      .row_bytes = 2 * a->q_bytes,
                                      .attention = a->layer,
                                      .n_head = op->n_head,
                                      .window = a->window,
                                      .rows_per_tile = a->plan.rows_per_tile,
                                      .tiles_per_row = a->plan.tiles_per_row,
                                      .keys_per_split = a->plan.keys_per_split,
                                      .max_split = a->plan.max_split,
                                      .split_row_bytes = partial_row_bytes(op, a)};
    *command = vk_dispatch_command(builder);
    GPU_DO(gpu_reads(builder, push.run, gpu_builder_run_bytes(builder)));
    GPU_DO(gpu_reads(builder, push.q, a->rows.max * a->q_bytes));
    GPU_DO(gpu_reads(builder, push.k_cache, a->cache_bytes));
    GPU_DO(gpu_reads(builder, push.v_cache, a->cache_bytes));
    GPU_DO(gpu_reads_view(builder, &op->visible_until, 4));
    if (a->partial.bytes)
        GPU_DO(gpu_writes(builder, push.partial, a->partial.bytes));
    return gpu_writes_view(builder, &op->out, a->q_bytes);
}

static tandem_status lower_combine(gpu_builder *builder, const tandem_op_attention *op, vk_attention *a,
                                   uint64_t command) {
    attention_combine_push push = {.partial = a->partial.address,
                                   .y = gpu_view_address(&op->out),
                                   .split_command = command,
                                   .y_stride = (uint32_t)op->out.stride};
    uint32_t spec[3] = {builder->context->device.policy.combine_local, a->head_dim, op->n_head};
    launch_rule rule = {.groups = {op->n_head, 1, 1},
                        .rows = op->head.rows,
                        .row_axis = 1,
                        .rows_per_group = 1,
                        .key_axis = RULE_ONLY_IF_SPLIT,
                        .keys_per_split = a->plan.keys_per_split,
                        .max_split = a->plan.max_split,
                        .window = a->window};
    gpu_launch *dispatch;
    GPU_DO(gpu_step_begin(builder, "attention_combine"));
    GPU_DO(vk_dispatch_add(builder, "attention_combine", spec, 3, &rule, &push, sizeof push, &dispatch));
    dispatch->traffic = (gpu_traffic){.rows = op->head.rows,
                                      .row_bytes = a->q_bytes,
                                      .window = a->window,
                                      .keys_per_split = a->plan.keys_per_split,
                                      .max_split = a->plan.max_split,
                                      .split_row_bytes = partial_row_bytes(op, a)};
    GPU_DO(gpu_reads(builder, push.partial, a->partial.bytes));
    GPU_DO(gpu_reads(builder, push.split_command, sizeof(VkDispatchIndirectCommand)));
    return gpu_writes_view(builder, &op->out, a->q_bytes);
}

tandem_status gpu_lower_attention(gpu_builder *builder, const tandem_op_attention *op) {
    const tandem_program *program = builder->program;
    const tandem_kv *kv = op->kv;
    const gpu_kv_layer *layer = &kv->layers[op->layer];
    uint64_t command;
    vk_attention a = {.layer = &kv->layers[layer->owner],
                      .rows = gpu_builder_rows(builder, op->head.rows),
                      .head_dim = layer->info.head_dim,
                      .n_kv_head = layer->info.n_kv_head,
                      .window = layer->info.window,
                      .kv_type = layer->info.type};
    a.q_bytes = (uint64_t)op->n_head * a.head_dim * 4;
    a.cache_bytes = (uint64_t)kv->n_slot * a.n_kv_head * a.layer->region_bytes;
    vk_attention_request request = {.head_dim = a.head_dim,
                                    .n_head = op->n_head,
                                    .n_kv_head = a.n_kv_head,
                                    .max_rows = a.rows.max,
                                    .max_keys = a.layer->ring,
                                    .n_slot = program->limits.max_slots};
    a.plan = vk_attention_plan_make(&request, &builder->context->device.policy);
    /* A short window never fills more than these splits, and with one there is nothing to combine. */
    uint32_t most = (a.layer->ring + a.plan.keys_per_split - 1) / a.plan.keys_per_split;
    if (a.plan.max_split > most)
        a.plan.max_split = most;
    GPU_DO(gpu_rope_tables(builder, op, &a.rope));
    GPU_DO(gpu_scratch_take(builder, a.rows.max * a.q_bytes, &a.q));
    GPU_DO(lower_append(builder, op, &a));
    GPU_DO(gpu_scratch_take(builder, vk_attention_partial_bytes(&a.plan, a.head_dim, op->n_head, a.rows.max),
                            &a.partial));
    GPU_DO(lower_split(builder, op, &a, &command));
    if (a.partial.bytes)
        GPU_DO(lower_combine(builder, op, &a, command));
    gpu_scratch_give(builder, &a.q);
    gpu_scratch_give(builder, &a.partial);
    return TANDEM_OK;
}
