/* memory.c: driver allocations, shared blocks for small ranges, the cap and the count. */
#include "context.h"

#include <string.h>

#define SHARED_BLOCK_BYTES (1u << 20)
#define SHARED_LIMIT (64u << 10) /* ranges up to this share blocks */
#define UNIT GPU_MEMORY_ALIGNMENT
#define N_UNIT (SHARED_BLOCK_BYTES / UNIT)

struct gpu_block {
    gpu_block *next; /* of the context's list */
    gpu_block *previous;
    uint64_t bytes;
    VkDeviceMemory memory;
    VkBuffer buffer;
    uint64_t counted; /* bytes asked of the driver */
    uint64_t address;
    uint8_t *mapped;
    uint32_t class;
    uint32_t placement;
    uint32_t n_used; /* units in use; shared blocks only */
    uint8_t shared;
    uint8_t used[N_UNIT]; /* 1: the unit is taken */
};

typedef struct gpu_retired {
    struct gpu_retired *next;
    gpu_memory memory;
    uint64_t serial;
} gpu_retired;

static const char *const class_names[GPU_N_CLASS] = {
    "weights", "host-placed weights", "the KV cache", "buffers", "programs", "staging"};

/* The memory type that fits best: flags that must be there, then flags that are liked. TANDEM_NONE: none. */
static uint32_t find_type(const tandem_context *context, uint32_t type_bits, VkMemoryPropertyFlags must,
                          VkMemoryPropertyFlags like, VkMemoryPropertyFlags dislike) {
    const VkPhysicalDeviceMemoryProperties *types = &context->device.memory;
    uint32_t best = TANDEM_NONE;
    int best_score = -3;
    for (uint32_t i = 0; i < types->memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = types->memoryTypes[i].propertyFlags;
        if (!(type_bits & (1u << i)) || (flags & must) != must)
            continue;
        int score = ((flags & like) == like) - ((flags & dislike) != 0) * 2;
        if (score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

static uint32_t choose_type(const tandem_context *context, uint32_t placement, uint32_t type_bits) {
    const VkMemoryPropertyFlags host =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const VkMemoryPropertyFlags odd = VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
                                      VK_MEMORY_PROPERTY_PROTECTED_BIT |
                                      VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD;
    if (context->device.unified)
        return find_type(context, type_bits, local | host, cached, odd);
    /* note: on a discrete card the host-visible window into device memory may be small, so weights keep out
     * of it. */
    if (placement == TANDEM_PLACE_DEVICE)
        return find_type(context, type_bits, local, 0, odd | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
    return find_type(context, type_bits, host, cached, odd | local);
}

static void destroy_block(tandem_context *context, gpu_block *block) {
    if (block->buffer)
        context->vk.DestroyBuffer(context->handle, block->buffer, NULL);
    if (block->memory)
        context->vk.FreeMemory(context->handle, block->memory, NULL);
    if (block->next)
        block->next->previous = block->previous;
    if (block->previous)
        block->previous->next = block->next;
    else if (context->blocks == block)
        context->blocks = block->next;
    context->memory.by_class[block->class] -= block->counted;
    context->memory.total -= block->counted;
    gpu_free(block);
}

static tandem_status check_size(const tandem_context *context, uint32_t class, uint64_t bytes,
                                tandem_error *error) {
    if (bytes <= context->device.max_allocation)
        return TANDEM_OK;
    return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                           "One allocation of %llu bytes for %s is over the device's limit of %llu",
                           (unsigned long long)bytes, class_names[class],
                           (unsigned long long)context->device.max_allocation);
}

static tandem_status check_cap(const tandem_context *context, uint32_t class, uint64_t bytes,
                               tandem_error *error) {
    const gpu_memory_count *count = &context->memory;
    if (count->cap == 0 || (bytes <= count->cap && count->total <= count->cap - bytes))
        return TANDEM_OK;
    return tandem_kit_fail(
        error, TANDEM_E_OUT_OF_MEMORY,
        "The memory cap of %llu bytes, of which %llu are in use, does not hold %llu more for %s",
        (unsigned long long)count->cap, (unsigned long long)count->total, (unsigned long long)bytes,
        class_names[class]);
}

static tandem_status bind_block(tandem_context *context, gpu_block *block, uint64_t bytes,
                                tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkMemoryRequirements needs;
    context->vk.GetBufferMemoryRequirements(context->handle, block->buffer, &needs);
    status = check_cap(context, block->class, needs.size, error);
    if (status != TANDEM_OK)
        return status;
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .pNext = &flags,
                                 .allocationSize = needs.size,
                                 .memoryTypeIndex =
                                     choose_type(context, block->placement, needs.memoryTypeBits)};
    if (info.memoryTypeIndex == TANDEM_NONE)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "The device has no memory type for %s of %llu bytes",
                               class_names[block->class], (unsigned long long)bytes);
    VK_TRY(context, AllocateMemory, context->handle, &info, NULL, &block->memory);
    block->counted = needs.size;
    context->memory.by_class[block->class] += needs.size;
    context->memory.total += needs.size;
    if (context->memory.total > context->memory.peak)
        context->memory.peak = context->memory.total;
    VK_TRY(context, BindBufferMemory, context->handle, block->buffer, block->memory, 0);
    if (context->device.unified || block->placement == TANDEM_PLACE_HOST) {
        void *mapped = NULL;
        VK_TRY(context, MapMemory, context->handle, block->memory, 0, VK_WHOLE_SIZE, 0, &mapped);
        block->mapped = mapped;
    }
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = block->buffer};
    block->address = context->vk.GetBufferDeviceAddress(context->handle, &address);
    gpu_log(TANDEM_LOG_DEBUG, "%llu bytes for %s at 0x%llx", (unsigned long long)bytes,
            class_names[block->class], (unsigned long long)block->address);
fail:
    return status;
}

