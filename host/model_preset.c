/* The six published shapes, and how overrides change them. */
#include "model_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
#define G4 MODEL_GEMMA4
#define G3 MODEL_GEMMA3
/* name, family, layers, period, width, heads, KV heads (sliding, global), head size (sliding, global), feed-forward
 * width (of sharing layers), window, sharing layers, per-layer inputs, experts (used, width), vocabulary, context,
 * K = V on global layers */
static const model_shape PRESETS[] = {
    {"gemma4-e2b",     G4, 35, 5, 1536,  8,  1, 1, 256, 512,  6144, 12288,  512, 20, 256,   0, 0,   0, 262144, 131072, false},
    {"gemma4-e4b",     G4, 42, 6, 2560,  8,  2, 2, 256, 512, 10240, 10240,  512, 18, 256,   0, 0,   0, 262144, 131072, false},
    {"gemma4-12b",     G4, 48, 6, 3840, 16,  8, 1, 256, 512, 15360, 15360, 1024,  0,   0,   0, 0,   0, 262144, 262144, true},
    {"gemma4-26b-a4b", G4, 30, 6, 2816, 16,  8, 2, 256, 512,  2112,  2112, 1024,  0,   0, 128, 8, 704, 262144, 262144, true},
    {"gemma4-31b",     G4, 60, 6, 5376, 32, 16, 4, 256, 512, 21504, 21504, 1024,  0,   0,   0, 0,   0, 262144, 262144, true},
    {"gemma3-270m",    G3, 18, 6,  640,  4,  1, 1, 256, 256,  2048,  2048,  512,  0,   0,   0, 0,   0, 262144,  32768, false},
};
#undef G3
#undef G4
/* clang-format on */
#define N_PRESET (sizeof PRESETS / sizeof *PRESETS)

const char *model_preset_at(uint32_t index) {
    return index < N_PRESET ? PRESETS[index].name : NULL;
}

static void fill_layer(model_config *c, const model_shape *s, uint32_t l) {
    model_layer *layer = &c->layers[l];
    bool global = s->window == 0 || (s->period > 0 && (l + 1) % s->period == 0);
    bool gemma4 = s->family == MODEL_GEMMA4;
    layer->window = global ? 0 : s->window;
    layer->n_head = s->n_head;
    layer->n_kv_head = global ? s->n_kv_head_global : s->n_kv_head;
    layer->head_dim = global ? s->head_dim_global : s->head_dim;
    layer->d_ff = l < s->n_layer - s->n_shared_kv ? s->d_ff : s->d_ff_shared;
    layer->k_is_v = global && s->k_is_v;
    layer->has_scale = gemma4;
    layer->rope_base = global ? 1e6 : 1e4;
    layer->rope_scale = 1;
    layer->kv_layer = model_kv_layer(c, l);
    layer->n_rope_pair = model_rope_pairs(c, layer);
}

static void fill_config(model_config *c, const model_shape *s) {
    bool gemma4 = s->family == MODEL_GEMMA4;
    memset(c, 0, sizeof *c);
    strncpy(c->name, s->name, sizeof c->name - 1);
    c->family = s->family;
    c->n_layer = s->n_layer;
    c->d_model = s->d_model;
    c->n_vocab = s->n_vocab;
    c->n_ctx = s->n_ctx;
    c->window = s->window;
    c->n_expert = s->n_expert;
    c->n_used = s->n_used;
    c->d_expert = s->d_expert;
    c->d_ple = s->d_ple;
    c->n_shared_kv = s->n_shared_kv;
    c->norm_eps = 1e-6f;
    c->attention_scale = gemma4 ? 1.0f : 1.0f / sqrtf((float)s->head_dim);
    c->embed_scale = sqrtf((float)s->d_model);
    c->softcap = gemma4 ? 30.0f : 0.0f;
    c->v_norm = gemma4;
    c->has_expert_scale = s->n_expert > 0;
    if (gemma4)
        model_proportional_rope(c, s->head_dim_global);
    for (uint32_t l = 0; l < c->n_layer; l++)
        fill_layer(c, s, l);
}

