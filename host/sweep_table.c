/* host/sweep_table.c: the table at the end of a sweep. */
#include <stdlib.h>
#include <string.h>

#include "sweep.h"
#include "wrap.h"

enum { KV, PRECISION, PHASE, DEPTH, RATE, RANGE, WALL_RATE, BANDWIDTH, CHECK, N_COLUMN };

#define CELL 64

/* Rows of one model on one device. */
typedef struct table {
    FILE *file;
    bool markdown;
    char heading[512]; /* the last one printed */
    uint32_t n_row, max_row;
    char (*cell)[N_COLUMN][CELL];
    size_t width[N_COLUMN];
} table;

static const char *const headings[N_COLUMN] = {"kv",   "prec.",    "phase", "depth", "tokens/s",
                                               "95 %", "wall t/s", "GB/s",  "check"};

static void fill_rates(const cJSON *row, char cell[N_COLUMN][CELL]) {
    const cJSON *rate = cJSON_GetObjectItem(row, "rate"), *cost = cJSON_GetObjectItem(row, "cost");
    const double median = json_number(rate, "median"), wall_ns = json_number(row, "wall_ns");
    const double bytes = json_number(cost, "weight_bytes") + json_number(cost, "kv_bytes");
    const int n_gone = cJSON_GetArraySize(cJSON_GetObjectItem(row, "discarded"));
    snprintf(cell[RATE], CELL, "%.4g", median);
    if (json_number(rate, "low") > 0)
        snprintf(cell[RANGE], CELL, "%.4g..%.4g", json_number(rate, "low"), json_number(rate, "high"));
    else
        snprintf(cell[RANGE], CELL, "too few");
    if (n_gone)
        snprintf(cell[RANGE] + strlen(cell[RANGE]), CELL - strlen(cell[RANGE]), " (-%d)", n_gone);
    snprintf(cell[BANDWIDTH], CELL, "%.3g", bytes * median / json_number(row, "n_token") * 1e-9);
    if (wall_ns > 0)
        snprintf(cell[WALL_RATE], CELL, "%.4g", json_number(row, "wall_tokens") * 1e9 / wall_ns);
}

static void fill_check(const cJSON *row, char text[CELL]) {
    const cJSON *stamp = cJSON_GetObjectItem(row, "stamp");
    const char *method = json_text(stamp, "method");
    if (!strcmp(method, "self"))
        snprintf(text, CELL, "is the reference");
    else if (!strcmp(method, "none"))
        snprintf(text, CELL, "UNCHECKED");
    else if (json_true(stamp, "ok") || json_number(stamp, "worst_error") > json_number(stamp, "budget"))
        snprintf(text, CELL, "%s %.0e", json_true(stamp, "ok") ? "ok" : "WRONG",
                 json_number(stamp, "worst_error"));
    else
        snprintf(text, CELL, "WRONG, see below");
}

static void fill_row(const cJSON *row, char cell[N_COLUMN][CELL]) {
    const char *status = json_text(row, "status");
    for (uint32_t i = 0; i < N_COLUMN; i++)
        cell[i][0] = 0;
    snprintf(cell[KV], CELL, "%.8s", json_text(row, "kv"));
    snprintf(cell[PRECISION], CELL, "%.8s", json_text(row, "precision"));
    snprintf(cell[PHASE], CELL, "%.16s", json_text(row, "phase"));
    snprintf(cell[DEPTH], CELL, "%.0f%s", json_number(row, "depth"),
             !strcmp(json_text(row, "fill"), "synthetic") ? "*" : "");
    if (strcmp(status, "done")) {
        snprintf(cell[RATE], CELL, "%.16s", status);
        return;
    }
    if (cJSON_GetObjectItem(row, "rate"))
        fill_rates(row, cell);
    else
        snprintf(cell[RATE], CELL, "none");
    fill_check(row, cell[CHECK]);
}

void sweep_each_row(const sweep_run *run, sweep_row callback, void *user) {
    const sweep_options *o = run->options;
    for (uint32_t k = 0; k < run->keys.n; k++)
        for (uint32_t p = 0; p < o->n_phase; p++)
            for (uint32_t d = 0; d < o->n_depth; d++) {
                char key[640];
                sweep_cell_key(run->keys.text[k], (sweep_cell){.phase = o->phase[p], .depth = o->depth[d]},
                               key, sizeof key);
                const cJSON *row = journal_find(run->journal, "cell", key);
                if (row)
                    callback(user, row);
            }
}

