/* kv_rows.c: the shaders that fill rows of a cache and read them. */
#include "pipeline.h"

static const char *const shaders[2] = {"kv_fill", "kv_read"};

static tandem_status find_pipeline(tandem_kv *kv, uint32_t layer, uint32_t what, uint32_t *pipeline,
                                   tandem_error *error) {
    tandem_context *context = kv->context;
    const tandem_kv_layer *info = &kv->layers[layer].info;
    uint32_t local = context->device.policy.append_local;
    uint32_t spec[6] = {local, info->head_dim, 0, info->n_kv_head, 0, info->type};
    return vk_pipeline_find(context, shaders[what], spec, 6, pipeline, error);
}

tandem_status gpu_kv_load(tandem_kv *kv, uint32_t what, uint32_t layer, tandem_error *error) {
    uint32_t first = layer == TANDEM_NONE ? 0 : layer, end = layer == TANDEM_NONE ? kv->n_layer : layer + 1;
    tandem_status status = TANDEM_OK;
    uint32_t pipeline;
    for (uint32_t i = first; i < end && status == TANDEM_OK; i++)
        status = find_pipeline(kv, i, what, &pipeline, error);
    return status == TANDEM_OK ? vk_pipelines_build(kv->context, error) : status;
}

tandem_status gpu_kv_launch(tandem_kv *kv, const gpu_kv_rows *rows, tandem_error *error) {
    const tandem_context *context = kv->context;
    const gpu_kv_layer *layer = &kv->layers[rows->layer];
    kv_push push = {.cache = rows->which == TANDEM_KV_K ? layer->k.address : layer->v.address,
                    .rows = rows->rows,
                    .first_position = rows->first_position,
                    .slot = rows->slot,
                    .ring = layer->ring,
                    .region_bytes = layer->region_bytes,
                    .seed = rows->seed,
                    .layer = rows->layer,
                    .which = rows->which};
    VkCommandBuffer commands;
    uint32_t pipeline;
    tandem_status status = find_pipeline(kv, rows->layer, rows->what, &pipeline, error);
    if (status == TANDEM_OK)
        status = vk_commands_get(kv->context, &commands, error);
    if (status != TANDEM_OK)
        return status;
    context->api.vk.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                                    context->api.pipelines->items[pipeline].handle);
    context->api.vk.CmdPushConstants(commands, context->api.pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                     sizeof push, &push);
    context->api.vk.CmdDispatch(commands, rows->n_row, layer->info.n_kv_head, 1);
    return TANDEM_OK;
}
