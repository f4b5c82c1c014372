/* policy.c: kernels by the kind of a device and its limits. */
#include "policy.h"

#include <tandem/device.h>

#define MAX_LOCAL 256u /* what the shaders are written for */

/* Where the driver does not say: between an RTX 3060's 28 and an RX 7900's 48 on a card, as on an APU else. A
 * guess too high costs partial results to merge, one too low leaves units idle. */
#define UNITS_OF_A_CARD 40u
#define UNITS_OF_AN_APU 12u

#define LANES_PER_UNIT 512u    /* of a mat-vec: 16 subgroups of 32 hide the latency of memory */
#define ATTENTION_PER_UNIT 8u  /* work-groups of attention */
#define THREADS_OF_SOFTWARE 4u /* one work-group per thread, of the few that a software driver has */
#define WANTED_SUBGROUP 32u    /* the width that the kernels are tuned for */
#define LAVAPIPE_LOOPS                                                                                       \
    65000u /* it ends a subgroup's loops after 65,534 iterations, and goes on without a word */

#ifdef TANDEM_EMULATED_SUBGROUP
/* A build for tests, whose shaders exchange through shared memory (shaders/subgroup.glsl). */
static void choose_subgroup(vk_policy *policy, const vk_policy_facts *facts) {
    (void)facts;
    policy->subgroup_size = TANDEM_EMULATED_SUBGROUP;
}
#else
static void choose_subgroup(vk_policy *policy, const vk_policy_facts *facts) {
    policy->subgroup_size = facts->subgroup_size;
    if (!facts->subgroup_control || facts->subgroup_min == facts->subgroup_max)
        return;
    if (facts->subgroup_min <= WANTED_SUBGROUP && WANTED_SUBGROUP <= facts->subgroup_max)
        policy->subgroup_size = WANTED_SUBGROUP;
    policy->required_subgroup = policy->subgroup_size;
}
#endif

static uint32_t choose_shape(const vk_policy_facts *facts) {
    if (facts->shape != VK_SHAPE_BY_KIND)
        return facts->shape;
    return facts->kind == TANDEM_DEVICE_SOFTWARE ? VK_SHAPE_SOFTWARE : VK_SHAPE_GPU;
}

static void choose_gpu(vk_policy *policy, const vk_policy_facts *facts) {
    if (policy->n_unit_assumed)
        policy->n_unit = facts->kind == TANDEM_DEVICE_INTEGRATED ? UNITS_OF_AN_APU : UNITS_OF_A_CARD;
    policy->matvec_lanes = policy->n_unit * LANES_PER_UNIT;
    policy->attention_groups = policy->n_unit * ATTENTION_PER_UNIT;
    policy->keys_in_flight = 4;
    policy->short_tile_rows = 4;
    /* A software device that poses as a GPU executes what the GPUs of today execute. */
    policy->dot_pairs = facts->kind != TANDEM_DEVICE_SOFTWARE && !facts->dot_accelerated;
    policy->append_local = 32;
    policy->combine_local = 64;
    policy->stream_local = 256;
    policy->topk_local = 256;
    policy->route_local = 128;
}

static void choose_software(vk_policy *policy, const vk_policy_facts *facts) {
    if (policy->n_unit_assumed)
        policy->n_unit = THREADS_OF_SOFTWARE;
    policy->matvec_lanes = policy->n_unit * LANES_PER_UNIT;
    policy->attention_groups = policy->n_unit;
    policy->keys_in_flight = 1; /* more gain nothing and compile longer */
    policy->short_tile_rows = 2;
    policy->dot_pairs = !facts->dot_accelerated;
    policy->append_local = 32;
    policy->combine_local = 64;
    policy->stream_local = 32;
    policy->topk_local = 64;
    policy->route_local = 32;
}

vk_policy vk_policy_make(const vk_policy_facts *facts) {
    vk_policy policy = {.shape = choose_shape(facts),
                        .n_unit = facts->n_unit,
                        .n_unit_assumed = facts->n_unit == 0,
                        .loop_budget = facts->counts_loops ? LAVAPIPE_LOOPS : VK_NO_LOOP_BUDGET,
                        .int64 = facts->int64,
                        .max_local = 1,
                        .group_local = 256,
                        .elementwise_local = 64};
    choose_subgroup(&policy, facts);
    while (policy.max_local * 2 <= facts->max_local && policy.max_local < MAX_LOCAL)
        policy.max_local *= 2;
    if (policy.shape == VK_SHAPE_SOFTWARE)
        choose_software(&policy, facts);
    else
        choose_gpu(&policy, facts);
    uint32_t *const locals[] = {&policy.append_local,     &policy.combine_local, &policy.stream_local,
                                &policy.topk_local,       &policy.route_local,   &policy.group_local,
                                &policy.elementwise_local};
    for (uint32_t i = 0; i < sizeof locals / sizeof *locals; i++) {
        if (*locals[i] > policy.max_local)
            *locals[i] = policy.max_local;
        if (*locals[i] < policy.subgroup_size)
            *locals[i] = policy.subgroup_size;
    }
    return policy;
}

const char *vk_shape_name(uint32_t shape) {
    return shape == VK_SHAPE_SOFTWARE ? "software" : "GPU";
}
