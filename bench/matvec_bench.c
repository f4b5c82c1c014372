/* matvec_bench.c: the quantised products of the Vulkan shaders, alone.
 *
 * usage: matvec_bench [--device N] [--shaders DIR] [--rows N] [--cols N] [--rounds N] [--format NAME]
 * [--cpu-time] matvec_bench --check [--device N] [--shaders DIR] [--format NAME]
 *
 * The bench times every format and precision as mat-vec (1 row of x) and as matmul (256 rows), interleaved
 * with the naive anchor shader in rounds, and prints the range over the rounds and the median of the ratios
 * within a round.
 * --cpu-time takes the CPU time of the process instead of device time: on a software device it is blind to
 * other load on the machine. The check compares with a product in double over all formats, widths, tiles and
 * forms; exit code 1 if one is beyond its budget. */
#include "product.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/base.h>
#include <tandem/quants.h>

#ifndef BENCH_SHADERS
#define BENCH_SHADERS "."
#endif

enum { MAX_VARIANTS = 64, MAX_ROUNDS = 100, PREFILL_ROWS = 256 };

typedef struct options {
    uint32_t device;
    const char *shaders;
    uint32_t n_row;
    uint32_t n_col;
    uint32_t rounds;
    const char *format;
    int clock;
    int check;
    int quick; /* check with 64-bit loads only, where there are any */
} options;

typedef struct variant {
    char name[64];
    product product;
    bench_pipeline pipeline;
    vk_matmul_plan plan;
    double seconds[MAX_ROUNDS];
} variant;

static const uint32_t types[] = {TANDEM_TYPE_F32,  TANDEM_TYPE_F16,    TANDEM_TYPE_BF16,   TANDEM_TYPE_Q4_0,
                                 TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q5_0,   TANDEM_TYPE_Q5_1,   TANDEM_TYPE_Q8_0,
                                 TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q5_K,   TANDEM_TYPE_Q6_K,   TANDEM_TYPE_Q2_K,
                                 TANDEM_TYPE_Q3_K, TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_IQ4_XS, TANDEM_TYPE_MXFP4};
enum { N_TYPE = sizeof types / sizeof types[0] };

static int wants(const options *o, uint32_t type) {
    return !o->format || tandem_kit_type_by_name(o->format) == tandem_kit_type(type);
}

static double launch(const bench_device *device, const product *p, const vk_matmul_plan *plan,
                     const bench_pipeline *pipeline, int clock) {
    matmul_push push = product_push(p);
    uint32_t y = (p->desc.n_tok + plan->cols_per_group - 1) / plan->cols_per_group;
    return bench_run(device, pipeline, &push, plan->grid_x, y, clock);
}

/* ---- speed ---- */

typedef struct anchor {
    bench_buffer w, x, y;
    bench_pipeline pipeline;
    uint32_t n_row, n_block;
    double seconds[MAX_ROUNDS];
} anchor;

static anchor anchor_create(const bench_device *device, const options *o) {
    char path[512];
    anchor a = {.n_row = o->n_row, .n_block = o->n_col / 32};
    a.w = bench_buffer_create(device, (uint64_t)a.n_row * a.n_block * 18 + 16);
    a.x = bench_buffer_create(device, (uint64_t)a.n_block * 128);
    a.y = bench_buffer_create(device, (uint64_t)a.n_row * 4);
    uint8_t *bytes = calloc(1, a.w.bytes);
    if (!bytes)
        bench_die("out of memory", 0);
    for (uint64_t i = 0; i < a.w.bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11) & 0x37; /* small f16 scales */
    bench_upload(device, &a.w, bytes, a.w.bytes);
    memset(bytes, 0, a.x.bytes);
    bench_upload(device, &a.x, bytes, a.x.bytes);
    free(bytes);
    snprintf(path, sizeof path, "%s/anchor_matvec.spv", o->shaders);
    a.pipeline = bench_pipeline_create(device, path, 32, NULL, 0);
    return a;
}

static double anchor_run(const bench_device *device, const anchor *a, int clock) {
    struct {
        uint64_t w, x, y;
        uint32_t n_row, n_block;
    } push = {a->w.address, a->x.address, a->y.address, a->n_row, a->n_block};
    return bench_run(device, &a->pipeline, &push, a->n_row, 1, clock);
}

