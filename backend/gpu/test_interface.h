/* test_interface.h: get_interface("gpu_test/1"): the inside of a GPU plugin, for its tests.
 *
 * Not part of the ABI and not installed. [context] where a context or program comes in.
 */
#ifndef GPU_TEST_INTERFACE_H
#define GPU_TEST_INTERFACE_H

#include <tandem/tandem.h>

#define GPU_TEST_INTERFACE "gpu_test/1"

typedef struct gpu_test_range {
    uint64_t address;
    uint64_t row_bytes;
    uint64_t stride;
    uint64_t n_row;
    uint32_t write;
    uint32_t weights; /* 1: a segment of a record */
} gpu_test_range;

typedef struct gpu_test_launch {
    char kernel[64];
    uint32_t step; /* TANDEM_NONE: prepare, before step 0 */
    uint32_t n_range;
} gpu_test_launch;

typedef struct gpu_test_interface {
    uint32_t struct_size;
    uint32_t n_pending; /* runs that a context takes */

    uint32_t (*launch_count)(const tandem_program *program);
    void (*launch)(const tandem_program *program, uint32_t index, gpu_test_launch *launch);
    void (*range)(const tandem_program *program, uint32_t launch, uint32_t index, gpu_test_range *range);
    int (*ranges_overlap)(const gpu_test_range *a, const gpu_test_range *b);

    /* Faults of the program's barriers, without the one before step `drop` and with one more before step
     * `add` (TANDEM_NONE: none); the first fault as a sentence. */
    uint32_t (*check_barriers)(const tandem_program *program, uint32_t drop, uint32_t add, char *sentence,
                               size_t room);

    /* Fills the table of slot 0 for a valid run, and runs single launches of it, waiting for each. */
    tandem_status (*begin_run)(tandem_program *program, const tandem_run *run, tandem_error *error);
    tandem_status (*run_launch)(tandem_program *program, uint32_t index, tandem_error *error);

    /* The context's driver allocations. */
    uint32_t (*allocation_count)(const tandem_context *context);
    /* Where allocation `index` lies; 1: memory that kernels use, not that of transfers. */
    int (*allocation)(const tandem_context *context, uint32_t index, uint64_t *address, uint64_t *bytes);
    /* All its bytes. Both wait for what is pending. */
    tandem_status (*read)(tandem_context *context, uint32_t index, void *target, tandem_error *error);
    tandem_status (*write)(tandem_context *context, uint32_t index, const void *source, tandem_error *error);
} gpu_test_interface;

extern const gpu_test_interface gpu_the_test_interface;

#endif
