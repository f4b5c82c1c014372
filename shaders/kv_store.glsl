// kv_store.glsl: rounds a head's row to the layer's type and stores it (layout: params_ops.h, "cache").
//
// The includer has defined LOCAL_SIZE and included kv.glsl. f16 rounds to nearest even and clamps to
// +-65504. Q8_0 rounds as GGUF does: d = max / 127 as f16, codes to the nearest of x / d.

#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer ChunkUnits { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer ScaleWords { uint v[]; };

shared vec4 kv_row[HEAD_DIM / 4u];

uvec4 kv_f16_chunk(uint c) {
    vec4 a = clamp(kv_row[2u * c], -65504.0, 65504.0), b = clamp(kv_row[2u * c + 1u], -65504.0, 65504.0);
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

uint kv_codes(vec4 x, float inverse) {
    uvec4 q = uvec4(ivec4(clamp(roundEven(x * inverse), -127.0, 127.0))) & 255u;
    return q.x | q.y << 8 | q.z << 16 | q.w << 24;
}

// Group g of 32 elements: 4 chunks that lie together. Returns the bits of its scale.
uint kv_q8_group(ChunkUnits region, uint r, uint g) {
    vec4 most = vec4(0.0);
    for (uint u = 0u; u < 8u; u++)
        most = max(most, abs(kv_row[8u * g + u]));
    uint bits = packHalf2x16(vec2(min(max(max(most.x, most.y), max(most.z, most.w)) / 127.0, 65504.0), 0.0));
    float d = unpackHalf2x16(bits).x, inverse = d > 0.0 ? 1.0 / d : 0.0;
    uint at = kv_chunk(r, 4u * g) / 2u;
    for (uint half_group = 0u; half_group < 2u; half_group++) {
        uint u = 8u * g + 4u * half_group;
        uvec4 codes;
        [[unroll]] for (uint e = 0u; e < 4u; e++)
            codes[e] = kv_codes(kv_row[u + e], inverse);
        region.v[at + half_group] = codes;
    }
    return bits;
}

// Stores kv_row, which the workgroup has filled (and passed a barrier since), as ring row r.
void kv_store(uvec2 region, uint ring, uint r, uint thread) {
    ChunkUnits to = ChunkUnits(region);
    if (KV_TYPE == KV_F32) {
        for (uint c = thread; c < HEAD_DIM / 8u; c += LOCAL_SIZE) {
            uint at = kv_chunk(r, c);
            to.v[2u * at] = floatBitsToUint(kv_row[2u * c]);
            to.v[2u * at + 1u] = floatBitsToUint(kv_row[2u * c + 1u]);
        }
    } else if (KV_TYPE == KV_F16) {
        for (uint c = thread; c < HEAD_DIM / 8u; c += LOCAL_SIZE)
            to.v[kv_chunk(r, c)] = kv_f16_chunk(c);
    } else {
        // A thread takes a column, because its two scales share a word.
        for (uint column = thread; column < kv_columns(HEAD_DIM); column += LOCAL_SIZE) {
            uint scales = kv_q8_group(to, r, 2u * column);
            if (64u * column + 32u < HEAD_DIM)
                scales |= kv_q8_group(to, r, 2u * column + 1u) << 16;
            ScaleWords(kv_scales(region, ring)).v[kv_scale(r, 8u * column)] = scales;
        }
    }
}
