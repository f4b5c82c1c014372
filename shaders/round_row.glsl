// round_row.glsl: f32 to f16 and to Q8_0 with the bits of the reference (backend/kit/half.c, quants_legacy.c) on
// every device. A device may round packHalf2x16 toward zero (RADV does) and be a few units off in a division
// (Mesa 25.0 by 5e-5 of the quotient), so both are done in integers here. What is left, products and sums that
// must not be contracted, is correctly rounded everywhere.

// f16 of four numbers, nearest even, cut to +-65504; a NaN stays one.
uvec4 half_bits(vec4 x) {
    uvec4 a = floatBitsToUint(x) & 0x7fffffffu, sign = floatBitsToUint(x) >> 16 & 0x8000u;
    uvec4 normal = (a - 0x38000000u) + 0xfffu + (a >> 13 & 1u) >> 13;
    precise vec4 above = uintBitsToFloat(a) + 0.5; // 0.5 + n * 2^-24: n is the subnormal f16
    uvec4 h = mix(normal, floatBitsToUint(above) - 0x3f000000u, lessThan(a, uvec4(0x38800000u)));
    return sign | mix(min(h, uvec4(0x7bffu)), 0x7e00u | a >> 13 & 0x1ffu, greaterThan(a, uvec4(0x7f800000u)));
}

// As the kit's quantisers read: no NaN, nothing beyond 2^30.
vec4 tame(vec4 x) {
    uvec4 bits = floatBitsToUint(x), a = bits & 0x7fffffffu;
    a = mix(min(a, uvec4(0x4e800000u)), uvec4(0u), greaterThan(a, uvec4(0x7f800000u)));
    return uintBitsToFloat(a | bits & 0x80000000u);
}

// q + 1 where the nearest even integer to (q * by + rest) / by is above q.
uint round_quotient(uint q, uint rest, uint by) {
    return q + (2u * rest > by || 2u * rest == by && (q & 1u) != 0u ? 1u : 0u);
}

// The f16 nearest to the f32 nearest to x / 127; x >= 0 by its bits, tame.
uint half_of_127th(uint x) {
    uint m = x & 0x7fffffu | 0x800000u, shift = m >= 127u << 17 ? 6u : 7u; // 24 bits of quotient
    uint q = round_quotient((m << shift) / 127u, (m << shift) % 127u, 127u);
    float d = uintBitsToFloat(((x >> 23) - shift << 23) + (q - 0x800000u));
    return x < 0x33000000u ? 0u : half_bits(vec4(d, 0.0, 0.0, 0.0)).x; // below 2^-25 d is below half an f16
}

// The f32 nearest to 1 / d, d >= 0 an f16 number by its bits; 0 for 0.
float inverse_of_half(uint d) {
    uint field = d >> 10, m = d & 0x3ffu | (field > 0u ? 0x400u : 0u); // d = m * 2^(max(field, 1) - 25)
    uint up = 10u - uint(findMSB(m | 1u)); // brings m to 1024 .. 2047
    m = m << up | (d == 0u ? 0x400u : 0u);
    // 2^34 / m in 32 bits: 2^31 / m, and three digits more.
    uint q = 0x80000000u / m, rest = (0x80000000u % m) << 3;
    q = round_quotient((q << 3) + rest / m, rest % m, m);
    uint exponent = 127u + 14u + up - max(field, 1u); // of 2^-11 * 2^(25 + up - max(field, 1))
    return d == 0u ? 0.0 : uintBitsToFloat((exponent << 23) + (q - 0x800000u));
}

// Codes of four numbers of a group, packed; inverse: of its scale.
uint q8_0_codes(vec4 x, float inverse) {
    precise vec4 scaled = x * inverse;
    precise vec4 shifted = clamp(scaled, -127.0, 127.0) + 12582912.0; // 1.5 * 2^23 rounds to nearest even
    uvec4 q = floatBitsToUint(shifted) & 255u;
    return q.x | q.y << 8 | q.z << 16 | q.w << 24;
}
