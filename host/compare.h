/* host/compare.h: two plugins, one model, one process: is B faster than A, by how much, and why?
 *
 * A *side* is a plugin on a device with a session of its own; both sides run the same tokens behind the same
 * depth, with the same cache type, precision, chunk and (imposed) experts. A *turn* is one side's
 * measurement: two warm runs that are forgotten, then runs kept queued ahead of the device, each costing its
 * device time and the device's idle time before it; the turn's value is the median over all but the first.
 * Four turns are a *block* (stats.h): A B B A and B A A B in turn, and after each a block of one side alone
 * (A, B in turn), divided in the same way, so that the noise floor is measured beside what it is the floor of
 * and both sides work alike. Where both models do not fit, only the side whose turn it is is resident
 * (`swapped`); loading and walking to the depth are in no turn.
 *
 * Two sessions of one plugin are not equally fast either: where threads and memory happen to lie decides (on
 * a busy machine by a factor of 1.7 for minutes). So both are made anew every few blocks, where that takes no
 * longer than the blocks did.
 *
 * Every promise of equality has a guard; one that finds a breach turns the verdict into `not comparable` with
 * a sentence. On a simulated device nothing is timed: outputs are compared, and that is all.
 *
 * Threads: one caller.
 */
#ifndef TANDEM_HOST_COMPARE_H
#define TANDEM_HOST_COMPARE_H

#include "card.h"
#include "sweep.h"
#include "sweep_probe.h"

extern const char compare_command[]; /* "compare" */

enum { SIDE_A, SIDE_B, N_SIDE };

#define COMPARE_MOST_BLOCKS 256u
#define COMPARE_PROFILES 5u    /* profiled runs whose medians explain the difference */
#define COMPARE_MOST_RUNS 256u /* of a turn */

typedef struct compare_options {
    common_options common;
    model_options shape;
    const char *plugin[N_SIDE], *device[N_SIDE];
    option_texts depth_texts, phase_texts;
    uint32_t depth[SWEEP_MAX_DEPTHS], n_depth; /* ascending, no duplicates */
    uint32_t phase[SWEEP_MAX_PHASES], n_phase; /* PHASE_DECODE, PHASE_PREFILL */
    const char *fill;                          /* real, synthetic */
    uint32_t n_block;                          /* of each kind, even */
    uint32_t n_run, n_chunk;                   /* measured runs of a turn: tokens, prefill chunks */
    uint32_t max_seconds;                      /* for the blocks of one cell */
    bool swap;                                 /* one side resident at a time, also where both fit */
    const char *peaks;                         /* file with rows of `tandem peaks`, or NULL */
    const char *journal;                       /* rows are added to it; or NULL */
} compare_options;

/* ---- doubts: why two sides cannot be compared ---- */

#define COMPARE_MOST_DOUBTS 12u

/* guard: "outputs", "precision", "fallback", "clock", "hash", "unsupported", "reference", "blocks",
 * "throttled" */
typedef struct compare_doubt {
    const char *guard;
    char text[320]; /* one sentence */
} compare_doubt;

typedef struct compare_doubts {
    uint32_t n;
    compare_doubt item[COMPARE_MOST_DOUBTS]; /* what is beyond them is not kept */
} compare_doubts;

