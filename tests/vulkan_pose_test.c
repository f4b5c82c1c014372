/* The Vulkan plugin on devices that are not there: a layer (tests/vulkan_layer) lets the software driver pose
 * as them and refuses what they would refuse.
 *
 * usage: vulkan_pose_test [PATTERN]      tests whose names match, with * and ?
 * Needs VK_INSTANCE_LAYERS=VK_LAYER_TANDEM_pose and VK_ADD_LAYER_PATH; every test sets TANDEM_POSE itself.
 */
#include "gpu_model.h"

#include "vulkan_layer/pose.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static fixture fx;
static pose_counters *counters;

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

/* A pose, the plugin and a context on it. */
static void strike(const char *text) {
    char program[] = "vulkan_pose_test", *arguments[] = {program, NULL};
    setenv("TANDEM_POSE", text, 1);
    fixture_open(&fx, "vulkan", 1, arguments);
    void *layer = dlopen(TANDEM_POSE_LIBRARY, RTLD_LAZY | RTLD_NOLOAD);
    if (!layer)
        fail_msg("The layer is not loaded: %s", dlerror());
    void *symbol = dlsym(layer, "tandem_pose_counters");
    pose_counters_function get;
    memcpy(&get, &symbol, sizeof get);
    counters = get();
    dlclose(layer);
    for (uint32_t i = 0; i < POSE_MAX_HEAP; i++)
        counters->heap_peak[i] = counters->heap_used[i];
    counters->peak_allocation = counters->n_allocation;
    counters->n_full = counters->n_too_many = counters->n_too_large = 0;
    counters->n_map_refused = counters->n_module_refused = counters->n_wrap = 0;
}

/* What no device may ever have to refuse. */
static void relax(void) {
    fixture_close(&fx);
    assert_int_equal(counters->n_map_refused, 0);
    assert_int_equal(counters->n_module_refused, 0);
    assert_int_equal(counters->n_too_large, 0);
    assert_int_equal(counters->n_allocation, 0);
}

static tandem_device_info info_of(const char *text) {
    tandem_device_info info = {.struct_size = sizeof info};
    strike(text);
    fx.api->context_destroy(fx.context); /* which holds memory */
    fx.context = NULL;
    OK(fx.api->device_info(0, &info, &fx.error), &fx);
    relax();
    return info;
}

static void says(const tandem_device_info *info, const char *words) {
    if (!strstr(info->abilities, words))
        fail_msg("%s does not say \"%s\": %s", info->name, words, info->abilities);
}

static tandem_memory_info memory_of(tandem_context *context) {
    tandem_memory_info memory = {.struct_size = sizeof memory};
    OK(fx.api->context_memory(context, &memory, &fx.error), &fx);
    return memory;
}

/* ---- what `devices` shows ---- */

/* On a card without a resizable BAR the driver has a second heap of device memory, the window of 256 MiB. */
static void memory_counts_the_heap_that_weights_lie_in(void **state) {
    (void)state;
    tandem_device_info info = info_of("rtx3060");
    assert_int_equal(info.kind, TANDEM_DEVICE_GPU);
    assert_int_equal(info.memory_total, 12 * GIB);
    assert_int_equal(info.memory_free, 12 * GIB - 512 * MIB);
    says(&info, "discrete memory, the host maps 256 MiB");
    info = info_of("rtx4090");
    assert_int_equal(info.memory_total, 24 * GIB);
    assert_int_equal(info.memory_free, 23 * GIB);
    says(&info, "discrete memory, the host maps 24576 MiB");
    info = info_of("rx6700xt");
    assert_int_equal(info.memory_total, 12 * GIB - 256 * MIB);
    assert_int_equal(info.memory_free, 11 * GIB - 256 * MIB);
    says(&info, "discrete memory, the host maps 256 MiB");
    info = info_of("rtx3060,budget=0");
    assert_int_equal(info.memory_free, 12 * GIB);
    says(&info, "memory budget no");
    info = info_of("rtx3060,used0=12280M,used2=0"); /* others hold nearly all of it, and none of the window */
    assert_int_equal(info.memory_free, 8 * MIB);
}

