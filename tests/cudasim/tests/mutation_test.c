/* Mutants of the kernels in kernels.cu. */
#include "kernels.h"
#include "mutate.h"

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
    mutate(CUDASIM_FATBIN, "matmul_f16", "", "bar.sync 0;", "", 2, matmul, M * N * 4);
    mutate(CUDASIM_FATBIN, "flash_decode", "", "bar.sync 0;", "", 3, flash, HEAD * 4);
}
static void dropped_waits(void **state) {
    (void)state;
    mutate(CUDASIM_FATBIN, "matmul_f16", "", "cp.async.wait_group 1;", "", 1, matmul, M * N * 4);
    mutate(CUDASIM_FATBIN, "matmul_f16", "", "cp.async.wait_group 0;", "", 1, matmul, M * N * 4);
    mutate(CUDASIM_FATBIN, "matmul_f16", "", "cp.async.wait_group 0;", "cp.async.wait_group 1;", 1, matmul,
           M * N * 4);
}
/* The mask of a shuffle over the whole warp comes from a register. */
static void wrong_members(void **state) {
    (void)state;
    mutate(CUDASIM_FATBIN, "flash_decode", "mov.u32", ", -1;", ", -2;", 2, flash, HEAD * 4);
    mutate(CUDASIM_FATBIN, "flash_decode", "mov.u32", ", -1;", ", 0x7fffffff;", 2, flash, HEAD * 4);
}
static void wrong_fragments(void **state) {
    (void)state;
    mutate(CUDASIM_FATBIN, "matmul_f16", "", "m8n8.x4.shared", "m8n8.x4.trans.shared", 2, matmul, M * N * 4);
    mutate(CUDASIM_FATBIN, "matmul_f16", "", "m8n8.x2.shared", "m8n8.x2.trans.shared", 8, matmul, M * N * 4);
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
