/* The GGUF reader against hostile files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_sample.h"

static void check_refused(const image *b, const char *words) {
    gguf_file *file = NULL;
    uint8_t *copy;
    tandem_message message = {"(no message)"};
    int status = open_image(b, &file, &copy, &message);
    if (status == TANDEM_OK) {
        gguf_close(file);
        free(copy);
        fail_msg("accepted a file that should be refused with '%s'", words);
    }
    if (!strstr(message.text, words))
        fail_msg("expected '%s' in the refusal '%s'", words, message.text);
    assert_null(strchr(message.text, '\n'));
    assert_true(strlen(message.text) < sizeof message.text - 1);
}

static void reads_every_value_type(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        image b = {0};
        gguf_file *file;
        uint8_t *copy;
        tandem_message message;
        uint32_t u;
        int64_t i;
        float f;
        bool flag;
        char text[16];
        make_sample(&b, version);
        assert_int_equal(open_image(&b, &file, &copy, &message), TANDEM_OK);
        assert_int_equal(gguf_version(file), version);
        assert_int_equal(gguf_n_values(file), SAMPLE_VALUES);
        assert_int_equal(gguf_get_u32(file, "u8", &u, &message), 1);
        assert_int_equal(u, 200);
        assert_int_equal(gguf_get_i64(file, "i8", &i, &message), 1);
        assert_int_equal(i, -2);
        assert_int_equal(gguf_get_u32(file, "u16", &u, &message), 1);
        assert_int_equal(u, 60000);
        assert_int_equal(gguf_get_i64(file, "i16", &i, &message), 1);
        assert_int_equal(i, -300);
        assert_int_equal(gguf_get_u32(file, "u32", &u, &message), 1);
        assert_int_equal(u, 4000000000u);
        assert_int_equal(gguf_get_i64(file, "i32", &i, &message), 1);
        assert_int_equal(i, -7);
        assert_int_equal(gguf_get_f32(file, "f32", &f, &message), 1);
        assert_true(f == 1.5f);
        assert_int_equal(gguf_get_f32(file, "f64", &f, &message), 1);
        assert_true(f == -0.25f);
        assert_int_equal(gguf_get_f32(file, "i32", &f, &message), 1);
        assert_true(f == -7.0f);
        assert_int_equal(gguf_get_bool(file, "bool", &flag, &message), 1);
        assert_true(flag);
        assert_int_equal(gguf_get_string(file, "text", text, sizeof text, &message), 1);
        assert_string_equal(text, "h\xc3\xa9llo");
        assert_int_equal(gguf_get_i64(file, "i64", &i, &message), 1);
        assert_int_equal(i, -5);
        walk(file);
        gguf_close(file);
        free(copy);
        free(b.data);
    }
}

static void reads_arrays(void **state) {
    (void)state;
    image b = {0};
    gguf_file *file;
    uint8_t *copy;
    tandem_message message;
    const gguf_value *value;
    gguf_string s;
    make_sample(&b, 3);
    assert_int_equal(open_image(&b, &file, &copy, &message), TANDEM_OK);
    assert_int_equal(gguf_get_array(file, "words", GGUF_STRING, &value, &message), 1);
    assert_int_equal(value->count, 3);
    assert_true(gguf_element_string(file, value, 0, &s) && s.len == 3 && memcmp(s.data, "one", 3) == 0);
    assert_true(gguf_element_string(file, value, 1, &s) && s.len == 0);
    assert_true(gguf_element_string(file, value, 2, &s) && s.len == 5 && memcmp(s.data, "three", 5) == 0);
    assert_false(gguf_element_string(file, value, 3, &s));
    assert_int_equal(gguf_get_array(file, "ints", GGUF_I32, &value, &message), 1);
    int64_t i;
    uint64_t u;
    assert_true(gguf_element_i64(value, 2, &i) && i == -3);
    assert_false(gguf_element_u64(value, 2, &u));
    assert_false(gguf_element_i64(value, 3, &i));
    value = gguf_value_by_key(file, "nested");
    assert_non_null(value);
    assert_int_equal(value->element, GGUF_ARRAY);
    assert_false(gguf_element_i64(value, 0, &i));
    gguf_close(file);
    free(copy);
    free(b.data);
}

static void says_what_a_wrong_value_is(void **state) {
    (void)state;
    image b = {0};
    gguf_file *file;
    uint8_t *copy;
    tandem_message message;
    uint32_t u = 77, list[3] = {7, 7, 7};
    float f = 7;
    bool flag;
    char text[4] = "abc";
    const gguf_value *value;
    make_sample(&b, 3);
    assert_int_equal(open_image(&b, &file, &copy, &message), TANDEM_OK);
    assert_int_equal(gguf_get_u32(file, "absent", &u, &message), 0);
    assert_int_equal(gguf_get_u32(file, "i32", &u, &message), TANDEM_E_INVALID);
    assert_non_null(strstr(message.text, "'i32' is i32, not an integer from 0"));
    assert_true(gguf_get_u32(file, "u64", &u, &message) < 0);
    assert_true(gguf_get_u32(file, "text", &u, &message) < 0);
    assert_true(gguf_get_u32(file, "bool", &u, &message) < 0);
    assert_true(gguf_get_u32(file, "ints", &u, &message) < 0);
    assert_non_null(strstr(message.text, "an array of i32"));
    assert_int_equal(u, 77);
    assert_true(gguf_get_f32(file, "text", &f, &message) < 0 && f == 7);
    assert_true(gguf_get_bool(file, "u8", &flag, &message) < 0);
    assert_true(gguf_get_string(file, "text", text, sizeof text, &message) < 0);
    assert_string_equal(text, "abc");
    assert_true(gguf_get_array(file, "ints", GGUF_F32, &value, &message) < 0);
    assert_true(gguf_get_u32_list(file, "ints", list, 3, &message) < 0); /* -3 is none */
    assert_true(gguf_get_u32_list(file, "ints", list, 2, &message) < 0); /* not as many */
    assert_int_equal(list[0], 7);
    assert_int_equal(gguf_get_u32_list(file, "u8", list, 3, &message), 1); /* a scalar stands for all */
    assert_int_equal(list[2], 200);
    gguf_close(file);
    free(copy);
    free(b.data);
}

