/* threads.c: the helpers of a context. The executor calls ref_parallel and works along as thread 0. */
#include <signal.h>
#include <string.h>

#include "reference.h"

typedef struct ref_helper {
    ref_pool *pool;
    uint32_t thread;
} ref_helper;

struct ref_pool {
    pthread_mutex_t mutex;
    pthread_cond_t start, finish;
    uint32_t n_thread;  /* helpers and the caller */
    uint32_t n_started; /* helpers that exist */
    uint32_t n_busy;    /* helpers in the present round */
    uint64_t round;
    int quit;

    ref_task_fn task;
    void *argument;
    uint64_t n, grain;
    _Atomic uint64_t next; /* first item nobody has taken */

    ref_helper *helpers; /* [n_thread - 1] */
    pthread_t *ids;
};

uint64_t ref_pool_bytes(uint32_t n_thread) {
    return sizeof(ref_pool) + n_thread * (sizeof(ref_helper) + sizeof(pthread_t));
}

/* Which thread takes which piece differs from run to run; what comes out of an item does not. */
static void work(ref_pool *pool, uint32_t thread) {
    for (;;) {
        uint64_t first = atomic_fetch_add_explicit(&pool->next, pool->grain, memory_order_relaxed);
        if (first >= pool->n)
            return;
        uint64_t end = pool->n - first < pool->grain ? pool->n : first + pool->grain;
        pool->task(pool->argument, first, end, thread);
    }
}

static void *help(void *argument) {
    ref_helper *self = argument;
    ref_pool *pool = self->pool;
    uint64_t seen = 0;

    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->quit && pool->round == seen)
            pthread_cond_wait(&pool->start, &pool->mutex);
        if (pool->quit)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->mutex);
        work(pool, self->thread);
        pthread_mutex_lock(&pool->mutex);
        if (--pool->n_busy == 0)
            pthread_cond_signal(&pool->finish);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

int ref_thread_start(pthread_t *id, void *(*entry)(void *), void *argument) {
    /* The host's signals are for the host's threads; faults are the thread's own, and a blocked one would
     * kill the process past the host's handler: weights are read where they lie in the model's file, which
     * may be cut off. */
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(id, NULL, entry, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

tandem_status ref_pool_start(ref_pool *pool, uint32_t n_thread, tandem_error *error) {
    memset(pool, 0, sizeof *pool);
    pool->n_thread = n_thread;
    pool->helpers = (ref_helper *)(pool + 1);
    pool->ids = (pthread_t *)(pool->helpers + n_thread);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->finish, NULL);
    for (uint32_t i = 0; i + 1 < n_thread; i++) {
        pool->helpers[i] = (ref_helper){.pool = pool, .thread = i + 1};
        int code = ref_thread_start(&pool->ids[i], help, &pool->helpers[i]);
        if (code) {
            ref_pool_stop(pool);
            return tandem_kit_fail_driver(error, TANDEM_E_OUT_OF_MEMORY, code,
                                          "the system does not start worker thread %u of %u", i + 1,
                                          n_thread - 1);
        }
        pool->n_started++;
    }
    return TANDEM_OK;
}

void ref_pool_stop(ref_pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    pool->quit = 1;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->n_started; i++)
        pthread_join(pool->ids[i], NULL);
    pthread_cond_destroy(&pool->finish);
    pthread_cond_destroy(&pool->start);
    pthread_mutex_destroy(&pool->mutex);
}

uint32_t ref_pool_size(const ref_pool *pool) {
    return pool->n_thread;
}

uint64_t ref_grain(const ref_pool *pool, uint64_t n, uint64_t n_product) {
    uint64_t grain = 1 + 1000000 / n_product, most = 1 + n / (4 * (uint64_t)pool->n_thread);
    return grain < most ? grain : most;
}

void ref_parallel(ref_pool *pool, uint64_t n, uint64_t grain, ref_task_fn task, void *argument) {
    if (n == 0)
        return;
    if (pool->n_thread == 1 || n <= grain) {
        task(argument, 0, n, 0);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->task = task;
    pool->argument = argument;
    pool->n = n;
    pool->grain = grain;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    pool->n_busy = pool->n_thread - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->mutex);

    work(pool, 0);

    pthread_mutex_lock(&pool->mutex);
    while (pool->n_busy > 0)
        pthread_cond_wait(&pool->finish, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
