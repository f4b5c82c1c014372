/* The GGUF reader against hostile files, and the writer against full disks and misuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <tandem/base.h>

#include "gguf.h"
#include "gguf_testing.h"
#include "gguf_write.h"

/* ---- a sample with every value type ---- */

static const uint64_t SHAPE_A[2] = {32, 3}, SHAPE_B[1] = {5};

static void sample_values(image *b) {
    image_key(b, "u8", 0);
    image_u8(b, 200);
    image_key(b, "i8", 1);
    image_u8(b, 0xfe);
    image_key(b, "u16", 2);
    image_raw(b, &(uint16_t){60000}, 2);
    image_key(b, "i16", 3);
    image_raw(b, &(int16_t){-300}, 2);
    image_key_u32(b, "u32", 4000000000u);
    image_key(b, "i32", 5);
    image_raw(b, &(int32_t){-7}, 4);
    image_key(b, "f32", 6);
    image_raw(b, &(float){1.5f}, 4);
    image_key(b, "bool", 7);
    image_u8(b, 1);
    image_key_text(b, "text", "h\xc3\xa9llo");
    image_key(b, "u64", 10);
    image_u64(b, UINT64_MAX);
    image_key(b, "i64", 11);
    image_u64(b, (uint64_t)-5);
    image_key(b, "f64", 12);
    image_raw(b, &(double){-0.25}, 8);
    image_key(b, "ints", 9);
    image_u32(b, 5);
    image_u64(b, 3);
    image_raw(b, (int32_t[]){1, 2, -3}, 12);
    image_key(b, "words", 9);
    image_u32(b, 8);
    image_u64(b, 3);
    image_text(b, "one");
    image_text(b, "");
    image_text(b, "three");
    image_key(b, "nested", 9); /* two arrays: of one u8, of two strings */
    image_u32(b, 9);
    image_u64(b, 2);
    image_u32(b, 0);
    image_u64(b, 1);
    image_u8(b, 9);
    image_u32(b, 8);
    image_u64(b, 2);
    image_text(b, "x");
    image_text(b, "yy");
    image_key(b, "flags", 9);
    image_u32(b, 7);
    image_u64(b, 2);
    image_u8(b, 0);
    image_u8(b, 1);
}

#define SAMPLE_VALUES 16u

/* Two tensors, the second first in the data section and a gap between. */
static size_t make_sample(image *b, uint32_t version) {
    image_begin(b, version, 2, SAMPLE_VALUES);
    sample_values(b);
    image_tensor(b, "a", 2, SHAPE_A, TANDEM_TYPE_Q4_0, 64);
    image_tensor(b, "b", 1, SHAPE_B, TANDEM_TYPE_F32, 0);
    size_t header = b->n;
    image_align(b, 32);
    for (uint32_t i = 0; i < 64 + 3 * 18; i++)
        image_u8(b, (uint8_t)i);
    return header;
}

/* Reads everything that a file offers; the sum keeps the reads. */
static uint64_t walk(const gguf_file *file) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < gguf_n_values(file); i++) {
        const gguf_value *value = gguf_value_at(file, i);
        for (uint64_t k = 0; k < value->count; k++) {
            uint64_t u;
            double f;
            gguf_string s;
            if (gguf_element_u64(value, k, &u))
                sum += u;
            if (gguf_element_f64(value, k, &f))
                sum += f > 0 && f < 1e9 ? (uint64_t)f : 1;
            if (gguf_element_string(file, value, k, &s))
                for (uint64_t c = 0; c < s.len; c++)
                    sum += (uint8_t)s.data[c];
        }
    }
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *tensor = gguf_tensor_at(file, i);
        for (uint64_t k = 0; k < tensor->bytes; k++)
            sum += tensor->data[k];
        assert_ptr_equal(gguf_tensor_by_name(file, tensor->name), tensor);
    }
    return sum;
}

/* Opens an image from memory of exactly its size. */
static int open_image(const image *b, gguf_file **file, uint8_t **copy, tandem_message *message) {
    *copy = image_exact(b->data, b->n);
    int status = gguf_open_memory(file, *copy, b->n, message);
    if (status != TANDEM_OK) {
        free(*copy);
        *copy = NULL;
    }
    return status;
}

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

/* ---- files ---- */

typedef struct scratch {
    char dir[64];
    char path[128];
} scratch;

