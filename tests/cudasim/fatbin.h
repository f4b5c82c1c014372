/* What lies in the image that cuModuleLoadData is given: PTX, and cubins that tell registers and stack. */
#ifndef CUDASIM_FATBIN_H
#define CUDASIM_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cuda.h>

struct image {
    const char *ptx;
    size_t ptx_bytes;
    uint32_t ptx_arch;    /* 0: said only in the PTX */
    const uint8_t *cubin; /* for the device, or NULL: tells registers and stack */
    size_t cubin_bytes;
    uint32_t cubin_arch;
    bool by_cubin; /* the driver that is posed as would run the cubin; otherwise it compiles the PTX */
};

/* Reads a fatbin, the wrapper that nvcc puts round one, or PTX text, as the driver of options.driver_version
 * would for a device of options.arch. Such images carry no length; what they say of themselves is believed.
 * An error with a sentence when that driver would refuse it, or there is nothing that can be executed. */
CUresult image_read(const void *data, struct image *image, char *error, size_t error_bytes);

/* Registers of a thread and bytes of stack of a kernel, as the cubin's .nv.info tells; false when it does
 * not. */
bool cubin_facts(const uint8_t *cubin, size_t bytes, const char *kernel, uint32_t *registers,
                 uint32_t *stack_bytes);

#endif
