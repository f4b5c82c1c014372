/* The machine: decoded instructions, and the state of launches, blocks and warps.
 *
 * A register is a row of 32 lanes; a predicate is one 32-bit word. Rows lie in the warp's register file or,
 * for immediates and what is the same for all blocks of a kernel, in the kernel's constant rows; a slot names
 * either.
 */
#ifndef CUDASIM_MACHINE_H
#define CUDASIM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

enum { LANES = 32, MAX_WARPS = 32, N_BARRIER = 16 };
#define FULL 0xffffffffu
#define ALWAYS_MERGE UINT32_MAX /* merge_pc of a warp that is in one piece */

/* Generic addresses outside device memory: bit 48 for shared, bit 49 for local, bit 50 for parameters. No
 * pointer of a host process and no device address has these bits. */
#define SHARED_WINDOW (1ull << 48)
#define LOCAL_WINDOW (1ull << 49)
#define PARAM_WINDOW (1ull << 50)
/* Offset 0 is never a variable, so that a lost address shows; hardware keeps the first KiB for itself too. */
enum { SHARED_BASE = 1024, LOCAL_BASE = 64 };

struct warp;
struct inst;
struct kernel;
struct launch;
struct allocation;

typedef void (*exec_fn)(struct warp *w, const struct inst *in, uint32_t mask);

/* Classes of instructions, as the counters report them. */
enum inst_class {
    CLASS_FP32,
    CLASS_FP64,
    CLASS_F16,
    CLASS_INT,
    CLASS_DP4A,
    CLASS_CONVERT,
    CLASS_SPECIAL,
    CLASS_MOVE,
    CLASS_COMPARE,
    CLASS_MMA,
    CLASS_LDMATRIX,
    CLASS_LD_GLOBAL,
    CLASS_ST_GLOBAL,
    CLASS_LD_SHARED,
    CLASS_ST_SHARED,
    CLASS_LD_OTHER,
    CLASS_ST_OTHER,
    CLASS_ASYNC_COPY,
    CLASS_ATOMIC,
    CLASS_BARRIER,
    CLASS_FENCE,
    CLASS_SHUFFLE,
    CLASS_CONTROL,
    N_CLASS
};

/* Requests to memory, of one instruction or of many. A request is one warp instruction's worth. */
struct mem_stats {
    uint64_t requests;
    uint64_t bytes;       /* that its threads asked for, each byte of a request once */
    uint64_t sectors;     /* of 32 bytes, global memory */
    uint64_t min_sectors; /* had the bytes lain side by side */
    uint64_t conflicts;   /* cycles of shared memory beyond what the width alone costs */
};

/* One place of the program that touches memory. */
struct site {
    struct mem_stats stats;
    struct allocation *last; /* where it found its addresses last time, in this launch */
};

struct inst {
    exec_fn fn;
    uint32_t o[6];     /* slots, in the order of the opcode's signature */
    const uint32_t *v; /* slots of vector operands */
    int64_t imm;       /* branch target, address offset, or a number that belongs to the opcode */
    const void *aux;   /* second function or table of the opcode */
    struct site *site; /* of instructions that touch memory, else NULL */
    uint32_t guard;    /* predicate: offset of its word in the register file, bit 0 set for @!p; 0 for none */
    uint32_t line;     /* in the PTX */
    uint32_t opcode;   /* index into the table */
    uint8_t cls, bytes, n, width; /* class; bytes of an element; elements; bytes of the data's register */
    uint8_t wide, space,
        flags; /* the address register has 64 bits; enum ptx_space or generic; of the opcode */
    uint64_t n_warp, n_thread; /* executed */
};

enum split_state { SPLIT_READY, SPLIT_AT_SYNC, SPLIT_AT_WARP_BARRIER, SPLIT_AT_BARRIER };

/* Lanes of a warp that are at one place. */
struct split {
    uint32_t pc, mask;
    uint32_t members; /* parked: the lanes waited for */
    uint8_t state, barrier;
};

