/* host/compare_precision.c: which precision do a side's products really have? (contract: compare.h)
 *
 * A program of one MATMUL with the weights that the measured programs use runs on one row and on a chunk. Its
 * input is no multiple of anything, so each precision rounds it to other values; the product of each of these
 * is computed in double, and the side's must be near the one of the precision that it was asked for.
 */
#include <math.h>
#include <stdlib.h>

#include <tandem/quants.h>

#include "compare.h"
#include "hash.h"

#define WAIT_NS 600000000000u
#define N_SAMPLE 24u /* outputs that are computed */
#define N_PRECISION 3u

/* Error of a product against the same product in double (OPS.md: f32 path; with rounded operands). */
static const double budget[N_PRECISION] = {
    [TANDEM_PRECISION_EXACT] = 1e-10, [TANDEM_PRECISION_F16] = 1e-6, [TANDEM_PRECISION_Q8] = 1e-6};

typedef struct product {
    session *s;
    source_tensor tensor;
    uint32_t n_rows;
    tandem_buffer *x, *y;
    uint64_t y_stride;
    float *input;              /* [n_rows][n_col] */
    float *rounded;            /* [n_col] */
    double got[N_SAMPLE];      /* by the side */
    uint64_t row[N_SAMPLE];    /* of the matrix */
    double error[N_PRECISION]; /* against each precision's result */
} product;

static int create_buffer(product *p, uint64_t bytes, tandem_buffer **buffer, tandem_error *error) {
    tandem_buffer_desc desc = {
        .struct_size = sizeof desc, .placement = TANDEM_PLACE_DEVICE, .bytes = bytes, .label = "precision"};
    return plugin_buffer_create(p->s->backend, p->s->context, &desc, buffer, error);
}

static int run_product(product *p, tandem_error *error) {
    session *s = p->s;
    const uint64_t n_col = p->tensor.dims[0];
    tandem_op_matmul op = {.head = {.struct_size = sizeof op,
                                    .kind = TANDEM_OP_MATMUL,
                                    .rows = TANDEM_ROWS_ALL,
                                    .label = "precision"},
                           .weights = s->weights.layers[0].output,
                           .n_matrix = 1,
                           .x = {{.buffer = p->x, .stride = n_col * sizeof(float)}},
                           .y = {{.buffer = p->y, .stride = p->y_stride}}};
    const tandem_op *ops[] = {&op.head};
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .n_op = 1,
                                .ops = ops,
                                .max_tokens = p->n_rows,
                                .max_slots = 1,
                                .precision = s->desc.precision};
    uint32_t *tokens = calloc(p->n_rows, sizeof *tokens);
    if (!tokens)
        return TANDEM_E_OUT_OF_MEMORY;
    tandem_run run = {.struct_size = sizeof run, .n_rows = p->n_rows, .tokens = tokens};
    tandem_program *program = NULL;
    tandem_ticket ticket;
    int status = plugin_program_create(s->backend, s->context, &desc, &program, error);
    if (!status)
        status = plugin_run(s->backend, program, &run, &ticket, error);
    if (!status)
        status = plugin_wait(s->backend, s->context, ticket, WAIT_NS, error);
    plugin_program_destroy(s->backend, program);
    free(tokens);
    return status;
}

/* Uniform between -1 and 1. */
static void make_input(product *p) {
    const uint64_t n = p->n_rows * p->tensor.dims[0];
    for (uint64_t i = 0; i < n; i++)
        p->input[i] = (float)((double)(hash_mix(i + 1) >> 11) * 0x1p-52 - 1);
}

