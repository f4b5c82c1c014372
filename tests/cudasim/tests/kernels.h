/* Launches of kernels.cu on fixed inputs, for tests that compare results and for those that break the kernel
 * first. */
#ifndef CUDASIM_TESTS_KERNELS_H
#define CUDASIM_TESTS_KERNELS_H

#include "sim.h"

enum { HEAD = 128 };

CUresult run_matvec(CUfunction f, float *y, int n_row, int n_block, const int8_t *w, const float *scale,
                    const int8_t *x, const float *x_scale);
/* c (m x n) = a (m x k) times b (n x k) transposed, halves. */
CUresult run_matmul(CUfunction f, float *c, int m, int n, int k, const uint16_t *a, const uint16_t *b);
CUresult run_flash(CUfunction f, float *out, const float *q, const uint16_t *keys, const uint16_t *values,
                   int n_ctx, unsigned splits, float scale);

#endif
