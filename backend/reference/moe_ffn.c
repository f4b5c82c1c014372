/* moe_ffn.c: MOE_FFN, the experts that each row was sent to.
 *
 * An entry is one (row, j) pair: row i goes to its expert number j. Entries are sorted by expert, so that a
 * block of an expert's rows is dequantised once for all its entries; experts without entries are not looked
 * at. In the first phase each entry's product gelu(gate x) * (up x) is made and rounded, in the second every
 * output row adds up its experts in the order of j. A sum is one ref_dot_fn: its bits depend neither on the
 * threads nor on which other rows use the expert.
 */
#include <math.h>
#include <string.h>

#include "objects.h"

typedef struct ffn_shape {
    const ref_matrix *gate, *up, *down; /* gate == up: one matrix holds both */
    uint64_t n_in, width, n_out;
    uint32_t down_index;
    uint32_t n_expert;
} ffn_shape;

typedef struct ffn_task {
    const ref_work *work;
    const tandem_op_moe_ffn *op;
    ffn_shape shape;
    double *inputs;    /* [n_rows] rounded x */
    double *products;  /* [n_entry], sorted by expert: what enters the down projection */
    uint32_t *entries; /* [n_entry] sorted -> row * n_used + j */
    uint32_t *places;  /* [n_rows * n_used] -> sorted; TANDEM_NONE: the id is no expert's */
    uint32_t *first;   /* [n_expert + 1] the first sorted entry of an expert */
    uint32_t *used;    /* [n_used_expert] experts with entries, ascending */
    uint32_t n_used_expert;
    uint32_t n_entry;
    uint64_t n_block; /* of gate rows */
} ffn_task;

static ffn_shape shape_of(const tandem_op_moe_ffn *op) {
    const tandem_weights *w = op->weights;
    int joined = w->n_matrix == 2;
    ffn_shape s = {.gate = &w->matrices[0],
                   .up = &w->matrices[joined ? 0 : 1],
                   .down = &w->matrices[joined ? 1 : 2],
                   .down_index = joined ? 1 : 2,
                   .n_expert = w->n_record};
    s.n_in = s.gate->desc.n_col;
    s.width = s.down->desc.n_col;
    s.n_out = s.down->desc.n_row;
    return s;
}

/* ---- memory: laid out twice, first to measure ---- */

/* The arrays of a run of n_rows rows behind `base`; returns their bytes. base NULL: only measures. */
static uint64_t lay_out(ffn_task *task, uint64_t n_rows, unsigned char *base) {
    uint64_t n_entry = ref_mul(n_rows, task->op->n_used);
    uint64_t inputs = ref_mul(n_rows, ref_input_stride(task->shape.n_in) * sizeof(double));
    uint64_t products = ref_mul(n_entry, ref_input_stride(task->shape.width) * sizeof(double));
    uint64_t numbers = ref_add(ref_mul(2, n_entry), 2 * (uint64_t)task->shape.n_expert + 1);
    if (base) {
        task->inputs = (double *)(void *)base;
        task->products = (double *)(void *)(base + inputs);
        task->entries = (uint32_t *)(void *)(base + inputs + products);
        task->places = task->entries + n_entry;
        task->first = task->places + n_entry;
        task->used = task->first + task->shape.n_expert + 1;
    }
    return ref_add(ref_add(inputs, products), ref_mul(numbers, sizeof(uint32_t)));
}

uint64_t ref_moe_ffn_inputs(const tandem_op_moe_ffn *op, uint64_t n_rows) {
    ffn_task task = {.op = op, .shape = shape_of(op)};
    return lay_out(&task, n_rows, NULL);
}

uint64_t ref_moe_ffn_scratch(const tandem_op_moe_ffn *op, uint64_t n_rows) {
    ffn_shape s = shape_of(op);
    uint64_t gathered = ref_mul(REF_INPUT_BLOCK * sizeof(double), ref_input_stride(s.n_in));
    uint64_t gate_up = ref_mul(2 * REF_ROW_BLOCK * sizeof(float), s.n_in);
    uint64_t sums = ref_mul(ref_mul(REF_ROW_BLOCK * sizeof(double), n_rows), op->n_used);
    uint64_t first = ref_add(gathered, gate_up);
    uint64_t second = ref_add(sums, ref_mul(REF_ROW_BLOCK * sizeof(float), s.width));
    return first > second ? first : second; /* rounding rows takes less than either */
}

/* ---- sorting entries by expert ---- */

