/* f32 and f64 arithmetic: roundings, subnormals, NaN, signed zeros, saturation, and the approximate
 * functions. */
#include "op.h"
#include "ptx_tests.h"

#include <math.h>

/* Rounded to nearest. 0x33800000 is 2^-24, half a last place of 1; 0x00400000 a subnormal; 0x00800000 the
 * least normal. */
static const struct op_row nearest[] = {
    {"add.f32", "R, r, r",
     "f:1 f:2 = f:3; f:1 0x33800000 = f:1; 0x3f800001 0x33800000 = 0x3f800002; f:0 f:-0 = f:0; f:-0 f:-0 = "
     "f:-0; "
     "f:inf 0xff800000 = 0x7fffffff; 0x7fc00123 f:1 = 0x7fffffff; 0x7f7fffff 0x7f7fffff = f:inf; 0x00400000 "
     "0x00400000 = 0x00800000"},
    {"add.ftz.f32", "R, r, r",
     "f:1 f:2 = f:3; 0x00400000 0x00400000 = 0; 0x80400000 0x80400000 = f:-0; 0x00800001 0x80800000 = 0; "
     "0x7fc00123 f:1 = 0x7fffffff"},
    {"add.sat.f32", "R, r, r",
     "f:0.25 f:0.5 = f:0.75; f:1 f:2 = f:1; f:1 f:-2 = f:0; 0x7fc00123 f:1 = f:0; f:-0 f:-0 = f:0; f:inf f:1 "
     "= f:1"},
    {"add.ftz.sat.f32", "R, r, r", "f:0.25 f:0.5 = f:0.75; 0x00400000 0x00400000 = 0; f:1 f:2 = f:1"},
    {"add.rn.f32", "R, r, r", "f:1 0x33800000 = f:1; 0x3f800001 0x33800000 = 0x3f800002"},
    {"add.rn.ftz.f32", "R, r, r", "f:1 0x33800000 = f:1; 0x00400000 0x00400000 = 0"},
    {"add.rn.sat.f32", "R, r, r", "f:1 f:2 = f:1; f:-1 f:0.5 = f:0"},
    {"add.rn.ftz.sat.f32", "R, r, r", "f:1 f:2 = f:1; 0x00400000 0x00400000 = 0"},
    {"sub.f32", "R, r, r",
     "f:1 f:2 = f:-1; f:1 f:1 = f:0; f:inf f:inf = 0x7fffffff; 0x00800000 0x00400000 = 0x00400000"},
    {"sub.ftz.f32", "R, r, r", "f:1 f:2 = f:-1; 0x00c00000 0x00800000 = 0; 0x80c00000 0x80800000 = f:-0"},
    {"sub.sat.f32", "R, r, r", "f:1 f:2 = f:0; f:3 f:1 = f:1; f:1 f:0.5 = f:0.5"},
    {"sub.ftz.sat.f32", "R, r, r", "f:1 f:2 = f:0; 0x00c00000 0x00800000 = 0"},
    {"sub.rn.f32", "R, r, r", "f:1 0x33000000 = f:1; f:1 0x33800000 = 0x3f7fffff"},
    {"sub.rn.ftz.f32", "R, r, r", "f:1 f:2 = f:-1; 0x00c00000 0x00800000 = 0"},
    {"sub.rn.sat.f32", "R, r, r", "f:1 f:2 = f:0; f:3 f:1 = f:1"},
    {"sub.rn.ftz.sat.f32", "R, r, r", "f:3 f:1 = f:1; 0x00c00000 0x00800000 = 0"},
    {"mul.f32", "R, r, r",
     "f:3 f:-2 = f:-6; 0x3f800001 0x3f800001 = 0x3f800002; f:0 f:inf = 0x7fffffff; f:-0 f:1 = f:-0; "
     "0x00800000 f:0.5 = 0x00400000; "
     "0x7f7fffff f:2 = f:inf"},
    {"mul.ftz.f32", "R, r, r", "f:3 f:-2 = f:-6; 0x00800000 f:0.5 = 0; 0x80400000 f:2 = f:-0"},
    {"mul.sat.f32", "R, r, r", "f:3 f:2 = f:1; f:3 f:-2 = f:0; f:0.5 f:0.5 = f:0.25; f:0 f:inf = f:0"},
    {"mul.ftz.sat.f32", "R, r, r", "f:3 f:2 = f:1; 0x00400000 f:1 = 0"},
    {"mul.rn.f32", "R, r, r", "0x3f800001 0x3f800001 = 0x3f800002; f:3 f:-2 = f:-6"},
    {"mul.rn.ftz.f32", "R, r, r", "0x00800000 f:0.5 = 0; f:3 f:2 = f:6"},
    {"mul.rn.sat.f32", "R, r, r", "f:3 f:2 = f:1; f:0.5 f:0.5 = f:0.25"},
    {"mul.rn.ftz.sat.f32", "R, r, r", "0x00400000 f:1 = 0; f:3 f:2 = f:1"},
    /* (1 + 2^-23)^2 - 1 - 2^-22 = 2^-46: a product rounded first would give 0 */
    {"fma.rn.f32", "R, r, r, r",
     "0x3f800001 0x3f800001 0xbf800002 = 0x28800000; f:2 f:3 f:4 = f:10; f:inf f:0 f:1 = 0x7fffffff; f:-0 "
     "f:1 f:-0 = f:-0; "
     "f:1 f:1 0x7f800001 = 0x7fffffff"},
    {"fma.rn.ftz.f32", "R, r, r, r",
     "0x3f800001 0x3f800001 0xbf800002 = 0x28800000; 0x00400000 f:2 f:0 = 0; f:1 f:1 0x00400000 = f:1; "
     "0x00800000 f:0.5 f:0 = 0"},
    {"fma.rn.sat.f32", "R, r, r, r", "f:2 f:3 f:4 = f:1; f:-2 f:3 f:4 = f:0; f:0.5 f:0.5 f:0.5 = f:0.75"},
    {"fma.rn.ftz.sat.f32", "R, r, r, r", "f:2 f:3 f:4 = f:1; 0x00400000 f:1 f:0 = 0"},
    {"mad.rn.f32", "R, r, r, r", "0x3f800001 0x3f800001 0xbf800002 = 0x28800000; f:2 f:3 f:4 = f:10"},
    {"mad.rn.ftz.f32", "R, r, r, r", "f:2 f:3 f:4 = f:10; 0x00400000 f:2 f:0 = 0"},
    {"mad.rn.sat.f32", "R, r, r, r", "f:2 f:3 f:4 = f:1"},
    {"mad.rn.ftz.sat.f32", "R, r, r, r", "f:2 f:3 f:4 = f:1; 0x00400000 f:1 f:0 = 0"},
    {"div.rn.f32", "R, r, r",
     "f:1 f:3 = 0x3eaaaaab; f:1 f:0 = f:inf; f:1 f:-0 = 0xff800000; f:0 f:0 = 0x7fffffff; f:10 f:4 = f:2.5; "
     "0x00800000 f:2 = 0x00400000"},
    {"div.rn.ftz.f32", "R, r, r", "f:1 f:3 = 0x3eaaaaab; 0x00800000 f:2 = 0; f:1 0x00400000 = f:inf"},
    {"rcp.rn.f32", "R, r",
     "f:3 = 0x3eaaaaab; f:-0 = 0xff800000; f:inf = f:0; 0x7e800000 = 0x00800000; 0x7f000000 = 0x00400000"},
    {"rcp.rn.ftz.f32", "R, r", "f:3 = 0x3eaaaaab; 0x7f000000 = 0; 0x00400000 = f:inf"},
    {"sqrt.rn.f32", "R, r",
     "f:4 = f:2; f:2 = 0x3fb504f3; f:-0 = f:-0; f:-1 = 0x7fffffff; f:inf = f:inf; 0x00000002 = 0x1a800000"},
    {"sqrt.rn.ftz.f32", "R, r", "f:2 = 0x3fb504f3; 0x00000002 = 0; 0x80000002 = f:-0"},
    {"neg.f32", "R, r", "f:1 = f:-1; f:0 = f:-0; f:inf = 0xff800000; 0x00000001 = 0x80000001"},
    {"neg.ftz.f32", "R, r", "f:1 = f:-1; 0x00000001 = f:-0"},
    {"abs.f32", "R, r", "f:-1 = f:1; f:-0 = f:0; 0x80000001 = 1"},
    {"abs.ftz.f32", "R, r", "f:-1 = f:1; 0x80000001 = 0"},
    {"copysign.f32", "R, r, r",
     "f:-1 f:2 = f:-2; f:1 f:-2 = f:2; f:-0 f:0 = f:-0; f:1 0xffc00001 = 0x7fc00001"},
    {"min.f32", "R, r, r",
     "f:1 f:2 = f:1; f:0 f:-0 = f:-0; f:-0 f:0 = f:-0; 0x7fc00001 f:2 = f:2; f:2 0x7fc00001 = f:2; "
     "0x7fc00001 0x7fc00002 = 0x7fffffff; "
     "0xff800000 f:1 = 0xff800000; 1 2 = 1"},
    {"max.f32", "R, r, r",
     "f:1 f:2 = f:2; f:0 f:-0 = f:0; f:-0 f:0 = f:0; 0x7fc00001 f:2 = f:2; f:2 0x7fc00001 = f:2; 0x7fc00001 "
     "0x7fc00002 = 0x7fffffff; "
     "0xff800000 f:1 = f:1; 1 2 = 2"},
    {"min.ftz.f32", "R, r, r", "f:1 f:2 = f:1; 1 2 = 0; 0x80000001 f:1 = f:-0; 0x7fc00001 f:2 = f:2"},
    {"max.ftz.f32", "R, r, r", "f:1 f:2 = f:2; 1 2 = 0; 0x80000001 f:-1 = f:-0; f:2 0x7fc00001 = f:2"},
    {"min.NaN.f32", "R, r, r", "f:1 f:2 = f:1; 0x7fc00001 f:2 = 0x7fffffff; f:2 0x7fc00001 = 0x7fffffff"},
    {"max.NaN.f32", "R, r, r", "f:1 f:2 = f:2; 0x7fc00001 f:2 = 0x7fffffff; f:2 0x7fc00001 = 0x7fffffff"},
    {"min.ftz.NaN.f32", "R, r, r", "1 2 = 0; 0x7fc00001 f:2 = 0x7fffffff"},
    {"max.ftz.NaN.f32", "R, r, r", "1 2 = 0; f:2 0x7fc00001 = 0x7fffffff"},
};

