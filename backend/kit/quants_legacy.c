/* quants_legacy.c: formats with blocks of 32. Byte j of the nibbles holds elements j (low half) and j + 16
 * (high). */
#include "quants_internal.h"

enum { BLOCK = 32, HALF = 16 };

const int8_t kit_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* Twice the values of E2M1. */
static const int8_t e2m1_doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

KIT_DEQUANTISE(q4_0) {
    for (; n_block-- > 0; src += 18, dst += BLOCK) {
        float d = kit_load_f16(src);
        for (uint32_t j = 0; j < HALF; j++) {
            dst[j] = d * (float)((src[2 + j] & 15) - 8);
            dst[j + HALF] = d * (float)((src[2 + j] >> 4) - 8);
        }
    }
}

KIT_DEQUANTISE(q4_1) {
    for (; n_block-- > 0; src += 20, dst += BLOCK) {
        float d = kit_load_f16(src), m = kit_load_f16(src + 2);
        for (uint32_t j = 0; j < HALF; j++) {
            dst[j] = d * (float)(src[4 + j] & 15) + m;
            dst[j + HALF] = d * (float)(src[4 + j] >> 4) + m;
        }
    }
}

/* The fifth bits are bit i of a little-endian word. */
static void read_5bit(const uint8_t *nibbles, uint32_t high, int32_t q[BLOCK]) {
    for (uint32_t j = 0; j < HALF; j++) {
        q[j] = (int32_t)((nibbles[j] & 15u) | (high >> j & 1u) << 4);
        q[j + HALF] = (int32_t)((uint32_t)nibbles[j] >> 4 | (high >> (j + HALF) & 1u) << 4);
    }
}

KIT_DEQUANTISE(q5_0) {
    int32_t q[BLOCK];
    for (; n_block-- > 0; src += 22, dst += BLOCK) {
        float d = kit_load_f16(src);
        read_5bit(src + 6, kit_load_u32(src + 2), q);
        for (uint32_t i = 0; i < BLOCK; i++)
            dst[i] = d * (float)(q[i] - 16);
    }
}

KIT_DEQUANTISE(q5_1) {
    int32_t q[BLOCK];
    for (; n_block-- > 0; src += 24, dst += BLOCK) {
        float d = kit_load_f16(src), m = kit_load_f16(src + 2);
        read_5bit(src + 8, kit_load_u32(src + 4), q);
        for (uint32_t i = 0; i < BLOCK; i++)
            dst[i] = d * (float)q[i] + m;
    }
}

KIT_DEQUANTISE(q8_0) {
    for (; n_block-- > 0; src += 34, dst += BLOCK) {
        float d = kit_load_f16(src);
        for (uint32_t i = 0; i < BLOCK; i++)
            dst[i] = d * (float)(int8_t)src[2 + i];
    }
}

KIT_DEQUANTISE(iq4_nl) {
    for (; n_block-- > 0; src += 18, dst += BLOCK) {
        float d = kit_load_f16(src);
        for (uint32_t j = 0; j < HALF; j++) {
            dst[j] = d * (float)kit_iq4_levels[src[2 + j] & 15];
            dst[j + HALF] = d * (float)kit_iq4_levels[src[2 + j] >> 4];
        }
    }
}

KIT_DEQUANTISE(mxfp4) {
    for (; n_block-- > 0; src += 17, dst += BLOCK) {
        /* 2^(e - 128); e = 0 and 1 are the subnormals 2^-128 and 2^-127 */
        uint32_t bits = src[0] < 2 ? 0x200000u << src[0] : (uint32_t)(src[0] - 1) << 23;
        float d;
        memcpy(&d, &bits, sizeof d);
        for (uint32_t j = 0; j < HALF; j++) {
            dst[j] = d * (float)e2m1_doubled[src[1 + j] & 15];
            dst[j + HALF] = d * (float)e2m1_doubled[src[1 + j] >> 4];
        }
    }
}

/* q[i] = round((x[i] - m) / d), as bytes, shifted up by `bias`. */
static void round_block(const float *x, float d, float m, int32_t low, int32_t high, int32_t bias,
                        uint8_t q[BLOCK]) {
    float inverse = kit_inverse(d);
    for (uint32_t i = 0; i < BLOCK; i++)
        q[i] = (uint8_t)((int32_t)kit_round((x[i] - m) * inverse, (float)low, (float)high) + bias);
}

static void write_nibbles(const uint8_t q[BLOCK], uint8_t *nibbles) {
    for (uint32_t j = 0; j < HALF; j++)
        nibbles[j] = (uint8_t)((q[j] & 15) | (q[j + HALF] & 15) << 4);
}