/* A cp.async that has not arrived. */
struct async_copy {
    uint64_t source;
    uint32_t destination; /* offset in shared memory */
    uint32_t group;       /* of its lane */
    uint32_t line;
    uint8_t lane, bytes, source_bytes;
};

struct warp {
    uint8_t *base[2]; /* register file; constant rows */
    uint32_t pc, mask;
    uint32_t merge_pc; /* run while pc is below; 0 stops at once */
    int32_t steps;     /* instructions left of this turn */
    int32_t penalty;   /* of them, taken away so that a spin loop yields */
    uint32_t live;     /* lanes that have not exited */
    uint32_t id;       /* in the block */
    uint32_t current;  /* index of the running split */
    uint32_t n_split;
    struct split split[LANES + 2]; /* the running one may be empty for a moment */
    struct inst *code;
    struct block *block;
    struct launch *launch;
    uint8_t *local;           /* 32 times the kernel's local bytes */
    uint32_t sync_count;      /* moves on at every barrier of the warp or the block */
    uint32_t seen[MAX_WARPS]; /* accesses of that warp stamped below this are ordered before mine */
    uint32_t min_seen;        /* the least of them */
    /* Clocks, as order.c has them: what the latest fence released, and what strong reads found and the next
     * fence takes over. */
    uint32_t fence[MAX_WARPS], pending[MAX_WARPS];
    uint32_t fenced, pending_lanes; /* lanes that have such */
    uint32_t committed[LANES];      /* cp.async groups closed, per lane */
    struct async_copy *copies;
    uint32_t n_copy, max_copy;
    uint32_t carry; /* CC.CF, a bit a lane */
    uint32_t stale; /* instructions run while another split waited its turn */
    bool yield;
};

/* What is known of one 4-byte word of shared memory. Stamps order accesses: see race.c. */
struct shadow {
    uint32_t w_stamp, w_sync, r_stamp, r_sync;
    uint32_t r_warps; /* readers since the last write that are not ordered before each other */
    uint32_t
        strong; /* what is kept warp by warp since the last plain write: entry in the block, 0 for none */
    uint8_t w_warp, w_lane, r_lane;          /* NOBODY; lane SEVERAL */
    uint8_t init, w_bytes, r_bytes, pending; /* masks of 4 bytes */
};
enum { NOBODY = 0xff, SEVERAL = 0xfe };

struct barrier {
    uint32_t arrived;          /* threads */
    uint32_t expected;         /* 0: all that live */
    uint32_t waiting;          /* warps that arrived and wait */
    uint32_t known[MAX_WARPS]; /* clock of those that arrived and went on */
    uint32_t votes, voters;
};

struct block {
    struct launch *launch;
    struct warp *warps;
    uint32_t n_warp;
    uint32_t live; /* threads */
    uint32_t ctaid[3];
    uint32_t slot;  /* among the resident blocks */
    uint32_t stamp; /* barriers, fences and releases so far */
    bool yield;
    struct barrier barriers[N_BARRIER];
    uint8_t *shared;
    struct shadow *shadow;
    struct strong *strong; /* race.c; entry 0 is not used */
    uint32_t n_strong, max_strong;
    struct clock *clocks; /* order.c: a hash by address */
    uint32_t n_clock, max_clock;
    uint8_t *arena; /* register files and local memory */
    uint32_t next;  /* warp whose turn it is */
    uint32_t
        starved; /* adversarial: a warp that runs only when no other can, and seldom then; n_warp for none */
};

struct launch {
    struct kernel *kernel;
    uint32_t grid[3], threads[3];
    uint32_t shared_bytes, dynamic_bytes;
    uint8_t *params;
    bool failed;
    int error;          /* CUresult */
    uint64_t executed;  /* warp instructions */
    uint64_t spins;     /* accesses that a waiting loop might make, since memory last changed */
    uint64_t clock;     /* simulated nanoseconds before the launch */
    uint64_t workspace; /* of cooperative groups, which find its address in %envreg1 and 2; 0 for none */
    uint64_t id;
    struct random random;
    bool adversarial;
    uint32_t resident_limit;
    struct block **resident;
    uint32_t n_resident;
};

