// q8.glsl: the rounding of activations to 8 bits in groups of 32, in arithmetic that has one result on every
// device (the rule: tandem/quants.h, tandem_kit_round_activations). A group lies in memory as Q8_ROW_BYTES of
// params.h says.

// d and s of a group whose largest magnitude has these bits: code = round(x * s), x ~ d * code. The
// reciprocal of the mantissa comes from a line and three Newton steps, since a division need not be correctly
// rounded.
void q8_scale(uint max_bits, out float d, out float s) {
    precise float f = uintBitsToFloat((max_bits & 0x7fffffu) | 0x3f800000u);
    precise float step_ = f * (8.0 / 17.0);
    precise float r = 24.0 / 17.0 - step_;
    for (int i = 0; i < 3; i++) {
        precise float fr = f * r;
        precise float left = 2.0 - fr;
        r = r * left;
    }
    precise float r127 = 127.0 * r;
    precise float d_group = uintBitsToFloat(max_bits) * (1.0 / 127.0);
    bool tiny = max_bits < 0x0d800000u; // 2^-100
    d = tiny ? 0.0 : d_group;
    s = tiny ? 0.0 : uintBitsToFloat(floatBitsToUint(r127) - ((max_bits >> 23) - 127u << 23));
}

// Codes of four columns, packed; to nearest even by adding 1.5 * 2^23.
uint q8_codes(vec4 x, float s) {
    precise vec4 scaled = x * s;
    precise vec4 shifted = scaled + 12582912.0;
    uvec4 q = floatBitsToUint(shifted) & 255u;
    return q.x | q.y << 8 | q.z << 16 | q.w << 24;
}

int q8_sum(uint codes) {
    ivec4 q = ivec4(int(codes) << 24, int(codes) << 16, int(codes) << 8, int(codes)) >> 24;
    return q.x + q.y + q.z + q.w;
}

// Rounds a group: eight words of codes, and its two words of meta. inf or NaN in it make d NaN.
void q8_group(vec4 x[8], out uvec4 first, out uvec4 second, out uvec2 meta) {
    uint max_bits = 0u;
    for (int i = 0; i < 8; i++) {
        uvec4 bits = floatBitsToUint(abs(x[i]));
        max_bits = max(max_bits, max(max(bits.x, bits.y), max(bits.z, bits.w)));
    }
    float d, s;
    q8_scale(max_bits, d, s);
    bool bad = max_bits >= 0x7f800000u;
    uint codes[8];
    for (int i = 0; i < 8; i++)
        codes[i] = bad ? 0x01010101u : q8_codes(x[i], s);
    int a = q8_sum(codes[0]) + q8_sum(codes[1]) + q8_sum(codes[2]) + q8_sum(codes[3]);
    int b = q8_sum(codes[4]) + q8_sum(codes[5]) + q8_sum(codes[6]) + q8_sum(codes[7]);
    first = uvec4(codes[0], codes[1], codes[2], codes[3]);
    second = uvec4(codes[4], codes[5], codes[6], codes[7]);
    meta = uvec2(bad ? 0x7fc00000u : floatBitsToUint(d), uint(a & 0xffff) | uint(b) << 16);
}
