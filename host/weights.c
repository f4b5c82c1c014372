/* host/weights.c: creates weight objects and streams tensors into them. */
#include "weights.h"

#include <stdio.h>
#include <stdlib.h>

#include "plugin_error.h"

#define CHUNK_BYTES (16u << 20)
#define VECTOR_ALIGN 256u

/* One weights object: which tensors are its matrices, and where its handle goes. */
typedef struct object_plan {
    char label[32];
    uint32_t layer;
    uint32_t placement;
    uint32_t n_matrix;
    uint32_t tensor[3]; /* MODEL_T_* */
    uint32_t role[3];   /* TANDEM_ROLE_* */
    tandem_weights **target;
} object_plan;

typedef struct loader {
    const tandem_backend *backend;
    tandem_context *context;
    const model_source *source;
    void *scratch;
    uint64_t scratch_bytes;
    uint64_t bytes_done, bytes_total;
    load_progress progress;
    void *user;
    tandem_message *message;
} loader;

static const uint32_t vector_role[N_LAYER_VECTOR] = {
    [VECTOR_ATTN_NORM] = MODEL_T_ATTN_NORM,    [VECTOR_Q_NORM] = MODEL_T_ATTN_Q_NORM,
    [VECTOR_K_NORM] = MODEL_T_ATTN_K_NORM,     [VECTOR_POST_ATTENTION] = MODEL_T_POST_ATTENTION_NORM,
    [VECTOR_FFN_NORM] = MODEL_T_FFN_NORM,      [VECTOR_POST_FFW] = MODEL_T_POST_FFW_NORM,
    [VECTOR_PLE_POST] = MODEL_T_PLE_POST_NORM,
};

int model_weights_check(const model_config *c, tandem_message *message) {
    if (c->n_expert)
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s has %u experts, and this version runs dense models only.", c->name,
                            c->n_expert);
    return TANDEM_OK;
}

static bool owns_kv(const model_config *c, uint32_t layer) {
    return c->layers[layer].kv_layer == layer;
}

#define MAX_OBJECTS 6u

