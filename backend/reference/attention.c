/* attention.c: ATTENTION, head norms, rotation, append, masked softmax over the cache.
 *
 * First every row is appended, then rows are taken in tiles: a block of keys and values of one KV head is
 * decoded once for all query heads and rows of the tile. Softmax goes block by block with a running maximum.
 * Blocks begin at multiples of 64 positions, so that the order of summation of a row depends on the keys it
 * sees and on nothing else: not on the tile, the run, the ring or the threads.
 */
#include <math.h>
#include <string.h>

#include <tandem/rope.h>

#include "objects.h"

typedef struct attention_task {
    const ref_work *work;
    const tandem_op_attention *op;
    const ref_kv_layer *layer, *owner;
    uint32_t n_group; /* query heads of a KV head */
} attention_task;

/* One query of a tile: row, head, the keys it sees, and its sums. */
typedef struct query {
    uint32_t row, head;
    uint64_t first, end; /* visible positions */
    double max, sum;
} query;

/* Scratch of a thread: doubles, then queries, then floats. */
typedef struct tile_scratch {
    double *q;      /* [n_query][head_dim] scaled queries */
    double *out;    /* [n_query][head_dim] sums of weighted values */
    double *scores; /* [n_query] of one key, then [REF_KEY_BLOCK][n_query] */
    query *queries; /* [n_query] */
    float *k, *v;   /* [REF_KEY_BLOCK][head_dim] */
} tile_scratch;

/* The next part of the scratch; NULL while it is only measured. */
static void *take(unsigned char *base, uint64_t *at, uint64_t n, uint64_t bytes_each) {
    void *part = base ? base + *at : NULL;
    *at += n * bytes_each;
    return part;
}

/* base NULL: only measures. */
static uint64_t lay_out(const tandem_op_attention *op, unsigned char *base, tile_scratch *s) {
    const tandem_kv_layer *layer = &op->kv->layers[op->layer].desc;
    uint64_t n_query = (uint64_t)REF_ROW_TILE * (op->n_head / layer->n_kv_head), dim = layer->head_dim,
             at = 0;
    s->q = take(base, &at, n_query * dim, sizeof(double));
    s->out = take(base, &at, n_query * dim, sizeof(double));
    s->scores = take(base, &at, REF_KEY_BLOCK * n_query, sizeof(double));
    s->queries = take(base, &at, n_query, sizeof(query));
    s->k = take(base, &at, REF_KEY_BLOCK * dim, sizeof(float));
    s->v = take(base, &at, REF_KEY_BLOCK * dim, sizeof(float));
    return at;
}

uint64_t ref_attention_scratch(const tandem_op_attention *op) {
    tile_scratch unused;
    return lay_out(op, NULL, &unused);
}

/* ---- one head's row ---- */

/* y = norm(x; w) where there is a w or `always`; else x. */
static void head_norm(const float *x, const float *w, int always, uint32_t dim, double eps, double *y) {
    double sum = 0, r = 1;
    if (w || always) {
        for (uint32_t j = 0; j < dim; j++)
            sum += (double)x[j] * x[j];
        r = 1.0 / sqrt(sum / dim + eps);
    }
    for (uint32_t j = 0; j < dim; j++)
        y[j] = x[j] * r * (w ? w[j] : 1.0);
}

/* Cosines and sines of row i of the op, [n_rope_pair][2]. */
static double *rotation_of(const attention_task *task, uint32_t i) {
    return task->work->program->rotation + 2 * (uint64_t)i * task->op->n_rope_pair;
}

/* Rows of angles: once for all heads of a row. */
static void find_rotations(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const attention_task *task = argument;
    const tandem_op_attention *op = task->op;
    (void)thread;
    for (uint64_t i = first; i < end; i++) {
        uint32_t position = task->work->batch->rows[ref_run_row(task->work, (uint32_t)i)].position;
        double *rotation = rotation_of(task, (uint32_t)i);
        for (uint32_t pair = 0; pair < op->n_rope_pair; pair++, rotation += 2) {
            if (task->work->program->context->services.rope_f32) {
                float angle = (float)position * (float)op->rope_omega[pair];
                rotation[0] = cos(angle);
                rotation[1] = sin(angle);
            } else {
                tandem_kit_rope_exact(op->rope_omega[pair], position, &rotation[0], &rotation[1]);
            }
        }
    }
}

