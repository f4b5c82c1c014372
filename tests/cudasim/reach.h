/* From addresses in lanes to bytes on the host, with every check and every count on the way. */
#ifndef CUDASIM_REACH_H
#define CUDASIM_REACH_H

#include "kernel.h"
#include "memory.h"

struct request {
    uint64_t address[LANES]; /* lanes that take no part repeat one that does */
    uint8_t *at[LANES];
    struct allocation *owner; /* of all lanes, when they lie in one; else NULL */
    uint32_t mask, bytes;     /* of each lane */
    enum access access;
    uint64_t low; /* or of all addresses: its low bits tell their alignment */
    bool stream;  /* addresses follow each other without a gap */
    bool uniform; /* all are the same */
};

/* Fills address[] from the slot, inst.imm added. */
void request_begin(struct request *r, const struct warp *w, const struct inst *in, uint32_t mask,
                   uint32_t slot, int64_t offset, bool wide, uint32_t bytes, enum access access);
/* Fills at[]. False after a fault. Generic addresses may lie in any space. */
bool reach(struct request *r, struct warp *w, const struct inst *in, uint8_t space);
bool reach_global(struct request *r, struct warp *w, const struct inst *in);
bool reach_shared(struct request *r, struct warp *w, const struct inst *in);

/* Marks what a store to global memory has written. */
void request_written(const struct request *r, struct warp *w);

#endif
