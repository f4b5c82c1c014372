/* host/sweep_column.c: rows of a column. */
#include <stdlib.h>
#include <string.h>

#include "sweep_column.h"

void sweep_cell_key(const char *column_key, sweep_cell cell, char *key, size_t size) {
    snprintf(key, size, "%s|%s|%u", column_key, phase_name(cell.phase), cell.depth);
}

static void remove_cell(column_state *c, sweep_cell cell) {
    for (uint32_t i = 0; i < c->n_left; i++)
        if (c->left[i].phase == cell.phase && c->left[i].depth == cell.depth) {
            memmove(&c->left[i], &c->left[i + 1], (c->n_left - i - 1) * sizeof *c->left);
            c->n_left--;
            return;
        }
}

int column_row(column_state *c, const char *kind, sweep_cell cell, cJSON *row, tandem_message *message) {
    char key[640];
    const sweep_options *o = c->run->options;
    sweep_cell_key(c->key, cell, key, sizeof key);
    cJSON_DeleteItemFromObject(row, "msg");
    cJSON_AddStringToObject(row, "row", kind);
    cJSON_AddStringToObject(row, "key", key);
    cJSON *item;
    cJSON_ArrayForEach(item, c->identity)
        cJSON_AddItemToObject(row, item->string, cJSON_Duplicate(item, true));
    cJSON_AddStringToObject(row, "kv", c->column->kv);
    cJSON_AddStringToObject(row, "precision", c->column->precision);
    cJSON_AddStringToObject(row, "fill", o->fill);
    cJSON_AddNumberToObject(row, "batch", atoi(c->column->batch));
    return journal_append(c->run->journal, row, message);
}

int column_cell(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message) {
    remove_cell(c, cell);
    c->in_cell = false;
    c->n_answered++;
    return column_row(c, "cell", cell, row, message);
}

/* b's median rate over a's, as `ratio`. */
static void add_ratio(cJSON *row, const cJSON *a, const cJSON *b) {
    const double before = json_number(cJSON_GetObjectItem(a, "rate"), "median");
    const double after = json_number(cJSON_GetObjectItem(b, "rate"), "median");
    if (before > 0 && after > 0)
        cJSON_AddNumberToObject(row, "ratio", after / before);
}

int column_drift(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message) {
    char key[640];
    sweep_cell_key(c->key, cell, key, sizeof key);
    add_ratio(row, journal_find(c->run->journal, "cell", key), row);
    return column_row(c, "drift", cell, row, message);
}

static int distrust_cell(column_state *c, const char *key, double error, tandem_message *message) {
    static const char *const dated[] = {"schema", "version", "time"};
    const cJSON *found = journal_find(c->run->journal, "cell", key);
    cJSON *row = found ? cJSON_Duplicate(found, true) : NULL, *stamp = cJSON_GetObjectItem(row, "stamp");
    if (!stamp) {
        cJSON_Delete(row);
        return TANDEM_OK;
    }
    for (uint32_t i = 0; i < sizeof dated / sizeof *dated; i++)
        cJSON_DeleteItemFromObject(row, dated[i]);
    cJSON_AddNumberToObject(stamp, "late_error", error);
    cJSON_ReplaceItemInObject(stamp, "ok", cJSON_CreateFalse());
    if (!json_text(stamp, "why")[0]) {
        char why[320];
        sweep_why(stamp, why, sizeof why);
        cJSON_AddStringToObject(stamp, "why", why);
    }
    return journal_append(c->run->journal, row, message);
}

int column_distrust(column_state *c, const cJSON *cells, double error, tandem_message *message) {
    const cJSON *item;
    int status = TANDEM_OK;
    cJSON_ArrayForEach(item, cells) {
        char key[640];
        sweep_cell cell = {.depth = (uint32_t)json_number(item, "depth")};
        if (status || !phase_by_name(json_text(item, "phase"), &cell.phase))
            continue;
        sweep_cell_key(c->key, cell, key, sizeof key);
        status = distrust_cell(c, key, error, message);
    }
    return status;
}

int column_bias(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message) {
    add_ratio(row, cJSON_GetObjectItem(row, "real"), cJSON_GetObjectItem(row, "synthetic"));
    c->n_answered++; /* a child that dies behind it is not to be asked for it again without end */
    return column_row(c, "bias", cell, row, message);
}

cJSON *column_new_row(sweep_cell cell, const char *status, const char *reason) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "phase", phase_name(cell.phase));
    cJSON_AddNumberToObject(row, "depth", cell.depth);
    cJSON_AddStringToObject(row, "status", status);
    cJSON_AddStringToObject(row, "reason", reason);
    return row;
}

int column_skip_deeper(column_state *c, sweep_cell cell, const char *status, tandem_message *message) {
    char reason[96];
    snprintf(reason, sizeof reason, "depth %u ended with %s", cell.depth, status);
    int result = TANDEM_OK;
    for (uint32_t i = 0; i < c->n_left && !result;) {
        sweep_cell next = c->left[i];
        if (next.phase != cell.phase || next.depth <= cell.depth) {
            i++;
            continue;
        }
        c->run->progress.total -= sweep_units(c->run->options, next.phase);
        result = column_cell(c, next, column_new_row(next, "skipped", reason), message);
    }
    return result;
}
