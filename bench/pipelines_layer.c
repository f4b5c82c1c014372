/* pipelines_layer.c: a Vulkan layer that writes down what the driver's compiler made of every compute
 * pipeline.
 *
 * It stands between a program and its driver, so what is written down is what the program made: there is no
 * second list of shaders, constants or shapes. One line of JSON a pipeline goes to the file TANDEM_PIPELINES:
 * device, driver, a hash of the SPIR-V, specialisation constants in the order of their ids, subgroup size,
 * and statistics by the driver's own names (VK_KHR_pipeline_executable_properties). Works on any driver that
 * has that extension.
 *
 * Mesa's null device (RADV_FORCE_FAMILY) compiles for a card that is not there; everything else of it is
 * replaced (pipelines_null.c). bench/kernels_vulkan.py sets all this up.
 *
 * TANDEM_PIPELINES_HIDE: abilities to take from the device, so that the shaders for devices without them are
 * compiled too: int64. TANDEM_PIPELINES_SPEC: "HASH ID VALUE", a constant to change in the pipelines of one
 * module, to see that bad code is noticed.
 */
#include "pipelines_layer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OBJECTS 16u
#define MAX_STATISTICS 64u
#define LAYER __attribute__((visibility("default")))

/* ---- what the layer knows of instances, devices and modules ---- */

/* The next layer's or the driver's functions that this layer calls. */
#define INSTANCE_FUNCTIONS(X)                                                                                \
    X(DestroyInstance)                                                                                       \
    X(GetPhysicalDeviceProperties)                                                                           \
    X(GetPhysicalDeviceProperties2)                                                                          \
    X(GetPhysicalDeviceMemoryProperties2)                                                                    \
    X(GetPhysicalDeviceFeatures2)
#define DEVICE_FUNCTIONS(X)                                                                                  \
    X(DestroyDevice)                                                                                         \
    X(CreateShaderModule)                                                                                    \
    X(DestroyShaderModule)                                                                                   \
    X(CreateComputePipelines)                                                                                \
    X(GetPipelineExecutablePropertiesKHR)                                                                    \
    X(GetPipelineExecutableStatisticsKHR)
#define DECLARE(name) PFN_vk##name name;

typedef struct layer_instance {
    void *key; /* the loader's dispatch table, which an instance shares with its physical devices */
    VkInstance handle;
    PFN_vkGetInstanceProcAddr get;
    INSTANCE_FUNCTIONS(DECLARE)
} layer_instance;

typedef struct layer_device {
    void *key;
    PFN_vkGetDeviceProcAddr get;
    DEVICE_FUNCTIONS(DECLARE)
    int is_null;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[2 * VK_MAX_DRIVER_NAME_SIZE];
} layer_device;

typedef struct layer_module {
    VkShaderModule handle;
    uint64_t hash;
    struct layer_module *next;
} layer_module;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows, and the file */
static layer_instance instances[MAX_OBJECTS];
static layer_device devices[MAX_OBJECTS];
static layer_module *modules;

static void *key_of(const void *handle) {
    return *(void *const *)handle;
}

/* NULL finds a free place, and takes it. */
static layer_instance *find_instance(void *key) {
    layer_instance *found = NULL;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < MAX_OBJECTS && !found; i++)
        if (instances[i].key == key)
            found = &instances[i];
    if (found && !key)
        found->key = found;
    pthread_mutex_unlock(&lock);
    return found;
}

static layer_device *find_device(void *key) {
    layer_device *found = NULL;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < MAX_OBJECTS && !found; i++)
        if (devices[i].key == key)
            found = &devices[i];
    if (found && !key)
        found->key = found;
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- instance ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *callbacks,
                                                      VkInstance *result) {
    VkLayerInstanceCreateInfo *link = (VkLayerInstanceCreateInfo *)(uintptr_t)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO &&
                     link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerInstanceCreateInfo *)(uintptr_t)link->pNext;
    layer_instance *slot = find_instance(NULL);
    if (!link || !slot)
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetInstanceProcAddr get = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;
    VkResult status = ((PFN_vkCreateInstance)get(NULL, "vkCreateInstance"))(info, callbacks, result);
    if (status != VK_SUCCESS) {
        slot->key = NULL;
        return status;
    }
    /* note: now, since the loader answers later with this layer's own functions. */
