/* run.c: submitting a run, and executing it op by op. */
#include <string.h>

#include "objects.h"

/* ---- submission, on the caller's thread ---- */

/* Matrices [first, first + n) of a record, which op i reads. */
static tandem_status check_record(const tandem_program *p, uint32_t i, const tandem_weights *w,
                                  uint32_t record, uint32_t first, uint32_t n, tandem_error *error) {
    for (uint32_t m = first; m < first + n; m++) {
        uint64_t written = ref_cell_of(w, record, m)->n_row, n_row = w->matrices[m].desc.n_row;
        if (written != n_row)
            return tandem_kit_fail_op(
                error, TANDEM_E_INVALID, i,
                "op %u (%s \"%s\"): %llu of the %llu rows of record %u matrix %u are written", i,
                tandem_kit_op_name(p->ops[i].u.head.kind), p->ops[i].label, (unsigned long long)written,
                (unsigned long long)n_row, record, m);
    }
    return TANDEM_OK;
}

/* What only the plugin knows: that every record the program reads is written. A router may choose any expert.
 */
static tandem_status check_records(const tandem_program *p, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    for (uint32_t i = 0; i < p->n_op && status == TANDEM_OK; i++) {
        const tandem_kit_op *op = &p->ops[i].u;
        const tandem_op_matmul *matmul = &op->matmul;
        const tandem_weights *experts = op->moe_ffn.weights;
        switch (op->head.kind) {
        case TANDEM_OP_EMBED:
            status = check_record(p, i, op->embed.table, 0, op->embed.matrix, 1, error);
            break;
        case TANDEM_OP_MATMUL:
            status = check_record(p, i, matmul->weights, matmul->record, matmul->first_matrix,
                                  matmul->n_matrix, error);
            break;
        case TANDEM_OP_MOE_ROUTE:
            status = check_record(p, i, op->moe_route.weights, 0, op->moe_route.matrix, 1, error);
            break;
        case TANDEM_OP_MOE_FFN:
            for (uint32_t r = 0; r < experts->n_record && status == TANDEM_OK; r++)
                status = check_record(p, i, experts, r, 0, experts->n_matrix, error);
            break;
        default:
            break;
        }
    }
    return status;
}

tandem_status ref_check_run(const tandem_program *p, const tandem_run *run, tandem_error *error) {
    const tandem_context *c = p->context;
    tandem_row next = {.position = c->next_position, .slot = c->next_slot};
    tandem_status status =
        tandem_kit_validate_run(&ref_backend, &p->limits, run, p->limits.kv ? p->limits.kv->lengths : NULL,
                                c->next_vocab ? &next : NULL, error);
    if (status != TANDEM_OK)
        return status;
    if (run->source == TANDEM_SOURCE_DEVICE_NEXT && c->next_vocab > p->limits.n_token)
        return tandem_kit_fail(
            error, TANDEM_E_INVALID,
            "DEVICE_NEXT may yield any token below %u, but the program embeds those below %u", c->next_vocab,
            p->limits.n_token);
    if (run->result && run->result->context != c)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "tandem_run.result belongs to another context");
    return check_records(p, error);
}

tandem_row ref_row_of(const tandem_program *p, const tandem_run *run, uint32_t i) {
    if (run->source == TANDEM_SOURCE_DEVICE_NEXT)
        return (tandem_row){.position = p->context->next_position, .slot = p->context->next_slot};
    return tandem_kit_run_row(run, i);
}

/* Copies the arguments and moves the cache's lengths. */
static void fill_batch(tandem_program *p, const tandem_run *run, ref_batch *batch) {
    batch->source = run->source;
    batch->n_rows = run->n_rows;
    batch->n_out = run->n_out;
    batch->result = run->result;
    batch->result_offset = run->result_offset;
    for (uint32_t i = 0; i < run->n_rows; i++)
        batch->rows[i] = ref_row_of(p, run, i);
    for (uint32_t i = 0; i < run->n_out; i++)
        batch->out[i] = tandem_kit_run_out(run, i);

    tandem_kv *kv = p->limits.kv;
    if (!kv)
        return;
    for (uint32_t i = 0; i < run->n_rows && p->appends; i++) {
        uint32_t slot = batch->rows[i].slot, end = batch->rows[i].position + 1;
        kv->lengths[slot] = end;
        if (end > kv->highs[slot])
            kv->highs[slot] = end;
    }
    for (uint32_t i = 0; i < run->n_rows; i++)
        batch->ends[i] = kv->lengths[batch->rows[i].slot];
}

