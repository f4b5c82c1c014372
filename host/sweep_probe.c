/* host/sweep_probe.c: runs the first ops of a model and reads a layer's insides (contract: sweep_probe.h). */
#include "sweep_probe.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "hash.h"
#include "progress.h"

#define WAIT_NS 600000000000u
#define PIECE_ROWS 512u /* cache rows read at a time */

#define BUDGET_ATTENTION 1e-8

void probe_add(probe *p, const char *what, uint32_t layer, double error, double budget) {
    if (p->n_result < PROBE_MAX_RESULTS)
        p->result[p->n_result++] =
            (probe_result){.what = what, .layer = layer, .error = error, .budget = budget};
}

/* What storing a row costs, by the cache's type: ten times the mean square of its rounding. */
static double row_budget(uint32_t kv_type) {
    return kv_type == TANDEM_TYPE_F32 ? 1e-10 : kv_type == TANDEM_TYPE_F16 ? 1e-6 : 3e-4;
}

/* ---- reading ---- */

static int read_view(const probe *p, tandem_view view, void *target, uint64_t bytes,
                     tandem_message *message) {
    const uint64_t row = view.rows == TANDEM_ROWS_ALL ? p->n_rows - 1 : 0;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_buffer_read(p->s->backend, view.buffer, view.offset + row * view.stride,
                                              target, bytes, 0, &error);
    return status ? message_plugin(message, status, &error, "reading a probe") : TANDEM_OK;
}

int probe_read_floats(const probe *p, tandem_view view, uint32_t n, float **out, tandem_message *message) {
    float *x = malloc(n * sizeof *x);
    if (!x)
        return message_out_of_memory(message, "a probe", n * sizeof *x);
    int status = read_view(p, view, x, n * sizeof *x, message);
    if (status)
        free(x);
    else
        *out = x;
    return status;
}

/* ---- running ---- */

/* Index of the op with that name in that layer; n where there is none. */
static uint32_t find_op(const tandem_op *const *ops, uint32_t n, uint32_t layer, const char *name) {
    char label[48];
    snprintf(label, sizeof label, "blk.%u.%s", layer, name);
    uint32_t i = 0;
    while (i < n && (!ops[i]->label || strcmp(ops[i]->label, label)))
        i++;
    return i;
}

static int run_first_ops(probe *p, const tandem_op *const *ops, uint32_t n_op, const uint32_t *tokens,
                         tandem_message *message) {
    session *s = p->s;
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .n_op = n_op,
                                .ops = ops,
                                .max_tokens = p->n_rows,
                                .max_out = 1,
                                .max_slots = 1,
                                .precision = s->desc.precision};
    tandem_run run = {
        .struct_size = sizeof run, .n_rows = p->n_rows, .n_out = 1, .tokens = tokens, .position = s->length};
    tandem_program *program = NULL;
    tandem_ticket ticket;
    tandem_error error = TANDEM_ERROR_INIT;
    const uint64_t start = now_ns();
    tandem_status status = plugin_program_create(s->backend, s->context, &desc, &program, &error);
    if (!status)
        status = plugin_run(s->backend, program, &run, &ticket, &error);
    if (!status)
        status = plugin_wait(s->backend, s->context, ticket, WAIT_NS, &error);
    plugin_program_destroy(s->backend, program);
    p->op_ns = (now_ns() - start) / n_op;
    return status ? message_plugin(message, status, &error, "probe") : TANDEM_OK;
}

/* ---- attention ---- */

typedef struct head_probe {
    const tandem_op_attention *op;
    tandem_kv_layer kv;
    uint32_t head, kv_head;
    float *q, *k, *v, *out, *q_norm, *k_norm;
    float *k_rows, *v_rows; /* [PIECE_ROWS][n_kv_head][head_dim] */
    double *wide;           /* [4][head_dim]: q, sum, result, what the device says */
} head_probe;

static int read_head(probe *p, head_probe *h, tandem_message *message) {
    const tandem_op_attention *op = h->op;
    const uint32_t n = h->kv.head_dim, n_q = op->n_head * n, n_kv = h->kv.n_kv_head * n;
    int status = probe_read_floats(p, op->q, n_q, &h->q, message);
    if (!status)
        status = probe_read_floats(p, op->out, n_q, &h->out, message);
    if (!status && op->q_norm.buffer)
        status = probe_read_floats(p, op->q_norm, n, &h->q_norm, message);
    if (!status && op->k.buffer)
        status = probe_read_floats(p, op->k, n_kv, &h->k, message);
    if (!status && op->k_norm.buffer)
        status = probe_read_floats(p, op->k_norm, n, &h->k_norm, message);
    if (!status && op->v.buffer)
        status = probe_read_floats(p, op->v, n_kv, &h->v, message);
    h->k_rows = malloc(PIECE_ROWS * n_kv * sizeof(float));
    h->v_rows = malloc(PIECE_ROWS * n_kv * sizeof(float));
    h->wide = calloc(4 * n, sizeof(double));
    if (!status && (!h->k_rows || !h->v_rows || !h->wide))
        status = message_out_of_memory(message, "cache rows", PIECE_ROWS * n_kv * sizeof(float));
    return status;
}

