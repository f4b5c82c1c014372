/* host/npy.h: writes a NumPy .npy file of f32 rows as they come. */
#ifndef TANDEM_HOST_NPY_H
#define TANDEM_HOST_NPY_H

#include "output_file.h"

typedef struct npy_writer {
    output_file *file; /* NULL: none is open */
    uint64_t n_row, n_col;
    uint64_t n_written;
} npy_writer;

/* Begins the file with a header of shape [n_row, n_col], little-endian f32. Failures are sticky, as in
 * output_file.h. */
int npy_begin(npy_writer *w, const char *path, uint64_t n_row, uint64_t n_col, const input_files *inputs,
              tandem_message *message);
int npy_write_row(npy_writer *w, const float *row);
/* 0, or the first failure. */
int npy_status(const npy_writer *w);
/* Completes the file; refuses where rows are missing. */
int npy_end(npy_writer *w, tandem_message *message);
/* Gives up: what was there before stays. Nothing open is fine. */
void npy_abort(npy_writer *w);

#endif