/* Where a DEVICE_NEXT run would go on. */
static void note_next(tandem_program *p, const ref_batch *batch) {
    tandem_context *c = p->context;
    if (p->topk == TANDEM_NONE)
        return;
    int out = p->limits.topk_rows == TANDEM_ROWS_OUT;
    if (out && batch->n_out == 0)
        return;
    const tandem_row *row = &batch->rows[out ? batch->out[batch->n_out - 1].row : batch->n_rows - 1];
    c->next_position = row->position + 1;
    c->next_slot = row->slot;
    c->next_vocab = p->limits.n_logit;
}

tandem_status ref_run(tandem_program *program, const tandem_run *run, tandem_ticket *ticket,
                      tandem_error *error) {
    tandem_context *c = program->context;
    uint64_t start = ref_now(c);
    tandem_run r;
    tandem_status status = TANDEM_KIT_TAKE(tandem_run, &r, run, error);
    if (status == TANDEM_OK)
        status = ref_check_run(program, &r, error);
    if (status != TANDEM_OK)
        return status;
    if (ref_queue_full(c))
        return tandem_kit_fail(error, TANDEM_E_BUSY,
                               "%u runs and moves are pending, the context takes no more", REF_MAX_PENDING);
    ref_batch *batch = &program->batches[(c->submitted + 1) % REF_MAX_PENDING];
    fill_batch(program, &r, batch);
    note_next(program, batch);
    uint64_t upload = (uint64_t)r.n_rows * sizeof(tandem_row) + (uint64_t)r.n_out * sizeof(tandem_out);
    tandem_ticket issued = ref_submit(c, program, (r.flags & TANDEM_RUN_PROFILE) != 0, start, upload);
    if (ticket)
        *ticket = issued;
    return TANDEM_OK;
}

/* ---- execution, on the executor ---- */

static void execute_op(ref_work *work, const tandem_kit_op *op) {
    work->rows = op->head.rows;
    work->n_rows = op->head.rows == TANDEM_ROWS_OUT ? work->batch->n_out : work->batch->n_rows;
    switch (op->head.kind) {
    case TANDEM_OP_EMBED:
        ref_embed(work, &op->embed);
        return;
    case TANDEM_OP_STREAM:
        ref_stream(work, &op->stream);
        return;
    case TANDEM_OP_MATMUL:
        ref_matmul(work, &op->matmul);
        return;
    case TANDEM_OP_ATTENTION:
        ref_attention(work, &op->attention);
        return;
    case TANDEM_OP_TOPK:
        ref_topk(work, &op->topk);
        return;
    case TANDEM_OP_MOE_ROUTE:
        ref_moe_route(work, &op->moe_route);
        return;
    case TANDEM_OP_MOE_FFN:
        ref_moe_ffn(work, &op->moe_ffn);
        return;
    default:
        ref_elementwise(work, &op->elementwise);
        return;
    }
}

/* The first TOPK's rows to the result buffer, and the token that DEVICE_NEXT takes. */
static void hand_over(ref_work *work) {
    const tandem_program *p = work->program;
    const ref_batch *batch = work->batch;
    const tandem_op_topk *op = &p->ops[p->topk].u.topk;
    work->rows = op->head.rows;
    uint32_t n = op->head.rows == TANDEM_ROWS_OUT ? batch->n_out : batch->n_rows;
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *row = ref_view_row(work, &op->out, i);
        if (batch->result)
            memcpy(batch->result->data + batch->result_offset + i * op->out.stride, row,
                   8 * (uint64_t)op->k + 8);
        memcpy(&p->context->next_token, row, sizeof p->context->next_token);
    }
}

void ref_execute(tandem_program *program, tandem_ticket ticket, uint32_t profiled) {
    ref_batch *batch = &program->batches[ticket % REF_MAX_PENDING];
    uint64_t *step_ns = program->step_ns + (ticket % REF_KEPT_TIMES) * program->n_op;
    ref_work work = {.program = program, .batch = batch};
    if (batch->source == TANDEM_SOURCE_DEVICE_NEXT)
        batch->rows[0].token = program->context->next_token;

    uint64_t before = profiled ? ref_now(program->context) : 0;
    for (uint32_t i = 0; i < program->n_op; i++) {
        execute_op(&work, &program->ops[i].u);
        if (profiled) {
            uint64_t after = ref_now(program->context);
            step_ns[i] = after - before;
            before = after;
        }
    }
    if (program->topk != TANDEM_NONE)
        hand_over(&work);
}
