/* cvt. The common conversions have loops of their own; every other pair of types goes through 64-bit integers
 * or doubles, which hold all of them exactly, one lane after the other.
 */
#include "half.h"
#include "opcodes.h"

#include <math.h>
#include <stdio.h>

enum number { U8, S8, U16, S16, U32, S32, U64, S64, F16, BF16, F32, F64 };
static const uint8_t number_bytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
static const char *const number_name[] = {"u8",  "s8",  "u16", "s16",  "u32", "s32",
                                          "u64", "s64", "f16", "bf16", "f32", "f64"};
enum { NEAREST, DOWN, UP, ZERO }; /* in the order of MXCSR and of the F16C immediates */
static const char *const mode_name[] = {"rn", "rm", "rp", "rz"};

/* imm: destination, source, mode, and these */
enum { IMM_SAT = 1 << 24, IMM_FTZ = 1 << 25, IMM_RELU = 1 << 26 };
static enum number to_type(const struct inst *in) {
    return (enum number)(in->imm & 0xff);
}
static enum number from_type(const struct inst *in) {
    return (enum number)(in->imm >> 8 & 0xff);
}
static unsigned mode_of(const struct inst *in) {
    return (unsigned)(in->imm >> 16 & 0xff);
}

static bool is_signed(enum number t) {
    return t == S8 || t == S16 || t == S32 || t == S64;
}

/* ---- rows as 64 bits a lane ---- */

static void read_bits(uint64_t *to, const struct warp *w, uint32_t slot, uint32_t width) {
    const void *from = row(w, slot);
    const uint16_t *h = from;
    const uint32_t *r = from;
    const uint64_t *q = from;
    FOR_LANES {
        to[i] = width == 2 ? h[i] : width == 4 ? r[i] : q[i];
    }
}

static void write_bits(const uint64_t *from, const struct warp *w, uint32_t slot, uint32_t width,
                       uint32_t mask) {
    void *to = row(w, slot);
    uint16_t *h = to;
    uint32_t *r = to;
    uint64_t *q = to;
    if (width == 2)
        WRITE_LANES(h, mask, uint16_t, from[i]);
    else if (width == 4)
        WRITE_LANES(r, mask, uint32_t, from[i]);
    else
        WRITE_LANES(q, mask, uint64_t, from[i]);
}

static inline uint64_t extend(uint64_t bits, enum number t) {
    const unsigned unused = 64 - 8 * number_bytes[t];
    return is_signed(t) ? (uint64_t)((int64_t)(bits << unused) >> unused) : bits << unused >> unused;
}

static double read_float(uint64_t bits, enum number t) {
    return t == F64   ? double_of(bits)
           : t == F32 ? (double)float_of((uint32_t)bits)
           : t == F16 ? (double)f16_to_float((uint16_t)bits)
                      : (double)bf16_to_float((uint16_t)bits);
}

/* ---- integer to integer ---- */

static uint64_t clamp_integer(uint64_t bits, enum number to, enum number from) {
    const unsigned unused = 64 - 8 * number_bytes[to];
    const bool negative = is_signed(from) && (int64_t)bits < 0;
    if (!is_signed(to)) {
        const uint64_t most = UINT64_MAX >> unused;
        return negative ? 0 : bits > most ? most : bits;
    }
    const int64_t most = (int64_t)(UINT64_MAX >> 1 >> unused), least = -most - 1;
    if (negative)
        return (int64_t)bits < least ? (uint64_t)least : bits;
    return bits > (uint64_t)most ? (uint64_t)most : bits;
}

static void integer_to_integer(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t v[LANES];
    const enum number to = to_type(in), from = from_type(in);
    read_bits(v, w, in->o[1], in->n);
    FOR_LANES {
        v[i] = extend(v[i], from);
    }
    if (in->imm & IMM_SAT)
        for (uint32_t i = 0; i < LANES; i++)
            v[i] = clamp_integer(v[i], to, from);
    FOR_LANES {
        v[i] = extend(v[i], to);
    }
    write_bits(v, w, in->o[0], in->width, mask);
}

/* ---- integer to float ---- */