/* Plain tables have two blanks between columns, to stay within 80 of them. */
static void print_line(const table *t, const char *const *cells) {
    const char *before = t->markdown ? "| " : "", *between = t->markdown ? " " : "  ";
    for (uint32_t i = 0; i < N_COLUMN; i++) {
        const bool last = i + 1 == N_COLUMN && !t->markdown;
        const int width = last ? 0 : (int)t->width[i];
        fprintf(t->file, i >= DEPTH && i <= BANDWIDTH ? "%s%*s%s" : "%s%-*s%s", before, width, cells[i],
                last ? "" : between);
    }
    fprintf(t->file, t->markdown ? "|\n" : "\n");
}

static void print_rule(const table *t) {
    for (uint32_t i = 0; i < N_COLUMN; i++) {
        fprintf(t->file, "|");
        for (size_t k = 0; k < t->width[i] + 1; k++)
            fputc('-', t->file);
        fputc(i >= DEPTH && i <= BANDWIDTH ? ':' : '-', t->file);
    }
    fprintf(t->file, "|\n");
}

/* Prints what was collected and starts anew. */
static void flush_table(table *t) {
    if (t->n_row) {
        fprintf(t->file, "\n");
        print_line(t, headings);
        if (t->markdown)
            print_rule(t);
    }
    for (uint32_t r = 0; r < t->n_row; r++) {
        const char *cells[N_COLUMN];
        for (uint32_t i = 0; i < N_COLUMN; i++)
            cells[i] = t->cell[r][i];
        print_line(t, cells);
    }
    for (uint32_t i = 0; i < N_COLUMN; i++)
        t->width[i] = strlen(headings[i]);
    t->n_row = 0;
}

/* What all rows of a table have in common. */
static void make_heading(const cJSON *row, char *text, size_t size) {
    const cJSON *device = cJSON_GetObjectItem(row, "device"), *model = cJSON_GetObjectItem(row, "model");
    const char *experts = json_text(model, "expert_memory");
    snprintf(text, size, "%.200s\n%.24s on %.90s [%.16s], %.90s; chunks of %.0f%s%.16s",
             json_text(model, "name"), json_text(cJSON_GetObjectItem(row, "plugin"), "name"),
             json_text(device, "name"), json_text(device, "kind"), json_text(device, "driver"),
             json_number(row, "batch"),
             experts[0] && strcmp(experts, "device") ? "; experts in host memory: " : "",
             strcmp(experts, "device") ? experts : "");
}

static void add_row(void *user, const cJSON *row) {
    table *t = user;
    char heading[sizeof t->heading];
    make_heading(row, heading, sizeof heading);
    if (strcmp(heading, t->heading)) {
        flush_table(t);
        snprintf(t->heading, sizeof t->heading, "%s", heading);
        fprintf(t->file, "\n%s\n", heading);
        char note[512];
        sweep_note_matrix(row, note, sizeof note);
        if (note[0])
            wrap_print(t->file, note, 0, 0);
    }
    if (t->n_row == t->max_row) {
        uint32_t room = t->max_row ? 2 * t->max_row : 32;
        void *more = realloc(t->cell, room * sizeof *t->cell);
        if (!more)
            return;
        t->cell = more;
        t->max_row = room;
    }
    fill_row(row, t->cell[t->n_row]);
    for (uint32_t i = 0; i < N_COLUMN; i++) {
        size_t n = strlen(t->cell[t->n_row][i]);
        t->width[i] = n > t->width[i] ? n : t->width[i];
    }
    t->n_row++;
}

typedef struct why_list {
    FILE *file;
    uint32_t n;
    const char *text[16];
} why_list;

typedef struct verdict {
    uint32_t n_done, n_self, n_wrong, n_unchecked, n_memory, n_unsupported, n_broken;
} verdict;

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
    } else if (!strcmp(status, "out_of_memory") || !strcmp(status, "skipped")) {
        v->n_memory++;
    } else if (!strcmp(status, "unsupported")) {
        v->n_unsupported++;
    } else {
        v->n_broken++;
    }
}