static void free_memory_follows_the_budget(void **state) {
    tandem_device_info before = {.struct_size = sizeof before}, after = {.struct_size = sizeof after};
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = 100 * MIB};
    tandem_buffer *buffer;
    (void)state;
    strike("rtx3060");
    OK(fx.api->device_info(0, &before, &fx.error), &fx);
    OK(fx.api->buffer_create(fx.context, &desc, &buffer, &fx.error), &fx);
    OK(fx.api->device_info(0, &after, &fx.error), &fx);
    assert_int_equal(before.memory_free - after.memory_free, 100 * MIB);
    fx.api->buffer_destroy(buffer);
    relax();
}

static void units_are_known_from_either_vendor(void **state) {
    (void)state;
    assert_int_equal(info_of("rtx3060").n_units, 28);
    assert_int_equal(info_of("rtx3060,sm=82").n_units, 82);
    assert_int_equal(info_of("rtx4090").n_units, 128);
    assert_int_equal(info_of("rx6700xt").n_units, 40);
    assert_int_equal(info_of("rx6700xt,cu_extension=1").n_units, 40);
    assert_int_equal(info_of("radeon780m").n_units, 12);
    tandem_device_info info = info_of("rx6700xt,cu=36");
    assert_int_equal(info.n_units, 36);
    says(&info, "36 units;");
    info = info_of("iris-xe");
    assert_int_equal(info.n_units, 0);
    says(&info, "units assumed");
}

static void largest_allocations_are_the_drivers(void **state) {
    (void)state;
    assert_int_equal(info_of("rtx3060").max_allocation, 4 * GIB - 2 * MIB);
    assert_int_equal(info_of("rx6700xt").max_allocation, 2 * GIB);
    assert_int_equal(info_of("iris-xe").max_allocation, 4 * GIB - 65536);
    assert_int_equal(info_of("rtx3060,max_buffer=1G").max_allocation, GIB);
    assert_int_equal(info_of("minimal").max_allocation, GIB);
}

/* ---- memory ---- */

enum { N_ROW = 80, N_COL = 256, ROW_BYTES = N_COL * 4, RECORD_BYTES = N_ROW * ROW_BYTES };

static tandem_status create_records(tandem_context *context, uint32_t n_record, uint64_t n_row,
                                    uint32_t placement, tandem_weights **weights) {
    const tandem_matrix_desc matrix = {.struct_size = sizeof matrix,
                                       .role = TANDEM_ROLE_SINGLE,
                                       .type = TANDEM_TYPE_F32,
                                       .n_row = n_row,
                                       .n_col = N_COL};
    const tandem_matrix_desc *matrices[1] = {&matrix};
    const tandem_weights_desc desc = {.struct_size = sizeof desc,
                                      .n_record = n_record,
                                      .placement = placement,
                                      .n_matrix = 1,
                                      .matrices = matrices};
    return fx.api->weights_create(context, &desc, weights, &fx.error);
}

static tandem_status write_records(tandem_weights *weights, uint32_t n_record) {
    float *rows = calloc(N_ROW, ROW_BYTES);
    tandem_status status = TANDEM_OK;
    for (uint32_t r = 0; r < n_record && status == TANDEM_OK; r++)
        status = fx.api->weights_write(weights, r, 0, 0, N_ROW, rows, RECORD_BYTES, 0, &fx.error);
    free(rows);
    return status;
}

/* The model's next token, which is the same on a device that is nearly full. */
static uint32_t likeliest(void) {
    const uint32_t tokens[3] = {5, 700, 31};
    model m;
    tandem_program *program = NULL;
    tandem_ticket ticket;
    model_top top;
    OK(model_open(&m, fx.api, fx.context, &model_experts), &m);
    OK(model_program(&m, 3, 1, TANDEM_PRECISION_EXACT, &program), &m);
    OK(model_run(&m, program, tokens, 3, 0, 0, &ticket), &m);
    OK(fx.api->wait(fx.context, ticket, UINT64_MAX, &fx.error), &fx);
    OK(model_result(&m, 0, &top), &m);
    fx.api->program_destroy(program);
    model_close(&m);
    return top.id[0];
}

