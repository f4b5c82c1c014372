/* layer.h: the inside of the layer: what is known of instances and devices, found by their dispatch key. */
#ifndef TANDEM_POSE_LAYER_H
#define TANDEM_POSE_LAYER_H

#include "pose.h"

#include <vulkan/vk_layer.h>

#include <pthread.h>
#include <stddef.h>

#define LAYER_INSTANCE_FUNCTIONS(X)                                                                          \
    X(DestroyInstance)                                                                                       \
    X(EnumerateDeviceExtensionProperties)                                                                    \
    X(GetPhysicalDeviceProperties)                                                                           \
    X(GetPhysicalDeviceProperties2)                                                                          \
    X(GetPhysicalDeviceFeatures)                                                                             \
    X(GetPhysicalDeviceFeatures2)                                                                            \
    X(GetPhysicalDeviceMemoryProperties)                                                                     \
    X(GetPhysicalDeviceMemoryProperties2)                                                                    \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                                \
    X(GetPhysicalDeviceQueueFamilyProperties2)                                                               \
    X(CreateDevice)

#define LAYER_DEVICE_FUNCTIONS(X)                                                                            \
    X(DestroyDevice)                                                                                         \
    X(CreateBuffer)                                                                                          \
    X(GetBufferMemoryRequirements)                                                                           \
    X(GetBufferMemoryRequirements2)                                                                          \
    X(AllocateMemory)                                                                                        \
    X(FreeMemory)                                                                                            \
    X(MapMemory)                                                                                             \
    X(CreateShaderModule)                                                                                    \
    X(CreateComputePipelines)                                                                                \
    X(CreateQueryPool)                                                                                       \
    X(DestroyQueryPool)                                                                                      \
    X(GetQueryPoolResults)

#define LAYER_DECLARE(function) PFN_vk##function function;

typedef struct layer_instance {
    struct layer_instance *next;
    void *key;
    VkInstance handle;
    PFN_vkGetInstanceProcAddr get;
    pose pose;
    LAYER_INSTANCE_FUNCTIONS(LAYER_DECLARE)
} layer_instance;

/* A handle that the layer remembers: memory with its heap, or a pool of timestamps. */
typedef struct layer_handle {
    struct layer_handle *next;
    uint64_t handle;
    uint64_t bytes;
    uint32_t type; /* of memory, as pretended */
} layer_handle;

typedef struct layer_device {
    struct layer_device *next;
    void *key;
    VkDevice handle;
    PFN_vkGetDeviceProcAddr get;
    pose pose;
    uint32_t enabled;      /* POSE_* features that vkCreateDevice turned on */
    uint32_t real_lanes;   /* the driver's own subgroup size */
    layer_handle *memory;  /* alive */
    uint32_t n_memory;     /* their number */
    layer_handle *queries; /* pools of timestamps */
    int timeline_known;    /* timestamps: ticks = first_tick + (ns - first_ns) / period, modulo 2^bits */
    uint64_t first_ns, first_tick;
    LAYER_DEVICE_FUNCTIONS(LAYER_DECLARE)
} layer_device;

#undef LAYER_DECLARE

extern pthread_mutex_t layer_lock; /* guards the lists, the handles and the counters */
extern pose_counters layer_counters;

/* Loader handles start with the pointer to their dispatch table, which physical devices share with their
 * instance, and queues and command buffers with their device. */
layer_instance *layer_instance_of(void *handle);
layer_device *layer_device_of(void *handle);

/* One sentence on standard error: what the application did that the pretended device does not allow. */
__attribute__((format(printf, 1, 2))) void layer_complain(const char *format, ...);

/* ---- queries.c: what the physical device says of itself ---- */

VkResult layer_create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                             const VkAllocationCallbacks *allocator, VkDevice *result);
PFN_vkVoidFunction layer_query_function(const char *name);

/* ---- features.c: features and extensions that the pose lacks ---- */

/* POSE_* features of a chain of feature structs; those in `clear` are turned off in it. */
uint32_t layer_features(void *chain, uint32_t clear);
/* Of VkPhysicalDeviceFeatures. */
uint32_t layer_core_features(VkPhysicalDeviceFeatures *features, uint32_t clear);
/* 1: the pose does not have this extension. */
int layer_extension_is_hidden(const pose *p, const char *name);
/* Extensions that the pose has and the driver lacks; at most 5. */
uint32_t layer_added_extensions(const pose *p, const char **names);
/* The features that a module's capabilities need. `needed` is 0 for code that is no SPIR-V. */
uint32_t layer_module_features(const VkShaderModuleCreateInfo *info);
const char *layer_feature_name(uint32_t feature);

/* ---- device.c: what the device allows ---- */

void layer_device_end(layer_device *device);
PFN_vkVoidFunction layer_device_function(const char *name);

#endif
