/* attention_append.cu: head norms and rotation; keys and values to the cache, queries to scratch.
 *
 * computes    q_out = scale * rope(norm(q; q_norm)); cache K = rope(norm(k; k_norm)); cache V = v, or rms(v),
 *             v being the raw k with APPEND_K_IS_V; rounded to the layer's type (kv.cuh)
 * inputs      q, k, v f32 rows; norm vectors; rotation tables (tandem/rope.h); rows {token, position, slot}
 *             of the run
 * grid        x: the row's query heads, then key heads, then value heads; y: rows. A block is one head, a
 *             thread holds four elements and their partners half a head on
 * bytes       q, k, v once, the stored row once
 * phase       after the q, k, v products, before attention: a kernel of its own, because attention of one row
 *             reads keys of the others
 * order       sum of squares: elements of a thread ascending, lanes as a tree, warps ascending
 * reference   backend/reference/attention.c
 */
#include "kv.cuh"

/* Cosines and sines of position * omega[4 u + e]: one complex multiply joins the two tables. */
static __device__ __forceinline__ void load_rotation(uint64_t table, uint32_t n_pair, uint32_t position,
                                                     uint32_t u, float (&c)[4], float (&s)[4]) {
    const float2 *low = at<const float2>(table) + (uint64_t)(position & 255u) * n_pair + 4u * u;
    const float2 *high = at<const float2>(table) + (uint64_t)(256u + (position >> 8)) * n_pair + 4u * u;
    float2 l[4], h[4];
    if (n_pair % 2u == 0 && 4u * u + 4u <= n_pair) {
        float4 a = reinterpret_cast<const float4 *>(low)[0], b = reinterpret_cast<const float4 *>(low)[1];
        float4 d = reinterpret_cast<const float4 *>(high)[0], e = reinterpret_cast<const float4 *>(high)[1];
        l[0] = make_float2(a.x, a.y), l[1] = make_float2(a.z, a.w);
        l[2] = make_float2(b.x, b.y), l[3] = make_float2(b.z, b.w);
        h[0] = make_float2(d.x, d.y), h[1] = make_float2(d.z, d.w);
        h[2] = make_float2(e.x, e.y), h[3] = make_float2(e.z, e.w);
    } else {
#pragma unroll
        for (uint32_t e = 0; e < 4u; e++) {
            bool turns = 4u * u + e < n_pair;
            l[e] = turns ? low[e] : make_float2(1.0f, 0.0f);
            h[e] = turns ? high[e] : make_float2(1.0f, 0.0f);
        }
    }
#pragma unroll
    for (uint32_t e = 0; e < 4u; e++) {
        c[e] = h[e].x * l[e].x - h[e].y * l[e].y;
        s[e] = h[e].y * l[e].x + h[e].x * l[e].y;
    }
}

static __device__ __forceinline__ void rotate(float4 &a, float4 &b, const float (&c)[4],
                                              const float (&s)[4]) {
    float4 turned = make_float4(a.x * c[0] - b.x * s[0], a.y * c[1] - b.y * s[1], a.z * c[2] - b.z * s[2],
                                a.w * c[3] - b.w * s[3]);
    b = make_float4(b.x * c[0] + a.x * s[0], b.y * c[1] + a.y * s[1], b.z * c[2] + a.z * s[2],
                    b.w * c[3] + a.w * s[3]);
    a = turned;
}

