/* message.h: one sentence for the user about what went wrong.
 *
 * Every fallible function of the host returns a status of tandem/base.h (0 good, negative bad) and takes a
 * tandem_message * last, which may be NULL. On success the message is left alone.
 */
#ifndef TANDEM_HOST_MESSAGE_H
#define TANDEM_HOST_MESSAGE_H

#include <stdarg.h>

#include <tandem/base.h>

typedef struct tandem_message {
    char text[512]; /* UTF-8, one line, always terminated */
} tandem_message;

/* Writes the sentence and returns `status`, so that a refusal is one statement. Control characters and
 * invalid UTF-8 (names out of hostile files) become '?'; a sentence that does not fit ends in "...". */
int message_fail(tandem_message *message, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int message_vfail(tandem_message *message, int status, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

/* The usual sentence of a failed malloc; `what` is what the memory was for. Returns TANDEM_E_OUT_OF_MEMORY.
 */
int message_out_of_memory(tandem_message *message, const char *what, uint64_t bytes);

#endif
