/* run.c: one submit for a run: the prefix of its slot, the steps, the suffix of the slot; and its times. */
#include "program.h"

/* Device ticks as nanoseconds. */
static uint64_t ticks_to_ns(const tandem_context *context, uint64_t ticks) {
    uint32_t bits = context->device.timestamp_bits;
    if (bits < 64)
        ticks &= ((uint64_t)1 << bits) - 1;
    return (uint64_t)((double)ticks * (double)context->device.timestamp_period);
}

uint32_t gpu_run_table(const tandem_program *program, uint32_t slot) {
    (void)program;
    return slot;
}

tandem_status gpu_run_launch(tandem_program *program, uint32_t slot, int profile, uint64_t serial,
                             tandem_error *error) {
    const gpu_api_program *own = &program->api;
    const VkCommandBuffer commands[3] = {own->prefix[slot], profile ? own->profile : own->main,
                                         own->suffix[slot]};
    return vk_submit(program->context, commands, 3, serial, error);
}

/* A failed query leaves the times unknown. */
void gpu_run_times(tandem_context *context, gpu_ticket *entry) {
    uint64_t ticks[2];
    gpu_api_context *api = &context->api;
    VkResult result =
        api->vk.GetQueryPoolResults(api->handle, api->timestamps, 2 * entry->slot, 2, sizeof ticks, ticks,
                                    sizeof ticks[0], VK_QUERY_RESULT_64_BIT);
    if (result != VK_SUCCESS)
        return;
    uint64_t begin = ticks_to_ns(context, ticks[0]), end = ticks_to_ns(context, ticks[1]);
    entry->device_ns = end > begin ? end - begin : 0;
    if (api->last_run_end != 0 && begin > api->last_run_end)
        entry->gap_ns = begin - api->last_run_end;
    api->last_run_end = end;
}

tandem_status gpu_profile_times(tandem_program *program, uint64_t *ns, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    uint32_t n = program->steps.n + 1;
    VK_TRY(context, GetQueryPoolResults, context->api.handle, program->api.profile_queries, 0, n,
           n * sizeof *ns, ns, sizeof *ns, VK_QUERY_RESULT_64_BIT);
    for (uint32_t i = 0; i + 1 < n; i++)
        ns[i] = ticks_to_ns(context, ns[i + 1]) - ticks_to_ns(context, ns[i]);
fail:
    return status;
}
