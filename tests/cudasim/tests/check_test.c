/* What the simulator must catch: kernels with one thing wrong. Each right version runs clean in orderly and
 * in adversarial order; its mutation must not. */
#include "sim.h"

static void set_seed(int seed) {
    char text[16];
    snprintf(text, sizeof text, "%d", seed);
    assert_int_equal(cudasim_option("SEED", text), 0);
}

/* ---- mutations ---- */

/* One block of 64 threads: each writes its value to shared memory and reads the other warp's. */
#define EXCHANGE(barrier)                                                                                    \
    ".visible .entry exchange(.param .u64 out) { .shared .align 4 .b8 s[256]; .reg .b64 %out, %o; .reg "     \
    ".b32 %t, %a, %v;\n"                                                                                     \
    "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 4; add.s64 %out, %out, %o; shl.b32 " \
    "%a, %t, 2; mov.u32 %v, s; add.s32 %a, %a, %v;\n"                                                        \
    "st.shared.u32 [%a], %t;\n" barrier "\n"                                                                 \
    "xor.b32 %t, %t, 32; shl.b32 %a, %t, 2; add.s32 %a, %a, %v; ld.shared.u32 %v, [%a]; st.global.u32 "      \
    "[%out], %v; ret; }"

static void a_dropped_barrier(void **state) {
    (void)state;
    CUdeviceptr p = sim_alloc(256);
    CUfunction good = sim_ptx(EXCHANGE("bar.sync 0;"));
    for (int seed = 0; seed < 6; seed++) {
        uint32_t out[64];
        set_seed(seed);
        CU(sim_run(good, 1, 64, 0, PARAMS(&p)));
        sim_download(out, p, sizeof out);
        for (uint32_t i = 0; i < 64; i++)
            assert_int_equal(out[i], i ^ 32);
    }
    set_seed(0);
    CUfunction bad = sim_ptx(EXCHANGE(""));
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(bad, 1, 64, 0, PARAMS(&p)));
    SAYS("nothing has written"); /* the first warp ran through before the second wrote */
}

/* The same with the word written before, so that only the order is wrong. */
#define OVERWRITE(barrier)                                                                                   \
    ".visible .entry overwrite(.param .u64 out) { .shared .align 4 .b8 s[256]; .reg .b64 %out, %o; .reg "    \
    ".b32 %t, %a, %v, %b;\n"                                                                                 \
    "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 4; add.s64 %out, %out, %o; shl.b32 " \
    "%a, %t, 2; mov.u32 %v, s; add.s32 %a, %a, %v;\n"                                                        \
    "st.shared.u32 [%a], 0; bar.sync 0; st.shared.u32 [%a], %t;\n" barrier "\n"                              \
    "xor.b32 %t, %t, 32; shl.b32 %b, %t, 2; add.s32 %b, %b, %v; ld.shared.u32 %v, [%b]; st.global.u32 "      \
    "[%out], %v; ret; }"

static void a_race_between_warps(void **state) {
    (void)state;
    CUdeviceptr p = sim_alloc(256);
    CU(sim_run(sim_ptx(OVERWRITE("bar.sync 0;")), 1, 64, 0, PARAMS(&p)));
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(OVERWRITE("")), 1, 64, 0, PARAMS(&p)));
    SAYS("race: the lane");
}

/* One warp writes a word, the other reads or writes it; warps run in turn, so the first is always there
 * before. */
static void races_in_each_direction(void **state) {
    static const char text[] = ".visible .entry two(.param .u32 how) { .shared .align 4 .b8 s[4]; .reg .b32 "
                               "%t, %how, %v; .reg .pred %p, %q;\n"
                               "ld.param.u32 %how, [how]; mov.u32 %t, %tid.x; setp.ge.u32 %p, %t, 32; @%p "
                               "bra SECOND; setp.ne.u32 %q, %t, 0; @%q ret;\n"
                               "st.shared.u32 [s], %t; ret;\n"
                               "SECOND: setp.ne.u32 %q, %t, 32; @%q ret; setp.eq.u32 %q, %how, 0; @%q "
                               "ld.shared.u32 %v, [s]; @!%q st.shared.u32 [s], %t; ret; }";
    (void)state;
    for (uint32_t how = 0; how < 2; how++) {
        CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(text), 1, 64, 0, PARAMS(&how)));
        SAYS(how ? "the lane writes shared offset 0x0, which lane 0 of warp 0 wrote"
                 : "the lane reads shared offset 0x0, which lane 0 of warp 0 wrote");
        sim_close();
        sim_open();
    }
}