void compare_add_doubt(compare_doubts *doubts, const char *guard, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- sides ---- */

typedef struct compare_side {
    cli_device device;
    const char *name;          /* of the plugin */
    char label[80];            /* "vulkan (B)" */
    session *s;                /* NULL: not resident */
    uint64_t load_ns, walk_ns; /* what it took to make the session, and to get its cache to where it is */
    cJSON *prefix;             /* as in sweep_stamp.c */
    cJSON *stamp;
} compare_side;

/* Measured by `tandem peaks`, a second; 0: unknown. */
typedef struct compare_peak {
    double read_bytes;
    double flops;      /* of products at the comparison's precision */
    double best_flops; /* of any products: attention may use whatever units there are */
} compare_peak;

typedef struct compare {
    const compare_options *options;
    sweep_options sweep; /* what the parts shared with the sweep read: seed, cache type, precision */
    model_source *source;
    uint32_t n_vocab;
    compare_side side[N_SIDE];
    bool same_card;     /* one UUID */
    card *card[N_SIDE]; /* NULL: no figures of one; B's also where it is A's */
    bool swapped;
    bool simulated;    /* either: nothing is timed */
    bool software;     /* either */
    cJSON *reference;  /* the reference plugin's prefix, with "rounding" */
    double arms_error; /* of B's prefix against A's; NaN: unknown */
    compare_peak peak[N_SIDE];
    compare_doubts doubts; /* that concern every cell */
} compare;

/* compare_arms.c: opens model, plugins and a pair of devices; an exit code, or OPTIONS_GO_ON. */
int compare_open(compare *c, const compare_options *options);
void compare_close(compare *c);
/* Makes the side resident, in swapped mode instead of the other one. The session has walked nowhere if it is
 * new. Loads both sides where that is possible. */
int compare_reside(compare *c, uint32_t side, tandem_message *message);
/* The side resident with its cache at `depth`. */
int compare_go_to(compare *c, uint32_t side, uint32_t depth, tandem_message *message);
/* Destroys both sessions: the next use of a side makes a new one. */
void compare_leave(compare *c);
sweep_walk compare_walk(compare *c, uint32_t side);
/* Bit set of devices' kinds in words: "software", "simulated" or "". */
const char *compare_device_note(const compare *c);

/* ---- cells ---- */

/* What one side did in a cell. */
typedef struct compare_tally {
    uint32_t n_turn;
    double turn_ns[8 * COMPARE_MOST_BLOCKS]; /* value of each turn */
    double device_ns, gap_ns;                /* medians over turns of the parts of a run */
    double turn_device[8 * COMPARE_MOST_BLOCKS], turn_gap[8 * COMPARE_MOST_BLOCKS];
    /* Of all turns, ns: device and idle time of their runs, the wall time of these, and processor time of
     * other threads meanwhile. */
    double sum_all, sum_wall, sum_other_cpu;
    uint64_t hash; /* of the top-k ids of a turn */
    uint32_t n_hash, n_unequal;
    float *logits; /* [n_vocab] behind the first turn's tokens */
    probe probe;
    cJSON *profile; /* [{"op","n","ns","bytes"}], medians; empty: the plugin has none */
    cJSON *path;    /* {"kernels"} of a run */
} compare_tally;

typedef struct compare_cell {
    uint32_t phase, depth;
    uint32_t n_token; /* of a run */
    compare_tally side[N_SIDE];
    stats_block pairs[COMPARE_MOST_BLOCKS], self[COMPARE_MOST_BLOCKS];
    uint32_t n_block;     /* of each kind */
    bool out_of_time;     /* fewer than asked for */
    uint32_t n_throttled; /* blocks during which a card held its clocks back: measured again */
    uint32_t n_renewed;   /* times that both sessions were made anew between blocks */
    double depth_error;   /* of B's logits against A's behind the depth */
    stats_comparison stats;
    const char *verdict; /* compare_verdict_name, or "outputs agree" */
    compare_doubts doubts;
} compare_cell;

/* compare_measure.c */
/* Fills everything of the cell but the verdict. */
int compare_measure(compare *c, compare_cell *cell, tandem_message *message);
uint32_t compare_runs(const compare_options *o, uint32_t phase);

/* compare_check.c: the prefix of both sides against the reference plugin and against each other, and the
 * precision of their products. Doubts, not failures, are what a breach makes. The reference's prefix is taken
 * from the journal where it is there, and else goes there; j->path NULL: no journal. */
int compare_check_reference(compare *c, journal *j, tandem_message *message);
int compare_check_sides(compare *c, tandem_message *message);

/* compare_precision.c: computes a product of the model's own weights with each precision's rounding and sees
 * which of them the side's result is. */
int compare_check_precision(compare *c, uint32_t side, tandem_message *message);

/* compare_judge.c: pure functions of what was measured; any thread. */
/* Relative error of b's logits against a's: sum (a - b)^2 / sum (a - mean a)^2. */
double compare_logits_error(const float *a, const float *b, uint32_t n);
/* Adds doubts about a side's clock and about work on processors that a GPU should have done. */
void compare_judge_clock(const compare_tally *t, const char *label, uint32_t kind, compare_doubts *doubts);
/* Statistics, doubts of the cell, and the verdict. budget: of one side's prefix. */
void compare_judge(const compare *c, compare_cell *cell);
/* Exit code of a cell. */
int compare_exit_code(const compare_cell *cell);

/* compare_explain.c: where the difference lies. */
typedef struct compare_op {
    const char *name; /* points into a side's profile */
    double ns[N_SIDE], bytes[N_SIDE];
    double roof_ns[N_SIDE]; /* what bytes and multiplications take at the measured peaks; 0: unknown */
} compare_op;

/* Beside the ops. A step timed alone may take longer than among others, so the first may be 0. */
#define COMPARE_BETWEEN "(between steps)" /* device time of a run beyond that of its steps */
#define COMPARE_IDLE "(idle)"             /* of the device between two runs */

/* Ops of both profiles by falling size of their difference, and the two above behind them; malloc'd. 0: a
 * side has no times of steps. */
uint32_t compare_ops(const compare *c, const compare_cell *cell, compare_op **ops);
/* What all of them together take more on B's side, ns. */
double compare_difference(const compare_op *ops, uint32_t n);
/* One sentence that names the ops that make most of the difference; "" where there is none to explain. */
void compare_sentence(const compare *c, const compare_cell *cell, char *text, size_t size);
int compare_profile(compare *c, compare_cell *cell, tandem_message *message);
/* Peaks of both sides' devices from the file's rows; what has none is said. An exit code, or OPTIONS_GO_ON.
 */
int compare_read_peaks(compare *c);

/* compare_print.c, compare_json.c */
void compare_print_head(const compare *c);
void compare_print_cell(const compare *c, const compare_cell *cell);
cJSON *compare_json(const compare *c, const compare_cell *cell);

#endif
