#include "cases.h"

#include "tandem/quants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t roles_qkv[] = {TANDEM_ROLE_Q, TANDEM_ROLE_K, TANDEM_ROLE_V};

static tandem_status build_inputs(side *s, const op_case *c, uint32_t set, tandem_op_matmul *op) {
    uint32_t n_col = c->u.matmul.n_col, n_matrix = c->u.matmul.glu ? 1 : c->u.matmul.n_matrix;
    if (!c->u.matmul.prologue) {
        /* Two matrices read one input, the third its own. */
        SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, n_col, c->amplitude, &op->x[0]));
        for (uint32_t m = 1; m < n_matrix; m++)
            op->x[m] = op->x[0];
        if (n_matrix == 3)
            SIDE_TRY(
                side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, n_col, c->amplitude, &op->x[2]));
        return TANDEM_OK;
    }
    tandem_op_stream p = {
        .head = {.struct_size = sizeof p, .kind = TANDEM_OP_STREAM, .rows = set, .label = "prologue"},
        .d = n_col,
        .n_out = n_matrix == 3 ? 2 : 1,
        .eps = 1e-6f,
        .scale = 1};
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, n_col, c->amplitude, &p.h));
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, n_col, c->amplitude, &p.a[0]));
    SIDE_TRY(side_vector(s, n_col, &p.w[0]));
    SIDE_TRY(side_result(s, set, set ? c->n_out : c->max_tokens, set ? c->n_out : c->n_rows, n_col, "stream",
                         &p.out_h));
    for (uint32_t i = 0; i < p.n_out; i++) {
        p.out_scale[i] = 1;
        SIDE_TRY(side_vector(s, n_col, &p.out_w[i]));
    }
    op->prologue = side_op(s, &p, 0);
    op->x_output[2] = p.n_out - 1;
    return TANDEM_OK;
}

enum { QUANTISED, ANY_BLOCKS, SMALLEST_EXPONENTS, LARGEST_EXPONENTS };

/* MXFP4 with scales at the end of their range. Small: 2^-128 to 2^-126, which a device may take as zero,
 * between those of 2^-7. Large: 2^127 with weights of 0 and +-1, 2^126 with +-2, too. */
static tandem_status build_exponents(side *s, const op_case *c, const side_matrix *m, tandem_weights **w) {
    static const unsigned char small[4] = {0, 121, 1, 2}, large[2] = {255, 254};
    static const unsigned char codes[2][4] = {{0, 1, 9, 8}, {1, 2, 10, 9}};
    uint64_t n = m->n_row * m->n_col / 32;
    unsigned char *rows = malloc(17 * n);
    if (!rows)
        return TANDEM_E_OUT_OF_MEMORY;
    for (uint64_t k = 0; k < n; k++)
        for (uint32_t i = 0; i < 17; i++) {
            uint32_t bits = (uint32_t)(fabsf(side_random(77, 17 * k + i)) * 65536);
            const unsigned char *code = codes[k % 2];
            if (c->u.matmul.blocks == SMALLEST_EXPONENTS)
                rows[17 * k + i] = i == 0 ? small[bits % 4] : (unsigned char)bits;
            else
                rows[17 * k + i] =
                    i == 0 ? large[k % 2] : (unsigned char)(code[bits & 3] | code[bits >> 2 & 3] << 4);
        }
    tandem_status status = side_matrix_given(s, m, rows, w);
    free(rows);
    return status;
}

static tandem_status build_weights(side *s, const op_case *c, uint32_t n_matrix, const side_matrix *m,
                                   tandem_weights **w) {
    if (c->u.matmul.blocks == QUANTISED)
        return side_weights(s, c->u.matmul.n_record, n_matrix, m, w);
    return c->u.matmul.blocks == ANY_BLOCKS ? side_any_blocks(s, m, w) : build_exponents(s, c, m, w);
}