static const struct op_row classes[] = {
    {"testp.finite.f32", "P, r", "f:1 = 1; f:0 = 1; 1 = 1; f:inf = 0; f:nan = 0"},
    {"testp.infinite.f32", "P, r", "f:1 = 0; f:inf = 1; 0xff800000 = 1; f:nan = 0"},
    {"testp.number.f32", "P, r", "f:1 = 1; f:inf = 1; f:nan = 0"},
    {"testp.notanumber.f32", "P, r", "f:1 = 0; f:inf = 0; f:nan = 1; 0xff800001 = 1"},
    {"testp.normal.f32", "P, r", "f:1 = 1; f:0 = 0; 1 = 0; f:inf = 0; 0x00800000 = 1"},
    {"testp.subnormal.f32", "P, r", "f:1 = 0; f:0 = 0; 1 = 1; 0x807fffff = 1"},
    {"testp.finite.f64", "P, d", "d:1 = 1; d:0 = 1; d:inf = 0"},
    {"testp.infinite.f64", "P, d", "d:1 = 0; d:inf = 1"},
    {"testp.number.f64", "P, d", "d:1 = 1; 0x7ff0000000000001 = 0"},
    {"testp.notanumber.f64", "P, d", "d:1 = 0; 0x7ff0000000000001 = 1"},
    {"testp.normal.f64", "P, d", "d:1 = 1; d:0 = 0; 1 = 0"},
    {"testp.subnormal.f64", "P, d", "d:1 = 0; d:0 = 0; 1 = 1"},
};

