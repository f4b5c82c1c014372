/* Mutants of the prefill attention that ships: two slots, the first with fewer keys than there are splits, an
 * image block, a ragged tile of queries, ragged tiles of keys, two levels of merging. */
#include "mutate.h"
#include "params_ops.h"

enum {
    KERNEL_DIM = 256,
    N_ROW = 20,
    N_HEAD = 2,
    RING = 576,
    N_SLOT = 2,
    N_SPLIT = 18,
    OUTPUT = N_ROW * N_HEAD * KERNEL_DIM,
};

static CUdeviceptr upload_random(size_t n, uint32_t seed, int as_half, float size) {
    void *data = malloc(n * 4);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++) {
        const float x = size * sim_random_float(&seed);
        if (as_half)
            ((uint16_t *)data)[i] = sim_half(x);
        else
            ((float *)data)[i] = x;
    }
    const CUdeviceptr at = sim_upload(data, n * (as_half ? 2 : 4));
    free(data);
    return at;
}

/* Ten rows of slot 0 from position 20 on, ten of slot 1 that end at the last of the ring. */
static CUdeviceptr upload_run(void) {
    unsigned char block[RUN_ROWS_OFFSET + N_ROW * RUN_ROW_BYTES] = {0};
    run_header header = {.n_rows = N_ROW, .n_context = RING};
    memcpy(block, &header, sizeof header);
    for (uint32_t i = 0; i < N_ROW; i++) {
        run_row row = {.position = i < N_ROW / 2 ? 20 + i : RING - N_ROW + i, .slot = i >= N_ROW / 2};
        memcpy(block + RUN_ROWS_OFFSET + i * RUN_ROW_BYTES, &row, sizeof row);
    }
    return sim_upload(block, sizeof block);
}

static CUresult attention(CUfunction f, void *out) {
    uint32_t until[N_ROW] = {0}, zeros[ATTENTION_COUNTERS(N_SPLIT)] = {0};
    for (uint32_t i = 2; i < 6; i++) /* they see each other */
        until[i] = 26;
    const uint32_t n_query = attention_prefill_queries(KERNEL_DIM);
    const size_t cache = (size_t)N_SLOT * RING * KERNEL_DIM;
    attention_params p = {.run = upload_run(),
                          .q = upload_random(OUTPUT, 3, 0, 1),
                          .k_cache = upload_random(cache, 5, 1, 0.5f),
                          .v_cache = upload_random(cache, 7, 1, 1),
                          .visible_until = sim_upload(until, sizeof until),
                          .partial =
                              sim_alloc((size_t)ATTENTION_RECORDS(N_SPLIT) * n_query * (KERNEL_DIM * 4 + 16)),
                          .counters = sim_upload(zeros, sizeof zeros),
                          .y = sim_alloc(OUTPUT * 4),
                          .y_stride = N_HEAD * KERNEL_DIM * 4,
                          .visible_stride = 4,
                          .ring = RING,
                          .region_bytes = RING * KERNEL_DIM * 2,
                          .head_dim = KERNEL_DIM,
                          .n_head = N_HEAD,
                          .n_kv_head = 1,
                          .keys_per_split = 16,
                          .max_split = N_SPLIT,
                          .group = N_HEAD,
                          .tile_rows = n_query / N_HEAD};
    p.n_tok = p.run;
    void *params[] = {&p};
    const unsigned shared = attention_prefill_shared(KV_F16, KERNEL_DIM, 1);
    CU(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)shared));
    CUresult r = cuLaunchKernel(f, 1, 1, N_SPLIT, PREFILL_THREADS, 1, 1, shared, NULL, params, NULL);
    if (!r)
        r = cuCtxSynchronize();
    return r ? r : cuMemcpyDtoH(out, p.y, OUTPUT * 4);
}

#define MUTATE(instruction, replacement, expected)                                                           \
    mutate(ATTENTION_FATBIN, "attention_prefill_f16_256_exact", "", instruction, replacement, expected,      \
           attention, OUTPUT * 4)

static void dropped_barriers(void **state) {
    (void)state;
    MUTATE("bar.sync 0;", "", 9);
}
static void dropped_waits(void **state) {
    (void)state;
    MUTATE("cp.async.wait_group 0;", "", 2);
    MUTATE("cp.async.wait_group 0;", "cp.async.wait_group 1;", 2);
}
static void values_not_turned(void **state) {
    (void)state;
    MUTATE("m8n8.x4.trans.shared", "m8n8.x4.shared", 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(dropped_barriers),
        TEST(dropped_waits),
        TEST(values_not_turned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
