/* Q4_0 and Q4_1. Quants of a block: one unit, byte b holds column b (low) and column b + 16 (high).
 *   Q4_0, chunk of 8 blocks: [8 f16 d] [quants] x 8
 *   Q4_1, chunk of 4 blocks: [4 x (f16 d, f16 m)] [quants] x 4
 * A last chunk ends with its last block. Part of quant.cuh. */
template <bool MIN> struct quant_q4 {
    static constexpr bool IS_FLOAT = false, HAS_MIN = MIN, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = MIN ? 4 : 8, CHUNK_UNITS = (1 + CHUNK_BLOCKS) * 8;
    static constexpr int DOT_ZERO = MIN ? 0 : 8;
    static constexpr float FLOAT_ZERO = 128.0f + DOT_ZERO;
    struct header {
        uint4 scales;
    };
    struct block {
        uint4 quants;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return (n_block + (n_block + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS) * 8;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {load_unit(w + at + c * CHUNK_UNITS + 8 + j * 8)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        return MIN ? half2_bits(word_of(h.scales, j)) : make_float2(half_of(h.scales, j), 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return word_of(b.quants, word) >> (4 * part) & 0x0f0f0f0fu;
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(codes(b, word, part));
    }
};
typedef quant_q4<false> quant_q4_0;
typedef quant_q4<true> quant_q4_1;
