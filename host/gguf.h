/* gguf.h: reads GGUF files (versions 2 and 3, little-endian), trusting no byte.
 *
 * The file is mapped, not copied: strings, arrays and tensor data are pointers into the mapping and live as
 * long as the gguf_file. Memory is proportional to the header. A file in parts (-00001-of-0000N.gguf) is
 * opened through its first part and looks like one file. All checks are made against the size at open: a file
 * that another process truncates while it is mapped raises SIGBUS on access, as with any mapping;
 * mapped_file.h lets a program end with a sentence then.
 *
 * Threads: opening and closing belong to one caller; every const function may be called from any thread.
 */
#ifndef TANDEM_HOST_GGUF_H
#define TANDEM_HOST_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "output_file.h"

#define GGUF_U8 0u
#define GGUF_I8 1u
#define GGUF_U16 2u
#define GGUF_I16 3u
#define GGUF_U32 4u
#define GGUF_I32 5u
#define GGUF_F32 6u
#define GGUF_BOOL 7u
#define GGUF_STRING 8u
#define GGUF_ARRAY 9u
#define GGUF_U64 10u
#define GGUF_I64 11u
#define GGUF_F64 12u
#define GGUF_N_TYPE 13u

#define GGUF_MAX_DIMS 4u
#define GGUF_MAX_NAME 64u /* bytes of a tensor name, terminator included */
#define GGUF_DEFAULT_ALIGNMENT 32u

typedef struct gguf_file gguf_file;

/* Bytes inside the mapping; not terminated. */
typedef struct gguf_string {
    const char *data;
    uint64_t len;
} gguf_string;

/* One key-value pair. For arrays `element` is the element type and `count` the length; for scalars element ==
 * type and count == 1. Read values through the functions below: `data` is unaligned. */
typedef struct gguf_value {
    gguf_string key;
    uint32_t type;
    uint32_t element;
    uint64_t count;
    const uint8_t *data;
    uint64_t encoded_bytes; /* of the elements in the file, for copying */
    uint64_t string_base;   /* private: index of an array's first string in the table of string positions */
} gguf_value;

typedef struct gguf_tensor {
    char name[GGUF_MAX_NAME];
    uint32_t type; /* GGUF type number, known or not */
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* fastest first; 1 beyond n_dims */
    const uint8_t *data;          /* inside the mapping */
    uint64_t bytes;               /* 0 where the type's block size is not known: not readable, but no error */
    uint32_t part;                /* which file of a split model */
    uint32_t reserved;
} gguf_tensor;

/* Opens `path`; if split.count > 1 its siblings too. */
int gguf_open(gguf_file **out, const char *path, tandem_message *message);

/* The same checks over bytes that the caller keeps alive (tests, fuzzing, embedded models). Split files are
 * refused. */
int gguf_open_memory(gguf_file **out, const void *data, uint64_t size, tandem_message *message);

void gguf_close(gguf_file *file); /* NULL is fine */

/* UNSUPPORTED, with a sentence, where a part has another size or time of change than when it was opened: what
 * was read may be of two files. A file that was replaced under its name is another one, and the mapped one is
 * as it was. */
int gguf_check_unchanged(const gguf_file *file, tandem_message *message);

/* Adds the files of all parts to those that may not be written over. */
void gguf_add_inputs(const gguf_file *file, input_files *inputs);

const char *gguf_path(const gguf_file *file); /* "" for memory */
uint32_t gguf_version(const gguf_file *file);
uint64_t gguf_alignment(const gguf_file *file);
uint64_t gguf_file_bytes(const gguf_file *file); /* of all parts */
uint32_t gguf_n_parts(const gguf_file *file);

/* Key-values, in file order (of the first part). gguf_value_by_key: NULL if absent; O(1). */
uint64_t gguf_n_values(const gguf_file *file);
const gguf_value *gguf_value_at(const gguf_file *file, uint64_t index);
const gguf_value *gguf_value_by_key(const gguf_file *file, const char *key);

/* Tensors, in file order, part after part. gguf_tensor_by_name: NULL if absent; O(1). */
uint64_t gguf_n_tensors(const gguf_file *file);
const gguf_tensor *gguf_tensor_at(const gguf_file *file, uint64_t index);
const gguf_tensor *gguf_tensor_by_name(const gguf_file *file, const char *name);

/* Elements of a value; index < count. Integer and bool elements convert to either integer form if they fit,
 * every number converts to double. false: not such a type, or out of range. A scalar is an array of one. */
bool gguf_element_u64(const gguf_value *value, uint64_t index, uint64_t *out);
bool gguf_element_i64(const gguf_value *value, uint64_t index, int64_t *out);
bool gguf_element_f64(const gguf_value *value, uint64_t index, double *out);
bool gguf_element_string(const gguf_file *file, const gguf_value *value, uint64_t index, gguf_string *out);

/* Scalars by key. Returns 1: found and stored; 0: absent, *out untouched; negative: present but not such a
 * value, with a sentence naming key and type. Any integer type does for the integer forms, any number for
 * f32; bool also takes integers 0 and 1. A string is copied with its terminator and must fit `size`. */
int gguf_get_u32(const gguf_file *file, const char *key, uint32_t *out, tandem_message *message);
int gguf_get_i64(const gguf_file *file, const char *key, int64_t *out, tandem_message *message);
int gguf_get_f32(const gguf_file *file, const char *key, float *out, tandem_message *message);
int gguf_get_bool(const gguf_file *file, const char *key, bool *out, tandem_message *message);
int gguf_get_string(const gguf_file *file, const char *key, char *out, size_t size, tandem_message *message);

/* A scalar or an array of exactly n elements: a scalar is stored n times. Returns as above. */
int gguf_get_u32_list(const gguf_file *file, const char *key, uint32_t *out, uint32_t n,
                      tandem_message *message);

/* An array whose elements are of type `element`. Returns as above; *out is the value. */
int gguf_get_array(const gguf_file *file, const char *key, uint32_t element, const gguf_value **out,
                   tandem_message *message);

/* Tells the kernel that the pages of a tensor are not needed in memory any more (after an upload); reading
 * them again is allowed and reads the file again. */
void gguf_drop_pages(const gguf_file *file, const gguf_tensor *tensor);

/* "Q4_K" for type numbers this build knows by name (readable or not), else NULL. */
const char *gguf_tensor_type_name(uint32_t type);
const char *gguf_value_type_name(uint32_t type);

/* Bytes of a tensor of that type and shape; 0: unknown type, rows not whole blocks, or overflow. */
uint64_t gguf_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *dims);

#endif
