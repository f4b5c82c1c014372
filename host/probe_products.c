/* host/probe_products.c: rows of a layer's products, the residual stream between them, and the head, again in
 * double (contract: sweep_probe.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "hash.h"
#include "sweep_probe.h"

#define N_SAMPLE 24u /* rows of a product that are computed again */

#define BUDGET_STREAM 1e-8

/* The last bit of the stream may tip the rounding of what goes into a product. */
static double budget(const probe *p, bool rounded_here) {
    return rounded_here && p->s->desc.precision != TANDEM_PRECISION_EXACT ? PROBE_BUDGET_TIPPED
                                                                          : PROBE_BUDGET_PRODUCT;
}

static int find(const probe *p, uint32_t role, uint32_t layer, source_tensor *t, tandem_message *message) {
    if (model_source_role(p->s->desc.source, role, layer, t, message) == 1)
        return TANDEM_OK;
    return message_fail(message, TANDEM_E_INTERNAL, "Layer %u has no tensor to probe.", layer);
}

static void draw_rows(const probe *p, uint64_t n_row, uint32_t n, uint64_t *rows) {
    for (uint32_t i = 0; i < n; i++)
        rows[i] = hash_mix(p->seed + p->position + 31 * i + 7) % n_row;
}

/* Reads the device's values of some elements of a row of n. */
static int read_picked(const probe *p, tandem_view view, uint64_t n, const uint64_t *rows, uint32_t n_picked,
                       double *y, tandem_message *message) {
    float *x = NULL;
    int status = probe_read_floats(p, view, (uint32_t)n, &x, message);
    for (uint32_t i = 0; i < n_picked && !status; i++)
        y[i] = x[rows[i]];
    free(x);
    return status;
}

/* Values that do not fit the stated precision may fit another. */
static int find_precision(probe *p, const source_tensor *t, const float *x, const uint64_t *rows,
                          const double *got, tandem_message *message) {
    static const char *const names[] = {"exact", "f16", "q8"};
    double expected[N_SAMPLE];
    float *rounded = malloc(t->dims[0] * sizeof *rounded);
    int status =
        rounded ? TANDEM_OK : message_out_of_memory(message, "a probe", t->dims[0] * sizeof *rounded);
    for (uint32_t i = 0; i < 3 && !status; i++) {
        tandem_kit_round_activations(i, x, rounded, t->dims[0]);
        status = probe_rows(p->s->desc.source, t, rows, N_SAMPLE, rounded, expected, message);
        if (!status && probe_error(got, expected, N_SAMPLE) <= PROBE_BUDGET_PRODUCT)
            p->result[p->n_result - 1].instead = names[i];
    }
    free(rounded);
    return status;
}

int probe_product(probe *p, const tandem_op_matmul *op, uint32_t role, uint32_t layer, const char *what,
                  tandem_message *message) {
    source_tensor t;
    uint64_t rows[N_SAMPLE];
    double expected[N_SAMPLE], got[N_SAMPLE];
    float *x = NULL, *rounded = NULL;
    int status = find(p, role, layer, &t, message);
    if (status)
        return status;
    draw_rows(p, t.n_row, N_SAMPLE, rows);
    status = probe_read_floats(p, op->x[0], (uint32_t)t.dims[0], &x, message);
    if (!status && !(rounded = malloc(t.dims[0] * sizeof *rounded)))
        status = message_out_of_memory(message, "a probe", t.dims[0] * sizeof *rounded);
    if (!status) {
        tandem_kit_round_activations(p->s->desc.precision, x, rounded, t.dims[0]);
        status = probe_rows(p->s->desc.source, &t, rows, N_SAMPLE, rounded, expected, message);
    }
    if (!status)
        status = read_picked(p, op->y[0], t.n_row, rows, N_SAMPLE, got, message);
    if (!status)
        probe_add(p, what, layer, probe_error(got, expected, N_SAMPLE), budget(p, false));
    if (!status && !(probe_error(got, expected, N_SAMPLE) <= budget(p, false)))
        status = find_precision(p, &t, x, rows, got, message);
    free(x);
    free(rounded);
    return status;
}

