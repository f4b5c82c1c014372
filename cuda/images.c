/* images.c: finds embedded kernels, and decides in which form a device gets them. */
#include "images.h"

#include <stddef.h>
#include <string.h>

const cu_image *cu_image_find(const char *kernel, const unsigned char **file) {
    for (uint32_t i = 0; i < cu_images_built.n_file; i++) {
        /* note: kernels.c aligns files to 16 bytes. */
        const cu_images *head = (const void *)cu_images_built.files[i];
        const cu_image *images = (const void *)(cu_images_built.files[i] + sizeof *head);
        for (uint32_t k = 0; k < head->n_image; k++)
            if (strcmp(images[k].name, kernel) == 0) {
                *file = cu_images_built.files[i];
                return &images[k];
            }
    }
    return NULL;
}

uint32_t cu_image_code(const cu_built *built, int driver_version, uint32_t compute_major,
                       uint32_t compute_minor) {
    uint32_t best = 0;
    if (driver_version / 1000 < (int)built->toolkit / 1000)
        return 0;
    for (const uint32_t *code = built->code; *code; code++)
        if (*code / 10 == compute_major && *code % 10 <= compute_minor)
            best = *code;
    return best;
}
