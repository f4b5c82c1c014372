/* attention_tile.cuh: a tile of cached keys and values in shared memory, as operands of the matrix units.
 *
 * Keys are read as they lie: lane 4 g + t takes eight successive elements 32 j + 8 t of key g, and the
 * queries are laid out to match, since a sum over elements does not care which k an element has. Values need
 * their rows turned (load_transposed). Rows of 16-byte units change places within 128 bytes by the key's
 * number, so that no access meets a bank twice.
 *
 * f16: both are operands as stored; the values arrive while scores are computed, the next keys while values
 * are added.
 * q8_0: codes of keys are operands, their scales multiply the sum over a group of 32 in f32. A group of
 * values does not line up with the sum over keys, so the values are converted to f16: scale * code * 2^-e
 * with e of the key, which its weight takes back. With SPLIT that is two f16, which together are exact.
 */
#ifndef TANDEM_ATTENTION_TILE_CUH
#define TANDEM_ATTENTION_TILE_CUH

#include "kv.cuh"
#include "matrix.cuh"

/* Places of a 16-byte unit in a row are unit ^ swap(key). Of f16: eight keys differ, and two neighbours by
 * four units, half of 128 bytes. */
static __device__ __forceinline__ constexpr uint32_t f16_swap(uint32_t key) {
    return (key & 1u) << 2 | (key >> 1 & 3u);
}

/* Of codes of keys: four neighbours lie in four quarters of 128 bytes; of values: in halves. */
static __device__ __forceinline__ constexpr uint32_t key_code_swap(uint32_t key) {
    return (key & 3u) << 1;
}

static __device__ __forceinline__ constexpr uint32_t value_code_swap(uint32_t key) {
    return (key & 1u) << 2;
}

static __device__ __forceinline__ constexpr uint32_t no_swap(uint32_t) {
    return 0;
}

/* Four signed bytes as two pairs of f16: a byte below the exponent of 1024 is 1024 + byte. */
static __device__ __forceinline__ uint2 code_halves(uint32_t codes) {
    codes ^= 0x80808080u;
    __half2 bias = bits_half2(0x64806480u);
    uint32_t low = __byte_perm(codes, 0x64646464u, 0x4140), high = __byte_perm(codes, 0x64646464u, 0x4342);
    return make_uint2(half2_bits(__hsub2(bits_half2(low), bias)),
                      half2_bits(__hsub2(bits_half2(high), bias)));
}

/* Where the rows of a slot and KV head lie. */
struct kv_source {
    const attention_params &p;
    uint32_t region;

    __device__ __forceinline__ uint64_t k() const {
        return row_address(p.k_cache, region, p.region_bytes);
    }
    __device__ __forceinline__ uint64_t v() const {
        return row_address(p.v_cache, region, p.region_bytes);
    }
    __device__ __forceinline__ uint32_t row(uint32_t ring_first, uint32_t j) const {
        uint32_t r = ring_first + j;
        return r < p.ring ? r : r - p.ring;
    }
};

/* Copies a tile's rows of N_UNIT units each; keys at and beyond `count` get zeros. The swap of a sum of keys
 * that share no bit is that of one by that of the other, so that a thread's places differ by constants. */
template <uint32_t KEYS, uint32_t N_UNIT, uint32_t WIDTH, uint32_t THREADS, uint32_t (*SWAP)(uint32_t)>
static __device__ __forceinline__ void copy_rows(const uint4 *tile, const kv_source &from, uint64_t rows,
                                                 uint32_t ring_first, uint32_t count) {
    constexpr uint32_t STEP = THREADS / N_UNIT; /* keys at once */
    uint32_t key = threadIdx.x / N_UNIT, unit = threadIdx.x % N_UNIT;
    uint32_t to = shared_address(tile + key * WIDTH + (unit ^ SWAP(key)));
    if (STEP > KEYS && key >= KEYS)
        return;
#pragma unroll
    for (uint32_t i = 0; i < KEYS; i += STEP) {
        bool is_there = key + i < count;
        uint32_t r = from.row(ring_first, is_there ? key + i : 0u);
        copy_16_or_zeros((to ^ SWAP(i) * 16u) + i * WIDTH * 16u, rows + (r * N_UNIT + unit) * 16ull,
                         is_there);
    }
}

template <uint32_t TYPE, uint32_t DIM, uint32_t KEYS, bool SPLIT, uint32_t THREADS> struct kv_tile;

template <uint32_t DIM, uint32_t KEYS, bool SPLIT, uint32_t THREADS>
struct kv_tile<KV_F16, DIM, KEYS, SPLIT, THREADS> {
    static constexpr bool HAS_LOW = false, HAS_POWERS = false;

    struct memory {
        uint4 k[KEYS][DIM / 8u], v[KEYS][DIM / 8u];
    };

    memory &m;
    uint32_t k_lane, v_lane; /* where the lane's operands begin */

