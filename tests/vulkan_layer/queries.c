/* queries.c: what the physical device says of itself: properties, features, memory, queues, extensions. */
#include "layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- properties ---- */

static void pose_properties(const pose *p, VkPhysicalDeviceProperties *out) {
    out->apiVersion = VK_MAKE_API_VERSION(0, 1, p->api_minor, VK_API_VERSION_PATCH(out->apiVersion));
    out->vendorID = p->vendor_id;
    out->deviceID = p->device_id;
    out->deviceType = p->device_type;
    snprintf(out->deviceName, sizeof out->deviceName, "%s", p->device_name);
    out->limits.maxMemoryAllocationCount = p->max_allocations;
    out->limits.maxStorageBufferRange = p->max_range;
    out->limits.timestampPeriod = (float)p->timestamp_period;
    out->limits.timestampComputeAndGraphics = VK_TRUE;
}

static void pose_driver(const pose *p, VkDriverId *id, char *name, char *info) {
    *id = p->driver_id;
    snprintf(name, VK_MAX_DRIVER_NAME_SIZE, "%s", p->driver_name);
    snprintf(info, VK_MAX_DRIVER_INFO_SIZE, "%s", p->driver_info);
}

/* Shader engines of two arrays each, as large as the number of units allows. */
static void pose_core(const pose *p, VkPhysicalDeviceShaderCorePropertiesAMD *out) {
    out->shaderEngineCount = p->n_cu % 4 == 0 ? 2 : 1;
    out->shaderArraysPerEngineCount = p->n_cu % 2 == 0 ? 2 : 1;
    out->computeUnitsPerShaderArray = p->n_cu / (out->shaderEngineCount * out->shaderArraysPerEngineCount);
    out->wavefrontSize = p->subgroup_size;
}

