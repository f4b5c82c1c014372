/* host/sweep_probe.h: one layer of each kind, taken out of a run at depth and computed again in double.
 *
 * A program of the model's first ops, up to the layer in question, runs as a cell would run it; then the
 * inputs, the output and the cache rows of its attention are read back, and one query head is computed anew
 * from them, with the exact angle of its rotation; so are the cache's new row, rows of every product, the
 * residual stream between attention and feed-forward part and, in a layer with experts, the router's choice
 * and elements of the experts' sum. A run of one token is also made with the session's own program, and the
 * last layer, rows of the head and what TOPK found are computed from what it left in memory: the last layer's
 * cache lies farthest out. What came before the layer is taken as it is: the prefix against the reference
 * answers for it, this answers for the depth. That the programs of the cells, which are longer, do at this
 * depth what they do at the prefix is seen from their agreement: the same token by the program of decode and
 * at the head of a chunk by that of prefill, two compilations that share no launch.
 */
#ifndef TANDEM_HOST_SWEEP_PROBE_H
#define TANDEM_HOST_SWEEP_PROBE_H

#include <cjson/cJSON.h>

#include "session_internal.h"

/* One check. error: sum (a - b)^2 / sum b^2, b computed here. */
typedef struct probe_result {
    const char *what; /* "attention", "k row", "v row", "qkv rows", "output rows", "stream", "gate rows",
                         "down rows", "router", "experts", "logits", "top-k", "agreement" */
    uint32_t layer;
    double error, budget;
    const char *instead; /* the precision that the values fit where they do not fit the stated one; or NULL */
} probe_result;

#define PROBE_MAX_RESULTS 40u
#define PROBE_MAX_OMITTED 12u

/* What a probe may take. Only what is expected to fit is done, but for the first half of one layer,
 * which always is. */
typedef struct probe_limits {
    uint64_t ns;
    uint64_t run_ns; /* of a whole run of the model with as many rows, for the estimate; 0: unknown */
    double budget;   /* that two right programs of the whole model may differ by; 0: a tenth of the spread */
} probe_limits;

/* Left out for want of time. */
typedef struct probe_omitted {
    const char *what; /* as in probe_result */
    uint32_t layer;
} probe_omitted;

typedef struct probe {
    session *s;
    uint32_t n_rows;   /* of the run: 1, or a chunk */
    uint32_t position; /* of its last row, which is the one that is looked at */
    uint32_t seed;     /* draws head and rows */
    uint32_t n_result;
    probe_result result[PROBE_MAX_RESULTS];
    uint32_t n_omitted;
    probe_omitted omitted[PROBE_MAX_OMITTED];
    uint64_t op_ns;             /* measured here: of running the first ops, compiled for it, by op */
    double read_ns, read_bytes; /* of the cache */
} probe;

/* Runs n_rows tokens behind the present length, fills p->result and p->omitted, and rolls back. */
int probe_run_within(probe *p, session *s, const uint32_t *tokens, uint32_t n_rows, uint32_t seed,
                     const probe_limits *limits, tandem_message *message);
/* The same without limits. */
int probe_run(probe *p, session *s, const uint32_t *tokens, uint32_t n_rows, uint32_t seed,
              tandem_message *message);
bool probe_is_good(const probe *p);
/* [{"what","layer","error","budget","ok"}] */
cJSON *probe_json(const probe *p);
/* [{"what","layer"}]; NULL where nothing was left out. */
cJSON *probe_omitted_json(const probe *p);

/* sweep_profile.c: device time by op of runs behind the present length, which are rolled back: adds
 * {"op","n","ns","bytes","flops"} to `list`, ns the median over the runs of each step, summed; nothing where
 * the plugin has no times of steps. *n_run: as many as fit limit_ns, one at least, PROFILE_MOST_RUNS at most.
 */
#define PROFILE_MOST_RUNS 5u
int sweep_profile(session *s, const uint32_t *tokens, uint32_t n_rows, bool with_head, uint64_t limit_ns,
                  cJSON *list, uint32_t *n_run, tandem_message *message);

/* probe_math.c: the parts, in double. */
double probe_error(const double *a, const double *b, uint32_t n);
/* x / rms(x) * w (w NULL: 1), then rotation of pairs i, i + n / 2 by position * omega[i]. */
void probe_norm_rotate(const float *x, const float *w, uint32_t n, double eps, const double *omega,
                       uint32_t n_pair, uint32_t position, double *y);

/* Softmax attention of one head over rows that come in pieces. */
typedef struct probe_softmax {
    uint32_t n; /* head_dim */
    double scale, most, sum;
    double *q, *acc; /* [n] */
} probe_softmax;

void probe_softmax_add(probe_softmax *a, const float *k, const float *v, uint32_t n_row, uint32_t stride);

/* y[i] = W[row[i]] x of a tensor of the model, in double. */
int probe_rows(const model_source *source, const source_tensor *tensor, const uint64_t *row, uint32_t n_row,
               const float *x, double *y, tandem_message *message);
double probe_gelu(double x);

/* Attention is f32 in every precision; products are judged after the same rounding. */
#define PROBE_BUDGET_PRODUCT 1e-8
#define PROBE_BUDGET_TIPPED                                                                                  \
    1e-5 /* the last bit of a product may tip the rounding of what is made from it                           \
          */

void probe_add(probe *p, const char *what, uint32_t layer, double error, double budget);
/* The last row of a view, or a CONST row: n f32, malloc'd. */
int probe_read_floats(const probe *p, tandem_view view, uint32_t n, float **out, tandem_message *message);

/* probe_products.c: rows of a product of one matrix without prologue. */
int probe_product(probe *p, const tandem_op_matmul *op, uint32_t role, uint32_t layer, const char *what,
                  tandem_message *message);
/* Results "qkv rows", "stream" and "gate rows", after a run that ended with the gates of that layer. */
int probe_normed(probe *p, const tandem_op_matmul *qkv, const tandem_op_matmul *gate_up, uint32_t layer,
                 tandem_message *message);
/* Parts of it: "qkv rows" and "gate rows". They hold as long as nothing has overwritten the stream. */
int probe_qkv(probe *p, const tandem_op_matmul *qkv, const tandem_op_matmul *gate_up, uint32_t layer,
              tandem_message *message);
int probe_gates(probe *p, const tandem_op_matmul *gate_up, uint32_t layer, tandem_message *message);
/* Results "logits" and "top-k", after a run of the whole model. */
int probe_head(probe *p, const tandem_op_matmul *head, const tandem_op_topk *topk, tandem_message *message);

/* probe_whole.c: result "agreement": sum (a - b)^2 / sum (b - mean b)^2 over the logits of the first token.
 * Leaves the chunk in the cache. */
int probe_agreement(probe *p, const uint32_t *tokens, double budget, tandem_message *message);

/* probe_experts.c: results "router" and "experts". */
int probe_experts(probe *p, const tandem_op_moe_route *route, const tandem_op_moe_ffn *ffn, uint32_t layer,
                  double budget, tandem_message *message);

#endif
