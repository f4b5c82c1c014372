/* pose.h: the device that the layer pretends to have, and what tests may ask about it afterwards.
 *
 * TANDEM_POSE names a pose of the table in pose.c and changes single members of it:
 *
 *     TANDEM_POSE=rtx3060,heap0=64M,alloc_count=32,wrap=run
 *
 *     heapN=BYTES          size of heap N (suffixes K, M, G)
 *     usedN=BYTES          what other processes hold of heap N, by the memory budget
 *     alloc_count=N        maxMemoryAllocationCount
 *     max_allocation=BYTES maxMemoryAllocationSize; max_buffer=BYTES: maxBufferSize
 *     granularity=BYTES    memory requirements are rounded up to this
 *     bits=N, period=NS    timestampValidBits and timestampPeriod
 *     wrap=run|gap         timestamps wrap in the middle, or right after the end, of what is read first
 *     sm=N, cu=N           multiprocessors by NVIDIA's extension, compute units by AMD's; 0: no such
 * extension cu_extension=1|2     which of AMD's extensions tells the compute units budget=0|1
 * VK_EXT_memory_budget subgroup=posed       the pose's subgroup sizes instead of the driver's own. Shaders
 * then compute with the wrong number of lanes: for what does not look at results hide=NAME            one
 * more feature is missing: int64, int16, int8, float16, storage8, storage16, dot, subgroup_control, coopmat,
 * maintenance4; repeatable
 */
#ifndef TANDEM_POSE_H
#define TANDEM_POSE_H

#include <stdint.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#define POSE_LAYER "VK_LAYER_TANDEM_pose"
#define POSE_MAX_HEAP 4u
#define POSE_MAX_TYPE 8u

/* Features that a pose can lack. */
#define POSE_INT64 (1u << 0)
#define POSE_INT16 (1u << 1)
#define POSE_INT8 (1u << 2)
#define POSE_FLOAT16 (1u << 3)
#define POSE_STORAGE8 (1u << 4)
#define POSE_STORAGE16 (1u << 5)
#define POSE_DOT (1u << 6)
#define POSE_SUBGROUP_CONTROL (1u << 7)
#define POSE_COOPMAT (1u << 8)
#define POSE_MAINTENANCE4 (1u << 9)

typedef enum pose_wrap { POSE_WRAP_NONE, POSE_WRAP_RUN, POSE_WRAP_GAP } pose_wrap;

typedef struct pose {
    const char *name;
    const char *device_name, *driver_name, *driver_info;
    VkPhysicalDeviceType device_type;
    VkDriverId driver_id;
    uint32_t vendor_id, device_id;
    uint32_t api_minor; /* of Vulkan 1.x */
    uint32_t n_heap;
    VkMemoryHeap heaps[POSE_MAX_HEAP];
    uint64_t used_elsewhere[POSE_MAX_HEAP];
    uint32_t n_type;
    VkMemoryType types[POSE_MAX_TYPE];
    uint32_t max_allocations;
    uint64_t max_allocation, max_buffer;
    uint64_t granularity;
    uint32_t max_range; /* maxStorageBufferRange */
    uint32_t timestamp_bits;
    double timestamp_period;
    pose_wrap wrap;
    uint32_t n_sm, n_cu;   /* 0: no extension tells it */
    uint32_t cu_extension; /* 1: VK_AMD_shader_core_properties, 2: and its second version */
    uint32_t subgroup_size, subgroup_min, subgroup_max;
    int subgroup_posed;
    int dot_accelerated;
    int budget, pci;
    uint32_t hidden; /* POSE_* features that are missing */
} pose;

/* What happened since the layer was loaded; the process-wide state of the pretended memory. From
 * dlsym(layer, "tandem_pose_counters"). */
typedef struct pose_counters {
    uint64_t heap_used[POSE_MAX_HEAP];
    uint64_t heap_peak[POSE_MAX_HEAP];
    uint32_t n_allocation, peak_allocation;
    uint32_t n_full;      /* allocations refused because their heap was full */
    uint32_t n_too_many;  /* because there were too many */
    uint32_t n_too_large; /* allocations and buffers refused because of their size */
    uint32_t n_map_refused;
    uint32_t n_module_refused; /* shader modules with a capability that the device lacks or that is off */
    uint32_t n_wrap;           /* results of queries that crossed the wrap of the timestamps */
} pose_counters;

typedef pose_counters *(*pose_counters_function)(void);

/* Fills `out` from the text of TANDEM_POSE; 0: the text is wrong, and `message` says why. */
int pose_parse(pose *out, const char *text, char *message, uint32_t room);

#endif
