/* ld, st and their hints in every space, cp.async, and conversions of addresses. Bytes are random, so nothing
 * is symmetric.
 *
 * One kernel a beginning ("ld.global.nc") runs all its types and vectors, each lane on 16 bytes of its own.
 */
#include "op.h"
#include "ptx_tests.h"

enum { LANES = 32, SLOT = 16, MAX_ACCESS = 48 };

static const struct {
    const char *name;
    uint32_t bytes;
    bool with_sign, is_float;
} types[] = {{"b8", 1, false, false},  {"u8", 1, false, false},  {"s8", 1, true, false},
             {"b16", 2, false, false}, {"u16", 2, false, false}, {"s16", 2, true, false},
             {"b32", 4, false, false}, {"u32", 4, false, false}, {"s32", 4, true, false},
             {"f32", 4, false, true},  {"b64", 8, false, false}, {"u64", 8, false, false},
             {"s64", 8, true, false},  {"f64", 8, false, true}};

struct access {
    uint32_t type, n, width; /* width: bytes of the registers */
};

/* All types and vectors, in registers of their size, and again in wider ones. */
static uint32_t list_accesses(struct access *list, bool vectors) {
    uint32_t count = 0;
    for (uint32_t t = 0; t < sizeof types / sizeof *types; t++)
        for (uint32_t n = 1; n <= (vectors ? 4u : 1u) && n * types[t].bytes <= 16; n *= 2)
            list[count++] = (struct access){t, n, types[t].bytes < 2 ? 2 : types[t].bytes};
    for (uint32_t t = 0; t < sizeof types / sizeof *types; t++)
        if (!types[t].is_float && types[t].bytes < 8)
            list[count++] = (struct access){t, 1, 8};
    assert_true(count <= MAX_ACCESS);
    return count;
}

static void put_vector(struct text *t, const char *name, uint32_t index, uint32_t n) {
    text_put(t, n > 1 ? "{" : "");
    for (uint32_t e = 0; e < n; e++)
        text_put(t, "%s%%%s%u_%u", e ? ", " : "", name, index, e);
    text_put(t, n > 1 ? "}" : "");
}

/* Where the lanes' slots are: brings the pattern into the space, and leaves the lane's address in %a. */
static void put_setup(struct text *t, const char *space) {
    text_put(t,
             ".reg .b64 %%in, %%out, %%a, %%o, %%policy;\n.reg .b32 %%lane, %%w0, %%w1, %%w2, %%w3;\n"
             "ld.param.u64 %%in, [in]; ld.param.u64 %%out, [out]; mov.u32 %%lane, %%tid.x; mul.wide.u32 %%o, "
             "%%lane, %d;\n"
             "createpolicy.fractional.L2::evict_first.b64 %%policy, 1.0;\n",
             SLOT);
    if (!strcmp(space, "shared") || !strcmp(space, "generic shared"))
        text_put(t, ".shared .align 16 .b8 area[%d];\nmov.u64 %%a, area; add.s64 %%a, %%a, %%o;\n",
                 SLOT * LANES);
    else if (!strcmp(space, "local") || !strcmp(space, "generic local"))
        text_put(t, ".local .align 16 .b8 area[%d];\nmov.u64 %%a, area;\n", SLOT);
    else
        text_put(t, "add.s64 %%a, %%in, %%o;\n");
    if (strstr(space, "shared") || strstr(space, "local"))
        text_put(t,
                 "add.s64 %%in, %%in, %%o; ld.global.v4.u32 {%%w0, %%w1, %%w2, %%w3}, [%%in]; st.%s.v4.u32 "
                 "[%%a], {%%w0, %%w1, %%w2, %%w3};\n",
                 strstr(space, "shared") ? "shared" : "local");
    if (!strcmp(space, "generic shared"))
        text_put(t, "cvta.shared.u64 %%a, %%a;\n");
    if (!strcmp(space, "generic local"))
        text_put(t, "cvta.local.u64 %%a, %%a;\n");
    text_put(t, "mul.wide.u32 %%o, %%lane, 8; add.s64 %%out, %%out, %%o;\n");
}

