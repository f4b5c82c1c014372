/* Kernels that nvcc compiled, with one instruction of their PTX taken out or changed: each such mutant must
 * be caught, by a report or by bits that differ from the right ones in some order of execution. */
#include "kernels.h"

enum { ORDERS = 8 };

/* The PTX of kernels.fatbin, which holds it uncompressed. */
static char *kernels_ptx(void) {
    size_t bytes;
    char *data = sim_read_file(CUDASIM_FATBIN, &bytes), *start = NULL;
    for (size_t i = 0; i + 8 < bytes && !start; i++)
        if (!memcmp(data + i, ".version", 8))
            start = data + i;
    assert_non_null(start);
    char *text = strdup(start);
    free(data);
    assert_non_null(text);
    return text;
}

/* The n-th `instruction` inside the kernel, on lines that begin with `first`; NULL behind the last. */
static char *find_line(char *ptx, const char *kernel, const char *first, const char *instruction,
                       unsigned n) {
    char head[64];
    snprintf(head, sizeof head, ".entry %s(", kernel);
    char *at = strstr(ptx, head), *end = at ? strstr(at, "\n}") : NULL;
    assert_non_null(end);
    for (; (at = strstr(at, instruction)) && at < end; at++) {
        const char *line = at;
        while (line[-1] != '\n')
            line--;
        if (!strncmp(line, first, strlen(first)) && n-- == 0)
            return at;
    }
    return NULL;
}

static CUfunction load(const char *ptx, const char *kernel) {
    CUmodule m;
    CUfunction f;
    CU(cuModuleLoadData(&m, ptx));
    CU(cuModuleGetFunction(&f, m, kernel));
    return f;
}

/* Runs the kernel and gives back its output; the same inputs each time. */
typedef CUresult (*run_fn)(CUfunction f, void *out);

static bool caught(const char *ptx, const char *kernel, run_fn run, const void *right, size_t bytes) {
    void *out = malloc(bytes);
    bool found = false;
    assert_non_null(out);
    for (int seed = 0; seed < ORDERS && !found; seed++) {
        char text[16];
        snprintf(text, sizeof text, "%d", seed);
        cudasim_option("SEED", text);
        const CUresult r = run(load(ptx, kernel), out);
        found = r != CUDA_SUCCESS || memcmp(out, right, bytes);
        if (r) { /* the fault sticks to its context */
            sim_close();
            sim_open();
        }
    }
    cudasim_option("SEED", "0");
    free(out);
    return found;
}

/* Each occurrence in turn becomes the replacement. */
static void mutate(const char *kernel, const char *first, const char *instruction, const char *replacement,
                   unsigned expected, run_fn run, size_t bytes) {
    void *right = malloc(bytes);
    char *ptx = kernels_ptx(), *mutant = malloc(strlen(ptx) + 256);
    unsigned n = 0;
    assert_non_null(right);
    assert_non_null(mutant);
    CU(run(load(ptx, kernel), right));
    assert_false(caught(ptx, kernel, run, right, bytes));
    for (const char *at; (at = find_line(ptx, kernel, first, instruction, n)); n++) {
        sprintf(mutant, "%.*s%s%s", (int)(at - ptx), ptx, replacement, at + strlen(instruction));
        const bool found = caught(mutant, kernel, run, right, bytes);
        if (!found)
            print_error("%s: occurrence %u of '%s' replaced by '%s' was not caught\n", kernel, n, instruction,
                        replacement);
        assert_true(found);
    }
    assert_int_equal(n, expected);
    free(right);
    free(mutant);
    free(ptx);
}

enum { M = 70, N = 45, K = 96, N_CTX = 90 };

static CUresult matmul(CUfunction f, void *out) {
    static uint16_t a[M * K], b[N * K];
    uint32_t seed = 3;
    for (int i = 0; i < M * K; i++)
        a[i] = sim_half(sim_random_float(&seed));
    for (int i = 0; i < N * K; i++)
        b[i] = sim_half(sim_random_float(&seed));
    return run_matmul(f, out, M, N, K, a, b);
}
static CUresult flash(CUfunction f, void *out) {
    static uint16_t keys[N_CTX * HEAD], values[N_CTX * HEAD];
    float q[HEAD];
    uint32_t seed = 5;
    for (int i = 0; i < HEAD; i++)
        q[i] = 4 * sim_random_float(&seed);
    for (int i = 0; i < N_CTX * HEAD; i++)
        keys[i] = sim_half(sim_random_float(&seed)), values[i] = sim_half(sim_random_float(&seed));
    return run_flash(f, out, q, keys, values, N_CTX, 6, 0.088f);
}

static void dropped_barriers(void **state) {
    (void)state;
    mutate("matmul_f16", "", "bar.sync 0;", "", 2, matmul, M * N * 4);
    mutate("flash_decode", "", "bar.sync 0;", "", 3, flash, HEAD * 4);
}
static void dropped_waits(void **state) {
    (void)state;
    mutate("matmul_f16", "", "cp.async.wait_group 1;", "", 1, matmul, M * N * 4);
    mutate("matmul_f16", "", "cp.async.wait_group 0;", "", 1, matmul, M * N * 4);
    mutate("matmul_f16", "", "cp.async.wait_group 0;", "cp.async.wait_group 1;", 1, matmul, M * N * 4);
}
/* The mask of a shuffle over the whole warp comes from a register. */
static void wrong_members(void **state) {
    (void)state;
    mutate("flash_decode", "mov.u32", ", -1;", ", -2;", 2, flash, HEAD * 4);
    mutate("flash_decode", "mov.u32", ", -1;", ", 0x7fffffff;", 2, flash, HEAD * 4);
}
static void wrong_fragments(void **state) {
    (void)state;
    mutate("matmul_f16", "", "m8n8.x4.shared", "m8n8.x4.trans.shared", 2, matmul, M * N * 4);
    mutate("matmul_f16", "", "m8n8.x2.shared", "m8n8.x2.trans.shared", 8, matmul, M * N * 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(dropped_barriers),
        TEST(dropped_waits),
        TEST(wrong_members),
        TEST(wrong_fragments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
