/* host/card.c: NVML by hand: a few functions of its stable C interface, looked up by name. */
#include "card.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

typedef struct nvml_device *nvml_handle;

typedef struct nvml_memory {
    unsigned long long total, free, used;
} nvml_memory;

#define NVML_CLOCK_SM 1
#define NVML_CLOCK_MEMORY 2
#define NVML_TEMPERATURE_GPU 0

typedef struct nvml {
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_uuid)(const char *, nvml_handle *);
    int (*name)(nvml_handle, char *, unsigned);
    int (*clock)(nvml_handle, int, unsigned *);
    int (*power)(nvml_handle, unsigned *);              /* mW */
    int (*energy)(nvml_handle, unsigned long long *);   /* mJ */
    int (*temperature)(nvml_handle, int, unsigned *);   /* degrees */
    int (*throttle)(nvml_handle, unsigned long long *); /* bits */
    int (*link_generation)(nvml_handle, unsigned *);
    int (*link_width)(nvml_handle, unsigned *);
    int (*memory)(nvml_handle, nvml_memory *);
} nvml;

static const struct {
    const char *name;
    size_t offset;
} functions[] = {
    {"nvmlInit_v2", offsetof(nvml, init)},
    {"nvmlShutdown", offsetof(nvml, shutdown)},
    {"nvmlDeviceGetHandleByUUID", offsetof(nvml, by_uuid)},
    {"nvmlDeviceGetName", offsetof(nvml, name)},
    {"nvmlDeviceGetClockInfo", offsetof(nvml, clock)},
    {"nvmlDeviceGetPowerUsage", offsetof(nvml, power)},
    {"nvmlDeviceGetTotalEnergyConsumption", offsetof(nvml, energy)},
    {"nvmlDeviceGetTemperature", offsetof(nvml, temperature)},
    {"nvmlDeviceGetCurrentClocksThrottleReasons", offsetof(nvml, throttle)},
    {"nvmlDeviceGetCurrPcieLinkGeneration", offsetof(nvml, link_generation)},
    {"nvmlDeviceGetCurrPcieLinkWidth", offsetof(nvml, link_width)},
    {"nvmlDeviceGetMemoryInfo", offsetof(nvml, memory)},
};

/* Reasons for lower clocks; those that spoil a measurement. A power cap is how a card runs at full load. */
static const struct {
    unsigned long long bit;
    bool spoils;
    const char *name;
} reasons[] = {
    {0x004, false, "power cap"},         {0x008, true, "hardware slowdown"},
    {0x020, true, "thermal (software)"}, {0x040, true, "thermal (hardware)"},
    {0x080, true, "power brake"},        {0x002, false, "application clocks"},
};
#define N_REASON (sizeof reasons / sizeof *reasons)

struct card {
    void *library;
    nvml f;
    nvml_handle handle;
    uint32_t n;
    double sm, memory, celsius;
    unsigned long long seen; /* throttle bits */
    uint64_t begin_ns;
    unsigned long long begin_mj;
    double joules, seconds; /* between begin and end, where the card counts energy */
    bool held_back;
};

static bool look_up(card *c) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *symbol = dlsym(c->library, functions[i].name);
        if (!symbol)
            return false;
        memcpy((char *)&c->f + functions[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

card *card_open(const uint8_t u[16]) {
    char name[64];
    card *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    snprintf(name, sizeof name, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15]);
    c->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!c->library || !look_up(c) || c->f.init()) {
        if (c->library)
            dlclose(c->library);
        free(c);
        return NULL;
    }
    if (c->f.by_uuid(name, &c->handle)) {
        card_close(c);
        return NULL;
    }
    return c;
}

void card_close(card *c) {
    if (!c)
        return;
    c->f.shutdown();
    dlclose(c->library);
    free(c);
}

void card_start(card *c) {
    if (!c)
        return;
    c->n = 0;
    c->sm = c->memory = c->celsius = c->joules = c->seconds = 0;
    c->seen = 0;
}

