/* elementwise.cu: GLU, ADD, SCALE and COPY.
 *
 * computes    y = gelu_tanh(a) * b; scale * (a + b); scale * a; a
 * inputs      a, b f32 rows; y may be a
 * grid        x: rows, y: blocks of 4 * ELEMENTWISE_THREADS elements of a row; a thread takes 4 elements
 * bytes       each row of a, b and y once
 * phase       per-layer embeddings, and where a product could not take it in its epilogue
 * order       no sums
 * reference   backend/reference/elementwise.c
 */
#include "activations.cuh"
#include "ops.cuh"
#include "params_ops.h"

enum elementwise_kind { GLU, ADD, SCALE, COPY };

template <elementwise_kind KIND>
static __device__ __forceinline__ float combine(float a, float b, float scale) {
    return KIND == GLU ? gelu_tanh(a) * b : KIND == ADD ? scale * (a + b) : KIND == SCALE ? scale * a : a;
}

template <elementwise_kind KIND>
static __device__ __forceinline__ void elementwise(const elementwise_params &p) {
    constexpr bool HAS_B = KIND == GLU || KIND == ADD;
    uint32_t u = blockIdx.y * ELEMENTWISE_THREADS + threadIdx.x, i = blockIdx.x;
    if (i >= load_word(p.n_tok) * p.rows_per_tok || 4u * u >= p.n)
        return;
    uint32_t run_at = row_index(p.index, i);
    uint64_t a = row_address(p.a, p.gather & ELEMENTWISE_GATHER_A ? run_at : i, p.a_stride);
    uint64_t b = row_address(p.b, p.gather & ELEMENTWISE_GATHER_B ? run_at : i, p.b_stride);
    uint64_t y = row_address(p.y, i, p.y_stride);
    if (4u * u + 4u <= p.n) {
        float4 x = at<const float4>(a)[u], z = HAS_B ? at<const float4>(b)[u] : make_float4(0, 0, 0, 0);
        at<float4>(y)[u] = make_float4(combine<KIND>(x.x, z.x, p.scale), combine<KIND>(x.y, z.y, p.scale),
                                       combine<KIND>(x.z, z.z, p.scale), combine<KIND>(x.w, z.w, p.scale));
        return;
    }
    for (uint32_t e = 4u * u; e < p.n; e++)
        at<float>(y)[e] = combine<KIND>(at<const float>(a)[e], HAS_B ? at<const float>(b)[e] : 0.0f, p.scale);
}

#define ELEMENTWISE(name, kind)                                                                              \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                                        \
        elementwise_##name(const __grid_constant__ elementwise_params p) {                                   \
        elementwise<kind>(p);                                                                                \
    }
ELEMENTWISE(glu, GLU)
ELEMENTWISE(add, ADD)
ELEMENTWISE(scale, SCALE)
ELEMENTWISE(copy, COPY)
