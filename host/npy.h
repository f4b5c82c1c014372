/* host/npy.h: writes a NumPy .npy file of f32 rows as they come. */
#ifndef TANDEM_HOST_NPY_H
#define TANDEM_HOST_NPY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct npy_writer {
    FILE *file;
    const char *path; /* borrowed */
    uint64_t n_row, n_col;
    uint64_t n_written;
} npy_writer;

/* Creates the file with a header of shape [n_row, n_col], little-endian f32. False, with errno set. */
bool npy_open(npy_writer *w, const char *path, uint64_t n_row, uint64_t n_col);
bool npy_write_row(npy_writer *w, const float *row);
/* Flushes to the disk. False if anything failed on the way or rows are missing (errno 0 then). Removes a bad
 * file. */
bool npy_close(npy_writer *w);

#endif
