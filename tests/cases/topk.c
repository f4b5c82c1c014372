#include "cases.h"

#include <stdio.h>
#include <stdlib.h>

/* x comes from a buffer of its own because ties are planted in it. */
static tandem_status planted(side *s, const op_case *c, tandem_view *view) {
    uint32_t n = c->u.topk.n;
    uint64_t stride = (4ull * n + 15) / 16 * 16;
    float *x = calloc(c->n_out, stride);
    if (!x)
        return TANDEM_E_OUT_OF_MEMORY;
    for (uint32_t r = 0; r < c->n_out; r++)
        for (uint32_t i = 0; i < n; i++) {
            float value = c->amplitude * side_random(40 + r, i);
            if (c->u.topk.ties == 1) /* few distinct values */
                value = c->amplitude * (float)(int)(value / c->amplitude);
            if (c->u.topk.ties == 2) /* one value for all */
                value = -3;
            x[r * (stride / 4) + i] = value;
        }
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = stride * c->n_out};
    tandem_status status = s->api->buffer_create(s->context, &desc, &view->buffer, &s->error);
    if (status == TANDEM_OK) {
        s->buffers[s->n_buffer++] = view->buffer;
        view->stride = stride;
        view->rows = TANDEM_ROWS_OUT;
        status = s->api->buffer_write(view->buffer, 0, x, desc.bytes, &s->error);
    }
    free(x);
    return status;
}

static tandem_status build(side *s, const op_case *c) {
    tandem_op_topk op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_TOPK, .rows = TANDEM_ROWS_OUT, .label = "topk"},
        .n = c->u.topk.n,
        .k = c->u.topk.k};
    SIDE_TRY(planted(s, c, &op.x));
    SIDE_TRY(side_topk_result(s, c->n_out, c->n_out, c->u.topk.k, &op.out));
    side_op(s, &op, 1);
    side_rows(s, c->n_rows, c->n_out, c->u.topk.n, 0);
    return TANDEM_OK;
}

static void add(case_list *list, uint32_t n, uint32_t k, uint32_t n_out, uint32_t ties, float amplitude) {
    op_case *c = case_add(list, (op_case){.build = build,
                                          .n_rows = n_out,
                                          .max_tokens = n_out,
                                          .n_out = n_out,
                                          .amplitude = amplitude,
                                          .budget = 1e-10,
                                          .smoke = n == 262144});
    c->u.topk.n = n;
    c->u.topk.k = k;
    c->u.topk.ties = ties;
    snprintf(c->name, sizeof c->name, "topk %u of %u, %u rows, %s, amplitude %g", k, n, n_out,
             ties == 2 ? "all equal"
             : ties    ? "ties"
                       : "distinct",
             (double)amplitude);
}

void topk_cases(case_list *list) {
    add(list, 262144, 64, 1, 0, 5);
    add(list, 262144, 1, 2, 0, 5);
    add(list, 262144, 64, 1, 1, 5);
    add(list, 262144, 64, 1, 2, 5);
    add(list, 8192, 8, 17, 0, 5);
    add(list, 8192, 40, 3, 1, 5);
    add(list, 1000, 64, 5, 0, 1e7f);
    add(list, 999, 7, 5, 1, 1e3f);
    add(list, 64, 64, 2, 1, 5);
    add(list, 65, 64, 2, 0, 5);
    add(list, 3, 2, 1, 0, 5);
    add(list, 1, 1, 1, 0, 5);
}