/* A barrier of two warps orders them, and leaves the third out. */
static void barriers_of_a_part_order_that_part(void **state) {
    static const char text[] =
        ".visible .entry part(.param .u32 who) { .shared .align 4 .b8 s[4]; .reg .b32 %t, %w, %who, %v; .reg "
        ".pred %p, %q, %r;\n"
        "ld.param.u32 %who, [who]; mov.u32 %t, %tid.x; shr.u32 %w, %t, 5; and.b32 %t, %t, 31; setp.eq.u32 "
        "%p, %t, 0; setp.eq.u32 %q, %w, 0; setp.eq.u32 %r, %w, %who;\n"
        "and.pred %q, %p, %q; and.pred %r, %p, %r; @%q st.shared.u32 [s], %t; setp.lt.u32 %q, %w, 2; @!%q "
        "bra LAST; bar.sync 1, 64;\n"
        "LAST: @%r ld.shared.u32 %v, [s]; ret; }";
    (void)state;
    uint32_t who = 1;
    CU(sim_run(sim_ptx(text), 1, 96, 0, PARAMS(&who)));
    who = 2;
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(text), 1, 96, 0, PARAMS(&who)));
    SAYS("race: the lane reads");
}

/* Without the shadow, adversarial order shows the dropped barrier as a wrong result. */
static void a_dropped_barrier_by_its_result(void **state) {
    (void)state;
    bool wrong = false;
    CUdeviceptr p = sim_alloc(256);
    CUfunction bad = sim_ptx(OVERWRITE(""));
    cudasim_option("RACES", "0");
    for (int seed = 1; seed < 6; seed++) {
        uint32_t out[64];
        set_seed(seed);
        CU(sim_run(bad, 1, 64, 0, PARAMS(&p)));
        sim_download(out, p, sizeof out);
        for (uint32_t i = 0; i < 64; i++)
            wrong |= out[i] != (i ^ 32);
    }
    assert_true(wrong);
}

/* Lanes of one warp hand a value on; the barrier is that of the warp. */
#define IN_A_WARP(barrier)                                                                                   \
    ".visible .entry in_a_warp(.param .u64 out) { .shared .align 4 .b8 s[128]; .reg .b64 %out, %o; .reg "    \
    ".b32 %t, %a, %v;\n"                                                                                     \
    "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 4; add.s64 %out, %out, %o; shl.b32 " \
    "%a, %t, 2; mov.u32 %v, s; add.s32 %a, %a, %v;\n"                                                        \
    "st.shared.u32 [%a], %t;\n" barrier "\n"                                                                 \
    "xor.b32 %t, %t, 1; shl.b32 %a, %t, 2; add.s32 %a, %a, %v; ld.shared.u32 %v, [%a]; st.global.u32 "       \
    "[%out], %v; ret; }"

static void a_dropped_warp_barrier(void **state) {
    (void)state;
    CUdeviceptr p = sim_alloc(128);
    for (int seed = 0; seed < 6; seed++) {
        set_seed(seed);
        CU(sim_run(sim_ptx(IN_A_WARP("bar.warp.sync 0xffffffff;")), 1, 32, 0, PARAMS(&p)));
    }
    set_seed(0);
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(IN_A_WARP("")), 1, 32, 0, PARAMS(&p)));
    SAYS("race: the lane reads");
}

