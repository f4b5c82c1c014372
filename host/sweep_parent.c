/* host/sweep_parent.c: a column from the parent's side: what is left, the conversation, deaths. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sweep_column.h"
#include "sweep_process.h"

volatile int sweep_interrupted;

/* Measured, or refused for a reason that stays. A crash, a failure and what took too long are tried again. */
static bool is_finished(const cJSON *row) {
    const char *status = json_text(row, "status");
    return !strcmp(status, "done") || !strcmp(status, "out_of_memory") || !strcmp(status, "unsupported") ||
           (!strcmp(status, "skipped") && strstr(json_text(row, "reason"), "out_of_memory"));
}

static void find_left(column_state *c) {
    const sweep_options *o = c->run->options;
    c->n_left = 0;
    for (uint32_t d = 0; d < o->n_depth; d++)
        for (uint32_t p = 0; p < o->n_phase; p++) {
            sweep_cell cell = {.phase = o->phase[p], .depth = o->depth[d]};
            char key[640];
            sweep_cell_key(c->key, cell, key, sizeof key);
            const cJSON *row = o->again ? NULL : journal_find(c->run->journal, "cell", key);
            if (row && is_finished(row))
                c->run->progress.total -= sweep_units(o, cell.phase);
            else
                c->left[c->n_left++] = cell;
        }
    if (!c->n_left)
        c->run->progress.total -= sweep_drift_units(o);
}

static bool has_row(const column_state *c, const char *kind, uint32_t phase, const char *status) {
    char key[640];
    const journal *j = c->run->journal;
    for (uint32_t i = 0; i < j->n_row; i++) {
        snprintf(key, sizeof key, "%s|%s|", c->key, phase_name(phase));
        if (!strcmp(json_text(j->row[i], "row"), kind) &&
            !strncmp(json_text(j->row[i], "key"), key, strlen(key)) &&
            (!status ||
             (!json_number(j->row[i], "depth") && !strcmp(json_text(j->row[i], "status"), status))))
            return true;
    }
    return false;
}

/* Phases whose drift and whose fill's bias the child is to measure. */
static void add_extras(const column_state *c, cJSON *orders) {
    const sweep_options *o = c->run->options;
    cJSON *drift = cJSON_AddArrayToObject(orders, "drift"), *bias = cJSON_AddArrayToObject(orders, "bias");
    const bool synthetic = !strcmp(o->fill, "synthetic");
    for (uint32_t p = 0; p < o->n_phase && c->n_left; p++) {
        bool measures = has_row(c, "cell", o->phase[p], "done");
        for (uint32_t i = 0; i < c->n_left; i++)
            measures |= c->left[i].phase == o->phase[p] && c->left[i].depth == 0;
        if (measures && o->n_depth > 1)
            cJSON_AddItemToArray(drift, cJSON_CreateString(phase_name(o->phase[p])));
        if (synthetic && !has_row(c, "bias", o->phase[p], NULL))
            cJSON_AddItemToArray(bias, cJSON_CreateString(phase_name(o->phase[p])));
    }
}

/* The first message of a child: who it is. The answer: what is left to do. */
static int answer_column(column_state *c, child_process *child, cJSON *m, tandem_message *message) {
    if (!c->known) {
        snprintf(c->key, sizeof c->key, "%s", json_text(m, "key"));
        snprintf(c->model_key, sizeof c->model_key, "%s", json_text(m, "model_key"));
        c->identity = cJSON_CreateObject();
        static const char *const members[] = {"model", "plugin", "device"};
        for (uint32_t i = 0; i < 3; i++)
            cJSON_AddItemToObject(c->identity, members[i], cJSON_DetachItemFromObject(m, members[i]));
        find_left(c);
        sweep_say_changes(c->run->journal, c->key, c->identity, c->column, c->run->options->fill);
        c->known = true;
        option_texts *keys = &c->run->keys;
        if (keys->n < OPTION_MAX_TEXTS && (keys->text[keys->n] = strdup(c->key)))
            keys->n++;
    }
    const char *plugin = json_text(cJSON_GetObjectItem(c->identity, "plugin"), "name");
    if (c->n_left && !c->reference && strcmp(plugin, "reference")) {
        int status = column_ask_reference(c, message);
        if (status)
            return status;
    }
    int status = c->n_left ? column_ask_peaks(c, message) : TANDEM_OK;
    if (status)
        return status;
    cJSON *orders = cJSON_CreateObject(), *cells = cJSON_AddArrayToObject(orders, "cells");
    for (uint32_t i = 0; i < c->n_left; i++) {
        cJSON *cell = cJSON_CreateObject();
        cJSON_AddStringToObject(cell, "phase", phase_name(c->left[i].phase));
        cJSON_AddNumberToObject(cell, "depth", c->left[i].depth);
        cJSON_AddItemToArray(cells, cell);
    }
    add_extras(c, orders);
    cJSON_AddItemToObject(orders, "reference",
                          c->reference ? cJSON_Duplicate(c->reference, true) : cJSON_CreateNull());
    char *text = cJSON_PrintUnformatted(orders);
    cJSON_Delete(orders);
    /* A child that died in the meantime is noticed at its pipe. */
    if (text && dprintf(child->orders, "%s\n", text) < 0)
        errno = 0;
    cJSON_free(text);
    return TANDEM_OK;
}

static void show(column_state *c) {
    char note[96];
    const sweep_column *k = c->column;
    if (c->in_cell)
        snprintf(note, sizeof note, " | %s %s %s, %s at %u", k->plugin, k->kv, k->precision,
                 phase_name(c->cell.phase), c->cell.depth);
    else if (c->asked && !strcmp(c->asked, "peaks"))
        snprintf(note, sizeof note, " | %s, peaks of the device", k->plugin);
    else
        snprintf(note, sizeof note, " | %s %s %s, loading", k->plugin, k->kv, k->precision);
    progress_show(&c->run->progress, c->run->units_done, note);
}