static uint64_t store_float(double x, enum number t, unsigned mode);

/* By the processor's one instruction, so that MXCSR's mode is the only rounding: halves of numbers beyond
 * 2^63 keep what they lose as their last bit, and are doubled again, exactly. */
static float to_float(uint64_t x, bool with_sign) {
    const bool halved = !with_sign && x >> 63;
    const uint64_t source = halved ? x >> 1 | (x & 1) : x;
    const float f = _mm_cvtss_f32(_mm_cvtsi64_ss(_mm_setzero_ps(), (long long)source));
    return halved ? 2 * f : f;
}
static double to_double(uint64_t x, bool with_sign) {
    const bool halved = !with_sign && x >> 63;
    const uint64_t source = halved ? x >> 1 | (x & 1) : x;
    const double d = _mm_cvtsd_f64(_mm_cvtsi64_sd(_mm_setzero_pd(), (long long)source));
    return halved ? 2 * d : d;
}

static void integer_to_float(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t v[LANES];
    const enum number to = to_type(in), from = from_type(in);
    const unsigned before = _mm_getcsr();
    read_bits(v, w, in->o[1], in->n);
    _mm_setcsr((before & ~0x6000u) | mode_of(in) << 13);
    for (uint32_t i = 0; i < LANES; i++) {
        volatile uint64_t bits =
            extend(v[i], from); /* volatile: the conversion stays between the changes of mode */
        if (to == F64) {
            volatile double d = to_double(bits, is_signed(from));
            v[i] = bits_of_double(d);
        } else {
            volatile float f = to_float(bits, is_signed(from));
            v[i] = bits_of(f);
        }
    }
    _mm_setcsr(before);
    /* f16: whole numbers up to 65520 are exact in f32, and all larger ones overflow alike. */
    if (to == F16)
        for (uint32_t i = 0; i < LANES; i++)
            v[i] = store_float((double)float_of((uint32_t)v[i]), F16, mode_of(in));
    write_bits(v, w, in->o[0], in->width, mask);
}

/* ---- float to integer ---- */

static double to_whole(double x, unsigned mode) {
    return mode == NEAREST ? nearbyint(x) : mode == DOWN ? floor(x) : mode == UP ? ceil(x) : trunc(x);
}

/* Out of range clamps. A NaN becomes 0, or the highest bit alone where 64 bits are on either side. */
static uint64_t to_integer(double x, enum number to, enum number from) {
    const unsigned bits = 8u * number_bytes[to];
    if (x != x)
        return bits == 64 || from == F64 ? 1ull << (bits - 1) : 0;
    if (is_signed(to)) {
        const double limit = ldexp(1.0, (int)bits - 1);
        if (x >= limit)
            return UINT64_MAX >> 1 >> (64 - bits);
        return x < -limit ? ~(uint64_t)0 << (bits - 1) : (uint64_t)(int64_t)x;
    }
    if (x >= ldexp(1.0, (int)bits))
        return UINT64_MAX >> (64 - bits);
    return x <= 0 ? 0 : (uint64_t)x;
}

static void float_to_integer(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t v[LANES];
    const enum number to = to_type(in), from = from_type(in);
    read_bits(v, w, in->o[1], in->n);
    EACH_LANE(i, mask) {
        double x = read_float(v[i], from);
        if (in->imm & IMM_FTZ)
            x = (double)flush((float)x);
        v[i] = extend(to_integer(to_whole(x, mode_of(in)), to, from), to);
    }
    write_bits(v, w, in->o[0], in->width, mask);
}

/* ---- float to float ---- */

static float narrow(double x, unsigned mode) {
    const unsigned before = _mm_getcsr();
    volatile double source = x;
    volatile float result;
    _mm_setcsr((before & ~0x6000u) | mode << 13);
    result = (float)source;
    _mm_setcsr(before);
    return result;
}

/* Rounds a double to f16 once: towards zero to f32 with what was cut off kept in the last bit, then by F16C.
 */
