/* setp and set of every comparison, type and combination. */
#include "op.h"
#include "ptx_tests.h"

#include <math.h>

typedef __int128 wide;

/* What the comparison says of two numbers, of which `unordered` tells that one is a NaN. */
static bool holds(const char *comparison, int order, bool unordered) {
    static const struct {
        const char *name;
        bool less, equal, greater, nan;
    } table[] = {{"eq", 0, 1, 0, 0},  {"ne", 1, 0, 1, 0},  {"lt", 1, 0, 0, 0},  {"le", 1, 1, 0, 0},
                 {"gt", 0, 0, 1, 0},  {"ge", 0, 1, 1, 0},  {"lo", 1, 0, 0, 0},  {"ls", 1, 1, 0, 0},
                 {"hi", 0, 0, 1, 0},  {"hs", 0, 1, 1, 0},  {"equ", 0, 1, 0, 1}, {"neu", 1, 0, 1, 1},
                 {"ltu", 1, 0, 0, 1}, {"leu", 1, 1, 0, 1}, {"gtu", 0, 0, 1, 1}, {"geu", 0, 1, 1, 1},
                 {"num", 1, 1, 1, 0}, {"nan", 0, 0, 0, 1}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].name, comparison))
            return unordered   ? table[i].nan
                   : order < 0 ? table[i].less
                   : order > 0 ? table[i].greater
                               : table[i].equal;
    fail_msg("no comparison %s", comparison);
    return false;
}

static const char *const bools[] = {"", ".and", ".or", ".xor"};
static bool with_bool(int b, bool x, bool c) {
    return b == 1 ? x && c : b == 2 ? x || c : b == 3 ? x != c : x;
}

struct sample {
    uint64_t a, b;
    int order;
    bool unordered;
};

/* f16 has one result, everything else also its opposite. */
static void add_setp(const char *comparison, const char *ftz, const char *type, char letter,
                     const struct sample *s, uint32_t n) {
    const bool one = !strcmp(type, "f16");
    for (int b = 0; b < 4; b++)
        for (int negated = 0; negated < (b ? 2 : 1); negated++) {
            uint64_t values[32 * 5], *to = values;
            char name[48], operands[32];
            uint32_t n_case = 0;
            for (uint32_t i = 0; i < n && n_case < 32; i++)
                for (int c = 0; c < (b ? 2 : 1); c++, n_case++) {
                    const bool x = holds(comparison, s[i].order, s[i].unordered), third = c != negated;
                    *to++ = with_bool(b, x, third);
                    if (!one)
                        *to++ = with_bool(b, !x, third);
                    *to++ = s[i].a;
                    *to++ = s[i].b;
                    if (b)
                        *to++ = (uint64_t)c;
                }
            snprintf(name, sizeof name, "setp.%s%s%s.%s", comparison, bools[b], ftz, type);
            snprintf(operands, sizeof operands, "%s, %c, %c%s", one ? "P" : "P|P", letter, letter,
                     !b        ? ""
                     : negated ? ", !p"
                               : ", p");
            op_add(name, operands, n_case, values);
        }
}

static void add_set(const char *comparison, const char *ftz, const char *type, char letter,
                    const struct sample *s, uint32_t n) {
    static const char *const results[] = {"u32", "s32", "f32"};
    for (int r = 0; r < 3; r++) {
        uint64_t values[32 * 3];
        char name[48], operands[16];
        for (uint32_t i = 0; i < n; i++) {
            const uint64_t yes = r == 2 ? 0x3f800000 : 0xffffffff;
            memcpy(values + 3 * i,
                   (uint64_t[]){holds(comparison, s[i].order, s[i].unordered) ? yes : 0, s[i].a, s[i].b}, 24);
        }
        snprintf(name, sizeof name, "set.%s%s.%s.%s", comparison, ftz, results[r], type);
        snprintf(operands, sizeof operands, "R, %c, %c", letter, letter);
        op_add(name, operands, n, values);
    }
}

static void integers(void) {
    static const char *const all[] = {"eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"};
    static const uint64_t numbers[][2] = {{1, 2},
                                          {2, 1},
                                          {5, 5},
                                          {0, UINT64_MAX},
                                          {UINT64_MAX, 0},
                                          {UINT64_MAX, UINT64_MAX},
                                          {0x7f7f7f7f7f7f7f7f, 0x8080808080808080},
                                          {0x8080808080808080, 0x7f7f7f7f7f7f7f7f}};
    for (int width = 16; width <= 64; width *= 2)
        for (int kind = 0; kind < 3; kind++)
            for (int c = 0; c < (kind == 0 ? 2 : kind == 1 ? 10 : 6); c++) {
                struct sample s[8];
                char type[16];
                for (int i = 0; i < 8; i++) {
                    wide a = (wide)(numbers[i][0] & UINT64_MAX >> (64 - width)),
                         b = (wide)(numbers[i][1] & UINT64_MAX >> (64 - width));
                    if (kind == 2) {
                        a = a >> (width - 1) ? a - ((wide)1 << width) : a;
                        b = b >> (width - 1) ? b - ((wide)1 << width) : b;
                    }
                    s[i] = (struct sample){numbers[i][0], numbers[i][1], a < b ? -1 : a > b, false};
                }
                snprintf(type, sizeof type, "%c%d", "bus"[kind], width);
                const char letter = width == 16 ? 'h' : width == 32 ? 'r' : 'd';
                add_setp(all[c], "", type, letter, s, 8);
                add_set(all[c], "", type, letter, s, 8);
            }
    op_run();
}

