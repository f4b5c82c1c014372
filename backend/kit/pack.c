/* pack.c: GGUF rows to the packed layout. Each function writes the units of one row; the places of its format
 * are described in the include of the same format (shaders/quant_*.glsl). */
#include <tandem/pack.h>

#include <string.h>

#include <tandem/base.h>
#include <tandem/quants.h>

enum { UNIT_BYTES = 16, PLACE_BYTES = 128, MIN_SHIFT = 9, MAX_SHIFT = 31 };

/* The unit of row `row` (0..7 of its group) at a place. */
static uint8_t *unit_at(uint8_t *group, uint32_t row, uint64_t place) {
    return group + place * PLACE_BYTES + (uint64_t)row * UNIT_BYTES;
}

static uint32_t read_word(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static void write_word(uint8_t *p, uint32_t w) {
    memcpy(p, &w, sizeof w);
}

static uint64_t ceil_div(uint64_t a, uint64_t b) {
    return (a + b - 1) / b;
}

/* Codes of a block: word p holds columns 4p .. 4p + 3 in its bytes. Low four bits: byte b of the unit holds
 * column b and column b + 16. */
static void write_low_bits(uint8_t *unit, const uint32_t code[8]) {
    for (uint32_t p = 0; p < 4; p++)
        write_word(unit + 4 * p, (code[p] & 0x0f0f0f0fu) | (code[p + 4] & 0x0f0f0f0fu) << 4);
}

/* Bit 4 of every code: bit 8b + p for column 4p + b. */
static uint32_t fifth_bits(const uint32_t code[8]) {
    uint32_t high = 0;
    for (uint32_t p = 0; p < 8; p++)
        high |= (code[p] >> 4 & 0x01010101u) << p;
    return high;
}

/* One row of plain numbers of `size` bytes, zero beyond n_col. */
static void pack_plain(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row,
                       uint32_t size) {
    uint64_t bytes = (uint64_t)pack->n_col * size;
    uint64_t n_unit = ceil_div(pack->n_col, 32) * 32 * size / UNIT_BYTES;
    for (uint64_t u = 0; u < n_unit; u++) {
        uint8_t *unit = unit_at(group, row, u);
        uint64_t begin = u * UNIT_BYTES;
        uint64_t have = begin >= bytes ? 0 : bytes - begin < UNIT_BYTES ? bytes - begin : UNIT_BYTES;
        memcpy(unit, src + (have ? begin : 0), have);
        memset(unit + have, 0, UNIT_BYTES - have);
    }
}

static void pack_f32(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    pack_plain(pack, src, group, row, 4);
}

static void pack_f16(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    pack_plain(pack, src, group, row, 2);
}

/* IQ4_NL has the same blocks. */
static void pack_q4_0(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_block = pack->n_col / 32;
    for (uint64_t k = 0; k < n_block; k++, src += 18) {
        uint64_t place = k / 8 * 9;
        uint8_t *scales = unit_at(group, row, place);
        if (k % 8 == 0)
            memset(scales, 0, UNIT_BYTES);
        memcpy(scales + 2 * (k % 8), src, 2);
        memcpy(unit_at(group, row, place + 1 + k % 8), src + 2, 16);
    }
}

static void pack_q4_1(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_block = pack->n_col / 32;
    for (uint64_t k = 0; k < n_block; k++, src += 20) {
        uint64_t place = k / 4 * 5;
        uint8_t *scales = unit_at(group, row, place);
        if (k % 4 == 0)
            memset(scales, 0, UNIT_BYTES);
        memcpy(scales + 4 * (k % 4), src, 4);
        memcpy(unit_at(group, row, place + 1 + k % 4), src + 4, 16);
    }
}

/* The fifth bits as GGUF has them: bit c for column c. */
static uint32_t transpose_fifth_bits(const uint8_t *src) {
    uint32_t bits = read_word(src), high = 0;
    for (uint32_t p = 0; p < 8; p++)
        high |= ((bits >> 4 * p & 15u) * 0x00204081u & 0x01010101u) << p;
    return high;
}

static void pack_q5_0(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_block = pack->n_col / 32;
    for (uint64_t k = 0; k < n_block; k++, src += 22) {
        uint64_t four = k / 8 * 11 + 1 + k % 8 / 4 * 5;
        uint8_t *scales = unit_at(group, row, k / 8 * 11);
        uint8_t *high = unit_at(group, row, four);
        if (k % 8 == 0)
            memset(scales, 0, UNIT_BYTES);
        if (k % 4 == 0)
            memset(high, 0, UNIT_BYTES);
        memcpy(scales + 2 * (k % 8), src, 2);
        write_word(high + 4 * (k % 4), transpose_fifth_bits(src + 2));
        memcpy(unit_at(group, row, four + 1 + k % 4), src + 6, 16);
    }
}

static void pack_q5_1(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_block = pack->n_col / 32;
    for (uint64_t k = 0; k < n_block; k++, src += 24) {
        uint64_t place = k / 2 * 3;
        uint8_t *pair = unit_at(group, row, place);
        if (k % 2 == 0)
            memset(pair, 0, UNIT_BYTES);
        memcpy(pair + 8 * (k % 2), src, 4);
        write_word(pair + 8 * (k % 2) + 4, transpose_fifth_bits(src + 4));
        memcpy(unit_at(group, row, place + 1 + k % 2), src + 8, 16);
    }
}

static void pack_q8_0(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_block = pack->n_col / 32;
    for (uint64_t k = 0; k < n_block; k++, src += 34) {
        uint64_t place = k / 8 * 17;
        uint8_t *scales = unit_at(group, row, place);
        if (k % 8 == 0)
            memset(scales, 0, UNIT_BYTES);
        memcpy(scales + 2 * (k % 8), src, 2);
        memcpy(unit_at(group, row, place + 1 + 2 * (k % 8)), src + 2, 16);
        memcpy(unit_at(group, row, place + 2 + 2 * (k % 8)), src + 18, 16);
    }
}

/* d and dmin, then the twelve scale bytes sorted: low bits of the scales, of the mins, high bits of both. */
static void write_k_header(uint8_t *unit, const uint8_t *block) {
    const uint8_t *s = block + 4;
    uint32_t scale_low = 0, min_low = 0, high = 0;
    for (uint32_t j = 0; j < 8; j++) {
        uint32_t scale = j < 4 ? s[j] & 63u : (s[j + 4] & 15u) | (uint32_t)(s[j - 4] >> 6) << 4;
        uint32_t min = j < 4 ? s[j + 4] & 63u : (uint32_t)(s[j + 4] >> 4) | (uint32_t)(s[j] >> 6) << 4;
        scale_low |= (scale & 15u) << 4 * j;
        min_low |= (min & 15u) << 4 * j;
        high |= scale >> 4 << 2 * j | min >> 4 << (16 + 2 * j);
    }
    memcpy(unit, block, 4);
    write_word(unit + 4, scale_low);
    write_word(unit + 8, min_low);
    write_word(unit + 12, high);
}

static void pack_q4_k(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    for (uint64_t c = 0; c < pack->n_col / 256; c++, src += 144) {
        write_k_header(unit_at(group, row, c * 9), src);
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t code[8];
            for (uint32_t p = 0; p < 8; p++)
                code[p] = read_word(src + 16 + j / 2 * 32 + 4 * p) >> 4 * (j % 2) & 0x0f0f0f0fu;
            write_low_bits(unit_at(group, row, c * 9 + 1 + j), code);
        }
    }
}

