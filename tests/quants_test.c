/* quants_test.c: number formats against stored vectors, conversions of half precision over all values, the
 * error of a round trip, hostile input, and the rules for rounding activations. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <tandem/quants.h>

#include "kit_testing.h"

enum { N_VALUE = 7, N_ROW = 4096 };

/* Blocks whose byte o is (37 o + 11) mod 256, with d = 0.5 (and m or dmin = 0.25, or e = 128) written over
 * them. */
typedef struct vector {
    uint32_t type;
    int32_t d_at, m_at; /* -1: none */
    uint32_t n;         /* values of those below that exist: 0, 1, 16, 31 | 32, 100, 255 */
    double y[N_VALUE];
    double sum;
} vector;

static const uint32_t indices[N_VALUE] = {0, 1, 16, 31, 32, 100, 255};

static const vector vectors[] = {
    {TANDEM_TYPE_Q4_0, 0, -1, 4, {-1.5, 1, -1.5, 0}, -10.5},
    {TANDEM_TYPE_Q4_1, 0, 2, 4, {7.75, 2.25, 4.75, 6.25}, 130.5},
    {TANDEM_TYPE_Q5_0, 0, -1, 4, {4.5, -1, 7, 0.5}, 7.5},
    {TANDEM_TYPE_Q5_1, 0, 2, 4, {9.75, 12.25, 9.75, 2.75}, 260.5},
    {TANDEM_TYPE_Q8_0, 0, -1, 4, {42.5, 61, -45.5, -24}, -88},
    {TANDEM_TYPE_IQ4_NL, 0, -1, 4, {-17.5, 12.5, -17.5, 0.5}, -128.5},
    {TANDEM_TYPE_MXFP4, -1, -1, 4, {0, 6, 3, 6}, 25},
    {TANDEM_TYPE_Q4_K, 0, 2, 7, {157.75, -12.75, 157.75, 80.25, 4, 47.5, 24.25}, 27220},
    {TANDEM_TYPE_Q5_K, 0, 2, 7, {405.75, -12.75, 405.75, 80.25, 56, 117.5, 54.25}, 58108},
    {TANDEM_TYPE_Q6_K, 208, -1, 7, {-715.5, 848, -216, -48, 115.5, 1261.5, -30}, 2306},
    {TANDEM_TYPE_Q2_K, 80, 82, 7, {16.5, 0, -0.75, -0.75, 3.75, 10, 2.25}, 1029.5},
    {TANDEM_TYPE_Q3_K, 108, -1, 7, {40.5, -54, -48, 32, -11, 0, 21}, 479},
    {TANDEM_TYPE_IQ4_XS, 0, -1, 7, {32.5, -0.5, 32.5, 17.5, 227.5, 20, -8}, -5502.5},
};

static void put16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void reads_the_stored_vectors(void **state) {
    (void)state;
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++) {
        const vector *vec = &vectors[v];
        const tandem_type_info *info = tandem_kit_type(vec->type);
        uint8_t bytes[1 + 256];
        float y[256];
        for (uint32_t shift = 0; shift < 2; shift++) { /* at an even and at an odd address */
            uint8_t *block = bytes + shift;
            for (uint32_t o = 0; o < info->block_bytes; o++)
                block[o] = (uint8_t)(37 * o + 11);
            if (vec->type == TANDEM_TYPE_MXFP4)
                block[0] = 128;
            if (vec->d_at >= 0)
                put16(block + vec->d_at, 0x3800);
            if (vec->m_at >= 0)
                put16(block + vec->m_at, 0x3400);
            assert_int_equal(tandem_kit_dequantise(vec->type, block, y, info->block), TANDEM_OK);
            double sum = 0;
            for (uint32_t i = 0; i < info->block; i++)
                sum += y[i];
            for (uint32_t i = 0; i < vec->n; i++)
                if (y[indices[i]] != vec->y[i])
                    fail_msg("%s: y[%u] = %g, not %g", info->name, indices[i], y[indices[i]], vec->y[i]);
            if (sum != vec->sum)
                fail_msg("%s: sum %g, not %g", info->name, sum, vec->sum);
        }
    }
}

