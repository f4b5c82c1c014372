/* host/sweep_process.h: a child process of a sweep, seen from the parent. */
#ifndef TANDEM_HOST_SWEEP_PROCESS_H
#define TANDEM_HOST_SWEEP_PROCESS_H

#include <sys/types.h>

#include "supervise.h"
#include "sweep.h"

typedef struct child_process {
    pid_t pid;
    int messages; /* read end */
    int orders;   /* write end */
    char *buffer;
    size_t used, room;
    bool ended; /* said so */
    plugin_watch *watch; /* of its calls; NULL: not to be had */
    call_clock clock;
    bool overdue; /* a call took longer than it may */
} child_process;

/* Starts this program with one value for everything that a sweep takes lists of. task: of --column. */
int process_start(const sweep_options *o, const sweep_column *column, const char *task, child_process *child,
                  tandem_message *message);
/* Reads what is there. False at the end of the pipe. */
bool process_read(child_process *child);
/* Next complete line, parsed; NULL if there is none yet. */
cJSON *process_next(child_process *child);
/* Waits, killing it first if it is not wanted any more. Returns the wait status. */
int process_end(child_process *child, bool kill_it);
/* Whether the call of a plugin that it is in takes longer than it may; to be asked several times a second. */
bool process_is_overdue(child_process *child);
/* How it ended, in words. For a child after process_end. */
void process_describe_end(const child_process *child, int wait_status, char *text, size_t size);
/* Of a child after that. */
void process_forget(child_process *child);

#endif
