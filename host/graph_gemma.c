/* host/graph_gemma.c: the layers of Gemma 3 and Gemma 4, and the head.
 *
 * With norm(x; w) = rms(x) * w, one layer is
 *   u = norm(h; attn_norm)              q, k, v = Wq u, Wk u, Wv u         (prologue of the first product)
 *   o = Wo attention(q, k, v)
 *   h1 = h + norm(o; post_attention)    g = norm(h1; ffn_norm)             (prologue of gate/up)
 *   f = Wdown(gelu(Wgate g) * (Wup g))
 *   h' = scale * (h1 + norm(f; post_ffw))                                  (prologue of what follows)
 * The layers differ by data alone: head sizes, window, V norm, K = V, shared caches, scale. What experts and
 * per-layer embeddings change: graph_experts.c, graph_ple.c.
 *
 * Layers that read another layer's cache write none, so nothing depends on their rows but the logits: the
 * last of them, without a writer behind, run on the wanted rows alone.
 */
#include "graph_internal.h"

static void add_embed(graph *g) {
    const model_config *c = g->parts.config;
    tandem_op_embed *op = &graph_add(g, TANDEM_OP_EMBED, sizeof *op, TANDEM_NONE, "token_embd")->embed;
    op->table = g->parts.weights->embed;
    op->scale = c->embed_scale;
    op->out = graph_view(g, g->parts.layout->h[0], c->d_model);
}

static void add_qkv(graph *g, uint32_t l, residual *r) {
    const model_layer *layer = &g->parts.config->layers[l];
    const layer_weights *w = &g->parts.weights->layers[l];
    const graph_layout *a = g->parts.layout;
    const uint64_t kv_width = (uint64_t)layer->n_kv_head * layer->head_dim;
    tandem_op_matmul *op = &graph_add(g, TANDEM_OP_MATMUL, sizeof *op, l, "attn_qkv")->matmul;
    op->weights = w->qkv;
    op->n_matrix = layer->kv_layer != l ? 1 : layer->k_is_v ? 2 : 3;
    op->prologue = graph_add_prologue(g, r, w->vector[VECTOR_ATTN_NORM], true);
    op->y[0] = graph_view(g, a->q, (uint64_t)layer->n_head * layer->head_dim);
    if (op->n_matrix > 1)
        op->y[1] = graph_view(g, a->k, kv_width);
    if (op->n_matrix > 2)
        op->y[2] = graph_view(g, a->v, kv_width);
}

static void add_attention(graph *g, uint32_t l) {
    const model_config *c = g->parts.config;
    const model_layer *layer = &c->layers[l];
    const layer_weights *w = &g->parts.weights->layers[l];
    const graph_layout *a = g->parts.layout;
    const uint64_t q_width = (uint64_t)layer->n_head * layer->head_dim;
    const uint64_t kv_width = (uint64_t)layer->n_kv_head * layer->head_dim;
    tandem_op_attention *op = &graph_add(g, TANDEM_OP_ATTENTION, sizeof *op, l, "attention")->attention;
    model_config_rope(c, l, g->omega[l]);
    op->kv = g->parts.kv;
    op->layer = l;
    op->n_head = layer->n_head;
    op->n_rope_pair = layer->n_rope_pair;
    op->scale = c->attention_scale;
    op->eps = c->norm_eps;
    op->rope_omega = g->omega[l];
    op->q = graph_view(g, a->q, q_width);
    op->q_norm = graph_vector(g, w->vector[VECTOR_Q_NORM]);
    op->out = graph_view(g, a->mixed, q_width);
    if (layer->kv_layer != l)
        return;
    op->k = graph_view(g, a->k, kv_width);
    op->k_norm = graph_vector(g, w->vector[VECTOR_K_NORM]);
    if (layer->k_is_v)
        op->flags |= TANDEM_ATTENTION_K_IS_V;
    else
        op->v = graph_view(g, a->v, kv_width);
    if (c->v_norm)
        op->flags |= TANDEM_ATTENTION_V_NORM;
}

