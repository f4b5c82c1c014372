/* host/weights_plan.c: the weights objects of a model, and their bytes. */
#include "weights_plan.h"

#include <stdio.h>

/* What MOE_ROUTE takes; backend/OPS.md. */
#define MAX_EXPERTS 1024u

const uint32_t plan_vector_tensor[N_LAYER_VECTOR] = {
    [VECTOR_ATTN_NORM] = MODEL_T_ATTN_NORM,
    [VECTOR_Q_NORM] = MODEL_T_ATTN_Q_NORM,
    [VECTOR_K_NORM] = MODEL_T_ATTN_K_NORM,
    [VECTOR_POST_ATTENTION] = MODEL_T_POST_ATTENTION_NORM,
    [VECTOR_FFN_NORM] = MODEL_T_FFN_NORM,
    [VECTOR_POST_FFW] = MODEL_T_POST_FFW_NORM,
    [VECTOR_PLE_POST] = MODEL_T_PLE_POST_NORM,
    [VECTOR_ROUTER_SCALE] = MODEL_T_ROUTER_SCALE,
    [VECTOR_EXPERT_SCALE] = MODEL_T_DOWN_EXPS_SCALE,
    [VECTOR_PRE_FFW_2] = MODEL_T_PRE_FFW_NORM_2,
    [VECTOR_POST_FFW_1] = MODEL_T_POST_FFW_NORM_1,
    [VECTOR_POST_FFW_2] = MODEL_T_POST_FFW_NORM_2,
};

int model_weights_check(const model_config *c, tandem_message *message) {
    if (c->n_expert > MAX_EXPERTS)
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s has %u experts a layer, and %u are the most that are routed.", c->name,
                            c->n_expert, MAX_EXPERTS);
    return TANDEM_OK;
}

static bool owns_kv(const model_config *c, uint32_t layer) {
    return c->layers[layer].kv_layer == layer;
}

bool plan_has_vector(const model_config *c, uint32_t layer, uint32_t vector) {
    switch (vector) {
    case VECTOR_K_NORM:
        return owns_kv(c, layer);
    case VECTOR_PLE_POST:
        return c->d_ple > 0;
    case VECTOR_ROUTER_SCALE:
    case VECTOR_EXPERT_SCALE:
    case VECTOR_PRE_FFW_2:
    case VECTOR_POST_FFW_1:
    case VECTOR_POST_FFW_2:
        return c->n_expert > 0;
    default:
        return true;
    }
}

/* An object of one record and one matrix; its handle goes to *target. */
static object_plan single_object(const char *name, uint32_t layer, uint32_t tensor, uint32_t role,
                                 tandem_weights **target) {
    object_plan plan = {
        .layer = layer, .n_record = 1, .n_matrix = 1, .tensor = {tensor}, .role = {role}, .target = target};
    if (layer == TANDEM_NONE)
        snprintf(plan.label, sizeof plan.label, "%s", name);
    else
        snprintf(plan.label, sizeof plan.label, "blk.%u.%s", layer, name);
    return plan;
}

static void add_matrix(object_plan *plan, uint32_t tensor, uint32_t role) {
    plan->tensor[plan->n_matrix] = tensor;
    plan->role[plan->n_matrix++] = role;
}

uint32_t plan_model_objects(const model_config *c, model_weights *w, object_plan plans[PLAN_MAX_OBJECTS]) {
    const uint32_t none = TANDEM_NONE, single = TANDEM_ROLE_SINGLE;
    uint32_t n = 0;
    plans[n++] = single_object("token_embd", none, MODEL_T_TOKEN_EMBD, single, &w->embed);
    if (c->has_output)
        plans[n++] = single_object("output", none, MODEL_T_OUTPUT, single, &w->head);
    if (c->d_ple) {
        plans[n] = single_object("per_layer_token_embd", none, MODEL_T_PLE_TOKEN_EMBD, single, &w->ple_embed);
        plans[n++].placement = TANDEM_PLACE_HOST;
        plans[n++] =
            single_object("per_layer_model_proj", none, MODEL_T_PLE_MODEL_PROJ, single, &w->ple_project);
    }
    return n;
}

static object_plan experts_object(const model_config *c, uint32_t l, uint32_t placement,
                                  tandem_weights **target) {
    object_plan plan = c->split_gate_up
                           ? single_object("experts", l, MODEL_T_GATE_EXPS, TANDEM_ROLE_GATE, target)
                           : single_object("experts", l, MODEL_T_GATE_UP_EXPS, TANDEM_ROLE_GATE_UP, target);
    if (c->split_gate_up)
        add_matrix(&plan, MODEL_T_UP_EXPS, TANDEM_ROLE_UP);
    add_matrix(&plan, MODEL_T_DOWN_EXPS, TANDEM_ROLE_DOWN);
    plan.n_record = c->n_expert;
    plan.placement = placement;
    return plan;
}

