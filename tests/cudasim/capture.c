/* Streams in capture: what they are given becomes nodes of a graph. */
#include "driver.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

static uint64_t this_thread(void) {
    return (uint64_t)(uintptr_t)pthread_self();
}

static void spoil(struct capture *capture) {
    capture->invalid = true;
}

CUresult capture_forbids(struct stream *s) {
    if (!s->capture)
        return CUDA_SUCCESS;
    spoil(s->capture);
    return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                  "a call that waits cannot be captured, and has spoilt the capture");
}

CUresult capture_forbids_unsafe(struct context *context) {
    for (uint32_t i = 0; i < context->n_capture; i++) {
        struct capture *c = context->captures[i];
        if (c->mode == CU_STREAM_CAPTURE_MODE_RELAXED || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED ||
            (c->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && c->thread != this_thread()))
            continue;
        spoil(c);
        return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
                      "the call is not safe while a stream is captured, and has spoilt the capture");
    }
    return CUDA_SUCCESS;
}

static bool set_tail(struct stream *s, struct node *const *nodes, uint32_t n, bool keep) {
    struct node **tail = realloc(s->tail, ((keep ? s->n_tail : 0) + n + 1u) * sizeof *tail);
    if (!tail)
        return false;
    s->tail = tail;
    uint32_t count = keep ? s->n_tail : 0;
    for (uint32_t i = 0; i < n; i++) {
        bool known = false;
        for (uint32_t k = 0; k < count; k++)
            known |= tail[k] == nodes[i];
        if (!known)
            tail[count++] = nodes[i];
    }
    s->n_tail = count;
    return true;
}

