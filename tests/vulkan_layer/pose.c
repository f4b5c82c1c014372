/* pose.c: the table of poses, and the text that chooses and changes one.
 *
 * Figures are those that the vendors' drivers report, rounded where the exact one depends on the machine.
 */
#include "pose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ull << 20)
#define GIB (1ull << 30)

#define LOCAL VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT
#define VISIBLE (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define CACHED VK_MEMORY_PROPERTY_HOST_CACHED_BIT
#define UNCACHED_AMD (VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD)
#define LOCAL_HEAP VK_MEMORY_HEAP_DEVICE_LOCAL_BIT

static const pose poses[] = {
    /* A card of 12 GB in a machine without resizable BAR: the host reaches 256 MiB, a heap of its own. */
    {.name = "rtx3060",
     .device_name = "NVIDIA GeForce RTX 3060",
     .driver_name = "NVIDIA",
     .driver_info = "550.163.01",
     .device_type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     .driver_id = VK_DRIVER_ID_NVIDIA_PROPRIETARY,
     .vendor_id = 0x10de,
     .device_id = 0x2504,
     .api_minor = 3,
     .n_heap = 3,
     .heaps = {{12 * GIB, LOCAL_HEAP}, {16 * GIB, 0}, {256 * MIB, LOCAL_HEAP}},
     .used_elsewhere = {512 * MIB, 0, 16 * MIB},
     .n_type = 5,
     .types = {{0, 1}, {LOCAL, 0}, {VISIBLE, 1}, {VISIBLE | CACHED, 1}, {LOCAL | VISIBLE, 2}},
     .max_allocations = 4096,
     .max_allocation = 4 * GIB - 2 * MIB,
     .max_buffer = 4 * GIB - 2 * MIB,
     .max_range = UINT32_MAX,
     .timestamp_bits = 64,
     .timestamp_period = 1,
     .n_sm = 28,
     .subgroup_size = 32,
     .subgroup_min = 32,
     .subgroup_max = 32,
     .dot_accelerated = 1,
     .budget = 1,
     .pci = 1},
    /* A card of 24 GB all of which the host reaches. */
    {.name = "rtx4090",
     .device_name = "NVIDIA GeForce RTX 4090",
     .driver_name = "NVIDIA",
     .driver_info = "550.163.01",
     .device_type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     .driver_id = VK_DRIVER_ID_NVIDIA_PROPRIETARY,
     .vendor_id = 0x10de,
     .device_id = 0x2684,
     .api_minor = 3,
     .n_heap = 2,
     .heaps = {{24 * GIB, LOCAL_HEAP}, {16 * GIB, 0}},
     .used_elsewhere = {GIB, 0},
     .n_type = 5,
     .types = {{0, 1}, {LOCAL, 0}, {VISIBLE, 1}, {VISIBLE | CACHED, 1}, {LOCAL | VISIBLE, 0}},
     .max_allocations = 4096,
     .max_allocation = 4 * GIB - 2 * MIB,
     .max_buffer = 4 * GIB - 2 * MIB,
     .max_range = UINT32_MAX,
     .timestamp_bits = 64,
     .timestamp_period = 1,
     .n_sm = 128,
     .subgroup_size = 32,
     .subgroup_min = 32,
     .subgroup_max = 32,
     .dot_accelerated = 1,
     .budget = 1,
     .pci = 1},
    /* An RDNA2 card under RADV without resizable BAR. */
    {.name = "rx6700xt",
     .device_name = "AMD Radeon RX 6700 XT (RADV NAVI22)",
     .driver_name = "radv",
     .driver_info = "Mesa 25.0.7",
     .device_type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     .driver_id = VK_DRIVER_ID_MESA_RADV,
     .vendor_id = 0x1002,
     .device_id = 0x73df,
     .api_minor = 3,
     .n_heap = 3,
     .heaps = {{12 * GIB - 256 * MIB, LOCAL_HEAP}, {12 * GIB, 0}, {256 * MIB, LOCAL_HEAP}},
     .used_elsewhere = {GIB, 64 * MIB, 32 * MIB},
     .n_type = 7,
     .types = {{LOCAL, 0},
               {VISIBLE, 1},
               {LOCAL | VISIBLE, 2},
               {VISIBLE | CACHED, 1},
               {LOCAL | UNCACHED_AMD, 0},
               {LOCAL | VISIBLE | UNCACHED_AMD, 2},
               {VISIBLE | CACHED | UNCACHED_AMD, 1}},
     .max_allocations = 4096,
     .max_allocation = 2 * GIB,
     .max_buffer = 2 * GIB,
     .max_range = UINT32_MAX,
     .timestamp_bits = 64,
     .timestamp_period = 10,
     .n_cu = 40,
     .cu_extension = 2,
     .subgroup_size = 64,
     .subgroup_min = 32,
     .subgroup_max = 64,
     .dot_accelerated = 1,
     .budget = 1,
     .pci = 1},
    /* A processor's graphics under RADV: two thirds of the memory are called the device's, and the host
     * reaches all of it. */
    {.name = "radeon780m",
     .device_name = "AMD Radeon 780M (RADV PHOENIX)",
     .driver_name = "radv",
     .driver_info = "Mesa 25.0.7",
     .device_type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
     .driver_id = VK_DRIVER_ID_MESA_RADV,
     .vendor_id = 0x1002,
     .device_id = 0x15bf,
     .api_minor = 3,
     .n_heap = 2,
     .heaps = {{5 * GIB, 0}, {10 * GIB, LOCAL_HEAP}},
     .used_elsewhere = {0, 512 * MIB},
     .n_type = 4,
     .types = {{LOCAL, 1}, {VISIBLE, 0}, {LOCAL | VISIBLE, 1}, {VISIBLE | CACHED, 0}},
     .max_allocations = 4096,
     .max_allocation = 2 * GIB,
     .max_buffer = 2 * GIB,
     .max_range = UINT32_MAX,
     .timestamp_bits = 64,
     .timestamp_period = 10,
     .n_cu = 12,
     .cu_extension = 1,
     .subgroup_size = 64,
     .subgroup_min = 32,
     .subgroup_max = 64,
     .dot_accelerated = 1,
     .budget = 1,
     .pci = 1},
    /* A processor's graphics: one heap, timestamps of 36 bits, and no extension that tells the units. */
    {.name = "iris-xe",
     .device_name = "Intel(R) Iris(R) Xe Graphics (TGL GT2)",
     .driver_name = "Intel open-source Mesa driver",
     .driver_info = "Mesa 25.0.7",
     .device_type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU,
     .driver_id = VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
     .vendor_id = 0x8086,
     .device_id = 0x9a49,
     .api_minor = 3,
     .n_heap = 1,
     .heaps = {{12 * GIB, LOCAL_HEAP}},
     .used_elsewhere = {2 * GIB},
     .n_type = 2,
     .types = {{LOCAL | VISIBLE, 0}, {LOCAL | VISIBLE | CACHED, 0}},
     .max_allocations = 4096,
     .max_allocation = 4 * GIB - 4096,
     .max_buffer = 4 * GIB - 4096,
     .max_range = UINT32_MAX,
     .timestamp_bits = 36,
     .timestamp_period = 52.0833,
     .subgroup_size = 32,
     .subgroup_min = 8,
     .subgroup_max = 32,
     .dot_accelerated = 1,
     .budget = 1,
     .pci = 1},
    /* What Vulkan 1.2 guarantees of what tandem uses, and nothing else. */
    {.name = "minimal",
     .device_name = "Minimal GPU",
     .driver_name = "minimal",
     .driver_info = "1",
     .device_type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
     .driver_id = VK_DRIVER_ID_AMD_PROPRIETARY,
     .vendor_id = 0x1234,
     .device_id = 0x5678,
     .api_minor = 2,
     .n_heap = 2,
     .heaps = {{2 * GIB, LOCAL_HEAP}, {4 * GIB, 0}},
     .n_type = 2,
     .types = {{LOCAL, 0}, {VISIBLE, 1}},
     .max_allocations = 4096,
     .max_allocation = GIB,
     .max_buffer = GIB,
     .max_range = 128 * MIB,
     .timestamp_bits = 36,
     .timestamp_period = 83.3333,
     .subgroup_size = 32,
     .subgroup_min = 32,
     .subgroup_max = 32,
     .hidden = POSE_INT64 | POSE_INT16 | POSE_INT8 | POSE_FLOAT16 | POSE_STORAGE8 | POSE_STORAGE16 |
               POSE_DOT | POSE_SUBGROUP_CONTROL | POSE_COOPMAT | POSE_MAINTENANCE4},
};

