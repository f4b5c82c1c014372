/* host/weights.c: creates weight objects and streams tensors into them. */
#include "weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plugin_call.h"
#include "plugin_error.h"
#include "weights_plan.h"

#define CHUNK_BYTES (16u << 20)

typedef struct loader {
    load_desc desc;
    void *scratch;
    uint64_t scratch_bytes;
    uint64_t bytes_done, bytes_total;
    tandem_message *message;
} loader;

/* ---- matrices ---- */

static int grow_scratch(loader *load, uint64_t bytes) {
    if (load->scratch_bytes >= bytes)
        return TANDEM_OK;
    void *scratch = realloc(load->scratch, bytes);
    if (!scratch)
        return message_out_of_memory(load->message, "rows of weights", bytes);
    load->scratch = scratch;
    load->scratch_bytes = bytes;
    return TANDEM_OK;
}

/* Matrix `matrix` of one record: the record's share of the tensor's rows. */
static int write_matrix(loader *load, const object_plan *plan, uint32_t record, uint32_t matrix,
                        const source_tensor *tensor) {
    const uint64_t n_row = tensor->n_row / plan->n_record;
    uint64_t chunk = CHUNK_BYTES / tensor->row_bytes;
    if (chunk == 0)
        chunk = 1;
    if (chunk > n_row)
        chunk = n_row;
    int status = tensor->data ? TANDEM_OK : grow_scratch(load, chunk * tensor->row_bytes);
    for (uint64_t first = 0; first < n_row && !status; first += chunk) {
        uint64_t n = n_row - first < chunk ? n_row - first : chunk;
        const void *rows;
        status = model_source_rows(load->desc.source, tensor, record * n_row + first, n, load->scratch, &rows,
                                   load->message);
        if (status)
            return status;
        tandem_error error = TANDEM_ERROR_INIT;
        status = plugin_weights_write(load->desc.backend, *plan->target, record, matrix, first, n, rows,
                                      n * tensor->row_bytes, tensor->data ? TANDEM_WRITE_BORROW : 0, &error);
        if (status)
            return message_plugin(load->message, status, &error, plan->label);
        load->bytes_done += n * tensor->row_bytes;
        if (load->desc.progress)
            load->desc.progress(load->desc.user, load->bytes_done, load->bytes_total);
    }
    return status;
}

/* Pages of the file are dropped once they have been copied; a plugin that borrows them reads them every
 * token. */
static bool is_borrowed(const loader *load, const tandem_weights *weights) {
    tandem_weights_info info = {.struct_size = sizeof info};
    return plugin_weights_info(load->desc.backend, weights, &info, NULL) == TANDEM_OK &&
           info.device_bytes + info.host_bytes == 0;
}

static int create_object(loader *load, const object_plan *plan,
                         const source_tensor tensors[PLAN_MAX_MATRICES]) {
    tandem_matrix_desc descs[PLAN_MAX_MATRICES];
    const tandem_matrix_desc *matrices[PLAN_MAX_MATRICES];
    for (uint32_t m = 0; m < plan->n_matrix; m++) {
        descs[m] = (tandem_matrix_desc){.struct_size = sizeof descs[m],
                                        .role = plan->role[m],
                                        .type = tensors[m].type,
                                        .n_row = tensors[m].n_row / plan->n_record,
                                        .n_col = tensors[m].dims[0]};
        matrices[m] = &descs[m];
    }
    tandem_weights_desc desc = {.struct_size = sizeof desc,
                                .n_record = plan->n_record,
                                .n_matrix = plan->n_matrix,
                                .placement = plan->placement,
                                .matrices = matrices,
                                .label = plan->label};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status =
        plugin_weights_create(load->desc.backend, load->desc.context, &desc, plan->target, &error);
    return status ? message_plugin(load->message, status, &error, plan->label) : TANDEM_OK;
}

static int load_object(loader *load, const object_plan *plan) {
    source_tensor tensors[PLAN_MAX_MATRICES];
    int status = TANDEM_OK;
    for (uint32_t m = 0; m < plan->n_matrix && !status; m++)
        status =
            plan_find_tensor(load->desc.source, plan->tensor[m], plan->layer, &tensors[m], load->message);
    if (!status)
        status = create_object(load, plan, tensors);
    for (uint32_t record = 0; record < plan->n_record && !status; record++)
        for (uint32_t m = 0; m < plan->n_matrix && !status; m++)
            status = write_matrix(load, plan, record, m, &tensors[m]);
    if (!status && !is_borrowed(load, *plan->target))
        for (uint32_t m = 0; m < plan->n_matrix; m++)
            model_source_drop(load->desc.source, &tensors[m]);
    return status;
}

/* ---- norm vectors ---- */

/* The vectors in the making, one behind another. Without `values` only their places are found. */
typedef struct vector_list {
    uint8_t *values;
    uint64_t bytes;
} vector_list;

/* Appends one vector and notes its place. Optional vectors that are not there stay NO_VECTOR. */
static int add_vector(loader *load, uint32_t role, uint32_t layer, vector_list *list, uint64_t *place) {
    source_tensor tensor;
    int found = model_source_role(load->desc.source, role, layer, &tensor, load->message);
    if (found <= 0)
        return found;
    uint64_t n = tensor.dims[0] * tensor.n_row;
    *place = list->bytes;
    list->bytes += (n * sizeof(float) + PLAN_VECTOR_ALIGN - 1) / PLAN_VECTOR_ALIGN * PLAN_VECTOR_ALIGN;
    if (!list->values)
        return TANDEM_OK;
    return model_source_read_f32(load->desc.source, &tensor, (float *)(void *)(list->values + *place), n,
                                 load->message);
}

