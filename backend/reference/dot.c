/* dot.c: sums of products of f32 weights and activations, accumulated in double.
 *
 * The product of two 24-bit mantissas fits the 53 bits of a double, so it makes no difference whether a
 * product is fused with its addition, or how many of the eight lanes share a register: dot_avx2.c gives the
 * same bits as this file, and the choice between them is only about speed (tests/reference_test.c compares
 * them).
 */
#include "reference.h"

#define N_LANE 8

static double dot(const float *w, const double *x, uint64_t n) {
    double lane[N_LANE] = {0};
    uint64_t i = 0;
    for (; i + N_LANE <= n; i += N_LANE)
        for (uint32_t l = 0; l < N_LANE; l++)
            lane[l] += (double)w[i + l] * x[i + l];
    for (uint32_t l = 0; i + l < n; l++)
        lane[l] += (double)w[i + l] * x[i + l];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

void ref_dot_plain(const float *w, const double *x, uint64_t x_stride, uint32_t n_x, uint64_t n, double *y) {
    for (uint32_t t = 0; t < n_x; t++)
        y[t] = dot(w, x + t * x_stride, n);
}

ref_dot_fn ref_dot_best(void) {
    ref_dot_fn avx2 = ref_dot_avx2();
    return avx2 ? avx2 : ref_dot_plain;
}
