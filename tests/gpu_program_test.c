/* What a GPU plugin compiles: barriers are needed and enough, and every launch touches only what it declares.
 *
 * usage: gpu_program_test [--plugin NAME] [--option NAME=VALUE]...
 */
#include "gpu_model.h"

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

static int overlap_by_bytes(const gpu_test_range *a, const gpu_test_range *b) {
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
        gpu_test_range r[2];
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
    {1, 1, TANDEM_PRECISION_F16, TANDEM_TYPE_F16, 1},     {24, 2, TANDEM_PRECISION_F16, TANDEM_TYPE_F16, 1},
};

/* The Vulkan plugin says of itself that it has no kernels of precision f16. */
static int is_offered(const shape *s) {
    return (s->precision != TANDEM_PRECISION_F16 || !fx.vulkan) && fixture_offers(&fx, s->precision);
}

static model_shape model_of(const shape *s) {
    model_shape small = s->experts ? model_experts : model_small;
    small.kv_type = s->kv_type;
    return small;
}

static void check_shape(const shape *s) {
    model m;
    tandem_program *program = NULL;
    char sentence[256] = "";
    uint32_t n_step, n_barrier = 0, n_launch = 0;
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
        n_launch += step.n_dispatch;
        /* Without a barrier that is there, or with one that is not, the checker must object. */
        uint32_t n_fault = fx.inside->check_barriers(program, drop, more, sentence, sizeof sentence);
        if (n_fault == 0)
            fail_msg("step %u (%s): the checker takes the barrier before it %s", i, step.kernel,
                     step.barrier_before ? "for superfluous" : "for needed");
    }
    print_message("rows %u, precision %u, %s: %u steps, %u launches, %u barriers in %u layers\n",
                  s->max_tokens, s->precision, s->experts ? "experts" : "dense", n_step, n_launch, n_barrier,
                  MODEL_LAYERS);
    fx.api->program_destroy(program);
    model_close(&m);
}

static void every_barrier_is_needed_and_none_is_missing(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (is_offered(&shapes[i]))
            check_shape(&shapes[i]);
}

/* ---- declarations ---- */

typedef struct memory_block {
    uint32_t index; /* of the allocation */
    uint64_t address, bytes;
    uint8_t *before;   /* the launch */
    uint8_t *after;    /* it */
    uint8_t *changed;  /* before it, with every undeclared byte changed; then what it made of that */
    uint8_t *declared; /* per byte: 1 read, 2 written */
} memory_block;

#define MAX_BLOCKS 64u

typedef struct memory_image {
    memory_block blocks[MAX_BLOCKS];
    uint32_t n;
} memory_image;

static void image_open(memory_image *image, const tandem_context *context) {
    uint32_t n = fx.inside->allocation_count(context);
    memset(image, 0, sizeof *image);
    for (uint32_t i = 0; i < n; i++) {
        memory_block *b = &image->blocks[image->n];
        if (!fx.inside->allocation(context, i, &b->address, &b->bytes))
            continue;
        b->index = i;
        b->before = malloc(b->bytes);
        b->after = malloc(b->bytes);
        b->changed = malloc(b->bytes);
        b->declared = malloc(b->bytes);
        assert_non_null(b->before);
        assert_non_null(b->after);
        assert_non_null(b->changed);
        assert_non_null(b->declared);
        image->n++;
        assert_in_range(image->n, 1, MAX_BLOCKS - 1);
    }
    assert_in_range(image->n, 3, MAX_BLOCKS - 1);
}

static void image_close(memory_image *image) {
    for (uint32_t i = 0; i < image->n; i++) {
        free(image->blocks[i].before);
        free(image->blocks[i].after);
        free(image->blocks[i].changed);
        free(image->blocks[i].declared);
    }
}

static void mark(memory_image *image, const gpu_test_range *range) {
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
    gpu_test_launch d;
    gpu_test_range range;
    for (uint32_t i = 0; i < image->n; i++)
        memset(image->blocks[i].declared, 0, image->blocks[i].bytes);
    fx.inside->launch(program, index, &d);
    for (uint32_t i = 0; i < d.n_range; i++) {
        fx.inside->range(program, index, i, &range);
        mark(image, &range);
    }
}

