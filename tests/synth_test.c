/* Model shapes, their tensors and quant mixes, synthetic weights, and the sources that hand weights out. */
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

#include "gguf_testing.h"
#include "gguf_write.h"
#include "model_source.h"
#include "synth.h"

static const char *model_path = "models/gemma3-270m-q4_k_m.gguf";

/* A call that must succeed; it may pass &check_message. */
#define CHECK(call)                                                                                          \
    do {                                                                                                     \
        tandem_message check_message = {"(no message)"};                                                     \
        int check_status = (call);                                                                           \
        if (check_status != TANDEM_OK)                                                                       \
            fail_msg("%s: status %d, %s", #call, check_status, check_message.text);                          \
    } while (0)

/* ---- shapes and tensors ---- */

/* Published or observed figures (model cards, headers of widely used files). With the unused K and V of the
 * sharing layers where `tail` is set. */
static const struct {
    const char *preset, *mix;
    bool tail;
    uint32_t n_tensors;
    uint64_t n_params; /* 0: not checked */
    uint64_t bytes;    /* each tensor padded to 32; 0: not checked */
    uint32_t f32, bf16, q4_k, q6_k, q8_0, q5_0, q4_0;
} FIGURES[] = {
    {"gemma4-e2b", "Q4_K_M", true, 601, 4647449891, 0, 283, 1, 281, 36, 0, 0, 0},
    {"gemma4-e2b", "Q8_0", true, 601, 0, 4951678048, 283, 1, 0, 0, 317, 0, 0},
    {"gemma4-e2b", "Q8_0", false, 541, 0, 0, 263, 1, 0, 0, 277, 0, 0},
    {"gemma4-e4b", "Q4_K_M", true, 720, 7518069034, 0, 339, 1, 336, 44, 0, 0, 0},
    {"gemma4-e4b", "Q4_0", false, 666, 0, 5139118400, 321, 1, 0, 2, 0, 0, 342},
    {"gemma4-12b", "Q4_K_M", false, 667, 11907350320, 0, 338, 0, 284, 45, 0, 0, 0},
    {"gemma4-12b", "Q4_0_PURE", false, 667, 0, 6700533248, 338, 0, 0, 0, 0, 0, 329},
    {"gemma4-26b-a4b", "Q4_K_M", false, 658, 25233141790, 0, 392, 0, 192, 14, 28, 32, 0},
    {"gemma4-26b-a4b", "Q4_0_PURE", false, 658, 0, 14233223104, 392, 0, 0, 0, 0, 0, 266},
    {"gemma4-31b", "Q4_K_M", false, 833, 30697345340, 0, 422, 0, 355, 56, 0, 0, 0},
    {"gemma3-270m", "Q4_K_M", false, 236, 268098176, 0, 109, 0, 27, 9, 10, 81, 0},
};

static void presets_have_the_published_sizes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof FIGURES / sizeof *FIGURES; i++) {
        model_config c;
        model_mix mix;
        model_tensor *list;
        uint32_t n, of_type[64] = {0};
        uint64_t params = 0, bytes = 0;
        CHECK(model_config_preset(&c, FIGURES[i].preset, &check_message));
        CHECK(model_mix_by_name(&mix, FIGURES[i].mix, &check_message));
        for (uint32_t l = 0; l < c.n_layer; l++)
            c.layers[l].has_unused_kv = FIGURES[i].tail && c.layers[l].kv_layer != l;
        CHECK(model_tensor_list(&c, &mix, &list, &n, &check_message));
        for (uint32_t t = 0; t < n; t++) {
            if (list[t].role != MODEL_T_ROPE_FREQS) /* 256 constants, no parameters */
                params += list[t].dims[0] * list[t].dims[1] * list[t].dims[2];
            uint64_t size = gguf_tensor_bytes(list[t].type, list[t].n_dims, list[t].dims);
            assert_true(size > 0);
            bytes += (size + 31) / 32 * 32;
            of_type[list[t].type]++;
        }
        free(list);
        assert_int_equal(n, FIGURES[i].n_tensors);
        if (FIGURES[i].n_params)
            assert_int_equal(params, FIGURES[i].n_params);
        if (FIGURES[i].bytes)
            assert_int_equal(bytes, FIGURES[i].bytes);
        assert_int_equal(of_type[TANDEM_TYPE_F32], FIGURES[i].f32);
        assert_int_equal(of_type[TANDEM_TYPE_BF16], FIGURES[i].bf16);
        assert_int_equal(of_type[TANDEM_TYPE_Q4_K], FIGURES[i].q4_k);
        assert_int_equal(of_type[TANDEM_TYPE_Q6_K], FIGURES[i].q6_k);
        assert_int_equal(of_type[TANDEM_TYPE_Q8_0], FIGURES[i].q8_0);
        assert_int_equal(of_type[TANDEM_TYPE_Q5_0], FIGURES[i].q5_0);
        assert_int_equal(of_type[TANDEM_TYPE_Q4_0], FIGURES[i].q4_0);
    }
}

