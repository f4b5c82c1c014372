/* host/compare_measure.c: turns and blocks (contract: compare.h). */
#include <stdlib.h>
#include <string.h>

#include "clock_check.h"
#include "compare.h"
#include "hash.h"

/* The first of a turn's runs leans on no run before it, so its idle time is unknown. */
uint32_t compare_runs(const compare_options *o, uint32_t phase) {
    return 1 + (phase == PHASE_PREFILL ? o->n_chunk : o->n_run);
}

/* One side's turn. */
typedef struct turn {
    compare *c;
    compare_cell *cell;
    compare_tally *tally;
    sweep_walk walk;
    uint32_t *tokens; /* [n_token] */
    double device[COMPARE_MOST_RUNS], gap[COMPARE_MOST_RUNS], sum[COMPARE_MOST_RUNS];
    uint64_t hash;
} turn;

/* ---- runs ---- */

/* Decoding goes on from token to token; every chunk runs at the same place. */
static int queue_next(turn *t, tandem_message *message) {
    session *s = t->walk.s;
    const bool decodes = t->cell->phase == PHASE_DECODE;
    int status = TANDEM_OK;
    if (!decodes && session_length(s) != t->cell->depth)
        status = session_truncate(s, t->cell->depth, message);
    for (uint32_t i = 0; i < t->cell->n_token; i++)
        t->tokens[i] = sweep_token(&t->walk, session_length(s) + i);
    return status ? status : session_queue(s, t->tokens, t->cell->n_token, decodes, message);
}

/* Runs `n` with as many queued ahead as may be. Measured runs are tallied and their ids hashed. */
static int run_ahead(turn *t, uint32_t n, bool measured, tandem_message *message) {
    session *s = t->walk.s;
    uint32_t queued = 0;
    int status = TANDEM_OK;
    for (uint32_t i = 0; i < n && !status; i++) {
        while (queued < n && session_pending(s) < SESSION_MAX_PENDING && !status) {
            status = queue_next(t, message);
            queued++;
        }
        run_times times;
        topk_row row = {0};
        if (!status)
            status = session_collect(s, &row, &times, message);
        if (status || !measured)
            continue;
        t->hash = hash_bytes(row.id, row.n * sizeof *row.id, t->hash);
        t->device[i] = (double)times.device_ns;
        t->gap[i] = i ? (double)times.gap_ns : 0;
    }
    return status;
}

static int start_over(turn *t, tandem_message *message) {
    return session_truncate(t->walk.s, t->cell->depth, message);
}

/* Ids that follow a chunk: what it left in the cache decides them. */
static int hash_behind(turn *t, tandem_message *message) {
    topk_row row;
    int status = session_decode(t->walk.s, sweep_token(&t->walk, session_length(t->walk.s)), true, message);
    if (!status)
        status = session_collect(t->walk.s, &row, NULL, message);
    if (!status)
        t->hash = hash_bytes(row.id, row.n * sizeof *row.id, t->hash);
    return status;
}

/* Equal tokens behind an equal cache: the ids must be those of the turn before. */
static int check_outputs(turn *t, tandem_message *message) {
    compare_tally *y = t->tally;
    int status = t->cell->phase == PHASE_PREFILL ? hash_behind(t, message) : TANDEM_OK;
    if (status)
        return status;
    if (y->n_hash++ == 0)
        y->hash = t->hash;
    else
        y->n_unequal += t->hash != y->hash;
    if (y->logits)
        return TANDEM_OK;
    y->logits = malloc(t->c->n_vocab * sizeof *y->logits);
    return y->logits ? session_read_logits(t->walk.s, y->logits, message)
                     : message_out_of_memory(message, "logits", t->c->n_vocab * sizeof *y->logits);
}

static void tally_turn(turn *t, uint32_t n, double *ns) {
    compare_tally *y = t->tally;
    y->sum_all += t->device[0];
    for (uint32_t i = 1; i < n; i++) {
        t->sum[i] = t->device[i] + t->gap[i];
        y->sum_all += t->sum[i];
    }
    *ns = y->turn_ns[y->n_turn] = stats_median(t->sum + 1, n - 1);
    y->turn_device[y->n_turn] = stats_median(t->device + 1, n - 1);
    y->turn_gap[y->n_turn++] = stats_median(t->gap + 1, n - 1);
}