uint32_t plan_layer_objects(const model_config *c, uint32_t l, uint32_t expert_placement, layer_weights *w,
                            object_plan plans[PLAN_MAX_OBJECTS]) {
    const uint32_t single = TANDEM_ROLE_SINGLE;
    uint32_t n = 0;
    plans[n] = single_object("attn_qkv", l, MODEL_T_ATTN_Q, TANDEM_ROLE_Q, &w->qkv);
    if (owns_kv(c, l))
        add_matrix(&plans[n], MODEL_T_ATTN_K, TANDEM_ROLE_K);
    if (owns_kv(c, l) && !c->layers[l].k_is_v)
        add_matrix(&plans[n], MODEL_T_ATTN_V, TANDEM_ROLE_V);
    n++;
    plans[n++] = single_object("attn_output", l, MODEL_T_ATTN_OUTPUT, single, &w->output);
    plans[n] = single_object("ffn_gate_up", l, MODEL_T_FFN_GATE, TANDEM_ROLE_GATE, &w->gate_up);
    add_matrix(&plans[n++], MODEL_T_FFN_UP, TANDEM_ROLE_UP);
    plans[n++] = single_object("ffn_down", l, MODEL_T_FFN_DOWN, TANDEM_ROLE_DOWN, &w->down);
    if (c->n_expert) {
        plans[n++] = single_object("router", l, MODEL_T_ROUTER, single, &w->router);
        plans[n++] = experts_object(c, l, expert_placement, &w->experts);
    }
    if (c->d_ple) {
        plans[n++] = single_object("inp_gate", l, MODEL_T_PLE_INP_GATE, single, &w->ple_gate);
        plans[n++] = single_object("proj", l, MODEL_T_PLE_PROJ, single, &w->ple_out);
    }
    return n;
}

int plan_find_tensor(const model_source *source, uint32_t role, uint32_t layer, source_tensor *tensor,
                     tandem_message *message) {
    int found = model_source_role(source, role, layer, tensor, message);
    if (found > 0)
        return TANDEM_OK;
    if (found < 0)
        return found;
    char name[GGUF_MAX_NAME];
    model_tensor_name(role, layer, name);
    return message_fail(message, TANDEM_E_UNSUPPORTED, "The model has no tensor '%s'.", name);
}

static int add_object_bytes(const model_source *source, const object_plan *plan, weight_bytes *bytes,
                            tandem_message *message) {
    for (uint32_t m = 0; m < plan->n_matrix; m++) {
        source_tensor tensor;
        int status = plan_find_tensor(source, plan->tensor[m], plan->layer, &tensor, message);
        if (status)
            return status;
        *(plan->placement == TANDEM_PLACE_HOST ? &bytes->host : &bytes->device) += tensor.bytes;
    }
    return TANDEM_OK;
}

/* The tensor's elements as f32, padded. An absent one takes nothing. */
static int add_vector_bytes(const model_source *source, uint32_t role, uint32_t layer, weight_bytes *bytes,
                            tandem_message *message) {
    source_tensor tensor;
    int found = model_source_role(source, role, layer, &tensor, message);
    if (found > 0)
        bytes->device += (tensor.dims[0] * tensor.n_row * sizeof(float) + PLAN_VECTOR_ALIGN - 1) /
                         PLAN_VECTOR_ALIGN * PLAN_VECTOR_ALIGN;
    return found < 0 ? found : TANDEM_OK;
}

int model_weights_bytes(const model_source *source, uint32_t expert_placement, weight_bytes *bytes,
                        tandem_message *message) {
    const model_config *c = model_source_config(source);
    layer_weights layer; /* only the addresses of its members are taken */
    model_weights all;
    weight_bytes sum = {0};
    int status = add_vector_bytes(source, MODEL_T_OUTPUT_NORM, TANDEM_NONE, &sum, message);
    if (!status)
        status = add_vector_bytes(source, MODEL_T_PLE_PROJ_NORM, TANDEM_NONE, &sum, message);
    for (uint32_t l = 0; l <= c->n_layer && !status; l++) {
        object_plan plans[PLAN_MAX_OBJECTS];
        uint32_t n = l < c->n_layer ? plan_layer_objects(c, l, expert_placement, &layer, plans)
                                    : plan_model_objects(c, &all, plans);
        for (uint32_t i = 0; i < n && !status; i++)
            status = add_object_bytes(source, &plans[i], &sum, message);
        for (uint32_t v = 0; l < c->n_layer && v < N_LAYER_VECTOR && !status; v++)
            if (plan_has_vector(c, l, v))
                status = add_vector_bytes(source, plan_vector_tensor[v], l, &sum, message);
    }
    if (!status)
        *bytes = sum;
    return status;
}
