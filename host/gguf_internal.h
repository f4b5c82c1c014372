/* gguf_internal.h: what gguf.c, gguf_parse.c and gguf_values.c share. */
#ifndef TANDEM_HOST_GGUF_INTERNAL_H
#define TANDEM_HOST_GGUF_INTERNAL_H

#include <string.h>

#include "gguf.h"
#include "mapped_file.h"

/* A hash table from names to positions in an array that the owner keeps. Slots hold position + 1; 0 is empty.
 */
typedef struct name_table {
    uint32_t *slots;
    uint64_t mask; /* slots - 1 */
    uint64_t seed;
} name_table;

typedef gguf_string (*name_of)(const void *items, uint64_t index);

int name_table_create(name_table *table, uint64_t n, tandem_message *message);
void name_table_free(name_table *table);
/* Position of a name, or UINT64_MAX. */
uint64_t name_table_find(const name_table *table, const void *items, name_of name, gguf_string wanted);
/* Adds item `index`. Returns the position of an equal name that was there first, else UINT64_MAX. */
uint64_t name_table_add(name_table *table, const void *items, name_of name, uint64_t index);

/* The parsed header of one file. Offsets and pointers refer to the mapping. */
typedef struct gguf_header {
    uint32_t version;
    uint32_t alignment;
    uint64_t data_start;
    gguf_value *values;
    uint64_t n_values;
    uint64_t *strings; /* where each element of each array of strings starts (its length field) */
    uint64_t n_strings;
    uint64_t strings_capacity;
    gguf_tensor *tensors;
    uint64_t n_tensors;
    name_table keys;
} gguf_header;

/* Parses and checks everything before the data section, and that the data section holds every tensor. `name`
 * begins every sentence. On failure *header is freed. */
int gguf_parse_header(gguf_header *header, const void *data, uint64_t size, const char *name,
                      tandem_message *message);
void gguf_free_header(gguf_header *header);

gguf_string gguf_value_name(const void *values, uint64_t index);
gguf_string gguf_tensor_name(const void *tensors, uint64_t index);

typedef struct gguf_part {
    const uint8_t *bytes;
    uint64_t size;
    bool mapped;          /* ours to unmap */
    mapped_file *mapping; /* noted for faults */
    char *path;           /* of a mapped part, and what the file was when it was opened: */
    uint64_t device, inode;
    int64_t modified_s, modified_ns;
} gguf_part;

struct gguf_file {
    gguf_header header; /* of the first part; tensors of all */
    name_table tensor_names;
    gguf_part *parts;
    uint32_t n_parts;
    char *path;
};

/* Bytes of one value of a fixed-size type; 0: string, array, unknown. */
uint32_t gguf_value_bytes(uint32_t type);

static inline gguf_string gguf_string_of(const char *text) {
    gguf_string s = {text, strlen(text)};
    return s;
}

#endif
