/* Q3_K. A chunk is a super-block of 8 blocks: [header] then twice { [4 high words] [low bits of 2 blocks] x 2
 * }. header unit: { f16 d, 0 } { low 4 bits of scales 0..7 } { of scales 8..15 } { high 2 bits of 16 scales }
 * Low two bits of a block as in quant_q2_k.cuh; high bits: one word, bit 8b + p for column 4p + b. Part of
 * quant.cuh. */
struct quant_q3_k {
    static constexpr bool IS_FLOAT = false, HAS_MIN = false, HALF_SCALES = true;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 7 * 8;
    static constexpr int DOT_ZERO = 4;
    static constexpr float FLOAT_ZERO = 128.0f + 4.0f;
    struct header {
        uint4 scales;
    };
    struct block {
        uint2 low;
        uint32_t high;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block / 8 * CHUNK_UNITS;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    /* The high words of blocks 4 i to 4 i + 3. */
    static TANDEM_MEMBER uint4 load_common(const uint4 *w, uint32_t at, uint32_t c, uint32_t i) {
        return load_unit(w + at + c * CHUNK_UNITS + 8 + i * 24);
    }

    static TANDEM_MEMBER block load_rest(uint4 high, const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        const uint4 *low = w + at + c * CHUNK_UNITS + 16 + j / 4 * 24 + j % 4 / 2 * 8;
        return {pair_of(load_unit(low), j % 2), word_of(high, j % 4)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return load_rest(load_common(w, at, c, j / 4), w, at, c, j);
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t part) {
        uint32_t k = 2 * j + part;
        uint32_t low = (j < 4 ? h.scales.y : h.scales.z) >> (4 * (k % 8)) & 15u;
        uint32_t high = h.scales.w >> (2 * k) & 3u;
        return make_float2(half_bits(h.scales.x & 0xffffu) * (float)((int)(low | high << 4) - 32), 0.0f);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        uint32_t n = 4 * part + word;
        uint32_t high = n < 2 ? b.high << (2 - n) : b.high >> (n - 2); /* to bit 2 of each byte */
        return ((part == 0 ? b.low.x : b.low.y) >> (2 * word) & 0x03030303u) | (high & 0x04040404u);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(codes(b, word, part));
    }
};