static void layers_follow_the_pattern(void **state) {
    (void)state;
    model_config c;
    CHECK(model_config_preset(&c, "GEMMA4-E2B", &check_message));
    for (uint32_t l = 0; l < c.n_layer; l++) {
        bool global = l % 5 == 4;
        assert_int_equal(c.layers[l].window, global ? 0 : 512);
        assert_int_equal(c.layers[l].head_dim, global ? 512 : 256);
        assert_int_equal(c.layers[l].d_ff, l < 15 ? 6144 : 12288);
        assert_int_equal(c.layers[l].kv_layer, l < 15 ? l : global ? 14 : 13);
    }
    CHECK(model_config_preset(&c, "gemma4-e4b", &check_message));
    assert_int_equal(c.layers[41].kv_layer, 23);
    assert_int_equal(c.layers[40].kv_layer, 22);
    CHECK(model_config_preset(&c, "gemma4-31b", &check_message));
    assert_int_equal(c.layers[5].n_kv_head, 4);
    assert_true(c.layers[5].k_is_v && !c.layers[4].k_is_v);
    assert_true(c.v_norm && c.softcap == 30 && c.attention_scale == 1);
    assert_true(fabsf(c.embed_scale - 73.321211f) < 1e-5f);
    CHECK(model_config_preset(&c, "gemma3-270m", &check_message));
    assert_true(!c.v_norm && c.softcap == 0 && c.attention_scale == 0.0625f && c.n_rope_factor == 0);
}

static void rotation_frequencies_are_the_published_ones(void **state) {
    (void)state;
    model_config c;
    double omega[MODEL_MAX_ROPE_PAIRS];
    CHECK(model_config_preset(&c, "gemma4-12b", &check_message));
    assert_int_equal(c.layers[5].n_rope_pair, 64); /* of 256: an eighth of the head's components twice */
    model_config_rope(&c, 5, omega);
    assert_true(omega[0] == 1);
    assert_true(fabs(omega[1] - 0.94746353) < 1e-8 && fabs(omega[2] - 0.89768713) < 1e-8);
    assert_true(fabs(omega[32] - 0.17782794) < 1e-8 && fabs(omega[63] - 0.03337625) < 1e-8);
    assert_int_equal(c.layers[0].n_rope_pair, 128);
    model_config_rope(&c, 0, omega);
    assert_true(fabs(omega[1] - 0.93057204) < 1e-8 && fabs(omega[64] - 0.01) < 1e-12);
    assert_true(fabs(omega[127] - 1.0746e-4) < 1e-8);
    CHECK(model_config_preset(&c, "gemma3-270m", &check_message));
    assert_int_equal(c.layers[5].n_rope_pair, 128);
    model_config_rope(&c, 5, omega);
    assert_true(fabs(omega[127] - pow(1e6, -254.0 / 256)) < 1e-15);
}

static void overrides_keep_the_pattern(void **state) {
    (void)state;
    model_config c;
    tandem_message message;
    model_overrides o = {
        .n_layer = 10, .d_model = 256, .d_ff = 512, .n_vocab = 1000, .head_dim = 64, .window = 16};
    CHECK(model_config_preset(&c, "gemma4-e2b", &check_message));
    CHECK(model_config_override(&c, &o, &check_message));
    assert_int_equal(c.n_shared_kv, 5); /* 20 of 35, in whole periods */
    assert_int_equal(c.layers[9].kv_layer, 4);
    assert_int_equal(c.layers[8].kv_layer, 3);
    assert_int_equal(c.layers[9].d_ff, 1024);
    assert_int_equal(c.layers[9].head_dim, 128);
    assert_int_equal(c.layers[9].n_rope_pair, 16);
    assert_int_equal(c.window, 16);
    CHECK(model_config_preset(&c, "gemma4-26b-a4b", &check_message));
    CHECK(model_config_override(&c, &(model_overrides){.n_kv_head = 2, .n_expert = 4}, &check_message));
    assert_int_equal(c.layers[5].n_kv_head, 1);
    assert_int_equal(c.n_used, 4);
    model_config before = c;
    assert_true(model_config_override(&c, &(model_overrides){.n_head = 3, .n_kv_head = 2}, &message) < 0);
    assert_non_null(strstr(message.text, "3 query heads, no multiple of its 2"));
    assert_true(model_config_override(&c, &(model_overrides){.n_layer = 100000}, &message) < 0);
    assert_true(model_config_override(&c, &(model_overrides){.head_dim = 4000}, &message) < 0);
    assert_true(model_config_override(&c, &(model_overrides){.head_dim = 7}, &message) < 0);
    assert_true(model_config_override(&c, &(model_overrides){.n_used = 500}, &message) < 0);
    assert_memory_equal(&c, &before, sizeof c);
    CHECK(model_config_preset(&c, "gemma3-270m", &check_message));
    assert_true(model_config_override(&c, &(model_overrides){.n_expert = 4}, &message) < 0);
    assert_non_null(strstr(message.text, "no experts"));
}

