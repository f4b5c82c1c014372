/* host/sweep_parent.c: starts children, listens to them, writes the journal. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sweep.h"

#define MAX_CELLS (SWEEP_MAX_DEPTHS * SWEEP_MAX_PHASES)
#define MAX_ARGUMENTS 128

volatile int sweep_interrupted;

typedef struct child_process {
    pid_t pid;
    int messages; /* read end */
    int orders;   /* write end */
    char *buffer;
    size_t used, room;
    bool ended; /* said so */
} child_process;

/* What the parent knows of the column under way. */
typedef struct column_state {
    sweep_run *run;
    const sweep_column *column;
    char key[512], model_key[64];
    cJSON *identity; /* model, plugin, device of every row */
    bool known;
    uint32_t n_left;
    sweep_cell left[MAX_CELLS];
    bool in_cell;
    sweep_cell cell;
    uint64_t cell_start_ns;
    uint32_t n_answered; /* cells that this child has answered */
    cJSON *reference;
} column_state;

void sweep_cell_key(const char *column_key, sweep_cell cell, char *key, size_t size) {
    snprintf(key, size, "%s|%s|%u", column_key, phase_name(cell.phase), cell.depth);
}

/* ---- processes ---- */

typedef struct argument_list {
    const char *text[MAX_ARGUMENTS];
    uint32_t n;
    char numbers[24][24];
    uint32_t n_number;
} argument_list;

static void add_text(argument_list *a, const char *name, const char *value) {
    if (!value)
        return;
    a->text[a->n++] = name;
    a->text[a->n++] = value;
}

static void add_number(argument_list *a, const char *name, uint64_t value) {
    if (!value)
        return;
    char *text = a->numbers[a->n_number++];
    snprintf(text, sizeof a->numbers[0], "%llu", (unsigned long long)value);
    add_text(a, name, text);
}

/* The child is this program with one value for everything that a sweep takes lists of. */
static void child_arguments(const sweep_options *o, const sweep_column *c, const char *task,
                            argument_list *a) {
    const model_overrides *m = &o->shape.overrides;
    *a = (argument_list){.text = {"tandem", "sweep"}, .n = 2};
    add_text(a, "--column", task);
    add_text(a, "--model", c->model);
    add_text(a, "--plugin", c->plugin);
    add_text(a, "--kv", c->kv);
    add_text(a, "--precision", c->precision);
    add_text(a, "--fill", o->fill);
    add_text(a, "--quant", o->shape.quant);
    add_text(a, "--routing", o->common.routing);
    add_text(a, "--expert-memory", c->experts);
    /* The device is one of the column's plugin, the cap is for that device: neither is the reference's. */
    if (!strcmp(task, "cells")) {
        add_text(a, "--device", c->device);
        add_number(a, "--memory-cap", o->common.memory_cap);
    }
    add_number(a, "--threads", o->common.n_threads);
    add_text(a, "--batch", c->batch);
    add_number(a, "--samples", o->n_sample);
    add_number(a, "--chunks", o->n_chunk);
    add_number(a, "--rounds", o->n_round);
    snprintf(a->numbers[a->n_number], sizeof a->numbers[0], "%g", (double)o->target);
    add_text(a, "--target", a->numbers[a->n_number++]);
    if (o->price_kwh > 0) {
        snprintf(a->numbers[a->n_number], sizeof a->numbers[0], "%g", (double)o->price_kwh);
        add_text(a, "--price-kwh", a->numbers[a->n_number++]);
    }
    a->text[a->n++] = "--seed"; /* 0 is a seed too */
    snprintf(a->numbers[a->n_number], sizeof a->numbers[0], "%u", o->common.seed);
    a->text[a->n++] = a->numbers[a->n_number++];
    add_number(a, "--layers", m->n_layer);
    add_number(a, "--vocab", m->n_vocab);
    add_number(a, "--d-model", m->d_model);
    add_number(a, "--d-ff", m->d_ff);
    add_number(a, "--heads", m->n_head);
    add_number(a, "--kv-heads", m->n_kv_head);
    add_number(a, "--head-dim", m->head_dim);
    add_number(a, "--window", m->window);
    add_number(a, "--experts", m->n_expert);
    add_number(a, "--experts-used", m->n_used);
    add_number(a, "--d-expert", m->d_expert);
    const char *options[CLI_MAX_PLUGIN_OPTIONS];
    uint32_t n_option = cli_plugin_options(c->plugin, options);
    for (uint32_t i = 0; i < n_option && !strcmp(task, "cells"); i++)
        add_text(a, "--plugin-option", options[i]);
    a->text[a->n] = NULL;
}

