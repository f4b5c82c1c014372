/* A block: its warps, its shared memory, its sixteen barriers. Plain data, so it can be put aside at any
 * instruction. */
#include "kernel.h"

#include <cuda.h>
#include <stdio.h>
#include <string.h>

enum { WARP_TURN = 20000, SPINS_OF_PATIENCE = 10000 };

/* ---- start ---- */

static void fill32(struct warp *w, uint32_t slot, uint32_t value) {
    uint32_t *d = row(w, slot);
    for (uint32_t i = 0; i < LANES; i++)
        d[i] = value;
}

static void fill_specials(struct warp *w) {
    const struct kernel *k = w->launch->kernel;
    const struct launch *l = w->launch;
    const struct block *b = w->block;
    uint32_t *x = row(w, k->special[SPECIAL_TID_X]), *y = row(w, k->special[SPECIAL_TID_Y]),
             *z = row(w, k->special[SPECIAL_TID_Z]);
    uint64_t *grid = row(w, k->special[SPECIAL_GRIDID]);
    for (uint32_t i = 0; i < LANES; i++) {
        const uint32_t t = w->id * LANES + i;
        x[i] = t % l->threads[0];
        y[i] = t / l->threads[0] % l->threads[1];
        z[i] = t / l->threads[0] / l->threads[1];
        grid[i] = l->id;
    }
    for (int a = 0; a < 3; a++) {
        fill32(w, k->special[SPECIAL_NTID_X + a], l->threads[a]);
        fill32(w, k->special[SPECIAL_CTAID_X + a], b->ctaid[a]);
        fill32(w, k->special[SPECIAL_NCTAID_X + a], l->grid[a]);
    }
    fill32(w, k->special[SPECIAL_WARPID], w->id);
    fill32(w, k->special[SPECIAL_NWARPID], b->n_warp);
    fill32(w, k->special[SPECIAL_SMID], b->slot % options.sms);
    fill32(w, k->special[SPECIAL_NSMID], options.sms);
    fill32(w, k->special[SPECIAL_DYNAMIC_SMEM], l->dynamic_bytes);
    fill32(w, k->special[SPECIAL_TOTAL_SMEM], l->shared_bytes);
    fill32(w, k->special[SPECIAL_WORKSPACE_HIGH], (uint32_t)(l->workspace >> 32));
    fill32(w, k->special[SPECIAL_WORKSPACE_LOW], (uint32_t)l->workspace);
}

static void poison(void *to, size_t bytes) {
    uint32_t *words = to;
    for (size_t i = 0; i < bytes / 4; i++)
        words[i] = POISON;
}

static void start_warp(struct warp *w, uint32_t threads) {
    struct launch *l = w->launch;
    const struct kernel *k = l->kernel;
    w->live = w->mask = threads >= LANES ? FULL : (1u << threads) - 1;
    w->n_split = 1;
    w->split[0] = (struct split){.mask = w->live, .state = SPLIT_READY};
    w->min_seen = w->sync_count = w->n_copy = w->stale = w->carry = 0;
    memset(w->seen, 0, sizeof w->seen);
    memset(w->committed, 0, sizeof w->committed);
    fill_specials(w);
    for (uint32_t i = 0; i < k->n_poison; i++) {
        void *at = w->base[0] + k->poison[2 * i];
        poison(at, k->poison[2 * i + 1]);
        if (l->adversarial && k->poison[2 * i + 1] == 4)
            *(uint32_t *)at = random_next(&l->random); /* a predicate has no NaN */
    }
    if (k->local_bytes)
        poison(w->local, (size_t)LANES * k->local_bytes);
}

void block_start(struct block *b, uint32_t index) {
    struct launch *l = b->launch;
    const uint32_t threads = l->threads[0] * l->threads[1] * l->threads[2];
    b->ctaid[0] = index % l->grid[0];
    b->ctaid[1] = index / l->grid[0] % l->grid[1];
    b->ctaid[2] = index / l->grid[0] / l->grid[1];
    b->live = threads;
    b->stamp = b->next = 0;
    b->starved = l->adversarial ? random_below(&l->random, 2 * b->n_warp) : b->n_warp;
    memset(b->barriers, 0, sizeof b->barriers);
    for (uint32_t i = 0; i < b->n_warp; i++)
        start_warp(&b->warps[i], threads - i * LANES);
    order_start(b);
    b->n_strong = 0;
    if (l->shared_bytes) {
        poison(b->shared, (l->shared_bytes + 3) & ~3u);
        memset(b->shadow, 0, (l->shared_bytes + 3) / 4 * sizeof *b->shadow);
    }
}

/* ---- barriers ---- */

static void complete(struct block *b, uint32_t id) {
    struct barrier done = b->barriers[id];
    memset(&b->barriers[id], 0, sizeof done);
    order_barrier(b, done.waiting, done.known);
    launch_changed(b->launch);
    for (uint32_t k = 0; k < b->n_warp; k++) {
        struct warp *w = &b->warps[k];
        for (uint32_t i = 0; i < w->n_split; i++) {
            struct split *s = &w->split[i];
            if (s->state != SPLIT_AT_BARRIER || s->barrier != id)
                continue;
            barrier_deliver(w, &w->code[s->pc - 1], s->mask, done.votes, done.voters);
            s->state = SPLIT_READY;
        }
    }
}

