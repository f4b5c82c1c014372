/* f16, f16x2, bf16 and bf16x2 arithmetic with a single rounding.
 *
 * Sums and products of halves are rounded to f32 first and then to f16; with 24 bits against 11 the second
 * rounding cannot change the result. fma has no such luck: its sum is made in double with the rounding error
 * kept as a sticky last bit.
 */
#include "half.h"
#include "opcodes.h"

enum { OP_ADD, OP_SUB, OP_MUL, OP_MIN, OP_MAX, OP_FMA };
enum { IMM_BF16 = 1 << 8, IMM_FTZ = 1 << 9, IMM_SAT = 1 << 10, IMM_RELU = 1 << 11, IMM_NAN = 1 << 12 };
enum { MOST = 2 * LANES };

static void load(float *to, const struct warp *w, uint32_t slot, uint32_t n, int64_t imm) {
    const uint16_t *from = row(w, slot);
    if (imm & IMM_BF16)
        for (uint32_t i = 0; i < n; i++)
            to[i] = bf16_to_float(from[i]);
    else
        f16_row_to_float(to, from, n);
    if (imm & IMM_FTZ)
        for (uint32_t i = 0; i < n; i++)
            to[i] = __builtin_fabsf(to[i]) < 0x1p-14f ? __builtin_copysignf(0.0f, to[i]) : to[i];
}

static void store(const struct warp *w, const struct inst *in, uint32_t mask, const float *from) {
    const uint32_t n = LANES * in->n;
    uint16_t result[MOST];
    if (in->imm & IMM_BF16)
        for (uint32_t i = 0; i < n; i++)
            result[i] = bf16_from_float(from[i]);
    else
        f16_row_from_float(result, from, n);
    if (in->imm & IMM_FTZ)
        for (uint32_t i = 0; i < n; i++)
            result[i] = result[i] & 0x7c00 ? result[i] : result[i] & 0x8000;
    if (in->n == 1) {
        uint16_t *d = row(w, in->o[0]);
        WRITE_LANES(d, mask, uint16_t, result[i]);
    } else {
        uint32_t *d = row(w, in->o[0]);
        uint32_t pairs[LANES];
        memcpy(pairs, result, sizeof pairs);
        WRITE_LANES(d, mask, uint32_t, pairs[i]);
    }
}

/* A double rounded to float so that a later rounding to fewer bits is right: what does not fit makes the last
 * bit odd. */
static inline float to_odd(double x) {
    const float near = (float)x;
    const uint32_t bits = bits_of(near);
    const double back = (double)near;
    const bool inexact = back != x && x == x && __builtin_fabsf(near) <= 0x1.fffffep127f;
    const bool below = __builtin_fabs(back) < __builtin_fabs(x);
    return float_of(inexact && !(bits & 1) ? (below ? bits + 1 : bits - 1) : bits);
}

/* x * y + z in double; the product is exact, the sum's error (two-sum) goes into its last bit. */
static inline double fused(double x, double y, double z) {
    const double p = x * y, s = p + z, t = s - p, error = (p - (s - t)) + (z - t);
    const uint64_t bits = bits_of_double(s);
    const bool sticky = error != 0 && error == error && !(bits & 1) && __builtin_fabs(s) < 0x1p1000;
    const bool grows = (error > 0) == (s > 0);
    return double_of(sticky ? (grows ? bits + 1 : bits - 1) : bits);
}

static inline float smallest(float x, float y, bool nan) {
    const float r = x < y ? x : y < x ? y : x == y ? float_of(bits_of(x) | bits_of(y)) : x == x ? x : y;
    return nan && (x != x || y != y) ? float_of(CANONICAL_NAN) : r;
}
static inline float largest(float x, float y, bool nan) {
    const float r = x > y ? x : y > x ? y : x == y ? float_of(bits_of(x) & bits_of(y)) : x == x ? x : y;
    return nan && (x != x || y != y) ? float_of(CANONICAL_NAN) : r;
}

static void finish(float *r, uint32_t n, int64_t imm) {
    if (imm & IMM_SAT)
        for (uint32_t i = 0; i < n; i++)
            r[i] = saturate(r[i]);
    if (imm & IMM_RELU)
        for (uint32_t i = 0; i < n; i++)
            r[i] = r[i] != r[i] || r[i] > 0 ? r[i] : 0.0f;
}

static void two_sources(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t n = LANES * in->n;
    float x[MOST], y[MOST];
    load(x, w, in->o[1], n, in->imm);
    load(y, w, in->o[2], n, in->imm);
    const bool nan = in->imm & IMM_NAN;
    switch (in->imm & 0xff) {
    case OP_ADD:
        for (uint32_t i = 0; i < n; i++)
            x[i] = x[i] + y[i];
        break;
    case OP_SUB:
        for (uint32_t i = 0; i < n; i++)
            x[i] = x[i] - y[i];
        break;
    case OP_MUL:
        for (uint32_t i = 0; i < n; i++)
            x[i] = x[i] * y[i];
        break;
    case OP_MIN:
        for (uint32_t i = 0; i < n; i++)
            x[i] = smallest(x[i], y[i], nan);
        break;
    default:
        for (uint32_t i = 0; i < n; i++)
            x[i] = largest(x[i], y[i], nan);
    }
    finish(x, n, in->imm);
    store(w, in, mask, x);
}

