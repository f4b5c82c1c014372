/* f32 and f64 with directed rounding, by the processor's own rounding mode; and the rest of f64, which
 * kernels of this project avoid. */
#include "lanes.h"
#include "opcodes.h"

#include <immintrin.h>

enum { OP_ADD, OP_SUB, OP_MUL, OP_FMA, OP_DIV, OP_RCP, OP_SQRT };
enum {
    ROUND_DOWN = 1 << 13,
    ROUND_UP = 2 << 13,
    ROUND_ZERO = 3 << 13,
    ROUND_MASK = 3 << 13
};                                             /* bits of MXCSR */
enum { IMM_FTZ = 1 << 16, IMM_SAT = 1 << 17 }; /* imm: operation in the low bits, mode, these */

/* Keeps arithmetic on its side of a change of mode. */
static inline __m256 pin(__m256 x) {
    __asm__ volatile("" : "+x"(x));
    return x;
}

static inline __m256 one_operation(int op, __m256 a, __m256 b, __m256 c) {
    switch (op) {
    case OP_ADD:
        return _mm256_add_ps(a, b);
    case OP_SUB:
        return _mm256_sub_ps(a, b);
    case OP_MUL:
        return _mm256_mul_ps(a, b);
    case OP_FMA:
        return _mm256_fmadd_ps(a, b, c);
    case OP_DIV:
        return _mm256_div_ps(a, b);
    case OP_RCP:
        return _mm256_div_ps(_mm256_set1_ps(1.0f), a);
    default:
        return _mm256_sqrt_ps(a);
    }
}

static void load_flushed(float *to, const float *from, bool ftz) {
    FOR_LANES {
        to[i] = ftz ? flush(from[i]) : from[i];
    }
}

static void rounded(struct warp *w, const struct inst *in, uint32_t mask) {
    const int op = (int)(in->imm & 0xff);
    const bool ftz = in->imm & IMM_FTZ, sat = in->imm & IMM_SAT;
    const int sources = op == OP_FMA ? 3 : op < OP_RCP ? 2 : 1;
    _Alignas(32) float s[3][LANES] = {{0}}, result[LANES];
    for (int k = 0; k < sources; k++)
        load_flushed(s[k], row(w, in->o[k + 1]), ftz);
    const unsigned before = _mm_getcsr();
    _mm_setcsr((before & ~(unsigned)ROUND_MASK) | ((unsigned)in->imm & ROUND_MASK));
    for (uint32_t i = 0; i < LANES; i += 8) {
        const __m256 a = pin(_mm256_load_ps(s[0] + i)), b = pin(_mm256_load_ps(s[1] + i)),
                     c = pin(_mm256_load_ps(s[2] + i));
        _mm256_store_ps(result + i, pin(one_operation(op, a, b, c)));
    }
    _mm_setcsr(before);
    float *d = row(w, in->o[0]);
    FOR_LANES {
        const float r = ftz ? flush(result[i]) : result[i];
        const float kept = sat ? saturate(r) : canonical(r);
        d[i] = mask >> i & 1 ? kept : d[i];
    }
}

/* ---- f64 ---- */

EXEC2(add64, double, double, double, x + y)
EXEC2(sub64, double, double, double, x - y)
EXEC2(mul64, double, double, double, x *y)
EXEC2(div64, double, double, double, x / y)
EXEC3(fma64, double, double, double, double, __builtin_fma(x, y, z))
EXEC1(rcp64, double, double, 1.0 / x)
EXEC1(sqrt64, double, double, __builtin_sqrt(x))
EXEC1(neg64, uint64_t, uint64_t, x ^ 1ull << 63)
EXEC1(abs64, uint64_t, uint64_t, x & ~(1ull << 63))
EXEC2(copysign64, uint64_t, uint64_t, uint64_t, (x & 1ull << 63) | (y & ~(1ull << 63)))
EXEC2(min64, double, double, double,
      x < y    ? x
      : y < x  ? y
      : x == y ? double_of(bits_of_double(x) | bits_of_double(y))
      : x == x ? x
               : y)
EXEC2(max64, double, double, double,
      x > y    ? x
      : y > x  ? y
      : x == y ? double_of(bits_of_double(x) & bits_of_double(y))
      : x == x ? x
               : y)

static inline __m256d pin_double(__m256d x) {
    __asm__ volatile("" : "+x"(x));
    return x;
}

static inline __m256d one_double(int op, __m256d a, __m256d b, __m256d c) {
    switch (op) {
    case OP_ADD:
        return _mm256_add_pd(a, b);
    case OP_SUB:
        return _mm256_sub_pd(a, b);
    case OP_MUL:
        return _mm256_mul_pd(a, b);
    case OP_FMA:
        return _mm256_fmadd_pd(a, b, c);
    case OP_DIV:
        return _mm256_div_pd(a, b);
    case OP_RCP:
        return _mm256_div_pd(_mm256_set1_pd(1.0), a);
    default:
        return _mm256_sqrt_pd(a);
    }
}

