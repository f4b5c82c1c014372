/* Instructions that lanes execute together: shuffles, votes, matches, reductions, barriers.
 *
 * Lanes that arrive before their partners wait at the instruction. The partners are those that the member
 * mask names and that have not exited; a lane that its own mask leaves out is an error.
 */
#include "kernel.h"
#include "lanes.h"

#include <cuda.h>
#include <stdio.h>

/* Lanes that wait at this instruction for the same partners come along. */
static uint32_t absorb(struct warp *w, uint32_t pc, uint32_t members) {
    uint32_t lanes = 0;
    for (uint32_t i = 0; i < w->n_split;) {
        const struct split *s = &w->split[i];
        if (i != w->current && s->pc == pc && s->state == SPLIT_AT_SYNC && s->members == members) {
            lanes |= s->mask;
            w->split[i] = w->split[--w->n_split];
            if (w->current == w->n_split)
                w->current = i;
        } else {
            i++;
        }
    }
    return lanes;
}

static void execute_group(struct warp *w, const struct inst *in, uint32_t group, uint32_t members,
                          sync_op op) {
    const uint32_t pc = (uint32_t)(in - w->code), wanted = members & w->live;
    if (group & ~members) {
        launch_fault(w, in, __builtin_ctz(group & ~members), CUDA_ERROR_LAUNCH_FAILED,
                     "the member mask 0x%08x leaves out the lane that executes it", members);
        return;
    }
    if ((group & wanted) != wanted) {
        const uint32_t joined = absorb(w, pc, members);
        w->mask |= joined;
        group |= joined;
        if ((group & wanted) != wanted) {
            warp_park(w, pc, group, members, SPLIT_AT_SYNC);
            return;
        }
    }
    op(w, in, group);
}

void sync_execute(struct warp *w, const struct inst *in, uint32_t mask, const uint32_t *members, sync_op op) {
    uint32_t differs = 0;
    if (!members) {
        execute_group(w, in, mask, FULL, op);
        return;
    }
    const uint32_t first = members[__builtin_ctz(mask)];
    for (uint32_t i = 0; i < LANES; i++)
        differs |= (uint32_t)(members[i] != first) << i;
    if (!(differs & mask)) {
        execute_group(w, in, mask, first, op);
        return;
    }
    while (mask && !w->launch->failed) {
        const uint32_t value = members[__builtin_ctz(mask)];
        uint32_t group = 0;
        EACH_LANE(i, mask) {
            group |= (uint32_t)(members[i] == value) << i;
        }
        mask &= ~group;
        execute_group(w, in, group, value, op);
    }
}

/* ---- shuffles ---- */

enum { SHFL_UP, SHFL_DOWN, SHFL_BFLY, SHFL_IDX };

static void shuffle(struct warp *w, const struct inst *in, uint32_t lanes) {
    uint32_t a[LANES], in_range = 0;
    const uint32_t *b = row(w, in->o[3]), *c = row(w, in->o[4]);
    uint32_t *d = row(w, in->o[0]);
    memcpy(a, row(w, in->o[2]), sizeof a);
    EACH_LANE(i, lanes) {
        const uint32_t distance = b[i] & 31, clamp = c[i] & 31, segment = c[i] >> 8 & 31;
        const uint32_t top = (i & segment) | (clamp & ~segment), bottom = i & segment;
        uint32_t from = i;
        bool inside = false;
        switch (in->imm) {
        case SHFL_UP:
            from = i - distance;
            inside = (int32_t)from >= (int32_t)top; /* c clamps from below here */
            break;
        case SHFL_DOWN:
            from = i + distance;
            inside = from <= top;
            break;
        case SHFL_BFLY:
            from = i ^ distance;
            inside = from <= top;
            break;
        default:
            from = bottom | (distance & ~segment);
            inside = from <= top;
        }
        from = inside ? from : i;
        in_range |= (uint32_t)inside << i;
        d[i] = lanes >> (from & 31) & 1 ? a[from & 31] : POISON; /* a lane that takes no part gives nothing */
    }
    predicate_set(w, in->o[1], lanes, in_range);
}
static void shfl(struct warp *w, const struct inst *in, uint32_t mask) {
    sync_execute(w, in, mask, row(w, in->o[5]), shuffle);
}

