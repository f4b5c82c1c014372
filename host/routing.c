/* host/routing.c: seeded choices of experts. */
#include "routing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define GOLDEN 0x9e3779b97f4a7c15u
#define MOST_ZIPF 10.0

enum { HOW_UNIFORM, HOW_ZIPF, HOW_TRACE };

struct routing {
    uint32_t how;
    uint32_t n_layer, n_expert, n_used;
    uint64_t seed;
    double *share;   /* zipf: [n_expert] relative probability by rank */
    uint32_t *order; /* [n_layer][n_expert] zipf: expert of each rank; uniform: any order */
    routing_trace trace;
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

static int make_orders(routing *r, tandem_message *message) {
    r->share = malloc(r->n_expert * sizeof *r->share);
    r->order = malloc((size_t)r->n_layer * r->n_expert * sizeof *r->order);
    if (!r->share || !r->order)
        return message_out_of_memory(message, "orders of experts",
                                     (uint64_t)r->n_layer * r->n_expert * sizeof *r->order);
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
    r->how = HOW_UNIFORM;
    snprintf(r->name, sizeof r->name, "uniform@%llu", (unsigned long long)r->seed);
    return make_orders(r, message);
}

/* exponent: what follows "zipf:", or NULL. */
static int start_zipf(routing *r, const char *exponent, tandem_message *message) {
    char *end = NULL;
    double s = exponent ? strtod(exponent, &end) : 1;
    r->how = HOW_ZIPF;
    if (exponent && (end == exponent || *end || !(s >= 0 && s <= MOST_ZIPF)))
        return message_fail(message, TANDEM_E_INVALID, "'%s' is no exponent of Zipf's law from 0 to %g",
                            exponent, MOST_ZIPF);
    snprintf(r->name, sizeof r->name, "zipf:%g@%llu", s, (unsigned long long)r->seed);
    int status = make_orders(r, message);
    for (uint32_t i = 0; i < r->n_expert && !status; i++)
        r->share[i] = pow(i + 1.0, -s);
    return status;
}

static int start_trace(routing *r, const char *path, const model_config *c, tandem_message *message) {
    r->how = HOW_TRACE;
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
    free(r->share);
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

/* The expert at a place among those that are not chosen yet, in the layer's order. */
static uint32_t expert_at(const routing *r, uint32_t layer, uint32_t place, const uint32_t *ids, uint32_t n) {
    const uint32_t *order = r->order + (size_t)layer * r->n_expert;
    for (uint32_t i = 0;; i++)
        if (!is_among(ids, n, order[i]) && place-- == 0)
            return order[i];
}

/* Draws from the shares of those that are left: n_used draws without putting back. */
static uint32_t draw_zipf(const routing *r, uint32_t layer, dice *d, const uint32_t *ids, uint32_t n) {
    const uint32_t *order = r->order + (size_t)layer * r->n_expert;
    double total = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < r->n_expert; i++)
        if (!is_among(ids, n, order[i]))
            total += r->share[i];
    double target = roll(d) * total;
    for (uint32_t i = 0; i < r->n_expert; i++) {
        if (is_among(ids, n, order[i]))
            continue;
        last = order[i];
        target -= r->share[i];
        if (target < 0)
            break;
    }
    return last;
}

void routing_fill(const routing *r, uint32_t first, uint32_t n_row, uint32_t *ids) {
    const size_t row = (size_t)r->n_layer * r->n_used;
    for (uint32_t i = 0; i < n_row; i++, ids += row) {
        const uint32_t position = first + i;
        if (r->how == HOW_TRACE) {
            memcpy(ids, r->trace.ids + position % r->trace.n_row * row, row * sizeof *ids);
            continue;
        }
        for (uint32_t l = 0; l < r->n_layer; l++) {
            uint32_t *set = ids + (size_t)l * r->n_used;
            dice d = dice_for(r, 2, l, position);
            for (uint32_t k = 0; k < r->n_used; k++)
                set[k] = r->how == HOW_ZIPF ? draw_zipf(r, l, &d, set, k)
                                            : expert_at(r, l, roll_below(&d, r->n_expert - k), set, k);
        }
    }
}
