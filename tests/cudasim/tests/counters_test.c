/* The counters against kernels that were counted by hand. */
#include "sim.h"

/* A loop of 4 turns, in which threads 0 to 7 of a block make one step more. */
static const char counted[] = ".visible .entry counted(.param .u64 p)\n{ .reg .b64 %p, %o; .reg .b32 %t, %k, "
                              "%v; .reg .b32 %f; .reg .b16 %h; .reg .pred %few, %more;\n"
                              "ld.param.u64 %p, [p];\n"    /* ld_other 1 */
                              "mov.u32 %t, %tid.x;\n"      /* move 1 */
                              "mul.wide.u32 %o, %t, 4;\n"  /* int 1 */
                              "add.s64 %p, %p, %o;\n"      /* int 1 */
                              "setp.lt.u32 %few, %t, 8;\n" /* compare 1 */
                              "mov.f32 %f, 0f3f800000;\n"  /* move 1 */
                              "mov.u32 %k, 0;\n"           /* move 1 */
                              "LOOP:\n"
                              "fma.rn.f32 %f, %f, %f, %f;\n"   /* fp32 4 */
                              "@!%few bra SKIP;\n"             /* control 4, divides the warp each time */
                              "add.f32 %f, %f, %f;\n"          /* fp32 4 warps, 8 threads each */
                              "SKIP: add.u32 %k, %k, 1;\n"     /* int 4 */
                              "setp.lt.u32 %more, %k, 4;\n"    /* compare 4 */
                              "@%more bra LOOP;\n"             /* control 4, of which 3 threads taken */
                              "cvt.rn.f16.f32 %h, %f;\n"       /* convert 1 */
                              "cvt.f32.f16 %f, %h;\n"          /* convert 1 */
                              "st.global.f32 [%p], %f;\n"      /* st_global 1 */
                              "dp4a.s32.s32 %v, %t, %t, %k;\n" /* dp4a 1 */
                              "shfl.sync.bfly.b32 %v, %v, 1, 31, 0xffffffff;\n" /* shuffle 1 */
                              "ex2.approx.f32 %f, %f;\n"                        /* special_function 1 */
                              "membar.gl;\n"                                    /* fence 1 */
                              "bar.sync 0;\n"                                   /* barrier 1 */
                              "atom.global.add.u32 %v, [%p], 1;\n"              /* atomic 1 */
                              "ret; }";                                         /* control 1 */

static double of(const char *kernel, const char *what) {
    char path[128];
    snprintf(path, sizeof path, "kernels/%s/%s", kernel, what);
    return sim_counter(path);
}

static void counts_instructions(void **state) {
    /* For a warp whose lanes 0 to 7 take the extra step, and for one in which none does. */
    static const struct {
        const char *name;
        int few, none, few_threads, none_threads;
    } expected[] = {{"ld_other", 1, 1, 32, 32},
                    {"move", 3, 3, 96, 96},
                    {"int", 6, 6, 192, 192},
                    {"compare", 5, 5, 160, 160},
                    {"fp32", 8, 4, 160, 128},
                    {"control", 9, 9, 4 * 24 + 3 * 32 + 32, 4 * 32 + 3 * 32 + 32},
                    {"convert", 2, 2, 64, 64},
                    {"st_global", 1, 1, 32, 32},
                    {"dp4a", 1, 1, 32, 32},
                    {"shuffle", 1, 1, 32, 32},
                    {"special_function", 1, 1, 32, 32},
                    {"fence", 1, 1, 32, 32},
                    {"barrier", 1, 1, 32, 32},
                    {"atomic", 1, 1, 32, 32},
                    {"fp64", 0, 0, 0, 0},
                    {"ld_global", 0, 0, 0, 0},
                    {"mma", 0, 0, 0, 0}};
    (void)state;
    CUdeviceptr p = sim_alloc(3 * 64 * 4);
    cudasim_counters_reset();
    CUfunction f = sim_ptx(counted);
    CU(sim_run(f, 2, 64, 0, PARAMS(&p)));
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        char name[64];
        snprintf(name, sizeof name, "warp/%s", expected[i].name);
        assert_int_equal(of("counted", name), 2 * expected[i].few + 2 * expected[i].none);
        snprintf(name, sizeof name, "thread/%s", expected[i].name);
        assert_int_equal(of("counted", name), 2 * expected[i].few_threads + 2 * expected[i].none_threads);
    }
    assert_int_equal(of("counted", "divergent_branches"), 2 * 4);
    assert_int_equal(of("counted", "launches"), 1);
    assert_int_equal(of("counted", "blocks"), 2);
    assert_int_equal(of("counted", "threads"), 128);
}

