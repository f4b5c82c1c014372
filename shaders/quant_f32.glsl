// F32: 8 units a block, 4 columns each. Columns beyond n_col are zero.
#define IS_FLOAT 1
const uint CHUNK_BLOCKS = 8u;

uint group_units() {
    return n_block * 64u;
}

vec4 load_values(Units w, uint at, uint k, uint p) {
    return uintBitsToFloat(load_unit(w, at + (k * 8u + p) * 8u));
}
