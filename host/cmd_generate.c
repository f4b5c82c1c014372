/* host/cmd_generate.c: tandem generate. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "generate.h"
#include "progress.h"

static const command_usage usage = {
    "generate", "-m MODEL -p TEXT [options]",
    "Continues a prompt. The text goes to standard output as it is made, the figures to standard error.",
    "--temp 0 (the default) takes the likeliest token. Otherwise: temperature, then top-k, then top-p. With "
    "top-k up to 64 "
    "the candidates come from the device, and top-p acts within them; --top-k 0 considers the whole "
    "vocabulary.\n"
    "--tokens gives the prompt as ids (1,2,3 or @FILE); without a vocabulary in the model, ids are printed."};

typedef struct generate_command {
    common_options common;
    model_options model;
    const char *prompt, *tokens;
    uint32_t n;
    float temperature, top_p;
    uint32_t top_k;
    bool chat, ignore_end, special;
} generate_command;

/* Where made tokens go. */
typedef struct writer {
    const tokenizer *tok; /* NULL: ids are printed */
    token_stream stream;
    char *bytes;
    uint32_t flags;
    bool json;
    token_list made;
    char *text; /* all of it, for JSON */
    size_t n_text;
} writer;

static int keep_text(writer *w, const char *bytes, size_t n) {
    char *text = realloc(w->text, w->n_text + n + 1);
    if (!text)
        return TANDEM_E_OUT_OF_MEMORY;
    memcpy(text + w->n_text, bytes, n);
    w->n_text += n;
    text[w->n_text] = 0;
    w->text = text;
    return TANDEM_OK;
}

static int write_token(void *user, uint32_t id) {
    writer *w = user;
    if (token_list_push(&w->made, id, NULL))
        return 1;
    if (!w->tok) {
        if (!w->json)
            printf(w->made.n > 1 ? ",%u" : "%u", id);
        return w->json ? 0 : fflush(stdout);
    }
    size_t n = tokenizer_decode(w->tok, &w->stream, id, w->flags, w->bytes);
    if (w->json)
        return keep_text(w, w->bytes, n);
    fwrite(w->bytes, 1, n, stdout);
    return fflush(stdout); /* a closed pipe ends the generation */
}

static int finish_text(writer *w) {
    size_t n = w->tok ? tokenizer_decode_end(&w->stream, w->bytes) : 0;
    if (w->json)
        return keep_text(w, w->bytes, n);
    fwrite(w->bytes, 1, n, stdout);
    putchar('\n');
    return TANDEM_OK;
}

static int read_prompt(const generate_command *g, const model_source *source, tokenizer *tok,
                       token_list *prompt) {
    if (g->tokens)
        return cli_read_tokens(g->tokens, model_source_config(source), usage.name, prompt);
    tandem_message message;
    chat_message turn = {.role = "user", .text = g->prompt};
    int status = g->chat
                     ? tokenizer_encode_chat(tok, &turn, 1, prompt, &message)
                     : tokenizer_encode(tok, g->prompt, strlen(g->prompt),
                                        TOKENIZE_BOS | (g->special ? TOKENIZE_SPECIAL : 0), prompt, &message);
    if (status)
        return cli_refuse(status, usage.name, &message);
    if (!prompt->n)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "The prompt is empty");
    return OPTIONS_GO_ON;
}

static double rate(uint32_t n, uint64_t ns) {
    return ns ? n * 1e9 / (double)ns : 0;
}

static const char *stop_reason(uint32_t stop) {
    static const char *const names[] = {"count", "end", "context", "caller"};
    return names[stop];
}

static void print_stats(const generate_stats *s, const cli_device *device) {
    const char *name = device->backend->descriptor->name, *kind = device_kind_name(device->info.kind);
    if (device->info.kind == TANDEM_DEVICE_SIMULATED) {
        fprintf(
            stderr,
            "tandem generate: %u prompt tokens, %u made, stopped by %s, on %s [simulated]: no throughput.\n",
            s->n_prompt, s->n_made, stop_reason(s->stop), name);
        return;
    }
    uint32_t n_run = s->n_made ? s->n_made - 1 : 0;
    fprintf(stderr,
            "tandem generate: prompt %u tokens, %.1f tokens/s; made %u, %.1f tokens/s (device alone %.1f); "
            "stopped by %s; "
            "%s [%s].\n",
            s->n_prompt, rate(s->n_prompt, s->prompt.wall_ns), s->n_made, rate(n_run, s->decode.wall_ns),
            rate(n_run, s->decode.device_ns), stop_reason(s->stop), name, kind);
}