static void anchor_destroy(const bench_device *device, anchor *a) {
    bench_buffer_destroy(device, &a->w);
    bench_buffer_destroy(device, &a->x);
    bench_buffer_destroy(device, &a->y);
    bench_pipeline_destroy(device, &a->pipeline);
}

static uint32_t add_variants(const bench_device *device, const options *o, variant *variants) {
    uint32_t n = 0;
    for (uint32_t t = 0; t < N_TYPE; t++)
        for (uint32_t kind = 0; kind < 2 && wants(o, types[t]); kind++)
            for (uint32_t q8 = 0; q8 < 1 + device->integer_dot; q8++) {
                variant *v = &variants[n++];
                product_desc desc = {.type = types[t],
                                     .n_row = o->n_row,
                                     .n_col = o->n_col,
                                     .n_tok = kind == VK_MATMUL_VEC ? 1 : PREFILL_ROWS,
                                     .precision = q8 ? TANDEM_PRECISION_Q8 : TANDEM_PRECISION_EXACT,
                                     .amplitude = 1};
                v->product = product_create(device, o->shaders, &desc);
                v->plan = product_plan(device, &v->product, kind, device->int64, device->software, 0);
                v->pipeline = product_pipeline(device, o->shaders, &v->plan);
                snprintf(v->name, sizeof v->name, "%s", v->plan.kernel);
            }
    return n;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest, middle and largest of n values. */
static void spread(const double *values, uint32_t n, double out[3]) {
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_value);
    out[0] = sorted[0];
    out[1] = sorted[n / 2];
    out[2] = sorted[n - 1];
}

/* Time of `of` per row of x over time of the variant per row of x, median over the rounds. */
static double ratio(const double *of, uint32_t of_rows, const double *seconds, uint32_t rows, uint32_t n) {
    double ratios[MAX_ROUNDS], s[3];
    for (uint32_t i = 0; i < n; i++)
        ratios[i] = of[i] / of_rows / (seconds[i] / rows);
    spread(ratios, n, s);
    return s[1];
}

static void print_table(const bench_device *device, const options *o, const anchor *a,
                        const variant *variants, uint32_t n) {
    double s[3];
    printf("%s, subgroup %u%s\n", device->name, device->subgroup_size,
           device->software ? ": a SOFTWARE device, its speed says nothing about a GPU" : "");
    printf("W is %u x %u; mat-vec: 1 row of x, matmul: %u; %u rounds; %s\n", o->n_row, o->n_col, PREFILL_ROWS,
           o->rounds, o->clock == BENCH_CPU_TIME ? "CPU time of the process" : "device time");
    printf("%-22s %-22s %9s %9s %9s %9s\n", "", "GB/s of GGUF bytes", "anchor x", "exact x", "matvec x",
           "moved/min");
    spread(a->seconds, o->rounds, s);
    double gb = (double)a->n_row * a->n_block * 18e-9;
    printf("%-22s %6.3f .. %6.3f\n", "anchor_q4_0", gb / s[2], gb / s[0]);
    for (uint32_t i = 0; i < n; i++) {
        const variant *v = &variants[i];
        uint32_t rows = v->product.desc.n_tok;
        uint32_t per_kind = 1 + device->integer_dot;
        const variant *exact = &variants[i / per_kind * per_kind];
        const variant *vec = &variants[i / (2 * per_kind) * (2 * per_kind) + i % per_kind];
        spread(v->seconds, o->rounds, s);
        gb = (double)v->plan.weight_bytes_min * 1e-9;
        printf("%-22s %6.3f .. %6.3f       ", v->name, gb / s[2], gb / s[0]);
        printf(" %9.2f", ratio(a->seconds, 1, v->seconds, rows, o->rounds));
        printf(" %9.2f", ratio(exact->seconds, rows, v->seconds, rows, o->rounds));
        printf(" %9.2f", ratio(vec->seconds, 1, v->seconds, rows, o->rounds));
        printf(" %9.4f\n", (double)v->plan.weight_bytes / (double)v->plan.weight_bytes_min);
    }
}

