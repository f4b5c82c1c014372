/* program.c: programs. An op is copied with all it points to; one op is one step. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "objects.h"

/* ---- which ops this plugin has: all that are valid ---- */

static int owns_views(const tandem_context *context, const tandem_view *views, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (views[i].buffer && views[i].buffer->context != context)
            return 0;
    return 1;
}

static int owns_stream(const tandem_context *context, const tandem_op_stream *op) {
    return owns_views(context, &op->h, 1) && owns_views(context, op->a, 2) && owns_views(context, op->w, 3) &&
           owns_views(context, &op->out_h, 1) && owns_views(context, op->out, 3) &&
           owns_views(context, op->out_w, 3);
}

/* Whether all objects of an op belong to the context. */
static int owns(const tandem_context *context, const tandem_kit_op *op, const tandem_op_stream *prologue) {
    const tandem_op_attention *a = &op->attention;
    switch (op->head.kind) {
    case TANDEM_OP_EMBED:
        return op->embed.table->context == context && owns_views(context, &op->embed.out, 1);
    case TANDEM_OP_STREAM:
        return owns_stream(context, &op->stream);
    case TANDEM_OP_MATMUL:
        return op->matmul.weights->context == context && owns_views(context, op->matmul.x, 3) &&
               owns_views(context, op->matmul.y, 3) && (!prologue || owns_stream(context, prologue));
    case TANDEM_OP_ATTENTION: {
        const tandem_view views[] = {a->q, a->k, a->v, a->q_norm, a->k_norm, a->visible_until, a->out};
        return a->kv->context == context && owns_views(context, views, sizeof views / sizeof *views);
    }
    case TANDEM_OP_TOPK:
        return owns_views(context, &op->topk.x, 1) && owns_views(context, &op->topk.out, 1);
    case TANDEM_OP_MOE_ROUTE: {
        const tandem_op_moe_route *r = &op->moe_route;
        const tandem_view views[] = {r->x, r->expert_scale, r->imposed, r->route, r->probabilities};
        return r->weights->context == context && owns_views(context, views, sizeof views / sizeof *views);
    }
    case TANDEM_OP_MOE_FFN: {
        const tandem_view views[] = {op->moe_ffn.x, op->moe_ffn.route, op->moe_ffn.y};
        return op->moe_ffn.weights->context == context &&
               owns_views(context, views, sizeof views / sizeof *views);
    }
    default:
        return owns_views(context, &op->elementwise.a, 1) && owns_views(context, &op->elementwise.b, 1) &&
               owns_views(context, &op->elementwise.out, 1);
    }
}

/* Copies an op and its prologue. `index` is for the error. */
static tandem_status take_op(const tandem_context *context, const tandem_op *given, uint32_t index,
                             ref_op *op, tandem_error *error) {
    tandem_status status = tandem_kit_take_op(&op->u, given, index, error);
    if (status != TANDEM_OK)
        return status;
    const tandem_op_stream *prologue = op->u.head.kind == TANDEM_OP_MATMUL ? op->u.matmul.prologue : NULL;
    if (prologue) {
        status = TANDEM_KIT_TAKE(tandem_op_stream, &op->prologue, prologue, error);
        if (status != TANDEM_OK)
            return status;
        op->u.matmul.prologue = prologue = &op->prologue;
    }
    if (!owns(context, &op->u, prologue))
        return tandem_kit_fail_op(error, TANDEM_E_INVALID, index,
                                  "op %u (%s) names an object of another context", index,
                                  tandem_kit_op_name(op->u.head.kind));
    if (op->u.head.label)
        snprintf(op->label, sizeof op->label, "%s", op->u.head.label);
    op->u.head.label = op->label;
    return TANDEM_OK;
}

tandem_status ref_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                           tandem_error *error) {
    ref_op taken = {0};
    tandem_status status = tandem_kit_validate_op(&ref_backend, op, precision, error);
    return status == TANDEM_OK ? take_op(context, op, 0, &taken, error) : status;
}

/* ---- memory of a program: laid out twice, first to measure ---- */

typedef struct arena {
    unsigned char *base; /* NULL: only measure */
    uint64_t at;
} arena;

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static void *take(arena *a, uint64_t n, uint64_t bytes_each) {
    void *memory = a->base ? a->base + a->at : NULL;
    uint64_t end = ref_add(ref_add(a->at, ref_mul(n, bytes_each)), 63);
    a->at = end == UINT64_MAX ? end : end & ~(uint64_t)63;
    return memory;
}

typedef struct sizes {
    uint64_t inputs, rotation, scratch; /* bytes, of the op that wants most */
    uint64_t omega;                     /* doubles, of all ops */
} sizes;

