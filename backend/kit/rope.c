/* rope.c: tables of rotation angles (contract: tandem/rope.h). */
#include <math.h>

#include <tandem/rope.h>

uint32_t tandem_kit_rope_n_high(uint64_t n_ctx) {
    uint64_t n = n_ctx / TANDEM_KIT_ROPE_LOW + (n_ctx % TANDEM_KIT_ROPE_LOW != 0);
    return n == 0 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

void tandem_kit_rope_exact(double omega, uint32_t position, double *cosine, double *sine) {
    double p = position;
    double angle = p * omega;
    double rest = fma(p, omega, -angle); /* angle + rest is the exact product */
    double c = cos(angle), s = sin(angle);
    *cosine = c - s * rest; /* rest is below 1e-10: first order is exact in double */
    *sine = s + c * rest;
}

static void fill_table(const double *omega, uint32_t n_pair, uint32_t n_row, uint32_t step, float *table) {
    for (uint32_t row = 0; row < n_row; row++)
        for (uint32_t i = 0; i < n_pair; i++) {
            double c, s;
            tandem_kit_rope_exact(omega[i], row * step, &c, &s);
            float *pair = table + 2 * ((uint64_t)row * n_pair + i);
            pair[0] = (float)c;
            pair[1] = (float)s;
        }
}

void tandem_kit_rope_low(const double *omega, uint32_t n_pair, float *table) {
    fill_table(omega, n_pair, TANDEM_KIT_ROPE_LOW, 1, table);
}

void tandem_kit_rope_high(const double *omega, uint32_t n_pair, uint32_t n_high, float *table) {
    fill_table(omega, n_pair, n_high, TANDEM_KIT_ROPE_LOW, table);
}

void tandem_kit_rope_join(const float *low, const float *high, uint32_t n_pair, uint32_t position,
                          uint32_t pair, float *cosine, float *sine) {
    const float *l = low + 2 * ((uint64_t)(position % TANDEM_KIT_ROPE_LOW) * n_pair + pair);
    const float *h = high + 2 * ((uint64_t)(position / TANDEM_KIT_ROPE_LOW) * n_pair + pair);
    float cc = h[0] * l[0], ss = h[1] * l[1], sc = h[1] * l[0], cs = h[0] * l[1];
    *cosine = cc - ss;
    *sine = sc + cs;
}
