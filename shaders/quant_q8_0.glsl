// Q8_0. Chunk of 8 blocks: [8 f16 d] { [codes 0..15] [codes 16..31] } x 8. A last chunk ends with its last
// block.
const int CODE_BITS = 8;
const uint CHUNK_BLOCKS = 8u;
const uint CHUNK_UNITS = 17u * 8u;
const int DOT_ZERO = 0;
const float FLOAT_ZERO = 256.0 + 128.0; // the sign bit is flipped on the way to a float

uint group_units() {
    return (2u * n_block + (n_block + 7u) / 8u) * 8u;
}

struct Header {
    uvec4 scales;
};
struct Block {
    uvec4 first;
    uvec4 second;
};

Header load_header(Units w, uint at, uint row, uint c) {
    return Header(load_unit(w, at + c * CHUNK_UNITS));
}

Block load_block(Units w, uint at, uint c, uint j) {
    uint quants = at + c * CHUNK_UNITS + 8u + j * 16u;
    return Block(load_unit(w, quants), load_unit(w, quants + 8u));
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
    return vec2(half_of(h.scales, j), 0.0);
}

uint block_codes(Block b, uint word, uint part) {
    return word_of(part == 0u ? b.first : b.second, word);
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(block_codes(b, word, part) ^ 0x80808080u, CODE_BITS);
}
