// Q2_K. A chunk is a super-block of 8 blocks: [16 bytes: low half scale, high half min] [quants of 2 blocks]
// x 4. Quants of a block: bits 8b + 2i, 8b + 2i + 1 of the first word for column 4i + b, of the second for
// column 16 + 4i + b. { f16 d, f16 dmin } follow the chunks of the group: word 8 c + r for chunk c and row r.
#define HAS_MIN 1
#define HALF_SCALES 1
#define PAIR_WORDS 4u
const int CODE_BITS = 2;
const uint CHUNK_BLOCKS = 8u;
const uint CHUNK_UNITS = 5u * 8u;
const int DOT_ZERO = 0;
const float FLOAT_ZERO = 4.0;

uint group_units() {
    return n_block / 8u * (CHUNK_UNITS + 2u);
}

struct Header {
    uvec4 scales;
    vec2 d;
};
struct Block {
    uvec2 quants;
};

Header load_header(Units w, uint at, uint row, uint c) {
    uint ds = (at - row + n_block / 8u * CHUNK_UNITS) * 4u;
    return Header(load_unit(w, at + c * CHUNK_UNITS), unpackHalf2x16(Words(uvec2(w)).v[ds + c * 8u + row]));
}

Block load_block(Units w, uint at, uint c, uint j) {
    return Block(load_pair(Pairs(uvec2(w)), (at + c * CHUNK_UNITS + 8u + j / 2u * 8u) * 2u + j % 2u));
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
    uint scales = word_of(h.scales, j / 2u) >> (16u * (j % 2u) + 8u * part);
    return vec2(h.d.x * float(scales & 15u), -h.d.y * float((scales >> 4) & 15u));
}

uint block_codes(Block b, uint word, uint part) {
    return ((part == 0u ? b.quants.x : b.quants.y) >> (2u * word)) & 0x03030303u;
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats((part == 0u ? b.quants.x : b.quants.y) >> (2u * word), CODE_BITS);
}
