/* The approximate functions of the special function unit. Hardware is about 2 units in the last place off;
 * here each is computed in double and rounded once, so kernels must tolerate the difference.
 */
#include "half.h"
#include "lanes.h"
#include "opcodes.h"

#include <math.h>

/* 2^x for |x| <= 200, to 2e-16: the whole part goes into the exponent, the rest, at most 1/2, into a
 * polynomial whose coefficients are ln(2)^k / k!. */
static inline double exp2_small(double x) {
    const double whole = __builtin_floor(x + 0.5), f = x - whole;
    double p = 2.5678435993488206e-11;
    p = p * f + 4.4455382718708116e-10;
    p = p * f + 7.0549116208011234e-09;
    p = p * f + 1.0178086009239699e-07;
    p = p * f + 1.3215486790144309e-06;
    p = p * f + 1.5252733804059841e-05;
    p = p * f + 1.5403530393381609e-04;
    p = p * f + 1.3333558146428443e-03;
    p = p * f + 9.6181291076284772e-03;
    p = p * f + 5.5504108664821580e-02;
    p = p * f + 2.4022650695910072e-01;
    p = p * f + 6.9314718055994531e-01;
    p = p * f + 1.0;
    /* whole + 1023 as the exponent field, through the integer that 1.5 * 2^52 + n carries in its low bits */
    const uint64_t biased = bits_of_double(whole + (6755399441055744.0 + 1023.0)) << 52;
    return p * double_of(biased);
}
static inline float exp2_rounded(float x) {
    const double limited = x < -200.0f ? -200.0 : x > 200.0f ? 200.0 : (double)x;
    const double result = exp2_small(limited);
    return x == x ? (float)result : float_of(CANONICAL_NAN);
}
EXEC1(ex2, float, float, exp2_rounded(x))
EXEC1(ex2_ftz, float, float, flush(exp2_rounded(flush(x))))

/* Functions that call the C library, one lane at a time. */
#define SPECIAL(name, expression)                                                                            \
    static void name(struct warp *w, const struct inst *in, uint32_t mask) {                                 \
        float *d = row(w, in->o[0]);                                                                         \
        const float *a = row(w, in->o[1]);                                                                   \
        EACH_LANE(i, mask) {                                                                                 \
            const double x = (double)(in->imm ? flush(a[i]) : a[i]);                                         \
            const float result = canonical((float)(expression));                                             \
            d[i] = in->imm ? flush(result) : result;                                                         \
        }                                                                                                    \
    }
SPECIAL(lg2, log2(x))
SPECIAL(sine, sin(x))
SPECIAL(cosine, cos(x))
SPECIAL(tangent, tanh(x))

/* 1/x and x/y are exact to the last bit already in f32; the root of a double rounds once more, which cannot
 * matter. */
EXEC1(rcp, float, float, canonical(1.0f / x))
EXEC1(rcp_ftz, float, float, canonical(flush(1.0f / flush(x))))
EXEC1(root, float, float, canonical(__builtin_sqrtf(x)))
EXEC1(root_ftz, float, float, canonical(__builtin_sqrtf(flush(x))))
EXEC1(rsqrt, float, float, canonical((float)(1.0 / __builtin_sqrt((double)x))))
EXEC1(rsqrt_ftz, float, float, canonical((float)(1.0 / __builtin_sqrt((double)flush(x)))))

/* div.approx multiplies by a reciprocal, which is zero once the divisor passes 2^126: the ISA says so. */
static inline float divide_approx(float x, float y) {
    const float magnitude = float_of(bits_of(y) & 0x7fffffffu);
    const bool beyond = magnitude > 0x1p126f && magnitude < INFINITY;
    return canonical(beyond ? x * 0.0f : x / y);
}
EXEC2(div_approx, float, float, float, divide_approx(x, y))
EXEC2(div_approx_ftz, float, float, float, flush(divide_approx(flush(x), flush(y))))
EXEC2(div_full, float, float, float, canonical(x / y))
EXEC2(div_full_ftz, float, float, float, canonical(flush(flush(x) / flush(y))))

/* ---- halves: n of them a row, 32 or 64 ---- */

static void half_rows(struct warp *w, const struct inst *in, uint32_t mask, float (*f)(float)) {
    const uint32_t n = in->n;
    const uint16_t *a = row(w, in->o[1]);
    uint16_t *d = row(w, in->o[0]);
    for (uint32_t i = 0; i < LANES * n; i++)
        if (mask >> (i / n) & 1)
            d[i] = f16_from_float(f(f16_to_float(a[i])));
}
static float tanh_of(float x) {
    return (float)tanh((double)x);
}
static void ex2_half(struct warp *w, const struct inst *in, uint32_t mask) {
    half_rows(w, in, mask, exp2_rounded);
}
static void tanh_half(struct warp *w, const struct inst *in, uint32_t mask) {
    half_rows(w, in, mask, tanh_of);
}

static void add_pair(const char *name, exec_fn plain, exec_fn ftz, const char *signature) {
    opcode_add((struct opcode){.fn = plain, .signature = signature, .cls = CLASS_SPECIAL}, "%s.f32", name);
    opcode_add((struct opcode){.fn = ftz, .signature = signature, .imm = 1, .cls = CLASS_SPECIAL},
               "%s.ftz.f32", name);
}

void opcodes_special(void) {
    add_pair("ex2.approx", ex2, ex2_ftz, "Rr");
    add_pair("lg2.approx", lg2, lg2, "Rr");
    add_pair("sin.approx", sine, sine, "Rr");
    add_pair("cos.approx", cosine, cosine, "Rr");
    add_pair("rcp.approx", rcp, rcp_ftz, "Rr");
    add_pair("sqrt.approx", root, root_ftz, "Rr");
    add_pair("rsqrt.approx", rsqrt, rsqrt_ftz, "Rr");
    add_pair("div.approx", div_approx, div_approx_ftz, "Rrr");
    add_pair("div.full", div_full, div_full_ftz, "Rrr");
    opcode_add((struct opcode){.fn = tangent, .signature = "Rr", .cls = CLASS_SPECIAL}, "tanh.approx.f32");
    opcode_add((struct opcode){.fn = ex2_half, .signature = "Hh", .n = 1, .cls = CLASS_SPECIAL},
               "ex2.approx.f16");
    opcode_add((struct opcode){.fn = ex2_half, .signature = "Rr", .n = 2, .cls = CLASS_SPECIAL},
               "ex2.approx.f16x2");
    opcode_add((struct opcode){.fn = tanh_half, .signature = "Hh", .n = 1, .cls = CLASS_SPECIAL},
               "tanh.approx.f16");
    opcode_add((struct opcode){.fn = tanh_half, .signature = "Rr", .n = 2, .cls = CLASS_SPECIAL},
               "tanh.approx.f16x2");
}
