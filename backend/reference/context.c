/* context.c: a context, its memory accounts, and the queue between the caller's thread and the executor. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "objects.h"

#define ALIGNMENT 64u

/* ---- memory ---- */

uint64_t ref_now(const tandem_context *context) {
    return context->services.clock_ns(context->services.user);
}

static uint64_t total_of(const tandem_context *context) {
    uint64_t total = 0;
    for (int i = 0; i < REF_N_USE; i++)
        total += context->used[i];
    return total;
}

static tandem_status get_memory(const ref_services *services, uint64_t bytes, const char *what, void **memory,
                                tandem_error *error) {
    *memory = services->alloc(services->user, bytes, ALIGNMENT);
    if (!*memory)
        return tandem_kit_fail_driver(error, TANDEM_E_OUT_OF_MEMORY, ENOMEM,
                                      "the system has no %llu bytes for %s", (unsigned long long)bytes, what);
    if (!services->alloc_zeroes)
        memset(*memory, 0, bytes);
    return TANDEM_OK;
}

tandem_status ref_alloc(tandem_context *context, ref_use use, uint64_t bytes, const char *what, void **memory,
                        tandem_error *error) {
    uint64_t total = total_of(context);
    if (context->cap && (bytes > context->cap || total > context->cap - bytes))
        return tandem_kit_fail(
            error, TANDEM_E_OUT_OF_MEMORY,
            "%s takes %llu bytes, but %llu of the %llu bytes that the context may use are taken", what,
            (unsigned long long)bytes, (unsigned long long)total, (unsigned long long)context->cap);
    if (bytes > context->limit)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "%s takes %llu bytes, but the machine has %llu",
                               what, (unsigned long long)bytes, (unsigned long long)context->limit);
    void *fresh;
    tandem_status status = get_memory(&context->services, bytes, what, &fresh, error);
    if (status != TANDEM_OK)
        return status;
    context->used[use] += bytes;
    if (total + bytes > context->peak)
        context->peak = total + bytes;
    *memory = fresh;
    return TANDEM_OK;
}

void ref_free(tandem_context *context, ref_use use, void *memory, uint64_t bytes) {
    if (!memory)
        return;
    context->used[use] -= bytes;
    context->services.free(context->services.user, memory);
}

void ref_recount(tandem_context *context, ref_use from, ref_use to, uint64_t bytes) {
    context->used[from] -= bytes;
    context->used[to] += bytes;
}

tandem_status ref_context_memory(tandem_context *context, tandem_memory_info *info, tandem_error *error) {
    tandem_memory_info known = {
        .cap = context->cap,
        .total = total_of(context),
        .peak = context->peak,
        .weights_device = context->used[REF_WEIGHTS_DEVICE],
        .weights_host = context->used[REF_WEIGHTS_HOST],
        .kv = context->used[REF_KV],
        .buffers = context->used[REF_BUFFERS],
        .workspace = context->used[REF_WORKSPACE],
    };
    return TANDEM_KIT_GIVE(tandem_memory_info, info, &known, error);
}

/* ---- the queue ---- */

static ref_record *record_of(tandem_context *context, tandem_ticket ticket) {
    return &context->records[ticket % REF_KEPT_TIMES];
}

/* note: a record is written by the caller's thread before its ticket is published under the mutex, then by
 * this thread until the ticket is completed under it, then by nobody but ref_forget_program. */
static void *execute(void *argument) {
    tandem_context *context = argument;

    pthread_mutex_lock(&context->mutex);
    for (;;) {
        while (!context->quit && context->completed == context->submitted)
            pthread_cond_wait(&context->submitted_cond, &context->mutex);
        if (context->completed == context->submitted)
            break; /* told to quit, and nothing is left */
        tandem_ticket ticket = context->completed + 1;
        ref_record *record = record_of(context, ticket);
        pthread_mutex_unlock(&context->mutex);

        uint64_t start = ref_now(context), end = start;
        if (record->program) {
            ref_execute(record->program, ticket, record->profiled);
            end = ref_now(context);
            record->gap_ns = context->last_end_ns ? start - context->last_end_ns : 0;
            context->last_end_ns = end;
        }
        record->device_ns = end - start;

        pthread_mutex_lock(&context->mutex);
        context->completed = ticket;
        pthread_cond_broadcast(&context->completed_cond);
    }
    pthread_mutex_unlock(&context->mutex);
    return NULL;
}

