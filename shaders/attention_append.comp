#version 460
/* attention_append.comp: head norms and rotation; keys and values to the cache, queries to scratch.
 *
 * computes    q_out = scale * rope(norm(q; q_norm)); cache K = rope(norm(k; k_norm)); cache V = v, or
 *             rms(v), v being the raw k with APPEND_K_IS_V. Rounded to the layer's type: f16 to nearest
 *             even within +-65504; Q8_0 as GGUF does
 * inputs      q, k, v f32 rows; norm vectors; rotation tables (rope.glsl); rows {token, position, slot} of
 *             the run
 * grid        x: the row's query heads, then key heads, then value heads; y: rows. A workgroup is one head
 * bytes       q, k, v twice (the second time from cache), the stored row once
 * phase       after the q, k, v products, before attention_split
 * order       sum of squares: elements of a thread ascending, lanes as a tree, subgroups ascending
 * reference   backend/reference/attention.c
 *
 * loops       3 * ceil(HEAD_DIM / 8 / LOCAL_SIZE) + LOCAL_SIZE / subgroup + 28
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

#include "params_ops.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;
layout(constant_id = 1) const uint HEAD_DIM = 256;
layout(constant_id = 2) const uint N_HEAD = 4;
layout(constant_id = 3) const uint N_KV_HEAD = 1;
layout(constant_id = 4) const uint N_ROPE_PAIR = 128;
layout(constant_id = 5) const uint KV_TYPE = KV_F16;
layout(constant_id = 6) const uint FLAGS = 0;

#include "kv.glsl"
#include "kv_store.glsl"
#include "norm.glsl"
#include "rope.glsl"

layout(push_constant, std430) uniform Push { attention_append_push p; };

layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer RunRows { run_row v[]; };

const uint HALF = HEAD_DIM / 8u; /* half a head, in units of four elements */

vec4 load_four(Units x, uint u)
{
    return uintBitsToFloat(load_unit(x, u));
}

/* Elements 4 u to 4 u + 3 of a norm vector, which need not be aligned; 1 without one. */
vec4 load_weight(uvec2 vector, uint u)
{
    vec4 w;
    [[unroll]] for (uint e = 0u; e < 4u; e++)
        w[e] = optional_factor(vector, 4u * u + e, p.run);
    return w;
}

/* Rotates elements 4 u + e with their partners half a head on. */
void rotate(inout vec4 a, inout vec4 b, uint position, uint u)
{
    vec4 c = vec4(1.0), s = vec4(0.0);
    [[unroll]] for (uint e = 0u; e < 4u; e++)
        if (4u * u + e < N_ROPE_PAIR) {
            vec2 r = rope_rotation(p.rope, N_ROPE_PAIR, position, 4u * u + e);
            c[e] = r.x;
            s[e] = r.y;
        }
    vec4 turned = a * c - b * s;
    b = b * c + a * s;
    a = turned;
}

void main()
{
    uint head = gl_WorkGroupID.x, i = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x;
    bool is_query = head < N_HEAD, is_value = head >= N_HEAD + N_KV_HEAD;
    uint kv_head = is_query ? 0u : is_value ? head - N_HEAD - N_KV_HEAD : head - N_HEAD;
    uint run_at = row_index(p.index, i, p.run);
    run_row row = RunRows(row_address(p.run, 1u, RUN_ROWS_OFFSET)).v[run_at];

    /* Only ops on ALL rows bring keys and values, so for those i is the run's row. */
    uvec2 from;
    if (is_query)
        from = row_address(p.q, (p.gather & APPEND_GATHER_Q) != 0u ? run_at : i, p.q_stride);
    else if (is_value && (FLAGS & APPEND_K_IS_V) == 0u)
        from = row_address(p.v, i, p.v_stride);
    else
        from = row_address(p.k, i, p.k_stride);
    Units x = Units(row_address(from, is_query ? head : kv_head, HEAD_DIM * 4u));

    uvec2 weight = is_query ? p.q_norm : is_value ? uvec2(0u) : p.k_norm;
    vec2 factors = vec2(1.0);
    if (is_value ? (FLAGS & APPEND_V_NORM) != 0u : !is_null(weight)) {
        vec3 sums = vec3(0.0);
        for (uint u = thread; u < HALF; u += LOCAL_SIZE) {
            norm_add(sums, load_four(x, u));
            norm_add(sums, load_four(x, u + HALF));
        }
        factors = norm_factors(norm_total(sums), float(HEAD_DIM), p.eps);
    }

    Vectors q_out = Vectors(row_address(p.q_out, i * N_HEAD + head, HEAD_DIM * 4u));
    for (uint u = thread; u < HALF; u += LOCAL_SIZE) {
        vec4 a = load_four(x, u) * factors.x * factors.y, b = load_four(x, u + HALF) * factors.x * factors.y;
        if (!is_null(weight)) {
            a *= load_weight(weight, u);
            b *= load_weight(weight, u + HALF);
        }
        if (!is_value && 4u * u < N_ROPE_PAIR)
            rotate(a, b, row.position, u);
        if (is_query) {
            q_out.v[u] = a * p.scale;
            q_out.v[u + HALF] = b * p.scale;
        } else {
            kv_row[u] = a;
            kv_row[u + HALF] = b;
        }
    }
    if (is_query)
        return;
    barrier();
    uvec2 region = kv_region(is_value ? p.v_cache : p.k_cache, row.slot, kv_head, p.region_bytes);
    kv_store(region, p.ring, row.position % p.ring, thread);
}