static int run_turn(turn *t, tandem_message *message) {
    const uint32_t n = compare_runs(t->c->options, t->cell->phase);
    int status = run_ahead(t, SWEEP_WARM_RUNS, false, message);
    if (!status)
        status = start_over(t, message);
    const uint64_t cpu = clock_other_cpu_ns();
    const uint64_t begin = now_ns();
    if (!status)
        status = run_ahead(t, n, true, message);
    t->tally->sum_wall += (double)(now_ns() - begin);
    t->tally->sum_other_cpu += (double)(clock_other_cpu_ns() - cpu);
    if (!status)
        status = check_outputs(t, message);
    return status ? status : start_over(t, message);
}

/* ns NULL: a turn that is forgotten. */
static int take_turn(compare *c, compare_cell *cell, uint32_t side, double *ns, tandem_message *message) {
    int status = compare_go_to(c, side, cell->depth, message);
    if (status)
        return status;
    const uint32_t n = compare_runs(c->options, cell->phase);
    turn *t = calloc(1, sizeof *t);
    uint32_t *tokens = malloc(cell->n_token * sizeof *tokens);
    if (t && tokens) {
        *t = (turn){.c = c,
                    .cell = cell,
                    .tally = &cell->side[side],
                    .walk = compare_walk(c, side),
                    .tokens = tokens,
                    .hash = 1};
        status = ns ? run_turn(t, message) : run_ahead(t, n, false, message);
        if (!status && ns)
            tally_turn(t, n, ns);
        else if (!status)
            status = start_over(t, message);
    } else {
        status = message_out_of_memory(message, "a turn", sizeof *t);
    }
    free(tokens);
    free(t);
    return status;
}

/* ---- blocks ---- */

/* Odd blocks run the other way round. a, b: the sides that play A and B, one side for the noise floor. */
static int run_block(compare *c, compare_cell *cell, uint32_t a, uint32_t b, stats_block *block,
                     tandem_message *message) {
    const bool odd = cell->n_block % 2;
    const uint32_t outer = odd ? b : a, inner = odd ? a : b;
    const uint32_t order[4] = {outer, inner, inner, outer};
    double ns[4];
    for (uint32_t i = 0; i < 4; i++) {
        int status = take_turn(c, cell, order[i], &ns[i], message);
        if (status)
            return status;
    }
    *block = odd ? (stats_block){.b1 = ns[0], .a1 = ns[1], .a2 = ns[2], .b2 = ns[3]}
                 : (stats_block){.a1 = ns[0], .b1 = ns[1], .b2 = ns[2], .a2 = ns[3]};
    return TANDEM_OK;
}

/* Both sides against each other, then one against itself: A and B in turn, so that neither works more than
 * the other (a scheduler that gives a busy thread less of a shared processor made B 1.6 times as fast as an
 * equal A that also measured the noise floor alone). *held: a card held its clocks back meanwhile. */
static int run_two_blocks(compare *c, compare_cell *cell, bool *held, tandem_message *message) {
    const uint32_t i = cell->n_block, same = i % 2 ? SIDE_B : SIDE_A;
    for (uint32_t side = 0; side < N_SIDE; side++)
        card_begin(c->card[side]);
    int status = run_block(c, cell, SIDE_A, SIDE_B, &cell->pairs[i], message);
    if (!status)
        status = run_block(c, cell, same, same, &cell->self[i], message);
    *held = false;
    for (uint32_t side = 0; side < N_SIDE; side++)
        *held |= card_end(c->card[side]);
    return status;
}

/* A turn of each side that is forgotten: the first in a session pays for what the plugin puts off until then.
 */
static int begin_sessions(compare *c, compare_cell *cell, uint32_t first, tandem_message *message) {
    int status = take_turn(c, cell, first, NULL, message);
    return status || c->swapped ? status : take_turn(c, cell, !first, NULL, message);
}

