/* The shadow of shared memory: was it written, by whom, and is that ordered before this access?
 *
 * Each completed barrier of a block, fence and release moves a stamp on. An access is recorded with the stamp
 * of its time; warp p knows that everything warp q did before stamp seen[p][q] is ordered before it. Barriers
 * hand that knowledge round among the warps that took part, and order.c from those that release to those that
 * acquire. Two accesses to one byte, one of them a write and one of them plain, that are not ordered are a
 * race. Strong ones are those by atom and red, and volatile, relaxed, acquire and release loads and stores.
 * Lanes of one warp are ordered by bar.warp.sync and by barriers of the block, counted in sync_count, and by
 * what one lane releases and another acquires; shuffles order nothing.
 *
 * Limits: a word remembers one plain write, so with barriers of a part of the block a race can hide; a
 * bar.warp.sync of some lanes counts for all.
 */
#include "kernel.h"

#include <cuda.h>
#include <stdlib.h>
#include <string.h>

/* The latest accesses of one word, warp by warp: all strong ones, and plain readers of different stamps. */
struct strong {
    struct strong_side {
        uint32_t warps; /* that have entries */
        uint32_t stamp[MAX_WARPS], sync[MAX_WARPS];
        uint8_t lane[MAX_WARPS], bytes[MAX_WARPS];
    } writes, reads, plain_reads;
};

static bool is_strong(enum access a) {
    return a >= ACCESS_STRONG_READ;
}
static bool does_read(enum access a) {
    return a != ACCESS_WRITE && a != ACCESS_STRONG_WRITE;
}
static bool does_write(enum access a) {
    return a != ACCESS_READ && a != ACCESS_STRONG_READ;
}
static const char *access_name(enum access a) {
    return a == ACCESS_ATOMIC ? "atomically changes" : does_write(a) ? "writes" : "reads";
}

static bool fault(struct warp *w, const struct inst *in, uint32_t lane, uint32_t offset, enum access access,
                  const char *what, uint32_t warp, uint32_t other_lane) {
    if (other_lane < LANES)
        launch_fault(
            w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
            "race: the lane %s shared offset 0x%x, which lane %u of warp %u %s without a barrier between",
            access_name(access), offset, other_lane, warp, what);
    else
        launch_fault(w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
                     "race: the lane %s shared offset 0x%x, which warp %u %s without a barrier between",
                     access_name(access), offset, warp, what);
    return false;
}

/* Whether what another lane of this warp did is ordered before now. */
static bool ordered_in_warp(const struct warp *w, uint32_t sync, uint32_t stamp) {
    return sync != w->sync_count || w->seen[w->id] > stamp;
}

static bool check_against_write(struct warp *w, const struct inst *in, const struct shadow *s, uint32_t lane,
                                uint32_t offset, uint8_t bytes, enum access access) {
    if (!(s->w_bytes & bytes))
        return true;
    if (s->w_warp != w->id)
        return w->seen[s->w_warp] > s->w_stamp ||
               fault(w, in, lane, offset, access, "wrote", s->w_warp, s->w_lane);
    if (s->w_lane != lane && s->w_lane != SEVERAL && !ordered_in_warp(w, s->w_sync, s->w_stamp))
        return fault(w, in, lane, offset, access, "wrote", s->w_warp, s->w_lane);
    return true;
}

static bool check_against_reads(struct warp *w, const struct inst *in, const struct shadow *s, uint32_t lane,
                                uint32_t offset, uint8_t bytes, enum access access) {
    if (!(s->r_bytes & bytes))
        return true;
    for (uint32_t others = s->r_warps & ~(1u << w->id); others; others &= others - 1) {
        const uint32_t q = (uint32_t)__builtin_ctz(others);
        if (w->seen[q] <= s->r_stamp)
            return fault(w, in, lane, offset, access, "read", q, NOBODY);
    }
    if (s->r_warps >> w->id & 1 && s->r_lane != lane && !ordered_in_warp(w, s->r_sync, s->r_stamp))
        return fault(w, in, lane, offset, access, "read", w->id, s->r_lane);
    return true;
}

/* Against what is known warp by warp. Where several lanes wrote, they may have written other bytes of the
 * word. */
