/* Small models of every Gemma 4 family on a plugin (argument; default reference), judged against the
 * reference plugin: sharing of caches, experts, K = V, per-layer embeddings, windows that are passed several
 * times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "generate.h"
#include "gguf_write.h"
#include "loader.h"
#include "plugin_argument.h"
#include "scratch.h"
#include "session.h"

#define WINDOW 16u
#define N_TOKEN 80u /* five windows */
#define N_VOCAB 300u
#define MAX_ROUTE (N_TOKEN * 12u * 8u)

static plugin_argument tested;

static const model_source_desc models[] = {
    {.model = "gemma4-e2b",
     .overrides = {.n_layer = 20, .d_model = 128, .d_ff = 128, .n_head = 8, .n_kv_head = 1, .head_dim = 32}},
    {.model = "gemma4-e4b",
     .overrides = {.n_layer = 18, .d_model = 128, .d_ff = 192, .n_head = 8, .n_kv_head = 2, .head_dim = 32}},
    {.model = "gemma4-12b",
     .overrides = {.n_layer = 12, .d_model = 128, .d_ff = 192, .n_head = 16, .n_kv_head = 8, .head_dim = 32}},
    {.model = "gemma4-26b-a4b",
     .overrides = {.n_layer = 12,
                   .d_model = 128,
                   .d_ff = 96,
                   .n_head = 16,
                   .n_kv_head = 8,
                   .head_dim = 32,
                   .n_expert = 24,
                   .n_used = 4,
                   .d_expert = 64}},
    {.model = "gemma4-31b",
     .overrides = {.n_layer = 12, .d_model = 192, .d_ff = 160, .n_head = 8, .n_kv_head = 4, .head_dim = 32}},
};
#define N_MODEL (sizeof models / sizeof models[0])
#define EXPERT_MODEL 3u

typedef struct world {
    tandem_plugin *plugin, *reference;
    scratch files;
    uint32_t tokens[N_TOKEN];
} world;

typedef struct rows {
    float *logits; /* [N_TOKEN][N_VOCAB] */
    uint32_t n;
} rows;

static model_source *open_model(uint32_t m, const char *quant) {
    model_source_desc desc = models[m];
    model_source *source = NULL;
    tandem_message message = {""};
    desc.quant = quant;
    desc.seed = 11;
    desc.overrides.window = WINDOW;
    desc.overrides.n_vocab = N_VOCAB;
    if (model_source_open(&source, &desc, &message))
        fail_msg("%s", message.text);
    return source;
}

static session_desc describe(const tandem_plugin *plugin, const model_source *source) {
    return (session_desc){.backend = tandem_plugin_backend(plugin),
                          .source = source,
                          .n_ctx = N_TOKEN + 32,
                          .batch = 64,
                          .kv_type = TANDEM_TYPE_F32,
                          .precision = TANDEM_PRECISION_EXACT,
                          .n_threads = 2,
                          .n_score = 16};
}

static session *open_session(const session_desc *desc) {
    session *s = NULL;
    tandem_message message = {""};
    if (session_create(&s, desc, &message))
        fail_msg("%s", message.text);
    return s;
}

static int keep_row(void *user, uint32_t index, const topk_row *row, const float *logits) {
    rows *r = user;
    (void)row;
    memcpy(r->logits + (size_t)index * N_VOCAB, logits, N_VOCAB * sizeof *logits);
    return TANDEM_OK;
}

static void score(session *s, const world *w, float *logits) {
    rows r = {.logits = logits};
    tandem_message message = {""};
    if (session_score(s, w->tokens, NULL, N_TOKEN, true, keep_row, &r, &message))
        fail_msg("%s", message.text);
}

static void score_once(const session_desc *desc, const world *w, float *logits) {
    session *s = open_session(desc);
    score(s, w, logits);
    session_destroy(s);
}

static float *new_rows(void) {
    float *r = calloc((size_t)N_TOKEN * N_VOCAB, sizeof *r);
    assert_non_null(r);
    return r;
}

/* Worst over rows of sum (a-b)^2 / sum (b - mean b)^2. */
static double worst_error(const float *a, const float *b, uint32_t n_row) {
    double worst = 0;
    for (uint32_t r = 0; r < n_row; r++, a += N_VOCAB, b += N_VOCAB) {
        double mean = 0, error = 0, spread = 0;
        for (uint32_t i = 0; i < N_VOCAB; i++)
            mean += b[i] / N_VOCAB;
        for (uint32_t i = 0; i < N_VOCAB; i++) {
            error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
            spread += (b[i] - mean) * (b[i] - mean);
        }
        if (!(error / spread <= worst))
            worst = error / spread;
    }
    return worst;
}

