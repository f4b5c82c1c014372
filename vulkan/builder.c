/* builder.c: dispatches, their pipelines and their launch rules. */
#include "builder.h"

#include <string.h>

static tandem_status no_memory(gpu_builder *builder) {
    return tandem_kit_fail_op(builder->error, TANDEM_E_OUT_OF_MEMORY, builder->op_index,
                              "No host memory to compile the program");
}

static tandem_status find_rule(gpu_builder *builder, const launch_rule *rule, uint32_t *index) {
    gpu_list *rules = &builder->program->api.rules;
    for (uint32_t i = 0; i < rules->n; i++) {
        if (memcmp(GPU_AT(*rules, launch_rule, i), rule, sizeof *rule) == 0) {
            *index = i;
            return TANDEM_OK;
        }
    }
    launch_rule *added = gpu_list_add(rules, sizeof *added);
    if (!added)
        return no_memory(builder);
    *added = *rule;
    *index = rules->n - 1;
    return TANDEM_OK;
}

uint64_t vk_dispatch_command(const gpu_builder *builder) {
    return builder->base + builder->layout.commands +
           (uint64_t)gpu_last_launch(builder)->api.rule * INDIRECT_BYTES;
}

/* The last dispatch reads its launch arguments there. */
static tandem_status reads_command(gpu_builder *builder, uint64_t command) {
    GPU_DO(gpu_reads(builder, command, sizeof(VkDispatchIndirectCommand)));
    gpu_last_range(builder)->indirect = 1;
    return TANDEM_OK;
}

tandem_status vk_dispatch_add(gpu_builder *builder, const char *shader, const uint32_t *spec, uint32_t n_spec,
                              const launch_rule *rule, const void *push, uint32_t push_bytes,
                              gpu_launch **result) {
    gpu_api_launch api = {.rule = TANDEM_NONE};
    gpu_launch *dispatch;
    GPU_DO(vk_pipeline_find(builder->context, shader, spec, n_spec, &api.pipeline, builder->error));
    if (rule)
        GPU_DO(find_rule(builder, rule, &api.rule));
    GPU_DO(gpu_launch_add(builder, push, push_bytes, &dispatch));
    dispatch->api = api;
    if (result)
        *result = dispatch;
    return rule ? reads_command(builder, vk_dispatch_command(builder)) : TANDEM_OK;
}

tandem_status vk_dispatch_indirect(gpu_builder *builder, uint64_t command) {
    gpu_last_launch(builder)->api.command = command;
    return reads_command(builder, command);
}