static int make_scratch(void **state) {
    static scratch s;
    test_directory(s.dir);
    snprintf(s.path, sizeof s.path, "%s/model.gguf", s.dir);
    *state = &s;
    return 0;
}

static int remove_scratch(void **state) {
    scratch *s = *state;
    test_directory_remove(s->dir);
    return 0;
}

/* Opening `path` fails with a sentence that has `words` and names `culprit`. */
static void check_part_fails(const char *path, const char *culprit, const char *words) {
    gguf_file *file = NULL;
    tandem_message message = {""};
    assert_true(gguf_open(&file, path, &message) < 0);
    assert_null(file);
    if (!strstr(message.text, words) || !strstr(message.text, culprit))
        fail_msg("expected '%s' and '%s' in '%s'", words, culprit, message.text);
}

static void check_open_fails(const char *path, const char *words) {
    check_part_fails(path, path, words);
}

static void says_why_a_path_cannot_be_opened(void **state) {
    scratch *s = *state;
    check_open_fails(s->path, "No such file");
    check_open_fails(s->dir, "is not a file");
    write_file(s->path, "", 0);
    check_open_fails(s->path, "empty");
    write_file(s->path, "GG", 2);
    check_open_fails(s->path, "not a GGUF file");
}

static void write_sample(gguf_writer *w) {
    static const gguf_string WORDS[] = {{"one", 3}, {"", 0}, {"three", 5}};
    gguf_write_string(w, "general.name", "sample", 6);
    gguf_write_u32(w, "general.alignment", 64);
    gguf_write_f32(w, "f", 0.5f);
    gguf_write_bool(w, "b", true);
    gguf_write_scalar(w, "i16", GGUF_I16, &(int16_t){-4});
    gguf_write_array(w, "list", GGUF_I32, (int32_t[]){4, 5, 6}, 3);
    gguf_write_strings(w, "words", WORDS, 3);
    gguf_write_declare(w, "a", TANDEM_TYPE_Q4_0, 2, SHAPE_A);
    gguf_write_declare(w, "b", TANDEM_TYPE_F32, 1, SHAPE_B);
}

static void reads_back_what_it_wrote(void **state) {
    scratch *s = *state;
    gguf_writer *w;
    gguf_file *file;
    tandem_message message;
    uint8_t a[54];
    float b[5] = {1, 2, 3, 4, 5};
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = (uint8_t)(i * 7);
    assert_int_equal(gguf_write_begin(&w, s->path, &message), TANDEM_OK);
    write_sample(w);
    for (size_t i = 0; i < sizeof a; i += 6) /* in pieces */
        assert_int_equal(gguf_write_data(w, a + i, 6), TANDEM_OK);
    assert_int_equal(access(s->path, F_OK), -1); /* nobody sees half a file */
    assert_int_equal(gguf_write_data(w, b, sizeof b), TANDEM_OK);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
    assert_int_equal(test_directory_files(s->dir), 1);
    assert_int_equal(gguf_open(&file, s->path, &message), TANDEM_OK);
    assert_int_equal(gguf_alignment(file), 64);
    const gguf_tensor *t = gguf_tensor_by_name(file, "a");
    assert_int_equal((uintptr_t)t->data % 64, 0);
    assert_memory_equal(t->data, a, sizeof a);
    t = gguf_tensor_by_name(file, "b");
    assert_memory_equal(t->data, b, sizeof b);
    assert_int_equal((uintptr_t)t->data % 64, 0);
    const gguf_value *words = gguf_value_by_key(file, "words");
    gguf_string word;
    assert_true(gguf_element_string(file, words, 2, &word) && word.len == 5);
    gguf_close(file);
}

static void copies_any_value_byte_for_byte(void **state) {
    scratch *s = *state;
    image b = {0};
    gguf_file *from, *to;
    uint8_t *copy;
    gguf_writer *w;
    tandem_message message;
    make_sample(&b, 3);
    assert_int_equal(open_image(&b, &from, &copy, &message), TANDEM_OK);
    assert_int_equal(gguf_write_begin(&w, s->path, &message), TANDEM_OK);
    for (uint64_t i = 0; i < gguf_n_values(from); i++)
        assert_int_equal(gguf_write_copy(w, gguf_value_at(from, i)), TANDEM_OK);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
    assert_int_equal(gguf_open(&to, s->path, &message), TANDEM_OK);
    assert_int_equal(gguf_n_values(to), gguf_n_values(from));
    for (uint64_t i = 0; i < gguf_n_values(from); i++) {
        const gguf_value *x = gguf_value_at(from, i), *y = gguf_value_at(to, i);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->count, y->count);
        assert_int_equal(x->encoded_bytes, y->encoded_bytes);
        assert_memory_equal(x->data, y->data, x->encoded_bytes);
    }
    gguf_close(from);
    gguf_close(to);
    free(copy);
    free(b.data);
}

