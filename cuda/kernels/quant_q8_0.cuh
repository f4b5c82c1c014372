/* Q8_0. Chunk of 8 blocks: [8 f16 d] { [codes 0..15] [codes 16..31] } x 8. A last chunk ends with its last
 * block. Part of quant.cuh. */
struct quant_q8_0 {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 17 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 0.0f;
    struct header {
        uint4 scales;
    };
    struct block {
        uint4 first, second;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return (2 * n_block + (n_block + 7) / 8) * 8;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        const uint4 *quants = w + at + c * CHUNK_UNITS + 8 + j * 16;
        return {load_unit(quants), load_unit(quants + 8)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        return make_float2(half_of(h.scales, j), 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return part == 0 ? word_of(b.first, word) : word_of(b.second, word);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return signed_floats(codes(b, word, part));
    }
};
