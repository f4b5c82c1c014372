/* host/probe_experts.c: the router's choice and the experts' sum of one row, again in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "hash.h"
#include "sweep_probe.h"

#define N_ELEMENT 12u /* of the experts' sum */
/* Two experts closer than this may change places: design's margin. */
#define MARGIN 1e-5

typedef struct expert_probe {
    probe *p;
    uint32_t layer, n_used;
    float *x;       /* rounded input */
    uint32_t *ids;  /* [n_used] the device's */
    float *weights; /* [n_used] */
    source_tensor gate, up, down;
    bool fused; /* gate and up are one tensor */
    uint64_t element[N_ELEMENT];
    double sum[N_ELEMENT];
} expert_probe;

static int find(expert_probe *e, uint32_t role, source_tensor *t, tandem_message *message) {
    if (model_source_role(e->p->s->desc.source, role, e->layer, t, message) == 1)
        return TANDEM_OK;
    return message_fail(message, TANDEM_E_INTERNAL, "Layer %u has no tensor to probe.", e->layer);
}

static int read_last(const probe *p, tandem_view view, void *target, uint64_t bytes,
                     tandem_message *message) {
    const uint64_t row = view.rows == TANDEM_ROWS_ALL ? p->n_rows - 1 : 0;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_buffer_read(p->s->backend, view.buffer, view.offset + row * view.stride,
                                              target, bytes, 0, &error);
    return status ? message_plugin(message, status, &error, "reading a probe") : TANDEM_OK;
}

/* Adds weight * Wdown[rows] gelu(Wgate x) * (Wup x) of the j-th expert. */
static int add_expert(expert_probe *e, uint32_t j, tandem_message *message) {
    const model_config *c = e->p->s->config;
    const model_source *source = e->p->s->desc.source;
    const uint32_t n = c->d_expert;
    const uint64_t id = e->ids[j], d_out = e->down.dims[1];
    uint64_t *rows = malloc(2ull * n * sizeof *rows);
    double *product = malloc(2ull * n * sizeof *product), part[N_ELEMENT];
    float *hidden = malloc(n * sizeof *hidden);
    int status =
        rows && product && hidden ? TANDEM_OK : message_out_of_memory(message, "an expert", n * 40ull);
    for (uint32_t i = 0; i < n && !status; i++) {
        rows[i] = e->fused ? id * 2 * n + i : id * n + i;
        rows[n + i] = e->fused ? id * 2 * n + n + i : id * n + i;
    }
    if (!status)
        status = probe_rows(source, &e->gate, rows, n, e->x, product, message);
    if (!status)
        status = probe_rows(source, &e->up, rows + n, n, e->x, product + n, message);
    for (uint32_t i = 0; i < n && !status; i++)
        hidden[i] = (float)(probe_gelu(product[i]) * product[n + i]);
    for (uint32_t i = 0; i < N_ELEMENT && !status; i++)
        rows[i] = id * d_out + e->element[i];
    if (!status) {
        tandem_kit_round_activations(e->p->s->desc.precision, hidden, hidden, n);
        status = probe_rows(source, &e->down, rows, N_ELEMENT, hidden, part, message);
    }
    for (uint32_t i = 0; i < N_ELEMENT && !status; i++)
        e->sum[i] += e->weights[j] * part[i];
    free(rows);
    free(product);
    free(hidden);
    return status;
}

static int probe_sum(expert_probe *e, const tandem_op_moe_ffn *ffn, double budget, tandem_message *message) {
    const uint32_t d = e->p->s->config->d_model;
    float *y = malloc(d * sizeof *y);
    double got[N_ELEMENT];
    int status = y ? read_last(e->p, ffn->y, y, d * sizeof *y, message)
                   : message_out_of_memory(message, "a probe", d * sizeof *y);
    if (!status)
        status = read_last(e->p, ffn->x, e->x, d * sizeof *y, message);
    if (!status)
        tandem_kit_round_activations(e->p->s->desc.precision, e->x, e->x, d);
    for (uint32_t i = 0; i < N_ELEMENT; i++)
        e->element[i] = hash_mix(e->p->seed + e->p->position + 97 * i + 3) % d;
    for (uint32_t j = 0; j < e->n_used && !status; j++)
        status = add_expert(e, j, message);
    if (!status) {
        for (uint32_t i = 0; i < N_ELEMENT; i++)
            got[i] = y[e->element[i]];
        if (e->p->n_result < PROBE_MAX_RESULTS)
            e->p->result[e->p->n_result++] = (probe_result){.what = "experts",
                                                            .layer = e->layer,
                                                            .error = probe_error(got, e->sum, N_ELEMENT),
                                                            .budget = budget};
    }
    free(y);
    return status;
}