static void names_that_do_not_exist_list_those_that_do(void **state) {
    (void)state;
    model_config c;
    model_mix mix;
    tandem_message message;
    assert_true(model_config_preset(&c, "gemma5", &message) < 0);
    assert_true(model_mix_by_name(&mix, "Q9_Z", &message) < 0);
    for (uint32_t i = 0; model_mix_at(i); i++) {
        assert_non_null(strstr(message.text, model_mix_at(i)));
        CHECK(model_mix_by_name(&mix, model_mix_at(i), &check_message));
        assert_true(tandem_kit_can_quantise(mix.base));
    }
    CHECK(model_mix_by_name(&mix, "q4_k", &check_message));
    assert_string_equal(mix.name, "Q4_K_PURE");
}

/* ---- shapes from files ---- */

typedef struct scratch {
    char dir[64];
    char path[128];
    char other[128];
} scratch;

static int make_scratch(void **state) {
    static scratch s;
    test_directory(s.dir);
    snprintf(s.path, sizeof s.path, "%s/model.gguf", s.dir);
    snprintf(s.other, sizeof s.other, "%s/other.gguf", s.dir);
    *state = &s;
    return 0;
}

static int remove_scratch(void **state) {
    scratch *s = *state;
    test_directory_remove(s->dir);
    return 0;
}

static const model_overrides SMALL = {.n_layer = 10,
                                      .d_model = 256,
                                      .d_ff = 256,
                                      .n_vocab = 64,
                                      .n_head = 4,
                                      .n_kv_head = 2,
                                      .head_dim = 32,
                                      .window = 8};

static void small_preset(model_config *c, const char *preset) {
    model_overrides o = SMALL;
    if (strcmp(preset, "gemma4-26b-a4b") == 0) {
        o.n_expert = 4;
        o.n_used = 2;
        o.d_expert = 64;
    }
    CHECK(model_config_preset(c, preset, &check_message));
    CHECK(model_config_override(c, &o, &check_message));
}

static void write_small(const char *path, const char *preset, const char *mix_name) {
    model_config c;
    model_mix mix;
    synth *s;
    small_preset(&c, preset);
    CHECK(model_mix_by_name(&mix, mix_name, &check_message));
    CHECK(synth_create(&s, &c, &mix, 5, &check_message));
    CHECK(synth_write(s, path, NULL, NULL, &check_message));
    synth_destroy(s);
}

