// Q5_0 and Q5_1. Low bits of a block as in quant_q4.glsl; high bits: one word, bit 8b + p for column 4p + b.
//   Q5_0, chunk of 8 blocks: [8 f16 d] then twice { [4 high words] [low bits] x 4 }
//   Q5_1, chunk of 8 blocks: four times { [2 x (f16 d, f16 m, high word)] [low bits] x 2 }
// A last chunk ends with its last block.
#define PAIR_WORDS 2u
const int CODE_BITS = 5;
const uint CHUNK_BLOCKS = 8u;
#ifdef FORMAT_Q5_0
const uint CHUNK_UNITS = 11u * 8u;
const int DOT_ZERO = 16;
const float FLOAT_ZERO = 32.0 + 16.0;
#else
#define HAS_MIN 1
const uint CHUNK_UNITS = 12u * 8u;
const int DOT_ZERO = 0;
const float FLOAT_ZERO = 32.0;
#endif

uint group_units() {
#ifdef FORMAT_Q5_0
    return (n_block + (n_block + 3u) / 4u + (n_block + 7u) / 8u) * 8u;
#else
    return (n_block + (n_block + 1u) / 2u) * 8u;
#endif
}

struct Header {
    uvec4 scales; // Q5_1: nothing
};
struct Block {
    uvec4 low;
    uint high;
    uint scale; // Q5_0: nothing
};

Header load_header(Units w, uint at, uint row, uint c) {
#ifdef FORMAT_Q5_0
    return Header(load_unit(w, at + c * CHUNK_UNITS));
#else
    return Header(uvec4(0u));
#endif
}

Block load_block(Units w, uint at, uint c, uint j) {
#ifdef FORMAT_Q5_0
    uint four = at + c * CHUNK_UNITS + 8u + (j / 4u) * 40u; // high words and low bits of four blocks
    uvec4 low = load_unit(w, four + 8u + (j % 4u) * 8u);
    return Block(low, Words(uvec2(w)).v[four * 4u + j % 4u], 0u);
#else
    uint two = at + c * CHUNK_UNITS + (j / 2u) * 24u; // scales, high words and low bits of two blocks
    uvec2 pair = load_pair(Pairs(uvec2(w)), two * 2u + j % 2u);
    return Block(load_unit(w, two + 8u + (j % 2u) * 8u), pair.y, pair.x);
#endif
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
#ifdef FORMAT_Q5_0
    return vec2(half_of(h.scales, j), 0.0);
#else
    return unpackHalf2x16(b.scale);
#endif
}

uint block_codes(Block b, uint word, uint part) {
    uint high = (b.high >> (4u * part + word)) & 0x01010101u;
    return ((word_of(b.low, word) >> (4u * part)) & 0x0f0f0f0fu) | (high << 4);
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(block_codes(b, word, part), CODE_BITS);
}
