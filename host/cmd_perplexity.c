/* host/cmd_perplexity.c: tandem perplexity. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "hash.h"
#include "journal.h"
#include "progress.h"

static const command_usage usage = {
    "perplexity", "-m MODEL -f FILE [options]",
    "Perplexity of a text: exp of the mean negative log-likelihood of every token after the begin token.",
    "The text runs in one context of up to --ctx positions (default: all of it, at most the trained length); "
    "a longer text "
    "is cut into windows, each beginning with the begin token, its first token not counted twice. With an "
    "--against "
    "option the same tokens also run there, and the Kullback-Leibler divergence of the next-token "
    "distributions and the "
    "share of equal likeliest tokens are printed. The cache is f32 unless --kv says otherwise."};

#define COMPARE_ROWS 16u /* rows whose logits are held at a time */

typedef struct perplexity_command {
    common_options common;
    model_options model;
    const char *file;
    const char *against_model, *against_plugin, *against_kv, *against_precision;
    const char *journal; /* NULL: none */
} perplexity_command;

/* One way to run the model. */
typedef struct arm {
    cli_device device;
    model_source *source;
    session *s;
    float *logits; /* [COMPARE_ROWS][n_vocab], only when comparing */
    uint32_t n_vocab;
    const uint32_t *targets;
    double nll, nll_squared;
    uint64_t n;
    uint32_t top[COMPARE_ROWS];
    double logsumexp[COMPARE_ROWS];
} arm;

typedef struct divergence {
    double kl, worst_kl;
    uint64_t n, n_same_top;
} divergence;

static bool compares(const perplexity_command *p) {
    return p->against_model || p->against_plugin || p->against_kv || p->against_precision;
}

static int take_row(void *user, uint32_t index, const topk_row *row, const float *logits) {
    arm *a = user;
    if (a->targets[index] != TANDEM_NONE) {
        double nll = (double)row->logsumexp - row->target;
        a->nll += nll;
        a->nll_squared += nll * nll;
        a->n++;
    }
    if (!logits)
        return TANDEM_OK;
    memcpy(a->logits + (uint64_t)index * a->n_vocab, logits, a->n_vocab * sizeof *logits);
    a->top[index] = row->id[0];
    a->logsumexp[index] = row->logsumexp;
    return TANDEM_OK;
}

static void add_divergence(const arm *a, const arm *b, uint32_t n, divergence *d) {
    for (uint32_t i = 0; i < n; i++) {
        const float *p = a->logits + (uint64_t)i * a->n_vocab, *q = b->logits + (uint64_t)i * a->n_vocab;
        double kl = 0;
        for (uint32_t v = 0; v < a->n_vocab; v++) {
            double log_p = p[v] - a->logsumexp[i];
            kl += exp(log_p) * (log_p - (q[v] - b->logsumexp[i]));
        }
        d->kl += kl;
        d->worst_kl = kl > d->worst_kl ? kl : d->worst_kl;
        d->n_same_top += a->top[i] == b->top[i];
        d->n++;
    }
}

/* One window: tokens [n], each but the last predicting its successor. */
static int run_window(arm *a, arm *b, const uint32_t *tokens, uint32_t n, divergence *d, progress *p,
                      uint32_t done, tandem_message *message) {
    uint32_t targets[512];
    int status = session_truncate(a->s, 0, message);
    if (b && !status)
        status = session_truncate(b->s, 0, message);
    uint32_t most = b ? COMPARE_ROWS : session_description(a->s)->batch;
    most = most > 512 ? 512 : most;
    for (uint32_t first = 0; first + 1 < n && !status;) {
        uint32_t rows = n - 1 - first < most ? n - 1 - first : most;
        memcpy(targets, tokens + first + 1, rows * sizeof *targets);
        a->targets = targets;
        status = session_score(a->s, tokens + first, targets, rows, b != NULL, take_row, a, message);
        if (b && !status) {
            b->targets = targets;
            status = session_score(b->s, tokens + first, targets, rows, true, take_row, b, message);
            if (!status)
                add_divergence(a, b, rows, d);
        }
        first += rows;
        progress_show(p, done + first, NULL);
    }
    return status;
}

/* Windows of n_ctx tokens: the begin token, then n_ctx - 1 of the text. Their predictions tile the text. */
static int run_text(arm *a, arm *b, const token_list *tokens, divergence *d, tandem_message *message) {
    uint32_t n_ctx = session_description(a->s)->n_ctx, n = (uint32_t)tokens->n;
    uint32_t *window = malloc((n_ctx + 1ull) * sizeof *window);
    if (!window)
        return message_out_of_memory(message, "a window", (n_ctx + 1ull) * sizeof *window);
    progress p;
    progress_start(&p, "perplexity", n);
    int status = TANDEM_OK;
    for (uint32_t first = 1; first < n && !status;) {
        uint32_t rows = n - first < n_ctx ? n - first : n_ctx;
        window[0] = tokens->ids[0];
        memcpy(window + 1, tokens->ids + first, rows * sizeof *window);
        status = run_window(a, b, window, rows + 1, d, &p, first, message);
        first += rows;
    }
    progress_end(&p);
    free(window);
    return status;
}