#define RENEW_BLOCKS 4u

/* New sessions, B's first every other time, where they take no longer than the blocks since the last ones.
 * *since: when those began. */
static int renew(compare *c, compare_cell *cell, uint64_t *since, tandem_message *message) {
    const compare_side *a = &c->side[SIDE_A], *b = &c->side[SIDE_B];
    const uint64_t cost = a->load_ns + a->walk_ns + b->load_ns + b->walk_ns;
    if (c->swapped || cell->n_block == 0 || cell->n_block % RENEW_BLOCKS || now_ns() - *since < cost)
        return TANDEM_OK;
    compare_leave(c);
    int status = begin_sessions(c, cell, cell->n_renewed++ % 2 ? SIDE_A : SIDE_B, message);
    *since = now_ns();
    return status;
}

/* Stops at an even number of blocks when the next two would not end in time; and where as many were held back
 * as were wanted. */
static int run_blocks(compare *c, compare_cell *cell, progress *p, tandem_message *message) {
    const compare_options *o = c->options;
    int status = begin_sessions(c, cell, SIDE_A, message);
    const uint64_t begin = now_ns();
    uint64_t since = begin;
    for (uint32_t side = 0; side < N_SIDE; side++)
        card_start(c->card[side]);
    while (!status && cell->n_block < o->n_block && cell->n_throttled < o->n_block) {
        const uint32_t i = cell->n_block, n_run = i + cell->n_throttled;
        const double spent = (double)(now_ns() - begin) * 1e-9;
        if (n_run && i % 2 == 0 && spent * (n_run + 2) / n_run > o->max_seconds) {
            cell->out_of_time = true;
            break;
        }
        bool held = false;
        status = renew(c, cell, &since, message);
        if (!status)
            status = run_two_blocks(c, cell, &held, message);
        if (status)
            break;
        cell->n_throttled += held;
        cell->n_block += !held;
        progress_show(p, cell->n_block, NULL);
    }
    return status;
}

static int probe_side(compare *c, compare_cell *cell, uint32_t side, tandem_message *message) {
    int status = compare_go_to(c, side, cell->depth, message);
    uint32_t *tokens = status ? NULL : malloc(cell->n_token * sizeof *tokens);
    if (!tokens)
        return status ? status : message_out_of_memory(message, "tokens", cell->n_token * sizeof *tokens);
    sweep_walk walk = compare_walk(c, side);
    for (uint32_t i = 0; i < cell->n_token; i++)
        tokens[i] = sweep_token(&walk, cell->depth + i);
    status =
        probe_run(&cell->side[side].probe, walk.s, tokens, cell->n_token, c->options->common.seed, message);
    free(tokens);
    return status;
}

static void take_medians(compare_tally *y) {
    if (!y->n_turn)
        return;
    y->device_ns = stats_median(y->turn_device, y->n_turn);
    y->gap_ns = stats_median(y->turn_gap, y->n_turn);
}

int compare_measure(compare *c, compare_cell *cell, tandem_message *message) {
    cell->n_token = cell->phase == PHASE_PREFILL ? c->sweep.common.batch : 1;
    int status = TANDEM_OK;
    for (uint32_t i = 0; i < N_SIDE && !status; i++)
        status = probe_side(c, cell, i, message);
    if (!status && !(probe_is_good(&cell->side[SIDE_A].probe) && probe_is_good(&cell->side[SIDE_B].probe)))
        return TANDEM_OK; /* what is wrong has no speed */
    if (c->simulated) {   /* outputs, once; no time means anything */
        double none;
        for (uint32_t i = 0; i < N_SIDE && !status; i++)
            status = take_turn(c, cell, i, &none, message);
    } else if (!status) {
        progress p;
        progress_start(&p, "comparing", c->options->n_block);
        status = run_blocks(c, cell, &p, message);
        progress_end(&p);
    }
    for (uint32_t i = 0; i < N_SIDE; i++)
        take_medians(&cell->side[i]);
    return status;
}