static bool is_reference(const world *w) {
    return !strcmp(tandem_plugin_backend(w->plugin)->descriptor->name, "reference");
}

/* The reference's logits, and its experts as a trace for --routing. */
static void ask_reference(const world *w, const model_source *source, float *logits, char how[160]) {
    static uint32_t ids[MAX_ROUTE];
    const model_config *c = model_source_config(source);
    session_desc d = describe(w->reference, source);
    tandem_message message = {""};
    d.batch = N_TOKEN;
    session *s = open_session(&d);
    score(s, w, logits);
    how[0] = 0;
    if (c->n_expert) {
        assert_int_equal(session_read_routes(s, N_TOKEN, ids, &message), TANDEM_OK);
        output_file *file = NULL;
        assert_int_equal(output_file_begin(&file, w->files.other, 0, NULL, NULL), TANDEM_OK);
        routing_trace_begin(file, c);
        for (uint32_t i = 0; i < N_TOKEN; i++)
            routing_trace_write(file, c, w->tokens[i], ids + i * c->n_layer * c->n_used);
        assert_int_equal(output_file_end(file, NULL), TANDEM_OK);
        snprintf(how, 160, "trace:%s", w->files.other);
    } else {
        assert_int_equal(session_read_routes(s, N_TOKEN, ids, &message), TANDEM_E_UNSUPPORTED);
    }
    session_destroy(s);
}

/* ---- numbers ---- */

static void every_family_agrees_in_chunks_of_any_size(void **state) {
    const world *w = *state;
    static const uint32_t sizes[] = {1, 3, 64, 512};
    float *ours = new_rows(), *theirs = new_rows();
    for (uint32_t m = 0; m < N_MODEL; m++) {
        model_source *source = open_model(m, "Q4_0");
        char how[160];
        ask_reference(w, source, theirs, how);
        for (uint32_t i = 0; i < 4; i++) {
            session_desc d = describe(w->plugin, source);
            d.n_ctx = 512;
            d.batch = sizes[i];
            d.routing = how[0] ? how : NULL;
            score_once(&d, w, ours);
            double worst = worst_error(ours, theirs, N_TOKEN);
            print_message("%s, chunks of %u: worst row %.2e of 1e-9\n", models[m].model, sizes[i], worst);
            assert_true(worst <= (is_reference(w) ? 0 : 1e-9));
        }
        model_source_close(source);
    }
    free(ours);
    free(theirs);
}

static void f16_caches_agree(void **state) {
    const world *w = *state;
    float *ours = new_rows(), *theirs = new_rows();
    for (uint32_t m = 0; m < N_MODEL; m++) {
        model_source *source = open_model(m, "Q8_0");
        char how[160];
        ask_reference(w, source, theirs, how);
        session_desc d = describe(w->reference, source);
        d.kv_type = TANDEM_TYPE_F16;
        d.routing = how[0] ? how : NULL;
        score_once(&d, w, theirs);
        d.backend = tandem_plugin_backend(w->plugin);
        score_once(&d, w, ours);
        double worst = worst_error(ours, theirs, N_TOKEN);
        print_message("%s: worst row %.2e of 1e-5\n", models[m].model, worst);
        assert_true(worst <= 1e-5);
        model_source_close(source);
    }
    free(ours);
    free(theirs);
}

static void the_same_seed_gives_the_same_bits(void **state) {
    const world *w = *state;
    float *first = new_rows(), *again = new_rows();
    for (uint32_t m = 0; m < N_MODEL; m++) {
        for (uint32_t run = 0; run < 3; run++) {
            model_source *source = open_model(m, "Q4_0");
            session_desc d = describe(w->plugin, source);
            d.routing = m == EXPERT_MODEL ? "zipf" : NULL;
            d.routing_seed = 3;
            score_once(&d, w, run ? again : first);
            if (run)
                assert_memory_equal(first, again, (size_t)N_TOKEN * N_VOCAB * sizeof *first);
            model_source_close(source);
        }
    }
    free(first);
    free(again);
}

/* ---- layers behind the sharing point ---- */

