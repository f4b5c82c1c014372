/* atom and red: every operation, type, order, scope, space, and the three places where ptxas lets order and
 * scope stand. */
#include "op.h"
#include "ptx_tests.h"

enum { LANES = 32 };

static const struct {
    const char *op, *type;
    uint32_t bytes;
    bool only_atom;
    uint64_t in[3][3]; /* old, b, c of three lanes, in turns */
    uint64_t out[3];
} operations[] = {
    {"add", "u32", 4, false, {{1, 2}, {0xffffffff, 3}, {7, 0}}, {3, 2, 7}},
    {"add", "s32", 4, false, {{1, 0xfffffffe}, {0x7fffffff, 1}, {7, 0}}, {0xffffffff, 0x80000000, 7}},
    {"add", "u64", 8, false, {{1, 2}, {0xffffffff, 3}, {UINT64_MAX, 2}}, {3, 0x100000002, 1}},
    {"add",
     "f32",
     4,
     false,
     {{0x3f800000, 0x40000000}, {0xbf800000, 0x3f800000}, {0x3f800000, 0x33800000}},
     {0x40400000, 0, 0x3f800000}},
    {"add",
     "f64",
     8,
     false,
     {{0x3ff0000000000000, 0x4000000000000000}, {0, 0x3ff0000000000000}, {0xbff0000000000000, 0}},
     {0x4008000000000000, 0x3ff0000000000000, 0xbff0000000000000}},
    {"add.noftz",
     "f16",
     2,
     false,
     {{0x3c00, 0x4000}, {0x0001, 0x0001}, {0x6800, 0x3c00}},
     {0x4200, 0x0002, 0x6800}},
    {"add.noftz",
     "f16x2",
     4,
     false,
     {{0x3c004000, 0x40003c00}, {0x00010000, 0x00010000}, {0x68003c00, 0x3c003c00}},
     {0x42004200, 0x00020000, 0x68004000}},
    {"inc", "u32", 4, false, {{1, 5}, {5, 5}, {9, 5}}, {2, 0, 0}},
    {"dec", "u32", 4, false, {{1, 5}, {0, 5}, {9, 5}}, {0, 5, 5}},
    {"min", "u32", 4, false, {{1, 5}, {0xffffffff, 5}, {5, 5}}, {1, 5, 5}},
    {"max", "u32", 4, false, {{1, 5}, {0xffffffff, 5}, {5, 5}}, {5, 0xffffffff, 5}},
    {"min", "s32", 4, false, {{1, 5}, {0xffffffff, 5}, {5, 5}}, {1, 0xffffffff, 5}},
    {"max", "s32", 4, false, {{1, 5}, {0xffffffff, 5}, {5, 5}}, {5, 5, 5}},
    {"min", "u64", 8, false, {{1, 5}, {UINT64_MAX, 5}, {1ull << 40, 5}}, {1, 5, 5}},
    {"max", "u64", 8, false, {{1, 5}, {UINT64_MAX, 5}, {1ull << 40, 5}}, {5, UINT64_MAX, 1ull << 40}},
    {"min", "s64", 8, false, {{1, 5}, {UINT64_MAX, 5}, {1ull << 40, 5}}, {1, UINT64_MAX, 5}},
    {"max", "s64", 8, false, {{1, 5}, {UINT64_MAX, 5}, {1ull << 40, 5}}, {5, 5, 1ull << 40}},
    {"and", "b32", 4, false, {{12, 10}, {0, 1}, {0xffffffff, 7}}, {8, 0, 7}},
    {"or", "b32", 4, false, {{12, 10}, {0, 1}, {0x80000000, 7}}, {14, 1, 0x80000007}},
    {"xor", "b32", 4, false, {{12, 10}, {1, 1}, {0xffffffff, 7}}, {6, 0, 0xfffffff8}},
    {"and", "b64", 8, false, {{12, 10}, {0, 1}, {UINT64_MAX, 1ull << 40}}, {8, 0, 1ull << 40}},
    {"or", "b64", 8, false, {{12, 10}, {0, 1}, {1, 1ull << 40}}, {14, 1, (1ull << 40) + 1}},
    {"xor", "b64", 8, false, {{12, 10}, {1, 1}, {1ull << 40, 1}}, {6, 0, (1ull << 40) + 1}},
    {"exch", "b32", 4, true, {{12, 10}, {1, 1}, {9, 0xffffffff}}, {10, 1, 0xffffffff}},
    {"exch", "b64", 8, true, {{12, 10}, {1, 1}, {9, UINT64_MAX}}, {10, 1, UINT64_MAX}},
    {"cas", "b32", 4, true, {{12, 12, 99}, {12, 13, 99}, {0xffffffff, 0xffffffff, 1}}, {99, 12, 1}},
    {"cas", "b64", 8, true, {{12, 12, 99}, {12, 13, 99}, {UINT64_MAX, UINT64_MAX, 1}}, {99, 12, 1}},
    {"cas", "b16", 2, true, {{12, 12, 99}, {12, 13, 99}, {0xffff, 0xffff, 1}}, {99, 12, 1}},
};
enum { N_OPERATION = sizeof operations / sizeof *operations };

