/* host/output_file.c: temporary files, and the signals that remove them. */
#include "output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFFER_BYTES (1u << 20)
#define MAX_LINKS 40u     /* as in the kernel */
#define MAX_NAME_KEPT 200 /* of the target's name, in that of its temporary file; file systems take 255 */
#define MAX_TEMPORARIES 100u

struct output_file {
    tandem_message failure;
    int status; /* of the first failure; sticky */
    int fd;
    char *path;      /* as named, for sentences */
    char *target;    /* what is replaced: links followed; NULL: written straight through */
    char *temporary; /* NULL: none is there */
    int slot;        /* of the temporary name, for signals */
    size_t n;        /* in the buffer */
    uint8_t buffer[BUFFER_BYTES];
};

/* ---- temporary names that a signal removes ---- */

/* Names of their own storage: a handler must not meet freed memory. */
typedef struct temporary_name {
    atomic_int state; /* 0 free, 1 being written, 2 to be removed */
    char name[PATH_MAX];
} temporary_name;

static temporary_name own_names[OUTPUT_MAX_OPEN];
static temporary_name *temporaries = own_names; /* a program shares them with its children */

static int keep_temporary(const char *name) {
    for (int i = 0; i < (int)OUTPUT_MAX_OPEN; i++) {
        int expected = 0;
        if (atomic_compare_exchange_strong(&temporaries[i].state, &expected, 1)) {
            snprintf(temporaries[i].name, sizeof temporaries[i].name, "%s", name);
            atomic_store(&temporaries[i].state, 2);
            return i;
        }
    }
    return -1;
}

static void forget_temporary(int slot) {
    if (slot >= 0)
        atomic_store(&temporaries[slot].state, 0);
}

void output_files_remove_temporaries(void) {
    for (uint32_t i = 0; i < OUTPUT_MAX_OPEN; i++)
        if (atomic_load(&temporaries[i].state) == 2)
            unlink(temporaries[i].name);
}

static void remove_and_end(int number) {
    output_files_remove_temporaries();
    signal(number, SIG_DFL);
    raise(number); /* delivered when the handler returns */
}

