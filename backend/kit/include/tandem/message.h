/* tandem/message.h: filling a tandem_error, and words for the status codes.
 *
 * Part of tandem-kit. All functions are [any-thread]; `error` may be NULL. They honour error->struct_size:
 * nothing is written beyond it, and the size filled is stored. A message is one sentence without a full stop;
 * what does not fit is cut between two characters.
 */
#ifndef TANDEM_MESSAGE_H
#define TANDEM_MESSAGE_H

#include <tandem/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TANDEM_KIT_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define TANDEM_KIT_PRINTF(text, first)
#endif

/* Fills the error and returns `status`, so that a caller can write `return tandem_kit_fail(error, ...)`. */
tandem_status tandem_kit_fail(tandem_error *error, tandem_status status, const char *format, ...)
    TANDEM_KIT_PRINTF(3, 4);

/* The same about op number op_index of a program. */
tandem_status tandem_kit_fail_op(tandem_error *error, tandem_status status, uint32_t op_index,
                                 const char *format, ...) TANDEM_KIT_PRINTF(4, 5);

/* The same with the code of a driver or of errno. */
tandem_status tandem_kit_fail_driver(tandem_error *error, tandem_status status, int64_t driver_code,
                                     const char *format, ...) TANDEM_KIT_PRINTF(4, 5);

/* "OUT_OF_MEMORY"; "unknown status" for a number that no version of the ABI has. */
const char *tandem_kit_status_name(tandem_status status);

/* "memory or the memory cap is exhausted" */
const char *tandem_kit_status_sentence(tandem_status status);

/* Makes a text of a stranger fit for a terminal and for JSON: bytes that are no UTF-8, control characters
 * (those of C1 too) and marks that turn the direction of writing become '?'. The length stays. */
void tandem_kit_printable(char *text);

/* 1: one of the codes of tandem/base.h. */
int tandem_kit_status_known(tandem_status status);

#ifdef __cplusplus
}
#endif
#endif
