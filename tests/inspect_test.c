/* The figures of `tandem inspect` against published and derived ones of all presets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inspect.h"
#include "small_models.h"

#define N_PRESET 6u

/* Parameters by part; N_PART: all. Published totals: 11.95 (with 0.05 of projections), 25.2, 30.7 billion and
 * 268 million. */
typedef struct part_row {
    uint32_t part;
    uint64_t n_element[N_PRESET];
} part_row;

static const char *const presets[N_PRESET] = {"gemma4-e2b",     "gemma4-e4b", "gemma4-12b",
                                              "gemma4-26b-a4b", "gemma4-31b", "gemma3-270m"};

/* clang-format off */
static const part_row part_rows[] = {
    {PART_EMBEDDING, {402653184, 671088640, 1006632960, 738197504, 1409286144, 167772160}},
    {PART_PLE_TABLE, {2348810240, 2818572288, 0, 0, 0, 0}},
    {PART_PLE_PROJECTION, {13762560, 27525120, 0, 0, 0, 0}},
    {PART_PLE_LAYERS, {27525120, 55050240, 0, 0, 0, 0}},
    {PART_ATTENTION, {278396928, 587202560, 2406481920, 1110179840, 8477736960, 29491200}},
    {PART_UNUSED_KV, {18874368, 55050240, 0, 0, 0, 0}},
    {PART_FEED_FORWARD, {1557135360, 3303014400, 8493465600, 535265280, 20808990720, 70778880}},
    {PART_ROUTER, {0, 0, 0, 10897920, 0, 0}},
    {PART_EXPERTS, {0, 0, 0, 22837985280, 0, 0}},
    {PART_NORMS, {292131, 565546, 769840, 615966, 1331516, 55936}},
    {N_PART, {4647449891, 7518069034, 11907350320, 25233141790, 30697345340, 268098176}},
};

/* Bytes of K and V: every layer whole; without layers that share; windows only; both. */
typedef struct cache_row {
    const char *preset;
    uint32_t kv_type, n_ctx;
    const char *bytes[4];
} cache_row;

