/* cvt between all types. Expected values come from plain C on exact types: __int128 for integers, long double
 * for floats. */
#include "op.h"
#include "ptx_tests.h"

#include <math.h>

typedef __int128 wide;
typedef long double real; /* 64 bits of fraction: holds every source exactly */

static const char *const int_names[] = {"u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"};
static const char *const float_names[] = {"f16", "f32", "f64"};
static const char *const modes[] = {"rn", "rm", "rp", "rz"};

static int int_bits(int t) {
    return 8 << t / 2;
}
static bool int_signed(int t) {
    return t & 1;
}
static wide int_least(int t) {
    return int_signed(t) ? -((wide)1 << (int_bits(t) - 1)) : 0;
}
static wide int_most(int t) {
    return ((wide)1 << (int_bits(t) - int_signed(t))) - 1;
}
static wide int_value(uint64_t bits, int t) {
    const wide low = (wide)(bits & (uint64_t)((((unsigned __int128)1) << int_bits(t)) - 1));
    return int_signed(t) && low > int_most(t) ? low - ((wide)1 << int_bits(t)) : low;
}

/* Registers of 16, 32 or 64 bits, the least that hold the type. */
static char int_register(int t, bool result) {
    const char letter = int_bits(t) <= 16 ? 'h' : int_bits(t) == 32 ? 'r' : 'd';
    return result ? (char)(letter - 32) : letter;
}
static int register_bits(int t) {
    return int_bits(t) < 16 ? 16 : int_bits(t);
}

static const uint64_t int_samples[] = {0,
                                       1,
                                       0x7f,
                                       0x80,
                                       0xff,
                                       0x100,
                                       0x7fff,
                                       0x8000,
                                       0xffff,
                                       0x10000,
                                       0x7fffffff,
                                       0x80000000,
                                       0xffffffff,
                                       0x100000000,
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0xffffffffffffffff,
                                       0x123456789abcdef0,
                                       0xffffffffffffff80,
                                       0xffffffffffffff7f,
                                       0xffffffffffff8000,
                                       0xffffffff80000000};
enum { N_INT = sizeof int_samples / sizeof *int_samples };

static void integers(void) {
    for (int to = 0; to < 8; to++)
        for (int from = 0; from < 8; from++)
            for (int sat = 0; sat < 2; sat++) {
                uint64_t values[N_INT * 2];
                char name[48], operands[8];
                if (sat && int_least(from) >= int_least(to) && int_most(from) <= int_most(to))
                    continue;
                for (int i = 0; i < N_INT; i++) {
                    wide v = int_value(int_samples[i], from);
                    if (sat)
                        v = v < int_least(to) ? int_least(to) : v > int_most(to) ? int_most(to) : v;
                    values[2 * i] = (uint64_t)int_value((uint64_t)v, to); /* extended to the register */
                    values[2 * i + 1] = int_samples[i];
                }
                snprintf(name, sizeof name, "cvt%s.%s.%s", sat ? ".sat" : "", int_names[to], int_names[from]);
                snprintf(operands, sizeof operands, "%c, %c", int_register(to, true),
                         int_register(from, false));
                op_add(name, operands, N_INT, values);
                if (register_bits(to) < 64) { /* a wider register is filled by the sign or with zeros */
                    snprintf(operands, sizeof operands, "D, %c", int_register(from, false));
                    op_add(name, operands, N_INT, values);
                }
                if (register_bits(from) < 64) { /* only the type's bits of a wider one count */
                    snprintf(operands, sizeof operands, "%c, d", int_register(to, true));
                    op_add(name, operands, N_INT, values);
                }
            }
    op_run();
}

/* ---- floats ---- */

static real float_value(uint64_t bits, int t) {
    if (t == 0)
        return (real)sim_from_half((uint16_t)bits);
    if (t == 1) {
        float f;
        memcpy(&f, &bits, 4);
        return (real)f;
    }
    double d;
    memcpy(&d, &bits, 8);
    return (real)d;
}

