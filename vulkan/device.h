/* device.h: what a physical device offers, and whether tandem can use it.
 *
 * Needed: Vulkan 1.2, bufferDeviceAddress, timelineSemaphore, subgroup shuffles in compute shaders, and a
 * compute queue with timestamps. Everything else is a rung above, found here and shown in
 * `abilities`.
 */
#ifndef VK_DEVICE_H
#define VK_DEVICE_H

#include "driver.h"
#include "policy.h"

typedef struct vk_device {
    VkPhysicalDevice physical;
    tandem_device_info info;
    char unusable[160]; /* the reason, a sentence; "": usable */
    uint32_t api_version;
    uint32_t queue_family;
    uint32_t timestamp_bits;
    float timestamp_period;
    uint32_t max_local; /* most threads of a work-group */
    uint32_t subgroup_min;
    uint32_t subgroup_max;
    uint64_t max_allocation; /* bytes of one buffer and its memory */
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t heap; /* the largest of the device's own: all that has placement DEVICE lies there */
    uint8_t driver_uuid[VK_UUID_SIZE];
    uint8_t cache_uuid[VK_UUID_SIZE];
    uint64_t host_window; /* bytes of device memory that the host can map */
    int unified;          /* device memory is host memory: write it directly */
    int subgroup_control;
    int subgroup_control_core; /* in Vulkan 1.3, else by the extension */
    int dot;
    int dot_core;
    int dot_accelerated;
    int int8, int64;
    int storage8, storage16;
    int f16;
    int coopmat_khr, coopmat_nv, coopmat_nv2;
    int memory_budget;
    int pci;
    int is_lavapipe;
    int uniform_control_flow; /* VK_KHR_shader_subgroup_uniform_control_flow */
    vk_policy policy;         /* how kernels run on it */
} vk_device;

/* All physical devices, usable or not, at most VK_MAX_DEVICES, in an order that never changes until unload.
 * NO_DEVICE: there is none. [any-thread] */
tandem_status vk_devices_find(const vk_instance *instance, vk_device *devices, uint32_t *n,
                              tandem_error *error);

/* Bytes that this process can still have of device->heap: by the driver's budget, else all of it. */
uint64_t vk_device_free(const vk_instance *instance, const vk_device *device);

/* The ABI's functions of the same names. [any-thread] */
tandem_status gpu_device_count(uint32_t *n, tandem_error *error);
tandem_status gpu_device_info(uint32_t device, tandem_device_info *info, tandem_error *error);

#endif