static void the_window_of_the_host_stays_empty(void **state) {
    tandem_weights *weights = NULL;
    (void)state;
    strike("rtx3060");
    likeliest();
    OK(create_records(fx.context, 400, N_ROW, TANDEM_PLACE_DEVICE, &weights), &fx);
    OK(write_records(weights, 400), &fx);
    assert_true(counters->heap_used[0] >= 400ull * RECORD_BYTES);
    assert_int_equal(counters->heap_peak[2], 0);
    assert_true(memory_of(fx.context).staging > 0);
    fx.api->weights_destroy(weights);
    relax();
}

/* Where device memory is host memory, rows are packed in place: nothing is staged, also where the driver has
 * a second heap that is not the device's. */
static void graphics_of_a_processor_need_no_staging(void **state) {
    static const char *const poses[] = {"iris-xe", "radeon780m"};
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        tandem_weights *weights = NULL, *others = NULL;
        tandem_device_info info = info_of(poses[i]);
        assert_int_equal(info.kind, TANDEM_DEVICE_INTEGRATED);
        says(&info, "unified memory");
        strike(poses[i]);
        OK(create_records(fx.context, 40, N_ROW, TANDEM_PLACE_DEVICE, &weights), &fx);
        OK(write_records(weights, 40), &fx);
        assert_int_equal(memory_of(fx.context).staging, 0);
        assert_true(counters->heap_used[i] >= 40ull * RECORD_BYTES); /* the device's heap: 0 and 1 */
        /* What the caller wants on the host takes nothing of it where there is another heap. */
        uint64_t before = counters->heap_used[i];
        OK(create_records(fx.context, 40, N_ROW, TANDEM_PLACE_HOST, &others), &fx);
        OK(write_records(others, 40), &fx);
        if (i == 1)
            assert_in_range(counters->heap_used[1] - before, 0, 2 * MIB); /* its table */
        fx.api->weights_destroy(weights);
        fx.api->weights_destroy(others);
        relax();
    }
}

/* Fills one heap with hundreds of records; how many. */
static uint32_t fill(uint32_t placement, tandem_weights **list, uint32_t room) {
    uint32_t n = 0;
    while (n < room) {
        tandem_status status = create_records(fx.context, 100, N_ROW, placement, &list[n]);
        if (status == TANDEM_E_OUT_OF_MEMORY)
            break;
        OK(status, &fx);
        n++;
    }
    return n;
}

static void full_heap(const char *device, uint32_t placement, uint32_t n_least) {
    tandem_weights *list[32];
    strike(device);
    uint32_t expected = likeliest();
    uint32_t n = fill(placement, list, 32);
    assert_in_range(n, n_least, 31);
    assert_true(counters->n_full > 0);
    assert_non_null(strstr(fx.error.message, "memory ran out"));
    /* Everything is still usable, what is there and, once there is room, what is new. */
    OK(write_records(list[0], 100), &fx);
    for (uint32_t i = 0; i < 3; i++)
        fx.api->weights_destroy(list[--n]);
    assert_int_equal(likeliest(), expected);
    while (n > 0)
        fx.api->weights_destroy(list[--n]);
    assert_int_equal(likeliest(), expected);
    relax();
}

static void a_full_device_heap_is_an_ordinary_answer(void **state) {
    (void)state;
    full_heap("rtx3060,heap0=128M,used0=0,heap2=64M,used2=0", TANDEM_PLACE_DEVICE, 8);
    assert_int_equal(counters->heap_peak[2], 0); /* and the window is no way out */
}

static void a_full_host_heap_is_an_ordinary_answer(void **state) {
    (void)state;
    full_heap("rtx3060,heap1=128M", TANDEM_PLACE_HOST, 8);
}

/* Vulkan guarantees 4096 allocations; a model of 48 layers with 128 experts has 6144 records. */
static void records_share_allocations(void **state) {
    enum { N_LAYER = 16, N_EXPERT = 128 };
    tandem_weights *layers[N_LAYER];
    (void)state;
    strike("rtx3060,alloc_count=64");
    for (uint32_t i = 0; i < N_LAYER; i++)
        OK(create_records(fx.context, N_EXPERT, N_ROW, TANDEM_PLACE_DEVICE, &layers[i]), &fx);
    print_message("%u records in %u allocations\n", N_LAYER * N_EXPERT, counters->peak_allocation);
    for (uint32_t i = 0; i < N_LAYER; i++)
        fx.api->weights_destroy(layers[i]);
    assert_int_equal(counters->n_too_many, 0);
    relax();
}