    /* part: of 128 elements */
    __device__ __forceinline__ kv_tile(memory &place, uint32_t part) : m(place) {
        uint32_t g = threadIdx.x / 4u % 8u, t = threadIdx.x % 4u, h = threadIdx.x / 16u % 2u;
        k_lane = shared_address(&m.k[g][part * 16u + (t ^ f16_swap(g))]);
        v_lane = shared_address(&m.v[threadIdx.x % 16u][part * 16u + (h ^ f16_swap(threadIdx.x))]);
    }

    /* Asks for the keys of a tile, and for the values where they have a place of their own. */
    __device__ __forceinline__ void ask(const kv_source &from, uint32_t ring_first, uint32_t count) const {
        copy_rows<KEYS, DIM / 8u, DIM / 8u, THREADS, f16_swap>(m.k[0], from, from.k(), ring_first, count);
        end_copy_group();
    }

    /* Behind the barrier at which keys have arrived and the last tile's values are done with. */
    __device__ __forceinline__ void prepare_values(const kv_source &from, uint32_t ring_first,
                                                   uint32_t count) const {
        copy_rows<KEYS, DIM / 8u, DIM / 8u, THREADS, f16_swap>(m.v[0], from, from.v(), ring_first, count);
        end_copy_group();
    }

    /* s of keys 8 n.. += the 32 elements j of the part. q: of those, in halves of a lane's eight. */
    __device__ __forceinline__ void add_scores(float (&s)[4], uint32_t n, uint32_t j,
                                               const uint32_t (&q)[2][2][4]) const {
        uint4 b = load_shared_16((k_lane ^ j % 2u * 64u) + j / 2u * 128u + n * 16u * DIM);
#pragma unroll
        for (uint32_t i = 0; i < 2u; i++) {
            mma_f16(s, q[0][i], b.x, b.y);
            mma_f16(s, q[1][i], b.z, b.w);
        }
    }

    /* Operands of keys 16 step.., elements 16 u.. of the part: of the lower eight, then of the upper. */
    __device__ __forceinline__ uint4 high_values(uint32_t step, uint32_t u) const {
        return load_transposed((v_lane ^ u % 4u * 32u) + u / 4u * 128u + step * 32u * DIM);
    }
    __device__ __forceinline__ uint4 low_values(uint32_t, uint32_t) const {
        return make_uint4(0, 0, 0, 0);
    }
    __device__ __forceinline__ float4 powers(uint32_t) const {
        return make_float4(0.0f, 1.0f, 0.0f, 1.0f);
    }
};

template <uint32_t DIM, uint32_t KEYS, bool SPLIT, uint32_t THREADS>
struct kv_tile<KV_Q8_0, DIM, KEYS, SPLIT, THREADS> {
    static constexpr bool HAS_LOW = SPLIT, HAS_POWERS = true;
    static constexpr uint32_t SCALE_UNITS = DIM / 256u;
    static constexpr uint32_t SCALE_WIDTH = SCALE_UNITS == 2u ? 3u : 1u; /* keys 0, 2, 4, 6: four banks */

    struct memory {
        uint4 k[KEYS][DIM / 16u], v[KEYS][DIM / 16u];
        uint4 high[KEYS][DIM / 8u], low[SPLIT ? KEYS : 1u][DIM / 8u];
        uint4 k_scales[KEYS][SCALE_WIDTH], v_scales[KEYS][SCALE_WIDTH];
        float2 powers[KEYS]; /* e, 2^-e */
    };

    memory &m;
    uint32_t k_lane, v_lane, scale_lane, power_lane; /* the last two: of key 2 t */

    __device__ __forceinline__ kv_tile(memory &place, uint32_t part) : m(place) {
        uint32_t g = threadIdx.x / 4u % 8u, t = threadIdx.x % 4u, h = threadIdx.x / 16u % 2u;
        k_lane = shared_address(&m.k[g][part * 8u + (t / 2u ^ key_code_swap(g))]) + t % 2u * 8u;
        v_lane = shared_address(&m.high[threadIdx.x % 16u][part * 16u + (h ^ f16_swap(threadIdx.x))]);
        power_lane = shared_address(&m.powers[2u * t]);
        scale_lane = shared_address(m.k_scales[2u * t]) + part * 8u;
    }

    __device__ __forceinline__ void ask(const kv_source &from, uint32_t ring_first, uint32_t count) const {
        uint64_t behind = kv_scale_offset(DIM, from.p.ring);
        copy_rows<KEYS, DIM / 16u, DIM / 16u, THREADS, key_code_swap>(m.k[0], from, from.k(), ring_first,
                                                                      count);
        copy_rows<KEYS, DIM / 16u, DIM / 16u, THREADS, value_code_swap>(m.v[0], from, from.v(), ring_first,
                                                                        count);
        copy_rows<KEYS, SCALE_UNITS, SCALE_WIDTH, THREADS, no_swap>(m.k_scales[0], from, from.k() + behind,
                                                                    ring_first, count);
        copy_rows<KEYS, SCALE_UNITS, SCALE_WIDTH, THREADS, no_swap>(m.v_scales[0], from, from.v() + behind,
                                                                    ring_first, count);
        end_copy_group();
    }

