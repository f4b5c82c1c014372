/* Sessions on a plugin (argument; default reference), small synthetic models, judged against the reference
 * plugin. */
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
#include "loader.h"
#include "plugin_argument.h"
#include "session.h"

#define N_CTX 256u
#define N_TOKEN 150u /* the window is 32: the ring wraps several times */

static plugin_argument tested;

/* What every test starts from. */
typedef struct world {
    tandem_plugin *plugin, *reference;
    model_source *source;
    uint32_t n_vocab;
    uint32_t tokens[N_TOKEN];
    float *expected; /* [N_TOKEN][n_vocab] by the reference, f32 cache, one chunk */
} world;

typedef struct logits_sink {
    float *rows;
    uint32_t n_vocab;
} logits_sink;

/* Small relatives: 12b has K = V, E2B a per-layer embedding and shared caches; both V norm, layer scale,
 * softcap. */
static const model_source_desc gemma4s[] = {
    {.model = "gemma4-12b",
     .seed = 7,
     .overrides = {.n_layer = 7,
                   .d_model = 128,
                   .d_ff = 192,
                   .n_vocab = 600,
                   .n_head = 8,
                   .n_kv_head = 4,
                   .head_dim = 32,
                   .window = 32}},
    {.model = "gemma4-e2b",
     .seed = 7,
     .overrides = {.n_layer = 10,
                   .d_model = 128,
                   .d_ff = 192,
                   .n_vocab = 600,
                   .n_head = 4,
                   .n_kv_head = 1,
                   .head_dim = 32,
                   .window = 32}},
};

static int keep_logits(void *user, uint32_t index, const topk_row *row, const float *logits) {
    logits_sink *sink = user;
    /* TOPK and the logits come from one run: the best id must be the largest logit. */
    if (logits[row->id[0]] != row->logit[0])
        return TANDEM_E_INTERNAL;
    memcpy(sink->rows + (size_t)index * sink->n_vocab, logits, sink->n_vocab * sizeof *logits);
    return TANDEM_OK;
}

static session_desc describe(const world *w, const tandem_plugin *plugin) {
    return (session_desc){.backend = tandem_plugin_backend(plugin),
                          .source = w->source,
                          .n_ctx = N_CTX,
                          .batch = 64,
                          .kv_type = TANDEM_TYPE_F32,
                          .precision = TANDEM_PRECISION_EXACT,
                          .n_threads = 2,
                          .n_score = 16};
}

static session *open_session(const session_desc *desc) {
    session *s = NULL;
    tandem_message message = {""};
    int status = session_create(&s, desc, &message);
    if (status)
        print_error("%s\n", message.text);
    assert_int_equal(status, TANDEM_OK);
    return s;
}

static void score(session *s, const uint32_t *tokens, uint32_t n, float *rows, uint32_t n_vocab) {
    logits_sink sink = {rows, n_vocab};
    tandem_message message = {""};
    int status = session_score(s, tokens, NULL, n, true, keep_logits, &sink, &message);
    if (status)
        print_error("%s\n", message.text);
    assert_int_equal(status, TANDEM_OK);
}

/* Worst over rows of sum (a-b)^2 / sum (b - mean b)^2. */
static double worst_error(const float *a, const float *b, uint32_t n_row, uint32_t n_col) {
    double worst = 0;
    for (uint32_t r = 0; r < n_row; r++, a += n_col, b += n_col) {
        double mean = 0, error = 0, spread = 0;
        for (uint32_t i = 0; i < n_col; i++)
            mean += b[i] / n_col;
        for (uint32_t i = 0; i < n_col; i++) {
            error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
            spread += (b[i] - mean) * (b[i] - mean);
        }
        if (!(error / spread <= worst))
            worst = error / spread;
    }
    return worst;
}

static int open_plugin(const char *name, const tandem_host *host, tandem_plugin **plugin) {
    tandem_error error = {.struct_size = sizeof error};
    if (tandem_plugin_open(name, host, plugin, &error) == TANDEM_OK)
        return 0;
    print_error("%s\n", error.message);
    return -1;
}