static sizes measure(const tandem_program *p) {
    sizes s = {0};
    for (uint32_t i = 0; i < p->n_op; i++) {
        const ref_op *op = &p->ops[i];
        uint64_t n_rows = op->u.head.rows == TANDEM_ROWS_OUT ? p->limits.max_out : p->limits.max_tokens;
        switch (op->u.head.kind) {
        case TANDEM_OP_STREAM:
            s.scratch = larger(s.scratch, ref_mul(ref_stream_scratch(&op->u.stream), sizeof(double)));
            break;
        case TANDEM_OP_MATMUL:
            s.scratch = larger(s.scratch, ref_matmul_scratch(&op->u.matmul));
            s.inputs = larger(s.inputs, ref_mul(n_rows, ref_matmul_inputs(&op->u.matmul)));
            break;
        case TANDEM_OP_ATTENTION:
            s.scratch = larger(s.scratch, ref_attention_scratch(&op->u.attention));
            s.rotation =
                larger(s.rotation, ref_mul(n_rows, op->u.attention.n_rope_pair * 2 * sizeof(double)));
            s.omega += op->u.attention.n_rope_pair;
            break;
        case TANDEM_OP_MOE_ROUTE:
            s.scratch = larger(s.scratch, ref_moe_route_scratch(&op->u.moe_route));
            s.inputs = larger(s.inputs, ref_mul(n_rows, ref_moe_route_inputs(&op->u.moe_route)));
            break;
        case TANDEM_OP_MOE_FFN:
            s.scratch = larger(s.scratch, ref_moe_ffn_scratch(&op->u.moe_ffn, n_rows));
            s.inputs = larger(s.inputs, ref_moe_ffn_inputs(&op->u.moe_ffn, n_rows));
            break;
        default:
            break;
        }
    }
    return s;
}

/* Everything a run needs, so that it allocates nothing. Returns the bytes. */
static uint64_t lay_out(tandem_program *p, const sizes *s, unsigned char *base) {
    arena a = {.base = base};
    for (uint32_t b = 0; b < REF_MAX_PENDING; b++) {
        p->batches[b].rows = take(&a, p->limits.max_tokens, sizeof(tandem_row));
        p->batches[b].ends = take(&a, p->limits.max_tokens, sizeof(uint32_t));
        p->batches[b].out = take(&a, p->limits.max_out, sizeof(tandem_out));
    }
    p->step_ns = take(&a, p->n_op, REF_KEPT_TIMES * sizeof(uint64_t));
    p->omega = take(&a, s->omega, sizeof(double));
    p->inputs = take(&a, s->inputs, 1);
    p->rotation = take(&a, s->rotation, 1);
    p->scratch_bytes = ref_add(s->scratch, 63) & ~(uint64_t)63;
    p->scratch = take(&a, ref_pool_size(p->context->pool), p->scratch_bytes);
    return a.at;
}

/* ---- names ---- */

static void append(char *text, size_t room, const char *more) {
    size_t n = strlen(text);
    for (; *more && n + 1 < room; more++)
        text[n++] = (char)tolower((unsigned char)*more);
    text[n] = 0;
}

static void append_type(char *text, size_t room, uint32_t type) {
    append(text, room, "_");
    append(text, room, tandem_kit_type(type)->name);
}

/* Types of n matrices, a run of equal ones once, and the precision. */
static void append_product(char *text, size_t room, const tandem_weights *w, uint32_t first, uint32_t n,
                           uint32_t precision) {
    static const char *const precisions[] = {"_exact", "_f16", "_q8"};
    uint32_t before = TANDEM_NONE;
    for (uint32_t i = first; i < first + n; i++) {
        if (w->matrices[i].desc.type != before)
            append_type(text, room, w->matrices[i].desc.type);
        before = w->matrices[i].desc.type;
    }
    append(text, room, precisions[precision]);
}

static void name_kernel(ref_op *op, uint32_t precision) {
    const tandem_op_matmul *m = &op->u.matmul;
    const tandem_op_moe_route *route = &op->u.moe_route;
    const tandem_op_moe_ffn *ffn = &op->u.moe_ffn;
    char *name = op->kernel;
    size_t room = sizeof op->kernel;
    uint32_t kind = op->u.head.kind;

    if (kind == TANDEM_OP_MATMUL && m->prologue)
        append(name, room, "stream_");
    append(name, room, tandem_kit_op_name(kind));
    if (kind == TANDEM_OP_EMBED)
        append_type(name, room, op->u.embed.table->matrices[op->u.embed.matrix].desc.type);
    if (kind == TANDEM_OP_ATTENTION)
        append_type(name, room, op->u.attention.kv->layers[op->u.attention.layer].desc.type);
    if (kind == TANDEM_OP_MATMUL) {
        if (m->activation == TANDEM_ACT_GELU_GLU)
            append(name, room, "_glu");
        append_product(name, room, m->weights, m->first_matrix, m->n_matrix, precision);
    }
    if (kind == TANDEM_OP_MOE_ROUTE)
        append_product(name, room, route->weights, route->matrix, 1, TANDEM_PRECISION_EXACT);
    if (kind == TANDEM_OP_MOE_FFN)
        append_product(name, room, ffn->weights, 0, ffn->weights->n_matrix, precision);
}