static const struct op_row doubles[] = {
    {"add.f64", "D, d, d", "d:1 d:2 = d:3; d:1 0x3ca0000000000000 = d:1"},
    {"add.rn.f64", "D, d, d", "d:1 d:2 = d:3"},
    {"sub.f64", "D, d, d", "d:1 d:2 = d:-1"},
    {"sub.rn.f64", "D, d, d", "d:1 d:2 = d:-1"},
    {"mul.f64", "D, d, d", "d:3 d:-2 = d:-6"},
    {"mul.rn.f64", "D, d, d", "d:3 d:-2 = d:-6"},
    {"div.rn.f64", "D, d, d", "d:1 d:3 = 0x3fd5555555555555; d:1 d:0 = d:inf"},
    {"fma.rn.f64", "D, d, d, d",
     "d:2 d:3 d:4 = d:10; 0x3ff0000000000001 0x3ff0000000000001 0xbff0000000000002 = 0x3970000000000000"},
    {"mad.rn.f64", "D, d, d, d", "d:2 d:3 d:4 = d:10"},
    {"rcp.rn.f64", "D, d", "d:3 = 0x3fd5555555555555"},
    {"sqrt.rn.f64", "D, d", "d:4 = d:2; d:2 = 0x3ff6a09e667f3bcd"},
    /* 1 + 2^-60 and its like: the neighbours of 1 are 0x3ff0000000000001 and 0x3fefffffffffffff */
    {"rcp.approx.ftz.f64", "D, d", "d:4 = d:0.25; d:3 = 0x3fd5555500000000; 1 = d:inf; d:inf = d:0"},
    {"rsqrt.approx.f64", "D, d", "d:4 = d:0.5; d:inf = d:0"},
    {"rsqrt.approx.ftz.f64", "D, d", "d:4 = d:0.5; 1 = d:inf; d:3 = 0x3fe279a700000000"},
    {"add.rz.f64", "D, d, d", "d:1 0x3c30000000000000 = d:1; d:-1 0xbc30000000000000 = d:-1"},
    {"add.rm.f64", "D, d, d", "d:1 0x3c30000000000000 = d:1; d:-1 0xbc30000000000000 = 0xbff0000000000001"},
    {"add.rp.f64", "D, d, d", "d:1 0x3c30000000000000 = 0x3ff0000000000001; d:-1 0xbc30000000000000 = d:-1"},
    {"sub.rz.f64", "D, d, d", "d:1 0x3c30000000000000 = 0x3fefffffffffffff"},
    {"sub.rm.f64", "D, d, d", "d:1 0x3c30000000000000 = 0x3fefffffffffffff"},
    {"sub.rp.f64", "D, d, d", "d:1 0x3c30000000000000 = d:1"},
    {"mul.rz.f64", "D, d, d", "0x3ff0000000000001 0x3ff0000000000001 = 0x3ff0000000000002"},
    {"mul.rm.f64", "D, d, d", "0x3ff0000000000001 0x3ff0000000000001 = 0x3ff0000000000002"},
    {"mul.rp.f64", "D, d, d", "0x3ff0000000000001 0x3ff0000000000001 = 0x3ff0000000000003"},
    {"fma.rz.f64", "D, d, d, d", "d:1 0x3c30000000000000 d:1 = d:1; d:-1 0x3c30000000000000 d:-1 = d:-1"},
    {"fma.rm.f64", "D, d, d, d", "d:1 0x3c30000000000000 d:1 = d:1"},
    {"fma.rp.f64", "D, d, d, d", "d:1 0x3c30000000000000 d:1 = 0x3ff0000000000001"},
    {"div.rz.f64", "D, d, d", "d:2 d:3 = 0x3fe5555555555555; d:-2 d:3 = 0xbfe5555555555555"},
    {"div.rm.f64", "D, d, d", "d:2 d:3 = 0x3fe5555555555555; d:-2 d:3 = 0xbfe5555555555556"},
    {"div.rp.f64", "D, d, d", "d:2 d:3 = 0x3fe5555555555556; d:-2 d:3 = 0xbfe5555555555555"},
    {"rcp.rz.f64", "D, d", "d:3 = 0x3fd5555555555555"},
    {"rcp.rm.f64", "D, d", "d:-3 = 0xbfd5555555555556"},
    {"rcp.rp.f64", "D, d", "d:3 = 0x3fd5555555555556"},
    {"sqrt.rz.f64", "D, d", "d:2 = 0x3ff6a09e667f3bcc"},
    {"sqrt.rm.f64", "D, d", "d:2 = 0x3ff6a09e667f3bcc"},
    {"sqrt.rp.f64", "D, d", "d:2 = 0x3ff6a09e667f3bcd"},
    {"neg.f64", "D, d", "d:1 = d:-1"},
    {"abs.f64", "D, d", "d:-1 = d:1"},
    {"copysign.f64", "D, d, d", "d:-1 d:2 = d:-2"},
    {"min.f64", "D, d, d", "d:1 d:2 = d:1; 0x7ff8000000000000 d:2 = d:2; d:0 d:-0 = d:-0"},
    {"max.f64", "D, d, d", "d:1 d:2 = d:2; d:2 0x7ff8000000000000 = d:2; d:0 d:-0 = d:0"},
};