static void random_bytes(uint8_t *bytes, size_t n, uint32_t seed) {
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(sim_random(&seed) >> 9);
}

static uint64_t extended(const uint8_t *at, const struct access *a) {
    uint64_t value = 0;
    memcpy(&value, at, types[a->type].bytes);
    const unsigned unused = 64 - 8 * types[a->type].bytes;
    if (types[a->type].with_sign)
        value = (uint64_t)((int64_t)(value << unused) >> unused);
    return a->width == 8 ? value : value & ((1ull << (8 * a->width)) - 1);
}

/* ---- loads ---- */

static void check_loads(const char *beginning, const char *space, bool vectors) {
    struct access list[MAX_ACCESS];
    const uint32_t n = list_accesses(list, vectors);
    const bool policy = strstr(beginning, "cache_hint") != NULL;
    struct text t = {0};
    uint8_t pattern[SLOT * LANES];
    uint64_t *out = calloc(MAX_ACCESS * 4 * LANES, 8);
    assert_non_null(out);
    text_put(&t, ".visible .entry loads(.param .u64 in, .param .u64 out)\n{\n");
    put_setup(&t, space);
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t e = 0; e < list[k].n; e++)
            text_put(&t, ".reg .b%u %%v%u_%u;\n", 8 * list[k].width, k, e);
        text_put(&t, "%s%s.%s ", beginning,
                 list[k].n == 1   ? ""
                 : list[k].n == 2 ? ".v2"
                                  : ".v4",
                 types[list[k].type].name);
        put_vector(&t, "v", k, list[k].n);
        text_put(&t, ", [%%a]%s;\n", policy ? ", %policy" : "");
        for (uint32_t e = 0; e < list[k].n; e++)
            text_put(&t, "st.global.b%u [%%out+%u], %%v%u_%u;\n", 8 * list[k].width, (k * 4 + e) * LANES * 8,
                     k, e);
    }
    text_put(&t, "ret;\n}\n");
    random_bytes(pattern, sizeof pattern, 77);
    CUfunction f = op_ptx(t.data);
    CUdeviceptr din = sim_upload(pattern, sizeof pattern), dout = sim_upload(out, MAX_ACCESS * 4 * LANES * 8);
    CU(sim_run(f, 1, LANES, 0, PARAMS(&din, &dout)));
    sim_download(out, dout, MAX_ACCESS * 4 * LANES * 8);
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t e = 0; e < list[k].n; e++)
            for (uint32_t lane = 0; lane < LANES; lane++) {
                const uint64_t expected =
                    extended(pattern + lane * SLOT + e * types[list[k].type].bytes, &list[k]);
                if (out[(k * 4 + e) * LANES + lane] != expected)
                    print_error("%s %s x %u in %u bytes: lane %u\n", beginning, types[list[k].type].name,
                                list[k].n, list[k].width, lane);
                assert_true(out[(k * 4 + e) * LANES + lane] == expected);
            }
    CU(cuMemFree(din));
    CU(cuMemFree(dout));
    free(out);
    free(t.data);
}

