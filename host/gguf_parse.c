/* The header of a GGUF file, read as hostile input: every length is checked against what is left of the file
 * before it is used, and every allocation is smaller than a fixed multiple of the bytes already read. */
#include "gguf_internal.h"

#include <stdlib.h>

#include "hash.h"
#include <tandem/quants.h>

/* Deeper nesting than any known file has, shallow enough for any stack. */
#define MAX_ARRAY_DEPTH 8u
#define MAX_KEY_BYTES 65535u /* by the GGUF specification */
#define MAX_ALIGNMENT (1u << 20)

/* Smallest encodings: a key-value is length, one byte of key, type, one byte of value; a tensor info is
 * length, one byte of name, n_dims, no dims, type, offset. */
#define MIN_VALUE_BYTES 14u
#define MIN_TENSOR_BYTES 25u

typedef struct reader {
    const uint8_t *bytes;
    uint64_t size;
    uint64_t pos;
    const char *name;
    tandem_message *message;
} reader;

static int refuse(const reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int refuse(const reader *r, const char *format, ...) {
    tandem_message sentence;
    va_list args;
    va_start(args, format);
    message_vfail(&sentence, TANDEM_E_INVALID, format, args);
    va_end(args);
    return message_fail(r->message, TANDEM_E_INVALID, "%s: %s", r->name, sentence.text);
}

/* For "%.*s": names are cut where a sentence would lose its end. */
static int printed(gguf_string s) {
    return s.len > 100 ? 100 : (int)s.len;
}

static int refuse_end(const reader *r, const char *inside) {
    return refuse(r, "the file ends inside %s (it has %llu bytes): it is cut short or damaged", inside,
                  (unsigned long long)r->size);
}

static bool take(reader *r, void *out, uint64_t n) {
    if (n > r->size - r->pos)
        return false;
    memcpy(out, r->bytes + r->pos, n);
    r->pos += n;
    return true;
}

static bool take_u32(reader *r, uint32_t *out) {
    return take(r, out, sizeof *out);
}

static bool take_u64(reader *r, uint64_t *out) {
    return take(r, out, sizeof *out);
}

static bool take_string(reader *r, gguf_string *out) {
    uint64_t len;
    if (!take_u64(r, &len) || len > r->size - r->pos)
        return false;
    out->data = (const char *)r->bytes + r->pos;
    out->len = len;
    r->pos += len;
    return true;
}

/* Makes room for one more element in a growing array. */
static int grow(void **array, uint64_t n, uint64_t *capacity, size_t element, const char *what,
                tandem_message *message) {
    if (n < *capacity)
        return TANDEM_OK;
    uint64_t wanted = *capacity ? *capacity * 2 : 64;
    void *bigger = realloc(*array, wanted * element);
    if (!bigger)
        return message_out_of_memory(message, what, wanted * element);
    *array = bigger;
    *capacity = wanted;
    return TANDEM_OK;
}

static int reserve_strings(gguf_header *header, uint64_t n, tandem_message *message) {
    uint64_t wanted = header->strings_capacity * 2;
    if (header->n_strings + n <= header->strings_capacity)
        return TANDEM_OK;
    if (wanted < header->n_strings + n)
        wanted = header->n_strings + n;
    uint64_t *bigger = realloc(header->strings, wanted * sizeof *bigger);
    if (!bigger)
        return message_out_of_memory(message, "string positions", wanted * sizeof *bigger);
    header->strings = bigger;
    header->strings_capacity = wanted;
    return TANDEM_OK;
}

/* Steps over n strings; records where each starts if `positions` is given. */
static int skip_strings(reader *r, uint64_t n, uint64_t *positions, gguf_string key) {
    for (uint64_t i = 0; i < n; i++) {
        gguf_string s;
        uint64_t start = r->pos;
        if (!take_string(r, &s))
            return refuse(r, "string %llu of the array '%.*s' reaches beyond the end of the file",
                          (unsigned long long)i, printed(key), key.data);
        if (positions)
            positions[i] = start;
    }
    return TANDEM_OK;
}

static int check_bools(const reader *r, uint64_t n, gguf_string key) {
    for (uint64_t i = 0; i < n; i++) {
        if (r->bytes[r->pos + i] > 1)
            return refuse(r, "the value of '%.*s' is a bool of %u; only 0 and 1 are bools", printed(key),
                          key.data, r->bytes[r->pos + i]);
    }
    return TANDEM_OK;
}

static int parse_array(reader *r, gguf_header *header, gguf_value *value, uint32_t depth);

/* The elements of a value whose element type and count are known; `value` is NULL inside nested arrays. */
static int parse_elements(reader *r, gguf_header *header, gguf_value *value, gguf_string key, uint32_t type,
                          uint64_t n, uint32_t depth) {
    static const uint32_t LEAST_STRING = 8, LEAST_ARRAY = 12; /* a length; a type and a length */
    uint32_t bytes = type == GGUF_STRING  ? LEAST_STRING
                     : type == GGUF_ARRAY ? LEAST_ARRAY
                                          : gguf_value_bytes(type);
    int status;
    if (bytes == 0)
        return refuse(r, "'%.*s' has the unknown value type %u", printed(key), key.data, type);
    if (n > (r->size - r->pos) / bytes)
        return refuse(r, "'%.*s' claims %llu %s values, more than the rest of the file can hold",
                      printed(key), key.data, (unsigned long long)n, gguf_value_type_name(type));
    switch (type) {
    case GGUF_STRING: {
        uint64_t *positions = NULL;
        if (value && value->type == GGUF_ARRAY && n > 0) {
            /* n <= rest / 8, so this is no more bytes than the file has. */
            status = reserve_strings(header, n, r->message);
            if (status != TANDEM_OK)
                return status;
            value->string_base = header->n_strings;
            positions = header->strings + header->n_strings;
            header->n_strings += n;
        }
        return skip_strings(r, n, positions, key);
    }
    case GGUF_ARRAY: {
        gguf_value inner = {.key = key};
        for (uint64_t i = 0; i < n; i++) {
            status = parse_array(r, header, &inner, depth + 1);
            if (status != TANDEM_OK)
                return status;
        }
        return TANDEM_OK;
    }
    case GGUF_BOOL:
        status = check_bools(r, n, key);
        if (status != TANDEM_OK)
            return status;
        break;
    default:
        break;
    }
    r->pos += n * bytes;
    return TANDEM_OK;
}

/* Element type, count, elements. Nested arrays (depth > 0) are checked and stepped over; nothing reads them.
 */
static int parse_array(reader *r, gguf_header *header, gguf_value *value, uint32_t depth) {
    if (depth > MAX_ARRAY_DEPTH)
        return refuse(r, "'%.*s' nests arrays more than %u deep", printed(value->key), value->key.data,
                      MAX_ARRAY_DEPTH);
    if (!take_u32(r, &value->element) || !take_u64(r, &value->count))
        return refuse_end(r, "the header of an array");
    value->data = r->bytes + r->pos;
    return parse_elements(r, header, depth == 0 ? value : NULL, value->key, value->element, value->count,
                          depth);
}

static int parse_content(reader *r, gguf_header *header, gguf_value *value);

static int parse_value(reader *r, gguf_header *header, gguf_value *value) {
    memset(value, 0, sizeof *value);
    if (!take_string(r, &value->key))
        return refuse_end(r, "a metadata key");
    if (value->key.len == 0 || value->key.len > MAX_KEY_BYTES)
        return refuse(r, "a metadata key has %llu bytes; 1 to %u are allowed",
                      (unsigned long long)value->key.len, MAX_KEY_BYTES);
    if (memchr(value->key.data, 0, value->key.len))
        return refuse(r, "a metadata key has a zero byte in it");
    if (!take_u32(r, &value->type))
        return refuse_end(r, "the metadata");
    int status = parse_content(r, header, value);
    if (status == TANDEM_OK)
        value->encoded_bytes = (uint64_t)(r->bytes + r->pos - value->data);
    return status;
}

static int parse_content(reader *r, gguf_header *header, gguf_value *value) {
    if (value->type == GGUF_ARRAY)
        return parse_array(r, header, value, 0);
    value->element = value->type;
    value->count = 1;
    value->data = r->bytes + r->pos;
    if (value->type == GGUF_STRING) {
        gguf_string ignored;
        if (!take_string(r, &ignored))
            return refuse(r, "the text of '%.*s' reaches beyond the end of the file", printed(value->key),
                          value->key.data);
        return TANDEM_OK;
    }
    if (gguf_value_bytes(value->type) > r->size - r->pos)
        return refuse_end(r, "a metadata value");
    return parse_elements(r, header, NULL, value->key, value->type, 1, 0);
}

static int parse_values(reader *r, gguf_header *header, uint64_t n) {
    uint64_t capacity = 0;
    int status = TANDEM_OK;
    for (uint64_t i = 0; i < n; i++) {
        status = grow((void **)&header->values, header->n_values, &capacity, sizeof *header->values,
                      "metadata", r->message);
        if (status != TANDEM_OK)
            return status;
        status = parse_value(r, header, &header->values[i]);
        if (status != TANDEM_OK)
            return status;
        header->n_values++;
    }
    status = name_table_create(&header->keys, n, r->message);
    for (uint64_t i = 0; status == TANDEM_OK && i < n; i++) {
        if (name_table_add(&header->keys, header->values, gguf_value_name, i) != UINT64_MAX)
            status = refuse(r, "the metadata key '%.*s' occurs twice", printed(header->values[i].key),
                            header->values[i].key.data);
    }
    return status;
}

static int parse_alignment(reader *r, gguf_header *header) {
    header->alignment = GGUF_DEFAULT_ALIGNMENT;
    uint64_t index =
        name_table_find(&header->keys, header->values, gguf_value_name, gguf_string_of("general.alignment"));
    if (index == UINT64_MAX)
        return TANDEM_OK;
    const gguf_value *value = &header->values[index];
    uint64_t alignment;
    if (value->type == GGUF_ARRAY || !gguf_element_u64(value, 0, &alignment))
        return refuse(r, "general.alignment is no positive integer");
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > MAX_ALIGNMENT)
        return refuse(r, "general.alignment is %llu; powers of two up to %u are allowed",
                      (unsigned long long)alignment, MAX_ALIGNMENT);
    header->alignment = (uint32_t)alignment;
    return TANDEM_OK;
}