/* One inexact case each way: what lies below and above the exact result, for a positive and a negative one.
 */
static const struct {
    const char *op;
    int sources;
    uint32_t in[3], below, above; /* exact result between them */
} inexact[] = {
    {"add", 2, {0x3f800000, 0x33800000}, 0x3f800000, 0x3f800001}, /* 1 + 2^-24 */
    {"add", 2, {0xbf800000, 0xb3800000}, 0xbf800001, 0xbf800000}, /* -1 - 2^-24 */
    {"sub", 2, {0x3f800000, 0x32800000}, 0x3f7fffff, 0x3f800000}, /* 1 - 2^-26 */
    {"sub", 2, {0xbf800000, 0x33800000}, 0xbf800001, 0xbf800000}, /* -1 - 2^-24 */
    {"mul", 2, {0x3f800001, 0x3f800001}, 0x3f800002, 0x3f800003}, /* 1 + 2^-22 + 2^-46 */
    {"mul", 2, {0xbf800001, 0x3f800001}, 0xbf800003, 0xbf800002},
    {"fma",
     3,
     {0x3f800001, 0x3f800001, 0x3f800000},
     0x40000001,
     0x40000002}, /* 2 + 2^-22 + 2^-46: 2 + 2^-22 is exact */
    {"fma", 3, {0xbf800001, 0x3f800001, 0xbf800000}, 0xc0000002, 0xc0000001},
    {"div", 2, {0x3f800000, 0x40400000}, 0x3eaaaaaa, 0x3eaaaaab}, /* 1/3 */
    {"div", 2, {0xbf800000, 0x40400000}, 0xbeaaaaab, 0xbeaaaaaa},
    {"rcp", 1, {0x40400000}, 0x3eaaaaaa, 0x3eaaaaab},
    {"rcp", 1, {0xc0400000}, 0xbeaaaaab, 0xbeaaaaaa},
    {"sqrt", 1, {0x40000000}, 0x3fb504f3, 0x3fb504f4},
};