static int open_arm(const perplexity_command *p, const common_options *common, const char *model,
                    uint32_t n_ctx, bool compare, arm *a) {
    model_options options = p->model;
    options.model = model;
    int code = cli_open_model(&options, common->seed, usage.name, &a->source);
    if (code == OPTIONS_GO_ON)
        code = cli_open_device(common, usage.name, &a->device);
    session_request request = {.command = usage.name,
                               .n_ctx = n_ctx,
                               .kv = "f32",
                               .n_score = compare ? COMPARE_ROWS : SESSION_RESULT_ROWS};
    if (code == OPTIONS_GO_ON)
        code = cli_open_session(common, &request, &a->device, a->source, &a->s);
    if (code != OPTIONS_GO_ON)
        return code;
    a->n_vocab = model_source_config(a->source)->n_vocab;
    if (compare && !(a->logits = malloc((uint64_t)COMPARE_ROWS * a->n_vocab * sizeof(float))))
        return cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory");
    return OPTIONS_GO_ON;
}

static void close_arm(arm *a) {
    cli_close_session(a->s);
    cli_close_device(&a->device);
    model_source_close(a->source);
    free(a->logits);
}

/* Mean, and the standard error of the mean carried through exp. */
static void perplexity_of(const arm *a, double *value, double *error) {
    double mean = a->nll / (double)a->n, variance = a->nll_squared / (double)a->n - mean * mean;
    *value = exp(mean);
    *error = *value * sqrt((variance > 0 ? variance : 0) / (double)a->n);
}

/* The members of the answer with --json and of the journal's row. */
static cJSON *make_results(const arm *a, const arm *b, const divergence *d) {
    double value, error, value_b, error_b;
    cJSON *j = cJSON_CreateObject();
    perplexity_of(a, &value, &error);
    cJSON_AddNumberToObject(j, "perplexity", value);
    cJSON_AddNumberToObject(j, "standard_error", error);
    cJSON_AddNumberToObject(j, "n", (double)a->n);
    if (b) {
        perplexity_of(b, &value_b, &error_b);
        cJSON_AddNumberToObject(j, "against_perplexity", value_b);
        cJSON_AddNumberToObject(j, "kl_mean", d->kl / (double)d->n);
        cJSON_AddNumberToObject(j, "kl_worst", d->worst_kl);
        cJSON_AddNumberToObject(j, "same_top", (double)d->n_same_top / (double)d->n);
    }
    return j;
}

static void print_results(const perplexity_command *p, const arm *a, const arm *b, const divergence *d) {
    double value, error;
    if (p->common.json) {
        cJSON *j = make_results(a, b, d);
        char *text = cJSON_PrintUnformatted(j);
        printf("%s\n", text ? text : "{}");
        cJSON_free(text);
        cJSON_Delete(j);
        return;
    }
    perplexity_of(a, &value, &error);
    printf("perplexity %.4f +- %.4f over %llu tokens\n", value, error, (unsigned long long)a->n);
    if (!b)
        return;
    perplexity_of(b, &value, &error);
    printf("against    %.4f +- %.4f\nKL divergence mean %.3e, worst %.3e, same likeliest token %.3f %%\n",
           value, error, d->kl / (double)d->n, d->worst_kl, 100.0 * (double)d->n_same_top / (double)d->n);
}

/* What a side was: the terms of its figures. */
static cJSON *describe_arm(const arm *a) {
    const session_desc *d = session_description(a->s);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "model", model_source_label(a->source));
    cJSON_AddStringToObject(j, "plugin", a->device.backend->descriptor->name);
    cJSON_AddStringToObject(j, "device", a->device.info.name);
    cJSON_AddStringToObject(j, "device_kind", device_kind_name(a->device.info.kind));
    cJSON_AddStringToObject(j, "kv", kv_type_name(d->kv_type));
    cJSON_AddStringToObject(j, "precision", precision_name(d->precision));
    return j;
}

/* A row beside those of sweeps, so that a speed stands beside its price in quality. Owns `row`. */
static int journal_results(const perplexity_command *p, journal *j, cJSON *row, const arm *a, const arm *b) {
    tandem_message message;
    char key[64];
    cJSON *terms = cJSON_CreateArray();
    cJSON_AddItemToArray(terms, describe_arm(a));
    if (b)
        cJSON_AddItemToArray(terms, describe_arm(b));
    char *text = cJSON_PrintUnformatted(terms);
    uint64_t hash = hash_bytes(p->file, strlen(p->file), session_description(a->s)->n_ctx);
    hash = text ? hash_bytes(text, strlen(text), hash) : hash;
    cJSON_free(text);
    snprintf(key, sizeof key, "%016llx", (unsigned long long)hash);
    cJSON_AddStringToObject(row, "row", "accuracy");
    cJSON_AddStringToObject(row, "key", key);
    cJSON_AddStringToObject(row, "text", p->file);
    cJSON_AddItemToObject(row, "a", cJSON_DetachItemFromArray(terms, 0));
    if (b)
        cJSON_AddItemToObject(row, "b", cJSON_DetachItemFromArray(terms, 0));
    cJSON_Delete(terms);
    int status = journal_append(j, row, &message);
    return status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
}

