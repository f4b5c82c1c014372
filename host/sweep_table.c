/* host/sweep_table.c: the table at the end of a sweep. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep.h"

enum { PLUGIN, KV, PRECISION, PHASE, DEPTH, RATE, RANGE, WALL_RATE, BANDWIDTH, CHECK, N_COLUMN };

#define CELL 64

/* Rows of one model. */
typedef struct table {
    FILE *file;
    char model[256];
    char device[256]; /* the last one named above the table */
    uint32_t n_row, max_row;
    char (*cell)[N_COLUMN][CELL];
    size_t width[N_COLUMN];
} table;

static const char *const headings[N_COLUMN] = {"plugin [device]", "kv",       "precision", "phase", "depth",
                                               "tokens/s",        "min..max", "wall t/s",  "GB/s",  "check"};

static int compare_numbers(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* Tokens per second of each sample by the device's clock (time and gap before it), ascending. Returns how
 * many. */
static uint32_t rates_of(const cJSON *row, double **rates) {
    const cJSON *times = cJSON_GetObjectItem(row, "device_ns"), *gap = cJSON_GetObjectItem(row, "gap_ns"), *t;
    uint32_t n = (uint32_t)cJSON_GetArraySize(times), used = 0;
    double n_token = json_number(row, "n_token");
    *rates = malloc((n ? n : 1) * sizeof **rates);
    gap = gap ? gap->child : NULL;
    if (*rates)
        cJSON_ArrayForEach(t, times) {
            double ns = t->valuedouble + (gap ? gap->valuedouble : 0);
            if (ns > 0)
                (*rates)[used++] = n_token * 1e9 / ns;
            gap = gap ? gap->next : NULL;
        }
    if (used)
        qsort(*rates, used, sizeof **rates, compare_numbers);
    return used;
}

static double median(const double *sorted, uint32_t n) {
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static void fill_rates(const cJSON *row, char cell[N_COLUMN][CELL]) {
    double *rates = NULL;
    uint32_t n = rates_of(row, &rates);
    double wall_ns = json_number(row, "wall_ns"), n_token = json_number(row, "n_token");
    if (n) {
        const cJSON *cost = cJSON_GetObjectItem(row, "cost");
        double bytes = json_number(cost, "weight_bytes") + json_number(cost, "kv_bytes");
        snprintf(cell[RATE], CELL, "%.4g", median(rates, n));
        snprintf(cell[RANGE], CELL, "%.4g..%.4g", rates[0], rates[n - 1]);
        snprintf(cell[BANDWIDTH], CELL, "%.3g", bytes * median(rates, n) / n_token * 1e-9);
    }
    if (wall_ns > 0)
        snprintf(cell[WALL_RATE], CELL, "%.4g", json_number(row, "wall_tokens") * 1e9 / wall_ns);
    free(rates);
}

static void fill_check(const cJSON *row, char text[CELL]) {
    const cJSON *stamp = cJSON_GetObjectItem(row, "stamp");
    const char *method = json_text(stamp, "method");
    if (!strcmp(method, "self"))
        snprintf(text, CELL, "is the reference");
    else if (!strcmp(method, "none"))
        snprintf(text, CELL, "UNCHECKED");
    else
        snprintf(text, CELL, "%s %.0e", json_true(stamp, "ok") ? "ok" : "WRONG",
                 json_number(stamp, "worst_error"));
}

static void fill_row(const cJSON *row, char cell[N_COLUMN][CELL]) {
    const cJSON *device = cJSON_GetObjectItem(row, "device");
    const char *kind = json_text(device, "kind"), *status = json_text(row, "status");
    for (uint32_t i = 0; i < N_COLUMN; i++)
        cell[i][0] = 0;
    snprintf(cell[PLUGIN], CELL, "%.24s [%.16s]", json_text(cJSON_GetObjectItem(row, "plugin"), "name"),
             kind);
    snprintf(cell[KV], CELL, "%.8s", json_text(row, "kv"));
    snprintf(cell[PRECISION], CELL, "%.8s", json_text(row, "precision"));
    snprintf(cell[PHASE], CELL, "%.16s", json_text(row, "phase"));
    snprintf(cell[DEPTH], CELL, "%.0f%s", json_number(row, "depth"),
             !strcmp(json_text(row, "fill"), "synthetic") ? "*" : "");
    if (strcmp(status, "done")) {
        snprintf(cell[RATE], CELL, "%.16s", status);
        return;
    }
    if (strcmp(kind, "simulated"))
        fill_rates(row, cell);
    else
        snprintf(cell[RATE], CELL, "none: simulated");
    fill_check(row, cell[CHECK]);
}

/* Calls back with the latest row of every cell asked for, in the order of the sweep. */
static void each_row(const sweep_run *run, void (*callback)(void *user, const cJSON *row), void *user) {
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

static void print_line(const table *t, const char *const *cells) {
    for (uint32_t i = 0; i < N_COLUMN; i++)
        fprintf(t->file, i >= DEPTH && i <= BANDWIDTH ? "| %*s " : "| %-*s ", (int)t->width[i], cells[i]);
    fprintf(t->file, "|\n");
}

/* Prints what was collected and starts anew. */
static void flush_table(table *t) {
    if (t->n_row) {
        fprintf(t->file, "\n");
        print_line(t, headings);
        for (uint32_t i = 0; i < N_COLUMN; i++) {
            fprintf(t->file, "|");
            for (size_t k = 0; k < t->width[i] + 2; k++)
                fputc('-', t->file);
        }
        fprintf(t->file, "|\n");
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

static void name_device(table *t, const cJSON *row) {
    char text[sizeof t->device];
    const cJSON *device = cJSON_GetObjectItem(row, "device");
    snprintf(text, sizeof text, "%.24s: %.100s [%.16s], %.100s",
             json_text(cJSON_GetObjectItem(row, "plugin"), "name"), json_text(device, "name"),
             json_text(device, "kind"), json_text(device, "driver"));
    if (strcmp(text, t->device))
        fprintf(t->file, "%s\n", text);
    snprintf(t->device, sizeof t->device, "%s", text);
}

static void add_row(void *user, const cJSON *row) {
    table *t = user;
    const char *model = json_text(cJSON_GetObjectItem(row, "model"), "name");
    if (strcmp(model, t->model)) {
        flush_table(t);
        snprintf(t->model, sizeof t->model, "%s", model);
        t->device[0] = 0;
        fprintf(t->file, "\n%s\n", model);
    }
    name_device(t, row);
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

int sweep_print_table(const sweep_run *run, FILE *file) {
    table t = {.file = file};
    verdict v = {0};
    flush_table(&t);
    each_row(run, add_row, &t);
    flush_table(&t);
    free(t.cell);
    each_row(run, judge, &v);
    fprintf(file, "\ntokens/s: by the device's clock, median of the samples, least and greatest; wall t/s: "
                  "mean by the host's\n"
                  "clock; GB/s: weight and cache bytes over device time. decode runs the head for every "
                  "token, prefill never.\n");
    if (!strcmp(run->options->fill, "synthetic"))
        fprintf(file, "* cache filled with synthetic values.\n");
    return conclude(&v, file);
}

static void add_json(void *user, const cJSON *row) {
    cJSON_AddItemToArray(user, cJSON_Duplicate(row, true));
}

int sweep_print_json(const sweep_run *run) {
    cJSON *rows = cJSON_CreateArray();
    verdict v = {0};
    each_row(run, add_json, rows);
    each_row(run, judge, &v);
    char *text = cJSON_Print(rows);
    printf("%s\n", text ? text : "[]");
    cJSON_free(text);
    cJSON_Delete(rows);
    return conclude(&v, stderr);
}
