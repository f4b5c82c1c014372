/* f32 arithmetic, rounded to nearest. Directed roundings are in exec_round.c.
 *
 * PTX lets ptxas fuse mul.f32 and add.f32 that carry no .rn. Here they are never fused: kernels whose bits
 * matter say .rn or fma.
 */
#include "lanes.h"
#include "opcodes.h"

#include <math.h>

#define F flush

/* For each operation: plain, .ftz, .sat and .ftz.sat. X and Y are the sources as read. */
#define FLOAT2(name, X, Y, op)                                                                               \
    EXEC2(name, float, float, float, canonical((X)op(Y)))                                                    \
    EXEC2(name##_ftz, float, float, float, canonical(F(F(X) op F(Y))))                                       \
    EXEC2(name##_sat, float, float, float, saturate((X)op(Y)))                                               \
    EXEC2(name##_ftz_sat, float, float, float, saturate(F(F(X) op F(Y))))
FLOAT2(add, x, y, +)
FLOAT2(sub, x, y, -)
FLOAT2(mul, x, y, *)
EXEC2(div_rn, float, float, float, canonical(x / y))
EXEC2(div_rn_ftz, float, float, float, canonical(F(F(x) / F(y))))

EXEC3(fma_rn, float, float, float, float, canonical(__builtin_fmaf(x, y, z)))
EXEC3(fma_rn_ftz, float, float, float, float, canonical(F(__builtin_fmaf(F(x), F(y), F(z)))))
EXEC3(fma_rn_sat, float, float, float, float, saturate(__builtin_fmaf(x, y, z)))
EXEC3(fma_rn_ftz_sat, float, float, float, float, saturate(F(__builtin_fmaf(F(x), F(y), F(z)))))

EXEC1(rcp_rn, float, float, canonical(1.0f / x))
EXEC1(rcp_rn_ftz, float, float, canonical(F(1.0f / F(x))))
EXEC1(sqrt_rn, float, float, canonical(__builtin_sqrtf(x)))
EXEC1(sqrt_rn_ftz, float, float, canonical(__builtin_sqrtf(F(x))))

/* Signs are bits: they move whatever the number is. */
static inline uint32_t flush_bits(uint32_t x) {
    return x & 0x7f800000u ? x : x & 0x80000000u;
}
EXEC1(neg, uint32_t, uint32_t, x ^ 0x80000000u)
EXEC1(neg_ftz, uint32_t, uint32_t, flush_bits(x) ^ 0x80000000u)
EXEC1(absolute, uint32_t, uint32_t, x & 0x7fffffffu)
EXEC1(absolute_ftz, uint32_t, uint32_t, flush_bits(x) & 0x7fffffffu)
EXEC2(copysign32, uint32_t, uint32_t, uint32_t, (x & 0x80000000u) | (y & 0x7fffffffu))

/* -0 is less than +0; a NaN loses against a number, unless .NaN says that it wins. */
static inline float least(float x, float y) {
    const float equal = float_of(bits_of(x) | bits_of(y));
    return x < y ? x : y < x ? y : x == y ? equal : x == x ? x : canonical(y);
}
static inline float greatest(float x, float y) {
    const float equal = float_of(bits_of(x) & bits_of(y));
    return x > y ? x : y > x ? y : x == y ? equal : x == x ? x : canonical(y);
}
static inline float unless_nan(float x, float y, float result) {
    return x == x && y == y ? result : float_of(CANONICAL_NAN);
}
EXEC2(min32, float, float, float, least(x, y))
EXEC2(max32, float, float, float, greatest(x, y))
EXEC2(min32_ftz, float, float, float, least(F(x), F(y)))
EXEC2(max32_ftz, float, float, float, greatest(F(x), F(y)))
EXEC2(min32_nan, float, float, float, unless_nan(x, y, least(x, y)))
EXEC2(max32_nan, float, float, float, unless_nan(x, y, greatest(x, y)))
EXEC2(min32_ftz_nan, float, float, float, unless_nan(x, y, least(F(x), F(y))))
EXEC2(max32_ftz_nan, float, float, float, unless_nan(x, y, greatest(F(x), F(y))))

/* testp: the classes as a mask of 1 finite, 2 infinite, 4 NaN, 8 normal, 16 subnormal. */
enum { IS_FINITE = 1, IS_INFINITE = 2, IS_NAN = 4, IS_NORMAL = 8, IS_SUBNORMAL = 16 };
static uint32_t classes_of(uint64_t exponent, uint64_t top, uint64_t fraction) {
    if (exponent == top)
        return fraction ? IS_NAN : IS_INFINITE;
    return exponent ? IS_FINITE | IS_NORMAL : fraction ? IS_FINITE | IS_SUBNORMAL : IS_FINITE;
}
static void test32(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t *a = row(w, in->o[1]);
    uint32_t result = 0;
    for (uint32_t i = 0; i < LANES; i++)
        result |= (uint32_t)((classes_of(a[i] >> 23 & 0xff, 0xff, a[i] & 0x7fffffu) & in->imm) != 0) << i;
    predicate_set(w, in->o[0], mask, result);
}
static void test64(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint64_t *a = row(w, in->o[1]);
    uint32_t result = 0;
    for (uint32_t i = 0; i < LANES; i++)
        result |=
            (uint32_t)((classes_of(a[i] >> 52 & 0x7ff, 0x7ff, a[i] & 0xfffffffffffffull) & in->imm) != 0)
            << i;
    predicate_set(w, in->o[0], mask, result);
}

static void add_row(const char *name, exec_fn fn, const char *signature) {
    opcode_add((struct opcode){.fn = fn, .signature = signature, .cls = CLASS_FP32}, "%s", name);
}

/* add, add.rn and so on, with the suffixes. */
static void add_four(const char *name, const char *signature, exec_fn plain, exec_fn ftz, exec_fn sat,
                     exec_fn ftz_sat) {
    static const char *const suffix[] = {"", ".ftz", ".sat", ".ftz.sat"};
    const exec_fn fn[] = {plain, ftz, sat, ftz_sat};
    for (int i = 0; i < 4; i++)
        opcode_add((struct opcode){.fn = fn[i], .signature = signature, .cls = CLASS_FP32}, "%s%s.f32", name,
                   suffix[i]);
}

void opcodes_float(void) {
    static const struct {
        const char *name;
        int64_t classes;
    } tests[] = {{"finite", IS_FINITE},  {"infinite", IS_INFINITE}, {"number", IS_FINITE | IS_INFINITE},
                 {"notanumber", IS_NAN}, {"normal", IS_NORMAL},     {"subnormal", IS_SUBNORMAL}};
    add_four("add", "Rrr", add, add_ftz, add_sat, add_ftz_sat);
    add_four("add.rn", "Rrr", add, add_ftz, add_sat, add_ftz_sat);
    add_four("sub", "Rrr", sub, sub_ftz, sub_sat, sub_ftz_sat);
    add_four("sub.rn", "Rrr", sub, sub_ftz, sub_sat, sub_ftz_sat);
    add_four("mul", "Rrr", mul, mul_ftz, mul_sat, mul_ftz_sat);
    add_four("mul.rn", "Rrr", mul, mul_ftz, mul_sat, mul_ftz_sat);
    add_four("fma.rn", "Rrrr", fma_rn, fma_rn_ftz, fma_rn_sat, fma_rn_ftz_sat);
    add_four("mad.rn", "Rrrr", fma_rn, fma_rn_ftz, fma_rn_sat, fma_rn_ftz_sat);
    add_row("div.rn.f32", div_rn, "Rrr");
    add_row("div.rn.ftz.f32", div_rn_ftz, "Rrr");
    add_row("rcp.rn.f32", rcp_rn, "Rr");
    add_row("rcp.rn.ftz.f32", rcp_rn_ftz, "Rr");
    add_row("sqrt.rn.f32", sqrt_rn, "Rr");
    add_row("sqrt.rn.ftz.f32", sqrt_rn_ftz, "Rr");
    add_row("neg.f32", neg, "Rr");
    add_row("neg.ftz.f32", neg_ftz, "Rr");
    add_row("abs.f32", absolute, "Rr");
    add_row("abs.ftz.f32", absolute_ftz, "Rr");
    add_row("copysign.f32", copysign32, "Rrr");
    add_row("min.f32", min32, "Rrr");
    add_row("max.f32", max32, "Rrr");
    add_row("min.ftz.f32", min32_ftz, "Rrr");
    add_row("max.ftz.f32", max32_ftz, "Rrr");
    add_row("min.NaN.f32", min32_nan, "Rrr");
    add_row("max.NaN.f32", max32_nan, "Rrr");
    add_row("min.ftz.NaN.f32", min32_ftz_nan, "Rrr");
    add_row("max.ftz.NaN.f32", max32_ftz_nan, "Rrr");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        opcode_add(
            (struct opcode){.fn = test32, .signature = "Pr", .imm = tests[i].classes, .cls = CLASS_FP32},
            "testp.%s.f32", tests[i].name);
        opcode_add(
            (struct opcode){.fn = test64, .signature = "Pd", .imm = tests[i].classes, .cls = CLASS_FP64},
            "testp.%s.f64", tests[i].name);
    }
}
