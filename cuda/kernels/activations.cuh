/* activations.cuh: gelu (tanh form) and the soft cap, finite for every finite argument.
 *
 * Built on one exponential of our own: ex2.approx is off by 2 ulp, and no two devices need agree on it. */
#ifndef TANDEM_ACTIVATIONS_CUH
#define TANDEM_ACTIVATIONS_CUH

#include <stdint.h>

/* e^x for |x| <= 87, relative error about 1e-7: 2^n by the exponent field, e^r by its Taylor polynomial,
 * |r| <= ln(2)/2. */
static __device__ __forceinline__ float exp_bounded(float x) {
    float n = rintf(x * 1.44269504f);
    float r = fmaf(n, -0.693145752f, x); /* ln 2 in two parts: the first has few bits, so n * it is exact */
    r = fmaf(n, -1.42860677e-6f, r);
    float p = 1.0f / 5040.0f;
    p = fmaf(p, r, 1.0f / 720.0f);
    p = fmaf(p, r, 1.0f / 120.0f);
    p = fmaf(p, r, 1.0f / 24.0f);
    p = fmaf(p, r, 1.0f / 6.0f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return p * __uint_as_float((uint32_t)((int)n + 127) << 23);
}

/* x/2 (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). Beyond |u| = 43 the result is x
 * or 0 to the last bit, so u is cut there before it can overflow; x^3 may be inf by then, never NaN. A NaN
 * stays one through x itself. */
static __device__ __forceinline__ float gelu_tanh(float x) {
    float u = 0.797884561f * x * fmaf(0.044715f * x, x, 1.0f);
    return x / (1.0f + exp_bounded(fminf(fmaxf(-2.0f * u, -86.0f), 86.0f)));
}

/* tanh; below 1/4 by its series, where 1 - 2 / (1 + e^2z) would lose the small bits. */
static __device__ __forceinline__ float tanh_bounded(float z) {
    float q = z * z;
    float p = fmaf(q, 62.0f / 2835.0f, -17.0f / 315.0f);
    p = fmaf(p, q, 2.0f / 15.0f);
    p = fmaf(p, q, -1.0f / 3.0f);
    float small = fmaf(p * q, z, z);
    float large = 1.0f - 2.0f / (1.0f + exp_bounded(fminf(fmaxf(2.0f * z, -86.0f), 86.0f)));
    return fabsf(z) < 0.25f ? small : z != z ? z : large;
}

static __device__ __forceinline__ float soft_cap(float x, float cap) {
    return cap > 0.0f ? cap * tanh_bounded(x / cap) : x;
}

#endif
