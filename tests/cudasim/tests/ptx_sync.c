/* What lanes and warps do together: shuffles, votes, matches, reductions, barriers; and the flow of control.
 */
#include "op.h"
#include "ptx_tests.h"

enum { LANES = 32 };

/* ---- shuffles, in the words of CUDA's __shfl_*_sync(value, number, width) ---- */

static uint32_t shuffle_source(const char *mode, uint32_t lane, uint32_t number, uint32_t width,
                               bool *inside) {
    const uint32_t first = lane / width * width, in_group = lane % width;
    int64_t from = !strcmp(mode, "up")     ? (int64_t)in_group - number
                   : !strcmp(mode, "down") ? (int64_t)in_group + number
                   : !strcmp(mode, "bfly") ? (int64_t)(lane ^ number) - first
                                           : (int64_t)(number % width);
    *inside = from >= 0 && from < (int64_t)width;
    if (!strcmp(mode, "bfly") && from < 0) /* a butterfly reaches into earlier groups, not into later ones */
        *inside = true;
    return *inside ? first + (uint32_t)from : lane;
}

static void shuffles(void) {
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    static const uint32_t widths[] = {32, 16, 8, 4, 2}, numbers[] = {0, 1, 2, 5, 7, 16, 31};
    for (int m = 0; m < 4; m++) {
        char name[32];
        snprintf(name, sizeof name, "shfl.sync.%s.b32", modes[m]);
        for (int w = 0; w < 5; w++)
            for (int n = 0; n < 7; n++) {
                uint64_t values[LANES * 5];
                const uint32_t c = (32 - widths[w]) << 8 | (m == 0 ? 0 : 31);
                for (uint32_t lane = 0; lane < LANES; lane++) {
                    bool inside;
                    const uint32_t from = shuffle_source(modes[m], lane, numbers[n], widths[w], &inside);
                    memcpy(values + 5 * lane,
                           (uint64_t[]){1000 + 7 * from, inside, 1000 + 7 * lane, numbers[n], c}, 40);
                }
                op_add_whole(name, "R|P, r, r, r, 0xffffffff", LANES, values);
            }
        /* each lane its own number; and no predicate */
        uint64_t values[LANES * 4];
        for (uint32_t lane = 0; lane < LANES; lane++) {
            bool inside;
            const uint32_t from = shuffle_source(modes[m], lane, lane % 5, 32, &inside);
            memcpy(values + 4 * lane, (uint64_t[]){from, lane, lane % 5, m == 0 ? 0 : 31}, 32);
        }
        op_add_whole(name, "R, r, r, r, 0xffffffff", LANES, values);
    }
    op_run();
}

/* ---- votes, matches, reductions ---- */

static void add_vote(uint32_t ballot) {
    uint64_t all[LANES * 2], any[LANES * 2], uni[LANES * 2], bits[LANES * 2], negated[LANES * 2];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        const uint64_t p = ballot >> lane & 1;
        memcpy(all + 2 * lane, (uint64_t[]){ballot == 0xffffffff, p}, 16);
        memcpy(any + 2 * lane, (uint64_t[]){ballot != 0, p}, 16);
        memcpy(uni + 2 * lane, (uint64_t[]){ballot == 0xffffffff || ballot == 0, p}, 16);
        memcpy(bits + 2 * lane, (uint64_t[]){ballot, p}, 16);
        memcpy(negated + 2 * lane, (uint64_t[]){~ballot, p}, 16);
    }
    op_add_whole("vote.sync.all.pred", "P, p, 0xffffffff", LANES, all);
    op_add_whole("vote.sync.any.pred", "P, p, 0xffffffff", LANES, any);
    op_add_whole("vote.sync.uni.pred", "P, p, 0xffffffff", LANES, uni);
    op_add_whole("vote.sync.ballot.b32", "R, p, 0xffffffff", LANES, bits);
    op_add_whole("vote.sync.ballot.b32", "R, !p, 0xffffffff", LANES, negated);
}

