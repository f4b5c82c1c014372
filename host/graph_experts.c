/* host/graph_experts.c: routed experts (Gemma 4 26B-A4B).
 *
 * h1 being the stream after attention, the feed-forward part of a layer with experts is
 *   m = Wdown(gelu(Wgate g) * (Wup g))             g = norm(h1; ffn_norm): the shared expert, a dense part
 *   r = norm(h1; router_scale) / sqrt(d_model)     the router sees the stream itself, not g
 *   x = sum of the chosen experts of e             e = norm(h1; pre_ffw_norm_2)
 *   h' = scale * (h1 + norm(norm(m; post_ffw_norm_1) + norm(x; post_ffw_norm_2); post_ffw_norm))
 * The prologue of gate/up makes g, r and e in one pass over the stream. The order of the ops lets the router
 * stand beside gate/up and the experts beside the shared expert's down projection.
 */
#include "graph_internal.h"

#include <math.h>

/* One route of layer l a row; rows of all layers lie interleaved, so that a run's routes are one block. */
static tandem_view route_view(const graph *g, uint32_t l) {
    const graph_layout *a = g->parts.layout;
    tandem_view view = graph_view(g, a->route, 0);
    view.offset += l * a->route_bytes;
    view.stride = a->route.stride;
    return view;
}

static tandem_view imposed_view(const graph *g, uint32_t l) {
    const model_config *c = g->parts.config;
    const uint64_t bytes = c->n_used * sizeof(uint32_t);
    if (!g->parts.imposed)
        return (tandem_view){0};
    return (tandem_view){.buffer = g->parts.imposed,
                         .offset = l * bytes,
                         .stride = c->n_layer * bytes,
                         .rows = TANDEM_ROWS_ALL};
}

void graph_add_experts(graph *g, uint32_t l, tandem_op_stream *prologue) {
    const model_config *c = g->parts.config;
    const graph_layout *a = g->parts.layout;
    const layer_weights *w = &g->parts.weights->layers[l];
    tandem_view router_in = graph_view(g, a->router_in, c->d_model);
    tandem_view expert_in = graph_view(g, a->expert_in, c->d_model);
    graph_add_output(g, prologue, w->vector[VECTOR_ROUTER_SCALE], 1 / sqrtf((float)c->d_model), router_in);
    graph_add_output(g, prologue, w->vector[VECTOR_PRE_FFW_2], 1, expert_in);
    tandem_op_moe_route *route = &graph_add(g, TANDEM_OP_MOE_ROUTE, sizeof *route, l, "moe_route")->moe_route;
    route->weights = w->router;
    route->n_used = c->n_used;
    route->x = router_in;
    route->expert_scale = graph_vector(g, w->vector[VECTOR_EXPERT_SCALE]);
    route->imposed = imposed_view(g, l);
    route->route = route_view(g, l);
    graph_add_product(g, l, "ffn_down", w->down, graph_view(g, a->glu, c->layers[l].d_ff),
                      graph_view(g, a->branch[0], c->d_model));
    tandem_op_moe_ffn *experts = &graph_add(g, TANDEM_OP_MOE_FFN, sizeof *experts, l, "moe_ffn")->moe_ffn;
    experts->weights = w->experts;
    experts->n_used = c->n_used;
    experts->x = expert_in;
    experts->route = route->route;
    experts->y = graph_view(g, a->branch[1], c->d_model);
}