/* ---- the stream ---- */

/* y = x / rms(x) * w, w absent: 1. */
static int add_norm(const probe *p, const tandem_op_stream *s, const double *x, tandem_view w, double *y,
                    tandem_message *message) {
    float *weight = NULL;
    double mean = 0;
    int status = w.buffer ? probe_read_floats(p, w, s->d, &weight, message) : TANDEM_OK;
    for (uint32_t i = 0; i < s->d; i++)
        mean += x[i] * x[i] / s->d;
    const double scale = 1 / sqrt(mean + (double)s->eps);
    for (uint32_t i = 0; i < s->d && !status; i++)
        y[i] += x[i] * scale * (weight ? weight[i] : 1);
    free(weight);
    return status;
}

static int add_branch(const probe *p, const tandem_op_stream *s, uint32_t branch, double *sum,
                      tandem_message *message) {
    float *a = NULL;
    double *x = malloc(s->d * sizeof *x);
    int status = x ? probe_read_floats(p, s->a[branch], s->d, &a, message)
                   : message_out_of_memory(message, "a probe", s->d * sizeof *x);
    for (uint32_t i = 0; i < s->d && !status; i++)
        x[i] = a[i];
    if (!status)
        status = add_norm(p, s, x, s->w[branch], sum, message);
    free(a);
    free(x);
    return status;
}

/* scale * (h + b) as in tandem/op.h, from what the device holds. stream [d]. */
static int compute_stream(const probe *p, const tandem_op_stream *s, double *stream,
                          tandem_message *message) {
    float *h = NULL;
    double *sum = calloc(2u * s->d, sizeof *sum), *both = sum + s->d;
    int status = sum ? probe_read_floats(p, s->h, s->d, &h, message)
                     : message_out_of_memory(message, "a probe", 2 * s->d * sizeof *sum);
    for (uint32_t i = 0; i < 2 && s->a[i].buffer && !status; i++)
        status = add_branch(p, s, i, sum, message);
    if (!status && s->a[1].buffer) {
        status = add_norm(p, s, sum, s->w[2], both, message);
        memcpy(sum, both, s->d * sizeof *sum);
    }
    for (uint32_t i = 0; i < s->d && !status; i++)
        stream[i] = (double)s->scale * (h[i] + sum[i]);
    free(h);
    free(sum);
    return status;
}

/* The first output of a stream from h', rounded as products round their inputs. x [d]. */
static int norm_and_round(const probe *p, const tandem_op_stream *s, const double *stream, float *x,
                          tandem_message *message) {
    double *y = calloc(s->d, sizeof *y);
    int status = y ? add_norm(p, s, stream, s->out_w[0], y, message)
                   : message_out_of_memory(message, "a probe", s->d * sizeof *y);
    for (uint32_t i = 0; i < s->d && !status; i++)
        x[i] = (float)(y[i] * (double)s->out_scale[0]);
    if (!status)
        tandem_kit_round_activations(p->s->desc.precision, x, x, s->d);
    free(y);
    return status;
}

/* ---- products behind a norm ---- */

static int probe_projections(probe *p, const tandem_op_matmul *op, uint32_t layer, const float *x,
                             tandem_message *message) {
    static const uint32_t roles[] = {MODEL_T_ATTN_Q, MODEL_T_ATTN_K, MODEL_T_ATTN_V};
    const uint32_t each = N_SAMPLE / 3, n = each * op->n_matrix;
    double expected[N_SAMPLE], got[N_SAMPLE];
    int status = TANDEM_OK;
    for (uint32_t m = 0; m < op->n_matrix && !status; m++) {
        source_tensor t;
        uint64_t rows[N_SAMPLE];
        status = find(p, roles[m], layer, &t, message);
        if (status)
            break;
        draw_rows(p, t.n_row, each, rows);
        status = probe_rows(p->s->desc.source, &t, rows, each, x, expected + m * each, message);
        if (!status)
            status = read_picked(p, op->y[m], t.n_row, rows, each, got + m * each, message);
    }
    if (!status)
        probe_add(p, "qkv rows", layer, probe_error(got, expected, n), budget(p, true));
    return status;
}

