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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_and_dynamic_shared_memory_count_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
