/* dot_avx2.c: dot.c with four lanes in a register and four activation rows at a time (x86-64 with AVX2 and
 * FMA).
 *
 * note: lanes, their order and the tree at the end are those of dot.c. The sums are named one by one because
 * gcc 12 keeps an array of them in memory, four times slower.
 */
#include "reference.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define N_LANE 8
#define AVX2 __attribute__((target("avx2,fma")))

/* Adds the elements behind the last whole group of eight to their lanes, then the lanes. */
static AVX2 double finish(__m256d low, __m256d high, const float *w, const double *x, uint64_t from,
                          uint64_t n) {
    double lane[N_LANE];
    _mm256_storeu_pd(lane, low);
    _mm256_storeu_pd(lane + 4, high);
    for (uint64_t j = from; j < n; j++)
        lane[j - from] += (double)w[j] * x[j];
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static AVX2 void dot_1(const float *w, const double *x, uint64_t n, double *y) {
    __m256d low = _mm256_setzero_pd(), high = low;
    uint64_t i = 0;
    for (; i + N_LANE <= n; i += N_LANE) {
        low = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(w + i)), _mm256_loadu_pd(x + i), low);
        high = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(w + i + 4)), _mm256_loadu_pd(x + i + 4), high);
    }
    *y = finish(low, high, w, x, i, n);
}

static AVX2 void dot_4(const float *w, const double *x0, uint64_t x_stride, uint64_t n, double *y) {
    const double *x1 = x0 + x_stride, *x2 = x1 + x_stride, *x3 = x2 + x_stride;
    __m256d low0 = _mm256_setzero_pd(), low1 = low0, low2 = low0, low3 = low0;
    __m256d high0 = low0, high1 = low0, high2 = low0, high3 = low0;
    uint64_t i = 0;
    for (; i + N_LANE <= n; i += N_LANE) {
        __m256d w_low = _mm256_cvtps_pd(_mm_loadu_ps(w + i)),
                w_high = _mm256_cvtps_pd(_mm_loadu_ps(w + i + 4));
        low0 = _mm256_fmadd_pd(w_low, _mm256_loadu_pd(x0 + i), low0);
        high0 = _mm256_fmadd_pd(w_high, _mm256_loadu_pd(x0 + i + 4), high0);
        low1 = _mm256_fmadd_pd(w_low, _mm256_loadu_pd(x1 + i), low1);
        high1 = _mm256_fmadd_pd(w_high, _mm256_loadu_pd(x1 + i + 4), high1);
        low2 = _mm256_fmadd_pd(w_low, _mm256_loadu_pd(x2 + i), low2);
        high2 = _mm256_fmadd_pd(w_high, _mm256_loadu_pd(x2 + i + 4), high2);
        low3 = _mm256_fmadd_pd(w_low, _mm256_loadu_pd(x3 + i), low3);
        high3 = _mm256_fmadd_pd(w_high, _mm256_loadu_pd(x3 + i + 4), high3);
    }
    y[0] = finish(low0, high0, w, x0, i, n);
    y[1] = finish(low1, high1, w, x1, i, n);
    y[2] = finish(low2, high2, w, x2, i, n);
    y[3] = finish(low3, high3, w, x3, i, n);
}

static AVX2 void dot_rows(const float *w, const double *x, uint64_t x_stride, uint32_t n_x, uint64_t n,
                          double *y) {
    uint32_t t = 0;
    for (; t + 4 <= n_x; t += 4)
        dot_4(w, x + t * x_stride, x_stride, n, y + t);
    for (; t < n_x; t++)
        dot_1(w, x + t * x_stride, n, y + t);
}

ref_dot_fn ref_dot_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? dot_rows : NULL;
}

#else

ref_dot_fn ref_dot_avx2(void) {
    return NULL;
}

#endif
