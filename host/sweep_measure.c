/* host/sweep_measure.c: walks a cache to a depth and times runs there. */
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "sweep.h"

/* Seeded ids: repeated or ordered tokens would flatter caches. Position 0 is the begin token of the Gemma
 * family. */
uint32_t sweep_token(const sweep_walk *w, uint32_t position) {
    if (position == 0 && w->n_vocab > 2)
        return 2;
    return (uint32_t)(hash_mix(position + ((uint64_t)w->options->common.seed << 32)) % w->n_vocab);
}

uint32_t sweep_decode_runs(const sweep_options *o) {
    return SWEEP_WARM_RUNS + 1 + o->n_sample;
}

double sweep_units(const sweep_options *o, uint32_t phase) {
    /* A decoded token costs about as much as a dozen prefilled ones on the devices we know. */
    return phase == PHASE_PREFILL ? (1.0 + o->n_chunk) * o->common.batch : 12.0 * sweep_decode_runs(o);
}

static int feed(sweep_walk *w, uint32_t n, run_times *times, tandem_message *message) {
    uint32_t *tokens = malloc(n * sizeof *tokens);
    if (!tokens)
        return message_out_of_memory(message, "tokens", n * sizeof *tokens);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = sweep_token(w, session_length(w->s) + i);
    int status = session_feed(w->s, tokens, n, NULL, times, message);
    free(tokens);
    return status;
}

int sweep_go_to(sweep_walk *w, uint32_t depth, tandem_message *message) {
    if (!strcmp(w->options->fill, "synthetic"))
        return depth ? session_fill(w->s, w->options->common.seed, depth, message) : TANDEM_OK;
    const uint32_t piece = 4 * session_description(w->s)->batch;
    int status = TANDEM_OK;
    while (session_length(w->s) < depth && !status) {
        uint32_t left = depth - session_length(w->s), n = left < piece ? left : piece;
        status = feed(w, n, NULL, message);
        if (w->report)
            w->report(w->user, n);
    }
    return status;
}

static int measure_prefill(sweep_walk *w, cell_samples *samples, tandem_message *message) {
    const uint32_t start = session_length(w->s), batch = session_description(w->s)->batch;
    samples->n_token = batch;
    for (uint32_t i = 0; i <= w->options->n_chunk; i++) {
        run_times times;
        int status = feed(w, batch, &times, message);
        if (!status)
            status = session_truncate(w->s, start, message);
        if (status)
            return status;
        if (i > 0) { /* the first warms up */
            samples->gap_ns[samples->n] = 0;
            samples->device_ns[samples->n++] = times.device_ns;
            samples->wall_ns += times.wall_ns;
            samples->wall_tokens += batch;
        }
        if (w->report)
            w->report(w->user, batch);
    }
    return TANDEM_OK;
}

/* Queues `n` runs, as many ahead as may be, and collects them all. `samples`, if not NULL, receives all but
 * the first. Tokens are those the model finds likeliest; without a head there are none, and seeded ones go
 * in. */
static int decode_runs(sweep_walk *w, uint32_t n, bool with_head, cell_samples *samples,
                       tandem_message *message) {
    uint32_t queued = 0;
    int status = TANDEM_OK;
    for (uint32_t i = 0; i < n && !status; i++) {
        while (queued < n && session_pending(w->s) < SESSION_MAX_PENDING && !status) {
            bool follows = with_head && queued > 0;
            uint32_t token = follows ? SESSION_DEVICE_NEXT : sweep_token(w, session_length(w->s));
            status = session_decode(w->s, token, with_head, message);
            queued++;
        }
        run_times times;
        if (!status)
            status = session_collect(w->s, NULL, &times, message);
        if (!status && samples && i > 0) {
            samples->gap_ns[samples->n] = times.gap_ns;
            samples->device_ns[samples->n++] = times.device_ns;
        }
    }
    return status;
}

/* With the pipeline full nobody waits for the host, and device time plus gap is what a token takes. The first
 * run has no run before it; a driver may answer several waits at once, so wall time is taken over all runs
 * together. */
static int measure_decode(sweep_walk *w, bool with_head, cell_samples *samples, tandem_message *message) {
    const uint32_t start = session_length(w->s), n = 1 + w->options->n_sample;
    samples->n_token = 1;
    int status = decode_runs(w, SWEEP_WARM_RUNS, with_head, NULL, message);
    uint64_t begin = now_ns();
    if (!status)
        status = decode_runs(w, n, with_head, samples, message);
    samples->wall_ns = now_ns() - begin;
    samples->wall_tokens = n;
    if (!status)
        status = session_truncate(w->s, start, message);
    if (w->report)
        w->report(w->user, sweep_units(w->options, PHASE_DECODE));
    return status;
}

int sweep_measure(sweep_walk *w, uint32_t phase, cell_samples *samples, tandem_message *message) {
    samples->n = 0;
    samples->wall_ns = 0;
    samples->wall_tokens = 0;
    if (phase == PHASE_PREFILL)
        return measure_prefill(w, samples, message);
    return measure_decode(w, phase == PHASE_DECODE, samples, message);
}
