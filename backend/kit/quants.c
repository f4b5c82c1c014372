/* quants.c: the table of number formats, and the way from a type number to its converters. */
#include "quants_internal.h"

typedef void (*dequantise_fn)(const uint8_t *src, float *dst, uint64_t n_block);
typedef void (*quantise_fn)(const float *src, uint8_t *dst, uint64_t n_block);

static KIT_DEQUANTISE(f32) {
    for (uint64_t i = 0; i < n_block; i++) {
        uint32_t bits = kit_load_u32(src + 4 * i);
        memcpy(dst + i, &bits, sizeof bits);
    }
}

static KIT_DEQUANTISE(f16) {
    for (uint64_t i = 0; i < n_block; i++)
        dst[i] = kit_load_f16(src + 2 * i);
}

static KIT_DEQUANTISE(bf16) {
    for (uint64_t i = 0; i < n_block; i++)
        dst[i] = tandem_kit_bf16_to_f32(kit_load_u16(src + 2 * i));
}

static KIT_QUANTISE(f32) {
    for (uint64_t i = 0; i < n_block; i++) {
        uint32_t bits;
        memcpy(&bits, src + i, sizeof bits);
        kit_store_u16(dst + 4 * i, (uint16_t)bits);
        kit_store_u16(dst + 4 * i + 2, (uint16_t)(bits >> 16));
    }
}

static KIT_QUANTISE(f16) {
    for (uint64_t i = 0; i < n_block; i++)
        kit_store_u16(dst + 2 * i, tandem_kit_f32_to_f16(src[i]));
}

static KIT_QUANTISE(bf16) {
    for (uint64_t i = 0; i < n_block; i++)
        kit_store_u16(dst + 2 * i, tandem_kit_f32_to_bf16(src[i]));
}

typedef struct format {
    tandem_type_info info;
    dequantise_fn dequantise;
    quantise_fn quantise;
} format;

#define FORMAT(NAME, block, bytes, name)                                                                     \
    { {TANDEM_TYPE_##NAME, block, bytes, 0, #NAME}, kit_dequantise_##name, kit_quantise_##name }

static const format formats[] = {
    FORMAT(F32, 1, 4, f32),         FORMAT(F16, 1, 2, f16),
    FORMAT(Q4_0, 32, 18, q4_0),     FORMAT(Q4_1, 32, 20, q4_1),
    FORMAT(Q5_0, 32, 22, q5_0),     FORMAT(Q5_1, 32, 24, q5_1),
    FORMAT(Q8_0, 32, 34, q8_0),     FORMAT(Q2_K, SUPER, 84, q2_k),
    FORMAT(Q3_K, SUPER, 110, q3_k), FORMAT(Q4_K, SUPER, 144, q4_k),
    FORMAT(Q5_K, SUPER, 176, q5_k), FORMAT(Q6_K, SUPER, 210, q6_k),
    FORMAT(IQ4_NL, 32, 18, iq4_nl), FORMAT(IQ4_XS, SUPER, 136, iq4_xs),
    FORMAT(BF16, 1, 2, bf16),       FORMAT(MXFP4, 32, 17, mxfp4),
};

enum { N_FORMAT = sizeof formats / sizeof *formats };

static const format *find(uint32_t type) {
    for (uint32_t i = 0; i < N_FORMAT; i++)
        if (formats[i].info.type == type)
            return &formats[i];
    return NULL;
}

const tandem_type_info *tandem_kit_type(uint32_t type) {
    const format *f = find(type);
    return f != NULL ? &f->info : NULL;
}

const tandem_type_info *tandem_kit_type_at(uint32_t index) {
    return index < N_FORMAT ? &formats[index].info : NULL;
}

static int same_name(const char *a, const char *b) {
    for (;; a++, b++) {
        char x = *a >= 'a' && *a <= 'z' ? (char)(*a - 'a' + 'A') : *a; /* independent of the locale */
        char y = *b >= 'a' && *b <= 'z' ? (char)(*b - 'a' + 'A') : *b;
        if (x != y)
            return 0;
        if (x == '\0')
            return 1;
    }
}

const tandem_type_info *tandem_kit_type_by_name(const char *name) {
    for (uint32_t i = 0; name != NULL && i < N_FORMAT; i++)
        if (same_name(formats[i].info.name, name))
            return &formats[i].info;
    return NULL;
}

uint64_t tandem_kit_row_bytes(uint32_t type, uint64_t n_col) {
    const format *f = find(type);
    if (f == NULL || n_col % f->info.block != 0)
        return 0;
    uint64_t n_block = n_col / f->info.block;
    return n_block <= UINT64_MAX / f->info.block_bytes ? n_block * f->info.block_bytes : 0;
}

tandem_status tandem_kit_dequantise(uint32_t type, const void *src, float *dst, uint64_t n) {
    const format *f = find(type);
    if (f == NULL || n % f->info.block != 0)
        return TANDEM_E_INVALID;
    f->dequantise(src, dst, n / f->info.block);
    return TANDEM_OK;
}

tandem_status tandem_kit_quantise(uint32_t type, const float *src, void *dst, uint64_t n) {
    const format *f = find(type);
    if (f == NULL || n % f->info.block != 0)
        return TANDEM_E_INVALID;
    f->quantise(src, dst, n / f->info.block);
    return TANDEM_OK;
}

int tandem_kit_can_quantise(uint32_t type) {
    return find(type) != NULL;
}
