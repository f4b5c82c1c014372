/* kv_rows.c: the kernels that fill rows of a cache and read them. */
#include "kernel.h"

#include <stdio.h>

static tandem_status find_kernel(tandem_kv *kv, uint32_t layer, uint32_t what, const cu_kernel **kernel,
                                 tandem_error *error) {
    char name[48];
    uint32_t type = kv->layers[layer].info.type;
    snprintf(name, sizeof name, "%s_%s", what == GPU_KV_FILL ? "kv_fill" : "kv_read",
             type == TANDEM_TYPE_F32   ? "f32"
             : type == TANDEM_TYPE_F16 ? "f16"
                                       : "q8_0");
    return cu_kernel_find(kv->context, name, 0, kernel, error);
}

tandem_status gpu_kv_load(tandem_kv *kv, uint32_t what, uint32_t layer, tandem_error *error) {
    uint32_t first = layer == TANDEM_NONE ? 0 : layer, end = layer == TANDEM_NONE ? kv->n_layer : layer + 1;
    tandem_status status = TANDEM_OK;
    const cu_kernel *kernel;
    for (uint32_t i = first; i < end && status == TANDEM_OK; i++)
        status = find_kernel(kv, i, what, &kernel, error);
    return status;
}

tandem_status gpu_kv_launch(tandem_kv *kv, const gpu_kv_rows *rows, tandem_error *error) {
    const gpu_kv_layer *layer = &kv->layers[rows->layer];
    kv_params params = {.cache = rows->which == TANDEM_KV_K ? layer->k.address : layer->v.address,
                        .rows = rows->rows,
                        .first_position = rows->first_position,
                        .slot = rows->slot,
                        .ring = layer->ring,
                        .region_bytes = layer->region_bytes,
                        .head_dim = layer->info.head_dim,
                        .n_kv_head = layer->info.n_kv_head,
                        .seed = rows->seed,
                        .layer = rows->layer,
                        .which = rows->which};
    void *pointers[1] = {&params};
    const cu_kernel *kernel;
    tandem_status status = find_kernel(kv, rows->layer, rows->what, &kernel, error);
    if (status != TANDEM_OK)
        return status;
    CU_TRY(kv->context, LaunchKernel, kernel->function, rows->n_row, layer->info.n_kv_head, 1, KV_THREADS, 1,
           1, 0, kv->context->api.stream, pointers, NULL);
fail:
    return status;
}