static int probe_gate_up(probe *p, const tandem_op_matmul *op, uint32_t layer, const float *x,
                         tandem_message *message) {
    source_tensor gate, up;
    uint64_t rows[N_SAMPLE];
    double expected[N_SAMPLE], other[N_SAMPLE], got[N_SAMPLE];
    int status = find(p, MODEL_T_FFN_GATE, layer, &gate, message);
    if (!status)
        status = find(p, MODEL_T_FFN_UP, layer, &up, message);
    if (status)
        return status;
    draw_rows(p, gate.n_row, N_SAMPLE, rows);
    status = probe_rows(p->s->desc.source, &gate, rows, N_SAMPLE, x, expected, message);
    if (!status)
        status = probe_rows(p->s->desc.source, &up, rows, N_SAMPLE, x, other, message);
    if (!status)
        status = read_picked(p, op->y[0], gate.n_row, rows, N_SAMPLE, got, message);
    for (uint32_t i = 0; i < N_SAMPLE; i++)
        expected[i] = probe_gelu(expected[i]) * other[i];
    if (!status)
        probe_add(p, "gate rows", layer, probe_error(got, expected, N_SAMPLE), budget(p, true));
    return status;
}

typedef int (*judge_product)(probe *p, const tandem_op_matmul *op, uint32_t layer, const float *x,
                             tandem_message *message);

/* A product whose prologue norms what the device holds at `h`. */
static int probe_from(probe *p, const tandem_op_matmul *op, tandem_view h, judge_product judge,
                      uint32_t layer, tandem_message *message) {
    const tandem_op_stream *s = op->prologue;
    double *stream = malloc(s->d * sizeof *stream);
    float *x = malloc(s->d * sizeof *x), *held = NULL;
    int status = stream && x ? probe_read_floats(p, h, s->d, &held, message)
                             : message_out_of_memory(message, "a probe", s->d * sizeof *stream);
    for (uint32_t i = 0; i < s->d && !status; i++)
        stream[i] = held[i];
    if (!status)
        status = norm_and_round(p, s, stream, x, message);
    if (!status)
        status = judge(p, op, layer, x, message);
    free(stream);
    free(x);
    free(held);
    return status;
}

/* The stream between attention and the feed-forward part: what went in and what came out. */
static int judge_stream(probe *p, const tandem_op_stream *s, uint32_t layer, tandem_message *message) {
    float *out = NULL;
    double *stream = calloc(2u * s->d, sizeof *stream), *got = stream + s->d;
    int status = stream ? compute_stream(p, s, stream, message)
                        : message_out_of_memory(message, "a probe", 2 * s->d * sizeof *stream);
    if (!status)
        status = probe_read_floats(p, s->out_h, s->d, &out, message);
    for (uint32_t i = 0; i < s->d && !status; i++)
        got[i] = out[i];
    if (!status)
        probe_add(p, "stream", layer, probe_error(got, stream, s->d), BUDGET_STREAM);
    free(out);
    free(stream);
    return status;
}

int probe_gates(probe *p, const tandem_op_matmul *gate_up, uint32_t layer, tandem_message *message) {
    return probe_from(p, gate_up, gate_up->prologue->out_h, probe_gate_up, layer, message);
}

int probe_qkv(probe *p, const tandem_op_matmul *qkv, const tandem_op_matmul *gate_up, uint32_t layer,
              tandem_message *message) {
    /* What q, k and v were made from is the stream as the next prologue reads it. */
    return probe_from(p, qkv, gate_up->prologue->h, probe_projections, layer, message);
}

