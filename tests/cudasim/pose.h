/* What the simulator poses as: the driver of a CUDA version, and a device of a compute capability. */
#ifndef CUDASIM_POSE_H
#define CUDASIM_POSE_H

#include <stdbool.h>
#include <stdint.h>

/* What a device of one compute capability has, and the first driver that knows it. */
struct device_kind {
    uint32_t arch;  /* compute capability times ten */
    uint32_t since; /* CUDA version, as cuDriverGetVersion tells it */
    uint32_t threads_per_sm, blocks_per_sm;
    uint32_t shared_per_sm, shared_per_block; /* bytes; the latter when a kernel opts in */
};

/* NULL when no such device is simulated. */
const struct device_kind *pose_device(uint32_t arch);

/* The newest PTX that the driver of a CUDA version compiles, 82 for 8.2; 0 when no such version is simulated.
 */
uint32_t pose_ptx(uint32_t driver_version);

/* "12.2" or "12020" to 12020; 0 when it is no version that is simulated. */
uint32_t pose_parse_version(const char *text);

/* Whether code made for an architecture runs on a device: machine code on the same major version and an equal
 * or higher minor one, PTX on every later device; that of an 'a' target on its own device only, that of an
 * 'f' target within its major version. */
enum pose_target { TARGET_PLAIN, TARGET_FAMILY, TARGET_ARCH };
bool pose_runs_cubin(uint32_t device, uint32_t arch, enum pose_target target);
bool pose_runs_ptx(uint32_t device, uint32_t arch, enum pose_target target);

/* entries.c: from now on dlsym and cuGetProcAddress find what a driver of this version has, and no more. */
void entries_pose(uint32_t driver_version);

#endif