static void too_many_allocations_are_an_ordinary_answer(void **state) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = 128 << 10};
    tandem_buffer *buffers[4200];
    tandem_status status = TANDEM_OK;
    uint32_t n = 0;
    (void)state;
    strike("rtx3060");
    uint32_t expected = likeliest();
    while (n < 4200 && status == TANDEM_OK)
        if ((status = fx.api->buffer_create(fx.context, &desc, &buffers[n], &fx.error)) == TANDEM_OK)
            n++;
    assert_int_equal(status, TANDEM_E_OUT_OF_MEMORY);
    assert_non_null(strstr(fx.error.message, "no more objects"));
    assert_int_equal(counters->n_allocation, 4096);
    assert_int_equal(counters->n_too_many, 1);
    for (uint32_t i = 0; i < 40; i++)
        fx.api->buffer_destroy(buffers[--n]);
    assert_int_equal(likeliest(), expected);
    while (n > 0)
        fx.api->buffer_destroy(buffers[--n]);
    relax();
}

/* ---- sizes ---- */

static uint64_t allocations_of(const char *device, uint64_t n_row, uint64_t *bytes) {
    tandem_weights *weights = NULL;
    strike(device);
    uint32_t before = counters->n_allocation;
    OK(create_records(fx.context, 1, n_row, TANDEM_PLACE_DEVICE, &weights), &fx);
    uint32_t n = counters->n_allocation - before;
    *bytes = memory_of(fx.context).weights_device;
    fx.api->weights_destroy(weights);
    relax();
    return n;
}

/* Nobody writes the large ones: their pages are never made. */
static void matrices_are_split_at_the_drivers_limit(void **state) {
    uint64_t bytes;
    (void)state;
    const uint64_t gib = GIB / ROW_BYTES; /* rows */
    assert_in_range(allocations_of("rtx3060", 5 * gib, &bytes), 2, 4);
    assert_in_range(bytes, 5 * GIB, 5 * GIB + 2 * MIB);
    assert_in_range(allocations_of("rx6700xt", 5 * gib, &bytes), 3, 6);
    assert_in_range(allocations_of("iris-xe,heap0=15G", 9 * gib, &bytes), 3, 6);
    assert_in_range(allocations_of("minimal", gib + gib / 2, &bytes), 2, 4);
    assert_in_range(allocations_of("rtx3060,max_buffer=16M", 100 * (gib / 1024), &bytes), 7, 15);
    assert_in_range(allocations_of("rtx3060,max_allocation=16M,granularity=64K", 100 * (gib / 1024), &bytes),
                    7, 15);
}

/* A cache or buffer is one piece; the sentence says what the limit is, and nothing reaches the driver. */
static void a_buffer_over_the_limit_is_refused_by_name(void **state) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = 3 * GIB};
    tandem_buffer *buffer = NULL;
    (void)state;
    strike("rx6700xt");
    assert_int_equal(fx.api->buffer_create(fx.context, &desc, &buffer, &fx.error), TANDEM_E_OUT_OF_MEMORY);
    assert_non_null(strstr(fx.error.message, "over the device's limit of 2147483648"));
    relax();
}

/* ---- times ---- */

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

typedef struct timed {
    model m;
    tandem_program *program;
    uint32_t position;
} timed;

static void timed_open(timed *t, const char *device) {
    strike(device);
    t->position = 0;
    OK(model_open(&t->m, fx.api, fx.context, &model_small), &t->m);
    OK(model_program(&t->m, 1, 1, TANDEM_PRECISION_EXACT, &t->program), &t->m);
}