static void print_json(const writer *w, const token_list *prompt, const generate_stats *s,
                       const cli_device *device) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "plugin", device->backend->descriptor->name);
    cJSON_AddStringToObject(j, "device", device->info.name);
    cJSON_AddStringToObject(j, "device_kind", device_kind_name(device->info.kind));
    cJSON *ids = cJSON_AddArrayToObject(j, "prompt_tokens");
    for (size_t i = 0; i < prompt->n; i++)
        cJSON_AddItemToArray(ids, cJSON_CreateNumber(prompt->ids[i]));
    ids = cJSON_AddArrayToObject(j, "tokens");
    for (size_t i = 0; i < w->made.n; i++)
        cJSON_AddItemToArray(ids, cJSON_CreateNumber(w->made.ids[i]));
    if (w->tok)
        cJSON_AddStringToObject(j, "text", w->text ? w->text : "");
    cJSON_AddStringToObject(j, "stopped_by", stop_reason(s->stop));
    if (device->info.kind != TANDEM_DEVICE_SIMULATED) {
        cJSON_AddNumberToObject(j, "prompt_wall_ns", (double)s->prompt.wall_ns);
        cJSON_AddNumberToObject(j, "prompt_device_ns", (double)s->prompt.device_ns);
        cJSON_AddNumberToObject(j, "decode_wall_ns", (double)s->decode.wall_ns);
        cJSON_AddNumberToObject(j, "decode_device_ns", (double)s->decode.device_ns);
    }
    char *text = cJSON_PrintUnformatted(j);
    printf("%s\n", text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(j);
}

static int run(const generate_command *g, const model_source *source, tokenizer *tok,
               const token_list *prompt, const cli_device *device) {
    uint64_t needed = (prompt->n + g->n + 255) / 256 * 256;
    session_request request = {.command = usage.name,
                               .n_ctx = needed > 1u << 20 ? 1u << 20 : (uint32_t)needed};
    session *s = NULL;
    int code = cli_open_session(&g->common, &request, device, source, &s);
    if (code != OPTIONS_GO_ON)
        return code;
    generate_options options = {.n = g->n, .tokenizer = g->ignore_end ? NULL : tok};
    sampler_init(&options.sampler, g->temperature, g->top_k, g->top_p, g->common.seed);
    writer w = {.tok = tok, .json = g->common.json, .flags = g->special ? DECODE_SPECIAL : 0};
    w.bytes = malloc(tok ? tokenizer_max_decode_bytes(tok) : 16);
    generate_stats stats;
    tandem_message message;
    int status = w.bytes ? session_generate(s, prompt->ids, (uint32_t)prompt->n, &options, write_token, &w,
                                            &stats, &message)
                         : message_out_of_memory(&message, "text", 0);
    if (!status)
        status = finish_text(&w);
    if (!status)
        status = model_source_check_unchanged(source, &message);
    if (status) {
        code = cli_refuse(status, usage.name, &message);
    } else {
        if (w.json)
            print_json(&w, prompt, &stats, device);
        print_stats(&stats, device);
        code = TANDEM_EXIT_GOOD;
    }
    cli_close_session(s);
    token_list_free(&w.made);
    free(w.bytes);
    free(w.text);
    return code;
}

static int parse(generate_command *g, int argc, char **argv) {
    *g = (generate_command){.common = {.seed = 1}, .n = 64, .top_k = 64, .top_p = 0.95f};
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&g->common, COMMON_PLUGIN | COMMON_SESSION | COMMON_SEED | COMMON_JSON, shared);
    options_model(&g->model, model);
    const option own[] = {
        option_text("prompt", 'p', &g->prompt, "TEXT", "the prompt"),
        option_text("tokens", 0, &g->tokens, "IDS|@FILE", "the prompt as token ids, begin token included"),
        option_u32("n", 'n', &g->n, 1, 1u << 20, "most tokens to make (default 64)"),
        option_float("temp", &g->temperature, 0, 100, "temperature (default 0: greedy)"),
        option_u32("top-k", 0, &g->top_k, 0, 1u << 24,
                   "likeliest tokens to sample from (default 64; 0: all)"),
        option_float("top-p", &g->top_p, 1e-9, 1, "their probability mass (default 0.95)"),
        option_flag("chat", 0, &g->chat, "the prompt is a user's turn of a chat"),
        option_flag("special", 0, &g->special, "control tokens are read from and written as text"),
        option_flag("ignore-end", 0, &g->ignore_end, "go on after the model's end token"),
        {0},
    };
    uint32_t n_free;
    int code =
        options_parse(&usage, (const option *const[]){model, own, shared}, 3, argc, argv, NULL, 0, &n_free);
    if (code == OPTIONS_GO_ON && !g->prompt == !g->tokens)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Give either -p TEXT or --tokens");
    return code;
}

int cmd_generate(int argc, char **argv) {
    generate_command g;
    int code = parse(&g, argc, argv);
    if (code != OPTIONS_GO_ON)
        return code;
    model_source *source = NULL;
    tokenizer *tok = NULL;
    token_list prompt = {0};
    cli_device device = {0};
    code = cli_open_model(&g.model, g.common.seed, usage.name, &source);
    /* Ids in, from a model that has no vocabulary: ids out. */
    tandem_message message;
    bool has_vocabulary = code == OPTIONS_GO_ON && model_source_gguf(source) &&
                          tokenizer_create(&tok, model_source_gguf(source), &message) == TANDEM_OK;
    if (code == OPTIONS_GO_ON && !has_vocabulary && !g.tokens)
        code = cli_open_tokenizer(source, usage.name, &tok);
    if (code == OPTIONS_GO_ON)
        code = read_prompt(&g, source, tok, &prompt);
    if (code == OPTIONS_GO_ON)
        code = cli_open_device(&g.common, usage.name, &device);
    if (code == OPTIONS_GO_ON)
        code = run(&g, source, tok, &prompt, &device);
    cli_close_device(&device);
    token_list_free(&prompt);
    tokenizer_destroy(tok);
    model_source_close(source);
    return code;
}
