/* host/session.c: planning, loading and compiling a session. */
#include "session_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t session_row_bytes(const session *s) {
    return graph_topk_bytes(s->layout.n_topk);
}

/* The reference plugin reads blocks in place; the others keep a copy. */
static bool borrows_mapped_weights(const tandem_backend *backend) {
    return !strcmp(backend->descriptor->name, "reference");
}

static int plan_session(session *s, tandem_message *message) {
    const session_desc *d = &s->desc;
    plan_request request = {.n_ctx = d->n_ctx,
                            .batch = d->batch,
                            .n_rollback = d->n_rollback,
                            .n_score = d->n_score,
                            .kv_type = d->kv_type,
                            .expert_placement = d->expert_placement};
    int status = model_weights_check(s->config, message);
    if (!status)
        status = plan_memory(d->source, &request, borrows_mapped_weights(s->backend), &s->plan, message);
    if (status)
        return status;
    if (d->memory_cap)
        return plan_check(&s->plan, &request, s->plan.total, d->memory_cap, "the memory cap", message);
    tandem_device_info info = {.struct_size = sizeof info};
    tandem_error error = TANDEM_ERROR_INIT;
    status = plugin_device_info(s->backend, d->device, &info, &error);
    if (status)
        return message_plugin(message, status, &error, "device");
    if (!info.memory_free)
        return TANDEM_OK;
    char what[sizeof info.name + 32];
    snprintf(what, sizeof what, "the free memory of %.255s", info.name);
    /* What is placed in host memory burdens a card of its own memory not at all, all others the same. */
    uint64_t needed = info.kind == TANDEM_DEVICE_GPU ? s->plan.device : s->plan.total;
    return plan_check(&s->plan, &request, needed, info.memory_free, what, message);
}

static int create_context(session *s, tandem_message *message) {
    tandem_context_desc desc = {.struct_size = sizeof desc,
                                .device = s->desc.device,
                                .memory_cap = s->desc.memory_cap,
                                .n_threads = s->desc.n_threads};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_context_create(s->backend, &desc, &s->context, &error);
    return status ? message_plugin(message, status, &error, "context") : TANDEM_OK;
}

static int create_kv(session *s, tandem_message *message) {
    const model_config *c = s->config;
    tandem_kv_layer *layers = calloc(c->n_layer, sizeof *layers);
    const tandem_kv_layer **list = calloc(c->n_layer, sizeof *list);
    int status = TANDEM_OK;
    if (!layers || !list) {
        status = message_out_of_memory(message, "cache layers", c->n_layer * sizeof *layers);
        goto done;
    }
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        layers[l] = (tandem_kv_layer){.struct_size = sizeof layers[l],
                                      .n_kv_head = layer->n_kv_head,
                                      .head_dim = layer->head_dim,
                                      .type = s->desc.kv_type,
                                      .window = layer->window,
                                      .share_of = layer->kv_layer == l ? TANDEM_NONE : layer->kv_layer,
                                      .capacity = s->desc.n_ctx};
        list[l] = &layers[l];
    }
    tandem_kv_desc desc = {.struct_size = sizeof desc,
                           .n_layer = c->n_layer,
                           .layers = list,
                           .max_chunk = plan_max_chunk(s->desc.batch, s->desc.n_rollback),
                           .n_slot = 1,
                           .layout = TANDEM_KV_LAYOUT_AUTO};
    tandem_error error = TANDEM_ERROR_INIT;
    status = plugin_kv_create(s->backend, s->context, &desc, &s->kv, &error);
    if (status)
        message_plugin(message, status, &error, "cache");
done:
    free(layers);
    free(list);
    return status;
}

static int create_buffer(session *s, uint32_t placement, uint64_t bytes, const char *label,
                         tandem_buffer **buffer, tandem_message *message) {
    tandem_buffer_desc desc = {
        .struct_size = sizeof desc, .placement = placement, .bytes = bytes, .label = label};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_buffer_create(s->backend, s->context, &desc, buffer, &error);
    return status ? message_plugin(message, status, &error, label) : TANDEM_OK;
}