static int read_layer_scale(loader *load, uint32_t l, float *scale) {
    source_tensor tensor;
    *scale = 1;
    if (!model_source_config(load->desc.source)->layers[l].has_scale)
        return TANDEM_OK;
    int found = model_source_role(load->desc.source, MODEL_T_LAYER_SCALE, l, &tensor, load->message);
    if (found <= 0)
        return found;
    int status = model_source_read_f32(load->desc.source, &tensor, scale, 1, load->message);
    if (!status && !isfinite(*scale)) /* the file's fault, so not one of the plugin or of the caller */
        return message_fail(load->message, TANDEM_E_UNSUPPORTED, "%s: the scale of layer %u, %s, is %g.",
                            model_source_label(load->desc.source), l, tensor.name, (double)*scale);
    return status;
}

static int read_vectors(loader *load, model_weights *w, vector_list *list) {
    const model_config *c = model_source_config(load->desc.source);
    w->output_norm = w->ple_norm = NO_VECTOR;
    int status = add_vector(load, MODEL_T_OUTPUT_NORM, TANDEM_NONE, list, &w->output_norm);
    if (!status && c->d_ple)
        status = add_vector(load, MODEL_T_PLE_PROJ_NORM, TANDEM_NONE, list, &w->ple_norm);
    for (uint32_t l = 0; l < c->n_layer && !status; l++) {
        layer_weights *layer = &w->layers[l];
        for (uint32_t v = 0; v < N_LAYER_VECTOR && !status; v++) {
            layer->vector[v] = NO_VECTOR;
            if (plan_has_vector(c, l, v))
                status = add_vector(load, plan_vector_tensor[v], l, list, &layer->vector[v]);
        }
        if (!status)
            status = read_layer_scale(load, l, &layer->scale);
    }
    return status;
}

/* Reads the vectors back, a few megabytes at most: a write or a read that does nothing, or moves something, would
 * otherwise end in a text. */
static int check_vectors(loader *load, const model_weights *w, const vector_list *list) {
    const tandem_backend *b = load->desc.backend;
    uint8_t *back = malloc(list->bytes);
    if (!back)
        return message_out_of_memory(load->message, "norm vectors", list->bytes);
    tandem_error error = TANDEM_ERROR_INIT;
    int status = plugin_buffer_read(b, w->vectors, 0, back, list->bytes, 0, &error);
    if (status)
        message_plugin(load->message, status, &error, "norm vectors");
    else if (memcmp(back, list->values, list->bytes))
        status =
            message_fail(load->message, TANDEM_E_INTERNAL,
                         "plugin %s, buffer_write: norm vectors are read back other than they were written.",
                         b->descriptor->name);
    free(back);
    return status;
}

static int load_vectors(loader *load, model_weights *w) {
    vector_list places = {0}, list = {0};
    int status = read_vectors(load, w, &places);
    if (status)
        return status;
    list.values = calloc(1, places.bytes);
    if (!list.values)
        return message_out_of_memory(load->message, "norm vectors", places.bytes);
    status = read_vectors(load, w, &list);
    if (!status) {
        tandem_error error = TANDEM_ERROR_INIT;
        tandem_buffer_desc desc = {.struct_size = sizeof desc,
                                   .placement = TANDEM_PLACE_DEVICE,
                                   .bytes = list.bytes,
                                   .label = "norm vectors"};
        const tandem_backend *b = load->desc.backend;
        status = plugin_buffer_create(b, load->desc.context, &desc, &w->vectors, &error);
        if (!status)
            status = plugin_buffer_write(b, w->vectors, 0, list.values, list.bytes, &error);
        if (status)
            message_plugin(load->message, status, &error, "norm vectors");
        else
            status = check_vectors(load, w, &list);
        w->vector_bytes = list.bytes;
    }
    free(list.values);
    return status;
}

/* ---- all ---- */

int model_weights_load(model_weights *weights, const load_desc *desc, tandem_message *message) {
    const model_config *c = model_source_config(desc->source);
    loader load = {.desc = *desc, .message = message};
    weight_bytes bytes;
    *weights = (model_weights){.backend = desc->backend, .n_layer = c->n_layer};
    int status = model_weights_check(c, message);
    if (!status)
        status = model_weights_bytes(desc->source, desc->expert_placement, &bytes, message);
    if (status)
        return status;
    load.bytes_total = bytes.device + bytes.host;
    weights->layers = calloc(c->n_layer, sizeof *weights->layers);
    if (!weights->layers)
        return message_out_of_memory(message, "layers", c->n_layer * sizeof *weights->layers);
    for (uint32_t l = 0; l <= c->n_layer && !status; l++) {
        object_plan plans[PLAN_MAX_OBJECTS];
        uint32_t n = l < c->n_layer
                         ? plan_layer_objects(c, l, desc->expert_placement, &weights->layers[l], plans)
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
        plugin_weights_destroy(b, w->layers[l].qkv);
        plugin_weights_destroy(b, w->layers[l].output);
        plugin_weights_destroy(b, w->layers[l].gate_up);
        plugin_weights_destroy(b, w->layers[l].down);
        plugin_weights_destroy(b, w->layers[l].router);
        plugin_weights_destroy(b, w->layers[l].experts);
        plugin_weights_destroy(b, w->layers[l].ple_gate);
        plugin_weights_destroy(b, w->layers[l].ple_out);
    }
    if (w->head != w->embed)
        plugin_weights_destroy(b, w->head);
    plugin_weights_destroy(b, w->embed);
    plugin_weights_destroy(b, w->ple_embed);
    plugin_weights_destroy(b, w->ple_project);
    plugin_buffer_destroy(b, w->vectors);
    free(w->layers);
    *w = (model_weights){0};
}
