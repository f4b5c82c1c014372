/* moe_sum.cu: adds up what the experts of a row gave.
 *
 * computes    y[i] = sum over j of weight_j * x[i * n_used + j]
 * inputs      moe_sum_params (params_moe.h); a row for each entry; the weights of the route
 * grid        x: elements / 4 / MOE_SUM_THREADS, y: rows
 * bytes       each row of x once, y once
 * phase       prefill, behind the experts' down products
 * order       j ascending
 * reference   add_up of backend/reference/moe_ffn.c
 */
#include "ops.cuh"
#include "params_moe.h"

extern "C" __global__ void __launch_bounds__(MOE_SUM_THREADS)
    moe_sum(const __grid_constant__ moe_sum_params p) {
    uint32_t u = blockIdx.x * MOE_SUM_THREADS + threadIdx.x, i = blockIdx.y;
    if (i >= load_word(p.n_tok) || 4u * u >= p.n)
        return;
    const uint32_t *route = at<const uint32_t>(row_address(p.route, row_index(p.index, i), p.route_stride));
    float4 sum = make_float4(0, 0, 0, 0);
    for (uint32_t j = 0; j < p.n_used; j++) {
        if (route[j] >= p.n_expert) { /* its row of x was written by nobody */
            float nan = __uint_as_float(NAN_BITS);
            sum = make_float4(nan, nan, nan, nan);
            continue;
        }
        float w = __uint_as_float(route[p.n_used + j]);
        uint64_t row = row_address(p.x, i * p.n_used + j, p.x_stride);
        if (4u * u + 4u <= p.n) {
            float4 x = at<const float4>(row)[u];
            sum = make_float4(fmaf(w, x.x, sum.x), fmaf(w, x.y, sum.y), fmaf(w, x.z, sum.z),
                              fmaf(w, x.w, sum.w));
            continue;
        }
        const float *x = at<const float>(row) + 4u * u;
        sum.x = fmaf(w, x[0], sum.x);
        sum.y = 4u * u + 1u < p.n ? fmaf(w, x[1], sum.y) : 0.0f;
        sum.z = 4u * u + 2u < p.n ? fmaf(w, x[2], sum.z) : 0.0f;
    }
    float *y = at<float>(row_address(p.y, i, p.y_stride)) + 4u * u;
    if (4u * u + 4u <= p.n) {
        *reinterpret_cast<float4 *>(y) = sum;
        return;
    }
    y[0] = sum.x;
    if (4u * u + 1u < p.n)
        y[1] = sum.y;
    if (4u * u + 2u < p.n)
        y[2] = sum.z;
}