/* An object of one matrix; its handle goes to *target. */
static object_plan single_object(const char *name, uint32_t layer, uint32_t tensor, uint32_t role,
                                 tandem_weights **target) {
    object_plan plan = {.layer = layer, .n_matrix = 1, .tensor = {tensor}, .role = {role}, .target = target};
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

static uint32_t plan_model_objects(const model_config *c, model_weights *w, object_plan plans[MAX_OBJECTS]) {
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

static uint32_t plan_layer_objects(const model_config *c, uint32_t l, layer_weights *w,
                                   object_plan plans[MAX_OBJECTS]) {
    uint32_t n = 0;
    plans[n] = single_object("attn_qkv", l, MODEL_T_ATTN_Q, TANDEM_ROLE_Q, &w->qkv);
    if (owns_kv(c, l))
        add_matrix(&plans[n], MODEL_T_ATTN_K, TANDEM_ROLE_K);
    if (owns_kv(c, l) && !c->layers[l].k_is_v)
        add_matrix(&plans[n], MODEL_T_ATTN_V, TANDEM_ROLE_V);
    n++;
    plans[n++] = single_object("attn_output", l, MODEL_T_ATTN_OUTPUT, TANDEM_ROLE_SINGLE, &w->output);
    plans[n] = single_object("ffn_gate_up", l, MODEL_T_FFN_GATE, TANDEM_ROLE_GATE, &w->gate_up);
    add_matrix(&plans[n++], MODEL_T_FFN_UP, TANDEM_ROLE_UP);
    plans[n++] = single_object("ffn_down", l, MODEL_T_FFN_DOWN, TANDEM_ROLE_DOWN, &w->down);
    if (c->d_ple) {
        plans[n++] = single_object("inp_gate", l, MODEL_T_PLE_INP_GATE, TANDEM_ROLE_SINGLE, &w->ple_gate);
        plans[n++] = single_object("proj", l, MODEL_T_PLE_PROJ, TANDEM_ROLE_SINGLE, &w->ple_out);
    }
    return n;
}

static int find_tensor(const model_source *source, uint32_t role, uint32_t layer, source_tensor *tensor,
                       tandem_message *message) {
    int found = model_source_role(source, role, layer, tensor, message);
    if (found > 0)
        return TANDEM_OK;
    if (found < 0)
        return found;
    char name[GGUF_MAX_NAME];
    model_tensor_name(role, layer, name);
    return message_fail(message, TANDEM_E_INVALID, "The model has no tensor '%s'.", name);
}

int model_weights_bytes(const model_source *source, uint64_t *bytes, tandem_message *message) {
    const model_config *c = model_source_config(source);
    layer_weights layer; /* only the addresses of its members are taken */
    model_weights all;
    uint64_t total = 0;
    for (uint32_t l = 0; l <= c->n_layer; l++) {
        object_plan plans[MAX_OBJECTS];
        uint32_t n =
            l < c->n_layer ? plan_layer_objects(c, l, &layer, plans) : plan_model_objects(c, &all, plans);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t m = 0; m < plans[i].n_matrix; m++) {
                source_tensor tensor;
                int status = find_tensor(source, plans[i].tensor[m], plans[i].layer, &tensor, message);
                if (status)
                    return status;
                total += tensor.bytes;
            }
        total += (uint64_t)N_LAYER_VECTOR * (c->d_model * sizeof(float) + VECTOR_ALIGN);
    }
    *bytes = total;
    return TANDEM_OK;
}

/* ---- matrices ---- */

static int write_matrix(loader *load, tandem_weights *weights, uint32_t matrix, const source_tensor *tensor,
                        const char *label) {
    uint64_t chunk = CHUNK_BYTES / tensor->row_bytes;
    if (chunk == 0)
        chunk = 1;
    if (!tensor->data && load->scratch_bytes < chunk * tensor->row_bytes) {
        void *scratch = realloc(load->scratch, chunk * tensor->row_bytes);
        if (!scratch)
            return message_out_of_memory(load->message, "rows of weights", chunk * tensor->row_bytes);
        load->scratch = scratch;
        load->scratch_bytes = chunk * tensor->row_bytes;
    }
    for (uint64_t first = 0; first < tensor->n_row; first += chunk) {
        uint64_t n = tensor->n_row - first < chunk ? tensor->n_row - first : chunk;
        const void *rows;
        int status = model_source_rows(load->source, tensor, first, n, load->scratch, &rows, load->message);
        if (status)
            return status;
        tandem_error error = TANDEM_ERROR_INIT;
        status = load->backend->weights_write(weights, 0, matrix, first, n, rows, n * tensor->row_bytes,
                                              tensor->data ? TANDEM_WRITE_BORROW : 0, &error);
        if (status)
            return message_plugin(load->message, status, &error, label);
        load->bytes_done += n * tensor->row_bytes;
        if (load->progress)
            load->progress(load->user, load->bytes_done, load->bytes_total);
    }
    return TANDEM_OK;
}

/* Pages of the file are dropped once they have been copied; a plugin that borrows them reads them every
 * token. */
static bool is_borrowed(const loader *load, const tandem_weights *weights) {
    tandem_weights_info info = {.struct_size = sizeof info};
    return load->backend->weights_info(weights, &info, NULL) == TANDEM_OK &&
           info.device_bytes + info.host_bytes == 0;
}

static int load_object(loader *load, const object_plan *plan) {
    source_tensor tensors[3];
    tandem_matrix_desc descs[3];
    const tandem_matrix_desc *matrices[3];
    for (uint32_t m = 0; m < plan->n_matrix; m++) {
        int status = find_tensor(load->source, plan->tensor[m], plan->layer, &tensors[m], load->message);
        if (status)
            return status;
        descs[m] = (tandem_matrix_desc){.struct_size = sizeof descs[m],
                                        .role = plan->role[m],
                                        .type = tensors[m].type,
                                        .n_row = tensors[m].n_row,
                                        .n_col = tensors[m].dims[0]};
        matrices[m] = &descs[m];
    }
    tandem_weights_desc desc = {.struct_size = sizeof desc,
                                .n_record = 1,
                                .n_matrix = plan->n_matrix,
                                .placement = plan->placement,
                                .matrices = matrices,
                                .label = plan->label};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = load->backend->weights_create(load->context, &desc, plan->target, &error);
    if (status)
        return message_plugin(load->message, status, &error, plan->label);
    for (uint32_t m = 0; m < plan->n_matrix; m++) {
        status = write_matrix(load, *plan->target, m, &tensors[m], plan->label);
        if (status)
            return status;
    }
    if (!is_borrowed(load, *plan->target))
        for (uint32_t m = 0; m < plan->n_matrix; m++)
            model_source_drop(load->source, &tensors[m]);
    return TANDEM_OK;
}

/* ---- norm vectors ---- */

/* Appends one vector to `values` and notes its place. Optional vectors that are not there stay NO_VECTOR. */
static int add_vector(loader *load, uint32_t role, uint32_t layer, uint8_t *values, uint64_t *used,
                      uint64_t *place) {
    source_tensor tensor;
    int found = model_source_role(load->source, role, layer, &tensor, load->message);
    if (found < 0)
        return found;
    *place = NO_VECTOR;
    if (!found)
        return TANDEM_OK;
    uint64_t n = tensor.dims[0] * tensor.n_row;
    int status =
        model_source_read_f32(load->source, &tensor, (float *)(void *)(values + *used), n, load->message);
    if (status)
        return status;
    *place = *used;
    *used += (n * sizeof(float) + VECTOR_ALIGN - 1) / VECTOR_ALIGN * VECTOR_ALIGN;
    return TANDEM_OK;
}

static int read_vectors(loader *load, model_weights *w, uint8_t *values, uint64_t *used) {
    const model_config *c = model_source_config(load->source);
    int status = add_vector(load, MODEL_T_OUTPUT_NORM, TANDEM_NONE, values, used, &w->output_norm);
    if (!status)
        status = add_vector(load, MODEL_T_PLE_PROJ_NORM, TANDEM_NONE, values, used, &w->ple_norm);
    for (uint32_t l = 0; l < c->n_layer && !status; l++) {
        layer_weights *layer = &w->layers[l];
        for (uint32_t v = 0; v < N_LAYER_VECTOR && !status; v++) {
            if (v == VECTOR_K_NORM && !owns_kv(c, l))
                layer->vector[v] = NO_VECTOR;
            else
                status = add_vector(load, vector_role[v], l, values, used, &layer->vector[v]);
        }
        layer->scale = 1;
        source_tensor scale;
        int found = c->layers[l].has_scale && !status
                        ? model_source_role(load->source, MODEL_T_LAYER_SCALE, l, &scale, load->message)
                        : 0;
        if (found < 0)
            return found;
        if (found)
            status = model_source_read_f32(load->source, &scale, &layer->scale, 1, load->message);
    }
    return status;
}

static int load_vectors(loader *load, model_weights *w) {
    const model_config *c = model_source_config(load->source);
    uint64_t longest = c->d_model > c->d_ple ? c->d_model : c->d_ple;
    for (uint32_t l = 0; l < c->n_layer; l++)
        longest = c->layers[l].head_dim > longest ? c->layers[l].head_dim : longest;
    uint64_t room = ((uint64_t)c->n_layer * N_LAYER_VECTOR + 2) * (longest * sizeof(float) + VECTOR_ALIGN);
    uint8_t *values = calloc(1, room);
    if (!values)
        return message_out_of_memory(load->message, "norm vectors", room);
    uint64_t used = 0;
    int status = read_vectors(load, w, values, &used);
    if (!status) {
        tandem_error error = TANDEM_ERROR_INIT;
        tandem_buffer_desc desc = {.struct_size = sizeof desc,
                                   .placement = TANDEM_PLACE_DEVICE,
                                   .bytes = used,
                                   .label = "norm vectors"};
        status = load->backend->buffer_create(load->context, &desc, &w->vectors, &error);
        if (!status)
            status = load->backend->buffer_write(w->vectors, 0, values, used, &error);
        if (status)
            message_plugin(load->message, status, &error, "norm vectors");
        w->vector_bytes = used;
    }
    free(values);
    return status;
}

/* ---- all ---- */

int model_weights_load(model_weights *weights, const tandem_backend *backend, tandem_context *context,
                       const model_source *source, load_progress progress, void *user,
                       tandem_message *message) {
    const model_config *c = model_source_config(source);
    loader load = {.backend = backend,
                   .context = context,
                   .source = source,
                   .progress = progress,
                   .user = user,
                   .message = message};
    *weights = (model_weights){.backend = backend, .n_layer = c->n_layer};
    int status = model_weights_check(c, message);
    if (!status)
        status = model_weights_bytes(source, &load.bytes_total, message);
    if (status)
        return status;
    weights->layers = calloc(c->n_layer, sizeof *weights->layers);
    if (!weights->layers)
        return message_out_of_memory(message, "layers", c->n_layer * sizeof *weights->layers);
    for (uint32_t l = 0; l <= c->n_layer && !status; l++) {
        object_plan plans[MAX_OBJECTS];
        uint32_t n = l < c->n_layer ? plan_layer_objects(c, l, &weights->layers[l], plans)
                                    : plan_model_objects(c, weights, plans);
        for (uint32_t i = 0; i < n && !status; i++)
            status = load_object(&load, &plans[i]);
    }
    if (!status)
        status = load_vectors(&load, weights);
    if (!c->has_output)
        weights->head = weights->embed;
    free(load.scratch);
    if (status)
        model_weights_free(weights);
    return status;
}

void model_weights_free(model_weights *w) {
    const tandem_backend *b = w->backend;
    if (!b)
        return;
    for (uint32_t l = 0; w->layers && l < w->n_layer; l++) {
        b->weights_destroy(w->layers[l].qkv);
        b->weights_destroy(w->layers[l].output);
        b->weights_destroy(w->layers[l].gate_up);
        b->weights_destroy(w->layers[l].down);
        b->weights_destroy(w->layers[l].ple_gate);
        b->weights_destroy(w->layers[l].ple_out);
    }
    if (w->head != w->embed)
        b->weights_destroy(w->head);
    b->weights_destroy(w->embed);
    b->weights_destroy(w->ple_embed);
    b->weights_destroy(w->ple_project);
    b->buffer_destroy(w->vectors);
    free(w->layers);
    *w = (model_weights){0};
}
