/* host/graph_ple.c: per-layer embeddings (Gemma 4 E2B and E4B): d_ple values for each layer and token.
 *
 * x being the scaled embedding, before the first layer
 *   ple = (sqrt(d_ple) * table[token] + norm(P x / sqrt(d_model); ple_norm)) / sqrt(2)
 * and each layer ends with
 *   h2 = h1 + norm(f; post_ffw)     b = Wproj(gelu(Wgate h2) * ple)     h' = scale * (h2 + norm(b; ple_post))
 * Wgate reads the stream as it is, without a norm.
 *
 * The product with P is made for every layer on every row, also where the last layers run on the wanted rows
 * only: their part of it is 1.4 % of what a prompt token costs in E2B, and a product of their own would cost
 * every decoded token another step.
 */
#include "graph_internal.h"

#include <math.h>

static tandem_op_elementwise *add_elementwise(graph *g, uint32_t kind, uint32_t l, const char *name,
                                              uint32_t n) {
    tandem_op_elementwise *op = &graph_add(g, kind, sizeof *op, l, name)->elementwise;
    op->n = n;
    op->scale = 1;
    return op;
}

static void add_context_norm(graph *g, tandem_view product, tandem_view context) {
    const model_config *c = g->parts.config;
    tandem_op_stream *norm = &graph_add(g, TANDEM_OP_STREAM, sizeof *norm, TANDEM_NONE, "ple_norm")->stream;
    norm->d = c->d_ple;
    norm->n_slice = c->n_layer;
    norm->eps = c->norm_eps;
    norm->scale = 1 / sqrtf((float)c->d_model);
    norm->h = product;
    graph_add_output(g, norm, g->parts.weights->ple_norm, 1, context);
}

void graph_add_ple(graph *g) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    const uint32_t n = c->n_layer * c->d_ple;
    tandem_view identity = graph_view(g, a->ple[0], n), context = graph_view(g, a->ple[1], n);
    tandem_view product = graph_view(g, a->ple_product, n);
    tandem_op_embed *embed = &graph_add(g, TANDEM_OP_EMBED, sizeof *embed, TANDEM_NONE, "ple_embd")->embed;
    embed->table = g->parts.weights->ple_embed;
    embed->scale = sqrtf((float)c->d_ple);
    embed->out = identity;
    graph_add_product(g, TANDEM_NONE, "ple_proj", g->parts.weights->ple_project,
                      graph_view(g, a->h[0], c->d_model), product);
    add_context_norm(g, product, context);
    tandem_op_elementwise *sum = add_elementwise(g, TANDEM_OP_ADD, TANDEM_NONE, "ple_sum", n);
    sum->scale = sqrtf(0.5f);
    sum->a = identity;
    sum->b = context;
    sum->out = identity;
}

residual graph_add_ple_branch(graph *g, uint32_t l, residual r) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    const layer_weights *w = &g->parts.weights->layers[l];
    tandem_view gate = graph_view(g, a->ple_gate, c->d_ple), branch = graph_view(g, a->branch[0], c->d_model);
    /* Made before the first layer, so on all rows, whatever rows this layer works on. */
    tandem_view slice = graph_view(g, a->ple[0], (uint64_t)c->n_layer * c->d_ple);
    slice.offset += (uint64_t)l * c->d_ple * sizeof(float);
    slice.rows = TANDEM_ROWS_ALL;
    tandem_op_stream *add = &graph_add(g, TANDEM_OP_STREAM, sizeof *add, l, "post_ffw")->stream;
    graph_add_branches(g, add, &r, true);
    graph_add_product(g, l, "inp_gate", w->ple_gate, add->out_h, gate);
    tandem_op_elementwise *glu = add_elementwise(g, TANDEM_OP_GLU, l, "ple_glu", c->d_ple);
    glu->a = gate;
    glu->b = slice;
    glu->out = gate;
    graph_add_product(g, l, "proj", w->ple_out, gate, branch);
    r.n_branch = 1;
    r.norm[0] = w->vector[VECTOR_PLE_POST];
    r.scale = w->scale;
    return r;
}
