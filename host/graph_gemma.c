/* host/graph_gemma.c: the layers of Gemma 3 and of Gemma 4 without experts.
 *
 * With norm(x; w) = rms(x) * w, one layer is
 *   u = norm(h; attn_norm)              q, k, v = Wq u, Wk u, Wv u         (prologue of the first product)
 *   o = Wo attention(q, k, v)
 *   h1 = h + norm(o; post_attention)    g = norm(h1; ffn_norm)             (prologue of gate/up)
 *   f = Wdown(gelu(Wgate g) * (Wup g))
 *   h' = scale * (h1 + norm(f; post_ffw))                                  (prologue of what follows)
 * The layers differ by data alone: head sizes, window, V norm, K = V, shared caches, scale. Models with a
 * per-layer embedding (PLE: d_ple values for each layer and token) first make, x being the scaled embedding,
 *   ple = (sqrt(d_ple) * table[token] + norm(P x / sqrt(d_model); ple_norm)) / sqrt(2)
 * and end each layer with h2 = h1 + norm(f; post_ffw), b = Wproj(gelu(Wgate h2) * ple), h' = scale * (h2 +
 * norm(b)).
 */
#include "graph_internal.h"

#include <math.h>

static tandem_view rows_of(const graph *g, graph_area area, uint64_t n_element) {
    return graph_view(g, area, n_element * sizeof(float), TANDEM_ROWS_ALL);
}

static void add_embed(graph *g) {
    const model_config *c = g->parts.config;
    tandem_op_embed *op =
        &graph_add(g, TANDEM_OP_EMBED, sizeof *op, TANDEM_ROWS_ALL, TANDEM_NONE, "token_embd")->embed;
    op->table = g->parts.weights->embed;
    op->scale = c->embed_scale;
    op->out = rows_of(g, g->parts.layout->h[0], c->d_model);
}

/* y = W x from one area to another. */
static void add_product(graph *g, uint32_t l, const char *name, tandem_weights *weights, tandem_view x,
                        tandem_view y) {
    tandem_op_matmul *op = &graph_add(g, TANDEM_OP_MATMUL, sizeof *op, TANDEM_ROWS_ALL, l, name)->matmul;
    op->weights = weights;
    op->n_matrix = 1;
    op->x[0] = x;
    op->y[0] = y;
}

static void add_qkv(graph *g, uint32_t l, residual *r) {
    const model_layer *layer = &g->parts.config->layers[l];
    const layer_weights *w = &g->parts.weights->layers[l];
    const graph_layout *a = g->parts.layout;
    const uint64_t kv_width = (uint64_t)layer->n_kv_head * layer->head_dim;
    tandem_op_matmul *op =
        &graph_add(g, TANDEM_OP_MATMUL, sizeof *op, TANDEM_ROWS_ALL, l, "attn_qkv")->matmul;
    op->weights = w->qkv;
    op->n_matrix = layer->kv_layer != l ? 1 : layer->k_is_v ? 2 : 3;
    op->prologue = graph_add_prologue(g, r, w->vector[VECTOR_ATTN_NORM], true, TANDEM_ROWS_ALL);
    op->y[0] = rows_of(g, a->q, (uint64_t)layer->n_head * layer->head_dim);
    if (op->n_matrix > 1)
        op->y[1] = rows_of(g, a->k, kv_width);
    if (op->n_matrix > 2)
        op->y[2] = rows_of(g, a->v, kv_width);
}

