/* Contexts, the stack of current ones that each thread has, and the device they belong to. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STACK = 64 };
static __thread struct context *stack[MAX_STACK];
static __thread uint32_t depth;
static struct context *primary;
static unsigned primary_flags;
static struct context *living;
static struct context *graveyard; /* threads may still have these on their stacks */

struct context *context_current(void) {
    return depth ? stack[depth - 1] : NULL;
}

struct context *context_new(unsigned flags) {
    struct context *c = calloc(1, sizeof *c);
    if (!c || !handle_add(c, HANDLE_CONTEXT)) {
        free(c);
        return NULL;
    }
    c->flags = flags;
    c->id = ++next_object_id;
    c->stack_limit = 1024;
    c->printf_limit = 1 << 20;
    c->heap_limit = 8 << 20;
    c->null_stream = stream_new(c, CU_STREAM_DEFAULT, 0);
    if (!c->null_stream) {
        handle_remove(c);
        free(c);
        return NULL;
    }
    c->next = living;
    living = c;
    return c;
}

struct context *context_list(void) {
    return living;
}

/* Removing a handle moves others, so each search starts anew. */
static void free_objects(struct context *c) {
    struct graph_exec *exec;
    struct graph *graph;
    struct event *event;
    for (size_t at = 0; (exec = handle_next(HANDLE_EXEC, &at));)
        if (exec->context == c) {
            exec_free(exec);
            at = 0;
        }
    for (size_t at = 0; (graph = handle_next(HANDLE_GRAPH, &at));)
        if (graph->context == c) {
            graph_free(graph);
            at = 0;
        }
    for (size_t at = 0; (event = handle_next(HANDLE_EVENT, &at));)
        if (event->context == c) {
            handle_remove(event);
            event_release(event);
            at = 0;
        }
}

/* Everything in it goes. The struct stays, because threads may have it on their stacks: it answers as
 * destroyed. */
void context_free(struct context *c) {
    struct context **link = &living;
    while (*link && *link != c)
        link = &(*link)->next;
    if (*link)
        *link = c->next;
    while (c->streams)
        stream_free(c->streams);
    c->null_stream = NULL;
    free_objects(c);
    while (c->modules)
        module_unload(c->modules);
    memory_remove_owned(c);
    handle_remove(c);
    c->destroyed = true;
    c->next = graveyard;
    graveyard = c;
}

static CUresult check_device(CUdevice device) {
    return device == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

static CUresult push(struct context *c) {
    if (depth == MAX_STACK)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "more than %d contexts on a thread's stack", MAX_STACK);
    stack[depth++] = c;
    return CUDA_SUCCESS;
}

/* ---- the primary context ---- */

static CUresult primary_retain(CUcontext *out, CUdevice device) {
    CUresult r = out ? check_device(device) : CUDA_ERROR_INVALID_VALUE;
    if (r)
        return r;
    if (!primary) {
        primary = context_new(primary_flags);
        if (!primary)
            return CUDA_ERROR_OUT_OF_MEMORY;
        primary->primary = true;
    }
    primary->retained++;
    *out = (CUcontext)primary;
    return CUDA_SUCCESS;
}
static CUresult primary_reset(CUdevice device, bool release) {
    const CUresult r = check_device(device);
    if (r)
        return r;
    if (release && !primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!primary || (release && --primary->retained))
        return CUDA_SUCCESS;
    context_free(primary);
    primary = NULL;
    return CUDA_SUCCESS;
}
static CUresult primary_set_flags(CUdevice device, unsigned flags) {
    const CUresult r = check_device(device);
    if (r || flags & ~(unsigned)CU_CTX_FLAGS_MASK)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    primary_flags = flags;
    if (primary)
        primary->flags = flags;
    return CUDA_SUCCESS;
}
static CUresult primary_state(CUdevice device, unsigned *flags, int *active) {
    const CUresult r = check_device(device);
    if (r || !flags || !active)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    *flags = primary_flags;
    *active = primary != NULL;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    API("cuDevicePrimaryCtxRetain", NEEDS_INIT, primary_retain(context, device));
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    API("cuDevicePrimaryCtxRelease", NEEDS_INIT | ALLOWS_STICKY, primary_reset(device, true));
}
CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    API("cuDevicePrimaryCtxReset", NEEDS_INIT | ALLOWS_STICKY, primary_reset(device, false));
}
CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
    API("cuDevicePrimaryCtxSetFlags", NEEDS_INIT, primary_set_flags(device, flags));
}
CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    API("cuDevicePrimaryCtxGetState", NEEDS_INIT, primary_state(device, flags, active));
}

/* ---- contexts of one's own ---- */

static CUresult create(CUcontext *out, unsigned flags, CUdevice device) {
    CUresult r = out ? check_device(device) : CUDA_ERROR_INVALID_VALUE;
    if (r || flags & ~(unsigned)CU_CTX_FLAGS_MASK)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    struct context *c = context_new(flags);
    if (!c)
        return CUDA_ERROR_OUT_OF_MEMORY;
    r = push(c);
    if (r)
        context_free(c);
    else
        *out = (CUcontext)c;
    return r;
}

