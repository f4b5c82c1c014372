/* elementwise.c: GLU, ADD, SCALE, COPY. `out` may be `a` itself. */
#include <math.h>
#include <string.h>

#include "objects.h"

typedef struct elementwise_task {
    const ref_work *work;
    const tandem_op_elementwise *op;
} elementwise_task;

/* The tanh form; 0.044715 x^2 overflows to inf for no f32, and tanh(+-inf) is +-1. */
double ref_gelu(double x) {
    const double root = 0.79788456080286535588; /* sqrt(2 / pi) */
    return 0.5 * x * (1.0 + tanh(root * x * (1.0 + 0.044715 * x * x)));
}

static void elementwise_row(const tandem_op_elementwise *op, const float *a, const float *b, float *out) {
    double scale = op->scale;
    switch (op->head.kind) {
    case TANDEM_OP_GLU:
        for (uint32_t j = 0; j < op->n; j++)
            out[j] = (float)(ref_gelu(a[j]) * b[j]);
        return;
    case TANDEM_OP_ADD:
        for (uint32_t j = 0; j < op->n; j++)
            out[j] = (float)(scale * ((double)a[j] + b[j]));
        return;
    case TANDEM_OP_SCALE:
        for (uint32_t j = 0; j < op->n; j++)
            out[j] = (float)(scale * a[j]);
        return;
    default: /* COPY */
        memmove(out, a, op->n * sizeof *out);
        return;
    }
}

static void elementwise_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const elementwise_task *task = argument;
    const tandem_op_elementwise *op = task->op;
    (void)thread;
    for (uint64_t i = first; i < end; i++)
        elementwise_row(op, ref_view_row(task->work, &op->a, (uint32_t)i),
                        ref_view_row(task->work, &op->b, (uint32_t)i),
                        ref_view_row(task->work, &op->out, (uint32_t)i));
}

void ref_elementwise(const ref_work *work, const tandem_op_elementwise *op) {
    elementwise_task task = {work, op};
    uint64_t grain = 1 + 8192 / op->n; /* rows short enough are not worth a wake-up each */
    ref_parallel(work->program->context->pool, work->n_rows, grain, elementwise_rows, &task);
}
