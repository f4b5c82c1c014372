/* host/journal.c: appends and reads JSON lines. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "output_file.h"

#define JOURNAL_HEAD "{\"schema\":\"" JOURNAL_SCHEMA "\",\"version\":1,\"row\":\"journal\",\"key\":\"\","
#define JOURNAL_TIME_BYTES 32

_Static_assert(JOURNAL_VERSION == 1, "the head says it too");

const char *json_text(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(item) ? item->valuestring : "";
}

double json_number(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool json_true(const cJSON *object, const char *name) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* Of now, UTC. */
static void journal_time(char when[JOURNAL_TIME_BYTES]) {
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, JOURNAL_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static int keep_row(journal *j, cJSON *row, tandem_message *message) {
    if (j->n_row == j->max_row) {
        uint32_t room = j->max_row ? 2 * j->max_row : 64;
        cJSON **rows = realloc(j->row, room * sizeof *rows);
        if (!rows) {
            cJSON_Delete(row);
            return message_out_of_memory(message, "journal rows", room * sizeof *rows);
        }
        j->row = rows;
        j->max_row = room;
    }
    j->row[j->n_row++] = row;
    return TANDEM_OK;
}

static bool is_row(const cJSON *row) {
    return cJSON_IsObject(row) && !strcmp(json_text(row, "schema"), JOURNAL_SCHEMA);
}

static int read_line(journal *j, const char *line, size_t length, tandem_message *message) {
    cJSON *row = cJSON_ParseWithLength(line, length);
    if (!is_row(row)) {
        cJSON_Delete(row);
        j->n_broken++;
        return TANDEM_OK;
    }
    int version = (int)json_number(row, "version");
    if (version != JOURNAL_VERSION) {
        cJSON_Delete(row);
        return message_fail(message, TANDEM_E_VERSION,
                            "%s has rows of schema version %d, this program writes %d.", j->path, version,
                            JOURNAL_VERSION);
    }
    if (!strcmp(json_text(row, "row"), "journal")) { /* the head says what the file is, and nothing else */
        cJSON_Delete(row);
        return TANDEM_OK;
    }
    return keep_row(j, row, message);
}

/* The first line is a row, a head or, in journals of before there were heads, any. What power cut off while
 * the head was written has the beginning of one; *torn. */
static bool begins_as_journal(const char *line, size_t length, bool *torn) {
    const size_t n = strlen(JOURNAL_HEAD), some = length < n ? length : n;
    cJSON *row = cJSON_ParseWithLength(line, length);
    const bool good = is_row(row);
    cJSON_Delete(row);
    *torn = !good && line[length - 1] != '\n' && !memcmp(line, JOURNAL_HEAD, some);
    return good || *torn;
}

static int read_rows(journal *j, bool *torn, tandem_message *message) {
    FILE *file = fopen(j->path, "r");
    if (!file)
        return message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read: %s.", j->path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int status = TANDEM_OK;
    for (bool first = true; !status && (length = getline(&line, &room, file)) >= 0; first = false) {
        j->open_line = line[length - 1] != '\n';
        if (first && !begins_as_journal(line, (size_t)length, torn))
            status = message_fail(message, TANDEM_E_UNSUPPORTED,
                                  "%s is no journal: its first line is no row of the schema " JOURNAL_SCHEMA
                                  "; it was left as it is.",
                                  j->path);
        else if (length > 1)
            status = read_line(j, line, (size_t)length, message);
    }
    if (!status && ferror(file))
        status = message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read: %s.", j->path, strerror(errno));
    free(line);
    fclose(file);
    return status;
}

/* ---- one writer ---- */

/* Who holds a lock of flock on the file, by the kernel's list; 0: not there. */
static long lock_holder(const struct stat *info) {
    FILE *file = fopen("/proc/locks", "r");
    char line[256], kind[16];
    long pid = 0, found;
    unsigned device[2];
    unsigned long long inode;
    while (file && !pid && fgets(line, sizeof line, file))
        if (sscanf(line, "%*s %15s %*s %*s %ld %x:%x:%llu", kind, &found, &device[0], &device[1], &inode) ==
                5 &&
            !strcmp(kind, "FLOCK") && inode == info->st_ino && device[0] == major(info->st_dev) &&
            device[1] == minor(info->st_dev) && found > 0)
            pid = found;
    if (file)
        fclose(file);
    return pid;
}

static int lock(const journal *j, const struct stat *info, tandem_message *message) {
    char who[48] = "another process";
    if (flock(j->fd, LOCK_EX | LOCK_NB) == 0)
        return TANDEM_OK;
    if (errno != EWOULDBLOCK)
        return message_fail(message, TANDEM_E_INTERNAL, "The journal %s cannot be locked: %s.", j->path,
                            strerror(errno));
    const long pid = lock_holder(info);
    if (pid)
        snprintf(who, sizeof who, "process %ld", pid);
    return message_fail(message, TANDEM_E_INTERNAL,
                        "The journal %s is being written by %s; wait for it, or name another journal.",
                        j->path, who);
}

static int write_line(journal *j, const char *line, size_t length);

/* On failure the file is as empty as it was. */
static int write_head(journal *j, tandem_message *message) {
    char line[sizeof JOURNAL_HEAD + 64], when[JOURNAL_TIME_BYTES];
    journal_time(when);
    const int n = snprintf(line, sizeof line, JOURNAL_HEAD "\"time\":\"%s\"}\n", when);
    const int code = write_line(j, line, (size_t)n);
    if (!code)
        return TANDEM_OK;
    if (ftruncate(j->fd, 0) != 0)
        errno = 0; /* a pipe or a device */
    return message_fail(message, TANDEM_E_INTERNAL, "The journal %s cannot be written: %s.", j->path,
                        strerror(code));
}

static int open_special(journal *j, const struct stat *info, tandem_message *message) {
    tandem_message why;
    if (output_open_special(j->path, info, 0, &j->fd, &why))
        return message_fail(message, TANDEM_E_INTERNAL, "The journal cannot be opened: %s.", why.text);
    return write_head(j, message);
}

static int open_regular(journal *j, tandem_message *message) {
    struct stat info;
    bool torn = false;
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (j->fd < 0 || fstat(j->fd, &info) != 0)
        return message_fail(message, TANDEM_E_INTERNAL, "The journal %s cannot be opened: %s.", j->path,
                            strerror(errno));
    int status = lock(j, &info, message);
    if (!status)
        status = read_rows(j, &torn, message);
    if (!status && fstat(j->fd, &info) == 0 && (torn || info.st_size == 0)) {
        if (torn && ftruncate(j->fd, 0) != 0)
            return message_fail(message, TANDEM_E_INTERNAL, "The journal %s cannot be written: %s.", j->path,
                                strerror(errno));
        j->open_line = false;
        j->n_broken = 0;
        status = write_head(j, message);
    }
    return status;
}

static int begin(journal *j, const char *path, tandem_message *message) {
    *j = (journal){.fd = -1};
    j->path = strdup(path);
    return j->path ? TANDEM_OK : message_out_of_memory(message, "a path", strlen(path));
}

int journal_open(journal *j, const char *path, tandem_message *message) {
    struct stat info;
    int status = begin(j, path, message);
    if (!status)
        status = stat(path, &info) == 0 && !S_ISREG(info.st_mode) ? open_special(j, &info, message)
                                                                  : open_regular(j, message);
    if (status)
        journal_close(j);
    return status;
}

int journal_open_existing(journal *j, const char *path, tandem_message *message) {
    struct stat info;
    bool torn;
    int status = begin(j, path, message);
    if (!status && stat(path, &info) != 0)
        status = message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read: %s.", path, strerror(errno));
    else if (!status && !S_ISREG(info.st_mode))
        status = message_fail(message, TANDEM_E_INTERNAL, "%s is %s, not a journal.", path,
                              file_kind_name(info.st_mode));
    if (!status)
        status = read_rows(j, &torn, message);
    if (status)
        journal_close(j);
    return status;
}

void journal_close(journal *j) {
    for (uint32_t i = 0; i < j->n_row; i++)
        cJSON_Delete(j->row[i]);
    free(j->row);
    free(j->path);
    if (j->fd >= 0)
        close(j->fd);
    *j = (journal){.fd = -1};
}

static int write_line(journal *j, const char *line, size_t length) {
    while (length) {
        ssize_t n = write(j->fd, line, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        j->open_line = true;
        line += n;
        length -= (size_t)n;
    }
    j->open_line = false;
    /* Pipes and devices cannot be synced and say so. */
    return fsync(j->fd) != 0 && errno != EINVAL && errno != EROFS ? errno : 0;
}

void journal_stamp(cJSON *row) {
    char when[JOURNAL_TIME_BYTES];
    if (cJSON_HasObjectItem(row, "schema"))
        return;
    journal_time(when);
    cJSON_AddStringToObject(row, "schema", JOURNAL_SCHEMA);
    cJSON_AddNumberToObject(row, "version", JOURNAL_VERSION);
    cJSON_AddStringToObject(row, "time", when);
}

int journal_append(journal *j, cJSON *row, tandem_message *message) {
    journal_stamp(row);
    char *text = cJSON_PrintUnformatted(row);
    size_t length = text ? strlen(text) : 0;
    char *line = text ? malloc(length + 2) : NULL;
    if (!line) {
        cJSON_free(text);
        cJSON_Delete(row);
        return message_out_of_memory(message, "a journal row", length);
    }
    /* Closes a line that an earlier writer left half done. */
    size_t n = 0;
    if (j->open_line)
        line[n++] = '\n';
    memcpy(line + n, text, length);
    n += length;
    line[n++] = '\n';
    cJSON_free(text);
    int code = write_line(j, line, n);
    free(line);
    if (code) {
        cJSON_Delete(row);
        return message_fail(message, TANDEM_E_INTERNAL, "The journal %s cannot be written: %s.", j->path,
                            strerror(code));
    }
    return keep_row(j, row, message);
}

const cJSON *journal_find(const journal *j, const char *kind, const char *key) {
    for (uint32_t i = j->n_row; i-- > 0;)
        if (!strcmp(json_text(j->row[i], "row"), kind) && !strcmp(json_text(j->row[i], "key"), key))
            return j->row[i];
    return NULL;
}
