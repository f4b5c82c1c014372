/* moe_route.c: MOE_ROUTE, which experts a row uses and with what weights.
 *
 * First the router's logits of all rows, then each row alone. Experts are ordered by their logits and not by
 * their probabilities: the order is the same, and a logit does not underflow to a tie.
 */
#include <math.h>
#include <string.h>

#include "objects.h"

#define MIN_SUM 0x1p-14 /* the chosen probabilities are divided by no less */

typedef struct route_task {
    const ref_work *work;
    const tandem_op_moe_route *op;
    const ref_matrix *router;
    uint32_t n_expert;
    uint64_t stride; /* doubles between inputs */
    double *inputs;  /* [n_rows][stride] */
    double *logits;  /* [n_rows][n_expert] */
} route_task;

static const ref_matrix *router_of(const tandem_op_moe_route *op) {
    return &op->weights->matrices[op->matrix];
}

uint64_t ref_moe_route_inputs(const tandem_op_moe_route *op) {
    const tandem_matrix_desc *router = &router_of(op)->desc;
    return (ref_input_stride(router->n_col) + router->n_row) * sizeof(double);
}

uint64_t ref_moe_route_scratch(const tandem_op_moe_route *op) {
    const tandem_matrix_desc *router = &router_of(op)->desc;
    uint64_t rows = REF_ROW_BLOCK * router->n_col * sizeof(float);
    uint64_t choice = router->n_row * (sizeof(double) + sizeof(uint32_t));
    return rows > choice ? rows : choice;
}

static void widen_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const route_task *task = argument;
    float *rounded = (float *)(void *)ref_scratch(task->work->program, thread);
    for (uint64_t i = first; i < end; i++) /* exact, whatever the program's precision */
        ref_round_row(TANDEM_PRECISION_EXACT, ref_view_row(task->work, &task->op->x, (uint32_t)i), rounded,
                      task->inputs + i * task->stride, task->router->desc.n_col);
}

static void multiply(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const route_task *task = argument;
    const unsigned char *rows = ref_cell_of(task->op->weights, 0, task->op->matrix)->rows;
    uint64_t n_col = task->router->desc.n_col;
    uint32_t n_rows = task->work->n_rows;
    ref_dot_fn dot = task->work->program->context->dot;
    float *w = (float *)(void *)ref_scratch(task->work->program, thread);
    double z[REF_INPUT_BLOCK];

    for (uint64_t e = first; e < end; e++) {
        tandem_kit_dequantise(task->router->desc.type, rows + e * task->router->row_bytes, w, n_col);
        for (uint32_t i = 0; i < n_rows; i += REF_INPUT_BLOCK) {
            uint32_t n_x = n_rows - i < REF_INPUT_BLOCK ? n_rows - i : REF_INPUT_BLOCK;
            dot(w, task->inputs + i * task->stride, task->stride, n_x, n_col, z);
            for (uint32_t t = 0; t < n_x; t++)
                task->logits[(uint64_t)(i + t) * task->n_expert + e] = z[t];
        }
    }
}

/* z of a lower index before z of a higher one. NaN is below every number. */
static int stays_before(double lower, double higher) {
    return lower >= higher || isnan(higher);
}

/* The k largest in descending order, by insertion; equal ones keep the order of their indices. */
static void largest(const double *z, uint32_t n, uint32_t k, uint32_t *id) {
    uint32_t n_found = 0;
    for (uint32_t e = 0; e < n; e++) {
        if (n_found == k && stays_before(z[id[k - 1]], z[e]))
            continue;
        uint32_t at = n_found < k ? n_found++ : k - 1;
        for (; at > 0 && !stays_before(z[id[at - 1]], z[e]); at--)
            id[at] = id[at - 1];
        id[at] = e;
    }
}

static void softmax(const double *z, uint32_t n, double max, double *p) {
    double sum = 0;
    for (uint32_t e = 0; e < n; e++) {
        p[e] = exp(z[e] - max);
        sum += p[e];
    }
    for (uint32_t e = 0; e < n; e++)
        p[e] /= sum;
}

/* note: a row of `route` is uint32 id[n_used], f32 weight[n_used]. An imposed id that is no expert goes on as
 * it is, with a weight of NaN. */
static void write_route(const route_task *task, const uint32_t *id, const double *p, unsigned char *out) {
    uint32_t n_used = task->op->n_used;
    const float *scale = ref_view_row(task->work, &task->op->expert_scale, 0);
    double sum = 0;
    for (uint32_t j = 0; j < n_used; j++)
        sum += id[j] < task->n_expert ? p[id[j]] : 0;
    sum = sum < MIN_SUM ? MIN_SUM : sum;
    for (uint32_t j = 0; j < n_used; j++) {
        float weight = NAN;
        if (id[j] < task->n_expert)
            weight = (float)(p[id[j]] / sum * (scale ? scale[id[j]] : 1.0));
        memcpy(out + 4 * (uint64_t)j, &id[j], sizeof *id);
        memcpy(out + 4 * (uint64_t)(n_used + j), &weight, sizeof weight);
    }
}

static void choose_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const route_task *task = argument;
    const tandem_op_moe_route *op = task->op;
    double *p = (double *)(void *)ref_scratch(task->work->program, thread);
    uint32_t *id = (uint32_t *)(p + task->n_expert);

    for (uint64_t i = first; i < end; i++) {
        const double *z = task->logits + i * task->n_expert;
        const uint32_t *imposed = ref_view_row(task->work, &op->imposed, (uint32_t)i);
        float *probabilities = ref_view_row(task->work, &op->probabilities, (uint32_t)i);
        largest(z, task->n_expert, op->n_used, id);
        softmax(z, task->n_expert, z[id[0]], p);
        for (uint32_t e = 0; probabilities && e < task->n_expert; e++)
            probabilities[e] = (float)p[e];
        int given = imposed && imposed[0] != TANDEM_NONE;
        write_route(task, given ? imposed : id, p, ref_view_row(task->work, &op->route, (uint32_t)i));
    }
}

void ref_moe_route(const ref_work *work, const tandem_op_moe_route *op) {
    ref_pool *pool = work->program->context->pool;
    const ref_matrix *router = router_of(op);
    route_task task = {.work = work,
                       .op = op,
                       .router = router,
                       .n_expert = (uint32_t)router->desc.n_row,
                       .stride = ref_input_stride(router->desc.n_col),
                       .inputs = work->program->inputs};
    if (work->n_rows == 0)
        return;
    task.logits = task.inputs + work->n_rows * task.stride;
    ref_parallel(pool, work->n_rows, 2, widen_rows, &task);
    ref_parallel(pool, task.n_expert, ref_grain(pool, task.n_expert, router->desc.n_col * work->n_rows),
                 multiply, &task);
    ref_parallel(pool, work->n_rows, 1 + 4096 / task.n_expert, choose_rows, &task);
}
