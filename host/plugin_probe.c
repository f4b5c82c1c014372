/* host/plugin_probe.c: a child that opens a plugin and tells what it found (contract: plugin_probe.h). */
#include "plugin_probe.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <tandem/message.h>

#include "cli.h"
#include "plugin_error.h"
#include "supervise.h"

/* ---- the child ---- */

static bool write_all(int to, const void *bytes, size_t n) {
    while (n) {
        const ssize_t written = write(to, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes = (const char *)bytes + written;
        n -= (size_t)written;
    }
    return true;
}

static void describe(plugin_found *f, const tandem_descriptor *d) {
    f->opened = true;
    snprintf(f->version, sizeof f->version, "%s", d->version);
    snprintf(f->git, sizeof f->git, "%s", d->git);
    snprintf(f->toolchain, sizeof f->toolchain, "%s", d->toolchain);
    snprintf(f->targets, sizeof f->targets, "%s", d->targets);
    snprintf(f->shaders, sizeof f->shaders, "%s", d->shaders);
    snprintf(f->needs, sizeof f->needs, "%s", d->needs);
    char *const texts[] = {f->version, f->git, f->toolchain, f->targets, f->shaders, f->needs};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        tandem_kit_printable(texts[i]); /* they may have been cut inside a character */
}

/* Sends what was found, then the devices. Does not return. */
static void tell(const char *name, int to) {
    plugin_found f = {0};
    tandem_plugin *plugin = NULL;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_message message;
    tandem_status status = cli_open_plugin(name, &plugin, &error);
    if (!status) {
        const tandem_backend *b = tandem_plugin_backend(plugin);
        describe(&f, b->descriptor);
        status = plugin_device_count(b, &f.n, &error);
        f.device = calloc(f.n + 1, sizeof *f.device);
        if (!status && !f.device)
            status = TANDEM_E_OUT_OF_MEMORY;
        for (uint32_t i = 0; i < f.n && !status; i++) {
            f.device[i].struct_size = sizeof *f.device;
            status = plugin_device_info(b, i, &f.device[i], &error);
        }
        if (!status && !f.n)
            status = TANDEM_E_NO_DEVICE;
    }
    if (status) {
        f.n = 0;
        message_plugin(&message, status, &error, "no device");
        snprintf(f.reason, sizeof f.reason, "%s", message.text);
    }
    cli_close_plugin(plugin); /* here too it may end the process */
    _exit(write_all(to, &f, sizeof f) && write_all(to, f.device, f.n * sizeof *f.device) ? 0 : 1);
}

/* ---- the parent ---- */

/* Reads to the end of the pipe. False: the child hangs. */
static bool read_all(int from, const plugin_watch *watch, char **bytes, size_t *n) {
    call_clock clock = {0};
    size_t room = 0;
    *bytes = NULL;
    *n = 0;
    for (;;) {
        struct pollfd waiting = {.fd = from, .events = POLLIN};
        const int ready = poll(&waiting, 1, 100);
        if (supervise_is_overdue(watch, &clock))
            return false;
        if (ready <= 0)
            continue;
        if (room - *n < sizeof(plugin_found)) {
            char *more = realloc(*bytes, room += 1u << 16);
            if (!more)
                return true; /* too little came: said as such */
            *bytes = more;
        }
        const ssize_t got = read(from, *bytes + *n, room - *n);
        if (got == 0 || (got < 0 && errno != EINTR))
            return true;
        *n += got > 0 ? (size_t)got : 0;
    }
}

/* What came, if it is whole. */
static bool take(const char *bytes, size_t n, plugin_found *found) {
    if (n < sizeof *found)
        return false;
    memcpy(found, bytes, sizeof *found);
    found->device = NULL;
    if ((n - sizeof *found) / sizeof *found->device != found->n ||
        (n - sizeof *found) % sizeof *found->device)
        return false;
    found->device = malloc(found->n * sizeof *found->device + 1);
    if (!found->device)
        return false;
    memcpy(found->device, bytes + sizeof *found, found->n * sizeof *found->device);
    return true;
}

static void ask(const char *name, plugin_watch *watch, plugin_found *found) {
    int pipes[2], status = 0;
    char *bytes = NULL;
    size_t n = 0;
    if (pipe(pipes)) {
        snprintf(found->reason, sizeof found->reason, "no device: no pipe to ask it: %s", strerror(errno));
        return;
    }
    fflush(NULL);
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
        close(pipes[0]);
        dup2(STDERR_FILENO, STDOUT_FILENO); /* whatever a driver prints is no result */
        supervise_adopt(watch, parent);
        tell(name, pipes[1]);
    }
    close(pipes[1]);
    const bool answered = child > 0 && read_all(pipes[0], watch, &bytes, &n);
    close(pipes[0]);
    if (child > 0 && !answered)
        kill(child, SIGKILL);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    char why[400] = "no process to ask it";
    const bool died = child > 0 && supervise_explain(watch, status, !answered, why, sizeof why);
    if (child < 0 || died || !take(bytes, n, found)) {
        *found = (plugin_found){0};
        snprintf(found->reason, sizeof found->reason, "no device: %s", why[0] ? why : "it gave no answer");
    }
    free(bytes);
}

bool plugin_probe(const char *path_or_name, plugin_found *found) {
    plugin_watch *watch = supervise_share();
    *found = (plugin_found){0};
    if (!watch)
        return false;
    cli_host(path_or_name); /* its options count as used in this process too */
    ask(path_or_name, watch, found);
    munmap(watch, sizeof *watch);
    return true;
}

void plugin_probe_free(plugin_found *found) {
    free(found->device);
    *found = (plugin_found){0};
}