static void pack_q5_k(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    for (uint64_t c = 0; c < pack->n_col / 256; c++, src += 176) {
        write_k_header(unit_at(group, row, c * 11), src);
        for (uint32_t j = 0; j < 8; j++) {
            uint64_t four = c * 11 + 1 + j / 4 * 5;
            uint32_t code[8];
            for (uint32_t p = 0; p < 8; p++)
                code[p] = (read_word(src + 48 + j / 2 * 32 + 4 * p) >> 4 * (j % 2) & 0x0f0f0f0fu) |
                          (read_word(src + 16 + 4 * p) >> j & 0x01010101u) << 4;
            write_word(unit_at(group, row, four) + 4 * (j % 4), fifth_bits(code));
            write_low_bits(unit_at(group, row, four + 1 + j % 4), code);
        }
    }
}

/* Two bits of the codes of a block: bits 8b + 2i, 8b + 2i + 1 of word h for column 16h + 4i + b. */
static void write_pairs_of_bits(uint8_t *to, const uint32_t code[8]) {
    uint32_t word[2] = {0, 0};
    for (uint32_t p = 0; p < 8; p++)
        word[p / 4] |= (code[p] & 0x03030303u) << 2 * (p % 4);
    memcpy(to, word, sizeof word);
}

static void pack_q6_k(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_chunk = pack->n_col / 256;
    uint8_t *d = group + n_chunk * 13 * PLACE_BYTES; /* two super-blocks to a word, 8 rows a pair */
    for (uint64_t c = 0; c < n_chunk; c++, src += 210) {
        memcpy(unit_at(group, row, c * 13), src + 192, 16);
        for (uint32_t j = 0; j < 8; j++) {
            uint64_t two = c * 13 + 1 + j / 2 * 3;
            uint32_t n = j / 4, g = j % 4;
            uint32_t low[8], high[8];
            for (uint32_t p = 0; p < 8; p++) {
                low[p] = read_word(src + 64 * n + 32 * (g % 2) + 4 * p) >> (g < 2 ? 0 : 4);
                high[p] = read_word(src + 128 + 32 * n + 4 * p) >> 2 * g;
            }
            write_pairs_of_bits(unit_at(group, row, two) + 8 * (j % 2), high);
            write_low_bits(unit_at(group, row, two + 1 + j % 2), low);
        }
        uint8_t *word = d + (c / 2 * TANDEM_KIT_PACK_ROWS + row) * 4;
        if (c % 2 == 0)
            memset(word, 0, 4);
        memcpy(word + 2 * (c % 2), src + 208, 2);
    }
}

