/* run.c: one graph launch between two events for a run, or its launches one by one; and their times. */
#include "kernel.h"

uint32_t gpu_run_table(const tandem_program *program, uint32_t slot) {
    (void)slot;
    return (uint32_t)(program->api.n_run % GPU_N_PENDING);
}

tandem_status gpu_launch_alone(tandem_program *program, uint32_t index, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, index);
    const gpu_api_launch *api = &launch->api;
    void *params[1] = {launch->params};
    CU_TRY(program->context, LaunchKernel, api->kernel->function, api->grid[0], api->grid[1], api->grid[2],
           api->block, 1, 1, api->shared_bytes, program->context->api.stream, params, NULL);
    if (index == 0)
        program->api.n_run++; /* prepare counts it, whatever becomes of the rest */
fail:
    return status;
}

tandem_status gpu_profile_begin(tandem_program *program, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    gpu_api_program *own = &program->api;
    uint32_t n = program->steps.n + 1;
    if (!own->profile_events)
        own->profile_events = gpu_alloc(n * sizeof *own->profile_events);
    if (!own->profile_events)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the events of %u steps",
                               program->steps.n);
    for (uint32_t i = 0; i < n; i++)
        if (!own->profile_events[i])
            CU_TRY(program->context, EventCreate, &own->profile_events[i], CU_EVENT_DEFAULT);
fail:
    return status;
}

/* The steps one by one with an event behind each, instead of the graph. */
static tandem_status launch_profiled(tandem_program *program, tandem_error *error) {
    tandem_context *context = program->context;
    tandem_status status = gpu_launch_alone(program, 0, error);
    if (status != TANDEM_OK)
        return status;
    CU_TRY(context, EventRecord, program->api.profile_events[0], context->api.stream);
    for (uint32_t s = 0; s < program->steps.n; s++) {
        const gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        for (uint32_t i = 0; i < step->n_launch && status == TANDEM_OK; i++)
            status = gpu_launch_alone(program, step->first_launch + i, error);
        if (status != TANDEM_OK)
            return status;
        CU_TRY(context, EventRecord, program->api.profile_events[s + 1], context->api.stream);
    }
fail:
    return status;
}

tandem_status gpu_run_launch(tandem_program *program, uint32_t slot, int profile, uint64_t serial,
                             tandem_error *error) {
    tandem_context *context = program->context;
    gpu_api_context *api = &context->api;
    tandem_status status = TANDEM_OK;
    CU_TRY(context, EventRecord, api->begin[slot], api->stream);
    if (profile) {
        status = launch_profiled(program, error);
        if (status != TANDEM_OK)
            return status;
    } else {
        CU_TRY(context, GraphLaunch, program->api.exec, api->stream);
        program->api.n_run++;
    }
    CU_TRY(context, EventRecord, api->end[slot], api->stream);
    status = gpu_queue_end(context, serial, error);
fail:
    return status;
}

/* Between two events of ended work; 0: the driver does not tell. */
static uint64_t elapsed_ns(const tandem_context *context, CUevent from, CUevent to) {
    float ms = 0;
    if (context->api.cu->EventElapsedTime(&ms, from, to) != CUDA_SUCCESS || ms < 0)
        return 0;
    return (uint64_t)((double)ms * 1e6);
}

void gpu_run_times(tandem_context *context, gpu_ticket *entry) {
    gpu_api_context *api = &context->api;
    CUevent begin = api->begin[entry->slot], end = api->end[entry->slot];
    entry->device_ns = elapsed_ns(context, begin, end);
    if (api->last_known)
        entry->gap_ns = elapsed_ns(context, api->last_end, begin);
    api->end[entry->slot] = api->last_end;
    api->last_end = end;
    api->last_known = 1;
}

tandem_status gpu_profile_times(tandem_program *program, uint64_t *ns, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const CUevent *events = program->api.profile_events;
    for (uint32_t i = 0; i < program->steps.n; i++) {
        float ms = 0;
        CU_TRY(program->context, EventElapsedTime, &ms, events[i], events[i + 1]);
        ns[i] = (uint64_t)((double)ms * 1e6);
    }
fail:
    return status;
}
