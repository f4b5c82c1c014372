/* Integer arithmetic. */
#include "lanes.h"
#include "opcodes.h"

typedef unsigned __int128 u128;
typedef __int128 s128;

/* ---- add, sub, and their carries ---- */

#define ADD_SUB(bits)                                                                                        \
    EXEC2(add##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x + y)                                  \
    EXEC2(sub##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x - y)
ADD_SUB(16)
ADD_SUB(32)
ADD_SUB(64)

static inline int32_t clamp32(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}
EXEC2(add_sat, int32_t, int32_t, int32_t, clamp32((int64_t)x + y))
EXEC2(sub_sat, int32_t, int32_t, int32_t, clamp32((int64_t)x - y))

/* imm bit 0: takes the carry in; bit 1: gives one out; bit 2: subtracts. As the machine code has it that
 * ptxas makes (IADD3 with ~b and a carry of 1), CC.CF is the carry of a + ~b + 1 after a subtraction: 1 when
 * nothing was borrowed. */
#define CARRY(name, T, WIDE, bits)                                                                           \
    static void name(struct warp *w, const struct inst *in, uint32_t mask) {                                 \
        T *d = row(w, in->o[0]);                                                                             \
        const T *a = row(w, in->o[1]), *b = row(w, in->o[2]);                                                \
        const T inverts = in->imm & 4 ? (T)-1 : 0;                                                           \
        const uint32_t carry = in->imm & 1 ? w->carry : in->imm & 4 ? FULL : 0;                              \
        uint32_t out = 0;                                                                                    \
        EACH_LANE(i, mask) {                                                                                 \
            const WIDE r = (WIDE)a[i] + (T)(b[i] ^ inverts) + (carry >> i & 1);                              \
            d[i] = (T)r;                                                                                     \
            out |= (uint32_t)(r >> bits & 1) << i;                                                           \
        }                                                                                                    \
        if (in->imm & 2)                                                                                     \
            w->carry = (w->carry & ~mask) | out;                                                             \
    }
CARRY(carry32, uint32_t, uint64_t, 32)
CARRY(carry64, uint64_t, u128, 64)

/* The same for a * b + c; bit 3: the high half of the product, bit 4: of the signed one. */
#define MAD_CARRY(name, T, S, UW, SW, bits)                                                                  \
    static void name(struct warp *w, const struct inst *in, uint32_t mask) {                                 \
        T *d = row(w, in->o[0]);                                                                             \
        const T *a = row(w, in->o[1]), *b = row(w, in->o[2]), *c = row(w, in->o[3]);                         \
        const uint32_t carry = in->imm & 1 ? w->carry : 0;                                                   \
        uint32_t out = 0;                                                                                    \
        EACH_LANE(i, mask) {                                                                                 \
            const T product = in->imm & 16  ? (T)(((SW)(S)a[i] * (S)b[i]) >> bits)                           \
                              : in->imm & 8 ? (T)(((UW)a[i] * b[i]) >> bits)                                 \
                                            : (T)((UW)a[i] * b[i]);                                          \
            const UW r = (UW)product + c[i] + (carry >> i & 1);                                              \
            d[i] = (T)r;                                                                                     \
            out |= (uint32_t)(r >> bits & 1) << i;                                                           \
        }                                                                                                    \
        if (in->imm & 2)                                                                                     \
            w->carry = (w->carry & ~mask) | out;                                                             \
    }
MAD_CARRY(mad_carry32, uint32_t, int32_t, uint64_t, int64_t, 32)
MAD_CARRY(mad_carry64, uint64_t, int64_t, u128, s128, 64)

/* ---- products ---- */

#define PRODUCTS(bits, UW, SW)                                                                               \
    EXEC2(mul_lo##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, (UW)x *(UW)y)                        \
    EXEC2(mul_hi_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, ((UW)x * (UW)y) >> bits)           \
    EXEC2(mul_hi_s##bits, int##bits##_t, int##bits##_t, int##bits##_t, ((SW)x * (SW)y) >> bits)              \
    EXEC3(mad_lo##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, uint##bits##_t, (UW)x *(UW)y + z)    \
    EXEC3(mad_hi_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, uint##bits##_t,                    \
          (((UW)x * (UW)y) >> bits) + z)                                                                     \
    EXEC3(mad_hi_s##bits, uint##bits##_t, int##bits##_t, int##bits##_t, uint##bits##_t,                      \
          (uint##bits##_t)(((SW)x * (SW)y) >> bits) + z)
PRODUCTS(16, uint32_t, int32_t)
PRODUCTS(32, uint64_t, int64_t)
PRODUCTS(64, u128, s128)

EXEC2(mul_wide_u16, uint32_t, uint16_t, uint16_t, (uint32_t)x *y)
EXEC2(mul_wide_s16, int32_t, int16_t, int16_t, (int32_t)x *y)
EXEC2(mul_wide_u32, uint64_t, uint32_t, uint32_t, (uint64_t)x *y)
EXEC2(mul_wide_s32, int64_t, int32_t, int32_t, (int64_t)x *y)
EXEC3(mad_wide_u16, uint32_t, uint16_t, uint16_t, uint32_t, (uint32_t)x *y + z)
EXEC3(mad_wide_s16, uint32_t, int16_t, int16_t, uint32_t, (uint32_t)((int32_t)x *y) + z)
EXEC3(mad_wide_u32, uint64_t, uint32_t, uint32_t, uint64_t, (uint64_t)x *y + z)
EXEC3(mad_wide_s32, uint64_t, int32_t, int32_t, uint64_t, (uint64_t)((int64_t)x *y) + z)

static inline int32_t low24(uint32_t x) {
    return (int32_t)(x << 8) >> 8;
}
EXEC2(mul24_u, uint32_t, uint32_t, uint32_t, (x & 0xffffff) * (y & 0xffffff))
EXEC2(mul24_s, uint32_t, uint32_t, uint32_t, (int64_t)low24(x) * low24(y))
EXEC3(mad24_u, uint32_t, uint32_t, uint32_t, uint32_t, (x & 0xffffff) * (y & 0xffffff) + z)
EXEC3(mad24_s, uint32_t, uint32_t, uint32_t, uint32_t, (uint32_t)((int64_t)low24(x) * low24(y)) + z)

/* ---- quotients: a zero divisor gives all ones, its remainder the dividend; PTX leaves both open ---- */

#define QUOTIENTS(bits)                                                                                      \
    EXEC2(div_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t,                                       \
          y ? x / (y ? y : 1) : (uint##bits##_t) - 1)                                                        \
    EXEC2(rem_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, y ? x % (y ? y : 1) : x)              \
    EXEC2(div_s##bits, int##bits##_t, int##bits##_t, int##bits##_t,                                          \
          y == 0    ? (int##bits##_t) - 1                                                                    \
          : y == -1 ? (int##bits##_t)(0 - (uint##bits##_t)x)                                                 \
                    : x / (y == 0 || y == -1 ? 1 : y))                                                       \
    EXEC2(rem_s##bits, int##bits##_t, int##bits##_t, int##bits##_t,                                          \
          y == 0    ? x                                                                                      \
          : y == -1 ? (int##bits##_t)0                                                                       \
                    : x % (y == 0 || y == -1 ? 1 : y))
QUOTIENTS(16)
QUOTIENTS(32)
QUOTIENTS(64)

/* ---- one and two operands ---- */

#define ORDERED(bits)                                                                                        \
    EXEC1(abs##bits, uint##bits##_t, int##bits##_t, x < 0 ? 0 - (uint##bits##_t)x : (uint##bits##_t)x)       \
    EXEC1(neg##bits, uint##bits##_t, uint##bits##_t, 0 - x)                                                  \
    EXEC2(min_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x < y ? x : y)                        \
    EXEC2(max_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x > y ? x : y)                        \
    EXEC2(min_s##bits, int##bits##_t, int##bits##_t, int##bits##_t, x < y ? x : y)                           \
    EXEC2(max_s##bits, int##bits##_t, int##bits##_t, int##bits##_t, x > y ? x : y)                           \
    EXEC3(sad_u##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, uint##bits##_t,                       \
          z + (x < y ? y - x : x - y))                                                                       \
    EXEC3(sad_s##bits, uint##bits##_t, int##bits##_t, int##bits##_t, uint##bits##_t,                         \
          z + (x < y ? (uint##bits##_t)y - (uint##bits##_t)x : (uint##bits##_t)x - (uint##bits##_t)y))
ORDERED(16)
ORDERED(32)
ORDERED(64)

/* ---- dot products of bytes and halves ---- */

#define BYTE(T, x, n) ((int32_t)(T)((x) >> (8 * (n))))
#define DOT4(name, A, B)                                                                                     \
    EXEC3(name, uint32_t, uint32_t, uint32_t, uint32_t,                                                      \
          z + (uint32_t)(BYTE(A, x, 0) * BYTE(B, y, 0)) + (uint32_t)(BYTE(A, x, 1) * BYTE(B, y, 1)) +        \
              (uint32_t)(BYTE(A, x, 2) * BYTE(B, y, 2)) + (uint32_t)(BYTE(A, x, 3) * BYTE(B, y, 3)))
DOT4(dp4a_uu, uint8_t, uint8_t)
DOT4(dp4a_us, uint8_t, int8_t)
DOT4(dp4a_su, int8_t, uint8_t)
DOT4(dp4a_ss, int8_t, int8_t)

#define HALF_OF(T, x, n) ((int32_t)(T)((x) >> (16 * (n))))
#define DOT2(name, A16, B8, lo)                                                                              \
    EXEC3(name, uint32_t, uint32_t, uint32_t, uint32_t,                                                      \
          z + (uint32_t)(HALF_OF(A16, x, 0) * BYTE(B8, y, lo)) +                                             \
              (uint32_t)(HALF_OF(A16, x, 1) * BYTE(B8, y, lo + 1)))
DOT2(dp2a_lo_uu, uint16_t, uint8_t, 0)
DOT2(dp2a_lo_us, uint16_t, int8_t, 0)
DOT2(dp2a_lo_su, int16_t, uint8_t, 0)
DOT2(dp2a_lo_ss, int16_t, int8_t, 0)
DOT2(dp2a_hi_uu, uint16_t, uint8_t, 2)
DOT2(dp2a_hi_us, uint16_t, int8_t, 2)
DOT2(dp2a_hi_su, int16_t, uint8_t, 2)
DOT2(dp2a_hi_ss, int16_t, int8_t, 2)

/* ---- differences of four bytes, as the SIMD intrinsics have them ---- */

static inline uint32_t byte_difference(uint32_t x, uint32_t y, unsigned n) {
    const int32_t d = (int32_t)(x >> 8 * n & 255) - (int32_t)(y >> 8 * n & 255);
    return (uint32_t)(d < 0 ? -d : d);
}
EXEC3(vabsdiff4, uint32_t, uint32_t, uint32_t, uint32_t,
      ((void)z, byte_difference(x, y, 0) | byte_difference(x, y, 1) << 8 | byte_difference(x, y, 2) << 16 |
                    byte_difference(x, y, 3) << 24))
EXEC3(vabsdiff4_add, uint32_t, uint32_t, uint32_t, uint32_t,
      z + byte_difference(x, y, 0) + byte_difference(x, y, 1) + byte_difference(x, y, 2) +
          byte_difference(x, y, 3))

/* ---- the rows ---- */

static void add(const char *name, exec_fn fn, const char *signature, int64_t imm) {
    opcode_add((struct opcode){.fn = fn, .signature = signature, .imm = imm, .cls = CLASS_INT}, "%s", name);
}

/* One name for signed and unsigned, at three widths. */
static void add_both(const char *name, exec_fn f16, exec_fn f32, exec_fn f64, int sources) {
    static const char *const signature[3][4] = {
        {"", "Hh", "Hhh", "Hhhh"}, {"", "Rr", "Rrr", "Rrrr"}, {"", "Dd", "Ddd", "Dddd"}};
    exec_fn fn[3] = {f16, f32, f64};
    for (int i = 0; i < 3; i++)
        for (int s = 0; s < 2; s++)
            opcode_add((struct opcode){.fn = fn[i], .signature = signature[i][sources], .cls = CLASS_INT},
                       "%s.%c%d", name, "us"[s], 16 << i);
}
static void add_typed(const char *name, char type, exec_fn f16, exec_fn f32, exec_fn f64, int sources) {
    static const char *const signature[3][4] = {
        {"", "Hh", "Hhh", "Hhhh"}, {"", "Rr", "Rrr", "Rrrr"}, {"", "Dd", "Ddd", "Dddd"}};
    exec_fn fn[3] = {f16, f32, f64};
    for (int i = 0; i < 3; i++)
        opcode_add((struct opcode){.fn = fn[i], .signature = signature[i][sources], .cls = CLASS_INT},
                   "%s.%c%d", name, type, 16 << i);
}

static void add_carries(void) {
    static const struct {
        const char *name;
        int64_t imm;
    } rows[] = {{"add.cc", 2}, {"addc", 1}, {"addc.cc", 3}, {"sub.cc", 6}, {"subc", 5}, {"subc.cc", 7}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int type = 0; type < 4; type++)
            opcode_add((struct opcode){.fn = type < 2 ? carry32 : carry64,
                                       .signature = type < 2 ? "Rrr" : "Ddd",
                                       .imm = rows[i].imm,
                                       .cls = CLASS_INT},
                       "%s.%c%d", rows[i].name, "us"[type & 1], type < 2 ? 32 : 64);
    static const struct {
        const char *format;
        int64_t imm;
    } mads[] = {{"mad.%s.cc.%c%d", 2}, {"madc.%s.%c%d", 1}, {"madc.%s.cc.%c%d", 3}};
    for (size_t i = 0; i < sizeof mads / sizeof *mads; i++)
        for (int type = 0; type < 4; type++)
            for (int high = 0; high < 2; high++)
                opcode_add((struct opcode){.fn = type < 2 ? mad_carry32 : mad_carry64,
                                           .signature = type < 2 ? "Rrrr" : "Dddd",
                                           .imm = mads[i].imm | (high ? type & 1 ? 16 : 8 : 0),
                                           .cls = CLASS_INT},
                           mads[i].format, high ? "hi" : "lo", "us"[type & 1], type < 2 ? 32 : 64);
}

static void add_dots(void) {
    static const exec_fn four[] = {dp4a_uu, dp4a_us, dp4a_su, dp4a_ss};
    static const exec_fn two[] = {dp2a_lo_uu, dp2a_lo_us, dp2a_lo_su, dp2a_lo_ss,
                                  dp2a_hi_uu, dp2a_hi_us, dp2a_hi_su, dp2a_hi_ss};
    for (int i = 0; i < 4; i++)
        opcode_add((struct opcode){.fn = four[i], .signature = "Rrrr", .cls = CLASS_DP4A}, "dp4a.%c32.%c32",
                   "us"[i >> 1], "us"[i & 1]);
    for (int i = 0; i < 8; i++)
        opcode_add((struct opcode){.fn = two[i], .signature = "Rrrr", .cls = CLASS_DP4A}, "dp2a.%s.%c32.%c32",
                   i < 4 ? "lo" : "hi", "us"[i >> 1 & 1], "us"[i & 1]);
}

void opcodes_integer(void) {
    add_both("add", add16, add32, add64, 2);
    add_both("sub", sub16, sub32, sub64, 2);
    add("add.sat.s32", add_sat, "Rrr", 0);
    add("sub.sat.s32", sub_sat, "Rrr", 0);
    add_carries();
    add_both("mul.lo", mul_lo16, mul_lo32, mul_lo64, 2);
    add_typed("mul.hi", 'u', mul_hi_u16, mul_hi_u32, mul_hi_u64, 2);
    add_typed("mul.hi", 's', mul_hi_s16, mul_hi_s32, mul_hi_s64, 2);
    add_both("mad.lo", mad_lo16, mad_lo32, mad_lo64, 3);
    add_typed("mad.hi", 'u', mad_hi_u16, mad_hi_u32, mad_hi_u64, 3);
    add_typed("mad.hi", 's', mad_hi_s16, mad_hi_s32, mad_hi_s64, 3);
    add("mul.wide.u16", mul_wide_u16, "Rhh", 0);
    add("mul.wide.s16", mul_wide_s16, "Rhh", 0);
    add("mul.wide.u32", mul_wide_u32, "Drr", 0);
    add("mul.wide.s32", mul_wide_s32, "Drr", 0);
    add("mad.wide.u16", mad_wide_u16, "Rhhr", 0);
    add("mad.wide.s16", mad_wide_s16, "Rhhr", 0);
    add("mad.wide.u32", mad_wide_u32, "Drrd", 0);
    add("mad.wide.s32", mad_wide_s32, "Drrd", 0);
    add("mul24.lo.u32", mul24_u, "Rrr", 0);
    add("mul24.lo.s32", mul24_s, "Rrr", 0);
    add("mad24.lo.u32", mad24_u, "Rrrr", 0);
    add("mad24.lo.s32", mad24_s, "Rrrr", 0);
    add_typed("div", 'u', div_u16, div_u32, div_u64, 2);
    add_typed("div", 's', div_s16, div_s32, div_s64, 2);
    add_typed("rem", 'u', rem_u16, rem_u32, rem_u64, 2);
    add_typed("rem", 's', rem_s16, rem_s32, rem_s64, 2);
    add_typed("abs", 's', abs16, abs32, abs64, 1);
    add_typed("neg", 's', neg16, neg32, neg64, 1);
    add_typed("min", 'u', min_u16, min_u32, min_u64, 2);
    add_typed("max", 'u', max_u16, max_u32, max_u64, 2);
    add_typed("min", 's', min_s16, min_s32, min_s64, 2);
    add_typed("max", 's', max_s16, max_s32, max_s64, 2);
    add_typed("sad", 'u', sad_u16, sad_u32, sad_u64, 3);
    add_typed("sad", 's', sad_s16, sad_s32, sad_s64, 3);
    add_dots();
    add("vabsdiff4.u32.u32.u32", vabsdiff4, "Rrrr", 0);
    add("vabsdiff4.u32.u32.u32.add", vabsdiff4_add, "Rrrr", 0);
}
