/* context.c: makes and ends a context: the CUDA context, its stream and what every object shares. */
#include "kernel.h"

#include "kernels/run_block.h"

#include <tandem/growth.h>
#include <tandem/validate.h>

#include <string.h>

static tandem_status choose_device(tandem_context *context, const tandem_context_desc *desc,
                                   tandem_error *error) {
    uint32_t n = 0;
    tandem_status status = gpu_device_count(&n, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_context(desc, n, error);
    if (status == TANDEM_OK)
        status = cu_device_get(desc->device, &context->device, error);
    if (status == TANDEM_OK)
        status = cu_device_usable(&context->device, error);
    return status;
}

/* note: a context of our own, not the device's primary one: a fault in it leaves the host program's alone,
 * and a new one can be made after it. */
static tandem_status create_handle(tandem_context *context, tandem_error *error) {
    CUresult result =
        context->cu->CtxCreate(&context->handle, CU_CTX_SCHED_AUTO | CU_CTX_MAP_HOST, context->device.handle);
    if (result == CUDA_SUCCESS)
        return TANDEM_OK;
    tandem_status status = cu_fail_driver(error, result, "cuCtxCreate");
    if (status == TANDEM_E_DEVICE_LOST)
        status =
            tandem_kit_fail(error, TANDEM_E_NEEDS_NEW_PROCESS,
                            "The driver cannot open %s again in this process", context->device.info.name);
    return status;
}

static tandem_status create_stream(tandem_context *context, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    CU_TRY(context, StreamCreate, &context->stream, CU_STREAM_NON_BLOCKING);
    for (uint32_t i = 0; i < CU_N_EVENT; i++)
        CU_TRY(context, EventCreate, &context->ends[i], CU_EVENT_DISABLE_TIMING);
    for (uint32_t i = 0; i < GPU_N_PENDING; i++) {
        CU_TRY(context, EventCreate, &context->begin[i], CU_EVENT_DEFAULT);
        CU_TRY(context, EventCreate, &context->end[i], CU_EVENT_DEFAULT);
    }
    CU_TRY(context, EventCreate, &context->last_end, CU_EVENT_DEFAULT);
fail:
    return status;
}

/* Device memory that the CUDA context itself took. */
static uint64_t measure_overhead(const tandem_context *context) {
    size_t free_bytes = 0, total = 0;
    uint64_t before = context->device.info.memory_free;
    if (context->cu->MemGetInfo(&free_bytes, &total) != CUDA_SUCCESS || before == 0 || before < free_bytes)
        return 0;
    return before - free_bytes;
}

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
    status = cu_driver_get(&context->cu, error);
    if (status == TANDEM_OK)
        status = choose_device(context, &taken, error);
    if (status == TANDEM_OK)
        status = create_handle(context, error);
    if (status == TANDEM_OK) {
        context->driver_overhead = measure_overhead(context);
        status = create_stream(context, error);
    }
    if (status == TANDEM_OK)
        status = gpu_memory_allocate(context, GPU_CLASS_WORKSPACE, TANDEM_PLACE_DEVICE, sizeof(next_block),
                                     &context->next, error);
    if (status == TANDEM_OK)
        status = gpu_zero(context, &context->next, 0, sizeof(next_block), error);
    if (status != TANDEM_OK) {
        gpu_context_destroy(context);
        return status;
    }
    *result = context;
    return TANDEM_OK;
}

static void destroy_events(tandem_context *context) {
    for (uint32_t i = 0; i < CU_N_EVENT; i++)
        if (context->ends[i])
            context->cu->EventDestroy(context->ends[i]);
    for (uint32_t i = 0; i < GPU_N_PENDING; i++) {
        if (context->begin[i])
            context->cu->EventDestroy(context->begin[i]);
        if (context->end[i])
            context->cu->EventDestroy(context->end[i]);
    }
    if (context->last_end)
        context->cu->EventDestroy(context->last_end);
}

void gpu_context_destroy(tandem_context *context) {
    if (!context)
        return;
    if (context->handle) {
        gpu_drain(context);
        gpu_memory_free(context, &context->next);
        gpu_memory_collect(context, 1);
        for (uint32_t i = 0; i < GPU_N_TRANSFER; i++)
            gpu_memory_free(context, &context->transfers[i].staging);
        for (uint32_t i = 0; i < GPU_N_TICKET; i++)
            gpu_free(context->tickets[i].step_ns);
        cu_kernels_free(context);
        destroy_events(context);
        if (context->stream)
            context->cu->StreamDestroy(context->stream);
        context->cu->CtxDestroy(context->handle);
    }
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
