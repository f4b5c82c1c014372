/* host/routing.h: experts imposed on a model instead of those that its router would choose.
 *
 * Random weights route unlike a trained model, and speed depends on how many experts a chunk touches. Here
 * the experts of every token and layer are a function of a seed, the layer and the token's position, or come
 * from a recorded trace; the weights given to them are still the router's own.
 *
 * A trace is text: a line "tandem-routing 1 LAYERS EXPERTS USED", then a line a token: its id and, after a
 * blank each, the experts of every layer, separated by commas, by falling weight.
 *
 * Threads: immutable after creation; any thread.
 */
#ifndef TANDEM_HOST_ROUTING_H
#define TANDEM_HOST_ROUTING_H

#include "model_config.h"
#include "output_file.h"

typedef struct routing routing;

/* how: "model" or NULL (*out is NULL: the router's own choice), "uniform" (every expert as likely as any),
 * "zipf" or "zipf:S" (the r-th of a layer's experts with a probability like r^-S, S = 1; which expert is the
 * r-th differs by layer), "trace:FILE". INVALID: none of these, or the model has no experts; UNSUPPORTED: the
 * file is no trace of such a model. */
int routing_create(routing **out, const char *how, const model_config *config, uint64_t seed,
                   tandem_message *message);
void routing_destroy(routing *routing); /* NULL is fine */

/* "uniform@SEED", "zipf:1@SEED", "trace:0123456789abcdef": equal where the experts are. NULL: "model". */
const char *routing_name(const routing *routing);

/* Experts of the tokens at positions first, first + 1, ...: ids [n_row][n_layer][n_used], different in each
 * set. A trace begins anew after its last token. */
void routing_fill(const routing *routing, uint32_t first, uint32_t n_row, uint32_t *ids);

/* ---- traces; routing_trace.c ---- */

typedef struct routing_trace {
    uint32_t n_layer, n_expert, n_used;
    uint32_t n_row;
    uint32_t *ids; /* [n_row][n_layer][n_used] */
} routing_trace;

int routing_trace_read(routing_trace *trace, const char *path, const model_config *config,
                       tandem_message *message);
void routing_trace_free(routing_trace *trace);

/* 0, or the first failure of the file. */
int routing_trace_begin(output_file *file, const model_config *config);
int routing_trace_write(output_file *file, const model_config *config, uint32_t token, const uint32_t *ids);

#endif
