/* host/cmd_inspect.c: tandem inspect. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "inspect_view.h"
#include "journal.h"
#include "progress.h"
#include "wrap.h"

static const command_usage usage = {
    "inspect", "MODEL [options]",
    "Shape, parts, formats and memory of a model (GGUF file or preset), and whether it fits cards of 8 to 24 "
    "GB "
    "and the device of --plugin.",
    "--ctx, --kv and --batch narrow the tables to one context length, cache type and size of run.\n"
    "--steps compiles the model for --plugin and lists the steps of one decoded token: kernel, launches, "
    "barriers, bytes.\n"
    "Memory, times and electricity are predictions: what bandwidth and arithmetic allow at best, without "
    "--bandwidth "
    "or --peaks those of an RTX 3060 and an RTX 4090 by their data sheets."};

typedef struct inspect_command {
    common_options common;
    model_options model;
    float bandwidth, tflops, watts, price_kwh;
    const char *peaks; /* journal with rows of `tandem peaks` */
    bool tensors, steps, images;
    char source[160]; /* of the rates */
} inspect_command;

/* Driver, desktop and fragmentation. */
#define CARD_RESERVE_GIB 0.75

static void list_sizes(const inspect_command *c, inspect_view *v) {
    static const uint32_t contexts[] = {4096, 8192, 16384, 32768, 65536, 131072, 262144};
    static const uint32_t cards[] = {8, 12, 16, 24};
    v->batch = c->common.batch ? c->common.batch : 256;
    if (c->common.n_ctx)
        v->context[v->n_context++] = c->common.n_ctx;
    for (uint32_t i = 0; i < sizeof contexts / sizeof contexts[0] && !c->common.n_ctx; i++)
        v->context[v->n_context++] = contexts[i];
    if (c->common.kv)
        v->kv_type[v->n_kv++] = kv_type_by_name(c->common.kv);
    else {
        v->kv_type[v->n_kv++] = TANDEM_TYPE_F16;
        v->kv_type[v->n_kv++] = TANDEM_TYPE_Q8_0;
    }
    /* The device of --plugin takes the place of the smallest. */
    for (uint32_t i = c->common.plugin != NULL; i < sizeof cards / sizeof cards[0]; i++) {
        view_card *card = &v->card[v->n_card++];
        *card = (view_card){.bytes = (cards[i] - CARD_RESERVE_GIB) * 0x1p30};
        snprintf(card->name, sizeof card->name, "%u GB", cards[i]);
    }
}

/* By data sheet: f16 matrix units with f32 sums, and the board's power limit. */
static const view_rate rtx_3060 = {.bytes_per_s = 360e9, .flops_per_s = 25.6e12, .watts = 170};
static const view_rate rtx_4090 = {.bytes_per_s = 1008e9, .flops_per_s = 165e12, .watts = 450};

/* The last row of peaks of --plugin (any, where none is named). */
static int read_peaks(inspect_command *c, view_rate *rate) {
    journal j;
    tandem_message message;
    int status = journal_open_existing(&j, c->peaks, &message);
    if (status)
        return cli_refuse(status, usage.name, &message);
    *rate = (view_rate){0};
    for (uint32_t i = 0; i < j.n_row; i++) {
        const cJSON *plugin = cJSON_GetObjectItem(j.row[i], "plugin");
        const cJSON *device = cJSON_GetObjectItem(j.row[i], "device");
        if (strcmp(json_text(j.row[i], "row"), "peaks") ||
            (c->common.plugin && strcmp(json_text(plugin, "name"), c->common.plugin)))
            continue;
        rate->bytes_per_s = json_number(j.row[i], "read_bytes_per_s");
        rate->flops_per_s =
            fmax(json_number(j.row[i], "f32_flops_per_s"),
                 fmax(json_number(j.row[i], "f16_flops_per_s"), json_number(j.row[i], "q8_flops_per_s")));
        snprintf(c->source, sizeof c->source, "measured, %.16s on %.80s [%.12s]", json_text(plugin, "name"),
                 json_text(device, "name"), json_text(device, "kind"));
    }
    journal_close(&j);
    if (!(rate->bytes_per_s > 0))
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, usage.name, "%s has no peaks of %s", c->peaks,
                        c->common.plugin ? c->common.plugin : "any plugin");
    return OPTIONS_GO_ON;
}

