/* host/sweep.h: throughput by depth: what the parts of the sweep share.
 *
 * A *column* is (model, plugin, device, cache type, precision); a child process owns it, loads the model once
 * and walks the depths upwards on one cache. A *cell* is a column at one depth in one phase. The parent alone
 * writes the journal; a child that dies costs one cell. Parent and child talk in JSON lines: child to parent
 * on file descriptor 3, parent to child once on standard input.
 *
 *   child   {"msg":"column", "key", "model_key", "model", "plugin", "device", "simulated"}
 *   parent  {"cells":[{"phase","depth"}...], "reference": row or null, "drift":[phase...], "bias":[phase...]}
 *   child   {"msg":"begin", "phase", "depth"}  {"msg":"progress", "units"}*  {"msg":"cell", ... row members}
 *   child   {"msg":"reference", ...}  instead of cells: the prefix that others are checked against
 *   child   {"msg":"peaks", ...}  instead of all that: what the device does at best
 *   child   {"msg":"bias", "phase", "depth", ...}  real against synthetic fill, before the cells
 *   child   {"msg":"drift", "phase", "depth":0, ...}  depth 0 once more, after the last cell
 *   child   {"msg":"late", "cells", "error"}  the prefix is another than before these cells
 *   child   {"msg":"end"}
 */
#ifndef TANDEM_HOST_SWEEP_H
#define TANDEM_HOST_SWEEP_H

#include "cli.h"
#include "journal.h"
#include "progress.h"
#include "stats.h"

#define SWEEP_MAX_DEPTHS OPTION_MAX_TEXTS
#define SWEEP_MAX_PHASES 3u
#define SWEEP_MESSAGE_FD 3
#define SWEEP_WATCH_FD 4 /* plugin_watch.h: the call that the child is in */

/* Decode with the head; prompt processing without; decode without the head, to compare with prefill. */
enum { PHASE_DECODE, PHASE_PREFILL, PHASE_DECODE_NO_HEAD };

typedef struct sweep_options {
    common_options common;
    model_options shape; /* of presets; its model is set per column */
    option_texts models, plugins, devices, kvs, precisions, depth_texts, phase_texts, batches, experts;
    uint32_t depth[SWEEP_MAX_DEPTHS], n_depth; /* ascending, no duplicates */
    uint32_t phase[SWEEP_MAX_PHASES], n_phase;
    const char *fill;    /* real, synthetic */
    uint32_t n_sample;   /* decoded tokens of a round */
    uint32_t n_chunk;    /* prefill chunks of a round */
    uint32_t n_round;    /* most rounds of a cell */
    float target;        /* half of the interval, per cent of the median: reached, no further round */
    float price_kwh;     /* 0: not given */
    float peaks_seconds; /* what measuring the device's peaks may take; 0: they are not measured */
    float stamp_seconds; /* what the check of a cell may take, unless 5 % of the cell are more */
    const char *format;  /* of the results: table, markdown, csv, json */
    uint32_t timeout_s;
    const char *journal;
    bool again;
    bool images;        /* prefill of an image's tokens */
    const char *column; /* hidden: this process is a child: "cells", "reference" or "peaks" */
} sweep_options;

typedef struct sweep_cell {
    uint32_t phase, depth;
} sweep_cell;

typedef struct sweep_column {
    const char *model, *plugin, *device, *kv, *precision, *batch;
    const char *experts; /* device, host, or the share in host memory */
} sweep_column;

extern const char sweep_command[]; /* "sweep" */

const char *phase_name(uint32_t phase);
bool phase_by_name(const char *name, uint32_t *phase);

/* Runs decoded and forgotten before a measurement: the driver compiles at the first. */
#define SWEEP_WARM_RUNS 2u
/* Runs of a decode measurement: warm-up, one to lean on, samples. */
uint32_t sweep_decode_runs(const sweep_options *o);

/* Work of a cell in units of one prefilled token, for estimates. */
double sweep_units(const sweep_options *o, uint32_t phase);
/* Of depth 0 once more at the end of a column. */
double sweep_drift_units(const sweep_options *o);

/* sweep_child.c: the whole life of a child; returns its exit code. */
int sweep_child(const sweep_options *o);
/* sweep_peaks.c: a child that measures peaks. */
int sweep_child_peaks(const sweep_options *o);

/* sweep_identity.c: adds key, model_key, model, plugin and device to `j`. */
int sweep_identity(const sweep_options *o, const cli_device *device, const model_source *source, char *key,
                   size_t size, cJSON *j, tandem_message *message);

/* sweep_measure.c */
typedef struct cell_samples {
    uint32_t n, n_max;
    uint32_t n_token;             /* of each sample */
    uint64_t *device_ns, *gap_ns; /* [n]; the gap is the device's idle time before the run, decode only */
    uint64_t wall_ns;             /* of all runs together, rolling back not included */
    uint32_t wall_tokens;         /* tokens in that time */
    uint64_t other_cpu_ns;        /* of this process's other threads in that time */
    uint32_t n_wait;              /* runs waited for with nothing queued behind them */
    uint8_t *mark;                /* [n] SAMPLE_* */
    uint32_t n_round;
    uint32_t n_kept;     /* samples in the summary */
    stats_interval rate; /* tokens per second */
    uint64_t hash;       /* of the top-k ids of a round */
    uint32_t n_hash;     /* results that were to be equal to earlier ones */
    uint32_t n_unequal;  /* and were not */
} cell_samples;

