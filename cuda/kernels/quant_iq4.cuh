/* IQ4_NL and IQ4_XS. Quants of a block as in quant_q4.cuh, each the index of one of 16 levels.
 *   IQ4_NL, chunk of 8 blocks: [8 f16 d] [quants] x 8; a last chunk ends with its last block
 *   IQ4_XS, chunk of 8 blocks: [quants] x 8. The scales follow the chunks of the group: pair 8 c + r of chunk
 * c and row r is { f16 d, high 2 bits of 8 scales } { low 4 bits of 8 scales } Part of quant.cuh. */

/* The levels of the low four bits of each byte: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113. */
TANDEM_INLINE uint32_t iq4_levels(uint32_t nibbles) {
    return look_up(nibbles, 0xbfad9881u, 0xf6eaddcfu, 0x26190d01u, 0x71594535u);
}

struct quant_iq4_nl {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 9 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 0.0f;
    struct header {
        uint4 scales;
    };
    struct block {
        uint4 quants;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return (n_block + (n_block + 7) / 8) * 8;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {load_unit(w + at + c * CHUNK_UNITS + 8 + j * 8)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        return make_float2(half_of(h.scales, j), 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return iq4_levels(word_of(b.quants, word) >> (4 * part));
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return signed_floats(codes(b, word, part));
    }
};

struct quant_iq4_xs {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 8 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 0.0f;
    struct header {
        uint2 scales;
    };
    struct block {
        uint4 quants;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block / 8 * (CHUNK_UNITS + 4);
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t row, uint32_t n_block,
                                            uint32_t c) {
        return {load_pair(w + at - row + n_block * 8, c * 8 + row)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {load_unit(w + at + c * CHUNK_UNITS + j * 8)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        uint32_t scale = (h.scales.y >> (4 * j) & 15u) | (h.scales.x >> (16 + 2 * j) & 3u) << 4;
        return make_float2(half_bits(h.scales.x & 0xffffu) * (float)((int)scale - 32), 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return iq4_levels(word_of(b.quants, word) >> (4 * part));
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return signed_floats(codes(b, word, part));
    }
};