static int parse_shape(reader *r, gguf_tensor *tensor) {
    uint64_t elements = 1;
    if (!take_u32(r, &tensor->n_dims))
        return refuse_end(r, "the tensor list");
    if (tensor->n_dims > GGUF_MAX_DIMS)
        return refuse(r, "tensor '%s' has %u dimensions; at most %u are allowed", tensor->name,
                      tensor->n_dims, GGUF_MAX_DIMS);
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        tensor->dims[i] = 1;
        if (i >= tensor->n_dims)
            continue;
        if (!take_u64(r, &tensor->dims[i]))
            return refuse_end(r, "the tensor list");
        if (tensor->dims[i] == 0 || tensor->dims[i] > INT64_MAX)
            return refuse(r, "dimension %u of tensor '%s' is %lld", i, tensor->name,
                          (long long)tensor->dims[i]);
        if (__builtin_mul_overflow(elements, tensor->dims[i], &elements) || elements > INT64_MAX)
            return refuse(r, "the dimensions of tensor '%s' multiply to more than 2^63 elements",
                          tensor->name);
    }
    return TANDEM_OK;
}

static int parse_tensor(reader *r, gguf_tensor *tensor, uint64_t *offset) {
    gguf_string name;
    memset(tensor, 0, sizeof *tensor);
    if (!take_string(r, &name))
        return refuse_end(r, "the tensor list");
    if (name.len == 0 || name.len >= GGUF_MAX_NAME)
        return refuse(r, "a tensor name has %llu bytes; 1 to %u are allowed", (unsigned long long)name.len,
                      GGUF_MAX_NAME - 1);
    if (memchr(name.data, 0, name.len))
        return refuse(r, "a tensor name has a zero byte in it");
    memcpy(tensor->name, name.data, name.len);
    int status = parse_shape(r, tensor);
    if (status != TANDEM_OK)
        return status;
    if (!take_u32(r, &tensor->type) || !take_u64(r, offset))
        return refuse_end(r, "the tensor list");
    tensor->bytes = gguf_tensor_bytes(tensor->type, tensor->n_dims, tensor->dims);
    /* A type whose block is not known cannot be measured, and one that is known must fit its rows. */
    const tandem_type_info *info = tandem_kit_type(tensor->type);
    if (info && tensor->dims[0] % info->block != 0)
        return refuse(r, "rows of tensor '%s' have %llu elements, not a multiple of the %u of a %s block",
                      tensor->name, (unsigned long long)tensor->dims[0], info->block, info->name);
    if (info && tensor->bytes == 0)
        return refuse(r, "tensor '%s' has more than 2^64 bytes", tensor->name);
    return TANDEM_OK;
}

