/* Experts imposed on a model: seeded choices and recorded traces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "routing.h"
#include "scratch.h"
#include "small_models.h"

#define N_LAYER 3u
#define N_EXPERT 32u
#define N_USED 4u
#define N_ROW 4000u
#define N_ID (N_ROW * N_LAYER * N_USED)

static model_config config;
static uint32_t ids[N_ID], other[N_ID];

static int make_config(void **state) {
    const model_overrides o = {.n_layer = N_LAYER, .n_expert = N_EXPERT, .n_used = N_USED};
    tandem_message message;
    if (model_config_preset(&config, "gemma4-26b-a4b", &message) ||
        model_config_override(&config, &o, &message))
        return -1;
    return scratch_make(state);
}

static routing *make(const char *how, uint64_t seed) {
    routing *r = NULL;
    CHECK(routing_create(&r, how, &config, seed, &check_message));
    assert_non_null(r);
    return r;
}

static void fill(const char *how, uint64_t seed, uint32_t *to) {
    routing *r = make(how, seed);
    routing_fill(r, 0, N_ROW, to);
    routing_destroy(r);
}

/* Share of expert `e` among the choices of a layer. */
static double share(const uint32_t *of, uint32_t layer, uint32_t e) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_ROW; i++)
        for (uint32_t k = 0; k < N_USED; k++)
            n += of[(i * N_LAYER + layer) * N_USED + k] == e;
    return n / (double)(N_ROW * N_USED);
}

static void sets_hold_different_experts(void **state) {
    (void)state;
    static const char *const hows[] = {"uniform", "zipf", "zipf:0", "zipf:4.5", "zipf:10"};
    for (uint32_t h = 0; h < sizeof hows / sizeof hows[0]; h++) {
        fill(hows[h], 3, ids);
        for (uint32_t i = 0; i < N_ID; i += N_USED)
            for (uint32_t k = 0; k < N_USED; k++) {
                assert_true(ids[i + k] < N_EXPERT);
                for (uint32_t j = 0; j < k; j++)
                    assert_int_not_equal(ids[i + k], ids[i + j]);
            }
    }
}

static void every_expert_can_be_used_at_once(void **state) {
    (void)state;
    model_config all = config;
    uint32_t set[N_LAYER * N_EXPERT];
    all.n_used = N_EXPERT;
    static const char *const hows[] = {"uniform", "zipf:10"};
    for (uint32_t h = 0; h < 2; h++) {
        routing *r = NULL;
        uint32_t seen[N_EXPERT] = {0};
        CHECK(routing_create(&r, hows[h], &all, 1, &check_message));
        routing_fill(r, 7, 1, set);
        for (uint32_t i = 0; i < N_LAYER * N_EXPERT; i++)
            seen[set[i]]++;
        for (uint32_t e = 0; e < N_EXPERT; e++)
            assert_int_equal(seen[e], N_LAYER);
        routing_destroy(r);
    }
}

/* A token's experts depend on its position, not on the chunk that it came in. */
static void chunks_do_not_matter(void **state) {
    (void)state;
    static const char *const hows[] = {"uniform", "zipf:1.2"};
    for (uint32_t h = 0; h < 2; h++) {
        routing *r = make(hows[h], 5);
        routing_fill(r, 0, N_ROW, ids);
        for (uint32_t first = 0; first < N_ROW;) {
            uint32_t n = 1 + first % 37 < N_ROW - first ? 1 + first % 37 : N_ROW - first;
            routing_fill(r, first, n, other);
            assert_memory_equal(other, ids + (size_t)first * N_LAYER * N_USED,
                                (size_t)n * N_LAYER * N_USED * sizeof *ids);
            first += n;
        }
        routing_destroy(r);
    }
}

static void seeds_layers_and_positions_differ(void **state) {
    (void)state;
    uint32_t n_seed = 0, n_layer = 0, n_row = 0;
    fill("uniform", 1, ids);
    fill("uniform", 1, other);
    assert_memory_equal(ids, other, sizeof ids);
    fill("uniform", 2, other);
    const size_t set = N_USED * sizeof *ids;
    for (uint32_t i = 0; i + N_LAYER * N_USED < N_ID; i += N_LAYER * N_USED) {
        n_seed += memcmp(ids + i, other + i, set) == 0;
        n_layer += memcmp(ids + i, ids + i + N_USED, set) == 0;
        n_row += memcmp(ids + i, ids + i + N_LAYER * N_USED, set) == 0;
    }
    /* One set in 863,040 is equal by chance. */
    assert_true(n_seed < 3 && n_layer < 3 && n_row < 3);
}

