/* What orders accesses of one warp before those of another without a barrier: releases and acquires.
 *
 * A clock tells, for each warp of the block, up to which stamp (race.c) its accesses are known. A strong
 * write that releases leaves its warp's clock at its address, and so does a strong write after a fence, as of
 * that fence. A strong read that finds a clock takes it over: at once when it acquires, otherwise at the
 * warp's next fence. An atomic adds to the clock it finds, which continues the release sequence; another
 * strong write replaces it. Barriers of the block, or of a part of it, count as fences of their warps, and
 * __syncwarp as one for what was read: hardware orders no less, and the CUDA programming guide promises it
 * for __syncthreads.
 *
 * Limits: a clock belongs to a warp, so what one lane acquires counts for all of its lanes, and one lane
 * releases what all of them did, as of the latest fence of any. Addresses are followed for the shared memory
 * of this block only: what another block releases orders nothing here.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

/* What a strong write left at an address. */
struct clock {
    const uint8_t *at; /* NULL: free */
    uint32_t known[MAX_WARPS];
};

static void join(uint32_t *to, const uint32_t *from, uint32_t n_warp) {
    for (uint32_t q = 0; q < n_warp; q++)
        to[q] = from[q] > to[q] ? from[q] : to[q];
}

static void learn(struct warp *w, const uint32_t *known) {
    const uint32_t n = w->block->n_warp;
    uint32_t least = UINT32_MAX;
    join(w->seen, known, n);
    for (uint32_t q = 0; q < n; q++)
        least = w->seen[q] < least ? w->seen[q] : least;
    w->min_seen = least;
}

static struct clock *slot_of(const struct block *b, const uint8_t *at) {
    size_t slot = (size_t)(((uintptr_t)at * 0x9e3779b97f4a7c15ull) >> 32) & (b->max_clock - 1);
    while (b->clocks[slot].at && b->clocks[slot].at != at)
        slot = (slot + 1) & (b->max_clock - 1);
    return &b->clocks[slot];
}

static struct clock *find(const struct block *b, const uint8_t *at) {
    if (!b->n_clock)
        return NULL;
    struct clock *c = slot_of(b, at);
    return c->at ? c : NULL;
}

/* The clock of an address, a new one knows nothing. NULL when memory is out. */
static struct clock *find_or_add(struct block *b, const uint8_t *at) {
    if (2 * (b->n_clock + 1) > b->max_clock) {
        struct block bigger = *b;
        bigger.max_clock = b->max_clock ? 2 * b->max_clock : 64;
        bigger.clocks = calloc(bigger.max_clock, sizeof *bigger.clocks);
        if (!bigger.clocks)
            return NULL;
        for (uint32_t i = 0; i < b->max_clock; i++)
            if (b->clocks[i].at)
                *slot_of(&bigger, b->clocks[i].at) = b->clocks[i];
        free(b->clocks);
        b->clocks = bigger.clocks;
        b->max_clock = bigger.max_clock;
    }
    struct clock *c = slot_of(b, at);
    b->n_clock += !c->at;
    c->at = at;
    return c;
}

static bool followed(const struct warp *w) {
    return options.races && w->launch->shared_bytes;
}

void order_start(struct block *b) {
    if (b->n_clock)
        memset(b->clocks, 0, b->max_clock * sizeof *b->clocks);
    b->n_clock = 0;
    for (uint32_t i = 0; i < b->n_warp; i++)
        b->warps[i].fenced = b->warps[i].pending_lanes = 0;
}

void order_take(struct warp *w, uint32_t lanes) {
    if (!(w->pending_lanes & lanes))
        return;
    learn(w, w->pending);
    w->pending_lanes = 0;
}

/* What the warp knows, and all it has done. */
static void release(struct warp *w, uint32_t *known) {
    memcpy(known, w->seen, sizeof w->seen);
    known[w->id] = ++w->block->stamp;
}

void order_fence(struct warp *w, uint32_t lanes) {
    if (!followed(w))
        return;
    order_take(w, lanes);
    release(w, w->fence);
    w->fenced |= lanes;
}

void order_read(struct warp *w, uint32_t lane, const uint8_t *at, bool acquires) {
    const struct clock *c = find(w->block, at);
    if (!c)
        return;
    if (acquires) {
        learn(w, c->known);
        return;
    }
    if (!w->pending_lanes)
        memset(w->pending, 0, sizeof w->pending);
    w->pending_lanes |= 1u << lane;
    join(w->pending, c->known, w->block->n_warp);
}

bool order_write(struct warp *w, uint32_t lane, const uint8_t *at, bool releases, bool is_atomic) {
    uint32_t known[MAX_WARPS];
    if (!followed(w))
        return true;
    if (!releases && !(w->fenced >> lane & 1)) {
        struct clock *c = is_atomic ? NULL : find(w->block, at);
        if (c)
            memset(c->known, 0, sizeof c->known);
        return true;
    }
    struct clock *c = find_or_add(w->block, at);
    if (!c)
        return false;
    if (releases)
        release(w, known);
    if (!is_atomic)
        memset(c->known, 0, sizeof c->known);
    join(c->known, releases ? known : w->fence, w->block->n_warp);
    return true;
}

void order_arrive(struct warp *w, uint32_t *known) {
    if (!followed(w))
        return;
    join(known, w->seen, w->block->n_warp);
    known[w->id] = ++w->block->stamp;
}

void order_barrier(struct block *b, uint32_t waiting, const uint32_t *arrived) {
    uint32_t known[MAX_WARPS];
    bool everybody = true;
    memcpy(known, arrived, sizeof known);
    b->stamp++;
    for (uint32_t p = 0; p < b->n_warp; p++) {
        const bool waits = waiting >> p & 1;
        everybody &= waits;
        if (!waits)
            continue;
        order_take(&b->warps[p], FULL);
        join(known, b->warps[p].seen, b->n_warp);
    }
    for (uint32_t p = 0; p < b->n_warp; p++)
        known[p] = waiting >> p & 1 ? b->stamp : known[p];
    for (uint32_t p = 0; p < b->n_warp; p++) {
        struct warp *w = &b->warps[p];
        if (!(waiting >> p & 1))
            continue;
        learn(w, known);
        w->sync_count++;
        if (!everybody) {
            memcpy(w->fence, w->seen, sizeof w->fence);
            w->fenced = FULL;
        }
    }
    if (everybody) /* and so there is nothing left to hand on */
        order_start(b);
}
