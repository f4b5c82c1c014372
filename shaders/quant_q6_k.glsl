// Q6_K. A chunk is a super-block of 8 blocks: [16 int8 scales] then four times { [2 x 2 high words] [low
// bits] x 2 }. Low bits as in quant_q4.glsl; high words of a block: bits 8b + 2i, 8b + 2i + 1 of the first
// for column 4i + b, of the second for column 16 + 4i + b. The f16 d of the super-blocks, two to a word,
// follow the chunks of the group: word 8 i + r holds d of chunks 2i and 2i + 1 of row r.
#define HALF_SCALES 1
#define PAIR_WORDS 1u
const int CODE_BITS = 6;
const uint CHUNK_BLOCKS = 8u;
const uint CHUNK_UNITS = 13u * 8u;
const int DOT_ZERO = 32;
const float FLOAT_ZERO = 64.0 + 32.0;

uint group_units() {
    uint n_chunk = n_block / 8u;
    return n_chunk * CHUNK_UNITS + (n_chunk + 1u) / 2u * 2u;
}

struct Header {
    uvec4 scales;
    float d;
};
struct Block {
    uvec4 low;
    uvec2 high;
};

Header load_header(Units w, uint at, uint row, uint c) {
    uint ds = (at - row + n_block / 8u * CHUNK_UNITS) * 4u;
    uint d = Words(uvec2(w)).v[ds + c / 2u * 8u + row];
    return Header(load_unit(w, at + c * CHUNK_UNITS), unpackHalf2x16(d >> (16u * (c % 2u))).x);
}

Block load_block(Units w, uint at, uint c, uint j) {
    uint two = at + c * CHUNK_UNITS + 8u + (j / 2u) * 24u; // high words and low bits of two blocks
    return Block(load_unit(w, two + 8u + (j % 2u) * 8u), load_pair(Pairs(uvec2(w)), two * 2u + j % 2u));
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
    int scale = int(word_of(h.scales, j / 2u) << (24u - 16u * (j % 2u) - 8u * part)) >> 24;
    return vec2(h.d * float(scale), 0.0);
}

uint block_codes(Block b, uint word, uint part) {
    uint high = ((part == 0u ? b.high.x : b.high.y) >> (2u * word)) & 0x03030303u;
    return ((word_of(b.low, word) >> (4u * part)) & 0x0f0f0f0fu) | (high << 4);
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(block_codes(b, word, part), CODE_BITS);
}
