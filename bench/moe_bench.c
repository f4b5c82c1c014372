/* moe_bench.c: MOE_FFN alone on any plugin, beside a dense feed-forward part of the same bytes.
 *
 * usage: moe_bench PLUGIN [--device N] [--experts N] [--used N] [--d N] [--width N] [--rows N] [--rounds N]
 *                  [--format NAME] [--precision exact|q8] [--spread uniform|zipf|one] [--cpu-time]
 *
 * Times one row (decode) and --rows rows (prefill) through the experts, and through a dense GLU and down
 * projection as wide as the experts that a row uses. A round runs each once, with another route; the least of
 * the rounds counts. --cpu-time takes the CPU time of the process instead of device time: on a software
 * device it is blind to other load on the machine. Exit code 3 where the plugin or a device is missing, 1 if
 * a call fails, 2 for a wrong option. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tandem/quants.h>
#include <tandem/tandem.h>

#include "loader.h"

enum { SPREAD_UNIFORM, SPREAD_ZIPF, SPREAD_ONE };
enum { DENSE, EXPERTS, N_KIND };

typedef struct options {
    const char *plugin;
    uint32_t device, n_expert, n_used, d, width, rows, rounds, type, precision, spread, cpu_time;
} options;

/* One program, and its least time. */
typedef struct job {
    const char *name;
    uint32_t kind, n_row;
    tandem_program *program;
    uint32_t n_step;
    tandem_cost cost;
    double seconds;
} job;

typedef struct bench {
    const options *o;
    const tandem_backend *api;
    tandem_context *context;
    tandem_weights *experts, *up, *down;
    tandem_buffer *x, *y, *glu, *route;
    tandem_error error;
    uint32_t random;
} bench;

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        tandem_status status_ = (call);                                                                      \
        if (status_ != TANDEM_OK)                                                                            \
            return status_;                                                                                  \
    } while (0)

static uint32_t next_random(bench *b) {
    b->random = b->random * 1664525u + 1013904223u;
    return b->random >> 8;
}

/* ---- objects ---- */

/* Rows that repeat one random row: only where bytes lie matters. */
static tandem_status fill(bench *b, tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t n_row,
                          uint64_t n_col) {
    uint64_t bytes = tandem_kit_row_bytes(b->o->type, n_col);
    float *values = malloc(n_col * sizeof *values);
    unsigned char *rows = malloc(n_row * bytes);
    tandem_status status = TANDEM_E_OUT_OF_MEMORY;
    if (values && rows) {
        for (uint64_t i = 0; i < n_col; i++)
            values[i] = ((float)(next_random(b) & 0xffff) / 32768 - 1) / sqrtf((float)n_col);
        tandem_kit_quantise(b->o->type, values, rows, n_col);
        for (uint64_t r = 1; r < n_row; r++)
            memcpy(rows + r * bytes, rows, bytes);
        status = b->api->weights_write(weights, record, matrix, 0, n_row, rows, n_row * bytes, 0, &b->error);
    }
    free(values);
    free(rows);
    return status;
}

static tandem_matrix_desc matrix_of(const bench *b, uint32_t role, uint64_t n_row, uint64_t n_col) {
    return (tandem_matrix_desc){.struct_size = sizeof(tandem_matrix_desc),
                                .role = role,
                                .type = b->o->type,
                                .n_row = n_row,
                                .n_col = n_col};
}

static tandem_status make_weights(bench *b, uint32_t n_record, uint32_t n_matrix, const tandem_matrix_desc *m,
                                  tandem_weights **weights) {
    const tandem_matrix_desc *list[2] = {&m[0], &m[n_matrix - 1]};
    tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = n_record, .n_matrix = n_matrix, .matrices = list};
    TRY(b->api->weights_create(b->context, &desc, weights, &b->error));
    for (uint32_t r = 0; r < n_record; r++)
        for (uint32_t i = 0; i < n_matrix; i++)
            TRY(fill(b, *weights, r, i, list[i]->n_row, list[i]->n_col));
    return TANDEM_OK;
}

static tandem_status make_buffer(bench *b, uint64_t bytes, tandem_buffer **buffer) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = bytes};
    return b->api->buffer_create(b->context, &desc, buffer, &b->error);
}