static real round_whole(real x, int mode) {
    if (mode == 1 || mode == 2)
        return mode == 1 ? floorl(x) : ceill(x);
    if (mode == 3)
        return truncl(x);
    const real low = floorl(x), rest = x - low;
    return rest > 0.5L || (rest == 0.5L && fmodl(low, 2) != 0) ? low + 1 : low;
}

/* Rounds to a float type by looking for the multiple of its last place. Infinities and NaN pass. */
static uint64_t float_bits(real x, int t, int mode) {
    static const int digits[] = {11, 24, 53}, least[] = {-24, -149, -1074}, size[] = {16, 32, 64};
    static const real most[] = {65504.0L, 0x1.fffffep127L, 0x1.fffffffffffffp1023L};
    static const uint64_t infinity[] = {0x7c00, 0x7f800000, 0x7ff0000000000000};
    const uint64_t sign = signbit(x) ? 1ull << (size[t] - 1) : 0;
    if (x != x)
        return infinity[t] | (infinity[t] - 1) >> 1; /* replaced where NaN are compared */
    if (isinf(x))
        return sign | infinity[t];
    int exponent;
    frexpl(x, &exponent);
    const int step = x == 0 || exponent - digits[t] < least[t] ? least[t] : exponent - digits[t];
    real r = ldexpl(round_whole(ldexpl(x, -step), mode), step);
    if (fabsl(r) > most[t]) {
        const bool away = mode == 0 || (mode == 1 && x < 0) || (mode == 2 && x > 0);
        r = away ? INFINITY : most[t];
        if (away)
            return sign | infinity[t];
    }
    r = fabsl(r);
    if (t == 1) {
        const float f = (float)r;
        uint32_t bits;
        memcpy(&bits, &f, 4);
        return sign | bits;
    }
    if (t == 2) {
        const double d = (double)r;
        uint64_t bits;
        memcpy(&bits, &d, 8);
        return sign | bits;
    }
    return sign | sim_half((float)r);
}

static const char *float_register(int t, bool result) {
    return result ? (t == 0 ? "H" : t == 1 ? "R" : "D") : t == 0 ? "h" : t == 1 ? "r" : "d";
}

static void integer_to_float(void) {
    for (int to = 0; to < 3; to++)
        for (int from = 0; from < 8; from++)
            for (int mode = 0; mode < 4; mode++) {
                uint64_t values[(N_INT + 6) * 2];
                static const uint64_t ties[] = {
                    16777217, 16777219, 2049, 2051, 9007199254740993ull, 0x7fffffffffffffbfull};
                char name[48], operands[8];
                for (int i = 0; i < N_INT + 6; i++) {
                    const uint64_t bits = i < N_INT ? int_samples[i] : ties[i - N_INT];
                    values[2 * i] = float_bits((real)int_value(bits, from), to, mode);
                    values[2 * i + 1] = bits;
                }
                snprintf(name, sizeof name, "cvt.%s.%s.%s", modes[mode], float_names[to], int_names[from]);
                snprintf(operands, sizeof operands, "%s, %c", float_register(to, true),
                         int_register(from, false));
                op_add(name, operands, N_INT + 6, values);
            }
    op_run();
}

/* Values near what rounding and clamping decide, in each float type. */
static uint32_t float_samples(uint64_t *bits, int t) {
    static const double samples[] = {
        0.0,          -0.0,         0.5,           -0.5,         1.5,          2.5,     -1.5,  -2.5,
        0.49999,      127.5,        128,           255.5,        -128.5,       32767.5, 65504, 1e5,
        2147483520.0, 2147483648.0, -2147483648.0, 4294967040.0, 4294967296.0, 9.2e18,  1e19,  1.9e19,
        -1e19,        1e30,         INFINITY,      -INFINITY,    1e-30};
    const uint32_t n = sizeof samples / sizeof *samples;
    for (uint32_t i = 0; i < n; i++)
        bits[i] = float_bits((real)samples[i], t, 0);
    bits[n] = t == 0 ? 0x7e55 : t == 1 ? 0x7fc12345 : 0x7ff8000000012345;
    bits[n + 1] = 1; /* the least subnormal */
    return n + 2;
}

