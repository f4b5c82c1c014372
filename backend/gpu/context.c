/* context.c: makes and ends a context: its device, and what every object shares. */
#include "hooks.h"

#include <tandem/growth.h>
#include <tandem/validate.h>

tandem_status gpu_context_create(const tandem_context_desc *desc, tandem_context **result,
                                 tandem_error *error) {
    tandem_context_desc taken;
    tandem_status status = TANDEM_KIT_TAKE(tandem_context_desc, &taken, desc, error);
    if (status != TANDEM_OK)
        return status;
    if (!result)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "context_create: context is NULL");
    tandem_context *context = gpu_alloc(sizeof *context);
    if (!context)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a context");
    context->memory.cap = taken.memory_cap;
    context->first_unfinished = 1;
    status = gpu_api_open(context, &taken, error);
    if (status == TANDEM_OK)
        status = gpu_enter(context, error);
    if (status == TANDEM_OK) {
        status = gpu_memory_allocate(context, GPU_CLASS_WORKSPACE, TANDEM_PLACE_DEVICE, sizeof(next_block),
                                     &context->next, error);
        if (status == TANDEM_OK)
            status = gpu_zero(context, &context->next, 0, sizeof(next_block), error);
        gpu_leave(context);
    }
    if (status != TANDEM_OK) {
        gpu_context_destroy(context);
        return status;
    }
    *result = context;
    return TANDEM_OK;
}

void gpu_context_destroy(tandem_context *context) {
    if (!context)
        return;
    if (gpu_api_is_open(context)) {
        int entered = gpu_enter(context, NULL) == TANDEM_OK;
        gpu_drain(context);
        gpu_memory_free(context, &context->next);
        gpu_memory_collect(context, 1);
        for (uint32_t i = 0; i < GPU_N_TRANSFER; i++)
            gpu_memory_free(context, &context->transfers[i].staging);
        if (entered)
            gpu_leave(context);
    }
    for (uint32_t i = 0; i < GPU_N_TICKET; i++)
        gpu_free(context->tickets[i].step_ns);
    gpu_api_close(context);
    gpu_free(context);
}

tandem_status gpu_context_memory(tandem_context *context, tandem_memory_info *info, tandem_error *error) {
    tandem_status status = gpu_context_check(context, error);
    if (status != TANDEM_OK)
        return status;
    const gpu_memory_count *count = &context->memory;
    gpu_memory_collect(context, 0);
    tandem_memory_info filled = {.cap = count->cap,
                                 .total = count->total,
                                 .peak = count->peak,
                                 .weights_device = count->by_class[GPU_CLASS_WEIGHTS_DEVICE],
                                 .weights_host = count->by_class[GPU_CLASS_WEIGHTS_HOST],
                                 .kv = count->by_class[GPU_CLASS_KV],
                                 .buffers = count->by_class[GPU_CLASS_BUFFERS],
                                 .workspace = count->by_class[GPU_CLASS_WORKSPACE],
                                 .staging = count->by_class[GPU_CLASS_STAGING],
                                 .driver_overhead = context->driver_overhead};
    return TANDEM_KIT_GIVE(tandem_memory_info, info, &filled, error);
}
