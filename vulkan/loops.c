/* loops.c: loop iterations of the shaders, by the `loops` lines at their heads. */
#include "loops.h"
#include "attention_plan.h"

#include <string.h>

static uint64_t divide_up(uint64_t n, uint64_t by) {
    return (n + by - 1) / by;
}

static int begins(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static uint64_t of_prepare(const tandem_program *program, const gpu_launch *dispatch) {
    prepare_push push;
    memcpy(&push, dispatch->params, sizeof push);
    uint64_t n_rule = push.n_rule / 64 + 1;
    return program->limits.max_tokens / 64 + program->limits.max_out / 64 + 2 + n_rule * 5;
}

static uint64_t of_matmul(const gpu_launch *dispatch, const uint32_t *spec) {
    matmul_push push;
    memcpy(&push, dispatch->params, sizeof push);
    uint64_t n_pass = spec[SPEC_EXPERTS] == EXPERTS_SUM ? push.n_used : 1;
    return MATMUL_ITERATIONS((uint64_t)push.n_col, spec[SPEC_UNROLL], n_pass);
}

static uint64_t of_moe_route(const tandem_context *context, const gpu_launch *dispatch,
                             const uint32_t *spec) {
    moe_route_push push;
    memcpy(&push, dispatch->params, sizeof push);
    uint64_t local = spec[0], rounds = divide_up(push.n_expert, local) + 1;
    return rounds * (divide_up(push.n_expert, 4) + 4) + push.n_used + 3 * divide_up(push.n_used, local) +
           2 * (local / context->device.policy.subgroup_size) + 10;
}

static uint64_t of_stream(const tandem_context *context, const gpu_launch *dispatch, const uint32_t *spec) {
    stream_push push;
    memcpy(&push, dispatch->params, sizeof push);
    uint64_t local = spec[0], n_a = spec[SPEC_N_A], n_out = spec[SPEC_N_OUT];
    uint64_t n_q8 = 0;
    for (uint32_t bits = spec[SPEC_STREAM_Q8]; bits; bits >>= 1)
        n_q8 += bits & 1;
    return (n_a + 1 + n_out) * (divide_up(divide_up(spec[SPEC_D], 4), local) + 1) +
           n_q8 * (31 * divide_up(divide_up(spec[SPEC_D], 32), local) + 1) +
           3 * (local / context->device.policy.subgroup_size + 1);
}

static uint64_t of_append(const tandem_context *context, const uint32_t *spec) {
    uint64_t local = spec[0];
    return 3 * divide_up(spec[SPEC_HEAD_DIM] / 8, local) + local / context->device.policy.subgroup_size + 28;
}

/* The keys of a split at the longest context: as the launch rule says, or more where it may not split
 * further. */
static uint64_t of_split(const tandem_program *program, const gpu_launch *dispatch, const uint32_t *spec) {
    const launch_rule *rule = GPU_AT(program->api.rules, launch_rule, dispatch->api.rule);
    uint32_t n_head = spec[SPEC_N_HEAD], n_kv_head = spec[SPEC_N_KV_HEAD];
    attention_split_push push;
    memcpy(&push, dispatch->params, sizeof push);
    vk_attention_plan plan = {
        .local_size = spec[0], .n_query = spec[SPEC_N_QUERY], .keys_in_flight = spec[SPEC_KEYS_IN_FLIGHT]};
    uint64_t n_keys = divide_up(push.ring, rule->max_split);
    if (n_keys < rule->keys_per_split)
        n_keys = rule->keys_per_split;
    uint32_t n_slot = plan.n_query / (n_head / n_kv_head) + 2;
    if (n_slot > program->limits.max_slots)
        n_slot = program->limits.max_slots;
    return vk_attention_iterations(&plan, spec[SPEC_HEAD_DIM], program->context->device.policy.subgroup_size,
                                   (uint32_t)n_keys, n_slot, program->limits.max_tokens);
}

static uint64_t of_combine(const tandem_program *program, const gpu_launch *dispatch, const uint32_t *spec) {
    uint64_t max_split = GPU_AT(program->api.rules, launch_rule, dispatch->api.rule)->max_split;
    uint64_t pieces = divide_up(spec[SPEC_HEAD_DIM] / 4, spec[0]) + 1;
    return pieces * (2 * (max_split + 1) + 4);
}

static uint64_t of_topk(const tandem_context *context, const gpu_launch *dispatch, const uint32_t *spec) {
    topk_push push;
    memcpy(&push, dispatch->params, sizeof push);
    uint64_t local = spec[0], subgroup = context->device.policy.subgroup_size, rounds = divide_up(256, local);
    uint64_t maxima = rounds * 6 + 1, groups = rounds * (64 + 512 / subgroup + 2) + 1, exps = rounds * 6 + 1;
    uint64_t n = 16ull * push.k;
    uint64_t elements = divide_up(n, local) * (n / 4 + 2 * divide_up(n, subgroup) + 3) + 2;
    return maxima + groups + exps + elements + 3 * (divide_up(local, subgroup) + 1);
}

uint64_t vk_moe_group_iterations(uint64_t n_expert, uint64_t n_entry, uint64_t tall_rows,
                                 uint64_t local_size) {
    uint64_t word = MOE_CHUNK_WORDS(n_expert), n_chunk = n_entry / (32 * word) + 1;
    uint64_t rounds = divide_up(n_expert, local_size), items = divide_up(n_expert * word, local_size);
    return rounds * (n_expert + n_entry / tall_rows + 4) + n_entry / local_size +
           n_chunk * (items * (word + 36) + 32 * word / local_size + rounds * (word + 2) + 4) + 8;
}

static uint64_t of_moe_group(const tandem_program *program, const gpu_launch *dispatch,
                             const uint32_t *spec) {
    moe_group_push push;
    memcpy(&push, dispatch->params, sizeof push);
    uint64_t n_entry = (uint64_t)program->limits.max_tokens * push.n_used;
    return vk_moe_group_iterations(push.n_expert, n_entry, push.tall_rows, spec[0]);
}

static uint64_t of_moe_sum(const gpu_launch *dispatch) {
    moe_sum_push push;
    memcpy(&push, dispatch->params, sizeof push);
    return push.n_used + 4;
}

uint64_t vk_loop_iterations(const tandem_program *program, uint32_t index) {
    const tandem_context *context = program->context;
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, index);
    const vk_pipeline *pipeline = &context->api.pipelines->items[dispatch->api.pipeline];
    const char *shader = pipeline->shader->name;
    if (begins(shader, "prepare"))
        return of_prepare(program, dispatch);
    if (begins(shader, "finish"))
        return 34;
    if (begins(shader, "matmul_"))
        return of_matmul(dispatch, pipeline->spec);
    if (begins(shader, "embed_") || begins(shader, "quantise_q8"))
        return 0;
    if (begins(shader, "stream"))
        return of_stream(context, dispatch, pipeline->spec);
    if (begins(shader, "attention_append"))
        return of_append(context, pipeline->spec);
    if (begins(shader, "attention_split"))
        return of_split(program, dispatch, pipeline->spec);
    if (begins(shader, "attention_combine"))
        return of_combine(program, dispatch, pipeline->spec);
    if (begins(shader, "topk"))
        return of_topk(context, dispatch, pipeline->spec);
    if (begins(shader, "moe_route"))
        return of_moe_route(context, dispatch, pipeline->spec);
    if (begins(shader, "moe_group"))
        return of_moe_group(program, dispatch, pipeline->spec);
    if (begins(shader, "moe_sum"))
        return of_moe_sum(dispatch);
    if (begins(shader, "elementwise"))
        return 4;
    return UINT64_MAX;
}

tandem_status vk_loops_check(const tandem_program *program, tandem_error *error) {
    const tandem_context *context = program->context;
    uint32_t budget = context->device.policy.loop_budget;
    if (budget == VK_NO_LOOP_BUDGET)
        return TANDEM_OK;
    for (uint32_t i = 0; i < program->launches.n; i++) {
        const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, i);
        uint64_t n = vk_loop_iterations(program, i);
        if (n == UINT64_MAX)
            return tandem_kit_fail(error, TANDEM_E_INTERNAL, "Nobody counts the loops of shader %s",
                                   gpu_launch_name(program, dispatch));
        if (n > budget)
            return tandem_kit_fail(
                error, TANDEM_E_UNSUPPORTED,
                "Shader %s could make %llu loop iterations; the driver of %s gives wrong results "
                "beyond %u",
                gpu_launch_name(program, dispatch), (unsigned long long)n, context->device.info.name, budget);
    }
    return TANDEM_OK;
}