/* Where the tensor's bytes are, now that the start of the data section is known. */
static int place_tensor(reader *r, const gguf_header *header, gguf_tensor *tensor, uint64_t offset) {
    if (offset % header->alignment != 0)
        return refuse(r, "tensor '%s' starts at offset %llu, not a multiple of the alignment %u",
                      tensor->name, (unsigned long long)offset, header->alignment);
    uint64_t room = r->size > header->data_start ? r->size - header->data_start : 0;
    if (offset > room || tensor->bytes > room - offset)
        return refuse(
            r,
            "tensor '%s' needs %llu bytes at offset %llu of the data, but the file has only %llu bytes of "
            "data: it is cut short or damaged",
            tensor->name, (unsigned long long)tensor->bytes, (unsigned long long)offset,
            (unsigned long long)room);
    tensor->data = r->bytes + header->data_start + offset;
    return TANDEM_OK;
}

static int parse_tensors(reader *r, gguf_header *header, uint64_t n) {
    uint64_t *offsets = NULL;
    uint64_t capacity = 0, offset_capacity = 0;
    int status = TANDEM_OK;
    for (uint64_t i = 0; status == TANDEM_OK && i < n; i++) {
        status = grow((void **)&header->tensors, i, &capacity, sizeof *header->tensors, "the tensor list",
                      r->message);
        if (status == TANDEM_OK)
            status =
                grow((void **)&offsets, i, &offset_capacity, sizeof *offsets, "the tensor list", r->message);
        if (status == TANDEM_OK)
            status = parse_tensor(r, &header->tensors[i], &offsets[i]);
        if (status == TANDEM_OK)
            header->n_tensors++;
    }
    uint64_t mask = header->alignment - 1u;
    header->data_start = (r->pos + mask) & ~mask;
    for (uint64_t i = 0; status == TANDEM_OK && i < n; i++)
        status = place_tensor(r, header, &header->tensors[i], offsets[i]);
    free(offsets);
    return status;
}

