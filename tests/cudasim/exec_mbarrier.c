/* mbarrier: a barrier that is a word of shared memory, as cuda::barrier uses it. The word holds the count of
 * arrivals that a phase takes, those still missing, and the phase's parity; a state is the word before an
 * arrival. An arrival releases, a wait that has succeeded acquires (order.c).
 */
#include "decode.h"
#include "lanes.h"
#include "reach.h"

#include <cuda.h>

enum { FLAG_DROP = 16, FLAG_NO_COMPLETE = 32, FLAG_PARITY = 64 };
enum { COUNT_BITS = 20, MAX_COUNT = (1 << COUNT_BITS) - 1 };

struct fields {
    uint32_t expected, pending, phase;
};

static struct fields unpack(uint64_t word) {
    return (struct fields){(uint32_t)word & MAX_COUNT, (uint32_t)(word >> COUNT_BITS) & MAX_COUNT,
                           (uint32_t)(word >> 2 * COUNT_BITS) & 1};
}
static uint64_t pack(struct fields f) {
    return f.expected | (uint64_t)f.pending << COUNT_BITS | (uint64_t)f.phase << 2 * COUNT_BITS;
}

static bool begin(struct request *r, struct warp *w, const struct inst *in, uint32_t mask, uint32_t slot,
                  enum access access) {
    request_begin(r, w, in, mask, slot, in->imm, in->wide, 8, access);
    return reach(r, w, in, in->space);
}

/* [a], count */
static void init(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    const uint32_t *count = row(w, in->o[1]);
    if (!begin(&r, w, in, mask, in->o[0], ACCESS_WRITE))
        return;
    EACH_LANE(i, mask) {
        if (!count[i] || count[i] > MAX_COUNT) {
            launch_fault(w, in, (int)i, CUDA_ERROR_LAUNCH_FAILED,
                         "an mbarrier of %u arrivals, and 1 to %d can be", count[i], MAX_COUNT);
            return;
        }
        const uint64_t word = pack((struct fields){count[i], count[i], 0});
        memcpy(r.at[i], &word, 8);
    }
    launch_changed(w->launch);
}

/* [a]: the word may be used for something else, once it has been written. */
static void invalidate(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    if (!begin(&r, w, in, mask, in->o[0], ACCESS_WRITE))
        return;
    EACH_LANE(i, mask) {
        memset(r.at[i], 0, 8);
    }
    launch_changed(w->launch);
}

static bool arrive_one(struct warp *w, const struct inst *in, uint32_t lane, uint8_t *at, uint32_t count,
                       uint64_t *state) {
    memcpy(state, at, 8);
    struct fields f = unpack(*state);
    if (!count || count > f.pending || (count == f.pending && in->flags & FLAG_NO_COMPLETE)) {
        launch_fault(w, in, (int)lane, CUDA_ERROR_LAUNCH_FAILED,
                     count && count == f.pending
                         ? "%u arrivals complete the phase, and .noComplete says they do not"
                         : "%u arrivals at an mbarrier that waits for %u",
                     count, f.pending);
        return false;
    }
    f.pending -= count;
    f.expected -= in->flags & FLAG_DROP ? count : 0;
    if (!f.pending) {
        f.pending = f.expected;
        f.phase ^= 1;
    }
    const uint64_t word = pack(f);
    memcpy(at, &word, 8);
    if (order_write(w, lane, at, true, true))
        return true;
    launch_fault(w, in, (int)lane, CUDA_ERROR_OUT_OF_MEMORY, "no memory for what it releases");
    return false;
}

/* state, [a]; .noComplete: state, [a], count */
static void arrive(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    uint64_t states[LANES] = {0};
    const uint32_t *count = row(w, in->o[2]);
    if (!begin(&r, w, in, mask, in->o[1], ACCESS_ATOMIC))
        return;
    const uint32_t first = w->launch->adversarial ? random_below(&w->launch->random, LANES) : 0;
    for (uint32_t k = 0; k < LANES; k++) {
        const uint32_t i = (first + k) % LANES;
        if (mask >> i & 1 && !arrive_one(w, in, i, r.at[i], count[i], &states[i]))
            return;
    }
    launch_changed(w->launch);
    uint64_t *d = row(w, in->o[0]);
    WRITE_LANES(d, mask, uint64_t, states[i]);
}

/* p, [a], state; or p, [a], parity: whether that phase is complete. */
static void test_wait(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    uint32_t complete = 0;
    const uint64_t *states = row(w, in->o[2]);
    const uint32_t *parities = row(w, in->o[2]);
    if (!begin(&r, w, in, mask, in->o[1], ACCESS_STRONG_READ))
        return;
    warp_spins(w);
    EACH_LANE(i, mask) {
        uint64_t word;
        memcpy(&word, r.at[i], 8);
        const uint32_t phase = in->flags & FLAG_PARITY ? parities[i] & 1 : unpack(states[i]).phase;
        if (unpack(word).phase != phase) {
            complete |= 1u << i;
            order_read(w, i, r.at[i], true);
        }
    }
    predicate_set(w, in->o[0], mask, complete);
}

static void pending_count(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    const uint64_t *state = row(w, in->o[1]);
    WRITE_LANES(d, mask, uint32_t, unpack(state[i]).pending);
}

static bool bind_arrive(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    const uint32_t operands =
        to->flags & FLAG_NO_COMPLETE ? 3 : 2; /* a count needs .noComplete before sm_90 */
    if (!decode_count(d, from, operands, operands) || !decode_write(d, &from->operand[0], 8, &to->o[0]) ||
        !decode_address(d, &from->operand[1], to, 1))
        return false;
    return from->n_operand == 3 ? decode_read(d, &from->operand[2], 4, &to->o[2])
                                : decode_constant(d, 1, 4, &to->o[2]);
}

void opcodes_mbarrier(void) {
    static const char *const spaces[] = {".shared", ".shared::cta", ""};
    static const struct {
        const char *name, *signature;
        exec_fn fn;
        uint8_t flags;
    } rows[] = {{"init", "ar", init, 0},
                {"inval", "a", invalidate, 0},
                {"arrive", NULL, arrive, 0},
                {"arrive.noComplete", NULL, arrive, FLAG_NO_COMPLETE},
                {"arrive_drop", NULL, arrive, FLAG_DROP},
                {"arrive_drop.noComplete", NULL, arrive, FLAG_DROP | FLAG_NO_COMPLETE},
                {"test_wait", "Pad", test_wait, 0},
                {"test_wait.parity", "Par", test_wait, FLAG_PARITY}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int s = 0; s < 3; s++)
            opcode_add((struct opcode){.fn = rows[i].fn,
                                       .bind = rows[i].signature ? NULL : bind_arrive,
                                       .signature = rows[i].signature,
                                       .bytes = 8,
                                       .space = s < 2 ? SPACE_SHARED : SPACE_GENERIC,
                                       .flags = (uint8_t)(rows[i].flags | FLAG_SITE),
                                       .cls = CLASS_BARRIER},
                       "mbarrier.%s%s.b64", rows[i].name, spaces[s]);
    opcode_add((struct opcode){.fn = pending_count, .signature = "Rd", .cls = CLASS_BARRIER},
               "mbarrier.pending_count.b64");
}
