/* compare_test.c: verdicts, doubts and explanations of comparisons whose figures are made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

/* A cell of two sides on one card; what a test does not touch is in order. */
typedef struct world {
    compare_options options;
    compare c;
    compare_cell cell;
} world;

static int set_up(void **state) {
    world *w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    w->options = (compare_options){.common = {.seed = 1}, .n_block = 12, .max_seconds = 5, .fill = "real"};
    w->c = (compare){.options = &w->options, .n_vocab = 4, .same_card = true};
    static const float logits[] = {1, 2, 3, 4};
    for (uint32_t i = 0; i < N_SIDE; i++) {
        w->c.side[i].name = i ? "beta" : "alpha";
        snprintf(w->c.side[i].label, sizeof w->c.side[i].label, i ? "beta (B)" : "alpha (A)");
        w->c.side[i].device.info.kind = TANDEM_DEVICE_GPU;
        compare_tally *t = &w->cell.side[i];
        t->n_turn = 12;
        t->n_hash = 12;
        t->sum_all = 1e9;
        t->sum_wall = 1.01e9;
        t->device_ns = 1e6;
        t->logits = malloc(sizeof logits);
        if (!t->logits)
            return -1;
        memcpy(t->logits, logits, sizeof logits);
    }
    w->cell.n_token = 1;
    w->cell.n_block = 12;
    *state = w;
    return 0;
}

static int tear_down(void **state) {
    world *w = *state;
    for (uint32_t i = 0; i < N_SIDE; i++) {
        free(w->cell.side[i].logits);
        cJSON_Delete(w->cell.side[i].profile);
    }
    free(w);
    return 0;
}

/* B takes `b` times as long as A, with a ripple that makes an interval. */
static void fill_blocks(world *w, double b) {
    for (uint32_t i = 0; i < w->cell.n_block; i++) {
        const double x = 1 + 0.001 * ((i * 7) % 12), y = 1 + 0.001 * ((i * 5) % 12);
        w->cell.pairs[i] = (stats_block){x, b * y, b * x, y};
        w->cell.self[i] = (stats_block){x, y, x, y};
    }
    w->cell.side[SIDE_B].device_ns = b * 1e6;
}

static void add_op(compare_tally *t, const char *op, double ns, double bytes) {
    if (!t->profile)
        t->profile = cJSON_CreateArray();
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "op", op);
    cJSON_AddNumberToObject(j, "ns", ns);
    cJSON_AddNumberToObject(j, "bytes", bytes);
    cJSON_AddItemToArray(t->profile, j);
}

static const compare_doubt *find_doubt(const compare_doubts *doubts, const char *guard) {
    for (uint32_t i = 0; i < doubts->n; i++)
        if (!strcmp(doubts->item[i].guard, guard))
            return &doubts->item[i];
    return NULL;
}

static void assert_not_comparable(const world *w, const char *guard) {
    assert_string_equal(w->cell.verdict, "not comparable");
    assert_int_equal(compare_exit_code(&w->cell), TANDEM_EXIT_BAD_ANSWER);
    if (!find_doubt(&w->cell.doubts, guard))
        fail_msg("no doubt of kind %s", guard);
    assert_int_equal(w->cell.doubts.n, 1);
}

/* ---- verdicts ---- */

static void a_slower_b_is_an_exit_code(void **state) {
    world *w = *state;
    fill_blocks(w, 1.25);
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "slower");
    assert_float_equal(w->cell.stats.ratio.median, 0.8, 0.005);
    assert_int_equal(compare_exit_code(&w->cell), TANDEM_EXIT_BAD_ANSWER);
}

static void a_faster_b_is_good(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "faster");
    assert_int_equal(compare_exit_code(&w->cell), TANDEM_EXIT_GOOD);
}

static void no_difference_says_what_would_have_been_seen(void **state) {
    world *w = *state;
    fill_blocks(w, 1);
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "no difference");
    assert_true(w->cell.stats.smallest > 0 && w->cell.stats.smallest < 0.05);
    assert_int_equal(compare_exit_code(&w->cell), TANDEM_EXIT_GOOD);
}

static void too_few_blocks_are_no_comparison(void **state) {
    world *w = *state;
    w->cell.n_block = 4;
    fill_blocks(w, 2);
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "blocks");
}

/* ---- guards ---- */

static void a_doubt_about_both_sides_forbids_every_cell(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    compare_add_doubt(&w->c.doubts, "outputs", "wrong");
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "not comparable");
}

static void outputs_that_change_are_no_comparison(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->cell.side[SIDE_B].n_unequal = 1;
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "hash");
    assert_non_null(strstr(w->cell.doubts.item[0].text, "beta (B)"));
}

