/* Experts in a GPU plugin, beyond what the op cases compare: ids of no expert, costs, and which way a
 * program takes.
 *
 * usage: gpu_moe_test [--plugin NAME] [--option NAME=VALUE]...      default: vulkan
 */
#include "gpu_model.h"

#include "cases/side.h"
#include "tandem/quants.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { D = 64, WIDTH = 96, N_EXPERT = 8, N_USED = 2 };

static fixture fx;

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

static const side_matrix expert[] = {{TANDEM_ROLE_GATE_UP, TANDEM_TYPE_Q4_0, 2 * WIDTH, D},
                                     {TANDEM_ROLE_DOWN, TANDEM_TYPE_Q8_0, D, WIDTH}};

/* Router with imposed ids, then experts; `rows` of them. */
static void build(side *s, uint32_t rows, uint32_t precision, tandem_buffer **imposed) {
    const side_matrix router = {TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, N_EXPERT, D};
    tandem_op_moe_route route = {
        .head = {.struct_size = sizeof route, .kind = TANDEM_OP_MOE_ROUTE, .label = "route"},
        .n_used = N_USED};
    tandem_op_moe_ffn ffn = {
        .head = {.struct_size = sizeof ffn, .kind = TANDEM_OP_MOE_FFN, .label = "experts"}, .n_used = N_USED};
    uint32_t *none = side_memory(s, rows * N_USED * sizeof *none);
    memset(none, 0xff, rows * N_USED * sizeof *none);
    s->precision = precision;
    s->max_tokens = rows;
    side_rows(s, rows, 0, 100, 0);
    OK(side_input(s, TANDEM_ROWS_ALL, rows, rows, D, 1, &route.x), s);
    OK(side_weights(s, 1, 1, &router, &route.weights), s);
    OK(side_buffer(s, none, rows * N_USED * sizeof *none, imposed), s);
    route.imposed = (tandem_view){.buffer = *imposed, .stride = N_USED * sizeof *none};
    OK(side_route_result(s, TANDEM_ROWS_ALL, rows, rows, N_USED, NULL, &route.route), s);
    OK(side_weights(s, N_EXPERT, 2, expert, &ffn.weights), s);
    ffn.x = route.x;
    ffn.route = route.route;
    OK(side_result(s, TANDEM_ROWS_ALL, rows, rows, D, "y", &ffn.y), s);
    side_op(s, &route, 1);
    side_op(s, &ffn, 1);
    OK(side_compile(s), s);
}

static void check_wrong_ids(uint32_t rows, uint32_t precision) {
    static const uint32_t wrong[2][N_USED] = {{3, N_EXPERT}, {TANDEM_NONE - 1, TANDEM_NONE}};
    side s;
    tandem_buffer *imposed;
    side_open(&s, fx.api, fx.context);
    build(&s, rows, precision, &imposed);
    OK(side_run(&s), &s);
    unsigned char *before = side_read(&s, &s.outputs[1]);
    assert_non_null(before);
    for (uint32_t i = 0; i < 2; i++) /* rows 0 and 2 */
        OK(fx.api->buffer_write(imposed, 2 * i * sizeof *wrong, wrong[i], sizeof *wrong, &s.error), &s);
    OK(side_run(&s), &s);
    unsigned char *after = side_read(&s, &s.outputs[1]);
    assert_non_null(after);
    for (uint32_t r = 0; r < rows; r++) {
        uint64_t at = s.outputs[1].view.offset + r * s.outputs[1].view.stride;
        const float *a = (const float *)(const void *)(before + at), *b = (const float *)(void *)(after + at);
        for (uint32_t i = 0; i < D; i++)
            if (r == 0 || r == 2)
                assert_true(isnan(b[i]) && isfinite(a[i]));
            else /* another tile may serve the row now */
                assert_true(fabsf(a[i] - b[i]) <= 1e-4f * (1 + fabsf(a[i])));
    }
    free(before);
    free(after);
    side_close(&s);
}

/* note: run with vulkan.gpu_assisted, which notices a read out of bounds. */
static void an_id_of_no_expert_spoils_its_row_alone(void **state) {
    (void)state;
    for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8) {
        check_wrong_ids(3, p);
        check_wrong_ids(21, p);
    }
}

static void costs_count_each_distinct_expert_once(void **state) {
    (void)state;
    const uint64_t bytes = 2 * WIDTH * tandem_kit_row_bytes(TANDEM_TYPE_Q4_0, D) +
                           D * tandem_kit_row_bytes(TANDEM_TYPE_Q8_0, WIDTH);
    for (uint32_t rows = 1; rows <= 21; rows += 20) {
        side s;
        tandem_buffer *imposed;
        uint32_t n_step, n_expert = rows * N_USED < N_EXPERT ? rows * N_USED : N_EXPERT;
        uint64_t weight_bytes = 0, n_counted = 0;
        tandem_cost costs[16], *list[16];
        side_open(&s, fx.api, fx.context);
        build(&s, rows, TANDEM_PRECISION_EXACT, &imposed);
        OK(fx.api->program_step_count(s.program, &n_step, &s.error), &s);
        assert_in_range(n_step, 4, 16);
        for (uint32_t i = 0; i < n_step; i++) {
            costs[i] = (tandem_cost){.struct_size = sizeof costs[i]};
            list[i] = &costs[i];
        }
        OK(fx.api->program_cost(s.program, &s.run, list, n_step, &s.error), &s);
        for (uint32_t i = 0; i < n_step; i++) {
            assert_true(costs[i].n_expert == 0 || costs[i].n_expert == n_expert);
            weight_bytes += costs[i].n_expert ? costs[i].weight_bytes_min : 0;
            n_counted += costs[i].n_expert;
            assert_true(costs[i].weight_bytes >= costs[i].weight_bytes_min);
        }
        assert_int_equal(n_counted, 2 * n_expert);
        assert_int_equal(weight_bytes, n_expert * bytes);
        side_close(&s);
    }
}

