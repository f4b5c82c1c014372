/* Q4_K and Q5_K. A chunk is a super-block of 8 blocks:
 *   header unit: { f16 d, f16 dmin } { low 4 bits of 8 scales } { low 4 of 8 mins }
 *                { high 2 bits of 8 scales, high 2 of 8 mins }
 *   Q4_K: [header] [quants] x 8;  Q5_K: [header] then twice { [4 high words] [low bits] x 4 }
 * Quants and high words as in quant_q4.cuh and quant_q5.cuh. Part of quant.cuh. */
TANDEM_INLINE float2 k_scale(uint4 scales, uint32_t j) {
    float2 d = half2_bits(scales.x);
    uint32_t scale = (scales.y >> (4 * j) & 15u) | (scales.w >> (2 * j) & 3u) << 4;
    uint32_t low = (scales.z >> (4 * j) & 15u) | (scales.w >> (2 * j + 16) & 3u) << 4;
    return make_float2(d.x * (float)scale, -d.y * (float)low);
}

struct quant_q4_k {
    static constexpr bool IS_FLOAT = false, HAS_MIN = true, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 9 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 128.0f;
    struct header {
        uint4 scales;
    };
    struct block {
        uint4 quants;
    };

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block / 8 * CHUNK_UNITS;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return {load_unit(w + at + c * CHUNK_UNITS + 8 + j * 8)};
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        return k_scale(h.scales, j);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return word_of(b.quants, word) >> (4 * part) & 0x0f0f0f0fu;
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(codes(b, word, part));
    }
};

struct quant_q5_k {
    static constexpr bool IS_FLOAT = false, HAS_MIN = true, HALF_SCALES = false;
    static constexpr uint32_t CHUNK_BLOCKS = 8, CHUNK_UNITS = 11 * 8;
    static constexpr int DOT_ZERO = 0;
    static constexpr float FLOAT_ZERO = 128.0f;
    struct header {
        uint4 scales;
    };
    typedef quant_q5_block block;

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block / 8 * CHUNK_UNITS;
    }

    static TANDEM_MEMBER header load_header(const uint4 *w, uint32_t at, uint32_t, uint32_t, uint32_t c) {
        return {load_unit(w + at + c * CHUNK_UNITS)};
    }

    static TANDEM_MEMBER uint4 load_common(const uint4 *w, uint32_t at, uint32_t c, uint32_t i) {
        return quant_q5_0::load_common(w, at, c, i);
    }

    static TANDEM_MEMBER block load_rest(uint4 high, const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return quant_q5_0::load_rest(high, w, at, c, j);
    }

    static TANDEM_MEMBER block load_block(const uint4 *w, uint32_t at, uint32_t c, uint32_t j) {
        return quant_q5_0::load_block(w, at, c, j);
    }

    static TANDEM_MEMBER float2 scale(const header &h, const block &, uint32_t j, uint32_t) {
        return k_scale(h.scales, j);
    }

    static TANDEM_MEMBER uint32_t codes(const block &b, uint32_t word, uint32_t part) {
        return q5_codes(b, word, part);
    }

    static TANDEM_MEMBER float4 floats(const block &b, uint32_t word, uint32_t part) {
        return code_floats(q5_codes(b, word, part));
    }
};
