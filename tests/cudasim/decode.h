/* Insides of the decoder, for decode.c and operands.c. */
#ifndef CUDASIM_DECODE_H
#define CUDASIM_DECODE_H

#include "kernel.h"

struct constant {
    uint64_t bits;
    uint32_t bytes, slot;
};

struct decoder {
    const struct ptx_module *ptx;
    const struct ptx_function *function;
    const struct ptx_inst *at;
    struct inst *to;
    struct kernel *kernel;
    struct use_list uses;
    struct constant *constants;
    uint32_t n_constant, max_constant;
    uint32_t shared_used, extern_align;
    char *error;
    size_t error_bytes;
    bool failed;
};

/* A row of 32 copies of `bits`. */
bool decode_constant(struct decoder *d, uint64_t bits, uint32_t bytes, uint32_t *slot);
bool decode_use(struct decoder *d, uint32_t reg, uint32_t *slot, bool written, uint8_t keep);
/* The address of a variable in its own space. */
bool decode_symbol(struct decoder *d, const char *name, uint64_t *address, uint8_t *space);
bool decode_special(struct decoder *d, const char *name, uint32_t bytes, uint32_t *slot);

#endif