#define FETCH(wait)                                                                                          \
    ".visible .entry fetch(.param .u64 in, .param .u64 out) { .shared .align 16 .b8 s[512]; .reg .b64 %in, " \
    "%out, %o; .reg .b32 %t, %a, %v;\n"                                                                      \
    "ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 16; "        \
    "add.s64 %in, %in, %o; mul.wide.u32 %o, %t, 4;\n"                                                        \
    "add.s64 %out, %out, %o; shl.b32 %a, %t, 4; mov.u32 %v, s; add.s32 %a, %a, %v; "                         \
    "cp.async.cg.shared.global [%a], [%in], 16; cp.async.commit_group;\n" wait                               \
    " bar.sync 0; xor.b32 %t, %t, 5; shl.b32 %a, %t, 4; add.s32 %a, %a, %v; ld.shared.u32 %v, [%a]; "        \
    "st.global.u32 [%out], %v; ret; }"

static void a_dropped_wait_group(void **state) {
    uint32_t in[128], out[32];
    (void)state;
    for (uint32_t i = 0; i < 128; i++)
        in[i] = i;
    CUdeviceptr din = sim_upload(in, sizeof in), dout = sim_alloc(sizeof out);
    for (int seed = 0; seed < 4; seed++) {
        set_seed(seed);
        CU(sim_run(sim_ptx(FETCH("cp.async.wait_group 0;")), 1, 32, 0, PARAMS(&din, &dout)));
        sim_download(out, dout, sizeof out);
        for (uint32_t i = 0; i < 32; i++)
            assert_int_equal(out[i], 4 * (i ^ 5));
    }
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(FETCH("")), 1, 32, 0, PARAMS(&din, &dout)));
    SAYS("cp.async has not been waited for");
}

/* A wait that leaves one group under way too many. */
static void a_wait_for_too_few_groups(void **state) {
    uint32_t in[128] = {0};
    (void)state;
    CUdeviceptr din = sim_upload(in, sizeof in), dout = sim_alloc(128);
    CU_IS(CUDA_ERROR_LAUNCH_FAILED,
          sim_run(sim_ptx(FETCH("cp.async.wait_group 1;")), 1, 32, 0, PARAMS(&din, &dout)));
    SAYS("cp.async has not been waited for");
}

/* A sum over the warp whose shuffle names these members. */
#define SUM(members)                                                                                         \
    ".visible .entry sum(.param .u64 out) { .reg .b64 %out; .reg .b32 %t, %v, %w; .reg .pred %p; "           \
    "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mov.u32 %v, %t;\n"                                        \
    "shfl.sync.bfly.b32 %w, %v, 16, 31, " members                                                            \
    "; add.s32 %v, %v, %w; setp.ne.u32 %p, %t, 0; @%p ret; st.global.u32 [%out], %v; ret; }"

static void a_wrong_member_mask(void **state) {
    (void)state;
    CUdeviceptr p = sim_alloc(4);
    CU(sim_run(sim_ptx(SUM("0xffffffff")), 1, 32, 0, PARAMS(&p)));
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(SUM("0xfffffffe")), 1, 32, 0, PARAMS(&p)));
    SAYS("the member mask 0xfffffffe leaves out the lane that executes it");
}

/* Half the warp takes a branch and names all lanes: the rest never comes. */
static void a_shuffle_that_waits_for_ever(void **state) {
    static const char text[] = ".visible .entry stuck(.param .u64 out) { .reg .b64 %out; .reg .b32 %t, %v; "
                               ".reg .pred %p; ld.param.u64 %out, [out]; mov.u32 %t, %tid.x;\n"
                               "setp.lt.u32 %p, %t, 16; @%p bra FEW; bar.sync 0; ret; FEW: shfl.sync.idx.b32 "
                               "%v, %t, 3, 31, 0xffffffff; st.global.u32 [%out], %v; bar.sync 0; ret; }";
    (void)state;
    CUdeviceptr p = sim_alloc(4);
    CU_IS(CUDA_ERROR_LAUNCH_TIMEOUT, sim_run(sim_ptx(text), 1, 32, 0, PARAMS(&p)));
    SAYS("the block can go no further");
    SAYS("wait for lanes 0xffff0000");
}

