/* driver.h: libvulkan.so.1 opened at run time, the instance that is shared by all contexts, and the fault
 * hook.
 *
 * Nothing links against Vulkan: the plugin loads everywhere and says what is missing. The instance lives
 * while somebody holds it (vk_instance_acquire), so that the plugin leaves nothing behind and a new one is
 * made after a device is lost.
 */
#ifndef VK_DRIVER_H
#define VK_DRIVER_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <tandem/device.h>

#include "error.h"

#define VK_INSTANCE_FUNCTIONS(X)                                                                             \
    X(DestroyInstance)                                                                                       \
    X(EnumeratePhysicalDevices)                                                                              \
    X(EnumerateDeviceExtensionProperties)                                                                    \
    X(GetPhysicalDeviceProperties)                                                                           \
    X(GetPhysicalDeviceProperties2)                                                                          \
    X(GetPhysicalDeviceFeatures2)                                                                            \
    X(GetPhysicalDeviceMemoryProperties2)                                                                    \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                                \
    X(CreateDevice)                                                                                          \
    X(GetDeviceProcAddr)

#define VK_DEVICE_FUNCTIONS(X)                                                                               \
    X(DestroyDevice)                                                                                         \
    X(GetDeviceQueue)                                                                                        \
    X(DeviceWaitIdle)                                                                                        \
    X(AllocateMemory)                                                                                        \
    X(FreeMemory)                                                                                            \
    X(MapMemory)                                                                                             \
    X(CreateBuffer)                                                                                          \
    X(DestroyBuffer)                                                                                         \
    X(GetBufferMemoryRequirements)                                                                           \
    X(BindBufferMemory)                                                                                      \
    X(GetBufferDeviceAddress)                                                                                \
    X(CreateCommandPool)                                                                                     \
    X(DestroyCommandPool)                                                                                    \
    X(AllocateCommandBuffers)                                                                                \
    X(FreeCommandBuffers)                                                                                    \
    X(ResetCommandBuffer)                                                                                    \
    X(BeginCommandBuffer)                                                                                    \
    X(EndCommandBuffer)                                                                                      \
    X(QueueSubmit)                                                                                           \
    X(CreateSemaphore)                                                                                       \
    X(DestroySemaphore)                                                                                      \
    X(WaitSemaphores)                                                                                        \
    X(GetSemaphoreCounterValue)                                                                              \
    X(CreateQueryPool)                                                                                       \
    X(DestroyQueryPool)                                                                                      \
    X(GetQueryPoolResults)                                                                                   \
    X(CreateShaderModule)                                                                                    \
    X(DestroyShaderModule)                                                                                   \
    X(CreatePipelineLayout)                                                                                  \
    X(DestroyPipelineLayout)                                                                                 \
    X(CreatePipelineCache)                                                                                   \
    X(DestroyPipelineCache)                                                                                  \
    X(GetPipelineCacheData)                                                                                  \
    X(CreateComputePipelines)                                                                                \
    X(DestroyPipeline)                                                                                       \
    X(CmdBindPipeline)                                                                                       \
    X(CmdPushConstants)                                                                                      \
    X(CmdDispatch)                                                                                           \
    X(CmdDispatchIndirect)                                                                                   \
    X(CmdPipelineBarrier)                                                                                    \
    X(CmdCopyBuffer)                                                                                         \
    X(CmdFillBuffer)                                                                                         \
    X(CmdUpdateBuffer)                                                                                       \
    X(CmdResetQueryPool)                                                                                     \
    X(CmdWriteTimestamp)

#define VK_DECLARE(name) PFN_vk##name name;

typedef struct vk_device_table {
    VK_DEVICE_FUNCTIONS(VK_DECLARE)
} vk_device_table;

typedef struct vk_instance {
    void *library;
    VkInstance handle;
    VkDebugUtilsMessengerEXT messenger;
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    PFN_vkDestroyDebugUtilsMessengerEXT DestroyDebugUtilsMessengerEXT;
    VK_INSTANCE_FUNCTIONS(VK_DECLARE)
} vk_instance;

#undef VK_DECLARE

/* Makes the n-th fallible driver call from now on (1: the next) return `result` without reaching the driver.
 */
typedef struct vk_fault {
    atomic_uint_fast64_t countdown; /* 0: off */
    atomic_int result;
    atomic_uint_fast64_t n_calls; /* fallible calls since the last arming */
} vk_fault;

#define VK_MAX_DEVICES 32u

/* What tells physical devices apart. */
typedef struct vk_device_key {
    uint8_t uuid[VK_UUID_SIZE];
    uint32_t vendor_id, device_id;
} vk_device_key;

/* What the plugin keeps from load to unload: the options, and the shared instance. */
typedef struct vk_plugin {
    int validation;       /* option vulkan.validation: the Khronos layer with synchronization validation */
    int gpu_assisted;     /* option vulkan.gpu_assisted: and instrumented shaders */
    int staged;           /* option vulkan.staged: treat unified memory like a card's, for tests */
    uint32_t shape;       /* option vulkan.shape: VK_SHAPE_*, whatever the device, for tests */
    char cache_dir[512];  /* "": none */
    pthread_mutex_t lock; /* guards what follows */
    vk_instance instance;
    uint32_t n_users;
    vk_device_key order[VK_MAX_DEVICES]; /* devices as listed first in this process */
    uint32_t n_order;
    atomic_uint n_messages; /* validation warnings and errors so far */
    vk_fault fault;
} vk_plugin;

extern vk_plugin vk_the_plugin;

/* The shared instance, made on first use. NO_DEVICE: no loader, no driver, or the validation layer that was
 * asked for is missing. [any-thread] */
tandem_status vk_instance_acquire(const vk_instance **instance, tandem_error *error);
void vk_instance_release(void);

#endif