static tandem_status build(side *s, const op_case *c) {
    uint32_t set = c->u.matmul.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL, n_matrix = c->u.matmul.n_matrix;
    tandem_op_matmul op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_MATMUL, .rows = set, .label = "matmul"},
        .record = c->u.matmul.record,
        .n_matrix = n_matrix,
        .activation = c->u.matmul.glu ? TANDEM_ACT_GELU_GLU : TANDEM_ACT_NONE,
        .softcap = c->u.matmul.softcap};
    side_matrix m[3];
    for (uint32_t i = 0; i < n_matrix; i++)
        m[i] = (side_matrix){n_matrix == 1 ? TANDEM_ROLE_SINGLE : roles_qkv[i], c->u.matmul.type[i],
                             c->u.matmul.n_row[i], c->u.matmul.n_col};
    if (c->u.matmul.glu && n_matrix == 1) {
        m[0].role = TANDEM_ROLE_GATE_UP;
        m[0].n_row *= 2;
    } else if (c->u.matmul.glu) {
        m[0].role = TANDEM_ROLE_GATE;
        m[1].role = TANDEM_ROLE_UP;
    }
    SIDE_TRY(build_weights(s, c, n_matrix, m, &op.weights));
    SIDE_TRY(build_inputs(s, c, set, &op));
    static const char *const names[] = {"y 0", "y 1", "y 2"};
    uint32_t rows = set ? c->n_out : c->max_tokens, live = set ? c->n_out : c->n_rows;
    for (uint32_t i = 0; i < (c->u.matmul.glu ? 1 : n_matrix); i++)
        SIDE_TRY(side_result(s, set, rows, live, c->u.matmul.n_row[i], names[i], &op.y[i]));
    side_op(s, &op, 1);
    side_rows(s, c->n_rows, c->n_out, 1000, 0);
    return TANDEM_OK;
}

/* q8 on a device whose division is not correctly rounded may round a tie the other way: one step of one
 * element. */
static double budget_of(uint32_t precision) {
    return precision == TANDEM_PRECISION_EXACT ? 1e-10 : 1e-6;
}

static op_case *add(case_list *list, uint32_t type, uint32_t n_row, uint32_t n_col, uint32_t n_rows,
                    uint32_t precision, float amplitude) {
    static const char *const precisions[] = {"exact", "f16", "q8"};
    op_case *c = case_add(list, (op_case){.build = build,
                                          .precision = precision,
                                          .n_rows = n_rows,
                                          .max_tokens = n_rows,
                                          .amplitude = amplitude,
                                          .budget = budget_of(precision)});
    for (uint32_t i = 0; i < 3; i++) {
        c->u.matmul.type[i] = type;
        c->u.matmul.n_row[i] = n_row;
    }
    c->u.matmul.n_col = n_col;
    c->u.matmul.n_matrix = 1;
    c->u.matmul.n_record = 1;
    snprintf(c->name, sizeof c->name, "matmul %s %s %ux%u, %u rows, amplitude %g",
             tandem_kit_type(type)->name, precisions[precision], n_row, n_col, n_rows, (double)amplitude);
    return c;
}

static void note(op_case *c, const char *what) {
    strncat(c->name, what, sizeof c->name - strlen(c->name) - 1);
}

/* Every format, every precision, mat-vec and matmul, at a width that is not a multiple of 256 where it can
 * be. */
static void format_cases(case_list *list) {
    static const uint32_t precisions[] = {TANDEM_PRECISION_EXACT, TANDEM_PRECISION_Q8};
    for (uint32_t f = 0; f < N_CASE_FORMATS; f++)
        for (uint32_t p = 0; p < 2; p++) {
            uint32_t type = case_formats[f], k = tandem_kit_type(type)->block == 256;
            add(list, type, 96, k ? 768 : 704, 1, precisions[p], 1)->smoke = 1;
            add(list, type, 70, k ? 512 : 640, 17, precisions[p], 1)->smoke = 1;
            add(list, type, 33, k ? 2816 : 2112, 2, precisions[p], 1);
            add(list, type, 131, k ? 256 : 32, 64, precisions[p], 1);
        }
}

