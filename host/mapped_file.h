/* mapped_file.h: which addresses are files, so that a file that is cut off while it is mapped ends the
 * program with a sentence.
 *
 * Reading a page of a mapping beyond the end of its file raises SIGBUS, in whatever thread reads it. A
 * program may ask that such a signal, and no other, becomes "FILE: the file changed while it was read" and an
 * exit code; the library itself takes no signals.
 *
 * Threads: any.
 */
#ifndef TANDEM_HOST_MAPPED_FILE_H
#define TANDEM_HOST_MAPPED_FILE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mapped_file mapped_file;

/* Notes a mapping. NULL, of which the other function takes no notice, when memory is short: a fault in it is
 * fatal then. */
mapped_file *mapped_file_add(const void *bytes, uint64_t size, const char *path);
/* Before it is unmapped. */
void mapped_file_remove(mapped_file *file);

/* For programs. On SIGBUS at an address of a mapped file: calls `before` (which may only do what a signal
 * handler may), writes "tandem COMMAND: FILE: the file changed while it was read." to standard error and ends
 * the process with `code`. Any other SIGBUS goes on to what was there before. `command` is kept. */
void mapped_files_catch_faults(const char *command, int code, void (*before)(void));

#endif
