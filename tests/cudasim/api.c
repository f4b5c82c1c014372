/* Every entry point passes here: the lock, what it needs, injected failures, errors that stick, the trace;
 * and the registry of handles.
 */
#include "driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread bool in_callback;
static CUresult lost_code; /* the device is gone for the life of the process */

bool driver_ready;
uint64_t simulated_ns, next_object_id;

/* ---- handles: a hash of pointers ---- */

static struct handle {
    const void *object;
    uint8_t kind;
} * handles;
static size_t n_handle, max_handle;

static size_t handle_slot(const void *object) {
    size_t at = ((uintptr_t)object >> 4) * 0x9e3779b97f4a7c15ull >> 20;
    for (at &= max_handle - 1; handles[at].object && handles[at].object != object;
         at = (at + 1) & (max_handle - 1))
        ;
    return at;
}

bool handle_add(void *object, enum handle_kind kind) {
    if (2 * (n_handle + 1) > max_handle) {
        struct handle *old = handles;
        const size_t old_max = max_handle;
        struct handle *bigger = calloc(max_handle ? 2 * max_handle : 1024, sizeof *bigger);
        if (!bigger)
            return false;
        handles = bigger;
        max_handle = max_handle ? 2 * max_handle : 1024;
        for (size_t i = 0; i < old_max; i++)
            if (old[i].object)
                handles[handle_slot(old[i].object)] = old[i];
        free(old);
    }
    handles[handle_slot(object)] = (struct handle){object, (uint8_t)kind};
    n_handle++;
    return true;
}

void handle_remove(const void *object) {
    size_t at = max_handle ? handle_slot(object) : 0;
    if (!max_handle || !handles[at].object)
        return;
    n_handle--;
    handles[at].object = NULL;
    /* Those that had to step over this place move up. */
    for (at = (at + 1) & (max_handle - 1); handles[at].object; at = (at + 1) & (max_handle - 1)) {
        const struct handle moved = handles[at];
        handles[at].object = NULL;
        handles[handle_slot(moved.object)] = moved;
    }
}

bool handle_is(const void *object, enum handle_kind kind) {
    if (!object || !max_handle)
        return false;
    const struct handle *h = &handles[handle_slot(object)];
    return h->object == object && h->kind == kind;
}

void *handle_next(enum handle_kind kind, size_t *cursor) {
    while (*cursor < max_handle) {
        const struct handle *h = &handles[(*cursor)++];
        if (h->object && h->kind == kind)
            return (void *)(uintptr_t)h->object;
    }
    return NULL;
}

/* ---- calls ---- */

static void trace(const char *name, CUresult result) {
    static FILE *file;
    if (!*options.trace)
        return;
    if (!file)
        file = fopen(options.trace, "w");
    if (file) {
        fprintf(file, "%s %d\n", name, (int)result);
        fflush(file);
    }
}

CUresult api_enter(struct call *call, const char *name, unsigned needs) {
    bool lost = false;
    *call = (struct call){.name = name, .said = message_count()};
    if (in_callback)
        return CUDA_ERROR_NOT_PERMITTED;
    pthread_mutex_lock(&lock);
    call->locked = true;
    call->context = context_current();
    if (!driver_ready && needs & NEEDS_INIT)
        return CUDA_ERROR_NOT_INITIALIZED;
    const CUresult injected = (CUresult)fail_check(name, &lost);
    if (injected) {
        message("%s: failure %d was asked for", name, (int)injected);
        if (lost)
            lost_code = injected;
        return injected;
    }
    if (lost_code && needs & NEEDS_INIT && !(needs & ALLOWS_STICKY))
        return lost_code;
    if ((needs & NEEDS_CONTEXT) != NEEDS_CONTEXT)
        return CUDA_SUCCESS;
    if (!call->context)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (call->context->destroyed)
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return needs & ALLOWS_STICKY ? CUDA_SUCCESS : call->context->sticky;
}

/* What a refusal means when its place has no better sentence. */
static const char *reason(CUresult result) {
    switch (result) {
    case CUDA_ERROR_INVALID_VALUE:
        return "an argument is NULL, or none that this function takes";
    case CUDA_ERROR_INVALID_HANDLE:
        return "a handle is of no object that lives: it was never given out, or is of another kind, or "
               "destroyed";
    case CUDA_ERROR_INVALID_CONTEXT:
        return "the thread has no current context, or the one given is none";
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
        return "the thread's current context has been destroyed";
    case CUDA_ERROR_INVALID_DEVICE:
        return "there is device 0 and no other";
    case CUDA_ERROR_NOT_INITIALIZED:
        return "cuInit has not been called, or has failed";
    case CUDA_ERROR_NOT_PERMITTED:
        return "a host function that runs in a stream may not call the driver";
    case CUDA_ERROR_OUT_OF_MEMORY:
        return "the host has no memory for it";
    case CUDA_ERROR_NOT_SUPPORTED:
        return "that is not simulated";
    case CUDA_ERROR_ILLEGAL_STATE:
        return "the stream is in a capture already, or in none that could end";
    case CUDA_ERROR_STREAM_CAPTURE_INVALIDATED:
        return "an earlier call has spoilt the capture";
    default:
        return NULL;
    }
}

CUresult api_refuse(const char *name, CUresult result) {
    const char *code = "an unknown code", *text = reason(result);
    error_text(result, &code, true);
    if (!text)
        error_text(result, &text, false);
    message("%s: %s (%s)", name, text ? text : "it failed", code);
    return result;
}

static void explain(const struct call *call, CUresult result) {
    const struct context *c = call->context;
    if (c && !c->destroyed && result == c->sticky && *c->fault)
        message_quietly("%s: the context is lost to an earlier fault: %s", call->name, c->fault);
    else if (result == lost_code)
        message_quietly("%s: the device is lost, for the life of the process (%d)", call->name, (int)result);
    else
        api_refuse(call->name, result);
}

CUresult api_leave(struct call *call, CUresult result) {
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY && message_count() == call->said)
        explain(call, result);
    if (call->locked) {
        trace(call->name, result);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

void api_lock(void) {
    pthread_mutex_lock(&lock);
}
void api_unlock(void) {
    pthread_mutex_unlock(&lock);
}

void api_callback(CUhostFn fn, void *user) {
    in_callback = true;
    fn(user);
    in_callback = false;
}

void api_lose_device(CUresult code) {
    lost_code = code;
}