static void an_aborted_write_leaves_the_old_file(void **state) {
    scratch *s = *state;
    gguf_writer *w;
    tandem_message message;
    char old[4] = "";
    write_file(s->path, "old", 3);
    assert_int_equal(gguf_write_begin(&w, s->path, &message), TANDEM_OK);
    write_sample(w);
    gguf_write_data(w, "123456", 6);
    gguf_write_abort(w);
    assert_int_equal(gguf_write_begin(&w, s->path, &message), TANDEM_OK);
    write_sample(w);
    gguf_write_data(w, "123456", 6);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_E_INVALID); /* data is missing */
    assert_non_null(strstr(message.text, "data of tensor 'a' is incomplete"));
    assert_int_equal(test_directory_files(s->dir), 1);
    FILE *f = fopen(s->path, "rb");
    assert_int_equal(fread(old, 1, 3, f), 3);
    fclose(f);
    assert_string_equal(old, "old");
}

static void check_write_fails(scratch *s, const char *words, void (*write)(gguf_writer *)) {
    gguf_writer *w;
    tandem_message message = {""};
    assert_int_equal(gguf_write_begin(&w, s->path, &message), TANDEM_OK);
    write(w);
    assert_true(gguf_write_end(w, &message) < 0);
    if (!strstr(message.text, words))
        fail_msg("expected '%s' in '%s'", words, message.text);
    assert_int_equal(test_directory_files(s->dir), 0);
}

static void write_key_twice(gguf_writer *w) {
    gguf_write_u32(w, "k", 1);
    gguf_write_u32(w, "k", 1);
}

static void write_too_much(gguf_writer *w) {
    gguf_write_declare(w, "b", TANDEM_TYPE_F32, 1, SHAPE_B);
    gguf_write_data(w, (float[6]){0}, 24);
}

static void write_odd_rows(gguf_writer *w) {
    gguf_write_declare(w, "b", TANDEM_TYPE_Q4_0, 1, SHAPE_B);
}

static void write_late_key(gguf_writer *w) {
    gguf_write_declare(w, "b", TANDEM_TYPE_F32, 1, SHAPE_B);
    gguf_write_data(w, (float[5]){0}, 20);
    gguf_write_u32(w, "k", 1);
}

static void the_writer_refuses_misuse(void **state) {
    check_write_fails(*state, "'k' written twice", write_key_twice);
    check_write_fails(*state, "more data than tensor 'b'", write_too_much);
    check_write_fails(*state, "'b' has no size", write_odd_rows);
    check_write_fails(*state, "metadata after tensor data", write_late_key);
}

static void write_megabytes(gguf_writer *w) {
    static uint8_t megabyte[1 << 20];
    gguf_write_declare(w, "big", TANDEM_TYPE_F32, 1, (uint64_t[1]){1 << 20});
    for (int i = 0; i < 4; i++)
        gguf_write_data(w, megabyte, sizeof megabyte);
}

/* A limit on file size stands for a full disk: both fail the same calls. */
static void a_full_disk_is_one_sentence_and_no_remains(void **state) {
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 2 << 20;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_write_fails(*state, "cannot write", write_megabytes);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
}

static void says_where_it_cannot_write(void **state) {
    scratch *s = *state;
    gguf_writer *w = NULL;
    tandem_message message;
    char path[160];
    snprintf(path, sizeof path, "%s/missing/model.gguf", s->dir);
    assert_true(gguf_write_begin(&w, path, &message) < 0);
    assert_non_null(strstr(message.text, "No such file"));
}

/* ---- parts ---- */

