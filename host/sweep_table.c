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

/* Four digits, and no exponent. */
static void print_rate(double rate, char *text, size_t size) {
    snprintf(text, size, rate < 1000 ? "%.4g" : "%.0f", rate);
}

static void fill_rates(const cJSON *row, char cell[N_COLUMN][CELL]) {
    const cJSON *rate = cJSON_GetObjectItem(row, "rate"), *cost = cJSON_GetObjectItem(row, "cost");
    const double median = json_number(rate, "median"), wall_ns = json_number(row, "wall_ns");
    const double bytes = json_number(cost, "weight_bytes") + json_number(cost, "kv_bytes");
    const int n_gone = cJSON_GetArraySize(cJSON_GetObjectItem(row, "discarded"));
    print_rate(median, cell[RATE], CELL);
    if (json_number(rate, "low") > 0) {
        char low[24], high[24];
        print_rate(json_number(rate, "low"), low, sizeof low);
        print_rate(json_number(rate, "high"), high, sizeof high);
        snprintf(cell[RANGE], CELL, "%s..%s", low, high);
    } else
        snprintf(cell[RANGE], CELL, "too few");
    if (n_gone)
        snprintf(cell[RANGE] + strlen(cell[RANGE]), CELL - strlen(cell[RANGE]), " (-%d)", n_gone);
    snprintf(cell[BANDWIDTH], CELL, "%.3g", bytes * median / json_number(row, "n_token") * 1e-9);
    if (wall_ns > 0)
        print_rate(json_number(row, "wall_tokens") * 1e9 / wall_ns, cell[WALL_RATE], CELL);
}

static void fill_check(const cJSON *row, char text[CELL]) {
    const cJSON *stamp = cJSON_GetObjectItem(row, "stamp");
    const char *method = json_text(stamp, "method");
    if (!strcmp(method, "self"))
        snprintf(text, CELL, "itself");
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

/* Plain tables have two blanks between columns, one where that is more than a terminal has. */
static const char *column_gap(const table *t) {
    size_t width = 2 * (N_COLUMN - 1);
    for (uint32_t i = 0; i < N_COLUMN; i++)
        width += t->width[i];
    return t->markdown || width > WRAP_COLUMNS ? " " : "  ";
}

static void print_line(const table *t, const char *const *cells) {
    const char *before = t->markdown ? "| " : "", *between = column_gap(t);
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
        fprintf(t->file, "\n");
        wrap_print(t->file, heading, 0, 0);
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

/* What a reader asks for: the time of a chunk that is an image. */
static void print_image(void *file, const cJSON *row) {
    const cJSON *rate = cJSON_GetObjectItem(row, "rate");
    const double n = json_number(row, "n_token"), median = json_number(rate, "median");
    if (!(median > 0))
        return;
    fprintf(file, "  an image of %4.0f tokens  %10.1f ms", n, 1e3 * n / median);
    if (json_number(rate, "low") > 0)
        fprintf(file, "  (%.1f..%.1f)", 1e3 * n / json_number(rate, "high"),
                1e3 * n / json_number(rate, "low"));
    fprintf(file, "  at depth %.0f, %s %s%s\n", json_number(row, "depth"), json_text(row, "kv"),
            json_text(row, "precision"),
            strcmp(json_text(cJSON_GetObjectItem(row, "device"), "kind"), "software") ? "" : "  [software]");
}

typedef struct price_list {
    FILE *file;
    uint32_t n;
} price_list;

static void print_price(void *user, const cJSON *row) {
    price_list *list = user;
    const cJSON *energy = cJSON_GetObjectItem(row, "energy");
    if (!(json_number(energy, "watts") > 0))
        return;
    list->n++;
    fprintf(list->file, "  %s at %.0f, %s %s: %.0f W, %.3g tokens a joule, a million cost %.4g\n",
            json_text(row, "phase"), json_number(row, "depth"), json_text(row, "kv"),
            json_text(row, "precision"), json_number(energy, "watts"),
            json_number(energy, "tokens_per_joule"), json_number(energy, "price_per_million"));
}

static void print_prices(const sweep_run *run, FILE *file) {
    price_list list = {.file = file};
    fprintf(file, "\nElectricity, by the card's own meter, a kWh at %g:\n", (double)run->options->price_kwh);
    sweep_each_row(run, print_price, &list);
    if (!list.n)
        fprintf(file, "  none: no device of this sweep has a meter (NVML)\n");
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
    const char *reason = NULL;
    flush_table(&t);
    sweep_each_row(run, add_row, &t);
    flush_table(&t);
    free(t.cell);
    sweep_each_row(run, note_no_rate, &reason);
    if (run->options->price_kwh > 0)
        print_prices(run, file);
    if (run->options->images) {
        fprintf(file, "\nPrefill, the image's encoder and the head not included:\n");
        sweep_each_row(run, print_image, file);
    }
    fprintf(file, "\n");
    wrap_print(
        file,
        "tokens/s: by the device's clock, median and its 95 % interval ((-N): samples discarded); wall "
        "t/s: mean by the host's clock; GB/s: weight and cache bytes over device time. decode runs the "
        "head for every token, prefill never. check: error against the reference plugin's own run; itself: "
        "the "
        "column is the reference.",
        0, 0);
    if (!strcmp(run->options->fill, "synthetic"))
        fprintf(file, "* cache filled with synthetic values.\n");
    if (reason) {
        char text[256];
        snprintf(text, sizeof text, "No throughput is shown: %.200s.", reason);
        wrap_print(file, text, 0, 0);
    }
    why_list reasons = {.file = file};
    sweep_each_row(run, print_why, &reasons);
    sweep_each_extra(run, sweep_print_extra, file);
    return sweep_conclude(run, file);
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
    return sweep_conclude(run, stderr);
}
