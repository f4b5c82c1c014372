/* plugin.c: the exported symbol, the descriptor, the one device, and what the host lends. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include <tandem/negotiate.h>

#include "objects.h"

/* ---- services ---- */

/* note: the ABI hands services to the query but no handle of them to context_create, so the plugin must
 * remember them in between. This is its only mutable state; a context keeps a copy. */
static pthread_mutex_t services_mutex = PTHREAD_MUTEX_INITIALIZER;
static ref_services current_services;

/* calloc, so that the pages of a large cache cost nothing until they are written. */
static void *own_alloc(void *user, uint64_t bytes, uint64_t alignment) {
    (void)user;
    if (bytes > SIZE_MAX - alignment - sizeof(void *))
        return NULL;
    unsigned char *raw = calloc(1, bytes + alignment + sizeof(void *));
    if (!raw)
        return NULL;
    uintptr_t start = ((uintptr_t)raw + sizeof(void *) + alignment - 1) / alignment * alignment;
    unsigned char *aligned = raw + (start - (uintptr_t)raw);
    memcpy(aligned - sizeof(void *), &raw, sizeof raw);
    return aligned;
}

static void own_free(void *user, void *pointer) {
    unsigned char *raw;
    (void)user;
    if (!pointer)
        return;
    memcpy(&raw, (unsigned char *)pointer - sizeof raw, sizeof raw);
    free(raw);
}

static uint64_t own_clock_ns(void *user) {
    struct timespec t;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void ref_services_copy(ref_services *services) {
    pthread_mutex_lock(&services_mutex);
    *services = current_services;
    pthread_mutex_unlock(&services_mutex);
}

/* ---- the machine ---- */

uint32_t ref_n_core(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n < 1 ? 1 : n > (int)REF_MAX_THREADS ? REF_MAX_THREADS : (uint32_t)n;
}

/* The value of the first line of a /proc file that begins with `key`, without blanks around it. */
static int proc_value(const char *path, const char *key, char *value, size_t n) {
    char line[512];
    int found = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (!found && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0)
            continue;
        char *begin = colon + 1 + strspn(colon + 1, " \t");
        begin[strcspn(begin, "\n")] = 0;
        snprintf(value, n, "%s", begin);
        found = 1;
    }
    fclose(file);
    return found;
}

uint64_t ref_system_memory(uint64_t *free_bytes) {
    struct sysinfo info;
    char text[64];
    *free_bytes = 0;
    if (sysinfo(&info) != 0)
        return INT64_MAX;
    *free_bytes = (uint64_t)info.freeram * info.mem_unit;
    if (proc_value("/proc/meminfo", "MemAvailable", text, sizeof text)) /* counts page cache that can go */
        *free_bytes = strtoull(text, NULL, 10) * 1024;
    return (uint64_t)info.totalram * info.mem_unit;
}

/* FNV-1a, twice with different starts. */
static void uuid_of(const char *name, uint8_t uuid[16]) {
    for (int half = 0; half < 2; half++) {
        uint64_t h = 0xcbf29ce484222325u + (uint64_t)half;
        for (const char *c = name; *c; c++)
            h = (h ^ (unsigned char)*c) * 0x100000001b3u;
        memcpy(uuid + 8 * half, &h, 8);
    }
}

/* ---- devices ---- */

static tandem_status device_count(uint32_t *n, tandem_error *error) {
    if (!n)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "n is NULL");
    *n = 1;
    return TANDEM_OK;
}

static tandem_status device_info(uint32_t device, tandem_device_info *info, tandem_error *error) {
    if (device != 0)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "device %u does not exist; the reference plugin has device 0 only", device);
    tandem_device_info known = {
        .kind = TANDEM_DEVICE_SOFTWARE,
        .matrix_paths = TANDEM_MATRIX_FMA,
        .matrix_used = TANDEM_MATRIX_FMA,
        .pci_domain = TANDEM_NONE,
        .subgroup_size = 1,
        .n_units = ref_n_core(),
    };
    struct utsname machine;
    if (!proc_value("/proc/cpuinfo", "model name", known.name, sizeof known.name))
        snprintf(known.name, sizeof known.name, "CPU (%s)",
                 uname(&machine) == 0 ? machine.machine : "unknown");
    known.memory_total = known.max_allocation = ref_system_memory(&known.memory_free);
    uuid_of(known.name, known.uuid);
    snprintf(known.driver, sizeof known.driver, "tandem reference %s", TANDEM_PLUGIN_VERSION);
    snprintf(known.abilities, sizeof known.abilities,
             "sums in double, precisions exact f16 q8, dot products %s", ref_dot_avx2() ? "avx2" : "plain");
    return TANDEM_KIT_GIVE(tandem_device_info, info, &known, error);
}