static void pack_q2_k(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_chunk = pack->n_col / 256;
    uint8_t *d = group + n_chunk * 5 * PLACE_BYTES; /* one word a super-block, 8 rows together */
    for (uint64_t c = 0; c < n_chunk; c++, src += 84) {
        memcpy(unit_at(group, row, c * 5), src, 16);
        for (uint32_t j = 0; j < 8; j++) {
            uint32_t code[8];
            for (uint32_t p = 0; p < 8; p++)
                code[p] = read_word(src + 16 + 32 * (j / 4) + 4 * p) >> 2 * (j % 4);
            write_pairs_of_bits(unit_at(group, row, c * 5 + 1 + j / 2) + 8 * (j % 2), code);
        }
        memcpy(d + (c * TANDEM_KIT_PACK_ROWS + row) * 4, src + 80, 4);
    }
}

/* d, then the twelve scale bytes sorted: low bits of the sixteen scales, high bits of all. */
static void write_q3_k_header(uint8_t *unit, const uint8_t *s, const uint8_t *d) {
    uint32_t low[2] = {0, 0}, high = 0;
    for (uint32_t k = 0; k < 16; k++) {
        low[k / 8] |= (uint32_t)(k < 8 ? s[k] & 15 : s[k - 8] >> 4) << 4 * (k % 8);
        high |= (s[8 + k % 4] >> 2 * (k / 4) & 3u) << 2 * k;
    }
    write_word(unit, (uint32_t)(d[0] | d[1] << 8));
    memcpy(unit + 4, low, 8);
    write_word(unit + 12, high);
}

static void pack_q3_k(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    for (uint64_t c = 0; c < pack->n_col / 256; c++, src += 110) {
        write_q3_k_header(unit_at(group, row, c * 7), src + 96, src + 108);
        for (uint32_t j = 0; j < 8; j++) {
            uint64_t four = c * 7 + 1 + j / 4 * 3;
            uint32_t code[8], high = 0;
            for (uint32_t p = 0; p < 8; p++) {
                code[p] = read_word(src + 32 + 32 * (j / 4) + 4 * p) >> 2 * (j % 4);
                high |= (read_word(src + 4 * p) >> j & 0x01010101u) << p;
            }
            write_word(unit_at(group, row, four) + 4 * (j % 4), high);
            write_pairs_of_bits(unit_at(group, row, four + 1 + j % 4 / 2) + 8 * (j % 2), code);
        }
    }
}

