/* host/mapped_file.c: a list of mappings that a signal handler can read. */
#include "mapped_file.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Nodes are taken again but never freed: a handler may be on its way through the list in another thread. */
struct mapped_file {
    atomic_bool taken;
    atomic_uintptr_t first, end; /* end 0: nothing is mapped */
    char path[512];              /* for the sentence; a longer one is cut */
    struct mapped_file *next;
};

static _Atomic(mapped_file *) list;

static mapped_file *take_node(void) {
    for (mapped_file *m = atomic_load(&list); m; m = m->next) {
        bool taken = false;
        if (atomic_compare_exchange_strong(&m->taken, &taken, true))
            return m;
    }
    mapped_file *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    atomic_store(&m->taken, true);
    m->next = atomic_load(&list);
    while (!atomic_compare_exchange_weak(&list, &m->next, m))
        ;
    return m;
}

mapped_file *mapped_file_add(const void *bytes, uint64_t size, const char *path) {
    mapped_file *m = take_node();
    if (!m)
        return NULL;
    snprintf(m->path, sizeof m->path, "%s", path);
    for (char *c = m->path; *c; c++) /* it may go to a terminal */
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    atomic_store(&m->first, (uintptr_t)bytes);
    atomic_store(&m->end, (uintptr_t)bytes + size);
    return m;
}

void mapped_file_remove(mapped_file *m) {
    if (!m)
        return;
    atomic_store(&m->end, 0);
    atomic_store(&m->taken, false);
}

/* ---- the handler ---- */

static const char *fault_command = "";
static int fault_code = 1;
static void (*fault_before)(void);
static struct sigaction fault_old;

static size_t append(char *text, size_t n, size_t size, const char *more) {
    while (*more && n < size)
        text[n++] = *more++;
    return n;
}

static void say_changed(const char *path) {
    char text[1024];
    size_t n = append(text, 0, sizeof text, "tandem ");
    n = append(text, n, sizeof text, fault_command);
    n = append(text, n, sizeof text, ": ");
    n = append(text, n, sizeof text, path);
    n = append(text, n, sizeof text, ": the file changed while it was read.\n");
    if (write(STDERR_FILENO, text, n) < 0)
        return; /* the exit code still tells */
}

static void take_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    const uintptr_t at = (uintptr_t)info->si_addr;
    /* si_code tells a fault from a signal that somebody sent, whose si_addr means nothing. */
    for (mapped_file *m = info->si_code == BUS_ADRERR ? atomic_load(&list) : NULL; m; m = m->next)
        if (at >= atomic_load(&m->first) && at < atomic_load(&m->end)) {
            if (fault_before)
                fault_before();
            say_changed(m->path);
            _exit(fault_code);
        }
    /* Not ours: the faulting instruction runs again and meets the old action; a sent signal is sent again. */
    sigaction(number, &fault_old, NULL);
    if (info->si_code <= 0)
        raise(number);
}

void mapped_files_catch_faults(const char *command, int code, void (*before)(void)) {
    struct sigaction action = {.sa_sigaction = take_fault, .sa_flags = SA_SIGINFO};
    fault_command = command;
    fault_code = code;
    fault_before = before;
    sigaction(SIGBUS, &action, &fault_old);
}