/* ---- memory ---- */

#define GLOBAL(opcode, address)                                                                              \
    ".visible .entry touch(.param .u64 p) { .reg .b64 %p, %o; .reg .b32 %t, %v, %w; ld.param.u64 %p, [p]; "  \
    "mov.u32 %t, %tid.x; " address " add.s64 %p, %p, %o; " opcode " ret; }"

static void check_global(const char *text, double bytes, double sectors, double least) {
    CUdeviceptr p = sim_alloc(1 << 16);
    CU(cuMemsetD8(p, 0, 1 << 16));
    CUfunction f = sim_ptx(text);
    cudasim_counters_reset();
    CU(sim_run(f, 1, 32, 0, PARAMS(&p)));
    assert_int_equal(of("touch", "global_load/requests"), 1);
    assert_true(of("touch", "global_load/bytes") == bytes);
    assert_true(of("touch", "global_load/sectors") == sectors);
    assert_true(of("touch", "global_load/min_sectors") == least);
    uint64_t requested, by_sector;
    assert_int_equal(cudasim_traffic(p + 77, &requested, &by_sector), 0);
    assert_true((double)requested == bytes && (double)by_sector == 32 * sectors);
    CU(cuMemFree(p));
    CUmodule m;
    CU(cuFuncGetModule(&m, f));
    CU(cuModuleUnload(m));
}

static void counts_sectors(void **state) {
    (void)state;
    check_global(GLOBAL("ld.global.u32 %v, [%p];", "mul.wide.u32 %o, %t, 4;"), 128, 4, 4);
    check_global(GLOBAL("ld.global.u32 %v, [%p+16];", "mul.wide.u32 %o, %t, 4;"), 128, 5,
                 4); /* across a sector's edge */
    check_global(GLOBAL("ld.global.u32 %v, [%p];", "mul.wide.u32 %o, %t, 8;"), 128, 8, 4);
    check_global(GLOBAL("ld.global.u32 %v, [%p];", "mul.wide.u32 %o, %t, 128;"), 128, 32, 4);
    check_global(GLOBAL("ld.global.u32 %v, [%p];", "mul.wide.u32 %o, %t, 0;"), 4, 1, 1);
    check_global(GLOBAL("ld.global.u32 %v, [%p];", "shr.u32 %w, %t, 1; mul.wide.u32 %o, %w, 4;"), 64, 2, 2);
    check_global(GLOBAL("ld.global.v4.u32 {%v, %w, %t, %v}, [%p];", "mul.wide.u32 %o, %t, 16;"), 512, 16, 16);
    check_global(GLOBAL("ld.global.v4.u32 {%v, %w, %t, %v}, [%p];", "mul.wide.u32 %o, %t, 32;"), 512, 32, 16);
    check_global(GLOBAL("ld.global.u8 %v, [%p];", "mul.wide.u32 %o, %t, 1;"), 32, 1, 1);
    check_global(
        GLOBAL("xor.b32 %w, %t, 1; ld.global.u32 %v, [%p];", "xor.b32 %w, %t, 1; mul.wide.u32 %o, %w, 4;"),
        128, 4, 4);                                                                 /* another order */
    check_global(GLOBAL("ld.u32 %v, [%p];", "mul.wide.u32 %o, %t, 4;"), 128, 4, 4); /* generic */
}

