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

tandem_status gpu_context_check(const tandem_context *context, tandem_error *error) {
    if (!context)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The context is NULL");
    if (context->lost)
        return tandem_kit_fail(error, TANDEM_E_DEVICE_LOST,
                               "The device is lost: only destroy functions work on this context");
    CUresult result = context->cu->CtxSetCurrent(context->handle);
    return result == CUDA_SUCCESS
               ? TANDEM_OK
               : cu_context_failed((tandem_context *)context, error, result, "cuCtxSetCurrent");
}

tandem_status cu_submit(tandem_context *context, uint64_t *serial, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    uint64_t value = context->serial + 1;
    CU_TRY(context, EventRecord, context->ends[value % CU_N_EVENT], context->stream);
    context->serial = value;
    if (serial)
        *serial = value;
fail:
    return status;
}

/* The event that stands for a serial: its own, or the oldest still known, which comes later. */
static CUevent event_of(const tandem_context *context, uint64_t *serial) {
    if (*serial + CU_N_EVENT <= context->serial)
        *serial = context->serial + 1 - CU_N_EVENT;
    return context->ends[*serial % CU_N_EVENT];
}

/* Asks until the time is over. */
static CUresult poll(tandem_context *context, CUevent event, uint64_t timeout_ns) {
    const struct timespec pause = {.tv_nsec = POLL_NS};
    uint64_t begin = gpu_clock_ns();
    for (;;) {
        CUresult result = context->cu->EventQuery(event);
        if (result != CUDA_ERROR_NOT_READY || gpu_clock_ns() - begin >= timeout_ns)
            return result;
        nanosleep(&pause, NULL);
    }
}

tandem_status gpu_wait_serial(tandem_context *context, uint64_t serial, uint64_t timeout_ns,
                              tandem_error *error) {
    if (serial <= context->completed)
        return TANDEM_OK;
    CUevent event = event_of(context, &serial);
    int forever = timeout_ns == UINT64_MAX;
    CUresult result = forever ? context->cu->EventSynchronize(event) : poll(context, event, timeout_ns);
    if (result == CUDA_ERROR_NOT_READY)
        return tandem_kit_fail(error, TANDEM_E_TIMEOUT, "The work has not ended within %llu ns",
                               (unsigned long long)timeout_ns);
    if (result != CUDA_SUCCESS)
        return cu_context_failed(context, error, result, forever ? "cuEventSynchronize" : "cuEventQuery");
    context->completed = serial;
    return TANDEM_OK;
}

int gpu_is_done(tandem_context *context, uint64_t serial) {
    if (serial <= context->completed)
        return 1;
    if (context->lost || context->cu->EventQuery(event_of(context, &serial)) != CUDA_SUCCESS)
        return 0;
    context->completed = serial;
    return 1;
}

tandem_status gpu_wait_all(tandem_context *context, tandem_error *error) {
    return gpu_wait_serial(context, context->serial, UINT64_MAX, error);
}

void gpu_drain(tandem_context *context) {
    /* A lost device answers at once, and then nothing is running any more. */
    context->cu->CtxSetCurrent(context->handle);
    if (context->stream && context->cu->StreamSynchronize(context->stream) == CUDA_SUCCESS)
        context->completed = context->serial;
}