#define SAMPLE_KEPT 0u
#define SAMPLE_THROTTLED 1u /* the card held its clocks back while it ran */
#define SAMPLE_DISTURBED 2u /* took more than three times the median */

bool sweep_samples_create(cell_samples *samples, const sweep_options *o);
void sweep_samples_free(cell_samples *samples);

typedef struct sweep_walk {
    const sweep_options *options;
    session *s;
    uint32_t n_vocab;
    void (*report)(void *user, double units); /* progress inside a cell */
    void (*round_begins)(void *user);         /* may be NULL, like the next */
    bool (*round_ends)(void *user);           /* true: the device was held back, its samples do not count */
    void *user;
} sweep_walk;

/* The cache at `depth` positions, going on from where it is; synthetic: filled anew. */
int sweep_go_to(sweep_walk *w, uint32_t depth, bool synthetic, tandem_message *message);
/* Measures rounds until the interval is as narrow as asked for, at most n_round, and rolls back to the
 * present depth. Every round runs the same tokens, so its top-k ids must be those of the round before. */
int sweep_measure(sweep_walk *w, uint32_t phase, uint32_t n_round, cell_samples *samples,
                  tandem_message *message);
uint32_t sweep_token(const sweep_walk *w, uint32_t position);

/* sweep_stamp.c: the prefix that the reference plugin is asked for once, and the comparison with it. */
#define STAMP_TOKENS 16u
#define STAMP_COLUMNS 64u

/* Runs the prefix on an empty cache and leaves it empty. Returns "top" (likeliest ids), "columns", "logits"
 * (of those columns) and "variance" of each row. The columns are those of `reference`; NULL: chosen here. */
int sweep_prefix(sweep_walk *w, const cJSON *reference, cJSON **prefix, tandem_message *message);
/* Worst row error of a prefix against another of the same columns; *n_equal: rows with the same likeliest
 * id. */
double sweep_prefix_error(const cJSON *prefix, const cJSON *reference, uint32_t *n_equal);
/* sweep_members.c: adds "kernels", the path taken: launches of each kernel. */
void sweep_add_kernels(cJSON *j, const step_cost *steps, uint32_t n);

/* What a right program's prefix may differ by from the reference's, whose own roundings cost `rounding`. */
double sweep_budget(double rounding);
/* The stamp of a column. reference: a prefix with "rounding", its own distance from the unrounded
 * reference. */
cJSON *sweep_stamp(const cJSON *prefix, const cJSON *reference);

/* sweep_notes.c: says on standard error what has changed since the journal's last cell of the same model,
 * plugin, device and settings; nothing where `key` itself has rows. */
void sweep_say_changes(const journal *j, const char *key, const cJSON *identity, const sweep_column *column,
                       const char *fill);
/* A sentence where the device has matrix units that no kernel uses, else "". */
void sweep_note_matrix(const cJSON *row, char *text, size_t size);

/* sweep_why.c: adds "clock": whether the device's times fit the host's. kind: TANDEM_DEVICE_*. */
void sweep_add_clock(const cell_samples *samples, uint32_t kind, cJSON *stamp);
/* Adds "hash": whether equal runs gave equal ids. */
void sweep_add_hash(const cell_samples *samples, cJSON *stamp);
/* Why a stamp is not ok, one sentence without a full stop; "" where nothing is wrong. */
void sweep_why(const cJSON *stamp, char *text, size_t size);

/* sweep_parent.c: runs the missing cells of a column; TANDEM_EXIT_*, or OPTIONS_GO_ON where all went well. */
typedef struct sweep_run {
    const sweep_options *options;
    journal *journal;
    progress progress;
    double units_done;
    option_texts keys;        /* of the columns seen, for the table */
    uint32_t n_unknown;       /* columns whose child ended before it said who it is */
    option_texts peaks_tried; /* keys of devices whose peaks were asked for */
} sweep_run;

int sweep_run_column(sweep_run *run, const sweep_column *column);
/* Set by Ctrl-C. */
extern volatile int sweep_interrupted;

/* sweep_table.c: the latest rows of the cells asked for, on standard output in the format asked for. Returns
 * the exit code they amount to. */
int sweep_print(const sweep_run *run);
typedef void (*sweep_row)(void *user, const cJSON *row);
/* Calls back with the latest row of every cell asked for, in the order of the sweep. */
void sweep_each_row(const sweep_run *run, sweep_row callback, void *user);
/* sweep_verdict.c: the latest drift and bias rows of the columns asked for; one of them as a sentence in
 * `file`; the verdict of the whole sweep, and its exit code. */
void sweep_each_extra(const sweep_run *run, sweep_row callback, void *user);
void sweep_print_extra(void *file, const cJSON *row);
int sweep_conclude(const sweep_run *run, FILE *file);
/* sweep_flat.c: the same rows as comma-separated values, one line a cell; "" where there is no figure. */
void sweep_print_csv(const sweep_run *run, FILE *file);

/* sweep_depths.c: "0", "4K", "1K-256K*4" (times 4), "0-32K+8K" (steps of 8K). Adds to the ascending list. */
bool sweep_add_depths(const char *text, uint32_t *depth, uint32_t *n_depth, uint32_t max_depth);

/* "COLUMN|decode|1024" */
void sweep_cell_key(const char *column_key, sweep_cell cell, char *key, size_t size);

#endif
