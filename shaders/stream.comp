#version 460
/* stream.comp: the residual stream between two phases of a layer.
 *
 * computes    b = norm(a0; w0), or norm(norm(a0; w0) + norm(a1; w1); w2); h' = scale * (h + b); y_h = h';
 *             y[i] = norm(h'; y_w[i]) * y_scale[i], as f32 and, where asked for, rounded to q8 activations
 *             (params.h)
 * inputs      f32 rows, vectors of D; slices of a row are normed alone
 * grid        x: slices, y: rows; a workgroup is one slice
 * bytes       each input row twice (the second time from cache; a0 and a1 thrice with N_A 2), each output
 *             once
 * phase       between the phases of a layer
 * order       sums of squares: elements of a thread ascending, lanes as a tree, subgroups ascending
 * reference   backend/reference/stream.c
 *
 * loops       (N_A + 1 + N_OUT) * (ceil(D / 4 / LOCAL_SIZE) + 1)
 *             + popcount(Q8) * (ceil(D / 32 / LOCAL_SIZE) * 31 + 1) + 3 * (LOCAL_SIZE / subgroup + 1)
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

#include "params_ops.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;
layout(constant_id = 1) const uint N_A = 1;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint Q8 = 0;
layout(constant_id = 4) const uint D = 640;

#include "address.glsl"
#include "norm.glsl"
#include "q8.glsl"

layout(push_constant, std430) uniform Push { stream_push p; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Block { stream_block v; };
layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Scalars { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer CodeUnits { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) writeonly buffer MetaPairs { uvec2 v[]; };

const uint UNITS = (D + 3u) / 4u; /* of four elements */

shared vec4 new_h[UNITS];

/* Elements 4 u to 4 u + 3 at any 4-byte address, 0 beyond D. */
vec4 load_scalars(uvec2 from, uint u)
{
    vec4 x = vec4(0.0);
    [[unroll]] for (uint e = 0u; e < 4u; e++)
        if (D % 4u == 0u || 4u * u + e < D)
            x[e] = Scalars(from).v[D % 4u == 0u ? 4u * u + e : min(4u * u + e, D - 1u)];
    return x;
}

/* The same of a slice of a row: 16-byte aligned if D is a multiple of 4. */
vec4 load_four(uvec2 from, uint u)
{
    return D % 4u == 0u ? uintBitsToFloat(load_unit(Units(from), u)) : load_scalars(from, u);
}

void store_four(uvec2 to, uint u, vec4 x)
{
    if (D % 4u == 0u) {
        Vectors(to).v[u] = x;
        return;
    }
    [[unroll]] for (uint e = 0u; e < 4u; e++)
        if (4u * u + e < D)
            Floats(to).v[4u * u + e] = x[e];
}

/* Elements 4 u to 4 u + 3 of a norm vector, which need not be aligned; anything beyond D, 1 without one. */
vec4 load_weight(uvec2 vector, uint u)
{
    vec4 w;
    [[unroll]] for (uint e = 0u; e < 4u; e++)
        w[e] = optional_factor(vector, D % 4u == 0u ? 4u * u + e : min(4u * u + e, D - 1u), p.block);
    return w;
}

vec4 normed(vec4 x, vec2 factors, uvec2 weight, uint u)
{
    x = x * factors.x * factors.y;
    if (!is_null(weight))
        x *= load_weight(weight, u);
    return x;
}

uvec2 slice_of(uvec2 view, uint row, uint stride)
{
    return row_address(row_address(view, row, stride), gl_WorkGroupID.x, D * 4u);
}


/* Group g of 32 of norm(h') in q8 activations. */
void store_q8(uvec2 row, uint g, vec2 factors, uvec2 weight, float scale)
{
    vec4 x[8];
    for (uint e = 0u; e < 8u; e++) {
        uint u = 8u * g + e, at = min(u, UNITS - 1u);
        x[e] = u < UNITS ? normed(new_h[at], factors, weight, at) * scale : vec4(0.0);
    }
    uvec4 first, second;
    uvec2 meta;
    q8_group(x, first, second, meta);
    CodeUnits(row).v[2u * g] = first;
    CodeUnits(row).v[2u * g + 1u] = second;
    MetaPairs(row).v[4u * ((D + 31u) / 32u) + g] = meta;
}

void main()
{
    uint i = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x, run_at = row_index(p.index, i, p.block);
    Block block = Block(p.block);
    uvec2 h = slice_of(p.h, (p.gather & STREAM_GATHER_H) != 0u ? run_at : i, p.h_stride);
    uvec2 a0 = slice_of(p.a0, (p.gather & STREAM_GATHER_A0) != 0u ? run_at : i, p.a0_stride);
    uvec2 a1 = slice_of(p.a1, (p.gather & STREAM_GATHER_A1) != 0u ? run_at : i, p.a1_stride);

    vec2 factors_0 = vec2(1.0), factors_1 = vec2(1.0), factors_2 = vec2(1.0);
    if (N_A > 0u) {
        vec3 sums_0 = vec3(0.0), sums_1 = vec3(0.0);
        for (uint u = thread; u < UNITS; u += LOCAL_SIZE) {
            norm_add(sums_0, load_four(a0, u));
            if (N_A > 1u)
                norm_add(sums_1, load_four(a1, u));
        }
        factors_0 = norm_factors(norm_total(sums_0), float(D), p.eps);
        if (N_A > 1u)
            factors_1 = norm_factors(norm_total(sums_1), float(D), p.eps);
    }
    if (N_A > 1u) {
        vec3 sums = vec3(0.0);
        for (uint u = thread; u < UNITS; u += LOCAL_SIZE) {
            vec4 x = normed(load_four(a0, u), factors_0, block.v.w[0], u) +
                     normed(load_four(a1, u), factors_1, block.v.w[1], u);
            new_h[u] = x;
            norm_add(sums, x);
        }
        factors_2 = norm_factors(norm_total(sums), float(D), p.eps);
    }

    uvec2 y_h = is_null(p.y_h) ? uvec2(0u) : slice_of(p.y_h, i, p.y_h_stride);
    vec3 sums = vec3(0.0);
    for (uint u = thread; u < UNITS; u += LOCAL_SIZE) {
        vec4 x = load_four(h, u);
        if (N_A > 1u)
            x += normed(new_h[u], factors_2, block.v.w[2], u);
        else if (N_A > 0u)
            x += normed(load_four(a0, u), factors_0, block.v.w[0], u);
        x *= p.scale;
        if (!is_null(y_h))
            store_four(y_h, u, x);
        if (N_OUT > 0u) {
            norm_add(sums, x);
            new_h[u] = x;
        }
    }
    if (N_OUT == 0u)
        return;
    vec2 factors = norm_factors(norm_total(sums), float(D), p.eps);
    [[unroll]] for (uint n = 0u; n < N_OUT; n++) {
        uvec2 weight = block.v.y_w[n];
        float scale = block.v.y_scale[n];
        if (!is_null(block.v.y[n])) {
            uvec2 to = slice_of(block.v.y[n], i, block.v.y_stride[n]);
            for (uint u = thread; u < UNITS; u += LOCAL_SIZE)
                store_four(to, u, normed(new_h[u], factors, weight, u) * scale);
        }
        if ((Q8 >> n & 1u) != 0u) {
            uvec2 row = row_address(block.v.y_q8[n], i, Q8_ROW_BYTES(D));
            for (uint g = thread; g < (D + 31u) / 32u; g += LOCAL_SIZE)
                store_q8(row, g, factors, weight, scale);
        }
    }
}
