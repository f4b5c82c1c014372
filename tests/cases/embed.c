#include "cases.h"

#include "tandem/quants.h"

#include <stdio.h>
#include <string.h>

static tandem_status build(side *s, const op_case *c) {
    tandem_op_embed op = {.head = {.struct_size = sizeof op, .kind = TANDEM_OP_EMBED, .label = "embed"},
                          .scale = 25.298221f};
    side_matrix m = {TANDEM_ROLE_SINGLE, c->u.embed.type, c->u.embed.n_row, c->u.embed.n_col};
    SIDE_TRY(c->u.embed.any_blocks ? side_any_blocks(s, &m, &op.table)
                                   : side_weights(s, 1, 1, &m, &op.table));
    SIDE_TRY(
        side_result(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, c->u.embed.n_col, "embedding", &op.out));
    side_op(s, &op, 1);
    side_rows(s, c->n_rows, 0, c->u.embed.n_row, 0);
    return TANDEM_OK;
}

static op_case *add(case_list *list, uint32_t type, uint32_t n_col, uint32_t n_rows, uint32_t max_tokens) {
    op_case *c = case_add(
        list,
        (op_case){
            .build = build, .n_rows = n_rows, .max_tokens = max_tokens, .amplitude = 1, .budget = 1e-10});
    c->u.embed.type = type;
    c->u.embed.n_row = 301;
    c->u.embed.n_col = n_col;
    snprintf(c->name, sizeof c->name, "embed %s %u wide, %u rows", tandem_kit_type(type)->name, n_col,
             n_rows);
    return c;
}

void embed_cases(case_list *list) {
    for (uint32_t f = 0; f < N_CASE_FORMATS; f++) {
        uint32_t type = case_formats[f], block = tandem_kit_type(type)->block;
        add(list, type, 640 / block * block, 1, 1)->smoke = 1;
        add(list, type, 2816, 17, 20);
        if (block == 1)
            continue;
        op_case *c = add(list, type, block == 256 ? 768 : 704, 64, 64);
        c->u.embed.any_blocks = 1;
        strcat(c->name, ", any bits");
    }
}
