/* Options from the environment, the last message, and failures that a test has armed. */
#include "fault.h"
#include "pose.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda.h>

struct options options = {
    .memory_bytes = 12ull << 30,
    .arch = 86,
    .sms = 28,
    .driver_version = 13000,
    .races = 1,
    .uninitialised = 1,
    .limit = 1000000000000ull,
};

static pthread_mutex_t lock =
    PTHREAD_MUTEX_INITIALIZER; /* messages and counts; the API has a lock of its own */
static char last[2048];

static __thread uint64_t n_message;

static void say(const char *format, va_list arguments, bool quietly) {
    pthread_mutex_lock(&lock);
    vsnprintf(last, sizeof last, format, arguments);
    if (!options.quiet && !quietly)
        fprintf(stderr, "cudasim: %s\n", last);
    pthread_mutex_unlock(&lock);
    n_message++;
}

void message(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments, false);
    va_end(arguments);
}

void message_quietly(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments, true);
    va_end(arguments);
}

uint64_t message_count(void) {
    return n_message;
}

const char *message_last(void) {
    static __thread char copy[sizeof last];
    pthread_mutex_lock(&lock);
    memcpy(copy, last, sizeof last);
    pthread_mutex_unlock(&lock);
    return copy;
}

/* ---- options ---- */

enum option_type {
    OPTION_BYTES,
    OPTION_NUMBER,
    OPTION_NUMBER32,
    OPTION_TEXT,
    OPTION_FAIL,
    OPTION_ARCH,
    OPTION_DRIVER
};

static const struct option {
    const char *name;
    enum option_type type;
    void *where;
    uint64_t least, most;
} option_table[] = {
    {"MEMORY", OPTION_BYTES, &options.memory_bytes, 1, 1ull << 42},
    {"ARCH", OPTION_ARCH, NULL, 0, 0},
    {"SMS", OPTION_NUMBER32, &options.sms, 1, 1024},
    {"DRIVER_VERSION", OPTION_DRIVER, NULL, 0, 0},
    {"SEED", OPTION_NUMBER, &options.seed, 0, UINT64_MAX},
    {"RACES", OPTION_NUMBER32, &options.races, 0, 1},
    {"UNINITIALISED", OPTION_NUMBER32, &options.uninitialised, 0, 1},
    {"LIMIT", OPTION_NUMBER, &options.limit, 1, UINT64_MAX},
    {"LAUNCHES", OPTION_NUMBER32, &options.launches, 0, 1000000},
    {"LINES", OPTION_NUMBER32, &options.lines, 0, 1000000},
    {"QUIET", OPTION_NUMBER32, &options.quiet, 0, 1},
    {"COUNTERS", OPTION_TEXT, options.counters, 0, sizeof options.counters},
    {"TRACE", OPTION_TEXT, options.trace, 0, sizeof options.trace},
    {"FAIL", OPTION_FAIL, NULL, 0, 0},
};
enum { N_OPTION = sizeof option_table / sizeof *option_table };

static bool parse_number(const char *text, bool suffix, uint64_t *value) {
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    *value = strtoull(text, &end, 0);
    if (suffix && *end && !end[1]) {
        const int shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        if (!shift || *value > UINT64_MAX >> shift)
            return false;
        *value <<= shift;
        end++;
    }
    return !*end;
}

static int set_arch(const char *value) {
    uint64_t arch;
    if (!parse_number(value, false, &arch) || arch > UINT32_MAX || !pose_device((uint32_t)arch)) {
        message("CUDASIM_ARCH=%s is no compute capability that is simulated: 80, 86, 87, 89, 90, 100, 103, "
                "120 or 121",
                value);
        return -1;
    }
    options.arch = (uint32_t)arch;
    return 0;
}

static int set_driver(const char *value) {
    const uint32_t version = pose_parse_version(value);
    if (!version) {
        message("CUDASIM_DRIVER_VERSION=%s is no version of CUDA from 11.0 to 13.0, such as 12.2 or 12020",
                value);
        return -1;
    }
    options.driver_version = version;
    entries_pose(version);
    return 0;
}

int cudasim_option(const char *name, const char *value) {
    for (int i = 0; i < N_OPTION; i++) {
        const struct option *o = &option_table[i];
        uint64_t number = 0;
        if (strcmp(o->name, name))
            continue;
        if (o->type == OPTION_FAIL)
            return cudasim_fail(value);
        if (o->type == OPTION_ARCH)
            return set_arch(value);
        if (o->type == OPTION_DRIVER)
            return set_driver(value);
        if (o->type == OPTION_TEXT) {
            if (strlen(value) >= o->most) {
                message("CUDASIM_%s is too long", name);
                return -1;
            }
            strcpy(o->where, value);
            return 0;
        }
        if (!parse_number(value, o->type == OPTION_BYTES, &number) || number < o->least || number > o->most) {
            message("CUDASIM_%s=%s is not a number from %llu to %llu", name, value,
                    (unsigned long long)o->least, (unsigned long long)o->most);
            return -1;
        }
        if (o->type == OPTION_NUMBER32)
            *(uint32_t *)o->where = (uint32_t)number;
        else
            *(uint64_t *)o->where = number;
        return 0;
    }
    message("there is no option CUDASIM_%s", name);
    return -1;
}