#define LOAD(name) slot->name = (PFN_vk##name)get(*result, "vk" #name);
    INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    slot->handle = *result;
    slot->get = get;
    slot->key = key_of(*result);
    return status;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance instance,
                                                   const VkAllocationCallbacks *callbacks) {
    layer_instance *own = instance ? find_instance(key_of(instance)) : NULL;
    if (!own)
        return;
    own->DestroyInstance(instance, callbacks);
    memset(own, 0, sizeof *own);
}

/* ---- physical devices ---- */

/* Mesa says so in the name. */
static int is_null_device(const layer_instance *instance, VkPhysicalDevice physical) {
    VkPhysicalDeviceProperties properties;
    instance->GetPhysicalDeviceProperties(physical, &properties);
    return strncmp(properties.deviceName, "Null hardware", 13) == 0;
}

static int is_hidden(const char *ability) {
    const char *list = getenv("TANDEM_PIPELINES_HIDE");
    return list && strstr(list, ability) != NULL;
}

static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice physical,
                                             VkPhysicalDeviceMemoryProperties2 *result) {
    layer_instance *own = find_instance(key_of(physical));
    own->GetPhysicalDeviceMemoryProperties2(physical, result);
    if (is_null_device(own, physical))
        null_device_memory(result);
}

static VKAPI_ATTR void VKAPI_CALL get_features(VkPhysicalDevice physical, VkPhysicalDeviceFeatures2 *result) {
    layer_instance *own = find_instance(key_of(physical));
    own->GetPhysicalDeviceFeatures2(physical, result);
    if (is_hidden("int64"))
        result->features.shaderInt64 = VK_FALSE;
}

/* ---- device ---- */

static void describe_device(layer_device *device, const layer_instance *instance, VkPhysicalDevice physical) {
    VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
    VkPhysicalDeviceProperties2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                       .pNext = &driver};
    instance->GetPhysicalDeviceProperties2(physical, &all);
    snprintf(device->name, sizeof device->name, "%s", all.properties.deviceName);
    snprintf(device->driver, sizeof device->driver, "%s %s", driver.driverName, driver.driverInfo);
    device->is_null = is_null_device(instance, physical);
}

/* The device with the extension that tells, unless the program enables it itself. */
static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkDevice *result) {
    VkLayerDeviceCreateInfo *link = (VkLayerDeviceCreateInfo *)(uintptr_t)info->pNext;
    while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO &&
                     link->function == VK_LAYER_LINK_INFO))
        link = (VkLayerDeviceCreateInfo *)(uintptr_t)link->pNext;
    layer_instance *instance = find_instance(key_of(physical));
    layer_device *slot = find_device(NULL);
    if (!link || !instance || !slot)
        return VK_ERROR_INITIALIZATION_FAILED;
    PFN_vkGetDeviceProcAddr get = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
    PFN_vkGetInstanceProcAddr get_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
    link->u.pLayerInfo = link->u.pLayerInfo->pNext;

    const char *extensions[64];
    uint32_t n = info->enabledExtensionCount;
    if (n >= sizeof extensions / sizeof extensions[0])
        return VK_ERROR_INITIALIZATION_FAILED;
    for (uint32_t i = 0; i < n; i++)
        extensions[i] = info->ppEnabledExtensionNames[i];
    extensions[n] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR telling = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pNext = (void *)(uintptr_t)info->pNext,
        .pipelineExecutableInfo = VK_TRUE};
    VkDeviceCreateInfo changed = *info;
    changed.pNext = &telling;
    changed.enabledExtensionCount = n + 1;
    changed.ppEnabledExtensionNames = extensions;
    PFN_vkCreateDevice create = (PFN_vkCreateDevice)get_instance(instance->handle, "vkCreateDevice");
    VkResult status = create(physical, &changed, callbacks, result);
    if (status != VK_SUCCESS) {
        slot->key = NULL;
        return status;
    }
#define LOAD(name) slot->name = (PFN_vk##name)get(*result, "vk" #name);
    DEVICE_FUNCTIONS(LOAD)
#undef LOAD
    slot->get = get;
    describe_device(slot, instance, physical);
    slot->key = key_of(*result);
    return status;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice device, const VkAllocationCallbacks *callbacks) {
    layer_device *own = device ? find_device(key_of(device)) : NULL;
    if (!own)
        return;
    own->DestroyDevice(device, callbacks);
    memset(own, 0, sizeof *own);
}

/* ---- modules ---- */

#define HEADER_WORDS 5u
#define OP_EXTENSION 10u
#define OP_EXECUTION_MODE 16u