static uint16_t f16_of(double x, unsigned mode) {
    const float near = narrow(x, ZERO);
    const float odd = (double)near != x && x == x ? float_of(bits_of(near) | 1) : near;
    if (x != x)
        return 0x7fff;
    switch (mode) {
    case DOWN:
        return _cvtss_sh(odd, _MM_FROUND_TO_NEG_INF);
    case UP:
        return _cvtss_sh(odd, _MM_FROUND_TO_POS_INF);
    case ZERO:
        return _cvtss_sh(odd, _MM_FROUND_TO_ZERO);
    default:
        return _cvtss_sh(odd, _MM_FROUND_TO_NEAREST_INT);
    }
}

static uint64_t store_float(double x, enum number t, unsigned mode) {
    switch (t) {
    case F64:
        return bits_of_double(x);
    case F32:
        return bits_of(canonical(narrow(x, mode)));
    case F16:
        return f16_of(x, mode);
    default: /* from f32 only, which is exact here */
        if (mode == ZERO && x == x)
            return bits_of((float)x) >> 16;
        return bf16_from_float((float)x);
    }
}

static double relu(double x) {
    return x != x || x > 0 ? x : 0.0;
}

static void float_to_float(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t v[LANES];
    const enum number to = to_type(in), from = from_type(in);
    read_bits(v, w, in->o[1], in->n);
    EACH_LANE(i, mask) {
        double x = read_float(v[i], from);
        if (in->imm & IMM_FTZ && from == F32)
            x = (double)flush((float)x);
        if (in->imm & IMM_RELU)
            x = relu(x);
        if (in->imm & IMM_SAT)
            x = x > 0 ? (x < 1 ? x : 1) : 0;
        v[i] = store_float(x, to, mode_of(in));
        if (in->imm & IMM_FTZ && to == F32)
            v[i] = bits_of(flush(float_of((uint32_t)v[i])));
    }
    write_bits(v, w, in->o[0], in->width, mask);
}

/* cvt.rni.f32.f32 and its like: to a whole number of the same type. */
static void float_to_whole(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t v[LANES];
    const enum number t = to_type(in);
    read_bits(v, w, in->o[1], in->n);
    EACH_LANE(i, mask) {
        double x = read_float(v[i], t);
        if (in->imm & IMM_FTZ)
            x = (double)flush((float)x);
        x = to_whole(x, mode_of(in));
        if (in->imm & IMM_SAT)
            x = x > 0 ? (x < 1 ? x : 1) : 0;
        v[i] = store_float(x, t, NEAREST);
    }
    write_bits(v, w, in->o[0], in->width, mask);
}

/* cvt.rn.f16x2.f32 d, a, b: a to the upper half. */
static void pair_of_halves(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    const float *a = row(w, in->o[1]), *b = row(w, in->o[2]);
    const enum number t = to_type(in);
    EACH_LANE(i, mask) {
        const double upper = in->imm & IMM_RELU ? relu((double)a[i]) : (double)a[i];
        const double lower = in->imm & IMM_RELU ? relu((double)b[i]) : (double)b[i];
        d[i] = (uint32_t)(store_float(upper, t, mode_of(in)) << 16 | store_float(lower, t, mode_of(in)));
    }
}

/* ---- the common ones, at full speed ---- */

EXEC1(s64_s32, int64_t, int32_t, x)
EXEC1(u64_u32, uint64_t, uint32_t, x)
EXEC1(low_32_of_64, uint32_t, uint64_t, x)
EXEC1(f32_s32, float, int32_t, x)
EXEC1(f32_u32, float, uint32_t, x)
EXEC1(s32_f32_zero, int32_t, float,
      x != x                      ? 0
      : (double)x < -2147483648.0 ? -2147483648.0
      : (double)x > 2147483647.0  ? 2147483647.0
                                  : (double)x)