static void directed_roundings(void) {
    static const char *const modes[] = {"rm", "rp", "rz"};
    for (size_t i = 0; i < sizeof inexact / sizeof *inexact; i++)
        for (int m = 0; m < 3; m++)
            for (int k = 0; k < 4; k++) {
                const bool ftz = k & 1, sat = k & 2, negative = inexact[i].below >> 31;
                const uint32_t rounded = m == 0     ? inexact[i].below
                                         : m == 1   ? inexact[i].above
                                         : negative ? inexact[i].above
                                                    : inexact[i].below;
                const uint32_t one = 0x3f800000;
                char name[48];
                if (sat && (!strcmp(inexact[i].op, "div") || !strcmp(inexact[i].op, "rcp") ||
                            !strcmp(inexact[i].op, "sqrt")))
                    continue;
                snprintf(name, sizeof name, "%s.%s%s%s.f32", inexact[i].op, modes[m], ftz ? ".ftz" : "",
                         sat ? ".sat" : "");
                uint64_t values[8] = {sat ? (negative        ? 0
                                             : rounded > one ? one
                                                             : rounded)
                                          : rounded,
                                      inexact[i].in[0], inexact[i].in[1], inexact[i].in[2]};
                op_add(name,
                       inexact[i].sources == 3   ? "R, r, r, r"
                       : inexact[i].sources == 2 ? "R, r, r"
                                                 : "R, r",
                       1, values);
            }
    /* subnormal sources and results vanish under .ftz, in every mode */
    static const struct op_row vanish[] = {
        {"add.rz.ftz.f32", "R, r, r", "0x00400000 0x00300000 = 0"},
        {"add.rz.f32", "R, r, r", "0x00400000 0x00300000 = 0x00700000"},
        {"mul.rp.ftz.f32", "R, r, r", "0x00800000 f:0.5 = 0"},
        {"mul.rp.f32", "R, r, r", "0x00000001 f:0.5 = 0x00000001; 0x00000001 f:-0.5 = f:-0"},
        {"mul.rm.f32", "R, r, r", "0x00000001 f:0.5 = 0; 0x00000001 f:-0.5 = 0x80000001"},
        {"fma.rm.ftz.f32", "R, r, r, r", "0x00400000 f:2 f:1 = f:1"},
        {"add.rm.f32", "R, r, r", "f:1 f:-1 = f:-0; f:inf 0xff800000 = 0x7fffffff"},
        {"div.rp.ftz.f32", "R, r, r", "0x00800000 f:2 = 0"},
        {"sqrt.rp.f32", "R, r", "f:-1 = 0x7fffffff; f:4 = f:2"},
    };
    op_table(vanish, sizeof vanish / sizeof *vanish);
}

