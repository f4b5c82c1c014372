/* record.c: the command buffers of a program, recorded once.
 *
 * A run submits three of them: the prefix of its slot (prepare.comp reads that slot's table), main, and the
 * suffix of the slot (last timestamp). Main names no slot, so several runs of it may be pending at once.
 */
#include "program.h"

#include <string.h>

static void record_dispatch(const tandem_program *program, VkCommandBuffer commands,
                            const gpu_launch *dispatch, const void *push) {
    const tandem_context *context = program->context;
    const vk_device_table *vk = &context->vk;
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                        context->pipelines->items[dispatch->pipeline].handle);
    vk->CmdPushConstants(commands, context->pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         (dispatch->push_bytes + 3) & ~3u, push);
    uint64_t command = dispatch->command;
    if (dispatch->rule != TANDEM_NONE)
        command =
            program->workspace.address + program->layout.indirect + (uint64_t)dispatch->rule * INDIRECT_BYTES;
    if (command)
        vk->CmdDispatchIndirect(commands, program->workspace.buffer,
                                program->workspace.offset + (command - program->workspace.address));
    else
        vk->CmdDispatch(commands, dispatch->groups[0], dispatch->groups[1], dispatch->groups[2]);
}

/* note: whoever overwrites launch arguments comes after the dispatch that read them, since the first scope of
 * a barrier holds the stages before the shader too. */
static void record_barrier(const tandem_program *program, VkCommandBuffer commands, uint32_t indirect) {
    vk_barrier(program->context, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
               VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | (indirect ? VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT : 0),
               VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                   (indirect ? VK_ACCESS_INDIRECT_COMMAND_READ_BIT : 0));
}

/* The steps; with queries, every step between barriers and a timestamp behind it, so that times do not
 * overlap. */
static void record_steps(const tandem_program *program, VkCommandBuffer commands, VkQueryPool queries) {
    const vk_device_table *vk = &program->context->vk;
    for (uint32_t s = 0; s < program->steps.n; s++) {
        const gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        if (step->barrier_before || queries)
            record_barrier(program, commands, step->barrier_indirect || queries);
        if (s == 0 && queries)
            vk->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, queries, 0);
        for (uint32_t i = 0; i < step->n_launch; i++) {
            const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, step->first_launch + i);
            record_dispatch(program, commands, dispatch, dispatch->push);
        }
        if (queries)
            vk->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, queries, s + 1);
    }
}

/* What slot `slot` pushes to prepare.comp. */
static prepare_push prefix_push(const tandem_program *program, uint32_t slot) {
    prepare_push push;
    memcpy(&push, GPU_AT(program->launches, gpu_launch, 0)->push, sizeof push);
    push.source = program->tables.address + slot * program->table_bytes;
    return push;
}

void vk_record_one(const tandem_program *program, VkCommandBuffer commands, uint32_t index) {
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, index);
    prepare_push push = prefix_push(program, 0);
    record_dispatch(program, commands, dispatch, index == 0 ? (const void *)&push : dispatch->push);
}

static tandem_status record_prefix(tandem_program *program, uint32_t slot, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    VkCommandBuffer commands = program->prefix[slot];
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, 0);
    prepare_push push = prefix_push(program, slot);
    VK_TRY(context, BeginCommandBuffer, commands, &begin);
    context->vk.CmdResetQueryPool(commands, context->timestamps, 2 * slot, 2);
    /* Everything of earlier runs comes first: they may read this run block and these launch arguments. */
    vk_barrier(context, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT,
               VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
               VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    context->vk.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, context->timestamps,
                                  2 * slot);
    record_dispatch(program, commands, dispatch, &push);
    VK_TRY(context, EndCommandBuffer, commands);
fail:
    return status;
}

static tandem_status record_suffix(tandem_program *program, uint32_t slot, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    VkCommandBuffer commands = program->suffix[slot];
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VK_TRY(context, BeginCommandBuffer, commands, &begin);
    vk_barrier(context, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
               VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    context->vk.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, context->timestamps,
                                  2 * slot + 1);
    VK_TRY(context, EndCommandBuffer, commands);
fail:
    return status;
}

static tandem_status allocate(tandem_program *program, VkCommandBuffer *commands, uint32_t n,
                              tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = program->context->command_pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = n};
    VK_TRY(program->context, AllocateCommandBuffers, program->context->handle, &info, commands);
fail:
    return status;
}

tandem_status gpu_program_record(tandem_program *program, tandem_error *error) {
    tandem_context *context = program->context;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    tandem_status status = allocate(program, program->prefix, GPU_N_PENDING, error);
    if (status == TANDEM_OK)
        status = allocate(program, program->suffix, GPU_N_PENDING, error);
    if (status == TANDEM_OK)
        status = allocate(program, &program->main, 1, error);
    for (uint32_t slot = 0; slot < GPU_N_PENDING && status == TANDEM_OK; slot++) {
        status = record_prefix(program, slot, error);
        if (status == TANDEM_OK)
            status = record_suffix(program, slot, error);
    }
    if (status != TANDEM_OK)
        return status;
    VK_TRY(context, BeginCommandBuffer, program->main, &begin);
    record_steps(program, program->main, VK_NULL_HANDLE);
    VK_TRY(context, EndCommandBuffer, program->main);
fail:
    return status;
}

tandem_status vk_program_record_profile(tandem_program *program, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                     .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                     .queryCount = program->steps.n + 1};
    if (program->profile)
        return TANDEM_OK;
    if (!program->profile_queries)
        VK_TRY(context, CreateQueryPool, context->handle, &queries, NULL, &program->profile_queries);
    status = allocate(program, &program->profile, 1, error);
    if (status != TANDEM_OK)
        return status;
    VK_TRY(context, BeginCommandBuffer, program->profile, &begin);
    context->vk.CmdResetQueryPool(program->profile, program->profile_queries, 0, program->steps.n + 1);
    record_steps(program, program->profile, program->profile_queries);
    VK_TRY(context, EndCommandBuffer, program->profile);
    return TANDEM_OK;
fail:
    context->vk.FreeCommandBuffers(context->handle, context->command_pool, 1, &program->profile);
    program->profile = VK_NULL_HANDLE;
    return status;
}
