/* bench_vulkan.c: see bench_vulkan.h. */
#include "bench_vulkan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_SPEC 16

void bench_die(const char *what, int code) {
    fprintf(stderr, "bench: %s (code %d)\n", what, code);
    exit(3);
}

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        VkResult result_ = (call);                                                                           \
        if (result_ != VK_SUCCESS)                                                                           \
            bench_die(#call " failed", (int)result_);                                                        \
    } while (0)

static void pick_device(bench_device *device, uint32_t index) {
    VkPhysicalDevice all[16];
    uint32_t n = 16;
    VkResult result = vkEnumeratePhysicalDevices(device->instance, &n, all);
    if ((result != VK_SUCCESS && result != VK_INCOMPLETE) || index >= n)
        bench_die("no Vulkan device of that number", (int)result);
    device->physical = all[index];

    VkPhysicalDeviceSubgroupProperties subgroup = {.sType =
                                                       VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                              .pNext = &subgroup};
    vkGetPhysicalDeviceProperties2(device->physical, &properties);
    snprintf(device->name, sizeof device->name, "%s", properties.properties.deviceName);
    device->software = properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
    device->tick_ns = properties.properties.limits.timestampPeriod;
    device->subgroup_size = subgroup.subgroupSize;
    vkGetPhysicalDeviceMemoryProperties(device->physical, &device->memory);
}

static void create_device(bench_device *device) {
    VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES};
    VkPhysicalDeviceVulkan12Features f12 = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                            .pNext = &dot};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                          .pNext = &f12};
    vkGetPhysicalDeviceFeatures2(device->physical, &features);
    if (!f12.bufferDeviceAddress)
        bench_die("the device has no buffer device addresses", 0);
    device->int64 = features.features.shaderInt64;
    device->integer_dot = dot.shaderIntegerDotProduct;

    dot.pNext = NULL;
    f12 = (VkPhysicalDeviceVulkan12Features){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                             .pNext = dot.shaderIntegerDotProduct ? &dot : NULL,
                                             .bufferDeviceAddress = VK_TRUE};
    features.features = (VkPhysicalDeviceFeatures){.shaderInt64 = (VkBool32)device->int64};
    const char *extension = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    float priority = 1;
    VkDeviceQueueCreateInfo queue = {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                     .queueFamilyIndex = 0,
                                     .queueCount = 1,
                                     .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = dot.shaderIntegerDotProduct ? 1 : 0,
                               .ppEnabledExtensionNames = &extension};
    TRY(vkCreateDevice(device->physical, &info, NULL, &device->handle));
    vkGetDeviceQueue(device->handle, 0, 0, &device->queue);
}

void bench_device_open(bench_device *device, uint32_t index) {
    *device = (bench_device){0};
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO, .apiVersion = VK_API_VERSION_1_2};
    VkInstanceCreateInfo instance = {.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                     .pApplicationInfo = &app};
    TRY(vkCreateInstance(&instance, NULL, &device->instance));
    pick_device(device, index);
    create_device(device);
    VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                    .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT};
    TRY(vkCreateCommandPool(device->handle, &pool, NULL, &device->pool));
    VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                            .commandPool = device->pool,
                                            .commandBufferCount = 1};
    TRY(vkAllocateCommandBuffers(device->handle, &allocate, &device->commands));
    VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                     .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                     .queryCount = 2};
    TRY(vkCreateQueryPool(device->handle, &queries, NULL, &device->queries));
}

void bench_device_close(bench_device *device) {
    vkDestroyQueryPool(device->handle, device->queries, NULL);
    vkDestroyCommandPool(device->handle, device->pool, NULL);
    vkDestroyDevice(device->handle, NULL);
    vkDestroyInstance(device->instance, NULL);
    *device = (bench_device){0};
}

