/* host/cmd_eval.c: tandem eval. */
#include <cjson/cJSON.h>

#include "cli.h"
#include "commands.h"
#include "npy.h"
#include "progress.h"

static const command_usage usage = {
    "eval", "-m MODEL (--tokens IDS|@FILE | --prompt TEXT) [--logits FILE.npy] [options]",
    "Runs a token list and prints, for every position, the likeliest next token. --logits writes all logits "
    "(NumPy, f32 [tokens, vocabulary]) as they come.",
    "The cache is f32 unless --kv says otherwise. Columns: position, token, likeliest next token, its logit, "
    "logsumexp of "
    "the row.\n" CLI_OUTPUT_HELP};

typedef struct eval_command {
    common_options common;
    model_options model;
    const char *tokens, *prompt, *logits;
    uint32_t fill;
} eval_command;

typedef struct eval_sink {
    const token_list *tokens;
    npy_writer npy;
    cJSON *rows;    /* NULL: text */
    uint32_t first; /* position of the first token */
    progress p;
} eval_sink;

static int take_row(void *user, uint32_t index, const topk_row *row, const float *logits) {
    eval_sink *sink = user;
    progress_show(&sink->p, index, NULL);
    int status = logits ? npy_write_row(&sink->npy, logits) : TANDEM_OK;
    if (status)
        return status; /* whose sentence npy_end tells */
    if (!sink->rows) {
        printf("%u %u %u %.9g %.9g\n", sink->first + index, sink->tokens->ids[index], row->id[0],
               row->logit[0], row->logsumexp);
        return TANDEM_OK;
    }
    cJSON *j = cJSON_CreateObject();
    cJSON_AddNumberToObject(j, "position", sink->first + index);
    cJSON_AddNumberToObject(j, "token", sink->tokens->ids[index]);
    cJSON_AddNumberToObject(j, "next", row->id[0]);
    cJSON_AddNumberToObject(j, "logit", row->logit[0]);
    cJSON_AddNumberToObject(j, "logsumexp", row->logsumexp);
    cJSON_AddItemToArray(sink->rows, j);
    return TANDEM_OK;
}

/* The logits are complete, or what was there before is there still. */
static int end_logits(eval_sink *sink, const model_source *source, int status, tandem_message *message) {
    if (!status)
        status = model_source_check_unchanged(source, message);
    if (sink->npy.file && (!status || npy_status(&sink->npy)))
        return npy_end(&sink->npy, message);
    npy_abort(&sink->npy);
    return status;
}

static int score(const eval_command *e, const model_source *source, session *s, eval_sink *sink) {
    tandem_message message;
    progress_start(&sink->p, "eval", (double)sink->tokens->n);
    int status = e->fill ? session_fill(s, e->common.seed, e->fill, &message) : TANDEM_OK;
    if (!status)
        status = session_score(s, sink->tokens->ids, NULL, (uint32_t)sink->tokens->n, e->logits != NULL,
                               take_row, sink, &message);
    progress_end(&sink->p);
    status = end_logits(sink, source, status, &message);
    return status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
}

static int begin_logits(const eval_command *e, const model_source *source, const cli_device *device,
                        eval_sink *sink) {
    tandem_message message;
    input_files inputs = {0};
    cli_add_inputs(&e->common, source, device, e->tokens, &inputs);
    int status = npy_begin(&sink->npy, e->logits, sink->tokens->n, model_source_config(source)->n_vocab,
                           &inputs, &message);
    input_files_free(&inputs);
    return status ? cli_refuse(status, usage.name, &message) : OPTIONS_GO_ON;
}

static int run(const eval_command *e, const model_source *source, const token_list *tokens,
               const cli_device *device) {
    session_request request = {.command = usage.name,
                               .n_ctx = e->fill + (uint32_t)tokens->n,
                               .kv = "f32",
                               .n_score = SESSION_RESULT_ROWS};
    session *s = NULL;
    eval_sink sink = {.tokens = tokens, .first = e->fill};
    int code = e->logits ? begin_logits(e, source, device, &sink) : OPTIONS_GO_ON;
    if (code == OPTIONS_GO_ON)
        code = cli_open_session(&e->common, &request, device, source, &s);
    if (code == OPTIONS_GO_ON) {
        sink.rows = e->common.json ? cJSON_CreateArray() : NULL;
        code = score(e, source, s, &sink);
    }
    npy_abort(&sink.npy);
    if (sink.rows && code == TANDEM_EXIT_GOOD) {
        char *text = cJSON_PrintUnformatted(sink.rows);
        printf("%s\n", text ? text : "[]");
        cJSON_free(text);
    }
    cJSON_Delete(sink.rows);
    cli_close_session(s);
    return code;
}

int cmd_eval(int argc, char **argv) {
    eval_command e = {.common = {.seed = 1}};
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&e.common, COMMON_PLUGIN | COMMON_SESSION | COMMON_SEED | COMMON_JSON, shared);
    options_model(&e.model, model);
    const option own[] = {
        option_text("tokens", 0, &e.tokens, "IDS|@FILE", "token ids, begin token included"),
        option_text("prompt", 'p', &e.prompt, "TEXT", "text to tokenise instead"),
        option_u32("fill", 0, &e.fill, 0, 1u << 20,
                   "positions of seeded keys and values before the first token"),
        option_text("logits", 0, &e.logits, "FILE.npy", "write the logits of every position"),
        {0},
    };
    uint32_t n_free;
    int code =
        options_parse(&usage, (const option *const[]){model, own, shared}, 3, argc, argv, NULL, 0, &n_free);
    if (code == OPTIONS_GO_ON && !e.tokens == !e.prompt)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "Give either --tokens or --prompt");
    if (code != OPTIONS_GO_ON)
        return code;
    model_source *source = NULL;
    token_list tokens = {0};
    cli_device device = {0};
    code = cli_open_model(&e.model, e.common.seed, usage.name, &source);
    if (code == OPTIONS_GO_ON)
        code = cli_read_prompt(e.tokens, e.prompt, source, usage.name, &tokens);
    if (code == OPTIONS_GO_ON)
        code = cli_open_device(&e.common, usage.name, &device);
    if (code == OPTIONS_GO_ON)
        code = run(&e, source, &tokens, &device);
    cli_close_device(&device);
    token_list_free(&tokens);
    model_source_close(source);
    return code;
}
