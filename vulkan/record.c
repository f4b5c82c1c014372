/* record.c: the command buffers of a program, recorded once.
 *
 * A run submits three of them: the prefix of its slot (prepare.comp reads that slot's table), main, and the
 * suffix of the slot (last timestamp). Main names no slot, so several runs of it may be pending at once.
 */
#include "loops.h"

#include <string.h>

#define ALIGNMENT 256u /* of parts of the workspace */

/* ---- launch rules: the workspace has the commands, then the rules that they are made of ---- */

static uint64_t align(uint64_t n) {
    return (n + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

uint64_t vk_indirect_offset(const tandem_program *program) {
    return program->layout.commands;
}

uint64_t vk_rules_offset(const tandem_program *program) {
    return program->layout.commands + align((uint64_t)program->api.n_rule * INDIRECT_BYTES);
}

uint64_t gpu_program_plan(tandem_program *program) {
    uint64_t n_rule = program->api.rules.n;
    program->api.n_rule = (uint32_t)n_rule;
    gpu_list_clear(&program->api.rules, sizeof(launch_rule));
    return align(n_rule * INDIRECT_BYTES) + n_rule * sizeof(launch_rule);
}

tandem_status gpu_program_upload(tandem_program *program, tandem_error *error) {
    const gpu_list *rules = &program->api.rules;
    if (rules->n == 0)
        return TANDEM_OK;
    return gpu_upload(program->context, &program->workspace, vk_rules_offset(program), rules->items,
                      rules->n * sizeof(launch_rule), error);
}

/* ---- recording ---- */

static void record_dispatch(const tandem_program *program, VkCommandBuffer commands,
                            const gpu_launch *dispatch, const void *push) {
    const tandem_context *context = program->context;
    const vk_device_table *vk = &context->api.vk;
    vk->CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                        context->api.pipelines->items[dispatch->api.pipeline].handle);
    vk->CmdPushConstants(commands, context->api.pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                         (dispatch->params_bytes + 3) & ~3u, push);
    uint64_t command = dispatch->api.command;
    if (dispatch->api.rule != TANDEM_NONE)
        command = program->workspace.address + vk_indirect_offset(program) +
                  (uint64_t)dispatch->api.rule * INDIRECT_BYTES;
    if (command)
        vk->CmdDispatchIndirect(commands, program->workspace.block->api.buffer,
                                program->workspace.offset + (command - program->workspace.address));
    else
        vk->CmdDispatch(commands, dispatch->api.groups[0], dispatch->api.groups[1], dispatch->api.groups[2]);
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
    const vk_device_table *vk = &program->context->api.vk;
    for (uint32_t s = 0; s < program->steps.n; s++) {
        const gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        if (step->barrier_before || queries)
            record_barrier(program, commands, step->barrier_indirect || queries);
        if (s == 0 && queries)
            vk->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, queries, 0);
        for (uint32_t i = 0; i < step->n_launch; i++) {
            const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, step->first_launch + i);
            record_dispatch(program, commands, dispatch, dispatch->params);
        }
        if (queries)
            vk->CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, queries, s + 1);
    }
}

/* What slot `slot` pushes to prepare.comp. */
static prepare_push prefix_push(const tandem_program *program, uint32_t slot) {
    prepare_push push;
    memcpy(&push, GPU_AT(program->launches, gpu_launch, 0)->params, sizeof push);
    push.source = program->tables.address + slot * program->table_bytes;
    return push;
}

tandem_status gpu_launch_alone(tandem_program *program, uint32_t index, tandem_error *error) {
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, index);
    prepare_push push = prefix_push(program, 0);
    VkCommandBuffer commands;
    tandem_status status = vk_commands_get(program->context, &commands, error);
    if (status == TANDEM_OK)
        record_dispatch(program, commands, dispatch, index == 0 ? &push : dispatch->params);
    return status;
}

static tandem_status record_prefix(tandem_program *program, uint32_t slot, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    VkCommandBuffer commands = program->api.prefix[slot];
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    const gpu_launch *dispatch = GPU_AT(program->launches, gpu_launch, 0);
    prepare_push push = prefix_push(program, slot);
    VK_TRY(context, BeginCommandBuffer, commands, &begin);
    context->api.vk.CmdResetQueryPool(commands, context->api.timestamps, 2 * slot, 2);
    /* Everything of earlier runs comes first: they may read this run block and these launch arguments. */
    vk_barrier(context, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_DRAW_INDIRECT_BIT,
               VK_ACCESS_SHADER_WRITE_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
               VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    context->api.vk.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, context->api.timestamps,
                                      2 * slot);
    record_dispatch(program, commands, dispatch, &push);
    VK_TRY(context, EndCommandBuffer, commands);
fail:
    return status;
}

