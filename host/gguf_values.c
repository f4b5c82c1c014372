/* Reading metadata values: conversions that cannot lose anything, and sentences that name key and type. */
#include "gguf_internal.h"

#include <stdio.h>

#include <tandem/quants.h>

static const struct {
    const char *name;
    uint32_t bytes; /* 0: not of fixed size */
} VALUE_TYPES[GGUF_N_TYPE] = {
    [GGUF_U8] = {"u8", 1},         [GGUF_I8] = {"i8", 1},       [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},       [GGUF_U32] = {"u32", 4},     [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},       [GGUF_BOOL] = {"bool", 1},   [GGUF_U64] = {"u64", 8},
    [GGUF_STRING] = {"string", 0}, [GGUF_ARRAY] = {"array", 0}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

/* Tensor types that tandem-kit does not read: named and measured, so that `inspect` can list them. */
static const struct {
    uint32_t type, block, block_bytes;
    const char *name;
} OTHER_TENSOR_TYPES[] = {
    {9, 32, 36, "Q8_1"},      {15, 256, 292, "Q8_K"}, {16, 256, 66, "IQ2_XXS"}, {17, 256, 74, "IQ2_XS"},
    {18, 256, 98, "IQ3_XXS"}, {19, 256, 50, "IQ1_S"}, {21, 256, 110, "IQ3_S"},  {22, 256, 82, "IQ2_S"},
    {24, 1, 1, "I8"},         {25, 1, 2, "I16"},      {26, 1, 4, "I32"},        {27, 1, 8, "I64"},
    {28, 1, 8, "F64"},        {29, 256, 56, "IQ1_M"}, {34, 256, 54, "TQ1_0"},   {35, 256, 66, "TQ2_0"},
    {40, 0, 0, "NVFP4"},      {41, 0, 0, "Q1_0"},     {42, 0, 0, "Q2_0"}, /* blocks of 40..42 not measured
                                                                             here */
};
#define N_OTHER (sizeof OTHER_TENSOR_TYPES / sizeof *OTHER_TENSOR_TYPES)

uint32_t gguf_value_bytes(uint32_t type) {
    return type < GGUF_N_TYPE ? VALUE_TYPES[type].bytes : 0;
}

const char *gguf_value_type_name(uint32_t type) {
    return type < GGUF_N_TYPE ? VALUE_TYPES[type].name : NULL;
}

const char *gguf_tensor_type_name(uint32_t type) {
    const tandem_type_info *info = tandem_kit_type(type);
    if (info)
        return info->name;
    for (size_t i = 0; i < N_OTHER; i++) {
        if (OTHER_TENSOR_TYPES[i].type == type)
            return OTHER_TENSOR_TYPES[i].name;
    }
    return NULL;
}

uint64_t gguf_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *dims) {
    uint64_t first = n_dims > 0 ? dims[0] : 1;
    uint64_t bytes = tandem_kit_row_bytes(type, first);
    for (size_t i = 0; i < N_OTHER; i++) {
        if (OTHER_TENSOR_TYPES[i].type != type || OTHER_TENSOR_TYPES[i].block == 0)
            continue;
        if (first % OTHER_TENSOR_TYPES[i].block != 0 ||
            __builtin_mul_overflow(first / OTHER_TENSOR_TYPES[i].block, OTHER_TENSOR_TYPES[i].block_bytes,
                                   &bytes))
            return 0;
    }
    for (uint32_t i = 1; i < n_dims; i++) {
        if (__builtin_mul_overflow(bytes, dims[i], &bytes))
            return 0;
    }
    return bytes;
}

/* Element `index` as a signed number and whether it is beyond INT64_MAX (then *out holds its bits). */
static bool element_integer(const gguf_value *value, uint64_t index, int64_t *out, bool *huge) {
    const uint8_t *p;
    union {
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
    } v;
    uint32_t bytes = gguf_value_bytes(value->element);
    if (bytes == 0 || index >= value->count)
        return false;
    p = value->data + index * bytes;
    memcpy(&v, p, bytes);
    *huge = false;
    switch (value->element) {
    case GGUF_U8:
    case GGUF_BOOL:
        *out = *p;
        return true;
    case GGUF_I8:
        *out = v.i8;
        return true;
    case GGUF_U16:
        *out = v.u16;
        return true;
    case GGUF_I16:
        *out = v.i16;
        return true;
    case GGUF_U32:
        *out = v.u32;
        return true;
    case GGUF_I32:
        *out = v.i32;
        return true;
    case GGUF_U64:
        *huge = v.u64 > INT64_MAX;
        memcpy(out, &v.u64, sizeof *out);
        return true;
    case GGUF_I64:
        memcpy(out, &v.u64, sizeof *out);
        return true;
    default:
        return false;
    }
}

bool gguf_element_u64(const gguf_value *value, uint64_t index, uint64_t *out) {
    int64_t v;
    bool huge;
    if (!element_integer(value, index, &v, &huge) || (v < 0 && !huge))
        return false;
    *out = (uint64_t)v;
    return true;
}

bool gguf_element_i64(const gguf_value *value, uint64_t index, int64_t *out) {
    int64_t v;
    bool huge;
    if (!element_integer(value, index, &v, &huge) || huge)
        return false;
    *out = v;
    return true;
}