static int run_on_device(product *p, tandem_message *message) {
    const tandem_backend *b = p->s->backend;
    const uint64_t x_bytes = p->n_rows * p->tensor.dims[0] * sizeof(float);
    tandem_error error = TANDEM_ERROR_INIT;
    int status = create_buffer(p, x_bytes, &p->x, &error);
    if (!status)
        status = create_buffer(p, p->n_rows * p->y_stride, &p->y, &error);
    if (!status)
        status = plugin_buffer_write(b, p->x, 0, p->input, x_bytes, &error);
    if (!status)
        status = run_product(p, &error);
    for (uint32_t i = 0; i < N_SAMPLE && !status; i++) {
        float y;
        p->row[i] = hash_mix(i + 1) % p->tensor.n_row;
        status = plugin_buffer_read(b, p->y, (p->n_rows - 1) * p->y_stride + p->row[i] * sizeof y, &y,
                                    sizeof y, 0, &error);
        p->got[i] = (double)y;
    }
    plugin_buffer_destroy(b, p->x);
    plugin_buffer_destroy(b, p->y);
    return status ? message_plugin(message, status, &error, "the precision of a product") : TANDEM_OK;
}

static int compute_errors(product *p, tandem_message *message) {
    const uint64_t n_col = p->tensor.dims[0];
    double y[N_SAMPLE];
    for (uint32_t precision = 0; precision < N_PRECISION; precision++) {
        if (tandem_kit_round_activations(precision, p->input + (p->n_rows - 1) * n_col, p->rounded, n_col))
            return message_fail(message, TANDEM_E_INTERNAL, "Activations cannot be rounded.");
        int status = probe_rows(p->s->desc.source, &p->tensor, p->row, N_SAMPLE, p->rounded, y, message);
        if (status)
            return status;
        p->error[precision] = probe_error(p->got, y, N_SAMPLE);
    }
    return TANDEM_OK;
}

static void judge(compare *c, uint32_t side, const product *p) {
    const uint32_t claimed = p->s->desc.precision;
    uint32_t nearest = 0;
    for (uint32_t i = 1; i < N_PRECISION; i++)
        if (p->error[i] < p->error[nearest])
            nearest = i;
    /* A tenth of the error is no accident of the order of summation. */
    if (nearest != claimed && p->error[nearest] < p->error[claimed] / 10 &&
        p->error[nearest] <= budget[nearest])
        compare_add_doubt(
            &c->doubts, "precision",
            "%s does not compute with precision %s as it was asked to: its products of %u rows are those of "
            "%s.",
            c->side[side].label, precision_name(claimed), p->n_rows, precision_name(nearest));
    else if (!(p->error[claimed] <= budget[claimed]))
        compare_add_doubt(
            &c->doubts, "precision",
            "The products of %s (%u rows) are of no known precision: error %.1e as %s, %.1e as f16, %.1e as "
            "q8.",
            c->side[side].label, p->n_rows, p->error[TANDEM_PRECISION_EXACT], "exact",
            p->error[TANDEM_PRECISION_F16], p->error[TANDEM_PRECISION_Q8]);
}

static int check_rows(compare *c, uint32_t side, uint32_t n_rows, tandem_message *message) {
    product p = {.s = c->side[side].s, .n_rows = n_rows};
    int status = model_source_role(c->source, MODEL_T_ATTN_OUTPUT, 0, &p.tensor, message);
    if (status <= 0)
        return status < 0 ? status : TANDEM_OK;
    p.y_stride = (p.tensor.n_row * sizeof(float) + 15) / 16 * 16;
    p.input = malloc(n_rows * p.tensor.dims[0] * sizeof *p.input);
    p.rounded = malloc(p.tensor.dims[0] * sizeof *p.rounded);
    status = p.input && p.rounded ? TANDEM_OK : message_out_of_memory(message, "a product", p.tensor.dims[0]);
    if (!status) {
        make_input(&p);
        status = run_on_device(&p, message);
    }
    if (!status)
        status = compute_errors(&p, message);
    if (!status)
        judge(c, side, &p);
    free(p.input);
    free(p.rounded);
    return status;
}

int compare_check_precision(compare *c, uint32_t side, tandem_message *message) {
    const uint32_t batch = session_description(c->side[side].s)->batch;
    int status = check_rows(c, side, 1, message);
    return status || batch == 1 ? status : check_rows(c, side, batch, message);
}
