/* host/sweep_measure.c: walks a cache to a depth and times runs there. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "clock_check.h"
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
    const double batch = o->common.batch ? o->common.batch : (uint32_t)atoi(o->batches.text[0]);
    return phase == PHASE_PREFILL ? (1.0 + o->n_chunk) * batch : 12.0 * sweep_decode_runs(o);
}

double sweep_drift_units(const sweep_options *o) {
    double units = 0;
    for (uint32_t p = 0; p < o->n_phase && o->n_depth > 1; p++)
        units += sweep_units(o, o->phase[p]);
    return units;
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

int sweep_go_to(sweep_walk *w, uint32_t depth, bool synthetic, tandem_message *message) {
    if (synthetic && depth)
        return session_fill(w->s, w->options->common.seed, depth, message);
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

/* ---- samples ---- */

bool sweep_samples_create(cell_samples *samples, const sweep_options *o) {
    const uint32_t most = o->n_sample > o->n_chunk ? o->n_sample : o->n_chunk;
    *samples = (cell_samples){.n_max = most * o->n_round};
    samples->device_ns = malloc(samples->n_max * sizeof *samples->device_ns);
    samples->gap_ns = malloc(samples->n_max * sizeof *samples->gap_ns);
    samples->mark = malloc(samples->n_max);
    return samples->device_ns && samples->gap_ns && samples->mark;
}

void sweep_samples_free(cell_samples *samples) {
    free(samples->device_ns);
    free(samples->gap_ns);
    free(samples->mark);
}

static void add_sample(cell_samples *samples, const run_times *times, bool with_gap) {
    samples->gap_ns[samples->n] = with_gap ? times->gap_ns : 0;
    samples->mark[samples->n] = SAMPLE_KEPT;
    samples->device_ns[samples->n++] = times->device_ns;
}

static double sample_ns(const cell_samples *s, uint32_t i) {
    return (double)s->device_ns[i] + (double)s->gap_ns[i];
}

/* Marks what took far longer than the rest, and sums up what is left. All are left where all are marked. */
static void sum_up(cell_samples *s, uint64_t seed) {
    static double x[STATS_MOST];
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n && n < STATS_MOST; i++)
        if (s->mark[i] != SAMPLE_THROTTLED)
            x[n++] = sample_ns(s, i);
    const double median = n ? stats_median(x, n) : 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (n >= STATS_LEAST && s->mark[i] == SAMPLE_KEPT && sample_ns(s, i) > 3 * median)
            s->mark[i] = SAMPLE_DISTURBED;
    s->n_kept = 0;
    for (uint32_t i = 0; i < s->n && s->n_kept < STATS_MOST; i++)
        if (s->mark[i] == SAMPLE_KEPT && sample_ns(s, i) > 0)
            x[s->n_kept++] = s->n_token * 1e9 / sample_ns(s, i);
    s->rate = (stats_interval){0};
    if (s->n_kept)
        s->rate = stats_bootstrap(x, s->n_kept, seed);
}

/* What was to come out again as it did before. */
static void check_hash(cell_samples *s, uint64_t hash) {
    if (s->n_hash++ == 0)
        s->hash = hash;
    else
        s->n_unequal += hash != s->hash;
}

/* ---- prefill ---- */

/* Ids of a token decoded behind a chunk: what the chunk left in the cache decides them. */
static int hash_behind(sweep_walk *w, cell_samples *samples, tandem_message *message) {
    topk_row row;
    int status = session_decode(w->s, sweep_token(w, session_length(w->s)), true, message);
    if (!status)
        status = session_collect(w->s, &row, NULL, message);
    if (!status)
        check_hash(samples, hash_bytes(row.id, row.n * sizeof *row.id, 1));
    return status;
}

