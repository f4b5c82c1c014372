/* stats_test.c: intervals and verdicts on made-up samples whose answers are known. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "hash.h"
#include "stats.h"

#define N_BLOCK 24u /* the default of compare */
#define N_REPEAT 2000u

/* ---- made-up devices ---- */

typedef struct device {
    uint64_t state;
    double noise; /* standard deviation of the log of one time */
    double drift; /* likewise of the step that a random walk makes from one time to the next */
    double slope; /* constant drift a time */
    double spike; /* share of the times that something else disturbed, by 10 % and more */
    double walk;
} device;

static double uniform(device *d) {
    d->state += 0x9e3779b97f4a7c15u;
    return ((double)(hash_mix(d->state) >> 11) + 0.5) * 0x1p-53;
}

static double normal(device *d) {
    double radius = sqrt(-2 * log(uniform(d)));
    return radius * cos(2 * acos(-1.0) * uniform(d));
}

static double measure(device *d, double truth) {
    d->walk += d->slope + d->drift * normal(d);
    double x = d->walk + d->noise * normal(d);
    if (uniform(d) < d->spike)
        x += 0.1 + 0.1 * fabs(normal(d));
    return truth * exp(x);
}

static void measure_blocks(device *d, double a, double b, stats_block *blocks, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        blocks[i].a1 = measure(d, a);
        blocks[i].b1 = measure(d, b);
        blocks[i].b2 = measure(d, b);
        blocks[i].a2 = measure(d, a);
    }
}

static stats_comparison compare(device *d, double a, double b, uint64_t seed) {
    stats_block pairs[N_BLOCK], self[N_BLOCK];
    measure_blocks(d, a, b, pairs, N_BLOCK);
    measure_blocks(d, a, a, self, N_BLOCK);
    return stats_compare(pairs, N_BLOCK, self, N_BLOCK, seed);
}

/* ---- known answers ---- */

static void finds_the_median(void **state) {
    (void)state;
    double odd[] = {5, 1, 4}, even[] = {8, 1, 2, 4}, one[] = {7};
    assert_float_equal(stats_median(odd, 3), 4, 0);
    assert_float_equal(stats_median(even, 4), 3, 0);
    assert_float_equal(stats_median(one, 1), 7, 0);
}

static void a_block_gives_the_speed_of_b_against_a(void **state) {
    (void)state;
    stats_block twice_as_fast = {2, 1, 1, 2};
    assert_float_equal(stats_block_value(&twice_as_fast), log(2), 1e-15);
}

static void constant_drift_cancels_in_a_block(void **state) {
    (void)state;
    device d = {.slope = 0.01};
    stats_block blocks[N_BLOCK];
    measure_blocks(&d, 3, 4, blocks, N_BLOCK);
    stats_interval r = stats_ratio(blocks, N_BLOCK, 1);
    assert_float_equal(r.median, 0.75, 1e-12);
    assert_float_equal(r.low, 0.75, 1e-12);
    assert_float_equal(r.high, 0.75, 1e-12);
}

/* The interval of 1 ... 9: P(median drawn <= 3) = P(Bin(9, 3/9) >= 5) = 14.5 %, and <= 2: P(Bin(9, 2/9) >= 5)
 * = 2.7 %, <= 1: 0.1 %. So the 2.5 % point is 2, by symmetry the other 8, and both are stretched by
 * sqrt(9/8). */
static void bootstraps_what_the_binomial_says(void **state) {
    (void)state;
    double x[] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
    stats_interval r = stats_bootstrap(x, 9, 1);
    assert_float_equal(r.median, 5, 0);
    /* 2.7 % is near 2.5 %: the seed may tip it to 3 or leave it at 2, nothing else. */
    double low = 5 - (5 - r.low) / sqrt(9.0 / 8), high = 5 + (r.high - 5) / sqrt(9.0 / 8);
    assert_true(fabs(low - 2) < 1e-9 || fabs(low - 3) < 1e-9);
    assert_true(fabs(high - 8) < 1e-9 || fabs(high - 7) < 1e-9);
}

