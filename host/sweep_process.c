/* host/sweep_process.c: starts children, reads their lines, ends them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sweep_process.h"

#define MAX_ARGUMENTS 128

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
    if (strcmp(task, "reference")) {
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
    if (!strcmp(task, "peaks")) {
        snprintf(a->numbers[a->n_number], sizeof a->numbers[0], "%g", (double)o->peaks_seconds);
        add_text(a, "--peaks-seconds", a->numbers[a->n_number++]);
    }
    snprintf(a->numbers[a->n_number], sizeof a->numbers[0], "%g", (double)o->stamp_seconds);
    add_text(a, "--stamp-seconds", a->numbers[a->n_number++]);
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
    for (uint32_t i = 0; i < n_option && strcmp(task, "reference"); i++)
        add_text(a, "--plugin-option", options[i]);
    a->text[a->n] = NULL;
}

static void run_child(const argument_list *a, int orders, int messages, int results, int watch) {
    char *argv[MAX_ARGUMENTS];
    for (uint32_t i = 0; i <= a->n; i++)
        argv[i] = (char *)(uintptr_t)a->text[i];
    /* Standard output is the table's: whatever a driver prints there goes to standard error. */
    if (dup2(orders, STDIN_FILENO) >= 0 && dup2(results, STDOUT_FILENO) >= 0 &&
        dup2(messages, SWEEP_MESSAGE_FD) >= 0 && (watch < 0 || dup2(watch, SWEEP_WATCH_FD) >= 0))
        execv("/proc/self/exe", argv);
    _exit(127);
}

/* Memory that the child maps too, by its descriptor. */
static int share_watch(child_process *child) {
    int file = memfd_create("watch", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, sizeof *child->watch))
        return file;
    void *page = mmap(NULL, sizeof *child->watch, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    child->watch = page == MAP_FAILED ? NULL : page;
    return file;
}

int process_start(const sweep_options *o, const sweep_column *column, const char *task, child_process *child,
                  tandem_message *message) {
    int orders[2] = {-1, -1}, messages[2] = {-1, -1};
    argument_list arguments;
    child_arguments(o, column, task, &arguments);
    *child = (child_process){.pid = -1, .messages = -1, .orders = -1};
    const int watch = share_watch(child);
    if (pipe2(orders, O_CLOEXEC) == 0 && pipe2(messages, O_CLOEXEC) == 0) {
        fflush(stdout);
        fflush(stderr);
        /* Above the numbers that the child gives to its pipes, so that no dup2 overwrites another's
         * source. */
        int in = fcntl(orders[0], F_DUPFD_CLOEXEC, 10), out = fcntl(messages[1], F_DUPFD_CLOEXEC, 10);
        int shared = watch >= 0 ? fcntl(watch, F_DUPFD_CLOEXEC, 10) : -1;
        child->pid = in >= 0 && out >= 0 ? fork() : -1;
        if (child->pid == 0)
            run_child(&arguments, in, out, STDERR_FILENO, shared);
        close(in);
        close(out);
        close(shared);
    }
    int code = errno;
    close(watch);
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

int process_end(child_process *child, bool kill_it) {
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

cJSON *process_next(child_process *child) {
    char *end = child->used ? memchr(child->buffer, '\n', child->used) : NULL;
    if (!end)
        return NULL;
    size_t length = (size_t)(end - child->buffer) + 1;
    cJSON *message = cJSON_ParseWithLength(child->buffer, length);
    child->used -= length;
    memmove(child->buffer, end + 1, child->used);
    return message ? message : cJSON_CreateObject();
}

bool process_read(child_process *child) {
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

bool process_is_overdue(child_process *child) {
    child->overdue |= child->watch && supervise_is_overdue(child->watch, &child->clock);
    return child->overdue;
}

void process_describe_end(const child_process *child, int wait_status, char *text, size_t size) {
    if (child->watch && supervise_explain(child->watch, wait_status, child->overdue, text, size))
        return;
    if (WIFSIGNALED(wait_status))
        snprintf(text, size, "the child was ended by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else
        snprintf(text, size, "the child ended with exit code %d", WEXITSTATUS(wait_status));
}

void process_forget(child_process *child) {
    if (child->watch)
        munmap(child->watch, sizeof *child->watch);
    child->watch = NULL;
}
