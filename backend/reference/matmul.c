/* matmul.c: MATMUL, products of quantised matrices with rows of activations.
 *
 * First every distinct input row is computed (prologue), rounded as the program's precision says, and widened
 * to double. Then each thread takes blocks of matrix rows, dequantises a block once, and multiplies it with
 * all input rows. An output is one ref_dot_fn: its bits depend neither on the threads nor on how many rows
 * the run has.
 */
#include <math.h>
#include <string.h>

#include "objects.h"

typedef struct matmul_task {
    const ref_work *work;
    const tandem_op_matmul *op;
    uint32_t n_input;
    uint32_t input_of[3]; /* matrix -> input */
    uint32_t first_of[3]; /* input -> the first matrix that reads it */
    uint64_t n_col[3];    /* by input */
    double *inputs[3];
    uint64_t n_block[3]; /* by matrix, or by output with GELU_GLU */
} matmul_task;

static const ref_matrix *matrix_of(const tandem_op_matmul *op, uint32_t m) {
    return &op->weights->matrices[op->first_matrix + m];
}

static uint32_t is_glu(const tandem_op_matmul *op) {
    return op->activation == TANDEM_ACT_GELU_GLU;
}

static uint32_t n_output(const tandem_op_matmul *op) {
    return is_glu(op) ? 1 : op->n_matrix;
}

/* Rows of output m. */
static uint64_t n_output_row(const tandem_op_matmul *op, uint32_t m) {
    uint64_t n_row = matrix_of(op, m)->desc.n_row;
    return is_glu(op) && op->n_matrix == 1 ? n_row / 2 : n_row;
}

static int same_input(const tandem_op_matmul *op, uint32_t a, uint32_t b) {
    if (op->prologue)
        return op->x_output[a] == op->x_output[b];
    return op->x[a].buffer == op->x[b].buffer && op->x[a].offset == op->x[b].offset &&
           op->x[a].stride == op->x[b].stride && op->x[a].rows == op->x[b].rows &&
           matrix_of(op, a)->desc.n_col == matrix_of(op, b)->desc.n_col;
}

/* Which inputs there are, and which matrix reads which. */
static void plan_inputs(matmul_task *task) {
    const tandem_op_matmul *op = task->op;
    task->n_input = 0;
    for (uint32_t m = 0; m < n_output(op); m++) {
        uint32_t known = 0;
        while (known < task->n_input && !same_input(op, m, task->first_of[known]))
            known++;
        if (known == task->n_input) {
            task->first_of[known] = m;
            task->n_col[known] = matrix_of(op, m)->desc.n_col;
            task->n_input++;
        }
        task->input_of[m] = known;
    }
}

uint64_t ref_matmul_inputs(const tandem_op_matmul *op) {
    matmul_task task = {.op = op};
    uint64_t bytes = 0;
    plan_inputs(&task);
    for (uint32_t i = 0; i < task.n_input; i++)
        bytes += ref_input_stride(task.n_col[i]) * sizeof(double);
    return bytes;
}

uint64_t ref_matmul_scratch(const tandem_op_matmul *op) {
    uint64_t n_col = 0;
    for (uint32_t m = 0; m < op->n_matrix; m++)
        n_col = n_col > matrix_of(op, m)->desc.n_col ? n_col : matrix_of(op, m)->desc.n_col;
    uint64_t product = 2 * REF_ROW_BLOCK * n_col * sizeof(float);
    uint64_t input = 3 * n_col * sizeof(float);
    if (op->prologue)
        input += ref_stream_scratch(op->prologue) * sizeof(double);
    return product > input ? product : input;
}

void ref_round_row(uint32_t precision, const float *x, float *rounded, double *target, uint64_t n) {
    tandem_kit_round_activations(precision, x, rounded, n);
    for (uint64_t j = 0; j < n; j++)
        target[j] = rounded[j];
}

static void prepare_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const matmul_task *task = argument;
    const tandem_op_matmul *op = task->op;
    uint32_t precision = task->work->program->precision;
    /* Doubles first: they want the alignment. */
    double *stream_scratch = (double *)(void *)ref_scratch(task->work->program, thread);
    float *rows = (float *)(stream_scratch + (op->prologue ? ref_stream_scratch(op->prologue) : 0));

    for (uint64_t i = first; i < end; i++) {
        float *wanted[3] = {NULL, NULL, NULL}, *row = rows;
        if (op->prologue) {
            for (uint32_t n = 0; n < task->n_input; n++)
                wanted[op->x_output[task->first_of[n]]] = rows + n * task->n_col[0];
            ref_stream_row(task->work, op->prologue, (uint32_t)i, wanted, stream_scratch);
        }
        for (uint32_t n = 0; n < task->n_input; n++) {
            const float *x;
            if (op->prologue)
                x = row = rows + n * task->n_col[0]; /* rounded in place */
            else
                x = ref_view_row(task->work, &op->x[task->first_of[n]], (uint32_t)i);
            ref_round_row(precision, x, row, task->inputs[n] + i * ref_input_stride(task->n_col[n]),
                          task->n_col[n]);
        }
    }
}