/* A mask that is right for those who execute it, and reads a lane outside. */
static void a_shuffle_from_a_lane_that_takes_no_part(void **state) {
    static const char text[] =
        ".visible .entry outside(.param .u64 out) { .reg .b64 %out, %o; .reg .b32 %t, %v; .reg .pred %p; "
        "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 4;\n"
        "add.s64 %out, %out, %o; mov.u32 %v, 1; setp.ge.u32 %p, %t, 16; @%p bra OUT; shfl.sync.bfly.b32 %v, "
        "%v, 16, 31, 0x0000ffff; OUT: st.global.u32 [%out], %v; ret; }";
    uint32_t out[32];
    (void)state;
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(sim_run(sim_ptx(text), 1, 32, 0, PARAMS(&p)));
    sim_download(out, p, sizeof out);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(out[i], i < 16 ? 0x7ffbfdad : 1);
}

/* y[row] = x[row] for rows 0..n-1, one row too many when `last` says so. */
static void an_off_by_one_row(void **state) {
    static const char text[] =
        ".visible .entry rows(.param .u64 in, .param .u64 out, .param .u32 n) { .reg .b64 %in, %out, %o; "
        ".reg .b32 %t, %n, %v; .reg .pred %p; ld.param.u64 %in, [in];\n"
        "ld.param.u64 %out, [out]; ld.param.u32 %n, [n]; mov.u32 %t, %tid.x; setp.ge.u32 %p, %t, %n; @%p "
        "ret; mul.wide.u32 %o, %t, 4; add.s64 %in, %in, %o;\n"
        "add.s64 %out, %out, %o; ld.global.u32 %v, [%in]; st.global.u32 [%out], %v; ret; }";
    uint32_t data[20] = {0}, n = 20;
    (void)state;
    CUdeviceptr in = sim_upload(data, sizeof data), out = sim_alloc(sizeof data);
    CUfunction f = sim_ptx(text);
    CU(sim_run(f, 1, 32, 0, PARAMS(&in, &out, &n)));
    n = 21;
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, sim_run(f, 1, 32, 0, PARAMS(&in, &out, &n)));
    SAYS("lies 0 bytes behind the end of allocation");
    SAYS("lane 20");
}

/* Two streams without an event between: the second runs first when it is the one waited for. */
static void a_missing_stream_wait(void **state) {
    static const char text[] = ".visible .entry step(.param .u64 in, .param .u64 out) { .reg .b64 %in, %out; "
                               ".reg .b32 %v; ld.param.u64 %in, [in]; ld.param.u64 %out, [out];\n"
                               "ld.global.u32 %v, [%in]; add.u32 %v, %v, 1; st.global.u32 [%out], %v; ret; }";
    uint32_t five = 5, result;
    (void)state;
    for (int wait = 1; wait >= 0; wait--) {
        CUstream first, second;
        CUevent event;
        CUfunction f = sim_ptx(text);
        CUdeviceptr a = sim_upload(&five, 4), b = sim_alloc(4), c = sim_alloc(4);
        CU(cuStreamCreate(&first, CU_STREAM_NON_BLOCKING));
        CU(cuStreamCreate(&second, CU_STREAM_NON_BLOCKING));
        CU(cuEventCreate(&event, 0));
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, first, PARAMS(&a, &b), NULL));
        CU(cuEventRecord(event, first));
        if (wait)
            CU(cuStreamWaitEvent(second, event, 0));
        CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, second, PARAMS(&b, &c), NULL));
        if (!wait) {
            CU_IS(CUDA_ERROR_LAUNCH_FAILED, cuStreamSynchronize(second));
            SAYS("nothing has written");
            return;
        }
        CU(cuStreamSynchronize(second));
        sim_download(&result, c, 4);
        assert_int_equal(result, 7);
    }
}

/* ---- accesses ---- */

#define ACCESS(body)                                                                                         \
    ".visible .entry access(.param .u64 p) { .shared .align 16 .b8 s[64]; .local .align 16 .b8 l[32]; .reg " \
    ".b64 %p, %a; .reg .b32 %v, %w; ld.param.u64 %p, [p]; " body " ret; }"

static void expect(const char *text, CUresult code, const char *sentence) {
    CUdeviceptr p;
    sim_close();
    sim_open();
    p = sim_alloc(64);
    CU(cuMemsetD8(p, 0, 60)); /* the last four bytes stay unwritten */
    CU_IS(code, sim_run(sim_ptx(text), 1, 1, 0, PARAMS(&p)));
    SAYS(sentence);
}