static void write_fifth_bits(const uint8_t q[BLOCK], uint8_t *bytes) {
    memset(bytes, 0, 4);
    for (uint32_t i = 0; i < BLOCK; i++)
        bytes[i / 8] = (uint8_t)(bytes[i / 8] | (q[i] >> 4) << i % 8);
}

KIT_QUANTISE(q4_0) {
    float x[BLOCK];
    uint8_t q[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 18) {
        kit_read_tame(src, x, BLOCK);
        float d = kit_store_f16(dst, kit_fit_symmetric(x, BLOCK, -8));
        round_block(x, d, 0, -8, 7, 8, q);
        write_nibbles(q, dst + 2);
    }
}

KIT_QUANTISE(q4_1) {
    float x[BLOCK], m;
    uint8_t q[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 20) {
        kit_read_tame(src, x, BLOCK);
        float d = kit_store_f16(dst, kit_fit_affine(x, BLOCK, 15, 0, &m));
        m = kit_store_f16(dst + 2, m);
        round_block(x, d, m, 0, 15, 0, q);
        write_nibbles(q, dst + 4);
    }
}

KIT_QUANTISE(q5_0) {
    float x[BLOCK];
    uint8_t q[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 22) {
        kit_read_tame(src, x, BLOCK);
        float d = kit_store_f16(dst, kit_fit_symmetric(x, BLOCK, -16));
        round_block(x, d, 0, -16, 15, 16, q);
        write_fifth_bits(q, dst + 2);
        write_nibbles(q, dst + 6);
    }
}

KIT_QUANTISE(q5_1) {
    float x[BLOCK], m;
    uint8_t q[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 24) {
        kit_read_tame(src, x, BLOCK);
        float d = kit_store_f16(dst, kit_fit_affine(x, BLOCK, 31, 0, &m));
        m = kit_store_f16(dst + 2, m);
        round_block(x, d, m, 0, 31, 0, q);
        write_fifth_bits(q, dst + 4);
        write_nibbles(q, dst + 8);
    }
}

KIT_QUANTISE(q8_0) {
    float x[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 34) {
        kit_read_tame(src, x, BLOCK);
        float max = 0;
        for (uint32_t i = 0; i < BLOCK; i++) {
            float a = fabsf(x[i]);
            max = a > max ? a : max;
        }
        float d = kit_store_f16(dst, max / 127.0f);
        round_block(x, d, 0, -127, 127, 0, dst + 2);
    }
}

KIT_QUANTISE(iq4_nl) {
    float x[BLOCK];
    uint8_t q[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 18) {
        kit_read_tame(src, x, BLOCK);
        float d = kit_store_f16(dst, kit_fit_iq4(x));
        kit_nearest_iq4(x, kit_inverse(d), q);
        write_nibbles(q, dst + 2);
    }
}

/* Nearest codes of E2M1, doubled values, for x * 2^-exponent; returns the squared error in those units. */
static float round_e2m1(const float *x, int32_t exponent, uint8_t q[BLOCK]) {
    static const float middle[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5, 7, 10};
    float inverse = ldexpf(1, -exponent), error = 0;
    memset(q, 0, BLOCK);
    for (uint32_t k = 0; k < 7; k++)
        for (uint32_t i = 0; i < BLOCK; i++)
            q[i] = (uint8_t)(q[i] + (fabsf(x[i]) * inverse > middle[k]));
    for (uint32_t i = 0; i < BLOCK; i++) {
        float off = fabsf(x[i]) * inverse - (float)e2m1_doubled[q[i]];
        error += off * off;
        if (x[i] < 0 && q[i] > 0)
            q[i] |= 8;
    }
    return error;
}

/* The scale is a power of two: with the largest magnitude in [2^E, 2^(E + 1)), E - 3 may cut it off at 12, E
 * - 2 puts it at 4 to 8, E - 1 at 2 to 4. Scales below 2^-120, which no weight needs, are not written. */
KIT_QUANTISE(mxfp4) {
    float x[BLOCK];
    uint8_t q[BLOCK];
    for (; n_block-- > 0; src += BLOCK, dst += 17) {
        kit_read_tame(src, x, BLOCK);
        float max = 0, best_error = INFINITY;
        for (uint32_t i = 0; i < BLOCK; i++)
            max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
        int32_t top = max > 0x1p-117f ? ilogbf(max) : -117, best = top;
        for (int32_t exponent = top - 3; exponent < top; exponent++) {
            float unit = ldexpf(1, exponent - top), error = round_e2m1(x, exponent, q) * unit * unit;
            if (error < best_error) {
                best_error = error;
                best = exponent;
            }
        }
        round_e2m1(x, best, q);
        dst[0] = (uint8_t)(best + 128);
        write_nibbles(q, dst + 1);
    }
}