static tandem_status make_objects(bench *b) {
    const options *o = b->o;
    uint64_t wide = (uint64_t)o->n_used * o->width, n = (uint64_t)o->rows * o->d;
    const tandem_matrix_desc expert[2] = {matrix_of(b, TANDEM_ROLE_GATE_UP, 2ull * o->width, o->d),
                                          matrix_of(b, TANDEM_ROLE_DOWN, o->d, o->width)};
    const tandem_matrix_desc up = matrix_of(b, TANDEM_ROLE_GATE_UP, 2 * wide, o->d);
    const tandem_matrix_desc down = matrix_of(b, TANDEM_ROLE_DOWN, o->d, wide);
    TRY(make_weights(b, o->n_expert, 2, expert, &b->experts));
    TRY(make_weights(b, 1, 1, &up, &b->up));
    TRY(make_weights(b, 1, 1, &down, &b->down));
    TRY(make_buffer(b, n * 4, &b->x));
    TRY(make_buffer(b, n * 4, &b->y));
    TRY(make_buffer(b, o->rows * wide * 4, &b->glu));
    TRY(make_buffer(b, o->rows * (8ull * o->n_used + 8) / 16 * 16 + 16, &b->route));
    float *values = malloc(n * sizeof *values);
    if (!values)
        return TANDEM_E_OUT_OF_MEMORY;
    for (uint64_t i = 0; i < n; i++)
        values[i] = (float)(next_random(b) & 0xffff) / 32768 - 1;
    tandem_status status = b->api->buffer_write(b->x, 0, values, n * 4, &b->error);
    free(values);
    return status;
}

static tandem_view rows_of(tandem_buffer *buffer, uint64_t bytes) {
    return (tandem_view){.buffer = buffer, .stride = bytes};
}

static tandem_status make_program(bench *b, job *j) {
    const options *o = b->o;
    const tandem_view x = rows_of(b->x, o->d * 4ull), y = rows_of(b->y, o->d * 4ull);
    const tandem_view glu = rows_of(b->glu, (uint64_t)o->n_used * o->width * 4);
    tandem_op_moe_ffn experts = {.head = {.struct_size = sizeof experts, .kind = TANDEM_OP_MOE_FFN},
                                 .weights = b->experts,
                                 .n_used = o->n_used,
                                 .x = x,
                                 .route = rows_of(b->route, o->n_used * 8ull),
                                 .y = y};
    tandem_op_matmul up = {.head = {.struct_size = sizeof up, .kind = TANDEM_OP_MATMUL},
                           .weights = b->up,
                           .n_matrix = 1,
                           .activation = TANDEM_ACT_GELU_GLU,
                           .x = {x},
                           .y = {glu}};
    tandem_op_matmul down = {.head = up.head, .weights = b->down, .n_matrix = 1, .x = {glu}, .y = {y}};
    const tandem_op *dense[2] = {&up.head, &down.head}, *sparse[1] = {&experts.head};
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .n_op = j->kind == DENSE ? 2 : 1,
                                .ops = j->kind == DENSE ? dense : sparse,
                                .max_tokens = j->n_row,
                                .max_slots = 1,
                                .precision = o->precision};
    TRY(b->api->program_create(b->context, &desc, &j->program, &b->error));
    return b->api->program_step_count(j->program, &j->n_step, &b->error);
}

/* ---- routes ---- */

static int has(const uint32_t *ids, uint32_t n, uint32_t id) {
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return 1;
    return 0;
}

/* uniform: any expert; zipf: expert e as 1 / (e + 1); one: the same experts for every row. */
static uint32_t draw(bench *b, uint32_t j) {
    double u = (double)next_random(b) / (1 << 24);
    uint32_t n = b->o->n_expert;
    if (b->o->spread == SPREAD_ONE)
        return j;
    if (b->o->spread == SPREAD_UNIFORM)
        return (uint32_t)(u * n);
    uint32_t e = (uint32_t)(pow(n + 1.0, u) - 1);
    return e < n ? e : n - 1;
}

static tandem_status write_route(bench *b) {
    uint32_t n_used = b->o->n_used;
    uint64_t bytes = (uint64_t)b->o->rows * n_used * 8;
    uint32_t *route = malloc(bytes);
    if (!route)
        return TANDEM_E_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < b->o->rows; i++) {
        uint32_t *ids = route + (uint64_t)i * 2 * n_used;
        for (uint32_t j = 0; j < n_used; j++) {
            const float weight = 1.0f / (float)n_used;
            do
                ids[j] = draw(b, j);
            while (has(ids, j, ids[j]));
            memcpy(&ids[n_used + j], &weight, sizeof weight);
        }
    }
    tandem_status status = b->api->buffer_write(b->route, 0, route, bytes, &b->error);
    free(route);
    return status;
}

/* ---- timing ---- */