static void free_head(head_probe *h) {
    float *const all[] = {h->q, h->k, h->v, h->out, h->q_norm, h->k_norm, h->k_rows, h->v_rows};
    for (uint32_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(h->wide);
}

static int read_cache(probe *p, const head_probe *h, uint32_t which, uint32_t first, uint32_t n, float *rows,
                      tandem_message *message) {
    tandem_error error = TANDEM_ERROR_INIT;
    const uint64_t start = now_ns();
    tandem_status status = plugin_kv_read(p->s->backend, h->op->kv, h->op->layer, 0, which, first, n,
                                          (uint64_t)h->kv.n_kv_head * h->kv.head_dim, rows, &error);
    p->read_ns += (double)(now_ns() - start);
    p->read_bytes += 4.0 * n * h->kv.n_kv_head * h->kv.head_dim;
    return status ? message_plugin(message, status, &error, "reading the cache") : TANDEM_OK;
}

static void widen(const float *x, uint32_t n, double *y) {
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i];
}

/* The row that this run appended, against the projections that it was made from. */
static void judge_new_row(probe *p, const head_probe *h, const float *k_row, const float *v_row) {
    const tandem_op_attention *op = h->op;
    const uint32_t n = h->kv.head_dim;
    double *expected = h->wide + 2 * n, *got = h->wide + 3 * n;
    if (!h->k)
        return;
    const float *k = h->k + h->kv_head * n;
    const float *v = op->flags & TANDEM_ATTENTION_K_IS_V ? k : h->v + h->kv_head * n;
    probe_norm_rotate(k, h->k_norm, n, h->k_norm ? op->eps : -1, op->rope_omega, op->n_rope_pair, p->position,
                      expected);
    widen(k_row + h->kv_head * n, n, got);
    probe_add(p, "k row", op->layer, probe_error(got, expected, n), row_budget(h->kv.type));
    probe_norm_rotate(v, NULL, n, op->flags & TANDEM_ATTENTION_V_NORM ? op->eps : -1, NULL, 0, 0, expected);
    widen(v_row + h->kv_head * n, n, got);
    probe_add(p, "v row", op->layer, probe_error(got, expected, n), row_budget(h->kv.type));
}

/* The new row alone: the cache before it is not read. */
static int judge_last_row(probe *p, head_probe *h, tandem_message *message) {
    int status = read_cache(p, h, TANDEM_KV_K, p->position, 1, h->k_rows, message);
    if (!status)
        status = read_cache(p, h, TANDEM_KV_V, p->position, 1, h->v_rows, message);
    if (!status)
        judge_new_row(p, h, h->k_rows, h->v_rows);
    return status;
}

static int judge_head(probe *p, head_probe *h, tandem_message *message) {
    const tandem_op_attention *op = h->op;
    const uint32_t n = h->kv.head_dim, stride = h->kv.n_kv_head * n, window = h->kv.window;
    probe_softmax a = {.n = n, .scale = op->scale, .most = -INFINITY, .q = h->wide, .acc = h->wide + n};
    probe_norm_rotate(h->q + h->head * n, h->q_norm, n, h->q_norm ? op->eps : -1, op->rope_omega,
                      op->n_rope_pair, p->position, a.q);
    uint32_t first = window && p->position + 1 > window ? p->position + 1 - window : 0;
    int status = TANDEM_OK;
    while (first <= p->position && !status) {
        uint32_t left = p->position + 1 - first, n_row = left < PIECE_ROWS ? left : PIECE_ROWS;
        status = read_cache(p, h, TANDEM_KV_K, first, n_row, h->k_rows, message);
        if (!status)
            status = read_cache(p, h, TANDEM_KV_V, first, n_row, h->v_rows, message);
        if (!status)
            probe_softmax_add(&a, h->k_rows + h->kv_head * n, h->v_rows + h->kv_head * n, n_row, stride);
        first += n_row;
        if (!status && first > p->position)
            judge_new_row(p, h, h->k_rows + (n_row - 1) * stride, h->v_rows + (n_row - 1) * stride);
    }
    if (status == TANDEM_E_INVALID) { /* rows that must be visible are not held: wrong, not broken */
        probe_add(p, "attention", op->layer, INFINITY, BUDGET_ATTENTION);
        return TANDEM_OK;
    }
    if (status)
        return status;
    double *result = h->wide + 2 * n, *got = h->wide + 3 * n;
    for (uint32_t i = 0; i < n; i++)
        result[i] = a.acc[i] / a.sum;
    widen(h->out + h->head * n, n, got);
    probe_add(p, "attention", op->layer, probe_error(got, result, n), BUDGET_ATTENTION);
    return TANDEM_OK;
}