int ref_queue_full(tandem_context *context) {
    pthread_mutex_lock(&context->mutex);
    int full = context->submitted - context->completed == REF_MAX_PENDING;
    pthread_mutex_unlock(&context->mutex);
    return full;
}

tandem_ticket ref_submit(tandem_context *context, tandem_program *program, uint32_t profiled,
                         uint64_t start_ns, uint64_t upload_bytes) {
    tandem_ticket ticket = context->submitted + 1; /* only the caller's thread changes it */
    *record_of(context, ticket) = (ref_record){.ticket = ticket,
                                               .program = program,
                                               .profiled = profiled,
                                               .host_ns = ref_now(context) - start_ns,
                                               .upload_bytes = upload_bytes};
    pthread_mutex_lock(&context->mutex);
    context->submitted = ticket;
    pthread_cond_signal(&context->submitted_cond);
    pthread_mutex_unlock(&context->mutex);
    return ticket;
}

void ref_drain(tandem_context *context) {
    pthread_mutex_lock(&context->mutex);
    while (context->completed != context->submitted)
        pthread_cond_wait(&context->completed_cond, &context->mutex);
    pthread_mutex_unlock(&context->mutex);
}

void ref_forget_program(tandem_context *context, const tandem_program *program) {
    ref_drain(context);
    for (uint32_t i = 0; i < REF_KEPT_TIMES; i++)
        if (context->records[i].program == program)
            context->records[i].program = NULL;
}

static struct timespec deadline_after(uint64_t timeout_ns) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(timeout_ns / 1000000000u);
    t.tv_nsec += (long)(timeout_ns % 1000000000u);
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

tandem_status ref_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                       tandem_error *error) {
    if (ticket == TANDEM_TICKET_ALL)
        ticket = context->submitted;
    else if (ticket == 0 || ticket > context->submitted)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "ticket %llu was never issued; the last one is %llu",
                               (unsigned long long)ticket, (unsigned long long)context->submitted);

    /* Half a million years would overflow the deadline: forever. */
    int forever = timeout_ns > UINT64_MAX / 2;
    struct timespec deadline = deadline_after(forever ? 0 : timeout_ns);
    int code = 0;
    pthread_mutex_lock(&context->mutex);
    while (context->completed < ticket && code == 0)
        code = forever ? pthread_cond_wait(&context->completed_cond, &context->mutex)
                       : pthread_cond_timedwait(&context->completed_cond, &context->mutex, &deadline);
    int done = context->completed >= ticket;
    pthread_mutex_unlock(&context->mutex);
    if (!done)
        return tandem_kit_fail(error, TANDEM_E_TIMEOUT, "ticket %llu has not finished within %llu ns",
                               (unsigned long long)ticket, (unsigned long long)timeout_ns);
    return TANDEM_OK;
}

/* The record of a finished ticket. */
static tandem_status finished(tandem_context *context, tandem_ticket ticket, const ref_record **record,
                              tandem_error *error) {
    const ref_record *r = record_of(context, ticket);
    if (ticket == 0 || ticket > context->submitted)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "ticket %llu was never issued; the last one is %llu",
                               (unsigned long long)ticket, (unsigned long long)context->submitted);
    if (r->ticket != ticket)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "the times of ticket %llu are gone; the last %u are kept",
                               (unsigned long long)ticket, REF_KEPT_TIMES - REF_MAX_PENDING);
    pthread_mutex_lock(&context->mutex);
    int done = context->completed >= ticket;
    pthread_mutex_unlock(&context->mutex);
    if (!done)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "ticket %llu has not finished",
                               (unsigned long long)ticket);
    *record = r;
    return TANDEM_OK;
}

tandem_status ref_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                        tandem_error *error) {
    const ref_record *record = NULL;
    tandem_status status = finished(context, ticket, &record, error);
    if (status != TANDEM_OK)
        return status;
    tandem_times known = {
        .n_step = record->profiled && record->program ? record->program->n_op : 0,
        .device_ns = record->device_ns,
        .gap_ns = record->gap_ns,
        .host_ns = record->host_ns,
        .upload_bytes = record->upload_bytes,
    };
    return TANDEM_KIT_GIVE(tandem_times, times, &known, error);
}