static void pack_iq4_xs(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_chunk = pack->n_col / 256;
    uint8_t *scales = group + n_chunk * 8 * PLACE_BYTES; /* 8 bytes a super-block, 8 rows together */
    for (uint64_t c = 0; c < n_chunk; c++, src += 136) {
        memcpy(scales + (c * TANDEM_KIT_PACK_ROWS + row) * 8, src, 8);
        for (uint32_t j = 0; j < 8; j++)
            memcpy(unit_at(group, row, c * 8 + j), src + 8 + 16 * j, 16);
    }
}

static void pack_mxfp4(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row) {
    uint64_t n_block = pack->n_col / 32;
    uint8_t *exponents = group + n_block * PLACE_BYTES; /* 8 bytes for 8 blocks, 8 rows together */
    for (uint64_t k = 0; k < n_block; k++, src += 17) {
        uint8_t *eight = exponents + (k / 8 * TANDEM_KIT_PACK_ROWS + row) * 8;
        if (k % 8 == 0)
            memset(eight, 0, 8);
        eight[k % 8] = src[0];
        memcpy(unit_at(group, row, k), src + 1, 16);
    }
}

typedef struct pack_format {
    uint32_t type;
    const char *name;
    void (*row)(const tandem_kit_pack *pack, const uint8_t *src, uint8_t *group, uint32_t row);
} pack_format;

static const pack_format formats[] = {
    {TANDEM_TYPE_F32, "f32", pack_f32},          {TANDEM_TYPE_F16, "f16", pack_f16},
    {TANDEM_TYPE_Q4_0, "q4_0", pack_q4_0},       {TANDEM_TYPE_Q4_1, "q4_1", pack_q4_1},
    {TANDEM_TYPE_Q5_0, "q5_0", pack_q5_0},       {TANDEM_TYPE_Q5_1, "q5_1", pack_q5_1},
    {TANDEM_TYPE_Q8_0, "q8_0", pack_q8_0},       {TANDEM_TYPE_Q4_K, "q4_k", pack_q4_k},
    {TANDEM_TYPE_Q5_K, "q5_k", pack_q5_k},       {TANDEM_TYPE_Q6_K, "q6_k", pack_q6_k},
    {TANDEM_TYPE_BF16, "bf16", pack_f16},        {TANDEM_TYPE_Q2_K, "q2_k", pack_q2_k},
    {TANDEM_TYPE_Q3_K, "q3_k", pack_q3_k},       {TANDEM_TYPE_IQ4_NL, "iq4_nl", pack_q4_0},
    {TANDEM_TYPE_IQ4_XS, "iq4_xs", pack_iq4_xs}, {TANDEM_TYPE_MXFP4, "mxfp4", pack_mxfp4},
};

static const pack_format *find_format(uint32_t type) {
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].type == type)
            return &formats[i];
    return NULL;
}

/* note: group_units() of the format's include says the same in units. */
static uint64_t group_bytes_of(uint32_t type, uint64_t n_col) {
    uint64_t n = ceil_div(n_col, 32), four = ceil_div(n, 4), eight = ceil_div(n, 8);
    switch (type) {
    case TANDEM_TYPE_F32:
        return 8 * n * PLACE_BYTES;
    case TANDEM_TYPE_F16:
    case TANDEM_TYPE_BF16:
        return 4 * n * PLACE_BYTES;
    case TANDEM_TYPE_Q4_0:
    case TANDEM_TYPE_Q4_K:
    case TANDEM_TYPE_IQ4_NL:
        return (n + eight) * PLACE_BYTES;
    case TANDEM_TYPE_Q4_1:
        return (n + four) * PLACE_BYTES;
    case TANDEM_TYPE_Q5_0:
    case TANDEM_TYPE_Q5_K:
        return (n + four + eight) * PLACE_BYTES;
    case TANDEM_TYPE_Q5_1:
        return (n + ceil_div(n, 2)) * PLACE_BYTES;
    case TANDEM_TYPE_Q8_0:
        return (2 * n + eight) * PLACE_BYTES;
    case TANDEM_TYPE_Q6_K:
        return eight * 13 * PLACE_BYTES + ceil_div(eight, 2) * TANDEM_KIT_PACK_ROWS * 4;
    case TANDEM_TYPE_Q2_K:
        return eight * (5 * PLACE_BYTES + TANDEM_KIT_PACK_ROWS * 4);
    case TANDEM_TYPE_Q3_K:
        return eight * 7 * PLACE_BYTES;
    case TANDEM_TYPE_IQ4_XS:
    case TANDEM_TYPE_MXFP4:
        return n * PLACE_BYTES + eight * TANDEM_KIT_PACK_ROWS * 8;
    default:
        return 0;
    }
}