static void reads_the_ends_of_mxfp4_exponents(void **state) {
    (void)state;
    static const double want[] = {0x1p-128, 0x1p-127, 0x1p-126, 0x1p127};
    static const uint8_t exponent[] = {0, 1, 2, 255};
    uint8_t block[17] = {0};
    float y[32];
    block[1] = 1; /* y[0] = 1 */
    for (uint32_t i = 0; i < 4; i++) {
        block[0] = exponent[i];
        tandem_kit_dequantise(TANDEM_TYPE_MXFP4, block, y, 32);
        assert_true((double)y[0] == want[i]);
    }
}

static void table_is_complete_and_consistent(void **state) {
    (void)state;
    static const uint32_t types[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 20, 23, 30, 39};
    uint32_t n = 0;
    for (const tandem_type_info *t; (t = tandem_kit_type_at(n)) != NULL; n++) {
        assert_int_equal(t->type, types[n]);
        assert_ptr_equal(tandem_kit_type(t->type), t);
        assert_ptr_equal(tandem_kit_type_by_name(t->name), t);
    }
    assert_int_equal(n, sizeof types / sizeof *types);
    assert_ptr_equal(tandem_kit_type_by_name("q4_k"), tandem_kit_type(TANDEM_TYPE_Q4_K));
    assert_null(tandem_kit_type(4));
    assert_null(tandem_kit_type(UINT32_MAX));
    assert_null(tandem_kit_type_by_name("Q4"));
    assert_null(tandem_kit_type_by_name(""));
    assert_null(tandem_kit_type_by_name(NULL));
    assert_int_equal(tandem_kit_can_quantise(TANDEM_TYPE_Q6_K), 1);
    assert_int_equal(tandem_kit_can_quantise(TANDEM_TYPE_IQ4_XS), 1);
    assert_int_equal(tandem_kit_can_quantise(4), 0);
}

static void row_bytes_refuses_what_has_no_size(void **state) {
    (void)state;
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_Q4_0, 640), 360);
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_Q6_K, 2816), 2310);
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_Q6_K, 640), 0);
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_Q4_0, 33), 0);
    assert_int_equal(tandem_kit_row_bytes(5, 32), 0);
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_F32, UINT64_MAX / 4), UINT64_MAX / 4 * 4);
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_F32, UINT64_MAX / 4 + 1), 0);
    assert_int_equal(tandem_kit_row_bytes(TANDEM_TYPE_Q8_0, UINT64_MAX - 31), 0);
    float f = 0;
    assert_int_equal(tandem_kit_dequantise(TANDEM_TYPE_Q4_0, &f, &f, 16), TANDEM_E_INVALID);
    assert_int_equal(tandem_kit_quantise(TANDEM_TYPE_Q4_0, &f, &f, 16), TANDEM_E_INVALID);
    assert_int_equal(tandem_kit_quantise(99, &f, &f, 0), TANDEM_E_INVALID);
    assert_int_equal(tandem_kit_quantise(TANDEM_TYPE_MXFP4, &f, &f, 16), TANDEM_E_INVALID);
}

/* The value of a half from its definition, in double. */
static double half_value(uint32_t h) {
    uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
    double magnitude = exponent == 0    ? ldexp(mantissa, -24)
                       : exponent == 31 ? (mantissa != 0 ? (double)NAN : (double)INFINITY)
                                        : ldexp(1024 + mantissa, (int)exponent - 25);
    return h & 0x8000u ? -magnitude : magnitude;
}

static void every_half_survives_the_way_there_and_back(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tandem_kit_f16_to_f32((uint16_t)h);
        double want = half_value(h);
        if (isnan(want)) {
            assert_true(isnan(f));
            assert_true(isnan(tandem_kit_f16_to_f32(tandem_kit_f32_to_f16(f))));
        } else {
            assert_true((double)f == want && !signbit(f) == !(h & 0x8000u));
            assert_int_equal(tandem_kit_f32_to_f16(f), h);
        }
        float b = tandem_kit_bf16_to_f32((uint16_t)h);
        if (isnan(b))
            assert_true(isnan(tandem_kit_bf16_to_f32(tandem_kit_f32_to_bf16(b))));
        else
            assert_int_equal(tandem_kit_f32_to_bf16(b), h);
    }
}

