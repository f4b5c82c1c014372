/* quants_k_write.c: writing the formats with super-blocks of 256.
 *
 * Every sub-block is fitted by itself; the largest fitted scale (and offset) sets the super-block's f16
 * scale, the others become integers of it, and the quants are rounded once more against what a reader will
 * compute.
 */
#include "quants_internal.h"

/* A super-block of affine sub-blocks: y = d * scale[j] * q - dmin * min[j]. */
typedef struct affine_super {
    uint8_t q[SUPER];
    uint8_t scale[16];
    uint8_t min[16];
} affine_super;

/* Quants of sub-block j of n for its scale and min; returns the squared error. */
static float round_affine(const float *x, uint32_t n, int32_t q_max, float scale, float min, uint8_t *q) {
    float inverse = kit_inverse(scale), error = 0;
    for (uint32_t i = 0; i < n; i++) {
        float nearest = kit_round((x[i] + min) * inverse, 0.0f, (float)q_max);
        float off = x[i] + min - scale * nearest;
        error += off * off;
        q[i] = (uint8_t)(int32_t)nearest;
    }
    return error;
}

/* n_sub sub-blocks with scales and mins up to `top`. Writes d and dmin to header[0..3]. */
static void fit_affine_super(const float *x, uint32_t n_sub, int32_t top, int32_t q_max, uint8_t *header,
                             affine_super *out) {
    float scale[16], min[16], top_scale = 0, top_min = 0;
    uint32_t n = SUPER / n_sub;
    for (uint32_t j = 0; j < n_sub; j++) {
        float offset;
        scale[j] = kit_fit_affine(x + n * j, n, q_max, 1, &offset);
        min[j] = -offset;
        top_scale = scale[j] > top_scale ? scale[j] : top_scale;
        top_min = min[j] > top_min ? min[j] : top_min;
    }
    float d = kit_store_f16(header, top_scale / (float)top);
    float dmin = kit_store_f16(header + 2, top_min / (float)top);
    float inverse_d = kit_inverse(d), inverse_dmin = kit_inverse(dmin);
    for (uint32_t j = 0; j < n_sub; j++) {
        out->scale[j] = (uint8_t)kit_round(scale[j] * inverse_d, 0.0f, (float)top);
        out->min[j] = (uint8_t)kit_round(min[j] * inverse_dmin, 0.0f, (float)top);
        round_affine(x + n * j, n, q_max, d * (float)out->scale[j], dmin * (float)out->min[j],
                     out->q + n * j);
    }
}

/* Packs eight 6-bit scales and mins into 12 bytes. */
static void write_scale_min(const affine_super *super, uint8_t *s) {
    for (uint32_t j = 0; j < 4; j++) {
        s[j] = (uint8_t)(super->scale[j] | (super->scale[j + 4] >> 4) << 6);
        s[j + 4] = (uint8_t)(super->min[j] | (super->min[j + 4] >> 4) << 6);
        s[j + 8] = (uint8_t)((super->scale[j + 4] & 15) | (super->min[j + 4] & 15) << 4);
    }
}

static void write_nibbles(const uint8_t q[SUPER], uint8_t *nibbles) {
    for (uint32_t pair = 0; pair < 4; pair++)
        for (uint32_t l = 0; l < 32; l++)
            nibbles[32 * pair + l] = (uint8_t)((q[64 * pair + l] & 15) | (q[64 * pair + 32 + l] & 15) << 4);
}

/* Two bits of every quant, quarter g of a half of 128 elements at bit 2 g. */
static void write_pairs_of_bits(const uint8_t q[SUPER], uint8_t *pairs) {
    for (uint32_t n = 0; n < 2; n++)
        for (uint32_t l = 0; l < 32; l++) {
            const uint8_t *e = q + 128 * n + l;
            pairs[32 * n + l] =
                (uint8_t)((e[0] & 3) | (e[32] & 3) << 2 | (e[64] & 3) << 4 | (e[96] & 3) << 6);
        }
}

/* Four bits for a scale and a min are few: their neighbours are tried, too, which loses 7 % less. */
static void improve_q2(const float *x, float d, float dmin, affine_super *super) {
    for (uint32_t j = 0; j < 16; j++) {
        uint8_t q[16], scale = super->scale[j], min = super->min[j];
        float best = INFINITY;
        for (int32_t sc = scale - 1; sc <= scale + 1; sc++)
            for (int32_t m = min - 1; m <= min + 1; m++) {
                if (sc < 0 || sc > 15 || m < 0 || m > 15)
                    continue;
                float error = round_affine(x + 16 * j, 16, 3, d * (float)sc, dmin * (float)m, q);
                if (error < best) {
                    best = error;
                    super->scale[j] = (uint8_t)sc;
                    super->min[j] = (uint8_t)m;
                    memcpy(super->q + 16 * j, q, sizeof q);
                }
            }
    }
}

KIT_QUANTISE(q2_k) {
    float x[SUPER];
    affine_super super;
    for (; n_block-- > 0; src += SUPER, dst += 84) {
        kit_read_tame(src, x, SUPER);
        fit_affine_super(x, 16, 15, 3, dst + 80, &super);
        improve_q2(x, kit_load_f16(dst + 80), kit_load_f16(dst + 82), &super);
        for (uint32_t j = 0; j < 16; j++)
            dst[j] = (uint8_t)(super.scale[j] | super.min[j] << 4);
        write_pairs_of_bits(super.q, dst + 16);
    }
}

/* Scales of the parts of a super-block as integers of the f16 at d: the one of the largest magnitude becomes
 * lowest. Returns that f16. */