/* FNV-1a, 64 bits, of the instructions but extensions and execution modes, which a program may add to a
 * module of its build by what the device can do. note: kernels_vulkan.py does the same. */
static uint64_t hash_module(const uint32_t *words, size_t n_word) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t at = HEADER_WORDS; at < n_word;) {
        uint32_t opcode = words[at] & 0xffff, n = words[at] >> 16;
        if (n == 0 || n > n_word - at)
            return 0; /* no SPIR-V */
        if (opcode != OP_EXTENSION && opcode != OP_EXECUTION_MODE)
            for (const unsigned char *p = (const unsigned char *)&words[at];
                 p < (const unsigned char *)&words[at + n]; p++)
                hash = (hash ^ *p) * 0x100000001b3u;
        at += n;
    }
    return hash;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkShaderModule *result) {
    layer_module *module = malloc(sizeof *module);
    if (!module)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    VkResult status = find_device(key_of(device))->CreateShaderModule(device, info, callbacks, result);
    if (status != VK_SUCCESS) {
        free(module);
        return status;
    }
    module->handle = *result;
    module->hash = hash_module(info->pCode, info->codeSize / sizeof(uint32_t));
    pthread_mutex_lock(&lock);
    module->next = modules;
    modules = module;
    pthread_mutex_unlock(&lock);
    return status;
}

static VKAPI_ATTR void VKAPI_CALL destroy_module(VkDevice device, VkShaderModule handle,
                                                 const VkAllocationCallbacks *callbacks) {
    pthread_mutex_lock(&lock);
    layer_module **place = &modules;
    while (*place && (*place)->handle != handle)
        place = &(*place)->next;
    layer_module *module = *place;
    if (module)
        *place = module->next;
    pthread_mutex_unlock(&lock);
    free(module);
    find_device(key_of(device))->DestroyShaderModule(device, handle, callbacks);
}

static uint64_t hash_of(VkShaderModule handle) {
    uint64_t hash = 0;
    pthread_mutex_lock(&lock);
    for (const layer_module *module = modules; module; module = module->next)
        if (module->handle == handle)
            hash = module->hash;
    pthread_mutex_unlock(&lock);
    return hash;
}

/* ---- pipelines ---- */

static void print_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        if ((unsigned char)*text >= ' ')
            fputc(*text, file);
    }
    fputc('"', file);
}

