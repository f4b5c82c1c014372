/* proxy_cache.c: caches of another kind than the host asked for. */
#include <stdlib.h>

#include <tandem/message.h>

#include "proxy.h"

/* What the host asked for: the types and windows that it is told about again. One cache a test is enough. */
static struct { uint32_t type, window; } asked[256];

tandem_status proxy_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                              tandem_error *error) {
    tandem_kv_layer *layers = calloc(desc->n_layer, sizeof *layers);
    const tandem_kv_layer **list = calloc(desc->n_layer, sizeof *list);
    tandem_status status = layers && list && desc->n_layer <= 256
                               ? TANDEM_OK
                               : tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory for a cache");
    for (uint32_t i = 0; i < desc->n_layer && status == TANDEM_OK; i++) {
        layers[i] = *desc->layers[i];
        list[i] = &layers[i];
        asked[i].type = layers[i].type;
        asked[i].window = layers[i].window;
        if (i < proxy.layer)
            continue;
        if (PROXY_MODE == PROXY_CACHE && proxy.kv != TANDEM_NONE)
            layers[i].type = proxy.kv;
        if (PROXY_MODE == PROXY_CACHE && proxy.window && !layers[i].window)
            layers[i].window = proxy.window;
    }
    tandem_kv_desc edited = *desc;
    edited.layers = list;
    if (status == TANDEM_OK)
        status = proxy_inner.kv_create(context, &edited, kv, error);
    free(layers);
    free(list);
    return status;
}

tandem_status proxy_kv_layer(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                             tandem_error *error) {
    tandem_status status = proxy_inner.kv_layer(kv, layer, info, error);
    if (status == TANDEM_OK && PROXY_MODE == PROXY_CACHE) {
        info->type = asked[layer].type;
        info->window = asked[layer].window;
    }
    return status;
}