static const char *const float_comparisons[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                                "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
static const double pairs[][2] = {{1, 2},   {2, 1},   {1.5, 1.5}, {0.0, -0.0},           {-0.0, 0.0},
                                  {NAN, 1}, {1, NAN}, {NAN, NAN}, {-INFINITY, INFINITY}, {INFINITY, INFINITY},
                                  {-1, 1}};
enum { N_PAIR = sizeof pairs / sizeof *pairs };

static uint64_t bits_of(double x, char letter) {
    const float f = (float)x;
    uint32_t bits;
    uint64_t wide_bits;
    memcpy(&bits, &f, 4);
    memcpy(&wide_bits, &x, 8);
    return letter == 'h' ? sim_half(f) : letter == 'r' ? bits : wide_bits;
}

static void floats(void) {
    static const struct {
        const char *type;
        char letter;
        uint64_t tiny; /* a subnormal */
        bool ftz;
    } types[] = {{"f32", 'r', 1, false},
                 {"f32", 'r', 1, true},
                 {"f64", 'd', 1, false},
                 {"f16", 'h', 1, false},
                 {"f16", 'h', 1, true}};
    for (int c = 0; c < 14; c++)
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            struct sample s[N_PAIR + 1];
            const char *ftz = types[t].ftz ? ".ftz" : "";
            for (int i = 0; i < N_PAIR; i++)
                s[i] = (struct sample){bits_of(pairs[i][0], types[t].letter),
                                       bits_of(pairs[i][1], types[t].letter),
                                       pairs[i][0] < pairs[i][1] ? -1 : pairs[i][0] > pairs[i][1],
                                       isnan(pairs[i][0]) || isnan(pairs[i][1])};
            s[N_PAIR] = (struct sample){types[t].tiny, 0, types[t].ftz ? 0 : 1, false};
            add_setp(float_comparisons[c], ftz, types[t].type, types[t].letter, s, N_PAIR + 1);
            if (types[t].letter != 'h')
                add_set(float_comparisons[c], ftz, types[t].type, types[t].letter, s, N_PAIR + 1);
        }
    op_run();
}

/* Two halves at once, the upper from another pair than the lower, so that they cannot be mixed up. */
static void pairs_of_halves(void) {
    for (int c = 0; c < 14; c++)
        for (int ftz = 0; ftz < 2; ftz++) {
            const char *f = ftz ? ".ftz" : "", *name = float_comparisons[c];
            uint64_t two[N_PAIR * 4], three[2 * N_PAIR * 5], ones[N_PAIR * 3], masks[N_PAIR * 3],
                single[N_PAIR * 3];
            char opcode[48];
            for (int i = 0; i < N_PAIR; i++) {
                const int k = (i + 4) % N_PAIR;
                const uint64_t a = bits_of(pairs[i][0], 'h') | bits_of(pairs[k][0], 'h') << 16;
                const uint64_t b = bits_of(pairs[i][1], 'h') | bits_of(pairs[k][1], 'h') << 16;
                const bool low = holds(name, pairs[i][0] < pairs[i][1] ? -1 : pairs[i][0] > pairs[i][1],
                                       isnan(pairs[i][0] + pairs[i][1]) && !isinf(pairs[i][0]));
                const bool high = holds(name, pairs[k][0] < pairs[k][1] ? -1 : pairs[k][0] > pairs[k][1],
                                        isnan(pairs[k][0] + pairs[k][1]) && !isinf(pairs[k][0]));
                memcpy(two + 4 * i, (uint64_t[]){low, high, a, b}, 32);
                for (uint64_t p = 0; p < 2; p++)
                    memcpy(three + 5 * (2 * i + (int)p), (uint64_t[]){low, high, a, b, p}, 40);
                memcpy(ones + 3 * i, (uint64_t[]){(low ? 0x3c00 : 0) | (high ? 0x3c000000 : 0), a, b}, 24);
                memcpy(masks + 3 * i, (uint64_t[]){(low ? 0xffff : 0) | (high ? 0xffff0000 : 0), a, b}, 24);
                memcpy(single + 3 * i, (uint64_t[]){low ? 0x3c00 : 0, a & 0xffff, b & 0xffff}, 24);
            }
            snprintf(opcode, sizeof opcode, "setp.%s%s.f16x2", name, f);
            op_add(opcode, "P|P, r, r", N_PAIR, two);
            for (int b = 1; b < 4; b++) {
                uint64_t combined[2 * N_PAIR * 5];
                for (int i = 0; i < 2 * N_PAIR; i++) {
                    memcpy(combined + 5 * i, three + 5 * i, 40);
                    combined[5 * i] = with_bool(b, three[5 * i], three[5 * i + 4]);
                    combined[5 * i + 1] = with_bool(b, three[5 * i + 1], three[5 * i + 4]);
                }
                snprintf(opcode, sizeof opcode, "setp.%s%s%s.f16x2", name, bools[b], f);
                op_add(opcode, "P|P, r, r, p", 2 * N_PAIR, combined);
            }
            snprintf(opcode, sizeof opcode, "set.%s%s.f16x2.f16x2", name, f);
            op_add(opcode, "R, r, r", N_PAIR, ones);
            snprintf(opcode, sizeof opcode, "set.%s%s.u32.f16x2", name, f);
            op_add(opcode, "R, r, r", N_PAIR, masks);
            snprintf(opcode, sizeof opcode, "set.%s%s.f16.f16", name, f);
            op_add(opcode, "H, h, h", N_PAIR, single);
        }
    op_run();
}

void compares(void **state) {
    (void)state;
    integers();
    floats();
    pairs_of_halves();
}
