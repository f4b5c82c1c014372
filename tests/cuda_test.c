/* The CUDA plugin on the simulated driver: what a token costs, what is pending, and every failure that can be
 * injected. What it has in common with the Vulkan plugin: gpu_run_test.c, gpu_moe_test.c.
 *
 * usage: cuda_test --option cuda.library=LIBCUDA
 */
#include "gpu_model.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static fixture fx;
static int (*sim_fail)(const char *spec);
static uint64_t (*sim_calls)(const char *name);
/* Of the driver API, as an embedding program would call it; 0 is CUDA_SUCCESS. */
static int (*ctx_create)(void **context, unsigned flags, int device);
static int (*ctx_destroy)(void *context);
static int (*ctx_get_current)(void **context);
static int (*ctx_pop_current)(void **context);

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

/* A model with programs for a prompt of three tokens and for one token. */
typedef struct ready {
    model m;
    tandem_program *prompt, *decode;
} ready;

static void open_ready(ready *r, const model_shape *shape) {
    OK(model_open(&r->m, fx.api, fx.context, shape), &r->m);
    OK(model_program(&r->m, 3, 1, TANDEM_PRECISION_EXACT, &r->prompt), &r->m);
    OK(model_program(&r->m, 1, 1, TANDEM_PRECISION_EXACT, &r->decode), &r->m);
}

static void close_ready(ready *r) {
    fx.api->program_destroy(r->prompt);
    fx.api->program_destroy(r->decode);
    model_close(&r->m);
}

static void wait_for(tandem_ticket ticket) {
    OK(fx.api->wait(fx.context, ticket, UINT64_MAX, &fx.error), &fx);
}

/* ---- a token ---- */

