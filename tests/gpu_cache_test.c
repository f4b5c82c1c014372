/* What a GPU plugin stores in a cache against what the reference stores: the same bits, whatever the accuracy
 * of the device's divisions and the direction its conversions round to.
 *
 * usage: gpu_cache_test [--plugin NAME] [--option NAME=VALUE]...      default: vulkan
 */
#include "gpu_model.h"

#include "cases/side.h"
#include "tandem/quants.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_ROW = 96, DIM = 512, GROUP = 32 };

static fixture fx, reference;

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

static uint32_t next_bits(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8 ^ *state << 9;
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float moved(float x, uint32_t bits) {
    return bits % 3 == 0 ? nextafterf(x, INFINITY) : bits % 3 == 1 ? nextafterf(x, -INFINITY) : x;
}

/* A group with a scale that is hard to round (127 times an f16 number, or times the middle of two, give or
 * take a unit), and elements that are hard to round by it (halves of a code, likewise). */
static void hard_group(float x[GROUP], uint32_t *state) {
    uint16_t half = (uint16_t)(next_bits(state) % 0x7800);
    double d = tandem_kit_f16_to_f32(half), above = tandem_kit_f16_to_f32((uint16_t)(half + 1));
    double scale = next_bits(state) % 2 ? d : (d + above) / 2;
    for (uint32_t i = 0; i < GROUP; i++) {
        double code = (int32_t)(next_bits(state) % 254) - 127 + 0.5;
        x[i] = moved((float)(code * d), next_bits(state));
    }
    x[next_bits(state) % GROUP] = moved((float)(127 * scale), next_bits(state));
}

/* Elements around the numbers in the middle of two f16 numbers, subnormal ones among them. */
static void hard_halves(float x[GROUP], uint32_t *state) {
    for (uint32_t i = 0; i < GROUP; i++) {
        uint16_t half = (uint16_t)(next_bits(state) % (i % 2 ? 0x7bff : 0x800));
        float middle = (tandem_kit_f16_to_f32(half) + tandem_kit_f16_to_f32((uint16_t)(half + 1))) / 2;
        x[i] = moved(next_bits(state) % 2 ? middle : -middle, next_bits(state));
    }
}

/* Any bits, or numbers of like size. */
static void any_group(float x[GROUP], uint32_t *state, uint32_t wild) {
    for (uint32_t i = 0; i < GROUP; i++) {
        uint32_t bits = next_bits(state);
        x[i] = float_of(wild ? bits : (bits & 0x80ffffffu) + 0x3e000000u);
        if (isnan(x[i]))
            x[i] = NAN; /* one that needs no quieting */
    }
}

static void fill_rows(float *rows, uint32_t seed) {
    static const float special[] = {INFINITY, -INFINITY, NAN,      65504,          65519.996f,
                                    65520,    -65536,    0x1p30f,  0x1p31f,        -0x1p100f,
                                    8319008,  0x1p-24f,  0x1p-25f, 127 * 0x1p-25f, 0};
    uint32_t state = seed;
    for (uint32_t g = 0; g < N_ROW * DIM / GROUP; g++) {
        float *x = rows + (uint64_t)g * GROUP;
        if (g % 4 == 0)
            hard_group(x, &state);
        else if (g % 4 == 1)
            hard_halves(x, &state);
        else
            any_group(x, &state, g % 16 == 3);
        if (g % 8 == 2)
            x[g / 8 % GROUP] = special[g / 8 % (sizeof special / sizeof *special)];
    }
    for (uint32_t i = 0; i < N_ROW * DIM; i++)
        if (fabsf(rows[i]) < 0x1p-126f)
            rows[i] = 0; /* a device may flush those */
}

/* Appends the rows to a cache of `type`, without norms and rotation, and reads them back as f32. */
static void stored(fixture *f, uint32_t type, const float *k, const float *v, float *read_back) {
    side s;
    tandem_kv_layer layer = {.struct_size = sizeof layer,
                             .n_kv_head = 1,
                             .head_dim = DIM,
                             .type = type,
                             .share_of = TANDEM_NONE,
                             .capacity = N_ROW};
    const tandem_kv_layer *layers[] = {&layer};
    tandem_kv_desc desc = {
        .struct_size = sizeof desc, .n_layer = 1, .layers = layers, .max_chunk = N_ROW, .n_slot = 1};
    tandem_op_attention op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_ATTENTION, .label = "attention"},
        .n_head = 1,
        .scale = 1};
    side_open(&s, f->api, f->context);
    s.max_tokens = N_ROW;
    s.n_slot = 1;
    OK(f->api->kv_create(f->context, &desc, &s.kv, &s.error), &s);
    op.kv = s.kv;
    OK(side_input(&s, TANDEM_ROWS_ALL, N_ROW, N_ROW, DIM, 1, &op.q), &s);
    OK(side_given(&s, TANDEM_ROWS_ALL, N_ROW, N_ROW, DIM, k, &op.k), &s);
    OK(side_given(&s, TANDEM_ROWS_ALL, N_ROW, N_ROW, DIM, v, &op.v), &s);
    OK(side_scratch(&s, TANDEM_ROWS_ALL, N_ROW, DIM, &op.out), &s);
    side_op(&s, &op, 1);
    side_rows(&s, N_ROW, 0, 100, 0);
    OK(side_compile(&s), &s);
    OK(side_run(&s), &s);
    for (uint32_t which = 0; which < 2; which++)
        OK(f->api->kv_read(s.kv, 0, 0, which ? TANDEM_KV_V : TANDEM_KV_K, 0, N_ROW,
                           read_back + (uint64_t)which * N_ROW * DIM, &s.error),
           &s);
    side_close(&s);
}

static void check_type(uint32_t type) {
    enum { N = N_ROW * DIM };
    float *rows = malloc(2 * N * sizeof *rows), *expected = malloc(2 * N * sizeof *rows),
          *actual = malloc(2 * N * sizeof *rows);
    assert_true(rows && expected && actual);
    fill_rows(rows, 1 + type);
    fill_rows(rows + N, 101 + type);
    stored(&reference, type, rows, rows + N, expected);
    stored(&fx, type, rows, rows + N, actual);
    uint32_t n_wrong = 0;
    for (uint32_t i = 0; i < 2 * N; i++) {
        int same = isnan(expected[i]) ? isnan(actual[i]) : !memcmp(&expected[i], &actual[i], sizeof *rows);
        if (!same && n_wrong++ < 4)
            print_error("%.9g is stored as %.9g, by the reference as %.9g\n", (double)rows[i],
                        (double)actual[i], (double)expected[i]);
    }
    free(rows);
    free(expected);
    free(actual);
    assert_int_equal(n_wrong, 0);
}

static void cached_rows_have_the_references_bits(void **state) {
    (void)state;
    check_type(TANDEM_TYPE_F32);
    check_type(TANDEM_TYPE_F16);
    check_type(TANDEM_TYPE_Q8_0);
}

int main(int argc, char **argv) {
    fixture_open(&fx, "vulkan", argc, argv);
    fixture_open(&reference, "reference", 0, NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(cached_rows_have_the_references_bits)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&reference);
    fixture_close(&fx);
    return failed;
}