static const uint32_t *ids_of(const ffn_task *task, uint32_t row) {
    return ref_view_row(task->work, &task->op->route, row);
}

static void sort_entries(ffn_task *task) {
    uint32_t n_expert = task->shape.n_expert, n_used = task->op->n_used, *first = task->first;
    memset(first, 0, (n_expert + 1) * sizeof *first);
    for (uint32_t i = 0; i < task->work->n_rows; i++)
        for (uint32_t j = 0; j < n_used; j++)
            if (ids_of(task, i)[j] < n_expert)
                first[ids_of(task, i)[j] + 1]++;
    task->n_used_expert = 0;
    for (uint32_t e = 0; e < n_expert; e++) {
        if (first[e + 1])
            task->used[task->n_used_expert++] = e;
        first[e + 1] += first[e];
    }
    task->n_entry = first[n_expert];
    for (uint32_t i = 0; i < task->work->n_rows; i++)
        for (uint32_t j = 0; j < n_used; j++) {
            uint32_t id = ids_of(task, i)[j], entry = i * n_used + j;
            task->places[entry] = id < n_expert ? first[id]++ : TANDEM_NONE;
            if (id < n_expert)
                task->entries[task->places[entry]] = entry;
        }
    /* Each first[e] has run up to the first entry of e + 1. */
    memmove(first + 1, first, n_expert * sizeof *first);
    first[0] = 0;
}

/* ---- gate, up and their product ---- */

static void round_inputs(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const ffn_task *task = argument;
    float *rounded = (float *)(void *)ref_scratch(task->work->program, thread);
    for (uint64_t i = first; i < end; i++)
        ref_round_row(task->work->program->precision, ref_view_row(task->work, &task->op->x, (uint32_t)i),
                      rounded, task->inputs + i * ref_input_stride(task->shape.n_in), task->shape.n_in);
}

static void dequantise(const ref_matrix *m, const ref_cell *cell, uint64_t row, uint32_t n, float *target) {
    for (uint32_t r = 0; r < n; r++)
        tandem_kit_dequantise(m->desc.type, cell->rows + (row + r) * m->row_bytes, target + r * m->desc.n_col,
                              m->desc.n_col);
}

/* The inputs of n sorted entries as rows one behind the other. */
static const double *gather(const ffn_task *task, uint32_t place, uint32_t n, double *room) {
    uint64_t stride = ref_input_stride(task->shape.n_in);
    const uint32_t *entries = task->entries + place;
    if (n == 1)
        return task->inputs + entries[0] / task->op->n_used * stride;
    for (uint32_t t = 0; t < n; t++)
        memcpy(room + t * stride, task->inputs + entries[t] / task->op->n_used * stride,
               task->shape.n_in * sizeof *room);
    return room;
}

/* Rows [row, row + n) of gate and up of one expert, for all its entries. */
static void expert_block(const ffn_task *task, uint32_t expert, uint64_t row, uint32_t n,
                         unsigned char *scratch) {
    const ffn_shape *s = &task->shape;
    const ref_cell *cells = ref_cell_of(task->op->weights, expert, 0);
    uint64_t stride = ref_input_stride(s->n_in), product_stride = ref_input_stride(s->width);
    ref_dot_fn dot = task->work->program->context->dot;
    double *room = (double *)(void *)scratch, gate_x[REF_INPUT_BLOCK], up_x[REF_INPUT_BLOCK];
    float *gate = (float *)(room + REF_INPUT_BLOCK * stride), *up = gate + REF_ROW_BLOCK * s->n_in;
    int joined = s->gate == s->up;

    dequantise(s->gate, &cells[0], row, n, gate);
    dequantise(s->up, &cells[joined ? 0 : 1], joined ? s->width + row : row, n, up);
    for (uint32_t at = task->first[expert]; at < task->first[expert + 1]; at += REF_INPUT_BLOCK) {
        uint32_t left = task->first[expert + 1] - at, n_x = left < REF_INPUT_BLOCK ? left : REF_INPUT_BLOCK;
        const double *x = gather(task, at, n_x, room);
        for (uint32_t r = 0; r < n; r++) {
            dot(gate + r * s->n_in, x, stride, n_x, s->n_in, gate_x);
            dot(up + r * s->n_in, x, stride, n_x, s->n_in, up_x);
            for (uint32_t t = 0; t < n_x; t++)
                task->products[(at + t) * product_stride + row + r] = ref_gelu(gate_x[t]) * up_x[t];
        }
    }
}