static void float_to_integer(void) {
    for (int to = 0; to < 8; to++)
        for (int from = 0; from < 3; from++)
            for (int mode = 0; mode < 4; mode++)
                for (int ftz = 0; ftz < (from == 1 ? 2 : 1); ftz++) {
                    uint64_t bits[32], values[64];
                    char name[48], operands[8];
                    const uint32_t n = float_samples(bits, from);
                    for (uint32_t i = 0; i < n; i++) {
                        real x = float_value(bits[i], from);
                        if (ftz && fabsl(x) < 0x1p-126L)
                            x = 0;
                        const bool to64 = int_bits(to) == 64 || from == 2;
                        wide v = 0;
                        if (x != x)
                            v = to64 ? (wide)1 << (int_bits(to) - 1) : 0;
                        else if (x >= (real)int_most(to) + 1)
                            v = int_most(to);
                        else if (x <= (real)int_least(to) - 1)
                            v = int_least(to);
                        else {
                            const real whole = round_whole(x, mode);
                            v = whole > (real)int_most(to)    ? int_most(to)
                                : whole < (real)int_least(to) ? int_least(to)
                                                              : (wide)whole;
                        }
                        values[2 * i] = (uint64_t)int_value((uint64_t)v, to);
                        values[2 * i + 1] = bits[i];
                    }
                    snprintf(name, sizeof name, "cvt.%si%s.%s.%s", modes[mode], ftz ? ".ftz" : "",
                             int_names[to], float_names[from]);
                    snprintf(operands, sizeof operands, "%c, %s", int_register(to, true),
                             float_register(from, false));
                    op_add(name, operands, n, values);
                }
    op_run();
}

/* NaN: f16 and f32 results are canonical; f64 results keep no promise, so they are not asked for. */
static uint32_t without_nan(uint64_t *bits, uint32_t n, int t) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (float_value(bits[i], t) == float_value(bits[i], t))
            bits[kept++] = bits[i];
    return kept;
}

static void add_float(const char *name, int to, int from, int mode, bool ftz, bool sat, bool relu,
                      bool whole) {
    uint64_t bits[32], values[64];
    char operands[8];
    uint32_t n = float_samples(bits, from);
    if (to == 2)
        n = without_nan(bits, n, from);
    for (uint32_t i = 0; i < n; i++) {
        real x = float_value(bits[i], from);
        if (ftz && from == 1 && fabsl(x) < 0x1p-126L)
            x = copysignl(0, x);
        if (whole && x == x && !isinf(x))
            x = copysignl(round_whole(x, mode), x);
        if (relu && x == x && !(x > 0))
            x = 0;
        if (sat)
            x = x > 0 ? (x < 1 ? x : 1) : 0;
        values[2 * i] = x != x ? (to == 0 ? 0x7fff : 0x7fffffff) : float_bits(x, to, whole ? 0 : mode);
        if (ftz && to == 1 && !(values[2 * i] & 0x7f800000))
            values[2 * i] &= 0x80000000;
        values[2 * i + 1] = bits[i];
    }
    snprintf(operands, sizeof operands, "%s, %s", float_register(to, true), float_register(from, false));
    op_add(name, operands, n, values);
}

