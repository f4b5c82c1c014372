/* host/supervise.c: a child for the plugins, and a parent that outlives it (contract: supervise.h). */
#include "supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tandem/message.h>

#include "cli.h"
#include "progress.h"

#define LOOK_NS 250000000u

uint32_t supervise_timeout_s;
bool supervise_timeout_given;

uint32_t supervise_limit_s(uint32_t call) {
    return supervise_timeout_given ? supervise_timeout_s : plugin_call_identifies(call) ? 60 : 3660;
}

plugin_watch *supervise_share(void) {
    void *page = mmap(NULL, sizeof(plugin_watch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? NULL : page;
}

bool supervise_is_overdue(const plugin_watch *watch, call_clock *clock) {
    const uint64_t now = now_ns();
    const uint32_t call = atomic_load(&watch->call), number = atomic_load(&watch->number);
    if (call == PLUGIN_CALL_none || number != clock->number) {
        *clock = (call_clock){.number = number, .seen_ns = now};
        return false;
    }
    const uint64_t passed = now - clock->seen_ns;
    clock->waited_ns += passed < 4 * (uint64_t)LOOK_NS ? passed : 4 * (uint64_t)LOOK_NS;
    clock->seen_ns = now;
    const uint64_t limit = supervise_limit_s(call) * UINT64_C(1000000000);
    return limit && clock->waited_ns > limit;
}

/* Signals that somebody sends; the others are faults. */
static bool is_request(int number) {
    return number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT ||
           number == SIGPIPE;
}

bool supervise_explain(const plugin_watch *watch, int wait_status, bool overdue, char *text, size_t size) {
    char name[sizeof watch->plugin];
    const uint32_t call = atomic_load(&watch->call);
    memcpy(name, watch->plugin, sizeof name);
    name[sizeof name - 1] = 0;
    tandem_kit_printable(name);
    text[0] = 0;
    if (!name[0])
        return false;
    if (overdue)
        snprintf(text, size,
                 "the plugin %s did not come back from %s within %u s and was ended (--plugin-timeout S "
                 "waits longer)",
                 name, plugin_call_name(call), supervise_limit_s(call));
    else if (WIFSIGNALED(wait_status) && !is_request(WTERMSIG(wait_status)) && call)
        snprintf(text, size, "the plugin %s ended the process in %s: signal %d (%s)%s", name,
                 plugin_call_name(call), WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)),
                 WTERMSIG(wait_status) == SIGKILL ? ", as where memory is out" : "");
    else if (WIFSIGNALED(wait_status) && !is_request(WTERMSIG(wait_status)))
        snprintf(text, size, "the process ended between two calls of the plugin %s: signal %d (%s)", name,
                 WTERMSIG(wait_status), strsignal(WTERMSIG(wait_status)));
    else if (WIFEXITED(wait_status) && call)
        snprintf(text, size, "the plugin %s ended the process in %s: exit code %d", name,
                 plugin_call_name(call), WEXITSTATUS(wait_status));
    return text[0] != 0;
}

void supervise_adopt(plugin_watch *watch, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it was gone before */
        _exit(TANDEM_EXIT_ENVIRONMENT);
    plugin_watch_use(watch);
}

/* The parent waits for these; the child gets those that were sent to the parent alone. */
static void watched_signals(sigset_t *set) {
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(set, numbers[i]);
}

/* Waits for the child's end. The terminal sends its signals to the whole group, so only others are passed on. */
static int wait_for_child(pid_t child, const plugin_watch *watch, const sigset_t *set, bool *overdue) {
    call_clock clock = {0};
    int status = 0;
    for (;;) {
        const struct timespec look = {.tv_nsec = LOOK_NS};
        siginfo_t info;
        const int number = sigtimedwait(set, &info, &look);
        if (number > 0 && number != SIGCHLD && info.si_code <= 0)
            kill(child, number);
        const pid_t ended = waitpid(child, &status, WNOHANG);
        if (ended == child || (ended < 0 && errno != EINTR))
            return status;
        if (!*overdue && supervise_is_overdue(watch, &clock)) {
            *overdue = true;
            kill(child, SIGKILL);
        }
    }
}

/* Ends like the child, without another core file. */
static void end_by(int number) {
    const struct rlimit none = {0, 0};
    sigset_t set;
    setrlimit(RLIMIT_CORE, &none);
    signal(number, SIG_DFL);
    raise(number);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int supervise_run(const char *command) {
    plugin_watch *watch = supervise_share();
    sigset_t set, before;
    char text[512];
    bool overdue = false;
    if (!watch)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, command, "Out of memory");
    fflush(NULL);
    watched_signals(&set);
    sigprocmask(SIG_BLOCK, &set, &before);
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        supervise_adopt(watch, parent);
        return -1;
    }
    if (child < 0)
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "A child process cannot be started: %s",
                        strerror(errno));
    const int status = wait_for_child(child, watch, &set, &overdue);
    output_files_remove_temporaries(); /* of a child that could not do it */
    if (supervise_explain(watch, status, overdue, text, sizeof text))
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "%s", text);
    if (WIFSIGNALED(status))
        end_by(WTERMSIG(status));
    return WEXITSTATUS(status);
}
