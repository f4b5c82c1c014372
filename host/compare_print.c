/* host/compare_print.c: the comparison in words and a table, within 80 columns. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "wrap.h"

#define MOST_OPS 8u

static void print_wrapped(uint32_t indent, const char *text) {
    printf("%*s", (int)indent, "");
    wrap_print(stdout, text, indent, indent);
}

static void print_doubts(const compare_doubts *doubts) {
    for (uint32_t i = 0; i < doubts->n; i++)
        print_wrapped(2, doubts->item[i].text);
}

static void print_side(const compare *c, uint32_t side) {
    const compare_side *s = &c->side[side];
    const tandem_device_info *info = &s->device.info;
    const size_t length[N_SIDE] = {strlen(c->side[SIDE_A].name), strlen(c->side[SIDE_B].name)};
    const int width = (int)(length[SIDE_A] > length[SIDE_B] ? length[SIDE_A] : length[SIDE_B]);
    printf("%c  %-*.24s  %.38s [%s]\n", 'A' + (int)side, width, s->name, info->name,
           device_kind_name(info->kind));
}

static void print_checks(const compare *c) {
    char text[400];
    const cJSON *a = c->side[SIDE_A].stamp, *b = c->side[SIDE_B].stamp;
    if (!a || !b || isnan(c->arms_error))
        return;
    snprintf(text, sizeof text,
             "Outputs of %u tokens: A is %.0e and B %.0e from the reference (budget %.0e), B %.0e from A "
             "(budget %.0e).",
             STAMP_TOKENS, json_number(a, "worst_error"), json_number(b, "worst_error"),
             json_number(a, "budget"), c->arms_error, 4 * json_number(a, "budget"));
    print_wrapped(0, text);
}

void compare_print_head(const compare *c) {
    char text[600];
    const common_options *o = &c->sweep.common;
    print_side(c, SIDE_A);
    print_side(c, SIDE_B);
    const bool resident = c->side[SIDE_A].s && c->side[SIDE_B].s; /* neither: one could not be made */
    printf("%s%s.\n", c->same_card ? "One device" : "These may be different devices",
           c->swapped ? "; swapped: one side is resident at a time"
           : resident ? "; both sides are resident"
                      : "");
    snprintf(text, sizeof text, "%.200s; cache %s, precision %s, chunks of %u%s%.200s.",
             model_source_label(c->source), o->kv, o->precision, o->batch, o->routing ? ", experts " : "",
             o->routing ? o->routing : "");
    print_wrapped(0, text);
    print_checks(c);
    if (c->simulated)
        print_wrapped(
            0, "Outputs only: a simulated device proves results; its times say nothing about any device.");
}

/* ---- a cell ---- */

/* At least three digits that count, of a size from 0.01 on. */
static int decimals(double x) {
    return fabs(x) < 10 ? 2 : fabs(x) < 1000 ? 1 : 0;
}

static void print_rate(const compare *c, const compare_cell *cell, uint32_t side) {
    const compare_tally *t = &cell->side[side];
    const double ns = t->device_ns + t->gap_ns;
    if (!(ns > 0))
        return;
    const bool software = c->side[side].device.info.kind == TANDEM_DEVICE_SOFTWARE;
    printf("  %c %9.4g tokens/s%s, %.*f us a %s, %.*f us of them idle\n", 'A' + (int)side,
           1e9 * cell->n_token / ns, software ? " [software]" : "", decimals(ns * 1e-3), ns * 1e-3,
           cell->n_token > 1 ? "chunk" : "token", decimals(t->gap_ns * 1e-3), t->gap_ns * 1e-3);
}

static void print_statistics(const compare_cell *cell) {
    const stats_comparison *s = &cell->stats;
    char text[400];
    if (isnan(s->ratio.low))
        return;
    char note[120] = "";
    if (cell->n_renewed)
        snprintf(note + strlen(note), sizeof note - strlen(note), " on %u pairs of sessions",
                 cell->n_renewed + 1);
    if (cell->out_of_time)
        snprintf(note + strlen(note), sizeof note - strlen(note), " (out of time)");
    if (cell->n_throttled)
        snprintf(note + strlen(note), sizeof note - strlen(note), " (%u throttled ones measured again)",
                 cell->n_throttled);
    snprintf(
        text, sizeof text,
        "Ratio %.4f, 95 %% interval %.4f to %.4f, from %u blocks%s; a side against itself differs by up to "
        "%.2f %%, and the "
        "smallest effect that would have been seen is %.2f %%.",
        s->ratio.median, s->ratio.low, s->ratio.high, cell->n_block, note, 100 * s->floor, 100 * s->smallest);
    print_wrapped(2, text);
}

typedef struct line {
    char text[WRAP_COLUMNS + 40];
    int n;
} line;

