#version 460
/* attention_combine.comp: merges the partial results of attention_split.
 *
 * computes    y = sum_s exp(m_s - m) acc_s / sum_s exp(m_s - m) l_s, m = max_s m_s, over the splits s of
 *             one row and head
 * inputs      partial [rows][N_HEAD][n_split] {f32 acc[HEAD_DIM]; f32 m, l; 8 unused bytes}; n_split from
 *             the indirect command that launched the split
 * grid        x: query heads, y: rows; a workgroup is one head of one row, a thread takes 4 elements at a
 *             time
 * bytes       the partial results once, the row once
 * phase       after attention_split, where there is more than one split
 * order       splits ascending, in every thread alike
 * reference   backend/reference/attention.c
 *
 * loops       2 * (n_split / LOCAL_SIZE + 1) + 2 * n_split + ceil(HEAD_DIM / 4 / LOCAL_SIZE) * (n_split +
 *             1) + 5
 */
#extension GL_GOOGLE_include_directive : require

#include "params_ops.h"
#include "address.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 64;
layout(constant_id = 1) const uint HEAD_DIM = 256;
layout(constant_id = 2) const uint N_HEAD = 4;

layout(push_constant, std430) uniform Push { attention_combine_push p; };

const uint RECORD = HEAD_DIM / 4u + 1u; /* in units of 16 bytes; the last holds m and l */

shared float largest[ATTENTION_MAX_SPLIT], weight[ATTENTION_MAX_SPLIT], weighted_sum[ATTENTION_MAX_SPLIT];

void main()
{
    uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x;
    uint n_split = Words(p.split_command).v[2];
    Units from = Units(row_address(p.partial, row * N_HEAD + head, n_split * RECORD * 16u));

    for (uint s = thread; s < n_split; s += LOCAL_SIZE)
        largest[s] = uintBitsToFloat(load_unit(from, s * RECORD + RECORD - 1u).x);
    barrier();
    float best = largest[0];
    for (uint s = 1u; s < n_split; s++)
        best = max(best, largest[s]);
    for (uint s = thread; s < n_split; s += LOCAL_SIZE) {
        weight[s] = exp(largest[s] - best);
        weighted_sum[s] = weight[s] * uintBitsToFloat(load_unit(from, s * RECORD + RECORD - 1u).y);
    }
    barrier();
    float total = 0.0;
    for (uint s = 0u; s < n_split; s++)
        total += weighted_sum[s];

    Vectors to = Vectors(row_address(row_address(p.y, row, p.y_stride), head, HEAD_DIM * 4u));
    for (uint c = thread; c < HEAD_DIM / 4u; c += LOCAL_SIZE) {
        vec4 acc = vec4(0.0);
        for (uint s = 0u; s < n_split; s++)
            acc += weight[s] * uintBitsToFloat(load_unit(from, s * RECORD + c));
        to.v[c] = acc / total;
    }
}