/* The times of one token, and what the host's clock says of it. */
static tandem_times timed_run(timed *t, uint32_t flags, uint64_t *host_ns, uint64_t *steps, uint32_t n_step) {
    const uint32_t token = 7;
    tandem_times times = {.struct_size = sizeof times};
    tandem_ticket ticket;
    const tandem_run run = {.struct_size = sizeof run,
                            .n_rows = 1,
                            .n_out = 1,
                            .tokens = &token,
                            .position = t->position++,
                            .flags = flags};
    uint64_t begin = now_ns();
    OK(fx.api->run(t->program, &run, &ticket, &fx.error), &fx);
    OK(fx.api->wait(fx.context, ticket, UINT64_MAX, &fx.error), &fx);
    *host_ns = now_ns() - begin;
    OK(fx.api->times(fx.context, ticket, &times, &fx.error), &fx);
    if (steps)
        OK(fx.api->step_times(fx.context, ticket, steps, n_step, &fx.error), &fx);
    return times;
}

static void timed_close(timed *t) {
    fx.api->program_destroy(t->program);
    model_close(&t->m);
    relax();
}

/* Poses whose timestamps have 36 bits, of 52 ns and of 1 ns. */
static const char *const clocks[] = {"iris-xe", "rtx3060,bits=36"};

static const char *with_wrap(const char *device, const char *wrap) {
    static char text[64];
    snprintf(text, sizeof text, "%s,wrap=%s", device, wrap);
    return text;
}

static void a_run_across_the_wrap_has_its_duration(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        timed t;
        uint64_t host_ns;
        timed_open(&t, with_wrap(clocks[i], "run"));
        for (uint32_t k = 0; k < 3; k++) {
            tandem_times times = timed_run(&t, 0, &host_ns, NULL, 0);
            assert_in_range(times.device_ns, host_ns / 100, host_ns);
        }
        assert_int_equal(counters->n_wrap, 1);
        timed_close(&t);
    }
}

static void steps_across_the_wrap_have_their_durations(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        timed t;
        uint64_t host_ns, steps[64], sum = 0;
        uint32_t n_step;
        timed_open(&t, with_wrap(clocks[i], "run"));
        OK(fx.api->program_step_count(t.program, &n_step, &fx.error), &fx);
        assert_true(n_step <= 64);
        tandem_times times = timed_run(&t, TANDEM_RUN_PROFILE, &host_ns, steps, n_step);
        assert_in_range(counters->n_wrap, 1, 2);
        assert_int_equal(times.n_step, n_step);
        for (uint32_t s = 0; s < n_step; s++)
            sum += steps[s];
        /* note: ticks of 52 ns, one more or less at each end of a step. */
        assert_in_range(sum, host_ns / 100, host_ns + n_step * 53ull);
        assert_in_range(times.device_ns, host_ns / 100, host_ns);
        timed_close(&t);
    }
}

static void a_gap_across_the_wrap_is_known(void **state) {
    const struct timespec pause = {.tv_nsec = 20000000};
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        timed t;
        uint64_t host_ns;
        timed_open(&t, with_wrap(clocks[i], "gap"));
        timed_run(&t, 0, &host_ns, NULL, 0);
        uint64_t begin = now_ns();
        nanosleep(&pause, NULL);
        tandem_times times = timed_run(&t, 0, &host_ns, NULL, 0);
        assert_in_range(times.gap_ns, 20000000, now_ns() - begin + host_ns);
        assert_in_range(times.device_ns, host_ns / 100, host_ns);
        timed_close(&t);
    }
}

/* A counter of 36 bits at 1/1000 ns goes round in 69 ms: the host's clock tells that a gap of 200 ms cannot
 * be told by it, and the answer is "unknown" and not what is left over. */
static void a_gap_longer_than_the_counter_is_unknown(void **state) {
    const struct timespec pause = {.tv_nsec = 200000000};
    uint64_t host_ns;
    timed t;
    (void)state;
    timed_open(&t, "rtx3060,bits=36,period=0.001,wrap=run");
    timed_run(&t, 0, &host_ns, NULL, 0);
    nanosleep(&pause, NULL);
    assert_int_equal(timed_run(&t, 0, &host_ns, NULL, 0).gap_ns, 0);
    timed_close(&t);
}

static void ticks_are_scaled_by_their_period(void **state) {
    uint64_t host_ns;
    timed t;
    (void)state;
    timed_open(&t, "rx6700xt"); /* 10 ns */
    for (uint32_t k = 0; k < 3; k++) {
        tandem_times times = timed_run(&t, 0, &host_ns, NULL, 0);
        assert_in_range(times.device_ns, host_ns / 100, host_ns);
        assert_int_equal(times.device_ns % 10, 0);
    }
    timed_close(&t);
}