static int make_world(void **state) {
    static world w;
    model_source_desc desc = {.model = "gemma3-270m",
                              .quant = "Q4_0",
                              .seed = 7,
                              .overrides = {.n_layer = 7,
                                            .d_model = 128,
                                            .d_ff = 192,
                                            .n_vocab = 600,
                                            .n_head = 4,
                                            .head_dim = 64,
                                            .window = 32}};
    tandem_message message;
    if (open_plugin(tested.name, &tested.host, &w.plugin) || open_plugin("reference", NULL, &w.reference))
        return -1;
    if (model_source_open(&w.source, &desc, &message)) {
        print_error("%s\n", message.text);
        return -1;
    }
    w.n_vocab = model_source_config(w.source)->n_vocab;
    for (uint32_t i = 0; i < N_TOKEN; i++)
        w.tokens[i] = (i * 7919 + 2) % w.n_vocab;
    w.expected = malloc((size_t)N_TOKEN * w.n_vocab * sizeof(float));
    session_desc d = describe(&w, w.reference);
    d.batch = N_TOKEN;
    session *s = open_session(&d);
    score(s, w.tokens, N_TOKEN, w.expected, w.n_vocab);
    session_destroy(s);
    *state = &w;
    return 0;
}

static int end_world(void **state) {
    world *w = *state;
    free(w->expected);
    model_source_close(w->source);
    tandem_plugin_close(w->plugin);
    tandem_plugin_close(w->reference);
    return 0;
}

/* ---- numbers ---- */

static double error_of_session(const world *w, const session_desc *desc) {
    float *rows = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    session *s = open_session(desc);
    score(s, w->tokens, N_TOKEN, rows, w->n_vocab);
    session_destroy(s);
    double worst = worst_error(rows, w->expected, N_TOKEN, w->n_vocab);
    free(rows);
    return worst;
}

static void chunks_of_any_size_give_the_same_logits(void **state) {
    const world *w = *state;
    static const uint32_t sizes[] = {1, 7, 32, 64, 150};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        session_desc d = describe(w, w->plugin);
        d.batch = sizes[i];
        double worst = error_of_session(w, &d);
        print_message("batch %u: worst row %.2e of 1e-9\n", sizes[i], worst);
        assert_true(worst <= 1e-9);
    }
}

static void a_ring_gives_the_logits_of_a_cache_that_keeps_all(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    d.batch = 16;
    double ring = error_of_session(w, &d);
    d.n_rollback = N_CTX; /* window + 256 positions: the ring never wraps */
    double all = error_of_session(w, &d);
    print_message("ring %.2e, whole cache %.2e of 1e-9\n", ring, all);
    assert_true(ring <= 1e-9 && all <= 1e-9);
}

static void gemma_4_agrees_with_the_reference(void **state) {
    const world *w = *state;
    float *ours = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    float *theirs = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    for (uint32_t i = 0; i < sizeof gemma4s / sizeof gemma4s[0]; i++) {
        model_source *source = NULL;
        tandem_message message = {""};
        if (model_source_open(&source, &gemma4s[i], &message))
            fail_msg("%s", message.text);
        session_desc d = describe(w, w->reference);
        d.source = source;
        d.batch = N_TOKEN;
        session *s = open_session(&d);
        score(s, w->tokens, N_TOKEN, theirs, w->n_vocab);
        session_destroy(s);
        d.backend = tandem_plugin_backend(w->plugin);
        d.batch = 48;
        s = open_session(&d);
        score(s, w->tokens, N_TOKEN, ours, w->n_vocab);
        session_destroy(s);
        model_source_close(source);
        double worst = worst_error(ours, theirs, N_TOKEN, w->n_vocab);
        print_message("%s: worst row %.2e of 1e-9\n", gemma4s[i].model, worst);
        assert_true(worst <= 1e-9);
    }
    free(ours);
    free(theirs);
}

/* A plugin against the reference with the same rounding of storage and activations. Rounded values flip at
 * ties, and a flip makes others flip: two right programs are about as far apart as each is from the unrounded
 * truth. */
