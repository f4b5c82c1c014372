#version 460
/* attention_combine: merges the partial results of attention_split.
 *
 * Computes  y = sum_s exp(m_s - m) acc_s / sum_s exp(m_s - m) l_s, m = max_s m_s, over the splits s of one row and head.
 * Inputs    partial [rows][N_HEAD][n_split] {f32 acc[HEAD_DIM]; f32 m, l; 8 unused bytes}; n_split from the indirect
 *           command that launched the split.
 * Grid      (N_HEAD, rows, 1), LOCAL_SIZE threads, 4 elements each in turn. Returns at once where there was one split.
 * Bytes     the partial results once, the row once.
 * Phase     after attention_split.
 * Order     splits ascending, in every thread alike.
 * Reference backend/reference/attention.c
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

#include "params_ops.h"
#include "address.glsl"

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Float4s { vec4 v[]; };

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint HEAD_DIM = 256;
layout(constant_id = 2) const uint N_HEAD = 4;

layout(push_constant, std430) uniform Push { attention_combine_push p; };

const uint RECORD = HEAD_DIM / 4u + 1u; /* in units of 16 bytes */

shared float weight[ATTENTION_MAX_SPLIT];

void main()
{
    uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x;
    uint n_split = Words(p.split_command).v[2];
    if (n_split <= 1u)
        return;
    uvec2 records = row_address(p.partial, row * N_HEAD + head, n_split * RECORD * 16u);
    Float4s from = Float4s(records);

    float best = from.v[RECORD - 1u].x;
    for (uint s = 1u; s < n_split; s++)
        best = max(best, from.v[s * RECORD + RECORD - 1u].x);
    for (uint s = thread; s < n_split; s += LOCAL_SIZE)
        weight[s] = exp(from.v[s * RECORD + RECORD - 1u].x - best);
    barrier();
    float total = 0.0;
    for (uint s = 0u; s < n_split; s++)
        total += weight[s] * from.v[s * RECORD + RECORD - 1u].y;

    Float4s to = Float4s(row_address(row_address(p.y, row, p.y_stride), head, HEAD_DIM * 4u));
    for (uint c = thread; c < HEAD_DIM / 4u; c += LOCAL_SIZE) {
        vec4 acc = vec4(0.0);
        for (uint s = 0u; s < n_split; s++)
            acc += weight[s] * from.v[s * RECORD + c];
        to.v[c] = acc / total;
    }
}
