/* stream.c: STREAM, the residual stream between two phases, alone or as the prologue of a MATMUL. */
#include <math.h>

#include "objects.h"

typedef struct stream_task {
    const ref_work *work;
    const tandem_op_stream *op;
} stream_task;

static uint32_t slices_of(const tandem_op_stream *op) {
    return op->n_slice ? op->n_slice : 1;
}

/* 1 / sqrt(mean(x^2) + eps) */
static double inverse_rms(const double *x, uint32_t d, double eps) {
    double sum = 0;
    for (uint32_t j = 0; j < d; j++)
        sum += x[j] * x[j];
    return 1.0 / sqrt(sum / d + eps);
}

/* y = norm(x; w), in place if need be. */
static void norm(const double *x, const float *w, uint32_t d, double eps, double *y) {
    double r = inverse_rms(x, d, eps);
    for (uint32_t j = 0; j < d; j++)
        y[j] = x[j] * r * (w ? w[j] : 1.0);
}

static void widen(const float *x, uint32_t d, double *y) {
    for (uint32_t j = 0; j < d; j++)
        y[j] = x[j];
}

/* b of one slice that begins at element `at` of row i; left in b, c is scratch. */
static void branch(const ref_work *work, const tandem_op_stream *op, uint32_t i, uint64_t at, double *b,
                   double *c) {
    const float *a0 = ref_view_row(work, &op->a[0], i), *a1 = ref_view_row(work, &op->a[1], i);
    const float *w[3];
    for (int n = 0; n < 3; n++)
        w[n] = ref_view_row(work, &op->w[n], i);
    if (!a0) {
        for (uint32_t j = 0; j < op->d; j++)
            b[j] = 0;
        return;
    }
    widen(a0 + at, op->d, b);
    norm(b, w[0], op->d, op->eps, b);
    if (!a1)
        return;
    widen(a1 + at, op->d, c);
    norm(c, w[1], op->d, op->eps, c);
    for (uint32_t j = 0; j < op->d; j++)
        b[j] += c[j];
    norm(b, w[2], op->d, op->eps, b);
}

uint64_t ref_stream_scratch(const tandem_op_stream *op) {
    return 2 * (uint64_t)op->d;
}

void ref_stream_row(const ref_work *work, const tandem_op_stream *op, uint32_t i, float *const wanted[3],
                    double *scratch) {
    double *x = scratch, *y = scratch + op->d;
    const float *h = ref_view_row(work, &op->h, i);
    float *out_h = ref_view_row(work, &op->out_h, i);

    for (uint32_t s = 0; s < slices_of(op); s++) {
        uint64_t at = (uint64_t)s * op->d;
        branch(work, op, i, at, x, y);
        for (uint32_t j = 0; j < op->d; j++)
            x[j] = op->scale * (h[at + j] + x[j]);
        if (out_h)
            for (uint32_t j = 0; j < op->d; j++)
                out_h[at + j] = (float)x[j];
        for (uint32_t n = 0; n < op->n_out; n++) {
            float *out = ref_view_row(work, &op->out[n], i);
            if (!out && !wanted[n])
                continue;
            norm(x, ref_view_row(work, &op->out_w[n], i), op->d, op->eps, y);
            for (uint32_t j = 0; j < op->d; j++) {
                float value = (float)(y[j] * op->out_scale[n]);
                if (out)
                    out[at + j] = value;
                if (wanted[n])
                    wanted[n][at + j] = value;
            }
        }
    }
}

static void stream_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const stream_task *task = argument;
    float *const nothing[3] = {NULL, NULL, NULL};
    double *scratch = (double *)(void *)ref_scratch(task->work->program, thread);
    for (uint64_t i = first; i < end; i++)
        ref_stream_row(task->work, task->op, (uint32_t)i, nothing, scratch);
}

void ref_stream(const ref_work *work, const tandem_op_stream *op) {
    stream_task task = {work, op};
    ref_parallel(work->program->context->pool, work->n_rows, 4, stream_rows, &task);
}
