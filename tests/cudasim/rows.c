/* Rows for registers. nvcc writes PTX in a form where each value has a register of its own, thousands in a
 * large kernel; a row each would drive a warp's registers out of the cache. Liveness over the control flow,
 * then a linear scan.
 *
 * Liveness is a property of one thread's path, and lanes of a row never mix, so divergence does not matter. A
 * result never shares a row with a source of the same instruction, so instructions of several results may
 * write them one by one. A write under a guard leaves the old value alive.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { SINK_BYTES = 256, MAX_SUCCESSOR = 1026 };

struct liveness {
    const struct kernel *kernel;
    const struct use_list *uses;
    uint32_t n_register, words;
    uint32_t *first_use; /* per instruction: index of its first use */
    uint32_t *block_of;  /* per instruction */
    uint32_t *block_start;
    uint32_t n_block;
    uint64_t *read, *killed, *in, *out; /* per block, `words` each */
    uint32_t *from, *to;                /* interval of each register, in instructions; from > to: not used */
    uint8_t *at_entry;                  /* may be read before it is written */
};

static bool bit(const uint64_t *set, uint32_t i) {
    return set[i / 64] >> (i % 64) & 1;
}
static void set_bit(uint64_t *set, uint32_t i) {
    set[i / 64] |= 1ull << (i % 64);
}

static bool find_blocks(struct liveness *l) {
    const uint32_t n = l->kernel->n_inst;
    uint8_t *leader = calloc(n + 2u, 1);
    uint32_t next[MAX_SUCCESSOR];
    if (!leader)
        return false;
    leader[0] = 1;
    for (uint32_t pc = 0; pc < n; pc++)
        if (l->kernel->code[pc].flags & (FLAG_BRANCH | FLAG_END | FLAG_TABLE)) {
            const uint32_t count = control_successors(l->kernel, pc, next, MAX_SUCCESSOR);
            for (uint32_t i = 0; i < count; i++)
                leader[next[i]] = 1;
            leader[pc + 1] = 1;
        }
    for (uint32_t pc = 0; pc < n; pc++) {
        if (leader[pc])
            l->block_start[l->n_block++] = pc;
        l->block_of[pc] = l->n_block - 1;
    }
    l->block_start[l->n_block] = n;
    free(leader);
    return true;
}

static void scan_block(struct liveness *l, uint32_t block) {
    uint64_t *read = l->read + (size_t)block * l->words, *killed = l->killed + (size_t)block * l->words;
    for (uint32_t pc = l->block_start[block]; pc < l->block_start[block + 1]; pc++) {
        const uint32_t begin = l->first_use[pc], end = l->first_use[pc + 1];
        const bool guarded = l->kernel->code[pc].guard != 0;
        for (uint32_t i = begin; i < end; i++) {
            const struct use *u = &l->uses->use[i];
            if ((!u->written || guarded) && !bit(killed, u->reg))
                set_bit(read, u->reg);
        }
        for (uint32_t i = begin; i < end; i++)
            if (l->uses->use[i].written && !guarded)
                set_bit(killed, l->uses->use[i].reg);
    }
}

/* out = union of successors' in; in = read or (out and not killed); until nothing changes. */
static void flow(struct liveness *l) {
    uint32_t next[MAX_SUCCESSOR];
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t b = l->n_block; b-- > 0;) {
            uint64_t *in = l->in + (size_t)b * l->words, *out = l->out + (size_t)b * l->words;
            const uint32_t count =
                control_successors(l->kernel, l->block_start[b + 1] - 1, next, MAX_SUCCESSOR);
            for (uint32_t s = 0; s < count; s++)
                if (next[s] < l->kernel->n_inst)
                    for (uint32_t i = 0; i < l->words; i++)
                        out[i] |= l->in[(size_t)l->block_of[next[s]] * l->words + i];
            for (uint32_t i = 0; i < l->words; i++) {
                const uint64_t now =
                    l->read[(size_t)b * l->words + i] | (out[i] & ~l->killed[(size_t)b * l->words + i]);
                changed |= now != in[i];
                in[i] = now;
            }
        }
    }
}

static void extend(struct liveness *l, uint32_t reg, uint32_t pc) {
    if (pc < l->from[reg])
        l->from[reg] = pc;
    if (pc > l->to[reg] || l->to[reg] == UINT32_MAX)
        l->to[reg] = pc;
}

static void find_intervals(struct liveness *l) {
    for (uint32_t r = 0; r < l->n_register; r++)
        l->from[r] = l->to[r] = UINT32_MAX;
    for (uint32_t i = 0; i < l->uses->n; i++)
        extend(l, l->uses->use[i].reg, l->uses->use[i].inst);
    for (uint32_t b = 0; b < l->n_block; b++)
        for (uint32_t r = 0; r < l->n_register; r++) {
            if (bit(l->in + (size_t)b * l->words, r))
                extend(l, r, l->block_start[b]);
            if (bit(l->out + (size_t)b * l->words, r))
                extend(l, r, l->block_start[b + 1] - 1);
        }
    for (uint32_t r = 0; r < l->n_register; r++)
        l->at_entry[r] = l->n_block && bit(l->in, r);
}

