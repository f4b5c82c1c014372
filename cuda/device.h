/* device.h: the devices of the CUDA driver, and whether tandem can use them. */
#ifndef CU_DEVICE_H
#define CU_DEVICE_H

#include "driver.h"

typedef struct cu_device {
    CUdevice handle;
    tandem_device_info info;
    uint32_t compute_major, compute_minor;
    uint32_t code;         /* architecture of the machine code that it runs; 0: the driver compiles kernels */
    uint32_t shared_plain; /* bytes of shared memory that a block may have, static and dynamic together */
    uint32_t shared_most;  /* likewise, of a kernel that asks for it */
} cu_device;

/* The ABI's functions of the same names. [any-thread] */
tandem_status gpu_device_count(uint32_t *n, tandem_error *error);
tandem_status gpu_device_info(uint32_t index, tandem_device_info *info, tandem_error *error);

/* What the driver says of a device; its free memory is left at 0, which only a CUDA context can tell. */
tandem_status cu_device_get(uint32_t index, cu_device *device, tandem_error *error);
/* NO_DEVICE: older than what the kernels are compiled for, or too little shared memory for a block of theirs.
 */
tandem_status cu_device_usable(const cu_device *device, tandem_error *error);

#endif
