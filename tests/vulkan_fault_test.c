/* The Vulkan plugin when things go wrong: every driver call refused once, the device lost, options, the cache
 * on disk.
 *
 * usage: vulkan_fault_test [--option NAME=VALUE]... --cache DIRECTORY
 */
#include "gpu_model.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { OUT_OF_HOST_MEMORY = -1, OUT_OF_DEVICE_MEMORY = -2, DEVICE_LOST = -4 }; /* VkResult */

static fixture fx;
static const char *cache_directory;

/* Everything from context to result. Returns the first bad status; frees all in any case. */
static tandem_status whole_life(model_top *top, tandem_error *error) {
    model m = {0};
    tandem_program *program = NULL;
    tandem_ticket ticket;
    tandem_context_desc desc = {.struct_size = sizeof desc};
    tandem_context *context = NULL;
    uint32_t tokens[3] = {5, 6, 7};
    float rows[3 * 32];
    tandem_status status = fx.api->context_create(&desc, &context, error);
    if (status != TANDEM_OK)
        return status;
    status = model_open(&m, fx.api, context, &model_small);
    if (status == TANDEM_OK)
        status = model_program(&m, 3, 1, TANDEM_PRECISION_Q8, &program);
    if (status == TANDEM_OK)
        status = fx.api->weights_place(m.layers[0].down, 0, TANDEM_PLACE_HOST, &ticket, &m.error);
    if (status == TANDEM_OK)
        status = fx.api->kv_fill(m.kv, 0, 3, 30, &m.error);
    if (status == TANDEM_OK)
        status = model_run(&m, program, tokens, 3, 30, 0, &ticket);
    if (status == TANDEM_OK)
        status = fx.api->wait(context, ticket, UINT64_MAX, &m.error);
    if (status == TANDEM_OK)
        status = model_result(&m, 0, top);
    if (status == TANDEM_OK)
        status = fx.api->kv_read(m.kv, 1, 0, TANDEM_KV_K, 30, 3, rows, &m.error);
    if (status == TANDEM_OK) {
        tandem_run run = {.struct_size = sizeof run,
                          .n_rows = 3,
                          .n_out = 1,
                          .tokens = tokens,
                          .position = 33,
                          .flags = TANDEM_RUN_PROFILE};
        status = fx.api->run(program, &run, &ticket, &m.error);
    }
    if (status != TANDEM_OK && m.error.message[0])
        *error = m.error;
    fx.api->program_destroy(program);
    model_close(&m);
    fx.api->context_destroy(context);
    return status;
}

static void refuse_each_call(int32_t result, tandem_status expected) {
    model_top good, top;
    tandem_error error = {.struct_size = sizeof error};
    fx.vulkan->inject(0, 0);
    assert_int_equal(whole_life(&good, &error), TANDEM_OK);
    uint64_t n_calls = fx.vulkan->n_calls();
    assert_in_range(n_calls, 50, 5000);
    for (uint64_t n = 1; n <= n_calls; n++) {
        memset(&error, 0, sizeof error);
        error.struct_size = sizeof error;
        fx.vulkan->inject(n, result);
        tandem_status status = whole_life(&top, &error);
        /* A quick device needs fewer waits: the call did not take place. */
        if (status == TANDEM_OK && fx.vulkan->n_calls() < n)
            continue;
        if (status != expected && !(result == DEVICE_LOST && status == TANDEM_E_NEEDS_NEW_PROCESS))
            fail_msg("call %llu of %llu refused: status %d (%s)", (unsigned long long)n,
                     (unsigned long long)n_calls, status, error.message);
        assert_true(strlen(error.message) > 10);
    }
    fx.vulkan->inject(0, 0);
    assert_int_equal(whole_life(&top, &error), TANDEM_OK);
    assert_memory_equal(&good, &top, sizeof good);
    print_message("%llu calls, each refused once\n", (unsigned long long)n_calls);
}

static void out_of_memory_at_any_call_is_an_answer(void **state) {
    (void)state;
    refuse_each_call(OUT_OF_DEVICE_MEMORY, TANDEM_E_OUT_OF_MEMORY);
}

