// F16 and BF16: 4 units a block, 8 columns each. Columns beyond n_col are zero.
#define IS_FLOAT 1
const uint CHUNK_BLOCKS = 8u;

uint group_units() {
    return n_block * 32u;
}

vec4 load_values(Units w, uint at, uint k, uint p) {
    uvec4 unit = load_unit(w, at + (k * 4u + p / 2u) * 8u);
    uvec2 u = p % 2u == 0u ? unit.xy : unit.zw;
#ifdef FORMAT_F16
    return vec4(unpackHalf2x16(u.x), unpackHalf2x16(u.y));
#else
    return uintBitsToFloat(uvec4(u.x << 16, u.x & 0xffff0000u, u.y << 16, u.y & 0xffff0000u));
#endif
}
