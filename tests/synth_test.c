/* Synthetic weights, and the sources that hand weights out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include <cmocka.h>

#include <tandem/quants.h>

#include "model_source.h"
#include "scratch.h"
#include "small_models.h"

static const model_tensor *tensor_named(const synth *s, const char *name) {
    uint32_t n;
    const model_tensor *list = synth_tensors(s, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    }
    fail_msg("no tensor %s", name);
    return NULL;
}

static uint64_t rows_of(const model_tensor *t) {
    return t->dims[1] * t->dims[2] * t->dims[3];
}

static uint8_t *fill_all(const synth *s, const model_tensor *t) {
    uint8_t *bytes = malloc(gguf_tensor_bytes(t->type, t->n_dims, t->dims));
    assert_non_null(bytes);
    synth_fill(s, t, 0, rows_of(t), bytes);
    return bytes;
}

static void rows_are_the_same_in_any_order(void **state) {
    (void)state;
    for (uint32_t m = 0; model_mix_at(m); m++) {
        model_config c;
        model_mix mix;
        synth *s, *other;
        uint32_t n;
        small_preset(&c, "gemma4-26b-a4b");
        CHECK(model_mix_by_name(&mix, model_mix_at(m), &check_message));
        CHECK(synth_create(&s, &c, &mix, 1, &check_message));
        CHECK(synth_create(&other, &c, &mix, 2, &check_message));
        const model_tensor *list = synth_tensors(s, &n);
        for (uint32_t i = 0; i < n; i++) {
            const model_tensor *t = &list[i];
            uint64_t bytes = gguf_tensor_bytes(t->type, t->n_dims, t->dims), row = bytes / rows_of(t);
            uint8_t *whole = fill_all(s, t), *again = malloc(bytes);
            for (uint64_t r = rows_of(t); r > 0;) { /* backwards, in unequal pieces */
                uint64_t k = r > 5 && r % 3 ? 5 : 1;
                synth_fill(s, t, r - k, k, again + (r - k) * row);
                r -= k;
            }
            assert_memory_equal(whole, again, bytes);
            synth_fill(other, t, 0, rows_of(t), again);
            if (t->role != MODEL_T_ROPE_FREQS)
                assert_memory_not_equal(whole, again, bytes);
            free(whole);
            free(again);
        }
        synth_destroy(s);
        synth_destroy(other);
    }
}