/* Between two neighbours the nearer one is taken, in the middle the even one: at the middle and one ulp
 * around it. */
static void narrowing_rounds_to_nearest_even(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = half_value(h), high = h == 0x7bff ? 65536.0 : half_value(h + 1);
        float middle = (float)((low + high) / 2); /* exact */
        assert_int_equal(tandem_kit_f32_to_f16(middle), h % 2 == 0 ? h : h + 1);
        assert_int_equal(tandem_kit_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(tandem_kit_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(tandem_kit_f32_to_f16(-middle), 0x8000u | (h % 2 == 0 ? h : h + 1));
    }
    for (uint32_t h = 0; h < 0x7f80; h++) {
        uint32_t bits = h << 16 | 0x8000u;
        float f[3];
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t near = bits + i - 1;
            memcpy(&f[i], &near, sizeof near);
        }
        assert_int_equal(tandem_kit_f32_to_bf16(f[0]), h);
        assert_int_equal(tandem_kit_f32_to_bf16(f[1]), h % 2 == 0 ? h : h + 1);
        assert_int_equal(tandem_kit_f32_to_bf16(f[2]), h + 1);
    }
    assert_int_equal(tandem_kit_f32_to_f16(FLT_MAX), 0x7c00);
    assert_int_equal(tandem_kit_f32_to_f16(-FLT_MIN), 0x8000);
    assert_int_equal(tandem_kit_f32_to_bf16(FLT_MAX), 0x7f80);
    float nan_low; /* a NaN whose upper half alone would be infinity */
    uint32_t nan_bits = 0x7f800001u;
    memcpy(&nan_low, &nan_bits, sizeof nan_bits);
    assert_true(isnan(tandem_kit_bf16_to_f32(tandem_kit_f32_to_bf16(nan_low))));
    assert_true(isnan(tandem_kit_f16_to_f32(tandem_kit_f32_to_f16(nan_low))));
}

static void fill_normal(float *x, uint32_t n, double sigma, double mean) {
    uint64_t seed = 7;
    for (uint32_t i = 0; i < n; i++)
        x[i] = (float)(mean + sigma * test_normal(&seed));
}

/* sum (x - y)^2 / sum x^2 after writing and reading. */
static double round_trip_error(uint32_t type, const float *x, uint32_t n) {
    uint8_t *bytes = malloc(tandem_kit_row_bytes(type, n));
    float *y = malloc(n * sizeof *y);
    assert_non_null(bytes);
    assert_non_null(y);
    assert_int_equal(tandem_kit_quantise(type, x, bytes, n), TANDEM_OK);
    assert_int_equal(tandem_kit_dequantise(type, bytes, y, n), TANDEM_OK);
    double error = 0, norm = 0;
    for (uint32_t i = 0; i < n; i++) {
        error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        norm += (double)x[i] * x[i];
    }
    free(y);
    free(bytes);
    return norm > 0 ? error / norm : error;
}

/* Bounds: what was measured on this data, and about 4 % more. One trial scale instead of five misses those of
 * all formats with nibbles or six bits. */
