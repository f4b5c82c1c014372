/* reference_fixture.h: the reference plugin opened directly, and the few objects that its own tests build in
 * it. */
#ifndef TANDEM_TESTS_REFERENCE_FIXTURE_H
#define TANDEM_TESTS_REFERENCE_FIXTURE_H

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <tandem/quants.h>
#include <tandem/tandem.h>

#include "kit_testing.h"

typedef struct fixture {
    void *library;
    tandem_backend_query_fn query;
    tandem_backend api;
    tandem_context *context;
    tandem_error error;
    uint64_t seed;
    tandem_buffer *buffers[64]; /* destroyed by fixture_clear */
    uint32_t n_buffer;
    tandem_weights *weights[32];
    uint32_t n_weights;
} fixture;

#define OK(call)                                                                                             \
    do {                                                                                                     \
        tandem_status ok_status = (call);                                                                    \
        if (ok_status != TANDEM_OK)                                                                          \
            fail_msg("%s: status %d: %s", #call, ok_status, fx.error.message);                               \
    } while (0)

/* The call fails with this status, and the sentence holds this text. */
#define REFUSED(call, code, text)                                                                            \
    do {                                                                                                     \
        fx.error = (tandem_error){.struct_size = sizeof fx.error};                                           \
        assert_int_equal(call, code);                                                                        \
        assert_int_equal(fx.error.status, code);                                                             \
        if (!strstr(fx.error.message, text))                                                                 \
            fail_msg("%s: the sentence is: %s", #call, fx.error.message);                                    \
    } while (0)

static fixture fx; /* one a program: cmocka's state pointer would say the same with more words */

static inline tandem_host plain_host(void) {
    return (tandem_host){.struct_size = sizeof(tandem_host),
                         .abi_major = TANDEM_ABI_MAJOR,
                         .abi_minor = TANDEM_ABI_MINOR,
                         .error = &fx.error};
}

static inline int fixture_open(void **state) {
    (void)state;
    tandem_host host = plain_host();
    fx.error.struct_size = sizeof fx.error;
    fx.seed = 7;
    fx.library = dlopen(TANDEM_TEST_LIB "/libtandem_reference.so", RTLD_NOW | RTLD_LOCAL);
    if (!fx.library) {
        print_error("%s\n", dlerror());
        return -1;
    }
    /* ISO C has no cast from an object to a function pointer; POSIX promises that this works. */
    void *symbol = dlsym(fx.library, TANDEM_QUERY_SYMBOL);
    memcpy(&fx.query, &symbol, sizeof fx.query);
    fx.api.struct_size = sizeof fx.api;
    return fx.query && fx.query(&host, &fx.api) == TANDEM_OK ? 0 : -1;
}

static inline int fixture_close(void **state) {
    (void)state;
    return dlclose(fx.library);
}

static inline void open_context(uint32_t n_threads, uint64_t cap) {
    tandem_context_desc desc = {.struct_size = sizeof desc, .n_threads = n_threads, .memory_cap = cap};
    OK(fx.api.context_create(&desc, &fx.context, &fx.error));
}

/* Destroys buffers, weights and the context. */
static inline void clear(void) {
    for (uint32_t i = 0; i < fx.n_buffer; i++)
        fx.api.buffer_destroy(fx.buffers[i]);
    for (uint32_t i = 0; i < fx.n_weights; i++)
        fx.api.weights_destroy(fx.weights[i]);
    fx.api.context_destroy(fx.context);
    fx.context = NULL;
    fx.n_buffer = fx.n_weights = 0;
}

/* Before each test and after it. */
static inline int context_setup(void **state) {
    (void)state;
    fx.seed = 7;
    open_context(2, 0);
    return 0;
}

static inline int context_teardown(void **state) {
    (void)state;
    clear();
    return 0;
}

static inline tandem_buffer *buffer_of(const void *content, uint64_t bytes) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = bytes};
    tandem_buffer *buffer = NULL;
    OK(fx.api.buffer_create(fx.context, &desc, &buffer, &fx.error));
    fx.buffers[fx.n_buffer++] = buffer;
    if (content)
        OK(fx.api.buffer_write(buffer, 0, content, bytes, &fx.error));
    return buffer;
}

static inline uint64_t row_stride(uint64_t n) {
    return (n * 4 + 15) / 16 * 16;
}

/* n_row rows of n f32, given densely; NULL: zeros. */
static inline tandem_view rows_view(const float *values, uint32_t n_row, uint32_t n, uint32_t rows) {
    tandem_view view = {.stride = row_stride(n), .rows = rows};
    view.buffer = buffer_of(NULL, view.stride * n_row);
    for (uint32_t i = 0; values && i < n_row; i++)
        OK(fx.api.buffer_write(view.buffer, i * view.stride, values + (uint64_t)i * n, n * sizeof *values,
                               &fx.error));
    return view;
}

static inline tandem_view vector_view(const float *values, uint32_t n) {
    return (tandem_view){.buffer = buffer_of(values, n * sizeof *values), .rows = TANDEM_ROWS_CONST};
}

