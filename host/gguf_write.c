/* Writing GGUF: metadata and tensor infos are collected in memory, tensor data goes straight to the temporary
 * file. */
#include "gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#include "gguf_internal.h"

typedef struct bytes {
    uint8_t *data;
    size_t n, capacity;
} bytes;

typedef struct written_tensor {
    char name[GGUF_MAX_NAME];
    uint64_t size;
} written_tensor;

struct gguf_writer {
    tandem_message failure;
    int status; /* of the first failure; sticky */
    output_file *file;
    char *path;
    bytes values;
    bytes infos;
    uint64_t n_values;
    gguf_string *keys; /* offsets into `values` would move; these are copies of their own */
    written_tensor *tensors;
    uint64_t n_tensors, tensor_capacity, key_capacity;
    uint64_t alignment;
    uint64_t data_bytes; /* of all declared tensors, padded */
    bool header_written;
    uint64_t current;      /* tensor under way */
    uint64_t current_done; /* bytes of it */
};

static int fail(gguf_writer *w, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(gguf_writer *w, int status, const char *format, ...) {
    va_list args;
    if (w->status == TANDEM_OK) {
        va_start(args, format);
        w->status = message_vfail(&w->failure, status, format, args);
        va_end(args);
    }
    return w->status;
}

static int fail_memory(gguf_writer *w) {
    return fail(w, TANDEM_E_OUT_OF_MEMORY, "out of memory while writing %s", w->path);
}

static int append(gguf_writer *w, bytes *to, const void *data, size_t n) {
    if (n > to->capacity - to->n) {
        size_t wanted = to->capacity ? to->capacity : 4096;
        while (wanted - to->n < n && wanted < SIZE_MAX / 2)
            wanted *= 2;
        uint8_t *bigger = wanted - to->n < n ? NULL : realloc(to->data, wanted);
        if (!bigger)
            return fail_memory(w);
        to->data = bigger;
        to->capacity = wanted;
    }
    if (n > 0)
        memcpy(to->data + to->n, data, n);
    to->n += n;
    return TANDEM_OK;
}

static int append_u32(gguf_writer *w, bytes *to, uint32_t v) {
    return append(w, to, &v, sizeof v);
}

static int append_u64(gguf_writer *w, bytes *to, uint64_t v) {
    return append(w, to, &v, sizeof v);
}

static int append_string(gguf_writer *w, bytes *to, const char *text, uint64_t len) {
    append_u64(w, to, len);
    return append(w, to, text, len);
}

int gguf_write_begin(gguf_writer **out, const char *path, const input_files *inputs,
                     tandem_message *message) {
    gguf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return message_out_of_memory(message, "a writer", sizeof *w);
    w->alignment = GGUF_DEFAULT_ALIGNMENT;
    w->path = strdup(path);
    int status = w->path ? output_file_begin(&w->file, path, OUTPUT_BINARY, inputs, message)
                         : message_out_of_memory(message, "a writer", sizeof *w);
    if (status != TANDEM_OK) {
        gguf_write_abort(w);
        return status;
    }
    *out = w;
    return TANDEM_OK;
}

void gguf_write_abort(gguf_writer *w) {
    if (!w)
        return;
    output_file_abort(w->file);
    for (uint64_t i = 0; i < w->n_values; i++)
        free((void *)(uintptr_t)w->keys[i].data);
    free(w->keys);
    free(w->tensors);
    free(w->values.data);
    free(w->infos.data);
    free(w->path);
    free(w);
}

/* Writes the key and the type of the next value, once per key. */
static int begin_value(gguf_writer *w, gguf_string key, uint32_t type) {
    if (w->status != TANDEM_OK)
        return w->status;
    if (w->header_written)
        return fail(w, TANDEM_E_INVALID, "metadata after tensor data in %s", w->path);
    if (key.len == 0 || key.len > 65535 || memchr(key.data, 0, key.len))
        return fail(w, TANDEM_E_INVALID, "a metadata key for %s is empty, too long or has a zero byte",
                    w->path);
    for (uint64_t i = 0; i < w->n_values; i++) {
        if (w->keys[i].len == key.len && memcmp(w->keys[i].data, key.data, key.len) == 0)
            return fail(w, TANDEM_E_INVALID, "metadata key '%s' written twice to %s", w->keys[i].data,
                        w->path);
    }
    if (w->n_values == w->key_capacity) {
        uint64_t wanted = w->key_capacity ? w->key_capacity * 2 : 32;
        gguf_string *bigger = realloc(w->keys, wanted * sizeof *bigger);
        if (!bigger)
            return fail_memory(w);
        w->keys = bigger;
        w->key_capacity = wanted;
    }
    char *copy = strndup(key.data, key.len);
    if (!copy)
        return fail_memory(w);
    w->keys[w->n_values++] = (gguf_string){copy, key.len};
    append_string(w, &w->values, key.data, key.len);
    return append_u32(w, &w->values, type);
}

int gguf_write_scalar(gguf_writer *w, const char *key, uint32_t type, const void *value) {
    uint32_t size = gguf_value_bytes(type);
    if (size == 0)
        return fail(w, TANDEM_E_INVALID, "'%s' is of no scalar type (%u)", key, type);
    if (strcmp(key, "general.alignment") == 0) {
        uint32_t alignment = 0;
        if (type == GGUF_U32)
            memcpy(&alignment, value, sizeof alignment);
        if (alignment == 0 || (alignment & (alignment - 1)) != 0 || w->n_tensors > 0)
            return fail(w, TANDEM_E_INVALID,
                        "general.alignment must be a u32 power of two before the first tensor");
        w->alignment = alignment;
    }
    begin_value(w, gguf_string_of(key), type);
    return w->status == TANDEM_OK ? append(w, &w->values, value, size) : w->status;
}

int gguf_write_u32(gguf_writer *w, const char *key, uint32_t value) {
    return gguf_write_scalar(w, key, GGUF_U32, &value);
}

int gguf_write_f32(gguf_writer *w, const char *key, float value) {
    return gguf_write_scalar(w, key, GGUF_F32, &value);
}

int gguf_write_bool(gguf_writer *w, const char *key, bool value) {
    uint8_t byte = value;
    return gguf_write_scalar(w, key, GGUF_BOOL, &byte);
}

int gguf_write_string(gguf_writer *w, const char *key, const char *text, size_t len) {
    begin_value(w, gguf_string_of(key), GGUF_STRING);
    return w->status == TANDEM_OK ? append_string(w, &w->values, text, len) : w->status;
}

int gguf_write_array(gguf_writer *w, const char *key, uint32_t element, const void *values, uint64_t count) {
    uint64_t size = gguf_value_bytes(element);
    if (size == 0)
        return fail(w, TANDEM_E_INVALID, "'%s' is an array of no scalar type (%u)", key, element);
    begin_value(w, gguf_string_of(key), GGUF_ARRAY);
    append_u32(w, &w->values, element);
    append_u64(w, &w->values, count);
    if (w->status == TANDEM_OK && __builtin_mul_overflow(size, count, &size))
        return fail_memory(w);
    return w->status == TANDEM_OK ? append(w, &w->values, values, size) : w->status;
}

int gguf_write_strings(gguf_writer *w, const char *key, const gguf_string *strings, uint64_t count) {
    begin_value(w, gguf_string_of(key), GGUF_ARRAY);
    append_u32(w, &w->values, GGUF_STRING);
    append_u64(w, &w->values, count);
    for (uint64_t i = 0; w->status == TANDEM_OK && i < count; i++)
        append_string(w, &w->values, strings[i].data, strings[i].len);
    return w->status;
}

int gguf_write_copy(gguf_writer *w, const gguf_value *value) {
    const uint8_t *from = value->data;
    uint64_t size = value->encoded_bytes;
    if (value->key.len == 17 && memcmp(value->key.data, "general.alignment", 17) == 0) {
        uint64_t alignment;
        uint32_t narrow;
        if (!gguf_element_u64(value, 0, &alignment))
            return fail(w, TANDEM_E_INVALID, "general.alignment is no integer");
        narrow = (uint32_t)alignment;
        return gguf_write_scalar(w, "general.alignment", GGUF_U32, &narrow);
    }
    begin_value(w, value->key, value->type);
    if (value->type == GGUF_ARRAY) {
        append_u32(w, &w->values, value->element);
        append_u64(w, &w->values, value->count);
    }
    return w->status == TANDEM_OK ? append(w, &w->values, from, size) : w->status;
}

static uint64_t align(const gguf_writer *w, uint64_t n) {
    return (n + w->alignment - 1) & ~(w->alignment - 1);
}

int gguf_write_declare(gguf_writer *w, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *dims) {
    uint64_t size, end;
    size_t len = strlen(name);
    if (w->status != TANDEM_OK)
        return w->status;
    if (w->header_written)
        return fail(w, TANDEM_E_INVALID, "tensor '%s' declared after tensor data in %s", name, w->path);
    if (len == 0 || len >= GGUF_MAX_NAME || n_dims > GGUF_MAX_DIMS)
        return fail(w, TANDEM_E_INVALID,
                    "tensor name '%s' must have 1 to %u bytes, and at most %u dimensions", name,
                    GGUF_MAX_NAME - 1, GGUF_MAX_DIMS);
    size = gguf_tensor_bytes(type, n_dims, dims);
    if (size == 0 || __builtin_add_overflow(w->data_bytes, size + w->alignment, &end))
        return fail(w, TANDEM_E_INVALID,
                    "tensor '%s' has no size as type %u: unknown type, rows that are not whole "
                    "blocks, or overflow",
                    name, type);
    if (w->n_tensors == w->tensor_capacity) {
        uint64_t wanted = w->tensor_capacity ? w->tensor_capacity * 2 : 64;
        written_tensor *bigger = realloc(w->tensors, wanted * sizeof *bigger);
        if (!bigger)
            return fail_memory(w);
        w->tensors = bigger;
        w->tensor_capacity = wanted;
    }
    written_tensor *t = &w->tensors[w->n_tensors++];
    memcpy(t->name, name, len + 1);
    t->size = size;
    append_string(w, &w->infos, name, len);
    append_u32(w, &w->infos, n_dims);
    append(w, &w->infos, dims, n_dims * sizeof *dims);
    append_u32(w, &w->infos, type);
    append_u64(w, &w->infos, w->data_bytes);
    w->data_bytes = align(w, w->data_bytes + size);
    return w->status;
}

static int put(gguf_writer *w, const void *data, size_t n) {
    if (w->status == TANDEM_OK)
        w->status = output_file_write(w->file, data, n); /* whose sentence is told at the end */
    return w->status;
}

static int pad(gguf_writer *w, uint64_t n) {
    static const uint8_t ZEROS[64];
    while (n > 0 && w->status == TANDEM_OK) {
        size_t some = n < sizeof ZEROS ? (size_t)n : sizeof ZEROS;
        put(w, ZEROS, some);
        n -= some;
    }
    return w->status;
}

static int write_header(gguf_writer *w) {
    bytes head = {0};
    uint64_t size;
    append(w, &head, "GGUF", 4);
    append_u32(w, &head, 3);
    append_u64(w, &head, w->n_tensors);
    append_u64(w, &head, w->n_values);
    size = head.n + w->values.n + w->infos.n;
    if (w->status == TANDEM_OK)
        w->status = output_file_reserve(w->file, align(w, size) + w->data_bytes);
    if (w->status == TANDEM_OK && put(w, head.data, head.n) == TANDEM_OK &&
        put(w, w->values.data, w->values.n) == TANDEM_OK && put(w, w->infos.data, w->infos.n) == TANDEM_OK)
        pad(w, align(w, size) - size);
    free(head.data);
    w->header_written = true;
    return w->status;
}

int gguf_write_data(gguf_writer *w, const void *data, uint64_t n) {
    if (w->status != TANDEM_OK)
        return w->status;
    if (!w->header_written && write_header(w) != TANDEM_OK)
        return w->status;
    if (w->current >= w->n_tensors || n > w->tensors[w->current].size - w->current_done)
        return fail(w, TANDEM_E_INVALID, "more data than tensor '%s' of %s has",
                    w->current < w->n_tensors ? w->tensors[w->current].name : "(none)", w->path);
    if (put(w, data, n) != TANDEM_OK)
        return w->status;
    w->current_done += n;
    if (w->current_done == w->tensors[w->current].size) {
        pad(w, align(w, w->current_done) - w->current_done);
        w->current++;
        w->current_done = 0;
    }
    return w->status;
}

int gguf_write_status(const gguf_writer *w) {
    return w->status;
}

int gguf_write_end(gguf_writer *w, tandem_message *message) {
    if (w->status == TANDEM_OK && !w->header_written)
        write_header(w);
    if (w->status == TANDEM_OK && w->current < w->n_tensors)
        fail(w, TANDEM_E_INVALID, "%s: the data of tensor '%s' is incomplete", w->path,
             w->tensors[w->current].name);
    int status = w->status;
    if (status == TANDEM_OK || output_file_status(w->file) != TANDEM_OK) {
        status = output_file_end(w->file, message);
        w->file = NULL;
    } else if (message) {
        *message = w->failure;
    }
    gguf_write_abort(w);
    return status;
}