static void add_attention(graph *g, uint32_t l) {
    const model_config *c = g->parts.config;
    const model_layer *layer = &c->layers[l];
    const layer_weights *w = &g->parts.weights->layers[l];
    const graph_layout *a = g->parts.layout;
    const uint64_t q_width = (uint64_t)layer->n_head * layer->head_dim;
    const uint64_t kv_width = (uint64_t)layer->n_kv_head * layer->head_dim;
    const bool owns_kv = layer->kv_layer == l;
    tandem_op_attention *op =
        &graph_add(g, TANDEM_OP_ATTENTION, sizeof *op, TANDEM_ROWS_ALL, l, "attention")->attention;
    model_config_rope(c, l, g->omega[l]);
    op->kv = g->parts.kv;
    op->layer = l;
    op->n_head = layer->n_head;
    op->n_rope_pair = layer->n_rope_pair;
    op->scale = c->attention_scale;
    op->eps = c->norm_eps;
    op->rope_omega = g->omega[l];
    op->q = rows_of(g, a->q, q_width);
    op->q_norm = graph_vector(g, w->vector[VECTOR_Q_NORM]);
    op->out = rows_of(g, a->mixed, q_width);
    if (!owns_kv)
        return;
    op->k = rows_of(g, a->k, kv_width);
    op->k_norm = graph_vector(g, w->vector[VECTOR_K_NORM]);
    if (layer->k_is_v)
        op->flags |= TANDEM_ATTENTION_K_IS_V;
    else
        op->v = rows_of(g, a->v, kv_width);
    if (c->v_norm)
        op->flags |= TANDEM_ATTENTION_V_NORM;
}

static void add_gate_up(graph *g, uint32_t l, residual *r) {
    const layer_weights *w = &g->parts.weights->layers[l];
    tandem_op_matmul *op =
        &graph_add(g, TANDEM_OP_MATMUL, sizeof *op, TANDEM_ROWS_ALL, l, "ffn_gate_up")->matmul;
    op->weights = w->gate_up;
    op->n_matrix = 2;
    op->activation = TANDEM_ACT_GELU_GLU;
    op->prologue = graph_add_prologue(g, r, w->vector[VECTOR_FFN_NORM], true, TANDEM_ROWS_ALL);
    op->y[0] = rows_of(g, g->parts.layout->glu, g->parts.config->layers[l].d_ff);
}

static residual pending_branch(uint32_t h, uint64_t norm, float scale) {
    return (residual){.h = h, .has_branch = true, .branch_norm = norm, .scale = scale};
}

static tandem_op_elementwise *add_elementwise(graph *g, uint32_t kind, uint32_t l, const char *name,
                                              uint32_t n) {
    tandem_op_elementwise *op = &graph_add(g, kind, sizeof *op, TANDEM_ROWS_ALL, l, name)->elementwise;
    op->n = n;
    op->scale = 1;
    return op;
}

/* The per-layer embedding of all layers, [rows][n_layer * d_ple]. */
static void add_ple(graph *g) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    const uint32_t n = c->n_layer * c->d_ple;
    tandem_view identity = rows_of(g, a->ple[0], n), context = rows_of(g, a->ple[1], n);
    tandem_view product = rows_of(g, a->ple_product, n);
    tandem_op_embed *embed =
        &graph_add(g, TANDEM_OP_EMBED, sizeof *embed, TANDEM_ROWS_ALL, TANDEM_NONE, "ple_embd")->embed;
    embed->table = g->parts.weights->ple_embed;
    embed->scale = sqrtf((float)c->d_ple);
    embed->out = identity;
    add_product(g, TANDEM_NONE, "ple_proj", g->parts.weights->ple_project, rows_of(g, a->h[0], c->d_model),
                product);
    tandem_op_stream *norm =
        &graph_add(g, TANDEM_OP_STREAM, sizeof *norm, TANDEM_ROWS_ALL, TANDEM_NONE, "ple_norm")->stream;
    norm->d = c->d_ple;
    norm->n_slice = c->n_layer;
    norm->n_out = 1;
    norm->eps = c->norm_eps;
    norm->scale = 1 / sqrtf((float)c->d_model);
    norm->h = product;
    norm->out[0] = context;
    norm->out_w[0] = graph_vector(g, g->parts.weights->ple_norm);
    norm->out_scale[0] = 1;
    tandem_op_elementwise *sum = add_elementwise(g, TANDEM_OP_ADD, TANDEM_NONE, "ple_sum", n);
    sum->scale = sqrtf(0.5f);
    sum->a = identity;
    sum->b = context;
    sum->out = identity;
}

