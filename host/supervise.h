/* host/supervise.h: commands that use plugins run in a child process, so that somebody is left to say which plugin
 * ended it, and in which call. The child has the program's standard streams, process group and terminal: what it
 * prints appears as it is made.
 */
#ifndef TANDEM_HOST_SUPERVISE_H
#define TANDEM_HOST_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plugin_watch.h"

/* Seconds that a call of a plugin may take: what is asked for with --plugin-timeout, or a minute where it only says
 * what there is and an hour and a minute else (a run may take an hour). 0: no limit. */
extern uint32_t supervise_timeout_s;
extern bool supervise_timeout_given;
uint32_t supervise_limit_s(uint32_t call);

/* A watch in memory that a forked child shares; NULL: none to be had. */
plugin_watch *supervise_share(void);

/* How long the call under way has gone on, by looking often: time in which nobody looked does not count, so that a
 * stopped or sleeping machine ends nothing. */
typedef struct call_clock {
    uint32_t number;
    uint64_t waited_ns, seen_ns;
} call_clock;

/* Whether the call under way has taken longer than it may. */
bool supervise_is_overdue(const plugin_watch *watch, call_clock *clock);

/* What became of a process that ran plugins, as the end of a sentence that begins with its name: "the plugin odd ended
 * the process in kv_create: signal 11 (Segmentation fault)". False, with an empty text, where no plugin is to blame. */
bool supervise_explain(const plugin_watch *watch, int wait_status, bool overdue, char *text, size_t size);

/* In the child: calls are recorded in `watch`, and it ends with its parent. */
void supervise_adopt(plugin_watch *watch, pid_t parent);

/* Goes on in a child, where it returns -1. In the parent it waits for the child and returns the exit code, or ends by
 * the signal that ended the child. `command` is for the sentence. */
int supervise_run(const char *command);

#endif
