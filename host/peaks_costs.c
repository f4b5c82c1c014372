/* host/peaks_costs.c: what a launch, a wait between launches and a run cost. */
#include <stdlib.h>
#include <string.h>

#include "peaks_rig.h"
#include "plugin_call.h"
#include "plugin_error.h"
#include "progress.h"

#define WIDTH 64u /* elements of an addition: nothing to do */
#define ROW_BYTES (WIDTH * 4u)
#define SHORT_CHAIN 8u
#define LONG_CHAIN 72u
#define MOST_PAIRS 200u
#define PENDING 4u /* every plugin takes that many runs */
#define BATCH 48u  /* runs of a batch; their tickets are still known */

/* Buffers: 0 summand a, 1 summand b (all ones), 2 results. */
static int make_buffers(rig *r, tandem_message *message) {
    float ones[WIDTH];
    for (uint32_t i = 0; i < WIDTH; i++)
        ones[i] = 1;
    rig_clear(r);
    int status = rig_buffer(r, ROW_BYTES, NULL, 0, message);
    if (!status)
        status = rig_buffer(r, ROW_BYTES, ones, ROW_BYTES, message);
    return status ? status : rig_buffer(r, LONG_CHAIN * ROW_BYTES, NULL, 0, message);
}

/* n additions of b: each on the one before (a = a + b), or all side by side (out i = a + b). */
static int make_chain(rig *r, uint32_t n, bool dependent, tandem_message *message) {
    tandem_op_elementwise add[LONG_CHAIN];
    const tandem_op *ops[LONG_CHAIN];
    for (uint32_t i = 0; i < n; i++) {
        add[i] = (tandem_op_elementwise){
            .head = {.struct_size = sizeof add[i], .kind = TANDEM_OP_ADD}, .n = WIDTH, .scale = 1};
        add[i].a = (tandem_view){.buffer = r->buffer[0], .stride = ROW_BYTES};
        add[i].b = (tandem_view){.buffer = r->buffer[1], .stride = ROW_BYTES};
        add[i].out = dependent ? add[i].a
                               : (tandem_view){.buffer = r->buffer[2],
                                               .offset = (uint64_t)i * ROW_BYTES,
                                               .stride = ROW_BYTES};
        ops[i] = &add[i].head;
    }
    return rig_program(r, ops, n, 1, TANDEM_PRECISION_EXACT, message);
}

/* Additions so far: a counted them (dependent), or each result is 1. */
static int check_chain(rig *r, bool dependent, uint32_t n_added, tandem_message *message) {
    float row[WIDTH];
    int status =
        rig_read(r, dependent ? 0 : 2, dependent ? 0 : (LONG_CHAIN - 1) * ROW_BYTES, row, ROW_BYTES, message);
    for (uint32_t i = 0; i < WIDTH && !status; i++)
        if (row[i] != (dependent ? (float)n_added : 1.0f))
            status =
                message_fail(message, TANDEM_E_INTERNAL, "A chain of additions came out wrong: no peaks.");
    return status;
}

/* Both chains in turns; the slope is the cost of one launch. */
static int measure_slope(rig *r, double seconds, bool dependent, peak_cost *cost, tandem_message *message) {
    const uint64_t room = (uint64_t)(seconds * 1e9);
    uint32_t steps[2], launches[2], n = 0, n_added = 0;
    double slope[MOST_PAIRS];
    int status = make_buffers(r, message);
    if (!status)
        status = make_chain(r, SHORT_CHAIN, dependent, message);
    if (!status)
        status = make_chain(r, LONG_CHAIN, dependent, message);
    for (uint32_t i = 0; i < 2 && !status; i++)
        status = rig_steps(r, i, &steps[i], &launches[i], NULL, message);
    if (status)
        return status;
    const uint32_t more = dependent ? steps[1] - steps[0] : launches[1] - launches[0];
    const uint64_t start = now_ns();
    for (uint32_t i = 0; n < MOST_PAIRS && !status && (n < STATS_LEAST || now_ns() - start < room); i++) {
        uint64_t ns[2];
        status = rig_run(r, 0, 1, &ns[0], message);
        if (!status)
            status = rig_run(r, 1, 1, &ns[1], message);
        n_added += SHORT_CHAIN + LONG_CHAIN;
        if (i > 0 && !status && more) /* the first pair warms up */
            slope[n++] = ((double)ns[1] - (double)ns[0]) / more;
        if (!more && i > STATS_LEAST)
            break;
    }
    if (!status)
        status = check_chain(r, dependent, n_added, message);
    if (!status && n) {
        cost->ns = stats_bootstrap(slope, n, r->desc->seed);
        cost->n = n;
        if (!(cost->ns.median > 0))
            *cost = (peak_cost){.n = n};
    }
    return status;
}

