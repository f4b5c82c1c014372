/* host/sweep_probe.h: one layer of each kind, taken out of a run at depth and computed again in double.
 *
 * A program of the model's first ops, up to the layer in question, runs as a cell would run it; then the
 * inputs, the output and the cache rows of its attention are read back, and one query head is computed anew
 * from them, with the exact angle of its rotation; so are the cache's new row, rows of the output projection
 * and, in a layer with experts, the router's choice and elements of the experts' sum. What came before the
 * layer is taken as it is: the prefix against the reference answers for it, this answers for the depth.
 */
#ifndef TANDEM_HOST_SWEEP_PROBE_H
#define TANDEM_HOST_SWEEP_PROBE_H

#include <cjson/cJSON.h>

#include "session_internal.h"

/* One check. error: sum (a - b)^2 / sum b^2, b computed here. */
typedef struct probe_result {
    const char *what; /* "attention", "k row", "v row", "output rows", "router", "experts" */
    uint32_t layer;
    double error, budget;
} probe_result;

#define PROBE_MAX_RESULTS 16u

typedef struct probe {
    session *s;
    uint32_t n_rows;   /* of the run: 1, or a chunk */
    uint32_t position; /* of its last row, which is the one that is looked at */
    uint32_t seed;     /* draws head and rows */
    uint32_t n_result;
    probe_result result[PROBE_MAX_RESULTS];
} probe;

/* Runs n_rows tokens behind the present length, fills p->result, and rolls back. */
int probe_run(probe *p, session *s, const uint32_t *tokens, uint32_t n_rows, uint32_t seed,
              tandem_message *message);
bool probe_is_good(const probe *p);
/* [{"what","layer","error","budget","ok"}] */
cJSON *probe_json(const probe *p);

/* sweep_profile.c: device time by op of one run behind the present length, which is rolled back: adds
 * {"op","n","ns","bytes"} to `list`; nothing where the plugin has no times of steps. */
int sweep_profile(session *s, const uint32_t *tokens, uint32_t n_rows, bool with_head, cJSON *list,
                  tandem_message *message);

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

/* probe_experts.c: results "router" and "experts". */
int probe_experts(probe *p, const tandem_op_moe_route *route, const tandem_op_moe_ffn *ffn, uint32_t layer,
                  double budget, tandem_message *message);

#endif
