/* What the Vulkan plugin compiles: barriers are needed and enough, every dispatch touches only what it
 * declares, and no shader can run out of lavapipe's loop budget.
 *
 * usage: vulkan_test [--option NAME=VALUE]...
 */
#include "gpu_model.h"

#include "cases/side.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static fixture fx;

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

/* ---- overlap of ranges ---- */

static int overlap_by_bytes(const vk_test_range *a, const vk_test_range *b) {
    for (uint64_t i = 0; i < a->n_row; i++)
        for (uint64_t j = 0; j < b->n_row; j++) {
            uint64_t x = a->address + i * a->stride, y = b->address + j * b->stride;
            if (x < y + b->row_bytes && y < x + a->row_bytes)
                return 1;
        }
    return 0;
}

static uint32_t random_below(uint32_t *state, uint32_t n) {
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % n;
}

static void ranges_overlap_exactly_where_a_byte_is_shared(void **state) {
    uint32_t seed = 1, n_yes = 0, n_no = 0;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        vk_test_range r[2];
        for (int k = 0; k < 2; k++) {
            r[k].n_row = 1 + random_below(&seed, 6);
            r[k].row_bytes = 1 + random_below(&seed, 12);
            r[k].stride = r[k].row_bytes + random_below(&seed, 24);
            r[k].address = 1000 + random_below(&seed, 90);
        }
        int expected = overlap_by_bytes(&r[0], &r[1]);
        assert_int_equal(fx.inside->ranges_overlap(&r[0], &r[1]), expected);
        n_yes += (uint32_t)expected;
        n_no += (uint32_t)!expected;
    }
    assert_true(n_yes > 1000 && n_no > 1000);
}

/* ---- barriers ---- */

typedef struct shape {
    uint32_t max_tokens, max_out, precision, kv_type, experts;
} shape;

static const shape shapes[] = {
    {1, 1, TANDEM_PRECISION_EXACT, TANDEM_TYPE_F16, 0},   {1, 1, TANDEM_PRECISION_Q8, TANDEM_TYPE_F32, 0},
    {24, 2, TANDEM_PRECISION_EXACT, TANDEM_TYPE_Q8_0, 0}, {24, 24, TANDEM_PRECISION_Q8, TANDEM_TYPE_F16, 0},
    {1, 1, TANDEM_PRECISION_EXACT, TANDEM_TYPE_F16, 1},   {1, 1, TANDEM_PRECISION_Q8, TANDEM_TYPE_F16, 1},
    {24, 2, TANDEM_PRECISION_EXACT, TANDEM_TYPE_F16, 1},  {24, 2, TANDEM_PRECISION_Q8, TANDEM_TYPE_F16, 1},
};

static model_shape model_of(const shape *s) {
    model_shape small = s->experts ? model_experts : model_small;
    small.kv_type = s->kv_type;
    return small;
}

static void check_shape(const shape *s) {
    model m;
    tandem_program *program = NULL;
    char sentence[256] = "";
    uint32_t n_step, n_barrier = 0, n_dispatch = 0;
    model_shape small = model_of(s);
    OK(model_open(&m, fx.api, fx.context, &small), &m);
    OK(model_program(&m, s->max_tokens, s->max_out, s->precision, &program), &m);
    if (fx.inside->check_barriers(program, TANDEM_NONE, TANDEM_NONE, sentence, sizeof sentence) != 0)
        fail_msg("%s", sentence);
    OK(fx.api->program_step_count(program, &n_step, &fx.error), &fx);
    for (uint32_t i = 0; i < n_step; i++) {
        tandem_step step = {.struct_size = sizeof step};
        OK(fx.api->program_step(program, i, &step, &fx.error), &fx);
        uint32_t drop = step.barrier_before ? i : TANDEM_NONE, more = step.barrier_before ? TANDEM_NONE : i;
        n_barrier += step.barrier_before;
        n_dispatch += step.n_dispatch;
        /* Without a barrier that is there, or with one that is not, the checker must object. */
        uint32_t n_fault = fx.inside->check_barriers(program, drop, more, sentence, sizeof sentence);
        if (n_fault == 0)
            fail_msg("step %u (%s): the checker takes the barrier before it %s", i, step.kernel,
                     step.barrier_before ? "for superfluous" : "for needed");
    }
    print_message("rows %u, precision %u, %s: %u steps, %u dispatches, %u barriers in %u layers\n",
                  s->max_tokens, s->precision, s->experts ? "experts" : "dense", n_step, n_dispatch,
                  n_barrier, MODEL_LAYERS);
    fx.api->program_destroy(program);
    model_close(&m);
}

static void every_barrier_is_needed_and_none_is_missing(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(&shapes[i]);
}

