/* memory.c: driver allocations, shared blocks for small ranges, the cap and the count. */
#include "hooks.h"

#include <string.h>

#define SHARED_LIMIT (64u << 10) /* ranges up to this share blocks */
#define UNIT GPU_MEMORY_ALIGNMENT
#define N_UNIT GPU_N_UNIT

typedef struct gpu_retired {
    struct gpu_retired *next;
    gpu_memory memory;
    uint64_t serial;
} gpu_retired;

static const char *const class_names[GPU_N_CLASS] = {
    "weights", "host-placed weights", "the KV cache", "buffers", "programs", "staging"};

const char *gpu_memory_class_name(uint32_t class) {
    return class_names[class];
}

static void destroy_block(tandem_context *context, gpu_block *block) {
    gpu_block_release(context, block);
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
    if (bytes <= context->device.info.max_allocation)
        return TANDEM_OK;
    return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                           "One allocation of %llu bytes for %s is over the device's limit of %llu",
                           (unsigned long long)bytes, class_names[class],
                           (unsigned long long)context->device.info.max_allocation);
}

tandem_status gpu_memory_check_cap(const tandem_context *context, uint32_t class, uint64_t bytes,
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

static void count_block(tandem_context *context, gpu_block *block, uint64_t counted) {
    gpu_memory_count *count = &context->memory;
    block->counted = counted;
    count->by_class[block->class] += counted;
    count->total += counted;
    if (count->total > count->peak)
        count->peak = count->total;
    gpu_log(TANDEM_LOG_DEBUG, "%llu bytes for %s at 0x%llx", (unsigned long long)block->bytes,
            class_names[block->class], (unsigned long long)block->address);
}

static tandem_status create_block(tandem_context *context, uint32_t class, uint32_t placement, uint64_t bytes,
                                  gpu_block **result, tandem_error *error) {
    uint64_t counted = 0;
    tandem_status status = gpu_memory_check_cap(context, class, bytes, error);
    if (status != TANDEM_OK)
        return status;
    gpu_block *block = gpu_alloc(sizeof *block);
    if (!block)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                               "No host memory for the record of an allocation");
    block->class = class;
    block->placement = placement;
    block->bytes = bytes;
    status = gpu_block_allocate(context, block, &counted, error);
    if (status != TANDEM_OK) {
        gpu_block_release(context, block);
        gpu_free(block);
        return status;
    }
    count_block(context, block, counted);
    block->next = context->blocks;
    if (block->next)
        block->next->previous = block;
    context->blocks = block;
    *result = block;
    return TANDEM_OK;
}

static void set_range(gpu_memory *memory, gpu_block *block, uint64_t offset, uint64_t bytes) {
    memory->block = block;
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
    status = create_block(context, class, placement, GPU_SHARED_BLOCK_BYTES, &block, error);
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
