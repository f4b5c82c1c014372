/* Every access of a warp to memory comes through here: bounds, alignment, what was never written, races, and
 * counts. */
#include "reach.h"
#include "lanes.h"

#include <cuda.h>

void request_begin(struct request *r, const struct warp *w, const struct inst *in, uint32_t mask,
                   uint32_t slot, int64_t offset, bool wide, uint32_t bytes, enum access access) {
    (void)in;
    const void *base = row(w, slot);
    const uint64_t *a64 = base;
    const uint32_t *a32 = base;
    r->mask = mask;
    r->bytes = bytes;
    r->access = access;
    if (wide) {
        FOR_LANES {
            r->address[i] = a64[i] + (uint64_t)offset;
        }
    } else {
        FOR_LANES {
            r->address[i] = (uint32_t)(a32[i] + (uint32_t)offset);
        }
    }
    if (mask != FULL) {
        const uint64_t some = r->address[__builtin_ctz(mask)];
        FOR_LANES {
            r->address[i] = mask >> i & 1 ? r->address[i] : some;
        }
    }
    const uint64_t first = r->address[0];
    uint64_t low = 0, gaps = 0, differs = 0;
    FOR_LANES {
        low |= r->address[i];
        differs |= r->address[i] ^ first;
        gaps |= r->address[i] - first - (uint64_t)i * bytes;
    }
    r->low = low;
    r->stream = !gaps && mask == FULL;
    r->uniform = !differs;
}

static bool is_read(enum access a) {
    return a != ACCESS_WRITE && a != ACCESS_STRONG_WRITE;
}
static bool is_write(enum access a) {
    return a != ACCESS_READ && a != ACCESS_STRONG_READ;
}
static const char *verb(const struct request *r) {
    return r->access == ACCESS_ATOMIC ? "atomically changes" : is_read(r->access) ? "reads" : "writes";
}

static bool misaligned(struct request *r, struct warp *w, const struct inst *in) {
    if (!(r->low & (r->bytes - 1)))
        return false;
    EACH_LANE(i, r->mask) {
        if (r->address[i] & (r->bytes - 1)) {
            launch_fault(w, in, (int)i, CUDA_ERROR_MISALIGNED_ADDRESS,
                         "the lane %s %u bytes at 0x%llx, which is not a multiple of them", verb(r), r->bytes,
                         (unsigned long long)r->address[i]);
            return true;
        }
    }
    return false;
}

/* ---- counts of global memory ---- */

/* Sectors and distinct bytes of lanes that lie anyhow: a small hash of sectors with a mask of their bytes. */
static void count_scattered(const struct request *r, uint64_t *sectors, uint64_t *bytes) {
    enum { SLOTS = 128 };
    uint64_t key[SLOTS];
    uint32_t touched[SLOTS];
    memset(key, 0xff, sizeof key);
    *sectors = *bytes = 0;
    EACH_LANE(i, r->mask) {
        const uint64_t sector = r->address[i] >> 5;
        const uint32_t mask = (r->bytes == 32 ? UINT32_MAX : (1u << r->bytes) - 1) << (r->address[i] & 31);
        uint32_t h = (uint32_t)(sector * 0x9e3779b1u) >> 25;
        while (key[h] != UINT64_MAX && key[h] != sector)
            h = (h + 1) % SLOTS;
        if (key[h] == UINT64_MAX) {
            key[h] = sector;
            touched[h] = 0;
            ++*sectors;
        }
        *bytes += (uint64_t)__builtin_popcount(mask & ~touched[h]);
        touched[h] |= mask;
    }
}

static void count_global(struct request *r, const struct inst *in) {
    struct mem_stats *s = &in->site->stats;
    uint64_t sectors, bytes;
    if (r->uniform) {
        bytes = r->bytes;
        sectors = 1;
    } else if (r->stream) {
        bytes = (uint64_t)LANES * r->bytes;
        sectors = ((r->address[0] + bytes - 1) >> 5) - (r->address[0] >> 5) + 1;
    } else {
        count_scattered(r, &sectors, &bytes);
    }
    s->requests++;
    s->bytes += bytes;
    s->sectors += sectors;
    s->min_sectors += (bytes + 31) / 32;
    if (!r->owner)
        return;
    if (is_read(r->access)) {
        r->owner->read_bytes += bytes;
        r->owner->read_sectors += sectors;
    } else {
        r->owner->written_bytes += bytes;
    }
}