static void a_written_shape_reads_back(void **state) {
    scratch *s = *state;
    for (uint32_t i = 0; model_preset_at(i); i++) {
        model_config wanted, c;
        gguf_file *file;
        small_preset(&wanted, model_preset_at(i));
        write_small(s->path, model_preset_at(i), "Q4_0");
        CHECK(gguf_open(&file, s->path, &check_message));
        CHECK(model_config_read(&c, file, &check_message));
        gguf_close(file);
        memset(c.name, 0, sizeof c.name);
        memset(wanted.name, 0, sizeof wanted.name);
        assert_int_equal(c.n_shared_kv, wanted.n_shared_kv);
        for (uint32_t l = 0; l < c.n_layer; l++) {
            const model_layer *x = &c.layers[l], *y = &wanted.layers[l];
            assert_int_equal(x->window, y->window);
            assert_int_equal(x->n_head, y->n_head);
            assert_int_equal(x->n_kv_head, y->n_kv_head);
            assert_int_equal(x->head_dim, y->head_dim);
            assert_int_equal(x->d_ff, y->d_ff);
            assert_int_equal(x->kv_layer, y->kv_layer);
            assert_int_equal(x->n_rope_pair, y->n_rope_pair);
            assert_int_equal(x->has_scale, y->has_scale);
            assert_int_equal(x->has_unused_kv, y->has_unused_kv);
            assert_true(x->rope_base == y->rope_base && x->rope_scale == y->rope_scale);
            if (x->kv_layer == l)
                assert_int_equal(x->k_is_v, y->k_is_v);
        }
        assert_memory_equal(c.rope_factor, wanted.rope_factor, sizeof c.rope_factor);
        assert_int_equal(c.family, wanted.family);
        assert_int_equal(c.n_vocab, wanted.n_vocab);
        assert_int_equal(c.n_ctx, wanted.n_ctx);
        assert_int_equal(c.n_expert, wanted.n_expert);
        assert_int_equal(c.d_expert, wanted.d_expert);
        assert_int_equal(c.d_ple, wanted.d_ple);
        assert_int_equal(c.has_expert_scale, wanted.has_expert_scale);
        assert_true(c.softcap == wanted.softcap && c.attention_scale == wanted.attention_scale);
        assert_true(c.embed_scale == wanted.embed_scale && c.norm_eps == wanted.norm_eps);
    }
}

/* What to change on the way from one file to another. */
typedef struct change {
    const char *drop_key; /* leave out, or */
    const char *set_key;  /* write as u32 */
    uint32_t value;
    const char *drop_tensor; /* leave out, or */
    const char *add_tensor;  /* a new one of `dims` and `type` (written as zeros) */
    uint64_t dims[2];
    uint32_t type;
} change;

static bool key_is(const gguf_value *value, const char *key) {
    return key && value->key.len == strlen(key) && memcmp(value->key.data, key, value->key.len) == 0;
}

static bool is(const char *name, const char *other) {
    return other && strcmp(name, other) == 0;
}

static void write_changed(const char *from, const char *to, const change *c) {
    gguf_file *file;
    gguf_writer *w;
    uint8_t zeros[4096] = {0};
    CHECK(gguf_open(&file, from, &check_message));
    CHECK(gguf_write_begin(&w, to, &check_message));
    for (uint64_t i = 0; i < gguf_n_values(file); i++) {
        const gguf_value *value = gguf_value_at(file, i);
        if (!key_is(value, c->drop_key) && !key_is(value, c->set_key))
            assert_int_equal(gguf_write_copy(w, value), TANDEM_OK);
    }
    if (c->set_key)
        gguf_write_u32(w, c->set_key, c->value);
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        if (!is(t->name, c->drop_tensor))
            gguf_write_declare(w, t->name, t->type, t->n_dims, t->dims);
    }
    if (c->add_tensor)
        gguf_write_declare(w, c->add_tensor, c->type, c->dims[1] ? 2 : 1, c->dims);
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        if (!is(t->name, c->drop_tensor))
            gguf_write_data(w, t->data, t->bytes);
    }
    if (c->add_tensor) {
        uint64_t left = gguf_tensor_bytes(c->type, c->dims[1] ? 2 : 1, c->dims);
        for (uint64_t n; left > 0; left -= n) {
            n = left < sizeof zeros ? left : sizeof zeros;
            gguf_write_data(w, zeros, n);
        }
    }
    CHECK(gguf_write_end(w, &check_message));
    gguf_close(file);
}

static int read_changed(const scratch *s, const change *c, model_config *config, tandem_message *message) {
    gguf_file *file;
    write_changed(s->path, s->other, c);
    CHECK(gguf_open(&file, s->other, &check_message));
    int status = model_config_read(config, file, message);
    gguf_close(file);
    return status;
}