static int create_buffers(session *s, tandem_message *message) {
    graph_plan(&s->layout, s->config, s->desc.batch, s->desc.n_score ? s->desc.n_score : 1);
    uint64_t result_bytes = SESSION_RESULT_ROWS * session_row_bytes(s);
    s->rows = malloc(result_bytes);
    if (!s->rows)
        return message_out_of_memory(message, "results", result_bytes);
    int status =
        create_buffer(s, TANDEM_PLACE_DEVICE, s->layout.bytes, "activations", &s->activations, message);
    if (!status)
        status = create_buffer(s, TANDEM_PLACE_HOST, result_bytes, "results", &s->results, message);
    if (status || !s->routing)
        return status;
    uint64_t id_bytes = (uint64_t)s->desc.batch * s->config->n_layer * s->config->n_used * sizeof *s->ids;
    s->ids = malloc(id_bytes);
    if (!s->ids)
        return message_out_of_memory(message, "imposed experts", id_bytes);
    return create_buffer(s, TANDEM_PLACE_DEVICE, id_bytes, "imposed experts", &s->imposed, message);
}

static int compile(session *s, uint32_t parts, uint32_t max_tokens, uint32_t max_out, compiled *c,
                   tandem_message *message) {
    graph_parts objects = {.config = s->config,
                           .weights = &s->weights,
                           .layout = &s->layout,
                           .activations = s->activations,
                           .kv = s->kv,
                           .imposed = s->imposed};
    int status = graph_build(&c->graph, &objects, parts, message);
    if (status)
        return status;
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .max_tokens = max_tokens,
                                .max_out = max_out,
                                .max_slots = 1,
                                .precision = s->desc.precision};
    desc.ops = graph_ops(c->graph, &desc.n_op);
    tandem_error error = TANDEM_ERROR_INIT;
    status = plugin_program_create(s->backend, s->context, &desc, &c->program, &error);
    return status ? message_plugin(message, status, &error, "program") : TANDEM_OK;
}

static int compile_programs(session *s, tandem_message *message) {
    int status = compile(s, GRAPH_LAYERS | GRAPH_HEAD, 1, 1, &s->decode, message);
    if (!status && s->desc.batch > 1)
        status = compile(s, GRAPH_LAYERS | GRAPH_HEAD, s->desc.batch, 1, &s->prefill, message);
    if (!status && s->desc.n_score && graph_first_out_layer(s->config) < s->config->n_layer)
        status = compile(s, GRAPH_LAYERS | GRAPH_EVERY_ROW, s->desc.batch, 0, &s->score, message);
    if (!status && s->desc.n_score)
        status = compile(s, GRAPH_HEAD, s->desc.batch, s->desc.n_score, &s->head, message);
    return status;
}

static int load_weights(session *s, tandem_message *message) {
    load_desc desc = {.backend = s->backend,
                      .context = s->context,
                      .source = s->desc.source,
                      .expert_placement = s->desc.expert_placement,
                      .progress = s->desc.progress,
                      .user = s->desc.user};
    return model_weights_load(&s->weights, &desc, message);
}

int session_create(session **out, const session_desc *desc, tandem_message *message) {
    session *s = calloc(1, sizeof *s);
    if (!s)
        return message_out_of_memory(message, "a session", sizeof *s);
    s->desc = *desc;
    s->backend = desc->backend;
    s->config = model_source_config(desc->source);
    if (s->desc.batch > s->desc.n_ctx)
        s->desc.batch = s->desc.n_ctx;
    if (s->desc.n_score > s->desc.batch)
        s->desc.n_score = s->desc.batch;
    if (s->desc.n_score > SESSION_RESULT_ROWS)
        s->desc.n_score = SESSION_RESULT_ROWS;

    int status = routing_create(&s->routing, desc->routing, s->config, desc->routing_seed, message);
    if (!status)
        status = plan_session(s, message);
    if (!status)
        status = create_context(s, message);
    /* The small and the fixed first: what cannot fit is known before gigabytes have been moved. */
    if (!status)
        status = create_buffers(s, message);
    if (!status)
        status = create_kv(s, message);
    if (!status)
        status = load_weights(s, message);
    if (!status)
        status = compile_programs(s, message);
    if (status) {
        session_destroy(s);
        return status;
    }
    *out = s;
    return TANDEM_OK;
}

