/* How the Vulkan plugin cuts kernels for devices that nobody has here: vulkan/policy.h alone, no driver. */
#include "../vulkan/attention_plan.h"
#include "../vulkan/pack.h"

#include <tandem/base.h>
#include <tandem/device.h>
#include <tandem/quants.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t widths[] = {8, 16, 32, 64};
#define N_WIDTH 4u

/* A card that has one width of subgroups. */
static vk_policy_facts card(uint32_t width) {
    return (vk_policy_facts){.kind = TANDEM_DEVICE_GPU,
                             .shape = VK_SHAPE_BY_KIND,
                             .n_unit = 28,
                             .max_local = 1024,
                             .subgroup_size = width,
                             .subgroup_min = width,
                             .subgroup_max = width,
                             .dot_accelerated = 1,
                             .int64 = 1};
}

static vk_policy policy_of(vk_policy_facts facts) {
    return vk_policy_make(&facts);
}

/* The policy of a card of `width`, as it is at 32: what must be a multiple of the width is checked and set.
 */
static vk_policy at_32(uint32_t width) {
    vk_policy p = policy_of(card(width)), wide = policy_of(card(32));
    assert_int_equal(p.subgroup_size, width);
    assert_int_equal(p.append_local, width > wide.append_local ? width : wide.append_local);
    p.subgroup_size = wide.subgroup_size;
    p.append_local = wide.append_local;
    return p;
}

static void the_width_of_subgroups_decides_nothing_on_a_gpu(void **state) {
    (void)state;
    vk_policy wide = policy_of(card(32));
    assert_int_equal(wide.shape, VK_SHAPE_GPU);
    assert_int_equal(wide.keys_in_flight, 4);
    for (uint32_t i = 0; i < N_WIDTH; i++) {
        vk_policy p = at_32(widths[i]);
        assert_memory_equal(&p, &wide, sizeof p);
    }
}

static void attention_is_cut_alike_at_every_width(void **state) {
    (void)state;
    const uint32_t heads[] = {128, 256, 512};
    for (uint32_t h = 0; h < 3; h++)
        for (uint32_t rows = 1; rows <= 512; rows *= 8) {
            vk_attention_request request = {.head_dim = heads[h],
                                            .n_head = 16,
                                            .n_kv_head = 2,
                                            .max_rows = rows,
                                            .max_keys = 131072,
                                            .n_slot = 1};
            vk_policy first = policy_of(card(32));
            vk_attention_plan wide = vk_attention_plan_make(&request, &first);
            for (uint32_t i = 0; i < N_WIDTH; i++) {
                vk_policy policy = policy_of(card(widths[i]));
                vk_attention_plan plan = vk_attention_plan_make(&request, &policy);
                assert_int_equal(plan.keys_in_flight, 4);
                assert_int_equal(plan.local_size % widths[i], 0);
                plan.local_size = wide.local_size; /* at least the threads of a key, and one subgroup */
                assert_memory_equal(&plan, &wide, sizeof plan);
            }
        }
}

static tandem_kit_pack pack_of(uint32_t type, uint64_t n_row, uint32_t n_col) {
    tandem_kit_pack pack;
    assert_true(tandem_kit_pack_init(&pack, type, n_row, n_col, UINT64_MAX));
    return pack;
}

static void products_are_cut_alike_at_every_width(void **state) {
    (void)state;
    const uint32_t rows[] = {256, 2112, 8192, 262144};
    for (uint32_t r = 0; r < 4; r++)
        for (uint32_t kind = VK_MATMUL_VEC; kind <= VK_MATMUL_MAT; kind++) {
            tandem_kit_pack pack = pack_of(TANDEM_TYPE_Q4_0, rows[r], 2816);
            vk_matmul_request request = {.kind = kind,
                                         .precision = TANDEM_PRECISION_Q8,
                                         .n_tok = kind == VK_MATMUL_MAT ? 512 : 1,
                                         .n_row = rows[r]};
            vk_policy first = policy_of(card(32));
            vk_matmul_plan wide;
            assert_true(vk_matmul_plan_make(&wide, &pack, &request, &first));
            assert_int_equal(wide.spec[SPEC_DOT_PAIRS], 0);
            for (uint32_t i = 0; i < N_WIDTH; i++) {
                vk_policy policy = policy_of(card(widths[i]));
                vk_matmul_plan plan;
                assert_true(vk_matmul_plan_make(&plan, &pack, &request, &policy));
                assert_int_equal(plan.cols_per_group, wide.cols_per_group);
                assert_int_equal(plan.local_size % widths[i], 0);
                if (kind == VK_MATMUL_MAT && widths[i] == 64) { /* four subgroups are 256 threads */
                    assert_int_equal(plan.local_size, 256);
                    plan.spec[SPEC_LOCAL_SIZE] = wide.spec[SPEC_LOCAL_SIZE];
                } else {
                    assert_int_equal(plan.grid_x, wide.grid_x);
                }
                assert_memory_equal(plan.spec, wide.spec, sizeof plan.spec);
                assert_string_equal(plan.shader, wide.shader);
            }
        }
}

static void a_device_that_can_choose_its_width_gets_32(void **state) {
    (void)state;
    vk_policy_facts facts = card(64);
    facts.subgroup_control = 1;
    facts.subgroup_min = 32;
    vk_policy p = policy_of(facts);
    assert_int_equal(p.subgroup_size, 32);
    assert_int_equal(p.required_subgroup, 32);
    facts = card(64);
    facts.subgroup_control = 1; /* and 64 only: nothing to request */
    p = policy_of(facts);
    assert_int_equal(p.subgroup_size, 64);
    assert_int_equal(p.required_subgroup, 0);
}