/* Bits that no writer of a format would choose. */
static void block_cases(case_list *list) {
    for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8) {
        for (uint32_t f = 0; f < N_CASE_FORMATS; f++) {
            uint32_t type = case_formats[f], block = tandem_kit_type(type)->block;
            if (block == 1)
                continue;
            op_case *c = add(list, type, 45, block == 256 ? 768 : 704, f % 2 ? 1 : 17, p, 1);
            c->u.matmul.blocks = ANY_BLOCKS;
            note(c, ", any bits");
        }
        for (uint32_t n = 1; n <= 17; n += 16) {
            op_case *c = add(list, TANDEM_TYPE_MXFP4, 33, 704, n, p, 1);
            c->u.matmul.blocks = SMALLEST_EXPONENTS;
            note(c, ", smallest exponents");
            c = add(list, TANDEM_TYPE_MXFP4, 33, 704, n, p, 1e-3f);
            c->u.matmul.blocks = LARGEST_EXPONENTS;
            note(c, ", largest exponents");
        }
    }
}

static void shape_cases(case_list *list) {
    static const uint32_t widths[] = {640, 704, 2112, 2816};
    static const uint32_t counts[] = {1, 2, 3, 5, 8, 9, 17, 33, 64};
    for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8) {
        for (uint32_t w = 0; w < 4; w++)
            for (uint32_t n = 0; n < 9; n += 4)
                add(list, TANDEM_TYPE_Q4_0, 61, widths[w], counts[n], p, 1);
        for (uint32_t n = 0; n < 9; n++)
            add(list, TANDEM_TYPE_Q8_0, 40, 96, counts[n], p, 1);
        add(list, TANDEM_TYPE_Q4_0, 1, 32, 1, p, 1);
        add(list, TANDEM_TYPE_Q4_0, 3, 64, 65, p, 1);
        add(list, TANDEM_TYPE_Q4_0, 2000, 640, 1, p, 1);
        add(list, TANDEM_TYPE_Q5_0, 37, 640, 130, p, 1);
    }
    /* Odd widths exist only where a block is one element. */
    static const uint32_t odd[] = {1, 7, 37, 129, 641};
    for (uint32_t w = 0; w < 5; w++)
        for (uint32_t f = 0; f < 3; f++) {
            add(list, case_formats[f], 19, odd[w], 1, TANDEM_PRECISION_EXACT, 1);
            add(list, case_formats[f], 19, odd[w], 17, TANDEM_PRECISION_EXACT, 1);
        }
    add(list, TANDEM_TYPE_F32, 19, 37, 2, TANDEM_PRECISION_Q8, 1);
    add(list, TANDEM_TYPE_F16, 19, 37, 17, TANDEM_PRECISION_Q8, 1);
}

static void amplitude_cases(case_list *list) {
    static const float amplitudes[] = {1e-6f, 1e3f, 1e5f, 1e7f};
    for (uint32_t i = 0; i < 4; i++)
        for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8) {
            add(list, TANDEM_TYPE_Q4_0, 48, 640, 1, p, amplitudes[i]);
            add(list, TANDEM_TYPE_Q6_K, 48, 512, 17, p, amplitudes[i]);
            op_case *c = add(list, TANDEM_TYPE_Q4_0, 48, 640, 2, p, amplitudes[i]);
            c->u.matmul.glu = 1;
            c->u.matmul.n_matrix = 2;
            note(c, ", glu");
        }
}

