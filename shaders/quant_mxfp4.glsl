// MXFP4. Chunk of 8 blocks: [quants] x 8, as in quant_q4.glsl: a sign above three bits of E2M1. A last chunk
// ends with its last block. The exponents follow the chunks of the group: pair 8 c + r holds the 8 bytes of
// chunk c and row r.
const uint CHUNK_BLOCKS = 8u;
const uint CHUNK_UNITS = 8u * 8u;
const int CODE_BITS = 5;
const int DOT_ZERO = 12;
const float FLOAT_ZERO = 0.0; // the scale may be 2^127, too large to be multiplied by an offset

uint group_units() {
    return n_block * 8u + (n_block + 7u) / 8u * 4u;
}

struct Header {
    uvec2 exponents;
};
struct Block {
    uvec4 quants;
};

Header load_header(Units w, uint at, uint row, uint c) {
    return Header(load_pair(Pairs(uvec2(w)), (at - row + n_block * 8u) * 2u + c * 8u + row));
}

Block load_block(Units w, uint at, uint c, uint j) {
    return Block(load_unit(w, at + c * CHUNK_UNITS + j * 8u));
}

// 2^(e - 128). e = 0 and 1 are subnormal, zero where the device flushes those.
vec2 block_scale(Header h, Block b, uint j, uint part) {
    uint e = ((j < 4u ? h.exponents.x : h.exponents.y) >> (8u * (j % 4u))) & 255u;
    return vec2(uintBitsToFloat(e < 2u ? 0x200000u << e : (e - 1u) << 23), 0.0);
}

// Twice the magnitudes of eight weights, in their nibbles: 0 1 2 3 4 6 8 12. The bits are the value up to 4;
// from there on 0, 1, 2, 5 is missing: the low two bits, and 2 more where both are set.
uint magnitudes(uint quants) {
    uint both = quants & (quants >> 1) & 0x11111111u;
    uint missing = (quants & 0x33333333u) + (both << 1);
    uint from_four = ((quants >> 2) & 0x11111111u) * 7u;
    return (quants & 0x77777777u) + (missing & from_four);
}

// Twice the value, plus 12.
uint block_codes(Block b, uint word, uint part) {
    uint quants = word_of(b.quants, word);
    uint magnitude = (magnitudes(quants) >> (4u * part)) & 0x0f0f0f0fu;
    uint negative = ((quants >> (4u * part + 3u)) & 0x01010101u) * 15u;
    return 0x0c0c0c0cu + magnitude - 2u * (magnitude & negative);
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(block_codes(b, word, part), CODE_BITS) - (32.0 + 12.0);
}