static tandem_status create_block(tandem_context *context, uint32_t class, uint32_t placement, uint64_t bytes,
                                  gpu_block **result, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    status = check_cap(context, class, bytes, error);
    if (status != TANDEM_OK)
        return status;
    gpu_block *block = gpu_alloc(sizeof *block);
    if (!block)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                               "No host memory for the record of an allocation");
    block->class = class;
    block->placement = placement;
    block->bytes = bytes;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = bytes,
                               .usage = VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                        VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VK_TRY(context, CreateBuffer, context->handle, &info, NULL, &block->buffer);
    status = bind_block(context, block, bytes, error);
    if (status != TANDEM_OK)
        goto fail;
    block->next = context->blocks;
    if (block->next)
        block->next->previous = block;
    context->blocks = block;
    *result = block;
    return TANDEM_OK;
fail:
    destroy_block(context, block);
    return status;
}

static void set_range(gpu_memory *memory, gpu_block *block, uint64_t offset, uint64_t bytes) {
    memory->block = block;
    memory->buffer = block->buffer;
    memory->offset = offset;
    memory->bytes = bytes;
    memory->address = block->address + offset;
    memory->mapped = block->mapped ? block->mapped + offset : NULL;
}

/* First fit in the units of one shared block. */
static int take_units(gpu_block *block, uint64_t bytes, gpu_memory *memory) {
    uint32_t need = (uint32_t)((bytes + UNIT - 1) / UNIT);
    uint32_t run = 0;
    if (N_UNIT - block->n_used < need)
        return 0;
    for (uint32_t i = 0; i < N_UNIT; i++) {
        run = block->used[i] ? 0 : run + 1;
        if (run < need)
            continue;
        uint32_t first = i + 1 - need;
        memset(block->used + first, 1, need);
        block->n_used += need;
        set_range(memory, block, (uint64_t)first * UNIT, bytes);
        return 1;
    }
    return 0;
}

tandem_status gpu_memory_allocate(tandem_context *context, uint32_t class, uint32_t placement, uint64_t bytes,
                                  gpu_memory *memory, tandem_error *error) {
    gpu_block *block = NULL;
    tandem_status status = check_size(context, class, bytes, error);
    if (status != TANDEM_OK)
        return status;
    if (bytes > SHARED_LIMIT) {
        /* note: whole 16-byte units, so that fills and 16-byte loads at the end stay inside. */
        status = create_block(context, class, placement, (bytes + 15) & ~(uint64_t)15, &block, error);
        if (status == TANDEM_OK)
            set_range(memory, block, 0, bytes);
        return status;
    }
    for (block = context->blocks; block; block = block->next)
        if (block->shared && block->class == class && block->placement == placement &&
            take_units(block, bytes, memory))
            return TANDEM_OK;
    status = create_block(context, class, placement, SHARED_BLOCK_BYTES, &block, error);
    if (status != TANDEM_OK)
        return status;
    block->shared = 1;
    take_units(block, bytes, memory);
    return TANDEM_OK;
}

void gpu_memory_free(tandem_context *context, gpu_memory *memory) {
    gpu_block *block = memory->block;
    if (!block)
        return;
    if (block->shared) {
        uint32_t n = (uint32_t)((memory->bytes + UNIT - 1) / UNIT);
        memset(block->used + memory->offset / UNIT, 0, n);
        block->n_used -= n;
        if (block->n_used == 0)
            destroy_block(context, block);
    } else {
        destroy_block(context, block);
    }
    memset(memory, 0, sizeof *memory);
}

void gpu_memory_retire(tandem_context *context, gpu_memory *memory) {
    if (!memory->block)
        return;
    gpu_retired *node = gpu_is_done(context, context->serial) ? NULL : gpu_alloc(sizeof *node);
    if (!node) {
        gpu_drain(context);
        gpu_memory_free(context, memory);
        return;
    }
    node->memory = *memory;
    node->serial = context->serial;
    node->next = context->retired;
    context->retired = node;
    memset(memory, 0, sizeof *memory);
}

void gpu_memory_collect(tandem_context *context, int all) {
    gpu_retired **link = &context->retired;
    while (*link) {
        gpu_retired *node = *link;
        if (!all && !gpu_is_done(context, node->serial)) {
            link = &node->next;
            continue;
        }
        *link = node->next;
        gpu_memory_free(context, &node->memory);
        gpu_free(node);
    }
}

int gpu_memory_block(const tandem_context *context, uint32_t index, uint64_t *address, uint64_t *bytes,
                     void **pointer) {
    const gpu_block *block = context->blocks;
    while (block && index-- > 0)
        block = block->next;
    if (!block || !block->mapped)
        return 0;
    *address = block->address;
    *bytes = block->bytes;
    *pointer = block->mapped;
    return 1;
}