static void destroy_compiled(const tandem_backend *backend, compiled *c) {
    plugin_program_destroy(backend, c->program);
    graph_free(c->graph);
}

void session_destroy(session *s) {
    if (!s)
        return;
    const tandem_backend *b = s->backend;
    destroy_compiled(b, &s->head);
    destroy_compiled(b, &s->score);
    destroy_compiled(b, &s->prefill);
    destroy_compiled(b, &s->decode);
    model_weights_free(&s->weights);
    plugin_kv_destroy(b, s->kv);
    plugin_buffer_destroy(b, s->imposed);
    plugin_buffer_destroy(b, s->results);
    plugin_buffer_destroy(b, s->activations);
    plugin_context_destroy(b, s->context);
    free(s->rows);
    free(s->ids);
    routing_destroy(s->routing);
    free(s);
}

const session_desc *session_description(const session *s) {
    return &s->desc;
}

const memory_plan *session_plan(const session *s) {
    return &s->plan;
}

const char *session_routing(const session *s) {
    return routing_name(s->routing);
}

int session_memory(session *s, tandem_memory_info *info, tandem_message *message) {
    *info = (tandem_memory_info){.struct_size = sizeof *info};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_context_memory(s->backend, s->context, info, &error);
    return status ? message_plugin(message, status, &error, "memory") : TANDEM_OK;
}

uint32_t session_length(const session *s) {
    return s->length;
}

int session_truncate(session *s, uint32_t length, tandem_message *message) {
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_kv_truncate(s->backend, s->kv, 0, length, &error);
    if (status)
        return message_plugin(message, status, &error, "truncating the cache");
    s->length = length;
    return TANDEM_OK;
}

int session_fill(session *s, uint32_t seed, uint32_t length, tandem_message *message) {
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_kv_fill(s->backend, s->kv, 0, seed, length, &error);
    if (status)
        return message_plugin(message, status, &error, "filling the cache");
    s->length = length;
    return TANDEM_OK;
}

static int list_steps(session *s, const compiled *c, const tandem_run *run, step_cost *steps, uint32_t n,
                      tandem_error *error) {
    tandem_cost **costs = malloc(n * sizeof *costs);
    if (!costs)
        return TANDEM_E_OUT_OF_MEMORY;
    int status = TANDEM_OK;
    for (uint32_t i = 0; i < n && !status; i++) {
        steps[i] = (step_cost){.step = {.struct_size = sizeof(tandem_step)},
                               .cost = {.struct_size = sizeof(tandem_cost)}};
        costs[i] = &steps[i].cost;
        status = plugin_program_step(s->backend, c->program, i, &steps[i].step, error);
    }
    if (!status)
        status = plugin_program_cost(s->backend, c->program, run, costs, n, error);
    free(costs);
    return status;
}

int session_steps(session *s, uint32_t which, uint32_t n_rows, uint32_t n_out, step_cost **out,
                  uint32_t *n_out_steps, tandem_message *message) {
    const compiled *c = which == SESSION_PREFILL && s->prefill.program ? &s->prefill : &s->decode;
    uint32_t n = 0;
    step_cost *steps = NULL;
    uint32_t *tokens = calloc(n_rows, sizeof *tokens);
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = tokens ? TANDEM_OK : TANDEM_E_OUT_OF_MEMORY;
    if (!status)
        status = plugin_program_step_count(s->backend, c->program, &n, &error);
    if (!status && !(steps = calloc(n ? n : 1, sizeof *steps)))
        status = TANDEM_E_OUT_OF_MEMORY;
    if (!status) {
        tandem_run run = {.struct_size = sizeof run,
                          .n_rows = n_rows,
                          .n_out = n_out,
                          .tokens = tokens,
                          .position = s->length};
        status = list_steps(s, c, &run, steps, n, &error);
    }
    free(tokens);
    if (status) {
        free(steps);
        return message_plugin(message, status, &error, "steps");
    }
    *out = steps;
    *n_out_steps = n;
    return TANDEM_OK;
}