/* Outputs [row, row + n) of matrix m for all input rows: w holds their dequantised rows, `up` those of the
 * other half. */
static void multiply_block(const matmul_task *task, uint32_t m, uint64_t row, uint32_t n, const float *w,
                           const float *up) {
    const tandem_op_matmul *op = task->op;
    uint32_t input = task->input_of[m], n_rows = task->work->n_rows;
    uint64_t n_col = task->n_col[input], stride = ref_input_stride(n_col);
    ref_dot_fn dot = task->work->program->context->dot;
    double y[REF_INPUT_BLOCK], z[REF_INPUT_BLOCK], softcap = op->softcap;

    for (uint32_t i = 0; i < n_rows; i += REF_INPUT_BLOCK) {
        uint32_t n_x = n_rows - i < REF_INPUT_BLOCK ? n_rows - i : REF_INPUT_BLOCK;
        const double *x = task->inputs[input] + i * stride;
        for (uint32_t r = 0; r < n; r++) {
            dot(w + r * n_col, x, stride, n_x, n_col, y);
            if (up) {
                dot(up + r * n_col, x, stride, n_x, n_col, z);
                for (uint32_t t = 0; t < n_x; t++)
                    y[t] = ref_gelu(y[t]) * z[t];
            }
            if (softcap > 0)
                for (uint32_t t = 0; t < n_x; t++)
                    y[t] = softcap * tanh(y[t] / softcap);
            for (uint32_t t = 0; t < n_x; t++)
                ((float *)ref_view_row(task->work, &op->y[m], i + t))[row + r] = (float)y[t];
        }
    }
}

static void dequantise_rows(const tandem_op_matmul *op, uint32_t m, uint64_t row, uint32_t n, float *target) {
    const ref_matrix *matrix = matrix_of(op, m);
    const unsigned char *rows = ref_cell_of(op->weights, op->record, op->first_matrix + m)->rows;
    for (uint32_t r = 0; r < n; r++)
        tandem_kit_dequantise(matrix->desc.type, rows + (row + r) * matrix->row_bytes,
                              target + r * matrix->desc.n_col, matrix->desc.n_col);
}

/* Blocks of all outputs, counted through. */
static void multiply(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const matmul_task *task = argument;
    const tandem_op_matmul *op = task->op;
    float *w = (float *)(void *)ref_scratch(task->work->program, thread);

    for (uint64_t block = first; block < end; block++) {
        uint32_t m = 0;
        uint64_t at = block;
        while (at >= task->n_block[m])
            at -= task->n_block[m++];
        uint64_t row = at * REF_ROW_BLOCK, left = n_output_row(op, m) - row;
        uint32_t n = left < REF_ROW_BLOCK ? (uint32_t)left : REF_ROW_BLOCK;
        float *up = NULL;
        dequantise_rows(op, m, row, n, w);
        if (is_glu(op)) {
            up = w + REF_ROW_BLOCK * matrix_of(op, m)->desc.n_col;
            if (op->n_matrix == 1)
                dequantise_rows(op, m, n_output_row(op, m) + row, n, up);
            else
                dequantise_rows(op, 1, row, n, up);
        }
        multiply_block(task, m, row, n, w, up);
    }
}

void ref_matmul(const ref_work *work, const tandem_op_matmul *op) {
    matmul_task task = {.work = work, .op = op};
    ref_pool *pool = work->program->context->pool;
    double *at = work->program->inputs;
    uint64_t n_block = 0;

    if (work->n_rows == 0)
        return;
    plan_inputs(&task);
    for (uint32_t n = 0; n < task.n_input; n++) {
        task.inputs[n] = at;
        at += work->n_rows * ref_input_stride(task.n_col[n]);
    }
    for (uint32_t m = 0; m < n_output(op); m++) {
        task.n_block[m] = (n_output_row(op, m) + REF_ROW_BLOCK - 1) / REF_ROW_BLOCK;
        n_block += task.n_block[m];
    }
    ref_parallel(pool, work->n_rows, 2, prepare_rows, &task);
    ref_parallel(pool, n_block, ref_grain(pool, n_block, REF_ROW_BLOCK * task.n_col[0] * work->n_rows),
                 multiply, &task);
}
