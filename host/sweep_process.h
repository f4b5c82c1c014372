/* host/sweep_process.h: a child process of a sweep, seen from the parent. */
#ifndef TANDEM_HOST_SWEEP_PROCESS_H
#define TANDEM_HOST_SWEEP_PROCESS_H

#include <sys/types.h>

#include "sweep.h"

typedef struct child_process {
    pid_t pid;
    int messages; /* read end */
    int orders;   /* write end */
    char *buffer;
    size_t used, room;
    bool ended; /* said so */
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
/* A wait status in words. */
void process_describe_end(int wait_status, char *text, size_t size);

#endif
