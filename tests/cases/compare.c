#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_MARGIN 1e-5 /* of probabilities that an f32 router must tell apart (OPS.md, MOE_ROUTE) */

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

static double topk_row(const uint32_t *expected, const uint32_t *actual, uint32_t k, uint32_t row,
                       char *trouble) {
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

/* Whether choice j may be `id`: the one before or behind it, or one not chosen, if that is too close to tell.
 */
static int in_doubt(const double *margin, const uint32_t *expected, uint32_t n, uint32_t j, uint32_t id) {
    if (j > 0 && margin[j - 1] <= MIN_MARGIN && id == expected[j - 1])
        return 1;
    if (margin[j] > MIN_MARGIN)
        return 0;
    if (j + 1 < n)
        return id == expected[j + 1];
    for (uint32_t i = 0; i < n; i++)
        if (id == expected[i])
            return 0;
    return 1;
}

/* Ids as far as the margin tells them apart, and the weights of equal ids. */
static double route_row(const side_output *o, const uint32_t *expected, const uint32_t *actual, uint32_t row,
                        comparison *result) {
    const float *e = (const float *)(expected + o->n), *a = (const float *)(actual + o->n);
    const double *margin = o->margin + (uint64_t)row * o->n;
    double off = 0, size = 0;
    int swapped = 0, finite = 1;
    for (uint32_t j = 0; j < o->n; j++) {
        size += (double)e[j] * (double)e[j];
        if (!isfinite(a[j]))
            finite = 0;
        if (expected[j] == actual[j]) {
            off += ((double)a[j] - (double)e[j]) * ((double)a[j] - (double)e[j]);
            continue;
        }
        swapped = 1;
        if (!in_doubt(margin, expected, o->n, j, actual[j]) && !*result->trouble)
            snprintf(result->trouble, sizeof result->trouble,
                     "row %u: expert %u is %u, expected %u, margin %.1e", row, j, actual[j], expected[j],
                     margin[j]);
        if (!*result->swap)
            snprintf(result->swap, sizeof result->swap, "row %u: expert %u is %u, expected %u, margin %.1e",
                     row, j, actual[j], expected[j], margin[j]);
    }
    result->n_swap += (uint32_t)swapped;
    return !finite ? INFINITY : size > 0 ? off / size : off > 0 ? INFINITY : 0;
}

/* What a row of the output has lost; sets *finite to 0 where it should not be NaN or inf. */
static double judge_row(const side_output *o, const void *expected, const void *actual, uint32_t row,
                        int *finite, comparison *result) {
    if (o->topk)
        return topk_row(expected, actual, o->n, row, result->trouble);
    if (o->route)
        return route_row(o, expected, actual, row, result);
    return row_error(expected, actual, o->n, finite);
}

void compare_output(const side_output *o, const unsigned char *expected, const unsigned char *actual,
                    comparison *result) {
    memset(result, 0, sizeof *result);
    uint64_t row_bytes = o->topk ? 8ull * o->n + 8 : o->route ? 8ull * o->n : 4ull * o->n;
    if (!guards_hold(o, expected, row_bytes) || !guards_hold(o, actual, row_bytes))
        snprintf(result->trouble, sizeof result->trouble, "%s: bytes outside the live rows were written",
                 o->name);
    double *errors = calloc(o->live, sizeof *errors);
    if (!errors)
        abort(); /* a few kilobytes in a test */
    for (uint32_t r = 0; r < o->live; r++) {
        const void *e = expected + o->view.offset + r * o->view.stride,
                   *a = actual + o->view.offset + r * o->view.stride;
        int finite = 1;
        errors[r] = judge_row(o, e, a, r, &finite, result);
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