/* Error of the device's choice: 0 where it took the n_used likeliest by our own softmax, ties within the
 * margin aside; else the share of experts that it should not have taken. */
static double judge_choice(const double *logit, uint32_t n, const uint32_t *ids, uint32_t n_used) {
    uint32_t n_wrong = 0;
    for (uint32_t j = 0; j < n_used; j++) {
        uint32_t n_better = 0;
        if (ids[j] >= n)
            return 1;
        for (uint32_t i = 0; i < n; i++)
            n_better += logit[i] > logit[ids[j]] + MARGIN;
        n_wrong += n_better >= n_used;
        for (uint32_t i = 0; i < j; i++)
            n_wrong += ids[i] == ids[j];
    }
    return (double)n_wrong / n_used;
}

static int probe_choice(expert_probe *e, const tandem_op_moe_route *route, tandem_message *message) {
    const model_config *c = e->p->s->config;
    source_tensor router;
    uint64_t *rows = malloc(c->n_expert * sizeof *rows);
    double *logit = malloc(c->n_expert * sizeof *logit);
    int status = rows && logit ? find(e, MODEL_T_ROUTER, &router, message)
                               : message_out_of_memory(message, "a router", c->n_expert * 16ull);
    if (!status)
        status = read_last(e->p, route->x, e->x, c->d_model * sizeof *e->x, message);
    for (uint32_t i = 0; i < c->n_expert && !status; i++)
        rows[i] = i;
    if (!status) /* the router is exact in every precision */
        status = probe_rows(e->p->s->desc.source, &router, rows, c->n_expert, e->x, logit, message);
    if (!status && e->p->n_result < PROBE_MAX_RESULTS)
        e->p->result[e->p->n_result++] =
            (probe_result){.what = "router",
                           .layer = e->layer,
                           .error = judge_choice(logit, c->n_expert, e->ids, e->n_used)};
    free(rows);
    free(logit);
    return status;
}

int probe_experts(probe *p, const tandem_op_moe_route *route, const tandem_op_moe_ffn *ffn, uint32_t layer,
                  double budget, tandem_message *message) {
    const model_config *c = p->s->config;
    const uint64_t bytes = 8ull * c->n_used;
    expert_probe e = {.p = p, .layer = layer, .n_used = c->n_used, .fused = !c->split_gate_up};
    uint8_t *row = malloc(bytes);
    e.x = malloc(c->d_model * sizeof *e.x);
    int status = row && e.x ? read_last(p, ffn->route, row, bytes, message)
                            : message_out_of_memory(message, "a route", bytes);
    if (!status)
        status = find(&e, e.fused ? MODEL_T_GATE_UP_EXPS : MODEL_T_GATE_EXPS, &e.gate, message);
    if (!status)
        status = find(&e, e.fused ? MODEL_T_GATE_UP_EXPS : MODEL_T_UP_EXPS, &e.up, message);
    if (!status)
        status = find(&e, MODEL_T_DOWN_EXPS, &e.down, message);
    if (!status) {
        e.ids = (uint32_t *)(void *)row;
        e.weights = (float *)(void *)(row + 4ull * c->n_used);
        status = probe_choice(&e, route, message);
    }
    bool known = true;
    for (uint32_t j = 0; j < c->n_used && !status; j++)
        known &= e.ids[j] < c->n_expert;
    if (!status && known)
        status = probe_sum(&e, ffn, budget, message);
    free(row);
    free(e.x);
    return status;
}
