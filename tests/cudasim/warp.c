/* A warp: lanes that run together while they are at one place, and apart when a branch parts them.
 *
 * Normal order runs the part with the lowest program counter and joins parts that meet, which on compiled
 * code finds the earliest meeting point. PTX promises less: parts need not meet before the next .sync
 * instruction. Adversarial order keeps to the promise only: it picks parts at random, never joins them, and
 * now and then splits one for no reason.
 */
#include "kernel.h"

enum { ROTATE_STEPS = 4096, MAX_RANDOM_SPLITS = 4 };

bool warp_ready(const struct warp *w) {
    for (uint32_t i = 0; i < w->n_split; i++)
        if (w->split[i].state == SPLIT_READY)
            return true;
    return false;
}

static struct split *add_split(struct warp *w, uint32_t pc, uint32_t mask, uint8_t state) {
    struct split *s = &w->split[w->n_split++];
    *s = (struct split){.pc = pc, .mask = mask, .state = state};
    return s;
}

static void remove_split(struct warp *w, uint32_t index) {
    w->split[index] = w->split[--w->n_split];
    if (w->current == w->n_split)
        w->current = index; /* the last one moved here */
}

/* The running split goes on with `pc` and `mask`; the other lanes wait for their turn. */
void warp_diverge(struct warp *w, uint32_t taken_pc, uint32_t taken, uint32_t other_pc, uint32_t other) {
    const bool swap = w->launch->adversarial ? random_next(&w->launch->random) & 1 : other_pc < taken_pc;
    const uint32_t later_pc = swap ? taken_pc : other_pc;
    w->launch->kernel->stats.divergent++;
    add_split(w, later_pc, swap ? taken : other, SPLIT_READY);
    w->pc = swap ? other_pc : taken_pc;
    w->mask = swap ? other : taken;
    if (!w->launch->adversarial && later_pc < w->merge_pc)
        w->merge_pc = later_pc;
}

struct split *warp_park(struct warp *w, uint32_t pc, uint32_t lanes, uint32_t members, uint8_t state) {
    struct split *s = add_split(w, pc, lanes, state);
    s->members = members;
    w->mask &= ~lanes;
    if (!w->mask)
        warp_stop(w);
    return s;
}

void warp_exit(struct warp *w, const struct inst *in, uint32_t lanes) {
    (void)in;
    w->live &= ~lanes;
    w->block->live -= (uint32_t)__builtin_popcount(lanes);
    w->mask &= ~lanes;
    warp_stop(w);
    /* Those that waited for the lanes look again. */
    for (uint32_t i = 0; i < w->n_split; i++)
        if (w->split[i].state == SPLIT_AT_SYNC || w->split[i].state == SPLIT_AT_WARP_BARRIER)
            w->split[i].state = SPLIT_READY;
    barrier_recheck(w->block);
}

/* The split to run: the lowest pc, or the one after the current when that has kept others waiting for long.
 */
static uint32_t pick(struct warp *w) {
    struct random *random = &w->launch->random;
    uint32_t best = UINT32_MAX, n_ready = 0;
    for (uint32_t i = 0; i < w->n_split; i++) {
        if (w->split[i].state != SPLIT_READY)
            continue;
        n_ready++;
        if (w->launch->adversarial ? random_below(random, n_ready) == 0
                                   : best == UINT32_MAX || w->split[i].pc < w->split[best].pc)
            best = i;
    }
    if (!w->launch->adversarial && n_ready > 1 && w->stale >= ROTATE_STEPS) {
        w->stale = 0;
        for (uint32_t i = 1; i <= w->n_split; i++) {
            const uint32_t next = (best + i) % w->n_split;
            if (next != best && w->split[next].state == SPLIT_READY)
                return next;
        }
    }
    return best;
}

/* Where the running split must stop because another waits there. */
static uint32_t next_meeting(const struct warp *w) {
    uint32_t lowest = ALWAYS_MERGE;
    if (w->launch->adversarial)
        return lowest;
    for (uint32_t i = 0; i < w->n_split; i++)
        if (i != w->current && w->split[i].state == SPLIT_READY && w->split[i].pc < lowest &&
            w->split[i].pc > w->split[w->current].pc)
            lowest = w->split[i].pc;
    return lowest;
}

static void join(struct warp *w) {
    for (uint32_t i = 0; i < w->n_split; i++)
        for (uint32_t k = i + 1; k < w->n_split;) {
            if (w->split[i].state == SPLIT_READY && w->split[k].state == SPLIT_READY &&
                w->split[i].pc == w->split[k].pc) {
                w->split[i].mask |= w->split[k].mask;
                remove_split(w, k);
            } else {
                k++;
            }
        }
}

static void split_at_random(struct warp *w, uint32_t index) {
    struct random *random = &w->launch->random;
    const uint32_t mask = w->split[index].mask, part = mask & random_next(random);
    if (w->n_split >= MAX_RANDOM_SPLITS || random_below(random, 8) || !part || part == mask)
        return;
    w->split[index].mask = mask & ~part;
    add_split(w, w->split[index].pc, part, SPLIT_READY);
}

/* The innermost loop. */
static void execute(struct warp *w) {
    struct inst *const code = w->code;
    do {
        struct inst *in = &code[w->pc++];
        uint32_t mask = w->mask;
        if (in->guard) {
            const uint32_t p = *predicate(w, in->guard & ~1u);
            mask &= in->guard & 1 ? ~p : p;
        }
        in->n_warp++;
        in->n_thread += (uint32_t)__builtin_popcount(mask);
        if (mask)
            in->fn(w, in, mask);
    } while (--w->steps > 0 && w->pc < w->merge_pc);
}

uint32_t warp_run(struct warp *w, uint32_t steps) {
    struct launch *launch = w->launch;
    uint32_t total = 0;
    w->yield = false;
    while (total < steps && !w->yield && !launch->failed) {
        uint32_t index = pick(w);
        if (index == UINT32_MAX)
            break;
        if (launch->adversarial)
            split_at_random(w, index);
        const uint32_t turn = launch->adversarial ? 1 + random_below(&launch->random, 64)
                              : w->n_split > 1 && steps - total > ROTATE_STEPS ? ROTATE_STEPS
                                                                               : steps - total;
        w->current = index;
        w->pc = w->split[index].pc;
        w->mask = w->split[index].mask;
        w->merge_pc = next_meeting(w);
        w->steps = (int32_t)turn;
        w->penalty = 0;
        execute(w);
        const uint32_t used = (uint32_t)((int32_t)turn - w->steps);
        total += used;
        launch->executed += used - (uint32_t)w->penalty;
        w->stale = w->n_split > 1 ? w->stale + used : 0;
        w->split[w->current].pc = w->pc;
        w->split[w->current].mask = w->mask;
        if (!w->mask)
            remove_split(w, w->current);
        if (!launch->adversarial && w->n_split > 1)
            join(w);
        if (launch->adversarial)
            break; /* another warp's turn */
    }
    return total;
}
