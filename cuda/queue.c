/* queue.c: the order of the stream, and waiting for parts of it. */
#include "context.h"

#include <time.h>

#define POLL_NS 20000 /* between questions of a wait with a limit */

tandem_status cu_context_failed(tandem_context *context, tandem_error *error, CUresult result,
                                const char *call) {
    if (cu_result_is_lost(result))
        context->lost = 1;
    return cu_fail_driver(error, result, call);
}

/* The caller's own context, if it has one, is current again after gpu_leave. */
tandem_status gpu_enter(const tandem_context *handle, tandem_error *error) {
    tandem_context *context = (tandem_context *)handle;
    if (!context || context->api.n_enter++ > 0)
        return TANDEM_OK;
    CUresult result = context->api.cu->CtxPushCurrent(context->api.handle);
    context->api.pushed = result == CUDA_SUCCESS;
    if (context->api.pushed || context->lost)
        return TANDEM_OK;
    context->api.n_enter--;
    return cu_context_failed(context, error, result, "cuCtxPushCurrent");
}

void gpu_leave(const tandem_context *handle) {
    tandem_context *context = (tandem_context *)handle;
    if (context && --context->api.n_enter == 0 && context->api.pushed)
        context->api.cu->CtxPopCurrent(NULL);
}

tandem_status gpu_queue_end(tandem_context *context, uint64_t serial, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    CU_TRY(context, EventRecord, context->api.ends[serial % CU_N_EVENT], context->api.stream);
fail:
    return status;
}

/* The event that stands for a serial: its own, or the oldest still known, which comes later. */
static CUevent event_of(const tandem_context *context, uint64_t *serial) {
    if (*serial + CU_N_EVENT <= context->serial)
        *serial = context->serial + 1 - CU_N_EVENT;
    return context->api.ends[*serial % CU_N_EVENT];
}

/* Asks until the time is over. */
static CUresult poll(tandem_context *context, CUevent event, uint64_t timeout_ns) {
    const struct timespec pause = {.tv_nsec = POLL_NS};
    uint64_t begin = gpu_clock_ns();
    for (;;) {
        CUresult result = context->api.cu->EventQuery(event);
        if (result != CUDA_ERROR_NOT_READY || gpu_clock_ns() - begin >= timeout_ns)
            return result;
        nanosleep(&pause, NULL);
    }
}

tandem_status gpu_queue_wait(tandem_context *context, uint64_t *serial, uint64_t timeout_ns,
                             tandem_error *error) {
    CUevent event = event_of(context, serial);
    int forever = timeout_ns == UINT64_MAX;
    CUresult result = forever ? context->api.cu->EventSynchronize(event) : poll(context, event, timeout_ns);
    if (result == CUDA_ERROR_NOT_READY)
        return TANDEM_E_TIMEOUT;
    if (result != CUDA_SUCCESS)
        return cu_context_failed(context, error, result, forever ? "cuEventSynchronize" : "cuEventQuery");
    return TANDEM_OK;
}

uint64_t gpu_queue_ended(tandem_context *context, uint64_t serial) {
    if (context->lost || context->api.cu->EventQuery(event_of(context, &serial)) != CUDA_SUCCESS)
        return 0;
    return serial;
}

int gpu_queue_drain(tandem_context *context) {
    /* A lost device answers at once, and then nothing is running any more. */
    return context->api.stream && context->api.cu->StreamSynchronize(context->api.stream) == CUDA_SUCCESS;
}