static void matches(void) {
    for (int equal = 0; equal < 2; equal++)
        for (int wide = 0; wide < 2; wide++) {
            uint64_t any[LANES * 2], all[LANES * 3];
            for (uint32_t lane = 0; lane < LANES; lane++) {
                const uint64_t value = equal ? 9 : (uint64_t)(lane % 3) << (wide ? 40 : 3);
                uint32_t same = 0;
                for (uint32_t k = 0; k < LANES; k++)
                    same |= (uint32_t)(equal || k % 3 == lane % 3) << k;
                memcpy(any + 2 * lane, (uint64_t[]){same, value}, 16);
                memcpy(all + 3 * lane, (uint64_t[]){equal ? 0xffffffff : 0, equal, value}, 24);
            }
            op_add_whole(wide ? "match.any.sync.b64" : "match.any.sync.b32",
                         wide ? "R, d, 0xffffffff" : "R, r, 0xffffffff", LANES, any);
            op_add_whole(wide ? "match.all.sync.b64" : "match.all.sync.b32",
                         wide ? "R|P, d, 0xffffffff" : "R|P, r, 0xffffffff", LANES, all);
        }
}

static void reductions(void) {
    static const char *const names[] = {"add.u32", "add.s32", "min.u32", "max.u32", "min.s32",
                                        "max.s32", "and.b32", "or.b32",  "xor.b32"};
    uint32_t v[LANES], sum = 0, least = UINT32_MAX, most = 0, conjunction = UINT32_MAX, either = 0, odd = 0;
    int32_t s_least = INT32_MAX, s_most = INT32_MIN;
    for (uint32_t i = 0; i < LANES; i++) {
        v[i] = (i * 0x9e3779b9u) | 0x100;
        sum += v[i];
        least = v[i] < least ? v[i] : least;
        most = v[i] > most ? v[i] : most;
        s_least = (int32_t)v[i] < s_least ? (int32_t)v[i] : s_least;
        s_most = (int32_t)v[i] > s_most ? (int32_t)v[i] : s_most;
        conjunction &= v[i], either |= v[i], odd ^= v[i];
    }
    const uint32_t results[] = {sum,         sum,    least, most, (uint32_t)s_least, (uint32_t)s_most,
                                conjunction, either, odd};
    for (int k = 0; k < 9; k++) {
        uint64_t values[LANES * 2];
        char name[32];
        for (uint32_t i = 0; i < LANES; i++)
            memcpy(values + 2 * i, (uint64_t[]){results[k], v[i]}, 16);
        snprintf(name, sizeof name, "redux.sync.%s", names[k]);
        op_add_whole(name, "R, r, 0xffffffff", LANES, values);
    }
}

/* Lanes in two halves with member masks of their own; lanes that exited are not waited for. */
static const char partial[] = ".visible .entry partial(.param .u64 out) { .reg .b64 %out, %o; .reg .b32 "
                              "%lane, %m, %v, %w, %b; .reg .pred %high, %gone, %p;\n"
                              "ld.param.u64 %out, [out]; mov.u32 %lane, %laneid; mul.wide.u32 %o, %lane, 16; "
                              "add.s64 %out, %out, %o; setp.ge.u32 %high, %lane, 16;\n"
                              "selp.u32 %m, 0xffff0000, 0x0000ffff, %high;\n"
                              "redux.sync.add.u32 %v, %lane, %m; st.global.u32 [%out], %v;\n"
                              "@%high bra HIGH;\n"
                              "shfl.sync.bfly.b32 %v, %lane, 1, 31, 0x0000ffff; bra JOIN;\n"
                              "HIGH: shfl.sync.bfly.b32 %v, %lane, 2, 31, 0xffff0000;\n"
                              "JOIN: bar.warp.sync 0xffffffff; st.global.u32 [%out+4], %v;\n"
                              "setp.eq.u32 %gone, %lane, 3; @%gone exit;\n"
                              "mov.u32 %b, 1; setp.eq.u32 %p, %b, 1; vote.sync.ballot.b32 %w, %p, "
                              "0xffffffff; st.global.u32 [%out+8], %w;\n"
                              "activemask.b32 %w; st.global.u32 [%out+12], %w; ret; }";

