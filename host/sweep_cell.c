/* host/sweep_cell.c: one cell, and what stands beside the cells. */
#include <string.h>

#include "sweep_child.h"

uint32_t child_room(const sweep_options *o, uint32_t depth) {
    uint32_t runs = sweep_decode_runs(o), most = o->common.batch > runs ? o->common.batch + 1 : runs;
    return depth + (most > STAMP_TOKENS ? most : STAMP_TOKENS);
}

static bool is_synthetic(const child *c) {
    return !strcmp(c->options->fill, "synthetic");
}

/* What the check of a cell may take: 5 % of it, or --stamp-seconds where that is more. */
static uint64_t stamp_limit(const child *c, uint64_t cell_ns) {
    const double seconds = (double)c->options->stamp_seconds * 1e9, share = 0.05 * (double)cell_ns;
    return (uint64_t)(seconds > share ? seconds : share);
}

/* Device time of the cell's middle run. */
static uint64_t run_ns(const cell_samples *s) {
    return s->n ? s->device_ns[s->n / 2] : 0;
}

/* Computes a layer of each kind again, at this depth and with as many rows as the cell's runs have; then
 * times the ops, which may take as long again. */
static int probe_cell(child *c, sweep_cell cell, uint64_t cell_ns, cJSON *j, tandem_message *message) {
    uint32_t tokens[4096], n = cell.phase == PHASE_PREFILL ? session_description(c->walk.s)->batch : 1;
    const uint64_t start = now_ns();
    const probe_limits limits = {.ns = stamp_limit(c, cell_ns),
                                 .run_ns = run_ns(&c->samples),
                                 .budget = json_number(c->stamp, "budget")};
    for (uint32_t i = 0; i < n && i < 4096; i++)
        tokens[i] = sweep_token(&c->walk, cell.depth + i);
    int status = probe_run_within(&c->probe, c->walk.s, tokens, n, c->options->common.seed, &limits, message);
    c->probe_ns = now_ns() - start;
    c->probe_limit_ns = limits.ns;
    if (status || c->device.info.kind == TANDEM_DEVICE_SIMULATED)
        return status;
    uint32_t n_run = 0;
    status = sweep_profile(c->walk.s, tokens, n, cell.phase == PHASE_DECODE, limits.ns,
                           cJSON_AddArrayToObject(j, "profile"), &n_run, message);
    cJSON_AddNumberToObject(j, "profile_runs", n_run);
    return status;
}

int child_run_cell(child *c, sweep_cell cell, tandem_message *message) {
    child_send(child_cell_message("begin", cell));
    const cpu_ticks ticks = machine_ticks();
    uint64_t start = now_ns();
    int status = sweep_go_to(&c->walk, cell.depth, is_synthetic(c), message);
    uint64_t walked = now_ns();
    card_start(c->card);
    if (!status)
        status = sweep_measure(&c->walk, cell.phase, c->options->n_round, &c->samples, message);
    cJSON *j = child_cell_message("cell", cell);
    if (!status)
        status = probe_cell(c, cell, now_ns() - start, j, message);
    if (!status)
        status = child_add_memory(c, j, cell.depth, message);
    if (!status)
        status = child_add_cost(c, j, cell.phase, message);
    if (status) {
        cJSON_Delete(j);
        return status;
    }
    cJSON_AddStringToObject(j, "status", "done");
    cJSON_AddBoolToObject(j, "head", cell.phase == PHASE_DECODE);
    cJSON_AddNumberToObject(j, "walk_ns", (double)(walked - start));
    child_add_samples(c, j, cell.phase);
    child_add_stamp(c, j);
    child_add_surroundings(c, j, ticks);
    child_send(j);
    return TANDEM_OK;
}

/* ---- beside the cells ---- */

/* What the column does at depth 0 after all the others. */
int child_measure_drift(child *c, tandem_message *message) {
    int status = c->n_drift ? session_truncate(c->walk.s, 0, message) : TANDEM_OK;
    for (uint32_t i = 0; i < c->n_drift && !status; i++) {
        status = sweep_measure(&c->walk, c->drift[i], c->options->n_round, &c->samples, message);
        if (status)
            return status;
        cJSON *j = child_cell_message("drift", (sweep_cell){.phase = c->drift[i]});
        child_add_samples(c, j, c->drift[i]);
        child_send(j);
    }
    return status;
}

/* Speed after a synthetic fill against speed after a real one, at a depth where the real one is cheap. */
#define BIAS_DEPTH 256u

static int measure_filled(child *c, uint32_t phase, uint32_t depth, bool synthetic, tandem_message *message) {
    int status = session_truncate(c->walk.s, 0, message);
    if (!status)
        status = sweep_go_to(&c->walk, depth, synthetic, message);
    return status ? status : sweep_measure(&c->walk, phase, c->options->n_round, &c->samples, message);
}

int child_measure_bias(child *c, tandem_message *message) {
    const uint32_t most = c->cells[c->n_cell - 1].depth, depth = most < BIAS_DEPTH ? most : BIAS_DEPTH;
    int status = TANDEM_OK;
    void (*const report)(void *, double) = c->walk.report;
    c->walk.report = NULL; /* no part of the cells' progress */
    for (uint32_t i = 0; i < c->n_bias && depth && !status; i++) {
        cJSON *j = child_cell_message("bias", (sweep_cell){.phase = c->bias[i], .depth = depth});
        for (int synthetic = 0; synthetic < 2 && !status; synthetic++) {
            status = measure_filled(c, c->bias[i], depth, synthetic, message);
            if (!status)
                child_add_samples(c, cJSON_AddObjectToObject(j, synthetic ? "synthetic" : "real"),
                                  c->bias[i]);
        }
        if (status)
            cJSON_Delete(j);
        else
            child_send(j);
    }
    c->walk.report = report;
    return status ? status : session_truncate(c->walk.s, 0, message);
}
