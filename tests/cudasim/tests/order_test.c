/* Races in shared memory where no barrier orders, but fences, releases and acquires do: the programs of
 * orders.cu. Right ones run clean in every order, and of each wrong twin the race is reported in every order.
 */
#include "sim.h"

enum { SEEDS = 8 };

static char *image;

static void set_seed(int seed) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    sim_option("SEED", text);
}

static CUresult run(const char *program, const char *twin, unsigned threads, uint32_t *out) {
    char name[64];
    CUmodule m;
    CUfunction f;
    const uint32_t zero = 0;
    snprintf(name, sizeof name, "%s_%s", program, twin);
    CU(cuModuleLoadData(&m, image));
    CU(cuModuleGetFunction(&f, m, name));
    CUdeviceptr p = sim_alloc(128), word = sim_upload(&zero, 4);
    const CUresult r = sim_run(f, 1, threads, 0, PARAMS(&p, &word));
    if (!r)
        sim_download(out, p, 128);
    return r;
}

/* The program's right version, then its n_wrong wrong ones. */
static void check(const char *program, unsigned threads, int n_wrong) {
    uint32_t out[32];
    for (int seed = 0; seed < SEEDS; seed++) {
        set_seed(seed);
        CU(run(program, "right", threads, out));
        for (uint32_t i = 0; i < 32; i++)
            assert_int_equal(out[i], 100 + i);
        for (int k = 1; k <= n_wrong; k++) {
            char twin[16];
            snprintf(twin, sizeof twin, "wrong%d", k);
            const CUresult r = run(program, twin, threads, out);
            if (r != CUDA_ERROR_LAUNCH_FAILED)
                print_error("%s_%s, seed %d: %d\n", program, twin, seed, (int)r);
            assert_int_equal(r, CUDA_ERROR_LAUNCH_FAILED);
            SAYS("race: the lane");
            sim_close();
            sim_open();
        }
    }
}

#define PROGRAM(promise, name, threads, n_wrong)                                                             \
    static void promise(void **state) {                                                                      \
        (void)state;                                                                                         \
        check(name, threads, n_wrong);                                                                       \
    }
PROGRAM(a_volatile_flag_and_fences_order, "volatile_flag", 64, 3)
PROGRAM(release_and_acquire_order, "library_flag", 64, 4)
PROGRAM(sequential_consistency_orders, "strongest_flag", 64, 1)
PROGRAM(a_flag_in_global_memory_orders_shared_memory, "global_flag", 64, 1)
PROGRAM(a_barrier_hands_on_what_one_lane_acquired, "waits_for_all", 96, 1)
PROGRAM(arriving_at_a_named_barrier_orders_what_was_before, "named_barrier", 64, 2)
PROGRAM(arriving_at_an_mbarrier_orders_those_that_wait, "library_barrier", 64, 2)
PROGRAM(a_lock_orders_its_owners, "spin_lock", 96, 3)
PROGRAM(the_last_of_many_sees_all_parts, "last_one_adds", 128, 1)
PROGRAM(atomics_continue_a_release, "release_sequence", 96, 1)
PROGRAM(lanes_of_a_warp_order_each_other, "inside_a_warp", 32, 1)
PROGRAM(atomics_race_with_plain_accesses_only, "histogram", 96, 3)
PROGRAM(strong_accesses_do_not_race, "volatile_words", 64, 1)

int main(void) {
    image = sim_read_file(CUDASIM_ORDERS, NULL);
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(a_volatile_flag_and_fences_order),
        TEST(release_and_acquire_order),
        TEST(sequential_consistency_orders),
        TEST(a_flag_in_global_memory_orders_shared_memory),
        TEST(a_barrier_hands_on_what_one_lane_acquired),
        TEST(arriving_at_a_named_barrier_orders_what_was_before),
        TEST(arriving_at_an_mbarrier_orders_those_that_wait),
        TEST(a_lock_orders_its_owners),
        TEST(the_last_of_many_sees_all_parts),
        TEST(atomics_continue_a_release),
        TEST(lanes_of_a_warp_order_each_other),
        TEST(atomics_race_with_plain_accesses_only),
        TEST(strong_accesses_do_not_race),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(image);
    return failed;
}
