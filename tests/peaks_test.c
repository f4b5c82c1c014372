/* Peaks against the reference plugin behind a wrapper that prescribes times, refuses, and lies. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

#include "loader.h"
#include "peaks.h"
#include "plugin_error.h"

/* What the wrapper does; all zero: nothing. */
static struct {
    uint64_t run_ns, step_ns; /* device time of a run: run_ns + steps * step_ns */
    uint32_t refused;         /* precision that programs are refused for; 0: none */
    uint64_t most_rows;       /* rows of a matrix that fit; 0: all */
    int garbage;              /* 1: what is read back is wrong in one element */
} rule;

static tandem_plugin *plugin;
static const tandem_backend *real;
static tandem_backend wrapper;
static tandem_program *last;

static tandem_status run(tandem_program *program, const tandem_run *r, tandem_ticket *ticket,
                         tandem_error *error) {
    last = program;
    return real->run(program, r, ticket, error);
}

static tandem_status times(tandem_context *context, tandem_ticket ticket, tandem_times *t,
                           tandem_error *error) {
    uint32_t n_step = 0;
    tandem_status status = real->times(context, ticket, t, error);
    if (!status && rule.run_ns) {
        real->program_step_count(last, &n_step, NULL);
        t->device_ns = rule.run_ns + n_step * rule.step_ns;
        t->gap_ns = 777;
    }
    return status;
}

static tandem_status program_create(tandem_context *context, const tandem_program_desc *desc,
                                    tandem_program **program, tandem_error *error) {
    if (rule.refused && desc->precision == rule.refused) {
        strcpy(error->message, "this wrapper does not do that");
        return TANDEM_E_UNSUPPORTED;
    }
    return real->program_create(context, desc, program, error);
}

static tandem_status weights_create(tandem_context *context, const tandem_weights_desc *desc,
                                    tandem_weights **weights, tandem_error *error) {
    if (rule.most_rows && desc->matrices[0]->n_row > rule.most_rows) {
        strcpy(error->message, "no room");
        return TANDEM_E_OUT_OF_MEMORY;
    }
    return real->weights_create(context, desc, weights, error);
}

static tandem_status buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                                 uint32_t flags, tandem_error *error) {
    tandem_status status = real->buffer_read(buffer, offset, target, bytes, flags, error);
    if (!status && rule.garbage)
        ((float *)target)[bytes / 8] += 1;
    return status;
}

static int set_up(void **state) {
    (void)state;
    const tandem_host *host = &(const tandem_host){.struct_size = sizeof *host};
    tandem_error error = TANDEM_ERROR_INIT;
    if (tandem_plugin_open("reference", host, &plugin, &error))
        return -1;
    real = tandem_plugin_backend(plugin);
    wrapper = *real;
    wrapper.run = run;
    wrapper.times = times;
    wrapper.program_create = program_create;
    wrapper.weights_create = weights_create;
    wrapper.buffer_read = buffer_read;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tandem_plugin_close(plugin);
    return 0;
}

static int measure_as(uint32_t kind, uint64_t max_bytes, double seconds, peaks *p, tandem_message *message) {
    peaks_desc desc = {
        .backend = &wrapper, .n_threads = 2, .max_bytes = max_bytes, .seconds = seconds, .seed = 1};
    desc.info.struct_size = sizeof desc.info;
    assert_int_equal(real->device_info(0, &desc.info, NULL), TANDEM_OK);
    desc.info.kind = kind;
    return peaks_measure(&desc, p, message);
}

static int measure(double seconds, peaks *p, tandem_message *message) {
    return measure_as(TANDEM_DEVICE_SOFTWARE, UINT64_C(4) << 20, seconds, p, message);
}