/* Mean and deviation of a matrix, and whether any two of its blocks are the same bytes. */
static void check_matrix(const synth *s, const char *name, double deviation) {
    const model_tensor *t = tensor_named(s, name);
    const tandem_type_info *info = tandem_kit_type(t->type);
    uint64_t n = t->dims[0] * rows_of(t);
    uint8_t *bytes = fill_all(s, t);
    float *x = malloc(n * sizeof *x);
    double sum = 0, squares = 0;
    CHECK(tandem_kit_dequantise(t->type, bytes, x, n));
    for (uint64_t i = 0; i < n; i++) {
        assert_true(isfinite(x[i]));
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    double mean = sum / (double)n, sd = sqrt(squares / (double)n - mean * mean);
    double lost = t->type == TANDEM_TYPE_Q2_K ? 0.04 : 0; /* rounding to two bits takes 7 % of the squares */
    if (fabs(sd / deviation - 1 + lost) > 0.03 || fabs(mean) > 0.02 * deviation)
        fail_msg("%s (%s): mean %g, deviation %g instead of %g", name, info->name, mean, sd, deviation);
    if (t->type == TANDEM_TYPE_Q8_0) {
        for (uint64_t b = 0; b < n / 32; b++)
            for (int i = 0; i < 32; i++)
                assert_true(bytes[34 * b + 2 + i] != 0x80);
    }
    if (info->block > 1) {
        for (uint64_t a = 0; a < n / info->block; a++)
            for (uint64_t b = a + 1; b < n / info->block; b++)
                assert_memory_not_equal(bytes + a * info->block_bytes, bytes + b * info->block_bytes,
                                        info->block_bytes);
    }
    free(bytes);
    free(x);
}

static void matrices_have_their_deviation_in_every_format(void **state) {
    (void)state;
    for (uint32_t m = 0; model_mix_at(m); m++) {
        model_config c;
        model_mix mix;
        synth *s;
        small_preset(&c, "gemma4-26b-a4b");
        CHECK(model_mix_by_name(&mix, model_mix_at(m), &check_message));
        CHECK(synth_create(&s, &c, &mix, 3, &check_message));
        check_matrix(s, "token_embd.weight", 1 / 16.0);
        check_matrix(s, "blk.1.ffn_up.weight", 1 / 16.0);
        check_matrix(s, "blk.5.ffn_down_exps.weight", 1 / 8.0);
        synth_destroy(s);
    }
}

static void the_file_and_the_memory_hold_the_same(void **state) {
    scratch *s = *state;
    tandem_message message;
    for (uint32_t i = 0; model_preset_at(i); i++) {
        model_source *file, *memory;
        model_source_desc in_memory = {
            .model = model_preset_at(i), .quant = "Q4_K_M", .seed = 5, .overrides = SMALL};
        model_source_desc in_file = {.model = s->path};
        model_tensor *list;
        uint32_t n;
        if (strcmp(model_preset_at(i), "gemma4-26b-a4b") == 0) {
            in_memory.overrides.n_expert = 4;
            in_memory.overrides.n_used = 2;
            in_memory.overrides.d_expert = 64;
        }
        write_small(s->path, model_preset_at(i), "Q4_K_M");
        CHECK(model_source_open(&memory, &in_memory, &check_message));
        CHECK(model_source_open(&file, &in_file, &check_message));
        assert_null(model_source_gguf(memory));
        assert_non_null(model_source_gguf(file));
        assert_string_equal(model_source_label(file), "model.gguf");
        assert_non_null(strstr(model_source_label(memory), "synthetic, Q4_K_M, seed 5"));
        assert_int_equal(model_source_bytes(file), model_source_bytes(memory));
        CHECK(model_tensor_list(model_source_config(memory), NULL, &list, &n, &check_message));
        for (uint32_t t = 0; t < n; t++) {
            source_tensor a, b;
            const void *x, *y;
            assert_int_equal(model_source_tensor(file, list[t].name, &a, &message), 1);
            assert_int_equal(model_source_role(memory, list[t].role, list[t].layer, &b, &message), 1);
            assert_int_equal(a.type, b.type);
            assert_int_equal(a.bytes, b.bytes);
            assert_non_null(a.data);
            assert_null(b.data);
            void *scratch_rows = malloc(b.bytes);
            CHECK(model_source_rows(file, &a, 0, a.n_row, NULL, &x, &check_message));
            CHECK(model_source_rows(memory, &b, 0, b.n_row, scratch_rows, &y, &check_message));
            assert_memory_equal(x, y, a.bytes);
            model_source_drop(file, &a);
            free(scratch_rows);
        }
        free(list);
        model_source_close(file);
        model_source_close(memory);
    }
}

static void sources_refuse_what_they_do_not_have(void **state) {
    scratch *s = *state;
    model_source *source = NULL;
    source_tensor t;
    const void *rows;
    float x[256];
    tandem_message message = {""};
    write_small(s->path, "gemma3-270m", "Q8_0");
    assert_true(
        model_source_open(&source, &(model_source_desc){.model = s->path, .quant = "Q4_0"}, &message) < 0);
    assert_non_null(strstr(message.text, "only be chosen for synthetic"));
    assert_true(
        model_source_open(&source, &(model_source_desc){.model = "gemma3-270m", .quant = "x"}, &message) < 0);
    assert_true(model_source_open(&source, &(model_source_desc){.model = "gemma3-27Om"}, &message) < 0);
    assert_non_null(strstr(message.text, "cannot open gemma3-27Om"));
    CHECK(model_source_open(&source, &(model_source_desc){.model = s->path}, &check_message));
    assert_int_equal(model_source_tensor(source, "blk.99.attn_q.weight", &t, &message), 0);
    assert_int_equal(model_source_tensor(source, "output_norm.weight", &t, &message), 1);
    assert_true(model_source_rows(source, &t, 0, 2, NULL, &rows, &message) < 0);
    assert_true(model_source_rows(source, &t, UINT64_MAX, 1, NULL, &rows, &message) < 0);
    assert_true(model_source_read_f32(source, &t, x, 255, &message) < 0);
    assert_int_equal(model_source_read_f32(source, &t, x, 256, &message), 0);
    assert_true(x[0] > 1 && x[255] < 6);
    model_source_close(source);
}

static int stop_at_half(void *user, uint64_t done, uint64_t total) {
    *(uint64_t *)user = total;
    return done > total / 2 ? -77 : 0;
}

static void a_stopped_write_leaves_nothing(void **state) {
    scratch *s = *state;
    model_config c;
    model_mix mix;
    synth *made;
    uint64_t total = 0;
    tandem_message message;
    small_preset(&c, "gemma3-270m");
    CHECK(model_mix_by_name(&mix, "F32", &check_message));
    CHECK(synth_create(&made, &c, &mix, 1, &check_message));
    assert_int_equal(synth_write(made, s->path, stop_at_half, &total, &message), -77);
    assert_true(total > 0);
    assert_int_equal(test_directory_files(s->dir), 0);
    synth_destroy(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_same_in_any_order),
        cmocka_unit_test(matrices_have_their_deviation_in_every_format),
        cmocka_unit_test_setup_teardown(the_file_and_the_memory_hold_the_same, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(sources_refuse_what_they_do_not_have, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(a_stopped_write_leaves_nothing, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests_name("synth", tests, NULL, NULL);
}
