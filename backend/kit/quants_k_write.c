/* quants_k_write.c: writing Q4_K, Q5_K and Q6_K.
 *
 * Every sub-block is fitted by itself; the largest fitted scale (and offset) sets the super-block's f16
 * scale, the others become integers of it, and the quants are rounded once more against what a reader will
 * compute.
 */
#include "quants_internal.h"

/* A super-block of 8 affine sub-blocks of 32: y = scale[j] * q - min[j]. */
typedef struct affine_super {
    uint8_t q[SUPER];
    uint8_t scale[8]; /* 6 bits */
    uint8_t min[8];   /* 6 bits */
} affine_super;

/* Writes d and dmin to header[0..3]. */
static void fit_affine_super(const float *x, int32_t q_max, uint8_t *header, affine_super *out) {
    float scale[8], min[8], top_scale = 0, top_min = 0;
    for (uint32_t j = 0; j < 8; j++) {
        float offset;
        scale[j] = kit_fit_affine(x + 32 * j, 32, q_max, 1, &offset);
        min[j] = -offset;
        top_scale = scale[j] > top_scale ? scale[j] : top_scale;
        top_min = min[j] > top_min ? min[j] : top_min;
    }
    float d = kit_store_f16(header, top_scale / 63.0f);
    float dmin = kit_store_f16(header + 2, top_min / 63.0f);
    float inverse_d = kit_inverse(d), inverse_dmin = kit_inverse(dmin);
    for (uint32_t j = 0; j < 8; j++) {
        out->scale[j] = (uint8_t)kit_round(scale[j] * inverse_d, 0.0f, 63.0f);
        out->min[j] = (uint8_t)kit_round(min[j] * inverse_dmin, 0.0f, 63.0f);
        float inverse = kit_inverse(d * (float)out->scale[j]);
        float offset = dmin * (float)out->min[j];
        for (uint32_t i = 32 * j; i < 32 * j + 32; i++)
            out->q[i] = (uint8_t)(int32_t)kit_round((x[i] + offset) * inverse, 0.0f, (float)q_max);
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

KIT_QUANTISE(q4_k) {
    float x[SUPER];
    affine_super super;
    for (; n_block-- > 0; src += SUPER, dst += 144) {
        kit_read_tame(src, x, SUPER);
        fit_affine_super(x, 15, dst, &super);
        write_scale_min(&super, dst + 4);
        write_nibbles(super.q, dst + 16);
    }
}

KIT_QUANTISE(q5_k) {
    float x[SUPER];
    affine_super super;
    for (; n_block-- > 0; src += SUPER, dst += 176) {
        kit_read_tame(src, x, SUPER);
        fit_affine_super(x, 31, dst, &super);
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
    float x[SUPER];
    uint8_t q[SUPER];
    for (; n_block-- > 0; src += SUPER, dst += 210) {
        kit_read_tame(src, x, SUPER);
        float scale[16], top = 0, top_abs = 0;
        for (uint32_t part = 0; part < 16; part++) {
            scale[part] = kit_fit_symmetric(x + 16 * part, 16, -32);
            float a = fabsf(scale[part]);
            if (a > top_abs) {
                top_abs = a;
                top = scale[part];
            }
        }
        float d = kit_store_f16(dst + 208, top / -128.0f);
        float inverse_d = kit_inverse(d);
        for (uint32_t part = 0; part < 16; part++) {
            int32_t sc = (int32_t)kit_round(scale[part] * inverse_d, -128.0f, 127.0f);
            dst[192 + part] = (uint8_t)sc;
            float inverse = kit_inverse(d * (float)sc);
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
