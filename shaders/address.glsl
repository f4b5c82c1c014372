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

// A load must be good wherever it stands, reached or not: a driver may run the loads of a short branch that no
// lane takes, and those of a short loop once more after its end (Mesa 26 does both where all lanes read one
// address). So what is optional is read through the three functions below and nothing else
// (tests/shader_loads_test.py), which read `instead` where it is absent, and indices are cut to what is there.

// Row i of an optional view, or `instead`.
uvec2 optional_row(uvec2 view, uint i, uint stride, uvec2 instead) {
    return is_null(view) ? instead : row_address(view, i, stride);
}

// Element i of an optional vector of f32, 1 without one. instead: any word.
float optional_factor(uvec2 vector, uint i, uvec2 instead) {
    uint bits = Words(is_null(vector) ? instead : vector).v[is_null(vector) ? 0u : i];
    return is_null(vector) ? 1.0 : uintBitsToFloat(bits);
}

// Entry i of an optional index list, i without one. instead: any word.
uint row_index(uvec2 list, uint i, uvec2 instead) {
    uint entry = Words(is_null(list) ? instead : list).v[is_null(list) ? 0u : i];
    return is_null(list) ? i : entry;
}