static uint64_t weight_bytes_of(session *s, uint32_t n_row, uint32_t n_out) {
    step_cost *steps = NULL;
    uint32_t n = 0;
    uint64_t bytes = 0;
    tandem_message message = {""};
    if (session_steps(s, SESSION_PREFILL, n_row, n_out, &steps, &n, &message))
        fail_msg("%s", message.text);
    for (uint32_t i = 0; i < n; i++)
        bytes += steps[i].cost.weight_bytes_min;
    free(steps);
    return bytes;
}

/* Prefill runs them on the last row only, scoring on all of them: the last row's logits, and everything that
 * is decoded after it, must be the same. */
static void rows_that_nobody_wants_change_nothing(void **state) {
    const world *w = *state;
    float *scored = new_rows(), *fed = new_rows();
    tandem_message message = {""};
    for (uint32_t m = 0; m < N_MODEL; m++) {
        model_source *source = open_model(m, "Q4_0");
        const model_config *c = model_source_config(source);
        session_desc d = describe(w->plugin, source);
        d.batch = 24;
        session *s = open_session(&d);
        score(s, w, scored);
        const float *expected = scored + (size_t)(N_TOKEN - 1) * N_VOCAB;
        assert_int_equal(session_truncate(s, 0, &message), TANDEM_OK);
        topk_row row;
        assert_int_equal(session_feed(s, w->tokens, N_TOKEN, &row, NULL, &message), TANDEM_OK);
        assert_int_equal(session_read_logits(s, fed, &message), TANDEM_OK);
        double error = worst_error(fed, expected, 1);
        print_message("%s: %.2e\n", models[m].model, error);
        assert_true(error <= (is_reference(w) ? 0 : 1e-9));
        /* A prompt that was fed without any wanted row is as good a past as any. */
        assert_int_equal(session_truncate(s, 0, &message), TANDEM_OK);
        assert_int_equal(session_feed(s, w->tokens, N_TOKEN - 1, NULL, NULL, &message), TANDEM_OK);
        assert_int_equal(session_feed(s, w->tokens + N_TOKEN - 1, 1, &row, NULL, &message), TANDEM_OK);
        assert_int_equal(session_read_logits(s, fed, &message), TANDEM_OK);
        assert_true(worst_error(fed, expected, 1) <= (is_reference(w) ? 0 : 1e-9));
        /* It is no less work unless there is such a layer. */
        uint64_t none = weight_bytes_of(s, 24, 0), one = weight_bytes_of(s, 24, 1), tail = 0;
        for (uint32_t l = graph_first_out_layer(c); l < c->n_layer; l++) {
            source_tensor t;
            assert_int_equal(model_source_role(source, MODEL_T_FFN_GATE, l, &t, &message), 1);
            tail += t.bytes;
        }
        assert_true(one - none >= tail);
        assert_int_equal(tail > 0, c->n_shared_kv > 0);
        session_destroy(s);
        model_source_close(source);
    }
    free(scored);
    free(fed);
}

/* ---- experts ---- */

static void imposed_experts_are_taken(void **state) {
    const world *w = *state;
    static uint32_t got[MAX_ROUTE], expected[MAX_ROUTE];
    static const char *const hows[] = {"uniform", "zipf:2"};
    model_source *source = open_model(EXPERT_MODEL, "Q4_0");
    const model_config *c = model_source_config(source);
    tandem_message message = {""};
    for (uint32_t h = 0; h < 2; h++) {
        session_desc d = describe(w->plugin, source);
        d.routing = hows[h];
        d.routing_seed = 21;
        d.batch = 32;
        routing *r = NULL;
        assert_int_equal(routing_create(&r, hows[h], c, 21, &message), TANDEM_OK);
        session *s = open_session(&d);
        assert_string_equal(session_routing(s), routing_name(r));
        /* a chunk, a rest, single tokens */
        static const uint32_t runs[] = {32, 9, 1, 1};
        for (uint32_t i = 0, at = 0; i < 4; at += runs[i++]) {
            assert_int_equal(session_feed(s, w->tokens + at, runs[i], NULL, NULL, &message), TANDEM_OK);
            assert_int_equal(session_read_routes(s, runs[i], got, &message), TANDEM_OK);
            routing_fill(r, at, runs[i], expected);
            assert_memory_equal(got, expected, runs[i] * c->n_layer * c->n_used * sizeof *got);
        }
        /* runs queued ahead, whose tokens only the device knows */
        for (uint32_t i = 0; i < SESSION_MAX_PENDING; i++)
            assert_int_equal(session_decode(s, i ? SESSION_DEVICE_NEXT : w->tokens[0], true, &message),
                             TANDEM_OK);
        for (uint32_t i = 0; i < SESSION_MAX_PENDING; i++)
            assert_int_equal(session_collect(s, NULL, NULL, &message), TANDEM_OK);
        assert_int_equal(session_read_routes(s, 1, got, &message), TANDEM_OK);
        routing_fill(r, session_length(s) - 1, 1, expected);
        assert_memory_equal(got, expected, c->n_layer * c->n_used * sizeof *got);
        session_destroy(s);
        routing_destroy(r);
    }
    model_source_close(source);
}

