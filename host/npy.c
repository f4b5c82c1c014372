/* host/npy.c: NumPy format version 1.0: magic, header length, a Python dictionary padded to 64 bytes, the
 * data. */
#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NPY_HEADER_BYTES 128

bool npy_open(npy_writer *w, const char *path, uint64_t n_row, uint64_t n_col) {
    *w = (npy_writer){.path = path, .n_row = n_row, .n_col = n_col};
    w->file = fopen(path, "wb");
    if (!w->file)
        return false;
    char header[NPY_HEADER_BYTES + 1];
    int n = snprintf(header, sizeof header,
                     "\x93NUMPY%c%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64
                     ", %" PRIu64 "), }",
                     1, 0, NPY_HEADER_BYTES - 10, 0, n_row, n_col);
    memset(header + n, ' ', (size_t)(NPY_HEADER_BYTES - n));
    header[NPY_HEADER_BYTES - 1] = '\n';
    if (fwrite(header, NPY_HEADER_BYTES, 1, w->file) == 1)
        return true;
    int code = errno;
    fclose(w->file);
    w->file = NULL;
    errno = code;
    return false;
}

bool npy_write_row(npy_writer *w, const float *row) {
    if (fwrite(row, sizeof *row, w->n_col, w->file) != w->n_col)
        return false;
    w->n_written++;
    return true;
}

bool npy_close(npy_writer *w) {
    if (!w->file)
        return true;
    struct stat info;
    bool regular = fstat(fileno(w->file), &info) == 0 && S_ISREG(info.st_mode);
    errno = 0;
    bool good = fflush(w->file) == 0 && !ferror(w->file);
    int code = errno;
    if (fclose(w->file) != 0 && good) {
        good = false;
        code = errno;
    }
    w->file = NULL;
    if (good && w->n_written != w->n_row)
        good = false;
    if (!good && regular) /* never a device that was named as the file */
        unlink(w->path);
    errno = code;
    return good;
}
