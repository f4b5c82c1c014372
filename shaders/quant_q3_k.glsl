// Q3_K. A chunk is a super-block of 8 blocks: [header] then twice { [4 high words] [low bits of 2 blocks]
// x 2 }.
//   header unit: { f16 d, 0 } { low 4 bits of scales 0..7 } { of scales 8..15 } { high 2 bits of 16 scales }
// Low two bits of a block as in quant_q2_k.glsl; high bits: one word, bit 8b + p for column 4p + b.
#define HALF_SCALES 1
#define PAIR_WORDS 4u
const int CODE_BITS = 3;
const uint CHUNK_BLOCKS = 8u;
const uint CHUNK_UNITS = 7u * 8u;
const int DOT_ZERO = 4;
const float FLOAT_ZERO = 8.0 + 4.0;

uint group_units() {
    return n_block / 8u * CHUNK_UNITS;
}

struct Header {
    uvec4 scales;
};
struct Block {
    uvec2 low;
    uint high;
};

Header load_header(Units w, uint at, uint row, uint c) {
    return Header(load_unit(w, at + c * CHUNK_UNITS));
}

Block load_block(Units w, uint at, uint c, uint j) {
    uint four = at + c * CHUNK_UNITS + 8u + (j / 4u) * 24u; // high words and low bits of four blocks
    uvec2 low = load_pair(Pairs(uvec2(w)), (four + 8u + j % 4u / 2u * 8u) * 2u + j % 2u);
    return Block(low, Words(uvec2(w)).v[four * 4u + j % 4u]);
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
    uint k = 2u * j + part;
    uint low = ((j < 4u ? h.scales.y : h.scales.z) >> (4u * (k % 8u))) & 15u;
    uint high = (h.scales.w >> (2u * k)) & 3u;
    return vec2(unpackHalf2x16(h.scales.x).x * float(int(low | high << 4) - 32), 0.0);
}

uint block_codes(Block b, uint word, uint part) {
    uint low = ((part == 0u ? b.low.x : b.low.y) >> (2u * word)) & 0x03030303u;
    return low | ((b.high >> (4u * part + word)) & 0x01010101u) << 2;
}

vec4 block_floats(Block b, uint word, uint part) {
    return code_floats(block_codes(b, word, part), CODE_BITS);
}