static void a_wrong_layer_at_depth_is_no_comparison(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->cell.side[SIDE_A].probe.n_result = 1;
    w->cell.side[SIDE_A].probe.result[0] =
        (probe_result){.what = "attention", .layer = 5, .error = NAN, .budget = 1e-8};
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "outputs");
}

static void a_probe_of_another_precision_names_it(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    probe *p = &w->cell.side[SIDE_B].probe;
    p->n_result = 2;
    p->result[0] = (probe_result){.what = "stream", .error = 1e-5, .budget = 1e-8};
    p->result[1] = (probe_result){.what = "down rows", .error = 1e-5, .budget = 1e-8, .instead = "q8"};
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "precision");
    assert_non_null(strstr(w->cell.doubts.item[0].text, "q8"));
}

static void outputs_with_nothing_in_common_are_no_comparison(void **state) {
    world *w = *state;
    static const float other[] = {4, 1, 4, 1};
    fill_blocks(w, 0.5);
    memcpy(w->cell.side[SIDE_B].logits, other, sizeof other);
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "outputs");
    memcpy(w->cell.side[SIDE_B].logits, (float[]){NAN, 2, 3, 4}, sizeof other);
    w->cell.doubts.n = 0;
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "outputs");
}

static void a_clock_that_runs_ahead_is_no_clock(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->cell.side[SIDE_B].sum_all = 2e9;
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "clock");
}

static void a_clock_that_misses_most_of_the_time_is_no_clock(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->cell.side[SIDE_B].sum_all = 0.3e9;
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "clock");
}

static void a_gpu_that_keeps_processors_busy_is_none(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->cell.side[SIDE_B].sum_other_cpu = 0.9e9;
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "fallback");
    /* A software device may. */
    w->c.side[SIDE_A].device.info.kind = w->c.side[SIDE_B].device.info.kind = TANDEM_DEVICE_SOFTWARE;
    w->cell.doubts.n = 0;
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "faster");
}

static void one_card_is_not_gpu_and_processor(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->c.side[SIDE_A].device.info.kind = TANDEM_DEVICE_SOFTWARE;
    compare_judge(&w->c, &w->cell);
    assert_not_comparable(w, "fallback");
    w->c.same_card = false; /* two devices may */
    w->cell.doubts.n = 0;
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "faster");
}

static void a_simulated_side_has_outputs_and_no_verdict_on_time(void **state) {
    world *w = *state;
    fill_blocks(w, 0.5);
    w->c.simulated = true;
    w->cell.n_block = 0;
    w->cell.side[SIDE_B].sum_all = 5e9;
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "outputs agree");
    assert_int_equal(compare_exit_code(&w->cell), TANDEM_EXIT_GOOD);
}

static void doubts_beyond_the_list_are_dropped(void **state) {
    (void)state;
    compare_doubts doubts = {0};
    for (uint32_t i = 0; i < COMPARE_MOST_DOUBTS + 3; i++)
        compare_add_doubt(&doubts, "outputs", "%u", i);
    assert_int_equal(doubts.n, COMPARE_MOST_DOUBTS);
}

/* ---- explanation ---- */

static void two_outputs_differ_by_a_share_of_their_spread(void **state) {
    (void)state;
    const float a[] = {0, 2}, b[] = {0, 3}; /* spread 1 + 1, difference 1 */
    assert_float_equal(compare_logits_error(a, b, 2), 0.5, 1e-12);
    assert_true(isinf(compare_logits_error((float[]){1, 1}, b, 2)));
}

static void ops_of_both_sides_are_joined_by_name(void **state) {
    world *w = *state;
    compare_op *ops;
    assert_int_equal(compare_ops(&w->c, &w->cell, &ops), 0);
    assert_null(ops);
    add_op(&w->cell.side[SIDE_A], "attention", 310e3, 10);
    add_op(&w->cell.side[SIDE_A], "ffn_down", 600e3, 20);
    add_op(&w->cell.side[SIDE_B], "ffn_down", 900e3, 20);
    add_op(&w->cell.side[SIDE_B], "topk", 50e3, 0);
    w->cell.side[SIDE_B].gap_ns = 7e3;
    const uint32_t n = compare_ops(&w->c, &w->cell, &ops);
    assert_int_equal(n, 5);
    assert_string_equal(ops[0].name, "attention");
    assert_float_equal(ops[0].ns[SIDE_B] - ops[0].ns[SIDE_A], -310e3, 1e-6);
    assert_string_equal(ops[1].name, "ffn_down");
    assert_string_equal(ops[2].name, "topk");
    assert_string_equal(ops[3].name, COMPARE_BETWEEN);
    assert_float_equal(ops[3].ns[SIDE_A], 90e3, 1e-6);
    assert_float_equal(ops[3].ns[SIDE_B], 50e3, 1e-6);
    assert_string_equal(ops[4].name, COMPARE_IDLE);
    assert_float_equal(compare_difference(ops, n), 300e3 - 310e3 + 50e3 - 40e3 + 7e3, 1e-6);
    free(ops);
}

