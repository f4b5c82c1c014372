#version 460
/* kv_read.comp: rows of a layer's cache as f32, as the kernels see them.
 *
 * computes    rows[i][head] = the stored row of position first_position + i
 * inputs      the cache (kv.glsl)
 * grid        x: positions, y: KV heads; a workgroup is one row
 * bytes       the stored rows once, 4 bytes an element once
 * phase       outside of runs
 * order       no sums
 * reference   backend/reference/kv.c
 *
 * loops       ceil(HEAD_DIM / 8 / LOCAL_SIZE) + 1
 */
#extension GL_GOOGLE_include_directive : require

#include "params_ops.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;
layout(constant_id = 1) const uint HEAD_DIM = 256;
layout(constant_id = 3) const uint N_KV_HEAD = 1;
layout(constant_id = 5) const uint KV_TYPE = KV_F16;

#include "kv.glsl"

layout(push_constant, std430) uniform Push { kv_push p; };

void main()
{
    uint i = gl_WorkGroupID.x, head = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x;
    uvec2 region = kv_region(p.cache, p.slot, head, p.region_bytes), scales = kv_scales(region, p.ring);
    Vectors to = Vectors(row_address(p.rows, i * N_KV_HEAD + head, HEAD_DIM * 4u));
    for (uint c = thread; c < HEAD_DIM / 8u; c += LOCAL_SIZE) {
        eight x = kv_values(kv_fetch(region, scales, (p.first_position + i) % p.ring, c), c);
        to.v[2u * c] = x.a;
        to.v[2u * c + 1u] = x.b;
    }
}
