/* kv_pipelines.c: makes the pipelines of kv_fill and kv_read, which no program of a model has, for
 * bench/kernels_vulkan.py. What they write and read does not matter here.
 *
 * usage: kv_pipelines f32|f16|q8_0 HEAD_DIM   (on device 0 of the Vulkan plugin)
 */
#include "loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_POSITION 64u

static tandem_error error = {.struct_size = sizeof error};

static int fail(const char *what) {
    fprintf(stderr, "kv_pipelines: %s: %s\n", what, error.message);
    return 1;
}

static int use_cache(const tandem_backend *api, tandem_context *context, uint32_t type, uint32_t head_dim) {
    const tandem_kv_layer layer = {.struct_size = sizeof layer,
                                   .n_kv_head = 2,
                                   .head_dim = head_dim,
                                   .type = type,
                                   .share_of = TANDEM_NONE,
                                   .capacity = N_POSITION};
    const tandem_kv_layer *layers[] = {&layer};
    const tandem_kv_desc desc = {.struct_size = sizeof desc,
                                 .n_layer = 1,
                                 .layers = layers,
                                 .max_chunk = 1,
                                 .n_slot = 1,
                                 .layout = TANDEM_KV_LAYOUT_AUTO};
    tandem_kv *kv = NULL;
    float *rows = calloc((size_t)layer.n_kv_head * head_dim * N_POSITION, sizeof *rows);
    int code = rows ? 0 : fail("no memory");
    if (!code && api->kv_create(context, &desc, &kv, &error))
        code = fail("kv_create");
    if (!code && api->kv_fill(kv, 0, 1, N_POSITION, &error))
        code = fail("kv_fill");
    if (!code && api->kv_read(kv, 0, 0, 0, 0, N_POSITION, rows, &error))
        code = fail("kv_read");
    if (kv)
        api->kv_destroy(kv);
    free(rows);
    return code;
}

int main(int argc, char **argv) {
    const char *types[] = {"f32", "f16", "q8_0"};
    const uint32_t codes[] = {TANDEM_TYPE_F32, TANDEM_TYPE_F16, TANDEM_TYPE_Q8_0};
    uint32_t type = TANDEM_NONE, head_dim = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    for (uint32_t i = 0; i < 3 && argc == 3; i++)
        if (strcmp(argv[1], types[i]) == 0)
            type = codes[i];
    if (type == TANDEM_NONE || head_dim == 0) {
        fputs("usage: kv_pipelines f32|f16|q8_0 HEAD_DIM\n", stderr);
        return 2;
    }
    tandem_plugin *plugin = NULL;
    tandem_context *context = NULL;
    const tandem_context_desc desc = {.struct_size = sizeof desc};
    if (tandem_plugin_open("vulkan", NULL, &plugin, &error))
        return fail("vulkan");
    const tandem_backend *api = tandem_plugin_backend(plugin);
    int code = api->context_create(&desc, &context, &error) ? fail("context_create")
                                                            : use_cache(api, context, type, head_dim);
    if (context)
        api->context_destroy(context);
    tandem_plugin_close(plugin);
    return code;
}