static void names_the_key_or_tensor_at_fault(void **state) {
    scratch *s = *state;
    static const struct {
        const char *preset;
        change c;
        const char *words;
        int status;
    } CASES[] = {
        {"gemma3-270m",
         {.drop_key = "general.architecture"},
         "general.architecture is missing",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.set_key = "general.architecture", .value = 3},
         "'general.architecture' is u32",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.drop_key = "gemma3.block_count"},
         "gemma3.block_count is missing",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.set_key = "gemma3.block_count", .value = 0},
         "gemma3.block_count is not a number",
         TANDEM_E_INVALID},
        {"gemma3-270m", {.set_key = "gemma3.block_count", .value = 9}, "9 are needed", TANDEM_E_INVALID},
        {"gemma3-270m",
         {.drop_key = "gemma3.attention.head_count"},
         "gemma3.attention.head_count is missing",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.set_key = "gemma3.attention.head_count", .value = 0},
         "layer 0 has 0 query heads",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.set_key = "gemma3.embedding_length", .value = 640},
         "token_embd.weight is [256, 64, 1]",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.set_key = "gemma3.feed_forward_length", .value = 512},
         "blk.0.ffn_gate.weight is [256, 256",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.set_key = "gemma3.attention.value_length", .value = 64},
         "differs from key_length",
         TANDEM_E_UNSUPPORTED},
        {"gemma3-270m",
         {.set_key = "gemma3.rope.dimension_count", .value = 16},
         "rope.dimension_count differs",
         TANDEM_E_UNSUPPORTED},
        {"gemma3-270m",
         {.set_key = "gemma3.vocab_size", .value = 65},
         "64 rows, but the vocabulary has 65",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.drop_tensor = "token_embd.weight"},
         "token_embd.weight is missing",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.drop_tensor = "blk.7.attn_v.weight"},
         "blk.7.attn_v.weight is missing",
         TANDEM_E_INVALID},
        {"gemma3-270m",
         {.drop_tensor = "blk.9.post_ffw_norm.weight"},
         "blk.9.post_ffw_norm.weight is missing",
         TANDEM_E_INVALID},
        {"gemma4-12b",
         {.drop_key = "gemma4.attention.sliding_window_pattern"},
         "sliding_window_pattern is missing",
         TANDEM_E_INVALID},
        {"gemma4-12b",
         {.drop_key = "gemma4.attention.key_length_swa"},
         "key_length_swa is missing",
         TANDEM_E_INVALID},
        {"gemma4-12b",
         {.drop_tensor = "rope_freqs.weight"},
         "rope_freqs.weight with 32 F32",
         TANDEM_E_INVALID},
        {"gemma4-e2b",
         {.set_key = "gemma4.attention.shared_kv_layers", .value = 10},
         "leaves no layer",
         TANDEM_E_INVALID},
        {"gemma4-e2b",
         {.set_key = "gemma4.attention.shared_kv_layers", .value = 9},
         "no earlier layer of its kind",
         TANDEM_E_INVALID},
        {"gemma4-26b-a4b",
         {.set_key = "gemma4.expert_used_count", .value = 5},
         "5 of 4 experts",
         TANDEM_E_INVALID},
        {"gemma4-26b-a4b",
         {.drop_tensor = "blk.3.ffn_gate_inp.scale"},
         "blk.3.ffn_gate_inp.scale is missing",
         TANDEM_E_INVALID},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        model_config c;
        tandem_message message = {"(none)"};
        write_small(s->path, CASES[i].preset, "Q8_0");
        int status = read_changed(s, &CASES[i].c, &c, &message);
        if (status != CASES[i].status || !strstr(message.text, CASES[i].words))
            fail_msg("case %zu: status %d, expected '%s' in '%s'", i, status, CASES[i].words, message.text);
        assert_non_null(strstr(message.text, s->other));
    }
}