bool options_load(void) {
    static bool loaded, good;
    if (loaded)
        return good;
    loaded = good = true;
    extern char **environ;
    for (char **e = environ; *e; e++) {
        char name[64];
        const char *equal = strchr(*e, '=');
        if (strncmp(*e, "CUDASIM_", 8) || !equal || (size_t)(equal - *e) >= sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(equal - *e - 8), *e + 8);
        good &= cudasim_option(name, equal + 1) == 0;
    }
    return good;
}

/* ---- injected failures ---- */

enum { MAX_FAILURE = 64, MAX_NAME = 256 };

static struct failure {
    char name[64];
    uint64_t at;
    bool onwards, lost;
    int code;
} failures[MAX_FAILURE];
static uint32_t n_failure;

static struct {
    char name[64];
    uint64_t count;
} calls[MAX_NAME];
static uint32_t n_name;

static const struct {
    const char *name;
    int code;
    bool lost;
} failure_names[] = {
    {"oom", CUDA_ERROR_OUT_OF_MEMORY, false},     {"lost", CUDA_ERROR_UNKNOWN, true},
    {"fault", CUDA_ERROR_LAUNCH_FAILED, false},   {"ecc", CUDA_ERROR_ECC_UNCORRECTABLE, true},
    {"invalid", CUDA_ERROR_INVALID_VALUE, false}, {"unsupported", CUDA_ERROR_NOT_SUPPORTED, false},
};

/* NAME@N=CODE or NAME@N+=CODE */
static bool parse_failure(const char *text, size_t length, struct failure *f) {
    char copy[128], code[32];
    unsigned long long at;
    int used = 0;
    memset(f, 0, sizeof *f);
    if (length >= sizeof copy)
        return false;
    memcpy(copy, text, length);
    copy[length] = 0;
    if (sscanf(copy, "%63[A-Za-z0-9]@%llu%n", f->name, &at, &used) != 2 || !at)
        return false;
    f->at = at;
    f->onwards = copy[used] == '+';
    if (sscanf(copy + used + f->onwards, "=%31[a-z0-9]%n", code, &used) != 1)
        return false;
    for (size_t i = 0; i < sizeof failure_names / sizeof *failure_names; i++)
        if (!strcmp(code, failure_names[i].name)) {
            f->code = failure_names[i].code;
            f->lost = failure_names[i].lost;
            return true;
        }
    uint64_t number;
    if (!parse_number(code, false, &number) || !number || number > 999)
        return false;
    f->code = (int)number;
    return true;
}

int cudasim_fail(const char *spec) {
    struct failure parsed[MAX_FAILURE];
    uint32_t n = 0;
    for (const char *at = spec ? spec : ""; *at;) {
        const size_t length = strcspn(at, ",");
        if (n == MAX_FAILURE || !parse_failure(at, length, &parsed[n])) {
            message("CUDASIM_FAIL: '%.*s' is not NAME@N=CODE", (int)length, at);
            return -1;
        }
        n++;
        at += length + (at[length] == ',');
    }
    pthread_mutex_lock(&lock);
    memcpy(failures, parsed, n * sizeof *parsed);
    n_failure = n;
    n_name = 0;
    pthread_mutex_unlock(&lock);
    return 0;
}

static uint64_t count_call(const char *name) {
    for (uint32_t i = 0; i < n_name; i++)
        if (!strcmp(calls[i].name, name))
            return ++calls[i].count;
    if (n_name == MAX_NAME)
        return 0;
    snprintf(calls[n_name].name, sizeof calls->name, "%s", name);
    calls[n_name].count = 1;
    n_name++;
    return 1;
}

int fail_check(const char *name, bool *lost) {
    int code = 0;
    pthread_mutex_lock(&lock);
    const uint64_t count = count_call(name);
    for (uint32_t i = 0; i < n_failure && !code; i++)
        if (!strcmp(failures[i].name, name) &&
            (failures[i].onwards ? count >= failures[i].at : count == failures[i].at)) {
            code = failures[i].code;
            *lost = failures[i].lost;
        }
    pthread_mutex_unlock(&lock);
    return code;
}

uint64_t fail_calls(const char *name) {
    uint64_t count = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; i < n_name; i++)
        if (!strcmp(calls[i].name, name))
            count = calls[i].count;
    pthread_mutex_unlock(&lock);
    return count;
}

void fail_reset_counts(void) {
    pthread_mutex_lock(&lock);
    n_name = 0;
    pthread_mutex_unlock(&lock);
}

uint32_t fail_names(void) {
    return n_name;
}

const char *fail_name(uint32_t index, uint64_t *count) {
    *count = calls[index].count;
    return calls[index].name;
}
