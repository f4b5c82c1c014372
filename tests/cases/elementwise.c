#include "cases.h"

#include <stdio.h>

static tandem_status build(side *s, const op_case *c) {
    uint32_t set = c->u.elementwise.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL, kind = c->u.elementwise.kind;
    uint32_t rows = set ? c->n_out : c->max_tokens, live = set ? c->n_out : c->n_rows, n = c->u.elementwise.n;
    tandem_op_elementwise op = {
        .head = {.struct_size = sizeof op, .kind = kind, .rows = set, .label = "elementwise"},
        .n = n,
        .scale = 0.70710678f};
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, n, c->amplitude, &op.a));
    if (kind == TANDEM_OP_GLU || kind == TANDEM_OP_ADD)
        SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, n, c->amplitude, &op.b));
    if (c->u.elementwise.in_place) {
        /* COPY into scratch first, so that the in-place op can be repeated with equal results. */
        tandem_op_elementwise copy = op;
        copy.head.kind = TANDEM_OP_COPY;
        copy.b = (tandem_view){0};
        SIDE_TRY(side_result(s, set, rows, live, n, "in place", &copy.out));
        side_op(s, &copy, 1);
        op.a = op.out = copy.out;
    } else {
        SIDE_TRY(side_result(s, set, rows, live, n, "out", &op.out));
    }
    side_op(s, &op, 1);
    side_rows(s, c->n_rows, c->n_out, 1000, 0);
    return TANDEM_OK;
}

static void add(case_list *list, uint32_t kind, uint32_t n, uint32_t n_rows, float amplitude, int in_place,
                int out_set) {
    static const char *const names[] = {"glu", "add", "scale", "copy"};
    op_case *c = case_add(list, (op_case){.build = build,
                                          .n_rows = n_rows,
                                          .max_tokens = n_rows + 1,
                                          .n_out = out_set ? (n_rows + 1) / 2 : 0,
                                          .amplitude = amplitude,
                                          .budget = kind == TANDEM_OP_COPY ? 0 : 1e-10,
                                          .smoke = n == 640});
    c->u.elementwise.kind = kind;
    c->u.elementwise.n = n;
    c->u.elementwise.in_place = (uint32_t)in_place;
    c->u.elementwise.out_set = (uint32_t)out_set;
    snprintf(c->name, sizeof c->name, "%s %u wide, %u%s rows, amplitude %g%s", names[kind - TANDEM_OP_GLU], n,
             n_rows, out_set ? " (out)" : "", (double)amplitude, in_place ? ", in place" : "");
}

void elementwise_cases(case_list *list) {
    static const float amplitudes[] = {1e-3f, 1e3f, 1e5f, 1e7f};
    for (uint32_t kind = TANDEM_OP_GLU; kind <= TANDEM_OP_COPY; kind++) {
        add(list, kind, 640, 1, 1, 0, 0);
        add(list, kind, 2112, 17, 1, 0, 0);
        add(list, kind, 1, 2, 1, 0, 0);
        add(list, kind, 37, 64, 1, 0, 0);
        add(list, kind, 704, 9, 1, 0, 1);
        if (kind != TANDEM_OP_COPY)
            add(list, kind, 705, 5, 1, 1, 0);
        for (uint32_t i = 0; i < 4; i++)
            add(list, kind, 256, 2, amplitudes[i], 0, 0);
    }
}