/* ---- votes, matches, reductions ---- */

enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };

static void count_votes(struct warp *w, const struct inst *in, uint32_t lanes) {
    uint32_t p = *predicate(w, in->o[1]);
    p = (in->n ? ~p : p) & lanes;
    const bool result = in->imm == VOTE_ALL   ? p == lanes
                        : in->imm == VOTE_ANY ? p != 0
                                              : p == lanes || p == 0;
    if (in->imm == VOTE_BALLOT) {
        uint32_t *d = row(w, in->o[0]);
        WRITE_LANES(d, lanes, uint32_t, p);
    } else {
        predicate_set(w, in->o[0], lanes, result ? FULL : 0);
    }
}
static void vote(struct warp *w, const struct inst *in, uint32_t mask) {
    sync_execute(w, in, mask, row(w, in->o[2]), count_votes);
}
static bool bind_vote(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    if (!decode_count(d, from, 3, 3) ||
        !decode_write(d, &from->operand[0], to->imm == VOTE_BALLOT ? 4 : 0, &to->o[0]))
        return false;
    struct ptx_operand p = from->operand[1];
    to->n = p.negated;
    p.negated = false;
    return decode_read(d, &p, 0, &to->o[1]) && decode_read(d, &from->operand[2], 4, &to->o[2]);
}

/* any: the lanes with my value. all: the mask if all agree, with a predicate that says so. */
static void find_matches(struct warp *w, const struct inst *in, uint32_t lanes) {
    uint64_t v[LANES];
    uint32_t same[LANES] = {0};
    uint32_t *d = row(w, in->o[0]);
    for (uint32_t i = 0; i < LANES; i++)
        v[i] = in->bytes == 4 ? ((const uint32_t *)row(w, in->o[2]))[i]
                              : ((const uint64_t *)row(w, in->o[2]))[i];
    EACH_LANE(i, lanes) {
        EACH_LANE(k, lanes) {
            same[i] |= (uint32_t)(v[i] == v[k]) << k;
        }
    }
    const bool all = same[__builtin_ctz(lanes)] == lanes;
    EACH_LANE(i, lanes) {
        d[i] = in->imm ? (all ? lanes : 0) : same[i];
    }
    if (in->imm)
        predicate_set(w, in->o[1], lanes, all ? FULL : 0);
}
static void match(struct warp *w, const struct inst *in, uint32_t mask) {
    sync_execute(w, in, mask, row(w, in->o[3]), find_matches);
}

enum { REDUX_ADD, REDUX_MIN_U, REDUX_MAX_U, REDUX_MIN_S, REDUX_MAX_S, REDUX_AND, REDUX_OR, REDUX_XOR };

static uint32_t reduce_two(int64_t op, uint32_t x, uint32_t y) {
    switch (op) {
    case REDUX_ADD:
        return x + y;
    case REDUX_MIN_U:
        return x < y ? x : y;
    case REDUX_MAX_U:
        return x > y ? x : y;
    case REDUX_MIN_S:
        return (int32_t)x < (int32_t)y ? x : y;
    case REDUX_MAX_S:
        return (int32_t)x > (int32_t)y ? x : y;
    case REDUX_AND:
        return x & y;
    case REDUX_OR:
        return x | y;
    default:
        return x ^ y;
    }
}
static void reduce(struct warp *w, const struct inst *in, uint32_t lanes) {
    const uint32_t *a = row(w, in->o[1]);
    uint32_t *d = row(w, in->o[0]), result = a[__builtin_ctz(lanes)];
    EACH_LANE(i, lanes & (lanes - 1)) {
        result = reduce_two(in->imm, result, a[i]);
    }
    WRITE_LANES(d, lanes, uint32_t, result);
}
static void redux(struct warp *w, const struct inst *in, uint32_t mask) {
    sync_execute(w, in, mask, row(w, in->o[2]), reduce);
}

/* ---- barrier of a warp: lanes may wait at different instructions ---- */