/* Constants and parameters: the same for all lanes, at a fixed place. */
static void check_fixed_loads(bool constant) {
    struct access list[MAX_ACCESS];
    const uint32_t n = list_accesses(list, true);
    struct text t = {0};
    uint8_t pattern[SLOT];
    uint64_t out[MAX_ACCESS * 4] = {0};
    random_bytes(pattern, sizeof pattern, 78);
    if (constant) {
        text_put(&t, ".const .align 16 .b8 area[%d] = {", SLOT);
        for (int i = 0; i < SLOT; i++)
            text_put(&t, "%s%u", i ? ", " : "", pattern[i]);
        text_put(&t, "};\n");
    }
    text_put(&t,
             ".visible .entry loads(.param .u64 out, .param .align 16 .b8 data[%d])\n{\n.reg .b64 "
             "%%out;\nld.param.u64 %%out, [out];\n",
             SLOT);
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t e = 0; e < list[k].n; e++)
            text_put(&t, ".reg .b%u %%v%u_%u;\n", 8 * list[k].width, k, e);
        text_put(&t, "ld.%s%s.%s ", constant ? "const" : "param",
                 list[k].n == 1   ? ""
                 : list[k].n == 2 ? ".v2"
                                  : ".v4",
                 types[list[k].type].name);
        put_vector(&t, "v", k, list[k].n);
        text_put(&t, ", [%s];\n", constant ? "area" : "data");
        for (uint32_t e = 0; e < list[k].n; e++)
            text_put(&t, "st.global.b%u [%%out+%u], %%v%u_%u;\n", 8 * list[k].width, (k * 4 + e) * 8, k, e);
    }
    text_put(&t, "ret;\n}\n");
    CUdeviceptr dout = sim_upload(out, sizeof out);
    CU(sim_run(op_ptx(t.data), 1, 1, 0, PARAMS(&dout, pattern)));
    sim_download(out, dout, sizeof out);
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t e = 0; e < list[k].n; e++)
            assert_true(out[k * 4 + e] == extended(pattern + e * types[list[k].type].bytes, &list[k]));
    free(t.data);
}

/* ---- stores ---- */

static void check_stores(const char *beginning, const char *space, bool vectors) {
    struct access list[MAX_ACCESS];
    const uint32_t n = list_accesses(list, vectors);
    const bool policy = strstr(beginning, "cache_hint") != NULL;
    struct text t = {0};
    uint64_t values[4 * LANES];
    uint8_t *out = calloc(MAX_ACCESS, SLOT * LANES), before[SLOT * LANES];
    assert_non_null(out);
    random_bytes((uint8_t *)values, sizeof values, 79);
    random_bytes(before, sizeof before, 80);
    text_put(&t, ".visible .entry stores(.param .u64 in, .param .u64 out, .param .u64 values)\n{\n");
    put_setup(&t, space);
    text_put(&t, ".reg .b64 %%values, %%back;\nld.param.u64 %%values, [values]; add.s64 %%values, %%values, "
                 "%%o; mul.wide.u32 %%o, %%lane, 8; "
                 "add.s64 %%out, %%out, %%o;\n");
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t e = 0; e < list[k].n; e++)
            text_put(&t, ".reg .b%u %%v%u_%u;\nld.global.b%u %%v%u_%u, [%%values+%u];\n", 8 * list[k].width,
                     k, e, 8 * list[k].width, k, e, e * 8 * LANES);
        text_put(&t, "%s%s.%s [%%a], ", beginning,
                 list[k].n == 1   ? ""
                 : list[k].n == 2 ? ".v2"
                                  : ".v4",
                 types[list[k].type].name);
        put_vector(&t, "v", k, list[k].n);
        text_put(&t, "%s;\n", policy ? ", %policy" : "");
        /* the whole slot back, and the pattern again */
        text_put(&t,
                 "ld%s.v4.u32 {%%w0, %%w1, %%w2, %%w3}, [%%a]; st.global.v4.u32 [%%out+%u], {%%w0, %%w1, "
                 "%%w2, %%w3};\n",
                 !strcmp(space, "shared")  ? ".shared"
                 : !strcmp(space, "local") ? ".local"
                                           : "",
                 k * SLOT * LANES);
        text_put(&t,
                 "ld.param.u64 %%back, [in]; mul.wide.u32 %%o, %%lane, %d; add.s64 %%back, %%back, %%o; "
                 "add.s64 %%back, %%back, %d;\n",
                 SLOT, SLOT * LANES);
        text_put(&t,
                 "ld.global.v4.u32 {%%w0, %%w1, %%w2, %%w3}, [%%back]; st%s.v4.u32 [%%a], {%%w0, %%w1, %%w2, "
                 "%%w3};\n",
                 !strcmp(space, "shared")  ? ".shared"
                 : !strcmp(space, "local") ? ".local"
                                           : "");
    }
    text_put(&t, "ret;\n}\n");
    uint8_t twice[2 * SLOT * LANES];
    memcpy(twice, before, sizeof before);
    memcpy(twice + sizeof before, before, sizeof before);
    CUfunction f = op_ptx(t.data);
    CUdeviceptr din = sim_upload(twice, sizeof twice),
                dout = sim_upload(out, (size_t)MAX_ACCESS * SLOT * LANES),
                dvalues = sim_upload(values, sizeof values);
    CU(sim_run(f, 1, LANES, 0, PARAMS(&din, &dout, &dvalues)));
    sim_download(out, dout, (size_t)MAX_ACCESS * SLOT * LANES);
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            uint8_t expected[SLOT];
            memcpy(expected, before + lane * SLOT, SLOT);
            for (uint32_t e = 0; e < list[k].n; e++)
                memcpy(expected + e * types[list[k].type].bytes, &values[e * LANES + lane],
                       types[list[k].type].bytes);
            if (memcmp(out + (k * LANES + lane) * SLOT, expected, SLOT))
                print_error("%s %s x %u from %u bytes: lane %u\n", beginning, types[list[k].type].name,
                            list[k].n, list[k].width, lane);
            assert_memory_equal(out + (k * LANES + lane) * SLOT, expected, SLOT);
        }
    CU(cuMemFree(din));
    CU(cuMemFree(dout));
    CU(cuMemFree(dvalues));
    free(out);
    free(t.data);
}