static const void *get_interface(const char *name) {
    (void)name;
    return NULL;
}

/* ---- the table ---- */

static const tandem_descriptor descriptor = {
    .struct_size = sizeof descriptor,
    .flags = TANDEM_PLUGIN_UNLOADABLE,
    .name = "reference",
    .version = TANDEM_PLUGIN_VERSION,
    .git = TANDEM_GIT,
    .toolchain = TANDEM_TOOLCHAIN,
    .targets = "the host's processor",
    .shaders = "none",
    .needs = "nothing",
};

const tandem_backend ref_backend = {
    .struct_size = sizeof ref_backend,
    .abi_major = TANDEM_ABI_MAJOR,
    .abi_minor = TANDEM_ABI_MINOR,
    .descriptor = &descriptor,
    .device_count = device_count,
    .device_info = device_info,
    .get_interface = get_interface,
    .context_create = ref_context_create,
    .context_destroy = ref_context_destroy,
    .context_memory = ref_context_memory,
    .supports = ref_supports,
    .buffer_create = ref_buffer_create,
    .buffer_destroy = ref_buffer_destroy,
    .buffer_info = ref_buffer_info,
    .buffer_write = ref_buffer_write,
    .buffer_read = ref_buffer_read,
    .weights_create = ref_weights_create,
    .weights_destroy = ref_weights_destroy,
    .weights_info = ref_weights_info,
    .weights_matrix = ref_weights_matrix,
    .weights_write = ref_weights_write,
    .weights_place = ref_weights_place,
    .kv_create = ref_kv_create,
    .kv_destroy = ref_kv_destroy,
    .kv_info = ref_kv_info,
    .kv_layer = ref_kv_layer_info,
    .kv_length = ref_kv_length,
    .kv_truncate = ref_kv_truncate,
    .kv_copy_slot = ref_kv_copy_slot,
    .kv_fill = ref_kv_fill,
    .kv_export_bytes = ref_kv_export_bytes,
    .kv_export = ref_kv_export,
    .kv_import = ref_kv_import,
    .kv_read = ref_kv_read,
    .program_create = ref_program_create,
    .program_destroy = ref_program_destroy,
    .program_step_count = ref_program_step_count,
    .program_step = ref_program_step,
    .program_cost = ref_program_cost,
    .run = ref_run,
    .wait = ref_wait,
    .times = ref_times,
    .step_times = ref_step_times,
};

/* ---- the query ---- */

static tandem_status take_options(const tandem_host *host, ref_services *services) {
    for (uint32_t i = 0; i < host->n_options; i++) {
        const char *option = host->options[i];
        if (!option)
            return tandem_kit_fail(host->error, TANDEM_E_INVALID, "tandem_host.options[%u] is NULL", i);
        const char *name = strncmp(option, "reference.", 10) == 0 ? option + 10 : option;
        if (strcmp(name, "rope=exact") == 0)
            services->rope_f32 = 0;
        else if (strcmp(name, "rope=f32") == 0)
            services->rope_f32 = 1;
        else
            return tandem_kit_fail(
                host->error, TANDEM_E_UNSUPPORTED,
                "the reference plugin has no option '%.100s'; it knows rope=exact and rope=f32", option);
    }
    return TANDEM_OK;
}

TANDEM_EXPORT tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    tandem_host h;
    if (!backend || backend->struct_size < TANDEM_KIT_END(tandem_backend, abi_minor))
        return TANDEM_E_INVALID;
    /* First of all: from these a host of another version makes its own sentence. */
    backend->abi_major = TANDEM_ABI_MAJOR;
    backend->abi_minor = TANDEM_ABI_MINOR;
    tandem_status status = tandem_kit_check_host(host, &h);
    if (status != TANDEM_OK)
        return status;
    if (!h.alloc != !h.free)
        return tandem_kit_fail(h.error, TANDEM_E_INVALID, "tandem_host has only one of alloc and free");

    ref_services services = {
        .user = h.user,
        .alloc = h.alloc ? h.alloc : own_alloc,
        .free = h.alloc ? h.free : own_free,
        .alloc_zeroes = !h.alloc,
        .clock_ns = h.clock_ns ? h.clock_ns : own_clock_ns,
    };
    status = take_options(&h, &services);
    if (status != TANDEM_OK)
        return status;
    status = tandem_kit_give(backend, &ref_backend, sizeof ref_backend,
                             TANDEM_KIT_END(tandem_backend, step_times), h.error, "tandem_backend");
    if (status != TANDEM_OK)
        return status;
    pthread_mutex_lock(&services_mutex);
    current_services = services;
    pthread_mutex_unlock(&services_mutex);
    return TANDEM_OK;
}