static int run_speed(const bench_device *device, const options *o) {
    variant *variants = calloc(MAX_VARIANTS, sizeof *variants);
    if (!variants)
        bench_die("out of memory", 0);
    anchor a = anchor_create(device, o);
    uint32_t n = add_variants(device, o, variants);
    anchor_run(device, &a, o->clock); /* software drivers compile at the first dispatch */
    for (uint32_t i = 0; i < n; i++)
        launch(device, &variants[i].product, &variants[i].plan, &variants[i].pipeline, o->clock);
    for (uint32_t r = 0; r < o->rounds; r++) {
        a.seconds[r] = anchor_run(device, &a, o->clock);
        for (uint32_t i = 0; i < n; i++)
            variants[i].seconds[r] =
                launch(device, &variants[i].product, &variants[i].plan, &variants[i].pipeline, o->clock);
    }
    print_table(device, o, &a, variants, n);
    for (uint32_t i = 0; i < n; i++) {
        bench_pipeline_destroy(device, &variants[i].pipeline);
        product_destroy(device, &variants[i].product);
    }
    anchor_destroy(device, &a);
    free(variants);
    return 0;
}

/* ---- check ---- */

/* One product through one plan; prints it if it is beyond its budget. */
static int check_plan(const bench_device *device, const options *o, const product *p,
                      const vk_matmul_plan *plan, double *worst) {
    const product_desc *d = &p->desc;
    double budget = 1e-10;
    bench_pipeline pipeline = product_pipeline(device, o->shaders, plan);
    launch(device, p, plan, &pipeline, BENCH_DEVICE_TIME);
    bench_pipeline_destroy(device, &pipeline);
    double error = product_error(device, p);
    if (error > *worst)
        *worst = error;
    if (error <= budget)
        return 0;
    printf("FAIL %s rows %u cols %u tok %u form %u softcap %g amplitude %g: error %.2e, limit %.0e, spec",
           plan->shader, d->n_row, d->n_col, d->n_tok, d->form, d->softcap, d->amplitude, error, budget);
    for (uint32_t i = 0; i < N_SPEC_MATMUL; i++)
        printf(" %u", plan->spec[i]);
    printf("\n");
    return 1;
}

/* One product through the software and the GPU plans, with and without 64-bit loads. */
static int check_product(const bench_device *device, const options *o, const product_desc *desc,
                         uint32_t *n_run, double *worst) {
    product p = product_create(device, o->shaders, desc);
    int failed = 0;
    for (uint32_t kind = 0; kind < 2; kind++)
        for (uint32_t software = 0; software < 2; software++)
            for (uint32_t int64 = o->quick ? device->int64 : 0; int64 < 1 + device->int64; int64++) {
                uint32_t n_unit = desc->n_tok % 2 ? 1 : 1000; /* few lanes or many share a row */
                vk_matmul_plan plan = product_plan(device, &p, kind, int64, software, n_unit);
                failed += check_plan(device, o, &p, &plan, worst);
                *n_run += 1;
            }
    product_destroy(device, &p);
    return failed;
}

/* Padding of the packed layout at the widths of the models. */
static int check_bytes(uint32_t type, double *worst) {
    static const uint32_t widths[] = {640, 704, 768, 1024, 2112, 2816, 5376};
    int failed = 0;
    for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
        tandem_kit_pack pack;
        if (tandem_kit_row_bytes(type, widths[i]) == 0)
            continue;
        if (!tandem_kit_pack_init(&pack, type, 64, widths[i], UINT64_C(1) << 31))
            bench_die("tandem_kit_pack_init refuses a format", (int)type);
        double share = (double)pack.device_bytes / (double)(64 * pack.row_bytes);
        *worst = share > *worst ? share : *worst;
        if (share > 1.03 || share < 1) {
            printf("FAIL %s at %u columns: %.4f times the bytes of GGUF\n", tandem_kit_type(type)->name,
                   widths[i], share);
            failed++;
        }
    }
    return failed;
}

