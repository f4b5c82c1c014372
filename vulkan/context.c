/* context.c: opens and closes the logical device of a context, and its queue. */
#include "pipeline.h"

#include <tandem/validate.h>

#include <string.h>

static void *chain(void *features, void *next, uint32_t type) {
    VkBaseOutStructure *head = features;
    head->sType = (VkStructureType)type;
    head->pNext = next;
    return features;
}

/* The device extensions to enable; names[] has room for 8. */
static uint32_t list_extensions(const vk_device *device, const char **names) {
    uint32_t n = 0;
    if (device->subgroup_control && !device->subgroup_control_core)
        names[n++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    if (device->dot && !device->dot_core)
        names[n++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    if (device->memory_budget)
        names[n++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (device->uniform_control_flow)
        names[n++] = VK_KHR_SHADER_SUBGROUP_UNIFORM_CONTROL_FLOW_EXTENSION_NAME;
    return n;
}

static tandem_status create_device(tandem_context *context, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const vk_device *device = &context->device;
    const char *extensions[8];
    float priority = 1.0f;
    VkPhysicalDeviceVulkan12Features f12 = {.bufferDeviceAddress = VK_TRUE,
                                            .timelineSemaphore = VK_TRUE,
                                            .shaderInt8 = (VkBool32)device->int8,
                                            .shaderFloat16 = (VkBool32)device->f16,
                                            .storageBuffer8BitAccess = (VkBool32)device->storage8};
    VkPhysicalDeviceVulkan11Features f11 = {.storageBuffer16BitAccess = (VkBool32)device->storage16};
    VkPhysicalDeviceSubgroupSizeControlFeatures control = {.subgroupSizeControl = VK_TRUE,
                                                           .computeFullSubgroups = VK_TRUE};
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {.shaderIntegerDotProduct = VK_TRUE};
    VkPhysicalDeviceShaderSubgroupUniformControlFlowFeaturesKHR uniform = {.shaderSubgroupUniformControlFlow =
                                                                               VK_TRUE};
    VkPhysicalDeviceFeatures2 all = {.features = {.shaderInt64 = (VkBool32)device->int64}};
    void *next = chain(&f12, NULL, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    next = chain(&f11, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
    if (device->subgroup_control)
        next = chain(&control, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
    if (device->dot)
        next = chain(&dot, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
    if (device->uniform_control_flow)
        next = chain(&uniform, next,
                     VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SUBGROUP_UNIFORM_CONTROL_FLOW_FEATURES_KHR);
    chain(&all, next, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2);
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = device->queue_family,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &all,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = list_extensions(device, extensions),
                               .ppEnabledExtensionNames = extensions};
    VK_TRY_INSTANCE(context->api.instance, CreateDevice, device->physical, &info, NULL, &context->api.handle);
fail:
    if (status == TANDEM_E_DEVICE_LOST)
        status = tandem_kit_fail(error, TANDEM_E_NEEDS_NEW_PROCESS,
                                 "The driver cannot open %s again in this process: vkCreateDevice answered "
                                 "VK_ERROR_DEVICE_LOST",
                                 device->info.name);
    return status;
}

static tandem_status load_functions(tandem_context *context, tandem_error *error) {
#define LOAD(function)                                                                                       \
    context->api.vk.function =                                                                               \
        (PFN_vk##function)context->api.instance->GetDeviceProcAddr(context->api.handle, "vk" #function);     \
    if (!context->api.vk.function)                                                                           \
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "The driver of %s lacks vk" #function,             \
                               context->device.info.name);
    VK_DEVICE_FUNCTIONS(LOAD)
#undef LOAD
    context->api.vk.GetDeviceQueue(context->api.handle, context->device.queue_family, 0, &context->api.queue);
    return TANDEM_OK;
}

static tandem_status create_queue_objects(tandem_context *context, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                      .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
    VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
    VK_TRY(context, CreateSemaphore, context->api.handle, &semaphore, NULL, &context->api.timeline);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                    .queueFamilyIndex = context->device.queue_family};
    VK_TRY(context, CreateCommandPool, context->api.handle, &pool, NULL, &context->api.command_pool);
    for (uint32_t i = 0; i < GPU_N_TRANSFER; i++) {
        VkCommandBufferAllocateInfo buffer = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                              .commandPool = context->api.command_pool,
                                              .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                              .commandBufferCount = 1};
        VK_TRY(context, AllocateCommandBuffers, context->api.handle, &buffer,
               &context->api.commands[i].handle);
    }
    VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                     .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                     .queryCount = 2 * GPU_N_PENDING};
    VK_TRY(context, CreateQueryPool, context->api.handle, &queries, NULL, &context->api.timestamps);
fail:
    return status;
}

/* Free device memory by the driver's own count; 0: it does not tell. */
static uint64_t measure_free(const tandem_context *context) {
    const vk_device *device = &context->device;
    return device->memory_budget ? vk_device_free(context->api.instance, device) : 0;
}

static tandem_status choose_device(tandem_context *context, const tandem_context_desc *desc,
                                   tandem_error *error) {
    uint32_t n = 0, index = desc->device;
    vk_device *list = gpu_alloc(VK_MAX_DEVICES * sizeof *list);
    if (!list)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the list of devices");
    tandem_status status = vk_devices_find(context->api.instance, list, &n, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_context(desc, n, error);
    if (status == TANDEM_OK && list[index].unusable[0])
        status = tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "%s cannot be used: %s", list[index].info.name,
                                 list[index].unusable);
    if (status == TANDEM_OK)
        context->device = list[index];
    gpu_free(list);
    return status;
}

tandem_status gpu_api_open(tandem_context *context, const tandem_context_desc *desc, tandem_error *error) {
    tandem_status status = vk_instance_acquire(&context->api.instance, error);
    if (status == TANDEM_OK)
        status = choose_device(context, desc, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t free_before = measure_free(context);
    status = create_device(context, error);
    if (status == TANDEM_OK)
        status = load_functions(context, error);
    if (status == TANDEM_OK)
        status = create_queue_objects(context, error);
    if (status == TANDEM_OK)
        status = vk_pipelines_create(context, error);
    if (status != TANDEM_OK)
        return status;
    uint64_t free_after = measure_free(context);
    context->driver_overhead = free_before > free_after ? free_before - free_after : 0;
    return TANDEM_OK;
}

int gpu_api_is_open(const tandem_context *context) {
    return context->api.handle && context->api.vk.DestroyDevice;
}

void gpu_api_close(tandem_context *context) {
    gpu_api_context *api = &context->api;
    if (gpu_api_is_open(context)) {
        vk_pipelines_destroy(context);
        if (api->timestamps)
            api->vk.DestroyQueryPool(api->handle, api->timestamps, NULL);
        if (api->command_pool)
            api->vk.DestroyCommandPool(api->handle, api->command_pool, NULL);
        if (api->timeline)
            api->vk.DestroySemaphore(api->handle, api->timeline, NULL);
        api->vk.DestroyDevice(api->handle, NULL);
    }
    if (api->instance)
        vk_instance_release();
}

/* Vulkan keeps nothing in a thread. */
tandem_status gpu_enter(const tandem_context *context, tandem_error *error) {
    (void)context;
    (void)error;
    return TANDEM_OK;
}

void gpu_leave(const tandem_context *context) {
    (void)context;
}
