/* Branches, ends, and instructions whose only effect is on the order of things. */
#include "kernel.h"
#include "lanes.h"

#include <cuda.h>

static void branch(struct warp *w, const struct inst *in, uint32_t mask) {
    if (mask == w->mask)
        w->pc = (uint32_t)in->imm;
    else
        warp_diverge(w, (uint32_t)in->imm, mask, w->pc, w->mask & ~mask);
}

/* A branch that promises to be the same for all lanes. */
static void branch_uniform(struct warp *w, const struct inst *in, uint32_t mask) {
    if (mask == w->mask)
        w->pc = (uint32_t)in->imm;
    else
        launch_fault(w, in, __builtin_ctz(w->mask & ~mask), CUDA_ERROR_LAUNCH_FAILED,
                     "the branch says .uni, and lanes disagree about it");
}

/* brx.idx: lanes go where the table sends them, in groups. */
static void branch_table(struct warp *w, const struct inst *in, uint32_t mask) {
    const struct branch_table *table = in->aux;
    const uint32_t *index = row(w, in->o[0]);
    uint32_t targets[LANES], lanes[LANES], n = 0;
    if (w->mask & ~mask) {
        targets[n] = w->pc;
        lanes[n++] = w->mask & ~mask;
    }
    EACH_LANE(i, mask) {
        if (index[i] >= table->n) {
            launch_fault(w, in, (int)i, CUDA_ERROR_LAUNCH_FAILED, "index %u into a table of %u targets",
                         index[i], table->n);
            return;
        }
        uint32_t k = 0;
        while (k < n && targets[k] != table->pc[index[i]])
            k++;
        targets[k] = table->pc[index[i]];
        lanes[k] = k == n ? 1u << i : lanes[k] | 1u << i;
        n += k == n;
    }
    if (n > 1 && in->imm) {
        launch_fault(w, in, -1, CUDA_ERROR_LAUNCH_FAILED,
                     "the branch says .uni, and lanes disagree about it");
        return;
    }
    w->pc = targets[0];
    w->mask = lanes[0];
    for (uint32_t k = 1; k < n; k++)
        warp_diverge(w, targets[k], lanes[k], w->pc, w->mask);
}

static bool bind_table(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    return decode_count(d, from, 2, 2) && decode_read(d, &from->operand[0], 4, &to->o[0]) &&
           decode_branch_table(d, &from->operand[1], from->scope, to);
}

static void leave(struct warp *w, const struct inst *in, uint32_t mask) {
    warp_exit(w, in, mask);
}

static void trap(struct warp *w, const struct inst *in, uint32_t mask) {
    launch_fault(w, in, __builtin_ctz(mask), CUDA_ERROR_LAUNCH_FAILED, "the kernel trapped");
}

static void sleep_a_while(struct warp *w, const struct inst *in, uint32_t mask) {
    (void)in;
    (void)mask;
    w->yield = true;
    w->block->yield = true;
    warp_stop(w);
}

/* Memory here is coherent and in order; only the detector of races needs to know of fences. */
static void fence(struct warp *w, const struct inst *in, uint32_t mask) {
    (void)in;
    order_fence(w, mask);
}

/* Counters of hardware that nobody reads here. */
static void nothing(struct warp *w, const struct inst *in, uint32_t mask) {
    (void)w;
    (void)in;
    (void)mask;
}

static void active_mask(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    WRITE_LANES(d, mask, uint32_t, mask);
}

void opcodes_control(void) {
    static const char *const scopes[] = {"cta", "gpu", "sys"}, *const levels[] = {"cta", "gl", "sys"};
    static const struct {
        const char *name;
        exec_fn fn;
        uint8_t flags;
    } ends[] = {{"ret", leave, FLAG_END},
                {"ret.uni", leave, FLAG_END},
                {"exit", leave, FLAG_END},
                {"trap", trap, FLAG_END}};
    opcode_add((struct opcode){.fn = branch, .signature = "L", .flags = FLAG_BRANCH, .cls = CLASS_CONTROL},
               "bra");
    opcode_add(
        (struct opcode){.fn = branch_uniform, .signature = "L", .flags = FLAG_BRANCH, .cls = CLASS_CONTROL},
        "bra.uni");
    opcode_add(
        (struct opcode){.fn = branch_table, .bind = bind_table, .flags = FLAG_TABLE, .cls = CLASS_CONTROL},
        "brx.idx");
    opcode_add(
        (struct opcode){
            .fn = branch_table, .bind = bind_table, .flags = FLAG_TABLE, .imm = 1, .cls = CLASS_CONTROL},
        "brx.idx.uni");
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        opcode_add(
            (struct opcode){.fn = ends[i].fn, .signature = "", .flags = ends[i].flags, .cls = CLASS_CONTROL},
            "%s", ends[i].name);
    opcode_add((struct opcode){.fn = sleep_a_while, .signature = "r", .cls = CLASS_CONTROL}, "nanosleep.u32");
    opcode_add((struct opcode){.fn = nothing, .signature = "i", .cls = CLASS_CONTROL}, "pmevent");
    opcode_add((struct opcode){.fn = active_mask, .signature = "R", .cls = CLASS_SHUFFLE}, "activemask.b32");
    for (int i = 0; i < 3; i++) {
        opcode_add((struct opcode){.fn = fence, .signature = "", .cls = CLASS_FENCE}, "membar.%s", levels[i]);
        opcode_add((struct opcode){.fn = fence, .signature = "", .cls = CLASS_FENCE}, "fence.acq_rel.%s",
                   scopes[i]);
        opcode_add((struct opcode){.fn = fence, .signature = "", .cls = CLASS_FENCE}, "fence.sc.%s",
                   scopes[i]);
    }
}
