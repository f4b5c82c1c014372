/* activations.c: the three roundings of a row of activations (the rules: tandem/quants.h).
 *
 * note: products are kept in named variables, one operation each. Contracting one to a fused multiply-add
 * would move results away from the plugins'.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include <tandem/quants.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

enum { GROUP = 32 };

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Bits of the largest magnitude; as integers, magnitudes order like numbers and NaN comes out on top. */
static uint32_t max_abs_bits(const float *x, uint64_t n) {
    uint32_t max = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint32_t a = bits_of(x[i]) & 0x7fffffffu;
        max = a > max ? a : max;
    }
    return max;
}

float tandem_kit_f16_row_scale(float max_abs, float *inverse) {
    uint32_t field = bits_of(max_abs) >> 23 & 255u;
    uint32_t scale = 268 - field; /* 127 + 14 + 127 - field */
    if (scale > 253)              /* 2^126: the largest power whose inverse is a normal f32 */
        scale = 253;
    *inverse = float_of((254 - scale) << 23);
    return float_of(scale << 23);
}

static void round_f16(const float *x, float *y, uint64_t n) {
    float inverse;
    float scale = tandem_kit_f16_row_scale(float_of(max_abs_bits(x, n)), &inverse);
    for (uint64_t i = 0; i < n; i++) {
        float scaled = x[i] * scale;
        float back = tandem_kit_f16_to_f32(tandem_kit_f32_to_f16(scaled)) * inverse;
        /* 2^128 - ulp rounds up to 2^128 */
        y[i] = isinf(back) && !isinf(x[i]) ? copysignf(FLT_MAX, back) : back;
    }
}

void tandem_kit_q8_group_scale(float max_abs, float *d, float *s) {
    if (max_abs < 0x1p-100f) {
        *d = 0;
        *s = 0;
        return;
    }
    uint32_t bits = bits_of(max_abs);
    uint32_t exponent = (bits >> 23) - 127; /* modulo 2^32 */
    float f = float_of((bits & 0x7fffffu) | 0x3f800000u);
    float step = f * (8.0f / 17.0f);
    float r = 24.0f / 17.0f - step; /* 1/f within 1/17; every Newton step squares that */
    for (int i = 0; i < 3; i++) {
        float fr = f * r;
        float left = 2.0f - fr;
        r = r * left;
    }
    float r127 = 127.0f * r;
    *s = float_of(bits_of(r127) - (exponent << 23));
    *d = max_abs * (1.0f / 127.0f);
}

float tandem_kit_q8_group(const float *x, int8_t *q, uint32_t n) {
    uint32_t max = max_abs_bits(x, n);
    if (max >= 0x7f800000u) {
        memset(q, 1, n);
        return NAN;
    }
    float d, s;
    tandem_kit_q8_group_scale(float_of(max), &d, &s);
    for (uint32_t i = 0; i < n; i++) {
        /* adding 1.5 * 2^23 rounds half to even into the low bits */
        float scaled = x[i] * s;
        float shifted = scaled + 0x1.8p23f;
        q[i] = (int8_t)(int32_t)(bits_of(shifted) - 0x4b400000u);
    }
    return d;
}

static void round_q8(const float *x, float *y, uint64_t n) {
    int8_t q[GROUP];
    for (uint64_t i = 0; i < n; i += GROUP) {
        uint32_t n_group = n - i < GROUP ? (uint32_t)(n - i) : GROUP;
        float d = tandem_kit_q8_group(x + i, q, n_group);
        for (uint32_t j = 0; j < n_group; j++)
            y[i + j] = d * (float)q[j];
    }
}

tandem_status tandem_kit_round_activations(uint32_t precision, const float *x, float *y, uint64_t n) {
    switch (precision) {
    case TANDEM_PRECISION_EXACT:
        if (n != 0)
            memmove(y, x, n * sizeof *x);
        return TANDEM_OK;
    case TANDEM_PRECISION_F16:
        round_f16(x, y, n);
        return TANDEM_OK;
    case TANDEM_PRECISION_Q8:
        round_q8(x, y, n);
        return TANDEM_OK;
    default:
        return TANDEM_E_INVALID;
    }
}