void works_together(void **state) {
    uint32_t out[LANES * 4];
    (void)state;
    shuffles();
    add_vote(0xffffffff);
    add_vote(0);
    add_vote(0x80000001);
    matches();
    reductions();
    op_run();
    memset(out, 0, sizeof out);
    CUfunction f = op_ptx(partial);
    for (int seed = 0; seed < 4; seed++) {
        sim_option("SEED", (char[]){(char)('0' + seed), 0});
        CUdeviceptr p = sim_upload(out, sizeof out);
        CU(sim_run(f, 1, LANES, 0, PARAMS(&p)));
        uint32_t got[LANES * 4];
        sim_download(got, p, sizeof got);
        for (uint32_t i = 0; i < LANES; i++) {
            assert_int_equal(got[4 * i], i < 16 ? 120 : 376);
            assert_int_equal(got[4 * i + 1], i < 16 ? i ^ 1 : i ^ 2);
            assert_int_equal(got[4 * i + 2], i == 3 ? 0 : 0xfffffff7);
            if (!seed)
                assert_int_equal(got[4 * i + 3], i == 3 ? 0 : 0xfffffff7);
        }
    }
}

/* ---- barriers ---- */

/* Every thread writes, waits, and reads its neighbour of another warp. */
static void check_barrier(const char *opcode) {
    enum { THREADS = 96 };
    struct text t = {0};
    uint32_t out[THREADS];
    text_put(&t,
             ".visible .entry barrier_(.param .u64 out) { .shared .align 4 .b8 area[%d]; .reg .b64 %%out, "
             "%%o; .reg .b32 %%t, %%a, %%b, %%v;\n"
             "ld.param.u64 %%out, [out]; mov.u32 %%t, %%tid.x; mul.wide.u32 %%o, %%t, 4; add.s64 %%out, "
             "%%out, %%o; mov.u32 %%a, area; shl.b32 %%b, %%t, 2;\n"
             "add.s32 %%b, %%a, %%b; st.shared.u32 [%%b], %%t; %s;\n"
             "add.s32 %%t, %%t, 33; rem.u32 %%t, %%t, %d; shl.b32 %%t, %%t, 2; add.s32 %%t, %%a, %%t; "
             "ld.shared.u32 %%v, [%%t]; st.global.u32 [%%out], %%v; ret; }",
             4 * THREADS, opcode, THREADS);
    CUfunction f = op_ptx(t.data);
    for (int seed = 0; seed < 3; seed++) {
        sim_option("SEED", (char[]){(char)('0' + seed), 0});
        CUdeviceptr p = sim_alloc(sizeof out);
        CU(sim_run(f, 2, THREADS, 0, PARAMS(&p)));
        sim_download(out, p, sizeof out);
        for (uint32_t i = 0; i < THREADS; i++)
            assert_int_equal(out[i], (i + 33) % THREADS);
        CU(cuMemFree(p));
    }
    sim_option("SEED", "0");
    free(t.data);
}

