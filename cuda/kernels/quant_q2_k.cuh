/* Q2_K. A chunk is a super-block of 8 blocks: [16 bytes: low half scale, high half min] [quants of 2 blocks]
 * x 4. Quants of a block: bits 8b + 2i, 8b + 2i + 1 of the first word for column 4i + b, of the second for
 * column 16 + 4i + b. { f16 d, f16 dmin } follow the chunks of the group: word 8 c + r for chunk c and row r.
 * Part of quant.cuh. */
struct quant_q2_k {
    static constexpr bool IS_FLOAT = false, HAS_MIN = true, HALF_SCALES = true;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 5 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 128.0f;
    struct header {
        uint4 scales;
        float2 d;
    };
    struct block {
        uint2 quants;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block / 8 * (CHUNK_UNITS + 2);
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t row, uint32_t n_block,
                                            uint32_t c) {
        uint32_t d = load_word(w + at - row + n_block / 8 * CHUNK_UNITS, c * 8 + row);
        return {load_unit(w + at + c * CHUNK_UNITS), half2_bits(d)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {pair_of(load_unit(w + at + c * CHUNK_UNITS + 8 + j / 2 * 8), j % 2)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t part) {
        uint32_t scales = word_of(h.scales, j / 2) >> (16 * (j % 2) + 8 * part);
        return make_float2(h.d.x * (float)(scales & 15u), -h.d.y * (float)(scales >> 4 & 15u));
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return (part == 0 ? b.quants.x : b.quants.y) >> (2 * word) & 0x03030303u;
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(codes(b, word, part));
    }
};