CUresult capture_add(struct stream *s, struct action *action) {
    struct node *node;
    struct action copy;
    if (s->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    CUresult r = action_clone(&copy, action);
    if (!r)
        r = graph_add(s->capture->graph, &copy, s->tail, s->n_tail, &node);
    if (!r && !set_tail(s, &node, 1, false))
        r = CUDA_ERROR_OUT_OF_MEMORY;
    return r;
}

CUresult capture_record(struct stream *s, struct event *event) {
    struct node **nodes = malloc((s->n_tail + 1u) * sizeof *nodes);
    if (!nodes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (s->n_tail)
        memcpy(nodes, s->tail, s->n_tail * sizeof *nodes);
    free(event->nodes);
    event->nodes = nodes;
    event->n_node = s->n_tail;
    event->capture = s->capture;
    return CUDA_SUCCESS;
}

CUresult capture_wait(struct stream *s, struct event *event) {
    if (event->capture && !s->capture) {
        s->capture = event->capture;
        s->capture->n_stream++;
        return set_tail(s, event->nodes, event->n_node, false) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (event->capture == s->capture)
        return set_tail(s, event->nodes, event->n_node, true) ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    spoil(s->capture);
    return REFUSE(CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
                  "a captured stream waits for an event outside its capture");
}

static void forget(struct context *context, struct capture *capture) {
    for (uint32_t i = 0; i < context->n_capture; i++)
        if (context->captures[i] == capture)
            context->captures[i] = context->captures[--context->n_capture];
}

/* Ends a capture without a graph. */
void capture_drop(struct stream *s) {
    struct capture *c = s->capture;
    if (!c)
        return;
    if (s != c->origin) { /* a stream that joined goes: its work is in the graph, but will count as not joined
                             back */
        s->capture = NULL;
        c->invalid = true;
        return;
    }
    for (struct stream *other = s->context->streams; other; other = other->next)
        if (other->capture == c)
            other->capture = NULL;
    s->capture = NULL;
    forget(s->context, c);
    graph_free(c->graph);
    free(c);
}

static CUresult begin_capture(struct context *c, CUstream handle, CUstreamCaptureMode mode) {
    struct stream *s = stream_find(c, handle);
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (mode != CU_STREAM_CAPTURE_MODE_GLOBAL && mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL &&
        mode != CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    if (s == c->null_stream)
        return REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot be captured");
    if (s->capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (c->n_capture == sizeof c->captures / sizeof *c->captures)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct capture *capture = calloc(1, sizeof *capture);
    if (!capture || !(capture->graph = graph_new(c))) {
        free(capture);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    capture->origin = s;
    capture->mode = mode;
    capture->id = ++next_object_id;
    capture->thread = this_thread();
    capture->n_stream = 1;
    c->captures[c->n_capture++] = capture;
    s->capture = capture;
    s->n_tail = 0;
    return CUDA_SUCCESS;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
    API("cuStreamBeginCapture", NEEDS_CONTEXT, begin_capture(c, stream, mode));
}

static bool reaches(const struct node *from, const struct node *to) {
    if (from == to)
        return true;
    for (uint32_t i = 0; i < from->n_dependency; i++)
        if (reaches(from->dependency[i], to))
            return true;
    return false;
}

/* All that joined streams did must lie before what the origin does next. */
static bool joined(const struct capture *capture, const struct stream *streams) {
    for (const struct stream *s = streams; s; s = s->next) {
        if (s->capture != capture || s == capture->origin)
            continue;
        for (uint32_t i = 0; i < s->n_tail; i++) {
            bool found = false;
            for (uint32_t k = 0; k < capture->origin->n_tail && !found; k++)
                found = reaches(capture->origin->tail[k], s->tail[i]);
            if (!found)
                return false;
        }
    }
    return true;
}

static CUresult end_capture(struct context *c, CUstream handle, CUgraph *out) {
    struct stream *s = stream_find(c, handle);
    if (!s || !out)
        return s ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    struct capture *capture = s->capture;
    if (!capture)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != s)
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != this_thread())
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    CUresult r = capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    if (!r && !joined(capture, c->streams))
        r = REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
                   "a stream that took part in the capture was not joined to it again");
    if (r) {
        capture_drop(s);
        *out = NULL;
        return r;
    }
    *out = (CUgraph)capture->graph;
    capture->graph = NULL;
    for (struct stream *other = c->streams; other; other = other->next)
        if (other->capture == capture)
            other->capture = NULL;
    forget(c, capture);
    free(capture);
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    API("cuStreamEndCapture", NEEDS_CONTEXT, end_capture(c, stream, graph));
}

static CUresult capture_status(struct context *c, CUstream handle, CUstreamCaptureStatus *status,
                               cuuint64_t *id, CUgraph *graph, const CUgraphNode **dependencies, size_t *n) {
    struct stream *s = stream_find(c, handle);
    if (!s || !status)
        return s ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    *status = !s->capture           ? CU_STREAM_CAPTURE_STATUS_NONE
              : s->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                    : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (!s->capture)
        return CUDA_SUCCESS;
    if (id)
        *id = s->capture->id;
    if (graph)
        *graph = (CUgraph)s->capture->graph;
    if (dependencies)
        *dependencies = (const CUgraphNode *)s->tail;
    if (n)
        *n = s->n_tail;
    return CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    API("cuStreamIsCapturing", NEEDS_CONTEXT, capture_status(c, stream, status, NULL, NULL, NULL, NULL));
}
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **dependencies, size_t *n);
#pragma GCC visibility push(default)
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **dependencies, size_t *n) {
    API("cuStreamGetCaptureInfo", NEEDS_CONTEXT,
        capture_status(c, stream, status, id, graph, dependencies, n));
}
#pragma GCC visibility pop
CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **dependencies,
                                   const CUgraphEdgeData **edges, size_t *n) {
    if (edges)
        *edges = NULL;
    API("cuStreamGetCaptureInfo", NEEDS_CONTEXT,
        capture_status(c, stream, status, id, graph, dependencies, n));
}

static CUresult exchange_mode(CUstreamCaptureMode *mode) {
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    const CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    API("cuThreadExchangeStreamCaptureMode", NEEDS_INIT, exchange_mode(mode));
}
