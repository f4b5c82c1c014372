/* What lies in the image that cuModuleLoadData is given: PTX, and cubins that tell registers and stack. */
#ifndef CUDASIM_FATBIN_H
#define CUDASIM_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
    const char *ptx;
    size_t ptx_bytes;
    uint32_t ptx_arch;    /* 0: said only in the PTX */
    const uint8_t *cubin; /* for the device, or NULL */
    size_t cubin_bytes;
};

/* Reads a fatbin, the wrapper that nvcc puts round one, or PTX text. Such images carry no length; what they
 * say of themselves is believed. False with a sentence when there is nothing that can be executed. */
bool image_read(const void *data, uint32_t arch, struct image *image, char *error, size_t error_bytes);

/* Registers of a thread and bytes of stack of a kernel, as the cubin's .nv.info tells; false when it does
 * not. */
bool cubin_facts(const uint8_t *cubin, size_t bytes, const char *kernel, uint32_t *registers,
                 uint32_t *stack_bytes);

#endif
