/* output_file.h: the one way in which results get into files.
 *
 * What the path is decides how it is written:
 *
 *     nothing, or a regular file    to a temporary file beside it, renamed over it when complete. Until then,
 * and after any failure, the old file is there as it was; mode and owner are kept a symbolic link the same
 * for what it points to; the link stays a FIFO                        straight into it; refused where nobody
 * reads it a character device            straight into it (/dev/null, /dev/full); OUTPUT_BINARY: no terminal
 *     folder, block device, socket  refused
 *
 * A file that the command reads (input_files), or that is its standard input, output or error, is refused:
 * nothing is written over what is being read. A file without write permission is refused too.
 *
 * Failures are sticky: after one every call returns it, and output_file_end tells its sentence. Temporary
 * files are removed on failure, by output_file_abort, and, in a program that asks for it, by a signal that
 * ends it.
 *
 * Threads: an output belongs to one caller; several may be open at a time (OUTPUT_MAX_OPEN).
 */
#ifndef TANDEM_HOST_OUTPUT_FILE_H
#define TANDEM_HOST_OUTPUT_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "message.h"

#define OUTPUT_MAX_OPEN 16u

/* ---- what a command reads ---- */

/* Regular files by device and inode, so that links to them are found out. Zero-initialised; input_files_free.
 */
typedef struct input_files {
    struct input_file {
        uint64_t device, inode;
    } * file;
    uint32_t n, room;
    bool incomplete; /* memory ran out: output_file_begin refuses */
} input_files;

/* A path that is NULL, missing or no regular file adds nothing. */
void input_files_add(input_files *inputs, const char *path);
void input_files_add_id(input_files *inputs, uint64_t device, uint64_t inode);
void input_files_free(input_files *inputs);

/* ---- outputs ---- */

typedef struct output_file output_file;

#define OUTPUT_BINARY 1u /* refuse a terminal */

/* inputs: may be NULL. INTERNAL, with a sentence, for what cannot be written. */
int output_file_begin(output_file **out, const char *path, uint32_t flags, const input_files *inputs,
                      tandem_message *message);

/* So many bytes will come: a full disk is known before minutes of work. What cannot reserve does nothing. */
int output_file_reserve(output_file *file, uint64_t bytes);

/* Everything goes through a buffer in memory of the process: a source that is a mapped file whose end was cut
 * off raises SIGBUS here, as everywhere, and not a strange error of write(). */
int output_file_write(output_file *file, const void *data, uint64_t n);
int output_file_printf(output_file *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* 0, or the first failure. */
int output_file_status(const output_file *file);

/* Flushes to the disk, renames and frees; on failure removes and frees. */
int output_file_end(output_file *file, tandem_message *message);
/* Gives up: the old file stays. NULL is fine. */
void output_file_abort(output_file *file);

/* Opens what is no regular file, for writing and by the rules above. Also for journals. */
int output_open_special(const char *path, const struct stat *info, uint32_t flags, int *fd,
                        tandem_message *message);

/* "a folder", "a FIFO", ... */
const char *file_kind_name(mode_t mode);

/* ---- for programs, not for libraries ---- */

/* SIGINT, SIGTERM and SIGHUP, and the signals of a crash, remove temporary files before they end the process,
 * where their action is the default one. A limit on file sizes becomes an error of the write. */
void output_files_catch_signals(void);
/* Removes them now: those of this process and, where it has called the function above, of the children that
 * it has forked since, so that a parent cleans up after one that was killed. May be called by a signal
 * handler. */
void output_files_remove_temporaries(void);

#endif
