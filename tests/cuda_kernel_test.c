/* What the CUDA plugin asks of a device for a kernel, at the limits. */
#include "kernel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Compute capability 8.6: 48 KiB as they come, 99 KiB for the asking. */
static void static_and_dynamic_shared_memory_count_together(void **state) {
    const cu_device device = {.shared_plain = 49152, .shared_most = 101376};
    (void)state;
    assert_int_equal(cu_shared_need(&device, 0, 49152), CU_SHARED_PLAIN);
    assert_int_equal(cu_shared_need(&device, 576, 49152 - 576), CU_SHARED_PLAIN);
    assert_int_equal(cu_shared_need(&device, 576, 49152 - 575), CU_SHARED_OPT_IN);
    assert_int_equal(cu_shared_need(&device, 576, 48816), CU_SHARED_OPT_IN);
    assert_int_equal(cu_shared_need(&device, 1, 49152), CU_SHARED_OPT_IN);
    assert_int_equal(cu_shared_need(&device, 0, 101376), CU_SHARED_OPT_IN);
    assert_int_equal(cu_shared_need(&device, 576, 101376 - 576), CU_SHARED_OPT_IN);
    assert_int_equal(cu_shared_need(&device, 576, 101376 - 575), CU_SHARED_BEYOND);
    assert_int_equal(cu_shared_need(&device, 576, UINT32_MAX), CU_SHARED_BEYOND);
}

/* Machine code for 8.6 and 8.9, of this toolkit. */
static const uint32_t code[] = {86, 89, 0};

static void machine_code_runs_on_its_devices_and_newer_minors(void **state) {
    const cu_built built = {.toolkit = 12020, .code = code};
    (void)state;
    assert_int_equal(cu_image_code(&built, 13000, 8, 6), 86);
    assert_int_equal(cu_image_code(&built, 13000, 8, 7), 86);
    assert_int_equal(cu_image_code(&built, 13000, 8, 9), 89);
    assert_int_equal(cu_image_code(&built, 13000, 8, 0), 0);
    assert_int_equal(cu_image_code(&built, 13000, 9, 0), 0);
    assert_int_equal(cu_image_code(&built, 13000, 12, 0), 0);
}

static void machine_code_needs_a_driver_of_its_toolkits_major(void **state) {
    const cu_built old = {.toolkit = 12020, .code = code}, middle = {.toolkit = 12090, .code = code},
                   newest = {.toolkit = 13000, .code = code};
    (void)state;
    assert_int_equal(cu_image_code(&old, CU_MIN_DRIVER, 8, 6), 86);
    assert_int_equal(cu_image_code(&old, 13000, 8, 6), 86);
    assert_int_equal(cu_image_code(&middle, CU_MIN_DRIVER, 8, 6), 86);
    assert_int_equal(cu_image_code(&newest, CU_MIN_DRIVER, 8, 6), 0);
    assert_int_equal(cu_image_code(&newest, 12090, 8, 9), 0);
    assert_int_equal(cu_image_code(&newest, 13000, 8, 9), 89);
}

/* No file of images: only the decision is asked for. */
const cu_built cu_images_built = {.code = code};

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machine_code_runs_on_its_devices_and_newer_minors),
        cmocka_unit_test(machine_code_needs_a_driver_of_its_toolkits_major),
        cmocka_unit_test(static_and_dynamic_shared_memory_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