static void add_feed_forward(graph *g, uint32_t l, residual *r) {
    const model_config *c = g->parts.config;
    const layer_weights *w = &g->parts.weights->layers[l];
    const graph_layout *a = g->parts.layout;
    tandem_view glu = graph_view(g, a->glu, c->layers[l].d_ff);
    tandem_op_matmul *op = &graph_add(g, TANDEM_OP_MATMUL, sizeof *op, l, "ffn_gate_up")->matmul;
    tandem_op_stream *prologue = graph_add_prologue(g, r, w->vector[VECTOR_FFN_NORM], true);
    op->weights = w->gate_up;
    op->n_matrix = 2;
    op->activation = TANDEM_ACT_GELU_GLU;
    op->prologue = prologue;
    op->y[0] = glu;
    if (c->n_expert)
        graph_add_experts(g, l, prologue);
    else
        graph_add_product(g, l, "ffn_down", w->down, glu, graph_view(g, a->branch[0], c->d_model));
}

/* What add_feed_forward leaves to be added to the stream. */
static void leave_feed_forward(const graph *g, uint32_t l, residual *r) {
    const model_config *c = g->parts.config;
    const layer_weights *w = &g->parts.weights->layers[l];
    r->n_branch = c->n_expert ? 2 : 1;
    r->norm[0] = w->vector[c->n_expert ? VECTOR_POST_FFW_1 : VECTOR_POST_FFW];
    r->norm[1] = w->vector[VECTOR_POST_FFW_2];
    r->norm[2] = w->vector[VECTOR_POST_FFW];
    r->scale = c->d_ple ? 1 : w->scale;
}

void graph_add_layers(graph *g) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    const uint32_t first_out = g->which & GRAPH_EVERY_ROW ? c->n_layer : graph_first_out_layer(c);
    residual r = {.rows = TANDEM_ROWS_ALL, .scale = 1};
    add_embed(g);
    if (c->d_ple)
        graph_add_ple(g);
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        const layer_weights *w = &g->parts.weights->layers[l];
        if (l == first_out)
            g->rows = TANDEM_ROWS_OUT;
        add_qkv(g, l, &r);
        add_attention(g, l);
        graph_add_product(g, l, "attn_output", w->output,
                          graph_view(g, a->mixed, (uint64_t)layer->n_head * layer->head_dim),
                          graph_view(g, a->branch[0], c->d_model));
        r.n_branch = 1;
        r.norm[0] = w->vector[VECTOR_POST_ATTENTION];
        add_feed_forward(g, l, &r);
        leave_feed_forward(g, l, &r);
        if (c->d_ple)
            r = graph_add_ple_branch(g, l, r);
    }
    g->final = r;
}

/* Where a program of the layers leaves the stream that a program of the head alone goes on from. */
static residual stream_of_other_program(const graph *g) {
    const model_config *c = g->parts.config;
    const uint32_t last = c->n_layer - 1;
    /* The first layer's first prologue reads what EMBED wrote and moves nothing; every later one flips, and
     * so does the addition before a per-layer embedding. */
    const uint32_t n_flip = (c->d_ple ? 3 : 2) * c->n_layer - 1;
    residual r = {.h = n_flip & 1, .rows = TANDEM_ROWS_ALL};
    leave_feed_forward(g, last, &r);
    if (c->d_ple) {
        r.n_branch = 1;
        r.norm[0] = g->parts.weights->layers[last].vector[VECTOR_PLE_POST];
        r.scale = g->parts.weights->layers[last].scale;
    }
    return r;
}

void graph_add_head(graph *g) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    residual r = g->which & GRAPH_LAYERS ? g->final : stream_of_other_program(g);
    g->rows = TANDEM_ROWS_OUT;
    tandem_view logits = graph_view(g, a->logits, c->n_vocab);
    tandem_op_matmul *head = &graph_add(g, TANDEM_OP_MATMUL, sizeof *head, TANDEM_NONE, "output")->matmul;
    head->weights = g->parts.weights->head;
    head->n_matrix = 1;
    head->softcap = c->softcap;
    head->prologue = graph_add_prologue(g, &r, g->parts.weights->output_norm, false);
    head->y[0] = logits;
    tandem_op_topk *topk = &graph_add(g, TANDEM_OP_TOPK, sizeof *topk, TANDEM_NONE, "topk")->topk;
    topk->n = c->n_vocab;
    topk->k = a->n_topk;
    topk->x = logits;
    topk->out = graph_view(g, a->topk, 0);
    topk->out.stride = graph_topk_bytes(a->n_topk);
}