static const struct {
    const char *name;
    uint32_t bit;
} features[] = {
    {"int64", POSE_INT64},       {"int16", POSE_INT16},
    {"int8", POSE_INT8},         {"float16", POSE_FLOAT16},
    {"storage8", POSE_STORAGE8}, {"storage16", POSE_STORAGE16},
    {"dot", POSE_DOT},           {"subgroup_control", POSE_SUBGROUP_CONTROL},
    {"coopmat", POSE_COOPMAT},   {"maintenance4", POSE_MAINTENANCE4},
};

/* A number of bytes with a suffix; 0: it is none. */
static int parse_bytes(const char *text, uint64_t *bytes) {
    char *end;
    *bytes = strtoull(text, &end, 10);
    if (end == text)
        return 0;
    switch (*end) {
    case 'K':
        *bytes <<= 10;
        end++;
        break;
    case 'M':
        *bytes <<= 20;
        end++;
        break;
    case 'G':
        *bytes <<= 30;
        end++;
        break;
    default:
        break;
    }
    return *end == 0;
}

static int hide(pose *p, const char *name) {
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        if (strcmp(name, features[i].name) == 0) {
            p->hidden |= features[i].bit;
            return 1;
        }
    return 0;
}

static int set_heap(pose *p, const char *key, const char *prefix, uint64_t bytes) {
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0 || key[n] < '0' || key[n + 1] != 0)
        return 0;
    uint32_t heap = (uint32_t)(key[n] - '0');
    if (heap >= p->n_heap)
        return 0;
    if (strcmp(prefix, "heap") == 0)
        p->heaps[heap].size = bytes;
    else
        p->used_elsewhere[heap] = bytes;
    return 1;
}