static void a_token_is_one_graph_launch_and_no_copy(void **state) {
    static const char *const none[] = {"cuLaunchKernel",    "cuMemcpyHtoDAsync",  "cuMemcpyDtoHAsync",
                                       "cuMemcpyDtoDAsync", "cuMemAlloc",         "cuMemHostAlloc",
                                       "cuMemsetD8Async",   "cuStreamSynchronize"};
    uint64_t before[sizeof none / sizeof *none];
    uint32_t token = 5;
    tandem_ticket ticket;
    ready r;
    (void)state;
    open_ready(&r, &model_experts);
    OK(model_run(&r.m, r.decode, &token, 1, 0, 0, &ticket), &r.m);
    wait_for(ticket);
    uint64_t launches = sim_calls("cuGraphLaunch");
    assert_true(launches > 0);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        before[i] = sim_calls(none[i]);
    for (uint32_t n = 1; n <= 3; n++) {
        OK(model_run(&r.m, r.decode, &token, 1, n, 0, &ticket), &r.m);
        wait_for(ticket);
        assert_int_equal(sim_calls("cuGraphLaunch"), launches + n);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(sim_calls(none[i]), before[i]);
    close_ready(&r);
}

/* ---- pending runs ---- */

static void eight_runs_may_be_pending_and_a_ninth_is_busy(void **state) {
    uint32_t token = 5, position = 0;
    tandem_ticket ticket = 0;
    tandem_status status;
    ready r;
    (void)state;
    open_ready(&r, &model_small);
    wait_for(TANDEM_TICKET_ALL);
    while ((status = model_run(&r.m, r.decode, &token, 1, position, position, &ticket)) == TANDEM_OK)
        assert_in_range(++position, 1, 32);
    assert_int_equal(status, TANDEM_E_BUSY);
    assert_true(position >= 4);
    wait_for(TANDEM_TICKET_ALL);
    OK(model_run(&r.m, r.decode, &token, 1, position, position, &ticket), &r.m);
    wait_for(ticket);
    close_ready(&r);
}

/* ---- failures ---- */

/* Everything from context to result, with a context of its own. Frees all in any case. */
static tandem_status whole_life(model_top *top, tandem_error *error) {
    const tandem_context_desc desc = {.struct_size = sizeof desc};
    const uint32_t tokens[3] = {5, 6, 7};
    model m = {0};
    tandem_program *program = NULL;
    tandem_ticket ticket;
    tandem_context *context = NULL;
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
    if (status != TANDEM_OK && m.error.message[0])
        *error = m.error;
    fx.api->program_destroy(program);
    model_close(&m);
    fx.api->context_destroy(context);
    return status;
}

/* Fails each of the calls of `name` that a life makes, one life each. */
static void fail_each(const char *name, const char *code, tandem_status expected) {
    model_top good, top;
    tandem_error error = {.struct_size = sizeof error};
    char spec[96];
    assert_int_equal(sim_fail(NULL), 0);
    uint64_t begin = sim_calls(name);
    assert_int_equal(whole_life(&good, &error), TANDEM_OK);
    uint64_t n = sim_calls(name) - begin;
    assert_true(n > 0);
    for (uint64_t i = 1; i <= n; i++) {
        memset(&error, 0, sizeof error);
        error.struct_size = sizeof error;
        snprintf(spec, sizeof spec, "%s@%llu=%s", name, (unsigned long long)i, code);
        assert_int_equal(sim_fail(spec), 0);
        tandem_status status = whole_life(&top, &error);
        if (status != expected)
            fail_msg("%s: status %d (%s)", spec, status, error.message);
        assert_true(strlen(error.message) > 10);
    }
    assert_int_equal(sim_fail(NULL), 0);
    assert_int_equal(whole_life(&top, &error), TANDEM_OK);
    assert_memory_equal(&good, &top, sizeof good);
    print_message("%s: %llu calls, each failed once\n", name, (unsigned long long)n);
}

static void out_of_memory_at_any_allocation_is_an_answer(void **state) {
    (void)state;
    fail_each("cuMemAlloc", "oom", TANDEM_E_OUT_OF_MEMORY);
    fail_each("cuMemHostAlloc", "oom", TANDEM_E_OUT_OF_MEMORY);
}

static void a_lost_device_at_any_wait_is_an_answer(void **state) {
    (void)state;
    fail_each("cuEventSynchronize", "719", TANDEM_E_DEVICE_LOST);
}

static void a_fault_of_any_kernel_loses_the_context_alone(void **state) {
    uint32_t token = 1;
    tandem_ticket ticket;
    model_top before, after;
    ready r;
    (void)state;
    fail_each("launch", "fault", TANDEM_E_DEVICE_LOST);
    open_ready(&r, &model_small); /* in the context that was there before */
    OK(model_run(&r.m, r.decode, &token, 1, 0, 0, &ticket), &r.m);
    OK(model_result(&r.m, 0, &before), &r.m);
    OK(fx.api->kv_truncate(r.m.kv, 0, 0, &fx.error), &fx);
    OK(model_run(&r.m, r.decode, &token, 1, 0, 0, &ticket), &r.m);
    OK(model_result(&r.m, 0, &after), &r.m);
    assert_memory_equal(&before, &after, sizeof before);
    close_ready(&r);
}

/* ---- the caller's thread ---- */

static void check_current(void *expected, const char *after) {
    void *current = NULL;
    assert_int_equal(ctx_get_current(&current), 0);
    if (current != expected)
        fail_msg("After %s another CUDA context is current", after);
}

/* Calls through the ABI, and looks which CUDA context is current then. */
#define STAYS(call)                                                                                          \
    do {                                                                                                     \
        OK(fx.api->call, &fx);                                                                               \
        check_current(mine, #call);                                                                          \
    } while (0)

static void call_everything(void *mine) {
    const tandem_context_desc desc = {.struct_size = sizeof desc};
    const tandem_buffer_desc bytes = {.struct_size = sizeof bytes, .bytes = 100000};
    tandem_memory_info memory = {.struct_size = sizeof memory};
    tandem_device_info info = {.struct_size = sizeof info};
    tandem_times times = {.struct_size = sizeof times};
    uint32_t n, token = 5;
    uint64_t image_bytes, ns[64];
    float rows[32];
    tandem_buffer *buffer = NULL;
    tandem_context *context = NULL;
    tandem_program *program = NULL;
    tandem_ticket ticket;
    model m = {0};
    STAYS(device_count(&n, &fx.error));
    STAYS(device_info(0, &info, &fx.error));
    STAYS(context_create(&desc, &context, &fx.error));
    STAYS(context_memory(context, &memory, &fx.error));
    STAYS(buffer_create(context, &bytes, &buffer, &fx.error));
    STAYS(buffer_write(buffer, 0, rows, sizeof rows, &fx.error));
    STAYS(buffer_read(buffer, 0, rows, sizeof rows, 0, &fx.error));
    fx.api->buffer_destroy(buffer);
    check_current(mine, "buffer_destroy");
    OK(model_open(&m, fx.api, context, &model_small), &m);
    check_current(mine, "weights_create, weights_write and kv_create");
    OK(model_program(&m, 1, 1, TANDEM_PRECISION_Q8, &program), &m);
    check_current(mine, "program_create");
    STAYS(weights_place(m.layers[0].down, 0, TANDEM_PLACE_HOST, &ticket, &fx.error));
    STAYS(kv_fill(m.kv, 0, 3, 1, &fx.error));
    STAYS(kv_read(m.kv, 1, 0, TANDEM_KV_K, 0, 1, rows, &fx.error));
    STAYS(kv_export_bytes(m.kv, 0, &image_bytes, &fx.error));
    OK(model_run(&m, program, &token, 1, 1, 0, &ticket), &m);
    check_current(mine, "run");
    STAYS(wait(context, ticket, UINT64_MAX, &fx.error));
    STAYS(times(context, ticket, &times, &fx.error));
    assert_int_equal(fx.api->step_times(context, ticket, ns, 1, &fx.error), TANDEM_E_INVALID);
    check_current(mine, "a refused step_times");
    fx.api->program_destroy(program);
    check_current(mine, "program_destroy");
    model_close(&m);
    check_current(mine, "weights_destroy and kv_destroy");
    fx.api->context_destroy(context);
    check_current(mine, "context_destroy");
}

/* An embedding program may use CUDA itself, or not. */
static void the_callers_cuda_context_stays_current(void **state) {
    tandem_error error = {.struct_size = sizeof error};
    void *mine = NULL, *popped = NULL;
    model_top top;
    (void)state;
    call_everything(NULL);
    assert_int_equal(ctx_create(&mine, 0, 0), 0);
    call_everything(mine);
    assert_int_equal(sim_fail("cuEventSynchronize@2=719"), 0);
    assert_int_equal(whole_life(&top, &error), TANDEM_E_DEVICE_LOST);
    check_current(mine, "a life with a lost device");
    assert_int_equal(sim_fail(NULL), 0);
    /* And it is the only one on the thread's stack. */
    assert_int_equal(ctx_pop_current(&popped), 0);
    assert_ptr_equal(popped, mine);
    check_current(NULL, "popping it");
    assert_int_equal(ctx_destroy(mine), 0);
}

static void more_than_the_cap_is_refused_and_counted(void **state) {
    const uint64_t cap = 4u << 20;
    const tandem_buffer_desc big = {.struct_size = sizeof big, .bytes = cap + 1};
    tandem_memory_info memory = {.struct_size = sizeof memory};
    tandem_buffer *buffer = NULL;
    tandem_context *context = fixture_context(&fx, cap);
    (void)state;
    assert_non_null(context);
    assert_int_equal(fx.api->buffer_create(context, &big, &buffer, &fx.error), TANDEM_E_OUT_OF_MEMORY);
    assert_non_null(strstr(fx.error.message, "cap"));
    assert_null(buffer);
    OK(fx.api->context_memory(context, &memory, &fx.error), &fx);
    assert_int_equal(memory.cap, cap);
    assert_true(memory.total > 0 && memory.total <= cap);
    fx.api->context_destroy(context);
}

static void the_simulated_device_says_so(void **state) {
    tandem_device_info info = {.struct_size = sizeof info};
    (void)state;
    OK(fx.api->device_info(0, &info, &fx.error), &fx);
    assert_int_equal(info.kind, TANDEM_DEVICE_SIMULATED);
    assert_true(info.matrix_used & TANDEM_MATRIX_MMA);
    assert_int_equal(fx.api->device_info(9, &info, &fx.error), TANDEM_E_INVALID);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_simulated_device_says_so),
        cmocka_unit_test(a_token_is_one_graph_launch_and_no_copy),
        cmocka_unit_test(eight_runs_may_be_pending_and_a_ninth_is_busy),
        cmocka_unit_test(more_than_the_cap_is_refused_and_counted),
        cmocka_unit_test(out_of_memory_at_any_allocation_is_an_answer),
        cmocka_unit_test(a_lost_device_at_any_wait_is_an_answer),
        cmocka_unit_test(a_fault_of_any_kernel_loses_the_context_alone),
        cmocka_unit_test(the_callers_cuda_context_stays_current),
    };
    const char *path = argc == 3 ? strchr(argv[2], '=') : NULL;
    void *library = path ? dlopen(path + 1, RTLD_NOW) : NULL;
    if (!library) {
        fprintf(stderr, "usage: cuda_test --option cuda.library=LIBCUDA\n");
        return 2;
    }
    sim_fail = (int (*)(const char *))dlsym(library, "cudasim_fail");
    sim_calls = (uint64_t(*)(const char *))dlsym(library, "cudasim_calls");
    ctx_create = (int (*)(void **, unsigned, int))dlsym(library, "cuCtxCreate_v2");
    ctx_destroy = (int (*)(void *))dlsym(library, "cuCtxDestroy_v2");
    ctx_get_current = (int (*)(void **))dlsym(library, "cuCtxGetCurrent");
    ctx_pop_current = (int (*)(void **))dlsym(library, "cuCtxPopCurrent_v2");
    if (!sim_fail || !sim_calls || !ctx_create || !ctx_destroy || !ctx_get_current || !ctx_pop_current) {
        fprintf(stderr, "cuda_test: %s is not the simulated driver\n", path + 1);
        return 2;
    }
    fixture_open(&fx, "cuda", argc, argv);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
