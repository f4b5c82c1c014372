// address.glsl: device memory by address, 16 bytes at a time.
//
// Only 32-bit component types unless WIDE is defined. WIDE asks for 64-bit integers and loads 16 bytes as two
// of them: the same instruction on a GPU, half the work on drivers that load component by component and lane
// by lane.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#ifdef WIDE
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#endif

layout(buffer_reference, std430, buffer_reference_align = 4) readonly buffer Words { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Table { uvec2 address[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) writeonly buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) writeonly buffer Vectors { vec4 v[]; };

#ifdef WIDE
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Units { u64vec2 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Pairs { uint64_t v[]; };

uvec4 load_unit(Units units, uint i) {
    u64vec2 u = units.v[i];
    return uvec4(unpackUint2x32(u.x), unpackUint2x32(u.y));
}

uvec2 load_pair(Pairs pairs, uint i) {
    return unpackUint2x32(pairs.v[i]);
}
#else
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Units { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Pairs { uvec2 v[]; };

uvec4 load_unit(Units units, uint i) {
    return units.v[i];
}

uvec2 load_pair(Pairs pairs, uint i) {
    return pairs.v[i];
}
#endif

bool is_null(uvec2 address) {
    return (address.x | address.y) == 0u;
}

// base + row * stride in 64 bits.
uvec2 row_address(uvec2 base, uint row, uint stride) {
    uint high, low, carry;
    umulExtended(row, stride, high, low);
    uint x = uaddCarry(base.x, low, carry);
    return uvec2(x, base.y + high + carry);
}

// Entry i of an optional index list.
uint row_index(uvec2 list, uint i) {
    return is_null(list) ? i : Words(list).v[i];
}
