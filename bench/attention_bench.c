/* attention_bench.c: ATTENTION alone on any plugin: the layers of the Gemma models, at a given context.
 *
 * usage: attention_bench PLUGIN [--device N] [--keys N] [--rows N] [--rounds N] [--type f32|f16|q8_0]
 *
 * For each layer shape it fills a cache with seeded values, appends --rows rows (1: decode) at position
 * --keys, and prints the device time of the op's steps (least over the rounds), the key and value bytes that
 * any implementation must read (each visible row once per KV head) per second, and the arithmetic per second.
 * Exit code 3 where the plugin or a device is missing, 2 for a wrong option. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>
#include <tandem/tandem.h>

#include "loader.h"

enum { MAX_STEPS = 16, MAX_PAIRS = 256 };

typedef struct options {
    const char *plugin;
    uint32_t device, keys, rows, rounds, type;
} options;

typedef struct shape {
    const char *name;
    uint32_t n_head, n_kv_head, head_dim, window, n_rope_pair;
    float rope_base;
} shape;

/* Of the models' published configurations. */
static const shape shapes[] = {
    {"gemma3-270m sliding", 4, 1, 256, 512, 128, 1e4f},
    {"gemma3-270m global", 4, 1, 256, 0, 128, 1e6f},
    {"gemma4-e2b sliding", 8, 1, 256, 512, 128, 1e4f},
    {"gemma4-e2b global", 8, 1, 512, 0, 64, 1e6f},
    {"gemma4-12b global", 16, 1, 512, 0, 64, 1e6f},
    {"gemma4-26b-a4b sliding", 16, 8, 256, 1024, 128, 1e4f},
    {"gemma4-26b-a4b global", 16, 2, 512, 0, 64, 1e6f},
    {"gemma4-31b global", 32, 4, 512, 0, 64, 1e6f},
};

/* One layer's objects. */
typedef struct layer {
    const tandem_backend *api;
    tandem_context *context;
    tandem_kv *kv;
    tandem_buffer *q, *k, *v, *out;
    tandem_program *program;
    tandem_error error;
} layer;

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        tandem_status status_ = (call);                                                                      \
        if (status_ != TANDEM_OK)                                                                            \
            return status_;                                                                                  \
    } while (0)

static tandem_status create_kv(layer *l, const options *o, const shape *s) {
    tandem_kv_layer desc = {.struct_size = sizeof desc,
                            .n_kv_head = s->n_kv_head,
                            .head_dim = s->head_dim,
                            .type = o->type,
                            .window = s->window,
                            .share_of = TANDEM_NONE,
                            .capacity = (uint64_t)o->keys + o->rows};
    const tandem_kv_layer *list[1] = {&desc};
    tandem_kv_desc kv = {
        .struct_size = sizeof kv, .n_layer = 1, .layers = list, .max_chunk = o->rows, .n_slot = 1};
    TRY(l->api->kv_create(l->context, &kv, &l->kv, &l->error));
    return l->api->kv_fill(l->kv, 0, 1, o->keys, &l->error);
}

/* Rows of values in [-1, 1), the same every time. */
static tandem_status create_rows(layer *l, uint32_t n_row, uint32_t n, tandem_buffer **buffer) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = (uint64_t)n_row * n * 4};
    TRY(l->api->buffer_create(l->context, &desc, buffer, &l->error));
    float *values = malloc(desc.bytes);
    if (!values)
        return TANDEM_E_OUT_OF_MEMORY;
    uint32_t state = 1;
    for (uint64_t i = 0; i < (uint64_t)n_row * n; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(int32_t)state * 0x1p-31f;
    }
    tandem_status status = l->api->buffer_write(*buffer, 0, values, desc.bytes, &l->error);
    free(values);
    return status;
}

static tandem_status create_program(layer *l, const options *o, const shape *s) {
    uint32_t q_width = s->n_head * s->head_dim, kv_width = s->n_kv_head * s->head_dim;
    double omega[MAX_PAIRS];
    for (uint32_t i = 0; i < s->n_rope_pair; i++)
        omega[i] = pow(s->rope_base, -2.0 * i / s->head_dim);
    TRY(create_rows(l, o->rows, q_width, &l->q));
    TRY(create_rows(l, o->rows, kv_width, &l->k));
    TRY(create_rows(l, o->rows, kv_width, &l->v));
    TRY(create_rows(l, o->rows, q_width, &l->out));
    tandem_op_attention op = {.head = {.struct_size = sizeof op, .kind = TANDEM_OP_ATTENTION},
                              .kv = l->kv,
                              .n_head = s->n_head,
                              .n_rope_pair = s->n_rope_pair,
                              .scale = 1.0f / sqrtf((float)s->head_dim),
                              .eps = 1e-6f,
                              .rope_omega = omega,
                              .q = {.buffer = l->q, .stride = q_width * 4ull},
                              .k = {.buffer = l->k, .stride = kv_width * 4ull},
                              .v = {.buffer = l->v, .stride = kv_width * 4ull},
                              .out = {.buffer = l->out, .stride = q_width * 4ull}};
    const tandem_op *ops[1] = {&op.head};
    tandem_program_desc desc = {
        .struct_size = sizeof desc, .n_op = 1, .ops = ops, .max_tokens = o->rows, .max_slots = 1};
    return l->api->program_create(l->context, &desc, &l->program, &l->error);
}

