/* Q5_0 and Q5_1. Low bits of a block as in quant_q4.cuh; high bits: one word, bit 8b + p for column 4p + b.
 *   Q5_0, chunk of 8 blocks: [8 f16 d] then twice { [4 high words] [low bits] x 4 }
 *   Q5_1, chunk of 8 blocks: four times { [2 x (f16 d, f16 m, high word)] [low bits] x 2 }
 * A last chunk ends with its last block. Part of quant.cuh. */
struct quant_q5_block {
    uint4 low;
    uint32_t high;
    uint32_t scale; /* Q5_0: nothing */
};

TANDEM_INLINE uint32_t q5_codes(const quant_q5_block &b, uint32_t word, uint32_t part) {
    uint32_t n = 4 * part + word;
    uint32_t high = n < 4 ? b.high << (4 - n) : b.high >> (n - 4); /* to bit 4 of each byte */
    return (word_of(b.low, word) >> (4 * part) & 0x0f0f0f0fu) | (high & 0x10101010u);
}

struct quant_q5_0 {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 11 * 8;
    static constexpr int DOT_ZERO = 16;
    static constexpr float FLOAT_ZERO = 128.0f + 16.0f;
    struct header {
        uint4 scales;
    };
    typedef quant_q5_block block;

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return (n_block + (n_block + 3) / 4 + (n_block + 7) / 8) * 8;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    /* The high words of blocks 4 i to 4 i + 3. */
    static TANDEM_MEMBER uint4 load_common(const uint4 *w, uint32_t at, uint32_t c, uint32_t i) {
        return load_unit(w + at + c * CHUNK_UNITS + 8 + i * 40);
    }

    static TANDEM_MEMBER block load_rest(uint4 high, const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {load_unit(w + at + c * CHUNK_UNITS + 16 + j / 4 * 40 + j % 4 * 8), word_of(high, j % 4), 0};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return load_rest(load_common(w, at, c, j / 4), w, at, c, j);
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        return make_float2(half_of(h.scales, j), 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return q5_codes(b, word, part);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(q5_codes(b, word, part));
    }
};

struct quant_q5_1 {
    static constexpr bool IS_FLOAT = false, HAS_MIN = true, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 12 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 128.0f;
    struct header {};
    typedef quant_q5_block block;

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return (n_block + (n_block + 1) / 2) * 8;
    }

    static TANDEM_MEMBER header load_header(const uint4 *, uint32_t, uint32_t, uint32_t, uint32_t) {
        return {};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        const uint4 *two =
            w + at + c * CHUNK_UNITS + j / 2 * 24; /* scales, high words, low bits of 2 blocks */
        uint2 pair = pair_of(load_unit(two), j % 2);
        return {load_unit(two + 8 + j % 2 * 8), pair.y, pair.x};
    }

    static TANDEM_MEMBER float2 scale(const header &, const block &b, uint32_t, uint32_t) {
        return half2_bits(b.scale);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return q5_codes(b, word, part);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(q5_codes(b, word, part));
    }
};
