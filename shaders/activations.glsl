// activations.glsl: gelu (tanh form) and the soft cap, finite for every finite argument.
//
// Built on one exponential of our own, since a driver's exp may be off by 4e-6 and need not agree with the
// next one's.

// e^x for |x| <= 87, relative error about 1e-7: 2^n by the exponent field, e^r by its Taylor polynomial,
// |r| <= ln(2)/2.
float exp_bounded(float x) {
    float n = roundEven(x * 1.44269504);
    float r = fma(n, -0.693145752, x); // ln 2 in two parts: the first has few bits, so n * it is exact
    r = fma(n, -1.42860677e-6, r);
    float p = 1.0 / 5040.0;
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    p = fma(p, r, 1.0);
    return p * uintBitsToFloat(uint(int(n) + 127) << 23);
}

// x/2 (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). Beyond |u| = 43 the result is x
// or 0 to the last bit, so u is cut there before it can overflow; x^3 may be inf by then, never NaN.
float gelu_tanh(float x) {
    float u = 0.797884561 * x * fma(0.044715 * x, x, 1.0);
    return x / (1.0 + exp_bounded(clamp(-2.0 * u, -86.0, 86.0)));
}

// tanh; below 1/4 by its series, where 1 - 2 / (1 + e^2z) would lose the small bits.
float tanh_bounded(float z) {
    float q = z * z;
    float p = fma(q, 62.0 / 2835.0, -17.0 / 315.0);
    p = fma(p, q, 2.0 / 15.0);
    p = fma(p, q, -1.0 / 3.0);
    float small = fma(p * q, z, z);
    float large = 1.0 - 2.0 / (1.0 + exp_bounded(clamp(2.0 * z, -86.0, 86.0)));
    return abs(z) < 0.25 ? small : large;
}

float soft_cap(float x, float cap) {
    return cap > 0.0 ? cap * tanh_bounded(x / cap) : x;
}