static const char *const eviction[] = {"",
                                       ".L1::evict_normal",
                                       ".L1::evict_unchanged",
                                       ".L1::evict_first",
                                       ".L1::evict_last",
                                       ".L1::no_allocate"};

void loads_and_stores(void **state) {
    static const char *const prefetch[] = {"", ".L2::64B", ".L2::128B", ".L2::256B"},
                             *const load_ops[] = {"ca", "cg", "cs", "lu", "cv"},
                             *const store_ops[] = {"wb", "cg", "cs", "wt"};
    char name[96];
    (void)state;
    for (int nc = 0; nc < 2; nc++)
        for (int e = 0; e < 6; e++) {
            for (int p = 0; p < 4; p++) {
                snprintf(name, sizeof name, "ld.global%s%s%s", nc ? ".nc" : "", eviction[e], prefetch[p]);
                check_loads(name, "global", true);
            }
            snprintf(name, sizeof name, "ld.global%s%s.L2::cache_hint", nc ? ".nc" : "", eviction[e]);
            check_loads(name, "global", true);
        }
    for (int c = 0; c < 5; c++) {
        snprintf(name, sizeof name, "ld.global.%s", load_ops[c]);
        check_loads(name, "global", true);
        snprintf(name, sizeof name, "ld.global.%s.nc", load_ops[c]);
        if (c < 3)
            check_loads(name, "global", true);
    }
    for (int e = 0; e < 6; e++) {
        snprintf(name, sizeof name, "st.global%s", eviction[e]);
        check_stores(name, "global", true);
        snprintf(name, sizeof name, "st.global%s.L2::cache_hint", eviction[e]);
        check_stores(name, "global", true);
    }
    for (int c = 0; c < 4; c++) {
        snprintf(name, sizeof name, "st.global.%s", store_ops[c]);
        check_stores(name, "global", true);
    }
    static const struct {
        const char *load, *store, *space;
    } others[] = {{"ld", "st", "global"},
                  {"ld", "st", "generic shared"},
                  {"ld", "st", "generic local"},
                  {"ld.shared", "st.shared", "shared"},
                  {"ld.shared::cta", "st.shared::cta", "shared"},
                  {"ld.local", "st.local", "local"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        check_loads(others[i].load, others[i].space, true);
        check_stores(others[i].store, others[i].space, true);
    }
    check_fixed_loads(true);
    check_fixed_loads(false);
}

void orders_memory(void **state) {
    static const char *const spaces[] = {"global", "shared", "generic"},
                             *const suffix[] = {".global", ".shared", ""},
                             *const scopes[] = {"cta", "gpu", "sys"};
    char name[64];
    (void)state;
    for (int s = 0; s < 3; s++) {
        snprintf(name, sizeof name, "ld.volatile%s", suffix[s]);
        check_loads(name, spaces[s], true);
        snprintf(name, sizeof name, "st.volatile%s", suffix[s]);
        check_stores(name, spaces[s], true);
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "ld.relaxed.%s%s", scopes[k], suffix[s]);
            check_loads(name, spaces[s], false);
            snprintf(name, sizeof name, "ld.acquire.%s%s", scopes[k], suffix[s]);
            check_loads(name, spaces[s], false);
            snprintf(name, sizeof name, "st.relaxed.%s%s", scopes[k], suffix[s]);
            check_stores(name, spaces[s], false);
            snprintf(name, sizeof name, "st.release.%s%s", scopes[k], suffix[s]);
            check_stores(name, spaces[s], false);
        }
    }
}