/* The first memory type with all of `wanted`, else with all of `needed`. */
static uint32_t memory_type(const bench_device *device, uint32_t bits, VkMemoryPropertyFlags wanted,
                            VkMemoryPropertyFlags needed) {
    for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < device->memory.memoryTypeCount; i++) {
            VkMemoryPropertyFlags flags = pass == 0 ? wanted : needed;
            if ((bits >> i & 1) && (device->memory.memoryTypes[i].propertyFlags & flags) == flags)
                return i;
        }
    bench_die("no fitting memory type", 0);
    return 0;
}

static bench_buffer create_buffer(const bench_device *device, uint64_t bytes, VkMemoryPropertyFlags wanted,
                                  VkMemoryPropertyFlags needed) {
    bench_buffer buffer = {.bytes = bytes};
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = bytes,
                               .usage = VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    TRY(vkCreateBuffer(device->handle, &info, NULL, &buffer.handle));
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device->handle, buffer.handle, &needs);
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .pNext = &flags,
                                     .allocationSize = needs.size,
                                     .memoryTypeIndex =
                                         memory_type(device, needs.memoryTypeBits, wanted, needed)};
    TRY(vkAllocateMemory(device->handle, &allocate, NULL, &buffer.memory));
    TRY(vkBindBufferMemory(device->handle, buffer.handle, buffer.memory, 0));
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = buffer.handle};
    buffer.address = vkGetBufferDeviceAddress(device->handle, &address);
    VkMemoryPropertyFlags got = device->memory.memoryTypes[allocate.memoryTypeIndex].propertyFlags;
    if (got & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
        TRY(vkMapMemory(device->handle, buffer.memory, 0, VK_WHOLE_SIZE, 0, &buffer.host));
    return buffer;
}

bench_buffer bench_buffer_create(const bench_device *device, uint64_t bytes) {
    return create_buffer(device, bytes, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0);
}

void bench_buffer_destroy(const bench_device *device, bench_buffer *buffer) {
    vkDestroyBuffer(device->handle, buffer->handle, NULL);
    vkFreeMemory(device->handle, buffer->memory, NULL);
    *buffer = (bench_buffer){0};
}

static void begin(const bench_device *device) {
    VkCommandBufferBeginInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                     .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
    TRY(vkBeginCommandBuffer(device->commands, &info));
}

static void submit(const bench_device *device) {
    TRY(vkEndCommandBuffer(device->commands));
    VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .commandBufferCount = 1,
                         .pCommandBuffers = &device->commands};
    TRY(vkQueueSubmit(device->queue, 1, &info, VK_NULL_HANDLE));
    TRY(vkQueueWaitIdle(device->queue));
}

static void copy(const bench_device *device, VkBuffer from, VkBuffer to, uint64_t bytes) {
    begin(device);
    VkBufferCopy region = {.size = bytes};
    vkCmdCopyBuffer(device->commands, from, to, 1, &region);
    submit(device);
}

static bench_buffer staging(const bench_device *device, uint64_t bytes) {
    VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    return create_buffer(device, bytes, host | VK_MEMORY_PROPERTY_HOST_CACHED_BIT, host);
}

void bench_upload(const bench_device *device, const bench_buffer *buffer, const void *from, uint64_t bytes) {
    if (buffer->host) {
        memcpy(buffer->host, from, bytes);
        return;
    }
    bench_buffer stage = staging(device, bytes);
    memcpy(stage.host, from, bytes);
    copy(device, stage.handle, buffer->handle, bytes);
    bench_buffer_destroy(device, &stage);
}

void bench_download(const bench_device *device, const bench_buffer *buffer, void *to, uint64_t bytes) {
    if (buffer->host) {
        memcpy(to, buffer->host, bytes);
        return;
    }
    bench_buffer stage = staging(device, bytes);
    copy(device, buffer->handle, stage.handle, bytes);
    memcpy(to, stage.host, bytes);
    bench_buffer_destroy(device, &stage);
}