static tandem_status get_cost(bench *b, job *j, const tandem_run *run) {
    j->cost = (tandem_cost){.struct_size = sizeof j->cost};
    tandem_cost *list = calloc(j->n_step, sizeof *list), **pointers = calloc(j->n_step, sizeof *pointers);
    tandem_status status = list && pointers ? TANDEM_OK : TANDEM_E_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < j->n_step && status == TANDEM_OK; i++) {
        list[i].struct_size = sizeof *list;
        pointers[i] = &list[i];
    }
    if (status == TANDEM_OK)
        status = b->api->program_cost(j->program, run, pointers, j->n_step, &b->error);
    for (uint32_t i = 0; i < j->n_step && status == TANDEM_OK; i++) {
        j->cost.weight_bytes_min += list[i].weight_bytes_min;
        j->cost.weight_bytes += list[i].weight_bytes;
        j->cost.flops += list[i].flops;
    }
    free(list);
    free(pointers);
    return status;
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static tandem_status run_once(bench *b, job *j, uint32_t is_warm) {
    tandem_ticket ticket;
    tandem_times times = {.struct_size = sizeof times};
    uint32_t *tokens = calloc(j->n_row, sizeof *tokens);
    if (!tokens)
        return TANDEM_E_OUT_OF_MEMORY;
    tandem_run run = {.struct_size = sizeof run, .n_rows = j->n_row, .tokens = tokens};
    double begin = cpu_seconds();
    tandem_status status = b->api->run(j->program, &run, &ticket, &b->error);
    if (status == TANDEM_OK)
        status = b->api->wait(b->context, ticket, UINT64_MAX, &b->error);
    double seconds = cpu_seconds() - begin;
    if (status == TANDEM_OK)
        status = b->api->times(b->context, ticket, &times, &b->error);
    if (!b->o->cpu_time)
        seconds = (double)times.device_ns * 1e-9;
    if (status == TANDEM_OK && is_warm && (j->seconds == 0 || seconds < j->seconds))
        j->seconds = seconds;
    if (status == TANDEM_OK && !is_warm)
        status = get_cost(b, j, &run);
    free(tokens);
    return status;
}

static void print_jobs(const job *jobs, uint32_t n) {
    printf("%-22s %6s %10s %10s %10s %10s %8s\n", "", "steps", "ms", "us a row", "GB/s", "GFLOP/s", "reads");
    for (uint32_t i = 0; i < n; i++) {
        const job *j = &jobs[i];
        printf("%-22s %6u %10.3f %10.1f %10.2f %10.1f %7.2fx\n", j->name, j->n_step, j->seconds * 1e3,
               j->seconds * 1e6 / j->n_row, (double)j->cost.weight_bytes_min / j->seconds * 1e-9,
               (double)j->cost.flops / j->seconds * 1e-9,
               (double)j->cost.weight_bytes / (double)j->cost.weight_bytes_min);
    }
    printf("decode: experts at %.2f of the dense part's bytes a second\n",
           (double)jobs[1].cost.weight_bytes_min / jobs[1].seconds /
               ((double)jobs[0].cost.weight_bytes_min / jobs[0].seconds));
    printf("prefill: a row takes %.2f of a decoded one (dense %.2f), and %.2f times a dense row\n",
           jobs[3].seconds / jobs[3].n_row / jobs[1].seconds,
           jobs[2].seconds / jobs[2].n_row / jobs[0].seconds, jobs[3].seconds / jobs[2].seconds);
}

static tandem_status measure(bench *b) {
    job jobs[4] = {{.name = "decode, dense", .kind = DENSE, .n_row = 1},
                   {.name = "decode, experts", .kind = EXPERTS, .n_row = 1},
                   {.name = "prefill, dense", .kind = DENSE, .n_row = b->o->rows},
                   {.name = "prefill, experts", .kind = EXPERTS, .n_row = b->o->rows}};
    tandem_status status = make_objects(b);
    for (uint32_t i = 0; i < 4 && status == TANDEM_OK; i++)
        status = make_program(b, &jobs[i]);
    for (uint32_t round = 0; round <= b->o->rounds && status == TANDEM_OK; round++) {
        status = write_route(b);
        for (uint32_t i = 0; i < 4 && status == TANDEM_OK; i++)
            status = run_once(b, &jobs[i], round > 0);
    }
    if (status == TANDEM_OK)
        print_jobs(jobs, 4);
    for (uint32_t i = 0; i < 4; i++)
        b->api->program_destroy(jobs[i].program);
    return status;
}

/* ---- the program ---- */