/* The plugin's own choice, recorded and imposed, is the same computation. */
static void a_replayed_trace_gives_the_same_bits(void **state) {
    const world *w = *state;
    model_source *source = open_model(EXPERT_MODEL, "Q4_0");
    float *chosen = new_rows(), *imposed = new_rows();
    char how[160];
    world own = *w;
    own.reference = w->plugin;
    ask_reference(&own, source, chosen, how);
    session_desc d = describe(w->plugin, source);
    d.batch = N_TOKEN;
    d.routing = how;
    score_once(&d, w, imposed);
    assert_memory_equal(chosen, imposed, (size_t)N_TOKEN * N_VOCAB * sizeof *chosen);
    /* while other experts are another computation */
    d.routing = "uniform";
    score_once(&d, w, imposed);
    assert_true(worst_error(imposed, chosen, N_TOKEN) > 1e-3);
    free(chosen);
    free(imposed);
    model_source_close(source);
}

static void experts_in_host_memory_give_the_same_bits(void **state) {
    const world *w = *state;
    model_source *source = open_model(EXPERT_MODEL, "Q4_0");
    float *device = new_rows(), *host = new_rows();
    tandem_memory_info info[2];
    tandem_message message = {""};
    for (uint32_t i = 0; i < 2; i++) {
        session_desc d = describe(w->plugin, source);
        d.expert_placement = i ? TANDEM_PLACE_HOST : TANDEM_PLACE_DEVICE;
        session *s = open_session(&d);
        assert_int_equal(session_memory(s, &info[i], &message), TANDEM_OK);
        score(s, w, i ? host : device);
        assert_int_equal(session_plan(s)->host > 0, i);
        session_destroy(s);
    }
    assert_memory_equal(device, host, (size_t)N_TOKEN * N_VOCAB * sizeof *host);
    if (!is_reference(w)) { /* which has one memory for both */
        assert_true(info[1].weights_device < info[0].weights_device);
        assert_true(info[1].weights_host > info[0].weights_host);
    }
    free(device);
    free(host);
    model_source_close(source);
}

static void dense_models_have_nothing_to_route(void **state) {
    const world *w = *state;
    model_source *source = open_model(0, "Q4_0");
    session_desc d = describe(w->plugin, source);
    session *s = NULL;
    tandem_message message = {""};
    d.routing = "uniform";
    assert_int_equal(session_create(&s, &d, &message), TANDEM_E_INVALID);
    assert_non_null(strstr(message.text, "no experts"));
    assert_null(s);
    model_source_close(source);
}

/* ---- tokens that must not be made ---- */

/* A vocabulary of N_VOCAB tokens, some of them suppressed; *file outlives it. */
static tokenizer *make_tokenizer(const char *path, const int32_t *suppressed, uint32_t n, gguf_file **file) {
    static char text[N_VOCAB][16];
    gguf_string texts[N_VOCAB];
    float scores[N_VOCAB] = {0};
    int32_t types[N_VOCAB];
    static const char *const special[] = {"<pad>", "<eos>", "<bos>", "<unk>"};
    gguf_writer *w;
    tokenizer *t;
    tandem_message message = {""};
    for (uint32_t i = 0; i < N_VOCAB; i++) {
        if (i < 4)
            snprintf(text[i], sizeof text[i], "%s", special[i]);
        else if (i < 260)
            snprintf(text[i], sizeof text[i], "<0x%02X>", i - 4);
        else
            snprintf(text[i], sizeof text[i], "t%u", i);
        texts[i] = (gguf_string){text[i], strlen(text[i])};
        types[i] = i < 4 ? TOKEN_CONTROL : i < 260 ? TOKEN_BYTE : TOKEN_NORMAL;
    }
    assert_int_equal(gguf_write_begin(&w, path, NULL, &message), TANDEM_OK);
    gguf_write_string(w, "tokenizer.ggml.model", "llama", 5);
    gguf_write_strings(w, "tokenizer.ggml.tokens", texts, N_VOCAB);
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, N_VOCAB);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, N_VOCAB);
    gguf_write_array(w, "tokenizer.ggml.suppress_tokens", GGUF_I32, suppressed, n);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
    assert_int_equal(gguf_open(file, path, &message), TANDEM_OK);
    if (tokenizer_create(&t, *file, &message))
        fail_msg("%s", message.text);
    return t;
}

