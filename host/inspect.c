/* host/inspect.c: sums over the tensors of a model. */
#include "inspect.h"

#include <math.h>
#include <stdlib.h>

#include <tandem/quants.h>

static const char *const part_names[N_PART] = {
    [PART_EMBEDDING] = "token embedding",
    [PART_HEAD] = "output head",
    [PART_PLE_TABLE] = "per-layer embedding table",
    [PART_PLE_PROJECTION] = "per-layer embedding projection",
    [PART_PLE_LAYERS] = "per-layer gates and projections",
    [PART_ATTENTION] = "attention",
    [PART_UNUSED_KV] = "unused K and V of sharing layers",
    [PART_FEED_FORWARD] = "dense feed-forward",
    [PART_ROUTER] = "router",
    [PART_EXPERTS] = "experts",
    [PART_NORMS] = "norms and scalars",
};

const char *part_name(uint32_t part) {
    return part_names[part];
}

int model_each_tensor(const model_source *source, each_tensor callback, void *user, tandem_message *message) {
    const model_config *c = model_source_config(source);
    for (uint32_t role = 0; role < MODEL_N_ROLE; role++) {
        uint32_t n = role < MODEL_T_LAYER_FIRST ? 1 : c->n_layer;
        for (uint32_t l = 0; l < n; l++) {
            source_tensor tensor;
            uint32_t layer = role < MODEL_T_LAYER_FIRST ? TANDEM_NONE : l;
            int found = model_source_role(source, role, layer, &tensor, message);
            if (found < 0)
                return found;
            if (found)
                callback(user, &tensor, role, layer);
        }
    }
    return TANDEM_OK;
}

static uint32_t part_of(const model_config *c, uint32_t role, uint32_t layer) {
    switch (role) {
    case MODEL_T_TOKEN_EMBD:
        return PART_EMBEDDING;
    case MODEL_T_OUTPUT:
        return PART_HEAD;
    case MODEL_T_PLE_TOKEN_EMBD:
        return PART_PLE_TABLE;
    case MODEL_T_PLE_MODEL_PROJ:
        return PART_PLE_PROJECTION;
    case MODEL_T_PLE_INP_GATE:
    case MODEL_T_PLE_PROJ:
        return PART_PLE_LAYERS;
    case MODEL_T_ATTN_K:
    case MODEL_T_ATTN_V:
        return c->layers[layer].kv_layer == layer ? PART_ATTENTION : PART_UNUSED_KV;
    case MODEL_T_ATTN_Q:
    case MODEL_T_ATTN_OUTPUT:
        return PART_ATTENTION;
    case MODEL_T_FFN_GATE:
    case MODEL_T_FFN_UP:
    case MODEL_T_FFN_DOWN:
        return PART_FEED_FORWARD;
    case MODEL_T_ROUTER:
    case MODEL_T_ROUTER_SCALE:
        return PART_ROUTER;
    case MODEL_T_GATE_UP_EXPS:
    case MODEL_T_GATE_EXPS:
    case MODEL_T_UP_EXPS:
    case MODEL_T_DOWN_EXPS:
        return PART_EXPERTS;
    default:
        return PART_NORMS;
    }
}

/* A tensor as the sums see it. */
typedef struct counted_tensor {
    uint32_t role, layer, type;
    uint64_t n_element, bytes, row_bytes;
} counted_tensor;

static uint64_t bytes_per_token(const model_config *c, const counted_tensor *t, uint32_t part) {
    switch (part) {
    case PART_EMBEDDING:
        return t->row_bytes + (c->has_output ? 0 : t->bytes);
    case PART_PLE_TABLE:
        return t->row_bytes;
    case PART_UNUSED_KV:
        return 0;
    case PART_EXPERTS:
        return t->bytes / c->n_expert * c->n_used;
    default:
        return t->bytes;
    }
}

static void count_type(model_figures *f, const counted_tensor *t) {
    uint32_t i = 0;
    while (i < f->n_type && f->types[i].type != t->type)
        i++;
    if (i == INSPECT_MAX_TYPES)
        return;
    if (i == f->n_type)
        f->types[f->n_type++] = (type_sum){.type = t->type};
    f->types[i].n_tensor++;
    f->types[i].n_element += t->n_element;
    f->types[i].bytes += t->bytes;
}

static void count_tensor(const model_config *c, model_figures *f, const counted_tensor *t) {
    const uint32_t part = part_of(c, t->role, t->layer);
    /* The frequencies' factors are the same in every file: bytes, but no parameters. */
    const uint64_t n_element = t->role == MODEL_T_ROPE_FREQS ? 0 : t->n_element;
    const uint64_t per_token = bytes_per_token(c, t, part);
    part_sum *const sums[] = {&f->parts[part], &f->total};
    for (uint32_t i = 0; i < 2; i++) {
        sums[i]->n_element += n_element;
        sums[i]->bytes += t->bytes;
        sums[i]->bytes_per_token += per_token;
    }
    if (t->role == (c->has_output ? MODEL_T_OUTPUT : MODEL_T_TOKEN_EMBD))
        f->head_bytes = t->bytes;
    f->n_tensor++;
    count_type(f, t);
}

typedef struct figures_state {
    model_figures *figures;
    const model_config *config;
} figures_state;

