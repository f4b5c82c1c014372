/* gguf_sample.h: a file image with every value type and two tensors, and ways to open and read images. */
#ifndef TANDEM_TESTS_GGUF_SAMPLE_H
#define TANDEM_TESTS_GGUF_SAMPLE_H

#include <tandem/base.h>

#include "gguf.h"
#include "gguf_testing.h"

static const uint64_t SHAPE_A[2] = {32, 3}, SHAPE_B[1] = {5};

static inline void sample_values(image *b) {
    image_key(b, "u8", 0);
    image_u8(b, 200);
    image_key(b, "i8", 1);
    image_u8(b, 0xfe);
    image_key(b, "u16", 2);
    image_raw(b, &(uint16_t){60000}, 2);
    image_key(b, "i16", 3);
    image_raw(b, &(int16_t){-300}, 2);
    image_key_u32(b, "u32", 4000000000u);
    image_key(b, "i32", 5);
    image_raw(b, &(int32_t){-7}, 4);
    image_key(b, "f32", 6);
    image_raw(b, &(float){1.5f}, 4);
    image_key(b, "bool", 7);
    image_u8(b, 1);
    image_key_text(b, "text", "h\xc3\xa9llo");
    image_key(b, "u64", 10);
    image_u64(b, UINT64_MAX);
    image_key(b, "i64", 11);
    image_u64(b, (uint64_t)-5);
    image_key(b, "f64", 12);
    image_raw(b, &(double){-0.25}, 8);
    image_key(b, "ints", 9);
    image_u32(b, 5);
    image_u64(b, 3);
    image_raw(b, (int32_t[]){1, 2, -3}, 12);
    image_key(b, "words", 9);
    image_u32(b, 8);
    image_u64(b, 3);
    image_text(b, "one");
    image_text(b, "");
    image_text(b, "three");
    image_key(b, "nested", 9); /* two arrays: of one u8, of two strings */
    image_u32(b, 9);
    image_u64(b, 2);
    image_u32(b, 0);
    image_u64(b, 1);
    image_u8(b, 9);
    image_u32(b, 8);
    image_u64(b, 2);
    image_text(b, "x");
    image_text(b, "yy");
    image_key(b, "flags", 9);
    image_u32(b, 7);
    image_u64(b, 2);
    image_u8(b, 0);
    image_u8(b, 1);
}

#define SAMPLE_VALUES 16u

/* Two tensors, the second first in the data section and a gap between. */
static inline size_t make_sample(image *b, uint32_t version) {
    image_begin(b, version, 2, SAMPLE_VALUES);
    sample_values(b);
    image_tensor(b, "a", 2, SHAPE_A, TANDEM_TYPE_Q4_0, 64);
    image_tensor(b, "b", 1, SHAPE_B, TANDEM_TYPE_F32, 0);
    size_t header = b->n;
    image_align(b, 32);
    for (uint32_t i = 0; i < 64 + 3 * 18; i++)
        image_u8(b, (uint8_t)i);
    return header;
}

/* Reads everything that a file offers; the sum keeps the reads. */
static inline uint64_t walk(const gguf_file *file) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < gguf_n_values(file); i++) {
        const gguf_value *value = gguf_value_at(file, i);
        for (uint64_t k = 0; k < value->count; k++) {
            uint64_t u;
            double f;
            gguf_string s;
            if (gguf_element_u64(value, k, &u))
                sum += u;
            if (gguf_element_f64(value, k, &f))
                sum += f > 0 && f < 1e9 ? (uint64_t)f : 1;
            if (gguf_element_string(file, value, k, &s))
                for (uint64_t c = 0; c < s.len; c++)
                    sum += (uint8_t)s.data[c];
        }
    }
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *tensor = gguf_tensor_at(file, i);
        for (uint64_t k = 0; k < tensor->bytes; k++)
            sum += tensor->data[k];
        assert_ptr_equal(gguf_tensor_by_name(file, tensor->name), tensor);
    }
    return sum;
}

/* Opens an image from memory of exactly its size. */
static inline int open_image(const image *b, gguf_file **file, uint8_t **copy, tandem_message *message) {
    *copy = image_exact(b->data, b->n);
    int status = gguf_open_memory(file, *copy, b->n, message);
    if (status != TANDEM_OK) {
        free(*copy);
        *copy = NULL;
    }
    return status;
}

#endif
