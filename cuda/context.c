/* context.c: opens and closes the CUDA context of a context, and its stream. */
#include "kernel.h"

#include <tandem/validate.h>

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
    CUresult result = context->api.cu->CtxCreate(&context->api.handle, CU_CTX_SCHED_AUTO | CU_CTX_MAP_HOST,
                                                 context->device.handle);
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
    CU_TRY(context, StreamCreate, &context->api.stream, CU_STREAM_NON_BLOCKING);
    for (uint32_t i = 0; i < CU_N_EVENT; i++)
        CU_TRY(context, EventCreate, &context->api.ends[i], CU_EVENT_DISABLE_TIMING);
    for (uint32_t i = 0; i < GPU_N_PENDING; i++) {
        CU_TRY(context, EventCreate, &context->api.begin[i], CU_EVENT_DEFAULT);
        CU_TRY(context, EventCreate, &context->api.end[i], CU_EVENT_DEFAULT);
    }
    CU_TRY(context, EventCreate, &context->api.last_end, CU_EVENT_DEFAULT);
fail:
    return status;
}

/* Device memory that the CUDA context itself took. */
static uint64_t measure_overhead(const tandem_context *context) {
    size_t free_bytes = 0, total = 0;
    uint64_t before = context->device.info.memory_free;
    if (context->api.cu->MemGetInfo(&free_bytes, &total) != CUDA_SUCCESS || before == 0 ||
        before < free_bytes)
        return 0;
    return before - free_bytes;
}

static void destroy_events(tandem_context *context) {
    for (uint32_t i = 0; i < CU_N_EVENT; i++)
        if (context->api.ends[i])
            context->api.cu->EventDestroy(context->api.ends[i]);
    for (uint32_t i = 0; i < GPU_N_PENDING; i++) {
        if (context->api.begin[i])
            context->api.cu->EventDestroy(context->api.begin[i]);
        if (context->api.end[i])
            context->api.cu->EventDestroy(context->api.end[i]);
    }
    if (context->api.last_end)
        context->api.cu->EventDestroy(context->api.last_end);
}

tandem_status gpu_api_open(tandem_context *context, const tandem_context_desc *desc, tandem_error *error) {
    tandem_status status = cu_driver_get(&context->api.cu, error);
    if (status == TANDEM_OK)
        status = choose_device(context, desc, error);
    if (status == TANDEM_OK)
        status = create_handle(context, error);
    if (status != TANDEM_OK)
        return status;
    context->driver_overhead = measure_overhead(context);
    status = create_stream(context, error);
    /* cuCtxCreate has made it current; from here on gpu_enter does. */
    context->api.cu->CtxPopCurrent(NULL);
    return status;
}

int gpu_api_is_open(const tandem_context *context) {
    return context->api.handle != NULL;
}

void gpu_api_close(tandem_context *context) {
    gpu_api_context *api = &context->api;
    if (!api->handle)
        return;
    int entered = gpu_enter(context, NULL) == TANDEM_OK;
    cu_kernels_free(context);
    destroy_events(context);
    if (api->stream)
        api->cu->StreamDestroy(api->stream);
    if (entered)
        gpu_leave(context);
    api->cu->CtxDestroy(api->handle);
}