static void pose_extended(const pose *p, VkBaseOutStructure *s) {
    switch ((uint32_t)s->sType) {
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES: {
        VkPhysicalDeviceVulkan11Properties *out = (VkPhysicalDeviceVulkan11Properties *)s;
        out->maxMemoryAllocationSize = p->max_allocation;
        if (p->subgroup_posed)
            out->subgroupSize = p->subgroup_size;
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES:
        ((VkPhysicalDeviceMaintenance3Properties *)s)->maxMemoryAllocationSize = p->max_allocation;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES: {
        VkPhysicalDeviceVulkan12Properties *out = (VkPhysicalDeviceVulkan12Properties *)s;
        pose_driver(p, &out->driverID, out->driverName, out->driverInfo);
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES: {
        VkPhysicalDeviceDriverProperties *out = (VkPhysicalDeviceDriverProperties *)s;
        pose_driver(p, &out->driverID, out->driverName, out->driverInfo);
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES: {
        VkPhysicalDeviceVulkan13Properties *out = (VkPhysicalDeviceVulkan13Properties *)s;
        out->maxBufferSize = p->max_buffer;
        out->integerDotProduct4x8BitPackedSignedAccelerated = (VkBool32)p->dot_accelerated;
        if (p->subgroup_posed) {
            out->minSubgroupSize = p->subgroup_min;
            out->maxSubgroupSize = p->subgroup_max;
        }
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES:
        ((VkPhysicalDeviceMaintenance4Properties *)s)->maxBufferSize = p->max_buffer;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES:
        if (p->subgroup_posed)
            ((VkPhysicalDeviceSubgroupProperties *)s)->subgroupSize = p->subgroup_size;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES:
        if (p->subgroup_posed) {
            VkPhysicalDeviceSubgroupSizeControlProperties *out =
                (VkPhysicalDeviceSubgroupSizeControlProperties *)s;
            out->minSubgroupSize = p->subgroup_min;
            out->maxSubgroupSize = p->subgroup_max;
        }
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES:
        ((VkPhysicalDeviceShaderIntegerDotProductProperties *)s)
            ->integerDotProduct4x8BitPackedSignedAccelerated = (VkBool32)p->dot_accelerated;
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT: {
        VkPhysicalDevicePCIBusInfoPropertiesEXT *out = (VkPhysicalDevicePCIBusInfoPropertiesEXT *)s;
        out->pciDomain = out->pciDevice = out->pciFunction = 0;
        out->pciBus = 0xfe; /* where no real device of this machine is found by it */
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV: {
        VkPhysicalDeviceShaderSMBuiltinsPropertiesNV *out = (VkPhysicalDeviceShaderSMBuiltinsPropertiesNV *)s;
        out->shaderSMCount = p->n_sm;
        out->shaderWarpsPerSM = 48;
        break;
    }
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD:
        pose_core(p, (VkPhysicalDeviceShaderCorePropertiesAMD *)s);
        break;
    case VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD:
        ((VkPhysicalDeviceShaderCoreProperties2AMD *)s)->activeComputeUnitCount = p->n_cu;
        break;
    default:
        break;
    }
}

static VKAPI_ATTR void VKAPI_CALL get_properties(VkPhysicalDevice physical, VkPhysicalDeviceProperties *out) {
    const layer_instance *instance = layer_instance_of(physical);
    instance->GetPhysicalDeviceProperties(physical, out);
    pose_properties(&instance->pose, out);
}

static VKAPI_ATTR void VKAPI_CALL get_properties2(VkPhysicalDevice physical,
                                                  VkPhysicalDeviceProperties2 *out) {
    const layer_instance *instance = layer_instance_of(physical);
    instance->GetPhysicalDeviceProperties2(physical, out);
    pose_properties(&instance->pose, &out->properties);
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
        pose_extended(&instance->pose, s);
}

/* ---- features ---- */

static VKAPI_ATTR void VKAPI_CALL get_features(VkPhysicalDevice physical, VkPhysicalDeviceFeatures *out) {
    const layer_instance *instance = layer_instance_of(physical);
    instance->GetPhysicalDeviceFeatures(physical, out);
    layer_core_features(out, instance->pose.hidden);
}

static VKAPI_ATTR void VKAPI_CALL get_features2(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *out) {
    const layer_instance *instance = layer_instance_of(physical);
    instance->GetPhysicalDeviceFeatures2(physical, out);
    layer_features(out, instance->pose.hidden);
}

/* ---- memory ---- */

static void pose_memory(const pose *p, VkPhysicalDeviceMemoryProperties *out) {
    memset(out, 0, sizeof *out);
    out->memoryHeapCount = p->n_heap;
    memcpy(out->memoryHeaps, p->heaps, p->n_heap * sizeof *p->heaps);
    out->memoryTypeCount = p->n_type;
    memcpy(out->memoryTypes, p->types, p->n_type * sizeof *p->types);
}

static void pose_budget(const pose *p, VkPhysicalDeviceMemoryBudgetPropertiesEXT *out) {
    memset(out->heapBudget, 0, sizeof out->heapBudget);
    memset(out->heapUsage, 0, sizeof out->heapUsage);
    pthread_mutex_lock(&layer_lock);
    for (uint32_t i = 0; i < p->n_heap; i++) {
        out->heapUsage[i] = layer_counters.heap_used[i];
        if (p->heaps[i].size > p->used_elsewhere[i])
            out->heapBudget[i] = p->heaps[i].size - p->used_elsewhere[i];
    }
    pthread_mutex_unlock(&layer_lock);
}

static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice physical,
                                             VkPhysicalDeviceMemoryProperties *out) {
    pose_memory(&layer_instance_of(physical)->pose, out);
}

static VKAPI_ATTR void VKAPI_CALL get_memory2(VkPhysicalDevice physical,
                                              VkPhysicalDeviceMemoryProperties2 *out) {
    const pose *p = &layer_instance_of(physical)->pose;
    pose_memory(p, &out->memoryProperties);
    for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
        if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT && p->budget)
            pose_budget(p, (VkPhysicalDeviceMemoryBudgetPropertiesEXT *)s);
}

/* ---- queues ---- */

static void pose_family(const pose *p, VkQueueFamilyProperties *out) {
    if (out->timestampValidBits != 0)
        out->timestampValidBits = p->timestamp_bits;
}

static VKAPI_ATTR void VKAPI_CALL get_families(VkPhysicalDevice physical, uint32_t *n,
                                               VkQueueFamilyProperties *out) {
    const layer_instance *instance = layer_instance_of(physical);
    instance->GetPhysicalDeviceQueueFamilyProperties(physical, n, out);
    for (uint32_t i = 0; out && i < *n; i++)
        pose_family(&instance->pose, &out[i]);
}

static VKAPI_ATTR void VKAPI_CALL get_families2(VkPhysicalDevice physical, uint32_t *n,
                                                VkQueueFamilyProperties2 *out) {
    const layer_instance *instance = layer_instance_of(physical);
    instance->GetPhysicalDeviceQueueFamilyProperties2(physical, n, out);
    for (uint32_t i = 0; out && i < *n; i++)
        pose_family(&instance->pose, &out[i].queueFamilyProperties);
}

/* ---- extensions ---- */

/* The driver's list without what the pose lacks, with what it adds; the caller frees it. */
static VkResult list_extensions(const layer_instance *instance, VkPhysicalDevice physical,
                                VkExtensionProperties **list, uint32_t *n) {
    const char *added[8];
    uint32_t n_added = layer_added_extensions(&instance->pose, added), n_real = 0, kept = 0;
    VkResult status = instance->EnumerateDeviceExtensionProperties(physical, NULL, &n_real, NULL);
    *list = calloc(n_real + 8, sizeof **list);
    if (status != VK_SUCCESS || !*list)
        return status != VK_SUCCESS ? status : VK_ERROR_OUT_OF_HOST_MEMORY;
    status = instance->EnumerateDeviceExtensionProperties(physical, NULL, &n_real, *list);
    for (uint32_t i = 0; i < n_real; i++) {
        int keep = !layer_extension_is_hidden(&instance->pose, (*list)[i].extensionName);
        for (uint32_t j = 0; j < n_added; j++)
            keep &= strcmp((*list)[i].extensionName, added[j]) != 0;
        if (keep)
            (*list)[kept++] = (*list)[i];
    }
    for (uint32_t j = 0; j < n_added; j++) {
        VkExtensionProperties *e = &(*list)[kept++];
        snprintf(e->extensionName, sizeof e->extensionName, "%s", added[j]);
        e->specVersion = 1;
    }
    *n = kept;
    return status;
}

static VKAPI_ATTR VkResult VKAPI_CALL get_extensions(VkPhysicalDevice physical, const char *layer,
                                                     uint32_t *n, VkExtensionProperties *out) {
    VkExtensionProperties *list = NULL;
    uint32_t n_all = 0, n_given;
    if (layer && strcmp(layer, POSE_LAYER) == 0) {
        *n = 0;
        return VK_SUCCESS;
    }
    const layer_instance *instance = layer_instance_of(physical);
    if (layer)
        return instance->EnumerateDeviceExtensionProperties(physical, layer, n, out);
    VkResult status = list_extensions(instance, physical, &list, &n_all);
    if (status == VK_SUCCESS && out) {
        n_given = *n < n_all ? *n : n_all;
        memcpy(out, list, n_given * sizeof *out);
        *n = n_given;
        if (n_given < n_all)
            status = VK_INCOMPLETE;
    } else {
        *n = n_all;
    }
    free(list);
    return status;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkDevice *result) {
    return layer_create_device(physical, info, allocator, result);
}

PFN_vkVoidFunction layer_query_function(const char *name) {
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } own[] = {
        {"vkGetPhysicalDeviceProperties", (PFN_vkVoidFunction)get_properties},
        {"vkGetPhysicalDeviceProperties2", (PFN_vkVoidFunction)get_properties2},
        {"vkGetPhysicalDeviceProperties2KHR", (PFN_vkVoidFunction)get_properties2},
        {"vkGetPhysicalDeviceFeatures", (PFN_vkVoidFunction)get_features},
        {"vkGetPhysicalDeviceFeatures2", (PFN_vkVoidFunction)get_features2},
        {"vkGetPhysicalDeviceFeatures2KHR", (PFN_vkVoidFunction)get_features2},
        {"vkGetPhysicalDeviceMemoryProperties", (PFN_vkVoidFunction)get_memory},
        {"vkGetPhysicalDeviceMemoryProperties2", (PFN_vkVoidFunction)get_memory2},
        {"vkGetPhysicalDeviceMemoryProperties2KHR", (PFN_vkVoidFunction)get_memory2},
        {"vkGetPhysicalDeviceQueueFamilyProperties", (PFN_vkVoidFunction)get_families},
        {"vkGetPhysicalDeviceQueueFamilyProperties2", (PFN_vkVoidFunction)get_families2},
        {"vkGetPhysicalDeviceQueueFamilyProperties2KHR", (PFN_vkVoidFunction)get_families2},
        {"vkEnumerateDeviceExtensionProperties", (PFN_vkVoidFunction)get_extensions},
        {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i].name) == 0)
            return own[i].function;
    return NULL;
}