/* ---- global memory ---- */

static bool unreachable(struct request *r, struct warp *w, const struct inst *in, uint32_t lane) {
    char why[256];
    memory_explain(r->address[lane], r->bytes, why, sizeof why);
    launch_fault(w, in, (int)lane, CUDA_ERROR_ILLEGAL_ADDRESS, "the lane %s %u bytes, but %s", verb(r),
                 r->bytes, why);
    return false;
}

/* Whether all lanes lie in the allocation; if so at[] is where. */
static bool inside(struct request *r, const struct allocation *a) {
    const uint64_t base = a->base, room = a->bytes - r->bytes;
    uint8_t *const host = a->host;
    uint64_t bad = 0;
    if (a->bytes < r->bytes)
        return false;
    FOR_LANES {
        const uint64_t offset = r->address[i] - base;
        bad |= offset | (room - offset);
        r->at[i] = host + offset;
    }
    return !(bad >> 63);
}

static bool forbidden(struct request *r, struct warp *w, const struct inst *in, const struct allocation *a,
                      uint32_t lane) {
    if (!a->read_only || !is_write(r->access))
        return false;
    launch_fault(w, in, (int)lane, CUDA_ERROR_ILLEGAL_ADDRESS, "the lane writes to constant memory at 0x%llx",
                 (unsigned long long)r->address[lane]);
    return true;
}

static bool unwritten(struct request *r, struct warp *w, const struct inst *in, const struct allocation *a,
                      uint32_t lane) {
    const uint64_t offset = r->address[lane] - a->base;
    if (memory_is_written(a, offset, r->bytes))
        return false;
    if (!options.uninitialised) { /* what was never written reads as poison */
        uint8_t value[64];
        memory_read(a, offset, value, r->bytes);
        memcpy(a->host + offset, value, r->bytes);
        return false;
    }
    launch_fault(
        w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
        "the lane reads %u bytes at offset %llu of allocation %llu (%llu bytes), which nothing has written",
        r->bytes, (unsigned long long)offset, (unsigned long long)a->id, (unsigned long long)a->bytes);
    return true;
}

static bool all_lanes_written(struct request *r, struct warp *w, const struct inst *in,
                              const struct allocation *a) {
    if (r->stream && memory_is_written(a, r->address[0] - a->base, (uint64_t)LANES * r->bytes))
        return true;
    EACH_LANE(i, r->mask) {
        if (!memory_has(a, r->address[i] - a->base, r->bytes) && unwritten(r, w, in, a, i))
            return false;
    }
    return true;
}

bool reach_global(struct request *r, struct warp *w, const struct inst *in) {
    if (misaligned(r, w, in))
        return false;
    struct allocation *a = in->site->last;
    const uint32_t first = (uint32_t)__builtin_ctz(r->mask);
    if (!a || !inside(r, a)) {
        a = memory_find(r->address[first]);
        a = a && inside(r, a) ? a : NULL;
    }
    r->owner = a;
    in->site->last = r->owner;
    count_global(r, in);
    if (r->owner) {
        if (forbidden(r, w, in, a, first))
            return false;
        return !is_read(r->access) || memory_all_written(a) || all_lanes_written(r, w, in, a);
    }
    for (uint32_t i = 0; i < LANES; i++)
        r->at[i] = NULL;
    EACH_LANE(i, r->mask) {
        struct allocation *lane = memory_find(r->address[i]);
        if (!lane || lane->base + lane->bytes - r->address[i] < r->bytes)
            return unreachable(r, w, in, i);
        if (forbidden(r, w, in, lane, i) || (is_read(r->access) && unwritten(r, w, in, lane, i)))
            return false;
        r->at[i] = lane->host + (r->address[i] - lane->base);
        if (is_read(r->access)) {
            lane->read_bytes += r->bytes;
            lane->read_sectors++;
        } else {
            lane->written_bytes += r->bytes;
        }
    }
    for (uint32_t i = 0; i < LANES; i++)
        r->at[i] = r->at[i] ? r->at[i] : r->at[first];
    return true;
}

