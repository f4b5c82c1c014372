// Q4_0 and Q4_1. Quants of a block: one unit, byte b holds column b (low) and column b + 16 (high).
//   Q4_0, chunk of 8 blocks: [8 f16 d] [quants] x 8
//   Q4_1, chunk of 4 blocks: [4 x (f16 d, f16 m)] [quants] x 4
// A last chunk ends with its last block.
#define PAIR_WORDS 4u
const int CODE_BITS = 4;
#ifdef FORMAT_Q4_0
const uint CHUNK_BLOCKS = 8u;
const int DOT_ZERO = 8;
const float FLOAT_ZERO = 16.0 + 8.0;
#else
#define HAS_MIN 1
const uint CHUNK_BLOCKS = 4u;
const int DOT_ZERO = 0;
const float FLOAT_ZERO = 16.0;
#endif
const uint CHUNK_UNITS = (1u + CHUNK_BLOCKS) * 8u;

uint group_units() {
    return (n_block + (n_block + CHUNK_BLOCKS - 1u) / CHUNK_BLOCKS) * 8u;
}

struct Header {
    uvec4 scales;
};
struct Block {
    uvec4 quants;
};

Header load_header(Units w, uint at, uint row, uint c) {
    return Header(load_unit(w, at + c * CHUNK_UNITS));
}

Block load_block(Units w, uint at, uint c, uint j) {
    return Block(load_unit(w, at + c * CHUNK_UNITS + 8u + j * 8u));
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
#ifdef FORMAT_Q4_0
    return vec2(half_of(h.scales, j), 0.0);
#else
    return unpackHalf2x16(word_of(h.scales, j));
#endif
}

uint block_codes(Block b, uint word, uint part) {
    return (word_of(b.quants, word) >> (4u * part)) & 0x0f0f0f0fu;
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(word_of(b.quants, word) >> (4u * part), CODE_BITS);
}
