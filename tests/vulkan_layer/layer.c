/* layer.c: how the loader finds the layer; instances and devices. */
#include "layer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

pthread_mutex_t layer_lock = PTHREAD_MUTEX_INITIALIZER;
pose_counters layer_counters;

static layer_instance *instances;
static layer_device *devices;

EXPORT pose_counters *tandem_pose_counters(void);
pose_counters *tandem_pose_counters(void) {
    return &layer_counters;
}

void layer_complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs(POSE_LAYER ": ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static void *key_of(void *handle) {
    return *(void **)handle;
}

layer_instance *layer_instance_of(void *handle) {
    pthread_mutex_lock(&layer_lock);
    layer_instance *i = instances;
    while (i && i->key != key_of(handle))
        i = i->next;
    pthread_mutex_unlock(&layer_lock);
    return i;
}

layer_device *layer_device_of(void *handle) {
    pthread_mutex_lock(&layer_lock);
    layer_device *d = devices;
    while (d && d->key != key_of(handle))
        d = d->next;
    pthread_mutex_unlock(&layer_lock);
    return d;
}

/* ---- instances ---- */

static VkLayerInstanceCreateInfo *find_instance_link(const VkInstanceCreateInfo *info) {
    for (const VkBaseInStructure *s = info->pNext; s; s = s->pNext) {
        VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)(uintptr_t)s;
        if (s->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO)
            return link;
    }
    return NULL;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator,
                                                      VkInstance *result) {
    char message[256];
    VkLayerInstanceCreateInfo *link = find_instance_link(info);
    layer_instance *instance = calloc(1, sizeof *instance);
    if (!link || !instance) {
        free(instance);
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    if (!pose_parse(&instance->pose, getenv("TANDEM_POSE"), message, sizeof message)) {
        layer_complain("%s", message);
        free(instance);
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    instance->get = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    PFN_vkCreateInstance create = (PFN_vkCreateInstance)instance->get(NULL, "vkCreateInstance");
    VkResult status = create ? create(info, allocator, result) : VK_ERROR_INITIALIZATION_FAILED;
    if (status != VK_SUCCESS) {
        free(instance);
        return status;
    }
    instance->handle = *result;
    instance->key = key_of(*result);
#define LOAD(function) instance->function = (PFN_vk##function)instance->get(*result, "vk" #function);
    LAYER_INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    pthread_mutex_lock(&layer_lock);
    instance->next = instances;
    instances = instance;
    pthread_mutex_unlock(&layer_lock);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance handle,
                                                   const VkAllocationCallbacks *allocator) {
    if (!handle)
        return;
    layer_instance *instance = layer_instance_of(handle);
    instance->DestroyInstance(handle, allocator);
    pthread_mutex_lock(&layer_lock);
    layer_instance **link = &instances;
    while (*link != instance)
        link = &(*link)->next;
    *link = instance->next;
    pthread_mutex_unlock(&layer_lock);
    free(instance);
}

/* ---- devices ---- */

static VkLayerDeviceCreateInfo *find_device_link(const VkDeviceCreateInfo *info) {
    for (const VkBaseInStructure *s = info->pNext; s; s = s->pNext) {
        VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)(uintptr_t)s;
        if (s->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO)
            return link;
    }
    return NULL;
}

/* What is asked for and not there. */
static VkResult check_device(const pose *p, const VkDeviceCreateInfo *info, uint32_t *enabled) {
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++)
        if (layer_extension_is_hidden(p, info->ppEnabledExtensionNames[i])) {
            layer_complain("vkCreateDevice enables %s, which the device lacks",
                           info->ppEnabledExtensionNames[i]);
            return VK_ERROR_EXTENSION_NOT_PRESENT;
        }
    *enabled = layer_features((void *)(uintptr_t)info->pNext, 0);
    if (info->pEnabledFeatures)
        *enabled |= layer_core_features((VkPhysicalDeviceFeatures *)(uintptr_t)info->pEnabledFeatures, 0);
    for (uint32_t bit = 1; bit <= *enabled; bit <<= 1)
        if (*enabled & p->hidden & bit) {
            layer_complain("vkCreateDevice enables %s, which the device lacks", layer_feature_name(bit));
            return VK_ERROR_FEATURE_NOT_PRESENT;
        }
    return VK_SUCCESS;
}