static void wrong_accesses(void **state) {
    (void)state;
    expect(ACCESS("ld.global.u32 %v, [%p+64];"), CUDA_ERROR_ILLEGAL_ADDRESS, "behind the end");
    expect(ACCESS("ld.global.v4.u32 {%v, %v, %v, %v}, [%p+48];"), CUDA_ERROR_LAUNCH_FAILED,
           "nothing has written");
    expect(ACCESS("ld.global.u32 %v, [%p+60];"), CUDA_ERROR_LAUNCH_FAILED, "nothing has written");
    expect(ACCESS("ld.global.u32 %v, [%p+-4];"), CUDA_ERROR_ILLEGAL_ADDRESS, "before allocation");
    expect(ACCESS("ld.global.u32 %v, [%p+2];"), CUDA_ERROR_MISALIGNED_ADDRESS, "not a multiple");
    expect(ACCESS("ld.global.v4.u32 {%v, %v, %v, %v}, [%p+8];"), CUDA_ERROR_MISALIGNED_ADDRESS,
           "not a multiple");
    expect(ACCESS("mov.u64 %a, 0; ld.global.u32 %v, [%a];"), CUDA_ERROR_ILLEGAL_ADDRESS,
           "nothing is allocated");
    expect(ACCESS("mov.u32 %v, 1; st.shared.u32 [s+64], %v;"), CUDA_ERROR_ILLEGAL_ADDRESS,
           "shared offset 0x40");
    expect(ACCESS("mov.u32 %v, 1; st.shared.u32 [s+2], %v;"), CUDA_ERROR_MISALIGNED_ADDRESS,
           "not a multiple");
    expect(ACCESS("ld.shared.u32 %v, [s];"), CUDA_ERROR_LAUNCH_FAILED, "nothing has written");
    expect(ACCESS("mov.u32 %w, 0; ld.shared.u32 %v, [%w];"), CUDA_ERROR_ILLEGAL_ADDRESS, "shared offset");
    expect(ACCESS("mov.u32 %v, 1; st.local.u32 [l+32], %v;"), CUDA_ERROR_ILLEGAL_ADDRESS,
           "local offset 0x20");
    expect(ACCESS("mov.u64 %a, 0x1000000000; ld.u32 %v, [%a];"), CUDA_ERROR_ILLEGAL_ADDRESS,
           "nothing is allocated");
    expect(".const .align 4 .u32 c = 1; .visible .entry k(.param .u64 p) { .reg .b64 %a; mov.u64 %a, c; "
           "st.global.u32 [%a], 5; ret; }",
           CUDA_ERROR_ILLEGAL_ADDRESS, "constant memory");
}

/* Local memory and registers start as poison, not as zero. */
static void poison(void **state) {
    static const char text[] = ".visible .entry poison(.param .u64 p) { .local .align 4 .b8 l[4]; .reg .b64 "
                               "%p; .reg .b32 %v, %never; ld.param.u64 %p, [p]; ld.local.u32 %v, [l];\n"
                               "st.global.u32 [%p], %v; st.global.u32 [%p+4], %never; ret; }";
    uint32_t out[4];
    (void)state;
    CUdeviceptr p = sim_alloc(16);
    CU(sim_run(sim_ptx(text), 1, 1, 0, PARAMS(&p)));
    sim_download(out, p, 16);
    assert_int_equal(out[0], 0x7ffbfdad);
    assert_int_equal(out[1], 0x7ffbfdad);
    assert_int_equal(out[2], 0x7ffbfdad); /* device memory that nobody wrote, too */
    assert_int_equal(out[3], 0x7ffbfdad);
    cudasim_option("UNINITIALISED", "0");
    CUdeviceptr fresh = sim_alloc(8);
    CU(sim_run(sim_ptx(".visible .entry copy(.param .u64 from, .param .u64 to) { .reg .b64 %a; .reg .b32 %v; "
                       "ld.param.u64 %a, [from]; ld.global.u32 %v, [%a+4]; ld.param.u64 %a, [to];\n"
                       "st.global.u32 [%a], %v; ret; }"),
               1, 1, 0, PARAMS(&fresh, &p)));
    sim_download(out, p, 4);
    assert_int_equal(out[0], 0x7ffbfdad);
}

