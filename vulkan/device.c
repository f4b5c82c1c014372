/* device.c: looks at the physical devices. */
#include "device.h"

#include "gpu/services.h"

#include <tandem/growth.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not in older headers; the kernels of these rungs do not exist yet, so only the names are needed. */
#define KHR_COOPERATIVE_MATRIX "VK_KHR_cooperative_matrix"
#define NV_COOPERATIVE_MATRIX_2 "VK_NV_cooperative_matrix2"

#define MIN_SHARED_BYTES 32768u
#define MIN_INVOCATIONS 256u

typedef struct extension_list {
    VkExtensionProperties *items;
    uint32_t n;
} extension_list;

static int has_extension(const extension_list *list, const char *name) {
    for (uint32_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].extensionName, name) == 0)
            return 1;
    return 0;
}

static tandem_status list_extensions(const vk_instance *vk, VkPhysicalDevice physical, extension_list *list,
                                     tandem_error *error) {
    tandem_status status = TANDEM_OK;
    list->items = NULL;
    list->n = 0;
    VK_TRY_INSTANCE(vk, EnumerateDeviceExtensionProperties, physical, NULL, &list->n, NULL);
    list->items = gpu_alloc(list->n * sizeof *list->items);
    if (!list->items) {
        list->n = 0;
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                               "No host memory for the list of device extensions");
    }
    VK_TRY_INSTANCE(vk, EnumerateDeviceExtensionProperties, physical, NULL, &list->n, list->items);
fail:
    return status;
}

/* The first family with compute and timestamps: on every desktop driver the one that also draws, and the best
 * tuned. */
static void find_queue_family(const vk_instance *vk, vk_device *device) {
    VkQueueFamilyProperties families[16];
    uint32_t n = 16;
    device->queue_family = TANDEM_NONE;
    vk->GetPhysicalDeviceQueueFamilyProperties(device->physical, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || families[i].timestampValidBits == 0)
            continue;
        device->queue_family = i;
        device->timestamp_bits = families[i].timestampValidBits;
        return;
    }
}

/* One line of /proc/meminfo in bytes; 0: not there. */
static uint64_t read_meminfo(const char *key) {
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file)
        return 0;
    size_t length = strlen(key);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0 && line[length] == ':' &&
            sscanf(line + length + 1, "%llu", &kib) == 1)
            break;
    fclose(file);
    return (uint64_t)kib * 1024u;
}

uint64_t vk_device_free(const vk_instance *vk, const vk_device *device) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2, .pNext = &budget};
    uint32_t heap = device->heap;
    if (!device->memory_budget)
        return device->memory.memoryHeaps[heap].size;
    vk->GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
    return budget.heapBudget[heap] > budget.heapUsage[heap] ? budget.heapBudget[heap] - budget.heapUsage[heap]
                                                            : 0;
}

/* Device memory, as types have it: the largest heap, and how much of any heap the host maps. A card without a
 * resizable BAR has a second heap, the 256 MiB window, which is no room for weights. */
static void find_heap(vk_device *device) {
    const VkPhysicalDeviceMemoryProperties *memory = &device->memory;
    uint64_t largest = 0;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        const VkMemoryType *type = &memory->memoryTypes[i];
        uint64_t bytes = memory->memoryHeaps[type->heapIndex].size;
        if (!(type->propertyFlags & VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT))
            continue;
        if (bytes > largest) {
            largest = bytes;
            device->heap = type->heapIndex;
        }
        if ((type->propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) && bytes > device->host_window)
            device->host_window = bytes;
    }
}

/* Whether the host can write all of the device's memory, as it must where nothing is staged. */
static int host_maps_heap(const vk_device *device) {
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT |
                                         VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
        const VkMemoryType *type = &device->memory.memoryTypes[i];
        if (type->heapIndex == device->heap && (type->propertyFlags & wanted) == wanted)
            return 1;
    }
    return 0;
}

