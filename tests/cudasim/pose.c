/* Tables of driver versions and devices. Compiled for any x86-64: the library's constructor comes here. */
#include "pose.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The release history of the PTX ISA document. 12.7 was a driver (r565) without a toolkit. */
static const struct {
    uint16_t driver, ptx;
} versions[] = {
    {11000, 70}, {11010, 71}, {11020, 72}, {11030, 73}, {11040, 74}, {11050, 75}, {11060, 76},
    {11070, 77}, {11080, 78}, {12000, 80}, {12010, 81}, {12020, 82}, {12030, 83}, {12040, 84},
    {12050, 85}, {12060, 85}, {12070, 86}, {12080, 87}, {12090, 88}, {13000, 90},
};

/* The tables of compute capabilities in the CUDA programming guide. */
#define KIB(n) ((n)*1024)
static const struct device_kind devices[] = {
    {80, 11000, 2048, 32, KIB(164), KIB(163)},  {86, 11010, 1536, 16, KIB(100), KIB(99)},
    {87, 11040, 1536, 16, KIB(164), KIB(163)},  {89, 11080, 1536, 24, KIB(100), KIB(99)},
    {90, 11080, 2048, 32, KIB(228), KIB(227)},  {100, 12080, 2048, 32, KIB(228), KIB(227)},
    {103, 12090, 2048, 32, KIB(228), KIB(227)}, {120, 12080, 1536, 24, KIB(100), KIB(99)},
    {121, 12090, 1536, 24, KIB(100), KIB(99)},
};

const struct device_kind *pose_device(uint32_t arch) {
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (devices[i].arch == arch)
            return &devices[i];
    return NULL;
}

uint32_t pose_ptx(uint32_t driver_version) {
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
        if (versions[i].driver == driver_version)
            return versions[i].ptx;
    return 0;
}

uint32_t pose_parse_version(const char *text) {
    char again[16];
    unsigned major, minor;
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        major = versions[i].driver / 1000;
        minor = versions[i].driver % 1000 / 10;
        snprintf(again, sizeof again, "%u.%u", major, minor);
        if (!strcmp(text, again))
            return versions[i].driver;
        snprintf(again, sizeof again, "%u", (unsigned)versions[i].driver);
        if (!strcmp(text, again))
            return versions[i].driver;
    }
    return 0;
}

bool pose_runs_cubin(uint32_t device, uint32_t arch, enum pose_target target) {
    return target == TARGET_ARCH ? device == arch : device / 10 == arch / 10 && device >= arch;
}

bool pose_runs_ptx(uint32_t device, uint32_t arch, enum pose_target target) {
    return target == TARGET_PLAIN ? device >= arch : pose_runs_cubin(device, arch, target);
}

__attribute__((constructor)) static void pose_at_load(void) {
    const char *text = getenv("CUDASIM_DRIVER_VERSION");
    const uint32_t version = text ? pose_parse_version(text) : 0;
    if (version) /* another text is an error of cuInit */
        entries_pose(version);
}