static int conclude(const verdict *v, FILE *file) {
    fprintf(file, "\n%u cells measured", v->n_done);
    if (v->n_memory)
        fprintf(file, ", %u beyond memory or skipped", v->n_memory);
    if (v->n_unsupported)
        fprintf(file, ", %u not offered by the plugin", v->n_unsupported);
    if (v->n_broken)
        fprintf(file, ", %u failed", v->n_broken);
    if (v->n_wrong)
        fprintf(file, "; %u with WRONG results", v->n_wrong);
    if (v->n_unchecked)
        fprintf(file, "; %u UNCHECKED", v->n_unchecked);
    if (v->n_done > v->n_self && !v->n_wrong && !v->n_unchecked)
        fprintf(file, ", all checked against the reference");
    fprintf(file, ".\n");
    if (v->n_wrong || v->n_broken || v->n_unchecked)
        return TANDEM_EXIT_BAD_ANSWER;
    return v->n_done ? TANDEM_EXIT_GOOD : v->n_memory ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_ENVIRONMENT;
}

static void print_extra(const cJSON *row, FILE *file) {
    const char *kind = json_text(row, "row");
    const double percent = 100 * (json_number(row, "ratio") - 1);
    fprintf(file, "%s: %s %s %s, chunks of %.0f: ", kind, json_text(row, "kv"), json_text(row, "precision"),
            json_text(row, "phase"), json_number(row, "batch"));
    if (!strcmp(kind, "drift"))
        fprintf(file, "depth 0 at the end %+.1f %%%s.\n", percent,
                percent < -5 || percent > 5 ? "; THE MACHINE CHANGED MEANWHILE" : "");
    else
        fprintf(file, "synthetic fill %+.1f %% against real fill at depth %.0f.\n", percent,
                json_number(row, "depth"));
}

/* Drift and bias of the columns asked for, a line each. */
static void print_extras(const sweep_run *run, FILE *file) {
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
                    print_extra(j->row[i], file);
            }
}

static void note_no_rate(void *user, const cJSON *row) {
    const char **reason = user, *text = json_text(row, "no_rate");
    *reason = text[0] ? text : *reason;
}

/* Each reason once, with the first cell that it is about. */
static void print_why(void *user, const cJSON *row) {
    why_list *list = user;
    const bool done = !strcmp(json_text(row, "status"), "done");
    const char *why = done ? json_text(cJSON_GetObjectItem(row, "stamp"), "why") : json_text(row, "reason");
    for (uint32_t i = 0; i < list->n; i++)
        if (!strcmp(list->text[i], why))
            return;
    if (!why[0] || list->n == sizeof list->text / sizeof *list->text)
        return;
    list->text[list->n++] = why;
    char text[512];
    snprintf(text, sizeof text, "%s (%s %s, %s at %.0f): %s%s", done ? "WRONG" : json_text(row, "status"),
             json_text(row, "kv"), json_text(row, "precision"), json_text(row, "phase"),
             json_number(row, "depth"), why, why[strlen(why) - 1] == '.' ? "" : ".");
    wrap_print(list->file, text, 0, 2);
}

static int print_table(const sweep_run *run, bool markdown, FILE *file) {
    table t = {.file = file, .markdown = markdown};
    verdict v = {0};
    const char *reason = NULL;
    flush_table(&t);
    sweep_each_row(run, add_row, &t);
    flush_table(&t);
    free(t.cell);
    sweep_each_row(run, judge, &v);
    sweep_each_row(run, note_no_rate, &reason);
    fprintf(file, "\ntokens/s: by the device's clock, median and its 95 %% interval ((-N): samples "
                  "discarded);\nwall t/s: mean by the host's clock; GB/s: weight and cache bytes over "
                  "device time.\ndecode runs the head for every token, prefill never.\n");
    if (!strcmp(run->options->fill, "synthetic"))
        fprintf(file, "* cache filled with synthetic values.\n");
    if (reason)
        fprintf(file, "No throughput is shown: %s.\n", reason);
    why_list reasons = {.file = file};
    sweep_each_row(run, print_why, &reasons);
    print_extras(run, file);
    return conclude(&v, file);
}

static void add_json(void *user, const cJSON *row) {
    cJSON_AddItemToArray(user, cJSON_Duplicate(row, true));
}

static void print_json(const sweep_run *run) {
    cJSON *rows = cJSON_CreateArray();
    sweep_each_row(run, add_json, rows);
    char *text = cJSON_Print(rows);
    printf("%s\n", text ? text : "[]");
    cJSON_free(text);
    cJSON_Delete(rows);
}

int sweep_print(const sweep_run *run) {
    const char *format = run->options->format;
    if (!strcmp(format, "table") || !strcmp(format, "markdown"))
        return print_table(run, !strcmp(format, "markdown"), stdout);
    if (!strcmp(format, "json"))
        print_json(run);
    else
        sweep_print_csv(run, stdout);
    verdict v = {0};
    sweep_each_row(run, judge, &v);
    return conclude(&v, stderr);
}
