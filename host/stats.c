/* host/stats.c: medians, bootstrap intervals, verdicts (contract: stats.h). */
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of ascending values. */
static double middle(const double *x, uint32_t n) {
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

double stats_median(double *x, uint32_t n) {
    qsort(x, n, sizeof *x, compare_doubles);
    return middle(x, n);
}

/* ---- bootstrap ---- */

/* Uniform below n: the high half of a 32 x 32 bit product; its bias, n / 2^32, is far below what counts here.
 */
static uint32_t draw(uint64_t *state, uint32_t n) {
    *state += 0x9e3779b97f4a7c15u;
    return (uint32_t)(((hash_mix(*state) >> 32) * n) >> 32);
}

/* The k-th smallest rank, from 0, of those counted. */
static uint32_t rank_at(const uint16_t *counts, uint32_t k) {
    uint32_t rank = 0, seen = counts[0];
    while (seen <= k)
        seen += counts[++rank];
    return rank;
}

/* Median of n of the sorted x, drawn with replacement: ranks are counted, nothing is sorted. */
static double drawn_median(const double *x, uint32_t n, uint64_t *state, uint16_t *counts) {
    memset(counts, 0, n * sizeof *counts);
    for (uint32_t i = 0; i < n; i++)
        counts[draw(state, n)]++;
    double upper = x[rank_at(counts, n / 2)];
    return n % 2 ? upper : (x[rank_at(counts, n / 2 - 1)] + upper) / 2;
}

stats_interval stats_bootstrap(double *x, uint32_t n, uint64_t seed) {
    stats_interval r = {.median = stats_median(x, n), .low = NAN, .high = NAN};
    if (n < STATS_LEAST || n > STATS_MOST || isnan(r.median))
        return r;
    double medians[STATS_DRAWS];
    uint16_t counts[STATS_MOST];
    uint64_t state = hash_mix(seed + 1);
    for (uint32_t i = 0; i < STATS_DRAWS; i++)
        medians[i] = drawn_median(x, n, &state, counts);
    qsort(medians, STATS_DRAWS, sizeof *medians, compare_doubles);
    const double wider = sqrt(n / (n - 1.0));
    r.low = r.median - (r.median - medians[STATS_DRAWS / 40]) * wider;
    r.high = r.median + (medians[STATS_DRAWS - 1 - STATS_DRAWS / 40] - r.median) * wider;
    return r;
}

/* ---- blocks ---- */

double stats_block_value(const stats_block *b) {
    return (log(b->a1) + log(b->a2) - log(b->b1) - log(b->b2)) / 2;
}

/* How much wider an interval must be where one block's value resembles the last one's: correlation r of ranks
 * (which a few disturbed blocks do not rule) at a distance of one, if it is more than chance makes of
 * unrelated blocks, leaves n (1 - r) / (1 + r) independent ones. */
static double dependence(const double *values, uint32_t n) {
    double rank[STATS_MOST], product = 0, square = 0;
    for (uint32_t i = 0; i < n; i++) {
        rank[i] = -(n - 1.0) / 2;
        for (uint32_t k = 0; k < n; k++)
            rank[i] += values[k] < values[i] ? 1 : values[k] == values[i] && k != i ? 0.5 : 0;
        square += rank[i] * rank[i];
        product += i ? rank[i] * rank[i - 1] : 0;
    }
    const double seen = square > 0 ? product / square : 0;
    if (seen <= 1.64 / sqrt(n)) /* what one set of unrelated blocks in twenty exceeds */
        return 1;
    const double r = fmin(seen + (1 + 4 * seen) / n, 0.95); /* so few blocks show too little of it */
    return sqrt((1 + r) / (1 - r));
}

/* In logs. */
static stats_interval block_interval(const stats_block *blocks, uint32_t n, uint64_t seed) {
    double values[STATS_MOST];
    stats_interval none = {NAN, NAN, NAN};
    if (!n || n > STATS_MOST)
        return none;
    for (uint32_t i = 0; i < n; i++) {
        values[i] = stats_block_value(&blocks[i]);
        if (!isfinite(values[i]))
            return none;
    }
    const double wider = dependence(values, n);
    stats_interval r = stats_bootstrap(values, n, seed);
    r.low = r.median - (r.median - r.low) * wider;
    r.high = r.median + (r.high - r.median) * wider;
    return r;
}

static stats_interval ratios_of(stats_interval logs) {
    return (stats_interval){exp(logs.median), exp(logs.low), exp(logs.high)};
}

stats_interval stats_ratio(const stats_block *blocks, uint32_t n, uint64_t seed) {
    return ratios_of(block_interval(blocks, n, seed));
}

const char *stats_verdict_name(stats_verdict verdict) {
    static const char *const names[] = {[STATS_NO_DIFFERENCE] = "no difference",
                                        [STATS_FASTER] = "faster",
                                        [STATS_SLOWER] = "slower",
                                        [STATS_NOT_COMPARABLE] = "not comparable"};
    return names[verdict];
}

/* Standard errors of a normal median: half of a 95 % interval, and what 80 % of all runs exceed. */
#define HALF_WIDTH 1.96
#define POWER_80 0.84

stats_comparison stats_compare(const stats_block *pairs, uint32_t n, const stats_block *self, uint32_t n_self,
                               uint64_t seed) {
    stats_interval ratio = block_interval(pairs, n, seed), noise = block_interval(self, n_self, seed + 1);
    stats_comparison c = {.ratio = ratios_of(ratio), .self = ratios_of(noise)};
    const double floor = fmax(fabs(noise.low), fabs(noise.high));
    const double half = fmax(ratio.high - ratio.median, ratio.median - ratio.low);
    c.floor = expm1(floor);
    c.smallest = expm1(fmax(half, floor) + half * POWER_80 / HALF_WIDTH);
    if (isnan(ratio.low) || isnan(noise.low)) {
        c.floor = c.smallest = NAN;
        c.verdict = STATS_NOT_COMPARABLE;
    } else if (ratio.low > 0 && ratio.median > floor) {
        c.verdict = STATS_FASTER;
    } else if (ratio.high < 0 && ratio.median < -floor) {
        c.verdict = STATS_SLOWER;
    }
    return c;
}
