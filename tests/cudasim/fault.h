/* Options, messages and injected failures: what is global to the process and belongs to no context. */
#ifndef CUDASIM_FAULT_H
#define CUDASIM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "cudasim.h"

struct options {
    uint64_t memory_bytes;   /* of the device */
    uint32_t arch;           /* compute capability times ten */
    uint32_t sms;            /* multiprocessors */
    uint32_t driver_version; /* of CUDA that is posed as, as cuDriverGetVersion tells it */
    uint64_t seed;           /* 0: orderly execution; else adversarial, from this seed */
    uint32_t races;          /* report unordered accesses to shared memory */
    uint32_t uninitialised;  /* report reads of memory that nothing has written */
    uint64_t limit;          /* warp instructions a launch may execute */
    uint32_t launches;       /* launches to list one by one in the counters */
    uint32_t lines;          /* PTX lines to list per kernel in the counters, most executed first */
    uint32_t quiet;          /* faults do not go to stderr */
    char counters[1024];     /* file for the counters at exit, "" for none */
    char trace[1024];        /* file for a line a call, "" for none */
};

extern struct options options;

/* Reads CUDASIM_* from the environment, once. False with a message when one of them means nothing. */
bool options_load(void);

/* Remembers a sentence for cudasim_message and says it on stderr unless quiet. */
void message(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Remembers it only: of what a program may try, or gets again and again. */
void message_quietly(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t message_count(void); /* of this thread */
const char *message_last(void);

/* Counts a call by name and answers what an armed failure wants of it: 0 to go on, else the CUresult; *lost
 * is set when every later call must fail with it as well. */
int fail_check(const char *name, bool *lost);
uint64_t fail_calls(const char *name);
void fail_reset_counts(void);

/* For each name ever called: its count. Used for the counters. */
uint32_t fail_names(void);
const char *fail_name(uint32_t index, uint64_t *count);

/* xorshift64*: the random numbers of adversarial mode. */
struct random {
    uint64_t state;
};
static inline uint32_t random_next(struct random *r) {
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return (uint32_t)((r->state * 0x2545f4914f6cdd1dull) >> 32);
}
static inline uint32_t random_below(struct random *r, uint32_t n) {
    return (uint32_t)(((uint64_t)random_next(r) * n) >> 32);
}

#endif