/* ---- approximate functions: exact where a double of the C library is ---- */

static uint32_t float_bits(double x) {
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return f != f ? 0x7fffffff : bits;
}

static double flushed(double x) {
    return fabs(x) < 0x1p-126 ? copysign(0, x) : x;
}

/* Against the C library over the range that kernels use, within one unit of the last place where it is
 * inexact. */
static void compare_function(const char *name, double (*f)(double), double from, double to) {
    enum { N = 31 };
    uint64_t values[(N + 1) * 2];
    for (int ftz = 0; ftz < 2; ftz++) {
        char opcode[48];
        snprintf(opcode, sizeof opcode, "%s%s.f32", name, ftz ? ".ftz" : "");
        for (int i = 0; i <= N; i++) {
            const float x = (float)(from + (to - from) * i / N);
            memcpy(&values[2 * i + 1], &(uint64_t){0}, 8);
            memcpy(&values[2 * i + 1], &x, 4);
            values[2 * i] = float_bits(ftz ? flushed(f(flushed((double)x))) : f((double)x));
        }
        op_add(opcode, "R, r", N + 1, values);
    }
}

static double reciprocal_root(double x) {
    return 1 / sqrt(x);
}
static double reciprocal(double x) {
    return 1 / x;
}

static const struct op_row special[] = {
    {"ex2.approx.f32", "R, r",
     "f:0 = f:1; f:-0 = f:1; f:3 = f:8; f:-1 = f:0.5; 0xff800000 = f:0; f:inf = f:inf; f:nan = 0x7fffffff; "
     "f:128 = f:inf; "
     "f:-126 = 0x00800000; f:-127 = 0x00400000; f:-149 = 0x00000001; f:-151 = 0; f:1000 = f:inf; f:-1000 = "
     "0; f:0.5 = 0x3fb504f3; 0x80000001 = f:1"},
    {"ex2.approx.ftz.f32", "R, r", "f:0 = f:1; f:-126 = 0x00800000; f:-127 = 0; f:nan = 0x7fffffff"},
    {"lg2.approx.f32", "R, r",
     "f:8 = f:3; f:1 = f:0; f:0 = 0xff800000; f:-0 = 0xff800000; f:-1 = 0x7fffffff; f:inf = f:inf; "
     "0x00400000 = f:-127"},
    {"lg2.approx.ftz.f32", "R, r", "f:8 = f:3; 0x00400000 = 0xff800000"},
    {"sin.approx.f32", "R, r", "f:0 = f:0; f:-0 = f:-0; f:inf = 0x7fffffff"},
    {"sin.approx.ftz.f32", "R, r", "f:0 = f:0; 0x80000001 = f:-0; f:inf = 0x7fffffff"},
    {"cos.approx.f32", "R, r", "f:0 = f:1; f:-0 = f:1; f:inf = 0x7fffffff"},
    {"cos.approx.ftz.f32", "R, r", "f:0 = f:1; 1 = f:1"},
    {"rcp.approx.f32", "R, r",
     "f:4 = f:0.25; f:0 = f:inf; f:-0 = 0xff800000; f:inf = f:0; f:nan = 0x7fffffff"},
    {"rcp.approx.ftz.f32", "R, r", "f:4 = f:0.25; 0x00400000 = f:inf; 0x7f000000 = 0"},
    {"sqrt.approx.f32", "R, r", "f:4 = f:2; f:-0 = f:-0; f:-1 = 0x7fffffff; f:inf = f:inf"},
    {"sqrt.approx.ftz.f32", "R, r", "f:4 = f:2; 0x00000004 = 0"},
    {"rsqrt.approx.f32", "R, r",
     "f:4 = f:0.5; f:0 = f:inf; f:-0 = 0xff800000; f:-1 = 0x7fffffff; f:inf = f:0"},
    {"rsqrt.approx.ftz.f32", "R, r", "f:4 = f:0.5; 0x00000004 = f:inf; 0x80000004 = 0xff800000"},
    {"tanh.approx.f32", "R, r",
     "f:0 = f:0; f:-0 = f:-0; f:inf = f:1; 0xff800000 = f:-1; f:nan = 0x7fffffff; f:100 = f:1"},
    /* past 2^126 the reciprocal is gone */
    {"div.approx.f32", "R, r, r",
     "f:10 f:4 = f:2.5; f:1 0x7e800000 = 0x00800000; f:1 0x7e800001 = 0; f:inf 0x7e800001 = 0x7fffffff; f:1 "
     "f:0 = f:inf; f:1 f:inf = f:0"},
    {"div.approx.ftz.f32", "R, r, r",
     "f:10 f:4 = f:2.5; 0x00400000 f:1 = 0; f:1 0x7e800001 = 0; f:1 0x00400000 = f:inf"},
    {"div.full.f32", "R, r, r", "f:10 f:4 = f:2.5; 0x7e800001 0x7e800001 = f:1; f:1 f:0 = f:inf"},
    {"div.full.ftz.f32", "R, r, r", "f:10 f:4 = f:2.5; 0x00400000 f:1 = 0"},
    {"ex2.approx.f16", "H, h",
     "h:0 = h:1; h:3 = h:8; h:-1 = h:0.5; h:16 = h:inf; 0xfc00 = h:0; 0x7e01 = 0x7fff"},
    {"ex2.approx.f16x2", "R, r", "0x42003c00 = 0x48004000"},
    {"tanh.approx.f16", "H, h", "h:0 = h:0; h:9 = h:1; h:-9 = h:-1; 0x7e01 = 0x7fff"},
    {"tanh.approx.f16x2", "R, r", "0x4900c900 = 0x3c00bc00"},
};

