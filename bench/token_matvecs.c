/* token_matvecs.c: the mat-vecs of one token alone, one after another in one submit, each on its own weights.
 *
 * usage: token_matvecs LIST [--q8] [--rounds N] [--device N] [--shaders DIR]
 *
 * LIST has a line for each product, in the order of the token: `FORMAT ROWS COLS [glu] [beside]`; glu: two
 * matrices of that shape; beside: it does not wait for the line before. Prints `BYTES SECONDS`: GGUF bytes of
 * all the weights, and the median of the rounds. What a whole token takes beyond that is not mat-vec. */
#include "product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#ifndef BENCH_SHADERS
#define BENCH_SHADERS "."
#endif

enum { MAX_PRODUCTS = 2048, MAX_ROUNDS = 100 };

typedef struct options {
    const char *list;
    const char *shaders;
    uint32_t precision;
    uint32_t rounds;
    uint32_t device;
} options;

typedef struct token {
    uint32_t n;
    product products[MAX_PRODUCTS];
    vk_matmul_plan plans[MAX_PRODUCTS];
    bench_pipeline pipelines[MAX_PRODUCTS];
    matmul_push pushes[MAX_PRODUCTS];
    bench_launch launches[MAX_PRODUCTS];
    double bytes;
} token;

static void die(const char *what, const char *which) {
    fprintf(stderr, "token_matvecs: %s%s; see the head of token_matvecs.c\n", what, which);
    exit(2);
}

/* Index of the first product that is launched the same way. */
static uint32_t same_pipeline(const token *t, const vk_matmul_plan *plan) {
    uint32_t i = 0;
    while (i < t->n && (strcmp(t->plans[i].shader, plan->shader) ||
                        memcmp(t->plans[i].spec, plan->spec, sizeof plan->spec)))
        i++;
    return i;
}

static void add_product(token *t, const bench_device *device, const options *o, const product_desc *desc,
                        uint32_t beside) {
    uint32_t i = t->n;
    if (i == MAX_PRODUCTS)
        die("the list is too long", "");
    t->products[i] = product_create(device, o->shaders, desc);
    t->plans[i] = product_plan(device, &t->products[i], VK_MATMUL_VEC, device->int64, device->software, 0);
    uint32_t like = same_pipeline(t, &t->plans[i]);
    if (like == i)
        t->pipelines[i] = product_pipeline(device, o->shaders, &t->plans[i]);
    t->pushes[i] = product_push(&t->products[i]);
    t->launches[i] = (bench_launch){.pipeline = &t->pipelines[like],
                                    .push = &t->pushes[i],
                                    .x = t->plans[i].grid_x,
                                    .y = 1,
                                    .waits = i > 0 && !beside};
    t->bytes += (double)t->plans[i].weight_bytes_min;
    t->n++;
}

static void read_list(token *t, const bench_device *device, const options *o) {
    char line[256];
    FILE *file = fopen(o->list, "r");
    if (!file)
        die("cannot open ", o->list);
    while (fgets(line, sizeof line, file)) {
        char format[32], words[2][16] = {"", ""};
        product_desc desc = {.n_tok = 1, .precision = o->precision, .amplitude = 1};
        int n = sscanf(line, "%31s %u %u %15s %15s", format, &desc.n_row, &desc.n_col, words[0], words[1]);
        const tandem_type_info *type = n >= 3 ? tandem_kit_type_by_name(format) : NULL;
        if (!type || !desc.n_row || !desc.n_col)
            die("this is no product: ", line);
        desc.type = type->type;
        desc.form = !strcmp(words[0], "glu") ? PRODUCT_GLU : PRODUCT_PLAIN;
        add_product(t, device, o, &desc, !strcmp(words[0], "beside") || !strcmp(words[1], "beside"));
    }
    fclose(file);
    if (!t->n)
        die("there is no product in ", o->list);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint32_t number(const char *text, uint32_t low, uint32_t high) {
    char *end = NULL;
    unsigned long n = text ? strtoul(text, &end, 10) : 0;
    if (!text || *end || end == text || n < low || n > high)
        die("this is no number in range: ", text ? text : "nothing");
    return (uint32_t)n;
}

static options parse(int argc, char **argv) {
    options o = {.shaders = BENCH_SHADERS, .precision = TANDEM_PRECISION_EXACT, .rounds = 7};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--q8"))
            o.precision = TANDEM_PRECISION_Q8;
        else if (!strcmp(argv[i], "--rounds"))
            o.rounds = number(value, 1, MAX_ROUNDS), i++;
        else if (!strcmp(argv[i], "--device"))
            o.device = number(value, 0, 15), i++;
        else if (!strcmp(argv[i], "--shaders") && value)
            o.shaders = value, i++;
        else if (argv[i][0] != '-' && !o.list)
            o.list = argv[i];
        else
            die("do not know ", argv[i]);
    }
    if (!o.list)
        die("a list is missing", "");
    return o;
}

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    double seconds[MAX_ROUNDS];
    bench_device device;
    token *t = calloc(1, sizeof *t);
    if (!t)
        bench_die("out of memory", 0);
    bench_device_open(&device, o.device);
    read_list(t, &device, &o);
    bench_run_all(&device, t->launches, t->n, BENCH_DEVICE_TIME); /* software drivers compile now */
    for (uint32_t r = 0; r < o.rounds; r++)
        seconds[r] = bench_run_all(&device, t->launches, t->n, BENCH_DEVICE_TIME);
    qsort(seconds, o.rounds, sizeof *seconds, by_value);
    printf("%.0f %.9f\n", t->bytes, seconds[o.rounds / 2]);
    for (uint32_t i = 0; i < t->n; i++) {
        product_destroy(&device, &t->products[i]);
        if (t->pipelines[i].handle)
            bench_pipeline_destroy(&device, &t->pipelines[i]);
    }
    bench_device_close(&device);
    free(t);
    return 0;
}