static uint32_t find_lanes(const layer_instance *instance, VkPhysicalDevice physical) {
    VkPhysicalDeviceSubgroupProperties lanes = {.sType =
                                                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                       .pNext = &lanes};
    instance->GetPhysicalDeviceProperties2(physical, &all);
    return lanes.subgroupSize;
}

static void add_device(layer_device *device, VkDevice handle) {
    device->handle = handle;
    device->key = key_of(handle);
#define LOAD(function) device->function = (PFN_vk##function)device->get(handle, "vk" #function);
    LAYER_DEVICE_FUNCTIONS(LOAD)
#undef LOAD
    pthread_mutex_lock(&layer_lock);
    device->next = devices;
    devices = device;
    pthread_mutex_unlock(&layer_lock);
}

VkResult layer_create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                             const VkAllocationCallbacks *allocator, VkDevice *result) {
    const char *added[8], *names[64];
    layer_instance *instance = layer_instance_of(physical);
    VkLayerDeviceCreateInfo *link = find_device_link(info);
    layer_device *device = calloc(1, sizeof *device);
    VkDeviceCreateInfo passed = *info;
    if (!link || !device || info->enabledExtensionCount > 64) {
        free(device);
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    device->pose = instance->pose;
    VkResult status = check_device(&device->pose, info, &device->enabled);
    if (status != VK_SUCCESS) {
        free(device);
        return status;
    }
    /* The driver below does not know what the pose adds. */
    uint32_t n_added = layer_added_extensions(&device->pose, added);
    passed.enabledExtensionCount = 0;
    passed.ppEnabledExtensionNames = names;
    for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
        int is_added = 0;
        for (uint32_t j = 0; j < n_added; j++)
            is_added |= strcmp(info->ppEnabledExtensionNames[i], added[j]) == 0;
        if (!is_added)
            names[passed.enabledExtensionCount++] = info->ppEnabledExtensionNames[i];
    }
    device->real_lanes = find_lanes(instance, physical);
    device->get = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    status = instance->CreateDevice(physical, &passed, allocator, result);
    if (status != VK_SUCCESS) {
        free(device);
        return status;
    }
    add_device(device, *result);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice handle, const VkAllocationCallbacks *allocator) {
    if (!handle)
        return;
    layer_device *device = layer_device_of(handle);
    layer_device_end(device);
    device->DestroyDevice(handle, allocator);
    pthread_mutex_lock(&layer_lock);
    layer_device **link = &devices;
    while (*link != device)
        link = &(*link)->next;
    *link = device->next;
    pthread_mutex_unlock(&layer_lock);
    free(device);
}

/* ---- entry points ---- */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice device, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance instance, const char *name);

static PFN_vkVoidFunction find_own(const char *name) {
    if (strcmp(name, "vkGetInstanceProcAddr") == 0)
        return (PFN_vkVoidFunction)get_instance_proc;
    if (strcmp(name, "vkGetDeviceProcAddr") == 0)
        return (PFN_vkVoidFunction)get_device_proc;
    if (strcmp(name, "vkCreateInstance") == 0)
        return (PFN_vkVoidFunction)create_instance;
    if (strcmp(name, "vkDestroyInstance") == 0)
        return (PFN_vkVoidFunction)destroy_instance;
    if (strcmp(name, "vkDestroyDevice") == 0)
        return (PFN_vkVoidFunction)destroy_device;
    PFN_vkVoidFunction function = layer_query_function(name);
    return function ? function : layer_device_function(name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc(VkInstance handle, const char *name) {
    PFN_vkVoidFunction own = find_own(name);
    if (own || !handle)
        return own;
    return layer_instance_of(handle)->get(handle, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc(VkDevice handle, const char *name) {
    layer_device *device = layer_device_of(handle);
    PFN_vkVoidFunction below = device->get(handle, name), own = find_own(name);
    return below && own ? own : below;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version);
VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
    if (version->loaderLayerInterfaceVersion < 2)
        return VK_ERROR_INITIALIZATION_FAILED;
    version->loaderLayerInterfaceVersion = 2;
    version->pfnGetInstanceProcAddr = get_instance_proc;
    version->pfnGetDeviceProcAddr = get_device_proc;
    version->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
