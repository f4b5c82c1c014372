/* Kernels as nvcc compiles them, against plain C, in orderly and in adversarial order with the same bits. */
#include "kernels.h"

#include <math.h>

static void *filled(size_t bytes) {
    void *p = calloc(1, bytes);
    assert_non_null(p);
    return p;
}

static void runs_saxpy(void **state) {
    enum { N = 1000 };
    float x[N], y[N], expected[N], a = 1.25f;
    uint32_t seed = 1;
    int n = N;
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = sim_random_float(&seed), y[i] = sim_random_float(&seed);
        expected[i] = fmaf(a, x[i], y[i]);
    }
    CUdeviceptr dx = sim_upload(x, sizeof x), dy = sim_upload(y, sizeof y);
    CU(sim_run(sim_kernel("saxpy"), (N + 127) / 128, 128, 0, PARAMS(&a, &dx, &dy, &n)));
    sim_download(y, dy, sizeof y);
    assert_memory_equal(y, expected, sizeof y);
}

static void runs_a_matvec(void **state) {
    enum { N_ROW = 37, N_BLOCK = 22 };
    int8_t *w = filled(N_ROW * N_BLOCK * 32), x[N_BLOCK * 32];
    float scale[N_ROW * N_BLOCK], x_scale[N_BLOCK], y[N_ROW], again[N_ROW];
    uint32_t seed = 2;
    (void)state;
    for (int i = 0; i < N_ROW * N_BLOCK * 32; i++)
        w[i] = (int8_t)sim_random(&seed);
    for (int i = 0; i < N_BLOCK * 32; i++)
        x[i] = (int8_t)sim_random(&seed);
    for (int i = 0; i < N_ROW * N_BLOCK; i++)
        scale[i] = sim_random_float(&seed);
    for (int i = 0; i < N_BLOCK; i++)
        x_scale[i] = sim_random_float(&seed);
    CU(run_matvec(sim_kernel("matvec_dp4a"), y, N_ROW, N_BLOCK, w, scale, x, x_scale));
    for (int r = 0; r < N_ROW; r++) {
        double sum = 0, size = 0;
        for (int b = 0; b < N_BLOCK; b++) {
            int dot = 0;
            for (int i = 0; i < 32; i++)
                dot += w[(r * N_BLOCK + b) * 32 + i] * x[b * 32 + i];
            sum += (double)dot * scale[r * N_BLOCK + b] * x_scale[b];
            size += fabs((double)dot * scale[r * N_BLOCK + b] * x_scale[b]);
        }
        assert_true(fabs(sum - y[r]) <= 1e-6 * size);
    }
    for (int s = 1; s <= 5; s++) {
        sim_option("SEED", (char[]){(char)('0' + s), 0});
        CU(run_matvec(sim_kernel("matvec_dp4a"), again, N_ROW, N_BLOCK, w, scale, x, x_scale));
        assert_memory_equal(again, y, sizeof y);
    }
    free(w);
}

static void runs_a_tensor_core_matmul(void **state) {
    enum { M = 70, N = 45, K = 96 };
    static uint16_t a[M * K], b[N * K];
    static float c[M * N], again[M * N];
    uint32_t seed = 3;
    (void)state;
    for (int i = 0; i < M * K; i++)
        a[i] = sim_half(sim_random_float(&seed));
    for (int i = 0; i < N * K; i++)
        b[i] = sim_half(sim_random_float(&seed));
    CU(run_matmul(sim_kernel("matmul_f16"), c, M, N, K, a, b));
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0, size = 0;
            for (int k = 0; k < K; k++) {
                const double p = (double)sim_from_half(a[i * K + k]) * sim_from_half(b[j * K + k]);
                sum += p, size += fabs(p);
            }
            assert_true(fabs(sum - c[i * N + j]) <= 1e-5 * size);
        }
    for (int s = 1; s <= 5; s++) {
        sim_option("SEED", (char[]){(char)('0' + s), 0});
        CU(run_matmul(sim_kernel("matmul_f16"), again, M, N, K, a, b));
        assert_memory_equal(again, c, sizeof c);
    }
}

static void runs_an_integer_matmul(void **state) {
    enum { M = 32, N = 24, K = 64 };
    int8_t a[M * K], b[N * K];
    int c[M * N], n = N, k = K;
    uint32_t seed = 4;
    (void)state;
    for (int i = 0; i < M * K; i++)
        a[i] = (int8_t)sim_random(&seed);
    for (int i = 0; i < N * K; i++)
        b[i] = (int8_t)sim_random(&seed);
    CUdeviceptr da = sim_upload(a, sizeof a), db = sim_upload(b, sizeof b), dc = sim_alloc(sizeof c);
    CU(sim_run3(sim_kernel("matmul_s8"), N / 8, M / 16, 32, 0, PARAMS(&da, &db, &dc, &n, &k)));
    sim_download(c, dc, sizeof c);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            int sum = 0;
            for (int x = 0; x < K; x++)
                sum += a[i * K + x] * b[j * K + x];
            assert_int_equal(c[i * N + j], sum);
        }
}

