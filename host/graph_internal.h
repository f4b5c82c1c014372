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
    tandem_op_moe_route moe_route;
    tandem_op_moe_ffn moe_ffn;
} graph_op;

#define GRAPH_LABEL_BYTES 32

/* The residual stream where the next op finds it: h, plus branches whose norm has not been added yet. */
typedef struct residual {
    uint32_t h;        /* which of layout.h */
    uint32_t rows;     /* TANDEM_ROWS_* that h and the branches hold */
    uint32_t n_branch; /* 0; 1: norm[0] of branch[0]; 2: norm[2] of the sum of norm[0] and norm[1] of both */
    uint64_t norm[3];  /* vectors, as in tandem_op_stream.w */
    float scale;       /* of the whole stream once the branches are added */
} residual;

struct graph {
    graph_parts parts;
    uint32_t which; /* GRAPH_* */
    uint32_t rows;  /* TANDEM_ROWS_* of the ops that are added now */
    residual final; /* after the last layer */
    uint32_t n_op, max_op;
    uint32_t n_stream;
    graph_op *op;             /* [max_op] */
    const tandem_op **list;   /* [max_op] */
    tandem_op_stream *stream; /* prologues, [max_op] */
    char (*label)[GRAPH_LABEL_BYTES];
    double (*omega)[MODEL_MAX_ROPE_PAIRS]; /* per layer */
};

/* Appends an op of `kind` on g->rows and returns its storage; there is always room. */
graph_op *graph_add(graph *g, uint32_t kind, uint32_t size, uint32_t layer, const char *name);

/* Fills `s` so that it adds the pending branches of the stream; `keep` writes the sum to the other h and
 * moves the stream there, without it nothing reads the stream afterwards. */
void graph_add_branches(const graph *g, tandem_op_stream *s, residual *r, bool keep);

/* A prologue that does so and norms the stream by the vector at `norm`. */
tandem_op_stream *graph_add_prologue(graph *g, residual *r, uint64_t norm, bool keep);

/* One more output of a stream: norm(h'; vector) * scale. */
void graph_add_output(const graph *g, tandem_op_stream *s, uint64_t vector, float scale, tandem_view out);

/* Rows of n_element f32 of g->rows. */
tandem_view graph_view(const graph *g, graph_area area, uint64_t n_element);
tandem_view graph_vector(const graph *g, uint64_t offset);

/* y = W x: an op of one matrix, without prologue. */
void graph_add_product(graph *g, uint32_t layer, const char *name, tandem_weights *weights, tandem_view x,
                       tandem_view y);

/* graph_gemma.c */
void graph_add_layers(graph *g);
void graph_add_head(graph *g);

/* graph_experts.c: gate/up of the shared expert has been added with `prologue`, its product is in layout.glu.
 */
void graph_add_experts(graph *g, uint32_t layer, tandem_op_stream *prologue);

/* graph_ple.c */
void graph_add_ple(graph *g);
residual graph_add_ple_branch(graph *g, uint32_t layer, residual r);

#endif
