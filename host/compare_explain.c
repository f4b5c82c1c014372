/* host/compare_explain.c: where the difference lies (contract: compare.h). */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

/* ---- profiles ---- */

/* One list of a side's ops, of as many runs as fit the limit. */
static int profile_side(compare *c, const compare_cell *cell, uint32_t side, uint64_t limit_ns, cJSON **list,
                        tandem_message *message) {
    uint32_t *tokens = malloc(cell->n_token * sizeof *tokens), n_run;
    int status = tokens ? compare_go_to(c, side, cell->depth, message)
                        : message_out_of_memory(message, "tokens", cell->n_token * sizeof *tokens);
    sweep_walk walk = compare_walk(c, side);
    for (uint32_t i = 0; i < cell->n_token && !status; i++)
        tokens[i] = sweep_token(&walk, cell->depth + i);
    *list = cJSON_CreateArray();
    if (!status)
        status = sweep_profile(walk.s, tokens, cell->n_token, cell->phase == PHASE_DECODE, limit_ns, *list,
                               &n_run, message);
    free(tokens);
    return status;
}

/* Every op's median over the lists goes into the first: a program's steps are the same in every run. */
static void take_medians(cJSON *const *lists, uint32_t n_list) {
    double ns[COMPARE_PROFILES];
    for (int op = 0; op < cJSON_GetArraySize(lists[0]); op++) {
        for (uint32_t i = 0; i < n_list; i++)
            ns[i] = json_number(cJSON_GetArrayItem(lists[i], op), "ns");
        cJSON_SetNumberValue(cJSON_GetObjectItem(cJSON_GetArrayItem(lists[0], op), "ns"),
                             stats_median(ns, n_list));
    }
}

static int note_kernels(compare *c, compare_cell *cell, uint32_t side, tandem_message *message) {
    step_cost *steps = NULL;
    uint32_t n = 0;
    int status =
        session_steps(c->side[side].s, cell->phase == PHASE_PREFILL ? SESSION_PREFILL : SESSION_DECODE,
                      cell->n_token, cell->phase == PHASE_DECODE, &steps, &n, message);
    if (!status)
        sweep_add_kernels(cell->side[side].path = cJSON_CreateObject(), steps, n);
    free(steps);
    return status;
}

/* In turns, so that what disturbs one side's runs disturbs the other's; in swapped mode each side's at a
 * stretch, beginning with the side that is resident. */
int compare_profile(compare *c, compare_cell *cell, tandem_message *message) {
    const uint32_t n_round = c->swapped ? 1 : COMPARE_PROFILES, first = c->side[SIDE_B].s ? SIDE_B : SIDE_A;
    cJSON *lists[N_SIDE][COMPARE_PROFILES] = {{0}};
    int status = TANDEM_OK;
    for (uint32_t i = 0; i < n_round * N_SIDE && !status; i++) {
        const uint32_t side = i % N_SIDE ? !first : first;
        status = profile_side(c, cell, side, c->swapped ? UINT64_MAX : 0, &lists[side][i / N_SIDE], message);
        if (!status && i < N_SIDE)
            status = note_kernels(c, cell, side, message);
    }
    for (uint32_t side = 0; side < N_SIDE; side++) {
        if (!status)
            take_medians(lists[side], n_round);
        cell->side[side].profile = lists[side][0];
        for (uint32_t i = 1; i < COMPARE_PROFILES; i++)
            cJSON_Delete(lists[side][i]);
    }
    return status;
}

/* ---- both sides beside each other ---- */

static double difference(const compare_op *op) {
    return op->ns[SIDE_B] - op->ns[SIDE_A];
}

static int by_difference(const void *a, const void *b) {
    double x = fabs(difference(a)), y = fabs(difference(b));
    return (x < y) - (x > y);
}

static compare_op *find_op(compare_op *ops, uint32_t *n, const char *name) {
    for (uint32_t i = 0; i < *n; i++)
        if (!strcmp(ops[i].name, name))
            return &ops[i];
    ops[*n] = (compare_op){.name = name};
    return &ops[(*n)++];
}

/* The longer of what the bytes and the multiplications take at best. */
static double roof_ns(const compare_peak *peak, const cJSON *item) {
    const double flops = strcmp(json_text(item, "op"), "attention") ? peak->flops : peak->best_flops;
    const double bytes_ns = peak->read_bytes > 0 ? 1e9 * json_number(item, "bytes") / peak->read_bytes : 0;
    return fmax(bytes_ns, flops > 0 ? 1e9 * json_number(item, "flops") / flops : 0);
}