static void add(line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(line *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(l->text + l->n, sizeof l->text - (size_t)l->n, format, args);
    va_end(args);
    l->n = n < 0 || (size_t)(l->n + n) >= sizeof l->text ? l->n : l->n + n;
}

/* Without the blanks at its end. */
static void print_line(line *l) {
    while (l->n && l->text[l->n - 1] == ' ')
        l->n--;
    printf("%.*s\n", l->n, l->text);
}

static bool has_peaks(const compare *c) {
    return c->peak[SIDE_A].read_bytes > 0 || c->peak[SIDE_B].read_bytes > 0;
}

/* Roofline: the share of its time that an op would take if bytes or multiplications went by as fast as was
 * measured for the device. */
static void print_op(const compare *c, const compare_op *op, double all) {
    const double us[] = {op->ns[SIDE_A] * 1e-3, op->ns[SIDE_B] * 1e-3}, more = us[SIDE_B] - us[SIDE_A];
    line l = {.n = 0};
    if (us[SIDE_A] == 0 && us[SIDE_B] == 0)
        return;
    add(&l, "  %-15.15s %9.*f %9.*f %+9.*f", op->name, decimals(us[SIDE_A]), us[SIDE_A], decimals(us[SIDE_B]),
        us[SIDE_B], decimals(more), more);
    if (all != 0)
        add(&l, " %4.0f %%", 100e3 * more / all);
    else
        add(&l, "%7s", "");
    for (uint32_t side = 0; side < N_SIDE; side++) {
        const double rate = op->ns[side] > 0 ? op->bytes[side] / op->ns[side] : 0;
        if (rate > 0)
            add(&l, " %6.*f", decimals(rate), rate);
        else
            add(&l, "%7s", "");
    }
    for (uint32_t side = 0; side < N_SIDE && has_peaks(c); side++)
        if (op->roof_ns[side] > 0 && op->ns[side] > 0)
            add(&l, " %3.0f %%", 100 * op->roof_ns[side] / op->ns[side]);
        else
            add(&l, "%6s", "");
    print_line(&l);
}

static void print_ops(const compare *c, const compare_cell *cell) {
    compare_op *ops, rest = {.name = "(others)"};
    const uint32_t n = compare_ops(c, cell, &ops);
    /* A share of what is no difference says nothing. */
    const double all =
        strcmp(cell->verdict, stats_verdict_name(STATS_NO_DIFFERENCE)) ? compare_difference(ops, n) : 0;
    if (n)
        printf("  %-15s %9s %9s %9s %6s %6s %6s%s\n", "op", "A us", "B us", "B - A", all != 0 ? "share" : "",
               "A GB/s", "B GB/s", has_peaks(c) ? "  A / B peak" : "");
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t side = 0; side < N_SIDE && i >= MOST_OPS && i + 2 < n; side++) {
            rest.ns[side] += ops[i].ns[side];
            rest.bytes[side] += ops[i].bytes[side];
            rest.roof_ns[side] += ops[i].roof_ns[side];
        }
    for (uint32_t i = 0; i + 2 < n && i < MOST_OPS; i++)
        print_op(c, &ops[i], all);
    if (n > MOST_OPS + 2)
        print_op(c, &rest, all);
    for (uint32_t i = n < 2 ? n : n - 2; i < n; i++)
        print_op(c, &ops[i], all);
    free(ops);
}

/* The verdict stands at the end of a line of its own. */
static void print_verdict(const compare *c, const compare_cell *cell) {
    char text[300];
    const char *a = c->side[SIDE_A].label, *b = c->side[SIDE_B].label, *note = compare_device_note(c);
    printf("%s at depth %u%s%s%s: %s\n", phase_name(cell->phase), cell->depth, note[0] ? " [" : "", note,
           note[0] ? "]" : "", cell->verdict);
    if (c->simulated && !isnan(cell->depth_error))
        snprintf(text, sizeof text, "The outputs of %s and %s differ by %.0e of their spread.", a, b,
                 cell->depth_error);
    else if (!strcmp(cell->verdict, stats_verdict_name(STATS_NO_DIFFERENCE)))
        snprintf(text, sizeof text,
                 "%s is as fast as %s, as far as can be seen; their outputs differ by %.0e of their spread.",
                 b, a, cell->depth_error);
    else if (!c->simulated && strcmp(cell->verdict, stats_verdict_name(STATS_NOT_COMPARABLE)))
        snprintf(text, sizeof text,
                 "%s is %.3fx as fast as %s; their outputs differ by %.0e of their spread.", b,
                 cell->stats.ratio.median, a, cell->depth_error);
    else
        return;
    print_wrapped(2, text);
}

void compare_print_cell(const compare *c, const compare_cell *cell) {
    char text[500];
    printf("\n");
    print_verdict(c, cell);
    print_doubts(&c->doubts);
    print_doubts(&cell->doubts);
    if (c->doubts.n + cell->doubts.n == 0 && !c->simulated) {
        print_rate(c, cell, SIDE_A);
        print_rate(c, cell, SIDE_B);
        print_statistics(cell);
        print_ops(c, cell);
        compare_sentence(c, cell, text, sizeof text);
        if (text[0])
            print_wrapped(2, text);
    }
    fflush(stdout);
}