#define SHARED                                                                                               \
    ".visible .entry touch() { .shared .align 16 .b8 s[8192]; .reg .b32 %%t, %%a, %%b, %%v, %%w; mov.u32 "   \
    "%%t, %%tid.x; "                                                                                         \
    "mov.u32 %%b, s; mov.u32 %%v, 0; %s add.u32 %%a, %%a, %%b; %s ret; }"

static void check_shared(const char *address, const char *access, double conflicts) {
    char text[1024];
    snprintf(text, sizeof text, SHARED, address, access);
    CUfunction f = sim_ptx(text);
    cudasim_counters_reset();
    CU(sim_run(f, 1, 32, 0, NULL));
    assert_int_equal(of("touch", "shared_store/requests"), 1);
    assert_true(of("touch", "shared_store/conflicts") == conflicts);
    CUmodule m;
    CU(cuFuncGetModule(&m, f));
    CU(cuModuleUnload(m));
}

static void counts_bank_conflicts(void **state) {
    (void)state;
    cudasim_option("RACES", "0"); /* some of these write to one place */
    check_shared("shl.b32 %a, %t, 2;", "st.shared.u32 [%a], %v;", 0);
    check_shared("shl.b32 %a, %t, 3;", "st.shared.u32 [%a], %v;", 1);
    check_shared("shl.b32 %a, %t, 4;", "st.shared.u32 [%a], %v;", 3);
    check_shared("shl.b32 %a, %t, 7;", "st.shared.u32 [%a], %v;", 31);
    check_shared("mul.lo.u32 %a, %t, 132;", "st.shared.u32 [%a], %v;", 0); /* a pitch of 33 words */
    check_shared("mov.u32 %a, 0;", "st.shared.u32 [%a], %v;", 0);          /* one word */
    check_shared("shl.b32 %a, %t, 4;", "st.shared.v4.u32 [%a], {%v, %v, %v, %v};", 0);
    check_shared("shl.b32 %a, %t, 7;", "st.shared.v4.u32 [%a], {%v, %v, %v, %v};", 4 * 7);
    check_shared("shl.b32 %a, %t, 4;", "st.shared.v2.u32 [%a], {%v, %v};",
                 2);                                                 /* 16 lanes a cycle, stride of 4 words */
    check_shared("shl.b32 %a, %t, 1;", "st.shared.u16 [%a], 0;", 0); /* two lanes a word */
}

/* matmul_f16 lays its tiles out at 80 bytes a row, so that ldmatrix has no conflicts. */
static void counts_matrix_loads(void **state) {
    uint16_t *zeros = calloc(128 * 64, 2);
    int m = 128, n = 64, k = 64;
    (void)state;
    assert_non_null(zeros);
    CUdeviceptr a = sim_upload(zeros, 128 * 64 * 2), b = sim_upload(zeros, 64 * 64 * 2),
                c = sim_alloc(128 * 64 * 4);
    free(zeros);
    cudasim_counters_reset();
    CU(sim_run3(sim_kernel("matmul_f16"), 2, 2, 128, 0, PARAMS(&a, &b, &c, &m, &n, &k)));
    /* 4 blocks of 4 warps; k of 64 in 2 tiles of 2 steps; 1 ldmatrix.x4, 4 ldmatrix.x2 and 4 mma a step */
    assert_int_equal(of("matmul_f16", "warp/mma"), 16 * 4 * 4);
    assert_int_equal(of("matmul_f16", "warp/ldmatrix"), 16 * 4 * 5);
    assert_int_equal(of("matmul_f16", "shared_load/conflicts"), 0);
    /* a is read by both columns of blocks, b by both rows */
    uint64_t requested, sectors;
    assert_int_equal(cudasim_traffic(a, &requested, &sectors), 0);
    assert_true(requested == 2 * 128 * 64 * 2 && sectors == requested);
    assert_int_equal(cudasim_traffic(b, &requested, &sectors), 0);
    assert_true(requested == 2 * 64 * 64 * 2 && sectors == requested);
    /* c is written once */
    assert_int_equal(of("matmul_f16", "global_store/bytes"), 128 * 64 * 4);
}

