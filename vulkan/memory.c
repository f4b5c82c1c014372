/* memory.c: driver allocations: a buffer, its memory, its addresses. */
#include "context.h"

/* The memory type that fits best: flags that must be there, then those that are better missing, then those
 * that are liked. TANDEM_NONE: none. heap: only types of this heap, TANDEM_NONE: of any. */
static uint32_t find_type(const tandem_context *context, uint32_t type_bits, uint32_t heap,
                          VkMemoryPropertyFlags must, VkMemoryPropertyFlags like,
                          VkMemoryPropertyFlags dislike) {
    const VkPhysicalDeviceMemoryProperties *types = &context->device.memory;
    uint32_t best = TANDEM_NONE;
    int best_score = -3;
    for (uint32_t i = 0; i < types->memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = types->memoryTypes[i].propertyFlags;
        if (!(type_bits & (1u << i)) || (flags & must) != must)
            continue;
        if (heap != TANDEM_NONE && types->memoryTypes[i].heapIndex != heap)
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
    const uint32_t heap = context->device.heap;
    if (placement == TANDEM_PLACE_HOST)
        return find_type(context, type_bits, TANDEM_NONE, host, cached, odd | local);
    if (context->device.unified)
        return find_type(context, type_bits, heap, local | host, cached, odd);
    /* note: on a discrete card the host-visible window into device memory may be small, so what kernels use
     * keeps out of it, and what memory is total and free is that of the other heap (vk_device_free). */
    return find_type(context, type_bits, heap, local, 0, odd | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT);
}

static tandem_status create_buffer(tandem_context *context, gpu_block *block, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = block->bytes,
                               .usage = VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                        VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                        VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
                                        VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT};
    VK_TRY(context, CreateBuffer, context->api.handle, &info, NULL, &block->api.buffer);
fail:
    return status;
}

static tandem_status allocate(tandem_context *context, gpu_block *block, const VkMemoryRequirements *needs,
                              tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                 .pNext = &flags,
                                 .allocationSize = needs->size,
                                 .memoryTypeIndex =
                                     choose_type(context, block->placement, needs->memoryTypeBits)};
    if (info.memoryTypeIndex == TANDEM_NONE)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "The device has no memory type for %s of %llu bytes",
                               gpu_memory_class_name(block->class), (unsigned long long)block->bytes);
    VK_TRY(context, AllocateMemory, context->api.handle, &info, NULL, &block->api.memory);
    VK_TRY(context, BindBufferMemory, context->api.handle, block->api.buffer, block->api.memory, 0);
fail:
    return status;
}

tandem_status gpu_block_allocate(tandem_context *context, gpu_block *block, uint64_t *counted,
                                 tandem_error *error) {
    VkMemoryRequirements needs;
    tandem_status status = create_buffer(context, block, error);
    if (status != TANDEM_OK)
        return status;
    context->api.vk.GetBufferMemoryRequirements(context->api.handle, block->api.buffer, &needs);
    status = gpu_memory_check_cap(context, block->class, needs.size, error);
    if (status == TANDEM_OK)
        status = allocate(context, block, &needs, error);
    if (status != TANDEM_OK)
        return status;
    if (context->device.unified || block->placement == TANDEM_PLACE_HOST) {
        void *mapped = NULL;
        VK_TRY(context, MapMemory, context->api.handle, block->api.memory, 0, VK_WHOLE_SIZE, 0, &mapped);
        block->mapped = mapped;
    }
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = block->api.buffer};
    block->address = context->api.vk.GetBufferDeviceAddress(context->api.handle, &address);
    *counted = needs.size;
fail:
    return status;
}

void gpu_block_release(tandem_context *context, gpu_block *block) {
    if (block->api.buffer)
        context->api.vk.DestroyBuffer(context->api.handle, block->api.buffer, NULL);
    if (block->api.memory)
        context->api.vk.FreeMemory(context->api.handle, block->api.memory, NULL);
}