/* What times are predicted from: --peaks, --bandwidth with --tflops and --watts, or two data sheets. */
static int choose_rates(inspect_command *c, inspect_view *v) {
    view_rate given = {.bytes_per_s = (double)c->bandwidth * 1e9};
    v->rate_source = c->source;
    int code = c->peaks ? read_peaks(c, &given) : OPTIONS_GO_ON;
    if (code != OPTIONS_GO_ON)
        return code;
    if (given.bytes_per_s > 0) {
        if (!c->peaks)
            snprintf(c->source, sizeof c->source, "as given");
        given.flops_per_s = c->tflops > 0 ? (double)c->tflops * 1e12 : given.flops_per_s;
        given.watts = (double)c->watts;
        v->rate[v->n_rate++] = given;
    } else {
        snprintf(c->source, sizeof c->source, "data sheets of RTX 3060 and RTX 4090");
        v->rate[v->n_rate++] = rtx_3060;
        v->rate[v->n_rate++] = rtx_4090;
    }
    if (c->images && !(v->rate[0].flops_per_s > 0))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "--images with --bandwidth needs --tflops");
    if (c->price_kwh > 0 && !(v->rate[0].watts > 0))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "--price-kwh with --bandwidth or --peaks needs --watts");
    return OPTIONS_GO_ON;
}

/* The device of --plugin, if one is named, is one more card. */
static int add_device(const inspect_command *c, inspect_view *v) {
    if (!c->common.plugin)
        return OPTIONS_GO_ON;
    cli_device device;
    int code = cli_open_device(&c->common, usage.name, &device);
    if (code != OPTIONS_GO_ON)
        return code;
    view_card *own = &v->card[v->n_card++];
    *own = (view_card){.bytes = (double)device.info.memory_free,
                       .unified = device.info.kind != TANDEM_DEVICE_GPU};
    snprintf(own->name, sizeof own->name, "%.31s", device.info.name);
    cli_close_device(&device);
    return OPTIONS_GO_ON;
}

static int read_figures(inspect_view *v, tandem_message *message) {
    const model_config *c = model_source_config(v->source);
    const model_mix *mix = model_source_mix(v->source);
    int status = model_figures_read(v->source, &v->figures, message);
    v->has_published = mix && c->n_shared_kv;
    if (!status && v->has_published)
        status = model_figures_published(c, mix, &v->published, message);
    return status;
}

static int show_model(inspect_command *c, const model_source *source) {
    tandem_message message;
    inspect_view v = {
        .source = source, .tensors = c->tensors, .images = c->images, .price_kwh = (double)c->price_kwh};
    list_sizes(c, &v);
    int code = choose_rates(c, &v);
    if (code == OPTIONS_GO_ON)
        code = add_device(c, &v);
    if (code != OPTIONS_GO_ON)
        return code;
    int status = read_figures(&v, &message);
    if (!status)
        status = c->common.json ? inspect_print_json(&v, &message) : inspect_print_text(&v, &message);
    return status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
}

/* ---- steps ---- */

static void print_step(uint32_t index, const step_cost *s) {
    char weights[32], kv[32];
    printf("%4u%c%3u %-28s %-20s %10s %10s\n", index, s->step.barrier_before ? '|' : ' ', s->step.n_dispatch,
           s->step.kernel, s->step.label, format_bytes(s->cost.weight_bytes, weights, sizeof weights),
           format_bytes(s->cost.kv_bytes, kv, sizeof kv));
}