static void three_sources(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t n = LANES * in->n;
    float x[MOST], y[MOST], z[MOST];
    load(x, w, in->o[1], n, in->imm);
    load(y, w, in->o[2], n, in->imm);
    load(z, w, in->o[3], n, in->imm);
    for (uint32_t i = 0; i < n; i++)
        x[i] = to_odd(fused((double)x[i], (double)y[i], (double)z[i]));
    finish(x, n, in->imm);
    store(w, in, mask, x);
}

static inline uint32_t flush_half(uint32_t x) {
    return x & 0x7c00u ? x : x & 0x8000u;
}
EXEC1(neg16, uint16_t, uint16_t, x ^ 0x8000u)
EXEC1(abs16, uint16_t, uint16_t, x & 0x7fffu)
EXEC1(neg16x2, uint32_t, uint32_t, x ^ 0x80008000u)
EXEC1(abs16x2, uint32_t, uint32_t, x & 0x7fff7fffu)
EXEC1(neg16_ftz, uint16_t, uint16_t, flush_half(x) ^ 0x8000u)
EXEC1(abs16_ftz, uint16_t, uint16_t, flush_half(x) & 0x7fffu)
EXEC1(neg16x2_ftz, uint32_t, uint32_t, (flush_half(x & 0xffff) | flush_half(x >> 16) << 16) ^ 0x80008000u)
EXEC1(abs16x2_ftz, uint32_t, uint32_t, (flush_half(x & 0xffff) | flush_half(x >> 16) << 16) & 0x7fff7fffu)

static void add_rows(const char *name, int64_t imm, const char *type) {
    const bool three = (imm & 0xff) == OP_FMA;
    if (imm & IMM_BF16) {
        opcode_add((struct opcode){.fn = three ? three_sources : two_sources,
                                   .signature = three ? "Hhhh" : "Hhh",
                                   .imm = imm,
                                   .n = 1,
                                   .cls = CLASS_F16},
                   "%s.b%s", name, type);
        opcode_add((struct opcode){.fn = three ? three_sources : two_sources,
                                   .signature = three ? "Rrrr" : "Rrr",
                                   .imm = imm,
                                   .n = 2,
                                   .cls = CLASS_F16},
                   "%s.b%sx2", name, type);
        return;
    }
    opcode_add((struct opcode){.fn = three ? three_sources : two_sources,
                               .signature = three ? "Hhhh" : "Hhh",
                               .imm = imm,
                               .n = 1,
                               .cls = CLASS_F16},
               "%s.%s", name, type);
    opcode_add((struct opcode){.fn = three ? three_sources : two_sources,
                               .signature = three ? "Rrrr" : "Rrr",
                               .imm = imm,
                               .n = 2,
                               .cls = CLASS_F16},
               "%s.%sx2", name, type);
}

void opcodes_half(void) {
    static const struct {
        const char *name;
        int64_t imm;
    } rows[] = {
        {"add", OP_ADD},
        {"sub", OP_SUB},
        {"mul", OP_MUL},
        {"add.rn", OP_ADD},
        {"sub.rn", OP_SUB},
        {"mul.rn", OP_MUL},
        {"add.ftz", OP_ADD | IMM_FTZ},
        {"sub.ftz", OP_SUB | IMM_FTZ},
        {"mul.ftz", OP_MUL | IMM_FTZ},
        {"add.sat", OP_ADD | IMM_SAT},
        {"sub.sat", OP_SUB | IMM_SAT},
        {"mul.sat", OP_MUL | IMM_SAT},
        {"min", OP_MIN},
        {"max", OP_MAX},
        {"min.ftz", OP_MIN | IMM_FTZ},
        {"max.ftz", OP_MAX | IMM_FTZ},
        {"min.NaN", OP_MIN | IMM_NAN},
        {"max.NaN", OP_MAX | IMM_NAN},
        {"fma.rn", OP_FMA},
        {"fma.rn.ftz", OP_FMA | IMM_FTZ},
        {"fma.rn.sat", OP_FMA | IMM_SAT},
        {"fma.rn.relu", OP_FMA | IMM_RELU},
        {"fma.rn.ftz.relu", OP_FMA | IMM_FTZ | IMM_RELU},
    };
    static const struct {
        const char *name;
        int64_t imm;
    } brain[] = {{"fma.rn", OP_FMA}, {"fma.rn.relu", OP_FMA | IMM_RELU}, {"min", OP_MIN},
                 {"max", OP_MAX},    {"min.NaN", OP_MIN | IMM_NAN},      {"max.NaN", OP_MAX | IMM_NAN}};
    static const struct {
        const char *name, *signature;
        exec_fn fn;
    } signs[] = {{"neg.f16", "Hh", neg16},
                 {"abs.f16", "Hh", abs16},
                 {"neg.bf16", "Hh", neg16},
                 {"abs.bf16", "Hh", abs16},
                 {"neg.f16x2", "Rr", neg16x2},
                 {"abs.f16x2", "Rr", abs16x2},
                 {"neg.bf16x2", "Rr", neg16x2},
                 {"abs.bf16x2", "Rr", abs16x2},
                 {"neg.ftz.f16", "Hh", neg16_ftz},
                 {"abs.ftz.f16", "Hh", abs16_ftz},
                 {"neg.ftz.f16x2", "Rr", neg16x2_ftz},
                 {"abs.ftz.f16x2", "Rr", abs16x2_ftz}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        add_rows(rows[i].name, rows[i].imm, "f16");
    for (size_t i = 0; i < sizeof brain / sizeof *brain; i++)
        add_rows(brain[i].name, brain[i].imm | IMM_BF16, "f16");
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        opcode_add((struct opcode){.fn = signs[i].fn, .signature = signs[i].signature, .cls = CLASS_F16},
                   "%s", signs[i].name);
}