int peaks_chains(rig *r, double seconds, peak_cost *dispatch, peak_cost *step, tandem_message *message) {
    int status = measure_slope(r, seconds / 2, false, dispatch, message);
    if (!status)
        status = measure_slope(r, seconds / 2, true, step, message);
    rig_clear(r);
    return status;
}

/* ---- runs ---- */

static int collect(rig *r, tandem_ticket ticket, double *gap, tandem_message *message) {
    tandem_times times = {.struct_size = sizeof times};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_wait(r->backend, r->context, ticket, 60u * UINT64_C(1000000000), &error);
    if (!status)
        status = plugin_times(r->backend, r->context, ticket, &times, &error);
    *gap = (double)times.gap_ns;
    return status ? message_plugin(message, status, &error, "run") : TANDEM_OK;
}

/* A batch of runs, as many queued as may be: wall time of one, and the median gap. */
static int run_batch(rig *r, double *wall, double *gap, tandem_message *message) {
    static const uint32_t token;
    tandem_ticket tickets[BATCH];
    double gaps[BATCH], first;
    tandem_run run = {.struct_size = sizeof run, .n_rows = 1, .tokens = &token};
    tandem_error error = TANDEM_ERROR_INIT;
    int status = TANDEM_OK;
    uint32_t n_queued = 0;
    const uint64_t start = now_ns();
    for (uint32_t i = 0; i < BATCH && !status; i++) {
        while (n_queued < BATCH && n_queued - i < PENDING && !status) {
            tandem_status refused = plugin_run(r->backend, r->program[0], &run, &tickets[n_queued], &error);
            if (refused)
                status = message_plugin(message, refused, &error, "run");
            n_queued++;
        }
        if (!status)
            status = collect(r, tickets[i], i ? &gaps[i - 1] : &first, message);
    }
    *wall = (double)(now_ns() - start) / BATCH;
    *gap = status ? 0 : stats_median(gaps, BATCH - 1);
    return status;
}

int peaks_submit(rig *r, double seconds, peak_cost *submit, peak_cost *gap, tandem_message *message) {
    const uint64_t room = (uint64_t)(seconds * 1e9);
    double walls[MOST_PAIRS], gaps[MOST_PAIRS], unused[2];
    uint32_t n = 0;
    int status = make_buffers(r, message);
    if (!status)
        status = make_chain(r, 1, true, message);
    if (!status)
        status = run_batch(r, &unused[0], &unused[1], message);
    const uint64_t start = now_ns();
    while (!status && n < MOST_PAIRS && (n < STATS_LEAST || now_ns() - start < room)) {
        status = run_batch(r, &walls[n], &gaps[n], message);
        n++;
    }
    if (!status)
        status = check_chain(r, true, (n + 1) * BATCH, message);
    rig_clear(r);
    if (status)
        return status;
    *submit = (peak_cost){.ns = stats_bootstrap(walls, n, r->desc->seed), .n = n};
    *gap = (peak_cost){.ns = stats_bootstrap(gaps, n, r->desc->seed), .n = n};
    return TANDEM_OK;
}
