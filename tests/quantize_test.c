/* Models in other formats: which tensors change, into what, and what stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tandem/quants.h>

#include "gguf_write.h"
#include "quantize.h"
#include "scratch.h"
#include "small_models.h"

static const char *const families[] = {"gemma4-e2b", "gemma4-12b", "gemma4-26b-a4b", "gemma3-270m"};
#define N_FAMILY (sizeof families / sizeof families[0])

static int quantise(const char *in, const char *out, const char *mix_name, uint32_t n_thread,
                    quantize_result *result, tandem_message *message) {
    model_mix mix;
    CHECK(model_mix_by_name(&mix, mix_name, &check_message));
    const quantize_desc desc = {.in = in, .out = out, .mix = &mix, .n_thread = n_thread};
    return quantize_file(&desc, result, message);
}

static gguf_file *open_file(const char *path) {
    gguf_file *file;
    CHECK(gguf_open(&file, path, &check_message));
    return file;
}

/* Blocks are those that the kit makes of the source's values, row by row. */
static void check_blocks(const gguf_tensor *from, const gguf_tensor *to) {
    const uint64_t n_col = from->dims[0], n_row = from->dims[1] * from->dims[2] * from->dims[3];
    const uint64_t from_bytes = tandem_kit_row_bytes(from->type, n_col);
    const uint64_t to_bytes = tandem_kit_row_bytes(to->type, n_col);
    float *row = malloc(n_col * sizeof *row);
    uint8_t *blocks = malloc(to_bytes);
    for (uint64_t r = 0; r < n_row; r++) {
        tandem_kit_dequantise(from->type, from->data + r * from_bytes, row, n_col);
        tandem_kit_quantise(to->type, row, blocks, n_col);
        assert_memory_equal(blocks, to->data + r * to_bytes, to_bytes);
    }
    free(row);
    free(blocks);
}

static bool stays(const char *name) {
    static const char *const endings[] = {
        "norm.weight",  "norm_1.weight",       "norm_2.weight", ".scale",
        "scale.weight", "ffn_gate_inp.weight", "freqs.weight",  "per_layer_model_proj.weight"};
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t n = strlen(endings[i]);
        if (strlen(name) >= n && !strcmp(name + strlen(name) - n, endings[i]))
            return true;
    }
    return false;
}

static void matrices_change_and_the_rest_stays(void **state) {
    const scratch *s = *state;
    for (size_t f = 0; f < N_FAMILY; f++) {
        quantize_result result;
        uint32_t n_changed = 0;
        write_small(s->path, families[f], "F32");
        CHECK(quantise(s->path, s->other, "Q8_0", 2, &result, &check_message));
        gguf_file *from = open_file(s->path), *to = open_file(s->other);
        assert_int_equal(gguf_n_tensors(from), gguf_n_tensors(to));
        for (uint64_t i = 0; i < gguf_n_tensors(from); i++) {
            const gguf_tensor *a = gguf_tensor_at(from, i), *b = gguf_tensor_at(to, i);
            assert_string_equal(a->name, b->name);
            assert_memory_equal(a->dims, b->dims, sizeof a->dims);
            assert_int_equal(b->type, stays(a->name) ? TANDEM_TYPE_F32 : TANDEM_TYPE_Q8_0);
            if (stays(a->name))
                assert_memory_equal(a->data, b->data, a->bytes);
            else
                check_blocks(a, b);
            n_changed += !stays(a->name);
        }
        assert_int_equal(result.n_changed, n_changed);
        assert_int_equal(result.n_kept, gguf_n_tensors(from) - n_changed);
        assert_int_equal(result.n_again, 0);
        gguf_close(from);
        gguf_close(to);
    }
}

/* The types of a mix are those that synth gives to the same shape, whose counts model_config_test knows; what
 * is never quantised keeps the source's. */