static void write_part(const scratch *s, uint32_t no, uint32_t count, uint32_t says_count, uint32_t n_tensors,
                       const char *tensor) {
    char path[160];
    gguf_writer *w;
    tandem_message message;
    snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", s->dir, no + 1, count);
    assert_int_equal(gguf_write_begin(&w, path, &message), TANDEM_OK);
    if (no == 0)
        gguf_write_string(w, "general.name", "parts", 5);
    gguf_write_scalar(w, "split.no", GGUF_U16, &(uint16_t){(uint16_t)no});
    gguf_write_scalar(w, "split.count", GGUF_U16, &(uint16_t){(uint16_t)says_count});
    gguf_write_scalar(w, "split.tensors.count", GGUF_I32, &(int32_t){(int32_t)n_tensors});
    float data[5] = {(float)no, 1, 2, 3, 4};
    gguf_write_declare(w, tensor, TANDEM_TYPE_F32, 1, SHAPE_B);
    gguf_write_data(w, data, sizeof data);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
}

static void parts_look_like_one_file(void **state) {
    scratch *s = *state;
    char path[160], second[160];
    gguf_file *file;
    tandem_message message;
    snprintf(path, sizeof path, "%s/m-00001-of-00003.gguf", s->dir);
    snprintf(second, sizeof second, "%s/m-00002-of-00003.gguf", s->dir);
    write_part(s, 0, 3, 3, 3, "zero");
    write_part(s, 1, 3, 3, 3, "one");
    write_part(s, 2, 3, 3, 3, "two");
    assert_int_equal(gguf_open(&file, path, &message), TANDEM_OK);
    assert_int_equal(gguf_n_parts(file), 3);
    assert_int_equal(gguf_n_tensors(file), 3);
    float first;
    memcpy(&first, gguf_tensor_by_name(file, "two")->data, sizeof first);
    assert_true(first == 2);
    assert_int_equal(gguf_tensor_by_name(file, "two")->part, 2);
    assert_non_null(gguf_value_by_key(file, "general.name"));
    gguf_drop_pages(file, gguf_tensor_by_name(file, "two"));
    walk(file);
    gguf_close(file);
    check_open_fails(second, "part 2 of 3: open the first part");
    write_part(s, 1, 3, 3, 3, "zero");
    check_open_fails(path, "'zero' occurs twice");
    write_part(s, 1, 3, 4, 3, "one");
    check_part_fails(path, second, "does not say that it is part 2 of 3");
    write_part(s, 1, 3, 3, 3, "one");
    write_part(s, 0, 3, 3, 4, "zero");
    check_open_fails(path, "3 tensors together, not the 4");
    unlink(second);
    check_part_fails(path, second, "No such file");
    write_part(s, 0, 1, 3, 3, "zero"); /* a name without the pattern */
    snprintf(path, sizeof path, "%s/m-00001-of-00001.gguf", s->dir);
    check_open_fails(path, "does not end in -00001-of-00003.gguf");
}

/* Resident KiB of the mapping that holds `address`. */
static long resident_kib(const void *address) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    long kib = -1;
    bool inside = false;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = from <= (uintptr_t)address && (uintptr_t)address < to;
        else if (inside && sscanf(line, "Rss: %ld", &kib) == 1)
            break;
    }
    fclose(f);
    return kib;
}

static void dropped_pages_leave_memory_and_come_back(void **state) {
    scratch *s = *state;
    gguf_writer *w;
    gguf_file *file;
    tandem_message message;
    assert_int_equal(gguf_write_begin(&w, s->path, &message), TANDEM_OK);
    write_megabytes(w);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
    assert_int_equal(gguf_open(&file, s->path, &message), TANDEM_OK);
    const gguf_tensor *t = gguf_tensor_by_name(file, "big");
    uint64_t sum = walk(file);
    assert_true(resident_kib(t->data) >= 4096);
    gguf_drop_pages(file, t);
    assert_true(resident_kib(t->data) < 512);
    assert_int_equal(walk(file), sum);
    gguf_close(file);
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
        cmocka_unit_test_setup_teardown(says_why_a_path_cannot_be_opened, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(reads_back_what_it_wrote, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(copies_any_value_byte_for_byte, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(an_aborted_write_leaves_the_old_file, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(the_writer_refuses_misuse, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(a_full_disk_is_one_sentence_and_no_remains, make_scratch,
                                        remove_scratch),
        cmocka_unit_test_setup_teardown(says_where_it_cannot_write, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(parts_look_like_one_file, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(dropped_pages_leave_memory_and_come_back, make_scratch,
                                        remove_scratch),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