static void rounded_double(struct warp *w, const struct inst *in, uint32_t mask) {
    const int op = (int)(in->imm & 0xff);
    const int sources = op == OP_FMA ? 3 : op < OP_RCP ? 2 : 1;
    _Alignas(32) double s[3][LANES] = {{0}}, result[LANES];
    for (int k = 0; k < sources; k++)
        memcpy(s[k], row(w, in->o[k + 1]), sizeof *s);
    const unsigned before = _mm_getcsr();
    _mm_setcsr((before & ~(unsigned)ROUND_MASK) | ((unsigned)in->imm & ROUND_MASK));
    for (uint32_t i = 0; i < LANES; i += 4) {
        const __m256d a = pin_double(_mm256_load_pd(s[0] + i)), b = pin_double(_mm256_load_pd(s[1] + i)),
                      c = pin_double(_mm256_load_pd(s[2] + i));
        _mm256_store_pd(result + i, pin_double(one_double(op, a, b, c)));
    }
    _mm_setcsr(before);
    double *d = row(w, in->o[0]);
    WRITE_LANES(d, mask, double, result[i]);
}

/* The upper word of the result, as far as PTX defines it; subnormals are zeros. */
static inline double upper_word(double x) {
    return double_of(bits_of_double(x) & 0xffffffff00000000ull);
}
static inline double flush_double(double x) {
    return bits_of_double(x) << 1 >> 53 ? x : double_of(bits_of_double(x) & 1ull << 63);
}
EXEC1(rcp_upper, double, double, upper_word(flush_double(1.0 / flush_double(x))))
EXEC1(rsqrt_upper, double, double, upper_word(1.0 / __builtin_sqrt(flush_double(x))))
EXEC1(rsqrt64, double, double, 1.0 / __builtin_sqrt(x))

void opcodes_double(void) {
    static const struct {
        const char *name, *signature;
        int op;
        bool sat;
    } operations[] = {{"add", "Rrr", OP_ADD, true},  {"sub", "Rrr", OP_SUB, true},
                      {"mul", "Rrr", OP_MUL, true},  {"fma", "Rrrr", OP_FMA, true},
                      {"div", "Rrr", OP_DIV, false}, {"rcp", "Rr", OP_RCP, false},
                      {"sqrt", "Rr", OP_SQRT, false}};
    static const struct {
        const char *name;
        int mode;
    } modes[] = {{"rz", ROUND_ZERO}, {"rm", ROUND_DOWN}, {"rp", ROUND_UP}};
    static const struct {
        const char *name, *signature;
        exec_fn fn;
    } doubles[] = {{"add.f64", "Ddd", add64},
                   {"add.rn.f64", "Ddd", add64},
                   {"sub.f64", "Ddd", sub64},
                   {"sub.rn.f64", "Ddd", sub64},
                   {"mul.f64", "Ddd", mul64},
                   {"mul.rn.f64", "Ddd", mul64},
                   {"div.rn.f64", "Ddd", div64},
                   {"fma.rn.f64", "Dddd", fma64},
                   {"mad.rn.f64", "Dddd", fma64},
                   {"rcp.rn.f64", "Dd", rcp64},
                   {"sqrt.rn.f64", "Dd", sqrt64},
                   {"neg.f64", "Dd", neg64},
                   {"abs.f64", "Dd", abs64},
                   {"copysign.f64", "Ddd", copysign64},
                   {"min.f64", "Ddd", min64},
                   {"max.f64", "Ddd", max64},
                   {"rcp.approx.ftz.f64", "Dd", rcp_upper},
                   {"rsqrt.approx.f64", "Dd", rsqrt64},
                   {"rsqrt.approx.ftz.f64", "Dd", rsqrt_upper}};
    static const char *const double_signatures[] = {
        [OP_FMA] = "Dddd", [OP_RCP] = "Dd",  [OP_SQRT] = "Dd", [OP_ADD] = "Ddd",
        [OP_SUB] = "Ddd",  [OP_MUL] = "Ddd", [OP_DIV] = "Ddd"};
    for (size_t o = 0; o < sizeof operations / sizeof *operations; o++)
        for (size_t m = 0; m < 3; m++)
            opcode_add((struct opcode){.fn = rounded_double,
                                       .signature = double_signatures[operations[o].op],
                                       .cls = CLASS_FP64,
                                       .imm = operations[o].op | modes[m].mode},
                       "%s.%s.f64", operations[o].name, modes[m].name);
    for (size_t o = 0; o < sizeof operations / sizeof *operations; o++)
        for (size_t m = 0; m < 3; m++)
            for (int k = 0; k < (operations[o].sat ? 4 : 2); k++)
                opcode_add((struct opcode){.fn = rounded,
                                           .signature = operations[o].signature,
                                           .cls = CLASS_FP32,
                                           .imm = operations[o].op | modes[m].mode | (k & 1 ? IMM_FTZ : 0) |
                                                  (k & 2 ? IMM_SAT : 0)},
                           "%s.%s%s%s.f32", operations[o].name, modes[m].name, k & 1 ? ".ftz" : "",
                           k & 2 ? ".sat" : "");
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++)
        opcode_add((struct opcode){.fn = doubles[i].fn, .signature = doubles[i].signature, .cls = CLASS_FP64},
                   "%s", doubles[i].name);
}
