/* The shadow of shared memory: was it written, by whom, and is that ordered before this access?
 *
 * Each completed barrier of a block moves a stamp on. An access is recorded with the stamp of its time; warp
 * p knows that everything warp q did before stamp seen[p][q] is ordered before it, and a barrier hands that
 * knowledge round among the warps that took part. Two plain accesses to one byte, one of them a write, that
 * are not ordered are a race. Lanes of one warp are ordered by bar.warp.sync and by barriers of the block,
 * counted in sync_count; shuffles order nothing.
 *
 * Limits: a word remembers one write, and readers only as a set with one stamp, so with barriers of a part of
 * the block a race can hide or, in rare patterns, an ordered read count as unordered; a bar.warp.sync of some
 * lanes counts for all.
 */
#include "kernel.h"

#include <cuda.h>

static const char *access_name(enum access a) {
    return a == ACCESS_READ || a == ACCESS_STRONG_READ ? "reads" : "writes";
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

static bool check_against_write(struct warp *w, const struct inst *in, const struct shadow *s, uint32_t lane,
                                uint32_t offset, uint8_t bytes, enum access access) {
    if (!(s->w_bytes & bytes) || (s->w_strong && access >= ACCESS_STRONG_READ))
        return true;
    if (s->w_warp != w->id)
        return w->seen[s->w_warp] > s->w_stamp ||
               fault(w, in, lane, offset, access, "wrote", s->w_warp, s->w_lane);
    if (s->w_sync == w->sync_count && s->w_lane != lane && s->w_lane != SEVERAL)
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
    if (s->r_warps >> w->id & 1 && s->r_sync == w->sync_count && s->r_lane != lane)
        return fault(w, in, lane, offset, access, "read", w->id, s->r_lane);
    return true;
}

static void note_read(const struct warp *w, struct shadow *s, uint32_t lane, uint8_t bytes) {
    const uint32_t me = 1u << w->id;
    for (uint32_t others = s->r_warps & ~me; others; others &= others - 1) {
        const uint32_t q = (uint32_t)__builtin_ctz(others);
        if (w->seen[q] > s->r_stamp)
            s->r_warps &=
                ~(1u << q); /* ordered before me: whoever is ordered behind me is ordered behind it */
    }
    const bool together = s->r_warps & me && s->r_sync == w->sync_count && s->r_lane != lane;
    s->r_bytes = s->r_warps ? s->r_bytes | bytes : bytes;
    s->r_lane = together ? SEVERAL : (uint8_t)lane;
    s->r_warps |= me;
    s->r_stamp = w->block->stamp;
    s->r_sync = w->sync_count;
}

static void note_write(const struct warp *w, struct shadow *s, uint32_t lane, uint8_t bytes, bool strong) {
    const bool joins =
        s->w_bytes && s->w_warp == w->id && s->w_sync == w->sync_count && s->w_stamp == w->block->stamp;
    s->w_lane = joins && s->w_lane != lane ? SEVERAL : (uint8_t)lane;
    s->w_bytes = joins ? s->w_bytes | bytes : bytes;
    s->w_warp = (uint8_t)w->id;
    s->w_stamp = w->block->stamp;
    s->w_sync = w->sync_count;
    s->w_strong = strong;
    s->init |= bytes;
    s->r_warps = 0;
    s->r_bytes = 0;
}

/* The common cases, decided without a call: what was written or read before lies behind a barrier that this
 * warp knows of, or was this warp's own. False: look closer. */
static inline bool plainly_good(struct warp *w, struct shadow *s, uint32_t lane, uint8_t bytes,
                                enum access access) {
    const uint32_t me = 1u << w->id;
    const bool reads = access == ACCESS_READ;
    if (s->pending || access > ACCESS_WRITE || (reads && (s->init & bytes) != bytes))
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
    s->w_strong = false;
    s->init |= bytes;
    s->r_warps = 0;
    s->r_bytes = 0;
    return true;
}

static bool check_word(struct warp *w, const struct inst *in, uint32_t lane, uint32_t offset, uint8_t bytes,
                       enum access access) {
    struct shadow *s = &w->block->shadow[offset / 4];
    const bool reads = access == ACCESS_READ || access == ACCESS_STRONG_READ;
    if (s->pending & bytes) {
        launch_fault(w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
                     "the lane %s shared offset 0x%x, where a cp.async has not been waited for",
                     access_name(access), offset);
        return false;
    }
    if (options.uninitialised && reads && (s->init & bytes) != bytes) {
        launch_fault(w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
                     "the lane reads shared offset 0x%x, which nothing has written", offset);
        return false;
    }
    if (options.races && (!check_against_write(w, in, s, lane, offset, bytes, access) ||
                          (!reads && !check_against_reads(w, in, s, lane, offset, bytes, access))))
        return false;
    if (reads)
        note_read(w, s, lane, bytes);
    else
        note_write(w, s, lane, bytes, access == ACCESS_STRONG_WRITE);
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

void shadow_ordered(struct block *b, uint32_t warps) {
    uint32_t known[MAX_WARPS] = {0};
    b->stamp++;
    for (uint32_t p = 0; p < b->n_warp; p++)
        if (warps >> p & 1)
            for (uint32_t q = 0; q < b->n_warp; q++)
                known[q] = warps >> q & 1                   ? b->stamp
                           : b->warps[p].seen[q] > known[q] ? b->warps[p].seen[q]
                                                            : known[q];
    uint32_t least = UINT32_MAX;
    for (uint32_t q = 0; q < b->n_warp; q++)
        least = known[q] < least ? known[q] : least;
    for (uint32_t p = 0; p < b->n_warp; p++)
        if (warps >> p & 1) {
            for (uint32_t q = 0; q < b->n_warp; q++)
                b->warps[p].seen[q] = known[q];
            b->warps[p].sync_count++;
            b->warps[p].min_seen = least;
        }
}

void shadow_acquire(struct warp *w) {
    struct block *b = w->block;
    b->stamp++;
    for (uint32_t q = 0; q < b->n_warp; q++)
        w->seen[q] = b->stamp;
    w->min_seen = b->stamp;
    w->sync_count++;
}