void request_written(const struct request *r, struct warp *w) {
    launch_changed(w->launch);
    if (r->owner && memory_all_written(r->owner))
        return;
    if (r->owner && r->stream) {
        memory_mark(r->owner, r->address[0] - r->owner->base, (uint64_t)LANES * r->bytes);
        return;
    }
    EACH_LANE(i, r->mask) {
        struct allocation *a = r->owner ? r->owner : memory_find(r->address[i]);
        if (a)
            memory_mark(a, r->address[i] - a->base, r->bytes);
    }
}

/* ---- shared memory ---- */

/* 32 banks of 4 bytes. Lanes go in groups whose width is that of all banks: 32 lanes of up to 4 bytes, 16 of
 * 8, 8 of 16. A group takes as many cycles as the busiest bank has different words. */
static uint32_t bank_cycles(const struct request *r) {
    const uint32_t group = r->bytes <= 4 ? 32 : r->bytes == 8 ? 16 : 8;
    const uint32_t words = r->bytes <= 4 ? 1 : r->bytes / 4;
    uint32_t extra = 0;
    for (uint32_t from = 0; from < LANES; from += group) {
        uint64_t seen[32][4]; /* different words of a bank, as many as are worth keeping apart */
        uint8_t count[32] = {0};
        uint32_t most = 1;
        for (uint32_t i = from; i < from + group; i++) {
            if (!(r->mask >> i & 1))
                continue;
            for (uint32_t k = 0; k < words; k++) {
                const uint64_t word = (r->address[i] >> 2) + k;
                const uint32_t bank = (uint32_t)word & 31;
                uint32_t known = 0;
                for (uint32_t n = 0; n < count[bank] && n < 4; n++)
                    known |= seen[bank][n] == word;
                if (known)
                    continue;
                if (count[bank] < 4)
                    seen[bank][count[bank]] = word;
                count[bank]++;
                most = count[bank] > most ? count[bank] : most;
            }
        }
        extra += most - 1;
    }
    return extra;
}

bool reach_shared(struct request *r, struct warp *w, const struct inst *in) {
    const uint64_t size = w->launch->shared_bytes;
    if (misaligned(r, w, in))
        return false;
    EACH_LANE(i, r->mask) {
        const uint64_t offset = r->address[i] - SHARED_BASE;
        if (offset >= size || size - offset < r->bytes) {
            launch_fault(w, in, (int)i, CUDA_ERROR_ILLEGAL_ADDRESS,
                         "the lane %s %u bytes at shared offset 0x%llx, and the block has 0x%llx bytes",
                         verb(r), r->bytes, (unsigned long long)offset, (unsigned long long)size);
            return false;
        }
    }
    uint8_t *const shared = w->block->shared;
    FOR_LANES {
        r->at[i] = shared + (r->address[i] - SHARED_BASE);
    }
    r->owner = NULL;
    in->site->stats.requests++;
    in->site->stats.bytes += (uint64_t)__builtin_popcount(r->mask) * r->bytes;
    if (!r->stream && !r->uniform)
        in->site->stats.conflicts += bank_cycles(r);
    if (!options.races && !options.uninitialised && w->n_copy == 0)
        return true;
    EACH_LANE(i, r->mask) {
        if (!shadow_check(w, in, i, (uint32_t)(r->address[i] - SHARED_BASE), r->bytes, r->access))
            return false;
    }
    return true;
}

/* ---- local memory and parameters ---- */

static bool reach_local(struct request *r, struct warp *w, const struct inst *in) {
    const uint64_t size = w->launch->kernel->local_bytes;
    if (misaligned(r, w, in))
        return false;
    for (uint32_t i = 0; i < LANES; i++) {
        const uint64_t offset = r->address[i] - LOCAL_BASE;
        if (offset < size && size - offset >= r->bytes) {
            r->at[i] = w->local + (size_t)i * size + offset;
            continue;
        }
        launch_fault(w, in, (int)i, CUDA_ERROR_ILLEGAL_ADDRESS,
                     "the lane %s %u bytes at local offset 0x%llx, and it has 0x%llx bytes", verb(r),
                     r->bytes, (unsigned long long)offset, (unsigned long long)size);
        return false;
    }
    r->owner = NULL;
    r->stream = false; /* at[] does not follow */
    in->site->stats.requests++;
    in->site->stats.bytes += (uint64_t)__builtin_popcount(r->mask) * r->bytes;
    return true;
}

