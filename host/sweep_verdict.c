/* host/sweep_verdict.c: what all rows of a sweep amount to. */
#include <string.h>

#include "sweep.h"
#include "wrap.h"

typedef struct verdict {
    uint32_t n_done, n_self, n_wrong, n_unchecked, n_memory, n_unsupported, n_broken;
    uint32_t n_partial; /* part of the check at depth was left out for its time */
    uint32_t n_drift;   /* columns and phases whose depth 0 changed by more than DRIFT_MOST meanwhile */
    uint32_t n_unknown; /* series whose child ended before it said who it is */
    bool drift_counts;  /* on a device that is no software */
} verdict;

/* Shares by which depth 0 may differ at the end of a column: what the machine itself does in an hour. */
#define DRIFT_MOST 0.05

static void judge(void *user, const cJSON *row) {
    verdict *v = user;
    const char *status = json_text(row, "status");
    const cJSON *stamp = cJSON_GetObjectItem(row, "stamp");
    if (!strcmp(status, "done")) {
        v->n_done++;
        v->n_self += !strcmp(json_text(stamp, "method"), "self");
        if (!strcmp(json_text(stamp, "method"), "none"))
            v->n_unchecked++;
        else
            v->n_wrong += !json_true(stamp, "ok");
        v->n_partial += cJSON_GetObjectItem(stamp, "left_out") != NULL;
    } else if (!strcmp(status, "out_of_memory") || !strcmp(status, "skipped")) {
        v->n_memory++;
    } else if (!strcmp(status, "unsupported")) {
        v->n_unsupported++;
    } else {
        v->n_broken++;
    }
}

/* ---- drift and bias ---- */

static bool drifted(const cJSON *row) {
    const double ratio = json_number(row, "ratio");
    return !strcmp(json_text(row, "row"), "drift") && (ratio < 1 - DRIFT_MOST || ratio > 1 + DRIFT_MOST);
}

static void judge_drift(void *user, const cJSON *row) {
    verdict *v = user;
    if (!drifted(row))
        return;
    v->n_drift++;
    v->drift_counts |= strcmp(json_text(cJSON_GetObjectItem(row, "device"), "kind"), "software") != 0;
}

void sweep_print_extra(void *file, const cJSON *row) {
    char text[256];
    const double percent = 100 * (json_number(row, "ratio") - 1);
    int n = snprintf(text, sizeof text, "%s: %s %s %s, chunks of %.0f: ", json_text(row, "row"),
                     json_text(row, "kv"), json_text(row, "precision"), json_text(row, "phase"),
                     json_number(row, "batch"));
    if (!strcmp(json_text(row, "row"), "drift"))
        snprintf(text + n, sizeof text - (size_t)n, "depth 0 at the end %+.1f %%%s.", percent,
                 drifted(row) ? "; THE MACHINE CHANGED MEANWHILE" : "");
    else
        snprintf(text + n, sizeof text - (size_t)n,
                 "synthetic fill %+.1f %% against real fill at depth %.0f.", percent,
                 json_number(row, "depth"));
    wrap_print(file, text, 0, 4);
}

/* The latest drift and bias of the columns asked for. */
void sweep_each_extra(const sweep_run *run, sweep_row callback, void *user) {
    const sweep_options *o = run->options;
    const journal *j = run->journal;
    for (uint32_t k = 0; k < run->keys.n; k++)
        for (uint32_t p = 0; p < o->n_phase; p++)
            for (uint32_t i = 0; i < j->n_row; i++) {
                char start[640];
                const char *kind = json_text(j->row[i], "row"), *key = json_text(j->row[i], "key");
                snprintf(start, sizeof start, "%s|%s|", run->keys.text[k], phase_name(o->phase[p]));
                const bool wanted =
                    !strcmp(kind, "drift") || (!strcmp(kind, "bias") && !strcmp(o->fill, "synthetic"));
                if (wanted && !strncmp(key, start, strlen(start)) && json_number(j->row[i], "ratio") &&
                    journal_find(j, kind, key) == j->row[i])
                    callback(user, j->row[i]);
            }
}

/* ---- verdict ---- */

static verdict judge_all(const sweep_run *run) {
    verdict v = {0};
    sweep_each_row(run, judge, &v);
    sweep_each_extra(run, judge_drift, &v);
    v.n_unknown = run->n_unknown;
    return v;
}

/* One sentence. */
static void describe(const verdict *v, char *text, size_t size) {
    const struct {
        bool is;
        const char *format;
        uint32_t n;
    } parts[] = {
        {true, v->n_done == 1 ? "%u cell measured" : "%u cells measured", v->n_done},
        {v->n_memory, ", %u beyond memory or skipped", v->n_memory},
        {v->n_unsupported, ", %u not offered by the plugin", v->n_unsupported},
        {v->n_broken, ", %u failed", v->n_broken},
        {v->n_unknown, "; %u series not measured at all, for the reason said above", v->n_unknown},
        {v->n_wrong, "; %u with WRONG results", v->n_wrong},
        {v->n_unchecked, "; %u UNCHECKED", v->n_unchecked},
        {v->n_done > v->n_self && !v->n_wrong && !v->n_unchecked, ", all checked against the reference", 0},
        {v->n_partial, "; in %u of them part of the check was left out for its time (--stamp-seconds)",
         v->n_partial},
        {v->n_drift, "; DRIFT of more than 5 %% in %u series: the speeds above are not of one machine state",
         v->n_drift},
        {v->n_drift && !v->drift_counts, ", which on a software device is no failure", 0},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i].is && used < size)
            used += (size_t)snprintf(text + used, size - used, parts[i].format, parts[i].n);
}

/* Drift fails a sweep of a real device: its figures are what people compare. Those of a software device, on a
 * machine that does other things beside, are not. */
int sweep_conclude(const sweep_run *run, FILE *file) {
    const verdict all = judge_all(run), *v = &all;
    char text[512];
    describe(v, text, sizeof text - 1);
    strcat(text, ".");
    fprintf(file, "\n");
    wrap_print(file, text, 0, 0);
    if (v->n_wrong || v->n_broken || v->n_unchecked || (v->n_drift && v->drift_counts))
        return TANDEM_EXIT_BAD_ANSWER;
    return v->n_done ? TANDEM_EXIT_GOOD : v->n_memory ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_ENVIRONMENT;
}
