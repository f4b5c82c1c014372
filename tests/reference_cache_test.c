/* reference_cache_test.c: weights and caches of the reference plugin: borrowing, placement, rings, images. */
#include "reference_model.h"

#include <tandem/fill.h>

/* ---- weights ---- */

static void borrows_what_lies_together_and_copies_the_rest(void **state) {
    (void)state;
    model m;
    made_matrix copy;
    tandem_weights_info info = {.struct_size = sizeof info};
    const uint32_t tokens[] = {39, 7, 20};
    make_model(&m);
    uint32_t expected = next_token(&m, tokens, 3, 0);
    copy = m.table;
    copy.bytes = malloc(N_VOCAB * N_COL * 2);
    memcpy(copy.bytes, m.table.bytes, N_VOCAB * N_COL * 2);

    OK(write_rows(m.weights, 0, 0, &m.table, 0, 10, TANDEM_WRITE_BORROW));
    tandem_run run = run_of(tokens, 1, 3);
    REFUSED(fx.api.run(m.program, &run, NULL, &fx.error), TANDEM_E_INVALID, "10 of the 40 rows");
    assert_int_equal(fx.error.op_index, 0);
    REFUSED(write_rows(m.weights, 0, 0, &m.table, 11, 1, 0), TANDEM_E_INVALID, "row 10 is next");
    REFUSED(fx.api.weights_place(m.weights, 0, TANDEM_PLACE_HOST, NULL, &fx.error), TANDEM_E_INVALID,
            "lacks rows");
    OK(write_rows(m.weights, 0, 0, &m.table, 10, 10, TANDEM_WRITE_BORROW));
    OK(fx.api.weights_info(m.weights, &info, &fx.error));
    assert_int_equal(info.device_bytes, 0);
    memset(m.table.bytes + 20 * N_COL * 2, 0, 20 * N_COL * 2);           /* not lent: nobody may look here */
    OK(write_rows(m.weights, 0, 0, &copy, 20, 15, TANDEM_WRITE_BORROW)); /* elsewhere: a copy of all */
    OK(write_rows(m.weights, 0, 0, &copy, 35, 5, 0));
    memset(copy.bytes, 0xff, N_VOCAB * N_COL * 2);
    OK(fx.api.weights_info(m.weights, &info, &fx.error));
    assert_int_equal(info.device_bytes, N_VOCAB * N_COL * 2);
    OK(fx.api.kv_truncate(m.kv, 0, 0, &fx.error));
    assert_int_equal(next_token(&m, tokens, 3, 0), expected);

    tandem_ticket ticket = 0;
    uint64_t total = memory_now().total;
    OK(fx.api.weights_place(m.weights, 0, TANDEM_PLACE_HOST, &ticket, &fx.error));
    OK(fx.api.wait(fx.context, ticket, UINT64_MAX, &fx.error));
    OK(fx.api.weights_info(m.weights, &info, &fx.error));
    assert_true(info.host_bytes == N_VOCAB * N_COL * 2 && info.device_bytes == 0 &&
                memory_now().total == total);
    OK(fx.api.kv_truncate(m.kv, 0, 0, &fx.error));
    assert_int_equal(next_token(&m, tokens, 3, 0), expected);
    OK(write_rows(m.weights, 0, 0, &m.table, 0, N_VOCAB,
                  TANDEM_WRITE_BORROW)); /* starts over and frees the copy */
    assert_int_equal(memory_now().total, total - N_VOCAB * N_COL * 2);
    REFUSED(write_rows(m.weights, 1, 0, &m.table, 0, 1, 0), TANDEM_E_INVALID, "record 1");
    REFUSED(fx.api.weights_write(m.weights, 0, 0, 0, 1, m.table.bytes, 1, 0, &fx.error), TANDEM_E_INVALID,
            "WRITE_BYTES");
    free(copy.bytes);
    free_model(&m);
}

/* ---- the cache ---- */

