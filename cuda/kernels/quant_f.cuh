/* F32: 8 units a block, 4 columns each. F16 and BF16: 4 units a block, 8 columns each. Columns beyond n_col
 * are zero. Part of quant.cuh. */
struct quant_f32 {
    static constexpr bool IS_FLOAT = true;
    static constexpr uint32_t CHUNK_BLOCKS = 8, BLOCK_UNITS = 8;

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block * 64;
    }

    static TANDEM_MEMBER float4 values_of(uint4 u, uint32_t) {
        return make_float4(__uint_as_float(u.x), __uint_as_float(u.y), __uint_as_float(u.z),
                           __uint_as_float(u.w));
    }

    static TANDEM_MEMBER float4 values(const uint4 *w, uint32_t at, uint32_t k, uint32_t p) {
        return values_of(load_unit(w + at + (k * 8 + p) * 8), 0);
    }
};

template <bool BRAIN> struct quant_narrow {
    static constexpr bool IS_FLOAT = true;
    static constexpr uint32_t CHUNK_BLOCKS = 8, BLOCK_UNITS = 4;

    static TANDEM_MEMBER uint32_t group_units(uint32_t n_block) {
        return n_block * 32;
    }

    static TANDEM_MEMBER float4 values_of(uint4 unit, uint32_t half) {
        uint2 u = pair_of(unit, half);
        if (BRAIN)
            return make_float4(__uint_as_float(u.x << 16), __uint_as_float(u.x & 0xffff0000u),
                               __uint_as_float(u.y << 16), __uint_as_float(u.y & 0xffff0000u));
        float2 a = half2_bits(u.x), b = half2_bits(u.y);
        return make_float4(a.x, a.y, b.x, b.y);
    }

    static TANDEM_MEMBER float4 values(const uint4 *w, uint32_t at, uint32_t k, uint32_t p) {
        return values_of(load_unit(w + at + (k * 4 + p / 2) * 8), p % 2);
    }
};
typedef quant_narrow<false> quant_f16;
typedef quant_narrow<true> quant_bf16;