static int read_text(const perplexity_command *p, token_list *tokens, uint32_t *n_ctx) {
    model_source *source = NULL;
    tokenizer *tok = NULL;
    char *text = NULL;
    size_t n = 0;
    int code = cli_open_model(&p->model, p->common.seed, usage.name, &source);
    if (code == OPTIONS_GO_ON)
        code = cli_open_tokenizer(source, usage.name, &tok);
    if (code == OPTIONS_GO_ON)
        code = cli_read_file(p->file, usage.name, &text, &n);
    if (code == OPTIONS_GO_ON) {
        tandem_message message;
        int status = tokenizer_encode(tok, text, n, TOKENIZE_BOS, tokens, &message);
        if (status)
            code = cli_refuse(status, usage.name, &message);
        else if (tokens->n < 2 || tokens->n > UINT32_MAX / 2)
            code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "%s has %zu tokens", p->file, tokens->n);
        uint32_t trained = model_source_config(source)->n_ctx;
        *n_ctx = tokens->n - 1 < trained ? (uint32_t)tokens->n - 1 : trained;
    }
    free(text);
    tokenizer_destroy(tok);
    model_source_close(source);
    return code;
}

static int run(const perplexity_command *p, const token_list *tokens, uint32_t n_ctx, journal *j) {
    bool compare = compares(p);
    arm a = {0}, b = {0};
    common_options other = p->common;
    other.plugin = p->against_plugin ? p->against_plugin : other.plugin;
    other.kv = p->against_kv ? p->against_kv : other.kv;
    other.precision = p->against_precision ? p->against_precision : other.precision;
    if (p->against_plugin)
        other.device = NULL;
    divergence d = {0};
    int code = open_arm(p, &p->common, p->model.model, n_ctx, compare, &a);
    if (code == OPTIONS_GO_ON && compare)
        code = open_arm(p, &other, p->against_model ? p->against_model : p->model.model, n_ctx, true, &b);
    if (code == OPTIONS_GO_ON && compare && a.n_vocab != b.n_vocab)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "The vocabularies differ: %u and %u tokens", a.n_vocab,
                        b.n_vocab);
    if (code == OPTIONS_GO_ON) {
        tandem_message message;
        int status = run_text(&a, compare ? &b : NULL, tokens, &d, &message);
        if (!status)
            status = model_source_check_unchanged(a.source, &message);
        if (!status && compare)
            status = model_source_check_unchanged(b.source, &message);
        code = status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
    }
    if (code == TANDEM_EXIT_GOOD) {
        print_results(p, &a, compare ? &b : NULL, &d);
        if (p->journal)
            code = journal_results(p, j, make_results(&a, compare ? &b : NULL, &d), &a, compare ? &b : NULL);
    }
    close_arm(&b);
    close_arm(&a);
    return code;
}

int cmd_perplexity(int argc, char **argv) {
    perplexity_command p = {.common = {.seed = 1}};
    option shared[COMMON_MAX_OPTIONS];
    options_common(&p.common, COMMON_PLUGIN | COMMON_SESSION | COMMON_JSON, shared);
    const option own[] = {
        option_text("model", 'm', &p.model.model, "FILE", "GGUF file"),
        option_text("file", 'f', &p.file, "FILE", "the text; - is standard input"),
        option_text("against-model", 0, &p.against_model, "FILE", "compare with this file"),
        option_text("against-plugin", 0, &p.against_plugin, "NAME|PATH", "compare with this plugin"),
        option_choice("against-kv", &p.against_kv, "f32|f16|q8_0", "compare with this cache"),
        option_choice("against-precision", &p.against_precision, "exact|f16|q8",
                      "compare with this precision"),
        option_text("journal", 'j', &p.journal, "FILE", "add a row to this journal of sweeps"),
        {0},
    };
    uint32_t n_free;
    int code = options_parse(&usage, (const option *const[]){own, shared}, 2, argc, argv, NULL, 0, &n_free);
    if (code == OPTIONS_GO_ON && (!p.model.model || !p.file))
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "-m FILE and -f FILE are needed");
    if (code != OPTIONS_GO_ON)
        return code;
    token_list tokens = {0};
    uint32_t n_ctx = 0;
    journal j = {.fd = -1};
    tandem_message message;
    /* A journal that cannot be written is no reason to measure first. */
    int status = p.journal ? journal_open(&j, p.journal, &message) : TANDEM_OK;
    code = status ? cli_refuse(status, usage.name, &message) : read_text(&p, &tokens, &n_ctx);
    if (code == OPTIONS_GO_ON)
        code = run(&p, &tokens, n_ctx, &j);
    journal_close(&j);
    token_list_free(&tokens);
    return code;
}
