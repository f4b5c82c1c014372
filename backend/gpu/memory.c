/* memory.c: driver allocations, shared blocks for small ranges, the cap and the count. */
#include "hooks.h"

#include <string.h>

#define SMALL_LIMIT (64u << 10) /* ranges up to this share blocks of small ranges */
#define SMALL_UNIT GPU_MEMORY_ALIGNMENT
#define SMALL_N_UNIT GPU_MAX_UNIT
#define UNIT_BLOCK_BYTES (64ull << 20) /* most bytes of a block of ranges of one size */
#define GROWTH 8u                      /* such a block is for this part of the ranges that there are */

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

/* ---- shared blocks ---- */

static uint32_t units_of(const gpu_block *block, uint64_t bytes) {
    return (uint32_t)((bytes + block->unit - 1) / block->unit);
}

/* First fit in the units of one shared block. */
static int take_units(gpu_block *block, uint64_t bytes, gpu_memory *memory) {
    uint32_t need = units_of(block, bytes), run = 0;
    if (block->n_unit - block->n_used < need)
        return 0;
    for (uint32_t i = 0; i < block->n_unit; i++) {
        run = block->used[i] ? 0 : run + 1;
        if (run < need)
            continue;
        uint32_t first = i + 1 - need;
        memset(block->used + first, 1, need);
        block->n_used += need;
        set_range(memory, block, first * block->unit, bytes);
        return 1;
    }
    return 0;
}

/* 1: a block with this unit has room; else *n_unit counts the units of such blocks. */
static int take_shared(tandem_context *context, uint32_t class, uint32_t placement, uint64_t unit,
                       uint64_t bytes, gpu_memory *memory, uint32_t *n_unit) {
    *n_unit = 0;
    for (gpu_block *block = context->blocks; block; block = block->next) {
        if (block->unit != unit || block->class != class || block->placement != placement)
            continue;
        if (take_units(block, bytes, memory))
            return 1;
        *n_unit += block->n_unit;
    }
    return 0;
}

static tandem_status create_shared(tandem_context *context, uint32_t class, uint32_t placement, uint64_t unit,
                                   uint32_t n_unit, gpu_block **result, tandem_error *error) {
    gpu_block *block = NULL;
    tandem_status status = create_block(context, class, placement, unit * n_unit, &block, error);
    if (status != TANDEM_OK)
        return status;
    block->unit = unit;
    block->n_unit = n_unit;
    *result = block;
    return TANDEM_OK;
}

tandem_status gpu_memory_allocate(tandem_context *context, uint32_t class, uint32_t placement, uint64_t bytes,
                                  gpu_memory *memory, tandem_error *error) {
    gpu_block *block = NULL;
    uint32_t n_unit;
    tandem_status status = check_size(context, class, bytes, error);
    if (status != TANDEM_OK)
        return status;
    if (bytes > SMALL_LIMIT) {
        /* note: whole 16-byte units, so that fills and 16-byte loads at the end stay inside. */
        status = create_block(context, class, placement, (bytes + 15) & ~(uint64_t)15, &block, error);
        if (status == TANDEM_OK)
            set_range(memory, block, 0, bytes);
        return status;
    }
    if (take_shared(context, class, placement, SMALL_UNIT, bytes, memory, &n_unit))
        return TANDEM_OK;
    status = create_shared(context, class, placement, SMALL_UNIT, SMALL_N_UNIT, &block, error);
    if (status == TANDEM_OK)
        take_units(block, bytes, memory);
    return status;
}

tandem_status gpu_memory_allocate_unit(tandem_context *context, uint32_t class, uint32_t placement,
                                       uint64_t bytes, uint32_t n_more, gpu_memory *memory,
                                       tandem_error *error) {
    const uint64_t unit = (bytes + GPU_MEMORY_ALIGNMENT - 1) & ~(uint64_t)(GPU_MEMORY_ALIGNMENT - 1);
    uint64_t room = UNIT_BLOCK_BYTES < context->device.info.max_allocation
                        ? UNIT_BLOCK_BYTES
                        : context->device.info.max_allocation;
    uint32_t n_unit;
    gpu_block *block = NULL;
    if (bytes <= SMALL_LIMIT || 2 * unit > room)
        return gpu_memory_allocate(context, class, placement, bytes, memory, error);
    if (take_shared(context, class, placement, unit, bytes, memory, &n_unit))
        return TANDEM_OK;
    uint32_t n = n_more > n_unit / GROWTH ? n_more : n_unit / GROWTH;
    if (n > room / unit)
        n = (uint32_t)(room / unit);
    tandem_status status = TANDEM_E_OUT_OF_MEMORY;
    for (; n > 0 && status == TANDEM_E_OUT_OF_MEMORY; n /= 2)
        status = create_shared(context, class, placement, unit, n, &block, error);
    if (status == TANDEM_OK)
        take_units(block, bytes, memory);
    return status;
}

void gpu_memory_free(tandem_context *context, gpu_memory *memory) {
    gpu_block *block = memory->block;
    if (!block)
        return;
    if (block->unit) {
        uint32_t n = units_of(block, memory->bytes);
        memset(block->used + memory->offset / block->unit, 0, n);
        block->n_used -= n;
    }
    if (block->n_used == 0)
        destroy_block(context, block);
    memset(memory, 0, sizeof *memory);
}

/* ---- retired ranges ---- */

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
