/* host/cmd_inspect.c: tandem inspect. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "inspect.h"
#include "progress.h"

static const command_usage usage = {
    "inspect", "MODEL [options]",
    "Shape, formats and memory of a model (GGUF file or preset), and whether it fits common cards and\n"
    "the device of --plugin.",
    "--steps compiles the model for --plugin and lists the steps of one decoded token: kernel, launches, "
    "barriers, bytes.\n"
    "Throughput lines are predictions from bandwidth alone, an upper bound: bytes a token / bandwidth of the "
    "card."};

/* A card to fit into: bytes that a process gets, and bandwidth by its data sheet (0: unknown, no
 * prediction). */
typedef struct card {
    char name[32];
    double bytes, bytes_per_second;
} card;

#define MAX_CARDS 3u

/* Driver, desktop and fragmentation. */
#define CARD_RESERVE_GIB 0.75

static const card known_cards[] = {{"RTX 3060 12 GB", (12 - CARD_RESERVE_GIB) * 0x1p30, 360e9},
                                   {"RTX 4090 24 GB", (24 - CARD_RESERVE_GIB) * 0x1p30, 1008e9}};

#define N_KNOWN_CARD (sizeof known_cards / sizeof known_cards[0])

static const uint32_t contexts[] = {4096, 32768, 131072, 262144};
static const uint32_t kv_types[] = {TANDEM_TYPE_F16, TANDEM_TYPE_Q8_0};

#define N_CONTEXT (sizeof contexts / sizeof contexts[0])
#define N_KV_TYPE (sizeof kv_types / sizeof kv_types[0])

typedef struct inspect_command {
    common_options common;
    model_options model;
    bool tensors, steps;
} inspect_command;

static void print_tensor(void *user, const source_tensor *t, uint32_t role) {
    (void)role;
    (void)user;
    printf("  %-36s %-6s [%llu", t->name, gguf_tensor_type_name(t->type), (unsigned long long)t->dims[0]);
    for (uint32_t d = 1; d < t->n_dims; d++)
        printf(", %llu", (unsigned long long)t->dims[d]);
    printf("]\n");
}

static void print_shape(const model_source *source, const model_figures *f) {
    const model_config *c = model_source_config(source);
    const model_layer *first = &c->layers[0], *last = &c->layers[c->n_layer - 1];
    uint32_t n_global = 0;
    for (uint32_t l = 0; l < c->n_layer; l++)
        n_global += c->layers[l].window == 0;
    char bytes[32], token[32];
    printf("%s\n", model_source_label(source));
    printf("  family       gemma%u, %u layers (%u global), %.1f million parameters\n", c->family, c->n_layer,
           n_global, (double)f->n_element * 1e-6);
    printf("  width        %u, feed-forward %u, vocabulary %u\n", c->d_model, last->d_ff, c->n_vocab);
    printf("  heads        %u query, %u KV, size %u (last layer: %u, %u, %u)\n", first->n_head,
           first->n_kv_head, first->head_dim, last->n_head, last->n_kv_head, last->head_dim);
    printf("  window       %u, trained context %u\n", c->window, c->n_ctx);
    if (c->n_expert)
        printf("  experts      %u, %u used, width %u\n", c->n_expert, c->n_used, c->d_expert);
    printf("  weights      %s in %u tensors; %s read for one token\n",
           format_bytes(f->bytes, bytes, sizeof bytes), f->n_tensor,
           format_bytes(f->bytes_per_token, token, sizeof token));
    for (uint32_t i = 0; i < f->n_type; i++)
        printf("    %-10s %4u tensors  %10s  %5.2f bits a weight\n", gguf_tensor_type_name(f->types[i].type),
               f->types[i].n_tensor, format_bytes(f->types[i].bytes, bytes, sizeof bytes),
               8.0 * (double)f->types[i].bytes / (double)f->types[i].n_element);
}

static void print_tokenizer(const model_source *source) {
    tokenizer *tok = NULL;
    tandem_message message;
    if (!model_source_gguf(source))
        printf("  tokenizer    none (synthetic)\n");
    else if (tokenizer_create(&tok, model_source_gguf(source), &message))
        printf("  tokenizer    none: %s\n", message.text);
    else
        printf("  tokenizer    %u tokens, begin %d, end %d\n", tokenizer_n_vocab(tok),
               (int)tokenizer_bos(tok), (int)tokenizer_eos(tok));
    tokenizer_destroy(tok);
}

static double bound(const model_source *source, const model_figures *f, uint32_t n_ctx, uint32_t kv,
                    double bandwidth) {
    const plan_request request = {.n_ctx = n_ctx, .batch = 1, .kv_type = kv};
    return bandwidth / (double)(f->bytes_per_token + plan_kv_bytes(model_source_config(source), &request));
}