static bool prepare(struct liveness *l) {
    const uint32_t n = l->kernel->n_inst;
    l->first_use = calloc(n + 2u, 4);
    l->block_of = calloc(n + 1u, 4);
    l->block_start = calloc(n + 2u, 4);
    l->from = calloc(l->n_register + 1u, 4);
    l->to = calloc(l->n_register + 1u, 4);
    l->at_entry = calloc(l->n_register + 1u, 1);
    if (!l->first_use || !l->block_of || !l->block_start || !l->from || !l->to || !l->at_entry ||
        !find_blocks(l))
        return false;
    for (uint32_t i = 0; i < l->uses->n; i++)
        l->first_use[l->uses->use[i].inst + 1]++;
    for (uint32_t pc = 0; pc < n; pc++)
        l->first_use[pc + 1] += l->first_use[pc];
    l->words = (l->n_register + 63) / 64;
    l->read = calloc((size_t)l->n_block * l->words * 4 + 1, 8);
    if (!l->read)
        return false;
    l->killed = l->read + (size_t)l->n_block * l->words;
    l->in = l->killed + (size_t)l->n_block * l->words;
    l->out = l->in + (size_t)l->n_block * l->words;
    for (uint32_t b = 0; b < l->n_block; b++)
        scan_block(l, b);
    flow(l);
    find_intervals(l);
    return true;
}

/* Rows of one width that are free, as a stack. */
struct pool {
    uint32_t *slot;
    uint32_t n;
};

static int width_index(uint8_t bytes) {
    return bytes == 0 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
}

/* Registers in order of the start of their interval; each takes a row that is free by then, or a new one. */
static bool scan(struct liveness *l, struct kernel *kernel, const struct ptx_register *registers,
                 uint32_t *slot) {
    const uint32_t n = kernel->n_inst;
    uint32_t *start_list = malloc(4 * (n + 1u)), *start_next = malloc(4 * (l->n_register + 1u));
    uint32_t *end_list = malloc(4 * (n + 1u)), *end_next = malloc(4 * (l->n_register + 1u));
    struct pool pool[4] = {0};
    bool good = start_list && start_next && end_list && end_next;
    for (int i = 0; i < 4; i++)
        good = (pool[i].slot = malloc(4 * (l->n_register + 1u))) && good;
    if (good) {
        memset(start_list, 0xff, 4 * (n + 1u));
        memset(end_list, 0xff, 4 * (n + 1u));
        for (uint32_t r = l->n_register; r-- > 0;)
            if (l->from[r] != UINT32_MAX) {
                const uint32_t from = l->at_entry[r] ? 0 : l->from[r];
                start_next[r] = start_list[from];
                start_list[from] = r;
                end_next[r] = end_list[l->to[r]];
                end_list[l->to[r]] = r;
            }
        for (uint32_t pc = 0; pc < n; pc++) {
            for (uint32_t r = start_list[pc]; r != UINT32_MAX; r = start_next[r]) {
                struct pool *p = &pool[width_index(registers[r].bytes)];
                const uint32_t bytes = registers[r].bytes ? registers[r].bytes * LANES : 4;
                if (p->n) {
                    slot[r] = p->slot[--p->n];
                    continue;
                }
                kernel->register_bytes =
                    (kernel->register_bytes + (bytes >= 64 ? 63 : 3)) & ~(bytes >= 64 ? 63u : 3u);
                slot[r] = kernel->register_bytes;
                kernel->register_bytes += bytes;
            }
            for (uint32_t r = end_list[pc]; r != UINT32_MAX; r = end_next[r]) {
                struct pool *p = &pool[width_index(registers[r].bytes)];
                p->slot[p->n++] = slot[r];
            }
        }
    }
    free(start_list);
    free(start_next);
    free(end_list);
    free(end_next);
    for (int i = 0; i < 4; i++)
        free(pool[i].slot);
    return good;
}

static bool note_poison(struct liveness *l, struct kernel *kernel, const struct ptx_register *registers,
                        const uint32_t *slot) {
    for (uint32_t r = 0; r < l->n_register; r++)
        kernel->n_poison += l->at_entry[r];
    kernel->poison = arena_alloc(&kernel->arena, kernel->n_poison * 8u + 8u);
    if (!kernel->poison)
        return false;
    uint32_t *to = kernel->poison;
    for (uint32_t r = 0; r < l->n_register; r++)
        if (l->at_entry[r]) {
            *to++ = slot[r];
            *to++ = registers[r].bytes ? registers[r].bytes * LANES : 4;
        }
    return true;
}

bool rows_assign(struct kernel *kernel, const struct ptx_register *registers, uint32_t n_register,
                 const struct use_list *uses) {
    struct liveness l = {.kernel = kernel, .uses = uses, .n_register = n_register};
    uint32_t *slot = calloc(n_register + 1u, 4);
    if (kernel->register_bytes < SINK_BYTES)
        kernel->register_bytes = SINK_BYTES;
    bool good =
        slot && prepare(&l) && scan(&l, kernel, registers, slot) && note_poison(&l, kernel, registers, slot);
    if (good) {
        for (uint32_t i = 0; i < uses->n; i++)
            *uses->use[i].slot = slot[uses->use[i].reg] | uses->use[i].keep;
        kernel->register_bytes = (kernel->register_bytes + 63) & ~63u;
    }
    free(slot);
    free(l.first_use);
    free(l.block_of);
    free(l.block_start);
    free(l.from);
    free(l.to);
    free(l.at_entry);
    free(l.read);
    return good;
}