static void f32_f16(struct warp *w, const struct inst *in, uint32_t mask) {
    float v[LANES];
    float *d = row(w, in->o[0]);
    f16_row_to_float(v, row(w, in->o[1]), LANES);
    WRITE_LANES(d, mask, float, canonical(v[i]));
}
static void f16_f32(struct warp *w, const struct inst *in, uint32_t mask) {
    uint16_t v[LANES], *d = row(w, in->o[0]);
    f16_row_from_float(v, row(w, in->o[1]), LANES);
    WRITE_LANES(d, mask, uint16_t, v[i]);
}
static void f16x2_f32(struct warp *w, const struct inst *in, uint32_t mask) {
    uint16_t upper[LANES], lower[LANES];
    uint32_t *d = row(w, in->o[0]);
    f16_row_from_float(upper, row(w, in->o[1]), LANES);
    f16_row_from_float(lower, row(w, in->o[2]), LANES);
    WRITE_LANES(d, mask, uint32_t, (uint32_t)upper[i] << 16 | lower[i]);
}

static const struct {
    uint8_t to, from, mode, width, n;
    exec_fn fn;
} fast[] = {{S64, S32, NEAREST, 8, 4, s64_s32},      {U64, S32, NEAREST, 8, 4, s64_s32},
            {U64, U32, NEAREST, 8, 4, u64_u32},      {S64, U32, NEAREST, 8, 4, u64_u32},
            {U32, U64, NEAREST, 4, 8, low_32_of_64}, {S32, S64, NEAREST, 4, 8, low_32_of_64},
            {U32, S64, NEAREST, 4, 8, low_32_of_64}, {S32, U64, NEAREST, 4, 8, low_32_of_64},
            {F32, S32, NEAREST, 4, 4, f32_s32},      {F32, U32, NEAREST, 4, 4, f32_u32},
            {S32, F32, ZERO, 4, 4, s32_f32_zero},    {F32, F16, NEAREST, 4, 2, f32_f16},
            {F16, F32, NEAREST, 2, 4, f16_f32}};

/* Registers may be wider than the types. */
static bool bind_convert(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    if (!decode_count(d, from, 2, 2) ||
        !decode_write_wide(d, &from->operand[0], number_bytes[to_type(to)], &to->o[0], &to->width) ||
        !decode_read_wide(d, &from->operand[1], number_bytes[from_type(to)], &to->o[1], &to->n))
        return false;
    const bool floating = to_type(to) >= F16;
    if (floating && to->width != number_bytes[to_type(to)]) {
        decode_fail(d, "a float result in a register of another size");
        return false;
    }
    for (size_t i = 0; i < sizeof fast / sizeof *fast; i++)
        if (fast[i].to == to_type(to) && fast[i].from == from_type(to) && fast[i].mode == mode_of(to) &&
            fast[i].width == to->width && fast[i].n == to->n && !(to->imm >> 24))
            to->fn = fast[i].fn;
    return true;
}

static void add(exec_fn fn, enum number to, enum number from, unsigned mode, int64_t flags,
                const char *name) {
    opcode_add((struct opcode){.fn = fn,
                               .bind = bind_convert,
                               .cls = CLASS_CONVERT,
                               .imm = (int64_t)to | (int64_t)from << 8 | (int64_t)mode << 16 | flags},
               "cvt.%s.%s.%s", name, number_name[to], number_name[from]);
}

/* .sat only where a value can be out of range. */
static bool can_overflow(enum number to, enum number from) {
    return number_bytes[to] < number_bytes[from] || (is_signed(from) && !is_signed(to)) ||
           (number_bytes[to] == number_bytes[from] && is_signed(from) != is_signed(to));
}

static void add_integers(void) {
    for (int to = U8; to <= S64; to++)
        for (int from = U8; from <= S64; from++) {
            opcode_add((struct opcode){.fn = integer_to_integer,
                                       .bind = bind_convert,
                                       .cls = CLASS_CONVERT,
                                       .imm = to | from << 8},
                       "cvt.%s.%s", number_name[to], number_name[from]);
            if (can_overflow((enum number)to, (enum number)from))
                add(integer_to_integer, (enum number)to, (enum number)from, NEAREST, IMM_SAT, "sat");
        }
}

