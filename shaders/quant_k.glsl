// Q4_K and Q5_K. A chunk is a super-block of 8 blocks:
//   header unit: { f16 d, f16 dmin } { low 4 bits of 8 scales } { low 4 of 8 mins }
//                { high 2 bits of 8 scales, high 2 of 8 mins }
//   Q4_K: [header] [quants] x 8;  Q5_K: [header] then twice { [4 high words] [low bits] x 4 }
// Quants and high words as in quant_q4.glsl and quant_q5.glsl: block by block, no longer in pairs.
#define HAS_MIN 1
const uint CHUNK_BLOCKS = 8u;
const int DOT_ZERO = 0;
#ifdef FORMAT_Q4_K
#define PAIR_WORDS 4u
const int CODE_BITS = 4;
const float FLOAT_ZERO = 16.0;
const uint CHUNK_UNITS = 9u * 8u;
#else
#define PAIR_WORDS 2u
const int CODE_BITS = 5;
const float FLOAT_ZERO = 32.0;
const uint CHUNK_UNITS = 11u * 8u;
#endif

uint group_units() {
    return n_block / 8u * CHUNK_UNITS;
}

struct Header {
    uvec4 scales;
};
struct Block {
    uvec4 low;
#ifdef FORMAT_Q5_K
    uint high;
#endif
};

Header load_header(Units w, uint at, uint row, uint c) {
    return Header(load_unit(w, at + c * CHUNK_UNITS));
}

Block load_block(Units w, uint at, uint c, uint j) {
#ifdef FORMAT_Q4_K
    return Block(load_unit(w, at + c * CHUNK_UNITS + 8u + j * 8u));
#else
    uint four = at + c * CHUNK_UNITS + 8u + (j / 4u) * 40u;
    return Block(load_unit(w, four + 8u + (j % 4u) * 8u), Words(uvec2(w)).v[four * 4u + j % 4u]);
#endif
}

vec2 block_scale(Header h, Block b, uint j, uint part) {
    vec2 d = unpackHalf2x16(h.scales.x);
    uint scale = ((h.scales.y >> (4u * j)) & 15u) | (((h.scales.w >> (2u * j)) & 3u) << 4);
    uint low = ((h.scales.z >> (4u * j)) & 15u) | (((h.scales.w >> (2u * j + 16u)) & 3u) << 4);
    return vec2(d.x * float(scale), -d.y * float(low));
}

uint block_codes(Block b, uint word, uint part) {
    uint low = (word_of(b.low, word) >> (4u * part)) & 0x0f0f0f0fu;
#ifdef FORMAT_Q4_K
    return low;
#else
    return low | ((b.high >> (4u * part + word)) & 0x01010101u) << 4;
#endif
}

vec4 block_floats(Block b, uint word, uint part) {
#ifdef FORMAT_Q4_K
    return code_floats(word_of(b.low, word) >> (4u * part), CODE_BITS);
#else
    return code_floats(block_codes(b, word, part), CODE_BITS);
#endif
}
