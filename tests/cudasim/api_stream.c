/* Streams and events. */
#include "driver.h"

#include <stdlib.h>

/* ---- streams ---- */

static CUresult create_stream(struct context *c, CUstream *out, unsigned flags, int priority) {
    if (!out || flags & ~(unsigned)CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    struct stream *s = stream_new(c, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
    if (!s)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *out = (CUstream)s;
    return CUDA_SUCCESS;
}

/* What was given to it still runs; then it goes. */
static CUresult destroy_stream(struct context *c, CUstream handle) {
    struct stream *s = stream_find(c, handle);
    if (!s || s == c->null_stream)
        return CUDA_ERROR_INVALID_HANDLE;
    capture_drop(s);
    s->destroyed = true;
    if (!s->first)
        stream_free(s);
    return CUDA_SUCCESS;
}

static CUresult synchronize_stream(struct context *c, CUstream handle) {
    struct stream *s = stream_find(c, handle);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    const CUresult r = capture_forbids(s);
    if (r)
        return r;
    /* The default stream stands for all that wait for each other through it. */
    if (s == c->null_stream)
        for (struct stream *other = c->streams; other && !c->sticky;) {
            if (other != s && other->first && !(other->flags & CU_STREAM_NON_BLOCKING)) {
                stream_finish(other);
                other = c->streams;
            } else {
                other = other->next;
            }
        }
    return stream_finish(s);
}

/* Asking again and again gets the work done, a piece a question. */
static CUresult query_stream(struct context *c, CUstream handle) {
    struct stream *s = stream_find(c, handle);
    CUresult r = s ? capture_forbids(s) : CUDA_ERROR_INVALID_HANDLE;
    if (r)
        return r;
    if (!s->first)
        return c->sticky;
    stream_step(c, s->last, &r);
    return r ? r : CUDA_ERROR_NOT_READY;
}

static CUresult wait_event(struct context *c, CUstream handle, CUevent event_handle, unsigned flags) {
    struct stream *s = stream_find(c, handle);
    struct event *e = (struct event *)event_handle;
    struct work *w;
    if (!s || !handle_is(e, HANDLE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags & ~(unsigned)CU_EVENT_WAIT_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    if (s->capture && flags & CU_EVENT_WAIT_EXTERNAL)
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "external waits inside graphs are not simulated");
    if (s->capture || e->capture)
        return capture_wait(s, e);
    if (!e->work || e->work->done)
        return CUDA_SUCCESS;
    struct action a = {.kind = ACTION_EMPTY};
    const CUresult r = stream_add(s, &a, &w);
    if (r)
        return r;
    return work_depend(w, e->work) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    API("cuStreamCreate", NEEDS_CONTEXT, create_stream(c, stream, flags, 0));
}
CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int priority) {
    API("cuStreamCreateWithPriority", NEEDS_CONTEXT, create_stream(c, stream, flags, priority));
}
CUresult cuStreamDestroy_v2(CUstream stream) {
    API("cuStreamDestroy", NEEDS_CONTEXT | ALLOWS_STICKY, destroy_stream(c, stream));
}
CUresult cuStreamSynchronize(CUstream stream) {
    API("cuStreamSynchronize", NEEDS_CONTEXT, synchronize_stream(c, stream));
}
CUresult cuStreamQuery(CUstream stream) {
    API("cuStreamQuery", NEEDS_CONTEXT, query_stream(c, stream));
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) {
    API("cuStreamWaitEvent", NEEDS_CONTEXT, wait_event(c, stream, event, flags));
}

static CUresult get_number(struct context *c, CUstream handle, int *priority, unsigned *flags,
                           unsigned long long *id, CUcontext *context) {
    const struct stream *s = stream_find(c, handle);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!priority && !flags && !id && !context)
        return CUDA_ERROR_INVALID_VALUE;
    if (priority)
        *priority = s->priority;
    if (flags)
        *flags = s->flags;
    if (id)
        *id = s->id;
    if (context)
        *context = (CUcontext)s->context;
    return CUDA_SUCCESS;
}
CUresult cuStreamGetPriority(CUstream stream, int *priority) {
    API("cuStreamGetPriority", NEEDS_CONTEXT, get_number(c, stream, priority, NULL, NULL, NULL));
}
CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) {
    API("cuStreamGetFlags", NEEDS_CONTEXT, get_number(c, stream, NULL, flags, NULL, NULL));
}
CUresult cuStreamGetId(CUstream stream, unsigned long long *id) {
    API("cuStreamGetId", NEEDS_CONTEXT, get_number(c, stream, NULL, NULL, id, NULL));
}
CUresult cuStreamGetCtx(CUstream stream, CUcontext *context) {
    API("cuStreamGetCtx", NEEDS_CONTEXT, get_number(c, stream, NULL, NULL, NULL, context));
}

