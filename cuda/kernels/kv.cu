/* kv.cu: rows into a layer's cache, and out of it.
 *
 * kv_fill
 * computes    row of (position, head) = tandem_kit_fill(tandem_kit_fill_row(seed, layer, which, head,
 *             position)), rounded to the layer's type (kv.cuh): the cheap stand-in for a long prompt
 * inputs      none
 * grid        x: positions, y: KV heads; a block is one row
 * bytes       the stored rows, once
 * phase       outside of runs
 * order       no sums
 * reference   backend/kit/fill.c, bit for bit
 *
 * kv_read
 * computes    rows[i][head] = the stored row of position first_position + i, as kernels see it
 * inputs      the cache
 * grid        x: positions, y: KV heads; a block is one row
 * bytes       the stored rows once, 4 bytes an element once
 * phase       outside of runs
 * order       no sums
 * reference   backend/reference/kv.c
 */
#include "kv.cuh"

static __device__ __forceinline__ uint32_t mix_bits(uint32_t h) {
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

static __device__ __forceinline__ float fill_value(uint32_t row, uint32_t dim) {
    uint32_t bits = mix_bits(row ^ dim);
    uint32_t pairs = (bits & 0x00ff00ffu) + (bits >> 8 & 0x00ff00ffu);
    return (float)((int)((pairs & 0xffffu) + (pairs >> 16)) - 510) * (1.0f / 128.0f);
}

template <uint32_t TYPE> static __device__ __forceinline__ void fill_rows(const kv_params &p) {
    uint32_t position = p.first_position + blockIdx.x, head = blockIdx.y;
    uint32_t plane = mix_bits(mix_bits(p.seed + 0x9e3779b9u) ^ (2u * p.layer + p.which));
    uint32_t row = mix_bits(mix_bits(plane ^ head) ^ position);
    uint64_t region = kv_region(p.cache, p.slot, p.n_kv_head, head, p.region_bytes);
    for (uint32_t first = 0; first < p.head_dim / 4u; first += KV_THREADS) {
        uint32_t u = first + threadIdx.x;
        float4 x = make_float4(fill_value(row, 4u * u), fill_value(row, 4u * u + 1u),
                               fill_value(row, 4u * u + 2u), fill_value(row, 4u * u + 3u));
        kv_store_four<TYPE>(region, p.ring, position % p.ring, p.head_dim, u, x, u < p.head_dim / 4u);
    }
}

template <uint32_t TYPE> static __device__ __forceinline__ void read_rows(const kv_params &p) {
    uint32_t i = blockIdx.x, head = blockIdx.y, r = (p.first_position + i) % p.ring;
    uint64_t region = kv_region(p.cache, p.slot, p.n_kv_head, head, p.region_bytes);
    uint64_t to = row_address(p.rows, i * p.n_kv_head + head, p.head_dim * 4u);
    for (uint32_t u = threadIdx.x; u < p.head_dim / 4u; u += KV_THREADS)
        at<float4>(to)[u] = kv_load_four<TYPE>(region, p.ring, r, p.head_dim, u);
}

#define KV_KERNELS(name, type)                                                                               \
    extern "C" __global__ void __launch_bounds__(KV_THREADS)                                                 \
        kv_fill_##name(const __grid_constant__ kv_params p) {                                                \
        fill_rows<type>(p);                                                                                  \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(KV_THREADS)                                                 \
        kv_read_##name(const __grid_constant__ kv_params p) {                                                \
        read_rows<type>(p);                                                                                  \
    }
KV_KERNELS(f32, KV_F32)
KV_KERNELS(f16, KV_F16)
KV_KERNELS(q8_0, KV_Q8_0)
