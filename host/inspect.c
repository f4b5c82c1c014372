/* host/inspect.c: figures of a model. */
#include "inspect.h"

#include "graph.h"

int model_each_tensor(const model_source *source, each_tensor callback, void *user, tandem_message *message) {
    const model_config *c = model_source_config(source);
    for (uint32_t role = 0; role < MODEL_N_ROLE; role++) {
        uint32_t n = role < MODEL_T_LAYER_FIRST ? 1 : c->n_layer;
        for (uint32_t l = 0; l < n; l++) {
            source_tensor tensor;
            int found = model_source_role(source, role, role < MODEL_T_LAYER_FIRST ? TANDEM_NONE : l, &tensor,
                                          message);
            if (found < 0)
                return found;
            if (found)
                callback(user, &tensor, role);
        }
    }
    return TANDEM_OK;
}

typedef struct figures_state {
    model_figures *figures;
    const model_config *config;
} figures_state;

static uint64_t bytes_per_token(const model_config *c, const source_tensor *t, uint32_t role) {
    switch (role) {
    case MODEL_T_TOKEN_EMBD:
        return c->has_output ? t->row_bytes : t->bytes;
    case MODEL_T_PLE_TOKEN_EMBD:
        return t->row_bytes;
    case MODEL_T_GATE_UP_EXPS:
    case MODEL_T_GATE_EXPS:
    case MODEL_T_UP_EXPS:
    case MODEL_T_DOWN_EXPS:
        return t->bytes / c->n_expert * c->n_used;
    default:
        return t->bytes;
    }
}

static void add_tensor(void *user, const source_tensor *t, uint32_t role) {
    figures_state *state = user;
    model_figures *f = state->figures;
    uint32_t i = 0;
    while (i < f->n_type && f->types[i].type != t->type)
        i++;
    if (i == INSPECT_MAX_TYPES)
        return;
    if (i == f->n_type)
        f->types[f->n_type++] = (type_sum){.type = t->type};
    f->types[i].n_tensor++;
    f->types[i].n_element += t->dims[0] * t->n_row;
    f->types[i].bytes += t->bytes;
    f->n_tensor++;
    f->n_element += t->dims[0] * t->n_row;
    f->bytes += t->bytes;
    f->bytes_per_token += bytes_per_token(state->config, t, role);
}

int model_figures_read(const model_source *source, model_figures *figures, tandem_message *message) {
    *figures = (model_figures){0};
    figures_state state = {figures, model_source_config(source)};
    return model_each_tensor(source, add_tensor, &state, message);
}

uint64_t model_memory(const model_source *source, const plan_request *request) {
    const model_config *c = model_source_config(source);
    graph_layout layout;
    graph_plan(&layout, c, request->batch, 1);
    return model_source_bytes(source) + plan_kv_bytes(c, request) + layout.bytes;
}