static tandem_status record_suffix(tandem_program *program, uint32_t slot, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    VkCommandBuffer commands = program->api.suffix[slot];
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VK_TRY(context, BeginCommandBuffer, commands, &begin);
    vk_barrier(context, commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_ACCESS_SHADER_WRITE_BIT,
               VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    context->api.vk.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, context->api.timestamps,
                                      2 * slot + 1);
    VK_TRY(context, EndCommandBuffer, commands);
fail:
    return status;
}

static tandem_status allocate(tandem_program *program, VkCommandBuffer *commands, uint32_t n,
                              tandem_error *error) {
    tandem_status status = TANDEM_OK;
    VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                        .commandPool = program->context->api.command_pool,
                                        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                        .commandBufferCount = n};
    VK_TRY(program->context, AllocateCommandBuffers, program->context->api.handle, &info, commands);
fail:
    return status;
}

tandem_status gpu_program_record(tandem_program *program, tandem_error *error) {
    tandem_context *context = program->context;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                      .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT};
    tandem_status status = vk_loops_check(program, error);
    if (status == TANDEM_OK)
        status = vk_pipelines_build(context, error);
    if (status == TANDEM_OK)
        status = allocate(program, program->api.prefix, GPU_N_PENDING, error);
    if (status == TANDEM_OK)
        status = allocate(program, program->api.suffix, GPU_N_PENDING, error);
    if (status == TANDEM_OK)
        status = allocate(program, &program->api.main, 1, error);
    for (uint32_t slot = 0; slot < GPU_N_PENDING && status == TANDEM_OK; slot++) {
        status = record_prefix(program, slot, error);
        if (status == TANDEM_OK)
            status = record_suffix(program, slot, error);
    }
    if (status != TANDEM_OK)
        return status;
    VK_TRY(context, BeginCommandBuffer, program->api.main, &begin);
    record_steps(program, program->api.main, VK_NULL_HANDLE);
    VK_TRY(context, EndCommandBuffer, program->api.main);
fail:
    return status;
}

tandem_status gpu_profile_begin(tandem_program *program, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_context *context = program->context;
    VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    VkQueryPoolCreateInfo queries = {.sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
                                     .queryType = VK_QUERY_TYPE_TIMESTAMP,
                                     .queryCount = program->steps.n + 1};
    if (program->api.profile)
        return TANDEM_OK;
    if (!program->api.profile_queries)
        VK_TRY(context, CreateQueryPool, context->api.handle, &queries, NULL, &program->api.profile_queries);
    status = allocate(program, &program->api.profile, 1, error);
    if (status != TANDEM_OK)
        return status;
    VK_TRY(context, BeginCommandBuffer, program->api.profile, &begin);
    context->api.vk.CmdResetQueryPool(program->api.profile, program->api.profile_queries, 0,
                                      program->steps.n + 1);
    record_steps(program, program->api.profile, program->api.profile_queries);
    VK_TRY(context, EndCommandBuffer, program->api.profile);
    return TANDEM_OK;
fail:
    context->api.vk.FreeCommandBuffers(context->api.handle, context->api.command_pool, 1,
                                       &program->api.profile);
    program->api.profile = VK_NULL_HANDLE;
    return status;
}

void gpu_program_release(tandem_program *program) {
    const gpu_api_context *api = &program->context->api;
    gpu_api_program *own = &program->api;
    /* note: freeing NULL handles is allowed, so half-recorded programs need no care. */
    api->vk.FreeCommandBuffers(api->handle, api->command_pool, GPU_N_PENDING, own->prefix);
    api->vk.FreeCommandBuffers(api->handle, api->command_pool, GPU_N_PENDING, own->suffix);
    api->vk.FreeCommandBuffers(api->handle, api->command_pool, 1, &own->main);
    api->vk.FreeCommandBuffers(api->handle, api->command_pool, 1, &own->profile);
    if (own->profile_queries)
        api->vk.DestroyQueryPool(api->handle, own->profile_queries, NULL);
    gpu_free(own->rules.items);
}
