/* moe_sum.comp: adds up what the experts of a row gave.
 *
 * computes    y[i] = sum over j of weight_j * x[i * n_used + j]
 * inputs      moe_sum_push (params_moe.h); a row for each entry; the weights of the route
 * grid        x: elements / 4 / LOCAL_SIZE, y: rows
 * bytes       each row of x once, y once
 * phase       prefill, behind the experts' down products
 * order       j ascending
 * reference   add_up of backend/reference/moe_ffn.c
 *
 * loops       n_used + 4
 */
#version 460
#extension GL_GOOGLE_include_directive : require
#include "params_moe.h"
#include "address.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant, std430) uniform Push { moe_sum_push p; };

void main() {
    uint u = gl_GlobalInvocationID.x, i = gl_WorkGroupID.y;
    if (4u * u >= p.n)
        return;
    uvec2 route = row_address(p.route, row_index(p.index, i, p.route), p.route_stride);
    vec4 sum = vec4(0.0);
    for (uint j = 0u; j < p.n_used; j++) {
        uint choice = min(j, p.n_used - 1u); // Mesa 26 runs the loads of a short loop once more (address.glsl)
        uint weight = Words(route).v[p.n_used + choice];
        if (Words(route).v[choice] >= p.n_expert)
            weight = 0x7fc00000u;
        // note: rows of x are whole units; what lies behind element n is not stored.
        vec4 x = uintBitsToFloat(load_unit(Units(row_address(p.x, i * p.n_used + j, p.x_stride)), u));
        sum = fma(vec4(uintBitsToFloat(weight)), x, sum);
    }
    uvec2 y = row_address(p.y, i, p.y_stride);
    if (4u * u + 4u <= p.n) {
        Vectors(y).v[u] = sum;
        return;
    }
    for (uint e = 0u; 4u * u + e < p.n; e++)
        Floats(y).v[4u * u + e] = sum[e];
}
