/* images.h: the embedded kernels, and in which form a device gets them.
 *
 * The build (compile.cmake, pack.c) makes one file of images for each kernels/NAME.cu: a head, an index, and
 * for each kernel a fat binary of its own, with machine code for the architectures of cu_built and the PTX
 * text. A module is one kernel, so nothing is loaded or compiled that no program uses.
 */
#ifndef CU_IMAGES_H
#define CU_IMAGES_H

#include <stdint.h>

#define CU_IMAGES_MADE 96u /* bytes of the head's sentence, by which CMake knows files that it can reuse */
#define CU_KERNEL_NAME 48u

typedef struct cu_image {
    char name[CU_KERNEL_NAME]; /* of the kernel */
    uint64_t fatbin;           /* bytes from the start of the file, a multiple of 16 */
    uint64_t ptx;              /* likewise: the text inside the fat binary, which a 0 ends */
} cu_image;

typedef struct cu_images {
    char made[CU_IMAGES_MADE];
    uint32_t n_image, reserved;
} cu_images; /* cu_image[n_image] follow */

/* ---- what the build knows (kernels.c) ---- */

typedef struct cu_built {
    uint32_t toolkit;     /* that made the machine code: 1000 major + 10 minor */
    const uint32_t *code; /* architectures, ascending: 86 for sm_86; 0 ends them */
    const unsigned char *const *files;
    uint32_t n_file;
} cu_built;

extern const cu_built cu_images_built;

/* ---- images.c ---- */

/* The image of a kernel, NULL: there is none. *file: what its offsets count from. [any-thread] */
const cu_image *cu_image_find(const char *kernel, const unsigned char **file);

/* The one place that decides in which form kernels go to a device. The architecture whose machine code it
 * runs, or 0: the driver compiles the PTX of each kernel when it is loaded.
 *
 * Machine code for sm_XY runs on compute capability X.Z with Z >= Y, on drivers of the toolkit's major
 * version and newer ones. PTX, lowered to the version of CU_MIN_DRIVER, is compiled by every driver that is
 * not refused. */
uint32_t cu_image_code(const cu_built *built, int driver_version, uint32_t compute_major,
                       uint32_t compute_minor);

#endif