static void run_child(const argument_list *a, int orders, int messages, int results) {
    char *argv[MAX_ARGUMENTS];
    for (uint32_t i = 0; i <= a->n; i++)
        argv[i] = (char *)(uintptr_t)a->text[i];
    /* Standard output is the table's: whatever a driver prints there goes to standard error. */
    if (dup2(orders, STDIN_FILENO) >= 0 && dup2(results, STDOUT_FILENO) >= 0 &&
        dup2(messages, SWEEP_MESSAGE_FD) >= 0)
        execv("/proc/self/exe", argv);
    _exit(127);
}

static int start_child(const sweep_options *o, const sweep_column *column, const char *task,
                       child_process *child, tandem_message *message) {
    int orders[2] = {-1, -1}, messages[2] = {-1, -1};
    argument_list arguments;
    child_arguments(o, column, task, &arguments);
    *child = (child_process){.pid = -1, .messages = -1, .orders = -1};
    if (pipe2(orders, O_CLOEXEC) == 0 && pipe2(messages, O_CLOEXEC) == 0) {
        fflush(stdout);
        fflush(stderr);
        /* Above the numbers that the child gives to its pipes, so that no dup2 overwrites another's
         * source. */
        int in = fcntl(orders[0], F_DUPFD_CLOEXEC, 10), out = fcntl(messages[1], F_DUPFD_CLOEXEC, 10);
        child->pid = in >= 0 && out >= 0 ? fork() : -1;
        if (child->pid == 0)
            run_child(&arguments, in, out, STDERR_FILENO);
        close(in);
        close(out);
    }
    int code = errno;
    close(orders[0]);
    close(messages[1]);
    if (child->pid < 0) {
        close(orders[1]);
        close(messages[0]);
        return message_fail(message, TANDEM_E_INTERNAL, "A child process cannot be started: %s.",
                            strerror(code));
    }
    child->orders = orders[1];
    child->messages = messages[0];
    return TANDEM_OK;
}

