// kv.glsl: rows of the key/value cache, 8 elements at a time (layout: params_ops.h, "cache").
//
// The includer has defined the constants HEAD_DIM, N_KV_HEAD and KV_TYPE.
#include "address.glsl"

layout(buffer_reference, std430, buffer_reference_align = 16) buffer Float4s { vec4 v[]; };

struct eight {
    vec4 a; // elements 8 c .. 8 c + 3
    vec4 b; // the four after them
};

uvec2 kv_region(uvec2 cache, uint slot, uint head, uint region_bytes)
{
    return row_address(cache, slot * N_KV_HEAD + head, region_bytes);
}

// Where chunk c (elements 8 c to 8 c + 7) of ring row r lies, in chunks.
uint kv_chunk(uint r, uint c)
{
    return kv_element(HEAD_DIM, r, 8u * c) / 8u;
}

// The f16 scales of the column of chunk c in ring row r: index of a u32 behind kv_scales.
uint kv_scale(uint r, uint c)
{
    return (r / KV_BLOCK * kv_columns(HEAD_DIM) + c / 8u) * KV_BLOCK + r % KV_BLOCK;
}

uvec2 kv_scales(uvec2 region, uint ring)
{
    return row_address(region, 1u, kv_scale_offset(HEAD_DIM, ring));
}

// A chunk as it lies in memory: F32 takes a and b, F16 a, Q8_0 a.xy and the scale.
struct kv_bits {
    uvec4 a, b;
    uint scale;
};

// scales: kv_scales of the region (Q8_0 only).
kv_bits kv_fetch(uvec2 region, uvec2 scales, uint r, uint c)
{
    kv_bits x = kv_bits(uvec4(0u), uvec4(0u), 0u);
    uint at = kv_chunk(r, c);
    if (KV_TYPE == KV_F32) {
        x.a = load_unit(Units(region), 2u * at);
        x.b = load_unit(Units(region), 2u * at + 1u);
    } else if (KV_TYPE == KV_F16) {
        x.a = load_unit(Units(region), at);
    } else {
        x.a.xy = load_pair(Pairs(region), at);
        x.scale = Words(scales).v[kv_scale(r, c)];
    }
    return x;
}

// The values of chunk c.
eight kv_values(kv_bits x, uint c)
{
    if (KV_TYPE == KV_F32)
        return eight(uintBitsToFloat(x.a), uintBitsToFloat(x.b));
    if (KV_TYPE == KV_F16)
        return eight(vec4(unpackHalf2x16(x.a.x), unpackHalf2x16(x.a.y)),
                     vec4(unpackHalf2x16(x.a.z), unpackHalf2x16(x.a.w)));
    float d = unpackHalf2x16(x.scale >> (16u * (c / 4u & 1u))).x;
    return eight(d * vec4((ivec4(x.a.x) << ivec4(24, 16, 8, 0)) >> 24),
                 d * vec4((ivec4(x.a.y) << ivec4(24, 16, 8, 0)) >> 24));
}
