/* reference.h: what the files of the reference plugin share.
 *
 * The plugin is the oracle: every sum in double, one thread per output, a fixed order of summation, so that
 * results depend neither on the number of threads nor on how rows are cut into runs. A context owns one
 * executor thread, which runs jobs in order, and a pool of helpers that it shares work with (threads.c).
 */
#ifndef TANDEM_REFERENCE_H
#define TANDEM_REFERENCE_H

#include <pthread.h>
#include <stdatomic.h>

#include <tandem/growth.h>
#include <tandem/message.h>
#include <tandem/quants.h>
#include <tandem/tandem.h>

#define REF_MAX_PENDING 8u                     /* runs and placement edits in flight */
#define REF_KEPT_TIMES (64u + REF_MAX_PENDING) /* tickets whose times are kept */
#define REF_MAX_THREADS 256u
#define REF_MAX_HEAD_DIM 1024u
#define REF_KEY_BLOCK 64u /* keys that attention takes at a time, at multiples of 64 */
#define REF_ROW_TILE 8u   /* rows that attention takes at a time */
#define REF_ROW_BLOCK 8u  /* matrix rows dequantised at a time: 8 rows of 2048 f32 are 64 KiB */
#define REF_INPUT_BLOCK                                                                                      \
    32u /* input rows at a time: 32 of 2048 doubles are 512 KiB, in reach of a second-level cache */

/* ---- host services (plugin.c) ---- */

typedef struct ref_services {
    void *user;
    void *(*alloc)(void *user, uint64_t bytes, uint64_t alignment);
    uint32_t alloc_zeroes; /* alloc is the plugin's own */
    uint32_t rope_f32;     /* option rope=f32: the angle is an f32 product, as other engines have it */
    void (*free)(void *user, void *pointer);
    uint64_t (*clock_ns)(void *user);
} ref_services;

extern const tandem_backend ref_backend; /* the table, constant */
void ref_services_copy(ref_services *services);
uint64_t ref_system_memory(uint64_t *free_bytes); /* bytes of the machine */
uint32_t ref_n_core(void);

/* ---- sums of products (dot.c, dot_avx2.c) ---- */

/* y[t] = sum_i w[i] * x[t * x_stride + i], t < n_x. Lane l of eight sums the elements i = l mod 8 in
 * ascending order, then the lanes are added in a fixed tree; the same bits on every machine. */
typedef void (*ref_dot_fn)(const float *w, const double *x, uint64_t x_stride, uint32_t n_x, uint64_t n,
                           double *y);
void ref_dot_plain(const float *w, const double *x, uint64_t x_stride, uint32_t n_x, uint64_t n, double *y);
ref_dot_fn ref_dot_avx2(void); /* NULL: not on this machine */
ref_dot_fn ref_dot_best(void);

double ref_gelu(double x);

/* Sizes. What 64 bits cannot count stays at the largest number, which ref_alloc refuses. */
static inline uint64_t ref_mul(uint64_t a, uint64_t b) {
    uint64_t c;
    return __builtin_mul_overflow(a, b, &c) ? UINT64_MAX : c;
}

static inline uint64_t ref_add(uint64_t a, uint64_t b) {
    uint64_t c;
    return __builtin_add_overflow(a, b, &c) ? UINT64_MAX : c;
}

/* ---- threads (threads.c) ---- */

typedef struct ref_pool ref_pool;
/* Items [first, end); `thread` < ref_pool_size, for scratch. */
typedef void (*ref_task_fn)(void *argument, uint64_t first, uint64_t end, uint32_t thread);

uint64_t ref_pool_bytes(uint32_t n_thread);
tandem_status ref_pool_start(ref_pool *pool, uint32_t n_thread, tandem_error *error);
void ref_pool_stop(ref_pool *pool);
uint32_t ref_pool_size(const ref_pool *pool);
/* pthread_create with all signals blocked; 0 or an errno. */
int ref_thread_start(pthread_t *id, void *(*entry)(void *), void *argument);
/* Runs the task over n items in pieces of `grain`, on all threads, and returns when all are done. */
void ref_parallel(ref_pool *pool, uint64_t n, uint64_t grain, ref_task_fn task, void *argument);
/* The grain for n items of n_product multiply-adds each: some 100 microseconds of work to a piece, so that
 * taking it costs nothing beside it, and four pieces for each thread. */
uint64_t ref_grain(const ref_pool *pool, uint64_t n, uint64_t n_product);

/* ---- context (context.c) ---- */

typedef enum ref_use {
    REF_WEIGHTS_DEVICE,
    REF_WEIGHTS_HOST,
    REF_KV,
    REF_BUFFERS,
    REF_WORKSPACE,
    REF_N_USE
} ref_use;

/* A finished or pending ticket. The caller's thread writes it before the job is published, the executor
 * afterwards. */
typedef struct ref_record {
    tandem_ticket ticket;    /* 0: none */
    tandem_program *program; /* NULL: a placement edit, or the program is gone */
    uint32_t profiled;
    uint32_t reserved;
    uint64_t device_ns, gap_ns, host_ns, upload_bytes;
} ref_record;

struct tandem_context {
    ref_services services;
    ref_dot_fn dot;
    uint64_t cap;   /* 0: none */
    uint64_t limit; /* of one allocation: the machine's memory */
    uint64_t used[REF_N_USE];
    uint64_t peak;

    ref_pool *pool;
    pthread_t executor;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t submitted_cond, completed_cond;
    uint64_t submitted, completed; /* tickets */
    int quit;
    ref_record records[REF_KEPT_TIMES]; /* ticket modulo the size */

    uint64_t last_end_ns; /* executor only */
    uint32_t next_token;  /* executor only: id[0] of the last TOPK row */

    /* What a DEVICE_NEXT run will continue, known at submission. */
    uint32_t next_position, next_slot;
    uint32_t next_vocab; /* next_token will be below it; 0: there is nothing to continue */
    uint32_t reserved;
};

/* `bytes` zeroed bytes, aligned to 64, counted under `use`. `what` names it in the sentence of a refusal. */
tandem_status ref_alloc(tandem_context *context, ref_use use, uint64_t bytes, const char *what, void **memory,
                        tandem_error *error);
void ref_free(tandem_context *context, ref_use use, void *memory, uint64_t bytes);
/* Counts bytes under another use. */
void ref_recount(tandem_context *context, ref_use from, ref_use to, uint64_t bytes);
uint64_t ref_now(const tandem_context *context);

/* Room for one more job? */
int ref_queue_full(tandem_context *context);
/* Publishes a job; the caller has made sure of room and holds no lock. program NULL: only a place in the
 * order. */
tandem_ticket ref_submit(tandem_context *context, tandem_program *program, uint32_t profiled,
                         uint64_t start_ns, uint64_t upload_bytes);
/* Waits until everything submitted has run. */
void ref_drain(tandem_context *context);
void ref_forget_program(tandem_context *context, const tandem_program *program);
tandem_status ref_check_context(tandem_context *context, tandem_error *error);

tandem_status ref_context_create(const tandem_context_desc *desc, tandem_context **context,
                                 tandem_error *error);
void ref_context_destroy(tandem_context *context);
tandem_status ref_context_memory(tandem_context *context, tandem_memory_info *info, tandem_error *error);
tandem_status ref_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                       tandem_error *error);
tandem_status ref_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                        tandem_error *error);
tandem_status ref_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                             tandem_error *error);

#endif