static uint32_t steps_of_a_decode_layer(const model_shape *layers) {
    model m;
    tandem_program *program = NULL;
    uint32_t n_step, n_layer_step = 0;
    OK(model_open(&m, fx.api, fx.context, layers), &m);
    OK(model_program(&m, 1, 1, TANDEM_PRECISION_Q8, &program), &m);
    OK(fx.api->program_step_count(program, &n_step, &fx.error), &fx);
    for (uint32_t i = 0; i < n_step; i++) {
        tandem_step step = {.struct_size = sizeof step};
        OK(fx.api->program_step(program, i, &step, &fx.error), &fx);
        n_layer_step += strncmp(step.label, "blk.1.", 6) == 0;
    }
    fx.api->program_destroy(program);
    model_close(&m);
    return n_layer_step;
}

/* Of a layer whose keys are split. */
static void a_decode_layer_takes_at_most_13_steps(void **state) {
    (void)state;
    uint32_t dense = steps_of_a_decode_layer(&model_small), experts = steps_of_a_decode_layer(&model_experts);
    print_message("q8: %u steps for a dense layer, %u with experts\n", dense, experts);
    assert_in_range(dense, 5, 12);
    assert_in_range(experts, dense, 13);
}

/* ---- declarations ---- */

typedef struct memory_block {
    uint64_t address, bytes;
    uint8_t *live;     /* what the device sees */
    uint8_t *before;   /* before the dispatch */
    uint8_t *after;    /* after it */
    uint8_t *declared; /* per byte: 1 read, 2 written */
} memory_block;

typedef struct memory_image {
    memory_block blocks[64];
    uint32_t n;
} memory_image;

static void image_open(memory_image *image, const tandem_context *context) {
    void *pointer;
    memset(image, 0, sizeof *image);
    while (image->n < 64) {
        memory_block *b = &image->blocks[image->n];
        if (!fx.inside->allocation(context, image->n, &b->address, &b->bytes, &pointer))
            break;
        b->live = pointer;
        b->before = malloc(b->bytes);
        b->after = malloc(b->bytes);
        b->declared = malloc(b->bytes);
        assert_non_null(b->before);
        assert_non_null(b->after);
        assert_non_null(b->declared);
        image->n++;
    }
    assert_in_range(image->n, 3, 63);
}

static void image_close(memory_image *image) {
    for (uint32_t i = 0; i < image->n; i++) {
        free(image->blocks[i].before);
        free(image->blocks[i].after);
        free(image->blocks[i].declared);
    }
}

static void mark(memory_image *image, const vk_test_range *range) {
    for (uint64_t r = 0; r < range->n_row; r++) {
        uint64_t address = range->address + r * range->stride;
        for (uint32_t i = 0; i < image->n; i++) {
            memory_block *b = &image->blocks[i];
            if (address < b->address || address >= b->address + b->bytes)
                continue;
            assert_true(address + range->row_bytes <= b->address + b->bytes);
            for (uint64_t k = 0; k < range->row_bytes; k++)
                b->declared[address - b->address + k] |= range->write ? 2 : 1;
        }
    }
}

static void declare(memory_image *image, const tandem_program *program, uint32_t index) {
    vk_test_dispatch d;
    vk_test_range range;
    for (uint32_t i = 0; i < image->n; i++)
        memset(image->blocks[i].declared, 0, image->blocks[i].bytes);
    fx.inside->dispatch(program, index, &d);
    for (uint32_t i = 0; i < d.n_range; i++) {
        fx.inside->range(program, index, i, &range);
        mark(image, &range);
    }
}

static uint8_t flip(uint8_t byte) {
    return (uint8_t)~byte;
}

/* Runs one dispatch twice from the same memory, the second time with every undeclared byte changed. */
static void audit(memory_image *image, tandem_program *program, uint32_t index) {
    vk_test_dispatch d;
    uint64_t n_written = 0;
    fx.inside->dispatch(program, index, &d);
    declare(image, program, index);
    for (uint32_t i = 0; i < image->n; i++)
        memcpy(image->blocks[i].before, image->blocks[i].live, image->blocks[i].bytes);
    OK(fx.inside->run_dispatch(program, index, &fx.error), &fx);
    for (uint32_t i = 0; i < image->n; i++) {
        memory_block *b = &image->blocks[i];
        memcpy(b->after, b->live, b->bytes);
        for (uint64_t k = 0; k < b->bytes; k++) {
            n_written += b->after[k] != b->before[k];
            b->live[k] = b->declared[k] ? b->before[k] : flip(b->before[k]);
        }
    }
    OK(fx.inside->run_dispatch(program, index, &fx.error), &fx);
    for (uint32_t i = 0; i < image->n; i++) {
        memory_block *b = &image->blocks[i];
        for (uint64_t k = 0; k < b->bytes; k++) {
            uint64_t address = b->address + k;
            if (!(b->declared[k] & 2) && b->after[k] != b->before[k])
                fail_msg("dispatch %u (%s) writes byte 0x%llx without saying so", index, d.shader,
                         (unsigned long long)address);
            if (!b->declared[k] && b->live[k] != flip(b->before[k]))
                fail_msg("dispatch %u (%s) writes byte 0x%llx without saying so", index, d.shader,
                         (unsigned long long)address);
            if (b->declared[k] && b->live[k] != b->after[k])
                fail_msg("dispatch %u (%s): byte 0x%llx depends on bytes that it does not declare to read",
                         index, d.shader, (unsigned long long)address);
        }
        memcpy(b->live, b->after, b->bytes);
    }
    if (n_written == 0 && strcmp(d.shader, "finish") != 0)
        fail_msg("dispatch %u (%s) changed nothing, so the audit shows nothing", index, d.shader);
}

