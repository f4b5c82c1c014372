#include "cases.h"

#include <stdio.h>

static tandem_status build(side *s, const op_case *c) {
    uint32_t set = c->u.stream.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL;
    uint32_t rows = set == TANDEM_ROWS_OUT ? c->n_out : c->max_tokens,
             live = set == TANDEM_ROWS_OUT ? c->n_out : c->n_rows;
    uint32_t n_slice = c->u.stream.n_slice, width = c->u.stream.d * n_slice;
    tandem_op_stream op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_STREAM, .rows = set, .label = "stream"},
        .d = c->u.stream.d,
        .n_slice = n_slice == 1 ? 0 : n_slice,
        .n_out = c->u.stream.n_out_rows,
        .eps = 1e-6f,
        .scale = 0.75f};
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, width, c->amplitude, &op.h));
    for (uint32_t i = 0; i < c->u.stream.n_a; i++)
        SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, width, c->amplitude, &op.a[i]));
    for (uint32_t i = 0; c->u.stream.has_weights && i < (c->u.stream.n_a == 2 ? 3 : c->u.stream.n_a); i++)
        SIDE_TRY(side_vector(s, c->u.stream.d, &op.w[i]));
    if (c->u.stream.write_h)
        SIDE_TRY(side_result(s, set, rows, live, width, "stream", &op.out_h));
    static const char *const names[] = {"norm 0", "norm 1", "norm 2"};
    for (uint32_t i = 0; i < c->u.stream.n_out_rows; i++) {
        op.out_scale[i] = 1.0f + 0.5f * (float)i;
        if (i != 1 && c->u.stream.has_weights)
            SIDE_TRY(side_vector(s, c->u.stream.d, &op.out_w[i]));
        SIDE_TRY(side_result(s, set, rows, live, width, names[i], &op.out[i]));
    }
    side_op(s, &op, 1);
    side_rows(s, c->n_rows, c->n_out, 1000, 0);
    return TANDEM_OK;
}

static void add(case_list *list, uint32_t d, uint32_t n_slice, uint32_t n_a, uint32_t n_out_rows,
                uint32_t n_rows, float amplitude, int out_set) {
    op_case *c = case_add(list, (op_case){.build = build,
                                          .n_rows = n_rows,
                                          .max_tokens = n_rows + (n_rows > 2 ? 3 : 0),
                                          .n_out = out_set ? (n_rows + 1) / 2 : 0,
                                          .amplitude = amplitude,
                                          .budget = 1e-10});
    c->u.stream.d = d;
    c->u.stream.n_slice = n_slice;
    c->u.stream.n_a = n_a;
    c->u.stream.n_out_rows = n_out_rows;
    c->u.stream.has_weights = d != 72;
    c->u.stream.write_h = n_a > 0 || n_out_rows == 0;
    c->u.stream.out_set = (uint32_t)out_set;
    c->smoke = d == 640;
    snprintf(c->name, sizeof c->name, "stream d %u x %u, %u inputs, %u outputs, %u%s rows, amplitude %g", d,
             n_slice, n_a, n_out_rows, n_rows, out_set ? " (out)" : "", (double)amplitude);
}

void stream_cases(case_list *list) {
    static const float amplitudes[] = {1, 1e3f, 1e5f, 1e7f};
    for (uint32_t n_a = 0; n_a <= 2; n_a++)
        for (uint32_t n_out = n_a == 0; n_out <= 3; n_out++)
            add(list, 640, 1, n_a, n_out, 2, 1, 0);
    for (uint32_t i = 0; i < 4; i++)
        add(list, 2816, 1, 2, 3, 1, amplitudes[i], 0);
    add(list, 2816, 1, 1, 1, 17, 1, 0);
    add(list, 5376, 1, 1, 1, 1, 1, 0);
    add(list, 704, 1, 1, 2, 64, 1e-4f, 0);
    add(list, 256, 35, 0, 1, 3, 1, 0);
    add(list, 37, 1, 1, 1, 5, 1, 0);
    add(list, 1, 1, 1, 1, 2, 1, 0);
    add(list, 72, 3, 2, 2, 17, 1, 0);
    add(list, 640, 1, 1, 1, 17, 1, 1);
    add(list, 640, 1, 2, 2, 1, 1, 1);
}
