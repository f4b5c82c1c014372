/* host/compare_json.c: a comparison as a row (bench/SCHEMA.md). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

static void add_interval(cJSON *j, const char *name, stats_interval x) {
    cJSON *r = cJSON_AddObjectToObject(j, name);
    cJSON_AddNumberToObject(r, "median", x.median);
    if (!isnan(x.low)) {
        cJSON_AddNumberToObject(r, "low", x.low);
        cJSON_AddNumberToObject(r, "high", x.high);
    }
}

static void add_blocks(cJSON *j, const char *name, const stats_block *blocks, uint32_t n) {
    cJSON *list = cJSON_AddArrayToObject(j, name);
    for (uint32_t i = 0; i < n; i++) {
        const double ns[4] = {blocks[i].a1, blocks[i].b1, blocks[i].b2, blocks[i].a2};
        cJSON_AddItemToArray(list, cJSON_CreateDoubleArray(ns, 4));
    }
}

static void add_doubts(cJSON *list, const compare_doubts *doubts) {
    for (uint32_t i = 0; i < doubts->n; i++) {
        cJSON *d = cJSON_CreateObject();
        cJSON_AddStringToObject(d, "guard", doubts->item[i].guard);
        cJSON_AddStringToObject(d, "reason", doubts->item[i].text);
        cJSON_AddItemToArray(list, d);
    }
}

static void add_ops(const compare *c, cJSON *j, const compare_cell *cell) {
    static const char *const sides[] = {"a", "b"};
    compare_op *ops;
    const uint32_t n = compare_ops(c, cell, &ops);
    cJSON *list = n ? cJSON_AddArrayToObject(j, "ops") : NULL;
    for (uint32_t i = 0; i < n; i++) {
        cJSON *op = cJSON_CreateObject();
        cJSON_AddStringToObject(op, "op", ops[i].name);
        for (uint32_t side = 0; side < N_SIDE; side++) {
            cJSON *s = cJSON_AddObjectToObject(op, sides[side]);
            cJSON_AddNumberToObject(s, "ns", ops[i].ns[side]);
            if (ops[i].bytes[side] > 0)
                cJSON_AddNumberToObject(s, "bytes", ops[i].bytes[side]);
            if (ops[i].roof_ns[side] > 0 && ops[i].ns[side] > 0)
                cJSON_AddNumberToObject(s, "peak_share", ops[i].roof_ns[side] / ops[i].ns[side]);
        }
        cJSON_AddItemToArray(list, op);
    }
    free(ops);
}

/* What the samples say; nothing where nothing may be said. */
static void add_statistics(const compare *c, cJSON *j, const compare_cell *cell) {
    char text[500];
    add_interval(j, "ratio", cell->stats.ratio);
    add_interval(j, "self_ratio", cell->stats.self);
    cJSON_AddNumberToObject(j, "noise_floor", cell->stats.floor);
    cJSON_AddNumberToObject(j, "smallest", cell->stats.smallest);
    add_ops(c, j, cell);
    compare_sentence(c, cell, text, sizeof text);
    if (text[0])
        cJSON_AddStringToObject(j, "explanation", text);
}

static void add_tally(const compare *c, cJSON *side, const compare_cell *cell, uint32_t index) {
    const compare_tally *t = &cell->side[index];
    if (t->n_hash) {
        char text[24];
        snprintf(text, sizeof text, "%016llx", (unsigned long long)t->hash);
        cJSON *hash = cJSON_AddObjectToObject(side, "hash");
        cJSON_AddStringToObject(hash, "top_k", text);
        cJSON_AddNumberToObject(hash, "n", t->n_hash);
        cJSON_AddNumberToObject(hash, "unequal", t->n_unequal);
    }
    if (t->probe.n_result)
        cJSON_AddItemToObject(side, "probe", probe_json(&t->probe));
    if (t->path)
        cJSON_AddItemToObject(side, "kernels",
                              cJSON_Duplicate(cJSON_GetObjectItem(t->path, "kernels"), true));
    if (!t->n_turn || c->simulated)
        return;
    cJSON_AddNumberToObject(side, "device_ns", t->device_ns);
    cJSON_AddNumberToObject(side, "gap_ns", t->gap_ns);
    cJSON_AddNumberToObject(side, "counted_ns", t->sum_all);
    cJSON_AddNumberToObject(side, "wall_ns", t->sum_wall);
    cJSON_AddNumberToObject(side, "other_cpu_ns", t->sum_other_cpu);
}