static void add_integer_and_float(void) {
    for (int integer = U8; integer <= S64; integer++)
        for (int f = F16; f <= F64; f++)
            for (unsigned mode = NEAREST; mode <= ZERO; mode++) {
                char name[16];
                if (f == BF16)
                    continue;
                add(integer_to_float, (enum number)f, (enum number)integer, mode, 0, mode_name[mode]);
                snprintf(name, sizeof name, "%si", mode_name[mode]);
                add(float_to_integer, (enum number)integer, (enum number)f, mode, 0, name);
                if (f != F32)
                    continue;
                snprintf(name, sizeof name, "%si.ftz", mode_name[mode]);
                add(float_to_integer, (enum number)integer, F32, mode, IMM_FTZ, name);
            }
}

static void add_floats(void) {
    static const struct { uint8_t to, from; } narrowing[] = {{F32, F64}, {F16, F64}, {F16, F32}};
    for (size_t i = 0; i < sizeof narrowing / sizeof *narrowing; i++)
        for (unsigned mode = NEAREST; mode <= ZERO; mode++)
            add(float_to_float, narrowing[i].to, narrowing[i].from, mode, 0, mode_name[mode]);
    add(float_to_float, F32, F64, NEAREST, IMM_FTZ, "rn.ftz");
    add(float_to_float, F16, F32, NEAREST, IMM_FTZ, "rn.ftz");
    add(float_to_float, F16, F32, NEAREST, IMM_SAT, "rn.sat");
    add(float_to_float, F16, F32, NEAREST, IMM_RELU, "rn.relu");
    add(float_to_float, BF16, F32, NEAREST, 0, "rn");
    add(float_to_float, BF16, F32, NEAREST, IMM_RELU, "rn.relu");
    add(float_to_float, BF16, F32, ZERO, 0, "rz");
    add(float_to_float, F32, F32, NEAREST, IMM_SAT, "sat");
    add(float_to_float, F32, F32, NEAREST, IMM_SAT | IMM_FTZ, "ftz.sat");
    static const struct { uint8_t to, from; } widening[] = {{F32, F16}, {F64, F16}, {F64, F32}};
    for (size_t i = 0; i < sizeof widening / sizeof *widening; i++)
        opcode_add((struct opcode){.fn = float_to_float,
                                   .bind = bind_convert,
                                   .cls = CLASS_CONVERT,
                                   .imm = widening[i].to | widening[i].from << 8},
                   "cvt.%s.%s", number_name[widening[i].to], number_name[widening[i].from]);
    add(float_to_float, F32, F16, NEAREST, IMM_FTZ, "ftz");
    add(float_to_float, F64, F32, NEAREST, IMM_FTZ, "ftz");
    for (int t = F16; t <= F64; t++)
        for (unsigned mode = NEAREST; mode <= ZERO; mode++) {
            char name[24];
            if (t == BF16)
                continue;
            snprintf(name, sizeof name, "%si", mode_name[mode]);
            add(float_to_whole, (enum number)t, (enum number)t, mode, 0, name);
            if (t != F32)
                continue;
            snprintf(name, sizeof name, "%si.ftz", mode_name[mode]);
            add(float_to_whole, F32, F32, mode, IMM_FTZ, name);
            snprintf(name, sizeof name, "%si.sat", mode_name[mode]);
            add(float_to_whole, F32, F32, mode, IMM_SAT, name);
        }
}

void opcodes_convert(void) {
    static const char *const pairs[] = {"f16x2", "bf16x2"};
    add_integers();
    add_integer_and_float();
    add_floats();
    for (int i = 0; i < 2; i++) {
        const int64_t type = i ? BF16 : F16;
        opcode_add(
            (struct opcode){
                .fn = i ? pair_of_halves : f16x2_f32, .signature = "Rrr", .imm = type, .cls = CLASS_CONVERT},
            "cvt.rn.%s.f32", pairs[i]);
        opcode_add(
            (struct opcode){
                .fn = pair_of_halves, .signature = "Rrr", .imm = type | IMM_RELU, .cls = CLASS_CONVERT},
            "cvt.rn.relu.%s.f32", pairs[i]);
        opcode_add(
            (struct opcode){
                .fn = pair_of_halves, .signature = "Rrr", .imm = type | ZERO << 16, .cls = CLASS_CONVERT},
            "cvt.rz.%s.f32", pairs[i]);
    }
}
