/* topk.c: TOPK, the k largest of a row, its logsumexp and the value at a target. */
#include <math.h>
#include <string.h>

#include "objects.h"

#define MAX_K 64

typedef struct topk_task {
    const ref_work *work;
    const tandem_op_topk *op;
} topk_task;

/* a before b where both are candidates and a has the lower index: NaN is below every number. */
static int at_least(float a, float b) {
    return a >= b || isnan(b);
}

/* Insertion into a list that is sorted already: most elements fail the first comparison. Equal values keep
 * the order of their indices, because a later one goes behind. */
static void largest(const float *x, uint32_t n, uint32_t k, uint32_t *id, float *value) {
    uint32_t n_found = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (n_found == k && at_least(value[k - 1], x[i]))
            continue;
        uint32_t at = n_found < k ? n_found++ : k - 1;
        for (; at > 0 && !at_least(value[at - 1], x[i]); at--) {
            value[at] = value[at - 1];
            id[at] = id[at - 1];
        }
        value[at] = x[i];
        id[at] = i;
    }
}

static double logsumexp(const float *x, uint32_t n, double max) {
    double sum = 0;
    if (isinf(max))
        return max; /* +inf, or every element is -inf */
    for (uint32_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

/* note: out row is uint32 id[k], f32 value[k], f32 logsumexp, f32 target. */
static void topk_row(const topk_task *task, uint32_t i) {
    const tandem_op_topk *op = task->op;
    const float *x = ref_view_row(task->work, &op->x, i);
    unsigned char *out = ref_view_row(task->work, &op->out, i);
    uint32_t id[MAX_K];
    float value[MAX_K] = {0}, rest[2] = {0, 0};

    largest(x, op->n, op->k, id, value);
    rest[0] = (float)logsumexp(x, op->n, value[0]);
    if (task->work->rows == TANDEM_ROWS_OUT && task->work->batch->out[i].target != TANDEM_NONE)
        rest[1] = x[task->work->batch->out[i].target];
    memcpy(out, id, op->k * sizeof *id);
    memcpy(out + 4 * op->k, value, op->k * sizeof *value);
    memcpy(out + 8 * op->k, rest, sizeof rest);
}

static void topk_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    (void)thread;
    for (uint64_t i = first; i < end; i++)
        topk_row(argument, (uint32_t)i);
}

void ref_topk(const ref_work *work, const tandem_op_topk *op) {
    topk_task task = {work, op};
    ref_parallel(work->program->context->pool, work->n_rows, 1, topk_rows, &task);
}
