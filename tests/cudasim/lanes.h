/* Loops over the lanes of a warp. A row is read and written whole: with the full mask the compiler turns the
 * loop into vector instructions; with another mask it computes all lanes and keeps the results of the active
 * ones, so the expression must be harmless for any input.
 */
#ifndef CUDASIM_LANES_H
#define CUDASIM_LANES_H

#include "machine.h"

#include <string.h>

/* A destination is either the same row as a source or lies apart from it, so lanes are independent. */
#if defined(__clang__)
#define FOR_LANES _Pragma("clang loop vectorize(assume_safety)") for (uint32_t i = 0; i < LANES; i++)
#else
#define FOR_LANES _Pragma("GCC ivdep") for (uint32_t i = 0; i < LANES; i++)
#endif

/* For lanes whose work cannot be vectorised: bits of `mask`, in rising order. */
#define EACH_LANE(lane, mask)                                                                                \
    for (uint32_t rest_##lane = (mask), lane;                                                                \
         rest_##lane && (lane = (uint32_t)__builtin_ctz(rest_##lane), true); rest_##lane &= rest_##lane - 1)

#define WRITE_LANES(d, mask, T, value)                                                                       \
    do {                                                                                                     \
        if ((mask) == FULL) {                                                                                \
            FOR_LANES {                                                                                      \
                (d)[i] = (T)(value);                                                                         \
            }                                                                                                \
        } else {                                                                                             \
            FOR_LANES {                                                                                      \
                const T new_value = (T)(value);                                                              \
                (d)[i] = (mask) >> i & 1 ? new_value : (d)[i];                                               \
            }                                                                                                \
        }                                                                                                    \
    } while (0)

/* Instructions of one result and one to four sources, in x, y, z and u. */
#define EXEC1(function, TD, TX, expression)                                                                  \
    static void function(struct warp *w, const struct inst *in, uint32_t mask) {                             \
        TD *d = row(w, in->o[0]);                                                                            \
        const TX *a = row(w, in->o[1]);                                                                      \
        if (mask == FULL) {                                                                                  \
            FOR_LANES {                                                                                      \
                const TX x = a[i];                                                                           \
                d[i] = (TD)(expression);                                                                     \
            }                                                                                                \
        } else {                                                                                             \
            FOR_LANES {                                                                                      \
                const TX x = a[i];                                                                           \
                const TD result = (TD)(expression);                                                          \
                d[i] = mask >> i & 1 ? result : d[i];                                                        \
            }                                                                                                \
        }                                                                                                    \
    }

#define EXEC2(function, TD, TX, TY, expression)                                                              \
    static void function(struct warp *w, const struct inst *in, uint32_t mask) {                             \
        TD *d = row(w, in->o[0]);                                                                            \
        const TX *a = row(w, in->o[1]);                                                                      \
        const TY *b = row(w, in->o[2]);                                                                      \
        if (mask == FULL) {                                                                                  \
            FOR_LANES {                                                                                      \
                const TX x = a[i];                                                                           \
                const TY y = b[i];                                                                           \
                d[i] = (TD)(expression);                                                                     \
            }                                                                                                \
        } else {                                                                                             \
            FOR_LANES {                                                                                      \
                const TX x = a[i];                                                                           \
                const TY y = b[i];                                                                           \
                const TD result = (TD)(expression);                                                          \
                d[i] = mask >> i & 1 ? result : d[i];                                                        \
            }                                                                                                \
        }                                                                                                    \
    }

#define EXEC3(function, TD, TX, TY, TZ, expression)                                                          \
    static void function(struct warp *w, const struct inst *in, uint32_t mask) {                             \
        TD *d = row(w, in->o[0]);                                                                            \
        const TX *a = row(w, in->o[1]);                                                                      \
        const TY *b = row(w, in->o[2]);                                                                      \
        const TZ *c = row(w, in->o[3]);                                                                      \
        if (mask == FULL) {                                                                                  \
            FOR_LANES {                                                                                      \
                const TX x = a[i];                                                                           \
                const TY y = b[i];                                                                           \
                const TZ z = c[i];                                                                           \
                d[i] = (TD)(expression);                                                                     \
            }                                                                                                \
        } else {                                                                                             \
            FOR_LANES {                                                                                      \
                const TX x = a[i];                                                                           \
                const TY y = b[i];                                                                           \
                const TZ z = c[i];                                                                           \
                const TD result = (TD)(expression);                                                          \
                d[i] = mask >> i & 1 ? result : d[i];                                                        \
            }                                                                                                \
        }                                                                                                    \
    }

#define EXEC4(function, TD, TX, TY, TZ, TU, expression)                                                      \
    static void function(struct warp *w, const struct inst *in, uint32_t mask) {                             \
        TD *d = row(w, in->o[0]);                                                                            \
        const TX *a = row(w, in->o[1]);                                                                      \
        const TY *b = row(w, in->o[2]);                                                                      \
        const TZ *c = row(w, in->o[3]);                                                                      \
        const TU *e = row(w, in->o[4]);                                                                      \
        FOR_LANES {                                                                                          \
            const TX x = a[i];                                                                               \
            const TY y = b[i];                                                                               \
            const TZ z = c[i];                                                                               \
            const TU u = e[i];                                                                               \
            const TD result = (TD)(expression);                                                              \
            d[i] = mask >> i & 1 ? result : d[i];                                                            \
        }                                                                                                    \
    }

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
static inline uint64_t bits_of_double(double x) {
    uint64_t bits;
    memcpy(&bits, &x, 8);
    return bits;
}
static inline double double_of(uint64_t bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

/* PTX answers every NaN of f32 arithmetic with this one. */
#define CANONICAL_NAN 0x7fffffffu
static inline float canonical(float x) {
    return x == x ? x : float_of(CANONICAL_NAN);
}
/* .ftz: a subnormal becomes a zero of its sign. */
static inline float flush(float x) {
    const uint32_t bits = bits_of(x);
    return float_of(bits & 0x7f800000u ? bits : bits & 0x80000000u);
}
/* .sat: into [0, 1], NaN to +0. */
static inline float saturate(float x) {
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}

#endif