static int parse_counts(reader *r, gguf_header *header, uint64_t *n_tensors, uint64_t *n_values) {
    char magic[4];
    if (!take(r, magic, 4) || memcmp(magic, "GGUF", 4) != 0)
        return refuse(r, "this is not a GGUF file: it does not begin with the letters GGUF");
    if (!take_u32(r, &header->version))
        return refuse_end(r, "its version number");
    if (header->version != 0 && (header->version & 0xffffu) == 0)
        return refuse(r, "this GGUF file was written for machines of the other byte order (big-endian)");
    if (header->version < 2)
        return refuse(r, "GGUF version %u is obsolete; versions 2 and 3 are read", header->version);
    if (header->version > 3)
        return refuse(r, "GGUF version %u is newer than this program, which reads versions 2 and 3",
                      header->version);
    if (!take_u64(r, n_tensors) || !take_u64(r, n_values))
        return refuse_end(r, "its tensor and metadata counts");
    uint64_t rest = r->size - r->pos;
    if (*n_tensors > INT64_MAX || *n_values > INT64_MAX)
        return refuse(r, "the header claims %lld tensors and %lld metadata entries", (long long)*n_tensors,
                      (long long)*n_values);
    if (*n_values > rest / MIN_VALUE_BYTES || *n_values > UINT32_MAX / 2)
        return refuse(r, "the header claims %llu metadata entries, more than %llu bytes can hold",
                      (unsigned long long)*n_values, (unsigned long long)rest);
    if (*n_tensors > rest / MIN_TENSOR_BYTES || *n_tensors > UINT32_MAX / 2)
        return refuse(r, "the header claims %llu tensors, more than %llu bytes can hold",
                      (unsigned long long)*n_tensors, (unsigned long long)rest);
    return TANDEM_OK;
}

