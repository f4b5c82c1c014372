/* cp.async: the copy is checked when it is issued and arrives when its group is waited for, not a moment
 * sooner. Until then nobody may touch its destination. A copy that is never waited for never arrives.
 */
#include "lanes.h"
#include "reach.h"

#include <cuda.h>
#include <stdlib.h>

enum { HAS_SIZE = 1, HAS_IGNORE = 2 };

static bool push(struct warp *w, struct async_copy copy) {
    if (w->n_copy == w->max_copy) {
        const uint32_t max = w->max_copy ? 2 * w->max_copy : 256;
        struct async_copy *bigger = realloc(w->copies, max * sizeof *bigger);
        if (!bigger)
            return false;
        w->copies = bigger;
        w->max_copy = max;
    }
    w->copies[w->n_copy++] = copy;
    return true;
}

/* Checks both ends of every lane's copy, and counts the request to global memory. */
static bool check_ends(struct request *from, struct request *to, struct warp *w, const struct inst *in,
                       uint32_t mask, const uint32_t *sizes) {
    uint32_t reading = 0;
    EACH_LANE(i, mask) {
        reading |= (uint32_t)(sizes[i] != 0) << i;
    }
    request_begin(to, w, in, mask, in->o[0], in->imm, in->wide, in->bytes, ACCESS_WRITE);
    EACH_LANE(i, mask) {
        const uint64_t offset = to->address[i] - SHARED_BASE, size = w->launch->shared_bytes;
        if (offset >= size || size - offset < in->bytes || offset & (in->bytes - 1)) {
            launch_fault(w, in, (int)i,
                         offset < size && offset & (in->bytes - 1) ? CUDA_ERROR_MISALIGNED_ADDRESS
                                                                   : CUDA_ERROR_ILLEGAL_ADDRESS,
                         "the lane copies %u bytes to shared offset 0x%llx, and the block has 0x%llx bytes",
                         in->bytes, (unsigned long long)offset, (unsigned long long)size);
            return false;
        }
    }
    if (!reading)
        return true;
    request_begin(from, w, in, reading, in->o[1], (int32_t)in->v[0], in->v[1], in->bytes, ACCESS_READ);
    return reach_global(from, w, in);
}

static void copy_async(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request from, to;
    uint32_t sizes[LANES];
    const uint32_t ignore = in->n & HAS_IGNORE ? *predicate(w, in->o[2]) : 0;
    for (uint32_t i = 0; i < LANES; i++) {
        sizes[i] = in->n & HAS_SIZE ? ((const uint32_t *)row(w, in->o[2]))[i] : in->bytes;
        sizes[i] = ignore >> i & 1 ? 0 : sizes[i];
    }
    EACH_LANE(i, mask) {
        if (sizes[i] > in->bytes) {
            launch_fault(w, in, (int)i, CUDA_ERROR_LAUNCH_FAILED, "the lane copies %u bytes of %u", sizes[i],
                         in->bytes);
            return;
        }
    }
    if (!check_ends(&from, &to, w, in, mask, sizes))
        return;
    EACH_LANE(i, mask) {
        const uint32_t offset = (uint32_t)(to.address[i] - SHARED_BASE);
        /* The write itself is recorded when it arrives; what it destroys is checked now. */
        if ((options.races || options.uninitialised) &&
            !shadow_check(w, in, i, offset, in->bytes, ACCESS_WRITE))
            return;
        shadow_pending(w, offset, in->bytes, true);
        if (!push(w, (struct async_copy){.source = sizes[i] ? from.address[i] : 0,
                                         .destination = offset,
                                         .group = w->committed[i],
                                         .line = in->line,
                                         .lane = (uint8_t)i,
                                         .bytes = in->bytes,
                                         .source_bytes = (uint8_t)sizes[i]})) {
            launch_fault(w, in, (int)i, CUDA_ERROR_OUT_OF_MEMORY, "no memory for its state");
            return;
        }
    }
}

static void commit(struct warp *w, const struct inst *in, uint32_t mask) {
    (void)in;
    EACH_LANE(i, mask) {
        w->committed[i]++;
    }
}

