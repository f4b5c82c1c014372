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
    layout->branch[0] = add_area(layout, d * f, max_rows);
    layout->q = add_area(layout, q * f, max_rows);
    layout->k = add_area(layout, kv * f, max_rows);
    layout->v = add_area(layout, kv * f, max_rows);
    layout->mixed = add_area(layout, q * f, max_rows);
    layout->glu = add_area(layout, ff * f, max_rows);
    if (c->n_expert) {
        layout->branch[1] = add_area(layout, d * f, max_rows);
        layout->router_in = add_area(layout, d * f, max_rows);
        layout->expert_in = add_area(layout, d * f, max_rows);
        layout->route_bytes = (8 * (uint64_t)c->n_used + 15) / 16 * 16;
        layout->route = add_area(layout, c->n_layer * layout->route_bytes, max_rows);
    }
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

uint32_t graph_first_out_layer(const model_config *c) {
    /* Models with experts keep every layer on all rows: a route is then there for each of them. */
    if (c->n_expert)
        return c->n_layer;
    uint32_t first = c->n_layer;
    while (first > 0 && c->layers[first - 1].kv_layer != first - 1)
        first--;
    return first;
}

tandem_view graph_view(const graph *g, graph_area area, uint64_t n_element) {
    return (tandem_view){.buffer = g->parts.activations,
                         .offset = area.offset,
                         .stride = (n_element * sizeof(float) + 15) / 16 * 16,
                         .rows = g->rows};
}

tandem_view graph_vector(const graph *g, uint64_t offset) {
    if (offset == NO_VECTOR)
        return (tandem_view){0};
    return (tandem_view){.buffer = g->parts.weights->vectors, .offset = offset, .rows = TANDEM_ROWS_CONST};
}

graph_op *graph_add(graph *g, uint32_t kind, uint32_t size, uint32_t layer, const char *name) {
    graph_op *op = &g->op[g->n_op];
    char *label = g->label[g->n_op];
    if (layer == TANDEM_NONE)
        snprintf(label, GRAPH_LABEL_BYTES, "%s", name);
    else
        snprintf(label, GRAPH_LABEL_BYTES, "blk.%u.%s", layer, name);
    op->head = (tandem_op){.struct_size = size, .kind = kind, .rows = g->rows, .label = label};
    g->list[g->n_op++] = &op->head;
    return op;
}

void graph_add_product(graph *g, uint32_t l, const char *name, tandem_weights *weights, tandem_view x,
                       tandem_view y) {
    tandem_op_matmul *op = &graph_add(g, TANDEM_OP_MATMUL, sizeof *op, l, name)->matmul;
    op->weights = weights;
    op->n_matrix = 1;
    op->x[0] = x;
    op->y[0] = y;
}

void graph_add_branches(const graph *g, tandem_op_stream *s, residual *r, bool keep) {
    const model_config *c = g->parts.config;
    const graph_layout *layout = g->parts.layout;
    s->d = c->d_model;
    s->n_slice = 1;
    s->eps = c->norm_eps;
    s->scale = r->scale;
    s->h = graph_view(g, layout->h[r->h], c->d_model);
    s->h.rows = r->rows;
    for (uint32_t i = 0; i < r->n_branch; i++) {
        s->a[i] = graph_view(g, layout->branch[i], c->d_model);
        s->a[i].rows = r->rows;
        s->w[i] = graph_vector(g, r->norm[i]);
    }
    if (r->n_branch == 2)
        s->w[2] = graph_vector(g, r->norm[2]);
    if (!r->n_branch || !keep)
        return;
    *r = (residual){.h = r->h ^ 1, .rows = g->rows, .scale = 1};
    s->out_h = graph_view(g, layout->h[r->h], c->d_model);
}

void graph_add_output(const graph *g, tandem_op_stream *s, uint64_t vector, float scale, tandem_view out) {
    s->out[s->n_out] = out;
    s->out_w[s->n_out] = graph_vector(g, vector);
    s->out_scale[s->n_out++] = scale;
}

tandem_op_stream *graph_add_prologue(graph *g, residual *r, uint64_t norm, bool keep) {
    tandem_op_stream *s = &g->stream[g->n_stream++];
    *s = (tandem_op_stream){.head = {.struct_size = sizeof *s, .kind = TANDEM_OP_STREAM, .rows = g->rows}};
    graph_add_branches(g, s, r, keep);
    graph_add_output(g, s, norm, 1, (tandem_view){0});
    return s;
}

static uint32_t count_ops(const model_config *c) {
    const uint32_t per_layer = 5 + (c->d_ple ? 4 : 0) + (c->n_expert ? 2 : 0), once = c->d_ple ? 7 : 3;
    return per_layer * c->n_layer + once;
}

int graph_build(graph **out, const graph_parts *parts, uint32_t which, tandem_message *message) {
    const uint32_t n = count_ops(parts->config), n_layer = parts->config->n_layer;
    graph *g = calloc(1, sizeof *g);
    if (!g)
        return message_out_of_memory(message, "a graph", sizeof *g);
    *g = (graph){.parts = *parts, .which = which, .rows = TANDEM_ROWS_ALL, .max_op = n};
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