static void truncation_goes_back_one_chunk_on_a_ring(void **state) {
    (void)state;
    model m;
    make_model(&m); /* window 6, chunk 8: a ring of 14 */
    const uint32_t tokens[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                               13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};
    uint32_t expected[24];
    for (uint32_t i = 0; i < 24; i++)
        expected[i] = next_token(&m, &tokens[i], 1, i);
    REFUSED(fx.api.kv_truncate(m.kv, 0, 25, &fx.error), TANDEM_E_INVALID, "holds 24");
    REFUSED(fx.api.kv_truncate(m.kv, 0, 15, &fx.error), TANDEM_E_UNSUPPORTED, "layer 0");
    OK(fx.api.kv_truncate(m.kv, 0, 16, &fx.error));
    /* Rows 16..23 have taken the places of 2..9: going back further from 16 would miss them. */
    REFUSED(fx.api.kv_truncate(m.kv, 0, 15, &fx.error), TANDEM_E_UNSUPPORTED, "held 24");
    next_token(&m, &tokens[16], 1, 16); /* nor does appending less bring them back */
    REFUSED(fx.api.kv_truncate(m.kv, 0, 15, &fx.error), TANDEM_E_UNSUPPORTED, "held 24");
    OK(fx.api.kv_truncate(m.kv, 0, 16, &fx.error));
    for (uint32_t i = 16; i < 24; i++)
        assert_int_equal(next_token(&m, &tokens[i], 1, i), expected[i]);
    OK(fx.api.kv_truncate(m.kv, 0, 0, &fx.error));
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(next_token(&m, &tokens[i], 1, i), expected[i]);
    OK(fx.api.kv_truncate(m.kv, 0, 2, &fx.error)); /* not wrapped: any depth */
    for (uint32_t i = 2; i < 14; i++)
        assert_int_equal(next_token(&m, &tokens[i], 1, i), expected[i]);
    free_model(&m);
}

static void read_all(tandem_kv *kv, uint32_t slot, uint32_t first, uint32_t length, float *rows) {
    for (uint32_t layer = 0; layer < 2; layer++)
        for (uint32_t which = 0; which < 2; which++, rows += 64 * 64)
            OK(fx.api.kv_read(kv, layer, slot, which, layer == 0 ? first : 0,
                              length - (layer == 0 ? first : 0), rows, &fx.error));
}

static void fill_copy_and_images_carry_every_row(void **state) {
    static float a[4][64 * 64], b[4][64 * 64];
    const uint32_t types[] = {TANDEM_TYPE_F32, TANDEM_TYPE_F16, TANDEM_TYPE_Q8_0};
    (void)state;
    for (int t = 0; t < 3; t++) {
        tandem_kv *kv = small_kv(types[t], 2, 8), *other = small_kv(types[t], 1, 8);
        uint64_t bytes;
        OK(fx.api.kv_fill(kv, 1, 77, 40, &fx.error));
        read_all(kv, 1, 40 - 14, 40, a[0]);
        if (types[t] != TANDEM_TYPE_Q8_0) /* the values are exact there */
            for (uint32_t j = 0; j < 64; j++)
                assert_true(
                    a[3][7 * 64 + j] ==
                    tandem_kit_fill_value(tandem_kit_fill_row(77, 1, TANDEM_KV_V, j / 32, 7), j % 32));
        OK(fx.api.kv_copy_slot(kv, 1, 0, &fx.error));
        OK(fx.api.kv_fill(kv, 1, 78, 9, &fx.error));
        read_all(kv, 0, 40 - 14, 40, b[0]);
        assert_memory_equal(a, b, sizeof a);

        OK(fx.api.kv_truncate(kv, 0, 35, &fx.error));
        OK(fx.api.kv_export_bytes(kv, 0, &bytes, &fx.error));
        unsigned char *image = malloc(bytes + 1);
        REFUSED(fx.api.kv_export(kv, 0, image, bytes - 1, &fx.error), TANDEM_E_INVALID, "takes");
        OK(fx.api.kv_export(kv, 0, image, bytes, &fx.error));
        OK(fx.api.kv_import(other, 0, image, bytes, &fx.error));
        read_all(other, 0, 40 - 14, 35, b[0]);
        read_all(kv, 0, 40 - 14, 35, a[0]);
        assert_memory_equal(a, b, sizeof a);
        REFUSED(fx.api.kv_read(other, 0, 0, 0, 25, 1, b[0], &fx.error), TANDEM_E_INVALID, "[26, 35)");
        REFUSED(fx.api.kv_truncate(other, 0, 31, &fx.error), TANDEM_E_UNSUPPORTED, "held 40");
        OK(fx.api.kv_truncate(other, 0, 32, &fx.error));

        tandem_kv *longer = small_kv(types[t], 1, 9);
        REFUSED(fx.api.kv_import(longer, 0, image, bytes, &fx.error), TANDEM_E_INVALID, "chunks of 8");
        fx.api.kv_destroy(longer);
        /* No flipped byte and no other size passes, and a refusal changes nothing. */
        read_all(other, 0, 40 - 14, 32, a[0]);
        for (uint64_t i = 0; i < bytes; i += i < 160 ? 1 : 37) {
            image[i] ^= 0x10;
            assert_true(fx.api.kv_import(other, 0, image, bytes, &fx.error) != TANDEM_OK);
            image[i] ^= 0x10;
        }
        for (uint64_t n = 0; n < bytes; n += n < 200 ? 1 : 97)
            assert_true(fx.api.kv_import(other, 0, image, n, &fx.error) != TANDEM_OK);
        assert_true(fx.api.kv_import(other, 0, image, bytes + 1, &fx.error) != TANDEM_OK);
        read_all(other, 0, 40 - 14, 32, b[0]);
        assert_memory_equal(a, b, sizeof a);
        const uint32_t high = 60; /* more than a chunk beyond the length: a ring would have lost rows */
        memcpy(image + 44, &high, sizeof high);
        REFUSED(fx.api.kv_import(other, 0, image, bytes, &fx.error), TANDEM_E_INVALID, "35 positions of 60");
        free(image);
        fx.api.kv_destroy(kv);
        fx.api.kv_destroy(other);
    }
}

