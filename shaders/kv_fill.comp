#version 460
/* kv_fill.comp: seeded rows into a layer's cache, the cheap stand-in for a long prompt.
 *
 * computes    row of (position, head) = tandem_kit_fill(tandem_kit_fill_row(seed, layer, which, head,
 *             position)), rounded to the layer's type (kv_store.glsl)
 * inputs      none
 * grid        x: positions, y: KV heads; a workgroup is one row
 * bytes       the stored rows, once
 * phase       outside of runs
 * order       no sums
 * reference   backend/kit/fill.c, bit for bit
 *
 * loops       2 * ceil(HEAD_DIM / 4 / LOCAL_SIZE) + 24
 */
#extension GL_GOOGLE_include_directive : require

#include "params_ops.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint LOCAL_SIZE = 32;
layout(constant_id = 1) const uint HEAD_DIM = 256;
layout(constant_id = 3) const uint N_KV_HEAD = 1;
layout(constant_id = 5) const uint KV_TYPE = KV_F16;

#include "kv.glsl"
#include "kv_store.glsl"

layout(push_constant, std430) uniform Push { kv_push p; };

uint mix_bits(uint h)
{
    h ^= h >> 16;
    h *= 0x85ebca6bu;
    h ^= h >> 13;
    h *= 0xc2b2ae35u;
    return h ^ h >> 16;
}

float fill_value(uint row, uint dim)
{
    uint bits = mix_bits(row ^ dim);
    uint pairs = (bits & 0x00ff00ffu) + (bits >> 8 & 0x00ff00ffu);
    return float(int((pairs & 0xffffu) + (pairs >> 16)) - 510) * (1.0 / 128.0);
}

void main()
{
    uint position = p.first_position + gl_WorkGroupID.x, head = gl_WorkGroupID.y;
    uint thread = gl_LocalInvocationID.x;
    uint plane = mix_bits(mix_bits(p.seed + 0x9e3779b9u) ^ (2u * p.layer + p.which));
    uint row = mix_bits(mix_bits(plane ^ head) ^ position);
    for (uint u = thread; u < HEAD_DIM / 4u; u += LOCAL_SIZE)
        kv_row[u] = vec4(fill_value(row, 4u * u), fill_value(row, 4u * u + 1u), fill_value(row, 4u * u + 2u),
                         fill_value(row, 4u * u + 3u));
    barrier();
    kv_store(kv_region(p.cache, p.slot, head, p.region_bytes), p.ring, position % p.ring, thread);
}
