/* One side of a comparison: a plugin, a context, and the objects that a case builds in it.
 *
 * A case is built twice by the same code through the ABI, once on the reference and once on the plugin under
 * test, from the same seeded inputs. Buffers carry guard bytes around and between rows, and rows beyond the
 * live ones hold NaN, so that a stray read or write shows.
 */
#ifndef TANDEM_TESTS_SIDE_H
#define TANDEM_TESTS_SIDE_H

#include "tandem/tandem.h"

#define SIDE_MAX_OBJECTS 32
#define SIDE_MAX_OPS 16
#define SIDE_MAX_ROWS 1024
#define SIDE_MAX_OUTPUTS 12
#define SIDE_GUARD 64u

/* What a case wants compared. */
typedef struct side_output {
    tandem_view view;
    uint32_t n;     /* f32 per row; for TOPK k, for MOE_ROUTE n_used */
    uint32_t topk;  /* 1: rows are TOPK results */
    uint32_t route; /* 1: rows are MOE_ROUTE results */
    uint32_t live;  /* rows written by the run */
    uint64_t bytes; /* of the whole buffer */
    const char *name;
    /* route: [live][n], how far choice j is above the next one: (p_j - p_j+1) / p_j; INFINITY: there is no
     * doubt */
    const double *margin;
} side_output;

typedef struct side {
    const tandem_backend *api;
    tandem_context *context;
    tandem_error error;
    tandem_buffer *buffers[SIDE_MAX_OBJECTS];
    uint32_t n_buffer;
    tandem_weights *weights[SIDE_MAX_OBJECTS];
    uint32_t n_weights;
    tandem_kv *kv;
    uint32_t kv_start; /* slot 0's length before the run; slot 1, where there are two, has half of it */
    uint32_t n_slot; /* of the run: 1, or 2, to which rows go in turns of two and one; set before side_rows */
    tandem_program *program;
    const tandem_op *ops[SIDE_MAX_OPS];
    void *op_storage[2 * SIDE_MAX_OPS];
    uint32_t n_op, n_storage;
    side_output outputs[SIDE_MAX_OUTPUTS];
    uint32_t n_output;
    tandem_row rows[SIDE_MAX_ROWS];
    tandem_out out[SIDE_MAX_ROWS];
    tandem_run run;
    uint32_t max_tokens, max_out, precision;
    uint64_t seed; /* advances with every object so that inputs differ from each other */
} side;

/* Deterministic standard-normal-like value number `index` of stream `seed`. */
float side_random(uint64_t seed, uint64_t index);

void side_open(side *s, const tandem_backend *api, tandem_context *context);
void side_close(side *s);

/* f32 input rows of n elements: `live` of `rows` rows hold amplitude * normal values, the rest NaN. */
tandem_status side_input(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n, float amplitude,
                         tandem_view *view);
/* The same with given values, [live][n]. */
tandem_status side_given(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n,
                         const float *values, tandem_view *view);
/* A buffer with this content. */
tandem_status side_buffer(side *s, const void *content, uint64_t bytes, tandem_buffer **buffer);
/* Zeroed memory that lives as long as the side. */
void *side_memory(side *s, uint64_t bytes);
/* CONST vector of n values around 1. */
tandem_status side_vector(side *s, uint32_t n, tandem_view *view);
/* Guarded f32 output rows, compared after the run. */
tandem_status side_result(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n, const char *name,
                          tandem_view *view);
tandem_status side_topk_result(side *s, uint32_t rows, uint32_t live, uint32_t k, tandem_view *view);
/* margin: as in side_output, from side_memory. */
tandem_status side_route_result(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n_used,
                                const double *margin, tandem_view *view);
/* A scratch view that a later op of the case reads: like a result, but not compared. */
tandem_status side_scratch(side *s, uint32_t kind, uint32_t rows, uint32_t n, tandem_view *view);

typedef struct side_matrix {
    uint32_t role, type;
    uint64_t n_row, n_col;
} side_matrix;
/* Weights with normal values / sqrt(n_col), quantised; written in several row ranges. */
tandem_status side_weights(side *s, uint32_t n_record, uint32_t n_matrix, const side_matrix *m,
                           tandem_weights **w);
/* The same; records with poison[record] != 0 hold 0xff in every byte, which is NaN in every format but
 * MXFP4, and infinite there. */
tandem_status side_experts(side *s, uint32_t n_record, uint32_t n_matrix, const side_matrix *m,
                           const unsigned char *poison, tandem_weights **w);
/* One record of one matrix with these GGUF bytes. */
tandem_status side_matrix_given(side *s, const side_matrix *m, const void *rows, tandem_weights **w);

/* Record 0 of one matrix whose blocks are any bits, as long as the largest value of each lies between 1e-3
 * and 1e3: what no writer of the format would choose is read all the same. */
tandem_status side_any_blocks(side *s, const side_matrix *m, tandem_weights **w);

/* Copies an op into the side's storage; the copy is what the program sees. Not listed: a prologue. */
void *side_op(side *s, const void *op, int listed);
/* Rows 0..n_rows-1 with tokens from `seed` below n_vocab at consecutive positions; n_out evenly spread out
 * rows. */
void side_rows(side *s, uint32_t n_rows, uint32_t n_out, uint32_t n_vocab, uint32_t position);

tandem_status side_compile(side *s);
/* Runs and waits; with a cache, truncates back to kv_start first so that it can be repeated. */
tandem_status side_run(side *s);
/* The whole buffer of an output; the caller frees it. NULL with s->error set on failure. */
unsigned char *side_read(side *s, const side_output *output);

#define SIDE_TRY(expression)                                                                                 \
    do {                                                                                                     \
        tandem_status side_status = (expression);                                                            \
        if (side_status != TANDEM_OK)                                                                        \
            return side_status;                                                                              \
    } while (0)

#endif