int gguf_parse_header(gguf_header *header, const void *data, uint64_t size, const char *name,
                      tandem_message *message) {
    reader r = {.bytes = data, .size = size, .name = name, .message = message};
    uint64_t n_tensors = 0, n_values = 0;
    memset(header, 0, sizeof *header);
    int status = parse_counts(&r, header, &n_tensors, &n_values);
    if (status == TANDEM_OK)
        status = parse_values(&r, header, n_values);
    if (status == TANDEM_OK)
        status = parse_alignment(&r, header);
    if (status == TANDEM_OK)
        status = parse_tensors(&r, header, n_tensors);
    if (status != TANDEM_OK)
        gguf_free_header(header);
    return status;
}

void gguf_free_header(gguf_header *header) {
    free(header->values);
    free(header->strings);
    free(header->tensors);
    name_table_free(&header->keys);
    memset(header, 0, sizeof *header);
}

gguf_string gguf_value_name(const void *values, uint64_t index) {
    return ((const gguf_value *)values)[index].key;
}

gguf_string gguf_tensor_name(const void *tensors, uint64_t index) {
    return gguf_string_of(((const gguf_tensor *)tensors)[index].name);
}

int name_table_create(name_table *table, uint64_t n, tandem_message *message) {
    uint64_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    table->slots = calloc(slots, sizeof *table->slots);
    if (!table->slots)
        return message_out_of_memory(message, "a table of names", slots * sizeof *table->slots);
    table->mask = slots - 1;
    table->seed = hash_seed(table->slots);
    return TANDEM_OK;
}

void name_table_free(name_table *table) {
    free(table->slots);
    table->slots = NULL;
}

uint64_t name_table_find(const name_table *table, const void *items, name_of name, gguf_string wanted) {
    if (!table->slots)
        return UINT64_MAX;
    for (uint64_t i = hash_bytes(wanted.data, wanted.len, table->seed);; i++) {
        uint32_t slot = table->slots[i & table->mask];
        if (slot == 0)
            return UINT64_MAX;
        gguf_string there = name(items, slot - 1);
        if (there.len == wanted.len && memcmp(there.data, wanted.data, wanted.len) == 0)
            return slot - 1;
    }
}

uint64_t name_table_add(name_table *table, const void *items, name_of name, uint64_t index) {
    gguf_string added = name(items, index);
    uint64_t i = hash_bytes(added.data, added.len, table->seed);
    while (table->slots[i & table->mask] != 0) {
        uint32_t slot = table->slots[i & table->mask];
        gguf_string there = name(items, slot - 1);
        if (there.len == added.len && memcmp(there.data, added.data, added.len) == 0)
            return slot - 1;
        i++;
    }
    table->slots[i & table->mask] = (uint32_t)(index + 1);
    return UINT64_MAX;
}