static inline void *row(const struct warp *w, uint32_t slot) {
    return w->base[slot >> 31] + (slot & 0x7fffffffu);
}
/* Predicates lie in the register file only. */
static inline uint32_t *predicate(const struct warp *w, uint32_t slot) {
    return (uint32_t *)(void *)(w->base[0] + slot);
}
static inline void predicate_set(const struct warp *w, uint32_t slot, uint32_t mask, uint32_t value) {
    uint32_t *p = predicate(w, slot);
    *p = (*p & ~mask) | (value & mask);
}
/* Ends the warp's turn after this instruction. */
static inline void warp_stop(struct warp *w) {
    w->merge_pc = 0;
}

static inline void launch_changed(struct launch *l) {
    l->spins = 0;
}
/* After an access that a spin loop might make: its turn gets shorter, so that whom it waits for comes on. */
static inline void warp_spins(struct warp *w) {
    w->steps -= 64;
    w->penalty += 64;
    w->launch->spins++;
}

/* Ends the launch with a CUresult and a sentence that names kernel, line, lane and block. lane < 0: the whole
 * warp. */
void launch_fault(struct warp *w, const struct inst *in, int lane, int error, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Executes all blocks. On failure launch->failed is set and the sentence said. */
void launch_run(struct launch *launch);

/* Runs a block until it is done, has used its budget, or the launch has failed. True when it is done. */
bool block_run(struct block *block, uint32_t budget);
void block_start(struct block *block, uint32_t index);

/* Runs a warp for about `steps` instructions. Returns those executed. */
uint32_t warp_run(struct warp *w, uint32_t steps);
bool warp_ready(const struct warp *w);
void warp_diverge(struct warp *w, uint32_t taken_pc, uint32_t taken, uint32_t other_pc, uint32_t other);
void warp_exit(struct warp *w, const struct inst *in, uint32_t lanes);
struct split *warp_park(struct warp *w, uint32_t pc, uint32_t lanes, uint32_t members, uint8_t state);

/* Calls op for the lanes of `mask` whose partners have all arrived; parks the others. members: a row, or NULL
 * for all. */
typedef void (*sync_op)(struct warp *w, const struct inst *in, uint32_t lanes);
void sync_execute(struct warp *w, const struct inst *in, uint32_t mask, const uint32_t *members, sync_op op);

void barrier_arrive(struct warp *w, const struct inst *in, uint32_t lanes, uint32_t id, uint32_t count,
                    bool blocks, uint32_t votes);
void barrier_recheck(struct block *block);
/* Hands the result of a bar.red to the lanes that waited in it. */
void barrier_deliver(struct warp *w, const struct inst *in, uint32_t lanes, uint32_t votes, uint32_t voters);

/* ---- race.c: what is known of shared memory; true when the access may go on ---- */
enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_STRONG_READ, ACCESS_STRONG_WRITE, ACCESS_ATOMIC };
bool shadow_check(struct warp *w, const struct inst *in, uint32_t lane, uint32_t offset, uint32_t bytes,
                  enum access access);
void shadow_pending(struct warp *w, uint32_t offset, uint32_t bytes, bool pending);

/* ---- order.c: what orders accesses of different warps; addresses are those of the bytes on the host ---- */
void order_start(struct block *block);
void order_fence(struct warp *w, uint32_t lanes);
void order_take(struct warp *w, uint32_t lanes); /* what strong reads found orders what comes now */
void order_read(struct warp *w, uint32_t lane, const uint8_t *at, bool acquires);
/* false: memory is out */
bool order_write(struct warp *w, uint32_t lane, const uint8_t *at, bool releases, bool is_atomic);
/* A warp arrives at a barrier and goes on; a barrier is complete for those that waited. */
void order_arrive(struct warp *w, uint32_t *known);
void order_barrier(struct block *block, uint32_t waiting, const uint32_t *known);

/* Reads that nobody wrote give this: a NaN as f32 and as two f16, a wild number otherwise. */
#define POISON 0x7ffbfdadu

#endif