static void usage(void) {
    fprintf(stderr,
            "usage: moe_bench PLUGIN [--device N] [--experts N] [--used N] [--d N] [--width N] [--rows N]\n"
            "       [--rounds N] [--format NAME] [--precision exact|q8] [--spread uniform|zipf|one] "
            "[--cpu-time]\n");
    exit(2);
}

static uint32_t number(const char *text, uint32_t least) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || end == text || value < least || value > 1u << 20)
        usage();
    return (uint32_t)value;
}

static uint32_t word(const char *text, const char *const *words, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(text, words[i]))
            return i;
    usage();
    return 0;
}

static void parse_value(options *o, const char *name, const char *value) {
    static const char *const spreads[] = {"uniform", "zipf", "one"}, *const precisions[] = {"exact", "q8"};
    static const uint32_t precision[] = {TANDEM_PRECISION_EXACT, TANDEM_PRECISION_Q8};
    const struct {
        const char *name;
        uint32_t *number, least;
    } numbers[] = {{"--device", &o->device, 0}, {"--experts", &o->n_expert, 1}, {"--used", &o->n_used, 1},
                   {"--d", &o->d, 32},          {"--width", &o->width, 32},     {"--rows", &o->rows, 1},
                   {"--rounds", &o->rounds, 1}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!strcmp(name, numbers[i].name)) {
            *numbers[i].number = number(value, numbers[i].least);
            return;
        }
    if (!strcmp(name, "--format") && tandem_kit_type_by_name(value))
        o->type = tandem_kit_type_by_name(value)->type;
    else if (!strcmp(name, "--precision"))
        o->precision = precision[word(value, precisions, 2)];
    else if (!strcmp(name, "--spread"))
        o->spread = word(value, spreads, 3);
    else
        usage();
}

static options parse(int argc, char **argv) {
    options o = {.n_expert = 128,
                 .n_used = 8,
                 .d = 2816,
                 .width = 704,
                 .rows = 512,
                 .rounds = 3,
                 .type = TANDEM_TYPE_Q4_0};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && !o.plugin)
            o.plugin = argv[i];
        else if (!strcmp(argv[i], "--cpu-time"))
            o.cpu_time = 1;
        else if (i + 1 < argc)
            parse_value(&o, argv[i], argv[i + 1]), i++;
        else
            usage();
    }
    if (!o.plugin || o.n_used > o.n_expert || o.d % 32 || o.width % 32 ||
        !tandem_kit_row_bytes(o.type, o.d) || !tandem_kit_row_bytes(o.type, o.width))
        usage();
    return o;
}

static int run_bench(const tandem_backend *api, tandem_context *context, const options *o) {
    bench b = {.o = o, .api = api, .context = context, .error = {.struct_size = sizeof b.error}, .random = 1};
    tandem_status status = measure(&b);
    if (status != TANDEM_OK)
        fprintf(stderr, "moe_bench: status %d: %s\n", (int)status, b.error.message);
    api->weights_destroy(b.experts);
    api->weights_destroy(b.up);
    api->weights_destroy(b.down);
    api->buffer_destroy(b.x);
    api->buffer_destroy(b.y);
    api->buffer_destroy(b.glu);
    api->buffer_destroy(b.route);
    return status != TANDEM_OK;
}

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    tandem_error error = {.struct_size = sizeof error};
    tandem_plugin *plugin = NULL;
    tandem_context *context = NULL;
    int exit_code = 3;
    if (tandem_plugin_open(o.plugin, NULL, &plugin, &error) == TANDEM_OK) {
        const tandem_backend *api = tandem_plugin_backend(plugin);
        tandem_context_desc desc = {.struct_size = sizeof desc, .device = o.device};
        tandem_device_info info = {.struct_size = sizeof info};
        if (api->device_info(o.device, &info, &error) == TANDEM_OK &&
            api->context_create(&desc, &context, &error) == TANDEM_OK) {
            printf("%s, %u of %u experts, %u by %u, %s %s; %s, least of %u rounds%s\n", info.name, o.n_used,
                   o.n_expert, o.width, o.d, tandem_kit_type(o.type)->name,
                   o.precision == TANDEM_PRECISION_Q8 ? "q8" : "exact",
                   o.cpu_time ? "CPU time of the process" : "device time", o.rounds,
                   info.kind == TANDEM_DEVICE_SOFTWARE ? "; a software device" : "");
            exit_code = run_bench(api, context, &o);
            api->context_destroy(context);
        }
        tandem_plugin_close(plugin);
    }
    if (exit_code == 3)
        fprintf(stderr, "moe_bench: %s\n", error.message);
    return exit_code;
}
