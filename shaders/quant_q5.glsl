// Q5_0 and Q5_1. Low bits of a block as in quant_q4.glsl; high bits: one word, bit 8b + p for column 4p + b.
//   Q5_0, chunk of 8 blocks: [8 f16 d] then twice { [4 high words] [low bits] x 4 }
//   Q5_1, chunk of 4 blocks: [4 x (f16 d, f16 m)] [4 high words] [low bits] x 4
// A last chunk ends with its last block.
const int CODE_BITS = 5;
#ifdef FORMAT_Q5_0
const uint CHUNK_BLOCKS = 8u;
const uint CHUNK_UNITS = 11u * 8u;
const int DOT_ZERO = 16;
const float FLOAT_ZERO = 32.0 + 16.0;
#else
#define HAS_MIN 1
const uint CHUNK_BLOCKS = 4u;
const uint CHUNK_UNITS = 6u * 8u;
const int DOT_ZERO = 0;
const float FLOAT_ZERO = 32.0;
#endif

uint group_units() {
    return (n_block + (n_block + 3u) / 4u + (n_block + CHUNK_BLOCKS - 1u) / CHUNK_BLOCKS) * 8u;
}

struct Header {
    uvec4 scales;
};
struct Block {
    uvec4 low;
    uint high;
};

Header load_header(Units w, uint at, uint row, uint c) {
    return Header(load_unit(w, at + c * CHUNK_UNITS));
}

Block load_block(Units w, uint at, uint c, uint j) {
    uint four = at + c * CHUNK_UNITS + 8u + (j / 4u) * 40u; // high words and low bits of four blocks
    return Block(load_unit(w, four + 8u + (j % 4u) * 8u), Words(uvec2(w)).v[four * 4u + j % 4u]);
}

vec2 block_scale(Header h, uint j, uint part) {
#ifdef FORMAT_Q5_0
    return vec2(half_of(h.scales, j), 0.0);
#else
    return unpackHalf2x16(word_of(h.scales, j));
#endif
}

uint block_codes(Block b, uint word, uint part) {
    uint high = (b.high >> (4u * part + word)) & 0x01010101u;
    return ((word_of(b.low, word) >> (4u * part)) & 0x0f0f0f0fu) | (high << 4);
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(block_codes(b, word, part), CODE_BITS);
}