static void print_fit(const model_source *source, const model_figures *f, const card *c,
                      const plan_request *request, uint64_t bytes) {
    char note[32] = "does not fit";
    if ((double)bytes <= c->bytes && c->bytes_per_second > 0)
        snprintf(note, sizeof note, "fits, <= %.0f tok/s (pred.)",
                 bound(source, f, request->n_ctx, request->kv_type, c->bytes_per_second));
    else if ((double)bytes <= c->bytes)
        snprintf(note, sizeof note, "fits");
    printf("  %-26s", note);
}

static void print_memory(const model_source *source, const model_figures *f, const card *cards,
                         uint32_t n_card) {
    printf("\n  context  cache      memory");
    for (uint32_t k = 0; k < n_card; k++)
        printf("  %-26.26s", cards[k].name);
    printf("\n");
    for (uint32_t i = 0; i < N_CONTEXT; i++)
        for (uint32_t t = 0; t < N_KV_TYPE; t++) {
            plan_request request = {.n_ctx = contexts[i], .batch = 256, .kv_type = kv_types[t]};
            uint64_t bytes = model_memory(source, &request);
            char text[32];
            printf("  %7u  %-5s  %10s", contexts[i], kv_type_name(kv_types[t]),
                   format_bytes(bytes, text, sizeof text));
            for (uint32_t k = 0; k < n_card; k++)
                print_fit(source, f, &cards[k], &request, bytes);
            printf("\n");
        }
}

/* The known cards, and the device of --plugin if one is named. */
static int list_cards(const inspect_command *c, card cards[MAX_CARDS], uint32_t *n_card) {
    memcpy(cards, known_cards, sizeof known_cards);
    *n_card = N_KNOWN_CARD;
    if (!c->common.plugin)
        return OPTIONS_GO_ON;
    cli_device device;
    int code = cli_open_device(&c->common, usage.name, &device);
    if (code != OPTIONS_GO_ON)
        return code;
    card *own = &cards[(*n_card)++];
    *own = (card){.bytes = (double)device.info.memory_free};
    snprintf(own->name, sizeof own->name, "%.31s", device.info.name);
    cli_close_device(&device);
    return OPTIONS_GO_ON;
}

static void print_json(const model_source *source, const model_figures *f) {
    const model_config *c = model_source_config(source);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "model", model_source_label(source));
    cJSON_AddNumberToObject(j, "family", c->family);
    cJSON_AddNumberToObject(j, "n_layer", c->n_layer);
    cJSON_AddNumberToObject(j, "d_model", c->d_model);
    cJSON_AddNumberToObject(j, "n_vocab", c->n_vocab);
    cJSON_AddNumberToObject(j, "n_ctx", c->n_ctx);
    cJSON_AddNumberToObject(j, "window", c->window);
    cJSON_AddNumberToObject(j, "n_expert", c->n_expert);
    cJSON_AddNumberToObject(j, "n_parameter", (double)f->n_element);
    cJSON_AddNumberToObject(j, "bytes", (double)f->bytes);
    cJSON_AddNumberToObject(j, "bytes_per_token", (double)f->bytes_per_token);
    cJSON *types = cJSON_AddArrayToObject(j, "formats");
    for (uint32_t i = 0; i < f->n_type; i++) {
        cJSON *t = cJSON_CreateObject();
        cJSON_AddStringToObject(t, "type", gguf_tensor_type_name(f->types[i].type));
        cJSON_AddNumberToObject(t, "n_tensor", f->types[i].n_tensor);
        cJSON_AddNumberToObject(t, "bytes", (double)f->types[i].bytes);
        cJSON_AddItemToArray(types, t);
    }
    cJSON *memory = cJSON_AddArrayToObject(j, "predicted_memory");
    for (uint32_t i = 0; i < N_CONTEXT; i++)
        for (uint32_t t = 0; t < N_KV_TYPE; t++) {
            plan_request request = {.n_ctx = contexts[i], .batch = 256, .kv_type = kv_types[t]};
            cJSON *m = cJSON_CreateObject();
            cJSON_AddNumberToObject(m, "n_ctx", contexts[i]);
            cJSON_AddStringToObject(m, "kv", kv_type_name(kv_types[t]));
            cJSON_AddNumberToObject(m, "bytes", (double)model_memory(source, &request));
            cJSON_AddItemToArray(memory, m);
        }
    char *text = cJSON_Print(j);
    printf("%s\n", text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(j);
}