static uint8_t flip(uint8_t byte) {
    return (uint8_t)~byte;
}

/* Copies every block between the device and one of its images. */
#define COPY(what, image, member)                                                                            \
    do {                                                                                                     \
        for (uint32_t copy_i = 0; copy_i < (image)->n; copy_i++) {                                           \
            memory_block *copy_b = &(image)->blocks[copy_i];                                                 \
            OK(fx.inside->what(fx.context, copy_b->index, copy_b->member, &fx.error), &fx);                  \
        }                                                                                                    \
    } while (0)

static void check_block(const memory_block *b, uint32_t index, const char *kernel) {
    for (uint64_t k = 0; k < b->bytes; k++) {
        unsigned long long address = b->address + k;
        if (!(b->declared[k] & 2) && b->after[k] != b->before[k])
            fail_msg("launch %u (%s) writes byte 0x%llx without saying so", index, kernel, address);
        if (!b->declared[k] && b->changed[k] != flip(b->before[k]))
            fail_msg("launch %u (%s) writes byte 0x%llx without saying so", index, kernel, address);
        if (b->declared[k] && b->changed[k] != b->after[k])
            fail_msg("launch %u (%s): byte 0x%llx depends on bytes that it does not declare to read", index,
                     kernel, address);
    }
}

/* finish writes what a run has left there; tall tiles are for experts with more rows than these have. */
static int may_stand_idle(const char *kernel) {
    return strcmp(kernel, "finish") == 0 || strstr(kernel, "_tall") != NULL;
}

/* Runs one launch twice from the same memory, the second time with every undeclared byte changed. */
static void audit(memory_image *image, tandem_program *program, uint32_t index) {
    gpu_test_launch d;
    uint64_t n_written = 0;
    fx.inside->launch(program, index, &d);
    declare(image, program, index);
    COPY(read, image, before);
    OK(fx.inside->run_launch(program, index, &fx.error), &fx);
    COPY(read, image, after);
    for (uint32_t i = 0; i < image->n; i++) {
        memory_block *b = &image->blocks[i];
        for (uint64_t k = 0; k < b->bytes; k++) {
            n_written += b->after[k] != b->before[k];
            b->changed[k] = b->declared[k] ? b->before[k] : flip(b->before[k]);
        }
    }
    COPY(write, image, changed);
    OK(fx.inside->run_launch(program, index, &fx.error), &fx);
    COPY(read, image, changed);
    for (uint32_t i = 0; i < image->n; i++)
        check_block(&image->blocks[i], index, d.kernel);
    COPY(write, image, after);
    if (n_written == 0 && !may_stand_idle(d.kernel))
        fail_msg("launch %u (%s) changed nothing, so the audit shows nothing", index, d.kernel);
}

/* The host's table is the only undeclared input of prepare, which is not audited: every slot has its own. */
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
    OK(fx.inside->run_launch(program, 0, &fx.error), &fx);
    image_open(&image, fx.context);
    for (uint32_t i = 1; i < fx.inside->launch_count(program); i++)
        audit(&image, program, i);
    image_close(&image);
    fx.api->program_destroy(program);
    model_close(&m);
}

static void every_launch_touches_only_what_it_declares(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (is_offered(&shapes[i]))
            audit_shape(&shapes[i], 200, shapes[i].max_tokens > 1 ? shapes[i].max_tokens - 3 : 1);
}

int main(int argc, char **argv) {
    fixture_open(&fx, "vulkan", argc, argv);
    if (!fx.inside) {
        fprintf(stderr, "The plugin does not show its inside\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_overlap_exactly_where_a_byte_is_shared),
        cmocka_unit_test(every_barrier_is_needed_and_none_is_missing),
        cmocka_unit_test(every_launch_touches_only_what_it_declares),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
