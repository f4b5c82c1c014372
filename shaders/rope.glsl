// rope.glsl: rotation by exact angles (tables: tandem/rope.h). One complex multiply joins the two tables.

layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Rotations { vec2 v[]; };

// Cosine and sine of position * omega[pair].
vec2 rope_rotation(uvec2 table, uint n_pair, uint position, uint pair) {
    vec2 low = Rotations(table).v[(position & 255u) * n_pair + pair];
    vec2 high = Rotations(table).v[(256u + (position >> 8)) * n_pair + pair];
    return vec2(high.x * low.x - high.y * low.y, high.y * low.x + high.x * low.y);
}