static void uniform_is_uniform(void **state) {
    (void)state;
    fill("uniform", 9, ids);
    for (uint32_t l = 0; l < N_LAYER; l++) {
        double chi = 0;
        for (uint32_t e = 0; e < N_EXPERT; e++) {
            const double difference = share(ids, l, e) - 1.0 / N_EXPERT;
            chi += difference * difference * N_EXPERT * N_ROW * N_USED;
        }
        /* 31 degrees of freedom: 61.1 once in a thousand. */
        assert_true(chi < 61.1);
    }
}

/* The first draw of a set follows the law; the later ones, without putting back, are flatter. */
static void zipf_follows_its_law(void **state) {
    (void)state;
    fill("zipf:1.5", 9, ids);
    double harmonic = 0;
    for (uint32_t r = 1; r <= N_EXPERT; r++)
        harmonic += pow(r, -1.5);
    uint32_t hottest[N_LAYER];
    for (uint32_t l = 0; l < N_LAYER; l++) {
        uint32_t count[N_EXPERT] = {0}, best = 0;
        for (uint32_t i = 0; i < N_ROW; i++)
            count[ids[(i * N_LAYER + l) * N_USED]]++;
        for (uint32_t e = 0; e < N_EXPERT; e++)
            best = count[e] > count[best] ? e : best;
        hottest[l] = best;
        const double expected = N_ROW / harmonic, deviation = sqrt(expected * (1 - 1 / harmonic));
        assert_true(fabs(count[best] - expected) < 4 * deviation);
        uint32_t second = 0;
        for (uint32_t e = 0; e < N_EXPERT; e++)
            second = e != best && count[e] > second ? count[e] : second;
        assert_true(fabs(second - expected * pow(2, -1.5)) < 4 * sqrt(expected * pow(2, -1.5)));
    }
    assert_false(hottest[0] == hottest[1] && hottest[1] == hottest[2]);
}

/* ---- traces ---- */

static void write_trace(const char *path, uint32_t n_row) {
    output_file *file = NULL;
    assert_int_equal(output_file_begin(&file, path, 0, NULL, NULL), TANDEM_OK);
    assert_int_equal(routing_trace_begin(file, &config), TANDEM_OK);
    for (uint32_t i = 0; i < n_row; i++)
        assert_int_equal(routing_trace_write(file, &config, 1000 + i, ids + (size_t)i * N_LAYER * N_USED),
                         TANDEM_OK);
    assert_int_equal(output_file_end(file, NULL), TANDEM_OK);
}

static void a_trace_gives_what_was_recorded(void **state) {
    const scratch *s = *state;
    char how[160];
    fill("uniform", 4, ids);
    write_trace(s->path, 10);
    snprintf(how, sizeof how, "trace:%s", s->path);
    routing *r = make(how, 77);
    routing_fill(r, 0, 10, other);
    const size_t row = N_LAYER * N_USED;
    assert_memory_equal(other, ids, 10 * row * sizeof *ids);
    /* and begins anew after its end */
    routing_fill(r, 8, 4, other);
    assert_memory_equal(other, ids + 8 * row, 2 * row * sizeof *ids);
    assert_memory_equal(other + 2 * row, ids, 2 * row * sizeof *ids);
    char name[64];
    snprintf(name, sizeof name, "%s", routing_name(r));
    routing_destroy(r);
    /* named by its contents */
    write_trace(s->other, 10);
    snprintf(how, sizeof how, "trace:%s", s->other);
    r = make(how, 78);
    assert_string_equal(routing_name(r), name);
    routing_destroy(r);
    write_trace(s->other, 9);
    r = make(how, 78);
    assert_string_not_equal(routing_name(r), name);
    routing_destroy(r);
}