static float write_signed_scales(const float *scale, uint32_t n, int32_t lowest, uint8_t *d, int32_t *out) {
    float top = 0;
    for (uint32_t i = 0; i < n; i++)
        top = fabsf(scale[i]) > fabsf(top) ? scale[i] : top;
    float unit = kit_store_f16(d, top / (float)lowest);
    float inverse = kit_inverse(unit);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (int32_t)kit_round(scale[i] * inverse, (float)lowest, (float)(-lowest - 1));
    return unit;
}

KIT_QUANTISE(q3_k) {
    float x[SUPER], scale[16];
    uint8_t q[SUPER];
    int32_t sc[16];
    for (; n_block-- > 0; src += SUPER, dst += 110) {
        kit_read_tame(src, x, SUPER);
        for (uint32_t part = 0; part < 16; part++)
            scale[part] = kit_fit_symmetric(x + 16 * part, 16, -4);
        float d = write_signed_scales(scale, 16, -32, dst + 108, sc);
        memset(dst, 0, 32);
        memset(dst + 96, 0, 12);
        for (uint32_t part = 0; part < 16; part++) {
            uint32_t code = (uint32_t)(sc[part] + 32);
            dst[96 + part % 8] = (uint8_t)(dst[96 + part % 8] | (code & 15) << (part < 8 ? 0 : 4));
            dst[104 + part % 4] = (uint8_t)(dst[104 + part % 4] | code >> 4 << 2 * (part / 4));
            float inverse = kit_inverse(d * (float)sc[part]);
            for (uint32_t i = 16 * part; i < 16 * part + 16; i++) {
                q[i] = (uint8_t)((int32_t)kit_round(x[i] * inverse, -4.0f, 3.0f) + 4);
                dst[i % 32] = (uint8_t)(dst[i % 32] | q[i] >> 2 << i / 32);
            }
        }
        write_pairs_of_bits(q, dst + 32);
    }
}

KIT_QUANTISE(q4_k) {
    float x[SUPER];
    affine_super super;
    for (; n_block-- > 0; src += SUPER, dst += 144) {
        kit_read_tame(src, x, SUPER);
        fit_affine_super(x, 8, 63, 15, dst, &super);
        write_scale_min(&super, dst + 4);
        write_nibbles(super.q, dst + 16);
    }
}

KIT_QUANTISE(q5_k) {
    float x[SUPER];
    affine_super super;
    for (; n_block-- > 0; src += SUPER, dst += 176) {
        kit_read_tame(src, x, SUPER);
        fit_affine_super(x, 8, 63, 31, dst, &super);
        write_scale_min(&super, dst + 4);
        for (uint32_t l = 0; l < 32; l++) {
            uint32_t high = 0;
            for (uint32_t j = 0; j < 8; j++)
                high |= (uint32_t)(super.q[32 * j + l] >> 4) << j;
            dst[16 + l] = (uint8_t)high;
        }
        write_nibbles(super.q, dst + 48);
    }
}

KIT_QUANTISE(q6_k) {
    float x[SUPER], scale[16];
    uint8_t q[SUPER];
    int32_t sc[16];
    for (; n_block-- > 0; src += SUPER, dst += 210) {
        kit_read_tame(src, x, SUPER);
        for (uint32_t part = 0; part < 16; part++)
            scale[part] = kit_fit_symmetric(x + 16 * part, 16, -32);
        float d = write_signed_scales(scale, 16, -128, dst + 208, sc);
        for (uint32_t part = 0; part < 16; part++) {
            dst[192 + part] = (uint8_t)sc[part];
            float inverse = kit_inverse(d * (float)sc[part]);
            for (uint32_t i = 16 * part; i < 16 * part + 16; i++)
                q[i] = (uint8_t)((int32_t)kit_round(x[i] * inverse, -32.0f, 31.0f) + 32);
        }
        for (uint32_t n = 0; n < 2; n++)
            for (uint32_t l = 0; l < 32; l++) {
                const uint8_t *e = q + 128 * n + l; /* groups at 0, 32, 64, 96 */
                dst[64 * n + l] = (uint8_t)((e[0] & 15) | (e[64] & 15) << 4);
                dst[64 * n + 32 + l] = (uint8_t)((e[32] & 15) | (e[96] & 15) << 4);
                dst[128 + 32 * n + l] =
                    (uint8_t)(e[0] >> 4 | e[32] >> 4 << 2 | e[64] >> 4 << 4 | e[96] >> 4 << 6);
            }
    }
}

KIT_QUANTISE(iq4_xs) {
    float x[SUPER], scale[8];
    uint8_t q[32];
    int32_t sc[8];
    for (; n_block-- > 0; src += SUPER, dst += 136) {
        kit_read_tame(src, x, SUPER);
        for (uint32_t j = 0; j < 8; j++)
            scale[j] = kit_fit_iq4(x + 32 * j);
        float d = write_signed_scales(scale, 8, -32, dst, sc);
        uint32_t low = 0, high = 0;
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t code = (uint32_t)(sc[j] + 32);
            low |= (code & 15) << 4 * j;
            high |= code >> 4 << 2 * j;
            kit_nearest_iq4(x + 32 * j, kit_inverse(d * (float)sc[j]), q);
            for (uint32_t l = 0; l < 16; l++)
                dst[8 + 16 * j + l] = (uint8_t)(q[l] | q[l + 16] << 4);
        }
        kit_store_u16(dst + 2, (uint16_t)high);
        kit_store_u16(dst + 4, (uint16_t)low);
        kit_store_u16(dst + 6, (uint16_t)(low >> 16));
    }
}
