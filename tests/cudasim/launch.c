/* A launch: which blocks are resident, whose turn it is, and what goes wrong.
 *
 * Only as many blocks are resident as the device could hold, so a barrier of the whole grid that hangs on
 * hardware hangs here, and is reported. A block that is put aside keeps its state; one that ends gives it to
 * the next.
 */
#include "kernel.h"

#include <cuda.h>
#include <immintrin.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BUDGET = 100000, ADVERSARIAL_BUDGET = 400, ADVERSARIAL_RESIDENT = 24 };
/* After so many accesses of the kind that waiting loops make, without a change in memory or a completed
 * barrier, blocks wait for each other. Loops that spin on plain loads are left to CUDASIM_LIMIT. */
#define STALL_LIMIT 20000000ull

void kernel_place(const struct kernel *k, const struct inst *in, char *text, size_t bytes) {
    const uint32_t at = (uint32_t)(in - k->code);
    const int n =
        snprintf(text, bytes, "%s, PTX line %u (%s)", k->name, in->line, opcode_at(in->opcode)->name);
    if (k->source && k->source[at] && n >= 0 && (size_t)n < bytes)
        snprintf(text + n, bytes - (size_t)n, ", %s:%u", k->source_file[at], k->source[at]);
}

void launch_fault(struct warp *w, const struct inst *in, int lane, int error, const char *format, ...) {
    struct launch *l = w->launch;
    char place[256], what[1400];
    warp_stop(w);
    if (l->failed)
        return;
    l->failed = true;
    l->error = error;
    kernel_place(l->kernel, in, place, sizeof place);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (lane >= 0)
        message("%s, block (%u,%u,%u) warp %u lane %d: %s", place, w->block->ctaid[0], w->block->ctaid[1],
                w->block->ctaid[2], w->id, lane, what);
    else
        message("%s, block (%u,%u,%u) warp %u: %s", place, w->block->ctaid[0], w->block->ctaid[1],
                w->block->ctaid[2], w->id, what);
}

static void free_block(struct block *b) {
    if (!b)
        return;
    for (uint32_t i = 0; b->warps && i < b->n_warp; i++)
        free(b->warps[i].copies);
    free(b->warps);
    free(b->arena);
    free(b->shared);
    free(b->shadow);
    free(b->strong);
    free(b->clocks);
    free(b);
}

static struct block *new_block(struct launch *l) {
    const struct kernel *k = l->kernel;
    const uint32_t threads = l->threads[0] * l->threads[1] * l->threads[2];
    const size_t per_warp = k->register_bytes + (((size_t)LANES * k->local_bytes + 63) & ~(size_t)63);
    struct block *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->launch = l;
    b->n_warp = (threads + LANES - 1) / LANES;
    b->warps = calloc(b->n_warp, sizeof *b->warps);
    b->arena = aligned_alloc(64, per_warp * b->n_warp);
    const size_t shared = ((size_t)l->shared_bytes + 63) & ~(size_t)63;
    b->shared = aligned_alloc(64, shared + 64);
    b->shadow = calloc(shared / 4 + 16, sizeof *b->shadow);
    if (!b->warps || !b->arena || !b->shared || !b->shadow) {
        free_block(b);
        return NULL;
    }
    memset(b->arena, 0, per_warp * b->n_warp);
    for (uint32_t i = 0; i < b->n_warp; i++) {
        struct warp *w = &b->warps[i];
        w->base[0] = b->arena + i * per_warp;
        w->base[1] = k->rows;
        w->local = w->base[0] + k->register_bytes;
        w->code = k->code;
        w->block = b;
        w->launch = l;
        w->id = i;
    }
    return b;
}

/* A resident block to run next, with a new one started when there is room and work. NULL when memory is out.
 */
static struct block *next_block(struct launch *l, uint32_t *started, uint32_t total, uint32_t *turn) {
    const uint32_t limit = l->adversarial && l->resident_limit > ADVERSARIAL_RESIDENT &&
                                   total > ADVERSARIAL_RESIDENT && l->spins < STALL_LIMIT / 100
                               ? ADVERSARIAL_RESIDENT
                               : l->resident_limit;
    const bool room = l->n_resident < limit && *started < total;
    const bool fresh = room && (l->n_resident == 0 ||
                                (l->adversarial ? random_below(&l->random, 3) == 0 : *turn >= l->n_resident));
    if (!fresh) {
        *turn = l->adversarial ? random_below(&l->random, l->n_resident) : *turn % l->n_resident;
        return l->resident[*turn];
    }
    struct block *b = new_block(l);
    if (!b)
        return NULL;
    *turn = l->n_resident;
    b->slot = l->n_resident;
    l->resident[l->n_resident++] = b;
    block_start(b, (*started)++);
    return b;
}

static void check_progress(struct launch *l, const struct block *b) {
    if (l->failed || (l->spins < STALL_LIMIT && l->executed < options.limit))
        return;
    l->failed = true;
    l->error = CUDA_ERROR_LAUNCH_TIMEOUT;
    if (l->executed >= options.limit)
        message("%s: more than %llu warp instructions (CUDASIM_LIMIT)", l->kernel->name,
                (unsigned long long)options.limit);
    else
        message("%s: nothing has changed in %llu accesses, so its blocks wait for what never comes; "
                "block "
                "(%u,%u,%u) is one of them, %u blocks are resident of at most %u",
                l->kernel->name, (unsigned long long)STALL_LIMIT, b->ctaid[0], b->ctaid[1], b->ctaid[2],
                l->n_resident, l->resident_limit);
}

void launch_run(struct launch *l) {
    const uint32_t total = l->grid[0] * l->grid[1] * l->grid[2];
    const uint32_t budget = l->adversarial ? ADVERSARIAL_BUDGET : BLOCK_BUDGET;
    const unsigned before = _mm_getcsr();
    uint32_t started = 0, done = 0, turn = 0;
    if (!l->resident_limit)
        l->resident_limit = 1;
    if (l->resident_limit > total)
        l->resident_limit = total;
    for (uint32_t i = 0; i < l->kernel->n_site; i++)
        l->kernel->sites[i].last = NULL;
    l->resident = calloc(l->resident_limit, sizeof *l->resident);
    _mm_setcsr(0x1f80); /* nearest, subnormals kept, nothing trapped: whatever the caller runs with */
    while (done < total && !l->failed) {
        struct block *b = l->resident ? next_block(l, &started, total, &turn) : NULL;
        if (!b) {
            l->failed = true;
            l->error = CUDA_ERROR_OUT_OF_MEMORY;
            message("%s: no memory for the state of its blocks", l->kernel->name);
            break;
        }
        while (block_run(b, budget) && !l->failed) {
            done++;
            launch_changed(l);
            if (started < total) {
                block_start(b, started++);
                if (l->adversarial)
                    break;
                continue;
            }
            l->resident[turn] = l->resident[--l->n_resident];
            l->resident[turn]->slot = turn;
            free_block(b);
            b = NULL;
            break;
        }
        if (b)
            check_progress(l, b);
        turn += b != NULL;
        if (turn >= l->n_resident &&
            (l->n_resident == l->resident_limit || started == total || l->n_resident == 0))
            turn = 0;
    }
    _mm_setcsr(before);
    for (uint32_t i = 0; l->resident && i < l->n_resident; i++)
        free_block(l->resident[i]);
    free(l->resident);
    l->resident = NULL;
}
