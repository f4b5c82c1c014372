/* quantise_q8.comp: activations to 8 bits, once for every product that reads them.
 *
 * computes    row i of q8 = row(i) of x, in groups of 32: d = max |x| / 127, codes x / d, their sums
 * inputs      x f32 rows; q8 as in params.h: codes, then meta
 * grid        x: groups of a row / QUANTISE_GROUPS, y: rows. One thread a group: a row of 2816 is 88 threads,
 *             and the 128 bytes of a group are four sectors whoever loads them
 * bytes       reads 4, writes 1.25 per column, each once
 * phase       before the products of a layer that did not get their input rounded by STREAM
 * order       integer sums
 * reference   tandem_kit_q8_group, bit for bit
 *
 * loops       none
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#include "params.h"
#include "address.glsl"
#include "q8.glsl"

layout(local_size_x = QUANTISE_GROUPS) in;

layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer CodeUnits { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) writeonly buffer MetaPairs { uvec2 v[]; };

layout(push_constant) uniform Push { quantise_push p; };

void main() {
    uint n_group = (p.n_col + 31u) / 32u;
    uint g = gl_GlobalInvocationID.x;
    uint i = gl_WorkGroupID.y;
    if (g >= n_group || i >= Words(p.n_tok).v[0] * p.rows_per_tok)
        return;
    Units x = Units(row_address(p.x, row_index(p.rows, i, p.n_tok), p.x_stride));
    uint last = (p.n_col - 1u) / 4u;
    vec4 v[8];
    for (uint q = 0; q < 8; q++) {
        uint first = 32u * g + 4u * q;
        vec4 four = uintBitsToFloat(load_unit(x, min(first / 4u, last)));
        v[q] = mix(four, vec4(0.0), greaterThanEqual(uvec4(first) + uvec4(0u, 1u, 2u, 3u), uvec4(p.n_col)));
    }
    uvec4 a, b;
    uvec2 meta;
    q8_group(v, a, b, meta);
    uvec2 row = row_address(p.q8, i, Q8_ROW_BYTES(p.n_col));
    CodeUnits(row).v[2u * g] = a;
    CodeUnits(row).v[2u * g + 1u] = b;
    MetaPairs(row).v[4u * n_group + g] = meta;
}
