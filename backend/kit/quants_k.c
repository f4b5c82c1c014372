/* quants_k.c: reading the formats with super-blocks of 256.
 *
 * Where quants are spread over two halves of 128 elements: n = half, g = group of 32 in it, l = element of
 * the group.
 */
#include "quants_internal.h"

/* Six-bit scale and min of sub-block j of Q4_K and Q5_K, from the 12 bytes s. */
static void read_scale_min(const uint8_t *s, uint32_t j, float *scale, float *min) {
    uint32_t sc, m;
    if (j < 4) {
        sc = s[j] & 63u;
        m = s[j + 4] & 63u;
    } else {
        sc = (s[j + 4] & 15u) | (uint32_t)(s[j - 4] >> 6) << 4;
        m = (uint32_t)(s[j + 4] >> 4) | (uint32_t)(s[j] >> 6) << 4;
    }
    *scale = (float)sc;
    *min = (float)m;
}

KIT_DEQUANTISE(q4_k) {
    for (; n_block-- > 0; src += 144, dst += SUPER) {
        float d = kit_load_f16(src), dmin = kit_load_f16(src + 2);
        for (uint32_t j = 0; j < 8; j++) {
            const uint8_t *nibbles = src + 16 + 32 * (j / 2);
            uint32_t shift = 4 * (j % 2);
            float scale, min;
            read_scale_min(src + 4, j, &scale, &min);
            scale *= d;
            min *= dmin;
            for (uint32_t l = 0; l < 32; l++)
                dst[32 * j + l] = scale * (float)(nibbles[l] >> shift & 15) - min;
        }
    }
}

KIT_DEQUANTISE(q5_k) {
    for (; n_block-- > 0; src += 176, dst += SUPER) {
        const uint8_t *high = src + 16;
        float d = kit_load_f16(src), dmin = kit_load_f16(src + 2);
        for (uint32_t j = 0; j < 8; j++) {
            const uint8_t *nibbles = src + 48 + 32 * (j / 2);
            uint32_t shift = 4 * (j % 2);
            float scale, min;
            read_scale_min(src + 4, j, &scale, &min);
            scale *= d;
            min *= dmin;
            for (uint32_t l = 0; l < 32; l++) {
                int32_t q = (nibbles[l] >> shift & 15) | (high[l] >> j & 1) << 4;
                dst[32 * j + l] = scale * (float)q - min;
            }
        }
    }
}

KIT_DEQUANTISE(q6_k) {
    for (; n_block-- > 0; src += 210, dst += SUPER) {
        float d = kit_load_f16(src + 208);
        for (uint32_t part = 0; part < 16; part++) { /* 16 elements with one scale */
            uint32_t n = part / 8, g = part % 8 / 2, l0 = part % 2 * 16;
            const uint8_t *low = src + 64 * n + 32 * (g % 2) + l0;
            const uint8_t *high = src + 128 + 32 * n + l0;
            uint32_t low_shift = g < 2 ? 0 : 4, high_shift = 2 * g;
            float scale = d * (float)(int8_t)src[192 + part];
            for (uint32_t l = 0; l < 16; l++) {
                int32_t q = (low[l] >> low_shift & 15) | (high[l] >> high_shift & 3) << 4;
                dst[16 * part + l] = scale * (float)(q - 32);
            }
        }
    }
}

KIT_DEQUANTISE(q2_k) {
    for (; n_block-- > 0; src += 84, dst += SUPER) {
        float d = kit_load_f16(src + 80), dmin = kit_load_f16(src + 82);
        for (uint32_t part = 0; part < 16; part++) {
            uint32_t n = part / 8, shift = 2 * (part % 8 / 2), l0 = part % 2 * 16;
            float scale = d * (float)(src[part] & 15), min = dmin * (float)(src[part] >> 4);
            for (uint32_t l = 0; l < 16; l++)
                dst[16 * part + l] = scale * (float)(src[16 + 32 * n + l0 + l] >> shift & 3) - min;
        }
    }
}

KIT_DEQUANTISE(q3_k) {
    for (; n_block-- > 0; src += 110, dst += SUPER) {
        const uint8_t *s = src + 96;
        float d = kit_load_f16(src + 108);
        for (uint32_t part = 0; part < 16; part++) {
            uint32_t n = part / 8, g = part % 8 / 2, l0 = part % 2 * 16;
            uint32_t low4 = part < 8 ? s[part] & 15u : (uint32_t)s[part - 8] >> 4;
            uint32_t high2 = (uint32_t)s[8 + part % 4] >> 2 * (part / 4) & 3u;
            float scale = d * (float)((int32_t)(low4 | high2 << 4) - 32);
            for (uint32_t l = 0; l < 16; l++) {
                int32_t q = src[32 + 32 * n + l0 + l] >> 2 * g & 3;
                q -= (src[l0 + l] >> (4 * n + g) & 1) ? 0 : 4;
                dst[16 * part + l] = scale * (float)q;
            }
        }
    }
}

KIT_DEQUANTISE(iq4_xs) {
    for (; n_block-- > 0; src += 136, dst += SUPER) {
        float d = kit_load_f16(src);
        uint32_t scales_high = kit_load_u16(src + 2);
        for (uint32_t j = 0; j < 8; j++) {
            const uint8_t *nibbles = src + 8 + 16 * j;
            uint32_t ls = ((uint32_t)src[4 + j / 2] >> 4 * (j % 2) & 15u) | (scales_high >> 2 * j & 3u) << 4;
            float scale = d * (float)((int32_t)ls - 32);
            for (uint32_t l = 0; l < 16; l++) {
                dst[32 * j + l] = scale * (float)kit_iq4_levels[nibbles[l] & 15];
                dst[32 * j + 16 + l] = scale * (float)kit_iq4_levels[nibbles[l] >> 4];
            }
        }
    }
}