static void add_tensor(void *user, const source_tensor *t, uint32_t role, uint32_t layer) {
    const figures_state *state = user;
    const counted_tensor counted = {.role = role,
                                    .layer = layer,
                                    .type = t->type,
                                    .n_element = t->dims[0] * t->n_row,
                                    .bytes = t->bytes,
                                    .row_bytes = t->row_bytes};
    count_tensor(state->config, state->figures, &counted);
}

int model_figures_read(const model_source *source, model_figures *figures, tandem_message *message) {
    *figures = (model_figures){0};
    figures_state state = {figures, model_source_config(source)};
    return model_each_tensor(source, add_tensor, &state, message);
}

int model_figures_published(const model_config *config, const model_mix *mix, model_figures *figures,
                            tandem_message *message) {
    model_tensor *list = NULL;
    uint32_t n = 0;
    model_config *c = malloc(sizeof *c);
    if (!c)
        return message_out_of_memory(message, "the model's shape", sizeof *c);
    *c = *config;
    for (uint32_t l = 0; l < c->n_layer; l++)
        c->layers[l].has_unused_kv = c->layers[l].kv_layer != l;
    *figures = (model_figures){0};
    int status = model_tensor_list(c, mix, &list, &n, message);
    for (uint32_t i = 0; i < n && !status; i++) {
        const model_tensor *t = &list[i];
        const uint64_t n_row = t->dims[1] * t->dims[2] * t->dims[3];
        const uint64_t row_bytes = tandem_kit_row_bytes(t->type, t->dims[0]);
        const counted_tensor counted = {.role = t->role,
                                        .layer = t->layer,
                                        .type = t->type,
                                        .n_element = t->dims[0] * n_row,
                                        .bytes = row_bytes * n_row,
                                        .row_bytes = row_bytes};
        count_tensor(c, figures, &counted);
    }
    free(list);
    free(c);
    return status;
}

uint64_t model_active(const model_config *c, const model_figures *f) {
    const uint64_t experts = f->parts[PART_EXPERTS].n_element;
    return f->total.n_element - (c->n_expert ? experts / c->n_expert * (c->n_expert - c->n_used) : 0);
}

uint64_t model_cache_bytes(const model_config *c, uint32_t n_ctx, uint32_t kv_type, uint32_t flags) {
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        if (flags & CACHE_SHARED && layer->kv_layer != l)
            continue;
        bool windowed = flags & CACHE_WINDOWED && layer->window && layer->window < n_ctx;
        uint64_t width = (uint64_t)layer->n_kv_head * layer->head_dim;
        bytes += 2 * (windowed ? layer->window : n_ctx) * tandem_kit_row_bytes(kv_type, width);
    }
    return bytes;
}

double model_bound(const model_config *c, const model_figures *f, uint32_t n_ctx, uint32_t kv_type,
                   double bytes_per_second) {
    const uint64_t cache = model_cache_bytes(c, n_ctx, kv_type, CACHE_WINDOWED);
    return bytes_per_second / (double)(f->total.bytes_per_token + cache);
}

/* ---- prompts ---- */

double model_prefill_flops(const model_config *c, const model_figures *f, uint32_t n_tok, uint32_t depth) {
    const uint32_t dense[] = {PART_PLE_PROJECTION, PART_PLE_LAYERS, PART_ATTENTION, PART_FEED_FORWARD,
                              PART_ROUTER};
    double weights = 0, pairs = 0;
    for (uint32_t i = 0; i < sizeof dense / sizeof *dense; i++)
        weights += (double)f->parts[dense[i]].n_element;
    if (c->n_expert)
        weights += (double)f->parts[PART_EXPERTS].n_element / c->n_expert * c->n_used;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        for (uint32_t i = 0; i < n_tok; i++) {
            const uint32_t all = depth + i + 1;
            const uint32_t seen = layer->window && layer->window < all ? layer->window : all;
            pairs += (double)seen * layer->n_head * layer->head_dim;
        }
    }
    return 2 * weights * n_tok + 4 * pairs;
}

/* Every weight but the tables and the head once; of the experts as many as can be chosen. */
double model_prefill_bytes(const model_config *c, const model_figures *f, uint32_t n_tok, uint32_t depth,
                           uint32_t kv_type) {
    double bytes = 0;
    for (uint32_t p = 0; p < N_PART; p++)
        if (p != PART_EMBEDDING && p != PART_HEAD && p != PART_PLE_TABLE && p != PART_EXPERTS &&
            p != PART_UNUSED_KV)
            bytes += (double)f->parts[p].bytes;
    if (c->n_expert) {
        const double used = fmin((double)n_tok * c->n_used, c->n_expert);
        bytes += (double)f->parts[PART_EXPERTS].bytes / c->n_expert * used;
    }
    return bytes + (double)model_cache_bytes(c, depth + n_tok, kv_type, CACHE_WINDOWED);
}

double model_prefill_seconds(const model_config *c, const model_figures *f, uint32_t n_tok, uint32_t depth,
                             uint32_t kv_type, double bytes_per_second, double flops_per_second) {
    return fmax(model_prefill_bytes(c, f, n_tok, depth, kv_type) / bytes_per_second,
                model_prefill_flops(c, f, n_tok, depth) / flops_per_second);
}