static void normal_weights_lose_no_more_than_measured(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        double bound;
    } cases[] = {
        {TANDEM_TYPE_F32, 0},          {TANDEM_TYPE_F16, 4.7e-8},   {TANDEM_TYPE_BF16, 3e-6},
        {TANDEM_TYPE_Q4_0, 7.2e-3},    {TANDEM_TYPE_Q4_1, 5.4e-3},  {TANDEM_TYPE_Q5_0, 1.73e-3},
        {TANDEM_TYPE_Q5_1, 1.3e-3},    {TANDEM_TYPE_Q8_0, 3.1e-5},  {TANDEM_TYPE_Q4_K, 5.5e-3},
        {TANDEM_TYPE_Q5_K, 1.4e-3},    {TANDEM_TYPE_Q6_K, 3.25e-4}, {TANDEM_TYPE_IQ4_NL, 5.65e-3},
        {TANDEM_TYPE_IQ4_XS, 5.75e-3}, {TANDEM_TYPE_Q2_K, 7.7e-2},  {TANDEM_TYPE_Q3_K, 2.25e-2},
        {TANDEM_TYPE_MXFP4, 1.32e-2},
    };
    static float x[N_ROW];
    fill_normal(x, N_ROW, 0.02, 0);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        double error = round_trip_error(cases[c].type, x, N_ROW);
        print_message("%-6s error %.3e, %.2f of its bound\n", tandem_kit_type(cases[c].type)->name, error,
                      cases[c].bound > 0 ? error / cases[c].bound : 0);
        assert_true(error <= cases[c].bound);
    }
}

static int is_blocked(uint32_t type) {
    return tandem_kit_can_quantise(type) && tandem_kit_type(type)->block > 1;
}

static void constant_and_zero_blocks_come_back(void **state) {
    (void)state;
    static const float values[] = {0.0f, 1.0f, -1.0f, 0.37f, -2000.0f, 0.3f};
    float x[256];
    for (uint32_t t = 0; tandem_kit_type_at(t) != NULL; t++) {
        uint32_t type = tandem_kit_type_at(t)->type;
        if (!is_blocked(type))
            continue;
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            for (uint32_t i = 0; i < 256; i++)
                x[i] = values[v];
            /* MXFP4 has powers of two, times 1 or 1.5: off by a fifth at most. */
            assert_true(round_trip_error(type, x, 256) <= (type == TANDEM_TYPE_MXFP4 ? 0.04 : 1e-6));
        }
    }
}

static double block_error(uint32_t type, const uint8_t *block, const float *x) {
    float y[32];
    double error = 0;
    tandem_kit_dequantise(type, block, y, 32);
    for (uint32_t i = 0; i < 32; i++)
        error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
    return error;
}

/* No other code of any weight of a block comes closer, given the block's scale. */
static void tables_are_searched_for_the_nearest_level(void **state) {
    (void)state;
    static const uint32_t types[] = {TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_MXFP4};
    float x[32];
    for (uint32_t t = 0; t < 2; t++)
        for (uint32_t round = 0; round < 20; round++) {
            uint8_t block[18], *quants = block + (t == 0 ? 2 : 1);
            uint64_t seed = round;
            for (uint32_t i = 0; i < 32; i++)
                x[i] = (float)test_normal(&seed);
            tandem_kit_quantise(types[t], x, block, 32);
            double error = block_error(types[t], block, x);
            for (uint32_t i = 0; i < 32; i++) {
                uint8_t *byte = &quants[i % 16], kept = *byte;
                for (uint32_t code = 0; code < 16; code++) {
                    *byte = (uint8_t)(i < 16 ? (kept & 0xf0) | code : (kept & 15) | code << 4);
                    assert_true(block_error(types[t], block, x) >= error);
                }
                *byte = kept;
            }
        }
}

/* Every exponent with the nearest value for every weight: none loses less than the one that was written. */
static void mxfp4_takes_the_best_exponent(void **state) {
    (void)state;
    static const double values[] = {0, 1, 2, 3, 4, 6, 8, 12};
    float x[32];
    uint64_t seed = 21;
    for (uint32_t round = 0; round < 200; round++) {
        uint8_t block[17];
        for (uint32_t i = 0; i < 32; i++)
            x[i] = ldexpf((float)test_normal(&seed), (int)(round % 120) - 100);
        tandem_kit_quantise(TANDEM_TYPE_MXFP4, x, block, 32);
        double written = block_error(TANDEM_TYPE_MXFP4, block, x);
        for (int e = 0; e < 255; e++) {
            double error = 0;
            for (uint32_t i = 0; i < 32; i++) {
                double nearest = INFINITY;
                for (uint32_t v = 0; v < 8; v++)
                    nearest = fmin(nearest, fabs(fabs((double)x[i]) - ldexp(values[v], e - 128)));
                error += nearest * nearest;
            }
            assert_true(written <= error * (1 + 1e-6));
        }
    }
}