static void the_shape_follows_the_kind_or_the_option(void **state) {
    (void)state;
    vk_policy_facts facts = card(8);
    facts.kind = TANDEM_DEVICE_SOFTWARE;
    assert_int_equal(policy_of(facts).shape, VK_SHAPE_SOFTWARE);
    facts.shape = VK_SHAPE_GPU;
    assert_int_equal(policy_of(facts).shape, VK_SHAPE_GPU);
    facts = card(8);
    facts.kind = TANDEM_DEVICE_INTEGRATED;
    assert_int_equal(policy_of(facts).shape, VK_SHAPE_GPU);
    facts.shape = VK_SHAPE_SOFTWARE;
    assert_int_equal(policy_of(facts).shape, VK_SHAPE_SOFTWARE);
}

/* Posing as a GPU, a software device gets what GPUs get: but for the budget, the very same. */
static void a_software_device_in_the_gpu_shape_stands_for_a_card(void **state) {
    (void)state;
    vk_policy_facts facts = card(8);
    vk_policy real = policy_of(facts);
    facts.kind = TANDEM_DEVICE_SOFTWARE;
    facts.shape = VK_SHAPE_GPU;
    facts.dot_accelerated = 0;
    facts.counts_loops = 1;
    vk_policy posing = policy_of(facts);
    assert_int_equal(real.loop_budget, VK_NO_LOOP_BUDGET);
    assert_int_not_equal(posing.loop_budget, VK_NO_LOOP_BUDGET);
    posing.loop_budget = real.loop_budget;
    assert_memory_equal(&posing, &real, sizeof real);
}

static void integer_dot_is_native_where_it_is_accelerated(void **state) {
    (void)state;
    vk_policy_facts facts = card(32);
    assert_int_equal(policy_of(facts).dot_pairs, 0);
    facts.dot_accelerated = 0;
    assert_int_equal(policy_of(facts).dot_pairs, 1);
    facts.kind = TANDEM_DEVICE_SOFTWARE;
    assert_int_equal(policy_of(facts).dot_pairs, 1);
}

/* Either shape: a budget makes splits shorter and unrolls products, and refuses what does not fit. */
static void a_loop_budget_binds_either_shape(void **state) {
    (void)state;
    vk_attention_request request = {
        .head_dim = 512, .n_head = 8, .n_kv_head = 4, .max_rows = 512, .max_keys = 262144, .n_slot = 8};
    tandem_kit_pack pack = pack_of(TANDEM_TYPE_Q4_0, 64, 1000000);
    vk_matmul_request product = {.kind = VK_MATMUL_VEC, .n_tok = 1, .n_row = 64};
    for (uint32_t shape = VK_SHAPE_GPU; shape <= VK_SHAPE_SOFTWARE; shape++) {
        vk_policy_facts facts = card(8);
        vk_matmul_plan plan;
        facts.shape = shape;
        vk_policy free_of_it = policy_of(facts);
        facts.counts_loops = 1;
        vk_policy bound = policy_of(facts);
        vk_attention_plan a = vk_attention_plan_make(&request, &free_of_it);
        vk_attention_plan b = vk_attention_plan_make(&request, &bound);
        assert_int_equal(a.keys_per_split, 16384);
        assert_true(b.keys_per_split < a.keys_per_split);
        assert_true(b.max_split > a.max_split);
        assert_true(vk_attention_iterations(&b, 512, 8, b.keys_per_split, 6, 512) <= bound.loop_budget);
        assert_true(vk_matmul_plan_make(&plan, &pack, &product, &free_of_it));
        assert_false(vk_matmul_plan_make(&plan, &pack, &product, &bound));
    }
}

static void no_work_group_is_larger_than_the_device_takes(void **state) {
    (void)state;
    vk_policy_facts facts = card(32);
    facts.max_local = 191;
    vk_policy p = policy_of(facts);
    assert_int_equal(p.max_local, 128);
    const uint32_t locals[] = {p.append_local, p.combine_local, p.stream_local,     p.topk_local,
                               p.route_local,  p.group_local,   p.elementwise_local};
    for (uint32_t i = 0; i < sizeof locals / sizeof *locals; i++)
        assert_in_range(locals[i], 32, 128);
    facts.max_local = 4096;
    assert_int_equal(policy_of(facts).max_local, 256); /* what the shaders are written for */
}

static void units_are_assumed_by_kind_and_say_so(void **state) {
    (void)state;
    vk_policy_facts facts = card(32);
    assert_int_equal(policy_of(facts).n_unit_assumed, 0);
    assert_int_equal(policy_of(facts).n_unit, 28);
    facts.n_unit = 0;
    uint32_t of_a_card = policy_of(facts).n_unit;
    assert_int_equal(policy_of(facts).n_unit_assumed, 1);
    facts.kind = TANDEM_DEVICE_INTEGRATED;
    assert_int_equal(policy_of(facts).n_unit_assumed, 1);
    assert_in_range(policy_of(facts).n_unit, 1, of_a_card - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_width_of_subgroups_decides_nothing_on_a_gpu),
        cmocka_unit_test(attention_is_cut_alike_at_every_width),
        cmocka_unit_test(products_are_cut_alike_at_every_width),
        cmocka_unit_test(a_device_that_can_choose_its_width_gets_32),
        cmocka_unit_test(the_shape_follows_the_kind_or_the_option),
        cmocka_unit_test(a_software_device_in_the_gpu_shape_stands_for_a_card),
        cmocka_unit_test(integer_dot_is_native_where_it_is_accelerated),
        cmocka_unit_test(a_loop_budget_binds_either_shape),
        cmocka_unit_test(no_work_group_is_larger_than_the_device_takes),
        cmocka_unit_test(units_are_assumed_by_kind_and_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