int model_config_preset(model_config *c, const char *preset, tandem_message *message) {
    for (size_t i = 0; i < N_PRESET; i++) {
        if (strcasecmp(PRESETS[i].name, preset) == 0) {
            fill_config(c, &PRESETS[i]);
            return TANDEM_OK;
        }
    }
    return message_fail(
        message, TANDEM_E_INVALID,
        "'%s' is no preset: gemma4-e2b, gemma4-e4b, gemma4-12b, gemma4-26b-a4b, gemma4-31b and "
        "gemma3-270m are",
        preset);
}

/* The shape behind a preset's config. */
static const model_shape *preset_of(const model_config *c) {
    for (size_t i = 0; i < N_PRESET; i++) {
        if (strcmp(PRESETS[i].name, c->name) == 0)
            return &PRESETS[i];
    }
    return NULL;
}

static uint32_t scaled(uint32_t value, uint32_t numerator, uint32_t denominator) {
    uint64_t v = (uint64_t)value * numerator / denominator;
    return v == 0 ? 1 : v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* With another number of layers the sharing part keeps its proportion, in whole periods so that the last two
 * owners are a sliding and a global layer, as the sharing rule needs. */
static uint32_t scaled_sharing(const model_shape *preset, uint32_t n_layer) {
    uint32_t period = preset->period;
    if (preset->n_shared_kv == 0 || n_layer <= period)
        return 0;
    uint32_t owners = preset->n_layer - preset->n_shared_kv;
    uint32_t periods = (uint32_t)(((uint64_t)owners * n_layer + (uint64_t)preset->n_layer * period / 2) /
                                  ((uint64_t)preset->n_layer * period));
    if (periods == 0)
        periods = 1;
    return periods * period < n_layer ? n_layer - periods * period : 0;
}

int model_config_override(model_config *c, const model_overrides *o, tandem_message *message) {
    const model_shape *preset = preset_of(c);
    if (!preset)
        return message_fail(message, TANDEM_E_INVALID, "only presets can be changed, '%s' is none", c->name);
    model_shape s = *preset;
    if (o->n_layer > MODEL_MAX_LAYERS)
        return message_fail(message, TANDEM_E_INVALID, "%u layers are too many; %u is the most", o->n_layer,
                            MODEL_MAX_LAYERS);
    if ((o->n_expert || o->n_used || o->d_expert) && preset->n_expert == 0)
        return message_fail(message, TANDEM_E_INVALID, "%s has no experts", c->name);
    if (o->n_layer) {
        s.n_layer = o->n_layer;
        s.n_shared_kv = scaled_sharing(preset, o->n_layer);
    }
    if (o->d_ff) {
        s.d_ff = o->d_ff;
        s.d_ff_shared = scaled(o->d_ff, preset->d_ff_shared, preset->d_ff);
    }
    if (o->n_kv_head) {
        s.n_kv_head = o->n_kv_head;
        s.n_kv_head_global = scaled(o->n_kv_head, preset->n_kv_head_global, preset->n_kv_head);
    }
    if (o->head_dim) {
        s.head_dim = o->head_dim;
        s.head_dim_global = scaled(o->head_dim, preset->head_dim_global, preset->head_dim);
        if (s.head_dim_global > 2 * MODEL_MAX_ROPE_PAIRS) /* before anything is filled from it */
            return message_fail(message, TANDEM_E_INVALID,
                                "%s: global heads of %u elements are too large; %u is the most", c->name,
                                s.head_dim_global, 2 * MODEL_MAX_ROPE_PAIRS);
    }
    s.d_model = o->d_model ? o->d_model : s.d_model;
    s.n_vocab = o->n_vocab ? o->n_vocab : s.n_vocab;
    s.n_head = o->n_head ? o->n_head : s.n_head;
    s.window = o->window ? o->window : s.window;
    s.n_expert = o->n_expert ? o->n_expert : s.n_expert;
    s.n_used = o->n_used ? o->n_used : s.n_used;
    s.d_expert = o->d_expert ? o->d_expert : s.d_expert;
    s.n_ctx = o->n_ctx ? o->n_ctx : s.n_ctx;
    if (s.n_used > s.n_expert && o->n_expert && !o->n_used)
        s.n_used = s.n_expert;
    model_config changed;
    fill_config(&changed, &s);
    int status = model_config_check(&changed, c->name, message);
    if (status == TANDEM_OK)
        *c = changed;
    return status;
}