/* ---- the way a program takes: its first step's kernel; weights stay unwritten ---- */

static tandem_status compile(uint32_t n_expert, uint32_t n_used, uint32_t width, uint32_t max_tokens,
                             char kernel[64]) {
    side s;
    const tandem_matrix_desc m[2] = {{.struct_size = sizeof m[0],
                                      .role = TANDEM_ROLE_GATE_UP,
                                      .type = TANDEM_TYPE_Q4_0,
                                      .n_row = 2ull * width,
                                      .n_col = 32},
                                     {.struct_size = sizeof m[0],
                                      .role = TANDEM_ROLE_DOWN,
                                      .type = TANDEM_TYPE_Q4_0,
                                      .n_row = 32,
                                      .n_col = width}};
    const tandem_matrix_desc *list[2] = {&m[0], &m[1]};
    tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = n_expert, .n_matrix = 2, .matrices = list};
    tandem_op_moe_ffn op = {.head = {.struct_size = sizeof op, .kind = TANDEM_OP_MOE_FFN}, .n_used = n_used};
    tandem_step step = {.struct_size = sizeof step};
    side_open(&s, fx.api, fx.context);
    OK(fx.api->weights_create(fx.context, &desc, &op.weights, &s.error), &s);
    OK(side_scratch(&s, TANDEM_ROWS_ALL, max_tokens, 32, &op.x), &s);
    OK(side_scratch(&s, TANDEM_ROWS_ALL, max_tokens, 2 * n_used, &op.route), &s);
    OK(side_scratch(&s, TANDEM_ROWS_ALL, max_tokens, 32, &op.y), &s);
    side_op(&s, &op, 1);
    s.max_tokens = max_tokens;
    tandem_status status = side_compile(&s);
    if (status == TANDEM_OK)
        OK(fx.api->program_step(s.program, 0, &step, &s.error), &s);
    else
        assert_true(strlen(s.error.message) > 20);
    snprintf(kernel, 64, "%s", step.kernel);
    side_close(&s);
    fx.api->weights_destroy(op.weights);
    return status;
}

static void rows_are_sorted_where_they_share_experts(void **state) {
    char kernel[64];
    (void)state;
    assert_int_equal(compile(128, 8, 32, 1, kernel), TANDEM_OK);
    assert_string_not_equal(kernel, "moe_group");
    assert_int_equal(compile(128, 8, 32, 5, kernel), TANDEM_OK);
    assert_string_not_equal(kernel, "moe_group");
    assert_int_equal(compile(8, 8, 32, 2, kernel), TANDEM_OK);
    assert_string_equal(kernel, "moe_group");
    assert_int_equal(compile(128, 8, 32, 64, kernel), TANDEM_OK);
    assert_string_equal(kernel, "moe_group");
}

/* One row whose down products make more loop iterations than a work-group may on lavapipe, which counts
 * them. Other drivers take the row as it is. */
static void a_row_of_very_many_experts_is_sorted_where_loops_are_counted(void **state) {
    if (!fx.vulkan)
        skip(); /* a limit of the Vulkan plugin */
    char kernel[64];
    tandem_device_info info = {.struct_size = sizeof info};
    (void)state;
    OK(fx.api->device_info(fx.device, &info, &fx.error), &fx);
    assert_int_equal(compile(128, 128, 8192, 1, kernel), TANDEM_OK);
    assert_int_equal(!strcmp(kernel, "moe_group"), strstr(info.abilities, "loop iterations") != NULL);
}

static void more_entries_than_a_launch_covers_are_refused(void **state) {
    if (!fx.vulkan)
        skip(); /* a limit of the Vulkan plugin */
    char kernel[64];
    (void)state;
    assert_int_equal(compile(8, 8, 32, 8192, kernel), TANDEM_E_UNSUPPORTED);
}

static void more_experts_than_kernels_know_are_refused(void **state) {
    char kernel[64];
    (void)state;
    assert_int_equal(compile(1025, 1, 32, 1, kernel), TANDEM_E_UNSUPPORTED);
}

static void no_validation_message_came(void **state) {
    (void)state;
    if (!fx.vulkan)
        skip();
    assert_int_equal(fx.vulkan->n_messages(), 0);
    assert_int_equal(fx.n_log_error, 0);
}

int main(int argc, char **argv) {
    fixture_open(&fx, "vulkan", argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_of_no_expert_spoils_its_row_alone),
        cmocka_unit_test(costs_count_each_distinct_expert_once),
        cmocka_unit_test(rows_are_sorted_where_they_share_experts),
        cmocka_unit_test(a_row_of_very_many_experts_is_sorted_where_loops_are_counted),
        cmocka_unit_test(more_entries_than_a_launch_covers_are_refused),
        cmocka_unit_test(more_experts_than_kernels_know_are_refused),
        cmocka_unit_test(no_validation_message_came),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