static void tensors_may_lie_in_any_order_with_gaps(void **state) {
    (void)state;
    image b = {0};
    gguf_file *file;
    uint8_t *copy;
    tandem_message message;
    size_t header = make_sample(&b, 3), start = (header + 31) / 32 * 32;
    assert_int_equal(open_image(&b, &file, &copy, &message), TANDEM_OK);
    const gguf_tensor *a = gguf_tensor_by_name(file, "a"), *last = gguf_tensor_by_name(file, "b");
    assert_int_equal(a->bytes, 54);
    assert_int_equal(a->dims[1], 3);
    assert_int_equal(a->dims[3], 1);
    assert_ptr_equal(a->data, copy + start + 64);
    assert_ptr_equal(last->data, copy + start);
    assert_null(gguf_tensor_by_name(file, "c"));
    gguf_close(file);
    free(copy);
    free(b.data);
}

static void refuses_a_file_cut_at_any_byte(void **state) {
    (void)state;
    image b = {0};
    make_sample(&b, 3);
    size_t whole = b.n;
    for (size_t n = 0; n < whole; n++) {
        gguf_file *file = NULL;
        uint8_t *copy;
        tandem_message message = {""};
        b.n = n;
        if (open_image(&b, &file, &copy, &message) == TANDEM_OK)
            fail_msg("accepted %zu of %zu bytes", n, whole);
        assert_true(strlen(message.text) > 10);
    }
    free(b.data);
}