static bool reach_param(struct request *r, struct warp *w, const struct inst *in) {
    const uint64_t size = w->launch->kernel->param_bytes;
    if (misaligned(r, w, in))
        return false;
    EACH_LANE(i, r->mask) {
        if (r->address[i] >= size || size - r->address[i] < r->bytes) {
            launch_fault(w, in, (int)i, CUDA_ERROR_ILLEGAL_ADDRESS,
                         "the lane reads parameter bytes at 0x%llx of %llu",
                         (unsigned long long)r->address[i], (unsigned long long)size);
            return false;
        }
    }
    for (uint32_t i = 0; i < LANES; i++)
        r->at[i] = w->launch->params + r->address[i];
    r->owner = NULL;
    r->stream = false; /* at[] does not follow */
    in->site->stats.requests++;
    return true;
}

/* ---- generic addresses ---- */

static uint64_t window_of(uint64_t address) {
    return address & (SHARED_WINDOW | LOCAL_WINDOW | PARAM_WINDOW);
}

static bool reach_window(struct request *r, struct warp *w, const struct inst *in, uint64_t window) {
    for (uint32_t i = 0; i < LANES; i++)
        r->address[i] -= window;
    switch (window) {
    case 0:
        return reach_global(r, w, in);
    case SHARED_WINDOW:
        return reach_shared(r, w, in);
    case LOCAL_WINDOW:
        return reach_local(r, w, in);
    case PARAM_WINDOW:
        return !is_write(r->access) && reach_param(r, w, in);
    default:
        break;
    }
    launch_fault(w, in, __builtin_ctz(r->mask), CUDA_ERROR_ILLEGAL_ADDRESS, "0x%llx is no address",
                 (unsigned long long)(r->address[__builtin_ctz(r->mask)] + window));
    return false;
}

/* Lanes in different spaces are served one space after the other. */
static bool reach_generic(struct request *r, struct warp *w, const struct inst *in) {
    const uint32_t mask = r->mask;
    uint32_t left = mask;
    uint64_t differs = 0;
    const uint64_t window = window_of(r->address[__builtin_ctz(mask)]);
    FOR_LANES {
        differs |= window_of(r->address[i]) ^ window;
    }
    if (!differs)
        return reach_window(r, w, in, window);
    struct request part = *r;
    while (left) {
        const uint64_t space = window_of(r->address[__builtin_ctz(left)]);
        part = *r;
        part.mask = 0;
        EACH_LANE(i, left) {
            part.mask |= (uint32_t)(window_of(r->address[i]) == space) << i;
        }
        for (uint32_t i = 0; i < LANES; i++)
            part.address[i] = part.mask >> i & 1 ? r->address[i] : r->address[__builtin_ctz(part.mask)];
        if (!reach_window(&part, w, in, space))
            return false;
        EACH_LANE(i, part.mask) {
            r->at[i] = part.at[i];
        }
        left &= ~part.mask;
    }
    for (uint32_t i = 0; i < LANES; i++)
        r->at[i] = mask >> i & 1 ? r->at[i] : r->at[__builtin_ctz(mask)];
    r->owner = NULL;
    r->stream = false;
    return true;
}

bool reach(struct request *r, struct warp *w, const struct inst *in, uint8_t space) {
    switch (space) {
    case SPACE_GLOBAL:
    case SPACE_CONST:
        return reach_global(r, w, in);
    case SPACE_SHARED:
        return reach_shared(r, w, in);
    case SPACE_LOCAL:
        return reach_local(r, w, in);
    case SPACE_PARAM:
        return reach_param(r, w, in);
    default:
        return reach_generic(r, w, in);
    }
}