static void find_memory(const vk_instance *vk, vk_device *device) {
    VkPhysicalDeviceMemoryProperties2 memory = {.sType =
                                                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
    vk->GetPhysicalDeviceMemoryProperties2(device->physical, &memory);
    device->memory = memory.memoryProperties;
    find_heap(device);
    if (device->info.kind == TANDEM_DEVICE_SOFTWARE) {
        /* note: lavapipe reports one heap of 2 GiB whatever the machine has, and allocates beyond it. */
        device->info.memory_total = read_meminfo("MemTotal");
        device->info.memory_free = read_meminfo("MemAvailable");
        device->unified = !vk_the_plugin.staged;
        return;
    }
    device->info.memory_total = device->memory.memoryHeaps[device->heap].size;
    device->info.memory_free = vk_device_free(vk, device);
    device->unified =
        device->info.kind == TANDEM_DEVICE_INTEGRATED && host_maps_heap(device) && !vk_the_plugin.staged;
}

static void *chain(void *properties, void *next, uint32_t type) {
    VkBaseOutStructure *head = properties;
    head->sType = (VkStructureType)type;
    head->pNext = next;
    return properties;
}

static void find_identity(vk_device *device, const VkPhysicalDeviceProperties *p,
                          const VkPhysicalDeviceVulkan11Properties *p11,
                          const VkPhysicalDeviceVulkan12Properties *p12,
                          const VkPhysicalDevicePCIBusInfoPropertiesEXT *pci) {
    tandem_device_info *info = &device->info;
    info->struct_size = sizeof *info;
    switch (p->deviceType) {
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        info->kind = TANDEM_DEVICE_SOFTWARE;
        break;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        info->kind = TANDEM_DEVICE_INTEGRATED;
        break;
    default:
        info->kind = TANDEM_DEVICE_GPU;
        break;
    }
    info->vendor_id = p->vendorID;
    info->device_id = p->deviceID;
    info->pci_domain = device->pci ? pci->pciDomain : TANDEM_NONE;
    info->pci_bus = device->pci ? pci->pciBus : 0;
    info->pci_device = device->pci ? pci->pciDevice : 0;
    info->pci_function = device->pci ? pci->pciFunction : 0;
    memcpy(info->uuid, p11->deviceUUID, sizeof info->uuid);
    memcpy(device->driver_uuid, p11->driverUUID, sizeof device->driver_uuid);
    memcpy(device->cache_uuid, p->pipelineCacheUUID, sizeof device->cache_uuid);
    snprintf(info->name, sizeof info->name, "%.255s", p->deviceName);
    snprintf(info->driver, sizeof info->driver, "%.100s %.100s, Vulkan %u.%u.%u", p12->driverName,
             p12->driverInfo, VK_API_VERSION_MAJOR(p->apiVersion), VK_API_VERSION_MINOR(p->apiVersion),
             VK_API_VERSION_PATCH(p->apiVersion));
}

/* What three extensions of two vendors tell of the units that take work-groups. */
typedef struct unit_properties {
    VkPhysicalDeviceShaderSMBuiltinsPropertiesNV nv;
    VkPhysicalDeviceShaderCorePropertiesAMD amd;
    VkPhysicalDeviceShaderCoreProperties2AMD amd2;
} unit_properties;

static void *chain_units(unit_properties *units, void *next, const extension_list *extensions) {
    if (has_extension(extensions, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME))
        next = chain(&units->nv, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV);
    if (has_extension(extensions, VK_AMD_SHADER_CORE_PROPERTIES_EXTENSION_NAME))
        next = chain(&units->amd, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_AMD);
    if (has_extension(extensions, VK_AMD_SHADER_CORE_PROPERTIES_2_EXTENSION_NAME))
        next = chain(&units->amd2, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_CORE_PROPERTIES_2_AMD);
    return next;
}

/* NVIDIA's multiprocessors or AMD's compute units. The older of AMD's extensions counts those of a whole
 * chip, the newer one those that work in this card. 0: nothing tells. */
static uint32_t count_units(const unit_properties *units) {
    if (units->nv.shaderSMCount)
        return units->nv.shaderSMCount;
    if (units->amd2.activeComputeUnitCount)
        return units->amd2.activeComputeUnitCount;
    return units->amd.shaderEngineCount * units->amd.shaderArraysPerEngineCount *
           units->amd.computeUnitsPerShaderArray;
}

/* Properties of a device that has Vulkan 1.2. */
static void find_properties(const vk_instance *vk, vk_device *device, const extension_list *extensions) {
    VkPhysicalDeviceVulkan11Properties p11 = {0};
    VkPhysicalDeviceVulkan12Properties p12 = {0};
    VkPhysicalDeviceSubgroupSizeControlProperties control = {0};
    VkPhysicalDeviceShaderIntegerDotProductProperties dot = {0};
    VkPhysicalDevicePCIBusInfoPropertiesEXT pci = {0};
    VkPhysicalDeviceMaintenance4Properties limits4 = {0};
    unit_properties units = {0};
    VkPhysicalDeviceProperties2 all = {0};
    int core13 = device->api_version >= VK_API_VERSION_1_3;
    int has_limits4 = core13 || has_extension(extensions, VK_KHR_MAINTENANCE_4_EXTENSION_NAME);

    void *next = chain(&p12, NULL, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
    next = chain(&p11, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    if (device->subgroup_control)
        next = chain(&control, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    if (device->dot)
        next = chain(&dot, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
    if (device->pci)
        next = chain(&pci, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
    if (has_limits4)
        next = chain(&limits4, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    next = chain_units(&units, next, extensions);
    chain(&all, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2);
    vk->GetPhysicalDeviceProperties2(device->physical, &all);

    const VkPhysicalDeviceLimits *limits = &all.properties.limits;
    find_identity(device, &all.properties, &p11, &p12, &pci);
    device->info.n_units = count_units(&units);
    device->timestamp_period = limits->timestampPeriod;
    device->is_lavapipe = p12.driverID == VK_DRIVER_ID_MESA_LLVMPIPE;
    device->max_local = limits->maxComputeWorkGroupInvocations < limits->maxComputeWorkGroupSize[0]
                            ? limits->maxComputeWorkGroupInvocations
                            : limits->maxComputeWorkGroupSize[0];
    device->dot_accelerated = device->dot && dot.integerDotProduct4x8BitPackedSignedAccelerated;
    device->info.subgroup_size = p11.subgroupSize;
    device->subgroup_min = device->subgroup_control ? control.minSubgroupSize : p11.subgroupSize;
    device->subgroup_max = device->subgroup_control ? control.maxSubgroupSize : p11.subgroupSize;
    device->max_allocation = p11.maxMemoryAllocationSize;
    if (has_limits4 && limits4.maxBufferSize < device->max_allocation)
        device->max_allocation = limits4.maxBufferSize;
    device->max_allocation &= ~(uint64_t)0xffff;
    device->info.max_allocation = device->max_allocation;

    VkSubgroupFeatureFlags operations = VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    if ((p11.subgroupSupportedOperations & operations) != operations ||
        !(p11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
        snprintf(device->unusable, sizeof device->unusable, "It lacks subgroup shuffles in compute shaders");
    else if (p11.subgroupSize < 4 || p11.subgroupSize > 64)
        snprintf(device->unusable, sizeof device->unusable, "Its subgroup size of %u is outside 4 to 64",
                 p11.subgroupSize);
    else if (limits->maxComputeSharedMemorySize < MIN_SHARED_BYTES || device->max_local < MIN_INVOCATIONS)
        snprintf(device->unusable, sizeof device->unusable,
                 "Its work-groups offer %u bytes and %u invocations; tandem needs %u and %u",
                 limits->maxComputeSharedMemorySize, device->max_local, MIN_SHARED_BYTES, MIN_INVOCATIONS);
}

static void find_features(const vk_instance *vk, vk_device *device, const extension_list *extensions) {
    VkPhysicalDeviceVulkan11Features f11 = {0};
    VkPhysicalDeviceVulkan12Features f12 = {0};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {0};
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {0};
    VkPhysicalDeviceShaderSubgroupUniformControlFlowFeaturesKHR uniform = {0};
    VkPhysicalDeviceFeatures2 all = {0};
    int core13 = device->api_version >= VK_API_VERSION_1_3;
    int has_control = core13 || has_extension(extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    int has_dot = core13 || has_extension(extensions, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);

    void *next = chain(&f12, NULL, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    next = chain(&f11, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
    if (has_control)
        next = chain(&control, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    if (has_dot)
        next = chain(&dot, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    if (has_extension(extensions, VK_KHR_SHADER_SUBGROUP_UNIFORM_CONTROL_FLOW_EXTENSION_NAME))
        next = chain(&uniform, next,
                     VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SUBGROUP_UNIFORM_CONTROL_FLOW_FEATURES_KHR);
    chain(&all, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
    vk->GetPhysicalDeviceFeatures2(device->physical, &all);

    device->subgroup_control = control.subgroupSizeControl && control.computeFullSubgroups;
    device->subgroup_control_core = core13;
    device->dot = dot.shaderIntegerDotProduct;
    device->dot_core = core13;
    device->uniform_control_flow = uniform.shaderSubgroupUniformControlFlow;
    device->int64 = all.features.shaderInt64;
    device->int8 = f12.shaderInt8;
    device->f16 = f12.shaderFloat16;
    device->storage8 = f12.storageBuffer8BitAccess;
    device->storage16 = f11.storageBuffer16BitAccess;
    device->memory_budget = has_extension(extensions, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    device->pci = has_extension(extensions, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
    device->coopmat_khr = has_extension(extensions, KHR_COOPERATIVE_MATRIX);
    device->coopmat_nv = has_extension(extensions, VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME);
    device->coopmat_nv2 = has_extension(extensions, NV_COOPERATIVE_MATRIX_2);
    if (!f12.bufferDeviceAddress)
        snprintf(device->unusable, sizeof device->unusable, "Its driver lacks buffer device addresses");
    else if (!f12.timelineSemaphore)
        snprintf(device->unusable, sizeof device->unusable, "Its driver lacks timeline semaphores");
}

static void choose_policy(vk_device *device) {
    const vk_policy_facts facts = {.kind = device->info.kind,
                                   .shape = vk_the_plugin.shape,
                                   .n_unit = device->info.n_units,
                                   .max_local = device->max_local,
                                   .subgroup_size = device->info.subgroup_size,
                                   .subgroup_min = device->subgroup_min,
                                   .subgroup_max = device->subgroup_max,
                                   .subgroup_control = (uint32_t)device->subgroup_control,
                                   .counts_loops = (uint32_t)device->is_lavapipe,
                                   .dot_accelerated = (uint32_t)device->dot_accelerated,
                                   .int64 = (uint32_t)device->int64};
    device->policy = vk_policy_make(&facts);
}

/* "GPU shape, subgroups of 32, 40 units assumed, 65000 loop iterations": how kernels run. */
static void describe_policy(const vk_policy *policy, char *text, size_t room) {
    int n = snprintf(text, room, "%s shape, subgroups of %u, %u units%s", vk_shape_name(policy->shape),
                     policy->subgroup_size, policy->n_unit, policy->n_unit_assumed ? " assumed" : "");
    if (policy->loop_budget != VK_NO_LOOP_BUDGET && n > 0 && (size_t)n < room)
        snprintf(text + n, room - (size_t)n, ", at most %u loop iterations", policy->loop_budget);
}

static void describe_abilities(vk_device *device) {
    char kernels[128];
    describe_policy(&device->policy, kernels, sizeof kernels);
    tandem_device_info *info = &device->info;
    const char *coopmat = device->coopmat_nv2   ? "NV 2"
                          : device->coopmat_khr ? "KHR"
                          : device->coopmat_nv  ? "NV"
                                                : "none";
    info->matrix_paths =
        TANDEM_MATRIX_FMA | (device->dot ? TANDEM_MATRIX_DOT : 0) |
        (device->coopmat_khr || device->coopmat_nv || device->coopmat_nv2 ? TANDEM_MATRIX_COOPMAT : 0);
    info->matrix_used = TANDEM_MATRIX_FMA | (device->dot ? TANDEM_MATRIX_DOT : 0);
    if (device->unusable[0]) {
        info->matrix_used = 0;
        snprintf(info->abilities, sizeof info->abilities, "unusable: %s", device->unusable);
        return;
    }
    snprintf(info->abilities, sizeof info->abilities,
             "kernels in %s; subgroups of %u (%u to %u%s); integer dot %s; storage 8-bit %s, 16-bit %s; f16 %s; "
             "cooperative matrix %s%s; memory budget %s; %s memory, the host maps %llu MiB of it",
             kernels, info->subgroup_size, device->subgroup_min, device->subgroup_max,
             device->subgroup_control ? ", selectable" : "",
             !device->dot              ? "no"
             : device->dot_accelerated ? "yes, accelerated"
                                       : "yes, not accelerated",
             device->storage8 ? "yes" : "no", device->storage16 ? "yes" : "no", device->f16 ? "yes" : "no",
             coopmat, info->matrix_paths & TANDEM_MATRIX_COOPMAT ? " (no kernels yet)" : "",
             device->memory_budget ? "yes" : "no", device->unified ? "unified" : "discrete",
             (unsigned long long)(device->host_window >> 20));
}

static tandem_status inspect(const vk_instance *vk, vk_device *device, tandem_error *error) {
    VkPhysicalDeviceProperties properties;
    extension_list extensions;
    vk->GetPhysicalDeviceProperties(device->physical, &properties);
    device->api_version = properties.apiVersion;
    if (device->api_version < VK_API_VERSION_1_2) {
        device->info.struct_size = sizeof device->info;
        device->info.pci_domain = TANDEM_NONE;
        device->info.vendor_id = properties.vendorID;
        device->info.device_id = properties.deviceID;
        snprintf(device->info.name, sizeof device->info.name, "%.255s", properties.deviceName);
        snprintf(device->unusable, sizeof device->unusable, "It offers Vulkan %u.%u; tandem needs 1.2",
                 VK_API_VERSION_MAJOR(device->api_version), VK_API_VERSION_MINOR(device->api_version));
        snprintf(device->info.abilities, sizeof device->info.abilities, "unusable: %s", device->unusable);
        return TANDEM_OK;
    }
    tandem_status status = list_extensions(vk, device->physical, &extensions, error);
    if (status == TANDEM_OK) {
        find_features(vk, device, &extensions);
        find_properties(vk, device, &extensions);
        find_queue_family(vk, device);
        find_memory(vk, device);
        if (device->queue_family == TANDEM_NONE)
            snprintf(device->unusable, sizeof device->unusable, "It has no compute queue with timestamps");
        choose_policy(device);
        describe_abilities(device);
    }
    gpu_free(extensions.items);
    return status;
}

static vk_device_key key_of(const vk_device *device) {
    vk_device_key key = {.vendor_id = device->info.vendor_id, .device_id = device->info.device_id};
    memcpy(key.uuid, device->info.uuid, sizeof key.uuid);
    return key;
}

/* Loaders may list devices in another order after a hot plug: the first listing of this process decides. */
static void keep_order(vk_device *devices, uint32_t n) {
    vk_plugin *plugin = &vk_the_plugin;
    pthread_mutex_lock(&plugin->lock);
    if (plugin->n_order == 0)
        for (; plugin->n_order < n; plugin->n_order++)
            plugin->order[plugin->n_order] = key_of(&devices[plugin->n_order]);
    for (uint32_t i = 0; i < plugin->n_order && i < n; i++) {
        for (uint32_t j = i; j < n; j++) {
            vk_device_key key = key_of(&devices[j]);
            if (memcmp(&plugin->order[i], &key, sizeof key) != 0)
                continue;
            vk_device swap = devices[i];
            devices[i] = devices[j];
            devices[j] = swap;
            break;
        }
    }
    pthread_mutex_unlock(&plugin->lock);
}

tandem_status vk_devices_find(const vk_instance *vk, vk_device *devices, uint32_t *n, tandem_error *error) {
    VkPhysicalDevice physical[VK_MAX_DEVICES];
    uint32_t n_found = VK_MAX_DEVICES;
    VkResult result = vk_fault_check();
    if (result == VK_SUCCESS)
        result = vk->EnumeratePhysicalDevices(vk->handle, &n_found, physical);
    if (result == VK_ERROR_INITIALIZATION_FAILED || (result == VK_SUCCESS && n_found == 0))
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "The Vulkan loader lists no device");
    if (result != VK_SUCCESS && result != VK_INCOMPLETE)
        return vk_fail_driver(error, result, "vkEnumeratePhysicalDevices");
    for (uint32_t i = 0; i < n_found; i++) {
        memset(&devices[i], 0, sizeof devices[i]);
        devices[i].physical = physical[i];
        tandem_status status = inspect(vk, &devices[i], error);
        if (status != TANDEM_OK)
            return status;
    }
    keep_order(devices, n_found);
    *n = n_found;
    return TANDEM_OK;
}

/* Runs vk_devices_find on a fresh list, which the caller frees. */
static tandem_status find_all(vk_device **list, uint32_t *n, tandem_error *error) {
    const vk_instance *instance;
    *list = gpu_alloc(VK_MAX_DEVICES * sizeof **list);
    if (!*list)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the list of devices");
    tandem_status status = vk_instance_acquire(&instance, error);
    if (status != TANDEM_OK)
        return status;
    status = vk_devices_find(instance, *list, n, error);
    vk_instance_release();
    return status;
}

tandem_status gpu_device_count(uint32_t *n, tandem_error *error) {
    vk_device *list = NULL;
    uint32_t n_found = 0;
    if (!n)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "device_count: n is NULL");
    tandem_status status = find_all(&list, &n_found, error);
    if (status == TANDEM_OK)
        *n = n_found;
    gpu_free(list);
    return status;
}

tandem_status gpu_device_info(uint32_t device, tandem_device_info *info, tandem_error *error) {
    vk_device *list = NULL;
    uint32_t n_found = 0;
    tandem_status status = find_all(&list, &n_found, error);
    if (status == TANDEM_OK && device >= n_found)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "Device %u does not exist: there %s %u", device,
                                 n_found == 1 ? "is" : "are", n_found);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_GIVE(tandem_device_info, info, &list[device].info, error);
    gpu_free(list);
    return status;
}