static void roundings_agree_with_the_reference(void **state) {
    const world *w = *state;
    static const struct {
        uint32_t kv, precision;
    } cases[] = {{TANDEM_TYPE_F16, TANDEM_PRECISION_EXACT},
                 {TANDEM_TYPE_Q8_0, TANDEM_PRECISION_EXACT},
                 {TANDEM_TYPE_F32, TANDEM_PRECISION_Q8}};
    float *ours = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    float *theirs = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    for (uint32_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        session_desc d = describe(w, w->plugin);
        d.kv_type = cases[i].kv;
        d.precision = cases[i].precision;
        session *s = open_session(&d);
        score(s, w->tokens, N_TOKEN, ours, w->n_vocab);
        session_destroy(s);
        d.backend = tandem_plugin_backend(w->reference);
        s = open_session(&d);
        score(s, w->tokens, N_TOKEN, theirs, w->n_vocab);
        session_destroy(s);
        double worst = worst_error(ours, theirs, N_TOKEN, w->n_vocab);
        double rounding = worst_error(theirs, w->expected, N_TOKEN, w->n_vocab);
        double budget = cases[i].kv == TANDEM_TYPE_F16 ? 1e-5 : 3 * rounding;
        print_message("cache type %u, precision %u: worst row %.2e of %.0e (the rounding itself: %.2e)\n",
                      cases[i].kv, cases[i].precision, worst, budget, rounding);
        assert_true(worst <= budget);
        assert_true(rounding > 1e-7 &&
                    rounding < 0.05); /* the option did something, and no more than it should */
    }
    free(ours);
    free(theirs);
}

static void truncation_goes_back_exactly(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    float *rows = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    tandem_message message;
    session *s = open_session(&d);
    uint32_t wrong[40];
    for (uint32_t i = 0; i < 40; i++)
        wrong[i] = (i * 31 + 5) % w->n_vocab;
    score(s, w->tokens, 100, rows, w->n_vocab);
    assert_int_equal(session_feed(s, wrong, 40, NULL, NULL, &message), TANDEM_OK);
    assert_int_equal(session_length(s), 140);
    assert_int_equal(session_truncate(s, 100, &message), TANDEM_OK);
    score(s, w->tokens + 100, N_TOKEN - 100, rows + 100 * (size_t)w->n_vocab, w->n_vocab);
    assert_true(worst_error(rows, w->expected, N_TOKEN, w->n_vocab) <= 1e-9);
    session_destroy(s);
    free(rows);
}

/* ---- generation ---- */

typedef struct made {
    uint32_t ids[N_CTX];
    uint32_t n, stop_after;
} made;

static int keep_token(void *user, uint32_t id) {
    made *m = user;
    m->ids[m->n++] = id;
    return m->n == m->stop_after;
}

static generate_stats generate(session *s, const world *w, uint32_t n_prompt, uint32_t n, const sampler *how,
                               made *m) {
    generate_options options = {.n = n, .sampler = *how};
    generate_stats stats;
    tandem_message message = {""};
    int status = session_generate(s, w->tokens, n_prompt, &options, keep_token, m, &stats, &message);
    if (status)
        print_error("%s\n", message.text);
    assert_int_equal(status, TANDEM_OK);
    assert_int_equal(stats.n_made, m->n);
    return stats;
}

/* Token by token, the choice made here. */
static void greedy_by_hand(session *s, const world *w, uint32_t n_prompt, uint32_t n, uint32_t *ids) {
    tandem_message message;
    topk_row row;
    assert_int_equal(session_feed(s, w->tokens, n_prompt, &row, NULL, &message), TANDEM_OK);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = row.id[0];
        assert_int_equal(session_feed(s, &ids[i], 1, &row, NULL, &message), TANDEM_OK);
    }
}

static void queued_runs_make_the_tokens_of_single_ones(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    uint32_t by_hand[40];
    sampler greedy;
    sampler_init(&greedy, 0, 64, 1, 1);
    made m = {0};
    session *s = open_session(&d);
    greedy_by_hand(s, w, 20, 40, by_hand);
    tandem_message message;
    assert_int_equal(session_truncate(s, 0, &message), TANDEM_OK);
    generate_stats stats = generate(s, w, 20, 40, &greedy, &m);
    assert_int_equal(stats.stop, GENERATE_STOP_COUNT);
    assert_memory_equal(m.ids, by_hand, sizeof by_hand);
    assert_int_equal(session_length(s), 20 + 40 - 1);
    session_destroy(s);
}

/* Runs queued ahead are taken back: what follows is as if they had never been. */
/* As a comparison measures prefill: chunks at one place, each taken back while the device may still work on
 * it. */
