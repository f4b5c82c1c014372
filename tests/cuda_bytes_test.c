/* Weight bytes that the CUDA plugin's kernels read from global memory for a token, counted by the simulated
 * driver per allocation, in sectors of 32 bytes, against the bytes of the matrices as files hold them.
 *
 * usage: cuda_bytes_test --option cuda.library=LIBCUDA
 */
#include "gpu_model.h"

#include "cases/side.h"
#include "tandem/quants.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 1.03 /* times the least */
#define MAX_BLOCKS 256
#define MAX_TOKENS 8u /* of a product that is a mat-vec */

static const tandem_backend *api;
static tandem_context *context;
static void (*sim_reset)(void);
static int (*sim_traffic)(uint64_t address, uint64_t *requested_bytes, uint64_t *sector_bytes);

/* Allocations that hold weights and their tables of addresses, as the plugin logs them. */
static uint64_t blocks[MAX_BLOCKS];
static uint32_t n_block;

static void on_log(void *user, uint32_t level, const char *message) {
    const char *at = strstr(message, " bytes for weights at 0x");
    (void)user;
    if (level <= TANDEM_LOG_WARNING)
        fprintf(stderr, "%s\n", message);
    if (at && n_block < MAX_BLOCKS)
        blocks[n_block++] = strtoull(strchr(at, 'x') + 1, NULL, 16);
}

#define OK(expression, object)                                                                               \
    do {                                                                                                     \
        tandem_status ok_status = (expression);                                                              \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d, %s", #expression, ok_status, (object)->error.message);                  \
    } while (0)

/* Widths of a Gemma 4 layer: rows of 22, 44 and 66 blocks of 32 columns. */
static const model_shape dense = {.d = 1408,
                                  .ff = 2112,
                                  .n_head = 4,
                                  .n_kv_head = 1,
                                  .head_dim = 176,
                                  .window = 16,
                                  .n_vocab = 1100,
                                  .n_ctx = 64,
                                  .chunk = 1,
                                  .n_out = 1,
                                  .kv_type = TANDEM_TYPE_F16,
                                  .n_slot = 1};

static uint64_t file_bytes(const tandem_weights *weights) {
    tandem_weights_info info = {.struct_size = sizeof info};
    tandem_error error = {.struct_size = sizeof error};
    if (!weights)
        return 0;
    assert_int_equal(api->weights_info(weights, &info, &error), TANDEM_OK);
    return info.source_bytes;
}

/* Sectors read from the weights' allocations since the counters were reset. */
static uint64_t read_bytes(void) {
    uint64_t sum = 0;
    assert_in_range(n_block, 1, MAX_BLOCKS - 1);
    for (uint32_t i = 0; i < n_block; i++) {
        uint64_t requested, sectors;
        assert_int_equal(sim_traffic(blocks[i], &requested, &sectors), 0);
        sum += sectors;
    }
    return sum;
}

/* 1: as few as may be. Fewer than `least` would say that something was not counted. */
static int judge(const char *name, uint64_t least) {
    double ratio = (double)read_bytes() / (double)least;
    int good = ratio >= 1 && ratio <= MOST;
    print_message("%s%s: %.4f times the least\n", good ? "" : "BAD ", name, ratio);
    return good;
}

/* ---- one product ---- */

typedef struct product {
    tandem_error error;
    tandem_weights *weights;
    tandem_buffer *x, *y;
    uint32_t n_row, n_col;
} product;

static void product_open(product *m, uint32_t type, uint32_t n_row, uint32_t n_col) {
    const tandem_matrix_desc matrix = {
        .struct_size = sizeof matrix, .type = type, .n_row = n_row, .n_col = n_col};
    const tandem_matrix_desc *list[] = {&matrix};
    const tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = 1, .n_matrix = 1, .matrices = list};
    const tandem_buffer_desc x = {.struct_size = sizeof x, .bytes = MAX_TOKENS * 4ull * n_col};
    const tandem_buffer_desc y = {.struct_size = sizeof y, .bytes = MAX_TOKENS * 4ull * n_row};
    uint64_t row_bytes = tandem_kit_row_bytes(type, n_col);
    float *values = malloc(x.bytes);
    unsigned char *rows = malloc(n_row * row_bytes);
    assert_true(values && rows);
    *m = (product){.error = {.struct_size = sizeof m->error}, .n_row = n_row, .n_col = n_col};
    n_block = 0;
    for (uint32_t i = 0; i < MAX_TOKENS * n_col; i++)
        values[i] = side_random(1, i);
    for (uint32_t r = 0; r < n_row; r++)
        tandem_kit_quantise(type, values + r % MAX_TOKENS * n_col, rows + r * row_bytes, n_col);
    OK(api->weights_create(context, &desc, &m->weights, &m->error), m);
    OK(api->weights_write(m->weights, 0, 0, 0, n_row, rows, n_row * row_bytes, 0, &m->error), m);
    OK(api->buffer_create(context, &x, &m->x, &m->error), m);
    OK(api->buffer_create(context, &y, &m->y, &m->error), m);
    OK(api->buffer_write(m->x, 0, values, x.bytes, &m->error), m);
    free(values);
    free(rows);
}