/* One profiled run, and back to the length before: the sum of its steps' times. */
static tandem_status run_once(layer *l, const options *o, const tandem_run *run, uint32_t n_step,
                              uint64_t *ns) {
    tandem_ticket ticket;
    uint64_t steps[MAX_STEPS];
    TRY(l->api->run(l->program, run, &ticket, &l->error));
    TRY(l->api->wait(l->context, ticket, UINT64_MAX, &l->error));
    TRY(l->api->step_times(l->context, ticket, steps, n_step, &l->error));
    *ns = 0;
    for (uint32_t i = 0; i < n_step; i++)
        *ns += steps[i];
    return l->api->kv_truncate(l->kv, 0, o->keys, &l->error);
}

/* Bytes and arithmetic of the run, all steps together. */
static tandem_status get_cost(layer *l, const tandem_run *run, uint32_t n_step, tandem_cost *total) {
    tandem_cost costs[MAX_STEPS], *list[MAX_STEPS];
    for (uint32_t i = 0; i < n_step; i++) {
        costs[i] = (tandem_cost){.struct_size = sizeof costs[i]};
        list[i] = &costs[i];
    }
    TRY(l->api->program_cost(l->program, run, list, n_step, &l->error));
    *total = (tandem_cost){.struct_size = sizeof *total};
    for (uint32_t i = 0; i < n_step; i++) {
        total->kv_bytes_min += costs[i].kv_bytes_min;
        total->kv_bytes += costs[i].kv_bytes;
        total->flops += costs[i].flops;
    }
    return TANDEM_OK;
}

static tandem_status measure(layer *l, const options *o, const shape *s) {
    uint32_t n_step;
    tandem_cost cost;
    uint64_t best = UINT64_MAX;
    TRY(create_kv(l, o, s));
    TRY(create_program(l, o, s));
    TRY(l->api->program_step_count(l->program, &n_step, &l->error));
    if (n_step > MAX_STEPS)
        return TANDEM_E_UNSUPPORTED;
    uint32_t *tokens = calloc(o->rows, sizeof *tokens);
    if (!tokens)
        return TANDEM_E_OUT_OF_MEMORY;
    tandem_run run = {.struct_size = sizeof run,
                      .n_rows = o->rows,
                      .tokens = tokens,
                      .position = o->keys,
                      .flags = TANDEM_RUN_PROFILE};
    tandem_status status = get_cost(l, &run, n_step, &cost);
    for (uint32_t round = 0; round <= o->rounds && status == TANDEM_OK; round++) {
        uint64_t ns;
        status = run_once(l, o, &run, n_step, &ns);
        if (status == TANDEM_OK && round > 0 && ns < best) /* the first warms up */
            best = ns;
    }
    free(tokens);
    if (status != TANDEM_OK)
        return status;
    double seconds = (double)best * 1e-9;
    printf("%-24s %2u/%-2u x %3u  %8.3f ms  %7.2f GB/s KV  %8.1f GFLOP/s  reads %.2fx\n", s->name, s->n_head,
           s->n_kv_head, s->head_dim, seconds * 1e3, (double)cost.kv_bytes_min / seconds * 1e-9,
           (double)cost.flops / seconds * 1e-9, (double)cost.kv_bytes / (double)cost.kv_bytes_min);
    return TANDEM_OK;
}

static int measure_all(const tandem_backend *api, tandem_context *context, const options *o) {
    int failed = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        layer l = {.api = api, .context = context, .error = {.struct_size = sizeof l.error}};
        tandem_status status = measure(&l, o, &shapes[i]);
        if (status != TANDEM_OK) {
            fprintf(stderr, "%s: status %d: %s\n", shapes[i].name, (int)status, l.error.message);
            failed = 1;
        }
        api->program_destroy(l.program);
        api->buffer_destroy(l.q);
        api->buffer_destroy(l.k);
        api->buffer_destroy(l.v);
        api->buffer_destroy(l.out);
        api->kv_destroy(l.kv);
    }
    return failed;
}

static void usage(void) {
    fprintf(stderr, "usage: attention_bench PLUGIN [--device N] [--keys N] [--rows N] [--rounds N] "
                    "[--type f32|f16|q8_0]\n");
    exit(2);
}

static uint32_t number(const char *text, uint32_t least) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end || end == text || value < least || value > 1u << 24)
        usage();
    return (uint32_t)value;
}

static options parse(int argc, char **argv) {
    options o = {.keys = 4096, .rows = 1, .rounds = 5, .type = TANDEM_TYPE_F16};
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' && !o.plugin) {
            o.plugin = argv[i];
            continue;
        }
        const char *name = argv[i], *value = argv[i + 1];
        if (!value)
            usage();
        i++;
        const tandem_type_info *type = tandem_kit_type_by_name(value);
        if (!strcmp(name, "--device"))
            o.device = number(value, 0);
        else if (!strcmp(name, "--keys"))
            o.keys = number(value, 1);
        else if (!strcmp(name, "--rows"))
            o.rows = number(value, 1);
        else if (!strcmp(name, "--rounds"))
            o.rounds = number(value, 1);
        else if (!strcmp(name, "--type") && type)
            o.type = type->type;
        else
            usage();
    }
    if (!o.plugin)
        usage();
    return o;
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
            printf("%s, %s cache, %u keys, %u rows; device time, least of %u rounds%s\n", info.name,
                   tandem_kit_type(o.type)->name, o.keys, o.rows, o.rounds,
                   info.kind == TANDEM_DEVICE_SOFTWARE ? "; a software device" : "");
            exit_code = measure_all(api, context, &o);
            api->context_destroy(context);
        }
        tandem_plugin_close(plugin);
    }
    if (exit_code == 3)
        fprintf(stderr, "attention_bench: %s\n", error.message);
    return exit_code;
}
