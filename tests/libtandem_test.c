/* The public library alone (libtandem.so and its header), as an embedding program sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include <tandem/libtandem.h>

typedef struct world {
    tandem_plugin *plugin;
    tandem_model *model;
} world;

static int make_world(void **state) {
    static world w;
    tandem_error error = {.struct_size = sizeof error};
    tandem_model_desc desc = {
        .struct_size = sizeof desc, .model = "gemma3-270m", .n_layer = 2, .n_vocab = 512, .seed = 3};
    if (tandem_plugin_open("reference", NULL, &w.plugin, &error) ||
        tandem_model_open(&desc, &w.model, &error)) {
        print_error("%s\n", error.message);
        return -1;
    }
    *state = &w;
    return 0;
}

static int end_world(void **state) {
    world *w = *state;
    tandem_model_close(w->model);
    tandem_plugin_close(w->plugin);
    return 0;
}

static tandem_session_desc describe(const world *w) {
    return (tandem_session_desc){.struct_size = sizeof(tandem_session_desc),
                                 .backend = tandem_plugin_backend(w->plugin),
                                 .n_ctx = 64,
                                 .batch = 16,
                                 .kv_type = TANDEM_TYPE_F32,
                                 .n_threads = 2,
                                 .n_score = 4};
}

static tandem_session *open_session(const world *w) {
    tandem_session_desc desc = describe(w);
    tandem_session *session = NULL;
    tandem_error error = {.struct_size = sizeof error};
    if (tandem_session_create(w->model, &desc, &session, &error))
        print_error("%s\n", error.message);
    assert_non_null(session);
    return session;
}

typedef struct made {
    uint32_t n, id[64];
} made;

static int keep_token(void *user, uint32_t id) {
    made *m = user;
    m->id[m->n++] = id;
    return 0;
}

/* Row `index` must predict the token that generation made there. */
static int check_row(void *user, uint32_t index, const tandem_choices *choices, const float *logits) {
    const made *m = user;
    if (index + 1 < 3)
        return 0;
    return choices->id[0] != m->id[index + 1 - 3] || logits[choices->id[0]] != choices->logit[0];
}

static void what_was_generated_is_what_scoring_finds_likeliest(void **state) {
    const world *w = *state;
    const uint32_t prompt[3] = {2, 100, 7};
    uint32_t all[12];
    made m = {0};
    tandem_session *session = open_session(w);
    tandem_generate_desc desc = {.struct_size = sizeof desc, .n = 10};
    tandem_generate_result result = {.struct_size = sizeof result};
    assert_int_equal(tandem_session_generate(session, prompt, 3, &desc, keep_token, &m, &result, NULL),
                     TANDEM_OK);
    assert_int_equal(result.n_made, 10);
    assert_int_equal(result.stop, TANDEM_STOP_COUNT);
    assert_int_equal(m.n, 10);
    assert_int_equal(tandem_session_length(session), 12);
    assert_int_equal(tandem_session_truncate(session, 0, NULL), TANDEM_OK);
    memcpy(all, prompt, sizeof prompt);
    memcpy(all + 3, m.id, 9 * sizeof *all);
    assert_int_equal(tandem_session_score(session, all, NULL, 12, 1, check_row, &m, NULL), TANDEM_OK);
    tandem_session_destroy(session);
}

static void feeding_tells_what_follows(void **state) {
    const world *w = *state;
    const uint32_t prompt[3] = {2, 100, 7};
    tandem_session *session = open_session(w);
    tandem_choices choices = {.struct_size = sizeof choices};
    assert_int_equal(tandem_session_feed(session, prompt, 3, &choices, NULL), TANDEM_OK);
    assert_int_equal(choices.n, 64);
    for (uint32_t i = 1; i < choices.n; i++)
        assert_true(choices.logit[i - 1] >= choices.logit[i]);
    assert_true(choices.logsumexp > choices.logit[0]);
    tandem_memory_info memory = {.struct_size = sizeof memory};
    assert_int_equal(tandem_session_memory(session, &memory, NULL), TANDEM_OK);
    assert_true(memory.total > 0 && memory.kv > 0);
    tandem_session_destroy(session);
}

