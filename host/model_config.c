/* Rules common to model shapes from files and from presets. */
#include "model_internal.h"

#include <math.h>

#include <tandem/base.h>

#define STANDS_STILL 1e20f
#define MAX_WIDTH                                                                                            \
    (1u << 24) /* of any row: far beyond any model, small enough for 32-bit products with 128 heads */

uint32_t model_kv_layer(const model_config *c, uint32_t l) {
    uint32_t owners = c->n_layer - c->n_shared_kv;
    if (l < owners)
        return l;
    for (uint32_t i = owners; i > 0; i--) {
        if ((c->layers[i - 1].window == 0) == (c->layers[l].window == 0))
            return i - 1;
    }
    return UINT32_MAX;
}

void model_proportional_rope(model_config *c, uint32_t head_dim) {
    c->n_rope_factor = head_dim / 2;
    for (uint32_t i = 0; i < c->n_rope_factor; i++)
        c->rope_factor[i] = i < head_dim / 8 ? 1.0f : 1e30f;
}

uint32_t model_rope_pairs(const model_config *c, const model_layer *layer) {
    uint32_t n = layer->head_dim / 2;
    if (layer->window == 0 && c->n_rope_factor > 0) {
        while (n > 0 && fabsf(c->rope_factor[n - 1]) >= STANDS_STILL)
            n--;
    }
    return n;
}

void model_config_rope(const model_config *c, uint32_t l, double *omega) {
    const model_layer *layer = &c->layers[l];
    for (uint32_t i = 0; i < layer->n_rope_pair; i++) {
        omega[i] = pow(layer->rope_base, -2.0 * i / layer->head_dim) * layer->rope_scale;
        if (layer->window == 0 && c->n_rope_factor > 0)
            omega[i] /= c->rope_factor[i];
    }
}

static int check_layer(const model_config *c, uint32_t l, const char *name, tandem_message *message) {
    const model_layer *layer = &c->layers[l];
    const int bad = TANDEM_E_INVALID;
    if (layer->n_head == 0 || layer->n_kv_head == 0 || layer->n_head % layer->n_kv_head != 0)
        return message_fail(message, bad, "%s: layer %u has %u query heads, no multiple of its %u KV heads",
                            name, l, layer->n_head, layer->n_kv_head);
    if (layer->head_dim == 0 || layer->head_dim % 2 != 0 || layer->head_dim > 2 * MODEL_MAX_ROPE_PAIRS)
        return message_fail(message, bad,
                            "%s: layer %u has heads of %u elements; even numbers up to %u are allowed", name,
                            l, layer->head_dim, 2 * MODEL_MAX_ROPE_PAIRS);
    if ((uint64_t)layer->n_head * layer->head_dim > MAX_WIDTH || layer->d_ff == 0 || layer->d_ff > MAX_WIDTH)
        return message_fail(message, bad, "%s: layer %u is %llu (heads) and %u (feed-forward) elements wide",
                            name, l, (unsigned long long)layer->n_head * layer->head_dim, layer->d_ff);
    if (!(layer->rope_base > 0) || !isfinite(layer->rope_base))
        return message_fail(message, bad, "%s: layer %u has the rotation base %g", name, l, layer->rope_base);
    if (layer->kv_layer == l)
        return TANDEM_OK;
    if (layer->kv_layer > l)
        return message_fail(
            message, bad, "%s: layer %u shares a cache, but no earlier layer of its kind owns one", name, l);
    const model_layer *owner = &c->layers[layer->kv_layer];
    if (owner->n_kv_head != layer->n_kv_head || owner->head_dim != layer->head_dim ||
        owner->window != layer->window)
        return message_fail(message, bad, "%s: layer %u reads the cache of layer %u, which has other heads",
                            name, l, layer->kv_layer);
    return TANDEM_OK;
}

int model_config_check(const model_config *c, const char *name, tandem_message *message) {
    const int bad = TANDEM_E_INVALID;
    if (c->d_model == 0 || c->d_model > MAX_WIDTH || c->n_vocab == 0 || c->n_vocab > INT32_MAX)
        return message_fail(message, bad, "%s: the model is %u wide with %u tokens", name, c->d_model,
                            c->n_vocab);
    if (c->n_ctx == 0 || c->n_ctx > INT32_MAX)
        return message_fail(message, bad, "%s: the context length is %u", name, c->n_ctx);
    if (!(c->norm_eps >= 0) || !isfinite(c->norm_eps) || !isfinite(c->softcap) || c->softcap < 0)
        return message_fail(message, bad, "%s: the norms' epsilon is %g and the logits' cap %g", name,
                            (double)c->norm_eps, (double)c->softcap);
    if (c->n_expert > 0 && (c->n_used == 0 || c->n_used > c->n_expert || c->d_expert == 0 ||
                            c->d_expert > MAX_WIDTH || c->n_expert > 65536))
        return message_fail(message, bad, "%s: %u of %u experts of width %u is no mixture", name, c->n_used,
                            c->n_expert, c->d_expert);
    if ((uint64_t)c->d_ple * c->n_layer > MAX_WIDTH)
        return message_fail(message, bad, "%s: per-layer inputs are %u wide", name, c->d_ple);
    for (uint32_t i = 0; i < c->n_rope_factor; i++) {
        if (!(c->rope_factor[i] > 0))
            return message_fail(message, bad, "%s: rotation factor %u of rope_freqs.weight is %g", name, i,
                                (double)c->rope_factor[i]);
    }
    for (uint32_t l = 0; l < c->n_layer; l++) {
        int status = check_layer(c, l, name, message);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}