/* Each lane on 8 bytes of its own: old value in, new value and result out. */
static void check(bool atom, const char *before, const char *after, const char *space) {
    struct text t = {0};
    uint64_t in[N_OPERATION * 3 * LANES] = {0}, out[N_OPERATION * 2 * LANES] = {0};
    const bool shared = strstr(space, "shared") != NULL;
    text_put(&t,
             ".visible .entry atoms(.param .u64 in, .param .u64 out)\n{\n.shared .align 8 .b8 "
             "area[%d];\n.reg .b64 %%in, %%out, %%a, %%o;\n.reg .b32 %%lane;\n",
             8 * LANES);
    text_put(&t, "ld.param.u64 %%in, [in]; ld.param.u64 %%out, [out]; mov.u32 %%lane, %%tid.x; mul.wide.u32 "
                 "%%o, %%lane, 8; add.s64 %%in, %%in, %%o; "
                 "add.s64 %%out, %%out, %%o;\n");
    if (shared)
        text_put(&t, "mov.u64 %%a, area; add.s64 %%a, %%a, %%o;%s\n",
                 strstr(space, "generic") ? " cvta.shared.u64 %a, %a;" : "");
    for (uint32_t i = 0; i < N_OPERATION; i++) {
        const uint32_t bits = 8 * operations[i].bytes;
        if (!atom && operations[i].only_atom)
            continue;
        for (uint32_t lane = 0; lane < LANES; lane++)
            for (uint32_t k = 0; k < 3; k++)
                in[(i * 3 + k) * LANES + lane] = operations[i].in[lane % 3][k];
        text_put(&t, ".reg .b%u %%d%u, %%old%u, %%b%u, %%c%u;\n", bits, i, i, i, i);
        for (uint32_t k = 0; k < 3; k++)
            text_put(&t, "ld.global.b%u %%%s%u, [%%in+%u];\n", bits,
                     k == 0   ? "old"
                     : k == 1 ? "b"
                              : "c",
                     i, (i * 3 + k) * LANES * 8);
        if (!shared)
            text_put(&t, "add.s64 %%a, %%out, %u;\n", i * 2 * LANES * 8);
        text_put(&t, "st%s.b%u [%%a], %%old%u;\n",
                 strstr(space, "generic") ? ""
                 : shared                 ? ".shared"
                                          : ".global",
                 bits, i);
        text_put(&t, "%s%s.%s%s.%s ", atom ? "atom" : "red", before, operations[i].op, after,
                 operations[i].type);
        if (atom)
            text_put(&t, "%%d%u, ", i);
        text_put(&t, "[%%a], %%b%u", i);
        text_put(&t, strcmp(operations[i].op, "cas") ? ";\n" : ", %%c%u;\n", i);
        if (atom)
            text_put(&t, "st.global.b%u [%%out+%u], %%d%u;\n", bits, (i * 2 + 1) * LANES * 8, i);
        if (shared)
            text_put(&t, "ld%s.b%u %%d%u, [%%a]; st.global.b%u [%%out+%u], %%d%u;\n",
                     strstr(space, "generic") ? "" : ".shared", bits, i, bits, i * 2 * LANES * 8, i);
    }
    text_put(&t, "ret;\n}\n");
    CUfunction f = op_ptx(t.data);
    CUdeviceptr din = sim_upload(in, sizeof in), dout = sim_upload(out, sizeof out);
    CU(sim_run(f, 1, LANES, 0, PARAMS(&din, &dout)));
    sim_download(out, dout, sizeof out);
    for (uint32_t i = 0; i < N_OPERATION; i++)
        for (uint32_t lane = 0; lane < LANES && (atom || !operations[i].only_atom); lane++) {
            const uint64_t now = out[i * 2 * LANES + lane], old = out[(i * 2 + 1) * LANES + lane];
            if (now != operations[i].out[lane % 3] || (atom && old != operations[i].in[lane % 3][0]))
                print_error("%s%s %s%s %s: lane %u has 0x%llx\n", atom ? "atom" : "red", before,
                            operations[i].op, after, operations[i].type, lane, (unsigned long long)now);
            assert_true(now == operations[i].out[lane % 3]);
            assert_true(!atom || old == operations[i].in[lane % 3][0]);
        }
    CU(cuMemFree(din));
    CU(cuMemFree(dout));
    free(t.data);
}