static void a_model_without_words_says_so(void **state) {
    const world *w = *state;
    uint32_t ids[8], n = 77;
    tandem_model_info info = {.struct_size = sizeof info};
    tandem_error error = {.struct_size = sizeof error};
    assert_int_equal(tandem_model_describe(w->model, &info, &error), TANDEM_OK);
    assert_int_equal(info.n_layer, 2);
    assert_int_equal(info.n_vocab, 512);
    assert_int_equal(info.has_tokenizer, 0);
    assert_int_equal(info.bos, TANDEM_NONE);
    assert_int_equal(tandem_model_tokenise(w->model, "a", 1, 0, ids, 8, &n, &error), TANDEM_E_UNSUPPORTED);
    assert_int_equal(n, 77); /* results are untouched */
    assert_true(error.message[0] != 0);
}

static void refuses_what_cannot_be(void **state) {
    const world *w = *state;
    tandem_session *session = NULL;
    tandem_model *model = NULL;
    tandem_error error = {.struct_size = sizeof error};
    tandem_session_desc desc = describe(w);
    desc.kv_type = TANDEM_TYPE_Q4_0;
    assert_int_equal(tandem_session_create(w->model, &desc, &session, &error), TANDEM_E_INVALID);
    desc = describe(w);
    desc.n_ctx = 0;
    assert_int_equal(tandem_session_create(w->model, &desc, &session, &error), TANDEM_E_INVALID);
    desc = describe(w);
    desc.device = 9;
    assert_true(tandem_session_create(w->model, &desc, &session, &error) < 0);
    desc = describe(w);
    desc.memory_cap = 1000;
    assert_int_equal(tandem_session_create(w->model, &desc, &session, &error), TANDEM_E_OUT_OF_MEMORY);
    assert_null(session);
    tandem_model_desc missing = {.struct_size = sizeof missing, .model = "/nonexistent.gguf"};
    assert_true(tandem_model_open(&missing, &model, &error) < 0);
    assert_non_null(strstr(error.message, "/nonexistent.gguf"));
    assert_null(model);
}

/* The growth rule of tandem/base.h: a larger struct passes while its unknown tail is zero. */
static void larger_structs_of_a_later_header_are_taken(void **state) {
    (void)state;
    struct {
        tandem_model_desc desc;
        uint64_t later;
    } grown = {.desc = {.struct_size = sizeof grown, .model = "gemma3-270m", .n_layer = 1, .n_vocab = 256}};
    tandem_model *model = NULL;
    tandem_error error = {.struct_size = sizeof error};
    assert_int_equal(tandem_model_open(&grown.desc, &model, &error), TANDEM_OK);
    struct {
        tandem_model_info info;
        uint64_t later;
    } larger = {.info = {.struct_size = sizeof larger}, .later = 5};
    assert_int_equal(tandem_model_describe(model, &larger.info, &error), TANDEM_OK);
    assert_int_equal(larger.info.struct_size, sizeof larger.info);
    assert_int_equal(larger.later, 5);
    tandem_model_close(model);
    model = NULL;
    grown.later = 1;
    assert_int_equal(tandem_model_open(&grown.desc, &model, &error), TANDEM_E_UNSUPPORTED);
    assert_null(model);
    grown.later = 0;
    grown.desc.struct_size = 8;
    assert_int_equal(tandem_model_open(&grown.desc, &model, &error), TANDEM_E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_generated_is_what_scoring_finds_likeliest),
        cmocka_unit_test(feeding_tells_what_follows),
        cmocka_unit_test(a_model_without_words_says_so),
        cmocka_unit_test(refuses_what_cannot_be),
        cmocka_unit_test(larger_structs_of_a_later_header_are_taken),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
