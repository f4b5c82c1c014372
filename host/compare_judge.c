/* host/compare_judge.c: verdicts, and the doubts that forbid them (contract: compare.h). */
#include <math.h>
#include <string.h>

#include "clock_check.h"
#include "compare.h"

/* Of outputs behind a depth. Prefix and probe judge roundings; seeded tokens drive a trained model where each
 * is magnified (gemma3-270m with q8 and a q8_0 cache: 0.13 between two right plugins). What has nothing in
 * common differs by 1 and more. */
#define DEPTH_BUDGET 0.5

double compare_logits_error(const float *a, const float *b, uint32_t n) {
    double mean = 0, difference = 0, spread = 0;
    for (uint32_t i = 0; i < n; i++)
        mean += (double)a[i] / n;
    for (uint32_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        spread += (a[i] - mean) * (a[i] - mean);
    }
    return spread > 0 ? difference / spread : difference > 0 ? INFINITY : difference; /* NaN stays NaN */
}

void compare_judge_clock(const compare_tally *t, const char *label, uint32_t kind, compare_doubts *doubts) {
    char why[256];
    const clock_record record = {.device_ns = t->sum_all,
                                 .wall_ns = t->sum_wall,
                                 .other_cpu_ns = t->sum_other_cpu,
                                 .n_wait = t->n_turn};
    clock_record idle = record;
    idle.other_cpu_ns = 0;
    if (clock_is_plausible(&record, kind, why, sizeof why))
        return;
    const char *guard = clock_is_plausible(&idle, kind, why, sizeof why) ? "fallback" : "clock";
    clock_is_plausible(&record, kind, why, sizeof why);
    compare_add_doubt(doubts, guard, "The times of %s cannot be those of its device: %s.", label, why);
}

/* The most telling of the probe's results: one that fits another precision, else the first that is wrong. */
static void judge_probe(const probe *p, const char *label, uint32_t depth, compare_doubts *doubts) {
    const probe_result *worst = NULL;
    for (uint32_t i = 0; i < p->n_result; i++) {
        const probe_result *r = &p->result[i];
        if (!(r->error <= r->budget) && (!worst || (r->instead && !worst->instead)))
            worst = r;
    }
    if (worst && worst->instead)
        compare_add_doubt(doubts, "precision",
                          "%s computes with precision %s, which was not asked for: %s of layer %u fit it.",
                          label, worst->instead, worst->what, worst->layer);
    else if (worst)
        compare_add_doubt(doubts, "outputs",
                          "%s is wrong at depth %u: '%s' of layer %u is off by %.0e, where %.0e is excused.",
                          label, depth, worst->what, worst->layer, worst->error, worst->budget);
}

static void judge_side(const compare *c, compare_cell *cell, uint32_t side) {
    const compare_tally *t = &cell->side[side];
    const char *label = c->side[side].label;
    if (t->n_unequal)
        compare_add_doubt(
            &cell->doubts, "hash",
            "The outputs of %s changed between equal runs: %u of %u turns differ from the first.", label,
            t->n_unequal, t->n_hash);
    judge_probe(&t->probe, label, cell->depth, &cell->doubts);
    if (!c->simulated)
        compare_judge_clock(t, label, c->side[side].device.info.kind, &cell->doubts);
}

static bool is_gpu(const compare_side *s) {
    return s->device.info.kind == TANDEM_DEVICE_GPU || s->device.info.kind == TANDEM_DEVICE_INTEGRATED;
}

/* One card is a GPU to both plugins or to none. */
static void judge_kinds(const compare *c, compare_doubts *doubts) {
    const compare_side *a = &c->side[SIDE_A], *b = &c->side[SIDE_B];
    if (c->same_card && !c->simulated && is_gpu(a) != is_gpu(b))
        compare_add_doubt(
            doubts, "fallback",
            "Both run on one device, and %s says that it is a GPU while %s says that it is not.",
            is_gpu(a) ? a->label : b->label, is_gpu(a) ? b->label : a->label);
}

static void judge_depth(compare_cell *cell, uint32_t n_vocab) {
    const float *a = cell->side[SIDE_A].logits, *b = cell->side[SIDE_B].logits;
    cell->depth_error = NAN;
    if (!a || !b)
        return;
    cell->depth_error = compare_logits_error(a, b, n_vocab);
    if (!(cell->depth_error <= DEPTH_BUDGET))
        compare_add_doubt(&cell->doubts, "outputs",
                          "The outputs of both sides at depth %u have nothing in common: they "
                          "differ by %.1e of their spread.",
                          cell->depth, cell->depth_error);
}

void compare_judge(const compare *c, compare_cell *cell) {
    judge_side(c, cell, SIDE_A);
    judge_side(c, cell, SIDE_B);
    judge_kinds(c, &cell->doubts);
    judge_depth(cell, c->n_vocab);
    stats_verdict verdict = STATS_NOT_COMPARABLE;
    cell->stats = (stats_comparison){.verdict = verdict};
    if (!c->simulated && cell->n_block + cell->n_throttled) {
        cell->stats =
            stats_compare(cell->pairs, cell->n_block, cell->self, cell->n_block, c->options->common.seed);
        verdict = cell->stats.verdict;
        if (cell->n_throttled >= c->options->n_block)
            compare_add_doubt(
                &cell->doubts, "throttled",
                "The card held its clocks back for heat or want of power during %u of %u blocks.",
                cell->n_throttled, cell->n_throttled + cell->n_block);
        else if (cell->n_block < STATS_LEAST)
            compare_add_doubt(
                &cell->doubts, "blocks",
                "Only %u blocks were run in the time given (--max-seconds %u); an interval needs %u.",
                cell->n_block, c->options->max_seconds, STATS_LEAST);
        else if (verdict == STATS_NOT_COMPARABLE)
            compare_add_doubt(&cell->doubts, "clock", "A turn took no time at all by the device's clock.");
    }
    if (c->doubts.n || cell->doubts.n)
        cell->verdict = stats_verdict_name(STATS_NOT_COMPARABLE);
    else
        cell->verdict = c->simulated ? "outputs agree" : stats_verdict_name(verdict);
}

int compare_exit_code(const compare_cell *cell) {
    const bool bad = !strcmp(cell->verdict, stats_verdict_name(STATS_SLOWER)) ||
                     !strcmp(cell->verdict, stats_verdict_name(STATS_NOT_COMPARABLE));
    return bad ? TANDEM_EXIT_BAD_ANSWER : TANDEM_EXIT_GOOD;
}