static void queued_chunks_leave_what_fed_ones_do(void **state) {
    const world *w = *state;
    const uint32_t start = 40, n = 16;
    session_desc d = describe(w, w->plugin);
    session *s = open_session(&d);
    tandem_message message;
    run_times times = {0};
    float *logits = malloc(w->n_vocab * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(session_feed(s, w->tokens, start, NULL, NULL, &message), TANDEM_OK);
    for (uint32_t i = 0; i < SESSION_MAX_PENDING; i++) {
        assert_int_equal(session_truncate(s, start, &message), TANDEM_OK);
        assert_int_equal(session_queue(s, w->tokens + start, n, false, &message), TANDEM_OK);
    }
    assert_int_equal(session_queue(s, w->tokens + start, n, false, &message), TANDEM_E_BUSY);
    assert_int_equal(session_length(s), start + n);
    for (uint32_t i = 0; i < SESSION_MAX_PENDING; i++) {
        assert_int_equal(session_collect(s, NULL, &times, &message), TANDEM_OK);
        assert_true(times.device_ns > 0);
    }
    assert_int_equal(session_decode(s, w->tokens[start + n], true, &message), TANDEM_OK);
    assert_int_equal(session_collect(s, NULL, NULL, &message), TANDEM_OK);
    assert_int_equal(session_read_logits(s, logits, &message), TANDEM_OK);
    double error = worst_error(logits, w->expected + (size_t)(start + n) * w->n_vocab, 1, w->n_vocab);
    print_message("behind queued chunks: %.2e of 1e-9\n", error);
    assert_true(error <= 1e-9);
    assert_int_equal(session_queue(s, w->tokens, 0, false, &message), TANDEM_E_INVALID);
    assert_int_equal(session_queue(s, w->tokens, d.batch + 1, false, &message), TANDEM_E_INVALID);
    free(logits);
    session_destroy(s);
}

static void a_stopped_generation_can_go_on(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    uint32_t by_hand[40];
    sampler greedy;
    sampler_init(&greedy, 0, 64, 1, 1);
    made m = {.stop_after = 9};
    session *s = open_session(&d);
    greedy_by_hand(s, w, 20, 40, by_hand);
    tandem_message message;
    assert_int_equal(session_truncate(s, 0, &message), TANDEM_OK);
    generate_stats stats = generate(s, w, 20, 40, &greedy, &m);
    assert_int_equal(stats.stop, GENERATE_STOP_CALLER);
    assert_int_equal(m.n, 9);
    assert_int_equal(session_length(s), 20 + 9 - 1);
    topk_row row;
    for (uint32_t i = 8; i + 1 < 40; i++) {
        assert_int_equal(session_feed(s, &by_hand[i], 1, &row, NULL, &message), TANDEM_OK);
        assert_int_equal(row.id[0], by_hand[i + 1]);
    }
    session_destroy(s);
}

static void generation_ends_where_the_cache_does(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    d.n_ctx = 24;
    sampler greedy;
    sampler_init(&greedy, 0, 64, 1, 1);
    made m = {0};
    session *s = open_session(&d);
    generate_stats stats = generate(s, w, 20, 40, &greedy, &m);
    assert_int_equal(stats.stop, GENERATE_STOP_CONTEXT);
    assert_int_equal(m.n, 5); /* the last comes from the last position */
    session_destroy(s);
}

static void one_seed_one_text(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    static const uint32_t top_ks[] = {64, 0}; /* candidates of the device; all logits */
    for (uint32_t k = 0; k < 2; k++) {
        made first = {0}, again = {0}, other = {0};
        made *all[] = {&first, &again, &other};
        for (uint32_t i = 0; i < 3; i++) {
            sampler how;
            sampler_init(&how, 1.5f, top_ks[k], 0.98f, i < 2 ? 11 : 12);
            session *s = open_session(&d);
            generate(s, w, 10, 24, &how, all[i]);
            session_destroy(s);
        }
        assert_memory_equal(first.ids, again.ids, sizeof first.ids);
        assert_memory_not_equal(first.ids, other.ids, sizeof first.ids);
    }
}

/* ---- memory and refusals ---- */

static void a_plan_beyond_the_cap_is_refused_in_one_sentence(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    d.memory_cap = 2u << 20;
    d.n_ctx = 1u << 20;
    session *s = NULL;
    tandem_message message;
    assert_int_equal(session_create(&s, &d, &message), TANDEM_E_OUT_OF_MEMORY);
    assert_null(s);
    assert_non_null(strstr(message.text, "1048576 positions"));
    assert_non_null(strstr(message.text, "memory cap of 2.00 MiB"));
}

static void what_was_planned_is_what_is_allocated(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    session *s = open_session(&d);
    tandem_memory_info info;
    tandem_message message;
    const memory_plan *plan = session_plan(s);
    assert_int_equal(session_memory(s, &info, &message), TANDEM_OK);
    print_message("planned %llu, allocated %llu, peak %llu\n", (unsigned long long)plan->total,
                  (unsigned long long)info.total, (unsigned long long)info.peak);
    assert_true(info.total >= plan->kv);
    /* A model this small is mostly padding and scratch; a real one is judged tighter (cli_test.sh). */
    assert_true(info.total <= plan->total + (16u << 20));
    session_destroy(s);
}

/* A cap that the plan passes but the plugin does not: still an answer, and nothing is left behind. */
static void a_cap_reached_while_loading_is_an_answer(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    session *s = open_session(&d);
    d.memory_cap = session_plan(s)->total;
    tandem_memory_info info;
    tandem_message message;
    assert_int_equal(session_memory(s, &info, &message), TANDEM_OK);
    session_destroy(s);
    if (info.peak <= d.memory_cap)
        skip();
    int status = session_create(&s, &d, &message);
    assert_int_equal(status, TANDEM_E_OUT_OF_MEMORY);
    assert_true(message.text[0] != 0);
    d.memory_cap = 0;
    assert_true(error_of_session(w, &d) <= 1e-9);
}

static void more_than_the_context_is_refused_and_changes_nothing(void **state) {
    const world *w = *state;
    session_desc d = describe(w, w->plugin);
    d.n_ctx = 100;
    float *rows = malloc((size_t)N_TOKEN * w->n_vocab * sizeof(float));
    tandem_message message;
    session *s = open_session(&d);
    assert_int_equal(session_feed(s, w->tokens, 101, NULL, NULL, &message), TANDEM_E_INVALID);
    assert_non_null(strstr(message.text, "100"));
    assert_int_equal(session_length(s), 0);
    score(s, w->tokens, 100, rows, w->n_vocab);
    assert_true(worst_error(rows, w->expected, 100, w->n_vocab) <= 1e-9);
    assert_int_equal(session_decode(s, 1, true, &message), TANDEM_E_INVALID);
    session_destroy(s);
    free(rows);
}

static int check_target(void *user, uint32_t index, const topk_row *row, const float *logits) {
    const world *w = user;
    double sum = 0;
    for (uint32_t i = 0; i < w->n_vocab; i++)
        sum += exp((double)logits[i] - row->logit[0]);
    bool has_target = index % 3 != 2;
    float target = has_target ? logits[(index * 11) % w->n_vocab] : 0;
    bool good = row->target == target && fabs(row->logsumexp - (row->logit[0] + log(sum))) < 1e-4;
    return good ? TANDEM_OK : TANDEM_E_INTERNAL;
}

static void targets_and_logsumexp_are_those_of_the_logits(void **state) {
    world *w = *state;
    session_desc d = describe(w, w->plugin);
    d.n_score = 5;
    uint32_t targets[40];
    for (uint32_t i = 0; i < 40; i++)
        targets[i] = i % 3 != 2 ? (i * 11) % w->n_vocab : TANDEM_NONE;
    session *s = open_session(&d);
    tandem_message message;
    assert_int_equal(session_score(s, w->tokens, targets, 40, true, check_target, w, &message), TANDEM_OK);
    session_destroy(s);
}

int main(int argc, char **argv) {
    if (!plugin_argument_take(&tested, argc, argv))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_of_any_size_give_the_same_logits),
        cmocka_unit_test(a_ring_gives_the_logits_of_a_cache_that_keeps_all),
        cmocka_unit_test(gemma_4_agrees_with_the_reference),
        cmocka_unit_test(roundings_agree_with_the_reference),
        cmocka_unit_test(truncation_goes_back_exactly),
        cmocka_unit_test(queued_runs_make_the_tokens_of_single_ones),
        cmocka_unit_test(queued_chunks_leave_what_fed_ones_do),
        cmocka_unit_test(a_stopped_generation_can_go_on),
        cmocka_unit_test(generation_ends_where_the_cache_does),
        cmocka_unit_test(one_seed_one_text),
        cmocka_unit_test(a_plan_beyond_the_cap_is_refused_in_one_sentence),
        cmocka_unit_test(what_was_planned_is_what_is_allocated),
        cmocka_unit_test(a_cap_reached_while_loading_is_an_answer),
        cmocka_unit_test(more_than_the_context_is_refused_and_changes_nothing),
        cmocka_unit_test(targets_and_logsumexp_are_those_of_the_logits),
    };
    return cmocka_run_group_tests(tests, make_world, end_world);
}
