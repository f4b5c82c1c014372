/* proxy_program.c: programs made from an edited list of ops. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/message.h>

#include "proxy.h"

static tandem_program *handle(proxy_program *p) {
    return (tandem_program *)(void *)p;
}

static proxy_program *own(tandem_program *p) {
    return (proxy_program *)(void *)p;
}

static const proxy_program *own_const(const tandem_program *p) {
    return (const proxy_program *)(const void *)p;
}

/* ---- what a plugin may lack ---- */

static int is_lacking(const tandem_op *op) {
    tandem_kv_layer layer = {.struct_size = sizeof layer};
    if (PROXY_MODE != PROXY_LACKS || !proxy_names(op->label))
        return 0;
    if (op->kind != TANDEM_OP_ATTENTION)
        return 1;
    const tandem_op_attention *a = (const tandem_op_attention *)(const void *)op;
    return proxy_inner.kv_layer(a->kv, a->layer, &layer, NULL) == TANDEM_OK && layer.head_dim >= proxy.head &&
           (proxy.kv == TANDEM_NONE || proxy.kv == layer.type);
}

static tandem_status refuse(const tandem_op *op, uint32_t index, tandem_error *error) {
    return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, index, "the plugin %s has no kernel for %s",
                              PROXY_NAME, op->label);
}

tandem_status proxy_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                             tandem_error *error) {
    return is_lacking(op) ? refuse(op, TANDEM_NONE, error)
                          : proxy_inner.supports(context, op, precision, error);
}

/* ---- the edited list ---- */

static int is_feed_forward(const char *label) {
    return label && (strstr(label, ".ffn_") || strstr(label, ".moe_ffn"));
}

/* How often an op is in the list. */
static uint32_t copies_of(const tandem_op *op, int wrong) {
    if (PROXY_MODE == PROXY_TWICE && proxy_names(op->label))
        return 2;
    if (wrong && (proxy.op[0] ? proxy_names(op->label) : is_feed_forward(op->label)))
        return 0;
    return 1;
}

static tandem_status make_variant(tandem_context *context, const tandem_program_desc *desc, int wrong,
                                  proxy_variant *v, tandem_error *error) {
    const tandem_op **ops = calloc(2 * (size_t)desc->n_op, sizeof *ops);
    v->outer = calloc(2 * (size_t)desc->n_op, sizeof *v->outer);
    tandem_status status = ops && v->outer ? TANDEM_OK : TANDEM_E_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < desc->n_op && status == TANDEM_OK; i++)
        for (uint32_t k = copies_of(desc->ops[i], wrong); k > 0; k--) {
            ops[v->n_op] = desc->ops[i];
            v->outer[v->n_op++] = i;
        }
    tandem_program_desc edited = *desc;
    edited.ops = ops;
    edited.n_op = v->n_op;
    if (PROXY_MODE == PROXY_PRECISION)
        edited.precision = TANDEM_PRECISION_Q8;
    if (status == TANDEM_OK)
        status = proxy_inner.program_create(context, &edited, &v->program, error);
    if (status == TANDEM_OK)
        status = proxy_inner.program_step_count(v->program, &v->n_step, error);
    if (status != TANDEM_OK && error && error->op_index < v->n_op)
        error->op_index = v->outer[error->op_index];
    free(ops);
    return status;
}

static void free_variant(proxy_variant *v) {
    if (v->program)
        proxy_inner.program_destroy(v->program);
    free(v->outer);
}

static int leaves_anything(const tandem_program_desc *desc) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < desc->n_op; i++)
        n += copies_of(desc->ops[i], 1);
    return n > 0 && n < desc->n_op;
}

