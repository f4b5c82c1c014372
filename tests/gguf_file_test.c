/* GGUF files on disk: the writer against full disks and misuse, models in parts, pages let go. */
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
#include <unistd.h>

#include <cmocka.h>

#include "gguf_sample.h"
#include "gguf_write.h"
#include "scratch.h"

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
    check_open_fails(s->dir, "is a folder, not a regular file");
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
    assert_int_equal(gguf_write_begin(&w, s->path, NULL, &message), TANDEM_OK);
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
    assert_int_equal(gguf_write_begin(&w, s->path, NULL, &message), TANDEM_OK);
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
    assert_int_equal(gguf_write_begin(&w, s->path, NULL, &message), TANDEM_OK);
    write_sample(w);
    gguf_write_data(w, "123456", 6);
    gguf_write_abort(w);
    assert_int_equal(gguf_write_begin(&w, s->path, NULL, &message), TANDEM_OK);
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
    assert_int_equal(gguf_write_begin(&w, s->path, NULL, &message), TANDEM_OK);
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
    assert_true(gguf_write_begin(&w, path, NULL, &message) < 0);
    assert_non_null(strstr(message.text, "No such file"));
}

/* ---- parts ---- */

static void write_part(const scratch *s, uint32_t no, uint32_t count, uint32_t says_count, uint32_t n_tensors,
                       const char *tensor) {
    char path[160];
    gguf_writer *w;
    tandem_message message;
    snprintf(path, sizeof path, "%s/m-%05u-of-%05u.gguf", s->dir, no + 1, count);
    assert_int_equal(gguf_write_begin(&w, path, NULL, &message), TANDEM_OK);
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
    assert_int_equal(gguf_write_begin(&w, s->path, NULL, &message), TANDEM_OK);
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
        cmocka_unit_test_setup_teardown(says_why_a_path_cannot_be_opened, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(reads_back_what_it_wrote, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(copies_any_value_byte_for_byte, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(an_aborted_write_leaves_the_old_file, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(the_writer_refuses_misuse, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(a_full_disk_is_one_sentence_and_no_remains, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(says_where_it_cannot_write, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(parts_look_like_one_file, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(dropped_pages_leave_memory_and_come_back, scratch_make,
                                        scratch_remove),
    };
    return cmocka_run_group_tests_name("gguf files", tests, NULL, NULL);
}
