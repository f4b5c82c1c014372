/* host/sweep_column.h: what the parent knows of the column under way, and its rows. */
#ifndef TANDEM_HOST_SWEEP_COLUMN_H
#define TANDEM_HOST_SWEEP_COLUMN_H

#include "sweep.h"
#include "sweep_process.h"

#define MAX_CELLS (SWEEP_MAX_DEPTHS * SWEEP_MAX_PHASES)

/* What the parent knows of the column under way. */
typedef struct column_state {
    sweep_run *run;
    const sweep_column *column;
    char key[512], model_key[64];
    cJSON *identity; /* model, plugin, device of every row */
    bool known;
    uint32_t n_left;
    sweep_cell left[MAX_CELLS];
    bool in_cell;
    sweep_cell cell;
    uint64_t cell_start_ns;
    uint32_t n_answered; /* cells that this child has answered */
    cJSON *reference;
    const char *asked; /* of a child that answers one question: the kind of its answer */
    cJSON *answer;
} column_state;

/* sweep_parent.c: listens until the child's pipe closes, it runs out of time, the journal fails, or Ctrl-C.
 */
int column_listen(column_state *c, child_process *child, bool *timed_out, tandem_message *message);

/* sweep_asks.c: the prefix of (model, cache, precision) by the reference plugin, into c->reference; and the
 * peaks of the device, into the journal. What cannot be had is said on standard error. */
int column_ask_reference(column_state *c, tandem_message *message);
int column_ask_peaks(column_state *c, tandem_message *message);

/* Completes a row (owned from here on) with the column's identity, and journals it. */
int column_row(column_state *c, const char *kind, sweep_cell cell, cJSON *row, tandem_message *message);
/* The same for a cell, which is then answered. */
int column_cell(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message);
/* Depth 0 at the end against the cell that the journal has of it. */
int column_drift(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message);
/* The column's results have changed by `error` since its cells were measured: writes the rows of `cells` once
 * more, as wrong. */
int column_distrust(column_state *c, const cJSON *cells, double error, tandem_message *message);
int column_bias(column_state *c, sweep_cell cell, cJSON *row, tandem_message *message);
cJSON *column_new_row(sweep_cell cell, const char *status, const char *reason);
/* After a cell ran out of memory or time, deeper cells of its phase would too. */
int column_skip_deeper(column_state *c, sweep_cell cell, const char *status, tandem_message *message);

#endif