int probe_normed(probe *p, const tandem_op_matmul *qkv, const tandem_op_matmul *gate_up, uint32_t layer,
                 tandem_message *message) {
    int status = probe_qkv(p, qkv, gate_up, layer, message);
    if (!status)
        status = judge_stream(p, gate_up->prologue, layer, message);
    return status ? status : probe_gates(p, gate_up, layer, message);
}

/* ---- the head ---- */

/* Share of what TOPK wrote that the logits contradict. */
static double judge_topk(const float *logits, uint32_t n, const uint32_t *ids, const float *values,
                         uint32_t k) {
    uint32_t n_wrong = 0, n_above = 0;
    for (uint32_t i = 0; i < k; i++)
        n_wrong += ids[i] >= n || logits[ids[i]] != values[i] || (i > 0 && values[i] > values[i - 1]);
    for (uint32_t i = 0; i < n; i++)
        n_above += !(logits[i] <= values[k - 1]); /* NaN too */
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - values[0]);
    const double logsumexp = values[0] + log(sum);
    n_wrong += !(fabs(values[k] - logsumexp) <= 1e-5 * (1 + fabs(logsumexp)));
    return (double)(n_wrong + (n_above >= k)) / (k + 2);
}

static int judge_logits(probe *p, const tandem_op_matmul *head, const float *x, const float *logits,
                        tandem_message *message) {
    const model_source *source = p->s->desc.source;
    source_tensor t;
    uint64_t rows[N_SAMPLE];
    double expected[N_SAMPLE], got[N_SAMPLE];
    int found = model_source_role(source, MODEL_T_OUTPUT, 0, &t, message);
    if (found == 0) /* tied */
        found = model_source_role(source, MODEL_T_TOKEN_EMBD, 0, &t, message);
    if (found != 1)
        return message_fail(message, TANDEM_E_INTERNAL, "There is no head to probe.");
    draw_rows(p, t.n_row, N_SAMPLE, rows);
    int status = probe_rows(source, &t, rows, N_SAMPLE, x, expected, message);
    for (uint32_t i = 0; i < N_SAMPLE && !status; i++) {
        if (head->softcap > 0)
            expected[i] = (double)head->softcap * tanh(expected[i] / (double)head->softcap);
        got[i] = logits[rows[i]];
    }
    if (!status)
        probe_add(p, "logits", p->s->config->n_layer, probe_error(got, expected, N_SAMPLE), budget(p, true));
    return status;
}

int probe_head(probe *p, const tandem_op_matmul *head, const tandem_op_topk *topk, tandem_message *message) {
    const tandem_op_stream *s = head->prologue;
    const uint32_t n = p->s->config->n_vocab, words = 2 * topk->k + 2;
    double *stream = malloc(s->d * sizeof *stream);
    float *x = malloc(s->d * sizeof *x), *logits = NULL, *row = NULL;
    uint32_t *ids = malloc(topk->k * sizeof *ids);
    int status = stream && x && ids ? compute_stream(p, s, stream, message)
                                    : message_out_of_memory(message, "a probe", s->d * sizeof *stream);
    if (!status)
        status = norm_and_round(p, s, stream, x, message);
    if (!status)
        status = probe_read_floats(p, head->y[0], n, &logits, message);
    if (!status)
        status = judge_logits(p, head, x, logits, message);
    if (!status)
        status = probe_read_floats(p, topk->out, words, &row, message);
    if (!status) {
        memcpy(ids, row, topk->k * sizeof *ids);
        probe_add(p, "top-k", p->s->config->n_layer, judge_topk(logits, n, ids, row + topk->k, topk->k), 0);
    }
    free(stream);
    free(x);
    free(logits);
    free(row);
    free(ids);
    return status;
}