static void product_close(product *m) {
    api->weights_destroy(m->weights);
    api->buffer_destroy(m->x);
    api->buffer_destroy(m->y);
}

static void product_run(product *m, uint32_t n_tok, uint32_t precision) {
    static const uint32_t tokens[MAX_TOKENS];
    const tandem_op_matmul op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_MATMUL, .rows = TANDEM_ROWS_ALL},
        .weights = m->weights,
        .n_matrix = 1,
        .x = {{.buffer = m->x, .stride = 4ull * m->n_col, .rows = TANDEM_ROWS_ALL}},
        .y = {{.buffer = m->y, .stride = 4ull * m->n_row, .rows = TANDEM_ROWS_ALL}}};
    const tandem_op *ops[] = {&op.head};
    const tandem_program_desc desc = {.struct_size = sizeof desc,
                                      .n_op = 1,
                                      .ops = ops,
                                      .max_tokens = n_tok,
                                      .max_slots = 1,
                                      .precision = precision};
    const tandem_run run = {.struct_size = sizeof run, .n_rows = n_tok, .tokens = tokens};
    tandem_program *program;
    tandem_ticket ticket;
    OK(api->program_create(context, &desc, &program, &m->error), m);
    sim_reset();
    OK(api->run(program, &run, &ticket, &m->error), m);
    OK(api->wait(context, ticket, UINT64_MAX, &m->error), m);
    api->program_destroy(program);
}

static void every_format_is_read_once(void **state) {
    static const uint32_t types[] = {
        TANDEM_TYPE_F32,  TANDEM_TYPE_F16,    TANDEM_TYPE_BF16,   TANDEM_TYPE_Q4_0,
        TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q5_0,   TANDEM_TYPE_Q5_1,   TANDEM_TYPE_Q8_0,
        TANDEM_TYPE_Q2_K, TANDEM_TYPE_Q3_K,   TANDEM_TYPE_Q4_K,   TANDEM_TYPE_Q5_K,
        TANDEM_TYPE_Q6_K, TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_IQ4_XS, TANDEM_TYPE_MXFP4};
    uint32_t n_bad = 0;
    (void)state;
    for (uint32_t t = 0; t < sizeof types / sizeof *types; t++) {
        product m;
        product_open(&m, types[t], 2048, 2816); /* as many warps as a layer's */
        uint64_t least = m.n_row * tandem_kit_row_bytes(types[t], m.n_col);
        for (uint32_t q8 = 0; q8 < 2; q8++) /* f16 runs the kernels of exact */
            for (uint32_t n_tok = 1; n_tok <= MAX_TOKENS; n_tok *= MAX_TOKENS) {
                char name[64];
                snprintf(name, sizeof name, "%s %s, %u rows of x", tandem_kit_type(types[t])->name,
                         q8 ? "q8" : "exact", n_tok);
                product_run(&m, n_tok, q8 ? TANDEM_PRECISION_Q8 : TANDEM_PRECISION_EXACT);
                n_bad += !judge(name, least);
            }
        product_close(&m);
    }
    assert_int_equal(n_bad, 0);
}

