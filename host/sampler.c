/* host/sampler.c: greedy choice, and temperature with top-k and top-p. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>

void sampler_init(sampler *s, float temperature, uint32_t top_k, float top_p, uint64_t seed) {
    *s = (sampler){.temperature = temperature, .top_k = top_k, .top_p = top_p, .state = seed};
}

/* SplitMix64: every seed, 0 included, gives a full-period sequence. */
static uint64_t next_random(sampler *s) {
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double sampler_uniform(sampler *s) {
    return (double)(next_random(s) >> 11) * 0x1p-53;
}

static int compare_candidates(const void *left, const void *right) {
    const candidate *a = left, *b = right;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void candidates_sort(candidate *c, uint32_t n) {
    qsort(c, n, sizeof *c, compare_candidates);
}

uint32_t sampler_pick(sampler *s, const candidate *c, uint32_t n) {
    if (s->temperature <= 0 || n == 1)
        return c[0].id;
    if (s->top_k && s->top_k < n)
        n = s->top_k;

    double scale = 1.0 / s->temperature, total = 0;
    for (uint32_t i = 0; i < n; i++)
        total += exp(((double)c[i].logit - c[0].logit) * scale);
    double kept = 0;
    uint32_t n_kept = 0;
    while (n_kept < n && (n_kept == 0 || kept < s->top_p * total))
        kept += exp(((double)c[n_kept++].logit - c[0].logit) * scale);

    double target = sampler_uniform(s) * kept;
    for (uint32_t i = 0; i + 1 < n_kept; i++) {
        target -= exp(((double)c[i].logit - c[0].logit) * scale);
        if (target < 0)
            return c[i].id;
    }
    return c[n_kept - 1].id;
}
