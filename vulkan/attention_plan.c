/* attention_plan.c: work-groups, tiles and splits of attention. */
#include "attention_plan.h"

#include "../shaders/params_ops.h"

#define MIN_KEYS 64u    /* a smaller split's partial results are over a tenth of its keys and values */
#define MAX_KEYS 16384u /* f32 sums over more lose digits */

static uint32_t ceil_pow2(uint32_t n) {
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static uint32_t divide_up(uint32_t n, uint32_t by) {
    return n / by + (n % by != 0);
}

/* Threads that share a key, 8 elements each. */
static uint32_t lanes_of(uint32_t head_dim) {
    return ceil_pow2((head_dim + 7) / 8);
}

uint64_t vk_attention_iterations(const vk_attention_plan *plan, uint32_t head_dim, uint32_t subgroup_size,
                                 uint32_t n_keys, uint32_t n_slot, uint32_t n_rows) {
    uint32_t tile = subgroup_size > 32 ? subgroup_size : 32;
    uint32_t step = plan->local_size / lanes_of(head_dim) * plan->keys_in_flight;
    uint32_t team = min_u32(plan->local_size / plan->n_query, subgroup_size);
    uint32_t scores = tile / step + 1, softmax = 2 * (tile / team + 1);
    uint32_t values = tile / subgroup_size * (subgroup_size / step + 2) + 1;
    uint64_t n_tile = n_keys / tile + 1;
    uint64_t per_slot = n_tile * (1 + scores + softmax + values) + 1 + n_rows / plan->local_size + 2;
    return n_slot * (per_slot + 1) + 2 * plan->n_query + 4;
}

/* Most keys of a split: beyond them sums lose digits, or the driver's loop budget ends. */
static uint32_t most_keys(const vk_attention_request *request, const vk_policy *policy,
                          const vk_attention_plan *plan, uint32_t group) {
    uint32_t mixed = min_u32(plan->n_query / group + 2, request->n_slot), most = MAX_KEYS;
    while (most > MIN_KEYS && vk_attention_iterations(plan, request->head_dim, policy->subgroup_size, most,
                                                      mixed, request->max_rows) > policy->loop_budget)
        most -= MIN_KEYS;
    return most;
}

vk_attention_plan vk_attention_plan_make(const vk_attention_request *request, const vk_policy *policy) {
    uint32_t group = request->n_head / request->n_kv_head, lanes = lanes_of(request->head_dim);
    uint32_t subgroup = policy->subgroup_size;
    uint64_t queries = (uint64_t)group * request->max_rows;
    /* A key is added up within one subgroup where that is wide enough. */
    vk_attention_plan plan = {.local_size = lanes > subgroup ? lanes : subgroup,
                              .keys_in_flight = policy->keys_in_flight};
    plan.n_query = queries < 8 ? ceil_pow2((uint32_t)queries) : 8; /* more spill registers */
    plan.n_query = min_u32(plan.n_query, plan.local_size);
    plan.tiles_per_row = divide_up(group, plan.n_query);
    plan.rows_per_tile = plan.n_query > group ? plan.n_query / group : 1;
    /* The weights of the keys in flight are handed out by one shuffle, from one lane each. */
    while (plan.local_size / lanes * plan.keys_in_flight > subgroup)
        plan.keys_in_flight /= 2;

    uint32_t most = most_keys(request, policy, &plan, group);
    uint32_t least_split = divide_up(request->max_keys, most);
    uint32_t n_group =
        request->n_kv_head * plan.tiles_per_row * divide_up(request->max_rows, plan.rows_per_tile);
    plan.max_split = min_u32(divide_up(policy->attention_groups, n_group), ATTENTION_MAX_SPLIT);
    plan.keys_per_split = MIN_KEYS;
    if (plan.max_split <= least_split) {
        plan.max_split = least_split > 0 ? least_split : 1;
        plan.keys_per_split = most;
    }
    return plan;
}

uint64_t vk_attention_partial_bytes(const vk_attention_plan *plan, uint32_t head_dim, uint32_t n_head,
                                    uint32_t max_rows) {
    return plan->max_split == 1 ? 0 : (uint64_t)max_rows * n_head * plan->max_split * (head_dim + 4u) * 4u;
}