/* Bytes of prepare.comp's source, the host's table, are its only undeclared input: every slot has its own. */
static void audit_shape(const shape *s, uint32_t n_before, uint32_t n_rows) {
    model m;
    memory_image image;
    tandem_program *program = NULL;
    tandem_ticket ticket;
    uint32_t tokens[24];
    for (uint32_t i = 0; i < 24; i++)
        tokens[i] = (7 * i + 5) % model_small.n_vocab;
    model_shape small = model_of(s);
    OK(model_open(&m, fx.api, fx.context, &small), &m);
    OK(model_program(&m, s->max_tokens, s->max_out, s->precision, &program), &m);
    /* A long context first, so that the keys are split, and a run, so that nothing is still zero. */
    OK(fx.api->kv_fill(m.kv, 0, 7, n_before - 1, &fx.error), &fx);
    OK(model_run(&m, program, tokens, 1, n_before - 1, 0, &ticket), &m);
    OK(fx.api->wait(fx.context, ticket, UINT64_MAX, &fx.error), &fx);
    tandem_run run = {
        .struct_size = sizeof run, .n_rows = n_rows, .n_out = 1, .tokens = tokens, .position = n_before};
    OK(fx.inside->begin_run(program, &run, &fx.error), &fx);
    OK(fx.inside->run_dispatch(program, 0, &fx.error), &fx);
    image_open(&image, fx.context);
    for (uint32_t i = 1; i < fx.inside->dispatch_count(program); i++)
        audit(&image, program, i);
    image_close(&image);
    fx.api->program_destroy(program);
    model_close(&m);
}

static void every_dispatch_touches_only_what_it_declares(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        audit_shape(&shapes[i], 200, shapes[i].max_tokens > 1 ? shapes[i].max_tokens - 3 : 1);
}

/* ---- loop budget ---- */

#define LAVAPIPE_LOOP_BUDGET 65534u

static void check_loops(const tandem_program *program, uint64_t *worst, char *worst_name) {
    for (uint32_t i = 0; i < fx.inside->dispatch_count(program); i++) {
        vk_test_dispatch d;
        fx.inside->dispatch(program, i, &d);
        if (d.loop_iterations > LAVAPIPE_LOOP_BUDGET)
            fail_msg("%s makes up to %llu loop iterations", d.shader, (unsigned long long)d.loop_iterations);
        if (d.loop_iterations >= *worst) {
            *worst = d.loop_iterations;
            snprintf(worst_name, 64, "%s", d.shader);
        }
    }
}

static void no_shader_exceeds_the_loop_budget(void **state) {
    uint64_t worst = 0;
    char worst_name[64] = "";
    (void)state;
    for (uint32_t max_tokens = 1; max_tokens <= 512; max_tokens += 511) {
        for (uint32_t precision = 0; precision <= TANDEM_PRECISION_Q8; precision += TANDEM_PRECISION_Q8) {
            model m;
            tandem_program *program = NULL;
            OK(model_open(&m, fx.api, fx.context, &model_wide), &m);
            OK(model_program(&m, max_tokens, 1, precision, &program), &m);
            check_loops(program, &worst, worst_name);
            fx.api->program_destroy(program);
            model_close(&m);
        }
    }
    assert_true(worst > 0);
    print_message("most loop iterations: %llu of %u, %s\n", (unsigned long long)worst, LAVAPIPE_LOOP_BUDGET,
                  worst_name);
}

static void no_validation_message_came(void **state) {
    (void)state;
    assert_int_equal(fx.inside->n_messages(), 0);
    assert_int_equal(fx.n_log_error, 0);
}

int main(int argc, char **argv) {
    fixture_open(&fx, "vulkan", argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_overlap_exactly_where_a_byte_is_shared),
        cmocka_unit_test(every_barrier_is_needed_and_none_is_missing),
        cmocka_unit_test(a_decode_layer_takes_at_most_13_steps),
        cmocka_unit_test(every_dispatch_touches_only_what_it_declares),
        cmocka_unit_test(no_shader_exceeds_the_loop_budget),
        cmocka_unit_test(no_validation_message_came),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