static void runs_flash_decoding(void **state) {
    enum { N_CTX = 300 };
    static uint16_t keys[N_CTX * HEAD], values[N_CTX * HEAD];
    float q[HEAD], out[HEAD], again[HEAD];
    double score[N_CTX], top = -INFINITY, total = 0;
    const float scale = 0.088f;
    uint32_t seed = 5;
    (void)state;
    for (int i = 0; i < HEAD; i++)
        q[i] = 4 * sim_random_float(&seed);
    for (int i = 0; i < N_CTX * HEAD; i++)
        keys[i] = sim_half(sim_random_float(&seed)), values[i] = sim_half(sim_random_float(&seed));
    CU(run_flash(sim_kernel("flash_decode"), out, q, keys, values, N_CTX, 7, scale));
    for (int t = 0; t < N_CTX; t++) {
        score[t] = 0;
        for (int i = 0; i < HEAD; i++)
            score[t] += (double)q[i] * sim_from_half(keys[t * HEAD + i]);
        score[t] *= scale;
        top = fmax(top, score[t]);
    }
    for (int t = 0; t < N_CTX; t++)
        total += exp(score[t] - top);
    for (int i = 0; i < HEAD; i++) {
        double sum = 0;
        for (int t = 0; t < N_CTX; t++)
            sum += exp(score[t] - top) / total * sim_from_half(values[t * HEAD + i]);
        assert_true(fabs(sum - out[i]) < 2e-6);
    }
    for (int s = 1; s <= 5; s++) {
        sim_option("SEED", (char[]){(char)('0' + s), 0});
        CU(run_flash(sim_kernel("flash_decode"), again, q, keys, values, N_CTX, 7, scale));
        assert_memory_equal(again, out, sizeof out);
    }
}

static void finds_the_eight_largest(void **state) {
    enum { N_TOK = 5 };
    float logits[N_TOK * 128], weights[N_TOK * 8];
    int ids[N_TOK * 8];
    uint32_t seed = 6;
    (void)state;
    for (int i = 0; i < N_TOK * 128; i++)
        logits[i] = 5 * sim_random_float(&seed);
    logits[3 * 128 + 17] = logits[3 * 128 + 90] = 9; /* a tie: the lower index first */
    CUdeviceptr dl = sim_upload(logits, sizeof logits), di = sim_alloc(sizeof ids),
                dw = sim_alloc(sizeof weights);
    CU(sim_run(sim_kernel("top8"), N_TOK, 32, 0, PARAMS(&dl, &di, &dw)));
    sim_download(ids, di, sizeof ids);
    sim_download(weights, dw, sizeof weights);
    for (int t = 0; t < N_TOK; t++) {
        bool taken[128] = {false};
        double sum = 0, first = 0;
        int expected[8];
        for (int r = 0; r < 8; r++) {
            int best = -1;
            for (int i = 0; i < 128; i++)
                if (!taken[i] && (best < 0 || logits[t * 128 + i] > logits[t * 128 + best]))
                    best = i;
            taken[best] = true;
            expected[r] = best;
            first = r ? first : (double)logits[t * 128 + best];
            sum += exp(logits[t * 128 + best] - first);
        }
        assert_memory_equal(ids + t * 8, expected, sizeof expected);
        for (int r = 0; r < 8; r++)
            assert_true(fabs(exp(logits[t * 128 + expected[r]] - first) / sum - weights[t * 8 + r]) < 1e-6);
    }
}

/* Blocks that wait for each other: fits the device, and works; does not fit, and is reported. */
static void blocks_wait_for_each_other(void **state) {
    enum { BLOCKS = 40, THREADS = 64 };
    uint32_t slots[BLOCKS * THREADS], expected[BLOCKS * THREADS], zero = 0;
    int rounds = 3;
    (void)state;
    for (int i = 0; i < BLOCKS * THREADS; i++)
        slots[i] = expected[i] = (uint32_t)i;
    for (int r = 0; r < rounds; r++) {
        uint32_t next[BLOCKS * THREADS];
        for (int b = 0; b < BLOCKS; b++)
            for (int t = 0; t < THREADS; t++)
                next[b * THREADS + t] = expected[(b + BLOCKS - 1) % BLOCKS * THREADS + t] + (uint32_t)b + 1;
        memcpy(expected, next, sizeof next);
    }
    CUfunction f = sim_kernel("grid_barrier");
    for (int s = 0; s <= 2; s++) {
        sim_option("SEED", (char[]){(char)('0' + s), 0});
        uint32_t result[BLOCKS * THREADS];
        CUdeviceptr ds = sim_upload(slots, sizeof slots), counter = sim_upload(&zero, 4);
        CU(sim_run(f, BLOCKS, THREADS, 0, PARAMS(&ds, &counter, &rounds)));
        sim_download(result, ds, sizeof result);
        assert_memory_equal(result, expected, sizeof expected);
    }
    if (!sim_simulated())
        return; /* what comes would hang a card */
    sim_option("SEED", "0");
    int per_sm;
    CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&per_sm, f, THREADS, 0));
    const unsigned too_many = (unsigned)per_sm * 28 + 1;
    uint32_t *many = filled((size_t)too_many * THREADS * 4);
    CUdeviceptr ds = sim_upload(many, (size_t)too_many * THREADS * 4), counter = sim_upload(&zero, 4);
    free(many);
    CU_IS(
        CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
        cuLaunchCooperativeKernel(f, too_many, 1, 1, THREADS, 1, 1, 0, NULL, PARAMS(&ds, &counter, &rounds)));
    CU_IS(CUDA_ERROR_LAUNCH_TIMEOUT, sim_run(f, too_many, THREADS, 0, PARAMS(&ds, &counter, &rounds)));
    SAYS("wait for what never comes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(runs_saxpy),
        TEST(runs_a_matvec),
        TEST(runs_a_tensor_core_matmul),
        TEST(runs_an_integer_matmul),
        TEST(runs_flash_decoding),
        TEST(finds_the_eight_largest),
        TEST(blocks_wait_for_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
