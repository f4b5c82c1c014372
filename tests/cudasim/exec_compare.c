/* setp, set, selp and slct. A comparison makes one word with a bit a lane. */
#include "decode.h"
#include "half.h"

#include <stdio.h>

typedef uint32_t (*compare_fn)(const void *a, const void *b);

static inline uint32_t gather_bits(const uint32_t *all_ones) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < LANES; i += 8) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(all_ones + i));
        bits |= (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(v)) << i;
    }
    return bits;
}

#define COMPARE(name, T, expression)                                                                         \
    static uint32_t name(const void *pa, const void *pb) {                                                   \
        const T *a = pa, *b = pb;                                                                            \
        uint32_t t[LANES];                                                                                   \
        FOR_LANES {                                                                                          \
            const T x = a[i], y = b[i];                                                                      \
            t[i] = (expression) ? UINT32_MAX : 0;                                                            \
        }                                                                                                    \
        return gather_bits(t);                                                                               \
    }
#define ORDERED(type, T)                                                                                     \
    COMPARE(lt_##type, T, x < y)                                                                             \
    COMPARE(le_##type, T, x <= y)                                                                            \
    COMPARE(gt_##type, T, x > y)                                                                             \
    COMPARE(ge_##type, T, x >= y)
#define EQUAL(type, T)                                                                                       \
    COMPARE(eq_##type, T, x == y)                                                                            \
    COMPARE(ne_##type, T, x != y)
EQUAL(16, uint16_t)
EQUAL(32, uint32_t)
EQUAL(64, uint64_t)
ORDERED(u16, uint16_t)
ORDERED(s16, int16_t)
ORDERED(u32, uint32_t)
ORDERED(s32, int32_t)
ORDERED(u64, uint64_t)
ORDERED(s64, int64_t)

/* Floats: with a NaN the plain forms are false, the forms with u true. */
#define FLOATS(type, T, X, Y)                                                                                \
    COMPARE(eq_##type, T, X == Y)                                                                            \
    COMPARE(ne_##type, T, X<Y || X> Y)                                                                       \
    COMPARE(lt_##type, T, X < Y)                                                                             \
    COMPARE(le_##type, T, X <= Y)                                                                            \
    COMPARE(gt_##type, T, X > Y)                                                                             \
    COMPARE(ge_##type, T, X >= Y)                                                                            \
    COMPARE(equ_##type, T, !(X < Y || X > Y))                                                                \
    COMPARE(neu_##type, T, !(X == Y))                                                                        \
    COMPARE(ltu_##type, T, !(X >= Y))                                                                        \
    COMPARE(leu_##type, T, !(X > Y))                                                                         \
    COMPARE(gtu_##type, T, !(X <= Y))                                                                        \
    COMPARE(geu_##type, T, !(X < Y))                                                                         \
    COMPARE(num_##type, T, X == X && Y == Y)                                                                 \
    COMPARE(nan_##type, T, X != X || Y != Y)
FLOATS(f32, float, x, y)
FLOATS(ftz, float, flush(x), flush(y))
FLOATS(f64, double, x, y)

#define FLOAT_TABLE(type)                                                                                    \
    {                                                                                                        \
        eq_##type, ne_##type, lt_##type, le_##type, gt_##type, ge_##type, equ_##type, neu_##type,            \
            ltu_##type, leu_##type, gtu_##type, geu_##type, num_##type, nan_##type                           \
    }
static const char *const float_names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                          "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
enum { N_FLOAT_COMPARE = 14 };
static const compare_fn f32_table[] = FLOAT_TABLE(f32), ftz_table[] = FLOAT_TABLE(ftz),
                        f64_table[] = FLOAT_TABLE(f64);

/* ---- setp ---- */

enum { BOOL_NONE, BOOL_AND, BOOL_OR, BOOL_XOR };
enum { IMM_HALVES = 1 << 8, IMM_FTZ = 1 << 9, IMM_NOT_C = 1 << 10 };

static uint32_t combine(int64_t how, uint32_t x, uint32_t c) {
    switch (how & 0xff) {
    case BOOL_AND:
        return x & c;
    case BOOL_OR:
        return x | c;
    case BOOL_XOR:
        return x ^ c;
    default:
        return x;
    }
}

/* p|q = a compared with b, and its opposite, each combined with c. */
static void set_predicate(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t t = ((compare_fn)in->aux)(row(w, in->o[2]), row(w, in->o[3]));
    const uint32_t c = *predicate(w, in->o[4]) ^ (in->imm & IMM_NOT_C ? FULL : 0);
    if (in->o[1])
        predicate_set(w, in->o[1], mask, combine(in->imm, ~t, c));
    predicate_set(w, in->o[0], mask, combine(in->imm, t, c));
}

/* One half of each lane of two rows as f32: half 0 is the lower. */
static void half_of(float *to, const struct warp *w, uint32_t slot, uint32_t n, uint32_t which, bool ftz) {
    const uint16_t *from = row(w, slot);
    for (uint32_t i = 0; i < LANES; i++) {
        const uint16_t h = from[i * n + which];
        to[i] = f16_to_float(ftz && !(h & 0x7c00) ? h & 0x8000 : h);
    }
}

static uint32_t compare_halves(const struct warp *w, const struct inst *in, uint32_t a, uint32_t b,
                               uint32_t which) {
    float x[LANES], y[LANES];
    half_of(x, w, a, in->n, which, in->imm & IMM_FTZ);
    half_of(y, w, b, in->n, which, in->imm & IMM_FTZ);
    return ((compare_fn)in->aux)(x, y);
}

/* f16: p|q as above. f16x2: p from the lower halves, q from the upper. */
static void set_predicate_half(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t t = compare_halves(w, in, in->o[2], in->o[3], 0);
    const uint32_t second = in->n == 2 ? compare_halves(w, in, in->o[2], in->o[3], 1) : ~t;
    const uint32_t c = *predicate(w, in->o[4]) ^ (in->imm & IMM_NOT_C ? FULL : 0);
    if (in->o[1])
        predicate_set(w, in->o[1], mask, combine(in->imm, second, c));
    predicate_set(w, in->o[0], mask, combine(in->imm, t, c));
}

static bool bind_setp(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    const bool has_c = (to->imm & 0xff) != BOOL_NONE;
    if (!decode_count(d, from, has_c ? 4 : 3, has_c ? 4 : 3))
        return false;
    struct ptx_operand p = from->operand[0];
    const struct ptx_operand *q = p.second;
    p.second = NULL;
    if (q && to->imm & IMM_HALVES && to->n == 1) {
        decode_fail(d, "one result only");
        return false;
    }
    if (!decode_write(d, &p, 0, &to->o[0]) || (q && !decode_write(d, q, 0, &to->o[1])) ||
        !decode_read(d, &from->operand[1], to->bytes, &to->o[2]) ||
        !decode_read(d, &from->operand[2], to->bytes, &to->o[3]))
        return false;
    if (!has_c)
        return true;
    struct ptx_operand c = from->operand[3];
    if (c.negated)
        to->imm |= IMM_NOT_C;
    c.negated = false;
    return decode_read(d, &c, 0, &to->o[4]);
}

static void add_setp(const char *comparison, const char *type, compare_fn compare, uint8_t bytes,
                     int64_t flags, uint8_t n) {
    static const char *const bools[] = {"", ".and", ".or", ".xor"};
    for (int b = 0; b < 4; b++)
        opcode_add((struct opcode){.fn = flags & IMM_HALVES ? set_predicate_half : set_predicate,
                                   .bind = bind_setp,
                                   .aux = (const void *)compare,
                                   .bytes = bytes,
                                   .imm = b | flags,
                                   .n = n,
                                   .cls = CLASS_COMPARE},
                   "setp.%s%s%s.%s", comparison, bools[b], flags & IMM_FTZ ? ".ftz" : "", type);
}

/* ---- set: all ones or 1.0 ---- */

static void set_word(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t t = ((compare_fn)in->aux)(row(w, in->o[1]), row(w, in->o[2]));
    const uint32_t yes = (uint32_t)in->imm;
    uint32_t *d = row(w, in->o[0]);
    WRITE_LANES(d, mask, uint32_t, t >> i & 1 ? yes : 0);
}
/* .f16.f16 gives 1.0 or 0, .f16x2.f16x2 in each half, .u32.f16x2 all ones in each half. */
static void set_halves(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t low = compare_halves(w, in, in->o[1], in->o[2], 0);
    const uint32_t high = in->n == 2 ? compare_halves(w, in, in->o[1], in->o[2], 1) : 0;
    const uint32_t yes = in->imm & 1 ? 0xffff : 0x3c00;
    if (in->n == 1) {
        uint16_t *d = row(w, in->o[0]);
        WRITE_LANES(d, mask, uint16_t, low >> i & 1 ? yes : 0);
    } else {
        uint32_t *d = row(w, in->o[0]);
        WRITE_LANES(d, mask, uint32_t, (low >> i & 1 ? yes : 0) | (high >> i & 1 ? yes << 16 : 0));
    }
}

static void add_set(const char *comparison, const char *type, compare_fn compare, uint8_t bytes,
                    const char *ftz) {
    static const char *const results[] = {"u32", "s32", "f32"};
    for (int r = 0; r < 3; r++)
        opcode_add((struct opcode){.fn = set_word,
                                   .signature = bytes == 2   ? "Rhh"
                                                : bytes == 4 ? "Rrr"
                                                             : "Rdd",
                                   .aux = (const void *)compare,
                                   .imm = r == 2 ? 0x3f800000 : 0xffffffff,
                                   .cls = CLASS_COMPARE},
                   "set.%s%s.%s.%s", comparison, ftz, results[r], type);
}

static void add_half_sets(int i) {
    for (int ftz = 0; ftz < 2; ftz++) {
        const int64_t imm = IMM_HALVES | (ftz ? IMM_FTZ : 0);
        const char *f = ftz ? ".ftz" : "";
        opcode_add((struct opcode){.fn = set_halves,
                                   .signature = "Hhh",
                                   .aux = (const void *)f32_table[i],
                                   .imm = imm,
                                   .n = 1,
                                   .cls = CLASS_COMPARE},
                   "set.%s%s.f16.f16", float_names[i], f);
        opcode_add((struct opcode){.fn = set_halves,
                                   .signature = "Rrr",
                                   .aux = (const void *)f32_table[i],
                                   .imm = imm,
                                   .n = 2,
                                   .cls = CLASS_COMPARE},
                   "set.%s%s.f16x2.f16x2", float_names[i], f);
        opcode_add((struct opcode){.fn = set_halves,
                                   .signature = "Rrr",
                                   .aux = (const void *)f32_table[i],
                                   .imm = imm | 1,
                                   .n = 2,
                                   .cls = CLASS_COMPARE},
                   "set.%s%s.u32.f16x2", float_names[i], f);
    }
}

/* ---- selection ---- */

#define SELECT(name, T)                                                                                      \
    static void name(struct warp *w, const struct inst *in, uint32_t mask) {                                 \
        T *d = row(w, in->o[0]);                                                                             \
        const T *a = row(w, in->o[1]), *b = row(w, in->o[2]);                                                \
        const uint32_t p = *predicate(w, in->o[3]);                                                          \
        WRITE_LANES(d, mask, T, p >> i & 1 ? a[i] : b[i]);                                                   \
    }
SELECT(select16, uint16_t)
SELECT(select32, uint32_t)
SELECT(select64, uint64_t)
EXEC3(by_sign16, uint16_t, uint16_t, uint16_t, int32_t, z >= 0 ? x : y)
EXEC3(by_sign32, uint32_t, uint32_t, uint32_t, int32_t, z >= 0 ? x : y)
EXEC3(by_sign64, uint64_t, uint64_t, uint64_t, int32_t, z >= 0 ? x : y)
EXEC3(by_float16, uint16_t, uint16_t, uint16_t, float, z >= 0 ? x : y)
EXEC3(by_float32, uint32_t, uint32_t, uint32_t, float, z >= 0 ? x : y)
EXEC3(by_float64, uint64_t, uint64_t, uint64_t, float, z >= 0 ? x : y)
EXEC3(by_ftz32, uint32_t, uint32_t, uint32_t, float, flush(z) >= 0 ? x : y)

static void add_selections(void) {
    static const char *const types[] = {"b16", "u16", "s16", "b32", "u32", "s32",
                                        "f32", "b64", "u64", "s64", "f64"};
    static const char *const selp[] = {"Hhhp", "Rrrp", "Dddp"}, *const slct[] = {"Hhhr", "Rrrr", "Dddr"};
    static const exec_fn select[] = {select16, select32, select64},
                         by_sign[] = {by_sign16, by_sign32, by_sign64},
                         by_float[] = {by_float16, by_float32, by_float64};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const int width = i < 3 ? 0 : i < 7 ? 1 : 2;
        opcode_add((struct opcode){.fn = select[width], .signature = selp[width], .cls = CLASS_COMPARE},
                   "selp.%s", types[i]);
        opcode_add((struct opcode){.fn = by_sign[width], .signature = slct[width], .cls = CLASS_COMPARE},
                   "slct.%s.s32", types[i]);
        opcode_add((struct opcode){.fn = by_float[width], .signature = slct[width], .cls = CLASS_COMPARE},
                   "slct.%s.f32", types[i]);
        if (width == 1)
            opcode_add((struct opcode){.fn = by_ftz32, .signature = slct[1], .cls = CLASS_COMPARE},
                       "slct.ftz.%s.f32", types[i]);
    }
}

void opcodes_compare(void) {
    static const char *const ordered[] = {"lt", "le", "gt", "ge"}, *const unsigned_names[] = {"lo", "ls",
                                                                                              "hi", "hs"};
    static const compare_fn equal[3][2] = {{eq_16, ne_16}, {eq_32, ne_32}, {eq_64, ne_64}};
    static const compare_fn u[3][4] = {
        {lt_u16, le_u16, gt_u16, ge_u16}, {lt_u32, le_u32, gt_u32, ge_u32}, {lt_u64, le_u64, gt_u64, ge_u64}};
    static const compare_fn s[3][4] = {
        {lt_s16, le_s16, gt_s16, ge_s16}, {lt_s32, le_s32, gt_s32, ge_s32}, {lt_s64, le_s64, gt_s64, ge_s64}};
    for (int width = 0; width < 3; width++) {
        const uint8_t bytes = (uint8_t)(2 << width);
        char type[8];
        for (int k = 0; k < 2; k++)
            for (int t = 0; t < 3; t++) {
                snprintf(type, sizeof type, "%c%d", "bus"[t], 8 * bytes);
                add_setp(k ? "ne" : "eq", type, equal[width][k], bytes, 0, 0);
                add_set(k ? "ne" : "eq", type, equal[width][k], bytes, "");
            }
        for (int k = 0; k < 4; k++) {
            snprintf(type, sizeof type, "u%d", 8 * bytes);
            add_setp(ordered[k], type, u[width][k], bytes, 0, 0);
            add_setp(unsigned_names[k], type, u[width][k], bytes, 0, 0);
            add_set(ordered[k], type, u[width][k], bytes, "");
            add_set(unsigned_names[k], type, u[width][k], bytes, "");
            *type = 's';
            add_setp(ordered[k], type, s[width][k], bytes, 0, 0);
            add_set(ordered[k], type, s[width][k], bytes, "");
        }
    }
    for (int i = 0; i < N_FLOAT_COMPARE; i++) {
        add_setp(float_names[i], "f32", f32_table[i], 4, 0, 0);
        add_setp(float_names[i], "f32", ftz_table[i], 4, IMM_FTZ, 0);
        add_setp(float_names[i], "f64", f64_table[i], 8, 0, 0);
        for (int ftz = 0; ftz < 2; ftz++) {
            add_setp(float_names[i], "f16", f32_table[i], 2, IMM_HALVES | (ftz ? IMM_FTZ : 0), 1);
            add_setp(float_names[i], "f16x2", f32_table[i], 4, IMM_HALVES | (ftz ? IMM_FTZ : 0), 2);
        }
        add_set(float_names[i], "f32", f32_table[i], 4, "");
        add_set(float_names[i], "f32", ftz_table[i], 4, ".ftz");
        add_set(float_names[i], "f64", f64_table[i], 8, "");
        add_half_sets(i);
    }
    add_selections();
}