static void float_to_float(void) {
    char name[48];
    for (int mode = 0; mode < 4; mode++) {
        static const int pairs[][2] = {{1, 2}, {0, 2}, {0, 1}};
        for (int i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "cvt.%s.%s.%s", modes[mode], float_names[pairs[i][0]],
                     float_names[pairs[i][1]]);
            add_float(name, pairs[i][0], pairs[i][1], mode, false, false, false, false);
        }
        for (int t = 0; t < 3; t++) {
            snprintf(name, sizeof name, "cvt.%si.%s.%s", modes[mode], float_names[t], float_names[t]);
            add_float(name, t, t, mode, false, false, false, true);
        }
        snprintf(name, sizeof name, "cvt.%si.ftz.f32.f32", modes[mode]);
        add_float(name, 1, 1, mode, true, false, false, true);
        snprintf(name, sizeof name, "cvt.%si.sat.f32.f32", modes[mode]);
        add_float(name, 1, 1, mode, false, true, false, true);
    }
    add_float("cvt.f32.f16", 1, 0, 0, false, false, false, false);
    add_float("cvt.f64.f16", 2, 0, 0, false, false, false, false);
    add_float("cvt.f64.f32", 2, 1, 0, false, false, false, false);
    add_float("cvt.ftz.f32.f16", 1, 0, 0, true, false, false, false);
    add_float("cvt.ftz.f64.f32", 2, 1, 0, true, false, false, false);
    add_float("cvt.rn.ftz.f32.f64", 1, 2, 0, true, false, false, false);
    add_float("cvt.rn.ftz.f16.f32", 0, 1, 0, true, false, false, false);
    add_float("cvt.rn.sat.f16.f32", 0, 1, 0, false, true, false, false);
    add_float("cvt.rn.relu.f16.f32", 0, 1, 0, false, false, true, false);
    add_float("cvt.sat.f32.f32", 1, 1, 0, false, true, false, false);
    add_float("cvt.ftz.sat.f32.f32", 1, 1, 0, true, true, false, false);
    op_run();
}

/* 0x3f808000 is a tie between two bf16; upper operand first. */
static const struct op_row rows[] = {
    {"cvt.rn.bf16.f32", "H, r",
     "0x3f808000 = 0x3f80; 0x3f818000 = 0x3f82; 0x3f808001 = 0x3f81; f:nan = 0x7fff; 0x7f7fffff = 0x7f80; "
     "f:-2 = 0xc000; 0x00000001 = 0"},
    {"cvt.rn.relu.bf16.f32", "H, r", "f:-2 = 0; f:2 = 0x4000; f:nan = 0x7fff"},
    {"cvt.rz.bf16.f32", "H, r", "0x3f81ffff = 0x3f81; 0x7f7fffff = 0x7f7f; f:-2 = 0xc000"},
    {"cvt.rn.f16x2.f32", "R, r, r",
     "f:1 f:2 = 0x3c004000; f:nan f:-0 = 0x7fff8000; 0x477fefff 0x477ff000 = 0x7bff7c00"},
    {"cvt.rn.relu.f16x2.f32", "R, r, r", "f:-1 f:2 = 0x00004000; f:nan f:-0 = 0x7fff0000"},
    {"cvt.rz.f16x2.f32", "R, r, r", "0x3f803fff 0x477fffff = 0x3c017bff"},
    {"cvt.rn.bf16x2.f32", "R, r, r", "f:1 f:2 = 0x3f804000; 0x3f808000 0x3f818000 = 0x3f803f82"},
    {"cvt.rn.relu.bf16x2.f32", "R, r, r", "f:-1 f:2 = 0x00004000"},
    {"cvt.rz.bf16x2.f32", "R, r, r", "0x3f81ffff f:-2 = 0x3f81c000"},
    /* a double just above a tie of f16 that f32 cannot tell from the tie */
    {"cvt.rn.f16.f64", "H, d",
     "0x3ff0020000000001 = 0x3c01; 0x3ff0020000000000 = 0x3c00; 0x3ff001ffffffffff = 0x3c00"},
};

void converts_types(void **state) {
    (void)state;
    integers();
    integer_to_float();
    float_to_integer();
    float_to_float();
    op_table(rows, sizeof rows / sizeof *rows);
}
