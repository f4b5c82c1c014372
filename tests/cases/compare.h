/* Judges what two sides wrote: error of the worst row, guard bytes, ids. */
#ifndef TANDEM_TESTS_COMPARE_H
#define TANDEM_TESTS_COMPARE_H

#include "cases.h"

typedef struct comparison {
    double worst;      /* sum (a-b)^2 / sum b^2 of the worst row */
    double median;     /* over rows */
    char trouble[256]; /* empty: no NaN, no touched guard, no different id */
    uint32_t n_swap;   /* rows of a route whose ids differ where the margin is too small to tell */
    char swap[128];    /* the first of them */
} comparison;

/* `expected` and `actual` are whole buffers of the same output on the two sides. */
void compare_output(const side_output *output, const unsigned char *expected, const unsigned char *actual,
                    comparison *result);

#endif