static void a_lost_device_at_any_call_is_an_answer(void **state) {
    (void)state;
    refuse_each_call(DEVICE_LOST, TANDEM_E_DEVICE_LOST);
}

static void a_lost_device_stays_lost_for_its_context_alone(void **state) {
    model m;
    tandem_program *program;
    tandem_ticket ticket;
    tandem_memory_info memory = {.struct_size = sizeof memory};
    uint32_t token = 1, length;
    float value;
    (void)state;
    tandem_context *context = fixture_context(&fx, 0);
    assert_non_null(context);
    assert_int_equal(model_open(&m, fx.api, context, &model_small), TANDEM_OK);
    assert_int_equal(model_program(&m, 1, 1, TANDEM_PRECISION_EXACT, &program), TANDEM_OK);
    assert_int_equal(model_run(&m, program, &token, 1, 0, 0, &ticket), TANDEM_OK);
    fx.vulkan->inject(1, DEVICE_LOST);
    assert_int_equal(model_run(&m, program, &token, 1, 1, 0, &ticket), TANDEM_E_DEVICE_LOST);
    assert_int_equal(model_run(&m, program, &token, 1, 1, 0, &ticket), TANDEM_E_DEVICE_LOST);
    assert_int_equal(fx.api->wait(context, ticket, UINT64_MAX, &fx.error), TANDEM_E_DEVICE_LOST);
    assert_int_equal(fx.api->context_memory(context, &memory, &fx.error), TANDEM_E_DEVICE_LOST);
    assert_int_equal(fx.api->kv_length(m.kv, 0, &length, &fx.error), TANDEM_E_DEVICE_LOST);
    assert_int_equal(fx.api->buffer_read(m.result, 0, &value, 4, 0, &fx.error), TANDEM_E_DEVICE_LOST);
    fx.api->program_destroy(program);
    model_close(&m);
    fx.api->context_destroy(context);
    model_top top;
    tandem_error error = {.struct_size = sizeof error};
    assert_int_equal(whole_life(&top, &error), TANDEM_OK);
    assert_int_equal(fx.api->context_memory(fx.context, &memory, &fx.error), TANDEM_OK);
}

/* ---- devices and options ---- */

static void a_device_that_is_not_there_is_refused(void **state) {
    tandem_context_desc desc = {.struct_size = sizeof desc, .device = 9};
    tandem_device_info info = {.struct_size = sizeof info};
    tandem_context *context = NULL;
    uint32_t n;
    (void)state;
    assert_int_equal(fx.api->device_count(&n, &fx.error), TANDEM_OK);
    assert_true(n >= 1 && n < 9);
    assert_int_equal(fx.api->context_create(&desc, &context, &fx.error), TANDEM_E_INVALID);
    assert_int_equal(fx.api->device_info(9, &info, &fx.error), TANDEM_E_INVALID);
    assert_null(context);
}

static void a_software_device_says_so(void **state) {
    tandem_device_info info = {.struct_size = sizeof info};
    (void)state;
    assert_int_equal(fx.api->device_info(0, &info, &fx.error), TANDEM_OK);
    if (!strstr(info.name, "llvmpipe"))
        skip();
    assert_int_equal(info.kind, TANDEM_DEVICE_SOFTWARE);
    assert_true(info.memory_total > (uint64_t)1 << 30 && info.memory_free <= info.memory_total);
    assert_true(info.matrix_paths & TANDEM_MATRIX_FMA);
    assert_int_equal(info.matrix_used & TANDEM_MATRIX_COOPMAT, 0);
    assert_non_null(strstr(info.abilities, "integer dot"));
    assert_non_null(strstr(info.abilities, "cooperative matrix"));
}