/* Two warps produce, one waits: arrive lets the producers go on. */
static void check_arrive(const char *sync, const char *arrive) {
    struct text t = {0};
    uint32_t out = 0;
    text_put(&t,
             ".visible .entry arrive_(.param .u64 out) { .shared .align 4 .b8 area[8]; .reg .b64 %%out; .reg "
             ".b32 %%t, %%w, %%a, %%v; .reg .pred %%p, %%q;\n"
             "ld.param.u64 %%out, [out]; mov.u32 %%t, %%tid.x; shr.u32 %%w, %%t, 5; and.b32 %%t, %%t, 31; "
             "setp.eq.u32 %%p, %%w, 2; @%%p bra WAIT;\n"
             "setp.eq.u32 %%q, %%t, 0; shl.b32 %%w, %%w, 2; mov.u32 %%a, area; add.s32 %%a, %%a, %%w; "
             "add.s32 %%v, %%w, 5; @%%q st.shared.u32 [%%a], %%v; %s 3, 96; ret;\n"
             "WAIT: %s 3, 96; setp.ne.u32 %%q, %%t, 0; @%%q ret; ld.shared.u32 %%v, [area]; ld.shared.u32 "
             "%%w, [area+4]; add.s32 %%v, %%v, %%w;\n"
             "st.global.u32 [%%out], %%v; ret; }",
             arrive, sync);
    CUdeviceptr p = sim_upload(&out, 4);
    CU(sim_run(op_ptx(t.data), 1, 96, 0, PARAMS(&p)));
    sim_download(&out, p, 4);
    assert_int_equal(out, 14);
    free(t.data);
}

/* 50 of 96 threads vote. */
static void check_reductions(const char *before, const char *middle) {
    struct text t = {0};
    uint32_t out[96 * 8];
    text_put(&t, ".visible .entry reduce_(.param .u64 out) { .reg .b64 %%out, %%o; .reg .b32 %%t, %%v; .reg "
                 ".pred %%few, %%most, %%r;\n"
                 "ld.param.u64 %%out, [out]; mov.u32 %%t, %%tid.x; mul.wide.u32 %%o, %%t, 32; add.s64 %%out, "
                 "%%out, %%o; setp.lt.u32 %%few, %%t, 50; setp.lt.u32 %%most, %%t, 96;\n");
    static const struct {
        const char *op, *type, *predicate;
    } cases[] = {{"popc", "u32", "%few"},  {"popc", "u32", "!%few"}, {"and", "pred", "%few"},
                 {"and", "pred", "%most"}, {"or", "pred", "%few"},   {"or", "pred", "!%most"},
                 {"and", "pred", "!%few"}, {"popc", "u32", "%most"}};
    static const uint32_t expected[] = {50, 46, 0, 1, 1, 0, 0, 96};
    for (int i = 0; i < 8; i++) {
        const bool number = !strcmp(cases[i].type, "u32");
        text_put(&t, "%s.%s%s.%s %s, 0, %s;\n", before, cases[i].op, middle, cases[i].type,
                 number ? "%v" : "%r", cases[i].predicate);
        text_put(&t, "%sst.global.u32 [%%out+%d], %%v;\n", number ? "" : "selp.u32 %v, 1, 0, %r; ", 4 * i);
    }
    text_put(&t, "ret; }");
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(sim_run(op_ptx(t.data), 1, 96, 0, PARAMS(&p)));
    sim_download(out, p, sizeof out);
    for (int i = 0; i < 96 * 8; i++)
        assert_int_equal(out[i], expected[i % 8]);
    CU(cuMemFree(p));
    free(t.data);
}