static int check_type(const bench_device *device, const options *o, uint32_t type) {
    static const struct {
        uint32_t n_row, n_col, n_tok, form, gather;
        float softcap, amplitude;
        uint64_t max_segment_bytes;
    } cases[] = {
        {1, 256, 1, PRODUCT_PLAIN, 0, 0, 1, 0},        {7, 768, 2, PRODUCT_PLAIN, 0, 30, 100, 0},
        {130, 2816, 17, PRODUCT_PLAIN, 1, 0, 1e3f, 0}, {37, 512, 64, PRODUCT_GATE_UP, 0, 0, 1, 0},
        {61, 2048, 2, PRODUCT_GLU, 0, 0, 1e7f, 0},     {1100, 256, 1, PRODUCT_PLAIN, 0, 0, 1, 150000},
        {9, 32, 1, PRODUCT_PLAIN, 0, 0, 1, 0},         {33, 640, 1, PRODUCT_PLAIN, 0, 0, 1, 0},
        {40, 704, 1, PRODUCT_GATE_UP, 0, 0, 1e5f, 0},  {19, 2112, 2, PRODUCT_PLAIN, 0, 0.5f, 1, 0},
        {35, 96, 17, PRODUCT_PLAIN, 1, 0, 1e7f, 0},    {5, 35, 2, PRODUCT_PLAIN, 0, 0, 1, 0},
        {11, 1, 1, PRODUCT_PLAIN, 0, 0, 1, 0},         {3, 1001, 17, PRODUCT_GLU, 1, 0, 1, 0},
    };
    double bytes = 1;
    int failed = check_bytes(type, &bytes);
    for (uint32_t q8 = 0; q8 < 1 + device->integer_dot; q8++) {
        uint32_t n_run = 0;
        double worst = 0;
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            if (tandem_kit_row_bytes(type, cases[i].n_col) == 0)
                continue;
            /* 512 rows a segment is the least: let the small formats have a second one */
            uint64_t limit =
                cases[i].max_segment_bytes ? tandem_kit_row_bytes(type, cases[i].n_col) * 560 : 0;
            product_desc desc = {.type = type,
                                 .n_row = cases[i].n_row,
                                 .n_col = cases[i].n_col,
                                 .n_tok = cases[i].n_tok,
                                 .precision = q8 ? TANDEM_PRECISION_Q8 : TANDEM_PRECISION_EXACT,
                                 .form = cases[i].form,
                                 .gather = cases[i].gather,
                                 .softcap = cases[i].softcap,
                                 .amplitude = cases[i].amplitude,
                                 .max_segment_bytes = limit,
                                 .expected = 1};
            failed += check_product(device, o, &desc, &n_run, &worst);
        }
        printf("%-6s %-5s %3u products, worst error %.1e, at most %.4f times the bytes of GGUF\n",
               tandem_kit_type(type)->name, q8 ? "q8" : "exact", n_run, worst, bytes);
    }
    return failed;
}

static int run_check(const bench_device *device, const options *o) {
    int failed = 0;
    printf("%s, subgroup %u\n", device->name, device->subgroup_size);
    for (uint32_t t = 0; t < N_TYPE; t++)
        if (wants(o, types[t]))
            failed += check_type(device, o, types[t]);
    printf("%d failed\n", failed);
    return failed ? 1 : 0;
}

static uint32_t number(const char *text, uint32_t low, uint32_t high) {
    char *end = NULL;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;
    if (!text || *end || end == text || n < low || n > high) {
        fprintf(stderr, "matvec_bench: %s is not a number from %u to %u\n", text ? text : "nothing", low,
                high);
        exit(2);
    }
    return (uint32_t)n;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    options o = {.shaders = BENCH_SHADERS, .n_row = 4096, .n_col = 2816, .rounds = 7};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--check"))
            o.check = 1;
        else if (!strcmp(argv[i], "--quick"))
            o.quick = 1;
        else if (!strcmp(argv[i], "--cpu-time"))
            o.clock = BENCH_CPU_TIME;
        else if (!strcmp(argv[i], "--device"))
            o.device = number(value, 0, 15), i++;
        else if (!strcmp(argv[i], "--rows"))
            o.n_row = number(value, 1, 1 << 20), i++;
        else if (!strcmp(argv[i], "--cols"))
            o.n_col = number(value, 256, 1 << 16), i++;
        else if (!strcmp(argv[i], "--rounds"))
            o.rounds = number(value, 1, MAX_ROUNDS), i++;
        else if (!strcmp(argv[i], "--shaders") && value)
            o.shaders = value, i++;
        else if (!strcmp(argv[i], "--format") && value && tandem_kit_type_by_name(value))
            o.format = value, i++;
        else {
            fprintf(stderr, "matvec_bench: do not know %s; see the head of matvec_bench.c\n", argv[i]);
            return 2;
        }
    }
    if (o.n_col % 256) {
        fprintf(stderr, "matvec_bench: --cols must be a multiple of 256, the widest block\n");
        return 2;
    }
    bench_device device;
    bench_device_open(&device, o.device);
    int status = o.check ? run_check(&device, &o) : run_speed(&device, &o);
    bench_device_close(&device);
    return status;
}
