/* pipelines_null.c: memory, command buffers, semaphores and queue of Mesa's null device.
 *
 * That device compiles pipelines and nothing else: it lists no memory, maps NULL, has no timeline semaphores,
 * and faults when a command buffer begins. Here memory is host memory that is not taken before it is touched,
 * and an address is that of the host. Shaders do not run, so results mean nothing; copies between buffers do,
 * when they are submitted, because hosts read back what they wrote. But nothing is kept in buffers of more
 * than KEPT_BYTES: those are weights, gigabytes of them, which nobody reads.
 */
#include "pipelines_layer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define DEVICE_BYTES (24ull << 30)
#define HOST_BYTES (64ull << 30)
#define ALIGNMENT 256u
#define KEPT_BYTES (8u << 20)

typedef struct null_memory {
    void *bytes;
    uint64_t n;
} null_memory;

typedef struct null_buffer {
    uint64_t n;
    char *address;
} null_buffer;

typedef struct null_copy {
    char *to;
    const char *from; /* NULL: `value` */
    uint64_t n;
    uint32_t value;
} null_copy;

/* First the loader's dispatch table, as in every dispatchable object. */
typedef struct null_commands {
    void *loader;
    null_copy *copies;
    uint32_t n_copy, capacity;
    int failed; /* a copy found no memory */
} null_commands;

#define HANDLE(type, pointer) ((type)(uintptr_t)(pointer))
#define OBJECT(type, handle) ((type *)(uintptr_t)(handle))

/* ---- memory ---- */