static void what_is_no_trace_is_refused(void **state) {
    const scratch *s = *state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "no token's experts"},
        {"hello\n", "line 1: a trace begins with"},
        {"tandem-routing 2 3 32 4\n", "line 1: a trace begins with"},
        {"tandem-routing 1 3 32\n", "line 1: a trace begins with"},
        {"tandem-routing 1 3 32 4 5\n", "line 1: a trace begins with"},
        {"tandem-routing 1 3 99999999999 4\n", "line 1: a trace begins with"},
        {"tandem-routing 1 4 32 4\n1 1,2,3,4\n", "of a model of 4 layers with 4 of 32"},
        {"tandem-routing 1 3 32 4\n", "no token's experts"},
        {"tandem-routing 1 3 32 4\n\n", "line 2: a token id"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,4 1,2,3,4\n", "line 2: the experts of every layer"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,4 1,2,3,4 1,2,3\n", "line 2: the experts of every layer"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,4 1,2,3,4 1,2,3,4 1\n", "line 2: the experts of every layer"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,4 1,2,3,32 1,2,3,4\n", "line 2: the experts of every layer"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,-4 1,2,3,3 1,2,3,4\n", "line 2: the experts of every layer"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,4 7,2,3,7 1,2,3,4\n", "line 2: an expert is named twice"},
        {"tandem-routing 1 3 32 4\n5 1,2,3,4 1,2,3,4 1,2,3,4\nx\n", "line 3: a token id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char how[160];
        routing *r = NULL;
        tandem_message message = {"(none)"};
        FILE *file = fopen(s->path, "w");
        fputs(cases[i].text, file);
        fclose(file);
        snprintf(how, sizeof how, "trace:%s", s->path);
        int status = routing_create(&r, how, &config, 1, &message);
        if (status != TANDEM_E_UNSUPPORTED || !strstr(message.text, cases[i].words))
            fail_msg("case %zu: status %d, '%s'", i, status, message.text);
        assert_null(r);
    }
}

static void zero_bytes_are_no_text(void **state) {
    const scratch *s = *state;
    char how[160];
    routing *r = NULL;
    tandem_message message = {"(none)"};
    FILE *file = fopen(s->path, "w");
    fwrite("tandem-routing 1 3 32 4\n5 1,2,3,4\0 1,2,3,4 1,2,3,4\n", 1, 49, file);
    fclose(file);
    snprintf(how, sizeof how, "trace:%s", s->path);
    assert_int_equal(routing_create(&r, how, &config, 1, &message), TANDEM_E_UNSUPPORTED);
    assert_non_null(strstr(message.text, "line 2: a zero byte"));
}

static void names_that_mean_nothing_are_refused(void **state) {
    (void)state;
    static const char *const hows[] = {"",       "unifor",   "Uniform", "zipf:",      "zipf:-1",
                                       "zipf:x", "zipf:nan", "zipf:11", "zipf:1e999", "zipfian"};
    model_config dense;
    tandem_message message;
    routing *r = NULL;
    for (size_t i = 0; i < sizeof hows / sizeof hows[0]; i++)
        if (routing_create(&r, hows[i], &config, 1, &message) != TANDEM_E_INVALID || r)
            fail_msg("'%s' was taken", hows[i]);
    assert_int_equal(routing_create(&r, "trace:/nonexistent/t", &config, 1, &message), TANDEM_E_UNSUPPORTED);
    CHECK(model_config_preset(&dense, "gemma4-12b", &check_message));
    assert_int_equal(routing_create(&r, "uniform", &dense, 1, &message), TANDEM_E_INVALID);
    assert_int_equal(routing_create(&r, "model", &dense, 1, &message), TANDEM_OK);
    assert_null(r);
    assert_string_equal(routing_name(r), "model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_hold_different_experts),
        cmocka_unit_test(every_expert_can_be_used_at_once),
        cmocka_unit_test(chunks_do_not_matter),
        cmocka_unit_test(seeds_layers_and_positions_differ),
        cmocka_unit_test(uniform_is_uniform),
        cmocka_unit_test(zipf_follows_its_law),
        cmocka_unit_test(a_trace_gives_what_was_recorded),
        cmocka_unit_test(what_is_no_trace_is_refused),
        cmocka_unit_test(zero_bytes_are_no_text),
        cmocka_unit_test(names_that_mean_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, make_config, scratch_remove);
}
