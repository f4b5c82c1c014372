/* pipelines_layer.h: the two halves of the layer that reads what a driver's compiler made
 * (pipelines_layer.c). */
#ifndef PIPELINES_LAYER_H
#define PIPELINES_LAYER_H

#include <vulkan/vk_layer.h>

/* pipelines_null.c: what stands in for everything but pipelines of a device that cannot run anything. NULL:
 * the driver's own function will do. */
PFN_vkVoidFunction null_device_function(const char *name);
void null_device_memory(VkPhysicalDeviceMemoryProperties2 *properties);

#endif