static void rotate(const attention_task *task, uint32_t i, double *x) {
    const double *rotation = rotation_of(task, i);
    uint32_t half = task->owner->desc.head_dim / 2;
    for (uint32_t pair = 0; pair < task->op->n_rope_pair; pair++, rotation += 2) {
        double a = x[pair], b = x[pair + half];
        x[pair] = a * rotation[0] - b * rotation[1];
        x[pair + half] = b * rotation[0] + a * rotation[1];
    }
}

/* ---- append ---- */

static void append_row(const attention_task *task, uint32_t i, uint32_t head) {
    const tandem_op_attention *op = task->op;
    const ref_kv_layer *layer = task->owner;
    const tandem_row *row = &task->work->batch->rows[i];
    uint32_t dim = layer->desc.head_dim;
    const float *k = (const float *)ref_view_row(task->work, &op->k, i) + (uint64_t)head * dim;
    const float *v = op->flags & TANDEM_ATTENTION_K_IS_V
                         ? k
                         : (const float *)ref_view_row(task->work, &op->v, i) + (uint64_t)head * dim;
    double wide[REF_MAX_HEAD_DIM];
    float narrow[REF_MAX_HEAD_DIM];

    head_norm(k, ref_view_row(task->work, &op->k_norm, i), 0, dim, op->eps, wide);
    rotate(task, i, wide);
    for (uint32_t j = 0; j < dim; j++)
        narrow[j] = (float)wide[j];
    ref_kv_store(layer->desc.type, narrow, ref_kv_row(layer, layer->k, row->slot, head, row->position), dim);

    head_norm(v, NULL, (op->flags & TANDEM_ATTENTION_V_NORM) != 0, dim, op->eps, wide);
    for (uint32_t j = 0; j < dim; j++)
        narrow[j] = (float)wide[j];
    ref_kv_store(layer->desc.type, narrow, ref_kv_row(layer, layer->v, row->slot, head, row->position), dim);
}

static void append_rows(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const attention_task *task = argument;
    uint32_t n_kv_head = task->owner->desc.n_kv_head;
    (void)thread;
    for (uint64_t item = first; item < end; item++)
        append_row(task, (uint32_t)(item / n_kv_head), (uint32_t)(item % n_kv_head));
}

/* ---- attend ---- */

static void start_query(const attention_task *task, uint32_t i, uint32_t head, query *q, double *scaled) {
    const tandem_op_attention *op = task->op;
    uint32_t run_row = ref_run_row(task->work, i), dim = task->owner->desc.head_dim;
    uint32_t window = task->layer->desc.window;
    uint64_t position = task->work->batch->rows[run_row].position;
    const uint32_t *until = ref_view_row(task->work, &op->visible_until, i);

    uint64_t end = position + 1;
    if (until && *until > end)
        end = *until;
    if (end > task->work->batch->ends[run_row])
        end = task->work->batch->ends[run_row]; /* beyond it the cache holds nothing */
    *q = (query){.row = i, .head = head, .end = end, .max = -INFINITY};
    if (window && position + 1 > window)
        q->first = position + 1 - window;

    const float *x = (const float *)ref_view_row(task->work, &op->q, i) + (uint64_t)head * dim;
    head_norm(x, ref_view_row(task->work, &op->q_norm, i), 0, dim, op->eps, scaled);
    rotate(task, i, scaled);
    for (uint32_t j = 0; j < dim; j++)
        scaled[j] *= op->scale;
}

/* Adds the keys [first, end) of a block to one query; scores has a column of stride n_query. */
static void add_block(query *q, const double *scores, uint64_t n_query, const float *v, uint64_t block,
                      uint32_t dim, double *out) {
    uint64_t first = q->first > block ? q->first : block;
    uint64_t end = q->end < block + REF_KEY_BLOCK ? q->end : block + REF_KEY_BLOCK;
    double max = q->max;
    if (first >= end)
        return;
    for (uint64_t j = first; j < end; j++) {
        double score = scores[(j - block) * n_query];
        max = score > max ? score : max;
    }
    if (max > q->max) {
        double shrink = exp(q->max - max);
        q->max = max;
        q->sum *= shrink;
        for (uint32_t e = 0; e < dim; e++)
            out[e] *= shrink;
    }
    for (uint64_t j = first; j < end; j++) {
        double weight = exp(scores[(j - block) * n_query] - max);
        const float *value = v + (j - block) * dim;
        q->sum += weight;
        for (uint32_t e = 0; e < dim; e++)
            out[e] += weight * value[e];
    }
}

