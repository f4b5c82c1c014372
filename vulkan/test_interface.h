/* test_interface.h: get_interface("vulkan_test/1"): what only the Vulkan plugin has inside, for its
 * tests (backend/gpu/test_interface.h has the rest).
 *
 * Not part of the ABI and not installed. [context] where a context or program comes in.
 */
#ifndef VK_TEST_INTERFACE_H
#define VK_TEST_INTERFACE_H

#include <tandem/tandem.h>

#define VK_TEST_INTERFACE "vulkan_test/1"

typedef struct vk_test_dispatch {
    uint32_t n_spec;
    uint32_t spec[12];        /* VK_MAX_SPEC */
    uint64_t loop_iterations; /* most that a subgroup can make, all loops together, at the program's limits */
} vk_test_dispatch;

typedef struct vk_test_interface {
    uint32_t struct_size;
    uint32_t reserved;

    /* Validation messages since load; and one call that breaks a rule on purpose, to see whether somebody
     * listens. */
    uint32_t (*n_messages)(void);
    void (*provoke)(const tandem_context *context);
    int (*validates)(void);                             /* option vulkan.validation is on */
    int (*is_gpu_assisted)(void);                       /* option vulkan.gpu_assisted is on */
    int (*is_gpu_shape)(const tandem_context *context); /* kernels have the shape that GPUs get */

    /* Poses as a driver that ends the loops of a subgroup after n iterations (policy.h), from the next
     * program on; 0: as the driver is. */
    void (*limit_loops)(tandem_context *context, uint32_t n);

    /* The n-th fallible Vulkan call from now on (1: the next) answers `result` and does not reach the driver;
     * 0: none. n_calls counts such calls since. */
    void (*inject)(uint64_t n, int32_t result);
    uint64_t (*n_calls)(void);

    /* What gpu_test/1 does not say of a launch. */
    void (*dispatch)(const tandem_program *program, uint32_t index, vk_test_dispatch *dispatch);
} vk_test_interface;

#endif