tandem_status ref_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                             tandem_error *error) {
    const ref_record *record = NULL;
    tandem_status status = finished(context, ticket, &record, error);
    if (status != TANDEM_OK)
        return status;
    if (!record->profiled)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "ticket %llu is not of a PROFILE run",
                               (unsigned long long)ticket);
    if (!record->program)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "the program of ticket %llu is destroyed",
                               (unsigned long long)ticket);
    if (!ns || n_step != record->program->n_op)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "room for %u step times was given, the program has %u steps", ns ? n_step : 0,
                               record->program->n_op);
    memcpy(ns, record->program->step_ns + (ticket % REF_KEPT_TIMES) * n_step, n_step * sizeof *ns);
    return TANDEM_OK;
}

/* ---- life ---- */

static uint64_t own_bytes(uint32_t n_thread) {
    return sizeof(tandem_context) + ref_pool_bytes(n_thread);
}

/* Starts the threads; on failure none is left. */
static tandem_status start(tandem_context *context, uint32_t n_thread, tandem_error *error) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&context->mutex, NULL);
    pthread_cond_init(&context->submitted_cond, NULL);
    pthread_cond_init(&context->completed_cond, &monotonic);
    pthread_condattr_destroy(&monotonic);

    tandem_status status = ref_pool_start(context->pool, n_thread, error);
    if (status != TANDEM_OK)
        goto fail;
    int code = ref_thread_start(&context->executor, execute, context);
    if (code) {
        ref_pool_stop(context->pool);
        status = tandem_kit_fail_driver(error, TANDEM_E_OUT_OF_MEMORY, code,
                                        "the system does not start the executor thread");
        goto fail;
    }
    return TANDEM_OK;
fail:
    pthread_cond_destroy(&context->completed_cond);
    pthread_cond_destroy(&context->submitted_cond);
    pthread_mutex_destroy(&context->mutex);
    return status;
}

tandem_status ref_context_create(const tandem_context_desc *desc, tandem_context **context,
                                 tandem_error *error) {
    tandem_context_desc d;
    tandem_status status = TANDEM_KIT_TAKE(tandem_context_desc, &d, desc, error);
    if (status == TANDEM_OK)
        status = tandem_kit_validate_context(&d, 1, error);
    if (status != TANDEM_OK)
        return status;
    if (d.n_threads > REF_MAX_THREADS)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "%u threads are asked for; the reference plugin takes %u", d.n_threads,
                               REF_MAX_THREADS);
    uint32_t n_thread = d.n_threads ? d.n_threads : ref_n_core();
    uint64_t bytes = own_bytes(n_thread), free_bytes;
    if (d.memory_cap && bytes > d.memory_cap)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                               "a context takes %llu bytes, more than its cap of %llu",
                               (unsigned long long)bytes, (unsigned long long)d.memory_cap);

    ref_services services;
    ref_services_copy(&services);
    void *memory;
    status = get_memory(&services, bytes, "a context", &memory, error);
    if (status != TANDEM_OK)
        return status;
    tandem_context *c = memory;
    c->services = services;
    c->dot = ref_dot_best();
    c->cap = d.memory_cap;
    c->limit = ref_system_memory(&free_bytes);
    c->used[REF_WORKSPACE] = c->peak = bytes;
    c->pool = (ref_pool *)(void *)(c + 1);
    status = start(c, n_thread, error);
    if (status != TANDEM_OK) {
        services.free(services.user, c);
        return status;
    }
    *context = c;
    return TANDEM_OK;
}

void ref_context_destroy(tandem_context *context) {
    if (!context)
        return;
    pthread_mutex_lock(&context->mutex);
    context->quit = 1;
    pthread_cond_signal(&context->submitted_cond);
    pthread_mutex_unlock(&context->mutex);
    pthread_join(context->executor, NULL);
    ref_pool_stop(context->pool);
    pthread_cond_destroy(&context->completed_cond);
    pthread_cond_destroy(&context->submitted_cond);
    pthread_mutex_destroy(&context->mutex);
    ref_services services = context->services;
    services.free(services.user, context);
}