/* ---- barriers used wrongly ---- */

static void wrong_barriers(void **state) {
    (void)state;
    expect(ACCESS("mov.u32 %v, 16; bar.sync %v;"), CUDA_ERROR_LAUNCH_FAILED, "barrier 16");
    expect(ACCESS("bar.sync 1, 33;"), CUDA_ERROR_LAUNCH_FAILED, "a barrier of 33 threads");
    expect(ACCESS("bar.sync 1, 64;"), CUDA_ERROR_LAUNCH_FAILED, "a barrier of 64 threads in a block of 32");
    static const char different[] =
        ".visible .entry k(.param .u64 p) { .reg .b32 %t; .reg .pred %p; mov.u32 %t, %tid.x; setp.lt.u32 %p, "
        "%t, 32; @%p bra A; bar.sync 1, 96; ret; A: bar.sync 1, 64; ret; }";
    CUdeviceptr p = 0;
    CU_IS(CUDA_ERROR_LAUNCH_FAILED,
          (sim_close(), sim_open(), sim_run(sim_ptx(different), 1, 96, 0, PARAMS(&p))));
    SAYS("is used with");
    /* a barrier that some threads of the block never reach */
    static const char forever[] =
        ".visible .entry k(.param .u64 p) { .reg .b32 %t; .reg .pred %p; mov.u32 %t, %tid.x; setp.lt.u32 %p, "
        "%t, 32; @%p bra A; bar.sync 0; ret; A: bar.sync 1; ret; }";
    CU_IS(CUDA_ERROR_LAUNCH_TIMEOUT,
          (sim_close(), sim_open(), sim_run(sim_ptx(forever), 1, 64, 0, PARAMS(&p))));
    SAYS("wait at barrier 0");
    SAYS("wait at barrier 1");
    /* threads that have left are not waited for */
    static const char gone[] = ".visible .entry k(.param .u64 p) { .reg .b32 %t; .reg .pred %p; mov.u32 %t, "
                               "%tid.x; setp.lt.u32 %p, %t, 32; @%p ret; bar.sync 0; ret; }";
    CU((sim_close(), sim_open(), sim_run(sim_ptx(gone), 1, 64, 0, PARAMS(&p))));
}

/* A lock taken by each lane of a warp in turn: forward progress inside a warp. */
static void spin_locks(void **state) {
    static const char text[] =
        ".visible .entry lock(.param .u64 p) { .reg .b64 %p; .reg .b32 %old, %n; .reg .pred %q; ld.param.u64 "
        "%p, [p];\n"
        "TRY: atom.global.acquire.gpu.cas.b32 %old, [%p], 0, 1; setp.ne.u32 %q, %old, 0; @%q bra TRY;\n"
        "ld.volatile.global.u32 %n, [%p+4]; add.u32 %n, %n, 1; st.volatile.global.u32 [%p+4], %n; membar.gl; "
        "atom.global.exch.b32 %old, [%p], 0; ret; }";
    (void)state;
    CUfunction f = sim_ptx(text);
    for (int seed = 0; seed < 3; seed++) {
        uint32_t words[2] = {0, 0};
        set_seed(seed);
        CUdeviceptr p = sim_upload(words, 8);
        CU(sim_run(f, 3, 64, 0, PARAMS(&p)));
        sim_download(words, p, 8);
        assert_int_equal(words[0], 0);
        assert_int_equal(words[1], 192);
    }
}

/* A loop without end is stopped by the limit. */
static void endless_loops(void **state) {
    (void)state;
    cudasim_option("LIMIT", "1000000");
    CU_IS(
        CUDA_ERROR_LAUNCH_TIMEOUT,
        sim_run(sim_ptx(".visible .entry k() { .reg .b32 %v; mov.u32 %v, 0; L: add.u32 %v, %v, 1; bra L; }"),
                1, 32, 0, NULL));
    SAYS("CUDASIM_LIMIT");
    cudasim_option("LIMIT", "1000000000000");
}

