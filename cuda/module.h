/* module.h: the embedded fat binaries, one of each kernels/NAME.cu (kernels.c is made by the build). */
#ifndef CU_MODULE_H
#define CU_MODULE_H

#include <stdint.h>

typedef struct cu_image {
    const char *name; /* of the source, without .cu */
    const unsigned char *data;
    const unsigned char *end;
} cu_image;

extern const cu_image cu_images[];
extern const uint32_t cu_n_image;

#endif