void null_device_memory(VkPhysicalDeviceMemoryProperties2 *properties) {
    VkPhysicalDeviceMemoryProperties *own = &properties->memoryProperties;
    *own = (VkPhysicalDeviceMemoryProperties){
        .memoryTypeCount = 2,
        .memoryTypes = {{VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, 0},
                        {VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT |
                             VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
                         1}},
        .memoryHeapCount = 2,
        .memoryHeaps = {{DEVICE_BYTES, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT}, {HOST_BYTES, 0}}};
    for (VkBaseOutStructure *next = properties->pNext; next; next = next->pNext) {
        if (next->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT)
            continue;
        VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget = (void *)next;
        memset(budget->heapUsage, 0, sizeof budget->heapUsage);
        budget->heapBudget[0] = DEVICE_BYTES;
        budget->heapBudget[1] = HOST_BYTES;
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice device, const VkMemoryAllocateInfo *info,
                                                      const VkAllocationCallbacks *callbacks,
                                                      VkDeviceMemory *result) {
    (void)device, (void)callbacks;
    null_memory *memory = malloc(sizeof *memory);
    if (!memory)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    memory->n = info->allocationSize;
    memory->bytes =
        mmap(NULL, memory->n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory->bytes == MAP_FAILED) {
        free(memory);
        return VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    *result = HANDLE(VkDeviceMemory, memory);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice device, VkDeviceMemory handle,
                                              const VkAllocationCallbacks *callbacks) {
    (void)device, (void)callbacks;
    null_memory *memory = OBJECT(null_memory, handle);
    if (memory)
        munmap(memory->bytes, memory->n);
    free(memory);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset,
                                                 VkDeviceSize size, VkMemoryMapFlags flags, void **result) {
    (void)device, (void)size, (void)flags;
    *result = (char *)OBJECT(null_memory, memory)->bytes + offset;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_buffer(VkDevice device, const VkBufferCreateInfo *info,
                                                    const VkAllocationCallbacks *callbacks,
                                                    VkBuffer *result) {
    (void)device, (void)callbacks;
    null_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer)
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    buffer->n = info->size;
    *result = HANDLE(VkBuffer, buffer);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL destroy_buffer(VkDevice device, VkBuffer buffer,
                                                 const VkAllocationCallbacks *callbacks) {
    (void)device, (void)callbacks;
    free(OBJECT(null_buffer, buffer));
}

static VKAPI_ATTR void VKAPI_CALL buffer_requirements(VkDevice device, VkBuffer buffer,
                                                      VkMemoryRequirements *requirements) {
    (void)device;
    *requirements = (VkMemoryRequirements){.size = (OBJECT(null_buffer, buffer)->n + ALIGNMENT - 1) &
                                                   ~(uint64_t)(ALIGNMENT - 1),
                                           .alignment = ALIGNMENT,
                                           .memoryTypeBits = 3};
}

static VKAPI_ATTR VkResult VKAPI_CALL bind_memory(VkDevice device, VkBuffer buffer, VkDeviceMemory memory,
                                                  VkDeviceSize offset) {
    (void)device;
    OBJECT(null_buffer, buffer)->address = (char *)OBJECT(null_memory, memory)->bytes + offset;
    return VK_SUCCESS;
}

static VKAPI_ATTR VkDeviceAddress VKAPI_CALL buffer_address(VkDevice device,
                                                            const VkBufferDeviceAddressInfo *info) {
    (void)device;
    return (VkDeviceAddress)(uintptr_t)OBJECT(null_buffer, info->buffer)->address;
}

/* ---- commands ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_pool(VkDevice device, const VkCommandPoolCreateInfo *info,
                                                  const VkAllocationCallbacks *callbacks,
                                                  VkCommandPool *result) {
    (void)device, (void)info, (void)callbacks;
    void *pool = malloc(1);
    *result = HANDLE(VkCommandPool, pool);
    return pool ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}

static VKAPI_ATTR void VKAPI_CALL destroy_pool(VkDevice device, VkCommandPool pool,
                                               const VkAllocationCallbacks *callbacks) {
    (void)device, (void)callbacks;
    free(OBJECT(void, pool));
}

static VKAPI_ATTR void VKAPI_CALL free_commands(VkDevice device, VkCommandPool pool, uint32_t n,
                                                const VkCommandBuffer *commands) {
    (void)device, (void)pool;
    for (uint32_t i = 0; i < n; i++) {
        if (commands[i])
            free(((null_commands *)commands[i])->copies);
        free(commands[i]);
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_commands(VkDevice device,
                                                        const VkCommandBufferAllocateInfo *info,
                                                        VkCommandBuffer *result) {
    for (uint32_t i = 0; i < info->commandBufferCount; i++) {
        null_commands *commands = calloc(1, sizeof *commands);
        result[i] = (VkCommandBuffer)commands;
        if (!commands) {
            free_commands(device, info->commandPool, i, result);
            return VK_ERROR_OUT_OF_HOST_MEMORY;
        }
        commands->loader = *(void **)device;
    }
    return VK_SUCCESS;
}

static void forget(VkCommandBuffer handle) {
    null_commands *commands = (null_commands *)handle;
    commands->n_copy = 0;
    commands->failed = 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL begin_commands(VkCommandBuffer commands,
                                                     const VkCommandBufferBeginInfo *info) {
    (void)info;
    forget(commands);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL end_commands(VkCommandBuffer commands) {
    return ((null_commands *)commands)->failed ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL reset_commands(VkCommandBuffer commands,
                                                     VkCommandBufferResetFlags flags) {
    (void)flags;
    forget(commands);
    return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL bind_pipeline(VkCommandBuffer commands, VkPipelineBindPoint point,
                                                VkPipeline pipeline) {
    (void)commands, (void)point, (void)pipeline;
}

static VKAPI_ATTR void VKAPI_CALL push_constants(VkCommandBuffer commands, VkPipelineLayout layout,
                                                 VkShaderStageFlags stages, uint32_t offset, uint32_t size,
                                                 const void *values) {
    (void)commands, (void)layout, (void)stages, (void)offset, (void)size, (void)values;
}

static VKAPI_ATTR void VKAPI_CALL dispatch(VkCommandBuffer commands, uint32_t x, uint32_t y, uint32_t z) {
    (void)commands, (void)x, (void)y, (void)z;
}

static VKAPI_ATTR void VKAPI_CALL dispatch_indirect(VkCommandBuffer commands, VkBuffer buffer,
                                                    VkDeviceSize offset) {
    (void)commands, (void)buffer, (void)offset;
}

static VKAPI_ATTR void VKAPI_CALL barrier(VkCommandBuffer commands, VkPipelineStageFlags from,
                                          VkPipelineStageFlags to, VkDependencyFlags flags, uint32_t n_memory,
                                          const VkMemoryBarrier *memory, uint32_t n_buffer,
                                          const VkBufferMemoryBarrier *buffers, uint32_t n_image,
                                          const VkImageMemoryBarrier *images) {
    (void)commands, (void)from, (void)to, (void)flags, (void)n_memory, (void)memory, (void)n_buffer,
        (void)buffers;
    (void)n_image, (void)images;
}

static void add_copy(VkCommandBuffer handle, const null_buffer *to, null_copy copy) {
    null_commands *commands = (null_commands *)handle;
    if (to->n > KEPT_BYTES)
        return;
    if (commands->n_copy == commands->capacity) {
        uint32_t capacity = commands->capacity ? 2 * commands->capacity : 16;
        null_copy *copies = realloc(commands->copies, capacity * sizeof *copies);
        if (!copies) {
            commands->failed = 1;
            return;
        }
        commands->copies = copies;
        commands->capacity = capacity;
    }
    commands->copies[commands->n_copy++] = copy;
}

static VKAPI_ATTR void VKAPI_CALL copy_buffer(VkCommandBuffer commands, VkBuffer from, VkBuffer to,
                                              uint32_t n, const VkBufferCopy *regions) {
    const null_buffer *source = OBJECT(null_buffer, from), *target = OBJECT(null_buffer, to);
    for (uint32_t i = 0; i < n; i++)
        add_copy(commands, target,
                 (null_copy){.to = target->address + regions[i].dstOffset,
                             .from = source->address + regions[i].srcOffset,
                             .n = regions[i].size});
}

static VKAPI_ATTR void VKAPI_CALL fill_buffer(VkCommandBuffer commands, VkBuffer buffer, VkDeviceSize offset,
                                              VkDeviceSize size, uint32_t value) {
    const null_buffer *target = OBJECT(null_buffer, buffer);
    add_copy(commands, target,
             (null_copy){.to = target->address + offset,
                         .n = size == VK_WHOLE_SIZE ? (target->n - offset) & ~3ull : size,
                         .value = value});
}

/* A word at a time, so that no bytes of the caller have to be kept. */
static VKAPI_ATTR void VKAPI_CALL update_buffer(VkCommandBuffer commands, VkBuffer buffer,
                                                VkDeviceSize offset, VkDeviceSize size, const void *values) {
    const null_buffer *target = OBJECT(null_buffer, buffer);
    for (uint64_t i = 0; i < size; i += sizeof(uint32_t)) {
        null_copy copy = {.to = target->address + offset + i, .n = sizeof(uint32_t)};
        memcpy(&copy.value, (const char *)values + i, sizeof copy.value);
        add_copy(commands, target, copy);
    }
}

static void make_copies(const null_commands *commands) {
    for (uint32_t i = 0; i < commands->n_copy; i++) {
        const null_copy *copy = &commands->copies[i];
        if (copy->from)
            memmove(copy->to, copy->from, copy->n);
        for (uint64_t j = 0; !copy->from && j < copy->n; j += sizeof copy->value)
            memcpy(copy->to + j, &copy->value, sizeof copy->value);
    }
}

static VKAPI_ATTR void VKAPI_CALL reset_queries(VkCommandBuffer commands, VkQueryPool pool, uint32_t first,
                                                uint32_t n) {
    (void)commands, (void)pool, (void)first, (void)n;
}

static VKAPI_ATTR void VKAPI_CALL write_timestamp(VkCommandBuffer commands, VkPipelineStageFlagBits stage,
                                                  VkQueryPool pool, uint32_t query) {
    (void)commands, (void)stage, (void)pool, (void)query;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_queries(VkDevice device, const VkQueryPoolCreateInfo *info,
                                                     const VkAllocationCallbacks *callbacks,
                                                     VkQueryPool *result) {
    (void)device, (void)info, (void)callbacks;
    void *pool = malloc(1);
    *result = HANDLE(VkQueryPool, pool);
    return pool ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}

static VKAPI_ATTR void VKAPI_CALL destroy_queries(VkDevice device, VkQueryPool pool,
                                                  const VkAllocationCallbacks *callbacks) {
    (void)device, (void)callbacks;
    free(OBJECT(void, pool));
}

static VKAPI_ATTR VkResult VKAPI_CALL query_results(VkDevice device, VkQueryPool pool, uint32_t first,
                                                    uint32_t n, size_t size, void *data, VkDeviceSize stride,
                                                    VkQueryResultFlags flags) {
    (void)device, (void)pool, (void)first, (void)n, (void)stride, (void)flags;
    memset(data, 0, size);
    return VK_SUCCESS;
}

/* ---- queue ---- */

static VKAPI_ATTR VkResult VKAPI_CALL create_semaphore(VkDevice device, const VkSemaphoreCreateInfo *info,
                                                       const VkAllocationCallbacks *callbacks,
                                                       VkSemaphore *result) {
    (void)device, (void)info, (void)callbacks;
    uint64_t *value = calloc(1, sizeof *value);
    *result = HANDLE(VkSemaphore, value);
    return value ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}

static VKAPI_ATTR void VKAPI_CALL destroy_semaphore(VkDevice device, VkSemaphore semaphore,
                                                    const VkAllocationCallbacks *callbacks) {
    (void)device, (void)callbacks;
    free(OBJECT(uint64_t, semaphore));
}

static VKAPI_ATTR VkResult VKAPI_CALL submit(VkQueue queue, uint32_t n, const VkSubmitInfo *infos,
                                             VkFence fence) {
    (void)queue, (void)fence;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < infos[i].commandBufferCount; j++)
            make_copies((const null_commands *)infos[i].pCommandBuffers[j]);
        const VkBaseInStructure *next = infos[i].pNext;
        while (next && next->sType != VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO)
            next = next->pNext;
        const VkTimelineSemaphoreSubmitInfo *timeline = (const void *)next;
        for (uint32_t j = 0; timeline && j < infos[i].signalSemaphoreCount; j++)
            *OBJECT(uint64_t, infos[i].pSignalSemaphores[j]) = timeline->pSignalSemaphoreValues[j];
    }
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_semaphores(VkDevice device, const VkSemaphoreWaitInfo *info,
                                                      uint64_t timeout_ns) {
    (void)device, (void)timeout_ns;
    for (uint32_t i = 0; i < info->semaphoreCount; i++)
        if (*OBJECT(uint64_t, info->pSemaphores[i]) < info->pValues[i])
            return VK_TIMEOUT; /* nobody will signal it: whatever was submitted has ended */
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL semaphore_value(VkDevice device, VkSemaphore semaphore,
                                                      uint64_t *value) {
    (void)device;
    *value = *OBJECT(uint64_t, semaphore);
    return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL wait_idle(VkDevice device) {
    (void)device;
    return VK_SUCCESS;
}

PFN_vkVoidFunction null_device_function(const char *name) {
#define STAND_IN(vk, function)                                                                               \
    { vk, (PFN_vkVoidFunction)(function) }
    static const struct {
        const char *name;
        PFN_vkVoidFunction function;
    } table[] = {
        STAND_IN("vkAllocateMemory", allocate_memory),
        STAND_IN("vkFreeMemory", free_memory),
        STAND_IN("vkMapMemory", map_memory),
        STAND_IN("vkCreateBuffer", create_buffer),
        STAND_IN("vkDestroyBuffer", destroy_buffer),
        STAND_IN("vkGetBufferMemoryRequirements", buffer_requirements),
        STAND_IN("vkBindBufferMemory", bind_memory),
        STAND_IN("vkGetBufferDeviceAddress", buffer_address),
        STAND_IN("vkCreateCommandPool", create_pool),
        STAND_IN("vkDestroyCommandPool", destroy_pool),
        STAND_IN("vkAllocateCommandBuffers", allocate_commands),
        STAND_IN("vkFreeCommandBuffers", free_commands),
        STAND_IN("vkBeginCommandBuffer", begin_commands),
        STAND_IN("vkEndCommandBuffer", end_commands),
        STAND_IN("vkResetCommandBuffer", reset_commands),
        STAND_IN("vkCmdBindPipeline", bind_pipeline),
        STAND_IN("vkCmdPushConstants", push_constants),
        STAND_IN("vkCmdDispatch", dispatch),
        STAND_IN("vkCmdDispatchIndirect", dispatch_indirect),
        STAND_IN("vkCmdPipelineBarrier", barrier),
        STAND_IN("vkCmdCopyBuffer", copy_buffer),
        STAND_IN("vkCmdFillBuffer", fill_buffer),
        STAND_IN("vkCmdUpdateBuffer", update_buffer),
        STAND_IN("vkCmdResetQueryPool", reset_queries),
        STAND_IN("vkCmdWriteTimestamp", write_timestamp),
        STAND_IN("vkCreateQueryPool", create_queries),
        STAND_IN("vkDestroyQueryPool", destroy_queries),
        STAND_IN("vkGetQueryPoolResults", query_results),
        STAND_IN("vkCreateSemaphore", create_semaphore),
        STAND_IN("vkDestroySemaphore", destroy_semaphore),
        STAND_IN("vkQueueSubmit", submit),
        STAND_IN("vkWaitSemaphores", wait_semaphores),
        STAND_IN("vkGetSemaphoreCounterValue", semaphore_value),
        STAND_IN("vkDeviceWaitIdle", wait_idle),
    };
#undef STAND_IN
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].function;
    return NULL;
}