static void survives_any_changed_byte(void **state) {
    (void)state;
    static const uint8_t FLIPS[] = {0x01, 0x02, 0x07, 0x40, 0x80, 0xff};
    image b = {0};
    size_t header = make_sample(&b, 3);
    uint64_t opened = 0;
    for (size_t at = 0; at < header; at++) {
        for (size_t f = 0; f < sizeof FLIPS; f++) {
            gguf_file *file = NULL;
            uint8_t *copy;
            tandem_message message;
            b.data[at] ^= FLIPS[f];
            if (open_image(&b, &file, &copy, &message) == TANDEM_OK) {
                walk(file);
                gguf_close(file);
                free(copy);
                opened++;
            }
            b.data[at] ^= FLIPS[f];
        }
    }
    assert_true(opened > 100); /* most of the bytes are names and values, where anything goes */
    free(b.data);
}

/* ---- refusals, each with its sentence ---- */

static void refuses_other_files_and_versions(void **state) {
    (void)state;
    image b = {0};
    image_raw(&b, "GGML", 4);
    image_u32(&b, 3);
    check_refused(&b, "not a GGUF file");
    image_begin(&b, 1, 0, 0);
    check_refused(&b, "version 1 is obsolete");
    image_begin(&b, 4, 0, 0);
    check_refused(&b, "version 4 is newer");
    image_begin(&b, 0x03000000, 0, 0);
    check_refused(&b, "other byte order");
    image_begin(&b, 0, 0, 0);
    check_refused(&b, "version 0");
    free(b.data);
}

static void refuses_absurd_counts(void **state) {
    (void)state;
    image b = {0};
    static const uint64_t COUNTS[] = {UINT64_MAX, INT64_MAX, 1ull << 40, 1000};
    for (size_t i = 0; i < sizeof COUNTS / sizeof *COUNTS; i++) {
        image_begin(&b, 3, COUNTS[i], 0);
        check_refused(&b, "tensors");
        image_begin(&b, 3, 0, COUNTS[i]);
        check_refused(&b, "metadata entries");
    }
    image_begin(&b, 3, 0, 1); /* an array that claims more than the file holds */
    image_key(&b, "k", 9);
    image_u32(&b, 8);
    image_u64(&b, 1ull << 61);
    check_refused(&b, "more than the rest of the file");
    image_begin(&b, 3, 0, 1);
    image_key(&b, "k", 9);
    image_u32(&b, 10);
    image_u64(&b, (1ull << 61) + 1); /* times 8 is 8 in 64 bits */
    image_u64(&b, 0);
    check_refused(&b, "more than the rest of the file");
    image_begin(&b, 3, 0, 1); /* a string of 2^64 - 1 bytes */
    image_key(&b, "k", 8);
    image_u64(&b, UINT64_MAX);
    check_refused(&b, "beyond the end");
    image_begin(&b, 3, 0, 1);
    image_u64(&b, UINT64_MAX - 8); /* the key itself */
    image_raw(&b, "0123456789abcdef", 16);
    check_refused(&b, "ends inside");
    free(b.data);
}

static void refuses_bad_values(void **state) {
    (void)state;
    image b = {0};
    image_begin(&b, 3, 0, 1);
    image_key(&b, "k", 13);
    image_u64(&b, 0);
    check_refused(&b, "unknown value type 13");
    image_begin(&b, 3, 0, 1);
    image_key(&b, "k", 7);
    image_u8(&b, 2);
    check_refused(&b, "a bool of 2");
    image_begin(&b, 3, 0, 2);
    image_key_u32(&b, "same", 1);
    image_key_u32(&b, "same", 2);
    check_refused(&b, "'same' occurs twice");
    image_begin(&b, 3, 0, 1);
    image_key_u32(&b, "", 1);
    check_refused(&b, "key has 0 bytes");
    image_begin(&b, 3, 0, 1);
    image_u64(&b, 3);
    image_raw(&b, "a\0b", 3);
    image_u32(&b, 4);
    image_u32(&b, 0);
    check_refused(&b, "zero byte");
    image_begin(&b, 3, 0, 1);
    image_key(&b, "deep", 9);
    for (int i = 0; i < 12; i++) {
        image_u32(&b, 9);
        image_u64(&b, 1);
    }
    image_u64(&b, 0);
    image_u64(&b, 0);
    check_refused(&b, "nests arrays");
    free(b.data);
}

