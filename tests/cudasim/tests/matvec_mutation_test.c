/* Mutants of the mat-vec that ships: Q4_0, one row of x in shared memory, two splits of the columns, a last
 * strip of eight rows. It has many ways (rounding, prologues, experts) of which a run takes one, so not every
 * mutant is executed.
 */
#include "mutate.h"
#include "params.h"

enum {
    N_ROW = 40,
    N_COL = 512,
    N_BLOCK = N_COL / 32,
    GROUP_UNITS = (N_BLOCK + N_BLOCK / 8) * 8,
    N_SPLIT = 2
};

/* Groups of eight rows: for each eight blocks, a unit of scales a row, then their units of quants. */
static CUdeviceptr upload_weights(void) {
    static uint16_t packed[N_ROW / 8 * GROUP_UNITS * 8];
    uint32_t seed = 11;
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++) {
        const size_t place = i / 64 % (GROUP_UNITS / 8);
        const float x = sim_random_float(&seed);
        packed[i] = place % 9 == 0 ? sim_half(0.1f + 0.05f * x) : (uint16_t)(int)(32767 * x);
    }
    return sim_upload(packed, sizeof packed);
}

static CUresult matvec(CUfunction f, void *out) {
    static float x[N_COL];
    uint32_t seed = 13, n_tok = 1;
    for (int i = 0; i < N_COL; i++)
        x[i] = sim_random_float(&seed);
    const uint64_t weights = upload_weights();
    matvec_params p = {.job = {{.table = {sim_upload(&weights, sizeof weights), 0},
                                .x = sim_upload(x, sizeof x),
                                .y = sim_alloc(N_ROW * 4),
                                .n_row = N_ROW,
                                .n_col = N_COL,
                                .x_stride = N_COL * 4,
                                .y_stride = N_ROW * 4,
                                .segment_shift = 31,
                                .stage = STAGE_F32}},
                       .n_tok = sim_upload(&n_tok, sizeof n_tok),
                       .n_job = 1,
                       .n_part = 1,
                       .n_split = N_SPLIT};
    void *params[] = {&p};
    const unsigned shared = MATVEC_SHARED_BYTES(N_SPLIT, 1) + MATVEC_STAGE_BYTES(STAGE_F32, N_COL);
    CUresult r = cuLaunchKernel(f, (N_ROW + MATVEC_WARP_ROWS - 1) / MATVEC_WARP_ROWS, 1, 1, 32 * N_SPLIT, 1,
                                1, shared, NULL, params, NULL);
    if (!r)
        r = cuCtxSynchronize();
    return r ? r : cuMemcpyDtoH(out, p.job[0].y, N_ROW * 4);
}

#define MUTATE(first, instruction, replacement, least)                                                       \
    mutate_some(MATVEC_FATBIN, "matvec_q4_0_exact_1", first, instruction, replacement, least, matvec,        \
                N_ROW * 4)

/* Of the stage, and of the sums. */
static void dropped_barriers(void **state) {
    (void)state;
    MUTATE("", "bar.sync 0;", "", 2);
}
/* Sums of the stage over eight lanes, and of two lanes of a row. */
static void wrong_members(void **state) {
    (void)state;
    MUTATE("mov.u32", ", -1;", ", -2;", 2);
}
/* The last row that there is, and the row of a lane. */
static void a_row_off_by_one(void **state) {
    (void)state;
    MUTATE("add.s32", ", -1;", ", 0;", 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(dropped_barriers),
        TEST(wrong_members),
        TEST(a_row_off_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
