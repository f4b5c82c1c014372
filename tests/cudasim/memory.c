/* The table of allocations, sorted by address, and the record of what has been written. */
#include "memory.h"
#include "fault.h"
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_FREED = 4096 };
#define FIRST_ADDRESS 0x500000000ull
#define PAGE 4096ull

static struct allocation **table;
static uint32_t n_allocation, max_allocation;
static uint64_t next_address = FIRST_ADDRESS, next_id, used_bytes;

static struct { uint64_t base, bytes, id; } freed[MAX_FREED];
static uint32_t n_freed;

static uint64_t round_up(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

/* Index of the first allocation that starts behind the address. */
static uint32_t upper(uint64_t address) {
    uint32_t low = 0, high = n_allocation;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (table[middle]->base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct allocation *memory_find(uint64_t address) {
    const uint32_t i = upper(address);
    return i && address - table[i - 1]->base < table[i - 1]->bytes ? table[i - 1] : NULL;
}

struct allocation *memory_find_host(const void *host) {
    for (uint32_t i = 0; i < n_allocation; i++)
        if ((table[i]->kind == MEMORY_PINNED || table[i]->kind == MEMORY_REGISTERED) &&
            (const uint8_t *)host >= table[i]->host &&
            (const uint8_t *)host < table[i]->host + table[i]->bytes)
            return table[i];
    return NULL;
}

struct allocation *memory_at(uint32_t index) {
    return index < n_allocation ? table[index] : NULL;
}

uint64_t memory_used(void) {
    return used_bytes;
}

static void *map(uint64_t bytes) {
    void *p = mmap(NULL, round_up(bytes, PAGE), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static bool on_device(enum memory_kind kind) {
    return kind == MEMORY_DEVICE || kind == MEMORY_VARIABLE;
}
static uint64_t bitmap_bytes(uint64_t bytes) {
    return (bytes + 63) / 64 * 8 + 8;
}

static bool insert(struct allocation *a) {
    if (n_allocation == max_allocation) {
        const uint32_t max = max_allocation ? 2 * max_allocation : 256;
        struct allocation **bigger = realloc(table, max * sizeof *bigger);
        if (!bigger)
            return false;
        table = bigger;
        max_allocation = max;
    }
    const uint32_t at = upper(a->base);
    memmove(table + at + 1, table + at, (n_allocation - at) * sizeof *table);
    table[at] = a;
    n_allocation++;
    return true;
}

struct allocation *memory_add(enum memory_kind kind, uint64_t bytes, void *host, void *owner) {
    /* The driver hands out device memory in pieces of 512 bytes and takes it in pages of 2 MiB; only the
     * former counts. */
    const uint64_t taken = on_device(kind) ? round_up(bytes, 512) : 0;
    struct allocation *a = calloc(1, sizeof *a);
    if (!a || used_bytes + taken > options.memory_bytes)
        goto fail;
    a->kind = (uint8_t)kind;
    a->bytes = bytes;
    a->owner = owner;
    a->id = ++next_id;
    a->host = host ? host : map(bytes);
    if (kind == MEMORY_DEVICE)
        a->written = map(bitmap_bytes(bytes));
    if (!a->host || (kind == MEMORY_DEVICE && !a->written))
        goto fail;
    if (kind == MEMORY_PINNED) {
        a->base = (uint64_t)(uintptr_t)a->host;
    } else {
        a->base = next_address;
        next_address += round_up(bytes, 512) + 4096; /* a gap, so that running over an end is seen */
    }
    if (!insert(a))
        goto fail;
    used_bytes += taken;
    return a;
fail:
    if (a && a->host && !host)
        munmap(a->host, round_up(bytes, PAGE));
    if (a && a->written)
        munmap(a->written, bitmap_bytes(bytes));
    free(a);
    return NULL;
}

void memory_remove(struct allocation *a) {
    const uint32_t at = upper(a->base) - 1;
    memmove(table + at, table + at + 1, (n_allocation - at - 1) * sizeof *table);
    n_allocation--;
    if (on_device(a->kind))
        used_bytes -= round_up(a->bytes, 512);
    freed[n_freed % MAX_FREED].base = a->base;
    freed[n_freed % MAX_FREED].bytes = a->bytes;
    freed[n_freed++ % MAX_FREED].id = a->id;
    if (a->kind != MEMORY_REGISTERED)
        munmap(a->host, round_up(a->bytes, PAGE));
    if (a->written)
        munmap(a->written, bitmap_bytes(a->bytes));
    free(a);
}

void memory_remove_owned(void *owner) {
    for (uint32_t i = n_allocation; i-- > 0;)
        if (table[i]->owner == owner)
            memory_remove(table[i]);
}

void memory_explain(uint64_t address, uint64_t bytes, char *text, size_t text_bytes) {
    const struct allocation *a = memory_find(address);
    if (a) {
        snprintf(text, text_bytes, "0x%llx lies %llu bytes before the end of allocation %llu of %llu bytes",
                 (unsigned long long)address, (unsigned long long)(a->base + a->bytes - address),
                 (unsigned long long)a->id, (unsigned long long)a->bytes);
        return;
    }
    for (uint32_t i = 0; i < n_freed && i < MAX_FREED; i++)
        if (address - freed[i].base < freed[i].bytes) {
            snprintf(text, text_bytes, "0x%llx lies in allocation %llu, which was freed",
                     (unsigned long long)address, (unsigned long long)freed[i].id);
            return;
        }
    const uint32_t i = upper(address);
    if (i && address - table[i - 1]->base - table[i - 1]->bytes < 4096)
        snprintf(text, text_bytes, "0x%llx lies %llu bytes behind the end of allocation %llu of %llu bytes",
                 (unsigned long long)address,
                 (unsigned long long)(address - table[i - 1]->base - table[i - 1]->bytes),
                 (unsigned long long)table[i - 1]->id, (unsigned long long)table[i - 1]->bytes);
    else if (i < n_allocation && table[i]->base - address < 4096)
        snprintf(text, text_bytes, "0x%llx lies %llu bytes before allocation %llu of %llu bytes",
                 (unsigned long long)address, (unsigned long long)(table[i]->base - address),
                 (unsigned long long)table[i]->id, (unsigned long long)table[i]->bytes);
    else
        snprintf(text, text_bytes, "nothing is allocated at 0x%llx (%llu bytes)", (unsigned long long)address,
                 (unsigned long long)bytes);
}

/* ---- what has been written ---- */

static uint64_t word_mask(uint64_t from, uint64_t to) { /* bits from..to-1 of a word */
    const uint64_t high = to >= 64 ? UINT64_MAX : (1ull << to) - 1;
    return high & ~((1ull << from) - 1);
}

void memory_mark(struct allocation *a, uint64_t offset, uint64_t bytes) {
    if (memory_all_written(a))
        return;
    for (uint64_t at = offset; at < offset + bytes;) {
        const uint64_t word = at / 64, from = at % 64, left = offset + bytes - at;
        const uint64_t to = from + left < 64 ? from + left : 64,
                       fresh = word_mask(from, to) & ~a->written[word];
        a->written[word] |= fresh;
        a->n_written += (uint64_t)__builtin_popcountll(fresh);
        at += to - from;
    }
    if (a->n_written == a->bytes) {
        munmap(a->written, bitmap_bytes(a->bytes));
        a->written = NULL;
    }
}

bool memory_is_written(const struct allocation *a, uint64_t offset, uint64_t bytes) {
    if (memory_all_written(a))
        return true;
    for (uint64_t at = offset; at < offset + bytes;) {
        const uint64_t from = at % 64, left = offset + bytes - at, to = from + left < 64 ? from + left : 64;
        if (word_mask(from, to) & ~a->written[at / 64])
            return false;
        at += to - from;
    }
    return true;
}

static void poison_unwritten(const struct allocation *a, uint64_t offset, uint8_t *to, uint64_t bytes) {
    const uint32_t poison = POISON;
    for (uint64_t i = 0; i < bytes; i++)
        if (!(a->written[(offset + i) / 64] >> ((offset + i) % 64) & 1))
            to[i] = (uint8_t)(poison >> (8 * ((offset + i) & 3)));
}

void memory_read(const struct allocation *a, uint64_t offset, void *to, uint64_t bytes) {
    memcpy(to, a->host + offset, bytes);
    if (!memory_is_written(a, offset, bytes))
        poison_unwritten(a, offset, to, bytes);
}

void memory_copy(struct allocation *to, uint64_t to_offset, struct allocation *from, uint64_t from_offset,
                 uint64_t bytes) {
    memmove(to->host + to_offset, from->host + from_offset, bytes);
    if (memory_is_written(from, from_offset, bytes)) {
        memory_mark(to, to_offset, bytes);
        return;
    }
    for (uint64_t i = 0; i < bytes; i++)
        if (from->written[(from_offset + i) / 64] >> ((from_offset + i) % 64) & 1)
            memory_mark(to, to_offset + i, 1);
        else if (to->written) { /* what nobody wrote overwrites what somebody did */
            uint64_t *word = &to->written[(to_offset + i) / 64];
            const uint64_t bit = 1ull << ((to_offset + i) % 64);
            to->n_written -= *word & bit ? 1 : 0;
            *word &= ~bit;
        }
}