static void refuses_bad_alignment(void **state) {
    (void)state;
    static const uint32_t BAD[] = {0, 3, 48, 1u << 21, 1u << 31};
    image b = {0};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        image_begin(&b, 3, 0, 1);
        image_key_u32(&b, "general.alignment", BAD[i]);
        check_refused(&b, "general.alignment is");
    }
    image_begin(&b, 3, 0, 1);
    image_key_text(&b, "general.alignment", "32");
    check_refused(&b, "general.alignment is no positive integer");
    image_begin(&b, 3, 2, 1); /* 64 is good, and then the offset 32 is bad */
    image_key_u32(&b, "general.alignment", 64);
    image_tensor(&b, "a", 1, SHAPE_B, 0, 0);
    image_tensor(&b, "b", 1, SHAPE_B, 0, 32);
    image_align(&b, 64);
    for (int i = 0; i < 128; i++)
        image_u8(&b, 0);
    check_refused(&b, "not a multiple of the alignment 64");
    free(b.data);
}

/* One tensor with 256 bytes of data behind it. */
static void one_tensor(image *b, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type,
                       uint64_t offset) {
    image_begin(b, 3, 1, 0);
    image_tensor(b, name, n_dims, dims, type, offset);
    image_align(b, 32);
    for (int i = 0; i < 256; i++)
        image_u8(b, 0);
}

static void refuses_bad_tensors(void **state) {
    (void)state;
    image b = {0};
    one_tensor(&b, "t", 1, SHAPE_B, 0, 256);
    check_refused(&b, "'t' needs 20 bytes at offset 256");
    one_tensor(&b, "t", 1, SHAPE_B, 0, UINT64_MAX - 31);
    check_refused(&b, "cut short");
    one_tensor(&b, "t", 1, SHAPE_B, 0, 4);
    check_refused(&b, "not a multiple of the alignment 32");
    one_tensor(&b, "t", 5, (uint64_t[5]){1, 1, 1, 1, 1}, 0, 0);
    check_refused(&b, "5 dimensions");
    one_tensor(&b, "t", 1, (uint64_t[1]){0}, 0, 0);
    check_refused(&b, "dimension 0 of tensor 't' is 0");
    one_tensor(&b, "t", 2, (uint64_t[2]){4, (uint64_t)-1}, 0, 0);
    check_refused(&b, "dimension 1 of tensor 't' is -1");
    one_tensor(&b, "t", 2, (uint64_t[2]){1ull << 32, 1ull << 32}, 0, 0);
    check_refused(&b, "multiply to more than");
    one_tensor(&b, "t", 4, (uint64_t[4]){1ull << 16, 1ull << 16, 1ull << 16, 1ull << 16}, 0, 0);
    check_refused(&b, "multiply to more than");
    one_tensor(&b, "t", 1, (uint64_t[1]){1ull << 62}, 0, 0); /* 2^64 bytes as F32 */
    check_refused(&b, "more than 2^64 bytes");
    one_tensor(&b, "t", 2, (uint64_t[2]){33, 2}, TANDEM_TYPE_Q4_0, 0);
    check_refused(&b, "not a multiple of the 32 of a Q4_0 block");
    one_tensor(&b, "t", 1, (uint64_t[1]){288}, TANDEM_TYPE_Q6_K, 0);
    check_refused(&b, "not a multiple of the 256");
    one_tensor(&b, "", 1, SHAPE_B, 0, 0);
    check_refused(&b, "tensor name has 0 bytes");
    one_tensor(&b, "a-name-of-64-bytes-is-one-too-long-for-what-the-format-permits--", 1, SHAPE_B, 0, 0);
    check_refused(&b, "tensor name has 64 bytes");
    image_begin(&b, 3, 2, 0);
    image_tensor(&b, "twin", 1, SHAPE_B, 0, 0);
    image_tensor(&b, "twin", 1, SHAPE_B, 0, 32);
    image_align(&b, 32);
    for (int i = 0; i < 64; i++)
        image_u8(&b, 0);
    check_refused(&b, "'twin' occurs twice");
    free(b.data);
}

