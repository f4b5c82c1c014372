/* Logic, shifts, and everything that moves bits about inside a register. */
#include "lanes.h"
#include "opcodes.h"

/* ---- predicates: one word holds all lanes ---- */

#define PREDICATE2(name, expression)                                                                         \
    static void name(struct warp *w, const struct inst *in, uint32_t mask) {                                 \
        const uint32_t x = *predicate(w, in->o[1]), y = *predicate(w, in->o[2]);                             \
        predicate_set(w, in->o[0], mask, expression);                                                        \
    }
PREDICATE2(and_pred, x &y)
PREDICATE2(or_pred, x | y)
PREDICATE2(xor_pred, x ^ y)
static void not_pred(struct warp *w, const struct inst *in, uint32_t mask) {
    predicate_set(w, in->o[0], mask, ~*predicate(w, in->o[1]));
}

/* ---- logic and shifts ---- */

#define LOGIC(bits)                                                                                          \
    EXEC2(and##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x &y)                                   \
    EXEC2(or ##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x | y)                                  \
    EXEC2(xor##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, x ^ y)                                  \
    EXEC1(not ##bits, uint##bits##_t, uint##bits##_t, ~x)                                                    \
    EXEC1(cnot##bits, uint##bits##_t, uint##bits##_t, x == 0)                                                \
    EXEC2(shl##bits, uint##bits##_t, uint##bits##_t, uint32_t, y < bits ? x << (y & (bits - 1)) : 0)         \
    EXEC2(shr_u##bits, uint##bits##_t, uint##bits##_t, uint32_t, y < bits ? x >> (y & (bits - 1)) : 0)       \
    EXEC2(shr_s##bits, int##bits##_t, int##bits##_t, uint32_t, x >> (y < bits ? y : bits - 1))
LOGIC(16)
LOGIC(32)
LOGIC(64)

/* Any function of three inputs, one table bit for each of the eight cases; a loop over bits of the table is
 * eight selects. */
static inline uint32_t lookup3(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t r = 0;
    r |= table & 0x01 ? ~a & ~b & ~c : 0;
    r |= table & 0x02 ? ~a & ~b & c : 0;
    r |= table & 0x04 ? ~a & b & ~c : 0;
    r |= table & 0x08 ? ~a & b & c : 0;
    r |= table & 0x10 ? a & ~b & ~c : 0;
    r |= table & 0x20 ? a & ~b & c : 0;
    r |= table & 0x40 ? a & b & ~c : 0;
    r |= table & 0x80 ? a & b & c : 0;
    return r;
}
static void lop3(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    const uint32_t *a = row(w, in->o[1]), *b = row(w, in->o[2]), *c = row(w, in->o[3]);
    const uint32_t t = (uint32_t)in->imm;
    WRITE_LANES(d, mask, uint32_t, lookup3(a[i], b[i], c[i], t));
}

/* Funnel shifts of the pair {y:x} (y the upper word). .wrap takes the amount modulo 32, .clamp stops at 32.
 */
static inline uint32_t funnel_left(uint32_t x, uint32_t y, uint32_t n) {
    return (uint32_t)((((uint64_t)y << 32 | x) << n) >> 32);
}
static inline uint32_t funnel_right(uint32_t x, uint32_t y, uint32_t n) {
    return (uint32_t)(((uint64_t)y << 32 | x) >> n);
}
EXEC3(shf_l_wrap, uint32_t, uint32_t, uint32_t, uint32_t, funnel_left(x, y, z & 31))
EXEC3(shf_l_clamp, uint32_t, uint32_t, uint32_t, uint32_t, funnel_left(x, y, z < 32 ? z : 32))
EXEC3(shf_r_wrap, uint32_t, uint32_t, uint32_t, uint32_t, funnel_right(x, y, z & 31))
EXEC3(shf_r_clamp, uint32_t, uint32_t, uint32_t, uint32_t, funnel_right(x, y, z < 32 ? z : 32))

/* ---- fields ---- */

#define FIELDS(bits)                                                                                         \
    static inline uint##bits##_t low_ones##bits(uint32_t n) {                                                \
        return n >= bits ? (uint##bits##_t) - 1 : ((uint##bits##_t)1 << n) - 1;                              \
    }                                                                                                        \
    static inline uint##bits##_t extract##bits(uint##bits##_t a, uint32_t pos, uint32_t len,                 \
                                               bool with_sign) {                                             \
        pos &= 0xff;                                                                                         \
        len &= 0xff;                                                                                         \
        const uint32_t top = pos + len - 1 < bits - 1 ? pos + len - 1 : bits - 1;                            \
        const uint##bits##_t field = (pos < bits ? a >> (pos & (bits - 1)) : 0) & low_ones##bits(len);       \
        const uint32_t have = pos >= bits ? 0 : len < bits - pos ? len : bits - pos; /* bits that exist */   \
        const bool fill = with_sign && len && (a >> top & 1);                                                \
        return fill ? field | ~low_ones##bits(have) : field;                                                 \
    }                                                                                                        \
    static inline uint##bits##_t insert##bits(uint##bits##_t a, uint##bits##_t b, uint32_t pos,              \
                                              uint32_t len) {                                                \
        pos &= 0xff;                                                                                         \
        len &= 0xff;                                                                                         \
        const uint##bits##_t field = pos < bits ? low_ones##bits(len) << (pos & (bits - 1)) : 0;             \
        return (b & ~field) | (pos < bits ? a << (pos & (bits - 1)) & field : 0);                            \
    }                                                                                                        \
    EXEC3(bfe_u##bits, uint##bits##_t, uint##bits##_t, uint32_t, uint32_t, extract##bits(x, y, z, false))    \
    EXEC3(bfe_s##bits, uint##bits##_t, uint##bits##_t, uint32_t, uint32_t, extract##bits(x, y, z, true))     \
    EXEC4(bfi##bits, uint##bits##_t, uint##bits##_t, uint##bits##_t, uint32_t, uint32_t,                     \
          insert##bits(x, y, z, u))
FIELDS(32)
FIELDS(64)

/* ---- counting ---- */

static inline uint32_t leading32(uint32_t x) {
    return x ? (uint32_t)__builtin_clz(x) : 32;
}
static inline uint32_t leading64(uint64_t x) {
    return x ? (uint32_t)__builtin_clzll(x) : 64;
}
static inline uint32_t reverse32(uint32_t x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}
EXEC1(clz32, uint32_t, uint32_t, leading32(x))
EXEC1(clz64, uint32_t, uint64_t, leading64(x))
EXEC1(popc32, uint32_t, uint32_t, __builtin_popcount(x))
EXEC1(popc64, uint32_t, uint64_t, __builtin_popcountll(x))
EXEC1(brev32, uint32_t, uint32_t, reverse32(x))
EXEC1(brev64, uint64_t, uint64_t, (uint64_t)reverse32((uint32_t)x) << 32 | reverse32((uint32_t)(x >> 32)))

/* The highest bit that differs from the sign, or all ones; .shiftamt counts from the top instead. */
static inline uint32_t find32(uint32_t x, bool with_sign) {
    return 31 - leading32(with_sign && x >> 31 ? ~x : x);
}
static inline uint32_t find64(uint64_t x, bool with_sign) {
    return 63 - leading64(with_sign && x >> 63 ? ~x : x);
}
static inline uint32_t from_top(uint32_t found, uint32_t top) {
    return found == UINT32_MAX ? found : top - found;
}
EXEC1(bfind_u32, uint32_t, uint32_t, find32(x, false))
EXEC1(bfind_s32, uint32_t, uint32_t, find32(x, true))
EXEC1(bfind_u64, uint32_t, uint64_t, find64(x, false))
EXEC1(bfind_s64, uint32_t, uint64_t, find64(x, true))
EXEC1(bfind_shift_u32, uint32_t, uint32_t, from_top(find32(x, false), 31))
EXEC1(bfind_shift_s32, uint32_t, uint32_t, from_top(find32(x, true), 31))
EXEC1(bfind_shift_u64, uint32_t, uint64_t, from_top(find64(x, false), 63))
EXEC1(bfind_shift_s64, uint32_t, uint64_t, from_top(find64(x, true), 63))

/* The |n|-th set bit from `base` on, upwards for n > 0, downwards for n < 0; n = 0 asks for the bit itself.
 */
static uint32_t find_nth(uint32_t bits, uint32_t base, int32_t n) {
    const int step = n < 0 ? -1 : 1;
    int64_t left = n < 0 ? -(int64_t)n : n;
    if (base > 31)
        return UINT32_MAX;
    if (n == 0)
        return bits >> base & 1 ? base : UINT32_MAX;
    for (int at = (int)base; at >= 0 && at < 32; at += step)
        if (bits >> at & 1 && --left == 0)
            return (uint32_t)at;
    return UINT32_MAX;
}
EXEC3(fns, uint32_t, uint32_t, uint32_t, int32_t, find_nth(x, y, z))

/* ---- prmt ---- */

static inline uint32_t pick_byte(uint64_t pair, uint32_t selector) {
    const uint32_t byte = (uint32_t)(pair >> (8 * (selector & 7))) & 0xff;
    return selector & 8 ? (byte & 0x80 ? 0xff : 0) : byte;
}
static inline uint32_t permute(uint32_t x, uint32_t y, uint32_t selectors) {
    const uint64_t pair = (uint64_t)y << 32 | x;
    return pick_byte(pair, selectors) | pick_byte(pair, selectors >> 4) << 8 |
           pick_byte(pair, selectors >> 8) << 16 | pick_byte(pair, selectors >> 12) << 24;
}
/* Selectors of the special modes for each value of the lowest two bits of c, in the order of the ISA's table.
 */
static const uint16_t prmt_f4e[4] = {0x3210, 0x4321, 0x5432, 0x6543};
static const uint16_t prmt_b4e[4] = {0x5670, 0x6701, 0x7012, 0x0123};
static const uint16_t prmt_rc8[4] = {0x0000, 0x1111, 0x2222, 0x3333};
static const uint16_t prmt_ecl[4] = {0x3210, 0x3211, 0x3222, 0x3333};
static const uint16_t prmt_ecr[4] = {0x0000, 0x1110, 0x2210, 0x3210};
static const uint16_t prmt_rc16[4] = {0x1010, 0x3232, 0x1010, 0x3232};
EXEC3(prmt, uint32_t, uint32_t, uint32_t, uint32_t, permute(x, y, z))
static void prmt_mode(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    const uint32_t *a = row(w, in->o[1]), *b = row(w, in->o[2]), *c = row(w, in->o[3]);
    const uint16_t *table = in->aux;
    WRITE_LANES(d, mask, uint32_t, permute(a[i], b[i], table[c[i] & 3]));
}

/* ---- the rows ---- */

static void add(const char *name, exec_fn fn, const char *signature) {
    opcode_add((struct opcode){.fn = fn, .signature = signature, .cls = CLASS_INT}, "%s", name);
}

static void add_widths(const char *name, char type, exec_fn f16, exec_fn f32, exec_fn f64,
                       const char *const *signature) {
    const exec_fn fn[3] = {f16, f32, f64};
    for (int i = 0; i < 3; i++)
        opcode_add((struct opcode){.fn = fn[i], .signature = signature[i], .cls = CLASS_INT}, "%s.%c%d", name,
                   type, 16 << i);
}

static void add_logic(void) {
    static const char *const one[] = {"Hh", "Rr", "Dd"}, *const two[] = {"Hhh", "Rrr", "Ddd"},
                             *const shift[] = {"Hhr", "Rrr", "Ddr"};
    add_widths("and", 'b', and16, and32, and64, two);
    add_widths("or", 'b', or16, or32, or64, two);
    add_widths("xor", 'b', xor16, xor32, xor64, two);
    add_widths("not", 'b', not16, not32, not64, one);
    add_widths("cnot", 'b', cnot16, cnot32, cnot64, one);
    add_widths("shl", 'b', shl16, shl32, shl64, shift);
    add_widths("shr", 'b', shr_u16, shr_u32, shr_u64, shift);
    add_widths("shr", 'u', shr_u16, shr_u32, shr_u64, shift);
    add_widths("shr", 's', shr_s16, shr_s32, shr_s64, shift);
    add("and.pred", and_pred, "Ppp");
    add("or.pred", or_pred, "Ppp");
    add("xor.pred", xor_pred, "Ppp");
    add("not.pred", not_pred, "Pp");
    add("lop3.b32", lop3, "Rrrri");
    add("shf.l.wrap.b32", shf_l_wrap, "Rrrr");
    add("shf.l.clamp.b32", shf_l_clamp, "Rrrr");
    add("shf.r.wrap.b32", shf_r_wrap, "Rrrr");
    add("shf.r.clamp.b32", shf_r_clamp, "Rrrr");
}

static void add_permutations(void) {
    static const struct {
        const char *name;
        const uint16_t *table;
    } modes[] = {{"f4e", prmt_f4e}, {"b4e", prmt_b4e}, {"rc8", prmt_rc8},
                 {"ecl", prmt_ecl}, {"ecr", prmt_ecr}, {"rc16", prmt_rc16}};
    add("prmt.b32", prmt, "Rrrr");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        opcode_add(
            (struct opcode){.fn = prmt_mode, .signature = "Rrrr", .aux = modes[i].table, .cls = CLASS_INT},
            "prmt.b32.%s", modes[i].name);
}

void opcodes_bits(void) {
    add_logic();
    add_permutations();
    add("bfe.u32", bfe_u32, "Rrrr");
    add("bfe.s32", bfe_s32, "Rrrr");
    add("bfe.u64", bfe_u64, "Ddrr");
    add("bfe.s64", bfe_s64, "Ddrr");
    add("bfi.b32", bfi32, "Rrrrr");
    add("bfi.b64", bfi64, "Dddrr");
    add("clz.b32", clz32, "Rr");
    add("clz.b64", clz64, "Rd");
    add("popc.b32", popc32, "Rr");
    add("popc.b64", popc64, "Rd");
    add("brev.b32", brev32, "Rr");
    add("brev.b64", brev64, "Dd");
    add("bfind.u32", bfind_u32, "Rr");
    add("bfind.s32", bfind_s32, "Rr");
    add("bfind.u64", bfind_u64, "Rd");
    add("bfind.s64", bfind_s64, "Rd");
    add("bfind.shiftamt.u32", bfind_shift_u32, "Rr");
    add("bfind.shiftamt.s32", bfind_shift_s32, "Rr");
    add("bfind.shiftamt.u64", bfind_shift_u64, "Rd");
    add("bfind.shiftamt.s64", bfind_shift_s64, "Rd");
    add("fns.b32", fns, "Rrrr");
}