/* Three arrivals to a phase, by one thread; every form in each spelling of the space. */
static void barriers_in_memory(void) {
    static const char *const spaces[] = {".shared", ".shared::cta", ""};
    static const uint32_t wanted[] = {0, 2, 1, 1, 0, 0, 1, 2};
    for (int s = 0; s < 3; s++) {
        struct text t = {0};
        const char *sp = spaces[s], *a = *sp ? "bar" : "%a";
        uint32_t out[8];
        text_put(&t,
                 ".visible .entry waits(.param .u64 out) { .shared .align 8 .b64 bar; .reg .b64 %%out, %%a, "
                 "%%s<9>; .reg .b32 %%r<9>; .reg .pred %%p<9>;\n"
                 "ld.param.u64 %%out, [out]; mov.u64 %%a, bar; cvta.shared.u64 %%a, %%a;\n");
        text_put(&t, "mbarrier.init%s.b64 [%s], 3;\nmbarrier.arrive%s.b64 %%s0, [%s];\n", sp, a, sp, a);
        text_put(&t, "mbarrier.test_wait%s.b64 %%p0, [%s], %%s0;\n", sp, a);
        text_put(&t,
                 "mbarrier.arrive.noComplete%s.b64 %%s1, [%s], 1;\nmbarrier.pending_count.b64 %%r1, %%s1;\n",
                 sp, a);
        text_put(&t, "mbarrier.arrive_drop%s.b64 %%s2, [%s];\n", sp, a); /* completes; two are left */
        text_put(&t, "mbarrier.test_wait%s.b64 %%p2, [%s], %%s0;\n", sp, a);
        text_put(&t, "mbarrier.test_wait.parity%s.b64 %%p3, [%s], 0;\n", sp, a);
        text_put(&t, "mbarrier.test_wait.parity%s.b64 %%p4, [%s], 1;\n", sp, a);
        text_put(&t, "mbarrier.arrive_drop.noComplete%s.b64 _, [%s], 1;\n", sp, a); /* one is left */
        text_put(&t, "mbarrier.test_wait.parity%s.b64 %%p5, [%s], 1;\n", sp, a);
        text_put(&t, "mbarrier.arrive%s.b64 %%s3, [%s];\n", sp, a);
        text_put(&t, "mbarrier.test_wait%s.b64 %%p6, [%s], %%s3;\n", sp, a);
        text_put(&t, "mbarrier.inval%s.b64 [%s];\nmbarrier.init%s.b64 [%s], 2;\n", sp, a, sp, a);
        text_put(&t, "mbarrier.arrive%s.b64 %%s4, [%s];\nmbarrier.pending_count.b64 %%r7, %%s4;\n", sp, a);
        for (int i = 0; i < 8; i++)
            if (i != 1 && i != 7)
                text_put(&t, "selp.b32 %%r%d, 1, 0, %%p%d;\n", i, i);
        for (int i = 0; i < 8; i++)
            text_put(&t, "st.global.u32 [%%out+%d], %%r%d;\n", 4 * i, i);
        text_put(&t, "ret; }");
        CUfunction f = op_ptx(t.data);
        free(t.data);
        CUdeviceptr p = sim_alloc(sizeof out);
        CU(sim_run(f, 1, 1, 0, PARAMS(&p)));
        sim_download(out, p, sizeof out);
        for (int i = 0; i < 8; i++)
            assert_int_equal(out[i], wanted[i]);
    }
}

void waits_at_barriers(void **state) {
    static const char *const forms[][2] = {
        {"bar", ""},     {"bar.cta", ""},    {"barrier", ".aligned"}, {"barrier.cta", ".aligned"},
        {"barrier", ""}, {"barrier.cta", ""}};
    (void)state;
    barriers_in_memory();
    for (int i = 0; i < 6; i++) {
        char sync[64], arrive[64], red[64], one[96];
        snprintf(sync, sizeof sync, "%s.sync%s", forms[i][0], forms[i][1]);
        snprintf(arrive, sizeof arrive, "%s.arrive%s", forms[i][0], forms[i][1]);
        snprintf(red, sizeof red, "%s.red", forms[i][0]);
        snprintf(one, sizeof one, "%s 0", sync);
        check_barrier(one);
        snprintf(one, sizeof one, "%s 5, 96", sync);
        check_barrier(one);
        check_arrive(sync, arrive);
        check_reductions(red, forms[i][1]);
    }
}

/* ---- control ---- */