static void take_reading(card *c) {
    unsigned sm = 0, memory = 0, celsius = 0;
    unsigned long long bits = 0;
    c->f.clock(c->handle, NVML_CLOCK_SM, &sm);
    c->f.clock(c->handle, NVML_CLOCK_MEMORY, &memory);
    c->f.temperature(c->handle, NVML_TEMPERATURE_GPU, &celsius);
    c->f.throttle(c->handle, &bits);
    c->n++;
    c->sm += sm;
    c->memory += memory;
    c->celsius = celsius > c->celsius ? celsius : c->celsius;
    c->seen |= bits;
    for (size_t i = 0; i < N_REASON; i++)
        c->held_back |= reasons[i].spoils && bits & reasons[i].bit;
}

void card_begin(card *c) {
    if (!c)
        return;
    c->held_back = false;
    take_reading(c);
    c->begin_ns = now_ns();
    if (c->f.energy(c->handle, &c->begin_mj))
        c->begin_mj = 0;
}

bool card_end(card *c) {
    if (!c)
        return false;
    unsigned long long mj = 0;
    const double seconds = (double)(now_ns() - c->begin_ns) * 1e-9;
    if (c->begin_mj && !c->f.energy(c->handle, &mj) && mj > c->begin_mj) {
        c->joules += (double)(mj - c->begin_mj) * 1e-3;
        c->seconds += seconds;
    }
    take_reading(c);
    return c->held_back;
}

double card_watts(const card *c) {
    unsigned mw = 0;
    if (!c)
        return 0;
    if (c->seconds > 0)
        return c->joules / c->seconds;
    return c->f.power(c->handle, &mw) ? 0 : mw * 1e-3;
}

cJSON *card_json(const card *c) {
    char text[96] = "";
    unsigned generation = 0, width = 0;
    nvml_memory memory = {0};
    if (!c || !c->n)
        return NULL;
    cJSON *j = cJSON_CreateObject();
    c->f.name(c->handle, text, sizeof text);
    cJSON_AddStringToObject(j, "name", text);
    cJSON_AddNumberToObject(j, "sm_mhz", c->sm / c->n);
    cJSON_AddNumberToObject(j, "memory_mhz", c->memory / c->n);
    cJSON_AddNumberToObject(j, "watts", card_watts(c));
    cJSON_AddNumberToObject(j, "celsius", c->celsius);
    cJSON *list = cJSON_AddArrayToObject(j, "throttle");
    for (size_t i = 0; i < N_REASON; i++)
        if (c->seen & reasons[i].bit)
            cJSON_AddItemToArray(list, cJSON_CreateString(reasons[i].name));
    c->f.link_generation(c->handle, &generation);
    c->f.link_width(c->handle, &width);
    snprintf(text, sizeof text, "PCIe %u x%u", generation, width);
    cJSON_AddStringToObject(j, "pcie", text);
    if (!c->f.memory(c->handle, &memory))
        cJSON_AddNumberToObject(j, "memory_used", (double)memory.used);
    cJSON_AddNumberToObject(j, "samples", c->n);
    return j;
}

/* ---- the machine ---- */

cpu_ticks machine_ticks(void) {
    unsigned long long t[8] = {0};
    cpu_ticks ticks = {0};
    FILE *file = fopen("/proc/stat", "r");
    if (!file)
        return ticks;
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5],
               &t[6], &t[7]) == 8)
        for (int i = 0; i < 8; i++) {
            ticks.all += t[i];
            ticks.busy += i == 3 || i == 4 ? 0 : t[i]; /* idle, waiting for disks */
        }
    fclose(file);
    return ticks;
}

cJSON *machine_json(cpu_ticks before) {
    const cpu_ticks now = machine_ticks();
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %llu", &kib) != 1)
        ;
    if (file)
        fclose(file);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddNumberToObject(
        j, "cpu_load",
        now.all > before.all ? (double)(now.busy - before.busy) / (double)(now.all - before.all) : 0);
    cJSON_AddNumberToObject(j, "memory_available", (double)kib * 1024);
    return j;
}