void output_files_catch_signals(void) {
    const int protection = PROT_READ | PROT_WRITE;
    void *shared = mmap(NULL, sizeof own_names, protection, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared != MAP_FAILED)
        temporaries = shared;
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGSEGV, SIGABRT, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct sigaction old, action = {.sa_handler = remove_and_end};
        /* nohup and the shell's background jobs ignore some, and sanitizers catch some; so it stays. */
        if (sigaction(ends[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL)
            sigaction(ends[i], &action, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);
}

/* ---- inputs ---- */

void input_files_add_id(input_files *inputs, uint64_t device, uint64_t inode) {
    if (inputs->n == inputs->room) {
        const uint32_t room = inputs->room ? 2 * inputs->room : 8;
        struct input_file *more = realloc(inputs->file, room * sizeof *more);
        if (!more) {
            inputs->incomplete = true;
            return;
        }
        inputs->file = more;
        inputs->room = room;
    }
    inputs->file[inputs->n++] = (struct input_file){device, inode};
}

void input_files_add(input_files *inputs, const char *path) {
    struct stat info;
    if (path && stat(path, &info) == 0 && S_ISREG(info.st_mode))
        input_files_add_id(inputs, info.st_dev, info.st_ino);
}

void input_files_free(input_files *inputs) {
    free(inputs->file);
    *inputs = (input_files){0};
}

static bool is_input(const input_files *inputs, const struct stat *info) {
    for (uint32_t i = 0; inputs && i < inputs->n; i++)
        if (inputs->file[i].device == info->st_dev && inputs->file[i].inode == info->st_ino)
            return true;
    return false;
}

static const char *standard_stream(const struct stat *info) {
    static const char *const names[] = {"input", "output", "error"};
    for (int fd = 0; fd < 3; fd++) {
        struct stat stream;
        if (fstat(fd, &stream) == 0 && stream.st_dev == info->st_dev && stream.st_ino == info->st_ino)
            return names[fd];
    }
    return NULL;
}

/* ---- kinds of files ---- */

const char *file_kind_name(mode_t mode) {
    return S_ISREG(mode)    ? "a regular file"
           : S_ISDIR(mode)  ? "a folder"
           : S_ISFIFO(mode) ? "a FIFO"
           : S_ISCHR(mode)  ? "a character device"
           : S_ISBLK(mode)  ? "a block device"
           : S_ISSOCK(mode) ? "a socket"
                            : "no regular file";
}

static int refuse(tandem_message *message, const char *path, const char *why) {
    return message_fail(message, TANDEM_E_INTERNAL, "cannot write %s: %s", path, why);
}

int output_open_special(const char *path, const struct stat *info, uint32_t flags, int *fd,
                        tandem_message *message) {
    if (!S_ISFIFO(info->st_mode) && !S_ISCHR(info->st_mode)) {
        char why[80];
        snprintf(why, sizeof why, "it is %s", file_kind_name(info->st_mode));
        return refuse(message, path, why);
    }
    /* Not to wait for a reader that may never come. */
    int opened = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (opened < 0 && errno == ENXIO && S_ISFIFO(info->st_mode))
        return refuse(message, path, "it is a FIFO that nobody reads; start its reader first");
    if (opened < 0)
        return refuse(message, path, strerror(errno));
    if (flags & OUTPUT_BINARY && isatty(opened)) {
        close(opened);
        return refuse(message, path, "it is a terminal, and this is no text");
    }
    if (fcntl(opened, F_SETFL, fcntl(opened, F_GETFL) & ~O_NONBLOCK) < 0) {
        const int code = errno;
        close(opened);
        return refuse(message, path, strerror(code));
    }
    *fd = opened;
    return TANDEM_OK;
}

/* ---- begin ---- */

/* The path that a chain of links ends at, whether something is there or not. NULL: errno. */
static char *follow_links(const char *path) {
    char *at = strdup(path);
    for (uint32_t i = 0; at && i <= MAX_LINKS; i++) {
        char link[PATH_MAX];
        const ssize_t n = readlink(at, link, sizeof link - 1);
        if (n < 0)
            return at; /* no link, or nothing at all */
        link[n] = 0;
        const char *slash = strrchr(at, '/');
        const size_t folder = link[0] == '/' || !slash ? 0 : (size_t)(slash - at) + 1;
        char *next = malloc(folder + (size_t)n + 1);
        if (next) {
            memcpy(next, at, folder);
            memcpy(next + folder, link, (size_t)n + 1);
        }
        free(at);
        at = next;
    }
    errno = at ? ELOOP : ENOMEM;
    free(at);
    return NULL;
}

static bool same_file(const char *path, const struct stat *info) {
    struct stat other;
    return lstat(path, &other) == 0 && other.st_dev == info->st_dev && other.st_ino == info->st_ino;
}

/* The mode and, where this process may give files away, the owner of the file that will be replaced. */
static void keep_mode(int fd, const struct stat *old) {
    if (fchown(fd, old->st_uid, old->st_gid) != 0)
        errno = 0;
    (void)fchmod(fd, old->st_mode & 0777);
}

static int make_temporary(output_file *f, const struct stat *old, tandem_message *message) {
    const char *slash = strrchr(f->target, '/'), *name = slash ? slash + 1 : f->target;
    const size_t size = strlen(f->target) + 48;
    sigset_t all, before;
    f->temporary = malloc(size);
    if (!f->temporary)
        return message_out_of_memory(message, "a path", size);
    /* A signal between making the file and noting its name would leave it. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (uint32_t i = 0; i < MAX_TEMPORARIES && f->fd < 0; i++) {
        snprintf(f->temporary, size, "%.*s%.*s.partial-%ld-%u", (int)(name - f->target), f->target,
                 MAX_NAME_KEPT, name, (long)getpid(), i);
        f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno != EEXIST)
            break;
    }
    const int code = errno;
    f->slot = f->fd < 0 ? -1 : keep_temporary(f->temporary);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (f->fd < 0) {
        free(f->temporary);
        f->temporary = NULL;
        return refuse(message, f->path, strerror(code));
    }
    if (f->slot < 0)
        return refuse(message, f->path, "too many results are being written at once");
    if (old)
        keep_mode(f->fd, old);
    return TANDEM_OK;
}

static int open_output(output_file *f, uint32_t flags, const input_files *inputs, tandem_message *message) {
    struct stat info;
    const bool there = stat(f->path, &info) == 0;
    if (!there && errno != ENOENT)
        return refuse(message, f->path, strerror(errno));
    if (!f->path[0])
        return refuse(message, "the result", "its name is empty");
    if (there && !S_ISREG(info.st_mode))
        return output_open_special(f->path, &info, flags, &f->fd, message);
    if (inputs && inputs->incomplete)
        return message_out_of_memory(message, "a list of files", inputs->room * sizeof *inputs->file);
    if (there && is_input(inputs, &info))
        return refuse(message, f->path, "it is a file that this command reads");
    const char *stream = there ? standard_stream(&info) : NULL;
    if (stream) {
        char why[80];
        snprintf(why, sizeof why, "it is the standard %s of this command", stream);
        return refuse(message, f->path, why);
    }
    if (there && faccessat(AT_FDCWD, f->path, W_OK, AT_EACCESS) != 0)
        return refuse(message, f->path, strerror(errno));
    f->target = follow_links(f->path);
    if (!f->target)
        return errno == ENOMEM ? message_out_of_memory(message, "a path", PATH_MAX)
                               : refuse(message, f->path, strerror(errno));
    if (there && !same_file(f->target, &info)) /* a link of /proc to a file without a name */
        return refuse(message, f->path, "the file that it leads to has no name any more");
    return make_temporary(f, there ? &info : NULL, message);
}

int output_file_begin(output_file **out, const char *path, uint32_t flags, const input_files *inputs,
                      tandem_message *message) {
    output_file *f = malloc(sizeof *f);
    if (!f)
        return message_out_of_memory(message, "a buffer", sizeof *f);
    f->status = TANDEM_OK;
    f->fd = f->slot = -1;
    f->n = 0;
    f->target = f->temporary = NULL;
    f->path = strdup(path);
    const int status = f->path ? open_output(f, flags, inputs, message)
                               : message_out_of_memory(message, "a path", strlen(path));
    if (status) {
        output_file_abort(f);
        return status;
    }
    *out = f;
    return TANDEM_OK;
}

/* ---- writing ---- */

static int fail(output_file *f, int code) {
    if (f->status == TANDEM_OK)
        f->status = refuse(&f->failure, f->path, strerror(code));
    return f->status;
}

static int flush(output_file *f) {
    const uint8_t *data = f->buffer;
    while (f->n > 0 && f->status == TANDEM_OK) {
        const ssize_t done = write(f->fd, data, f->n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail(f, done < 0 ? errno : ENOSPC);
        data += done;
        f->n -= (size_t)done;
    }
    return f->status;
}

int output_file_write(output_file *f, const void *data, uint64_t n) {
    const uint8_t *from = data;
    while (n > 0 && f->status == TANDEM_OK) {
        const size_t room = sizeof f->buffer - f->n, some = n < room ? (size_t)n : room;
        memcpy(f->buffer + f->n, from, some);
        f->n += some;
        from += some;
        n -= some;
        if (f->n == sizeof f->buffer)
            flush(f);
    }
    return f->status;
}

int output_file_printf(output_file *f, const char *format, ...) {
    char text[512]; /* of one call; ours are names and numbers */
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof text)
        return fail(f, EOVERFLOW);
    return output_file_write(f, text, (uint64_t)n);
}

int output_file_reserve(output_file *f, uint64_t bytes) {
    if (f->status == TANDEM_OK && f->target && bytes > 0 && bytes <= INT64_MAX &&
        fallocate(f->fd, 0, 0, (off_t)bytes) != 0 && (errno == ENOSPC || errno == EFBIG || errno == EDQUOT))
        f->status = message_fail(&f->failure, TANDEM_E_INTERNAL, "cannot write %s: it needs %llu bytes: %s",
                                 f->path, (unsigned long long)bytes, strerror(errno));
    return f->status;
}

int output_file_status(const output_file *f) {
    return f->status;
}

/* ---- end ---- */

/* What has come to lie at the target meanwhile is replaced only if it is a regular file. */
static int replace(output_file *f) {
    struct stat info;
    if (lstat(f->target, &info) == 0 && !S_ISREG(info.st_mode))
        return fail(f, EEXIST);
    if (rename(f->temporary, f->target) != 0)
        return fail(f, errno);
    forget_temporary(f->slot);
    f->slot = -1;
    free(f->temporary);
    f->temporary = NULL;
    return TANDEM_OK;
}

int output_file_end(output_file *f, tandem_message *message) {
    if (flush(f) == TANDEM_OK && f->target && fsync(f->fd) != 0)
        fail(f, errno);
    const int fd = f->fd;
    f->fd = -1;
    if (close(fd) != 0)
        fail(f, errno);
    if (f->status == TANDEM_OK && f->target)
        replace(f);
    const int status = f->status;
    if (status != TANDEM_OK && message)
        *message = f->failure;
    output_file_abort(f);
    return status;
}

void output_file_abort(output_file *f) {
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    if (f->temporary) {
        unlink(f->temporary);
        forget_temporary(f->slot);
    }
    free(f->temporary);
    free(f->target);
    free(f->path);
    free(f);
}
