/* A card that exists on paper, as libnvidia-ml.so.1: 1800 MHz, 61 degrees, PCIe 4 x16; its energy counter
 * runs at 100 W of the host's clock. NVML_THROTTLE in the environment gives the throttle bits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define API __attribute__((visibility("default")))

typedef struct memory {
    unsigned long long total, free, used;
} memory;

API int nvmlInit_v2(void);
API int nvmlShutdown(void);
API int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
API int nvmlDeviceGetName(void *device, char *name, unsigned length);
API int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz);
API int nvmlDeviceGetPowerUsage(void *device, unsigned *mw);
API int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj);
API int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius);
API int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits);
API int nvmlDeviceGetCurrPcieLinkGeneration(void *device, unsigned *generation);
API int nvmlDeviceGetCurrPcieLinkWidth(void *device, unsigned *width);
API int nvmlDeviceGetMemoryInfo(void *device, memory *info);

static int card;

int nvmlInit_v2(void) {
    return 0;
}

int nvmlShutdown(void) {
    return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    *device = &card;
    return strncmp(uuid, "GPU-", 4) || strlen(uuid) != 40 ? 6 : 0; /* NVML_ERROR_NOT_FOUND */
}

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    snprintf(name, length, "Card on paper");
    return device != &card;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned *mhz) {
    *mhz = type == 1 ? 1800 : 7500;
    return device != &card;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) {
    *mw = 1;
    return device != &card;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *mj = (unsigned long long)t.tv_sec * 100000 + (unsigned long long)t.tv_nsec / 10000;
    return device != &card;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius) {
    (void)sensor;
    *celsius = 61;
    return device != &card;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *bits) {
    const char *text = getenv("NVML_THROTTLE");
    *bits = text ? strtoull(text, NULL, 0) : 0;
    return device != &card;
}

int nvmlDeviceGetCurrPcieLinkGeneration(void *device, unsigned *generation) {
    *generation = 4;
    return device != &card;
}

int nvmlDeviceGetCurrPcieLinkWidth(void *device, unsigned *width) {
    *width = 16;
    return device != &card;
}

int nvmlDeviceGetMemoryInfo(void *device, memory *info) {
    *info = (memory){.total = 12ull << 30, .free = 8ull << 30, .used = 4ull << 30};
    return device != &card;
}
