/* host/routing.c: seeded choices of experts. */
#include "routing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define GOLDEN 0x9e3779b97f4a7c15u
#define MOST_ZIPF 10.0
#define MAX_REDRAWS 8u

struct routing {
    uint32_t n_layer, n_expert, n_used;
    uint64_t seed;
    double *sum;         /* [n_expert] shares of all ranks up to this one */
    uint32_t *order;     /* [n_layer][n_expert] expert of each rank */
    routing_trace trace; /* instead of the two above, if it has rows */
    char name[64];
};

/* One sequence of random numbers. */
typedef struct dice {
    uint64_t state;
} dice;

static dice dice_for(const routing *r, uint64_t what, uint64_t layer, uint64_t position) {
    return (dice){hash_mix(hash_mix(r->seed + what * GOLDEN) + (layer << 32 | position) * GOLDEN)};
}

static double roll(dice *d) {
    return (double)(hash_mix(d->state += GOLDEN) >> 11) * 0x1p-53;
}

static uint32_t roll_below(dice *d, uint32_t n) {
    uint32_t i = (uint32_t)(roll(d) * n);
    return i < n ? i : n - 1;
}

/* Ranks with a probability like rank^-exponent, and for every layer which expert has which. */
static int start_ranks(routing *r, double exponent, tandem_message *message) {
    r->sum = malloc(r->n_expert * sizeof *r->sum);
    r->order = malloc((size_t)r->n_layer * r->n_expert * sizeof *r->order);
    if (!r->sum || !r->order)
        return message_out_of_memory(message, "orders of experts",
                                     (uint64_t)r->n_layer * r->n_expert * sizeof *r->order);
    double sum = 0;
    for (uint32_t i = 0; i < r->n_expert; i++)
        r->sum[i] = sum += pow(i + 1.0, -exponent);
    for (uint32_t l = 0; l < r->n_layer; l++) {
        dice d = dice_for(r, 1, l, 0);
        uint32_t *order = r->order + (size_t)l * r->n_expert;
        for (uint32_t i = 0; i < r->n_expert; i++) {
            uint32_t j = roll_below(&d, i + 1);
            order[i] = order[j];
            order[j] = i;
        }
    }
    return TANDEM_OK;
}

static int start_uniform(routing *r, tandem_message *message) {
    snprintf(r->name, sizeof r->name, "uniform@%llu", (unsigned long long)r->seed);
    return start_ranks(r, 0, message);
}

/* exponent: what follows "zipf:", or NULL. */
static int start_zipf(routing *r, const char *exponent, tandem_message *message) {
    char *end = NULL;
    double s = exponent ? strtod(exponent, &end) : 1;
    if (exponent && (end == exponent || *end || !(s >= 0 && s <= MOST_ZIPF)))
        return message_fail(message, TANDEM_E_INVALID, "'%s' is no exponent of Zipf's law from 0 to %g",
                            exponent, MOST_ZIPF);
    snprintf(r->name, sizeof r->name, "zipf:%g@%llu", s, (unsigned long long)r->seed);
    return start_ranks(r, s, message);
}

static int start_trace(routing *r, const char *path, const model_config *c, tandem_message *message) {
    int status = routing_trace_read(&r->trace, path, c, message);
    if (status)
        return status;
    uint64_t n = (uint64_t)r->trace.n_row * r->n_layer * r->n_used;
    snprintf(r->name, sizeof r->name, "trace:%016llx",
             (unsigned long long)hash_bytes(r->trace.ids, n * sizeof *r->trace.ids, 0));
    return TANDEM_OK;
}

int routing_create(routing **out, const char *how, const model_config *c, uint64_t seed,
                   tandem_message *message) {
    *out = NULL;
    if (!how || !strcmp(how, "model"))
        return TANDEM_OK;
    if (!c->n_expert)
        return message_fail(message, TANDEM_E_INVALID, "%s has no experts to choose from", c->name);
    routing *r = calloc(1, sizeof *r);
    if (!r)
        return message_out_of_memory(message, "a routing", sizeof *r);
    *r = (routing){.n_layer = c->n_layer, .n_expert = c->n_expert, .n_used = c->n_used, .seed = seed};
    int status;
    if (!strcmp(how, "uniform"))
        status = start_uniform(r, message);
    else if (!strncmp(how, "zipf", 4) && (!how[4] || how[4] == ':'))
        status = start_zipf(r, how[4] ? how + 5 : NULL, message);
    else if (!strncmp(how, "trace:", 6))
        status = start_trace(r, how + 6, c, message);
    else
        status = message_fail(message, TANDEM_E_INVALID,
                              "'%s' is none of the routings model, uniform, zipf[:S] and trace:FILE", how);
    if (status) {
        routing_destroy(r);
        return status;
    }
    *out = r;
    return TANDEM_OK;
}

void routing_destroy(routing *r) {
    if (!r)
        return;
    routing_trace_free(&r->trace);
    free(r->sum);
    free(r->order);
    free(r);
}

const char *routing_name(const routing *r) {
    return r ? r->name : "model";
}

static bool is_among(const uint32_t *ids, uint32_t n, uint32_t id) {
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* The first rank whose sum is beyond `target`. */
static uint32_t rank_at(const routing *r, double target) {
    uint32_t low = 0, high = r->n_expert - 1;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (r->sum[middle] > target)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* One of the experts that are left, by their shares, looking at each of them. */
static uint32_t draw_left(const routing *r, const uint32_t *order, dice *d, const uint32_t *ids, uint32_t n) {
    double total = 0, before = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < r->n_expert; before = r->sum[i++])
        if (!is_among(ids, n, order[i]))
            total += r->sum[i] - before;
    double target = roll(d) * total;
    before = 0;
    for (uint32_t i = 0; i < r->n_expert && target >= 0; before = r->sum[i++]) {
        if (is_among(ids, n, order[i]))
            continue;
        last = order[i];
        target -= r->sum[i] - before;
    }
    return last;
}

/* The same by drawing again what is taken: a chunk of a thousand tokens has a quarter of a million draws.
 * Where little is left but what is taken, looking at each is quicker. */
static uint32_t draw(const routing *r, uint32_t layer, dice *d, const uint32_t *ids, uint32_t n) {
    const uint32_t *order = r->order + (size_t)layer * r->n_expert;
    for (uint32_t i = 0; i < MAX_REDRAWS; i++) {
        uint32_t id = order[rank_at(r, roll(d) * r->sum[r->n_expert - 1])];
        if (!is_among(ids, n, id))
            return id;
    }
    return draw_left(r, order, d, ids, n);
}

void routing_fill(const routing *r, uint32_t first, uint32_t n_row, uint32_t *ids) {
    const size_t row = (size_t)r->n_layer * r->n_used;
    for (uint32_t i = 0; i < n_row; i++, ids += row) {
        const uint32_t position = first + i;
        if (r->trace.n_row) {
            memcpy(ids, r->trace.ids + position % r->trace.n_row * row, row * sizeof *ids);
            continue;
        }
        for (uint32_t l = 0; l < r->n_layer; l++) {
            uint32_t *set = ids + (size_t)l * r->n_used;
            dice d = dice_for(r, 2, l, position);
            for (uint32_t k = 0; k < r->n_used; k++)
                set[k] = draw(r, l, &d, set, k);
        }
    }
}
