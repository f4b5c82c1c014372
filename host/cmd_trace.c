/* host/cmd_trace.c: tandem trace. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "progress.h"

static const command_usage usage = {
    "trace", "-m MODEL (--tokens IDS|@FILE | --prompt TEXT) [-n N] -o FILE [options]",
    "Records which experts every token of a prompt, and of N tokens made after it, is sent to in every "
    "layer.",
    "The file can be imposed on another run, plugin or model of the same shape: --routing trace:FILE.\n"
    "It is text: \"tandem-routing 1 LAYERS EXPERTS USED\", then a line a token: its id and the experts of "
    "every "
    "layer.\n"
    "Columns printed: layer, experts that were used at all, share of the ten most used ones (uniform: "
    "10 / EXPERTS), "
    "share of choices that the token before had made too.\n" CLI_OUTPUT_HELP};

typedef struct trace_command {
    common_options common;
    model_options model;
    const char *tokens, *prompt, *output;
    uint32_t n;
} trace_command;

/* What was seen so far. */
typedef struct recorder {
    const model_config *config;
    output_file *file;
    uint32_t *ids;    /* [batch][n_layer][n_used] */
    uint32_t *before; /* [n_layer][n_used] of the token before */
    uint32_t *count;  /* [n_layer][n_expert] */
    uint32_t *again;  /* [n_layer] choices that the token before had made too */
    uint32_t n_row;
} recorder;

static bool start_recorder(recorder *r, const model_config *c, uint32_t batch) {
    const size_t row = (size_t)c->n_layer * c->n_used;
    r->config = c;
    r->ids = calloc(row * batch, sizeof *r->ids);
    r->before = calloc(row, sizeof *r->before);
    r->count = calloc((size_t)c->n_layer * c->n_expert, sizeof *r->count);
    r->again = calloc(c->n_layer, sizeof *r->again);
    return r->ids && r->before && r->count && r->again;
}

static void free_recorder(recorder *r) {
    free(r->ids);
    free(r->before);
    free(r->count);
    free(r->again);
}

static void count_row(recorder *r, const uint32_t *ids) {
    const model_config *c = r->config;
    for (uint32_t i = 0; i < c->n_layer * c->n_used; i++) {
        const uint32_t l = i / c->n_used;
        r->count[(size_t)l * c->n_expert + ids[i]]++;
        for (uint32_t k = 0; r->n_row && k < c->n_used; k++)
            r->again[l] += r->before[l * c->n_used + k] == ids[i];
    }
    memcpy(r->before, ids, (size_t)c->n_layer * c->n_used * sizeof *ids);
    r->n_row++;
}

/* Feeds up to one batch of tokens and records their routes. */
static int record(recorder *r, session *s, const uint32_t *tokens, uint32_t n, topk_row *last,
                  tandem_message *message) {
    const size_t row = (size_t)r->config->n_layer * r->config->n_used;
    int status = session_feed(s, tokens, n, last, NULL, message);
    if (!status)
        status = session_read_routes(s, n, r->ids, message);
    for (uint32_t i = 0; i < n && !status; i++) {
        status = routing_trace_write(r->file, r->config, tokens[i], r->ids + i * row);
        count_row(r, r->ids + i * row);
    }
    return status;
}

static int record_all(const trace_command *t, recorder *r, session *s, const token_list *tokens,
                      tandem_message *message) {
    const uint32_t batch = session_description(s)->batch, n_prompt = (uint32_t)tokens->n;
    progress p;
    topk_row last;
    int status = TANDEM_OK;
    progress_start(&p, "trace", n_prompt + t->n);
    for (uint32_t done = 0; done < n_prompt && !status; done += batch) {
        uint32_t n = n_prompt - done < batch ? n_prompt - done : batch;
        status = record(r, s, tokens->ids + done, n, &last, message);
        progress_show(&p, done + n, NULL);
    }
    for (uint32_t i = 0; i < t->n && !status; i++) {
        uint32_t token = last.id[0];
        status = record(r, s, &token, 1, &last, message);
        progress_show(&p, n_prompt + i + 1, NULL);
    }
    progress_end(&p);
    return status;
}