static CUresult host_function(struct context *c, CUstream handle, CUhostFn fn, void *user) {
    struct stream *s = stream_find(c, handle);
    if (!s || !fn)
        return s ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    struct action a = {.kind = ACTION_HOST, .host = fn, .user = user};
    return stream_add(s, &a, NULL);
}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *user) {
    API("cuLaunchHostFunc", NEEDS_CONTEXT, host_function(c, stream, fn, user));
}

/* ---- events ---- */

static CUresult create_event(struct context *c, CUevent *out, unsigned flags) {
    const unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    if (!out || flags & ~known)
        return CUDA_ERROR_INVALID_VALUE;
    struct event *e = calloc(1, sizeof *e);
    if (!e || !handle_add(e, HANDLE_EVENT)) {
        free(e);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    e->context = c;
    e->flags = flags;
    e->users = 1;
    *out = (CUevent)e;
    return CUDA_SUCCESS;
}
static CUresult destroy_event(CUevent handle) {
    struct event *e = (struct event *)handle;
    if (!handle_is(e, HANDLE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    handle_remove(e);
    event_release(e);
    return CUDA_SUCCESS;
}

static CUresult record(struct context *c, CUevent handle, CUstream stream, unsigned flags) {
    struct event *e = (struct event *)handle;
    struct stream *s = stream_find(c, stream);
    struct work *w = NULL;
    if (!handle_is(e, HANDLE_EVENT) || !s || e->context != c)
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags & ~(unsigned)CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    if (s->capture && !flags)
        return capture_record(s, e);
    e->capture = NULL;
    e->users++;
    struct action a = {.kind = ACTION_RECORD, .event = e};
    const CUresult r = stream_add(s, &a, &w);
    if (r || !w)
        return r; /* in a capture the event is recorded by each launch of the graph */
    work_release(e->work);
    e->work = w;
    w->users++;
    return CUDA_SUCCESS;
}

static CUresult event_state(CUevent handle, struct event **e) {
    *e = (struct event *)handle;
    if (!handle_is(*e, HANDLE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    return (*e)->capture ? REFUSE(CUDA_ERROR_CAPTURED_EVENT, "the event was last recorded in a capture")
                         : CUDA_SUCCESS;
}
static CUresult synchronize_event(struct context *c, CUevent handle) {
    struct event *e;
    const CUresult r = event_state(handle, &e);
    if (r || !e->work || e->work->done)
        return r ? r : c->sticky;
    return work_finish(c, e->work);
}
static CUresult query_event(struct context *c, CUevent handle) {
    struct event *e;
    CUresult r = event_state(handle, &e);
    if (r || !e->work || e->work->done)
        return r ? r : c->sticky;
    stream_step(c, e->work, &r);
    return r ? r : CUDA_ERROR_NOT_READY;
}

/* Simulated: 1 ns for a warp instruction, 1 us for a launch, 16 bytes a ns for copies. A count, not a time.
 */
static CUresult elapsed(float *ms, CUevent start, CUevent end) {
    struct event *from, *to;
    CUresult r = event_state(start, &from);
    if (!r)
        r = event_state(end, &to);
    if (r || !ms)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    if ((from->flags | to->flags) & CU_EVENT_DISABLE_TIMING || !from->work || !to->work)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!from->work->done || !to->work->done)
        return CUDA_ERROR_NOT_READY;
    *ms = (float)((double)(int64_t)(to->time - from->time) * 1e-6);
    return CUDA_SUCCESS;
}

CUresult cuEventCreate(CUevent *event, unsigned flags) {
    API("cuEventCreate", NEEDS_CONTEXT, create_event(c, event, flags));
}
CUresult cuEventDestroy_v2(CUevent event) {
    API("cuEventDestroy", NEEDS_CONTEXT | ALLOWS_STICKY, destroy_event(event));
}
CUresult cuEventRecord(CUevent event, CUstream stream) {
    API("cuEventRecord", NEEDS_CONTEXT, record(c, event, stream, 0));
}
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags) {
    API("cuEventRecordWithFlags", NEEDS_CONTEXT, record(c, event, stream, flags));
}
CUresult cuEventSynchronize(CUevent event) {
    API("cuEventSynchronize", NEEDS_CONTEXT, synchronize_event(c, event));
}
CUresult cuEventQuery(CUevent event) {
    API("cuEventQuery", NEEDS_CONTEXT, query_event(c, event));
}
CUresult cuEventElapsedTime_v2(float *ms, CUevent start, CUevent end) {
    API("cuEventElapsedTime", NEEDS_CONTEXT, elapsed(ms, start, end));
}
#pragma GCC visibility push(default)
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end);
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
    API("cuEventElapsedTime", NEEDS_CONTEXT, elapsed(ms, start, end));
}
#pragma GCC visibility pop
