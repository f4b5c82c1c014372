/* host/stats.h: what a handful of noisy times says, and what it does not.
 *
 * A *block* is four measurements in the order A B B A: whatever drifts linearly (clocks, temperature) weighs
 * on both sides alike. Its value is the log of B's speed against A's, x = (log a1 + log a2 - log b1 - log b2)
 * / 2, and a comparison is the median of the blocks' values with a bootstrap 95 % interval: blocks are drawn
 * with replacement, the interval runs between the 2.5 % and 97.5 % points of the medians drawn (percentile
 * method, seeded), stretched by sqrt(n / (n - 1)): a sample scatters less about its own median than about the
 * true one. A median takes no harm from a few disturbed blocks. Where a block's value resembles the last
 * one's more than chance allows (rank correlation at a distance of one), there are fewer independent blocks
 * than blocks, and the interval is stretched accordingly. The *noise floor* is what a side against itself,
 * measured in blocks of the same kind, is seen to differ by: the end of that comparison's interval that lies
 * farther from 1.
 *
 * Tested against made-up samples with known answers: tests/stats_test.c.
 * Threads: pure functions, any thread.
 */
#ifndef TANDEM_HOST_STATS_H
#define TANDEM_HOST_STATS_H

#include <stdbool.h>
#include <stdint.h>

#define STATS_DRAWS 4000u /* medians drawn for an interval */
/* The extremes of five values enclose the median in 15 of 16 cases only: below six there is no 95 % interval.
 */
#define STATS_LEAST 6u
#define STATS_MOST 4096u

typedef struct stats_interval {
    double median;
    double low, high; /* of a 95 % interval; NaN below STATS_LEAST values */
} stats_interval;

/* Median of x[n], n > 0; reorders x. */
double stats_median(double *x, uint32_t n);

/* Median of x[n] and its interval, 0 < n <= STATS_MOST; x is sorted. The same seed gives the same interval.
 */
stats_interval stats_bootstrap(double *x, uint32_t n, uint64_t seed);

/* Times of one block, any unit, all > 0. */
typedef struct stats_block {
    double a1, b1, b2, a2;
} stats_block;

/* Log of B's speed against A's in one block. */
double stats_block_value(const stats_block *block);

/* B's speed against A's as a ratio: > 1 where B is faster. n <= STATS_MOST. */
stats_interval stats_ratio(const stats_block *blocks, uint32_t n, uint64_t seed);

typedef enum stats_verdict {
    STATS_NO_DIFFERENCE,
    STATS_FASTER, /* B than A */
    STATS_SLOWER,
    STATS_NOT_COMPARABLE,
} stats_verdict;

/* "no difference", "faster", "slower", "not comparable" */
const char *stats_verdict_name(stats_verdict verdict);

typedef struct stats_comparison {
    stats_interval ratio; /* B's speed against A's */
    stats_interval self;  /* A's against A's */
    double floor;         /* noise floor as a share: 0.01 is 1 % */
    double smallest;      /* effect, as a share, that four runs of five would have called a difference */
    stats_verdict verdict;
} stats_comparison;

/* Faster or slower where the interval excludes 1 *and* the median lies beyond the noise floor; not comparable
 * below STATS_LEAST blocks of either kind or where an interval is no number.
 *
 * `smallest`: with h the greater distance of the interval's ends from its median, in logs, the median lies
 * within h / 1.96 standard errors of the truth, and a difference is called in 80 % of all runs where the
 * truth is 0.84 standard errors beyond what the verdict asks for: max(h, floor) + 0.43 h. */
stats_comparison stats_compare(const stats_block *pairs, uint32_t n, const stats_block *self, uint32_t n_self,
                               uint64_t seed);

#endif
