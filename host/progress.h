/* host/progress.h: progress of long work on standard error, with an estimate of the time left.
 *
 * On a terminal one line is rewritten in place; elsewhere a plain line appears every few seconds. Lines keep
 * to 80 columns.
 */
#ifndef TANDEM_HOST_PROGRESS_H
#define TANDEM_HOST_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    char what[40];
    double total; /* work units; any scale */
    uint64_t start_ns, shown_ns;
    bool terminal, line_open;
    bool silent;
} progress;

/* Monotonic clock. */
uint64_t now_ns(void);

/* "1 h 20 min", "3 min 05 s", "12 s". Returns text. */
char *format_duration(double seconds, char *text, uint32_t size);
/* "1.25 GiB", "300.0 MiB", "12 B". Returns text. */
char *format_bytes(uint64_t bytes, char *text, uint32_t size);

void progress_start(progress *p, const char *what, double total);
/* Shows `done` of the total, at most a few times a second; `note` may be NULL. */
void progress_show(progress *p, double done, const char *note);
/* Ends the line of a terminal, so that other text may follow. */
void progress_end(progress *p);

#endif