/* The end of a layer with a per-layer embedding; returns the stream with its branch pending. */
static residual add_ple_branch(graph *g, uint32_t l, residual r) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    const layer_weights *w = &g->parts.weights->layers[l];
    tandem_view gate = rows_of(g, a->ple_gate, c->d_ple), branch = rows_of(g, a->branch, c->d_model);
    tandem_view slice = rows_of(g, a->ple[0], (uint64_t)c->n_layer * c->d_ple);
    slice.offset += (uint64_t)l * c->d_ple * sizeof(float);
    tandem_op_stream *add =
        &graph_add(g, TANDEM_OP_STREAM, sizeof *add, TANDEM_ROWS_ALL, l, "post_ffw")->stream;
    add->d = c->d_model;
    add->n_slice = 1;
    add->eps = c->norm_eps;
    add->scale = r.scale;
    add->h = rows_of(g, a->h[r.h], c->d_model);
    add->a[0] = branch;
    add->w[0] = graph_vector(g, r.branch_norm);
    r.h ^= 1;
    add->out_h = rows_of(g, a->h[r.h], c->d_model);
    add_product(g, l, "inp_gate", w->ple_gate, add->out_h, gate);
    tandem_op_elementwise *glu = add_elementwise(g, TANDEM_OP_GLU, l, "ple_glu", c->d_ple);
    glu->a = gate;
    glu->b = slice;
    glu->out = gate;
    add_product(g, l, "proj", w->ple_out, gate, branch);
    return pending_branch(r.h, w->vector[VECTOR_PLE_POST], w->scale);
}

void graph_add_layers(graph *g) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    residual r = {.scale = 1};
    add_embed(g);
    if (c->d_ple)
        add_ple(g);
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        const layer_weights *w = &g->parts.weights->layers[l];
        tandem_view branch = rows_of(g, a->branch, c->d_model);
        add_qkv(g, l, &r);
        add_attention(g, l);
        add_product(g, l, "attn_output", w->output,
                    rows_of(g, a->mixed, (uint64_t)layer->n_head * layer->head_dim), branch);
        r = pending_branch(r.h, w->vector[VECTOR_POST_ATTENTION], 1);
        add_gate_up(g, l, &r);
        add_product(g, l, "ffn_down", w->down, rows_of(g, a->glu, layer->d_ff), branch);
        r = pending_branch(r.h, w->vector[VECTOR_POST_FFW], c->d_ple ? 1 : w->scale);
        if (c->d_ple)
            r = add_ple_branch(g, l, r);
    }
}

residual graph_final_residual(const graph *g) {
    /* The first layer's first prologue reads what EMBED wrote and moves nothing; every later one flips, and
     * so does the addition before a per-layer embedding. */
    const model_config *c = g->parts.config;
    const layer_weights *last = &g->parts.weights->layers[c->n_layer - 1];
    const uint32_t n_flip = (c->d_ple ? 3 : 2) * c->n_layer - 1;
    return pending_branch(n_flip & 1, last->vector[c->d_ple ? VECTOR_PLE_POST : VECTOR_POST_FFW],
                          last->scale);
}

void graph_add_head(graph *g) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    residual r = graph_final_residual(g);
    tandem_view logits = graph_view(g, a->logits, c->n_vocab * sizeof(float), TANDEM_ROWS_OUT);
    tandem_op_matmul *head =
        &graph_add(g, TANDEM_OP_MATMUL, sizeof *head, TANDEM_ROWS_OUT, TANDEM_NONE, "output")->matmul;
    head->weights = g->parts.weights->head;
    head->n_matrix = 1;
    head->softcap = c->softcap;
    head->prologue = graph_add_prologue(g, &r, g->parts.weights->output_norm, false, TANDEM_ROWS_OUT);
    head->y[0] = logits;
    tandem_op_topk *topk =
        &graph_add(g, TANDEM_OP_TOPK, sizeof *topk, TANDEM_ROWS_OUT, TANDEM_NONE, "topk")->topk;
    topk->n = c->n_vocab;
    topk->k = a->n_topk;
    topk->x = logits;
    topk->out = graph_view(g, a->topk, graph_topk_bytes(a->n_topk), TANDEM_ROWS_OUT);
}
