/* model_internal.h: what the parts of model_config share. */
#ifndef TANDEM_HOST_MODEL_INTERNAL_H
#define TANDEM_HOST_MODEL_INTERNAL_H

#include "model_config.h"

/* The few numbers that determine every layer of a preset. */
typedef struct model_shape {
    const char *name;
    uint32_t family;
    uint32_t n_layer, period; /* every period-th layer is global; 0: none is */
    uint32_t d_model, n_head;
    uint32_t n_kv_head, n_kv_head_global;
    uint32_t head_dim, head_dim_global;
    uint32_t d_ff, d_ff_shared; /* the second on layers that read another's cache */
    uint32_t window, n_shared_kv, d_ple;
    uint32_t n_expert, n_used, d_expert;
    uint32_t n_vocab, n_ctx;
    bool k_is_v; /* on global layers */
} model_shape;

/* Rules that any shape must keep, presets with overrides and files alike. `name` begins the sentence. */
int model_config_check(const model_config *config, const char *name, tandem_message *message);

/* The layer whose cache layer l reads when the last n_shared ones own none: the last owner of the same kind,
 * which in Gemma's patterns is the last owner (global) or the one before it (sliding). UINT32_MAX: there is
 * none. */
uint32_t model_kv_layer(const model_config *config, uint32_t l);

/* The factors of Gemma 4's "proportional" rotation: an eighth of the head's pairs rotate, the rest stand
 * still. */
void model_proportional_rope(model_config *config, uint32_t head_dim);

/* Pairs that move at all: factors beyond 1e20 stop a pair for any position there is. */
uint32_t model_rope_pairs(const model_config *config, const model_layer *layer);

#endif
