// IQ4_NL and IQ4_XS. Quants of a block as in quant_q4.glsl, each the index of one of 16 levels.
//   IQ4_NL, chunk of 8 blocks: [8 f16 d] [quants] x 8; a last chunk ends with its last block
//   IQ4_XS, chunk of 8 blocks: [quants] x 8. The scales follow the chunks of the group: pair 8 c + r of
//           chunk c and row r is { f16 d, high 2 bits of 8 scales } { low 4 bits of 8 scales }
const uint CHUNK_BLOCKS = 8u;
const int DOT_ZERO = 0;
const float FLOAT_ZERO = 0.0;
#ifdef FORMAT_IQ4_NL
const uint CHUNK_UNITS = 9u * 8u;
const uint HEADER_UNITS = 8u; // before the quants
#else
const uint CHUNK_UNITS = 8u * 8u;
const uint HEADER_UNITS = 0u;
#endif

uint group_units() {
#ifdef FORMAT_IQ4_NL
    return (n_block + (n_block + 7u) / 8u) * 8u;
#else
    return n_block / 8u * (CHUNK_UNITS + 4u);
#endif
}

struct Header {
#ifdef FORMAT_IQ4_NL
    uvec4 scales;
#else
    uvec2 scales;
#endif
};
struct Block {
    uvec4 quants;
};

Header load_header(Units w, uint at, uint row, uint c) {
#ifdef FORMAT_IQ4_NL
    return Header(load_unit(w, at + c * CHUNK_UNITS));
#else
    return Header(load_pair(Pairs(uvec2(w)), (at - row + n_block * 8u) * 2u + c * 8u + row));
#endif
}

Block load_block(Units w, uint at, uint c, uint j) {
    return Block(load_unit(w, at + c * CHUNK_UNITS + HEADER_UNITS + j * 8u));
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
#ifdef FORMAT_IQ4_NL
    return vec2(half_of(h.scales, j), 0.0);
#else
    uint scale = ((h.scales.y >> (4u * j)) & 15u) | (((h.scales.x >> (16u + 2u * j)) & 3u) << 4);
    return vec2(unpackHalf2x16(h.scales.x).x * float(int(scale) - 32), 0.0);
#endif
}

// The levels of the low four bits of each byte, plus 1.5 * 2^23: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38
// 53 69 89 113. A polynomial of q + 16 comes within 0.44 of each, and adding 1.5 * 2^23 rounds to nearest.
// Seven instructions; a table would be divergent reads of constant memory, or a dozen selects and shifts.
vec4 levels_above(uint nibbles) {
    vec4 t = code_floats(nibbles, 4);
    vec4 p = fma(t, vec4(0.001586043), vec4(-0.0704203));
    p = fma(p, t, vec4(-0.4279144));
    p = fma(p, t, vec4(65.96416));
    p = fma(p, t, vec4(-887.9488));
    precise vec4 rounded = p + 12582912.0;
    return rounded;
}

uint block_codes(Block b, uint word, uint part) {
    uvec4 q = floatBitsToUint(levels_above(word_of(b.quants, word) >> (4u * part))) & 255u;
    return q.x | q.y << 8 | q.z << 16 | q.w << 24;
}

vec4 block_floats(Block b, uint word, uint part) {
    precise vec4 level = levels_above(word_of(b.quants, word) >> (4u * part)) - 12582912.0;
    return level;
}