static int measure_prefill(sweep_walk *w, bool warm, cell_samples *samples, tandem_message *message) {
    const uint32_t start = session_length(w->s), batch = session_description(w->s)->batch;
    samples->n_token = batch;
    for (uint32_t i = warm ? 1 : 0; i <= w->options->n_chunk; i++) {
        run_times times;
        const uint64_t cpu = clock_other_cpu_ns();
        int status = feed(w, batch, &times, message);
        const uint64_t spent = clock_other_cpu_ns() - cpu;
        if (!status)
            status = hash_behind(w, samples, message);
        if (!status)
            status = session_truncate(w->s, start, message);
        if (status)
            return status;
        if (i > 0) { /* the first warms up */
            add_sample(samples, &times, false);
            samples->wall_ns += times.wall_ns;
            samples->wall_tokens += batch;
            samples->other_cpu_ns += spent;
            samples->n_wait++;
        }
        if (w->report && !warm)
            w->report(w->user, batch);
    }
    return TANDEM_OK;
}

/* ---- decode ---- */

/* Queues `n` runs, as many ahead as may be, and collects them all. `samples`, if not NULL, receives all but
 * the first; `hash` the ids of the first `n_hash` runs. Tokens are those the model finds likeliest; without a
 * head there are none, and seeded ones go in. */
static int decode_runs(sweep_walk *w, uint32_t n, bool with_head, cell_samples *samples, uint64_t *hash,
                       uint32_t n_hash, tandem_message *message) {
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
        topk_row row = {0};
        if (!status)
            status = session_collect(w->s, &row, &times, message);
        if (!status && i < n_hash)
            *hash = hash_bytes(row.id, row.n * sizeof *row.id, *hash);
        if (!status && samples && i > 0)
            add_sample(samples, &times, true);
    }
    return status;
}

/* With the pipeline full nobody waits for the host, and device time plus gap is what a token takes. The first
 * run has no run before it; a driver may answer several waits at once, so wall time is taken over all runs
 * together. Warm-up runs the first tokens of a round: the ids of both must be equal. */
static int measure_decode(sweep_walk *w, bool with_head, bool warm, cell_samples *samples,
                          tandem_message *message) {
    const uint32_t start = session_length(w->s), n = 1 + w->options->n_sample;
    uint64_t hash = 1;
    int status = TANDEM_OK;
    samples->n_token = 1;
    if (!warm) {
        status = decode_runs(w, SWEEP_WARM_RUNS, with_head, NULL, &hash, SWEEP_WARM_RUNS, message);
        if (!status)
            status = session_truncate(w->s, start, message);
        if (!status && with_head)
            check_hash(samples, hash);
    }
    const uint64_t begin = now_ns(), cpu = clock_other_cpu_ns();
    hash = 1;
    if (!status)
        status = decode_runs(w, n, with_head, samples, &hash, SWEEP_WARM_RUNS, message);
    samples->wall_ns += now_ns() - begin;
    samples->wall_tokens += n;
    samples->other_cpu_ns += clock_other_cpu_ns() - cpu;
    samples->n_wait++;
    if (!status && with_head)
        check_hash(samples, hash);
    if (!status)
        status = session_truncate(w->s, start, message);
    if (w->report && !warm)
        w->report(w->user, sweep_units(w->options, PHASE_DECODE));
    return status;
}

int sweep_measure(sweep_walk *w, uint32_t phase, uint32_t n_round, cell_samples *samples,
                  tandem_message *message) {
    cell_samples *s = samples;
    *s = (cell_samples){.n_max = s->n_max, .device_ns = s->device_ns, .gap_ns = s->gap_ns, .mark = s->mark};
    for (uint32_t i = 0; i < n_round; i++) {
        const uint32_t first = s->n;
        if (w->round_begins)
            w->round_begins(w->user);
        int status = phase == PHASE_PREFILL ? measure_prefill(w, i > 0, s, message)
                                            : measure_decode(w, phase == PHASE_DECODE, i > 0, s, message);
        if (status)
            return status;
        if (w->round_ends && w->round_ends(w->user))
            memset(s->mark + first, SAMPLE_THROTTLED, s->n - first);
        s->n_round++;
        sum_up(s, w->options->common.seed);
        const double half = fmax(s->rate.high - s->rate.median, s->rate.median - s->rate.low);
        if (half <= 0.01 * w->options->target * s->rate.median) /* false while there is no interval */
            break;
    }
    return TANDEM_OK;
}