static uint32_t *read_spirv(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "bench: cannot open %s\n", path);
        exit(3);
    }
    long size = -1;
    if (fseek(file, 0, SEEK_END) == 0)
        size = ftell(file);
    rewind(file);
    uint32_t *words = size > 0 ? malloc((size_t)size) : NULL;
    if (!words || fread(words, 1, (size_t)size, file) != (size_t)size)
        bench_die("cannot read a shader file", 0);
    fclose(file);
    *bytes = (size_t)size;
    return words;
}

bench_pipeline bench_pipeline_create(const bench_device *device, const char *spv_path, uint32_t push_bytes,
                                     const uint32_t *spec, uint32_t n_spec) {
    bench_pipeline pipeline = {.push_bytes = push_bytes};
    size_t bytes;
    uint32_t *words = read_spirv(spv_path, &bytes);
    VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = bytes, .pCode = words};
    VkShaderModule shader;
    TRY(vkCreateShaderModule(device->handle, &module, NULL, &shader));
    free(words);
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .size = push_bytes};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    TRY(vkCreatePipelineLayout(device->handle, &layout, NULL, &pipeline.layout));
    VkSpecializationMapEntry entries[MAX_SPEC];
    for (uint32_t i = 0; i < n_spec && i < MAX_SPEC; i++)
        entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    VkSpecializationInfo constants = {n_spec, entries, 4 * n_spec, spec};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = shader,
                  .pName = "main",
                  .pSpecializationInfo = &constants},
        .layout = pipeline.layout};
    TRY(vkCreateComputePipelines(device->handle, VK_NULL_HANDLE, 1, &info, NULL, &pipeline.handle));
    vkDestroyShaderModule(device->handle, shader, NULL);
    return pipeline;
}

void bench_pipeline_destroy(const bench_device *device, bench_pipeline *pipeline) {
    vkDestroyPipeline(device->handle, pipeline->handle, NULL);
    vkDestroyPipelineLayout(device->handle, pipeline->layout, NULL);
    *pipeline = (bench_pipeline){0};
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void barrier(const bench_device *device, VkPipelineStageFlags stages, VkAccessFlags access) {
    VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                              .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                              .dstAccessMask = access};
    vkCmdPipelineBarrier(device->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, stages, 0, 1, &memory, 0,
                         NULL, 0, NULL);
}

double bench_run_all(const bench_device *device, const bench_launch *launches, uint32_t n, int clock) {
    begin(device);
    vkCmdResetQueryPool(device->commands, device->queries, 0, 2);
    vkCmdWriteTimestamp(device->commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, device->queries, 0);
    for (uint32_t i = 0; i < n; i++) {
        const bench_launch *launch = &launches[i];
        if (launch->waits)
            barrier(device, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                    VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
        vkCmdBindPipeline(device->commands, VK_PIPELINE_BIND_POINT_COMPUTE, launch->pipeline->handle);
        vkCmdPushConstants(device->commands, launch->pipeline->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                           launch->pipeline->push_bytes, launch->push);
        vkCmdDispatch(device->commands, launch->x, launch->y, 1);
    }
    vkCmdWriteTimestamp(device->commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, device->queries, 1);
    barrier(device, VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT);
    double start = cpu_seconds();
    submit(device);
    double cpu = cpu_seconds() - start;
    uint64_t ticks[2];
    TRY(vkGetQueryPoolResults(device->handle, device->queries, 0, 2, sizeof ticks, ticks, sizeof ticks[0],
                              VK_QUERY_RESULT_64_BIT | VK_QUERY_RESULT_WAIT_BIT));
    return clock == BENCH_CPU_TIME ? cpu : (double)(ticks[1] - ticks[0]) * device->tick_ns * 1e-9;
}

double bench_run(const bench_device *device, const bench_pipeline *pipeline, const void *push, uint32_t x,
                 uint32_t y, int clock) {
    bench_launch launch = {.pipeline = pipeline, .push = push, .x = x, .y = y};
    return bench_run_all(device, &launch, 1, clock);
}