static int set_number(pose *p, const char *key, uint64_t n) {
    const struct {
        const char *name;
        uint32_t *small;
        uint64_t *large;
    } members[] = {
        {"alloc_count", &p->max_allocations, NULL},
        {"max_allocation", NULL, &p->max_allocation},
        {"max_buffer", NULL, &p->max_buffer},
        {"granularity", NULL, &p->granularity},
        {"bits", &p->timestamp_bits, NULL},
        {"sm", &p->n_sm, NULL},
        {"cu", &p->n_cu, NULL},
        {"cu_extension", &p->cu_extension, NULL},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (strcmp(key, members[i].name) != 0)
            continue;
        if (members[i].small)
            *members[i].small = (uint32_t)n;
        else
            *members[i].large = n;
        return 1;
    }
    if (strcmp(key, "budget") == 0)
        p->budget = n != 0;
    else
        return set_heap(p, key, "heap", n) || set_heap(p, key, "used", n);
    return 1;
}

static int set_member(pose *p, const char *key, const char *value) {
    uint64_t n;
    if (strcmp(key, "hide") == 0)
        return hide(p, value);
    if (strcmp(key, "wrap") == 0) {
        p->wrap = strcmp(value, "run") == 0 ? POSE_WRAP_RUN : POSE_WRAP_GAP;
        return strcmp(value, "run") == 0 || strcmp(value, "gap") == 0;
    }
    if (strcmp(key, "subgroup") == 0) {
        p->subgroup_posed = 1;
        return strcmp(value, "posed") == 0;
    }
    if (strcmp(key, "period") == 0) {
        p->timestamp_period = strtod(value, NULL);
        return p->timestamp_period > 0;
    }
    return parse_bytes(value, &n) && set_number(p, key, n);
}

int pose_parse(pose *out, const char *text, char *message, uint32_t room) {
    char copy[512], *rest = copy;
    const pose *found = NULL;
    if (!text || (size_t)snprintf(copy, sizeof copy, "%s", text) >= sizeof copy) {
        snprintf(message, room, "TANDEM_POSE is %s", text ? "too long" : "not set");
        return 0;
    }
    const char *name = strsep(&rest, ",");
    for (size_t i = 0; i < sizeof poses / sizeof poses[0]; i++)
        if (strcmp(name, poses[i].name) == 0)
            found = &poses[i];
    if (!found) {
        snprintf(message, room, "TANDEM_POSE names no pose: %s", name);
        return 0;
    }
    *out = *found;
    while (rest) {
        const char *key = strsep(&rest, ",");
        char *value = strchr(key, '=');
        if (value)
            *value++ = 0;
        if (!value || !set_member(out, key, value)) {
            snprintf(message, room, "TANDEM_POSE: %s=%s cannot be set", key, value ? value : "");
            return 0;
        }
    }
    return 1;
}
