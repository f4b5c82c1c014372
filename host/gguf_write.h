/* gguf_write.h: writes GGUF version 3 files.
 *
 * Order of calls: begin; values and tensor declarations in any order; then tensor data in order of
 * declaration; end. The file is an output_file: complete or not there, and never over one of `inputs`. After
 * a failure every later call returns that failure again, so a caller may check only the last.
 *
 * Threads: one caller.
 */
#ifndef TANDEM_HOST_GGUF_WRITE_H
#define TANDEM_HOST_GGUF_WRITE_H

#include "gguf.h"
#include "output_file.h"

typedef struct gguf_writer gguf_writer;

/* inputs: files that may not be written over; may be NULL. */
int gguf_write_begin(gguf_writer **out, const char *path, const input_files *inputs, tandem_message *message);

/* Metadata. `type` is any scalar type but string; `value` points at one native value of it (bool: uint8_t).
 * general.alignment must be written before the first tensor is declared. */
int gguf_write_scalar(gguf_writer *writer, const char *key, uint32_t type, const void *value);
int gguf_write_u32(gguf_writer *writer, const char *key, uint32_t value);
int gguf_write_f32(gguf_writer *writer, const char *key, float value);
int gguf_write_bool(gguf_writer *writer, const char *key, bool value);
int gguf_write_string(gguf_writer *writer, const char *key, const char *text, size_t len);
int gguf_write_array(gguf_writer *writer, const char *key, uint32_t element, const void *values,
                     uint64_t count);
int gguf_write_strings(gguf_writer *writer, const char *key, const gguf_string *strings, uint64_t count);
/* Any value of an open file, byte for byte, nested arrays too. */
int gguf_write_copy(gguf_writer *writer, const gguf_value *value);

/* Declares the next tensor: name, type and shape. */
int gguf_write_declare(gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *dims);

/* Appends bytes to the tensor under way (the first one declared that is not yet complete). The first call
 * writes the header. A call may not cross the end of a tensor. */
int gguf_write_data(gguf_writer *writer, const void *data, uint64_t bytes);

/* 0, or the first failure. */
int gguf_write_status(const gguf_writer *writer);

/* Checks that all data came, flushes to the disk, renames, frees the writer. On failure the writer is freed
 * too. */
int gguf_write_end(gguf_writer *writer, tandem_message *message);

/* Gives up: removes the temporary file and frees. NULL is fine. */
void gguf_write_abort(gguf_writer *writer);

#endif
