/* device.c: what the device allows: memory by heaps and types, sizes, shader modules; and its clock. */
#include "layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- handles that the layer remembers; layer_lock is held ---- */

static int remember(layer_handle **list, uint64_t handle, uint64_t bytes, uint32_t type) {
    layer_handle *h = calloc(1, sizeof *h);
    if (!h)
        return 0;
    *h = (layer_handle){.next = *list, .handle = handle, .bytes = bytes, .type = type};
    *list = h;
    return 1;
}

static layer_handle **find(layer_handle **list, uint64_t handle) {
    while (*list && (*list)->handle != handle)
        list = &(*list)->next;
    return list;
}

static void forget(layer_handle **link) {
    layer_handle *h = *link;
    *link = h->next;
    free(h);
}

/* ---- buffers ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_buffer(VkDevice handle, const VkBufferCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkBuffer *result) {
    layer_device *device = layer_device_of(handle);
    if (info->size > device->pose.max_buffer) {
        layer_complain("vkCreateBuffer of %llu bytes; maxBufferSize is %llu", (unsigned long long)info->size,
                       (unsigned long long)device->pose.max_buffer);
        layer_counters.n_too_large++;
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    return device->CreateBuffer(handle, info, allocator, result);
}

static void pose_requirements(const pose *p, VkMemoryRequirements *needs) {
    needs->memoryTypeBits = (1u << p->n_type) - 1;
    if (p->granularity)
        needs->size = (needs->size + p->granularity - 1) / p->granularity * p->granularity;
}

static VKAPI_ATTR void VKAPI_CALL get_requirements(VkDevice handle, VkBuffer buffer,
                                                   VkMemoryRequirements *needs) {
    layer_device *device = layer_device_of(handle);
    device->GetBufferMemoryRequirements(handle, buffer, needs);
    pose_requirements(&device->pose, needs);
}

static VKAPI_ATTR void VKAPI_CALL get_requirements2(VkDevice handle,
                                                    const VkBufferMemoryRequirementsInfo2 *info,
                                                    VkMemoryRequirements2 *needs) {
    layer_device *device = layer_device_of(handle);
    device->GetBufferMemoryRequirements2(handle, info, needs);
    pose_requirements(&device->pose, &needs->memoryRequirements);
}

/* ---- memory ---- */