static void precision_f16_is_refused_with_a_reason(void **state) {
    model m;
    tandem_program *program = NULL;
    (void)state;
    assert_int_equal(model_open(&m, fx.api, fx.context, &model_small), TANDEM_OK);
    assert_int_equal(fx.api->supports(fx.context, &m.matmuls[0].head, TANDEM_PRECISION_F16, &m.error),
                     TANDEM_E_UNSUPPORTED);
    assert_non_null(strstr(m.error.message, "cooperative"));
    assert_int_equal(model_program(&m, 1, 1, TANDEM_PRECISION_F16, &program), TANDEM_E_UNSUPPORTED);
    assert_null(program);
    model_close(&m);
}

static void an_unknown_option_is_refused(void **state) {
    static const char *const bad[] = {"vulkan.validatoin=1", "vulkan.validation=yes", "vulkan.validation",
                                      "vulkan.max_segment=12", "vulkan.gpu_assisted=1"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tandem_error error = {.struct_size = sizeof error};
        tandem_host host = {.struct_size = sizeof host, .n_options = 1, .options = &bad[i]};
        tandem_plugin *plugin = NULL;
        assert_int_not_equal(tandem_plugin_open("vulkan", &host, &plugin, &error), TANDEM_OK);
        assert_null(plugin);
        assert_true(strlen(error.message) > 10);
    }
}

/* ---- the cache on disk ---- */

static unsigned list_cache(char path[512]) {
    unsigned n = 0;
    DIR *directory = opendir(cache_directory);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, 512, "%s/%s", cache_directory, entry->d_name);
        n++;
    }
    closedir(directory);
    return n;
}

static void a_damaged_pipeline_cache_is_replaced(void **state) {
    char path[512];
    model_top top;
    tandem_error error = {.struct_size = sizeof error};
    (void)state;
    if (!cache_directory)
        skip();
    assert_int_equal(whole_life(&top, &error), TANDEM_OK);
    assert_int_equal(list_cache(path), 1); /* and no temporary file */
    for (int kind = 0; kind < 3; kind++) {
        struct stat before, after;
        assert_int_equal(stat(path, &before), 0);
        FILE *file = fopen(path, kind == 0 ? "wb" : "r+b");
        assert_non_null(file);
        if (kind == 0)
            fputs("garbage", file);
        else
            fseek(file, kind == 1 ? 8 : 24, SEEK_SET), fputc(0xff, file), fputc(0x7f, file);
        fclose(file);
        assert_int_equal(whole_life(&top, &error), TANDEM_OK);
        assert_int_equal(list_cache(path), 1);
        assert_int_equal(stat(path, &after), 0);
        assert_int_equal(before.st_size, after.st_size);
    }
    assert_int_equal(chmod(cache_directory, 0500), 0);
    assert_int_equal(unlink(path) == 0 || geteuid() != 0, 1);
    assert_int_equal(whole_life(&top, &error),
                     TANDEM_OK); /* a folder that cannot be written costs time only */
    assert_int_equal(chmod(cache_directory, 0700), 0);
}

static void no_validation_message_came(void **state) {
    (void)state;
    assert_int_equal(fx.vulkan->n_messages(), 0);
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--cache") == 0)
            cache_directory = argv[i + 1];
    }
    char stale[512];
    if (cache_directory)
        mkdir(cache_directory, 0700);
    while (cache_directory && list_cache(stale) > 0 && unlink(stale) == 0) /* of an earlier build */
        continue;
    const struct CMUnitTest before[] = {cmocka_unit_test(an_unknown_option_is_refused)};
    int failed = cmocka_run_group_tests(before, NULL, NULL);
    fixture_open(&fx, "vulkan", argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_is_not_there_is_refused),
        cmocka_unit_test(a_software_device_says_so),
        cmocka_unit_test(precision_f16_is_refused_with_a_reason),
        cmocka_unit_test(out_of_memory_at_any_call_is_an_answer),
        cmocka_unit_test(a_lost_device_at_any_call_is_an_answer),
        cmocka_unit_test(a_lost_device_stays_lost_for_its_context_alone),
        cmocka_unit_test(a_damaged_pipeline_cache_is_replaced),
        cmocka_unit_test(no_validation_message_came),
    };
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