/* Branches that promise to be uniform. */
static void broken_promises(void **state) {
    (void)state;
    static const char text[] = ".visible .entry k() { .reg .b32 %t; .reg .pred %p; mov.u32 %t, %tid.x; "
                               "setp.lt.u32 %p, %t, 3; @%p bra.uni L; L: ret; }";
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(text), 1, 32, 0, NULL));
    SAYS("lanes disagree");
    sim_close();
    sim_open();
    static const char mma[] = ".visible .entry k() { .reg .b32 %r<8>; .reg .pred %p; mov.u32 %r0, %tid.x; "
                              "setp.lt.u32 %p, %r0, 3; @%p ret;\n"
                              "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r0, %r1, %r2, %r3}, {%r4, "
                              "%r5}, {%r6}, {%r0, %r1, %r2, %r3}; ret; }";
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(sim_ptx(mma), 1, 32, 0, NULL));
    SAYS("needs all 32");
}

/* Poison, races and order: the same bits in every order, for a kernel with everything in it. */
static void equal_bits_in_every_order(void **state) {
    static const char text[] =
        ".visible .entry mix(.param .u64 out) { .shared .align 4 .b8 s[512]; .reg .b64 %out, %o; .reg .b32 "
        "%t, %l, %a, %b, %v, %w, %k; .reg .f32 %f, %g; .reg .pred %p, %q;\n"
        "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mov.u32 %l, %laneid; mov.u32 %b, s; shl.b32 %a, %t, "
        "2; add.s32 %a, %a, %b; mov.u32 %k, 0; cvt.rn.f32.u32 %f, %t;\n"
        "LOOP: and.b32 %v, %l, 3; setp.gt.u32 %p, %v, %k; @%p bra SKIP; mul.f32 %f, %f, 0f3f8ccccd; add.f32 "
        "%f, %f, 0f3dcccccd;\n"
        "SKIP: bar.warp.sync 0xffffffff; st.shared.f32 [%a], %f; bar.sync 0; add.u32 %w, %t, 77; and.b32 %w, "
        "%w, 127; shl.b32 %w, %w, 2; add.s32 %w, %w, %b; ld.shared.f32 %g, [%w];\n"
        "bar.sync 0; fma.rn.f32 %f, %g, 0f3e800000, %f; mov.b32 %v, %f; shfl.sync.down.b32 %v, %v, 3, 31, "
        "0xffffffff; mov.b32 %g, %v; add.f32 %f, %f, %g;\n"
        "add.u32 %k, %k, 1; setp.lt.u32 %q, %k, 4; @%q bra LOOP; mul.wide.u32 %o, %t, 4; add.s64 %out, %out, "
        "%o; st.global.f32 [%out], %f; ret; }";
    uint32_t first[128], out[128];
    (void)state;
    CUfunction f = sim_ptx(text);
    CUdeviceptr p = sim_alloc(sizeof out);
    for (int seed = 0; seed < 20; seed++) {
        set_seed(seed);
        CU(sim_run(f, 1, 128, 0, PARAMS(&p)));
        sim_download(seed ? out : first, p, sizeof out);
        if (seed)
            assert_memory_equal(out, first, sizeof out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(a_dropped_barrier),
        TEST(a_race_between_warps),
        TEST(races_in_each_direction),
        TEST(barriers_of_a_part_order_that_part),
        TEST(a_dropped_barrier_by_its_result),
        TEST(a_dropped_warp_barrier),
        TEST(a_dropped_wait_group),
        TEST(a_wait_for_too_few_groups),
        TEST(a_wrong_member_mask),
        TEST(a_shuffle_that_waits_for_ever),
        TEST(a_shuffle_from_a_lane_that_takes_no_part),
        TEST(an_off_by_one_row),
        TEST(a_missing_stream_wait),
        TEST(wrong_accesses),
        TEST(poison),
        TEST(wrong_barriers),
        TEST(spin_locks),
        TEST(endless_loops),
        TEST(broken_promises),
        TEST(equal_bits_in_every_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