static bool arrive(struct warp *w, const struct inst *in, const struct async_copy *c) {
    uint8_t value[16] = {0}; /* what the source does not give is zero */
    if (c->source_bytes) {
        const struct allocation *a = memory_find(c->source);
        if (!a || a->base + a->bytes - c->source < c->source_bytes) {
            launch_fault(w, in, c->lane, CUDA_ERROR_ILLEGAL_ADDRESS,
                         "the source of the copy of PTX line %u is gone", c->line);
            return false;
        }
        memory_read(a, c->source - a->base, value, c->source_bytes);
    }
    shadow_pending(w, c->destination, c->bytes, false);
    memcpy(w->block->shared + c->destination, value, c->bytes);
    launch_changed(w->launch);
    return (!options.races && !options.uninitialised) ||
           shadow_check(w, in, c->lane, c->destination, c->bytes, ACCESS_WRITE);
}

/* All groups of a lane but its latest imm have arrived; imm < 0: those not committed have, too. */
static void wait(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t kept = 0;
    for (uint32_t k = 0; k < w->n_copy; k++) {
        const struct async_copy c = w->copies[k];
        const bool mine = mask >> c.lane & 1;
        const bool due = in->imm < 0 || (int64_t)c.group + in->imm < (int64_t)w->committed[c.lane];
        if (!mine || !due)
            w->copies[kept++] = c;
        else if (!arrive(w, in, &c))
            return;
    }
    w->n_copy = kept;
}

/* [dst], [src], size{, src-size | ignore-src}{, cache-policy}. o: dst, src, size or predicate; v: offset of
 * the source and whether its register is wide. */
static bool bind_copy(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    const bool policy = to->width;
    to->width = 0;
    if (!decode_count(d, from, policy ? 4 : 3, policy ? 5 : 4))
        return false;
    const bool has_fourth = from->n_operand > (policy ? 4u : 3u);
    if (from->operand[2].kind != OPERAND_INTEGER ||
        (from->operand[2].bits != 16 &&
         (to->n || (from->operand[2].bits != 4 && from->operand[2].bits != 8)))) {
        decode_fail(d, "copies of this size are not known");
        return false;
    }
    to->bytes = (uint8_t)from->operand[2].bits;
    to->n = 0;
    uint32_t *v = decode_vector(d, 2);
    to->space = SPACE_GLOBAL;
    if (!v || !decode_address(d, &from->operand[1], to, 1))
        return false;
    v[0] = (uint32_t)to->imm;
    v[1] = to->wide;
    if (to->imm != (int32_t)to->imm || !to->wide) {
        decode_fail(d, "the source's address needs 64 bits, and its offset 32");
        return false;
    }
    to->space = SPACE_SHARED;
    if (!decode_address(d, &from->operand[0], to, 0))
        return false;
    if (policy && !decode_read(d, &from->operand[from->n_operand - 1], 8, &to->o[5]))
        return false;
    if (!has_fourth)
        return true;
    const struct ptx_operand *fourth = &from->operand[3];
    const bool predicate_operand = fourth->kind == OPERAND_REGISTER && decode_is_predicate(d, fourth);
    to->n = predicate_operand ? HAS_IGNORE : HAS_SIZE;
    return decode_read(d, fourth, predicate_operand ? 0 : 4, &to->o[2]);
}

void opcodes_async(void) {
    static const char *const spaces[] = {"shared", "shared::cta"};
    static const char *const hints[] = {"",
                                        ".L2::64B",
                                        ".L2::128B",
                                        ".L2::256B",
                                        ".L2::cache_hint",
                                        ".L2::cache_hint.L2::64B",
                                        ".L2::cache_hint.L2::128B",
                                        ".L2::cache_hint.L2::256B"};
    for (int s = 0; s < 2; s++)
        for (int cg = 0; cg < 2; cg++)
            for (int h = 0; h < 8; h++)
                opcode_add((struct opcode){.fn = copy_async,
                                           .bind = bind_copy,
                                           .n = (uint8_t)cg,
                                           .width = h >= 4,
                                           .flags = FLAG_SITE,
                                           .cls = CLASS_ASYNC_COPY},
                           "cp.async.%s.%s.global%s", cg ? "cg" : "ca", spaces[s], hints[h]);
    opcode_add((struct opcode){.fn = commit, .signature = "", .cls = CLASS_ASYNC_COPY},
               "cp.async.commit_group");
    opcode_add((struct opcode){.fn = wait, .signature = "i", .cls = CLASS_ASYNC_COPY}, "cp.async.wait_group");
    opcode_add((struct opcode){.fn = wait, .signature = "", .imm = -1, .cls = CLASS_ASYNC_COPY},
               "cp.async.wait_all");
}
