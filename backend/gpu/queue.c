/* queue.c: serials: giving them out, and waiting for them. */
#include "hooks.h"

tandem_status gpu_context_check(const tandem_context *context, tandem_error *error) {
    if (!context)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The context is NULL");
    if (context->lost)
        return tandem_kit_fail(error, TANDEM_E_DEVICE_LOST,
                               "The device is lost: only destroy functions work on this context");
    return TANDEM_OK;
}

tandem_status gpu_submit(tandem_context *context, uint64_t *serial, tandem_error *error) {
    uint64_t value = context->serial + 1;
    tandem_status status = gpu_queue_end(context, value, error);
    if (status != TANDEM_OK)
        return status;
    context->serial = value;
    context->transfers[context->next_transfer].serial = value;
    context->next_transfer = (context->next_transfer + 1) % GPU_N_TRANSFER;
    if (serial)
        *serial = value;
    return TANDEM_OK;
}

tandem_status gpu_wait_serial(tandem_context *context, uint64_t serial, uint64_t timeout_ns,
                              tandem_error *error) {
    if (serial <= context->completed)
        return TANDEM_OK;
    tandem_status status = gpu_queue_wait(context, &serial, timeout_ns, error);
    if (status == TANDEM_E_TIMEOUT)
        return tandem_kit_fail(error, TANDEM_E_TIMEOUT, "The work has not ended within %llu ns",
                               (unsigned long long)timeout_ns);
    if (status == TANDEM_OK)
        context->completed = serial;
    return status;
}

int gpu_is_done(tandem_context *context, uint64_t serial) {
    if (serial <= context->completed)
        return 1;
    uint64_t ended = gpu_queue_ended(context, serial);
    if (ended > context->completed)
        context->completed = ended;
    return serial <= context->completed;
}

tandem_status gpu_wait_all(tandem_context *context, tandem_error *error) {
    return gpu_wait_serial(context, context->serial, UINT64_MAX, error);
}

void gpu_drain(tandem_context *context) {
    if (gpu_queue_drain(context))
        context->completed = context->serial;
}