/* Stores a head's row: from registers, or by way of shared memory where a group of Q8_0 may lie in both. */
template <uint32_t TYPE>
static __device__ __forceinline__ void store_row(const attention_append_params &p, uint64_t region,
                                                 uint32_t r, uint32_t u, bool is_live, float4 a, float4 b) {
    uint32_t half = p.head_dim / 8u;
    if (TYPE != KV_Q8_0) {
        kv_store_four<TYPE>(region, p.ring, r, p.head_dim, u, a, is_live);
        kv_store_four<TYPE>(region, p.ring, r, p.head_dim, u + half, b, is_live);
        return;
    }
    __shared__ float4 row[ATTENTION_MAX_DIM / 4u];
    if (is_live) {
        row[u] = a;
        row[u + half] = b;
    }
    __syncthreads();
    for (uint32_t first = 0; first < 2u * half; first += APPEND_THREADS) {
        bool inside = first + u < 2u * half;
        float4 x = inside ? row[first + u] : make_float4(0, 0, 0, 0);
        kv_store_four<TYPE>(region, p.ring, r, p.head_dim, first + u, x, inside);
    }
}

template <uint32_t TYPE> static __device__ __forceinline__ void append(const attention_append_params &p) {
    __shared__ float3 scratch[APPEND_THREADS / 32u];
    uint32_t head = blockIdx.x, i = blockIdx.y, u = threadIdx.x, half = p.head_dim / 8u;
    if (i >= load_word(p.n_tok))
        return;
    bool is_query = head < p.n_head, is_value = head >= p.n_head + p.n_kv_head, is_live = u < half;
    uint32_t kv_head = is_query ? 0u : is_value ? head - p.n_head - p.n_kv_head : head - p.n_head;
    uint32_t run_at = row_index(p.index, i);
    run_row row = load_run_row(p.run, run_at);

    /* Only ops on ALL rows bring keys and values, so for those i is the run's row. */
    uint64_t x;
    if (is_query)
        x = row_address(p.q, p.flags & APPEND_GATHER_Q ? run_at : i, p.q_stride);
    else if (is_value && !(p.flags & APPEND_K_IS_V))
        x = row_address(p.v, i, p.v_stride);
    else
        x = row_address(p.k, i, p.k_stride);
    x += (is_query ? head : kv_head) * 4ull * p.head_dim;
    float4 a = make_float4(0, 0, 0, 0), b = a;
    if (is_live) {
        a = at<const float4>(x)[u];
        b = at<const float4>(x)[u + half];
    }
    uint64_t weight = is_query ? p.q_norm : is_value ? 0 : p.k_norm;
    if (is_value ? (p.flags & APPEND_V_NORM) != 0 : weight != 0) {
        float3 sums = make_float3(0.0f, 0.0f, 0.0f);
        norm_add(sums, a);
        norm_add(sums, b);
        float2 factors = norm_factors(norm_total(sums, scratch), (float)p.head_dim, p.eps);
        a = scaled(scaled(a, factors.x), factors.y);
        b = scaled(scaled(b, factors.x), factors.y);
    }
    if (weight && is_live) {
        a = product(a, load_vector(weight, u));
        b = product(b, load_vector(weight, u + half));
    }
    if (is_live && !is_value && 4u * u < p.n_rope_pair) {
        float c[4], s[4];
        load_rotation(p.rope, p.n_rope_pair, row.position, u, c, s);
        rotate(a, b, c, s);
    }
    if (is_query) {
        float4 *to = at<float4>(row_address(p.q_out, i * p.n_head + head, p.head_dim * 4u));
        if (is_live) {
            to[u] = scaled(a, p.scale);
            to[u + half] = scaled(b, p.scale);
        }
        return;
    }
    uint64_t region =
        kv_region(is_value ? p.v_cache : p.k_cache, row.slot, p.n_kv_head, kv_head, p.region_bytes);
    store_row<TYPE>(p, region, row.position % p.ring, u, is_live, a, b);
}

#define APPEND_KERNEL(name, type)                                                                            \
    extern "C" __global__ void __launch_bounds__(APPEND_THREADS)                                             \
        attention_append_##name(const __grid_constant__ attention_append_params p) {                         \
        append<type>(p);                                                                                     \
    }
APPEND_KERNEL(f32, KV_F32)
APPEND_KERNEL(f16, KV_F16)
APPEND_KERNEL(q8_0, KV_Q8_0)