void barrier_recheck(struct block *b) {
    for (uint32_t id = 0; id < N_BARRIER; id++)
        if (b->barriers[id].arrived && !b->barriers[id].expected && b->barriers[id].arrived == b->live)
            complete(b, id);
}

void barrier_arrive(struct warp *w, const struct inst *in, uint32_t lanes, uint32_t id, uint32_t count,
                    bool blocks, uint32_t votes) {
    struct block *b = w->block;
    struct barrier *bar = &b->barriers[id % N_BARRIER];
    if (id >= N_BARRIER) {
        launch_fault(w, in, -1, CUDA_ERROR_LAUNCH_FAILED, "barrier %u, and a block has %d", id, N_BARRIER);
        return;
    }
    if (count % LANES || count > b->n_warp * LANES) {
        launch_fault(w, in, -1, CUDA_ERROR_LAUNCH_FAILED, "a barrier of %u threads in a block of %u", count,
                     b->n_warp * LANES);
        return;
    }
    if (bar->arrived && bar->expected != count) {
        launch_fault(w, in, -1, CUDA_ERROR_LAUNCH_FAILED,
                     "barrier %u is used with %u and with %u threads at once", id, bar->expected, count);
        return;
    }
    bar->expected = count;
    bar->arrived += in->flags & FLAG_ALIGNED && count ? LANES : (uint32_t)__builtin_popcount(lanes);
    if (blocks)
        bar->waiting |= 1u << w->id;
    else
        order_arrive(w, bar->known);
    bar->votes += (uint32_t)__builtin_popcount(votes);
    bar->voters += (uint32_t)__builtin_popcount(lanes);
    if (count && bar->arrived > count) {
        launch_fault(w, in, -1, CUDA_ERROR_LAUNCH_FAILED, "%u threads at barrier %u, which is for %u",
                     bar->arrived, id, count);
        return;
    }
    if (blocks)
        warp_park(w, w->pc, lanes, 0, SPLIT_AT_BARRIER)->barrier = (uint8_t)id;
    if (bar->arrived == (count ? count : b->live))
        complete(b, id);
}

/* ---- running ---- */

static void describe_wait(const struct warp *w, const struct split *s, char *text, size_t bytes) {
    char place[256];
    /* Barriers leave the pc behind them; the others wait at the instruction itself. */
    const struct inst *in = &w->code[s->state == SPLIT_AT_BARRIER ? s->pc - 1 : s->pc];
    kernel_place(w->launch->kernel, in, place, sizeof place);
    if (s->state == SPLIT_AT_BARRIER)
        snprintf(text, bytes, "warp %u lanes 0x%08x wait at barrier %u, %s", w->id, s->mask, s->barrier,
                 place);
    else
        snprintf(text, bytes, "warp %u lanes 0x%08x wait for lanes 0x%08x, %s", w->id, s->mask,
                 s->members & w->live & ~s->mask, place);
}

static void report_deadlock(struct block *b) {
    char text[1200] = "";
    uint32_t told = 0, waiting = 0;
    struct warp *first = NULL;
    for (uint32_t k = 0; k < b->n_warp; k++)
        for (uint32_t i = 0; i < b->warps[k].n_split; i++) {
            const size_t used = strlen(text);
            waiting++;
            first = first ? first : &b->warps[k];
            if (told >= 4)
                continue;
            snprintf(text + used, sizeof text - used, "%s", told++ ? "; " : "");
            describe_wait(&b->warps[k], &b->warps[k].split[i], text + strlen(text),
                          sizeof text - strlen(text));
        }
    const struct split *s = &first->split[0];
    launch_fault(first, &first->code[s->state == SPLIT_AT_BARRIER ? s->pc - 1 : s->pc], -1,
                 CUDA_ERROR_LAUNCH_TIMEOUT, "the block can go no further: %s%s", text,
                 waiting > told ? "; and others" : "");
}

/* A ready warp: the next in turn, or in adversarial order any but the starved one. NULL when none is ready.
 * Where others only wait, the starved one gets its turn, for it may be what they wait for. */
static struct warp *choose(struct block *b) {
    struct launch *l = b->launch;
    const bool waited_for = l->spins > SPINS_OF_PATIENCE;
    const uint32_t first = l->adversarial ? random_below(&l->random, b->n_warp) : b->next;
    for (uint32_t k = 0; k < b->n_warp; k++) {
        const uint32_t index = (first + k) % b->n_warp;
        if ((index != b->starved || waited_for) && warp_ready(&b->warps[index])) {
            b->next = (index + 1) % b->n_warp;
            return &b->warps[index];
        }
    }
    return b->starved < b->n_warp && warp_ready(&b->warps[b->starved]) ? &b->warps[b->starved] : NULL;
}

bool block_run(struct block *b, uint32_t budget) {
    struct launch *l = b->launch;
    uint32_t used = 0;
    b->yield = false;
    while (b->live && !l->failed && !b->yield && used < budget) {
        struct warp *w = choose(b);
        if (!w)
            report_deadlock(b);
        else if (w->id == b->starved && l->n_resident > 1 && random_below(&l->random, 16))
            break; /* let other blocks get far ahead of it */
        else
            used += warp_run(w, WARP_TURN);
    }
    return b->live == 0;
}