static int print_steps(const step_cost *steps, uint32_t n, uint32_t n_layer) {
    tandem_cost sum = {0};
    uint32_t n_barrier = 0, n_dispatch = 0;
    printf("step, | waits, launches, kernel       main op                 weights      cache\n");
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
    char weights[32], least[32], kv[32], rest[32], text[320];
    printf("\n%u steps (%.1f a layer), %u launches, %u barriers\n", n, (double)n / n_layer, n_dispatch,
           n_barrier);
    snprintf(text, sizeof text,
             "one token: weights %s (at least %s, ratio %.3f), cache %s, activations %s, %.1f Mflop",
             format_bytes(sum.weight_bytes, weights, sizeof weights),
             format_bytes(sum.weight_bytes_min, least, sizeof least),
             sum.weight_bytes_min ? (double)sum.weight_bytes / (double)sum.weight_bytes_min : 0,
             format_bytes(sum.kv_bytes, kv, sizeof kv), format_bytes(sum.activation_bytes, rest, sizeof rest),
             (double)sum.flops * 1e-6);
    wrap_print(stdout, text, 0, 0);
    return TANDEM_EXIT_GOOD;
}

static int print_steps_json(const step_cost *steps, uint32_t n, const cli_device *device, const session *s) {
    const session_desc *d = session_description(s);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "model", model_source_label(d->source));
    cJSON_AddStringToObject(j, "plugin", device->backend->descriptor->name);
    cJSON_AddStringToObject(j, "device", device->info.name);
    cJSON_AddStringToObject(j, "kv", kv_type_name(d->kv_type));
    cJSON_AddStringToObject(j, "precision", precision_name(d->precision));
    cJSON *list = cJSON_AddArrayToObject(j, "steps");
    for (uint32_t i = 0; i < n; i++) {
        const tandem_cost *c = &steps[i].cost;
        cJSON *step = cJSON_CreateObject();
        cJSON_AddStringToObject(step, "kernel", steps[i].step.kernel);
        cJSON_AddStringToObject(step, "op", steps[i].step.label);
        cJSON_AddNumberToObject(step, "launches", steps[i].step.n_dispatch);
        cJSON_AddBoolToObject(step, "waits", steps[i].step.barrier_before);
        cJSON_AddNumberToObject(step, "weight_bytes", (double)c->weight_bytes);
        cJSON_AddNumberToObject(step, "weight_bytes_min", (double)c->weight_bytes_min);
        cJSON_AddNumberToObject(step, "kv_bytes", (double)c->kv_bytes);
        cJSON_AddNumberToObject(step, "activation_bytes", (double)c->activation_bytes);
        cJSON_AddNumberToObject(step, "flops", (double)c->flops);
        cJSON_AddItemToArray(list, step);
    }
    char *text = cJSON_PrintUnformatted(j);
    cJSON_Delete(j);
    if (!text)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory for steps");
    printf("%s\n", text);
    cJSON_free(text);
    return TANDEM_EXIT_GOOD;
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
        if (status)
            code = cli_refuse(status, usage.name, &message);
        else if (c->common.json)
            code = print_steps_json(steps, n, &device, s);
        else
            code = print_steps(steps, n, model_source_config(source)->n_layer);
        free(steps);
    }
    cli_close_session(s);
    cli_close_device(&device);
    return code;
}

int cmd_inspect(int argc, char **argv) {
    inspect_command c = {.common = {.seed = 1}};
    const char *name = NULL;
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&c.common, COMMON_PLUGIN | COMMON_SESSION | COMMON_SEED | COMMON_JSON, shared);
    options_model(&c.model, model);
    const option own[] = {
        option_flag("tensors", 0, &c.tensors, "list every tensor"),
        option_float("bandwidth", &c.bandwidth, 0.001, 1e6, "GB/s of the memory to predict throughput for"),
        option_float("tflops", &c.tflops, 1e-6, 1e6, "Tflop/s to predict prefill for"),
        option_float("watts", &c.watts, 0.1, 1e6, "of the device, to predict electricity for"),
        option_text("peaks", 0, &c.peaks, "FILE", "journal of `tandem peaks`: predict from measured rates"),
        option_flag("images", 0, &c.images, "what the prefill of an image of 70 to 1120 tokens costs"),
        option_float("price-kwh", &c.price_kwh, 0, 1e6, "price of a kWh: what a million tokens cost"),
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
