/* gguf_testing.h: GGUF bytes by hand, right or wrong, and places for files. */
#ifndef TANDEM_TESTS_GGUF_TESTING_H
#define TANDEM_TESTS_GGUF_TESTING_H

#include <assert.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A growing file image. Nothing is checked: the tests write nonsense with it. */
typedef struct image {
    uint8_t *data;
    size_t n, capacity;
} image;

static inline void image_raw(image *b, const void *data, size_t n) {
    if (b->n + n > b->capacity) {
        b->capacity = 2 * (b->n + n) + 64;
        b->data = realloc(b->data, b->capacity);
        assert(b->data);
    }
    if (n > 0)
        memcpy(b->data + b->n, data, n);
    b->n += n;
}

static inline void image_u8(image *b, uint8_t v) {
    image_raw(b, &v, sizeof v);
}

static inline void image_u32(image *b, uint32_t v) {
    image_raw(b, &v, sizeof v);
}

static inline void image_u64(image *b, uint64_t v) {
    image_raw(b, &v, sizeof v);
}

static inline void image_text(image *b, const char *text) {
    image_u64(b, strlen(text));
    image_raw(b, text, strlen(text));
}

/* Magic, version and counts. */
static inline void image_begin(image *b, uint32_t version, uint64_t n_tensors, uint64_t n_values) {
    b->n = 0;
    image_raw(b, "GGUF", 4);
    image_u32(b, version);
    image_u64(b, n_tensors);
    image_u64(b, n_values);
}

static inline void image_key(image *b, const char *key, uint32_t type) {
    image_text(b, key);
    image_u32(b, type);
}

static inline void image_key_u32(image *b, const char *key, uint32_t value) {
    image_key(b, key, 4);
    image_u32(b, value);
}

static inline void image_key_text(image *b, const char *key, const char *value) {
    image_key(b, key, 8);
    image_text(b, value);
}

static inline void image_tensor(image *b, const char *name, uint32_t n_dims, const uint64_t *dims,
                                uint32_t type, uint64_t offset) {
    image_text(b, name);
    image_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++)
        image_u64(b, dims[i]);
    image_u32(b, type);
    image_u64(b, offset);
}

static inline void image_align(image *b, size_t alignment) {
    while (b->n % alignment != 0)
        image_u8(b, 0);
}

/* The same bytes in memory of exactly their size, so that a sanitizer sees the first byte read beyond. */
static inline uint8_t *image_exact(const uint8_t *data, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    assert(copy);
    if (n > 0)
        memcpy(copy, data, n);
    return copy;
}

/* A fresh directory; test_directory_remove deletes it with the files in it. */
static inline void test_directory(char path[64]) {
    strcpy(path, "/tmp/tandem-test-XXXXXX");
    char *made = mkdtemp(path);
    assert(made);
    (void)made;
}

static inline int test_directory_files(const char *path) {
    int n = 0;
    DIR *dir = opendir(path);
    assert(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static inline void test_directory_remove(const char *path) {
    DIR *dir = opendir(path);
    assert(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char file[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        unlink(file);
    }
    closedir(dir);
    rmdir(path);
}

static inline void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert(f);
    size_t done = fwrite(data, 1, n, f);
    assert(done == n);
    (void)done;
    fclose(f);
}

#endif