typedef struct made {
    uint32_t ids[24], n;
} made;

static int keep_token(void *user, uint32_t id) {
    made *m = user;
    m->ids[m->n++] = id;
    return 0;
}

static made generate(session *s, const world *w, const tokenizer *t, float temperature, uint32_t top_k) {
    generate_options options = {.n = 24, .tokenizer = t};
    generate_stats stats;
    made m = {.n = 0};
    tandem_message message = {""};
    sampler_init(&options.sampler, temperature, top_k, 1, 5);
    assert_int_equal(session_truncate(s, 0, &message), TANDEM_OK);
    if (session_generate(s, w->tokens, 20, &options, keep_token, &m, &stats, &message))
        fail_msg("%s", message.text);
    return m;
}

/* What would be made is suppressed, so that queued runs go wrong and are taken back: the tokens must be those
 * of a choice made one by one among the others. */
static void suppressed_tokens_are_never_made(void **state) {
    const world *w = *state;
    model_source *source = open_model(2, "Q4_0");
    session_desc d = describe(w->plugin, source);
    session *s = open_session(&d);
    tandem_message message = {""};
    made free_choice = generate(s, w, NULL, 0, 64);
    int32_t suppressed[24];
    for (uint32_t i = 0; i < free_choice.n; i++)
        suppressed[i] = (int32_t)free_choice.ids[i];
    gguf_file *file;
    tokenizer *t = make_tokenizer(w->files.path, suppressed, free_choice.n, &file);
    made greedy = generate(s, w, t, 0, 64);
    topk_row row;
    assert_int_equal(session_truncate(s, 0, &message), TANDEM_OK);
    assert_int_equal(session_feed(s, w->tokens, 20, &row, NULL, &message), TANDEM_OK);
    for (uint32_t i = 0; i < greedy.n; i++) {
        uint32_t best = 0;
        while (tokenizer_is_suppressed(t, row.id[best]))
            best++;
        assert_int_equal(greedy.ids[i], row.id[best]);
        assert_int_equal(session_feed(s, &greedy.ids[i], 1, &row, NULL, &message), TANDEM_OK);
    }
    assert_true(greedy.n > 4);
    static const uint32_t top_ks[] = {64, 0}; /* candidates of the device; all logits */
    for (uint32_t k = 0; k < 2; k++) {
        made sampled = generate(s, w, t, 1, top_ks[k]);
        for (uint32_t i = 0; i < sampled.n; i++)
            assert_false(tokenizer_is_suppressed(t, sampled.ids[i]));
    }
    tokenizer_destroy(t);
    gguf_close(file);
    session_destroy(s);
    model_source_close(source);
}

/* ---- setting ---- */

static int make_world(void **state) {
    static world w;
    scratch *files = NULL;
    tandem_error error = {.struct_size = sizeof error};
    if (tandem_plugin_open(tested.name, &tested.host, &w.plugin, &error) ||
        tandem_plugin_open("reference", NULL, &w.reference, &error)) {
        print_error("%s\n", error.message);
        return -1;
    }
    scratch_make((void **)&files);
    w.files = *files;
    for (uint32_t i = 0; i < N_TOKEN; i++)
        w.tokens[i] = (i * 7919 + 2) % N_VOCAB;
    *state = &w;
    return 0;
}

static int end_world(void **state) {
    world *w = *state;
    test_directory_remove(w->files.dir);
    tandem_plugin_close(w->plugin);
    tandem_plugin_close(w->reference);
    return 0;
}

int main(int argc, char **argv) {
    if (!plugin_argument_take(&tested, argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_agrees_in_chunks_of_any_size),
        cmocka_unit_test(f16_caches_agree),
        cmocka_unit_test(the_same_seed_gives_the_same_bits),
        cmocka_unit_test(rows_that_nobody_wants_change_nothing),
        cmocka_unit_test(imposed_experts_are_taken),
        cmocka_unit_test(a_replayed_trace_gives_the_same_bits),
        cmocka_unit_test(experts_in_host_memory_give_the_same_bits),
        cmocka_unit_test(dense_models_have_nothing_to_route),
        cmocka_unit_test(suppressed_tokens_are_never_made),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
