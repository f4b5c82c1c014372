/* host/journal.c: appends and reads JSON lines. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

static int read_line(journal *j, const char *line, size_t length, tandem_message *message) {
    cJSON *row = cJSON_ParseWithLength(line, length);
    if (!cJSON_IsObject(row) || strcmp(json_text(row, "schema"), JOURNAL_SCHEMA)) {
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
    return keep_row(j, row, message);
}

static int read_rows(journal *j, tandem_message *message) {
    FILE *file = fopen(j->path, "r");
    if (!file)
        return message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read: %s.", j->path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int status = TANDEM_OK;
    while (!status && (length = getline(&line, &room, file)) >= 0) {
        j->open_line = line[length - 1] != '\n';
        if (length > 1)
            status = read_line(j, line, (size_t)length, message);
    }
    if (!status && ferror(file))
        status = message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read: %s.", j->path, strerror(errno));
    free(line);
    fclose(file);
    return status;
}

int journal_open(journal *j, const char *path, tandem_message *message) {
    *j = (journal){.fd = -1};
    j->path = strdup(path);
    if (!j->path)
        return message_out_of_memory(message, "a path", strlen(path));
    j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct stat info;
    if (j->fd < 0 || fstat(j->fd, &info) != 0) {
        int code = errno;
        journal_close(j);
        return message_fail(message, TANDEM_E_INTERNAL, "The journal %s cannot be opened: %s.", path,
                            strerror(code));
    }
    /* A pipe or /dev/full can be written, but holds no earlier rows. */
    int status = S_ISREG(info.st_mode) ? read_rows(j, message) : TANDEM_OK;
    if (status)
        journal_close(j);
    return status;
}

int journal_open_existing(journal *j, const char *path, tandem_message *message) {
    *j = (journal){.fd = -1};
    if (access(path, R_OK))
        return message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read: %s.", path, strerror(errno));
    return journal_open(j, path, message);
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
    char when[32];
    if (cJSON_HasObjectItem(row, "schema"))
        return;
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
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
