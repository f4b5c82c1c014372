/* MXFP4. Chunk of 8 blocks: [quants] x 8, as in quant_q4.cuh: a sign above three bits of E2M1. A last chunk
 * ends with its last block. The exponents follow the chunks of the group: pair 8 c + r holds the 8 bytes of
 * chunk c and row r. Codes are twice the values. Part of quant.cuh. */
struct quant_mxfp4 {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 8 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 0.0f; /* the scale may be 2^127, too large to multiply an offset */
    struct header {
        uint2 exponents;
    };
    struct block {
        uint4 quants;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block * 8 + (n_block + 7) / 8 * 4;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t row, uint32_t n_block,
                                            uint32_t c) {
        return {load_pair(w + at - row + n_block * 8, c * 8 + row)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {load_unit(w + at + c * CHUNK_UNITS + j * 8)};
    }

    /* 2^(e - 128) */
    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        uint32_t e = (j < 4 ? h.exponents.x : h.exponents.y) >> (8 * (j % 4)) & 255u;
        return make_float2(__uint_as_float(e < 2 ? 0x200000u << e : (e - 1) << 23), 0.0f);
    }

    /* 0 1 2 3 4 6 8 12, then their negatives */
    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return look_up(word_of(b.quants, word) >> (4 * part), 0x03020100u, 0x0c080604u, 0xfdfeff00u,
                       0xf4f8fafcu);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return signed_floats(codes(b, word, part));
    }
};