/* Waits, killing it first if it is not wanted any more. Returns the wait status. */
static int end_child(child_process *child, bool kill_it) {
    if (kill_it)
        kill(child->pid, SIGKILL);
    close(child->orders);
    close(child->messages);
    free(child->buffer);
    int status = 0;
    while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* ---- messages ---- */

/* Next complete line, parsed; NULL if there is none yet. */
static cJSON *next_message(child_process *child) {
    char *end = child->used ? memchr(child->buffer, '\n', child->used) : NULL;
    if (!end)
        return NULL;
    size_t length = (size_t)(end - child->buffer) + 1;
    cJSON *message = cJSON_ParseWithLength(child->buffer, length);
    child->used -= length;
    memmove(child->buffer, end + 1, child->used);
    return message ? message : cJSON_CreateObject();
}

/* Reads what is there. False at the end of the pipe. */
static bool read_messages(child_process *child) {
    if (child->room - child->used < 65536) {
        char *more = realloc(child->buffer, child->room + 131072);
        if (!more)
            return false;
        child->buffer = more;
        child->room += 131072;
    }
    ssize_t n = read(child->messages, child->buffer + child->used, child->room - child->used);
    if (n > 0)
        child->used += (size_t)n;
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* ---- rows ---- */

static void remove_cell(column_state *c, sweep_cell cell) {
    for (uint32_t i = 0; i < c->n_left; i++)
        if (c->left[i].phase == cell.phase && c->left[i].depth == cell.depth) {
            memmove(&c->left[i], &c->left[i + 1], (c->n_left - i - 1) * sizeof *c->left);
            c->n_left--;
            return;
        }
}

/* Completes a row (owned from here on) with the column's identity, and journals it. */
static int journal_row(column_state *c, const char *kind, sweep_cell cell, cJSON *row,
                       tandem_message *message) {
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

static int journal_cell(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message) {
    remove_cell(c, cell);
    c->in_cell = false;
    c->n_answered++;
    return journal_row(c, "cell", cell, row, message);
}

/* b's median rate over a's, as `ratio`. */
static void add_ratio(cJSON *row, const cJSON *a, const cJSON *b) {
    const double before = json_number(cJSON_GetObjectItem(a, "rate"), "median");
    const double after = json_number(cJSON_GetObjectItem(b, "rate"), "median");
    if (before > 0 && after > 0)
        cJSON_AddNumberToObject(row, "ratio", after / before);
}

/* Depth 0 at the end against the cell that the journal has of it. */
static int journal_drift(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message) {
    char key[640];
    sweep_cell_key(c->key, cell, key, sizeof key);
    add_ratio(row, journal_find(c->run->journal, "cell", key), row);
    return journal_row(c, "drift", cell, row, message);
}

static int journal_bias(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message) {
    add_ratio(row, cJSON_GetObjectItem(row, "real"), cJSON_GetObjectItem(row, "synthetic"));
    c->n_answered++; /* a child that dies behind it is not to be asked for it again without end */
    return journal_row(c, "bias", cell, row, message);
}

static cJSON *new_row(sweep_cell cell, const char *status, const char *reason) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "phase", phase_name(cell.phase));
    cJSON_AddNumberToObject(row, "depth", cell.depth);
    cJSON_AddStringToObject(row, "status", status);
    cJSON_AddStringToObject(row, "reason", reason);
    return row;
}

/* After a cell ran out of memory or time, deeper cells of its phase would too. */
static int skip_deeper(column_state *c, sweep_cell cell, const char *status, tandem_message *message) {
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
        result = journal_cell(c, next, new_row(next, "skipped", reason), message);
    }
    return result;
}

/* ---- the conversation ---- */

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
}

static int ask_reference(column_state *c, tandem_message *message);

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
        int status = ask_reference(c, message);
        if (status)
            return status;
    }
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
        status = journal_cell(c, cell, cJSON_Duplicate(m, true), message);
        if (memory && !status)
            status = skip_deeper(c, cell, "out_of_memory", message);
    } else if (!strcmp(kind, "drift") && phase_by_name(json_text(m, "phase"), &cell.phase)) {
        status = journal_drift(c, cell, cJSON_Duplicate(m, true), message);
    } else if (!strcmp(kind, "bias") && phase_by_name(json_text(m, "phase"), &cell.phase)) {
        status = journal_bias(c, cell, cJSON_Duplicate(m, true), message);
    } else if (!strcmp(kind, "reference")) {
        c->reference = cJSON_Duplicate(m, true);
    } else if (!strcmp(kind, "end")) {
        child->ended = true;
    }
    if (strcmp(kind, "progress"))
        c->cell_start_ns = now_ns();
    cJSON_Delete(m);
    return status;
}

/* Listens until the child's pipe closes, it runs out of time, the journal fails, or Ctrl-C. */
static int listen_to(column_state *c, child_process *child, bool *timed_out, tandem_message *message) {
    const uint64_t limit = (uint64_t)c->run->options->timeout_s * 1000000000u;
    int status = TANDEM_OK;
    bool open = true;
    c->cell_start_ns = now_ns();
    while (open && !status && !sweep_interrupted) {
        struct pollfd waiting = {.fd = child->messages, .events = POLLIN};
        if (poll(&waiting, 1, 200) > 0)
            open = read_messages(child);
        for (cJSON *m; !status && (m = next_message(child));)
            status = take_message(c, child, m, message);
        show(c);
        if (limit && now_ns() - c->cell_start_ns > limit) {
            *timed_out = true;
            return status;
        }
    }
    return status;
}