/* The formats with an offset: far from zero compared with the spread. */
static void shifted_weights_keep_their_spread(void **state) {
    (void)state;
    static float x[N_ROW];
    fill_normal(x, N_ROW, 0.01, 3.0);
    assert_true(round_trip_error(TANDEM_TYPE_Q4_1, x, N_ROW) < 2e-7);
    assert_true(round_trip_error(TANDEM_TYPE_Q5_1, x, N_ROW) < 1e-7);
    fill_normal(x, N_ROW, 0.1, -0.3); /* K stores offsets below zero only */
    assert_true(round_trip_error(TANDEM_TYPE_Q4_K, x, N_ROW) < 2e-3);
}

static void huge_values_saturate(void **state) {
    (void)state;
    float x[256], y[256];
    uint8_t bytes[256 * 4];
    for (uint32_t t = 0; tandem_kit_type_at(t) != NULL; t++) {
        uint32_t type = tandem_kit_type_at(t)->type;
        if (!is_blocked(type))
            continue;
        for (uint32_t i = 0; i < 256; i++)
            x[i] = i % 2 == 0 ? FLT_MAX : -FLT_MAX;
        tandem_kit_quantise(type, x, bytes, 256);
        tandem_kit_dequantise(type, bytes, y, 256);
        for (uint32_t i = 0; i < 256; i++)
            assert_true(isfinite(y[i]) && (i % 2 == 0 ? y[i] > 6e4f : y[i] < -6e4f));
    }
}

static void hostile_values_give_finite_weights(void **state) {
    (void)state;
    static const float evil[] = {NAN,     INFINITY, -INFINITY, FLT_MAX, -FLT_MAX,
                                 FLT_MIN, 1e-42f,   -1e-45f,   0.0f,    -0.0f};
    enum { N_EVIL = sizeof evil / sizeof *evil };
    float x[256], y[256];
    uint8_t bytes[256 * 4];
    uint64_t seed = 11;
    for (uint32_t t = 0; tandem_kit_type_at(t) != NULL; t++) {
        uint32_t type = tandem_kit_type_at(t)->type;
        if (!is_blocked(type))
            continue;
        for (uint32_t round = 0; round < 200; round++) {
            for (uint32_t i = 0; i < 256; i++) /* rounds 0..9: all the same; then mixed */
                x[i] = round < N_EVIL                ? evil[round]
                       : test_random(&seed) % 2 == 0 ? evil[test_random(&seed) % N_EVIL]
                                                     : (float)test_normal(&seed);
            assert_int_equal(tandem_kit_quantise(type, x, bytes, 256), TANDEM_OK);
            assert_int_equal(tandem_kit_dequantise(type, bytes, y, 256), TANDEM_OK);
            for (uint32_t i = 0; i < 256; i++)
                assert_true(isfinite(y[i]));
        }
    }
}