static void types_are_those_of_the_mix(void **state) {
    const scratch *s = *state;
    static const char *const mixes[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K_M",
                                        "Q4_K", "Q5_K", "Q6_K", "F16",  "BF16", "Q4_0_PURE"};
    for (size_t f = 0; f < N_FAMILY; f++)
        for (size_t m = 0; m < sizeof mixes / sizeof mixes[0]; m++) {
            quantize_result result;
            write_small(s->other, families[f], mixes[m]);
            gguf_file *expected = open_file(s->other);
            write_small(s->path, families[f], "F32");
            CHECK(quantise(s->path, s->other, mixes[m], 1, &result, &check_message));
            gguf_file *got = open_file(s->other);
            for (uint64_t i = 0; i < gguf_n_tensors(got); i++) {
                const gguf_tensor *t = gguf_tensor_at(got, i);
                const uint32_t type = strcmp(t->name, "per_layer_model_proj.weight")
                                          ? gguf_tensor_by_name(expected, t->name)->type
                                          : TANDEM_TYPE_F32;
                if (t->type != type)
                    fail_msg("%s %s: %s is %s", families[f], mixes[m], t->name,
                             gguf_tensor_type_name(t->type));
            }
            uint32_t number, wanted;
            assert_int_equal(gguf_get_u32(got, "general.file_type", &number, NULL), 1);
            assert_int_equal(gguf_get_u32(expected, "general.file_type", &wanted, NULL), 1);
            assert_int_equal(number, wanted);
            gguf_close(expected);
            gguf_close(got);
        }
}

static void metadata_are_copied(void **state) {
    const scratch *s = *state;
    quantize_result result;
    write_small(s->path, "gemma4-26b-a4b", "F16");
    CHECK(quantise(s->path, s->other, "Q4_K_M", 2, &result, &check_message));
    gguf_file *from = open_file(s->path), *to = open_file(s->other);
    assert_int_equal(gguf_n_values(from), gguf_n_values(to));
    for (uint64_t i = 0; i < gguf_n_values(from); i++) {
        const gguf_value *a = gguf_value_at(from, i);
        char key[128];
        snprintf(key, sizeof key, "%.*s", (int)a->key.len, a->key.data);
        const gguf_value *b = gguf_value_by_key(to, key);
        assert_non_null(b);
        if (!strcmp(key, "general.file_type"))
            continue;
        assert_int_equal(a->type, b->type);
        assert_int_equal(a->encoded_bytes, b->encoded_bytes);
        assert_memory_equal(a->data, b->data, a->encoded_bytes);
    }
    gguf_close(from);
    gguf_close(to);
}

static void threads_and_repetition_change_no_byte(void **state) {
    const scratch *s = *state;
    quantize_result result;
    uint8_t *first = NULL;
    size_t n_first = 0;
    write_small(s->path, "gemma4-26b-a4b", "F32");
    static const uint32_t threads[] = {1, 2, 7};
    for (size_t i = 0; i < 3; i++) {
        CHECK(quantise(s->path, s->other, "Q4_K_M", threads[i], &result, &check_message));
        FILE *file = fopen(s->other, "rb");
        fseek(file, 0, SEEK_END);
        size_t n = (size_t)ftell(file);
        uint8_t *bytes = malloc(n);
        rewind(file);
        assert_int_equal(fread(bytes, 1, n, file), n);
        fclose(file);
        if (first) {
            assert_int_equal(n, n_first);
            assert_memory_equal(bytes, first, n);
            free(bytes);
        } else {
            first = bytes;
            n_first = n;
        }
    }
    free(first);
    /* and what is in the wanted format already is copied */
    CHECK(quantise(s->other, s->path, "Q4_K_M", 2, &result, &check_message));
    assert_int_equal(result.n_changed, 0);
    assert_int_equal(result.bytes_in, result.bytes_out);
}