static int probe_attention(probe *p, const tandem_op_attention *op, bool whole, tandem_message *message) {
    head_probe h = {.op = op, .kv = {.struct_size = sizeof h.kv}};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status refused = plugin_kv_layer(p->s->backend, op->kv, op->layer, &h.kv, &error);
    if (refused)
        return message_plugin(message, refused, &error, "cache layer");
    /* What the op was compiled for, or the plugin has forgotten what it was asked for. */
    if (op->n_head % h.kv.n_kv_head || (uint64_t)op->n_head * h.kv.head_dim * sizeof(float) > op->out.stride)
        return message_fail(message, TANDEM_E_INTERNAL,
                            "The plugin's cache has %u heads of %u elements in layer %u, whose op has %u.",
                            h.kv.n_kv_head, h.kv.head_dim, op->layer, op->n_head);
    h.head = (uint32_t)(hash_mix(p->seed + p->position) % op->n_head);
    h.kv_head = h.head / (op->n_head / h.kv.n_kv_head);
    int status = read_head(p, &h, message);
    if (!status)
        status = whole ? judge_head(p, &h, message) : judge_last_row(p, &h, message);
    free_head(&h);
    return status;
}

/* ---- what fits ---- */

typedef struct layer_probe {
    uint32_t layer;
    const tandem_op *const *ops;
    uint32_t n_op;
    const uint32_t *tokens;
    uint64_t start_ns;
    const probe_limits *limits;
} layer_probe;

static void omit(probe *p, const char *what, uint32_t layer) {
    if (p->n_omitted < PROBE_MAX_OMITTED)
        p->omitted[p->n_omitted++] = (probe_omitted){what, layer};
}

/* Expected time of running the first n_op ops: what the ops before cost here, compiling included, and at most
 * what the model's whole run costs. */
static double expected_run(const probe *p, const layer_probe *l, uint32_t n_op) {
    return (double)p->op_ns * n_op + (double)l->limits->run_ns * n_op / l->n_op;
}

/* Of reading the keys and values that a query of the layer sees. */
static double expected_read(const probe *p, uint32_t layer) {
    const model_layer *c = &p->s->config->layers[layer];
    const uint32_t n = c->window && c->window < p->position + 1 ? c->window : p->position + 1;
    const double bytes = 8.0 * n * c->n_kv_head * c->head_dim;
    return p->read_bytes > 0 ? p->read_ns / p->read_bytes * bytes : 0;
}

static bool fits(const layer_probe *l, double more_ns) {
    return (double)(now_ns() - l->start_ns) + more_ns <= (double)l->limits->ns;
}

/* ---- one run, one layer ---- */

static const tandem_op_matmul *matmul_at(const tandem_op *const *ops, uint32_t index) {
    return (const tandem_op_matmul *)(const void *)ops[index];
}

/* A run that ends with the gates: attention and everything around it are still where they were written. */
static int judge_first_half(probe *p, uint32_t layer, const tandem_op *const *ops, uint32_t n, bool whole,
                            tandem_message *message) {
    const uint32_t qkv = find_op(ops, n, layer, "attn_qkv"), gates = find_op(ops, n, layer, "ffn_gate_up");
    const uint32_t attention = find_op(ops, n, layer, "attention");
    const uint32_t output = find_op(ops, n, layer, "attn_output");
    int status =
        probe_attention(p, (const tandem_op_attention *)(const void *)ops[attention], whole, message);
    if (!status)
        status = probe_product(p, matmul_at(ops, output), MODEL_T_ATTN_OUTPUT, layer, "output rows", message);
    return status ? status : probe_normed(p, matmul_at(ops, qkv), matmul_at(ops, gates), layer, message);
}

