/* The op case tables: one list per op; a case knows its shapes, inputs and error budget (backend/OPS.md). */
#ifndef TANDEM_TESTS_CASES_H
#define TANDEM_TESTS_CASES_H

#include "side.h"

typedef struct op_case op_case;
struct op_case {
    char name[128]; /* "matmul q4_0 exact 2816x704 rows 17" */
    tandem_status (*build)(side *s, const op_case *c);
    uint32_t precision;
    uint32_t n_rows;     /* live rows of the run */
    uint32_t max_tokens; /* rows that the program is made for */
    uint32_t n_out;
    float amplitude;
    double budget;  /* worst row */
    double typical; /* median of three rows or more, where a single row may lose more than the rest; 0: not
                       judged */
    uint32_t smoke; /* 1: belongs to the short list (one case per kernel) */
    uint32_t kind;  /* TANDEM_OP_* that the error is booked under; 0: that of the first op */
    uint32_t moves; /* 1: records also move between pending runs, and the bits stay */
    union {
        struct {
            uint32_t type, n_row, n_col, any_blocks;
        } embed;
        struct {
            uint32_t d, n_slice, n_a, n_out_rows, has_weights, write_h, out_set;
        } stream;
        struct {
            uint32_t type[3], n_row[3], n_col, n_matrix, glu, prologue, out_set, n_record, record, blocks;
            float softcap;
        } matmul;
        struct {
            uint32_t n_head, n_kv_head, head_dim, window, type, position, n_rope_pair, flags, max_chunk,
                shared, out_set, visible, no_norm, n_slot;
        } attention;
        struct {
            uint32_t n, k, ties;
        } topk;
        struct {
            uint32_t kind, n, in_place, out_set;
        } elementwise;
        struct {
            uint32_t n_expert, n_used, d, type, plant, imposed, scale, probabilities, out_set, seed;
        } moe_route;
        struct {
            uint32_t n_expert, n_used, d, width, n_matrix, type[3], spread, chain, out_set;
        } moe_ffn;
    } u;
};

typedef struct case_list {
    op_case *cases;
    uint32_t n, capacity;
} case_list;

/* Appends a case and returns its copy in the list. */
op_case *case_add(case_list *list, op_case c);

void embed_cases(case_list *list);
void stream_cases(case_list *list);
void matmul_cases(case_list *list);
void attention_cases(case_list *list);
void topk_cases(case_list *list);
void elementwise_cases(case_list *list);
void moe_route_cases(case_list *list);
void moe_ffn_cases(case_list *list);
void moe_block_cases(case_list *list);
/* Precision f16, which a plugin may lack. */
void matmul_f16_cases(case_list *list);
void moe_ffn_f16_cases(case_list *list);

static const uint32_t case_formats[] = {
    TANDEM_TYPE_F32,  TANDEM_TYPE_F16,    TANDEM_TYPE_BF16,   TANDEM_TYPE_Q4_0,
    TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q5_0,   TANDEM_TYPE_Q5_1,   TANDEM_TYPE_Q8_0,
    TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q5_K,   TANDEM_TYPE_Q6_K,   TANDEM_TYPE_Q2_K,
    TANDEM_TYPE_Q3_K, TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_IQ4_XS, TANDEM_TYPE_MXFP4};
#define N_CASE_FORMATS (sizeof case_formats / sizeof *case_formats)

#endif