/* A tensor that is no part of the text model comes through, whatever it is. */
static void strangers_come_through(void **state) {
    const scratch *s = *state;
    gguf_file *file;
    gguf_writer *w;
    const uint64_t dims[GGUF_MAX_DIMS] = {64, 3, 1, 1};
    float values[192];
    for (uint32_t i = 0; i < 192; i++)
        values[i] = (float)i * 0.37f;
    write_small(s->path, "gemma4-12b", "F32");
    file = open_file(s->path);
    CHECK(gguf_write_begin(&w, s->other, NULL, &check_message));
    for (uint64_t i = 0; i < gguf_n_values(file); i++)
        gguf_write_copy(w, gguf_value_at(file, i));
    gguf_write_declare(w, "v.patch_embd.weight", TANDEM_TYPE_F32, 2, dims);
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        gguf_write_declare(w, t->name, t->type, t->n_dims, t->dims);
    }
    gguf_write_data(w, values, sizeof values);
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++)
        gguf_write_data(w, gguf_tensor_at(file, i)->data, gguf_tensor_at(file, i)->bytes);
    CHECK(gguf_write_end(w, &check_message));
    gguf_close(file);
    quantize_result result;
    CHECK(quantise(s->other, s->path, "Q4_0", 2, &result, &check_message));
    file = open_file(s->path);
    const gguf_tensor *t = gguf_tensor_by_name(file, "v.patch_embd.weight");
    assert_non_null(t);
    assert_int_equal(t->type, TANDEM_TYPE_F32);
    assert_memory_equal(t->data, values, sizeof values);
    gguf_close(file);
}

static void what_was_quantised_before_is_counted(void **state) {
    const scratch *s = *state;
    quantize_result result;
    write_small(s->path, "gemma4-12b", "Q8_0");
    CHECK(quantise(s->path, s->other, "Q4_0_PURE", 2, &result, &check_message));
    assert_true(result.n_changed > 0);
    assert_int_equal(result.n_again, result.n_changed);
}

static int stop_halfway(void *user, uint64_t done, uint64_t total) {
    (void)user;
    return done > total / 2 ? TANDEM_E_BUSY : 0;
}

static void a_stop_leaves_nothing(void **state) {
    const scratch *s = *state;
    quantize_result result;
    model_mix mix;
    tandem_message message;
    write_small(s->path, "gemma4-e2b", "F32");
    unlink(s->other);
    CHECK(model_mix_by_name(&mix, "Q4_0", &check_message));
    const quantize_desc desc = {
        .in = s->path, .out = s->other, .mix = &mix, .n_thread = 2, .progress = stop_halfway};
    assert_int_equal(quantize_file(&desc, &result, &message), TANDEM_E_BUSY);
    assert_int_not_equal(access(s->other, F_OK), 0);
    DIR *dir = opendir(s->dir);
    uint32_t n = 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    assert_int_equal(n, 3); /* ".", ".." and the source */
}

static void what_cannot_be_read_or_written_is_refused(void **state) {
    const scratch *s = *state;
    quantize_result result;
    tandem_message message = {""};
    assert_true(quantise("/nonexistent.gguf", s->other, "Q4_0", 1, &result, &message) < 0);
    assert_non_null(strstr(message.text, "/nonexistent.gguf"));
    write_small(s->path, "gemma4-12b", "F32");
    assert_true(quantise(s->path, "/nonexistent/x.gguf", "Q4_0", 1, &result, &message) < 0);
    assert_non_null(strstr(message.text, "/nonexistent/x.gguf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_change_and_the_rest_stays),
        cmocka_unit_test(types_are_those_of_the_mix),
        cmocka_unit_test(metadata_are_copied),
        cmocka_unit_test(threads_and_repetition_change_no_byte),
        cmocka_unit_test(strangers_come_through),
        cmocka_unit_test(what_was_quantised_before_is_counted),
        cmocka_unit_test(a_stop_leaves_nothing),
        cmocka_unit_test(what_cannot_be_read_or_written_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
