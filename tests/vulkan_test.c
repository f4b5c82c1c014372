/* What the Vulkan plugin compiles: few steps, and no shader that can run out of lavapipe's loop budget.
 *
 * usage: vulkan_test [--option NAME=VALUE]...
 */
#include "gpu_model.h"

#include "../shaders/params_ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static fixture fx;

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

/* ---- steps ---- */

static uint32_t steps_of_a_decode_layer(const model_shape *layers) {
    model m;
    tandem_program *program = NULL;
    uint32_t n_step, n_layer_step = 0;
    OK(model_open(&m, fx.api, fx.context, layers), &m);
    OK(model_program(&m, 1, 1, TANDEM_PRECISION_Q8, &program), &m);
    OK(fx.api->program_step_count(program, &n_step, &fx.error), &fx);
    for (uint32_t i = 0; i < n_step; i++) {
        tandem_step step = {.struct_size = sizeof step};
        OK(fx.api->program_step(program, i, &step, &fx.error), &fx);
        n_layer_step += strncmp(step.label, "blk.1.", 6) == 0;
    }
    fx.api->program_destroy(program);
    model_close(&m);
    return n_layer_step;
}

/* Of a layer whose keys are split. */
static void a_decode_layer_takes_at_most_13_steps(void **state) {
    (void)state;
    uint32_t dense = steps_of_a_decode_layer(&model_small), experts = steps_of_a_decode_layer(&model_experts);
    print_message("q8: %u steps for a dense layer, %u with experts\n", dense, experts);
    assert_in_range(dense, 5, 12);
    assert_in_range(experts, dense, 13);
}

/* ---- loop budget ---- */

#define LAVAPIPE_LOOP_BUDGET 65534u

static void check_loops(const tandem_program *program, uint64_t *worst, char *worst_name) {
    for (uint32_t i = 0; i < fx.inside->launch_count(program); i++) {
        vk_test_dispatch d;
        gpu_test_launch launch;
        fx.vulkan->dispatch(program, i, &d);
        fx.inside->launch(program, i, &launch);
        if (d.loop_iterations > LAVAPIPE_LOOP_BUDGET)
            fail_msg("%s makes up to %llu loop iterations", launch.kernel,
                     (unsigned long long)d.loop_iterations);
        if (d.loop_iterations >= *worst) {
            *worst = d.loop_iterations;
            snprintf(worst_name, 64, "%s", launch.kernel);
        }
    }
}

static void no_shader_exceeds_the_loop_budget(void **state) {
    uint64_t worst = 0;
    char worst_name[64] = "";
    (void)state;
    for (uint32_t max_tokens = 1; max_tokens <= 512; max_tokens += 511) {
        for (uint32_t precision = 0; precision <= TANDEM_PRECISION_Q8; precision += TANDEM_PRECISION_Q8) {
            model m;
            tandem_program *program = NULL;
            OK(model_open(&m, fx.api, fx.context, &model_wide), &m);
            OK(model_program(&m, max_tokens, 1, precision, &program), &m);
            check_loops(program, &worst, worst_name);
            fx.api->program_destroy(program);
            model_close(&m);
        }
    }
    assert_true(worst > 0);
    print_message("most loop iterations: %llu of %u, %s\n", (unsigned long long)worst, LAVAPIPE_LOOP_BUDGET,
                  worst_name);
}

/* What a planner has overlooked is not recorded: such a driver would give wrong results. */
static void a_program_beyond_the_loop_budget_is_refused(void **state) {
    model m;
    tandem_program *program = NULL;
    (void)state;
    OK(model_open(&m, fx.api, fx.context, &model_small), &m);
    fx.vulkan->limit_loops(fx.context, 150);
    assert_int_equal(model_program(&m, 1, 1, TANDEM_PRECISION_EXACT, &program), TANDEM_E_UNSUPPORTED);
    assert_non_null(strstr(m.error.message, " could make "));
    assert_null(program);
    fx.vulkan->limit_loops(fx.context, 0);
    OK(model_program(&m, 1, 1, TANDEM_PRECISION_EXACT, &program), &m);
    fx.api->program_destroy(program);
    model_close(&m);
}

/* ---- shape ---- */

/* Returns how many launches of attention and of q8 products there are. */
static uint32_t check_shape(const tandem_program *program, int is_gpu) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < fx.inside->launch_count(program); i++) {
        vk_test_dispatch d;
        gpu_test_launch launch;
        fx.vulkan->dispatch(program, i, &d);
        fx.inside->launch(program, i, &launch);
        if (!strncmp(launch.kernel, "attention_split", 15)) {
            assert_int_equal(d.spec[SPEC_KEYS_IN_FLIGHT], is_gpu ? 4 : 1);
            n++;
        } else if (!strncmp(launch.kernel, "matmul_", 7) && strstr(launch.kernel, "_q8")) {
            assert_int_equal(d.spec[SPEC_DOT_PAIRS],
                             is_gpu ? 0 : 1); /* of a device without fast dot products */
            assert_int_equal(d.spec[SPEC_UNROLL] >= 4 && d.spec[SPEC_LOCAL_SIZE] >= 128, is_gpu);
            n++;
        }
    }
    return n;
}

/* What other tests of this option run, then: four keys in flight, integer dot product instructions, tiles for
 * many threads, at any width of subgroups. */
static void keys_in_flight_4_is_executed(void **state) {
    (void)state;
    for (uint32_t max_tokens = 1; max_tokens <= 24; max_tokens += 23) {
        model m;
        tandem_program *program = NULL;
        OK(model_open(&m, fx.api, fx.context, &model_small), &m);
        OK(model_program(&m, max_tokens, 1, TANDEM_PRECISION_Q8, &program), &m);
        assert_true(check_shape(program, fx.vulkan->is_gpu_shape(fx.context)) >= 3 * MODEL_LAYERS);
        fx.api->program_destroy(program);
        model_close(&m);
    }
}

static void no_validation_message_came(void **state) {
    (void)state;
    assert_int_equal(fx.vulkan->n_messages(), 0);
    assert_int_equal(fx.n_log_error, 0);
}

int main(int argc, char **argv) {
    fixture_open(&fx, "vulkan", argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decode_layer_takes_at_most_13_steps),
        cmocka_unit_test(no_shader_exceeds_the_loop_budget),
        cmocka_unit_test(a_program_beyond_the_loop_budget_is_refused),
        cmocka_unit_test(keys_in_flight_4_is_executed),
        cmocka_unit_test(no_validation_message_came),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
