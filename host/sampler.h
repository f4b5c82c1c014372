/* host/sampler.h: choosing the next token from logits. */
#ifndef TANDEM_HOST_SAMPLER_H
#define TANDEM_HOST_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sampler {
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* most likely tokens that take part; 0: all that are given */
    float top_p;       /* of those, the fewest whose probabilities reach top_p; 1: all */
    uint64_t state;    /* of the random numbers */
} sampler;

typedef struct candidate {
    uint32_t id;
    float logit;
} candidate;

void sampler_init(sampler *s, float temperature, uint32_t top_k, float top_p, uint64_t seed);

/* Uniform in [0, 1), 53 bits. */
double sampler_uniform(sampler *s);

/* Sorts by logit, descending, ties to the lower id. */
void candidates_sort(candidate *c, uint32_t n);

/* Picks from c[0..n), sorted as above. Order of the filters: temperature, top-k, top-p. Probabilities are
 * taken over the candidates given, in double. n >= 1. */
uint32_t sampler_pick(sampler *s, const candidate *c, uint32_t n);

#endif
