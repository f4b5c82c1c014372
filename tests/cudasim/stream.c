/* Streams put off their work until a synchronisation demands it, and then do no more than what was demanded.
 * So a program that forgets to wait sees old data, and one that frees or rewrites a buffer too early sees the
 * damage.
 *
 * In adversarial mode a demand may also run work of other streams, before or after, at random.
 */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>

void work_release(struct work *work) {
    if (!work || --work->users)
        return;
    for (uint32_t i = 0; i < work->n_dependency; i++)
        work_release(work->dependency[i]);
    free(work->dependency);
    action_clear(&work->action);
    free(work);
}

/* It has run or never will: lets go of what it needed. */
static void retire(struct work *w) {
    w->done = true;
    w->stream = NULL;
    action_clear(&w->action);
    for (uint32_t i = 0; i < w->n_dependency; i++)
        work_release(w->dependency[i]);
    w->n_dependency = 0;
    work_release(w);
}

bool work_depend(struct work *work, struct work *on) {
    if (!on || on->done)
        return true;
    struct work **more = realloc(work->dependency, (work->n_dependency + 1) * sizeof *more);
    if (!more)
        return false;
    work->dependency = more;
    more[work->n_dependency++] = on;
    on->users++;
    return true;
}

struct stream *stream_new(struct context *context, unsigned flags, int priority) {
    struct stream *s = calloc(1, sizeof *s);
    if (!s || !handle_add(s, HANDLE_STREAM)) {
        free(s);
        return NULL;
    }
    s->context = context;
    s->flags = flags;
    s->priority = priority;
    s->id = ++next_object_id;
    s->next = context->streams;
    context->streams = s;
    return s;
}

/* Drops what has not run. */
void stream_free(struct stream *s) {
    struct stream **link = &s->context->streams;
    while (*link && *link != s)
        link = &(*link)->next;
    if (*link)
        *link = s->next;
    capture_drop(s);
    while (s->first) {
        struct work *w = s->first;
        s->first = w->next;
        retire(w);
    }
    handle_remove(s);
    free(s->tail);
    free(s);
}

struct stream *stream_find(struct context *context, CUstream handle) {
    if (!handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD)
        return context->null_stream;
    if (!handle_is(handle, HANDLE_STREAM))
        return NULL;
    struct stream *s = (struct stream *)handle;
    return s->destroyed || s->context != context ? NULL : s;
}

/* The context's own stream waits for every other and every other for it, but for those made non-blocking. */
static bool legacy_order(struct stream *s, struct work *w) {
    if (s->flags & CU_STREAM_NON_BLOCKING)
        return true;
    if (s != s->context->null_stream)
        return work_depend(w, s->context->null_stream->last);
    for (struct stream *other = s->context->streams; other; other = other->next)
        if (other != s && !(other->flags & CU_STREAM_NON_BLOCKING) && !work_depend(w, other->last))
            return false;
    return true;
}

CUresult stream_add(struct stream *s, struct action *action, struct work **out) {
    if (s->capture) {
        const CUresult r = capture_add(s, action);
        action_clear(action);
        return r;
    }
    struct work *w = calloc(1, sizeof *w);
    if (!w) {
        action_clear(action);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    w->stream = s;
    w->users = 1;
    w->action = *action;
    if (!legacy_order(s, w)) {
        work_release(w);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (s->first)
        s->last->next = w;
    else
        s->first = w;
    s->last = w;
    if (out)
        *out = w;
    return CUDA_SUCCESS;
}

static void fail_context(struct context *context, CUresult code) {
    context->sticky = code;
    snprintf(context->fault, sizeof context->fault, "%s", message_last());
    for (struct stream *s = context->streams; s; s = s->next) {
        s->last = NULL;
        while (s->first) {
            struct work *w = s->first;
            s->first = w->next;
            retire(w);
        }
    }
}

/* Runs the first work of a stream, whose dependencies are done. */
static CUresult run_first(struct context *context, struct stream *s) {
    struct work *w = s->first;
    const CUresult r = action_run(context, &w->action);
    s->first = w->next;
    if (!s->first)
        s->last = NULL;
    retire(w);
    if (r)
        fail_context(context, r);
    else if (s->destroyed && !s->first)
        stream_free(s);
    return r;
}

CUresult work_finish(struct context *context, struct work *work) {
    work->users++;
    while (!work->done && !context->sticky) {
        struct work *head = work->stream->first;
        for (uint32_t i = 0; i < head->n_dependency && !context->sticky; i++)
            if (!head->dependency[i]->done)
                work_finish(context, head->dependency[i]);
        if (!context->sticky)
            run_first(context, work->stream);
    }
    work_release(work);
    return context->sticky;
}

/* Adversarial mode: some other stream gets on a little. */
static void run_some_other(struct context *context, const struct stream *not_this) {
    static struct random random;
    if (!options.seed || context->sticky)
        return;
    if (!random.state)
        random.state = options.seed | 1;
    for (struct stream *s = context->streams; s; s = s->next)
        if (s != not_this && s->first && random_below(&random, 4) == 0) {
            work_finish(context, s->first);
            return; /* the list may have changed */
        }
}

CUresult stream_finish(struct stream *s) {
    struct context *context = s->context;
    run_some_other(context, s);
    if (s->last && !context->sticky)
        work_finish(context, s->last);
    return context->sticky;
}

CUresult context_finish(struct context *context) {
    for (struct stream *s = context->streams; s && !context->sticky;) {
        if (s->first) {
            work_finish(context, s->last);
            s = context->streams; /* the list may have changed */
        } else {
            s = s->next;
        }
    }
    return context->sticky;
}

bool stream_step(struct context *context, struct work *until, CUresult *result) {
    *result = context->sticky;
    if (!until || until->done || context->sticky)
        return true;
    struct work *at = until->stream->first;
    for (uint32_t i = 0; i < at->n_dependency;) {
        if (at->dependency[i]->done) {
            i++;
        } else {
            at = at->dependency[i]->stream->first;
            i = 0;
        }
    }
    until->users++;
    run_first(context, at->stream);
    *result = context->sticky;
    const bool done = until->done;
    work_release(until);
    return done;
}

void event_release(struct event *e) {
    if (!e || --e->users)
        return;
    work_release(e->work);
    free(e->nodes);
    free(e);
}
