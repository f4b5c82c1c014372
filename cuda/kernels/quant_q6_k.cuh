/* Q6_K. A chunk is a super-block of 8 blocks: [16 int8 scales] then four times { [2 x 2 high words] [low
 * bits] x 2 }. Low bits as in quant_q4.cuh; high words of a block: bits 8b + 2i, 8b + 2i + 1 of the first for
 * column 4i + b, of the second for column 16 + 4i + b. The f16 d of the super-blocks, two to a word, follow
 * the chunks of the group: word 8 i + r holds d of chunks 2i and 2i + 1 of row r. Part of quant.cuh. */
struct quant_q6_k {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = true;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 13 * 8;
    static constexpr int DOT_ZERO = 32;
    static constexpr float FLOAT_ZERO = 128.0f + 32.0f;
    struct header {
        uint4 scales;
        float d;
    };
    struct block {
        uint4 low;
        uint2 high;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        uint32_t n_chunk = n_block / 8;
        return n_chunk * CHUNK_UNITS + (n_chunk + 1) / 2 * 2;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t row, uint32_t n_block,
                                            uint32_t c) {
        uint32_t d = load_word(w + at - row + n_block / 8 * CHUNK_UNITS, c / 2 * 8 + row);
        return {load_unit(w + at + c * CHUNK_UNITS), half_bits(d >> (16 * (c % 2)) & 0xffffu)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        const uint4 *two = w + at + c * CHUNK_UNITS + 8 + j / 2 * 24; /* high words, low bits of 2 blocks */
        return {load_unit(two + 8 + j % 2 * 8), pair_of(load_unit(two), j % 2)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t part) {
        int scale = (int)(word_of(h.scales, j / 2) << (24 - 16 * (j % 2) - 8 * part)) >> 24;
        return make_float2(h.d * (float)scale, 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        uint32_t bits = part == 0 ? b.high.x : b.high.y;
        uint32_t high = word < 2 ? bits << (4 - 2 * word) : bits >> (2 * word - 4);
        return (word_of(b.low, word) >> (4 * part) & 0x0f0f0f0fu) | (high & 0x30303030u);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(codes(b, word, part));
    }
};
