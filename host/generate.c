/* host/generate.c: the token loop. */
#include "generate.h"

#include <stdlib.h>

typedef struct generation {
    session *s;
    const generate_options *options;
    sampler sampler;
    uint32_t n_vocab;
    candidate *candidates; /* room for what choose() looks at */
    float *logits;         /* [n_vocab], only where all are looked at */
    tandem_message *message;
} generation;

static bool is_greedy(const generation *g) {
    return g->sampler.temperature <= 0;
}

static bool reads_all(const generation *g) {
    return !is_greedy(g) && (g->sampler.top_k == 0 || g->sampler.top_k > GRAPH_MAX_TOPK);
}

static bool is_suppressed(const generation *g, uint32_t id) {
    return g->options->tokenizer && tokenizer_is_suppressed(g->options->tokenizer, id);
}

/* The next token from the head's result. The session's last run must be the one that made `row` if all logits
 * are looked at. */
static int choose(generation *g, const topk_row *row, uint32_t *token) {
    uint32_t n = 0;
    if (reads_all(g)) {
        int status = session_read_logits(g->s, g->logits, g->message);
        if (status)
            return status;
        for (uint32_t id = 0; id < g->n_vocab; id++)
            if (!is_suppressed(g, id))
                g->candidates[n++] = (candidate){.id = id, .logit = g->logits[id]};
        candidates_sort(g->candidates, n);
    } else {
        for (uint32_t i = 0; i < row->n; i++)
            if (!is_suppressed(g, row->id[i]))
                g->candidates[n++] = (candidate){.id = row->id[i], .logit = row->logit[i]};
    }
    if (!n)
        return message_fail(g->message, TANDEM_E_UNSUPPORTED,
                            "Every likely token is one that must not be made.");
    *token = sampler_pick(&g->sampler, g->candidates, n);
    return TANDEM_OK;
}

/* Collects and forgets whatever was queued ahead of `length`. */
static int roll_back(generation *g, uint32_t length) {
    int status = TANDEM_OK;
    while (session_pending(g->s) && !status)
        status = session_collect(g->s, NULL, NULL, g->message);
    if (!status && session_length(g->s) > length)
        status = session_truncate(g->s, length, g->message);
    return status;
}

static void add_run_times(run_times *sum, const run_times *t) {
    sum->device_ns += t->device_ns;
    sum->gap_ns += t->gap_ns;
    sum->wall_ns += t->wall_ns;
}

/* Runs `token`, whose successor goes to *next. A greedy generation queues up to `n_ahead` runs whose tokens
 * the device takes from the run before; the first of a chain carries its token. */
static int step(generation *g, uint32_t token, uint32_t n_ahead, run_times *times, uint32_t *next) {
    const uint32_t n_ctx = session_description(g->s)->n_ctx;
    uint32_t length = session_length(g->s) - session_pending(g->s);
    uint32_t depth = is_greedy(g) && n_ahead < SESSION_MAX_PENDING ? n_ahead
                     : is_greedy(g)                                ? SESSION_MAX_PENDING
                                                                   : 1;
    int status = TANDEM_OK;
    while (session_pending(g->s) < depth && session_length(g->s) < n_ctx && !status)
        status = session_decode(g->s, session_pending(g->s) ? SESSION_DEVICE_NEXT : token, true, g->message);
    topk_row row;
    run_times t;
    if (!status)
        status = session_collect(g->s, &row, &t, g->message);
    if (!status) {
        add_run_times(times, &t);
        status = choose(g, &row, next);
    }
    /* The runs ahead took the likeliest token; where another was chosen they are worth nothing. */
    if (!status && session_pending(g->s) && *next != row.id[0])
        status = roll_back(g, length + 1);
    return status;
}

static int run_loop(generation *g, const topk_row *first, generate_token callback, void *user,
                    generate_stats *stats) {
    uint32_t token;
    int status = choose(g, first, &token);
    while (!status) {
        if (g->options->tokenizer && tokenizer_is_end(g->options->tokenizer, token)) {
            stats->stop = GENERATE_STOP_END;
            break;
        }
        stats->n_made++;
        if (callback(user, token)) {
            stats->stop = GENERATE_STOP_CALLER;
            break;
        }
        if (stats->n_made == g->options->n) {
            stats->stop = GENERATE_STOP_COUNT;
            break;
        }
        if (session_length(g->s) - session_pending(g->s) == session_description(g->s)->n_ctx) {
            stats->stop = GENERATE_STOP_CONTEXT;
            break;
        }
        status = step(g, token, g->options->n - stats->n_made, &stats->decode, &token);
    }
    return status;
}

int session_generate(session *s, const uint32_t *prompt, uint32_t n_prompt, const generate_options *options,
                     generate_token callback, void *user, generate_stats *stats, tandem_message *message) {
    const model_config *config = model_source_config(session_description(s)->source);
    generation g = {.s = s,
                    .options = options,
                    .sampler = options->sampler,
                    .n_vocab = config->n_vocab,
                    .message = message};
    uint32_t n_candidate = reads_all(&g) ? g.n_vocab : GRAPH_MAX_TOPK;
    *stats = (generate_stats){.n_prompt = n_prompt};
    g.candidates = malloc(n_candidate * sizeof *g.candidates);
    g.logits = reads_all(&g) ? malloc(g.n_vocab * sizeof *g.logits) : NULL;
    int status = TANDEM_OK;
    if (!g.candidates || (reads_all(&g) && !g.logits))
        status = message_out_of_memory(message, "candidates", n_candidate * sizeof *g.candidates);
    if (!status && (!n_prompt || !options->n))
        status = message_fail(message, TANDEM_E_INVALID,
                              "Nothing to do: %u prompt tokens, %u tokens to make.", n_prompt, options->n);
    if (!status &&
        !(options->sampler.temperature >= 0 && options->sampler.top_p > 0 && options->sampler.top_p <= 1))
        status = message_fail(message, TANDEM_E_INVALID, "Temperature %g and top-p %g are out of range.",
                              (double)options->sampler.temperature, (double)options->sampler.top_p);
    topk_row row;
    if (!status)
        status = session_feed(s, prompt, n_prompt, &row, &stats->prompt, message);
    uint32_t start = session_length(s);
    if (!status)
        status = run_loop(&g, &row, callback, user, stats);
    if (!status)
        status = roll_back(&g, stats->n_made ? start + stats->n_made - 1 : start);
    free(g.candidates);
    free(g.logits);
    return status;
}