static int take_message(column_state *c, child_process *child, cJSON *m, tandem_message *message) {
    const char *kind = json_text(m, "msg");
    int status = TANDEM_OK;
    sweep_cell cell = {.depth = (uint32_t)json_number(m, "depth")};
    if (!strcmp(kind, "column")) {
        status = answer_column(c, child, m, message);
    } else if (!strcmp(kind, "begin") && phase_by_name(json_text(m, "phase"), &cell.phase)) {
        c->cell = cell;
        c->in_cell = true;
    } else if (!strcmp(kind, "progress")) {
        c->run->units_done += json_number(m, "units");
    } else if (!strcmp(kind, "cell") && phase_by_name(json_text(m, "phase"), &cell.phase)) {
        bool memory = !strcmp(json_text(m, "status"), "out_of_memory");
        status = column_cell(c, cell, cJSON_Duplicate(m, true), message);
        if (memory && !status)
            status = column_skip_deeper(c, cell, "out_of_memory", message);
    } else if (!strcmp(kind, "late")) {
        status = column_distrust(c, cJSON_GetObjectItem(m, "cells"), json_number(m, "error"), message);
    } else if (!strcmp(kind, "drift") && phase_by_name(json_text(m, "phase"), &cell.phase)) {
        status = column_drift(c, cell, cJSON_Duplicate(m, true), message);
    } else if (!strcmp(kind, "bias") && phase_by_name(json_text(m, "phase"), &cell.phase)) {
        status = column_bias(c, cell, cJSON_Duplicate(m, true), message);
    } else if (c->asked && !strcmp(kind, c->asked)) {
        cJSON_Delete(c->answer);
        c->answer = cJSON_Duplicate(m, true);
    } else if (!strcmp(kind, "end")) {
        child->ended = true;
    }
    if (strcmp(kind, "progress"))
        c->cell_start_ns = now_ns();
    cJSON_Delete(m);
    return status;
}

int column_listen(column_state *c, child_process *child, bool *timed_out, tandem_message *message) {
    const uint64_t limit = (uint64_t)c->run->options->timeout_s * 1000000000u;
    int status = TANDEM_OK;
    bool open = true;
    c->cell_start_ns = now_ns();
    while (open && !status && !sweep_interrupted) {
        struct pollfd waiting = {.fd = child->messages, .events = POLLIN};
        if (poll(&waiting, 1, 200) > 0)
            open = process_read(child);
        for (cJSON *m; !status && (m = process_next(child));)
            status = take_message(c, child, m, message);
        show(c);
        if (process_is_overdue(child) || (limit && now_ns() - c->cell_start_ns > limit)) {
            *timed_out = true;
            return status;
        }
    }
    return status;
}

/* The child is gone before its work was done: a row for what it was doing. */
static int journal_death(column_state *c, const child_process *child, int wait_status, bool timed_out,
                         tandem_message *message) {
    char reason[320];
    const char *what = timed_out ? "timeout" : "crash";
    process_describe_end(child, wait_status, reason, sizeof reason);
    if (timed_out && !child->overdue)
        snprintf(reason, sizeof reason, "no answer in %u s", c->run->options->timeout_s);
    if (c->in_cell) {
        sweep_cell cell = c->cell;
        int status = column_cell(c, cell, column_new_row(cell, what, reason), message);
        return status || !timed_out ? status : column_skip_deeper(c, cell, what, message);
    }
    if (c->n_answered)
        return TANDEM_OK;
    /* It never got to a cell, and the next one would not either. */
    int status = TANDEM_OK;
    while (c->n_left && !status)
        status = column_cell(c, c->left[0], column_new_row(c->left[0], what, reason), message);
    return status;
}

/* The child ended before it said who it is, so no row can name it. What it refused it has said itself. */
static int say_unknown(column_state *c, const child_process *child, int wait_status, bool timed_out) {
    char reason[320];
    if (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) && !timed_out &&
        !(child->watch && supervise_explain(child->watch, wait_status, false, reason, sizeof reason)))
        return WEXITSTATUS(wait_status);
    process_describe_end(child, wait_status, reason, sizeof reason);
    if (timed_out && !child->overdue)
        snprintf(reason, sizeof reason, "no answer in %u s", c->run->options->timeout_s);
    progress_end(&c->run->progress);
    return cli_fail(TANDEM_EXIT_ENVIRONMENT, sweep_command, "%s with the plugin %s was not measured: %s",
                    c->column->model, c->column->plugin, reason);
}

int sweep_run_column(sweep_run *run, const sweep_column *column) {
    column_state c = {.run = run, .column = column};
    tandem_message message;
    int status = TANDEM_OK, code = OPTIONS_GO_ON;
    do {
        child_process child;
        bool timed_out = false;
        c.in_cell = false;
        c.n_answered = 0;
        status = process_start(run->options, column, "cells", &child, &message);
        if (status)
            break;
        status = column_listen(&c, &child, &timed_out, &message);
        int ended = process_end(&child, status || timed_out || sweep_interrupted);
        if (status || sweep_interrupted) {
            process_forget(&child);
            break;
        }
        if (!c.known) {
            run->n_unknown++;
            code = say_unknown(&c, &child, ended, timed_out);
            process_forget(&child);
            break;
        }
        if (!child.ended)
            status = journal_death(&c, &child, ended, timed_out, &message);
        process_forget(&child);
    } while (!status && c.n_left && !sweep_interrupted);
    cJSON_Delete(c.identity);
    cJSON_Delete(c.reference);
    progress_end(&run->progress);
    return status ? cli_refuse(status, sweep_command, &message) : code;
}