static CUresult destroy(CUcontext handle) {
    struct context *c = (struct context *)handle;
    if (!handle_is(c, HANDLE_CONTEXT) || c->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (context_current() == c)
        depth--;
    context_free(c);
    return CUDA_SUCCESS;
}

static CUresult push_current(CUcontext handle) {
    return handle_is(handle, HANDLE_CONTEXT) ? push((struct context *)handle) : CUDA_ERROR_INVALID_CONTEXT;
}
static CUresult pop_current(CUcontext *out) {
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (out)
        *out = (CUcontext)stack[depth];
    return CUDA_SUCCESS;
}
static CUresult set_current(CUcontext handle) {
    if (handle && !handle_is(handle, HANDLE_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (depth)
        depth--;
    return handle ? push((struct context *)handle) : CUDA_SUCCESS;
}
static CUresult get_current(CUcontext *out) {
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    *out = (CUcontext)context_current();
    return CUDA_SUCCESS;
}

CUresult cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *params, unsigned flags, CUdevice device) {
    API("cuCtxCreate", NEEDS_INIT,
        params && (params->execAffinityParams || params->cigParams) ? CUDA_ERROR_NOT_SUPPORTED
                                                                    : create(context, flags, device));
}
#pragma GCC visibility push(default)
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device);
CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *params, int n, unsigned flags,
                        CUdevice device);
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device) {
    API("cuCtxCreate", NEEDS_INIT, create(context, flags, device));
}
CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *params, int n, unsigned flags,
                        CUdevice device) {
    API("cuCtxCreate", NEEDS_INIT, params || n ? CUDA_ERROR_NOT_SUPPORTED : create(context, flags, device));
}
#pragma GCC visibility pop
CUresult cuCtxDestroy_v2(CUcontext context) {
    API("cuCtxDestroy", NEEDS_INIT | ALLOWS_STICKY, destroy(context));
}
CUresult cuCtxPushCurrent_v2(CUcontext context) {
    API("cuCtxPushCurrent", NEEDS_INIT | ALLOWS_STICKY, push_current(context));
}
CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    API("cuCtxPopCurrent", NEEDS_INIT | ALLOWS_STICKY, pop_current(context));
}
CUresult cuCtxSetCurrent(CUcontext context) {
    API("cuCtxSetCurrent", NEEDS_INIT | ALLOWS_STICKY, set_current(context));
}
CUresult cuCtxGetCurrent(CUcontext *context) {
    API("cuCtxGetCurrent", NEEDS_INIT | ALLOWS_STICKY, get_current(context));
}

static CUresult put(void *to, const void *value, size_t bytes) {
    if (!to)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) {
    const CUdevice zero = 0;
    API("cuCtxGetDevice", NEEDS_CONTEXT, put(device, &zero, sizeof zero));
}
CUresult cuCtxGetFlags(unsigned *flags) {
    API("cuCtxGetFlags", NEEDS_CONTEXT, put(flags, &c->flags, sizeof *flags));
}
CUresult cuCtxGetId(CUcontext context, unsigned long long *id) {
    API("cuCtxGetId", NEEDS_INIT,
        !context                             ? (c ? put(id, &c->id, sizeof *id) : CUDA_ERROR_INVALID_CONTEXT)
        : handle_is(context, HANDLE_CONTEXT) ? put(id, &((struct context *)context)->id, sizeof *id)
                                             : CUDA_ERROR_INVALID_CONTEXT);
}
CUresult cuCtxGetApiVersion(CUcontext context, unsigned *version) {
    const unsigned value = 3020;
    API("cuCtxGetApiVersion", NEEDS_INIT,
        context && !handle_is(context, HANDLE_CONTEXT) ? CUDA_ERROR_INVALID_CONTEXT
                                                       : put(version, &value, sizeof value));
}

static CUresult synchronize(struct context *c) {
    for (struct stream *s = c->streams; s; s = s->next)
        if (s->capture)
            return capture_forbids(s);
    return context_finish(c);
}
CUresult cuCtxSynchronize(void) {
    API("cuCtxSynchronize", NEEDS_CONTEXT, synchronize(c));
}

static size_t *limit_of(struct context *c, CUlimit limit) {
    return limit == CU_LIMIT_STACK_SIZE         ? &c->stack_limit
           : limit == CU_LIMIT_PRINTF_FIFO_SIZE ? &c->printf_limit
           : limit == CU_LIMIT_MALLOC_HEAP_SIZE ? &c->heap_limit
                                                : NULL;
}
static CUresult set_limit(struct context *c, CUlimit limit, size_t value) {
    size_t *at = limit_of(c, limit);
    if (!at)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    *at = value;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
    API("cuCtxSetLimit", NEEDS_CONTEXT, set_limit(c, limit, value));
}
CUresult cuCtxGetLimit(size_t *value, CUlimit limit) {
    API("cuCtxGetLimit", NEEDS_CONTEXT,
        limit_of(c, limit) ? put(value, limit_of(c, limit), sizeof *value) : CUDA_ERROR_UNSUPPORTED_LIMIT);
}
CUresult cuCtxSetCacheConfig(CUfunc_cache config) {
    API("cuCtxSetCacheConfig", NEEDS_CONTEXT, ((void)config, CUDA_SUCCESS));
}
CUresult cuCtxGetCacheConfig(CUfunc_cache *config) {
    const CUfunc_cache none = CU_FUNC_CACHE_PREFER_NONE;
    API("cuCtxGetCacheConfig", NEEDS_CONTEXT, put(config, &none, sizeof none));
}
static CUresult priority_range(int *least, int *greatest) {
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    API("cuCtxGetStreamPriorityRange", NEEDS_CONTEXT, priority_range(least, greatest));
}