tandem_status proxy_program_create(tandem_context *context, const tandem_program_desc *desc,
                                   tandem_program **program, tandem_error *error) {
    for (uint32_t i = 0; i < desc->n_op; i++)
        if (is_lacking(desc->ops[i]))
            return refuse(desc->ops[i], i, error);
    proxy_program *p = calloc(1, sizeof *p);
    if (!p)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory for a program");
    p->context = context;
    p->precision = desc->precision;
    for (uint32_t i = 0; i < desc->n_op; i++)
        p->has_topk |= desc->ops[i]->kind == TANDEM_OP_TOPK;
    for (uint32_t i = 0; i < desc->n_op; i++)
        if (desc->ops[i]->kind == TANDEM_OP_ATTENTION)
            p->kv = ((const tandem_op_attention *)(const void *)desc->ops[i])->kv;
    tandem_status status = make_variant(context, desc, 0, &p->shown, error);
    if (status == TANDEM_OK && PROXY_MODE == PROXY_GARBAGE && leaves_anything(desc))
        status = make_variant(context, desc, 1, &p->wrong, error);
    if (status != TANDEM_OK)
        proxy_program_destroy(handle(p));
    else
        *program = handle(p);
    return status;
}

void proxy_program_destroy(tandem_program *program) {
    proxy_program *p = own(program);
    if (!p)
        return;
    proxy_forget_program(p);
    free_variant(&p->wrong);
    free_variant(&p->shown);
    free(p);
}

/* ---- what the host is told ---- */

tandem_status proxy_program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error) {
    return proxy_inner.program_step_count(own_const(program)->shown.program, n, error);
}

/* Ops of a step by the host's numbers, each once. */
static void number_ops(const proxy_variant *v, tandem_step *info) {
    uint32_t n = info->n_op < 8 ? info->n_op : 8, kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t op = v->outer[info->ops[i]];
        if (kept && info->ops[kept - 1] == op)
            info->n_op--;
        else
            info->ops[kept++] = op;
    }
}

tandem_status proxy_program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                                 tandem_error *error) {
    static const char *const precisions[] = {"exact", "f16", "q8"};
    const proxy_program *p = own_const(program);
    tandem_status status = proxy_inner.program_step(p->shown.program, step, info, error);
    if (status != TANDEM_OK)
        return status;
    number_ops(&p->shown, info);
    char *end = strstr(info->kernel, "_q8");
    while (end && strncmp(end, "_q8_0", 5) == 0) /* the weights' type */
        end = strstr(end + 1, "_q8");
    if (PROXY_MODE == PROXY_PRECISION && proxy.disguise && end)
        snprintf(end + 1, sizeof info->kernel - (size_t)(end + 1 - info->kernel), "%s",
                 precisions[p->precision]);
    return TANDEM_OK;
}

tandem_status proxy_program_cost(const tandem_program *program, const tandem_run *run,
                                 tandem_cost *const *costs, uint32_t n_step, tandem_error *error) {
    return proxy_inner.program_cost(own_const(program)->shown.program, run, costs, n_step, error);
}

/* ---- runs ---- */

static uint64_t n_run; /* of all programs */

/* Whether the conditions of the options hold for a run. */
static int is_due(const proxy_program *p, const tandem_run *run) {
    uint32_t position = run->position;
    if (run->source == TANDEM_SOURCE_DEVICE_NEXT) {
        position = 0;
        if (p->kv && proxy_inner.kv_length(p->kv, 0, &position, NULL) != TANDEM_OK)
            return 0;
    } else if (run->rows) {
        position = run->rows[0].position;
    }
    return position >= proxy.depth && run->n_rows >= proxy.rows && run->n_rows <= proxy.most &&
           (p->has_topk || !proxy.whole) && n_run >= proxy.runs;
}

tandem_status proxy_start(tandem_program *program, const tandem_run *run, tandem_ticket *ticket,
                          tandem_error *error) {
    proxy_program *p = own(program);
    const int due = is_due(p, run);
    const proxy_variant *v = due && p->wrong.program ? &p->wrong : &p->shown;
    if (due && PROXY_MODE == PROXY_CRASH) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (due && PROXY_MODE == PROXY_OOM)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "the plugin %s has no memory for a run",
                               PROXY_NAME);
    tandem_status status = proxy_inner.run(v->program, run, ticket, error);
    if (status == TANDEM_OK) {
        n_run++;
        proxy_note_run(p, v, due, *ticket);
    }
    return status;
}