/* A mat-vec reads each weight once, in whole sectors. */
static void counts_weight_traffic(void **state) {
    enum { N_ROW = 16, N_BLOCK = 22 };
    int n_row = N_ROW, n_block = N_BLOCK;
    static uint8_t zeros[N_ROW * N_BLOCK * 32];
    (void)state;
    CUdeviceptr w = sim_upload(zeros, sizeof zeros), s = sim_upload(zeros, N_ROW * N_BLOCK * 4),
                x = sim_upload(zeros, N_BLOCK * 32), xs = sim_upload(zeros, N_BLOCK * 4),
                y = sim_alloc(N_ROW * 4);
    cudasim_counters_reset();
    CU(sim_run(sim_kernel("matvec_dp4a"), N_ROW / 4, 128, 0, PARAMS(&w, &s, &x, &xs, &y, &n_row, &n_block)));
    uint64_t requested, sectors;
    assert_int_equal(cudasim_traffic(w, &requested, &sectors), 0);
    assert_int_equal(requested, sizeof zeros);
    assert_int_equal(sectors, sizeof zeros);
    /* two blocks a lane pair: 44 pieces of 16 bytes over 32 lanes, 4 dp4a each, by 32 and by 12 lanes */
    assert_int_equal(of("matvec_dp4a", "thread/dp4a"), N_ROW * 2 * N_BLOCK * 4);
}

static void counts_calls_and_copies(void **state) {
    uint32_t x[4] = {0};
    char *text;
    (void)state;
    cudasim_counters_reset();
    CUdeviceptr a = sim_upload(x, 16), b = sim_alloc(16);
    CU(cuMemcpyDtoD(b, a, 16));
    sim_download(x, b, 12);
    assert_int_equal(sim_counter("copies/host_to_device_bytes"), 16);
    assert_int_equal(sim_counter("copies/device_to_host_bytes"), 12);
    assert_int_equal(sim_counter("copies/on_device_bytes"), 16);
    assert_int_equal(sim_counter("calls/cuMemAlloc"), 2);
    assert_int_equal(cudasim_calls("cuMemcpyDtoD"), 1);
    text = cudasim_counters();
    assert_non_null(strstr(text, "\"simulated\": true"));
    free(text);
}

/* A list of launches, and the lines of a kernel that run most. */
static void lists_launches_and_lines(void **state) {
    int n = 64;
    float a = 1;
    static float zeros[64];
    (void)state;
    cudasim_option("LAUNCHES", "2");
    cudasim_option("LINES", "3");
    CUdeviceptr x = sim_upload(zeros, sizeof zeros), y = sim_upload(zeros, sizeof zeros);
    CUfunction f = sim_kernel("saxpy");
    cudasim_counters_reset();
    for (int i = 0; i < 3; i++)
        CU(sim_run(f, 2, 32, 0, PARAMS(&a, &x, &y, &n)));
    char *text = cudasim_counters(), *at = text;
    int launches = 0;
    while ((at = strstr(at, "\"kernel\": \"saxpy\", \"grid\": [2, 1, 1]")))
        launches++, at++;
    assert_int_equal(launches, 2);
    assert_non_null(strstr(text, "\"lines\": [{\"line\": "));
    free(text);
    cudasim_option("LAUNCHES", "0");
    cudasim_option("LINES", "0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(counts_instructions),      TEST(counts_sectors),        TEST(counts_bank_conflicts),
        TEST(counts_matrix_loads),      TEST(counts_weight_traffic), TEST(counts_calls_and_copies),
        TEST(lists_launches_and_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