/* Products are held against the rate of their precision, attention against the best there is. */
static void an_op_is_held_against_the_slower_of_bytes_and_products(void **state) {
    world *w = *state;
    compare_op *ops;
    w->c.peak[SIDE_A] = (compare_peak){.read_bytes = 1e9, .flops = 1e9, .best_flops = 4e9};
    const char *names[] = {"ffn_down", "attention"};
    for (uint32_t i = 0; i < 2; i++) {
        add_op(&w->cell.side[SIDE_A], names[i], 1e6, 5e5);
        add_op(&w->cell.side[SIDE_B], names[i], 2e6 - 1e5 * i, 5e5);
        cJSON_AddNumberToObject(cJSON_GetArrayItem(w->cell.side[SIDE_A].profile, (int)i), "flops", 8e5);
    }
    assert_int_equal(compare_ops(&w->c, &w->cell, &ops), 4);
    assert_string_equal(ops[0].name, "ffn_down");
    assert_float_equal(ops[0].roof_ns[SIDE_A], 8e5, 1e-6); /* 8e5 products at 1e9 a second */
    assert_float_equal(ops[1].roof_ns[SIDE_A], 5e5, 1e-6); /* 5e5 bytes; its products take 2e5 */
    assert_float_equal(ops[0].roof_ns[SIDE_B], 0, 0);
    free(ops);
}

static void the_sentence_names_the_op_that_is_slower(void **state) {
    world *w = *state;
    char text[500];
    fill_blocks(w, 1.05);
    add_op(&w->cell.side[SIDE_A], "attention", 400e3, 10);
    add_op(&w->cell.side[SIDE_A], "ffn_down", 600e3, 20);
    add_op(&w->cell.side[SIDE_B], "attention", 401e3, 10);
    add_op(&w->cell.side[SIDE_B], "ffn_down", 649e3, 20);
    compare_judge(&w->c, &w->cell);
    assert_string_equal(w->cell.verdict, "slower");
    compare_sentence(&w->c, &w->cell, text, sizeof text);
    assert_string_equal(text, "beta (B) takes 50 us more for a token, and most of it by ffn_down (98 %).");
}

static void idle_time_explains_a_difference_too(void **state) {
    world *w = *state;
    char text[500];
    fill_blocks(w, 1.2);
    add_op(&w->cell.side[SIDE_A], "ffn_down", 1e6, 20);
    add_op(&w->cell.side[SIDE_B], "ffn_down", 1e6, 20);
    w->cell.side[SIDE_B].device_ns = 1e6;
    w->cell.side[SIDE_B].gap_ns = 200e3;
    compare_judge(&w->c, &w->cell);
    compare_sentence(&w->c, &w->cell, text, sizeof text);
    assert_string_equal(text, "beta (B) takes 200 us more for a token, and most of it by (idle) (100 %).");
}

static void no_difference_is_not_explained(void **state) {
    world *w = *state;
    char text[500] = "x";
    fill_blocks(w, 1);
    add_op(&w->cell.side[SIDE_A], "ffn_down", 1e6, 20);
    add_op(&w->cell.side[SIDE_B], "ffn_down", 1.001e6, 20);
    compare_judge(&w->c, &w->cell);
    compare_sentence(&w->c, &w->cell, text, sizeof text);
    assert_string_equal(text, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_slower_b_is_an_exit_code),
        TEST(a_faster_b_is_good),
        TEST(no_difference_says_what_would_have_been_seen),
        TEST(too_few_blocks_are_no_comparison),
        TEST(a_doubt_about_both_sides_forbids_every_cell),
        TEST(outputs_that_change_are_no_comparison),
        TEST(a_wrong_layer_at_depth_is_no_comparison),
        TEST(a_probe_of_another_precision_names_it),
        TEST(outputs_with_nothing_in_common_are_no_comparison),
        TEST(a_clock_that_runs_ahead_is_no_clock),
        TEST(a_clock_that_misses_most_of_the_time_is_no_clock),
        TEST(a_gpu_that_keeps_processors_busy_is_none),
        TEST(one_card_is_not_gpu_and_processor),
        TEST(a_simulated_side_has_outputs_and_no_verdict_on_time),
        TEST(doubts_beyond_the_list_are_dropped),
        TEST(two_outputs_differ_by_a_share_of_their_spread),
        TEST(ops_of_both_sides_are_joined_by_name),
        TEST(an_op_is_held_against_the_slower_of_bytes_and_products),
        TEST(the_sentence_names_the_op_that_is_slower),
        TEST(idle_time_explains_a_difference_too),
        TEST(no_difference_is_not_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
