/* host/sweep_child.h: what the parts of a column's process share.
 *
 * sweep_child.c: its life; sweep_cell.c: a cell, drift, bias; sweep_members.c: what a row says;
 * sweep_message.c: lines to the parent.
 */
#ifndef TANDEM_HOST_SWEEP_CHILD_H
#define TANDEM_HOST_SWEEP_CHILD_H

#include "card.h"
#include "sweep.h"
#include "sweep_probe.h"

#define MAX_CELLS (SWEEP_MAX_DEPTHS * SWEEP_MAX_PHASES)

typedef struct child {
    const sweep_options *options;
    cli_device device;
    model_source *source;
    char key[512];
    uint32_t n_cell, first;      /* the first that is not answered */
    sweep_cell cells[MAX_CELLS]; /* ascending depth */
    uint32_t n_drift, drift[SWEEP_MAX_PHASES];
    uint32_t n_bias, bias[SWEEP_MAX_PHASES];
    cJSON *reference;      /* row, or NULL */
    cJSON *stamp, *prefix; /* prefix: what the stamp was made from, or NULL */
    sweep_walk walk;
    cell_samples samples;
    probe probe;             /* of the cell under way */
    uint64_t probe_ns;       /* what it took */
    uint64_t probe_limit_ns; /* what it could have taken */
    card *card;              /* NULL: no figures of one */
} child;

/* ---- sweep_message.c ---- */

/* Writes and frees. A parent that is gone ends the child. */
void child_send(cJSON *message);
cJSON *child_message(const char *kind);
cJSON *child_cell_message(const char *kind, sweep_cell cell);
void child_refuse(sweep_cell cell, tandem_status status, const char *reason);

/* ---- sweep_members.c: members of a row ---- */

int child_add_memory(child *c, cJSON *j, uint32_t depth, tandem_message *message);
/* Bytes that one run of the cell must move, by the plugin's own account, and the kernels that move them. */
int child_add_cost(child *c, cJSON *j, uint32_t phase, tandem_message *message);
/* Samples and their summary. */
void child_add_samples(const child *c, cJSON *j, uint32_t phase);
/* The column's stamp, and what this cell adds to it. */
void child_add_stamp(const child *c, cJSON *j);
/* Card, machine, and what a token costs. */
void child_add_surroundings(const child *c, cJSON *j, cpu_ticks before);

/* ---- sweep_cell.c ---- */

/* Positions that a cell at `depth` needs. */
uint32_t child_room(const sweep_options *o, uint32_t depth);
int child_run_cell(child *c, sweep_cell cell, tandem_message *message);
/* Depth 0 once more, for the phases of c->drift. */
int child_measure_drift(child *c, tandem_message *message);
/* Synthetic against real fill, for the phases of c->bias. */
int child_measure_bias(child *c, tandem_message *message);

#endif
