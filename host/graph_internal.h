/* host/graph_internal.h: the parts of a graph under construction. */
#ifndef TANDEM_HOST_GRAPH_INTERNAL_H
#define TANDEM_HOST_GRAPH_INTERNAL_H

#include "graph.h"

typedef union graph_op {
    tandem_op head;
    tandem_op_embed embed;
    tandem_op_stream stream;
    tandem_op_matmul matmul;
    tandem_op_attention attention;
    tandem_op_topk topk;
    tandem_op_elementwise elementwise;
} graph_op;

#define GRAPH_LABEL_BYTES 32

struct graph {
    graph_parts parts;
    uint32_t n_op, max_op;
    uint32_t n_stream;
    graph_op *op;             /* [max_op] */
    const tandem_op **list;   /* [max_op] */
    tandem_op_stream *stream; /* prologues, [max_op] */
    char (*label)[GRAPH_LABEL_BYTES];
    double (*omega)[MODEL_MAX_ROPE_PAIRS]; /* per layer */
};

/* The residual stream where the next op finds it: h, plus a branch whose norm has not been added yet. */
typedef struct residual {
    uint32_t h; /* which of layout.h */
    bool has_branch;
    uint64_t branch_norm; /* vector of the pending branch, or NO_VECTOR */
    float scale;          /* of the whole stream once the branch is added */
} residual;

/* Appends an op of `kind` and returns its storage; there is always room. */
graph_op *graph_add(graph *g, uint32_t kind, uint32_t size, uint32_t rows, uint32_t layer, const char *name);

/* A prologue that adds the pending branch, and norms the stream by `vector`; the stream moves to the other h.
 * With keep = false nothing reads the stream afterwards. */
tandem_op_stream *graph_add_prologue(graph *g, residual *r, uint64_t vector, bool keep, uint32_t rows);

tandem_view graph_view(const graph *g, graph_area area, uint64_t row_bytes, uint32_t rows);
tandem_view graph_vector(const graph *g, uint64_t offset);

void graph_add_layers(graph *g);
void graph_add_head(graph *g);

/* Where the residual stream is after the last layer. */
residual graph_final_residual(const graph *g);

#endif