/* ---- cp.async ---- */

static void check_copy(const char *opcode, uint32_t size, bool policy) {
    struct text t = {0};
    uint8_t pattern[SLOT * LANES], out[4 * SLOT * LANES];
    random_bytes(pattern, sizeof pattern, 81);
    /* four areas: whole; half of it, the rest zero; nothing, by a size of 0; nothing, by the predicate */
    text_put(&t,
             ".visible .entry copies(.param .u64 in, .param .u64 out)\n{\n.shared .align 16 .b8 "
             "area[%d];\n.reg .b64 %%in, %%out, %%o, %%policy;\n"
             ".reg .b32 %%lane, %%to, %%w0, %%w1, %%w2, %%w3;\n.reg .pred %%p;\n"
             "ld.param.u64 %%in, [in]; ld.param.u64 %%out, [out]; mov.u32 %%lane, %%tid.x; mul.wide.u32 %%o, "
             "%%lane, %d; add.s64 %%in, %%in, %%o; "
             "add.s64 %%out, %%out, %%o; mul.lo.u32 %%to, %%lane, %d; mov.u32 %%w0, area; add.s32 %%to, "
             "%%to, %%w0;\n"
             "mov.u32 %%w0, 0xffffffff; setp.eq.u32 %%p, %%w0, %%w0; "
             "createpolicy.fractional.L2::evict_last.b64 %%policy, 1.0;\n",
             4 * SLOT * LANES, SLOT, SLOT);
    for (int area = 0; area < 4; area++)
        text_put(&t, "st.shared.v4.u32 [%%to+%d], {%%w0, %%w0, %%w0, %%w0};\n", area * SLOT * LANES);
    const char *tail = policy ? ", %policy" : "";
    text_put(&t, "%s [%%to], [%%in], %u%s;\n", opcode, size, tail);
    text_put(&t, "%s [%%to+%d], [%%in], %u, %u%s;\n", opcode, SLOT * LANES, size, size / 2, tail);
    text_put(&t, "%s [%%to+%d], [%%in], %u, 0%s;\n", opcode, 2 * SLOT * LANES, size, tail);
    text_put(&t, "%s [%%to+%d], [%%in], %u, %%p%s;\n", opcode, 3 * SLOT * LANES, size, tail);
    text_put(&t, "cp.async.wait_all;\n");
    for (int area = 0; area < 4; area++)
        text_put(&t,
                 "ld.shared.v4.u32 {%%w0, %%w1, %%w2, %%w3}, [%%to+%d]; st.global.v4.u32 [%%out+%d], {%%w0, "
                 "%%w1, %%w2, %%w3};\n",
                 area * SLOT * LANES, area * SLOT * LANES);
    text_put(&t, "ret;\n}\n");
    CUdeviceptr din = sim_upload(pattern, sizeof pattern), dout = sim_alloc(sizeof out);
    CU(sim_run(op_ptx(t.data), 1, LANES, 0, PARAMS(&din, &dout)));
    sim_download(out, dout, sizeof out);
    for (uint32_t area = 0; area < 4; area++)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            uint8_t expected[SLOT];
            memset(expected, 0xff, SLOT);
            memset(expected, 0, size);
            memcpy(expected, pattern + lane * SLOT, area == 0 ? size : area == 1 ? size / 2 : 0);
            if (memcmp(out + (area * LANES + lane) * SLOT, expected, SLOT))
                print_error("%s %u: area %u lane %u\n", opcode, size, area, lane);
            assert_memory_equal(out + (area * LANES + lane) * SLOT, expected, SLOT);
        }
    CU(cuMemFree(din));
    CU(cuMemFree(dout));
    free(t.data);
}

