/* run.c: one submit for a run: the prefix of its slot, the steps, the suffix of the slot; and its times. */
#include "program.h"

/* The counter's largest value: timestamps are counted modulo one more. */
static uint64_t last_tick(const tandem_context *context) {
    uint32_t bits = context->device.timestamp_bits;
    return bits < 64 ? ((uint64_t)1 << bits) - 1 : UINT64_MAX;
}

/* Nanoseconds from one timestamp to a later one, also where the counter wrapped between them. 0: the second
 * comes first, by less than half of what the counter holds. */
static uint64_t ns_between(const tandem_context *context, uint64_t from, uint64_t to) {
    uint64_t last = last_tick(context), ticks = (to - from) & last;
    return ticks <= last / 2 ? (uint64_t)((double)ticks * (double)context->device.timestamp_period) : 0;
}

/* Whether ns_between can be believed for what happened since this time of the host's clock. A counter of 36
 * bits holds a minute at 1 ns and an hour at Intel's 52 ns. */
static int is_recent(const tandem_context *context, uint64_t since_ns) {
    double half = (double)(last_tick(context) / 2) * (double)context->device.timestamp_period;
    return (double)(gpu_clock_ns() - since_ns) < half;
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

/* A failed query leaves the times unknown, and so does a counter that may have gone round since. */
void gpu_run_times(tandem_context *context, gpu_ticket *entry) {
    uint64_t ticks[2];
    gpu_api_context *api = &context->api;
    VkResult result =
        api->vk.GetQueryPoolResults(api->handle, api->timestamps, 2 * entry->slot, 2, sizeof ticks, ticks,
                                    sizeof ticks[0], VK_QUERY_RESULT_64_BIT);
    if (result != VK_SUCCESS)
        return;
    if (is_recent(context, entry->queued_ns))
        entry->device_ns = ns_between(context, ticks[0], ticks[1]);
    if (api->has_run && is_recent(context, api->last_run_queued_ns))
        entry->gap_ns = ns_between(context, api->last_run_end, ticks[0]);
    api->has_run = 1;
    api->last_run_end = ticks[1];
    api->last_run_queued_ns = entry->queued_ns;
}

tandem_status gpu_profile_times(tandem_program *program, uint64_t *ns, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    uint32_t n = program->steps.n + 1;
    VK_TRY(context, GetQueryPoolResults, context->api.handle, program->api.profile_queries, 0, n,
           n * sizeof *ns, ns, sizeof *ns, VK_QUERY_RESULT_64_BIT);
    for (uint32_t i = 0; i + 1 < n; i++)
        ns[i] = ns_between(context, ns[i], ns[i + 1]);
fail:
    return status;
}