bool gguf_element_f64(const gguf_value *value, uint64_t index, double *out) {
    int64_t v;
    bool huge;
    if (index >= value->count)
        return false;
    if (value->element == GGUF_F32) {
        float f;
        memcpy(&f, value->data + index * sizeof f, sizeof f);
        *out = f;
        return true;
    }
    if (value->element == GGUF_F64) {
        memcpy(out, value->data + index * sizeof *out, sizeof *out);
        return true;
    }
    if (!element_integer(value, index, &v, &huge))
        return false;
    *out = huge ? (double)(uint64_t)v : (double)v;
    return true;
}

bool gguf_element_string(const gguf_file *file, const gguf_value *value, uint64_t index, gguf_string *out) {
    const uint8_t *p = value->data;
    if (value->element != GGUF_STRING || index >= value->count)
        return false;
    if (value->type == GGUF_ARRAY)
        p = file->parts[0].bytes + file->header.strings[value->string_base + index];
    memcpy(&out->len, p, sizeof out->len);
    out->data = (const char *)p + sizeof out->len;
    return true;
}

static int wrong(const gguf_file *file, const gguf_value *value, const char *wanted,
                 tandem_message *message) {
    bool array = value->type == GGUF_ARRAY;
    return message_fail(message, TANDEM_E_INVALID, "%s: the value of '%.*s' is %s%s, not %s", gguf_path(file),
                        value->key.len > 100 ? 100 : (int)value->key.len, value->key.data,
                        array ? "an array of " : "", gguf_value_type_name(value->element), wanted);
}

static const gguf_value *scalar_by_key(const gguf_file *file, const char *key, const char *wanted,
                                       int *status, tandem_message *message) {
    const gguf_value *value = gguf_value_by_key(file, key);
    *status = 0;
    if (value && value->type == GGUF_ARRAY) {
        *status = wrong(file, value, wanted, message);
        return NULL;
    }
    return value;
}

int gguf_get_u32(const gguf_file *file, const char *key, uint32_t *out, tandem_message *message) {
    static const char WANTED[] = "an integer from 0 to 4294967295";
    int status;
    uint64_t v;
    const gguf_value *value = scalar_by_key(file, key, WANTED, &status, message);
    if (!value)
        return status;
    if (value->type == GGUF_BOOL || !gguf_element_u64(value, 0, &v) || v > UINT32_MAX)
        return wrong(file, value, WANTED, message);
    *out = (uint32_t)v;
    return 1;
}

int gguf_get_i64(const gguf_file *file, const char *key, int64_t *out, tandem_message *message) {
    static const char WANTED[] = "an integer of at most 63 bits";
    int status;
    const gguf_value *value = scalar_by_key(file, key, WANTED, &status, message);
    if (!value)
        return status;
    if (value->type == GGUF_BOOL || !gguf_element_i64(value, 0, out))
        return wrong(file, value, WANTED, message);
    return 1;
}

int gguf_get_f32(const gguf_file *file, const char *key, float *out, tandem_message *message) {
    int status;
    double v;
    const gguf_value *value = scalar_by_key(file, key, "a number", &status, message);
    if (!value)
        return status;
    if (value->type == GGUF_BOOL || !gguf_element_f64(value, 0, &v))
        return wrong(file, value, "a number", message);
    *out = (float)v;
    return 1;
}

int gguf_get_bool(const gguf_file *file, const char *key, bool *out, tandem_message *message) {
    int status;
    uint64_t v;
    const gguf_value *value = scalar_by_key(file, key, "a bool", &status, message);
    if (!value)
        return status;
    if (!gguf_element_u64(value, 0, &v) || v > 1)
        return wrong(file, value, "a bool", message);
    *out = v == 1;
    return 1;
}

int gguf_get_string(const gguf_file *file, const char *key, char *out, size_t size, tandem_message *message) {
    int status;
    gguf_string s;
    const gguf_value *value = scalar_by_key(file, key, "a string", &status, message);
    if (!value)
        return status;
    if (!gguf_element_string(file, value, 0, &s))
        return wrong(file, value, "a string", message);
    if (s.len >= size || memchr(s.data, 0, s.len))
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: the value of '%s' is no text of at most %zu bytes", gguf_path(file), key,
                            size - 1);
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return 1;
}

int gguf_get_u32_list(const gguf_file *file, const char *key, uint32_t *out, uint32_t n,
                      tandem_message *message) {
    const gguf_value *value = gguf_value_by_key(file, key);
    uint64_t v;
    if (!value)
        return 0;
    if (value->type == GGUF_ARRAY && value->count != n)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: the array '%s' has %llu elements where %u are needed", gguf_path(file), key,
                            (unsigned long long)value->count, n);
    for (uint32_t pass = 0; pass < 2; pass++) { /* first check all, so that *out is untouched on error */
        for (uint32_t i = 0; i < n; i++) {
            if (!gguf_element_u64(value, value->type == GGUF_ARRAY ? i : 0, &v) || v > UINT32_MAX)
                return wrong(file, value, "an integer, or an array of integers, from 0 to 4294967295",
                             message);
            if (pass == 1)
                out[i] = (uint32_t)v;
        }
    }
    return 1;
}

int gguf_get_array(const gguf_file *file, const char *key, uint32_t element, const gguf_value **out,
                   tandem_message *message) {
    const gguf_value *value = gguf_value_by_key(file, key);
    if (!value)
        return 0;
    if (value->type != GGUF_ARRAY || value->element != element) {
        char wanted[40];
        snprintf(wanted, sizeof wanted, "an array of %s", gguf_value_type_name(element));
        return wrong(file, value, wanted, message);
    }
    *out = value;
    return 1;
}
