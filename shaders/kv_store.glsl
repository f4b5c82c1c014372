// kv_store.glsl: rounds a head's row to the layer's type and stores it (layout: params_ops.h, "cache").
//
// The includer has defined LOCAL_SIZE and included kv.glsl. f16 rounds to nearest even and clamps to
// +-65504. Q8_0 rounds as GGUF does: d = max / 127 as f16, codes to the nearest of x / d.

#extension GL_EXT_control_flow_attributes : require

#include "round_row.glsl"

layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer ChunkUnits { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer ScaleWords { uint v[]; };

shared vec4 kv_row[HEAD_DIM / 4u];

uvec4 kv_f16_chunk(uint c) {
    uvec4 a = half_bits(kv_row[2u * c]), b = half_bits(kv_row[2u * c + 1u]);
    return uvec4(a.xz | a.yw << 16, b.xz | b.yw << 16);
}

// Group g of 32 elements: 4 chunks that lie together. Returns the bits of its scale.
uint kv_q8_group(ChunkUnits region, uint r, uint g) {
    uvec4 most = uvec4(0u);
    for (uint u = 0u; u < 8u; u++)
        most = max(most, floatBitsToUint(tame(kv_row[8u * g + u])) & 0x7fffffffu);
    uint scale = half_of_127th(max(max(most.x, most.y), max(most.z, most.w)));
    float inverse = inverse_of_half(scale);
    uint at = kv_chunk(r, 4u * g) / 2u;
    for (uint half_group = 0u; half_group < 2u; half_group++) {
        uint u = 8u * g + 4u * half_group;
        // note: not [[unroll]], because spirv-opt gives the copies of a loop body no NoContraction.
        region.v[at + half_group] = uvec4(q8_0_codes(tame(kv_row[u]), inverse),
                                          q8_0_codes(tame(kv_row[u + 1u]), inverse),
                                          q8_0_codes(tame(kv_row[u + 2u]), inverse),
                                          q8_0_codes(tame(kv_row[u + 3u]), inverse));
    }
    return scale;
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