/* Groups arrive in order: waiting for all but the last leaves the last one under way, which the shadow
 * reports. */
static const char groups[] =
    ".visible .entry groups(.param .u64 in, .param .u64 out, .param .u32 second) { .shared .align 16 .b8 "
    "area[32]; .reg .b64 %in, %out; .reg .b32 %w, %s; .reg .pred %p;\n"
    "ld.param.u64 %in, [in]; ld.param.u64 %out, [out]; ld.param.u32 %s, [second]; setp.ne.u32 %p, %s, 0;\n"
    "cp.async.cg.shared.global [area], [%in], 16; cp.async.commit_group;\n"
    "cp.async.cg.shared.global [area+16], [%in+16], 16; cp.async.commit_group; cp.async.wait_group 1;\n"
    "ld.shared.u32 %w, [area]; st.global.u32 [%out], %w;\n"
    "@!%p cp.async.wait_group 0;\n"
    "ld.shared.u32 %w, [area+16]; st.global.u32 [%out+4], %w; ret; }";

void copies_asynchronously(void **state) {
    static const char *const hints[] = {"",
                                        ".L2::64B",
                                        ".L2::128B",
                                        ".L2::256B",
                                        ".L2::cache_hint",
                                        ".L2::cache_hint.L2::64B",
                                        ".L2::cache_hint.L2::128B",
                                        ".L2::cache_hint.L2::256B"};
    static const char *const spaces[] = {"shared", "shared::cta"};
    char name[96];
    (void)state;
    for (int s = 0; s < 2; s++)
        for (int h = 0; h < 8; h++) {
            snprintf(name, sizeof name, "cp.async.cg.%s.global%s", spaces[s], hints[h]);
            check_copy(name, 16, h >= 4);
            for (uint32_t size = 4; size <= 16; size *= 2) {
                snprintf(name, sizeof name, "cp.async.ca.%s.global%s", spaces[s], hints[h]);
                check_copy(name, size, h >= 4);
            }
        }
    uint32_t words[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[2], second = 0;
    CUfunction f = op_ptx(groups);
    CUdeviceptr din = sim_upload(words, sizeof words), dout = sim_alloc(sizeof out);
    CU(sim_run(f, 1, 1, 0, PARAMS(&din, &dout, &second)));
    sim_download(out, dout, sizeof out);
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 5);
    if (!sim_simulated())
        return;
    second = 1;
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, sim_run(f, 1, 1, 0, PARAMS(&din, &dout, &second)));
    SAYS("cp.async has not been waited for");
}

/* ---- addresses ---- */