static void form_cases(case_list *list) {
    for (uint32_t p = 0; p <= TANDEM_PRECISION_Q8; p += TANDEM_PRECISION_Q8)
        for (uint32_t n = 1; n <= 17; n += 16) {
            op_case *c = add(list, TANDEM_TYPE_Q5_0, 128, 640, n, p, 1);
            c->u.matmul.n_matrix = 3; /* q, k, v of the 270M: three row counts, mixed formats */
            c->u.matmul.n_row[1] = 32;
            c->u.matmul.n_row[2] = 36;
            c->u.matmul.type[2] = TANDEM_TYPE_Q8_0;
            c->smoke = 1;
            note(c, ", q k v");

            c = add(list, TANDEM_TYPE_Q5_0, 128, 640, n, p, 1);
            c->u.matmul.n_matrix = 3;
            c->u.matmul.prologue = 1;
            c->u.matmul.type[1] = TANDEM_TYPE_Q4_1;
            c->smoke = 1;
            note(c, ", prologue, q k v");

            c = add(list, TANDEM_TYPE_Q5_0, 200, 640, n, p, 1);
            c->u.matmul.n_matrix = 2;
            c->u.matmul.glu = c->u.matmul.prologue = 1;
            c->smoke = 1;
            note(c, ", prologue, glu");

            c = add(list, TANDEM_TYPE_Q8_0, 60, 704, n, p, 1);
            c->u.matmul.n_matrix = 2;
            c->u.matmul.glu = 1;
            c->u.matmul.type[1] = TANDEM_TYPE_Q4_1;
            note(c, ", glu of two formats");

            c = add(list, TANDEM_TYPE_Q4_0, 44, 2816, n, p, 1);
            c->u.matmul.glu = 1;
            note(c, ", glu of a merged gate_up");

            c = add(list, TANDEM_TYPE_Q4_K, 150, 768, n, p, 20);
            c->u.matmul.softcap = 30;
            note(c, ", softcap");

            c = add(list, TANDEM_TYPE_Q4_0, 77, 640, n + 3, p, 1);
            c->u.matmul.out_set = 1;
            c->n_out = n > 1 ? 9 : 1;
            note(c, ", out rows");

            c = add(list, TANDEM_TYPE_Q8_0, 300, 640, n + 3, p, 1);
            c->u.matmul.out_set = c->u.matmul.prologue = 1;
            c->n_out = n > 1 ? 17 : 2;
            note(c, ", out rows, prologue");

            c = add(list, TANDEM_TYPE_Q4_0, 52, 704, n, p, 1);
            c->u.matmul.n_record = 5;
            c->u.matmul.record = 3;
            note(c, ", record 3 of 5");

            c = add(list, TANDEM_TYPE_Q4_0, 52, 704, n, p, 1);
            c->max_tokens = n > 1 ? 64 : 8;
            note(c, ", fewer rows than the program takes");
        }
}

void matmul_cases(case_list *list) {
    format_cases(list);
    block_cases(list);
    shape_cases(list);
    amplitude_cases(list);
    form_cases(list);
}

/* Precision f16: every format, a mat-vec and two heights of tiles; amplitudes; forms. */
void matmul_f16_cases(case_list *list) {
    static const uint32_t counts[] = {1, 11, 17, 130};
    static const float amplitudes[] = {1e-6f, 1e3f, 1e5f, 1e7f};
    for (uint32_t f = 0; f < N_CASE_FORMATS; f++) {
        uint32_t type = case_formats[f], k = tandem_kit_type(type)->block == 256;
        for (uint32_t n = 0; n < 4; n++)
            add(list, type, 70, k ? 512 : 704, counts[n], TANDEM_PRECISION_F16, 1)->smoke = n < 3;
    }
    for (uint32_t i = 0; i < 4; i++) {
        add(list, TANDEM_TYPE_Q4_0, 48, 640, 1, TANDEM_PRECISION_F16, amplitudes[i]);
        add(list, TANDEM_TYPE_Q6_K, 48, 512, 17, TANDEM_PRECISION_F16, amplitudes[i]);
        op_case *c = add(list, TANDEM_TYPE_BF16, 48, 129, 20, TANDEM_PRECISION_F16, amplitudes[i]);
        c->u.matmul.glu = 1;
        c->u.matmul.n_matrix = 2;
        note(c, ", glu");
    }
    for (uint32_t n = 1; n <= 17; n += 16) {
        op_case *c = add(list, TANDEM_TYPE_Q5_0, 128, 640, n, TANDEM_PRECISION_F16, 1);
        c->u.matmul.n_matrix = 3;
        c->u.matmul.prologue = 1;
        c->u.matmul.type[1] = TANDEM_TYPE_Q4_1;
        note(c, ", prologue, q k v");
        c = add(list, TANDEM_TYPE_Q4_0, 77, 640, n + 3, TANDEM_PRECISION_F16, 1);
        c->u.matmul.out_set = 1;
        c->n_out = n > 1 ? 9 : 1;
        note(c, ", out rows");
        c = add(list, TANDEM_TYPE_MXFP4, 33, 704, n, TANDEM_PRECISION_F16, 1e-3f);
        c->u.matmul.blocks = LARGEST_EXPONENTS;
        note(c, ", largest exponents");
    }
}