static void warp_barrier(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t *row_members = row(w, in->o[0]);
    const uint32_t members = row_members[__builtin_ctz(mask)], pc = (uint32_t)(in - w->code);
    uint32_t here = mask, others = 0;
    EACH_LANE(i, mask) {
        if (row_members[i] != members)
            others |= 1u << i;
    }
    if (others) { /* several groups at once: each waits by itself */
        here &= ~others;
        warp_park(w, pc, others, 0, SPLIT_READY);
    }
    if (here & ~members) {
        launch_fault(w, in, __builtin_ctz(here & ~members), CUDA_ERROR_LAUNCH_FAILED,
                     "the member mask 0x%08x leaves out the lane that executes it", members);
        return;
    }
    uint32_t arrived = here;
    for (uint32_t i = 0; i < w->n_split; i++)
        if (w->split[i].state == SPLIT_AT_WARP_BARRIER && w->split[i].members == members)
            arrived |= w->split[i].mask;
    if ((arrived & members & w->live) != (members & w->live)) {
        warp_park(w, pc, here, members, SPLIT_AT_WARP_BARRIER);
        return;
    }
    w->sync_count++;
    order_take(w, members);
    for (uint32_t i = 0; i < w->n_split; i++)
        if (w->split[i].state == SPLIT_AT_WARP_BARRIER && w->split[i].members == members) {
            w->split[i].state = SPLIT_READY;
            w->split[i].pc++;
        }
    if (!w->launch->adversarial)
        w->merge_pc = 0; /* join those that were let go */
}

/* ---- barriers of a block ---- */

enum { BAR_SYNC, BAR_ARRIVE, BAR_AND, BAR_OR, BAR_POPC };

static void at_barrier(struct warp *w, const struct inst *in, uint32_t lanes) {
    const uint32_t lane = (uint32_t)__builtin_ctz(lanes);
    const uint32_t id = ((const uint32_t *)row(w, in->o[0]))[lane];
    const uint32_t count = in->n ? ((const uint32_t *)row(w, in->o[1]))[lane] : 0;
    uint32_t votes = 0;
    if (in->imm >= BAR_AND) {
        votes = *predicate(w, in->o[3]);
        votes = in->width ? ~votes : votes;
    }
    barrier_arrive(w, in, lanes, id, count, in->imm != BAR_ARRIVE, votes & lanes);
}
void barrier_deliver(struct warp *w, const struct inst *in, uint32_t lanes, uint32_t votes, uint32_t voters) {
    if (in->imm == BAR_POPC) {
        uint32_t *d = row(w, in->o[2]);
        WRITE_LANES(d, lanes, uint32_t, votes);
    } else if (in->imm == BAR_AND || in->imm == BAR_OR) {
        predicate_set(w, in->o[2], lanes, (in->imm == BAR_AND ? votes == voters : votes != 0) ? FULL : 0);
    }
}
/* .aligned: the whole warp executes it together. */
static void bar(struct warp *w, const struct inst *in, uint32_t mask) {
    if (in->flags & FLAG_ALIGNED)
        sync_execute(w, in, mask, NULL, at_barrier);
    else
        at_barrier(w, in, mask);
}

/* bar.sync a{, b}; bar.arrive a, b; bar.red.op d, a{, b}, {!}c. o: a, b, d, c. */
static bool bind_bar(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    const bool red = to->imm >= BAR_AND;
    const uint32_t least = to->imm == BAR_ARRIVE ? 2 : red ? 3 : 1, first = red;
    if (!decode_count(d, from, least, red ? 4 : 2) || !decode_read(d, &from->operand[first], 4, &to->o[0]))
        return false;
    to->n = from->n_operand > (red ? 3u : 1u);
    if (to->n && !decode_read(d, &from->operand[first + 1], 4, &to->o[1]))
        return false;
    if (!red)
        return true;
    struct ptx_operand c = from->operand[from->n_operand - 1];
    to->width = c.negated;
    c.negated = false;
    return decode_write(d, &from->operand[0], to->imm == BAR_POPC ? 4 : 0, &to->o[2]) &&
           decode_read(d, &c, 0, &to->o[3]);
}