static const char spaces_text[] =
    ".global .align 8 .u64 there = 0x1122334455667788;\n.const .align 8 .u64 fixed = 0x8877665544332211;\n"
    ".visible .entry spaces(.param .u64 out, .param .u32 number) { .shared .align 8 .b8 s[16]; .local .align "
    "8 .b8 l[16]; .reg .b64 %o, %a, %v, %n; .reg .b32 %r; .reg .pred %p;\n"
    "ld.param.u64 %o, [out];\n"
    "mov.u64 %a, there; cvta.global.u64 %a, %a; ld.u64 %v, [%a]; st.global.u64 [%o], %v; cvta.to.global.u64 "
    "%a, %a; ld.global.u64 %v, [%a]; st.global.u64 [%o+8], %v;\n"
    "mov.u64 %a, fixed; cvta.const.u64 %a, %a; ld.u64 %v, [%a]; st.global.u64 [%o+16], %v; cvta.to.const.u64 "
    "%a, %a; ld.const.u64 %v, [%a]; st.global.u64 [%o+24], %v;\n"
    "mov.u64 %n, 5; st.shared.u64 [s], %n; mov.u64 %a, s; cvta.shared.u64 %a, %a; ld.u64 %v, [%a]; "
    "st.global.u64 [%o+32], %v; isspacep.shared %p, %a; selp.u32 %r, 1, 0, %p;\n"
    "st.global.u32 [%o+40], %r; isspacep.local %p, %a; selp.u32 %r, 1, 0, %p; st.global.u32 [%o+44], %r; "
    "cvta.to.shared.u64 %a, %a; ld.shared.u64 %v, [%a]; st.global.u64 [%o+48], %v;\n"
    "mov.u64 %n, 6; st.local.u64 [l], %n; mov.u64 %a, l; cvta.local.u64 %a, %a; ld.u64 %v, [%a]; "
    "st.global.u64 [%o+56], %v; isspacep.local %p, %a; selp.u32 %r, 1, 0, %p;\n"
    "st.global.u32 [%o+64], %r; isspacep.global %p, %a; selp.u32 %r, 1, 0, %p; st.global.u32 [%o+68], %r; "
    "cvta.to.local.u64 %a, %a; ld.local.u64 %v, [%a]; st.global.u64 [%o+72], %v;\n"
    "mov.b64 %a, number; cvta.param.u64 %a, %a; ld.u32 %r, [%a]; st.global.u32 [%o+80], %r; isspacep.param "
    "%p, %a; selp.u32 %r, 1, 0, %p; st.global.u32 [%o+84], %r;\n"
    "isspacep.global %p, %o; selp.u32 %r, 1, 0, %p; st.global.u32 [%o+88], %r;\n"
    "prefetch.global.L1 [%o]; prefetch.global.L2 [%o]; prefetch.L1 [%o]; prefetch.L2 [%o]; prefetchu.L1 "
    "[%o];\n"
    "createpolicy.fractional.L2::evict_normal.b64 %v, 1.0; createpolicy.fractional.L2::evict_unchanged.b64 "
    "%v, 1.0; ret; }";

static const char to_param[] =
    ".visible .entry p(.param .u64 out, .param .u32 number) { .reg .b64 %o, %a; .reg .b32 %r; ld.param.u64 "
    "%o, [out]; mov.b64 %a, number; cvta.param.u64 %a, %a; "
    "cvta.to.param.u64 %a, %a; ld.param.u32 %r, [%a]; st.global.u32 [%o], %r; ret; }";

void converts_addresses(void **state) {
    uint64_t out[12];
    uint32_t words[24], number = 7;
    (void)state;
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(sim_run(op_ptx(spaces_text), 1, 1, 0, PARAMS(&p, &number)));
    sim_download(out, p, sizeof out - 4);
    memcpy(words, out, sizeof words);
    assert_true(out[0] == 0x1122334455667788 && out[1] == out[0]);
    assert_true(out[2] == 0x8877665544332211 && out[3] == out[2]);
    assert_true(out[4] == 5 && words[10] == 1 && words[11] == 0 && out[6] == 5);
    assert_true(out[7] == 6 && words[16] == 1 && words[17] == 0 && out[9] == 6);
    assert_int_equal(words[20], 7);
    assert_int_equal(words[21], 1);
    assert_int_equal(words[22], 1);
    CU(sim_run(op_ptx(to_param), 1, 1, 0, PARAMS(&p, &number)));
    sim_download(words, p, 4);
    assert_int_equal(words[0], 7);
}