static void the_seed_decides_and_the_order_does_not(void **state) {
    (void)state;
    double x[] = {1, 5, 2, 8, 3, 9, 4, 7}, y[] = {9, 8, 7, 5, 4, 3, 2, 1};
    stats_interval a = stats_bootstrap(x, 8, 42), b = stats_bootstrap(y, 8, 42);
    assert_float_equal(a.low, b.low, 0);
    assert_float_equal(a.high, b.high, 0);
}

static void five_values_have_no_interval(void **state) {
    (void)state;
    double x[] = {1, 2, 3, 4, 5};
    assert_true(isnan(stats_bootstrap(x, 5, 1).low));
    stats_block few[5] = {{1, 2, 2, 1}, {1, 2, 2, 1}, {1, 2, 2, 1}, {1, 2, 2, 1}, {1, 2, 2, 1}};
    assert_int_equal(stats_compare(few, 5, few, 5, 1).verdict, STATS_NOT_COMPARABLE);
}

static void times_of_zero_are_not_compared(void **state) {
    (void)state;
    device d = {.noise = 0.01};
    stats_block pairs[N_BLOCK], self[N_BLOCK];
    measure_blocks(&d, 1, 1, pairs, N_BLOCK);
    measure_blocks(&d, 1, 1, self, N_BLOCK);
    pairs[3].b2 = 0;
    assert_int_equal(stats_compare(pairs, N_BLOCK, self, N_BLOCK, 1).verdict, STATS_NOT_COMPARABLE);
}

static void a_few_disturbed_blocks_change_nothing(void **state) {
    (void)state;
    device d = {.state = 5, .noise = 0.002};
    stats_block pairs[N_BLOCK], self[N_BLOCK];
    measure_blocks(&d, 1, 1.05, pairs, N_BLOCK);
    measure_blocks(&d, 1, 1, self, N_BLOCK);
    pairs[2].a1 = pairs[9].b1 = pairs[17].b2 = 30;
    stats_comparison c = stats_compare(pairs, N_BLOCK, self, N_BLOCK, 1);
    assert_int_equal(c.verdict, STATS_SLOWER);
    assert_float_equal(c.ratio.median, 1 / 1.05, 0.002);
}

static void finds_five_percent_either_way(void **state) {
    (void)state;
    device d = {.state = 2, .noise = 0.02, .drift = 0.001};
    stats_comparison slower = compare(&d, 1, 1.05, 1), faster = compare(&d, 1.05, 1, 2);
    assert_int_equal(slower.verdict, STATS_SLOWER);
    assert_int_equal(faster.verdict, STATS_FASTER);
    assert_true(slower.ratio.low < 1 / 1.05 && slower.ratio.high > 1 / 1.05);
}

/* An A side that differs from itself by 3 % (say, its place in the block) makes 2 % between the sides
 * nothing. */
static void what_a_does_against_itself_is_no_difference(void **state) {
    (void)state;
    device d = {.noise = 0.001};
    stats_block pairs[N_BLOCK], self[N_BLOCK];
    measure_blocks(&d, 1, 1.02, pairs, N_BLOCK);
    measure_blocks(&d, 1, 1.03, self, N_BLOCK);
    stats_comparison c = stats_compare(pairs, N_BLOCK, self, N_BLOCK, 1);
    assert_true(c.ratio.high < 1);
    assert_true(c.floor > 0.029 && c.floor < 0.033);
    assert_int_equal(c.verdict, STATS_NO_DIFFERENCE);
}

/* An effect of the size promised as detectable is called in four runs of five or more. */
static void the_smallest_effect_is_seen_four_times_in_five(void **state) {
    (void)state;
    device d = {.state = 11, .noise = 0.02};
    double smallest = 0;
    uint32_t n = 200, n_found = 0;
    for (uint32_t i = 0; i < n; i++)
        smallest += compare(&d, 1, 1, i).smallest / n;
    for (uint32_t i = 0; i < n; i++)
        n_found += compare(&d, 1, 1 + smallest, i).verdict == STATS_SLOWER;
    if (n_found < n * 3 / 4)
        fail_msg("%.4f was found in %u of %u", smallest, n_found, n);
}