/* Plugin, device and checks of one side; what names the model goes to the row. */
static int add_side(const compare *c, cJSON *row, const compare_cell *cell, uint32_t index, char *key,
                    size_t size, tandem_message *message) {
    const compare_side *s = &c->side[index];
    cJSON *identity = cJSON_CreateObject(), *side = cJSON_AddObjectToObject(row, index == SIDE_A ? "a" : "b");
    int status = sweep_identity(&c->sweep, &s->device, c->source, key, size, identity, message);
    cJSON_AddItemToObject(side, "plugin", cJSON_DetachItemFromObject(identity, "plugin"));
    cJSON_AddItemToObject(side, "device", cJSON_DetachItemFromObject(identity, "device"));
    if (index == SIDE_A)
        cJSON_AddItemToObject(row, "model", cJSON_DetachItemFromObject(identity, "model"));
    cJSON_Delete(identity);
    if (s->stamp)
        cJSON_AddItemToObject(side, "stamp", cJSON_Duplicate(s->stamp, true));
    add_tally(c, side, cell, index);
    cJSON *figures = c->simulated ? NULL : card_json(c->card[index]);
    if (figures)
        cJSON_AddItemToObject(side, "card", figures);
    return status;
}

cJSON *compare_json(const compare *c, const compare_cell *cell) {
    tandem_message message;
    char keys[N_SIDE][512] = {"", ""}, key[1100];
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "row", "compare");
    for (uint32_t i = 0; i < N_SIDE; i++)
        if (add_side(c, j, cell, i, keys[i], sizeof keys[i], &message)) {
            cJSON_Delete(j);
            return NULL;
        }
    snprintf(key, sizeof key, "%s||%s|%s|%u", keys[SIDE_A], keys[SIDE_B], phase_name(cell->phase),
             cell->depth);
    cJSON_AddStringToObject(j, "key", key);
    cJSON_AddStringToObject(j, "phase", phase_name(cell->phase));
    cJSON_AddNumberToObject(j, "depth", cell->depth);
    cJSON_AddStringToObject(j, "fill", c->options->fill);
    cJSON_AddStringToObject(j, "kv", c->sweep.common.kv);
    cJSON_AddStringToObject(j, "precision", c->sweep.common.precision);
    cJSON_AddNumberToObject(j, "batch", c->sweep.common.batch);
    cJSON_AddBoolToObject(j, "same_device", c->same_card);
    cJSON_AddBoolToObject(j, "swapped", c->swapped);
    cJSON_AddBoolToObject(j, "timed", !c->simulated);
    cJSON_AddStringToObject(j, "verdict", cell->verdict);
    cJSON *reasons = cJSON_AddArrayToObject(j, "reasons");
    add_doubts(reasons, &c->doubts);
    add_doubts(reasons, &cell->doubts);
    if (!isnan(c->arms_error))
        cJSON_AddNumberToObject(j, "prefix_error", c->arms_error);
    if (!isnan(cell->depth_error))
        cJSON_AddNumberToObject(j, "depth_error", cell->depth_error);
    if (cell->n_throttled)
        cJSON_AddNumberToObject(j, "n_throttled", cell->n_throttled);
    if (cell->n_block) {
        cJSON_AddNumberToObject(j, "n_token", cell->n_token);
        cJSON_AddBoolToObject(j, "out_of_time", cell->out_of_time);
        cJSON_AddNumberToObject(j, "n_renewed", cell->n_renewed);
        add_blocks(j, "pairs", cell->pairs, cell->n_block);
        add_blocks(j, "self", cell->self, cell->n_block);
    }
    if (strcmp(cell->verdict, stats_verdict_name(STATS_NOT_COMPARABLE)) && cell->n_block)
        add_statistics(c, j, cell);
    return j;
}