/* ---- a token ---- */

/* Every matrix once, the experts that are used, and a row of the embedding. */
static uint64_t least_bytes(const model *m) {
    uint64_t bytes = file_bytes(m->table) + tandem_kit_row_bytes(TANDEM_TYPE_Q8_0, m->shape.d);
    for (uint32_t i = 0; i < MODEL_LAYERS; i++) {
        const model_weights *w = &m->layers[i];
        bytes += file_bytes(w->qkv) + file_bytes(w->out) + file_bytes(w->gate_up) + file_bytes(w->down);
        bytes += file_bytes(w->router);
        if (w->experts)
            bytes += file_bytes(w->experts) / m->shape.n_expert * m->shape.n_used;
    }
    return bytes;
}

static int count(const char *name, const model_shape *shape, uint32_t precision) {
    const uint32_t token = 5;
    model m;
    tandem_program *program = NULL;
    tandem_ticket ticket;
    n_block = 0;
    OK(model_open(&m, api, context, shape), &m);
    OK(model_program(&m, 1, 1, precision, &program), &m);
    for (uint32_t position = 0; position < 2; position++) { /* the second is counted */
        sim_reset();
        OK(model_run(&m, program, &token, 1, position, 0, &ticket), &m);
        OK(api->wait(context, ticket, UINT64_MAX, &m.error), &m);
    }
    int good = judge(name, least_bytes(&m));
    api->program_destroy(program);
    model_close(&m);
    return good;
}

static void a_token_reads_its_weights_once(void **state) {
    model_shape experts = dense;
    (void)state;
    experts.n_expert = 8;
    experts.n_used = 2;
    experts.d_expert = 704;
    int good = count("dense, exact", &dense, TANDEM_PRECISION_EXACT);
    good &= count("dense, q8", &dense, TANDEM_PRECISION_Q8);
    good &= count("experts, exact", &experts, TANDEM_PRECISION_EXACT);
    good &= count("experts, f16", &experts, TANDEM_PRECISION_F16);
    good &= count("experts, q8", &experts, TANDEM_PRECISION_Q8);
    assert_true(good);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_read_once),
        cmocka_unit_test(a_token_reads_its_weights_once),
    };
    const char *option = argc == 3 ? argv[2] : NULL, *path = option ? strchr(option, '=') : NULL;
    void *library = path ? dlopen(path + 1, RTLD_NOW) : NULL;
    const tandem_host host = {.struct_size = sizeof host, .log = on_log, .options = &option, .n_options = 1};
    const tandem_context_desc desc = {.struct_size = sizeof desc};
    tandem_error error = {.struct_size = sizeof error};
    tandem_plugin *plugin;
    if (!library) {
        fprintf(stderr, "usage: cuda_bytes_test --option cuda.library=LIBCUDA\n");
        return 2;
    }
    sim_reset = (void (*)(void))dlsym(library, "cudasim_counters_reset");
    sim_traffic = (int (*)(uint64_t, uint64_t *, uint64_t *))dlsym(library, "cudasim_traffic");
    if (!sim_reset || !sim_traffic || tandem_plugin_open("cuda", &host, &plugin, &error) != TANDEM_OK) {
        fprintf(stderr, "cuda_bytes_test: %s\n", sim_reset ? error.message : "not the simulated driver");
        return 3;
    }
    api = tandem_plugin_backend(plugin);
    if (api->context_create(&desc, &context, &error) != TANDEM_OK) {
        fprintf(stderr, "cuda_bytes_test: %s\n", error.message);
        return 3;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    api->context_destroy(context);
    tandem_plugin_close(plugin);
    return failed;
}
