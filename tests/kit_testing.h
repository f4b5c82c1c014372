/* kit_testing.h: seeded random numbers for the tests. */
#ifndef TANDEM_TESTS_KIT_TESTING_H
#define TANDEM_TESTS_KIT_TESTING_H

#include <math.h>
#include <stdint.h>

/* splitmix64 */
static inline uint64_t test_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Standard normal, by Box and Muller. */
static inline double test_normal(uint64_t *state) {
    double u = ((double)(test_random(state) >> 11) + 0.5) * 0x1p-53;
    double v = (double)(test_random(state) >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

#endif
