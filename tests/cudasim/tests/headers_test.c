/* Programs that use the toolkit's headers, as a stranger's would: headers.cu, whose kernels write pairs of
 * what they got and what they should have got. */
#include "sim.h"

#include <math.h>

enum { MOST = 256 };

static char *image;

static void check(const char *name, unsigned blocks, double relative, int least) {
    static float out[MOST][2][32];
    float in[256];
    CUmodule m;
    CUfunction f;
    int n = 0, zero = 0;
    for (int i = 0; i < 256; i++)
        in[i] = (float)i;
    CU(cuModuleLoadData(&m, image));
    CU(cuModuleGetFunction(&f, m, name));
    for (int seed = 0; seed < 3; seed++) {
        char text[8];
        snprintf(text, sizeof text, "%d", seed);
        sim_option("SEED", text);
        CUdeviceptr p = sim_alloc(sizeof out), count = sim_upload(&zero, 4), data = sim_upload(in, sizeof in);
        void **params = PARAMS(&p, &count, &data);
        if (blocks == 1)
            CU(sim_run(f, 1, 32, 0, params));
        else
            CU(cuLaunchCooperativeKernel(f, blocks, 1, 1, 32, 1, 1, 0, NULL, params));
        sim_download(&n, count, 4);
        assert_true(n >= least && n <= MOST);
        sim_download(out, p, (size_t)n * sizeof *out);
        for (int k = 0; k < n; k++)
            for (int i = 0; i < 32; i++) {
                const double got = out[k][0][i], wanted = out[k][1][i];
                const bool good = fabs(got - wanted) <= relative * (fabs(wanted) + 0.25);
                if (!good)
                    print_error("%s, pair %d, lane %d: %g instead of %g\n", name, k, i, got, wanted);
                assert_true(good);
            }
    }
}

#define PROGRAM(promise, name, relative, least)                                                              \
    static void promise(void **state) {                                                                      \
        (void)state;                                                                                         \
        check(name, 1, relative, least);                                                                     \
    }
PROGRAM(runs_the_functions_of_cuda_fp16, "half_functions", 0.002, 49)
PROGRAM(runs_the_functions_of_cuda_bf16, "bfloat_functions", 0.016, 21)
PROGRAM(runs_cooperative_groups, "groups", 0, 18)
PROGRAM(runs_atomic_references, "atomics", 0, 70)
PROGRAM(runs_pipelines, "pipelines", 0, 4)
PROGRAM(runs_intrinsics, "intrinsics", 1e-6, 15)

static void runs_barriers_of_the_grid(void **state) {
    CUmodule m;
    CUfunction f;
    CUdeviceptr p = sim_alloc(4096);
    (void)state;
    check("grid_barrier", 7, 0, 7);
    /* which need a cooperative launch, as the header checks */
    CU(cuModuleLoadData(&m, image));
    CU(cuModuleGetFunction(&f, m, "grid_barrier"));
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(f, 7, 32, 0, PARAMS(&p, &p, &p)));
    SAYS("the kernel trapped");
}

int main(void) {
    image = sim_read_file(CUDASIM_HEADERS, NULL);
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(runs_the_functions_of_cuda_fp16),
        TEST(runs_the_functions_of_cuda_bf16),
        TEST(runs_cooperative_groups),
        TEST(runs_atomic_references),
        TEST(runs_pipelines),
        TEST(runs_intrinsics),
        TEST(runs_barriers_of_the_grid),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(image);
    return failed;
}
