/* Every proxy does what proxy/proxy.h says, and nothing else: a test that tandem is not fooled by one proves
 * nothing where the proxy does not lie. All wrap the reference plugin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader.h"
#include "progress.h"
#include "session_internal.h"

#define N_TOKEN 24u
#define N_VOCAB 8000u /* the head is most of the work */
#define MOST_OPTIONS 8u
#define WRAP "wrap=" TANDEM_TEST_LIB "/libtandem_reference.so"

/* A session on the plugin under test. */
typedef struct world {
    tandem_plugin *plugin;
    const tandem_backend *api;
    model_source *source;
    session *s;
} world;

/* The last layer has no window. */
static const model_source_desc model = {.model = "gemma3-270m",
                                        .seed = 7,
                                        .overrides = {.n_layer = 6,
                                                      .d_model = 64,
                                                      .d_ff = 64,
                                                      .n_vocab = N_VOCAB,
                                                      .n_head = 2,
                                                      .head_dim = 32,
                                                      .window = 8}};

/* name NULL: the reference plugin itself. options: separated by blanks. */
static void open_plugin(world *w, const char *name, const char *options, const tandem_status expected) {
    char path[1024], text[512];
    const char *list[MOST_OPTIONS] = {WRAP};
    uint32_t n = name ? 1 : 0;
    snprintf(path, sizeof path, "%s/libtandem_%s.so", name ? TANDEM_TEST_PROXIES : TANDEM_TEST_LIB,
             name ? name : "reference");
    snprintf(text, sizeof text, "%s", options);
    for (char *option = strtok(text, " "); option; option = strtok(NULL, " "))
        list[n++] = option;
    tandem_host host = {.struct_size = sizeof host, .n_options = n, .options = list};
    tandem_error error = {.struct_size = sizeof error};
    tandem_status status = tandem_plugin_open(path, &host, &w->plugin, &error);
    if (status != expected)
        fail_msg("%s: status %d, %s", path, status, error.message);
    if (status == TANDEM_OK)
        w->api = tandem_plugin_backend(w->plugin);
}

static void open_world(world *w, const char *name, const char *options, uint32_t precision) {
    tandem_message message = {""};
    *w = (world){0};
    open_plugin(w, name, options, TANDEM_OK);
    assert_int_equal(model_source_open(&w->source, &model, &message), TANDEM_OK);
    session_desc desc = {.backend = w->api,
                         .source = w->source,
                         .n_ctx = 2 * N_TOKEN,
                         .batch = 8,
                         .kv_type = TANDEM_TYPE_F32,
                         .precision = precision,
                         .n_threads = 1,
                         .n_score = 8};
    if (session_create(&w->s, &desc, &message) != TANDEM_OK)
        fail_msg("%s", message.text);
}

static void close_world(world *w) {
    session_destroy(w->s);
    model_source_close(w->source);
    tandem_plugin_close(w->plugin);
}

/* Decodes N_TOKEN fixed tokens one by one; logits [N_TOKEN][N_VOCAB]. Returns the least device time. */
static uint64_t decode(world *w, float *logits) {
    uint64_t least = UINT64_MAX;
    tandem_message message = {""};
    for (uint32_t i = 0; i < N_TOKEN; i++) {
        topk_row row;
        run_times times = {0};
        int status = session_decode(w->s, 5 + 7 * i, true, &message);
        if (!status)
            status = session_collect(w->s, &row, &times, &message);
        if (!status && logits)
            status = session_read_logits(w->s, logits + (size_t)i * N_VOCAB, &message);
        if (status)
            fail_msg("token %u: %s", i, message.text);
        least = times.device_ns < least ? times.device_ns : least;
    }
    return least;
}

/* The logits of a plugin, to be freed; *least: its least device time. */
static float *logits_of(const char *name, const char *options, uint32_t precision, uint64_t *least) {
    world w;
    uint64_t ns;
    float *logits = malloc(N_TOKEN * N_VOCAB * sizeof *logits);
    assert_non_null(logits);
    open_world(&w, name, options, precision);
    ns = decode(&w, logits);
    if (least)
        *least = ns;
    close_world(&w);
    return logits;
}

static int rows_equal(const float *a, const float *b, uint32_t first, uint32_t end) {
    return !memcmp(a + (size_t)first * N_VOCAB, b + (size_t)first * N_VOCAB,
                   (end - first) * N_VOCAB * sizeof *a);
}