    /* The larger of two f16, neither negative, as bits. */
    static __device__ __forceinline__ uint32_t larger_half(uint32_t pair) {
        return max(pair & 0xffffu, pair >> 16);
    }

    /* e of a key: 2^-e takes its largest scale to between 2^8 and 2^9, so that 127 times it is an f16 and
     * small ones keep their bits. */
    __device__ __forceinline__ int find_exponent(uint32_t key) const {
        uint32_t most = 0;
#pragma unroll
        for (uint32_t i = 0; i < SCALE_UNITS; i++) {
            uint4 x = m.v_scales[key][i];
            most = max(most, max(larger_half(x.x), larger_half(x.y)));
            most = max(most, max(larger_half(x.z), larger_half(x.w)));
        }
        float largest = __half2float(__ushort_as_half((unsigned short)most));
        return most ? (int)(__float_as_uint(largest) >> 23) - 127 - 8 : -32;
    }

    /* Values to f16: THREADS / KEYS threads a key. */
    __device__ __forceinline__ void prepare_values(const kv_source &, uint32_t, uint32_t) const {
        constexpr uint32_t TEAM = THREADS / KEYS;
        uint32_t key = threadIdx.x / TEAM, member = threadIdx.x % TEAM;
        int exponent = find_exponent(key);
        float by = __uint_as_float((uint32_t)(127 - exponent) << 23);
        if (member == 0)
            m.powers[key] = make_float2((float)exponent, by);
        uint32_t from = shared_address(m.v[key]), to = member ^ f16_swap(key);
#pragma unroll 2 /* queries and sums leave no registers for more */
        for (uint32_t u = 0; u < DIM / 8u; u += TEAM) {
            uint32_t unit = u + member;
            uint2 codes = load_shared_8(from + (unit / 2u ^ value_code_swap(key)) * 16u + unit % 2u * 8u);
            __half d = reinterpret_cast<const __half *>(m.v_scales[key])[unit / 4u];
            __half2 by_code = __float2half2_rn(__half2float(d) * by);
            uint2 a = code_halves(codes.x), b = code_halves(codes.y);
            uint32_t x[4] = {a.x, a.y, b.x, b.y}, high[4], low[4];
#pragma unroll
            for (uint32_t i = 0; i < 4u; i++) {
                __half2 rounded = __hmul2_rn(bits_half2(x[i]), by_code);
                high[i] = half2_bits(rounded);
                low[i] = half2_bits(__hfma2(bits_half2(x[i]), by_code, __hneg2(rounded)));
            }
            m.high[key][u ^ to] = make_uint4(high[0], high[1], high[2], high[3]);
            if (SPLIT)
                m.low[key][u ^ to] = make_uint4(low[0], low[1], low[2], low[3]);
        }
    }

    __device__ __forceinline__ void add_scores(float (&s)[4], uint32_t n, uint32_t j,
                                               const uint32_t (&q)[2][2][4]) const {
        uint2 codes = load_shared_8((k_lane ^ j * 32u) + n * 8u * DIM);
        uint2 a = code_halves(codes.x), b = code_halves(codes.y);
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (uint32_t i = 0; i < 2u; i++) {
            mma_f16(sum, q[0][i], a.x, a.y);
            mma_f16(sum, q[1][i], b.x, b.y);
        }
        uint32_t at_scale = scale_lane + n * 128u * SCALE_WIDTH + j * 2u;
        float even = load_shared_half(at_scale), odd = load_shared_half(at_scale + 16u * SCALE_WIDTH);
        s[0] = fmaf(even, sum[0], s[0]);
        s[1] = fmaf(odd, sum[1], s[1]);
        s[2] = fmaf(even, sum[2], s[2]);
        s[3] = fmaf(odd, sum[3], s[3]);
    }

    __device__ __forceinline__ uint4 high_values(uint32_t step, uint32_t u) const {
        return load_transposed((v_lane ^ u % 4u * 32u) + u / 4u * 128u + step * 32u * DIM);
    }
    __device__ __forceinline__ uint4 low_values(uint32_t step, uint32_t u) const {
        return load_transposed((v_lane ^ u % 4u * 32u) + u / 4u * 128u + step * 32u * DIM +
                               (uint32_t)sizeof m.high);
    }
    /* Of the lane's two keys of keys 8 n..: e, 2^-e, e, 2^-e. */
    __device__ __forceinline__ float4 powers(uint32_t n) const {
        return load_shared_floats(power_lane + n * 64u);
    }
};

#endif