bool tandem_kit_pack_init(tandem_kit_pack *pack, uint32_t type, uint64_t n_row, uint64_t n_col,
                          uint64_t max_segment_bytes) {
    const uint64_t limit = UINT64_C(1) << MAX_SHIFT;
    uint64_t row_bytes = tandem_kit_row_bytes(type, n_col);
    if (!find_format(type) || row_bytes == 0 || n_row == 0 || n_row > limit || n_col == 0 || n_col > limit)
        return false;
    /* Shaders index a segment by 32-bit counts of words. */
    if (max_segment_bytes > UINT64_C(1) << 32)
        max_segment_bytes = UINT64_C(1) << 32;
    uint64_t group_bytes = group_bytes_of(type, n_col);

    uint32_t shift = MAX_SHIFT;
    if (ceil_div(n_row, TANDEM_KIT_PACK_ROWS) * group_bytes > max_segment_bytes) {
        shift = MIN_SHIFT; /* a workgroup's rows never cross a segment */
        if ((group_bytes << shift) / TANDEM_KIT_PACK_ROWS > max_segment_bytes)
            return false;
        while ((group_bytes << (shift + 1)) / TANDEM_KIT_PACK_ROWS <= max_segment_bytes)
            shift++;
    }
    *pack = (tandem_kit_pack){.type = type,
                              .n_col = (uint32_t)n_col,
                              .n_row = n_row,
                              .row_bytes = row_bytes,
                              .group_bytes = group_bytes,
                              .segment_shift = shift,
                              .n_segment = (uint32_t)ceil_div(n_row, UINT64_C(1) << shift),
                              .device_bytes = ceil_div(n_row, TANDEM_KIT_PACK_ROWS) * group_bytes};
    return true;
}

uint64_t tandem_kit_pack_segment_bytes(const tandem_kit_pack *pack, uint32_t segment) {
    uint64_t first = (uint64_t)segment << pack->segment_shift;
    uint64_t rows = UINT64_C(1) << pack->segment_shift;
    if (rows > pack->n_row - first)
        rows = pack->n_row - first;
    return ceil_div(rows, TANDEM_KIT_PACK_ROWS) * pack->group_bytes;
}

uint32_t tandem_kit_pack_segment(const tandem_kit_pack *pack, uint64_t row) {
    return (uint32_t)(row >> pack->segment_shift);
}

uint64_t tandem_kit_pack_offset(const tandem_kit_pack *pack, uint64_t row) {
    uint64_t in_segment = row & ((UINT64_C(1) << pack->segment_shift) - 1);
    return in_segment / TANDEM_KIT_PACK_ROWS * pack->group_bytes;
}

void tandem_kit_pack_rows(const tandem_kit_pack *pack, uint64_t first_row, uint64_t n_row, const void *src,
                          void *groups) {
    const pack_format *format = find_format(pack->type);
    const uint8_t *from = src;
    uint64_t first_group = first_row / TANDEM_KIT_PACK_ROWS;
    for (uint64_t r = first_row; r < first_row + n_row; r++, from += pack->row_bytes) {
        uint8_t *group = (uint8_t *)groups + (r / TANDEM_KIT_PACK_ROWS - first_group) * pack->group_bytes;
        format->row(pack, from, group, (uint32_t)(r % TANDEM_KIT_PACK_ROWS));
    }
}

const char *tandem_kit_pack_format_name(uint32_t type) {
    const pack_format *format = find_format(type);
    return format ? format->name : NULL;
}
