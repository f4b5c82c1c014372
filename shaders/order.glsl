// order.glsl: numbers as integers that order like them.
const uint NAN_BITS = 0x7fc00000u;

bool is_nan(uint bits) {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

// NaN lowest, -0 equal to 0.
uint key_of(uint bits) {
    if (is_nan(bits))
        return 0u;
    bits = bits == 0x80000000u ? 0u : bits;
    return bits >> 31 != 0u ? ~bits : bits | 0x80000000u;
}

float value_of(uint key) {
    return uintBitsToFloat(key == 0u ? NAN_BITS : key >> 31 != 0u ? key & 0x7fffffffu : ~key);
}
