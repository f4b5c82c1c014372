/* test_interface.h: get_interface("vulkan_test/1"): the inside of the plugin, for its tests.
 *
 * Not part of the ABI and not installed. [context] where a context or program comes in.
 */
#ifndef VK_TEST_INTERFACE_H
#define VK_TEST_INTERFACE_H

#include <tandem/tandem.h>

#define VK_TEST_INTERFACE "vulkan_test/1"

typedef struct vk_test_range {
    uint64_t address;
    uint64_t row_bytes;
    uint64_t stride;
    uint64_t n_row;
    uint32_t write;
    uint32_t weights; /* 1: a segment of a record */
} vk_test_range;

typedef struct vk_test_dispatch {
    char shader[64];
    uint32_t n_spec;
    uint32_t spec[12]; /* VK_MAX_SPEC */
    uint32_t step;     /* TANDEM_NONE: prepare.comp, before step 0 */
    uint32_t n_range;
    uint64_t loop_iterations; /* most that a subgroup can make, all loops together, at the program's limits */
} vk_test_dispatch;

typedef struct vk_test_interface {
    uint32_t struct_size;
    uint32_t n_pending; /* runs that a context takes */

    /* Validation messages since load; and one call that breaks a rule on purpose, to see whether somebody
     * listens. */
    uint32_t (*n_messages)(void);
    void (*provoke)(const tandem_context *context);
    int (*validates)(void);       /* option vulkan.validation is on */
    int (*is_gpu_assisted)(void); /* option vulkan.gpu_assisted is on */

    /* The n-th fallible Vulkan call from now on (1: the next) answers `result` and does not reach the driver;
     * 0: none. n_calls counts such calls since. */
    void (*inject)(uint64_t n, int32_t result);
    uint64_t (*n_calls)(void);

    uint32_t (*dispatch_count)(const tandem_program *program);
    void (*dispatch)(const tandem_program *program, uint32_t index, vk_test_dispatch *dispatch);
    void (*range)(const tandem_program *program, uint32_t dispatch, uint32_t index, vk_test_range *range);
    int (*ranges_overlap)(const vk_test_range *a, const vk_test_range *b);

    /* Faults of the program's barriers, without the one before step `drop` and with one more before step
     * `add` (TANDEM_NONE: none); the first fault as a sentence. */
    uint32_t (*check_barriers)(const tandem_program *program, uint32_t drop, uint32_t add, char *sentence,
                               size_t room);

    /* Fills the table of slot 0 for a valid run, and runs single dispatches of it, waiting for each. */
    tandem_status (*begin_run)(tandem_program *program, const tandem_run *run, tandem_error *error);
    tandem_status (*run_dispatch)(tandem_program *program, uint32_t index, tandem_error *error);

    /* The context's driver allocations as the host sees them; 0: no such one, or not mapped. */
    int (*allocation)(const tandem_context *context, uint32_t index, uint64_t *address, uint64_t *bytes,
                      void **pointer);
} vk_test_interface;

#endif