/* ---- life ---- */

static tandem_status take_ops(tandem_program *p, const tandem_program_desc *d, tandem_error *error) {
    for (uint32_t i = 0; i < p->n_op; i++) {
        tandem_status status = take_op(p->context, d->ops[i], i, &p->ops[i], error);
        if (status != TANDEM_OK)
            return status;
        name_kernel(&p->ops[i], p->precision);
    }
    return TANDEM_OK;
}

static void copy_omega(tandem_program *p) {
    double *omega = p->omega;
    for (uint32_t i = 0; i < p->n_op; i++) {
        tandem_op_attention *op = &p->ops[i].u.attention;
        if (op->head.kind != TANDEM_OP_ATTENTION || op->n_rope_pair == 0)
            continue;
        memcpy(omega, op->rope_omega, op->n_rope_pair * sizeof *omega);
        op->rope_omega = omega;
        omega += op->n_rope_pair;
    }
}

/* What a run has to know of the ops without walking through them. */
static void summarise(tandem_program *p) {
    p->topk = TANDEM_NONE;
    for (uint32_t i = 0; i < p->n_op; i++) {
        const ref_op *op = &p->ops[i];
        if (op->u.head.kind == TANDEM_OP_TOPK && p->topk == TANDEM_NONE)
            p->topk = i;
        if (op->u.head.kind == TANDEM_OP_ATTENTION && op->u.attention.k.buffer)
            p->appends = 1;
    }
}

tandem_status ref_program_create(tandem_context *context, const tandem_program_desc *desc,
                                 tandem_program **program, tandem_error *error) {
    tandem_program_desc d;
    tandem_kit_limits limits;
    void *memory;
    tandem_status status = TANDEM_KIT_TAKE(tandem_program_desc, &d, desc, error);
    if (status == TANDEM_OK)
        status = tandem_kit_program_limits(&ref_backend, &d, &limits, error);
    if (status != TANDEM_OK)
        return status;

    uint64_t self_bytes = sizeof(tandem_program) + (uint64_t)d.n_op * sizeof(ref_op);
    status = ref_alloc(context, REF_WORKSPACE, self_bytes, "the ops of a program", &memory, error);
    if (status != TANDEM_OK)
        return status;
    tandem_program *p = memory;
    *p = (tandem_program){.context = context,
                          .self_bytes = self_bytes,
                          .n_op = d.n_op,
                          .precision = d.precision,
                          .limits = limits};
    p->ops = (ref_op *)(void *)(p + 1);
    status = take_ops(p, &d, error);
    if (status != TANDEM_OK)
        goto fail;
    sizes s = measure(p);
    p->memory_bytes = lay_out(p, &s, NULL);
    status = ref_alloc(context, REF_WORKSPACE, p->memory_bytes, "the workspace of a program", &memory, error);
    if (status != TANDEM_OK)
        goto fail;
    p->memory = memory;
    lay_out(p, &s, memory);
    copy_omega(p);
    summarise(p);
    *program = p;
    return TANDEM_OK;
fail:
    ref_free(context, REF_WORKSPACE, p, self_bytes);
    return status;
}

void ref_program_destroy(tandem_program *program) {
    if (!program)
        return;
    tandem_context *context = program->context;
    ref_forget_program(context, program);
    ref_free(context, REF_WORKSPACE, program->memory, program->memory_bytes);
    ref_free(context, REF_WORKSPACE, program, program->self_bytes);
}

/* ---- steps ---- */

tandem_status ref_program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error) {
    if (!n)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "n is NULL");
    *n = program->n_op;
    return TANDEM_OK;
}

tandem_status ref_program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                               tandem_error *error) {
    if (step >= program->n_op)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "step %u does not exist; the program has %u", step,
                               program->n_op);
    const ref_op *op = &program->ops[step];
    tandem_step known = {.n_op = 1, .n_dispatch = 1, .barrier_before = step > 0};
    known.ops[0] = step;
    snprintf(known.kernel, sizeof known.kernel, "%s", op->kernel);
    snprintf(known.label, sizeof known.label, "%s", op->label);
    return TANDEM_KIT_GIVE(tandem_step, info, &known, error);
}