/* Rows [first, end) of the op, all of one slot, against one KV head. */
static void attend(const attention_task *task, uint32_t first, uint32_t end, uint32_t kv_head,
                   unsigned char *scratch) {
    const tandem_op_attention *op = task->op;
    const ref_kv_layer *owner = task->owner;
    uint32_t dim = owner->desc.head_dim, n_query = (end - first) * task->n_group;
    uint32_t slot = task->work->batch->rows[ref_run_row(task->work, first)].slot;
    uint64_t from = UINT64_MAX, to = 0;
    tile_scratch s;
    lay_out(op, scratch, &s);
    memset(s.out, 0, (uint64_t)n_query * dim * sizeof(double));

    for (uint32_t n = 0; n < n_query; n++) {
        start_query(task, first + n / task->n_group, kv_head * task->n_group + n % task->n_group,
                    &s.queries[n], s.q + (uint64_t)n * dim);
        from = s.queries[n].first < from ? s.queries[n].first : from;
        to = s.queries[n].end > to ? s.queries[n].end : to;
    }
    for (uint64_t block = from / REF_KEY_BLOCK * REF_KEY_BLOCK; block < to; block += REF_KEY_BLOCK) {
        for (uint64_t j = block < from ? from : block; j < to && j < block + REF_KEY_BLOCK; j++) {
            float *k = s.k + (j - block) * dim;
            ref_kv_load(owner->desc.type, ref_kv_row(owner, owner->k, slot, kv_head, j), k, dim);
            ref_kv_load(owner->desc.type, ref_kv_row(owner, owner->v, slot, kv_head, j),
                        s.v + (j - block) * dim, dim);
            task->work->program->context->dot(k, s.q, dim, n_query, dim, s.scores + (j - block) * n_query);
        }
        for (uint32_t n = 0; n < n_query; n++)
            add_block(&s.queries[n], s.scores + n, n_query, s.v, block, dim, s.out + (uint64_t)n * dim);
    }
    for (uint32_t n = 0; n < n_query; n++) {
        const query *q = &s.queries[n];
        float *out = (float *)ref_view_row(task->work, &op->out, q->row) + (uint64_t)q->head * dim;
        double share = q->sum > 0 ? 1.0 / q->sum : q->sum; /* nothing visible: 0 */
        for (uint32_t e = 0; e < dim; e++)
            out[e] = (float)(s.out[(uint64_t)n * dim + e] * share);
    }
}

/* Tiles times KV heads. Rows of several slots may alternate: a tile is cut where the slot changes. */
static void attend_tiles(void *argument, uint64_t first, uint64_t end, uint32_t thread) {
    const attention_task *task = argument;
    const ref_work *work = task->work;
    uint32_t n_kv_head = task->owner->desc.n_kv_head;

    for (uint64_t item = first; item < end; item++) {
        uint32_t row = (uint32_t)(item / n_kv_head) * REF_ROW_TILE;
        uint32_t last = work->n_rows - row < REF_ROW_TILE ? work->n_rows : row + REF_ROW_TILE;
        while (row < last) {
            uint32_t slot = work->batch->rows[ref_run_row(work, row)].slot, next = row + 1;
            while (next < last && work->batch->rows[ref_run_row(work, next)].slot == slot)
                next++;
            attend(task, row, next, (uint32_t)(item % n_kv_head), ref_scratch(work->program, thread));
            row = next;
        }
    }
}

void ref_attention(const ref_work *work, const tandem_op_attention *op) {
    const ref_kv_layer *layer = &op->kv->layers[op->layer];
    attention_task task = {.work = work, .op = op, .layer = layer, .owner = &op->kv->layers[layer->owner]};
    ref_pool *pool = work->program->context->pool;
    uint64_t n_tile = ((uint64_t)work->n_rows + REF_ROW_TILE - 1) / REF_ROW_TILE;
    task.n_group = op->n_head / layer->desc.n_kv_head;

    ref_parallel(pool, work->n_rows, 8, find_rotations, &task);
    if (op->k.buffer)
        ref_parallel(pool, (uint64_t)work->n_rows * layer->desc.n_kv_head, 4, append_rows, &task);
    ref_parallel(pool, n_tile * layer->desc.n_kv_head, 1, attend_tiles, &task);
}