/* Row i of a view, n f32. */
static inline void read_row(tandem_view view, uint32_t i, float *values, uint32_t n) {
    OK(fx.api.buffer_read(view.buffer, view.offset + i * view.stride, values, n * sizeof *values, 0,
                          &fx.error));
}

static inline void fill_normal(float *values, uint64_t n, double amplitude) {
    for (uint64_t i = 0; i < n; i++)
        values[i] = (float)(amplitude * test_normal(&fx.seed));
}

/* One matrix of a record: quantised normal values; `values` receives what they dequantise to. */
typedef struct made_matrix {
    uint32_t role, type;
    uint32_t n_row, n_col;
    float *values; /* [n_row][n_col]; freed by the test */
    unsigned char *bytes;
} made_matrix;

static inline void make_matrix(made_matrix *m, uint32_t role, uint32_t type, uint32_t n_row, uint32_t n_col) {
    uint64_t row_bytes = tandem_kit_row_bytes(type, n_col);
    *m = (made_matrix){.role = role, .type = type, .n_row = n_row, .n_col = n_col};
    m->values = malloc((uint64_t)n_row * n_col * sizeof *m->values);
    m->bytes = malloc(n_row * row_bytes);
    fill_normal(m->values, (uint64_t)n_row * n_col, 1 / sqrt(n_col));
    for (uint32_t r = 0; r < n_row; r++) {
        float *row = m->values + (uint64_t)r * n_col;
        OK(tandem_kit_quantise(type, row, m->bytes + r * row_bytes, n_col));
        OK(tandem_kit_dequantise(type, m->bytes + r * row_bytes, row, n_col));
    }
}

static inline void free_matrix(made_matrix *m) {
    free(m->values);
    free(m->bytes);
}

static inline tandem_weights *create_weights(const made_matrix *m, uint32_t n_matrix, uint32_t n_record) {
    tandem_matrix_desc descs[4];
    const tandem_matrix_desc *list[4];
    for (uint32_t i = 0; i < n_matrix; i++) {
        descs[i] = (tandem_matrix_desc){.struct_size = sizeof descs[i],
                                        .role = m[i].role,
                                        .type = m[i].type,
                                        .n_row = m[i].n_row,
                                        .n_col = m[i].n_col};
        list[i] = &descs[i];
    }
    tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = n_record, .n_matrix = n_matrix, .matrices = list};
    tandem_weights *w = NULL;
    OK(fx.api.weights_create(fx.context, &desc, &w, &fx.error));
    fx.weights[fx.n_weights++] = w;
    return w;
}

static inline tandem_status write_rows(tandem_weights *w, uint32_t record, uint32_t matrix,
                                       const made_matrix *m, uint32_t first, uint32_t n, uint32_t flags) {
    uint64_t row_bytes = tandem_kit_row_bytes(m->type, m->n_col);
    return fx.api.weights_write(w, record, matrix, first, n, m->bytes + first * row_bytes, n * row_bytes,
                                flags, &fx.error);
}

/* A record of n matrices, borrowed from the made ones. */
static inline tandem_weights *borrowed_weights(const made_matrix *m, uint32_t n_matrix) {
    tandem_weights *w = create_weights(m, n_matrix, 1);
    for (uint32_t i = 0; i < n_matrix; i++)
        OK(write_rows(w, 0, i, &m[i], 0, m[i].n_row, TANDEM_WRITE_BORROW));
    return w;
}

static inline tandem_program *compile(const tandem_op *const *ops, uint32_t n_op, uint32_t max_tokens,
                                      uint32_t max_out, uint32_t precision) {
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .n_op = n_op,
                                .ops = ops,
                                .max_tokens = max_tokens,
                                .max_out = max_out,
                                .max_slots = 1,
                                .precision = precision};
    tandem_program *program = NULL;
    OK(fx.api.program_create(fx.context, &desc, &program, &fx.error));
    return program;
}

/* Compiles, runs once with n_rows rows of slot 0 from `position` on and all rows wanted, waits, destroys. */
static inline void run_once(const tandem_op *const *ops, uint32_t n_op, const uint32_t *tokens,
                            uint32_t n_rows, uint32_t position, uint32_t precision) {
    tandem_program *program = compile(ops, n_op, n_rows, n_rows, precision);
    tandem_run run = {
        .struct_size = sizeof run, .n_rows = n_rows, .n_out = n_rows, .tokens = tokens, .position = position};
    tandem_ticket ticket;
    OK(fx.api.run(program, &run, &ticket, &fx.error));
    OK(fx.api.wait(fx.context, ticket, UINT64_MAX, &fx.error));
    fx.api.program_destroy(program);
}

static inline tandem_op head_of(uint32_t size, uint32_t kind, uint32_t rows, const char *label) {
    return (tandem_op){.struct_size = size, .kind = kind, .rows = rows, .label = label};
}

#endif
