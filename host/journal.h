/* host/journal.h: the record of a sweep, one JSON object a line, safe against crashes, full disks and
 * interruptions.
 *
 * A row is written with one call and flushed to the disk before the next cell starts. A half-written last
 * line (power cut, kill) is noticed and left behind as a line of its own. Row schema: bench/SCHEMA.md.
 *
 * The first line says that the file is a journal: a row of kind "journal" in those that this version began,
 * any row of the schema in older ones. A file that begins otherwise is refused and left as it is. Who has a
 * journal open for writing holds a lock on it (flock) until journal_close.
 */
#ifndef TANDEM_HOST_JOURNAL_H
#define TANDEM_HOST_JOURNAL_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "message.h"

#define JOURNAL_SCHEMA "tandem-sweep"
#define JOURNAL_VERSION 1

typedef struct journal {
    char *path;
    int fd;
    uint32_t n_row, max_row;
    cJSON **row;       /* rows read at open and appended since, in order */
    uint32_t n_broken; /* lines that are no row of this schema, ignored */
    bool open_line;    /* the file does not end in a newline */
} journal;

/* Opens or creates, locks, and reads what is there. Refused: a file that is no journal; one with rows of
 * another schema version (nothing is mixed); one that another process writes, which is named. A FIFO or
 * character device is written straight through, by the rules of output_file.h. */
int journal_open(journal *j, const char *path, tandem_message *message);
/* A journal that is only read, locked by others or not: must be a regular file, and is not made. */
int journal_open_existing(journal *j, const char *path, tandem_message *message);
void journal_close(journal *j);

/* Adds schema, version and time, where they are not there yet. */
void journal_stamp(cJSON *row);

/* Stamps `row` (owned by the journal from now on, also on failure), writes and
 * syncs it. */
int journal_append(journal *j, cJSON *row, tandem_message *message);

/* The latest row of that kind and key, or NULL. */
const cJSON *journal_find(const journal *j, const char *kind, const char *key);

/* Members of a row; "" or 0 where absent or of another type. */
const char *json_text(const cJSON *object, const char *name);
double json_number(const cJSON *object, const char *name);
bool json_true(const cJSON *object, const char *name);

#endif