/* Sum (a - b)^2 / sum b^2 of one row. */
static double row_error(const float *a, const float *b, uint32_t row) {
    double error = 0, size = 0;
    for (uint32_t i = row * N_VOCAB; i < (row + 1) * N_VOCAB; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return error / size;
}

static uint32_t count_steps(world *w, const char *name, char kernels[256]) {
    step_cost *steps = NULL;
    uint32_t n = 0, found = 0;
    tandem_message message;
    assert_int_equal(session_steps(w->s, SESSION_DECODE, 1, 1, &steps, &n, &message), TANDEM_OK);
    kernels[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        if (strstr(steps[i].step.label, name)) {
            found++;
            snprintf(kernels, 256, "%s", steps[i].step.kernel);
        }
    free(steps);
    return found;
}

/* ---- the modes ---- */

static void twice_is_right_and_slower(void **state) {
    (void)state;
    world w;
    char kernels[256];
    uint64_t once, twice;
    float *right = logits_of(NULL, "", TANDEM_PRECISION_EXACT, &once);
    float *ours = logits_of("proxy_twice", "op=output", TANDEM_PRECISION_EXACT, &twice);
    assert_true(rows_equal(ours, right, 0, N_TOKEN));
    if ((double)twice < 1.3 * (double)once)
        fail_msg("%.0f ns once, %.0f ns twice", (double)once, (double)twice);
    free(right);
    free(ours);
    open_world(&w, "proxy_twice", "op=ffn_down", TANDEM_PRECISION_EXACT);
    assert_int_equal(count_steps(&w, "ffn_down", kernels), 12); /* of six layers */
    assert_int_equal(count_steps(&w, "ffn_gate_up", kernels), 6);
    close_world(&w);
}

static void garbage_is_wrong_and_faster(void **state) {
    (void)state;
    uint64_t all, less;
    float *right = logits_of(NULL, "", TANDEM_PRECISION_EXACT, &all);
    float *ours = logits_of("proxy_garbage", "op=output", TANDEM_PRECISION_EXACT, &less);
    assert_true((double)less < 0.7 * (double)all);
    assert_true(row_error(ours, right, N_TOKEN - 1) > 0.1);
    free(ours);
    ours = logits_of("proxy_garbage", "", TANDEM_PRECISION_EXACT, NULL); /* the feed-forward part */
    for (uint32_t i = 0; i < N_TOKEN; i++)
        assert_true(row_error(ours, right, i) > 1e-3);
    free(right);
    free(ours);
}

static void garbage_may_begin_late(void **state) {
    (void)state;
    float *right = logits_of(NULL, "", TANDEM_PRECISION_EXACT, NULL);
    float *deep = logits_of("proxy_garbage", "depth=10", TANDEM_PRECISION_EXACT, NULL);
    float *late = logits_of("proxy_garbage", "runs=15", TANDEM_PRECISION_EXACT, NULL);
    assert_true(rows_equal(deep, right, 0, 10));
    assert_true(row_error(deep, right, 10) > 1e-3);
    assert_true(rows_equal(late, right, 0, 15));
    assert_true(row_error(late, right, 15) > 1e-3);
    free(right);
    free(deep);
    free(late);
}

static void precision_is_q8_whatever_was_stated(void **state) {
    (void)state;
    world w;
    char kernels[256];
    float *exact = logits_of(NULL, "", TANDEM_PRECISION_EXACT, NULL);
    float *q8 = logits_of(NULL, "", TANDEM_PRECISION_Q8, NULL);
    float *ours = logits_of("proxy_precision", "", TANDEM_PRECISION_EXACT, NULL);
    assert_true(rows_equal(ours, q8, 0, N_TOKEN));
    assert_false(rows_equal(ours, exact, 0, N_TOKEN));
    free(exact);
    free(q8);
    free(ours);
    open_world(&w, "proxy_precision", "", TANDEM_PRECISION_EXACT);
    count_steps(&w, "ffn_down", kernels);
    assert_non_null(strstr(kernels, "_q8"));
    close_world(&w);
    open_world(&w, "proxy_precision", "disguise=1", TANDEM_PRECISION_EXACT);
    count_steps(&w, "ffn_down", kernels);
    assert_null(strstr(kernels, "_q8"));
    assert_non_null(strstr(kernels, "_exact"));
    close_world(&w);
}

static void fallback_is_a_gpu_in_name_only(void **state) {
    (void)state;
    world w;
    uint64_t ns;
    tandem_device_info info = {.struct_size = sizeof info};
    float *right = logits_of(NULL, "", TANDEM_PRECISION_EXACT, NULL);
    float *ours = logits_of("proxy_fallback", "ns=5000", TANDEM_PRECISION_EXACT, &ns);
    assert_true(rows_equal(ours, right, 0, N_TOKEN));
    assert_int_equal(ns, 5000);
    free(right);
    free(ours);
    open_world(&w, "proxy_fallback", "ns=0", TANDEM_PRECISION_EXACT);
    assert_int_equal(w.api->device_info(0, &info, NULL), TANDEM_OK);
    assert_int_equal(info.kind, TANDEM_DEVICE_GPU);
    assert_true(decode(&w, NULL) > 5000);
    close_world(&w);
}

/* Without noise, to the nanosecond: six layers of five ops, embedding, head and top-k. */
static void scripted_times_are_those_of_the_script(void **state) {
    (void)state;
    world w;
    char kernels[256];
    float *right = logits_of(NULL, "", TANDEM_PRECISION_EXACT, NULL);
    float *ours = logits_of("proxy_scripted", "base=100000", TANDEM_PRECISION_EXACT, NULL);
    assert_true(rows_equal(ours, right, 0, N_TOKEN));
    free(right);
    free(ours);
    open_world(&w, "proxy_scripted", "base=100000 op=ffn_down factor=1.05", TANDEM_PRECISION_EXACT);
    const uint32_t n_step = count_steps(&w, "", kernels);
    const uint64_t start = now_ns(), device = decode(&w, NULL), wall = now_ns() - start;
    assert_int_equal(count_steps(&w, "ffn_down", kernels), 6);
    assert_int_equal(device, 100000 * n_step + 6 * 5000);
    assert_true(wall >= N_TOKEN * device);
    close_world(&w);
}

static void scripted_noise_is_as_large_as_asked_for(void **state) {
    (void)state;
    world w;
    double sum = 0, squares = 0;
    const uint32_t n = 20 * N_TOKEN;
    tandem_message message = {""};
    open_world(&w, "proxy_scripted", "base=1000 noise=0.01 seed=3", TANDEM_PRECISION_EXACT);
    for (uint32_t i = 0; i < n; i++) {
        run_times times = {0};
        if (i % N_TOKEN == 0)
            assert_int_equal(session_truncate(w.s, 0, &message), TANDEM_OK);
        assert_int_equal(session_decode(w.s, 5, true, &message), TANDEM_OK);
        assert_int_equal(session_collect(w.s, NULL, &times, &message), TANDEM_OK);
        sum += (double)times.device_ns;
        squares += (double)times.device_ns * (double)times.device_ns;
    }
    const double mean = sum / n, deviation = sqrt(squares / n - mean * mean) / mean;
    assert_true(deviation > 0.008 && deviation < 0.025); /* 1 %, and a tenth more every fiftieth time */
    close_world(&w);
}

static void devices_are_what_is_said(void **state) {
    (void)state;
    world w = {0};
    tandem_device_info info = {.struct_size = sizeof info};
    open_plugin(&w, "proxy_simulated", "", TANDEM_OK);
    assert_int_equal(w.api->device_info(0, &info, NULL), TANDEM_OK);
    assert_int_equal(info.kind, TANDEM_DEVICE_SIMULATED);
    assert_string_equal(w.api->descriptor->name, "proxy_simulated");
    tandem_plugin_close(w.plugin);
    open_plugin(&w, "proxy_matrix", "", TANDEM_OK);
    assert_int_equal(w.api->device_info(0, &info, NULL), TANDEM_OK);
    assert_true(info.matrix_paths & ~info.matrix_used & TANDEM_MATRIX_COOPMAT);
    tandem_plugin_close(w.plugin);
    open_plugin(&w, "proxy_driver", "driver=577.01", TANDEM_OK);
    assert_int_equal(w.api->device_info(0, &info, NULL), TANDEM_OK);
    assert_string_equal(info.driver, "577.01");
    tandem_plugin_close(w.plugin);
}

/* The signal that ends a process which decodes on that plugin; 0: none. */
static int signal_of(const char *name, const char *options) {
    int status = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        world w;
        alarm(2);
        open_world(&w, name, options, TANDEM_PRECISION_EXACT);
        decode(&w, NULL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void crash_and_hang_are_real(void **state) {
    (void)state;
    assert_int_equal(signal_of("proxy_crash", "depth=5"), SIGSEGV);
    assert_int_equal(signal_of("proxy_crash", "depth=999"), 0);
    assert_int_equal(signal_of("proxy_hang", "depth=5"), SIGALRM);
    assert_int_equal(signal_of("proxy_hang", "depth=999"), 0);
}

static void memory_ends_at_a_depth(void **state) {
    (void)state;
    world w;
    tandem_message message;
    open_world(&w, "proxy_oom", "depth=8", TANDEM_PRECISION_EXACT);
    const uint32_t tokens[16] = {2};
    assert_int_equal(session_feed(w.s, tokens, 8, NULL, NULL, &message), TANDEM_OK);
    assert_int_equal(session_feed(w.s, tokens, 8, NULL, NULL, &message), TANDEM_E_OUT_OF_MEMORY);
    close_world(&w);
}

static void lacks_what_is_named(void **state) {
    (void)state;
    world w;
    tandem_message message = {""};
    open_world(&w, "proxy_lacks", "op=attention head=32 kv=8", TANDEM_PRECISION_EXACT); /* f32, 32 wide */
    session_desc desc = *session_description(w.s);
    close_world(&w);
    w = (world){0};
    open_plugin(&w, "proxy_lacks", "op=attention head=32", TANDEM_OK);
    assert_int_equal(model_source_open(&w.source, &model, &message), TANDEM_OK);
    desc.backend = w.api;
    desc.source = w.source;
    assert_int_equal(session_create(&w.s, &desc, &message), TANDEM_E_UNSUPPORTED);
    assert_non_null(strstr(message.text, "has no kernel for blk.0.attention"));
    close_world(&w);
}

static void caches_are_of_another_kind(void **state) {
    (void)state;
    world w;
    tandem_kv_layer layer = {.struct_size = sizeof layer};
    float *right = logits_of(NULL, "", TANDEM_PRECISION_EXACT, NULL);
    float *q8_0 = logits_of("proxy_cache", "kv=8", TANDEM_PRECISION_EXACT, NULL);
    float *windowed = logits_of("proxy_cache", "window=4", TANDEM_PRECISION_EXACT, NULL);
    assert_false(rows_equal(q8_0, right, 0, N_TOKEN));
    assert_true(row_error(q8_0, right, N_TOKEN - 1) < 0.1);
    assert_true(rows_equal(windowed, right, 0, 4)); /* no layer without a window reaches further yet */
    assert_true(row_error(windowed, right, N_TOKEN - 1) > 1e-4);
    free(right);
    free(q8_0);
    free(windowed);
    open_world(&w, "proxy_cache", "kv=8 window=4", TANDEM_PRECISION_EXACT);
    assert_int_equal(w.api->kv_layer(w.s->kv, 0, &layer, NULL), TANDEM_OK);
    assert_int_equal(layer.type, TANDEM_TYPE_F32);
    close_world(&w);
}

static void bad_options_are_refused(void **state) {
    (void)state;
    world w = {0};
    open_plugin(&w, "proxy_twice", "twixe=1", TANDEM_E_UNSUPPORTED);
    open_plugin(&w, "proxy_twice", "wrap=/nowhere.so", TANDEM_E_NO_DEVICE);
    open_plugin(&w, "proxy_twice", "wrap=", TANDEM_E_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twice_is_right_and_slower),
        cmocka_unit_test(garbage_is_wrong_and_faster),
        cmocka_unit_test(garbage_may_begin_late),
        cmocka_unit_test(precision_is_q8_whatever_was_stated),
        cmocka_unit_test(fallback_is_a_gpu_in_name_only),
        cmocka_unit_test(scripted_times_are_those_of_the_script),
        cmocka_unit_test(scripted_noise_is_as_large_as_asked_for),
        cmocka_unit_test(devices_are_what_is_said),
        cmocka_unit_test(crash_and_hang_are_real),
        cmocka_unit_test(memory_ends_at_a_depth),
        cmocka_unit_test(lacks_what_is_named),
        cmocka_unit_test(caches_are_of_another_kind),
        cmocka_unit_test(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
