/* Device memory: the table of allocations. Addresses are never reused, so one that was freed is recognised;
 * they are not addresses of the host process, so a host that reads one crashes as it would with a real
 * device. Pinned host memory is in the table too, at its own address (or, when registered, at an alias, as
 * the API allows).
 */
#ifndef CUDASIM_MEMORY_H
#define CUDASIM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum memory_kind { MEMORY_DEVICE, MEMORY_PINNED, MEMORY_REGISTERED, MEMORY_VARIABLE };

struct allocation {
    uint64_t base, bytes;
    uint8_t *host;     /* its bytes here */
    uint64_t *written; /* a bit a byte, NULL when all count as written */
    uint64_t n_written;
    uint8_t kind;
    bool read_only;
    unsigned flags; /* of cuMemHostAlloc and cuMemHostRegister */
    void *owner;    /* context */
    uint64_t id;
    uint64_t read_bytes, read_sectors, written_bytes; /* by kernels */
};

/* Makes an allocation of `bytes` bytes; NULL when the device has no room or the host no memory. host: what it
 * stands for, NULL to get fresh memory. */
struct allocation *memory_add(enum memory_kind kind, uint64_t bytes, void *host, void *owner);
void memory_remove(struct allocation *a);
void memory_remove_owned(void *owner);

/* The allocation that holds the address, or NULL. */
struct allocation *memory_find(uint64_t address);
/* The pinned memory that holds this host address. */
struct allocation *memory_find_host(const void *host);
/* For counters: the n-th, NULL behind the last. */
struct allocation *memory_at(uint32_t index);

uint64_t memory_used(void);
/* Why `bytes` bytes at `address` cannot be touched. */
void memory_explain(uint64_t address, uint64_t bytes, char *text, size_t text_bytes);

/* The bits that remember what was written. */
void memory_mark(struct allocation *a, uint64_t offset, uint64_t bytes);
bool memory_is_written(const struct allocation *a, uint64_t offset, uint64_t bytes);
/* Copies out, with poison where nothing was written. */
void memory_read(const struct allocation *a, uint64_t offset, void *to, uint64_t bytes);
/* Copies bytes and their written bits. */
void memory_copy(struct allocation *to, uint64_t to_offset, struct allocation *from, uint64_t from_offset,
                 uint64_t bytes);

/* For accesses that lie in one word of the bitmap: up to 16 bytes, aligned, of memory that starts aligned. */
static inline bool memory_has(const struct allocation *a, uint64_t offset, uint32_t bytes) {
    const uint64_t mask = ((1ull << bytes) - 1) << (offset & 63);
    return (a->written[offset / 64] & mask) == mask;
}
static inline bool memory_all_written(const struct allocation *a) {
    return !a->written || a->n_written == a->bytes;
}

#endif