static bool check_against_side(struct warp *w, const struct inst *in, const struct strong_side *s,
                               uint32_t lane, uint32_t offset, uint8_t bytes, enum access access,
                               bool is_writes) {
    for (uint32_t warps = s->warps; warps; warps &= warps - 1) {
        const uint32_t q = (uint32_t)__builtin_ctz(warps);
        if (!(s->bytes[q] & bytes))
            continue;
        const bool ordered = q != w->id ? w->seen[q] > s->stamp[q]
                                        : s->lane[q] == lane || s->lane[q] == NOBODY ||
                                              (s->lane[q] == SEVERAL && is_writes) ||
                                              ordered_in_warp(w, s->sync[q], s->stamp[q]);
        if (!ordered)
            return fault(w, in, lane, offset, access, is_writes ? "wrote" : "read", q, s->lane[q]);
    }
    return true;
}

/* All that was before is ordered before it, or it would be a race; so whoever is ordered behind it is ordered
 * behind all of that. */
static void note_write(const struct warp *w, struct shadow *s, uint32_t lane, uint8_t bytes) {
    const bool joins =
        s->w_bytes && s->w_warp == w->id && s->w_sync == w->sync_count && s->w_stamp == w->block->stamp;
    s->w_lane = joins && s->w_lane != lane ? SEVERAL : (uint8_t)lane;
    s->w_bytes = joins ? s->w_bytes | bytes : bytes;
    s->w_warp = (uint8_t)w->id;
    s->w_stamp = w->block->stamp;
    s->w_sync = w->sync_count;
    s->init |= bytes;
    s->r_warps = 0;
    s->r_bytes = 0;
    s->strong = 0;
}

static void note_side(const struct warp *w, struct strong_side *s, uint32_t lane, uint8_t bytes) {
    const uint32_t me = w->id;
    const bool joins = s->warps >> me & 1 && s->sync[me] == w->sync_count && s->stamp[me] == w->block->stamp;
    s->lane[me] = joins && s->lane[me] != lane ? SEVERAL : (uint8_t)lane;
    s->bytes[me] = joins ? s->bytes[me] | bytes : bytes;
    s->warps |= 1u << me;
    s->stamp[me] = w->block->stamp;
    s->sync[me] = w->sync_count;
}

/* The entry for a word's accesses warp by warp; NULL after a fault: memory is out. */
static struct strong *strong_of(struct warp *w, const struct inst *in, struct shadow *s) {
    struct block *b = w->block;
    if (s->strong)
        return &b->strong[s->strong];
    if (b->n_strong + 2 > b->max_strong) {
        const uint32_t max = b->max_strong ? 2 * b->max_strong : 64;
        struct strong *bigger = realloc(b->strong, max * sizeof *bigger);
        if (!bigger) {
            launch_fault(w, in, -1, CUDA_ERROR_OUT_OF_MEMORY, "no memory for the shadow of shared memory");
            return NULL;
        }
        b->strong = bigger;
        b->max_strong = max;
    }
    s->strong = ++b->n_strong;
    struct strong *fresh = &b->strong[s->strong];
    fresh->writes.warps = fresh->reads.warps = fresh->plain_reads.warps = 0;
    return fresh;
}

/* Readers are a set with one stamp as long as they have the same; else each is kept with its own. False after
 * a fault: memory is out. */
static bool note_read(struct warp *w, const struct inst *in, struct shadow *s, uint32_t lane, uint8_t bytes) {
    const uint32_t me = 1u << w->id;
    for (uint32_t others = s->r_warps & ~me; others; others &= others - 1) {
        const uint32_t q = (uint32_t)__builtin_ctz(others);
        if (w->seen[q] > s->r_stamp)
            s->r_warps &=
                ~(1u << q); /* ordered before me: whoever is ordered behind me is ordered behind it */
    }
    const bool apart = (s->strong && w->block->strong[s->strong].plain_reads.warps) ||
                       (s->r_warps & ~me && s->r_stamp != w->block->stamp);
    if (apart) {
        struct strong *strong = strong_of(w, in, s);
        if (!strong)
            return false;
        struct strong_side *side = &strong->plain_reads;
        for (uint32_t warps = s->r_warps; warps; warps &= warps - 1) {
            const uint32_t q = (uint32_t)__builtin_ctz(warps);
            side->stamp[q] = s->r_stamp;
            side->sync[q] = s->r_sync;
            side->lane[q] =
                s->r_warps & (s->r_warps - 1) ? NOBODY : s->r_lane; /* of many, the latest's alone */
            side->bytes[q] = s->r_bytes;
        }
        side->warps |= s->r_warps;
        s->r_warps = s->r_bytes = 0;
        note_side(w, side, lane, bytes);
        return true;
    }
    const bool together = s->r_warps & me && s->r_sync == w->sync_count && s->r_lane != lane;
    s->r_bytes = s->r_warps ? s->r_bytes | bytes : bytes;
    s->r_lane = together ? SEVERAL : (uint8_t)lane;
    s->r_warps |= me;
    s->r_stamp = w->block->stamp;
    s->r_sync = w->sync_count;
    return true;
}

