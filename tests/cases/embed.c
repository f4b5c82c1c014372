#include "cases.h"

#include "tandem/quants.h"

#include <stdio.h>

static tandem_status build(side *s, const op_case *c) {
    tandem_op_embed op = {.head = {.struct_size = sizeof op, .kind = TANDEM_OP_EMBED, .label = "embed"},
                          .scale = 25.298221f};
    side_matrix m = {TANDEM_ROLE_SINGLE, c->u.embed.type, c->u.embed.n_row, c->u.embed.n_col};
    SIDE_TRY(side_weights(s, 1, 1, &m, &op.table));
    SIDE_TRY(
        side_result(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, c->u.embed.n_col, "embedding", &op.out));
    side_op(s, &op, 1);
    side_rows(s, c->n_rows, 0, c->u.embed.n_row, 0);
    return TANDEM_OK;
}

void embed_cases(case_list *list) {
    for (uint32_t f = 0; f < N_CASE_FORMATS; f++) {
        uint32_t type = case_formats[f], block = tandem_kit_type(type)->block;
        static const uint32_t widths[] = {640, 2816};
        for (uint32_t w = 0; w < 2; w++) {
            uint32_t n_col = widths[w] / block * block;
            op_case *c = case_add(list, (op_case){.build = build,
                                                  .n_rows = w ? 17 : 1,
                                                  .max_tokens = w ? 20 : 1,
                                                  .amplitude = 1,
                                                  .budget = 1e-10,
                                                  .smoke = w == 0});
            c->u.embed.type = type;
            c->u.embed.n_row = 301;
            c->u.embed.n_col = n_col;
            snprintf(c->name, sizeof c->name, "embed %s %u wide, %u rows", tandem_kit_type(type)->name, n_col,
                     c->n_rows);
        }
    }
}