static const char branches[] =
    ".visible .entry branches(.param .u64 out) { .reg .b64 %out, %o, %t0, %t1; .reg .b32 %t, %v, %i, %k, "
    "%c0, %c1; .reg .pred %p, %q;\n"
    "ld.param.u64 %out, [out]; mov.u32 %t, %tid.x; mul.wide.u32 %o, %t, 8; add.s64 %out, %out, %o; and.b32 "
    "%i, %t, 3;\n"
    "mov.u32 %c0, %clock; mov.u64 %t0, %clock64;\n"
    "TABLE: .branchtargets A, B, C, A;\n"
    "brx.idx %i, TABLE;\n"
    "A: mov.u32 %v, 100; bra JOIN;\n"
    "B: mov.u32 %v, 200; bra.uni JOIN;\n"
    "C: mov.u32 %v, 300;\n"
    "JOIN: mov.u32 %k, 0;\n"
    "LOOP: add.s32 %v, %v, 1; add.s32 %k, %k, 1; setp.lt.u32 %p, %k, %t; @%p bra LOOP;\n"
    "st.global.u32 [%out], %v; mov.u32 %i, 1;\n"
    "SAME: .branchtargets X, Y;\n"
    "brx.idx.uni %i, SAME;\n"
    "X: trap;\n"
    "Y: membar.cta; membar.gl; membar.sys; fence.acq_rel.cta; fence.acq_rel.gpu; fence.acq_rel.sys; "
    "fence.sc.cta; fence.sc.gpu; fence.sc.sys; nanosleep.u32 10; pmevent 3;\n"
    "mov.u32 %c1, %clock; sub.u32 %c1, %c1, %c0; mov.u64 %t1, %globaltimer; setp.gt.u64 %q, %t1, %t0; "
    "setp.gt.and.u32 %q, %c1, 20, %q; selp.u32 %v, 1, 0, %q; st.global.u32 [%out+4], %v;\n"
    "setp.lt.u32 %p, %t, 16; @%p exit; ret.uni; }";

/* x keeps its value from turn to turn, though it is written under a guard only; z must not take its place
 * meanwhile. */
static const char keeps[] =
    ".visible .entry keeps(.param .u64 out) { .reg .b64 %out; .reg .b32 %x, %z, %k, %sum; .reg .pred %p;\n"
    "ld.param.u64 %out, [out]; mov.u32 %k, 0; mov.u32 %sum, 0;\n"
    "LOOP: setp.eq.u32 %p, %k, 0; @%p mov.u32 %x, 7; add.u32 %sum, %sum, %x; mul.lo.u32 %z, %k, 1000; "
    "add.u32 %sum, %sum, %z;\n"
    "add.u32 %k, %k, 1; setp.lt.u32 %p, %k, 4; @%p bra LOOP; st.global.u32 [%out], %sum; ret; }";

static const char scopes[] =
    ".visible .entry scopes(.param .u64 out) { .reg .b64 %out; .reg .b32 %v; .reg .pred %p; ld.param.u64 "
    "%out, [out]; mov.u32 %v, 0;\n"
    "{ .reg .b32 %v; mov.u32 %v, 5; bra L; mov.u32 %v, 6; L: st.global.u32 [%out+4], %v; }\n"
    "{ .reg .b32 a<3>; mov.u32 a2, 7; bra L; mov.u32 a2, 8; L: st.global.u32 [%out+8], a2; }\n"
    "st.global.u32 [%out], %v; setp.eq.u32 %p, %v, 1; @%p st.global.u32 [%out], 9; @!%p st.global.u32 "
    "[%out+12], 3; }";