uint32_t compare_ops(const compare *c, const compare_cell *cell, compare_op **ops) {
    const cJSON *lists[N_SIDE] = {cell->side[SIDE_A].profile, cell->side[SIDE_B].profile}, *item;
    uint32_t n = 0;
    *ops = NULL;
    if (!cJSON_GetArraySize(lists[SIDE_A]) || !cJSON_GetArraySize(lists[SIDE_B]))
        return 0;
    const int most = cJSON_GetArraySize(lists[SIDE_A]) + cJSON_GetArraySize(lists[SIDE_B]) + 2;
    compare_op *list = calloc((size_t)most, sizeof *list);
    if (!list)
        return 0;
    double profiled[N_SIDE] = {0};
    for (uint32_t side = 0; side < N_SIDE; side++)
        cJSON_ArrayForEach(item, lists[side]) {
            compare_op *op = find_op(list, &n, json_text(item, "op"));
            op->ns[side] = json_number(item, "ns");
            op->bytes[side] = json_number(item, "bytes");
            op->roof_ns[side] = roof_ns(&c->peak[side], item);
            profiled[side] += op->ns[side];
        }
    const uint32_t n_op = n;
    for (uint32_t side = 0; side < N_SIDE; side++) {
        find_op(list, &n, COMPARE_BETWEEN)->ns[side] = fmax(cell->side[side].device_ns - profiled[side], 0);
        find_op(list, &n, COMPARE_IDLE)->ns[side] = cell->side[side].gap_ns;
    }
    qsort(list, n_op, sizeof *list, by_difference);
    *ops = list;
    return n;
}

/* ---- the sentence ---- */

typedef struct sentence {
    char *text;
    size_t size, n;
} sentence;

static void say(sentence *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(sentence *s, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s->text + s->n, s->size - s->n, format, args);
    va_end(args);
    if (n > 0)
        s->n = s->n + (size_t)n < s->size ? s->n + (size_t)n : s->size - 1;
}

#define MOST_NAMED 3u
#define ENOUGH 0.8 /* of the difference: no further op is named */

double compare_difference(const compare_op *ops, uint32_t n) {
    double all = 0;
    for (uint32_t i = 0; i < n; i++)
        all += difference(&ops[i]);
    return all;
}

/* What has a part in the difference, the largest first: index of the next after `before`, or n. */
static uint32_t next_largest(const compare_op *ops, uint32_t n, double sign, double before) {
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++) {
        const double x = sign * difference(&ops[i]);
        if (x > 0 && x < before && (best == n || x > sign * difference(&ops[best])))
            best = i;
    }
    return best;
}

void compare_sentence(const compare *c, const compare_cell *cell, char *text, size_t size) {
    const compare_tally *a = &cell->side[SIDE_A], *b = &cell->side[SIDE_B];
    const double whole = b->device_ns + b->gap_ns - a->device_ns - a->gap_ns;
    const double sign = cell->stats.verdict == STATS_SLOWER ? 1 : -1;
    text[0] = 0;
    if (cell->stats.verdict != STATS_FASTER && cell->stats.verdict != STATS_SLOWER)
        return;
    compare_op *ops;
    const uint32_t n = compare_ops(c, cell, &ops);
    const double all = sign * compare_difference(ops, n);
    sentence s = {.text = text, .size = size};
    if (n && all > 0)
        say(&s, "%s takes %.4g us %s for a %s, and most of it by ", c->side[SIDE_B].label, fabs(whole) * 1e-3,
            sign > 0 ? "more" : "less", cell->phase == PHASE_PREFILL ? "chunk" : "token");
    else if (n)
        say(&s, "The ops, each timed alone, do not show where the difference of %.4g us lies",
            fabs(whole) * 1e-3);
    double named = 0, before = INFINITY;
    for (uint32_t i = 0; i < MOST_NAMED && all > 0 && named < ENOUGH * all; i++) {
        const uint32_t op = next_largest(ops, n, sign, before);
        if (op == n)
            break;
        before = sign * difference(&ops[op]);
        named += before;
        say(&s, "%s%s (%.0f %%)", i ? ", " : "", ops[op].name, 100 * before / all);
    }
    if (s.n)
        say(&s, ".");
    free(ops);
}

/* ---- peaks ---- */

static void take_peak(const cJSON *row, const char *precision, compare_peak *peak) {
    static const char *const rates[] = {"f32_flops_per_s", "f16_flops_per_s", "q8_flops_per_s"};
    peak->read_bytes = json_number(row, "read_bytes_per_s");
    peak->flops = json_number(row, rates[precision_by_name(precision)]);
    for (uint32_t i = 0; i < 3; i++)
        peak->best_flops = fmax(peak->best_flops, json_number(row, rates[i]));
}

/* The latest row of that plugin and device. */
static const cJSON *find_peaks(const journal *j, const compare_side *side) {
    char uuid[37];
    format_uuid(side->device.info.uuid, uuid);
    for (uint32_t i = j->n_row; i-- > 0;) {
        const cJSON *row = j->row[i];
        if (!strcmp(json_text(row, "row"), "peaks") &&
            !strcmp(json_text(cJSON_GetObjectItem(row, "plugin"), "name"), side->name) &&
            !strcmp(json_text(cJSON_GetObjectItem(row, "device"), "uuid"), uuid))
            return row;
    }
    return NULL;
}

int compare_read_peaks(compare *c) {
    journal j;
    tandem_message message;
    if (!c->options->peaks)
        return OPTIONS_GO_ON;
    int status = journal_open_existing(&j, c->options->peaks, &message);
    if (status)
        return cli_refuse(status, compare_command, &message);
    for (uint32_t side = 0; side < N_SIDE; side++) {
        const cJSON *row = find_peaks(&j, &c->side[side]);
        if (row)
            take_peak(row, c->sweep.common.precision, &c->peak[side]);
        else
            fprintf(stderr, "tandem compare: %s has no peaks of %s on this device.\n", c->options->peaks,
                    c->side[side].name);
    }
    journal_close(&j);
    return OPTIONS_GO_ON;
}