/* VK_SUCCESS, or why the pretended device does not give this; layer_lock is held. */
static VkResult check_allocation(const layer_device *device, const VkMemoryAllocateInfo *info) {
    const pose *p = &device->pose;
    if (info->memoryTypeIndex >= p->n_type) {
        layer_complain("vkAllocateMemory of type %u of %u", info->memoryTypeIndex, p->n_type);
        return VK_ERROR_UNKNOWN;
    }
    if (info->allocationSize > p->max_allocation) {
        layer_complain("vkAllocateMemory of %llu bytes; maxMemoryAllocationSize is %llu",
                       (unsigned long long)info->allocationSize, (unsigned long long)p->max_allocation);
        layer_counters.n_too_large++;
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    if (device->n_memory >= p->max_allocations) {
        layer_counters.n_too_many++;
        return VK_ERROR_TOO_MANY_OBJECTS;
    }
    uint32_t heap = p->types[info->memoryTypeIndex].heapIndex;
    uint64_t used = layer_counters.heap_used[heap] + p->used_elsewhere[heap];
    if (used > p->heaps[heap].size || info->allocationSize > p->heaps[heap].size - used) {
        layer_counters.n_full++;
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    return VK_SUCCESS;
}

static void count_allocation(layer_device *device, uint32_t type, int64_t bytes) {
    pose_counters *c = &layer_counters;
    uint32_t heap = device->pose.types[type].heapIndex;
    c->heap_used[heap] += (uint64_t)bytes;
    if (c->heap_used[heap] > c->heap_peak[heap])
        c->heap_peak[heap] = c->heap_used[heap];
    device->n_memory += bytes > 0 ? 1 : (uint32_t)-1;
    c->n_allocation += bytes > 0 ? 1 : (uint32_t)-1;
    if (c->n_allocation > c->peak_allocation)
        c->peak_allocation = c->n_allocation;
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate(VkDevice handle, const VkMemoryAllocateInfo *info,
                                               const VkAllocationCallbacks *allocator,
                                               VkDeviceMemory *result) {
    layer_device *device = layer_device_of(handle);
    VkMemoryAllocateInfo passed = *info;
    passed.memoryTypeIndex = 0; /* the software driver has one type, for everything */
    pthread_mutex_lock(&layer_lock);
    VkResult status = check_allocation(device, info);
    if (status == VK_SUCCESS)
        status = device->AllocateMemory(handle, &passed, allocator, result);
    if (status == VK_SUCCESS) {
        if (remember(&device->memory, (uint64_t)(uintptr_t)*result, info->allocationSize,
                     info->memoryTypeIndex))
            count_allocation(device, info->memoryTypeIndex, (int64_t)info->allocationSize);
        else
            status = VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    pthread_mutex_unlock(&layer_lock);
    return status;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice handle, VkDeviceMemory memory,
                                              const VkAllocationCallbacks *allocator) {
    layer_device *device = layer_device_of(handle);
    pthread_mutex_lock(&layer_lock);
    layer_handle **link = find(&device->memory, (uint64_t)(uintptr_t)memory);
    if (*link) {
        count_allocation(device, (*link)->type, -(int64_t)(*link)->bytes);
        forget(link);
    }
    pthread_mutex_unlock(&layer_lock);
    device->FreeMemory(handle, memory, allocator);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice handle, VkDeviceMemory memory, VkDeviceSize offset,
                                                 VkDeviceSize size, VkMemoryMapFlags flags, void **data) {
    layer_device *device = layer_device_of(handle);
    int visible = 0;
    pthread_mutex_lock(&layer_lock);
    layer_handle **link = find(&device->memory, (uint64_t)(uintptr_t)memory);
    if (*link)
        visible =
            (device->pose.types[(*link)->type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0;
    if (!visible)
        layer_counters.n_map_refused++;
    pthread_mutex_unlock(&layer_lock);
    if (!visible) {
        layer_complain("vkMapMemory of memory that is not host-visible");
        return VK_ERROR_MEMORY_MAP_FAILED;
    }
    return device->MapMemory(handle, memory, offset, size, flags, data);
}

/* ---- shaders ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice handle, const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator,
                                                    VkShaderModule *result) {
    layer_device *device = layer_device_of(handle);
    uint32_t missing = layer_module_features(info) & (device->pose.hidden | ~device->enabled);
    /* note: cooperative matrices are turned on by a struct that older headers do not have. */
    if (!(device->pose.hidden & POSE_COOPMAT))
        missing &= ~POSE_COOPMAT;
    if (!missing)
        return device->CreateShaderModule(handle, info, allocator, result);
    for (uint32_t bit = 1; bit <= missing; bit <<= 1)
        if (missing & bit)
            layer_complain("vkCreateShaderModule: the module needs %s, which is not enabled",
                           layer_feature_name(bit));
    pthread_mutex_lock(&layer_lock);
    layer_counters.n_module_refused++;
    pthread_mutex_unlock(&layer_lock);
    return VK_ERROR_INVALID_SHADER_NV;
}

/* Replaces the required subgroup size, which the driver does not have, by its own; 0: it is not one of the
 * pose's. Only one thread at a time compiles from one such struct. */
static int pose_required_size(const layer_device *device, const VkComputePipelineCreateInfo *info,
                              VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *copy,
                              VkComputePipelineCreateInfo *passed) {
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *size = info->stage.pNext;
    *passed = *info;
    if (!device->pose.subgroup_posed || !size ||
        size->sType != VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO)
        return 1;
    uint32_t n = size->requiredSubgroupSize;
    if (n < device->pose.subgroup_min || n > device->pose.subgroup_max || (n & (n - 1)) != 0) {
        layer_complain("vkCreateComputePipelines: subgroups of %u; the device has %u to %u", n,
                       device->pose.subgroup_min, device->pose.subgroup_max);
        return 0;
    }
    *copy = *size;
    copy->requiredSubgroupSize = device->real_lanes;
    passed->stage.pNext = copy;
    return 1;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice handle, VkPipelineCache cache, uint32_t n,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *allocator,
                                                       VkPipeline *result) {
    layer_device *device = layer_device_of(handle);
    for (uint32_t i = 0; i < n; i++) {
        VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size;
        VkComputePipelineCreateInfo passed;
        if (!pose_required_size(device, &infos[i], &size, &passed))
            return VK_ERROR_UNKNOWN;
        VkResult status = device->CreateComputePipelines(handle, cache, 1, &passed, allocator, &result[i]);
        if (status != VK_SUCCESS)
            return status;
    }
    return VK_SUCCESS;
}

/* ---- timestamps ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_queries(VkDevice handle, const VkQueryPoolCreateInfo *info,
                                                     const VkAllocationCallbacks *allocator,
                                                     VkQueryPool *result) {
    layer_device *device = layer_device_of(handle);
    VkResult status = device->CreateQueryPool(handle, info, allocator, result);
    if (status != VK_SUCCESS || info->queryType != VK_QUERY_TYPE_TIMESTAMP)
        return status;
    pthread_mutex_lock(&layer_lock);
    if (!remember(&device->queries, (uint64_t)(uintptr_t)*result, 0, 0))
        status = VK_ERROR_OUT_OF_HOST_MEMORY;
    pthread_mutex_unlock(&layer_lock);
    return status;
}

static VKAPI_ATTR void VKAPI_CALL destroy_queries(VkDevice handle, VkQueryPool pool,
                                                  const VkAllocationCallbacks *allocator) {
    layer_device *device = layer_device_of(handle);
    pthread_mutex_lock(&layer_lock);
    layer_handle **link = find(&device->queries, (uint64_t)(uintptr_t)pool);
    if (*link)
        forget(link);
    pthread_mutex_unlock(&layer_lock);
    device->DestroyQueryPool(handle, pool, allocator);
}

static uint64_t tick_mask(const pose *p) {
    return p->timestamp_bits < 64 ? ((uint64_t)1 << p->timestamp_bits) - 1 : UINT64_MAX;
}

/* Where the wrap lies is decided by the first values that somebody reads: the clock is one straight line from
 * then on, and before. */
static void set_timeline(layer_device *device, uint64_t first_ns, uint64_t last_ns) {
    if (device->timeline_known)
        return;
    device->timeline_known = 1;
    device->first_ns = first_ns;
    device->first_tick = (uint64_t)1 << 32; /* some time after the machine was started */
    if (device->pose.wrap == POSE_WRAP_NONE)
        return;
    device->first_tick = 0;
    device->first_ns = device->pose.wrap == POSE_WRAP_RUN
                           ? first_ns + (last_ns - first_ns + 1) / 2
                           : last_ns + (uint64_t)ceil(device->pose.timestamp_period);
}

static uint64_t ticks_of(const layer_device *device, uint64_t ns) {
    double since = (double)(int64_t)(ns - device->first_ns) / device->pose.timestamp_period;
    return (device->first_tick + (uint64_t)(int64_t)floor(since)) & tick_mask(&device->pose);
}

/* The driver's timestamps, which are nanoseconds, as ticks of the pretended clock. */
static void pose_ticks(layer_device *device, uint32_t n, uint8_t *data, size_t stride) {
    uint64_t previous = 0;
    uint64_t first, last;
    memcpy(&first, data, sizeof first);
    memcpy(&last, data + (n - 1) * stride, sizeof last);
    set_timeline(device, first, last);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t value;
        memcpy(&value, data + i * stride, sizeof value);
        value = ticks_of(device, value);
        if (i > 0 && value < previous)
            layer_counters.n_wrap++;
        previous = value;
        memcpy(data + i * stride, &value, sizeof value);
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL get_results(VkDevice handle, VkQueryPool pool, uint32_t first,
                                                  uint32_t n, size_t bytes, void *data, VkDeviceSize stride,
                                                  VkQueryResultFlags flags) {
    layer_device *device = layer_device_of(handle);
    VkResult status = device->GetQueryPoolResults(handle, pool, first, n, bytes, data, stride, flags);
    pthread_mutex_lock(&layer_lock);
    int timestamps = *find(&device->queries, (uint64_t)(uintptr_t)pool) != NULL;
    if (timestamps && !(flags & VK_QUERY_RESULT_64_BIT)) {
        layer_complain("vkGetQueryPoolResults of timestamps in 32 bits is not posed");
        status = VK_ERROR_UNKNOWN;
    } else if (timestamps && status == VK_SUCCESS && n > 0) {
        pose_ticks(device, n, data, (size_t)stride);
    }
    pthread_mutex_unlock(&layer_lock);
    return status;
}

/* ---- the end ---- */

void layer_device_end(layer_device *device) {
    pthread_mutex_lock(&layer_lock);
    if (device->memory)
        layer_complain("vkDestroyDevice with %u allocations alive", device->n_memory);
    while (device->memory) {
        count_allocation(device, device->memory->type, -(int64_t)device->memory->bytes);
        forget(&device->memory);
    }
    while (device->queries)
        forget(&device->queries);
    pthread_mutex_unlock(&layer_lock);
}

PFN_vkVoidFunction layer_device_function(const char *name) {
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } own[] = {
        {"vkCreateBuffer", (PFN_vkVoidFunction)create_buffer},
        {"vkGetBufferMemoryRequirements", (PFN_vkVoidFunction)get_requirements},
        {"vkGetBufferMemoryRequirements2", (PFN_vkVoidFunction)get_requirements2},
        {"vkGetBufferMemoryRequirements2KHR", (PFN_vkVoidFunction)get_requirements2},
        {"vkAllocateMemory", (PFN_vkVoidFunction)allocate},
        {"vkFreeMemory", (PFN_vkVoidFunction)free_memory},
        {"vkMapMemory", (PFN_vkVoidFunction)map_memory},
        {"vkCreateShaderModule", (PFN_vkVoidFunction)create_module},
        {"vkCreateComputePipelines", (PFN_vkVoidFunction)create_pipelines},
        {"vkCreateQueryPool", (PFN_vkVoidFunction)create_queries},
        {"vkDestroyQueryPool", (PFN_vkVoidFunction)destroy_queries},
        {"vkGetQueryPoolResults", (PFN_vkVoidFunction)get_results},
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i].name) == 0)
            return own[i].function;
    return NULL;
}