/* ---- features ---- */

/* Programs of one row and of a chunk; at q8 only where the device has integer dot products, and else a
 * sentence that says so. */
static void compile_all(int q8) {
    model m;
    OK(model_open(&m, fx.api, fx.context, &model_experts), &m);
    for (uint32_t precision = 0; precision <= TANDEM_PRECISION_Q8; precision += TANDEM_PRECISION_Q8)
        for (uint32_t rows = 1; rows <= 24; rows += 23) {
            tandem_program *program = NULL;
            tandem_status status = model_program(&m, rows, 1, precision, &program);
            if (precision == TANDEM_PRECISION_EXACT || q8) {
                OK(status, &m);
            } else {
                assert_int_equal(status, TANDEM_E_UNSUPPORTED);
                assert_non_null(strstr(m.error.message, "needs integer dot products"));
            }
            fx.api->program_destroy(program);
        }
    model_close(&m);
}

/* Every module is checked: a capability behind a feature that is missing, or was not asked for, is refused.
 */
static void no_shader_needs_a_feature_that_is_missing(void **state) {
    static const char *const features[] = {
        "int64", "int16", "int8", "float16", "storage8", "storage16", "subgroup_control", "maintenance4"};
    (void)state;
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "rtx3060,hide=%s", features[i]);
        strike(text);
        compile_all(1);
        relax();
    }
    strike("rtx3060,hide=dot");
    compile_all(0);
    relax();
}

static void vulkan_1_2_without_options_is_enough(void **state) {
    (void)state;
    strike("rtx4090");
    uint32_t expected = likeliest();
    relax();
    strike("minimal");
    compile_all(0);
    assert_int_equal(likeliest(), expected);
    relax();
}

/* Pipelines only: the driver below has subgroups of 8, so nothing is run. */
static void programs_are_made_for_any_subgroup_size(void **state) {
    static const struct {
        const char *device, *words;
    } sizes[] = {{"rtx3060,subgroup=posed", "subgroups of 32 (32 to 32"},
                 {"rx6700xt,subgroup=posed", "subgroups of 64 (32 to 64"},
                 {"iris-xe,subgroup=posed", "subgroups of 32 (8 to 32"},
                 {"minimal,subgroup=posed", "subgroups of 32 (32 to 32)"}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        tandem_device_info info = info_of(sizes[i].device);
        says(&info, sizes[i].words);
        strike(sizes[i].device);
        compile_all(info.matrix_used & TANDEM_MATRIX_DOT ? 1 : 0);
        relax();
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_counts_the_heap_that_weights_lie_in),
        cmocka_unit_test(free_memory_follows_the_budget),
        cmocka_unit_test(units_are_known_from_either_vendor),
        cmocka_unit_test(largest_allocations_are_the_drivers),
        cmocka_unit_test(the_window_of_the_host_stays_empty),
        cmocka_unit_test(graphics_of_a_processor_need_no_staging),
        cmocka_unit_test(a_full_device_heap_is_an_ordinary_answer),
        cmocka_unit_test(a_full_host_heap_is_an_ordinary_answer),
        cmocka_unit_test(records_share_allocations),
        cmocka_unit_test(too_many_allocations_are_an_ordinary_answer),
        cmocka_unit_test(matrices_are_split_at_the_drivers_limit),
        cmocka_unit_test(a_buffer_over_the_limit_is_refused_by_name),
        cmocka_unit_test(a_run_across_the_wrap_has_its_duration),
        cmocka_unit_test(steps_across_the_wrap_have_their_durations),
        cmocka_unit_test(a_gap_across_the_wrap_is_known),
        cmocka_unit_test(a_gap_longer_than_the_counter_is_unknown),
        cmocka_unit_test(ticks_are_scaled_by_their_period),
        cmocka_unit_test(no_shader_needs_a_feature_that_is_missing),
        cmocka_unit_test(vulkan_1_2_without_options_is_enough),
        cmocka_unit_test(programs_are_made_for_any_subgroup_size),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