/* The common cases, decided without a call: what was written or read before lies behind a barrier that this
 * warp knows of, or was this warp's own. False: look closer. */
static inline bool plainly_good(struct warp *w, struct shadow *s, uint32_t lane, uint8_t bytes,
                                enum access access) {
    const uint32_t me = 1u << w->id;
    const bool reads = access == ACCESS_READ;
    if (s->pending || s->strong || access > ACCESS_WRITE || (reads && (s->init & bytes) != bytes))
        return false;
    if (s->w_stamp >= w->min_seen && s->w_bytes &&
        !(s->w_warp == w->id && (s->w_lane == lane || s->w_sync != w->sync_count)))
        return false;
    const bool readers_behind = !s->r_warps || s->r_stamp < w->min_seen;
    if (reads) {
        if (readers_behind) {
            s->r_warps = me;
            s->r_bytes = bytes;
            s->r_lane = (uint8_t)lane;
        } else if (s->r_warps == me) {
            s->r_lane = s->r_sync != w->sync_count || s->r_lane == lane ? (uint8_t)lane : SEVERAL;
            s->r_bytes |= bytes;
        } else {
            return false;
        }
        s->r_stamp = w->block->stamp;
        s->r_sync = w->sync_count;
        return true;
    }
    if (!readers_behind || (s->w_bytes && s->w_warp == w->id && s->w_sync == w->sync_count))
        return false;
    s->w_lane = (uint8_t)lane;
    s->w_bytes = bytes;
    s->w_warp = (uint8_t)w->id;
    s->w_stamp = w->block->stamp;
    s->w_sync = w->sync_count;
    s->init |= bytes;
    s->r_warps = 0;
    s->r_bytes = 0;
    return true;
}

static bool check_order(struct warp *w, const struct inst *in, const struct shadow *s, uint32_t lane,
                        uint32_t offset, uint8_t bytes, enum access access) {
    const struct strong *all = s->strong ? &w->block->strong[s->strong] : NULL;
    if (!check_against_write(w, in, s, lane, offset, bytes, access))
        return false;
    if (does_write(access) &&
        (!check_against_reads(w, in, s, lane, offset, bytes, access) ||
         (all && !check_against_side(w, in, &all->plain_reads, lane, offset, bytes, access, false))))
        return false;
    if (!all || is_strong(access))
        return true;
    return check_against_side(w, in, &all->writes, lane, offset, bytes, access, true) &&
           (!does_write(access) ||
            check_against_side(w, in, &all->reads, lane, offset, bytes, access, false));
}

static bool check_word(struct warp *w, const struct inst *in, uint32_t lane, uint32_t offset, uint8_t bytes,
                       enum access access) {
    struct shadow *s = &w->block->shadow[offset / 4];
    if (s->pending & bytes) {
        launch_fault(w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
                     "the lane %s shared offset 0x%x, where a cp.async has not been waited for",
                     access_name(access), offset);
        return false;
    }
    if (options.uninitialised && does_read(access) && (s->init & bytes) != bytes) {
        launch_fault(w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
                     "the lane reads shared offset 0x%x, which nothing has written", offset);
        return false;
    }
    if (options.races && !check_order(w, in, s, lane, offset, bytes, access))
        return false;
    if (is_strong(access)) {
        struct strong *strong = strong_of(w, in, s);
        if (!strong)
            return false;
        note_side(w, does_write(access) ? &strong->writes : &strong->reads, lane, bytes);
        s->init |= does_write(access) ? bytes : 0;
    } else if (access == ACCESS_READ) {
        return note_read(w, in, s, lane, bytes);
    } else {
        note_write(w, s, lane, bytes);
    }
    return true;
}

bool shadow_check(struct warp *w, const struct inst *in, uint32_t lane, uint32_t offset, uint32_t bytes,
                  enum access access) {
    struct shadow *s = &w->block->shadow[offset / 4];
    const uint8_t mask = bytes < 4 ? (uint8_t)(((1u << bytes) - 1) << (offset & 3)) : 15;
    for (uint32_t i = 0; i < bytes; i += 4, s++)
        if (!plainly_good(w, s, lane, mask, access) && !check_word(w, in, lane, offset + i, mask, access))
            return false;
    return true;
}

void shadow_pending(struct warp *w, uint32_t offset, uint32_t bytes, bool pending) {
    for (uint32_t i = 0; i < bytes; i += 4)
        w->block->shadow[(offset + i) / 4].pending = pending ? 15 : 0;
}