static void add_bar(const char *name, int64_t imm, uint8_t aligned) {
    opcode_add((struct opcode){.fn = bar,
                               .bind = bind_bar,
                               .imm = imm,
                               .flags = aligned ? FLAG_ALIGNED : 0,
                               .cls = CLASS_BARRIER},
               "%s", name);
}

static void add_barriers(void) {
    static const struct {
        const char *name;
        int64_t imm;
    } rows[] = {{"sync", BAR_SYNC}, {"arrive", BAR_ARRIVE}};
    static const struct {
        const char *name, *type;
        int64_t imm;
    } reds[] = {{"and", "pred", BAR_AND}, {"or", "pred", BAR_OR}, {"popc", "u32", BAR_POPC}};
    char name[48];
    for (int i = 0; i < 2; i++) {
        static const char *const forms[] = {
            "bar.%s",     "bar.cta.%s",    "barrier.%s.aligned", "barrier.cta.%s.aligned",
            "barrier.%s", "barrier.cta.%s"};
        for (int f = 0; f < 6; f++) {
            snprintf(name, sizeof name, forms[f], rows[i].name);
            add_bar(name, rows[i].imm, f < 4);
        }
    }
    for (int i = 0; i < 3; i++) {
        static const char *const forms[] = {"bar.red.%s.%s",
                                            "bar.cta.red.%s.%s",
                                            "barrier.red.%s.aligned.%s",
                                            "barrier.cta.red.%s.aligned.%s",
                                            "barrier.red.%s.%s",
                                            "barrier.cta.red.%s.%s"};
        for (int f = 0; f < 6; f++) {
            snprintf(name, sizeof name, forms[f], reds[i].name, reds[i].type);
            add_bar(name, reds[i].imm, f < 4);
        }
    }
}

void opcodes_sync(void) {
    static const char *const modes[] = {"up", "down", "bfly", "idx"}, *const votes[] = {"all", "any", "uni"};
    static const struct {
        const char *name;
        int64_t op;
    } reductions[] = {{"add.u32", REDUX_ADD},   {"add.s32", REDUX_ADD},   {"min.u32", REDUX_MIN_U},
                      {"max.u32", REDUX_MAX_U}, {"min.s32", REDUX_MIN_S}, {"max.s32", REDUX_MAX_S},
                      {"and.b32", REDUX_AND},   {"or.b32", REDUX_OR},     {"xor.b32", REDUX_XOR}};
    for (int i = 0; i < 4; i++)
        opcode_add((struct opcode){.fn = shfl, .signature = "RQrrrr", .imm = i, .cls = CLASS_SHUFFLE},
                   "shfl.sync.%s.b32", modes[i]);
    for (int i = 0; i < 3; i++)
        opcode_add((struct opcode){.fn = vote, .bind = bind_vote, .imm = i, .cls = CLASS_SHUFFLE},
                   "vote.sync.%s.pred", votes[i]);
    opcode_add((struct opcode){.fn = vote, .bind = bind_vote, .imm = VOTE_BALLOT, .cls = CLASS_SHUFFLE},
               "vote.sync.ballot.b32");
    opcode_add((struct opcode){.fn = match, .signature = "RQrr", .bytes = 4, .imm = 0, .cls = CLASS_SHUFFLE},
               "match.any.sync.b32");
    opcode_add((struct opcode){.fn = match, .signature = "RQdr", .bytes = 8, .imm = 0, .cls = CLASS_SHUFFLE},
               "match.any.sync.b64");
    opcode_add((struct opcode){.fn = match, .signature = "RQrr", .bytes = 4, .imm = 1, .cls = CLASS_SHUFFLE},
               "match.all.sync.b32");
    opcode_add((struct opcode){.fn = match, .signature = "RQdr", .bytes = 8, .imm = 1, .cls = CLASS_SHUFFLE},
               "match.all.sync.b64");
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++)
        opcode_add(
            (struct opcode){.fn = redux, .signature = "Rrr", .imm = reductions[i].op, .cls = CLASS_SHUFFLE},
            "redux.sync.%s", reductions[i].name);
    opcode_add((struct opcode){.fn = warp_barrier, .signature = "r", .cls = CLASS_BARRIER}, "bar.warp.sync");
    add_barriers();
}