static void print_step(uint32_t index, const step_cost *s) {
    char weights[32], kv[32], rest[32];
    printf("%4u  %-7s %3u  %-32s %-22s %11s %11s %11s\n", index, s->step.barrier_before ? "barrier" : "",
           s->step.n_dispatch, s->step.kernel, s->step.label,
           format_bytes(s->cost.weight_bytes, weights, sizeof weights),
           format_bytes(s->cost.kv_bytes, kv, sizeof kv),
           format_bytes(s->cost.activation_bytes, rest, sizeof rest));
}

static void print_steps(const step_cost *steps, uint32_t n, uint32_t n_layer) {
    tandem_cost sum = {0};
    uint32_t n_barrier = 0, n_dispatch = 0;
    printf("step  waits    launches, kernel                     main op                    weights       "
           "cache        rest\n");
    for (uint32_t i = 0; i < n; i++) {
        print_step(i, &steps[i]);
        n_barrier += steps[i].step.barrier_before;
        n_dispatch += steps[i].step.n_dispatch;
        sum.weight_bytes += steps[i].cost.weight_bytes;
        sum.weight_bytes_min += steps[i].cost.weight_bytes_min;
        sum.kv_bytes += steps[i].cost.kv_bytes;
        sum.activation_bytes += steps[i].cost.activation_bytes;
        sum.flops += steps[i].cost.flops;
    }
    char weights[32], least[32], kv[32], rest[32];
    printf("\n%u steps (%.1f a layer), %u launches, %u barriers\n", n, (double)n / n_layer, n_dispatch,
           n_barrier);
    printf("one token: weights %s (at least %s, ratio %.3f), cache %s, activations %s, %.1f Mflop\n",
           format_bytes(sum.weight_bytes, weights, sizeof weights),
           format_bytes(sum.weight_bytes_min, least, sizeof least),
           sum.weight_bytes_min ? (double)sum.weight_bytes / (double)sum.weight_bytes_min : 0,
           format_bytes(sum.kv_bytes, kv, sizeof kv), format_bytes(sum.activation_bytes, rest, sizeof rest),
           (double)sum.flops * 1e-6);
}

static int show_steps(const inspect_command *c, const model_source *source) {
    cli_device device = {0};
    session *s = NULL;
    int code = cli_open_device(&c->common, usage.name, &device);
    session_request request = {.command = usage.name, .n_ctx = 512, .batch = 1};
    if (code == OPTIONS_GO_ON)
        code = cli_open_session(&c->common, &request, &device, source, &s);
    if (code == OPTIONS_GO_ON) {
        step_cost *steps = NULL;
        uint32_t n = 0;
        tandem_message message;
        int status = session_steps(s, SESSION_DECODE, 1, 1, &steps, &n, &message);
        if (!status)
            print_steps(steps, n, model_source_config(source)->n_layer);
        code = status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
        free(steps);
    }
    session_destroy(s);
    cli_close_device(&device);
    return code;
}

static int show_model(const inspect_command *c, const model_source *source) {
    model_figures figures;
    tandem_message message;
    int status = model_figures_read(source, &figures, &message);
    if (status)
        return cli_refuse(status, usage.name, &message);
    if (c->common.json) {
        print_json(source, &figures);
        return TANDEM_EXIT_GOOD;
    }
    card cards[MAX_CARDS];
    uint32_t n_card;
    int code = list_cards(c, cards, &n_card);
    if (code != OPTIONS_GO_ON)
        return code;
    print_shape(source, &figures);
    print_tokenizer(source);
    if (c->tensors)
        model_each_tensor(source, print_tensor, NULL, &message);
    print_memory(source, &figures, cards, n_card);
    return TANDEM_EXIT_GOOD;
}

int cmd_inspect(int argc, char **argv) {
    inspect_command c = {.common = {.seed = 1}};
    const char *name = NULL;
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&c.common, COMMON_PLUGIN | COMMON_SESSION | COMMON_SEED | COMMON_JSON, shared);
    options_model(&c.model, model);
    const option own[] = {
        option_flag("tensors", 0, &c.tensors, "list every tensor"),
        option_flag("steps", 0, &c.steps, "list the steps of one decoded token (needs a plugin)"),
        {0},
    };
    uint32_t n_free;
    int code =
        options_parse(&usage, (const option *const[]){model, own, shared}, 3, argc, argv, &name, 1, &n_free);
    if (code == OPTIONS_GO_ON && n_free && c.model.model)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "One model at a time");
    if (code != OPTIONS_GO_ON)
        return code;
    if (n_free)
        c.model.model = name;
    model_source *source = NULL;
    code = cli_open_model(&c.model, c.common.seed, usage.name, &source);
    if (code == OPTIONS_GO_ON)
        code = c.steps ? show_steps(&c, source) : show_model(&c, source);
    model_source_close(source);
    return code;
}
