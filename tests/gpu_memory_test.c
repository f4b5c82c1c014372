/* The memory of a GPU plugin: many records of experts share few driver allocations, under the cap too.
 *
 * usage: gpu_memory_test [--plugin NAME] [--option NAME=VALUE]...      default: vulkan
 */
#include "gpu_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Records of 80 KiB, which do not share the blocks of small ranges. */
enum { N_RECORD = 400, N_ROW = 80, N_COL = 256, ROW_BYTES = N_COL * 4, RECORD_BYTES = N_ROW * ROW_BYTES };

static fixture fx;

#define OK(expression)                                                                                       \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, fx.error.message);                         \
    } while (0)

static tandem_status create(tandem_context *context, uint32_t n_record, uint32_t placement,
                            tandem_weights **weights) {
    const tandem_matrix_desc matrix = {.struct_size = sizeof matrix,
                                       .role = TANDEM_ROLE_SINGLE,
                                       .type = TANDEM_TYPE_F32,
                                       .n_row = N_ROW,
                                       .n_col = N_COL};
    const tandem_matrix_desc *matrices[1] = {&matrix};
    const tandem_weights_desc desc = {.struct_size = sizeof desc,
                                      .n_record = n_record,
                                      .placement = placement,
                                      .n_matrix = 1,
                                      .matrices = matrices};
    tandem_status status = fx.api->weights_create(context, &desc, weights, &fx.error);
    float *rows = calloc(N_ROW, ROW_BYTES);
    for (uint32_t r = 0; r < n_record && status == TANDEM_OK; r++)
        status = fx.api->weights_write(*weights, r, 0, 0, N_ROW, rows, RECORD_BYTES, 0, &fx.error);
    free(rows);
    return status;
}

static tandem_memory_info memory_of(tandem_context *context) {
    tandem_memory_info memory = {.struct_size = sizeof memory};
    OK(fx.api->wait(context, TANDEM_TICKET_ALL, UINT64_MAX, &fx.error));
    OK(fx.api->context_memory(context, &memory, &fx.error));
    return memory;
}

static void place_all(tandem_weights *weights, uint32_t placement) {
    for (uint32_t r = 0; r < N_RECORD; r++)
        OK(fx.api->weights_place(weights, r, placement, NULL, &fx.error));
}

/* Blocks are of 64 MiB at most, so these fit in one; those that come one by one make larger and larger ones.
 */
static void many_records_take_few_allocations(void **state) {
    const uint64_t all = (uint64_t)N_RECORD * RECORD_BYTES;
    tandem_weights *weights = NULL;
    (void)state;
    tandem_memory_info before = memory_of(fx.context);
    uint32_t n_before = fx.inside->allocation_count(fx.context);
    OK(create(fx.context, N_RECORD, TANDEM_PLACE_DEVICE, &weights));
    tandem_memory_info created = memory_of(fx.context);
    uint32_t n_created = fx.inside->allocation_count(fx.context);
    place_all(weights, TANDEM_PLACE_HOST);
    tandem_memory_info moved = memory_of(fx.context);
    uint32_t n_moved = fx.inside->allocation_count(fx.context);
    print_message("%u records: %u allocations at once, %u one by one\n", N_RECORD, n_created - n_before,
                  n_moved - n_before);
    assert_in_range(n_created - n_before, 1, 6); /* and staging, and the table */
    assert_in_range(n_moved - n_before, 2, 64);
    /* Counted is every byte, and what nobody uses is given back. */
    assert_in_range(created.weights_device - before.weights_device, all, all + (2u << 20));
    assert_int_equal(created.weights_host, before.weights_host);
    assert_in_range(moved.weights_device - before.weights_device, 1, 2u << 20); /* the table */
    assert_in_range(moved.weights_host - before.weights_host, all, all + all / 8 + (2u << 20));
    fx.api->weights_destroy(weights);
    tandem_memory_info after = memory_of(fx.context);
    assert_int_equal(after.weights_device, before.weights_device);
    assert_int_equal(after.weights_host, before.weights_host);
}

/* Moves records to the device until it is full; how many went. */
static uint32_t fill(tandem_weights *weights) {
    uint32_t n = 0;
    while (n < N_RECORD) {
        tandem_status status = fx.api->weights_place(weights, n, TANDEM_PLACE_DEVICE, NULL, &fx.error);
        if (status == TANDEM_E_OUT_OF_MEMORY)
            break;
        OK(status);
        n++;
    }
    return n;
}

/* Blocks shrink where the cap is near, so that as many records fit as without sharing; and the place of one
 * that leaves serves one of other weights. */
static void a_cap_takes_as_many_records_as_fit(void **state) {
    const uint32_t n_fit = 100;
    tandem_weights *weights = NULL, *others = NULL;
    (void)state;
    tandem_context *context = fixture_context(&fx, 0);
    assert_non_null(context);
    OK(create(context, N_RECORD, TANDEM_PLACE_HOST, &weights));
    OK(create(context, 2, TANDEM_PLACE_HOST, &others));
    for (uint32_t i = 0; i < 8; i++) /* until all that moves need beside the records is there */
        OK(fx.api->weights_place(weights, 0, i % 2 ? TANDEM_PLACE_HOST : TANDEM_PLACE_DEVICE, NULL,
                                 &fx.error));
    uint64_t cap = memory_of(context).total + n_fit * (uint64_t)RECORD_BYTES + RECORD_BYTES / 2;
    fx.api->weights_destroy(weights);
    fx.api->weights_destroy(others);
    fx.api->context_destroy(context);
    context = fixture_context(&fx, cap);
    assert_non_null(context);
    OK(create(context, N_RECORD, TANDEM_PLACE_HOST, &weights));
    OK(create(context, 2, TANDEM_PLACE_HOST, &others));
    assert_int_equal(fill(weights), n_fit);
    assert_non_null(strstr(fx.error.message, "memory cap"));
    assert_in_range(memory_of(context).total, cap - RECORD_BYTES, cap);
    assert_int_equal(fx.api->weights_place(others, 1, TANDEM_PLACE_DEVICE, NULL, &fx.error),
                     TANDEM_E_OUT_OF_MEMORY);
    OK(fx.api->weights_place(weights, 7, TANDEM_PLACE_HOST, NULL, &fx.error));
    OK(fx.api->wait(context, TANDEM_TICKET_ALL, UINT64_MAX, &fx.error));
    OK(fx.api->weights_place(others, 1, TANDEM_PLACE_DEVICE, NULL, &fx.error));
    fx.api->weights_destroy(weights);
    fx.api->weights_destroy(others);
    fx.api->context_destroy(context);
}

int main(int argc, char **argv) {
    fixture_open(&fx, "vulkan", argc, argv);
    if (!fx.inside) {
        fprintf(stderr, "The plugin does not show its inside\n");
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_records_take_few_allocations),
        cmocka_unit_test(a_cap_takes_as_many_records_as_fit),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close(&fx);
    return failed;
}