/* Attention and what is around it. The first of a probe is done whatever it takes. */
static int probe_first_half(probe *p, const layer_probe *l, bool first, tandem_message *message) {
    const uint32_t start = p->s->length, gates = find_op(l->ops, l->n_op, l->layer, "ffn_gate_up");
    if (gates == l->n_op)
        return TANDEM_OK;
    const double run = expected_run(p, l, gates + 1);
    const bool whole = first || fits(l, run + expected_read(p, l->layer));
    if (!whole)
        omit(p, "attention", l->layer);
    if (!first && !fits(l, run)) {
        omit(p, "output rows", l->layer);
        return TANDEM_OK;
    }
    int status = run_first_ops(p, l->ops, gates + 1, l->tokens, message);
    if (!status)
        status = judge_first_half(p, l->layer, l->ops, l->n_op, whole, message);
    return status ? status : session_truncate(p->s, start, message);
}

/* The feed-forward part and the experts. */
static int probe_second_half(probe *p, const layer_probe *l, tandem_message *message) {
    session *s = p->s;
    const uint32_t start = s->length, down = find_op(l->ops, l->n_op, l->layer, "ffn_down");
    const uint32_t route = find_op(l->ops, l->n_op, l->layer, "moe_route"),
                   ffn = find_op(l->ops, l->n_op, l->layer, "moe_ffn");
    const bool has_experts = ffn < l->n_op, judges_experts = has_experts && !s->routing;
    const uint32_t last = has_experts ? ffn : down;
    if (down == l->n_op)
        return TANDEM_OK;
    if (!fits(l, expected_run(p, l, last + 1))) {
        omit(p, "down rows", l->layer);
        if (judges_experts)
            omit(p, "experts", l->layer);
        return TANDEM_OK;
    }
    int status = run_first_ops(p, l->ops, last + 1, l->tokens, message);
    if (!status)
        status = probe_product(p, matmul_at(l->ops, down), MODEL_T_FFN_DOWN, l->layer, "down rows", message);
    if (!status && judges_experts)
        status = probe_experts(p, (const tandem_op_moe_route *)(const void *)l->ops[route],
                               (const tandem_op_moe_ffn *)(const void *)l->ops[ffn], l->layer,
                               s->desc.precision == TANDEM_PRECISION_EXACT ? PROBE_BUDGET_PRODUCT
                                                                           : PROBE_BUDGET_TIPPED,
                               message);
    return status ? status : session_truncate(s, start, message);
}

/* The first layer of a kind; n_layer where there is none. */
static uint32_t first_layer(const model_config *c, bool sliding) {
    uint32_t l = 0;
    while (l < c->n_layer && (c->layers[l].window > 0) != sliding)
        l++;
    return l;
}

/* Whether the last layer is another one than those that are probed anyway. */
static bool is_further(const model_config *c) {
    return c->n_layer - 1 != first_layer(c, true) && c->n_layer - 1 != first_layer(c, false);
}

/* The last layer, after a run of the whole model: what no later op has overwritten. A branch of per-layer
 * embeddings takes the place of the product before it, and of the stream. */
static int judge_last_layer(probe *p, const layer_probe *l, tandem_message *message) {
    const model_config *c = p->s->config;
    const uint32_t layer = c->n_layer - 1, attention = find_op(l->ops, l->n_op, layer, "attention");
    const uint32_t qkv = find_op(l->ops, l->n_op, layer, "attn_qkv"),
                   gates = find_op(l->ops, l->n_op, layer, "ffn_gate_up"),
                   down = find_op(l->ops, l->n_op, layer, "ffn_down");
    if (attention == l->n_op || qkv == l->n_op || gates == l->n_op || down == l->n_op)
        return TANDEM_OK;
    const bool whole = fits(l, expected_read(p, layer));
    if (!whole)
        omit(p, "attention", layer);
    int status =
        probe_attention(p, (const tandem_op_attention *)(const void *)l->ops[attention], whole, message);
    if (!status)
        status = probe_gates(p, matmul_at(l->ops, gates), layer, message);
    if (status || c->d_ple)
        return status;
    status = probe_qkv(p, matmul_at(l->ops, qkv), matmul_at(l->ops, gates), layer, message);
    return status ? status
                  : probe_product(p, matmul_at(l->ops, down), MODEL_T_FFN_DOWN, layer, "down rows", message);
}

