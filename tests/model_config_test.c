/* Model shapes from presets and files, their tensors and quant mixes. model_config_test [MODEL] */
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

#include "gguf_write.h"
#include "scratch.h"
#include "small_models.h"

static const char *model_path = "models/gemma3-270m-q4_k_m.gguf";

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
    CHECK(gguf_write_begin(&w, to, NULL, &check_message));
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
    /* a scale of experts that some layers lack; where one is, it must have the experts' number */
    write_small(s->path, "gemma4-26b-a4b", "Q8_0");
    assert_int_equal(read_changed(s, &(change){.drop_tensor = "blk.0.ffn_down_exps.scale"}, &c, &message), 0);
    assert_true(c.has_expert_scale);
    change wide = {.drop_tensor = "blk.7.ffn_down_exps.scale",
                   .add_tensor = "blk.7.ffn_down_exps.scale",
                   .dims = {4096},
                   .type = TANDEM_TYPE_F32};
    assert_int_equal(read_changed(s, &wide, &c, &message), TANDEM_E_INVALID);
    assert_non_null(strstr(message.text, "blk.7.ffn_down_exps.scale is [4096"));
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_have_the_published_sizes),
        cmocka_unit_test(layers_follow_the_pattern),
        cmocka_unit_test(rotation_frequencies_are_the_published_ones),
        cmocka_unit_test(overrides_keep_the_pattern),
        cmocka_unit_test(names_that_do_not_exist_list_those_that_do),
        cmocka_unit_test_setup_teardown(a_written_shape_reads_back, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(names_the_key_or_tensor_at_fault, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(takes_the_variety_of_real_files, scratch_make, scratch_remove),
        cmocka_unit_test(the_trained_file_is_the_preset),
    };
    if (argc > 1)
        model_path = argv[1];
    return cmocka_run_group_tests_name("model config", tests, NULL, NULL);
}