static void multiply_up(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const ffn_task *task = argument;
    for (uint64_t item = first; item < end; item++) {
        uint64_t row = item % task->n_block * REF_ROW_BLOCK, left = task->shape.width - row;
        expert_block(task, task->used[item / task->n_block], row,
                     left < REF_ROW_BLOCK ? (uint32_t)left : REF_ROW_BLOCK,
                     ref_scratch(task->work->program, thread));
    }
}

/* The products are f32 where the precision rounds them. */
static void round_products(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const ffn_task *task = argument;
    float *row = (float *)(void *)ref_scratch(task->work->program, thread);
    for (uint64_t i = first; i < end; i++) {
        double *product = task->products + i * ref_input_stride(task->shape.width);
        for (uint64_t j = 0; j < task->shape.width; j++)
            row[j] = (float)product[j];
        ref_round_row(task->work->program->precision, row, row, product, task->shape.width);
    }
}

/* ---- down, and the sum over a row's experts ---- */

/* sums: [n][n_entry], one output of every entry. */
static void add_up(const ffn_task *task, uint64_t row, uint32_t n, const double *sums) {
    uint32_t n_used = task->op->n_used;
    for (uint32_t i = 0; i < task->work->n_rows; i++) {
        float *y = ref_view_row(task->work, &task->op->y, i);
        const uint32_t *route = ids_of(task, i), *places = task->places + (uint64_t)i * n_used;
        const float *weight = (const float *)(const void *)(route + n_used);
        for (uint32_t r = 0; r < n; r++) {
            double sum = 0;
            for (uint32_t j = 0; j < n_used; j++)
                sum += places[j] == TANDEM_NONE ? NAN
                                                : weight[j] * sums[(uint64_t)r * task->n_entry + places[j]];
            y[row + r] = (float)sum;
        }
    }
}

static void multiply_down(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const ffn_task *task = argument;
    const ffn_shape *s = &task->shape;
    uint64_t stride = ref_input_stride(s->width);
    ref_dot_fn dot = task->work->program->context->dot;
    double *sums = (double *)(void *)ref_scratch(task->work->program, thread);
    float *down = (float *)(sums + (uint64_t)REF_ROW_BLOCK * task->n_entry);

    for (uint64_t block = first; block < end; block++) {
        uint64_t row = block * REF_ROW_BLOCK, left = s->n_out - row;
        uint32_t n = left < REF_ROW_BLOCK ? (uint32_t)left : REF_ROW_BLOCK;
        for (uint32_t u = 0; u < task->n_used_expert; u++) {
            uint32_t expert = task->used[u], at = task->first[expert], n_x = task->first[expert + 1] - at;
            dequantise(s->down, ref_cell_of(task->op->weights, expert, s->down_index), row, n, down);
            for (uint32_t r = 0; r < n; r++)
                dot(down + r * s->width, task->products + at * stride, stride, n_x, s->width,
                    sums + (uint64_t)r * task->n_entry + at);
        }
        add_up(task, row, n, sums);
    }
}

void ref_moe_ffn(const ref_work *work, const tandem_op_moe_ffn *op) {
    ffn_task task = {.work = work, .op = op, .shape = shape_of(op)};
    const ffn_shape *s = &task.shape;
    ref_pool *pool = work->program->context->pool;
    if (work->n_rows == 0)
        return;
    lay_out(&task, work->n_rows, (unsigned char *)work->program->inputs);
    sort_entries(&task);
    task.n_block = (s->width + REF_ROW_BLOCK - 1) / REF_ROW_BLOCK;
    ref_parallel(pool, work->n_rows, 2, round_inputs, &task);

    uint64_t n_item = task.n_used_expert * task.n_block;
    uint64_t n_share =
        task.n_used_expert ? 1 + task.n_entry / task.n_used_expert : 1; /* entries of an expert */
    ref_parallel(pool, n_item, ref_grain(pool, n_item, 2 * REF_ROW_BLOCK * s->n_in * n_share), multiply_up,
                 &task);
    if (work->program->precision != TANDEM_PRECISION_EXACT)
        ref_parallel(pool, task.n_entry, 4, round_products, &task);
    uint64_t n_out_block = (s->n_out + REF_ROW_BLOCK - 1) / REF_ROW_BLOCK;
    ref_parallel(pool, n_out_block,
                 ref_grain(pool, n_out_block, REF_ROW_BLOCK * s->width * (task.n_entry + 1)), multiply_down,
                 &task);
}