void computes_with_floats(void **state) {
    (void)state;
    op_table(nearest, sizeof nearest / sizeof *nearest);
    op_table(classes, sizeof classes / sizeof *classes);
    op_table(doubles, sizeof doubles / sizeof *doubles);
    directed_roundings();
    op_run();
}

void approximates_functions(void **state) {
    (void)state;
    if (!sim_simulated())
        skip(); /* a card is about two units in the last place off */
    op_table(special, sizeof special / sizeof *special);
    compare_function("ex2.approx", exp2, -149, 129);
    compare_function("ex2.approx", exp2, -1.01, 1.01);
    compare_function("lg2.approx", log2, 0x1p-130, 3);
    compare_function("sin.approx", sin, -7, 7);
    compare_function("cos.approx", cos, -7, 7);
    compare_function("rcp.approx", reciprocal, -3.1, 100);
    compare_function("sqrt.approx", sqrt, 0.01, 90);
    compare_function("rsqrt.approx", reciprocal_root, 0.01, 90);
    op_run();
    uint64_t values[64];
    for (int i = 0; i < 32; i++) {
        const float x = -4 + 0.27f * (float)i;
        uint32_t bits;
        memcpy(&bits, &x, 4);
        values[2 * i] = float_bits(tanh((double)x));
        values[2 * i + 1] = bits;
    }
    op_add("tanh.approx.f32", "R, r", 32, values);
    op_run();
}
