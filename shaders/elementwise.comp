#version 460
/* elementwise.comp: GLU, ADD, SCALE and COPY.
 *
 * computes    y = gelu_tanh(a) * b; scale * (a + b); scale * a; a
 * inputs      a, b f32 rows; y may be a
 * grid        x: blocks of 4 * LOCAL_SIZE elements of a row, y: rows; a thread takes 4 elements
 * bytes       each row of a, b and y once
 * phase       per-layer embeddings, and where a product could not take it in its epilogue
 * order       no sums
 * reference   backend/reference/elementwise.c
 *
 * loops       4
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

#include "params_ops.h"
#include "address.glsl"
#include "activations.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint KIND = ELEMENTWISE_GLU;

layout(push_constant, std430) uniform Push { elementwise_push p; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Scalars { float v[]; };

float combine(float a, float b)
{
    if (KIND == ELEMENTWISE_GLU)
        return gelu_tanh(a) * b;
    if (KIND == ELEMENTWISE_ADD)
        return p.scale * (a + b);
    return KIND == ELEMENTWISE_SCALE ? p.scale * a : a;
}

void main()
{
    const bool HAS_B = KIND == ELEMENTWISE_GLU || KIND == ELEMENTWISE_ADD;
    uint u = gl_GlobalInvocationID.x, i = gl_WorkGroupID.y, run_at = row_index(p.index, i, p.a);
    uvec2 a_row = row_address(p.a, (p.gather & ELEMENTWISE_GATHER_A) != 0u ? run_at : i, p.a_stride);
    uvec2 b_row = row_address(p.b, (p.gather & ELEMENTWISE_GATHER_B) != 0u ? run_at : i, p.b_stride);
    uvec2 y_row = row_address(p.y, i, p.y_stride);
    if (4u * u + 4u <= p.n) {
        vec4 a = uintBitsToFloat(load_unit(Units(a_row), u)), b = vec4(0.0);
        if (HAS_B)
            b = uintBitsToFloat(load_unit(Units(b_row), u));
        vec4 y;
        [[unroll]] for (uint e = 0u; e < 4u; e++)
            y[e] = combine(a[e], b[e]);
        Vectors(y_row).v[u] = y;
        return;
    }
    for (uint e = 4u * u; e < p.n; e++)
        Floats(y_row).v[e] = combine(Scalars(a_row).v[e], HAS_B ? Scalars(b_row).v[e] : 0.0);
}