static const cache_row cache_rows[] = {
    {"gemma4-e2b", TANDEM_TYPE_F16, 4096, {"168.0 MiB", "72.0 MiB", "70.0 MiB", "30.0 MiB"}},
    {"gemma4-e2b", TANDEM_TYPE_F16, 32768, {"1.31 GiB", "576.0 MiB", "462.0 MiB", "198.0 MiB"}},
    {"gemma4-e2b", TANDEM_TYPE_F16, 131072, {"5.25 GiB", "2.25 GiB", "1.76 GiB", "774.0 MiB"}},
    {"gemma4-e2b", TANDEM_TYPE_F16, 262144, {"10.50 GiB", "4.50 GiB", "3.51 GiB", "1.51 GiB"}},
    {"gemma4-e2b", TANDEM_TYPE_Q8_0, 4096, {"89.2 MiB", "38.2 MiB", "37.2 MiB", "15.9 MiB"}},
    {"gemma4-e2b", TANDEM_TYPE_Q8_0, 32768, {"714.0 MiB", "306.0 MiB", "245.4 MiB", "105.2 MiB"}},
    {"gemma4-e2b", TANDEM_TYPE_Q8_0, 131072, {"2.79 GiB", "1.20 GiB", "959.4 MiB", "411.2 MiB"}},
    {"gemma4-e2b", TANDEM_TYPE_Q8_0, 262144, {"5.58 GiB", "2.39 GiB", "1.87 GiB", "819.2 MiB"}},
    {"gemma4-e4b", TANDEM_TYPE_F16, 4096, {"392.0 MiB", "224.0 MiB", "147.0 MiB", "84.0 MiB"}},
    {"gemma4-e4b", TANDEM_TYPE_F16, 32768, {"3.06 GiB", "1.75 GiB", "931.0 MiB", "532.0 MiB"}},
    {"gemma4-e4b", TANDEM_TYPE_F16, 131072, {"12.25 GiB", "7.00 GiB", "3.53 GiB", "2.02 GiB"}},
    {"gemma4-e4b", TANDEM_TYPE_F16, 262144, {"24.50 GiB", "14.00 GiB", "7.03 GiB", "4.02 GiB"}},
    {"gemma4-e4b", TANDEM_TYPE_Q8_0, 4096, {"208.2 MiB", "119.0 MiB", "78.1 MiB", "44.6 MiB"}},
    {"gemma4-e4b", TANDEM_TYPE_Q8_0, 32768, {"1.63 GiB", "952.0 MiB", "494.6 MiB", "282.6 MiB"}},
    {"gemma4-e4b", TANDEM_TYPE_Q8_0, 131072, {"6.51 GiB", "3.72 GiB", "1.88 GiB", "1.07 GiB"}},
    {"gemma4-e4b", TANDEM_TYPE_Q8_0, 262144, {"13.02 GiB", "7.44 GiB", "3.74 GiB", "2.14 GiB"}},
    {"gemma4-12b", TANDEM_TYPE_F16, 4096, {"1.31 GiB", "1.31 GiB", "384.0 MiB", "384.0 MiB"}},
    {"gemma4-12b", TANDEM_TYPE_F16, 32768, {"10.50 GiB", "10.50 GiB", "832.0 MiB", "832.0 MiB"}},
    {"gemma4-12b", TANDEM_TYPE_F16, 131072, {"42.00 GiB", "42.00 GiB", "2.31 GiB", "2.31 GiB"}},
    {"gemma4-12b", TANDEM_TYPE_F16, 262144, {"84.00 GiB", "84.00 GiB", "4.31 GiB", "4.31 GiB"}},
    {"gemma4-12b", TANDEM_TYPE_Q8_0, 4096, {"714.0 MiB", "714.0 MiB", "204.0 MiB", "204.0 MiB"}},
    {"gemma4-12b", TANDEM_TYPE_Q8_0, 32768, {"5.58 GiB", "5.58 GiB", "442.0 MiB", "442.0 MiB"}},
    {"gemma4-12b", TANDEM_TYPE_Q8_0, 131072, {"22.31 GiB", "22.31 GiB", "1.23 GiB", "1.23 GiB"}},
    {"gemma4-12b", TANDEM_TYPE_Q8_0, 262144, {"44.62 GiB", "44.62 GiB", "2.29 GiB", "2.29 GiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_F16, 4096, {"880.0 MiB", "880.0 MiB", "280.0 MiB", "280.0 MiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_F16, 32768, {"6.88 GiB", "6.88 GiB", "840.0 MiB", "840.0 MiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_F16, 131072, {"27.50 GiB", "27.50 GiB", "2.70 GiB", "2.70 GiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_F16, 262144, {"55.00 GiB", "55.00 GiB", "5.20 GiB", "5.20 GiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_Q8_0, 4096, {"467.5 MiB", "467.5 MiB", "148.8 MiB", "148.8 MiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_Q8_0, 32768, {"3.65 GiB", "3.65 GiB", "446.2 MiB", "446.2 MiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_Q8_0, 131072, {"14.61 GiB", "14.61 GiB", "1.43 GiB", "1.43 GiB"}},
    {"gemma4-26b-a4b", TANDEM_TYPE_Q8_0, 262144, {"29.22 GiB", "29.22 GiB", "2.76 GiB", "2.76 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_F16, 4096, {"3.44 GiB", "3.44 GiB", "1.09 GiB", "1.09 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_F16, 32768, {"27.50 GiB", "27.50 GiB", "3.28 GiB", "3.28 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_F16, 131072, {"110.00 GiB", "110.00 GiB", "10.78 GiB", "10.78 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_F16, 262144, {"220.00 GiB", "220.00 GiB", "20.78 GiB", "20.78 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_Q8_0, 4096, {"1.83 GiB", "1.83 GiB", "595.0 MiB", "595.0 MiB"}},
    {"gemma4-31b", TANDEM_TYPE_Q8_0, 32768, {"14.61 GiB", "14.61 GiB", "1.74 GiB", "1.74 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_Q8_0, 131072, {"58.44 GiB", "58.44 GiB", "5.73 GiB", "5.73 GiB"}},
    {"gemma4-31b", TANDEM_TYPE_Q8_0, 262144, {"116.88 GiB", "116.88 GiB", "11.04 GiB", "11.04 GiB"}},
    {"gemma3-270m", TANDEM_TYPE_F16, 4096, {"72.0 MiB", "72.0 MiB", "19.5 MiB", "19.5 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_F16, 32768, {"576.0 MiB", "576.0 MiB", "103.5 MiB", "103.5 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_F16, 131072, {"2.25 GiB", "2.25 GiB", "391.5 MiB", "391.5 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_F16, 262144, {"4.50 GiB", "4.50 GiB", "775.5 MiB", "775.5 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_Q8_0, 4096, {"38.2 MiB", "38.2 MiB", "10.4 MiB", "10.4 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_Q8_0, 32768, {"306.0 MiB", "306.0 MiB", "55.0 MiB", "55.0 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_Q8_0, 131072, {"1.20 GiB", "1.20 GiB", "208.0 MiB", "208.0 MiB"}},
    {"gemma3-270m", TANDEM_TYPE_Q8_0, 262144, {"2.39 GiB", "2.39 GiB", "412.0 MiB", "412.0 MiB"}},
};

/* GB of all tensors, read for one token, of the head; tokens a second at 360 and 1008 GB/s, at depth 0 and with 32768
 * positions of f16 cache. */
typedef struct bound_row {
    const char *preset, *mix;
    const char *values[7];
} bound_row;

static const bound_row bound_rows[] = {
    {"gemma4-e2b", "Q4_0_PURE", {"2.635", "1.303", "0.226", "276", "774", "201", "564"}},
    {"gemma4-e2b", "Q4_0", {"3.344", "1.407", "0.330", "256", "716", "190", "533"}},
    {"gemma4-e2b", "Q4_K_M", {"3.412", "1.473", "0.330", "244", "684", "184", "515"}},
    {"gemma4-e2b", "Q8_0", {"4.952", "2.436", "0.428", "148", "414", "123", "345"}},
    {"gemma4-e4b", "Q4_0_PURE", {"4.270", "2.654", "0.377", "136", "380", "99", "278"}},
    {"gemma4-e4b", "Q4_0", {"5.170", "2.827", "0.551", "127", "357", "95", "265"}},
    {"gemma4-e4b", "Q4_K_M", {"5.319", "2.973", "0.551", "121", "339", "91", "255"}},
    {"gemma4-e4b", "Q8_0", {"8.015", "4.962", "0.713", "73", "203", "61", "170"}},
    {"gemma4-12b", "Q4_0_PURE", {"6.701", "6.701", "0.566", "54", "150", "48", "133"}},
    {"gemma4-12b", "Q4_0", {"6.960", "6.960", "0.826", "52", "145", "46", "129"}},
    {"gemma4-12b", "Q4_K_M", {"7.366", "7.366", "0.826", "49", "137", "44", "122"}},
    {"gemma4-12b", "Q8_0", {"12.654", "12.654", "1.070", "28", "80", "27", "75"}},
    {"gemma4-26b-a4b", "Q4_0_PURE", {"14.233", "2.190", "0.415", "164", "460", "117", "328"}},
    {"gemma4-26b-a4b", "Q4_0", {"14.424", "2.380", "0.606", "151", "424", "110", "309"}},
    {"gemma4-26b-a4b", "Q4_K_M", {"16.780", "2.596", "0.606", "139", "388", "104", "290"}},
    {"gemma4-26b-a4b", "Q8_0", {"26.844", "4.095", "0.784", "88", "246", "72", "203"}},
    {"gemma4-31b", "Q4_0_PURE", {"17.272", "17.272", "0.793", "21", "58", "17.3", "48"}},
    {"gemma4-31b", "Q4_0", {"17.635", "17.635", "1.156", "20", "57", "17.0", "48"}},
    {"gemma4-31b", "Q4_K_M", {"18.671", "18.671", "1.156", "19.3", "54", "16.2", "45"}},
    {"gemma4-31b", "Q8_0", {"32.620", "32.620", "1.497", "11.0", "31", "10.0", "28"}},
    {"gemma3-270m", "Q4_0_PURE", {"0.151", "0.151", "0.094", "2384", "6676", "1387", "3884"}},
    {"gemma3-270m", "Q4_0", {"0.235", "0.235", "0.178", "1533", "4291", "1048", "2935"}},
    {"gemma3-270m", "Q4_K_M", {"0.247", "0.247", "0.178", "1460", "4088", "1014", "2839"}},
    {"gemma3-270m", "Q8_0", {"0.285", "0.285", "0.178", "1263", "3537", "915", "2561"}},
};

/* Bytes of the tensors of published files, each padded to 32. */
typedef struct file_row {
    const char *preset, *mix;
    uint32_t n_tensor;
    uint64_t bytes;
} file_row;

static const file_row file_rows[] = {
    {"gemma4-26b-a4b", "Q4_0_PURE", 658, 14233223104},
    {"gemma4-12b", "Q4_0_PURE", 667, 6700533248},
    {"gemma4-e2b", "Q8_0", 601, 4951678048},
};
/* clang-format on */

#define N_ROW(rows) (sizeof(rows) / sizeof(rows)[0])

static void read_published(const char *preset, const char *mix_name, model_config *c, model_figures *f) {
    model_mix mix;
    CHECK(model_config_preset(c, preset, &check_message));
    CHECK(model_mix_by_name(&mix, mix_name, &check_message));
    CHECK(model_figures_published(c, &mix, f, &check_message));
}

/* The value with as many decimals as the text, and the same unit. */
static void expect_text(double value, const char *expected, const char *what) {
    const char *dot = strchr(expected, '.');
    int decimals = dot ? (int)strspn(dot + 1, "0123456789") : 0;
    char text[32];
    if (strstr(expected, "GiB"))
        value /= 0x1p30;
    if (strstr(expected, "MiB"))
        value /= 0x1p20;
    snprintf(text, sizeof text, "%.*f", decimals, value);
    if (strncmp(text, expected, strlen(text)) || (expected[strlen(text)] & ~' '))
        fail_msg("%s: %s, not %s", what, text, expected);
}

static void parameters_by_part_are_the_published_ones(void **state) {
    (void)state;
    for (uint32_t p = 0; p < N_PRESET; p++) {
        model_config c;
        model_figures f;
        read_published(presets[p], "F32", &c, &f);
        for (uint32_t i = 0; i < N_ROW(part_rows); i++) {
            const uint32_t part = part_rows[i].part;
            const uint64_t n = part < N_PART ? f.parts[part].n_element : f.total.n_element;
            if (n != part_rows[i].n_element[p])
                fail_msg("%s, %s: %llu", presets[p], part < N_PART ? part_name(part) : "all",
                         (unsigned long long)n);
        }
        if (c.n_expert)
            assert_int_equal(model_active(&c, &f), 3822530590);
        else
            assert_int_equal(model_active(&c, &f), f.total.n_element);
    }
}

static void cache_bytes_follow_from_windows_and_sharing(void **state) {
    (void)state;
    static const uint32_t flags[] = {0, CACHE_SHARED, CACHE_WINDOWED, CACHE_SHARED | CACHE_WINDOWED};
    for (uint32_t i = 0; i < N_ROW(cache_rows); i++) {
        const cache_row *row = &cache_rows[i];
        model_config c;
        char what[64];
        CHECK(model_config_preset(&c, row->preset, &check_message));
        for (uint32_t k = 0; k < 4; k++) {
            snprintf(what, sizeof what, "%s, %u positions, type %u, flags %u", row->preset, row->n_ctx,
                     row->kv_type, flags[k]);
            expect_text((double)model_cache_bytes(&c, row->n_ctx, row->kv_type, flags[k]), row->bytes[k],
                        what);
        }
    }
}

static void bytes_a_token_and_their_bounds(void **state) {
    (void)state;
    for (uint32_t i = 0; i < N_ROW(bound_rows); i++) {
        const bound_row *row = &bound_rows[i];
        model_config c;
        model_figures f;
        char what[64];
        read_published(row->preset, row->mix, &c, &f);
        const double values[] = {
            (double)f.total.bytes * 1e-9,
            (double)f.total.bytes_per_token * 1e-9,
            (double)f.head_bytes * 1e-9,
            model_bound(&c, &f, 0, TANDEM_TYPE_F16, 360e9),
            model_bound(&c, &f, 0, TANDEM_TYPE_F16, 1008e9),
            model_bound(&c, &f, 32768, TANDEM_TYPE_F16, 360e9),
            model_bound(&c, &f, 32768, TANDEM_TYPE_F16, 1008e9),
        };
        for (uint32_t v = 0; v < 7; v++) {
            snprintf(what, sizeof what, "%s %s, column %u", row->preset, row->mix, v);
            expect_text(values[v], row->values[v], what);
        }
    }
}

static void files_have_the_published_sizes(void **state) {
    (void)state;
    for (uint32_t i = 0; i < N_ROW(file_rows); i++) {
        model_config c;
        model_figures f;
        read_published(file_rows[i].preset, file_rows[i].mix, &c, &f);
        assert_int_equal(f.n_tensor, file_rows[i].n_tensor);
        /* Only a layer's scale, one number, needs padding: 28 bytes. */
        assert_int_equal(f.total.bytes + 28 * (uint64_t)c.n_layer, file_rows[i].bytes);
    }
}

/* What a session would allocate: rings of a chunk beside the window, experts where they were asked for. */
static void a_plan_counts_rings_and_placement(void **state) {
    (void)state;
    model_source *source = NULL;
    const model_source_desc desc = {.model = "gemma4-26b-a4b", .seed = 1};
    CHECK(model_source_open(&source, &desc, &check_message));
    const model_config *c = model_source_config(source);
    plan_request request = {.n_ctx = 8192, .batch = 256, .kv_type = TANDEM_TYPE_F16};
    memory_plan resident, offloaded;
    model_figures f;
    CHECK(model_figures_read(source, &f, &check_message));
    CHECK(plan_memory(source, &request, false, &resident, &check_message));
    request.expert_placement = TANDEM_PLACE_HOST;
    CHECK(plan_memory(source, &request, false, &offloaded, &check_message));
    const uint64_t chunk =
        UINT64_C(2) * 256 * 2 * 25 * 8 * 256; /* K and V, rows, f16, sliding layers, width */
    assert_int_equal(resident.kv,
                     model_cache_bytes(c, 8192, TANDEM_TYPE_F16, CACHE_SHARED | CACHE_WINDOWED) + chunk);
    assert_int_equal(resident.host, 0);
    assert_int_equal(offloaded.host, f.parts[PART_EXPERTS].bytes);
    assert_int_equal(offloaded.total, resident.total);
    assert_int_equal(resident.device - offloaded.device, f.parts[PART_EXPERTS].bytes);
    model_source_close(source);
}

/* The table of per-layer embeddings never burdens the device. */
static void a_plan_leaves_per_layer_embeddings_in_host_memory(void **state) {
    (void)state;
    model_source *source = NULL;
    const model_source_desc desc = {.model = "gemma4-e4b", .quant = "Q8_0", .seed = 1};
    CHECK(model_source_open(&source, &desc, &check_message));
    plan_request request = {.n_ctx = 4096, .batch = 64, .kv_type = TANDEM_TYPE_F16};
    memory_plan plan;
    model_figures f;
    CHECK(model_figures_read(source, &f, &check_message));
    CHECK(plan_memory(source, &request, false, &plan, &check_message));
    assert_int_equal(plan.host, f.parts[PART_PLE_TABLE].bytes);
    assert_int_equal(plan.device, plan.total - plan.host);
    model_source_close(source);
}

/* 2 * weights * tokens, and 4 * heads * size for every pair of a token and a position that it sees. */
static void a_prompt_costs_its_products_and_its_pairs(void **state) {
    (void)state;
    model_config c = {.n_layer = 2};
    model_figures f = {0};
    c.layers[0] = (model_layer){.n_head = 2, .head_dim = 4, .n_kv_head = 1, .window = 3, .kv_layer = 0};
    c.layers[1] = (model_layer){.n_head = 2, .head_dim = 8, .n_kv_head = 1, .kv_layer = 1};
    f.parts[PART_ATTENTION].n_element = 100;
    f.parts[PART_FEED_FORWARD].n_element = 10;
    f.parts[PART_EMBEDDING].n_element = 1000; /* a row, and no head: no arithmetic */
    /* Four tokens behind two: the window sees 3 each, the other layer 3 + 4 + 5 + 6. */
    const double pairs = 12 * 2 * 4 + 18 * 2 * 8;
    assert_float_equal(model_prefill_flops(&c, &f, 4, 2), 2.0 * 110 * 4 + 4 * pairs, 0.5);
    /* Of 8 experts two a token: a quarter of the weights each; read: all eight from four tokens on. */
    c.n_expert = 8;
    c.n_used = 2;
    f.parts[PART_EXPERTS].n_element = 80;
    f.parts[PART_EXPERTS].bytes = 800;
    f.parts[PART_ATTENTION].bytes = 50;
    f.parts[PART_EMBEDDING].bytes = 4000;
    assert_float_equal(model_prefill_flops(&c, &f, 4, 2), 2.0 * 130 * 4 + 4 * pairs, 0.5);
    const double cache = (double)model_cache_bytes(&c, 1, TANDEM_TYPE_F16, CACHE_WINDOWED);
    assert_float_equal(model_prefill_bytes(&c, &f, 1, 0, TANDEM_TYPE_F16), 50 + 200 + cache, 0.5);
    const double all = model_prefill_bytes(&c, &f, 100, 0, TANDEM_TYPE_F16);
    assert_float_equal(all, 850 + (double)model_cache_bytes(&c, 100, TANDEM_TYPE_F16, CACHE_WINDOWED), 0.5);
    /* The slower of both. */
    const double flops = model_prefill_flops(&c, &f, 100, 0);
    assert_float_equal(model_prefill_seconds(&c, &f, 100, 0, TANDEM_TYPE_F16, all, flops / 3), 3, 1e-9);
    assert_float_equal(model_prefill_seconds(&c, &f, 100, 0, TANDEM_TYPE_F16, all / 5, flops / 3), 5, 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_by_part_are_the_published_ones),
        cmocka_unit_test(cache_bytes_follow_from_windows_and_sharing),
        cmocka_unit_test(bytes_a_token_and_their_bounds),
        cmocka_unit_test(files_have_the_published_sizes),
        cmocka_unit_test(a_plan_counts_rings_and_placement),
        cmocka_unit_test(a_prompt_costs_its_products_and_its_pairs),
        cmocka_unit_test(a_plan_leaves_per_layer_embeddings_in_host_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