static int compare_counts(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_summary(recorder *r) {
    const model_config *c = r->config;
    const double choices = (double)r->n_row * c->n_used;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        uint32_t *count = r->count + (size_t)l * c->n_expert, n_seen = 0, top = 0;
        qsort(count, c->n_expert, sizeof *count, compare_counts);
        for (uint32_t e = 0; e < c->n_expert; e++) {
            n_seen += count[e] > 0;
            top += e < 10 ? count[e] : 0;
        }
        printf("%2u  %4u  %.3f  %.3f\n", l, n_seen, top / choices,
               r->n_row > 1 ? r->again[l] / (choices - c->n_used) : 0);
    }
}

/* The trace is complete, or what was there before is there still. */
static int end_trace(recorder *r, const model_source *source, int status, tandem_message *message) {
    output_file *file = r->file;
    r->file = NULL;
    if (!status)
        status = model_source_check_unchanged(source, message);
    if (!status || output_file_status(file))
        return output_file_end(file, message);
    output_file_abort(file);
    return status;
}

static int run(const trace_command *t, const model_source *source, const token_list *tokens,
               const cli_device *device) {
    session_request request = {.command = usage.name, .n_ctx = (uint32_t)tokens->n + t->n, .kv = "f32"};
    session *s = NULL;
    recorder r = {0};
    tandem_message message;
    const model_config *c = model_source_config(source);
    input_files inputs = {0};
    cli_add_inputs(&t->common, source, device, t->tokens, &inputs);
    int status = output_file_begin(&r.file, t->output, 0, &inputs, &message);
    input_files_free(&inputs);
    if (status)
        return cli_refuse(status, usage.name, &message);
    int code = cli_open_session(&t->common, &request, device, source, &s);
    if (code == OPTIONS_GO_ON && !start_recorder(&r, c, session_description(s)->batch))
        code = cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory for routes");
    if (code == OPTIONS_GO_ON) {
        status = routing_trace_begin(r.file, c);
        if (!status)
            status = record_all(t, &r, s, tokens, &message);
        status = end_trace(&r, source, status, &message);
        code = status ? cli_refuse(status, usage.name, &message) : OPTIONS_GO_ON;
    }
    output_file_abort(r.file);
    if (code == OPTIONS_GO_ON) {
        print_summary(&r);
        code = TANDEM_EXIT_GOOD;
    }
    free_recorder(&r);
    cli_close_session(s);
    return code;
}

int cmd_trace(int argc, char **argv) {
    trace_command t = {.common = {.seed = 1}};
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&t.common, COMMON_PLUGIN | COMMON_SESSION | COMMON_SEED, shared);
    options_model(&t.model, model);
    const option own[] = {
        option_text("tokens", 0, &t.tokens, "IDS|@FILE", "token ids, begin token included"),
        option_text("prompt", 'p', &t.prompt, "TEXT", "text to tokenise instead"),
        option_u32("n", 'n', &t.n, 0, 1u << 20, "tokens to make after it, the likeliest each (default 0)"),
        option_text("output", 'o', &t.output, "FILE", "the trace to write"),
        {0},
    };
    uint32_t n_free;
    int code =
        options_parse(&usage, (const option *const[]){model, own, shared}, 3, argc, argv, NULL, 0, &n_free);
    if (code == OPTIONS_GO_ON && !t.tokens == !t.prompt)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "Give either --tokens or --prompt");
    if (code == OPTIONS_GO_ON && !t.output)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "-o FILE is needed");
    if (code != OPTIONS_GO_ON)
        return code;
    model_source *source = NULL;
    token_list tokens = {0};
    cli_device device = {0};
    code = cli_open_model(&t.model, t.common.seed, usage.name, &source);
    if (code == OPTIONS_GO_ON && !model_source_config(source)->n_expert)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "%s has no experts", model_source_label(source));
    if (code == OPTIONS_GO_ON)
        code = cli_read_prompt(t.tokens, t.prompt, source, usage.name, &tokens);
    if (code == OPTIONS_GO_ON)
        code = cli_open_device(&t.common, usage.name, &device);
    if (code == OPTIONS_GO_ON)
        code = run(&t, source, &tokens, &device);
    cli_close_device(&device);
    token_list_free(&tokens);
    model_source_close(source);
    return code;
}