static void lists_tensor_types_it_cannot_read(void **state) {
    (void)state;
    image b = {0};
    gguf_file *file;
    uint8_t *copy;
    tandem_message message;
    one_tensor(&b, "t", 1, (uint64_t[1]){77}, 99, 0);
    assert_int_equal(open_image(&b, &file, &copy, &message), TANDEM_OK);
    const gguf_tensor *t = gguf_tensor_by_name(file, "t");
    assert_int_equal(t->type, 99);
    assert_int_equal(t->bytes, 0);
    assert_null(gguf_tensor_type_name(99));
    assert_string_equal(gguf_tensor_type_name(21), "IQ3_S");
    assert_string_equal(gguf_tensor_type_name(TANDEM_TYPE_Q4_K), "Q4_K");
    gguf_close(file);
    free(copy);
    free(b.data);
}

/* Without the hash table, or with one that degenerates, this takes minutes. */
static void finds_names_among_many(void **state) {
    (void)state;
    enum { N = 60000 };
    image b = {0};
    gguf_file *file;
    uint8_t *copy;
    tandem_message message;
    char name[32];
    image_begin(&b, 3, N, N);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "key.%d", i);
        image_key_u32(&b, name, (uint32_t)i);
    }
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "blk.%d.weight", i);
        image_tensor(&b, name, 1, SHAPE_B, 0, 0);
    }
    image_align(&b, 32);
    for (int i = 0; i < 20; i++)
        image_u8(&b, 0);
    assert_int_equal(open_image(&b, &file, &copy, &message), TANDEM_OK);
    for (int i = 0; i < N; i++) {
        uint32_t v;
        snprintf(name, sizeof name, "key.%d", i);
        assert_int_equal(gguf_get_u32(file, name, &v, &message), 1);
        assert_int_equal(v, i);
        snprintf(name, sizeof name, "blk.%d.weight", i);
        assert_ptr_equal(gguf_tensor_by_name(file, name), gguf_tensor_at(file, (uint64_t)i));
    }
    gguf_close(file);
    free(copy);
    free(b.data);
}

static void messages_are_one_printable_line(void **state) {
    (void)state;
    tandem_message message;
    char big[2000];
    message_fail(&message, -1, "name '%s'", "a\n\x1b[31m\xff\xc3\xa9\xe2\x82");
    assert_string_equal(message.text, "name 'a?"
                                      "?[31m?\xc3\xa9?"
                                      "?'");
    memset(big, 'x', sizeof big);
    for (size_t i = 0; i + 1 < sizeof big; i += 2)
        memcpy(big + i, "\xc3\xa9", 2);
    big[sizeof big - 1] = '\0';
    assert_int_equal(message_fail(&message, -9, "%s", big), -9);
    size_t n = strlen(message.text);
    assert_string_equal(message.text + n - 3, "...");
    for (size_t i = 0; i + 3 < n; i++)
        assert_true(message.text[i] != '?');
    assert_int_equal(message_fail(NULL, -2, "%d", 1), -2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_value_type),
        cmocka_unit_test(reads_arrays),
        cmocka_unit_test(says_what_a_wrong_value_is),
        cmocka_unit_test(tensors_may_lie_in_any_order_with_gaps),
        cmocka_unit_test(refuses_a_file_cut_at_any_byte),
        cmocka_unit_test(survives_any_changed_byte),
        cmocka_unit_test(refuses_other_files_and_versions),
        cmocka_unit_test(refuses_absurd_counts),
        cmocka_unit_test(refuses_bad_values),
        cmocka_unit_test(refuses_bad_alignment),
        cmocka_unit_test(refuses_bad_tensors),
        cmocka_unit_test(lists_tensor_types_it_cannot_read),
        cmocka_unit_test(finds_names_among_many),
        cmocka_unit_test(messages_are_one_printable_line),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