static void takes_the_variety_of_real_files(void **state) {
    scratch *s = *state;
    model_config c;
    tandem_message message = {"(none)"};
    /* the usual Gemma 3 file: no pattern, no sliding base */
    write_small(s->path, "gemma3-270m", "Q8_0");
    assert_int_equal(
        read_changed(s, &(change){.drop_key = "gemma3.attention.sliding_window_pattern"}, &c, &message), 0);
    assert_int_equal(c.layers[5].window, 0);
    assert_int_equal(c.layers[6].window, 8);
    assert_int_equal(read_changed(s,
                                  &(change){.set_key = "gemma3.attention.sliding_window_pattern", .value = 2},
                                  &c, &message),
                     0);
    assert_int_equal(c.layers[1].window, 0);
    assert_int_equal(c.layers[2].window, 8);
    assert_int_equal(read_changed(s, &(change){.drop_key = "gemma3.attention.sliding_window"}, &c, &message),
                     0);
    assert_int_equal(c.layers[0].window, 0);
    assert_true(c.layers[0].rope_base == 1e6);
    assert_int_equal(read_changed(s, &(change){.drop_key = "gemma3.rope.freq_base_swa"}, &c, &message), 0);
    assert_true(c.layers[0].rope_base == 1e4 && c.layers[5].rope_base == 1e6);
    /* a head of its own */
    change head = {.add_tensor = "output.weight", .dims = {256, 64}, .type = TANDEM_TYPE_Q8_0};
    assert_int_equal(read_changed(s, &head, &c, &message), 0);
    assert_true(c.has_output);
    /* missing soft cap: 30 on Gemma 4; an explicit 0 switches it off */
    write_small(s->path, "gemma4-e2b", "Q8_0");
    assert_int_equal(read_changed(s, &(change){.drop_key = "gemma4.final_logit_softcapping"}, &c, &message),
                     0);
    assert_true(c.softcap == 30);
    assert_int_equal(read_changed(s, &(change){.set_key = "gemma4.final_logit_softcapping"}, &c, &message),
                     0);
    assert_true(c.softcap == 0);
    /* missing scale, and K/V tensors that nothing reads, of a wrong shape even */
    assert_int_equal(
        read_changed(s, &(change){.drop_tensor = "blk.2.layer_output_scale.weight"}, &c, &message), 0);
    assert_true(!c.layers[2].has_scale && c.layers[3].has_scale);
    change unused = {.add_tensor = "blk.7.attn_k.weight", .dims = {256, 32}, .type = TANDEM_TYPE_Q8_0};
    assert_int_equal(read_changed(s, &unused, &c, &message), 0);
    assert_true(c.layers[7].has_unused_kv && !c.layers[6].has_unused_kv);
    /* an unknown tensor is nobody's business */
    change vision = {.add_tensor = "v.blk.0.weight", .dims = {256, 0}, .type = TANDEM_TYPE_F32};
    assert_int_equal(read_changed(s, &vision, &c, &message), 0);
    /* K = V of a single layer */
    write_small(s->path, "gemma4-e4b", "Q8_0");
    assert_int_equal(read_changed(s, &(change){.drop_tensor = "blk.5.attn_v.weight"}, &c, &message), 0);
    assert_true(c.layers[5].k_is_v && !c.layers[4].k_is_v);
}

static void the_trained_file_is_the_preset(void **state) {
    (void)state;
    gguf_file *file;
    model_config c, preset;
    model_mix mix;
    model_tensor *list;
    uint32_t n;
    tandem_message message;
    if (gguf_open(&file, model_path, &message) != TANDEM_OK)
        fail_msg("%s (tests/fetch_model.sh fetches the model)", message.text);
    CHECK(model_config_read(&c, file, &check_message));
    CHECK(model_config_preset(&preset, "gemma3-270m", &check_message));
    memset(c.name, 0, sizeof c.name);
    memset(preset.name, 0, sizeof preset.name);
    assert_memory_equal(&c, &preset, sizeof c);
    CHECK(model_mix_by_name(&mix, "Q4_K_M", &check_message));
    CHECK(model_tensor_list(&preset, &mix, &list, &n, &check_message));
    assert_int_equal(n, gguf_n_tensors(file));
    for (uint32_t i = 0; i < n; i++) {
        const gguf_tensor *t = gguf_tensor_by_name(file, list[i].name);
        assert_non_null(t);
        if (t->type != list[i].type)
            fail_msg("%s is %u, by the mix %u", list[i].name, t->type, list[i].type);
        assert_int_equal(t->n_dims, list[i].n_dims);
        assert_memory_equal(t->dims, list[i].dims, sizeof t->dims);
    }
    free(list);
    gguf_close(file);
}

/* ---- weights ---- */

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
    if (fabs(sd / deviation - 1) > 0.03 || fabs(mean) > 0.02 * deviation)
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_have_the_published_sizes),
        cmocka_unit_test(layers_follow_the_pattern),
        cmocka_unit_test(rotation_frequencies_are_the_published_ones),
        cmocka_unit_test(overrides_keep_the_pattern),
        cmocka_unit_test(names_that_do_not_exist_list_those_that_do),
        cmocka_unit_test_setup_teardown(a_written_shape_reads_back, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(names_the_key_or_tensor_at_fault, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(takes_the_variety_of_real_files, make_scratch, remove_scratch),
        cmocka_unit_test(the_trained_file_is_the_preset),
        cmocka_unit_test(rows_are_the_same_in_any_order),
        cmocka_unit_test(matrices_have_their_deviation_in_every_format),
        cmocka_unit_test_setup_teardown(the_file_and_the_memory_hold_the_same, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(sources_refuse_what_they_do_not_have, make_scratch, remove_scratch),
        cmocka_unit_test_setup_teardown(a_stopped_write_leaves_nothing, make_scratch, remove_scratch),
    };
    if (argc > 1)
        model_path = argv[1];
    return cmocka_run_group_tests_name("synth", tests, NULL, NULL);
}
