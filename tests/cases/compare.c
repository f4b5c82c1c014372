#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double row_error(const float *expected, const float *actual, uint32_t n, int *finite) {
    double off = 0, size = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(actual[i]) && isfinite(expected[i]))
            *finite = 0;
        double d = (double)actual[i] - (double)expected[i];
        off += d * d;
        size += (double)expected[i] * (double)expected[i];
    }
    return size > 0 ? off / size : off > 0 ? INFINITY : 0;
}

/* Every byte outside the live rows still holds the guard pattern. */
static int guards_hold(const side_output *o, const unsigned char *bytes, uint64_t row_bytes) {
    for (uint64_t i = 0; i < o->bytes; i++) {
        int inside = 0;
        if (i >= o->view.offset) {
            uint64_t row = (i - o->view.offset) / o->view.stride, at = (i - o->view.offset) % o->view.stride;
            inside = row < o->live && at < row_bytes;
        }
        if (!inside && bytes[i] != 0xa5)
            return 0;
    }
    return 1;
}

static double topk_row(const uint32_t *expected, const uint32_t *actual, uint32_t k, uint32_t row, char *trouble) {
    for (uint32_t i = 0; i < k; i++)
        if (expected[i] != actual[i] && !*trouble)
            snprintf(trouble, 256, "row %u: id %u is %u, expected %u", row, i, actual[i], expected[i]);
    const float *e = (const float *)(expected + k), *a = (const float *)(actual + k);
    double worst = 0;
    int finite = 1;
    for (uint32_t i = 0; i < k + 2; i++) { /* values, logsumexp, target: each judged alone */
        double error = row_error(e + i, a + i, 1, &finite);
        worst = error > worst ? error : worst;
    }
    return finite ? worst : INFINITY;
}

void compare_output(const side_output *o, const unsigned char *expected, const unsigned char *actual,
                    comparison *result) {
    memset(result, 0, sizeof *result);
    uint64_t row_bytes = o->topk ? 8ull * o->n + 8 : 4ull * o->n;
    if (!guards_hold(o, expected, row_bytes) || !guards_hold(o, actual, row_bytes))
        snprintf(result->trouble, sizeof result->trouble, "%s: bytes outside the live rows were written", o->name);
    double *errors = calloc(o->live, sizeof *errors);
    if (!errors)
        abort(); /* a few kilobytes in a test */
    for (uint32_t r = 0; r < o->live; r++) {
        const void *e = expected + o->view.offset + r * o->view.stride, *a = actual + o->view.offset + r * o->view.stride;
        int finite = 1;
        errors[r] = o->topk ? topk_row(e, a, o->n, r, result->trouble) : row_error(e, a, o->n, &finite);
        if ((!finite || isnan(errors[r])) && !*result->trouble)
            snprintf(result->trouble, sizeof result->trouble, "%s: row %u is not finite", o->name, r);
        if (isnan(errors[r]))
            errors[r] = INFINITY;
    }
    qsort(errors, o->live, sizeof *errors, ascending);
    result->worst = o->live ? errors[o->live - 1] : 0;
    result->median = o->live ? errors[o->live / 2] : 0;
    free(errors);
}