static void describe_end(int wait_status, char *text, size_t size) {
    if (WIFSIGNALED(wait_status))
        snprintf(text, size, "the child was ended by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(text, size, "the child ended with exit code %d", WEXITSTATUS(wait_status));
}

/* The prefix of (model, cache, precision) by the reference plugin: from the journal, or made now. */
static int ask_reference(column_state *c, tandem_message *message) {
    char key[128];
    snprintf(key, sizeof key, "%s|%s|%s", c->model_key, c->column->kv, c->column->precision);
    const cJSON *row = journal_find(c->run->journal, "reference", key);
    if (row) {
        c->reference = cJSON_Duplicate(row, true);
        return TANDEM_OK;
    }
    sweep_column column = *c->column;
    column.plugin = "reference";
    column_state state = {.run = c->run, .column = &column, .known = true};
    child_process child;
    int status = start_child(c->run->options, &column, "reference", &child, message);
    if (status)
        return status;
    bool timed_out = false;
    state.identity = cJSON_CreateObject();
    status = listen_to(&state, &child, &timed_out, message);
    int ended = end_child(&child, status || timed_out || sweep_interrupted);
    cJSON_Delete(state.identity);
    if (status || sweep_interrupted || !state.reference) {
        cJSON_Delete(state.reference);
        char why[96];
        describe_end(ended, why, sizeof why);
        if (!status && !sweep_interrupted)
            fprintf(stderr, "tandem sweep: no reference for %s (%s); its rows will say so.\n",
                    c->column->model, timed_out ? "it took too long" : why);
        return status;
    }
    cJSON_DeleteItemFromObject(state.reference, "msg");
    c->reference = cJSON_Duplicate(state.reference, true);
    cJSON_AddStringToObject(state.reference, "row", "reference");
    cJSON_AddStringToObject(state.reference, "key", key);
    return journal_append(c->run->journal, state.reference, message);
}

/* The child is gone before its work was done: a row for what it was doing. */
static int journal_death(column_state *c, int wait_status, bool timed_out, tandem_message *message) {
    char reason[128];
    const char *what = timed_out ? "timeout" : "crash";
    describe_end(wait_status, reason, sizeof reason);
    if (timed_out)
        snprintf(reason, sizeof reason, "no answer in %u s", c->run->options->timeout_s);
    if (c->in_cell) {
        sweep_cell cell = c->cell;
        int status = journal_cell(c, cell, new_row(cell, what, reason), message);
        return status || !timed_out ? status : skip_deeper(c, cell, what, message);
    }
    if (c->n_answered)
        return TANDEM_OK;
    /* It never got to a cell, and the next one would not either. */
    int status = TANDEM_OK;
    while (c->n_left && !status)
        status = journal_cell(c, c->left[0], new_row(c->left[0], what, reason), message);
    return status;
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
        status = start_child(run->options, column, "cells", &child, &message);
        if (status)
            break;
        status = listen_to(&c, &child, &timed_out, &message);
        int ended = end_child(&child, status || timed_out || sweep_interrupted);
        if (status || sweep_interrupted)
            break;
        if (!c.known) { /* it has said why on standard error */
            code = WIFEXITED(ended) && WEXITSTATUS(ended) ? WEXITSTATUS(ended) : TANDEM_EXIT_ENVIRONMENT;
            break;
        }
        if (!child.ended)
            status = journal_death(&c, ended, timed_out, &message);
    } while (!status && c.n_left && !sweep_interrupted);
    cJSON_Delete(c.identity);
    cJSON_Delete(c.reference);
    progress_end(&run->progress);
    return status ? cli_refuse(status, sweep_command, &message) : code;
}