/* The session's own program, as a cell of one token runs it. */
static int probe_whole(probe *p, const layer_probe *l, tandem_message *message) {
    session *s = p->s;
    const uint32_t start = s->length;
    const tandem_op *head = l->ops[l->n_op - 2], *topk = l->ops[l->n_op - 1];
    if (p->n_rows != 1 || topk->kind != TANDEM_OP_TOPK)
        return TANDEM_OK;
    if (!fits(l, (double)l->limits->run_ns)) {
        omit(p, "logits", s->config->n_layer);
        return TANDEM_OK;
    }
    int status = session_decode(s, l->tokens[0], true, message);
    if (!status)
        status = session_collect(s, NULL, NULL, message);
    if (!status)
        status = probe_head(p, (const tandem_op_matmul *)(const void *)head,
                            (const tandem_op_topk *)(const void *)topk, message);
    if (!status && is_further(s->config))
        status = judge_last_layer(p, l, message);
    return status ? status : session_truncate(s, start, message);
}

/* Two runs of the model. */
static int probe_both(probe *p, const layer_probe *l, tandem_message *message) {
    session *s = p->s;
    const uint32_t start = s->length;
    if (!fits(l, 2.0 * (double)l->limits->run_ns)) {
        omit(p, "agreement", s->config->n_layer);
        return TANDEM_OK;
    }
    int status = probe_agreement(p, l->tokens, l->limits->budget, message);
    /* Where scoring has a program of its own, that of the cells has not run. */
    if (!status && p->n_rows > 1 && !s->score.program && is_further(s->config))
        status = judge_last_layer(p, l, message);
    return status ? status : session_truncate(s, start, message);
}

int probe_run_within(probe *p, session *s, const uint32_t *tokens, uint32_t n_rows, uint32_t seed,
                     const probe_limits *limits, tandem_message *message) {
    *p = (probe){.s = s, .n_rows = n_rows, .position = s->length + n_rows - 1, .seed = seed};
    const compiled *c = n_rows == 1 || !s->prefill.program ? &s->decode : &s->prefill;
    layer_probe l = {.tokens = tokens, .start_ns = now_ns(), .limits = limits};
    l.ops = graph_ops(c->graph, &l.n_op);
    const uint32_t n_layer = s->config->n_layer, sliding = first_layer(s->config, true);
    const uint32_t global = first_layer(s->config, false);
    const bool both = sliding < n_layer && global < n_layer;
    l.layer = sliding < n_layer ? sliding : global;
    int status = probe_first_half(p, &l, true, message);
    if (!status)
        status = probe_whole(p, &l, message);
    if (!status)
        status = probe_both(p, &l, message);
    const uint32_t first = l.layer;
    l.layer = global;
    if (!status && both)
        status = probe_first_half(p, &l, false, message);
    l.layer = first;
    if (!status)
        status = probe_second_half(p, &l, message);
    l.layer = global;
    return status || !both ? status : probe_second_half(p, &l, message);
}

int probe_run(probe *p, session *s, const uint32_t *tokens, uint32_t n_rows, uint32_t seed,
              tandem_message *message) {
    const probe_limits none = {.ns = UINT64_MAX};
    return probe_run_within(p, s, tokens, n_rows, seed, &none, message);
}

bool probe_is_good(const probe *p) {
    bool good = true;
    for (uint32_t i = 0; i < p->n_result; i++)
        good &= p->result[i].error <= p->result[i].budget; /* false for NaN */
    return good;
}

cJSON *probe_json(const probe *p) {
    cJSON *list = cJSON_CreateArray();
    for (uint32_t i = 0; i < p->n_result; i++) {
        const probe_result *r = &p->result[i];
        cJSON *j = cJSON_CreateObject();
        cJSON_AddStringToObject(j, "what", r->what);
        cJSON_AddNumberToObject(j, "layer", r->layer);
        cJSON_AddNumberToObject(j, "error", isfinite(r->error) ? r->error : 1e300);
        cJSON_AddNumberToObject(j, "budget", r->budget);
        cJSON_AddBoolToObject(j, "ok", r->error <= r->budget);
        if (r->instead)
            cJSON_AddStringToObject(j, "instead", r->instead);
        cJSON_AddItemToArray(list, j);
    }
    return list;
}

cJSON *probe_omitted_json(const probe *p) {
    cJSON *list = p->n_omitted ? cJSON_CreateArray() : NULL;
    for (uint32_t i = 0; i < p->n_omitted; i++) {
        cJSON *j = cJSON_CreateObject();
        cJSON_AddStringToObject(j, "what", p->omitted[i].what);
        cJSON_AddNumberToObject(j, "layer", p->omitted[i].layer);
        cJSON_AddItemToArray(list, j);
    }
    return list;
}