/* ---- two thousand comparisons of a device with itself ---- */

static void repeat(device d) {
    uint32_t n_covered = 0, n_called = 0, n_outside = 0;
    for (uint32_t i = 0; i < N_REPEAT; i++) {
        stats_comparison c = compare(&d, 1, 1, i * 7919u);
        n_covered += c.ratio.low <= 1 && c.ratio.high >= 1;
        n_outside += c.ratio.low > 1 || c.ratio.high < 1;
        n_called += c.verdict != STATS_NO_DIFFERENCE;
    }
    print_message("coverage %.2f %%, intervals without 1: %.2f %%, false alarms %.2f %%\n",
                  100.0 * n_covered / N_REPEAT, 100.0 * n_outside / N_REPEAT, 100.0 * n_called / N_REPEAT);
    assert_in_range(n_covered, N_REPEAT * 93 / 100, N_REPEAT * 97 / 100);
    assert_true(n_called <= N_REPEAT * 6 / 100);
}

static void false_alarms_are_rare_and_intervals_cover_under_plain_noise(void **state) {
    (void)state;
    repeat((device){.state = 3, .noise = 0.01});
}

static void false_alarms_are_rare_and_intervals_cover_under_drift_and_spikes(void **state) {
    (void)state;
    repeat((device){.state = 4, .noise = 0.01, .drift = 0.001, .slope = 0.0002, .spike = 0.03});
}

/* A neighbour that comes and goes: what weighs on one side weighs on it in the next block too. An interval
 * that takes the blocks for independent covers 65 % here. */
static void blocks_that_resemble_each_other_count_for_fewer(void **state) {
    (void)state;
    device d = {.state = 9, .noise = 0.005};
    uint32_t n_covered = 0, n_called = 0;
    for (uint32_t i = 0; i < N_REPEAT; i++) {
        stats_block pairs[N_BLOCK], self[N_BLOCK];
        measure_blocks(&d, 1, 1, pairs, N_BLOCK);
        measure_blocks(&d, 1, 1, self, N_BLOCK);
        double burden = 0.02 / sqrt(1 - 0.49) * normal(&d);
        for (uint32_t k = 0; k < N_BLOCK; k++) {
            burden = 0.7 * burden + 0.02 * normal(&d);
            pairs[k].b1 *= exp(burden);
            pairs[k].b2 *= exp(burden);
        }
        stats_comparison c = stats_compare(pairs, N_BLOCK, self, N_BLOCK, i);
        n_covered += c.ratio.low <= 1 && c.ratio.high >= 1;
        n_called += c.verdict != STATS_NO_DIFFERENCE;
    }
    print_message("coverage %.2f %%, false alarms %.2f %%\n", 100.0 * n_covered / N_REPEAT,
                  100.0 * n_called / N_REPEAT);
    assert_true(n_covered >= N_REPEAT * 80 / 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_median),
        cmocka_unit_test(a_block_gives_the_speed_of_b_against_a),
        cmocka_unit_test(constant_drift_cancels_in_a_block),
        cmocka_unit_test(bootstraps_what_the_binomial_says),
        cmocka_unit_test(the_seed_decides_and_the_order_does_not),
        cmocka_unit_test(five_values_have_no_interval),
        cmocka_unit_test(times_of_zero_are_not_compared),
        cmocka_unit_test(a_few_disturbed_blocks_change_nothing),
        cmocka_unit_test(finds_five_percent_either_way),
        cmocka_unit_test(what_a_does_against_itself_is_no_difference),
        cmocka_unit_test(the_smallest_effect_is_seen_four_times_in_five),
        cmocka_unit_test(false_alarms_are_rare_and_intervals_cover_under_plain_noise),
        cmocka_unit_test(false_alarms_are_rare_and_intervals_cover_under_drift_and_spikes),
        cmocka_unit_test(blocks_that_resemble_each_other_count_for_fewer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
