/* host/graph.h: the op lists of a model, and the activation memory they work in.
 *
 * The rows of a run pass through: EMBED; per layer qkv, attention, output projection, gate/up, down; the head
 * and TOPK on the wanted rows. Norms and residual additions are STREAM prologues of the products that read
 * them, so a layer is five ops; routed experts are two more. All programs of a session share one activation
 * buffer: a context is one order of things.
 */
#ifndef TANDEM_HOST_GRAPH_H
#define TANDEM_HOST_GRAPH_H

#include "weights.h"

#define GRAPH_MAX_TOPK 64u

/* One area of the activation buffer. */
typedef struct graph_area {
    uint64_t offset; /* bytes */
    uint64_t stride; /* bytes of the widest row */
} graph_area;

typedef struct graph_layout {
    uint32_t max_rows, max_out; /* what the areas have room for */
    uint32_t n_topk;
    graph_area h[2];      /* residual stream; layers write the one they do not read */
    graph_area q, k, v;   /* projections */
    graph_area mixed;     /* attention output */
    graph_area branch[2]; /* output of the attention or feed-forward branch; of the experts */
    graph_area glu;
    graph_area router_in, expert_in; /* the residual stream, normed for either */
    graph_area route;                /* rows of n_layer routes */
    uint64_t route_bytes;            /* of one route: uint32 id[n_used], f32 weight[n_used], padded */
    graph_area ple[2]; /* per-layer embedding of all layers: identity, context part; then their sum in [0] */
    graph_area ple_product;
    graph_area ple_gate;
    graph_area logits; /* [max_out] */
    graph_area topk;   /* [max_out] rows of ids, values, logsumexp, target */
    uint64_t bytes;
} graph_layout;

void graph_plan(graph_layout *layout, const model_config *config, uint32_t max_rows, uint32_t max_out);

/* One row that TOPK writes. n = layout.n_topk; the arrays follow each other without gaps for that n. */
uint64_t graph_topk_bytes(uint32_t n_topk);

/* What a graph is made of: objects of one context that outlive it. */
typedef struct graph_parts {
    const model_config *config;
    const model_weights *weights;
    const graph_layout *layout;
    tandem_buffer *activations;
    tandem_kv *kv;
    tandem_buffer *imposed; /* uint32 id[max_rows][n_layer][n_used] instead of the router's choice; or NULL */
} graph_parts;

#define GRAPH_LAYERS 1u /* EMBED and the layers */
#define GRAPH_HEAD 2u   /* the head and TOPK, from the rows that the layers left */
/* With GRAPH_LAYERS: layers that write no cache, because they read an earlier one's, run on every row and not
 * only on the wanted ones, so that a program of the head alone may want any row. */
#define GRAPH_EVERY_ROW 4u

/* Layers from here on run on the wanted rows only, but for GRAPH_EVERY_ROW; n_layer: none. */
uint32_t graph_first_out_layer(const model_config *config);

typedef struct graph graph;

/* Builds the op list; `parts` is `GRAPH_*`. The ops point into the graph. */
int graph_build(graph **out, const graph_parts *parts, uint32_t which, tandem_message *message);
void graph_free(graph *graph);

const tandem_op *const *graph_ops(const graph *graph, uint32_t *n);

#endif
