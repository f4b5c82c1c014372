/* host/journal.h: the record of a sweep, one JSON object a line, safe against crashes, full disks and
 * interruptions.
 *
 * A row is written with one call and flushed to the disk before the next cell starts. A half-written last
 * line (power cut, kill) is noticed and left behind as a line of its own. Row schema: bench/SCHEMA.md.
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

/* Opens or creates; reads what is there. A file with rows of another schema version is refused: nothing is
 * mixed. */
int journal_open(journal *j, const char *path, tandem_message *message);
/* The same for a journal that is only read: a file that is not there is refused, not made. */
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