static void any_bytes_can_be_read(void **state) {
    (void)state;
    uint64_t seed = 3;
    uint8_t bytes[1024];
    float y[256];
    for (uint32_t t = 0; tandem_kit_type_at(t) != NULL; t++)
        for (uint32_t round = 0; round < 50; round++) {
            for (uint32_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (uint8_t)test_random(&seed);
            assert_int_equal(tandem_kit_dequantise(tandem_kit_type_at(t)->type, bytes, y, 256), TANDEM_OK);
        }
}

/* The error of rounded activations must be that of 11 bits, and of 8 bits in groups, at every amplitude. */
static void activations_keep_their_precision_at_every_amplitude(void **state) {
    (void)state;
    static const double amplitudes[] = {1e-25, 1e-7, 1, 1e3, 1e5, 1e7, 1e30};
    static float x[2816], y[2816];
    for (size_t a = 0; a < sizeof amplitudes / sizeof *amplitudes; a++) {
        fill_normal(x, 2816, amplitudes[a], 0);
        static const double bound[] = {0, 5e-8, 5e-5};
        for (uint32_t precision = 0; precision < 3; precision++) {
            double error = 0, norm = 0;
            assert_int_equal(tandem_kit_round_activations(precision, x, y, 2816), TANDEM_OK);
            for (uint32_t i = 0; i < 2816; i++) {
                error += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
                norm += (double)x[i] * x[i];
            }
            if (error > bound[precision] * norm)
                fail_msg("precision %u at amplitude %g: error %g", precision, amplitudes[a], error / norm);
        }
    }
    assert_int_equal(tandem_kit_round_activations(3, x, y, 1), TANDEM_E_INVALID);
}

static void finite_activations_stay_finite(void **state) {
    (void)state;
    float x[67], y[67];
    uint64_t seed = 5;
    for (uint32_t round = 0; round < 3000; round++) {
        for (uint32_t i = 0; i < 67; i++) {
            uint32_t bits = (uint32_t)test_random(&seed);
            if (round % 3 != 0)
                bits = (bits & 0x807fffffu) | (round / 3 % 255) << 23; /* a row of one exponent */
            memcpy(&x[i], &bits, sizeof bits);
            x[i] = isfinite(x[i]) ? x[i] : FLT_MAX;
        }
        for (uint32_t precision = 0; precision < 3; precision++) {
            tandem_kit_round_activations(precision, x, y, 67);
            for (uint32_t i = 0; i < 67; i++)
                assert_true(isfinite(y[i]));
        }
    }
    for (uint32_t precision = 0; precision < 3; precision++) { /* non-finite: anything, without a trap */
        x[3] = INFINITY;
        x[5] = NAN;
        assert_int_equal(tandem_kit_round_activations(precision, x, y, 67), TANDEM_OK);
    }
}

/* q is the integer nearest to 127 x / m wherever that is not within f32 noise of a tie, and m itself maps to
 * 127. */
static void q8_groups_round_to_nearest(void **state) {
    (void)state;
    float x[32];
    int8_t q[32];
    uint64_t seed = 9;
    for (uint32_t round = 0; round < 20000; round++) {
        float m = 0;
        for (uint32_t i = 0; i < 32; i++) {
            x[i] = ldexpf((float)test_normal(&seed), (int)(round % 200) - 90);
            m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
        }
        float d = tandem_kit_q8_group(x, q, 32);
        assert_true(fabs((double)d * 127 / m - 1) < 2e-7);
        for (uint32_t i = 0; i < 32; i++) {
            double want = 127.0 * x[i] / m;
            assert_true(fabs(want - q[i]) <= 0.5 + 127 * 4e-7);
            assert_true(fabsf(x[i]) < m || abs(q[i]) == 127);
        }
    }
    float zero[5] = {0, -0.0f, 1e-40f, -0x1p-101f, 0};
    assert_true(tandem_kit_q8_group(zero, q, 5) == 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(q[i], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_stored_vectors),
        cmocka_unit_test(reads_the_ends_of_mxfp4_exponents),
        cmocka_unit_test(table_is_complete_and_consistent),
        cmocka_unit_test(row_bytes_refuses_what_has_no_size),
        cmocka_unit_test(every_half_survives_the_way_there_and_back),
        cmocka_unit_test(narrowing_rounds_to_nearest_even),
        cmocka_unit_test(normal_weights_lose_no_more_than_measured),
        cmocka_unit_test(constant_and_zero_blocks_come_back),
        cmocka_unit_test(tables_are_searched_for_the_nearest_level),
        cmocka_unit_test(mxfp4_takes_the_best_exponent),
        cmocka_unit_test(shifted_weights_keep_their_spread),
        cmocka_unit_test(huge_values_saturate),
        cmocka_unit_test(hostile_values_give_finite_weights),
        cmocka_unit_test(any_bytes_can_be_read),
        cmocka_unit_test(activations_keep_their_precision_at_every_amplitude),
        cmocka_unit_test(finite_activations_stay_finite),
        cmocka_unit_test(q8_groups_round_to_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