static const char specials[] =
    ".visible .entry specials(.param .u64 out) { .reg .b64 %out, %o, %g; .reg .b32 %t, %n, %v; ld.param.u64 "
    "%out, [out];\n"
    "mov.u32 %t, %tid.z; mov.u32 %n, %ntid.y; mov.u32 %v, %tid.y; mad.lo.u32 %t, %t, %n, %v; mov.u32 %n, "
    "%ntid.x; mov.u32 %v, %tid.x; mad.lo.u32 %t, %t, %n, %v;\n"
    "mul.wide.u32 %o, %t, 64; add.s64 %out, %out, %o;\n"
    "mov.u32 %v, %laneid; st.global.u32 [%out], %v; mov.u32 %v, %warpid; st.global.u32 [%out+4], %v; mov.u32 "
    "%v, %nwarpid; st.global.u32 [%out+8], %v;\n"
    "mov.u32 %v, %ntid.z; st.global.u32 [%out+12], %v; mov.u32 %v, %nctaid.x; st.global.u32 [%out+16], %v; "
    "mov.u32 %v, %ctaid.y; st.global.u32 [%out+20], %v;\n"
    "mov.u32 %v, %lanemask_eq; st.global.u32 [%out+24], %v; mov.u32 %v, %lanemask_le; st.global.u32 "
    "[%out+28], %v; mov.u32 %v, %lanemask_lt; st.global.u32 [%out+32], %v;\n"
    "mov.u32 %v, %lanemask_ge; st.global.u32 [%out+36], %v; mov.u32 %v, %lanemask_gt; st.global.u32 "
    "[%out+40], %v; mov.u32 %v, %nsmid; st.global.u32 [%out+44], %v;\n"
    "mov.u32 %v, %smid; st.global.u32 [%out+48], %v; mov.u32 %v, %dynamic_smem_size; st.global.u32 "
    "[%out+52], %v; mov.u32 %v, %total_smem_size; st.global.u32 [%out+56], %v;\n"
    "mov.u64 %g, %gridid; cvt.u32.u64 %v, %g; st.global.u32 [%out+60], %v; ret; }";

static void special_registers(void) {
    enum { THREADS = 5 * 3 * 4 };
    uint32_t out[THREADS][16];
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(cuLaunchKernel(op_ptx(specials), 1, 1, 1, 5, 3, 4, 256, NULL, PARAMS(&p), NULL));
    CU(cuCtxSynchronize());
    sim_download(out, p, sizeof out);
    for (uint32_t t = 0; t < THREADS; t++) {
        const uint32_t lane = t % 32;
        const uint32_t expected[15] = {lane,
                                       t / 32,
                                       2,
                                       4,
                                       1,
                                       0,
                                       1u << lane,
                                       (uint32_t)((2ull << lane) - 1),
                                       (1u << lane) - 1,
                                       ~((1u << lane) - 1),
                                       (uint32_t) ~((2ull << lane) - 1),
                                       28,
                                       0,
                                       256,
                                       256};
        assert_memory_equal(out[t], expected, sizeof expected);
        assert_true(out[t][15] != 0);
    }
}

void follows_control(void **state) {
    uint32_t out[64], few[4];
    (void)state;
    CUfunction f = op_ptx(branches);
    for (int seed = 0; seed < 4; seed++) {
        sim_option("SEED", (char[]){(char)('0' + seed), 0});
        CUdeviceptr p = sim_alloc(sizeof out);
        CU(sim_run(f, 1, LANES, 0, PARAMS(&p)));
        sim_download(out, p, sizeof out);
        for (uint32_t t = 0; t < LANES; t++) {
            const uint32_t base = t % 4 == 1 ? 200 : t % 4 == 2 ? 300 : 100;
            assert_int_equal(out[2 * t], base + (t ? t : 1));
            assert_int_equal(out[2 * t + 1], 1);
        }
    }
    sim_option("SEED", "0");
    CUdeviceptr p = sim_alloc(sizeof few);
    CU(sim_run(op_ptx(scopes), 1, 1, 0, PARAMS(&p)));
    sim_download(few, p, sizeof few);
    assert_memory_equal(few, ((uint32_t[]){0, 5, 7, 3}), sizeof few);
    CU(sim_run(op_ptx(keeps), 1, 1, 0, PARAMS(&p)));
    sim_download(few, p, 4);
    assert_int_equal(few[0], 4 * 7 + 6000);
    if (!sim_simulated())
        return; /* what a trap leaves, and the size of the device */
    special_registers();
    CU_IS(CUDA_ERROR_LAUNCH_FAILED,
          sim_run(op_ptx(".visible .entry k() { .reg .b32 %c; mov.u32 %c, %clock_hi; mov.u32 %c, "
                         "%globaltimer_lo; mov.u32 %c, %globaltimer_hi; trap; }"),
                  1, 1, 0, NULL));
    SAYS("trapped");
}