static void figures_follow_from_the_device_times(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    memset(&rule, 0, sizeof rule);
    rule.run_ns = 1000000;
    rule.step_ns = 250;
    assert_int_equal(measure(20, &p, &message), TANDEM_OK);
    assert_int_equal(p.read.n, 2); /* 1 and 4 MiB */
    assert_float_equal(peaks_rate(&p.read), (4 << 20) * 1e9 / 1000250, 1);
    assert_float_equal(p.copy.point[0].rate.median, (2 << 20) * 1e9 / 1000250, 1);
    assert_int_equal(p.copy.best, 1);
    assert_true(p.read.point[0].n >= STATS_LEAST && p.read.point[0].rate.low > 0);
    /* The same time for every size: the largest product is the fastest. */
    const peak_ladder *f32 = &p.product[TANDEM_PRECISION_EXACT];
    assert_int_equal(f32->best, f32->n - 1);
    const double size = (double)f32->point[f32->best].size;
    assert_float_equal(peaks_rate(f32) / (2 * 128 * size * size * 1e9 / 1000250), 1, 1e-6);
    assert_float_equal(p.dispatch.ns.median, 250, 1e-6);
    assert_float_equal(p.step.ns.median, 250, 1e-6);
    assert_float_equal(p.gap.ns.median, 777, 1e-6);
    assert_true(p.submit.ns.median > 0);
}

/* So that the launch is a small part of the run; and products have more rows. */
static void a_gpu_reads_small_sizes_many_times_in_a_run(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    memset(&rule, 0, sizeof rule);
    rule.run_ns = 1000000;
    assert_int_equal(measure_as(TANDEM_DEVICE_GPU, 1 << 20, 20, &p, &message), TANDEM_OK);
    assert_int_equal(p.read.n, 1);
    assert_float_equal(peaks_rate(&p.read), 16.0 * (1 << 20) * 1e3, 1);
    assert_float_equal(peaks_rate(&p.copy), 2 * 16.0 * (1 << 20) * 1e3, 1);
    assert_true(p.read.point[0].error < 1e-8);
    assert_float_equal(peaks_rate(&p.product[0]) / (2.0 * 1024 * 512 * 512 * 1e3), 1, 1e-6);
}

static void a_wrong_result_has_no_peak(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    memset(&rule, 0, sizeof rule);
    rule.garbage = 1;
    assert_int_equal(measure(20, &p, &message), TANDEM_E_INTERNAL);
    assert_non_null(strstr(message.text, "wrong results"));
}

static void a_precision_that_is_not_offered_is_said(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    memset(&rule, 0, sizeof rule);
    rule.refused = TANDEM_PRECISION_F16;
    assert_int_equal(measure(20, &p, &message), TANDEM_OK);
    assert_int_equal(p.product[TANDEM_PRECISION_F16].n, 0);
    assert_non_null(strstr(p.product[TANDEM_PRECISION_F16].reason, "does not do that"));
    assert_true(peaks_rate(&p.product[TANDEM_PRECISION_Q8]) > 0);
    cJSON *row = cJSON_CreateObject();
    peaks_json(&p, row);
    assert_null(cJSON_GetObjectItem(row, "f16_flops_per_s"));
    assert_non_null(cJSON_GetObjectItem(row, "q8_flops_per_s"));
    cJSON_Delete(row);
}

static void a_matrix_beyond_memory_ends_the_sizes(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    memset(&rule, 0, sizeof rule);
    rule.most_rows = 256; /* 4 MiB of the first, 256 x 256 of the others */
    assert_int_equal(measure(20, &p, &message), TANDEM_OK);
    assert_int_equal(p.read.n, 2);
    assert_int_equal(p.product[0].n, 1);
    assert_non_null(strstr(p.product[0].reason, "no room"));
}

static void little_time_gives_few_sizes_and_says_so(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    memset(&rule, 0, sizeof rule);
    assert_int_equal(measure(1e-3, &p, &message), TANDEM_OK);
    assert_int_equal(p.product[0].n, 1);
    assert_non_null(strstr(p.product[0].reason, "--seconds"));
}

static void a_simulated_device_has_none(void **state) {
    (void)state;
    peaks p;
    tandem_message message;
    peaks_desc desc = {.backend = &wrapper, .seconds = 1, .info = {.kind = TANDEM_DEVICE_SIMULATED}};
    assert_int_equal(peaks_measure(&desc, &p, &message), TANDEM_E_UNSUPPORTED);
    assert_non_null(strstr(message.text, "simulated"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_follow_from_the_device_times),
        cmocka_unit_test(a_gpu_reads_small_sizes_many_times_in_a_run),
        cmocka_unit_test(a_wrong_result_has_no_peak),
        cmocka_unit_test(a_precision_that_is_not_offered_is_said),
        cmocka_unit_test(a_matrix_beyond_memory_ends_the_sizes),
        cmocka_unit_test(little_time_gives_few_sizes_and_says_so),
        cmocka_unit_test(a_simulated_device_has_none),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
