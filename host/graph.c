/* host/graph.c: activation layout and the bookkeeping of op lists. */
#include "graph_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows begin at multiples of this: enough for any vector load. */
#define AREA_ALIGN 256u

static uint64_t align_up(uint64_t n) {
    return (n + AREA_ALIGN - 1) / AREA_ALIGN * AREA_ALIGN;
}

static graph_area add_area(graph_layout *layout, uint64_t row_bytes, uint32_t n_rows) {
    graph_area area = {.offset = layout->bytes, .stride = (row_bytes + 15) / 16 * 16};
    layout->bytes += align_up(area.stride * n_rows);
    return area;
}

uint64_t graph_topk_bytes(uint32_t n_topk) {
    return (8 * (uint64_t)n_topk + 8 + 15) / 16 * 16;
}

void graph_plan(graph_layout *layout, const model_config *c, uint32_t max_rows, uint32_t max_out) {
    uint64_t q = 0, kv = 0, ff = 0;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        uint64_t q_width = (uint64_t)layer->n_head * layer->head_dim;
        uint64_t kv_width = (uint64_t)layer->n_kv_head * layer->head_dim;
        q = q_width > q ? q_width : q;
        kv = kv_width > kv ? kv_width : kv;
        ff = layer->d_ff > ff ? layer->d_ff : ff;
    }
    const uint64_t f = sizeof(float), d = c->d_model;
    *layout = (graph_layout){.max_rows = max_rows, .max_out = max_out};
    layout->n_topk = c->n_vocab < GRAPH_MAX_TOPK ? c->n_vocab : GRAPH_MAX_TOPK;
    layout->h[0] = add_area(layout, d * f, max_rows);
    layout->h[1] = add_area(layout, d * f, max_rows);
    layout->branch = add_area(layout, d * f, max_rows);
    layout->q = add_area(layout, q * f, max_rows);
    layout->k = add_area(layout, kv * f, max_rows);
    layout->v = add_area(layout, kv * f, max_rows);
    layout->mixed = add_area(layout, q * f, max_rows);
    layout->glu = add_area(layout, ff * f, max_rows);
    if (c->d_ple) {
        const uint64_t ple = (uint64_t)c->n_layer * c->d_ple * f;
        layout->ple[0] = add_area(layout, ple, max_rows);
        layout->ple[1] = add_area(layout, ple, max_rows);
        layout->ple_product = add_area(layout, ple, max_rows);
        layout->ple_gate = add_area(layout, c->d_ple * f, max_rows);
    }
    layout->logits = add_area(layout, c->n_vocab * f, max_out);
    layout->topk = add_area(layout, graph_topk_bytes(layout->n_topk), max_out);
}

tandem_view graph_view(const graph *g, graph_area area, uint64_t row_bytes, uint32_t rows) {
    return (tandem_view){.buffer = g->parts.activations,
                         .offset = area.offset,
                         .stride = (row_bytes + 15) / 16 * 16,
                         .rows = rows};
}

tandem_view graph_vector(const graph *g, uint64_t offset) {
    if (offset == NO_VECTOR)
        return (tandem_view){0};
    return (tandem_view){.buffer = g->parts.weights->vectors, .offset = offset, .rows = TANDEM_ROWS_CONST};
}

graph_op *graph_add(graph *g, uint32_t kind, uint32_t size, uint32_t rows, uint32_t layer, const char *name) {
    graph_op *op = &g->op[g->n_op];
    char *label = g->label[g->n_op];
    if (layer == TANDEM_NONE)
        snprintf(label, GRAPH_LABEL_BYTES, "%s", name);
    else
        snprintf(label, GRAPH_LABEL_BYTES, "blk.%u.%s", layer, name);
    op->head = (tandem_op){.struct_size = size, .kind = kind, .rows = rows, .label = label};
    g->list[g->n_op++] = &op->head;
    return op;
}

tandem_op_stream *graph_add_prologue(graph *g, residual *r, uint64_t vector, bool keep, uint32_t rows) {
    const model_config *c = g->parts.config;
    const graph_layout *layout = g->parts.layout;
    const uint64_t row_bytes = c->d_model * sizeof(float);
    tandem_op_stream *s = &g->stream[g->n_stream++];
    *s = (tandem_op_stream){
        .head = {.struct_size = sizeof *s, .kind = TANDEM_OP_STREAM, .rows = rows},
        .d = c->d_model,
        .n_slice = 1,
        .n_out = 1,
        .eps = c->norm_eps,
        .scale = r->scale,
        .h = graph_view(g, layout->h[r->h], row_bytes, TANDEM_ROWS_ALL),
        .out_w = {graph_vector(g, vector)},
        .out_scale = {1},
    };
    if (!r->has_branch)
        return s;
    s->a[0] = graph_view(g, layout->branch, row_bytes, TANDEM_ROWS_ALL);
    s->w[0] = graph_vector(g, r->branch_norm);
    if (keep) {
        r->h ^= 1;
        s->out_h = graph_view(g, layout->h[r->h], row_bytes, TANDEM_ROWS_ALL);
        r->has_branch = false;
        r->scale = 1;
    }
    return s;
}

static uint32_t count_ops(const model_config *c) {
    const uint32_t per_layer = c->d_ple ? 9 : 5, once = c->d_ple ? 7 : 3;
    return per_layer * c->n_layer + once;
}

int graph_build(graph **out, const graph_parts *parts, uint32_t which, tandem_message *message) {
    const uint32_t n = count_ops(parts->config), n_layer = parts->config->n_layer;
    graph *g = calloc(1, sizeof *g);
    if (!g)
        return message_out_of_memory(message, "a graph", sizeof *g);
    *g = (graph){.parts = *parts, .max_op = n};
    g->op = calloc(n, sizeof *g->op);
    g->list = calloc(n, sizeof *g->list);
    g->stream = calloc(n, sizeof *g->stream);
    g->label = calloc(n, sizeof *g->label);
    g->omega = calloc(n_layer, sizeof *g->omega);
    if (!g->op || !g->list || !g->stream || !g->label || !g->omega) {
        graph_free(g);
        return message_out_of_memory(message, "a graph", n * sizeof *g->op);
    }
    if (which & GRAPH_LAYERS)
        graph_add_layers(g);
    if (which & GRAPH_HEAD)
        graph_add_head(g);
    *out = g;
    return TANDEM_OK;
}

void graph_free(graph *g) {
    if (!g)
        return;
    free(g->op);
    free(g->list);
    free(g->stream);
    free(g->label);
    free(g->omega);
    free(g);
}

const tandem_op *const *graph_ops(const graph *g, uint32_t *n) {
    *n = g->n_op;
    return g->list;
}