static void print_value(FILE *file, const VkPipelineExecutableStatisticKHR *s) {
    switch (s->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        fprintf(file, "%" PRId64, s->value.i64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_FLOAT64_KHR:
        fprintf(file, "%.9g", s->value.f64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        fprintf(file, "%s", s->value.b32 ? "true" : "false");
        break;
    default:
        fprintf(file, "%" PRIu64, s->value.u64);
    }
}

/* The statistics of a compute pipeline's one executable; null where the driver does not tell. */
static void print_statistics(FILE *file, const layer_device *device, VkDevice handle, VkPipeline pipeline,
                             uint32_t *subgroup) {
    VkPipelineInfoKHR whole = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutablePropertiesKHR properties = {.sType =
                                                        VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
    VkPipelineExecutableInfoKHR first = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR,
                                         .pipeline = pipeline};
    VkPipelineExecutableStatisticKHR list[MAX_STATISTICS];
    uint32_t n = 1, n_statistic = MAX_STATISTICS;
    for (uint32_t i = 0; i < MAX_STATISTICS; i++)
        list[i] =
            (VkPipelineExecutableStatisticKHR){.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR};
    if (device->GetPipelineExecutablePropertiesKHR(handle, &whole, &n, &properties) < 0 || n != 1 ||
        device->GetPipelineExecutableStatisticsKHR(handle, &first, &n_statistic, list) != VK_SUCCESS) {
        fputs("null", file);
        return;
    }
    *subgroup = properties.subgroupSize;
    for (uint32_t i = 0; i < n_statistic; i++) {
        fputs(i ? ", " : "{", file);
        print_text(file, list[i].name);
        fputs(": ", file);
        print_value(file, &list[i]);
    }
    fputs(n_statistic ? "}" : "null", file);
}

static void write_line(const layer_device *device, VkDevice handle, uint64_t hash,
                       const VkSpecializationInfo *spec, VkPipeline pipeline) {
    const char *path = getenv("TANDEM_PIPELINES");
    uint32_t subgroup = 0;
    pthread_mutex_lock(&lock);
    FILE *file = path ? fopen(path, "ae") : NULL;
    if (!file) {
        fprintf(stderr, "pipelines layer: TANDEM_PIPELINES names no file that can be written\n");
        pthread_mutex_unlock(&lock);
        return;
    }
    fputs("{\"device\": ", file);
    print_text(file, device->name);
    fputs(", \"driver\": ", file);
    print_text(file, device->driver);
    fprintf(file, ", \"spirv\": \"%016" PRIx64 "\", \"spec\": [", hash);
    for (uint32_t i = 0; spec && i < spec->mapEntryCount; i++) {
        uint32_t value;
        memcpy(&value, (const char *)spec->pData + spec->pMapEntries[i].offset, sizeof value);
        fprintf(file, "%s%u", i ? ", " : "", value);
    }
    fputs("], \"statistics\": ", file);
    print_statistics(file, device, handle, pipeline, &subgroup);
    fprintf(file, ", \"subgroup_size\": %u}\n", subgroup);
    fclose(file);
    pthread_mutex_unlock(&lock);
}

/* TANDEM_PIPELINES_SPEC, on the constants of a pipeline of module `hash`. */
static void change_constant(uint64_t hash, const VkSpecializationInfo *spec) {
    const char *wish = getenv("TANDEM_PIPELINES_SPEC");
    uint64_t wanted;
    uint32_t id, value;
    if (!wish || !spec || sscanf(wish, "%" SCNx64 " %u %u", &wanted, &id, &value) != 3 || wanted != hash)
        return;
    for (uint32_t i = 0; i < spec->mapEntryCount; i++)
        if (spec->pMapEntries[i].constantID == id)
            memcpy((char *)(uintptr_t)spec->pData + spec->pMapEntries[i].offset, &value, sizeof value);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t n,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *callbacks,
                                                       VkPipeline *results) {
    const layer_device *own = find_device(key_of(device));
    for (uint32_t i = 0; i < n; i++) {
        VkComputePipelineCreateInfo info = infos[i];
        uint64_t hash = hash_of(info.stage.module);
        info.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
        change_constant(hash, info.stage.pSpecializationInfo);
        VkResult status = own->CreateComputePipelines(device, cache, 1, &info, callbacks, &results[i]);
        if (status != VK_SUCCESS) {
            for (; i < n; i++)
                results[i] = VK_NULL_HANDLE;
            return status;
        }
        write_line(own, device, hash, info.stage.pSpecializationInfo, results[i]);
    }
    return VK_SUCCESS;
}

/* ---- how the loader finds all this ---- */

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_function(VkDevice device, const char *name);
static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_function(VkInstance instance, const char *name);

static PFN_vkVoidFunction own_function(const char *name) {
#define OWN(vk, function)                                                                                    \
    { vk, (PFN_vkVoidFunction)(function) }
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } table[] = {
        OWN("vkGetInstanceProcAddr", get_instance_function),
        OWN("vkCreateInstance", create_instance),
        OWN("vkDestroyInstance", destroy_instance),
        OWN("vkGetPhysicalDeviceMemoryProperties2", get_memory),
        OWN("vkGetPhysicalDeviceFeatures2", get_features),
        OWN("vkCreateDevice", create_device),
        OWN("vkGetDeviceProcAddr", get_device_function),
        OWN("vkDestroyDevice", destroy_device),
        OWN("vkCreateShaderModule", create_module),
        OWN("vkDestroyShaderModule", destroy_module),
        OWN("vkCreateComputePipelines", create_pipelines),
    };
#undef OWN
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].function;
    return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_function(VkDevice device, const char *name) {
    const layer_device *own = find_device(key_of(device));
    PFN_vkVoidFunction function = own_function(name);
    if (!function && own && own->is_null)
        function = null_device_function(name);
    return function || !own ? function : own->get(device, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_function(VkInstance instance, const char *name) {
    PFN_vkVoidFunction function = own_function(name);
    const layer_instance *own = instance && !function ? find_instance(key_of(instance)) : NULL;
    return own ? own->get(instance, name) : function;
}

LAYER VkResult vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface);

LAYER VkResult vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
    interface->loaderLayerInterfaceVersion = 2;
    interface->pfnGetInstanceProcAddr = get_instance_function;
    interface->pfnGetDeviceProcAddr = get_device_function;
    interface->pfnGetPhysicalDeviceProcAddr = NULL;
    return VK_SUCCESS;
}