static void refuses_what_the_cache_cannot_do(void **state) {
    (void)state;
    tandem_kv *kv = small_kv(TANDEM_TYPE_F32, 1, 8);
    float row[64];
    REFUSED(fx.api.kv_fill(kv, 0, 1, 65, &fx.error), TANDEM_E_INVALID, "64 positions");
    REFUSED(fx.api.kv_fill(kv, 1, 1, 3, &fx.error), TANDEM_E_INVALID, "slot 1");
    REFUSED(fx.api.kv_read(kv, 2, 0, 0, 0, 0, row, &fx.error), TANDEM_E_INVALID, "layer 2");
    REFUSED(fx.api.kv_read(kv, 0, 0, 0, 0, 1, row, &fx.error), TANDEM_E_INVALID, "positions");
    tandem_kv_layer layer = {.struct_size = sizeof layer};
    REFUSED(fx.api.kv_layer(kv, 2, &layer, &fx.error), TANDEM_E_INVALID, "layer 2");
    OK(fx.api.kv_layer(kv, 0, &layer, &fx.error));
    assert_true(layer.window == 6 && layer.head_dim == N_COL && layer.share_of == TANDEM_NONE);
    const tandem_kv_layer *const list[] = {&layer};
    tandem_kv_desc desc = {.struct_size = sizeof desc,
                           .n_layer = 1,
                           .layers = list,
                           .max_chunk = 1,
                           .n_slot = 1,
                           .layout = TANDEM_KV_LAYOUT_V_ONLY};
    tandem_kv *none = NULL;
    REFUSED(fx.api.kv_create(fx.context, &desc, &none, &fx.error), TANDEM_E_UNSUPPORTED, "V alone");
    fx.api.kv_destroy(kv);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, context_setup, context_teardown)
    const struct CMUnitTest tests[] = {
        TEST(borrows_what_lies_together_and_copies_the_rest),
        TEST(truncation_goes_back_one_chunk_on_a_ring),
        TEST(fill_copy_and_images_carry_every_row),
        TEST(refuses_what_the_cache_cannot_do),
    };
    return cmocka_run_group_tests_name("weights and caches of the reference", tests, fixture_open,
                                       fixture_close);
}
