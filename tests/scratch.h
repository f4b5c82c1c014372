/* scratch.h: a fresh directory for one test, as cmocka setup and teardown. */
#ifndef TANDEM_TESTS_SCRATCH_H
#define TANDEM_TESTS_SCRATCH_H

#include "gguf_testing.h"

typedef struct scratch {
    char dir[64];
    char path[128];  /* a file in it */
    char other[128]; /* another */
} scratch;

static inline int scratch_make(void **state) {
    static scratch s;
    test_directory(s.dir);
    snprintf(s.path, sizeof s.path, "%s/model.gguf", s.dir);
    snprintf(s.other, sizeof s.other, "%s/other.gguf", s.dir);
    *state = &s;
    return 0;
}

static inline int scratch_remove(void **state) {
    scratch *s = *state;
    test_directory_remove(s->dir);
    return 0;
}

#endif