void works_atomically(void **state) {
    static const char *const orders[] = {"", ".relaxed", ".acquire", ".release", ".acq_rel"},
                             *const scopes[] = {"cta", "gpu", "sys"};
    static const char *const spaces[] = {".global", ".shared", ""}, *const places[] = {"global", "shared",
                                                                                       "generic shared"};
    char before[64], after[64];
    (void)state;
    for (int atom = 0; atom < 2; atom++)
        for (int s = 0; s < 3; s++) {
            check(atom, spaces[s], "", places[s]);
            if (s == 2)
                check(atom, "", "", "generic global");
            for (int o = 0; o < 5; o++)
                for (int k = 0; k < 3; k++) {
                    if (!atom && (o == 2 || o == 4)) /* red has no acquire */
                        continue;
                    snprintf(before, sizeof before, "%s.%s%s", orders[o], scopes[k], spaces[s]);
                    check(atom, before, "", places[s]);
                    snprintf(before, sizeof before, "%s%s.%s", spaces[s], orders[o], scopes[k]);
                    snprintf(after, sizeof after, "%s.%s", orders[o], scopes[k]);
                    if (*spaces[s])
                        check(atom, before, "", places[s]);
                    else
                        check(atom, "", after, places[s]);
                }
        }
}

/* All threads of many blocks on one word: nothing is lost, and every result is another number. */
void contends(void **state) {
    static const char text[] =
        ".visible .entry contend(.param .u64 counter, .param .u64 seen) { .reg .b64 %c, %s, %o; .reg .b32 "
        "%t, %n, %r;\n"
        "ld.param.u64 %c, [counter]; ld.param.u64 %s, [seen]; atom.global.add.u32 %r, [%c], 1;\n"
        "mul.wide.u32 %o, %r, 4; add.s64 %s, %s, %o; red.global.add.u32 [%s], 1; ret; }";
    enum { N = 40 * 96 };
    static uint32_t seen[N], zero;
    CUfunction f = op_ptx(text);
    (void)state;
    for (int seed = 0; seed < 3; seed++) {
        sim_option("SEED", (char[]){(char)('0' + seed), 0});
        memset(seen, 0, sizeof seen);
        CUdeviceptr counter = sim_upload(&zero, 4), ds = sim_upload(seen, sizeof seen);
        CU(sim_run(f, 40, 96, 0, PARAMS(&counter, &ds)));
        sim_download(seen, ds, sizeof seen);
        for (int i = 0; i < N; i++)
            assert_int_equal(seen[i], 1);
    }
}
