/* hash.h: a 64-bit hash of bytes for lookup tables.
 *
 * Not a cryptographic hash. Tables over names out of files mix in a seed that a file cannot know (hash_seed),
 * so that a file cannot be made whose names all collide.
 */
#ifndef TANDEM_HOST_HASH_H
#define TANDEM_HOST_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finaliser of splitmix64: every input bit moves every output bit. */
static inline uint64_t hash_mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t hash_bytes(const void *data, size_t len, uint64_t seed) {
    const unsigned char *p = (const unsigned char *)data;
    uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15u);
    uint64_t word;
    while (len >= 8) {
        memcpy(&word, p, 8);
        h = hash_mix(h ^ word) + 0x9e3779b97f4a7c15u;
        p += 8;
        len -= 8;
    }
    if (len > 0) {
        word = 0;
        memcpy(&word, p, len);
        h = hash_mix(h ^ word);
    }
    return hash_mix(h);
}

/* Differs between processes wherever addresses do (ASLR). `object` is any address the caller owns. */
static inline uint64_t hash_seed(const void *object) {
    return hash_mix((uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)&hash_mix);
}

#endif
