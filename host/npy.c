/* host/npy.c: NumPy format version 1.0: magic, header length, a Python dictionary padded to 64 bytes, the
 * data. */
#include "npy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NPY_HEADER_BYTES 128

int npy_begin(npy_writer *w, const char *path, uint64_t n_row, uint64_t n_col, const input_files *inputs,
              tandem_message *message) {
    *w = (npy_writer){.n_row = n_row, .n_col = n_col};
    int status = output_file_begin(&w->file, path, OUTPUT_BINARY, inputs, message);
    if (status)
        return status;
    char header[NPY_HEADER_BYTES + 1];
    int n = snprintf(header, sizeof header,
                     "\x93NUMPY%c%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64
                     ", %" PRIu64 "), }",
                     1, 0, NPY_HEADER_BYTES - 10, 0, n_row, n_col);
    memset(header + n, ' ', (size_t)(NPY_HEADER_BYTES - n));
    header[NPY_HEADER_BYTES - 1] = '\n';
    output_file_reserve(w->file, NPY_HEADER_BYTES + n_row * n_col * sizeof(float));
    if (output_file_write(w->file, header, NPY_HEADER_BYTES) == TANDEM_OK)
        return TANDEM_OK;
    status = output_file_end(w->file, message);
    w->file = NULL;
    return status;
}

int npy_write_row(npy_writer *w, const float *row) {
    w->n_written++;
    return output_file_write(w->file, row, w->n_col * sizeof *row);
}

int npy_status(const npy_writer *w) {
    return w->file ? output_file_status(w->file) : TANDEM_OK;
}

int npy_end(npy_writer *w, tandem_message *message) {
    output_file *file = w->file;
    w->file = NULL;
    if (w->n_written != w->n_row && output_file_status(file) == TANDEM_OK) {
        output_file_abort(file);
        return message_fail(message, TANDEM_E_INTERNAL, "%llu of %llu rows were written",
                            (unsigned long long)w->n_written, (unsigned long long)w->n_row);
    }
    return output_file_end(file, message);
}

void npy_abort(npy_writer *w) {
    output_file_abort(w->file);
    w->file = NULL;
}
