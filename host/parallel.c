/* host/parallel.c: threads that live as long as one loop; a loop here takes milliseconds at least. */
#include "parallel.h"

#include <pthread.h>
#include <sched.h>

#define MAX_THREADS 64u

typedef struct slice {
    parallel_work work;
    void *user;
    uint32_t worker;
    uint64_t first, n;
} slice;

static void *run_slice(void *argument) {
    slice *s = argument;
    s->work(s->user, s->worker, s->first, s->n);
    return NULL;
}

void parallel_run(uint32_t n_thread, uint64_t n, parallel_work work, void *user) {
    pthread_t threads[MAX_THREADS];
    slice slices[MAX_THREADS];
    uint32_t n_slice = n_thread < MAX_THREADS ? n_thread : MAX_THREADS, n_started = 0;
    if (n_slice > n)
        n_slice = (uint32_t)n;
    if (n_slice == 0)
        return;
    for (uint32_t i = 0; i < n_slice; i++) {
        uint64_t first = n * i / n_slice;
        slices[i] = (slice){work, user, i, first, n * (i + 1) / n_slice - first};
    }
    while (n_started + 1 < n_slice &&
           pthread_create(&threads[n_started], NULL, run_slice, &slices[n_started + 1]) == 0)
        n_started++;
    run_slice(&slices[0]);
    for (uint32_t i = n_started + 1; i < n_slice; i++)
        run_slice(&slices[i]);
    for (uint32_t i = 0; i < n_started; i++)
        pthread_join(threads[i], NULL);
}

uint32_t parallel_default(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > (int)MAX_THREADS ? MAX_THREADS : (uint32_t)n;
}
