/* program.h: a program: launches, the memory ranges that each of them touches, steps, and what is recorded
 * of them.
 *
 * Ops are lowered to launches (lower*.c) by a builder that runs twice: once with made-up addresses to learn
 * how much memory the program needs, once for real. Barriers then follow from the declared ranges (hazard.c).
 */
#ifndef GPU_PROGRAM_H
#define GPU_PROGRAM_H

#include "list.h"
#include "object.h"

#include <tandem/growth.h>
#include <tandem/tandem.h>
#include <tandem/validate.h>

/* The plugin's own table (entry.c): the shared validator reads handles through it. */
extern const tandem_backend gpu_backend;

#define GPU_MAX_ROWS 65535u /* of a program: rows are a grid axis, and both APIs grant that many groups */

/* Bytes that a launch reads or writes: n_row pieces of row_bytes, stride apart, from address on. */
typedef struct gpu_range {
    uint64_t address;
    uint64_t row_bytes;
    uint64_t stride;
    uint64_t n_row;
    uint32_t write;
    uint32_t indirect; /* 1: read as launch arguments */
    uint32_t apart;    /* > 0: writes with the same number meet in no byte, whatever their bounds */
    const tandem_weights *weights; /* not NULL: a segment of a record, which may move: address is looked up */
    uint32_t record;
    uint32_t segment;
} gpu_range;

/* What a launch moves, for program_cost. Row terms count the live rows of `rows`. */
typedef struct gpu_traffic {
    uint32_t rows; /* TANDEM_ROWS_ALL or _OUT */
    uint32_t
        rows_per_pass;     /* the weights are read once per this many rows; 0: rows are read singly (EMBED) */
    uint64_t weight_bytes; /* of one pass, or of one row */
    uint64_t weight_bytes_min;
    uint64_t row_bytes; /* activations and scratch */
    uint64_t row_flops;
    const tandem_weights *weights;
    uint32_t record;
    uint32_t n_used;               /* > 0: weight bytes are of one expert, and each row uses so many */
    const gpu_kv_layer *attention; /* not NULL: the keys of this layer are read */
    const gpu_kv_layer *append;    /* not NULL: every row is appended to this layer */
    uint32_t n_head;
    uint32_t window;
    uint32_t rows_per_tile; /* attention: rows that share a load, tiles_per_row times */
    uint32_t tiles_per_row;
    uint32_t keys_per_split, max_split;
    uint64_t split_row_bytes; /* partial results of a row and split, where there is more than one split */
} gpu_traffic;

typedef struct gpu_launch {
    uint32_t step;
    uint32_t first_range;
    uint32_t n_range;
    uint32_t params_bytes;
    void *params; /* what its kernel takes, one struct; owned */
    gpu_traffic traffic;
    gpu_api_launch api; /* kernel and grid */
} gpu_launch;

typedef struct gpu_step {
    uint32_t first_launch;
    uint32_t n_launch;
    uint32_t barrier_before;
    uint32_t barrier_indirect; /* 1: the barrier also covers launch arguments that a step wrote */
    uint32_t n_op;
    uint32_t ops[8];
    char kernel[64];
    char label[64];
} gpu_step;

/* Weights that a run reads and must find complete. */
typedef struct gpu_weight_use {
    const tandem_weights *weights;
    uint32_t record;
} gpu_weight_use;

/* Offsets in the workspace. */
typedef struct gpu_layout {
    uint64_t run;
    uint64_t commands; /* what the plugin wants for itself: gpu_program_plan */
    uint64_t constants, scratch, end;
} gpu_layout;

struct tandem_program {
    tandem_context *context;
    tandem_kit_limits limits; /* what runs keep to */
    uint32_t precision;
    gpu_list launches; /* gpu_launch; number 0 is prepare, outside the steps */
    gpu_list ranges;   /* gpu_range */
    gpu_list steps;    /* gpu_step */
    gpu_list uses;     /* gpu_weight_use */
    tandem_kv *kv;     /* of its ATTENTION ops; NULL: none */

    gpu_memory workspace;
    gpu_layout layout;
    gpu_memory tables; /* host: a run block for each pending slot */
    uint64_t table_bytes;

    gpu_api_program api;
};

/* ---- program.c ---- */
tandem_status gpu_program_create(tandem_context *context, const tandem_program_desc *desc,
                                 tandem_program **program, tandem_error *error);
void gpu_program_destroy(tandem_program *program);
tandem_status gpu_program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error);
tandem_status gpu_program_step(const tandem_program *program, uint32_t step, tandem_step *info,
                               tandem_error *error);
/* ---- supports.c ---- */

/* Takes an op and, for a MATMUL that has one, its prologue. */
tandem_status gpu_take_op(tandem_kit_op *taken, tandem_op_stream *prologue, const tandem_op *op,
                          uint32_t op_index, tandem_error *error);
/* The predicate behind `supports` and program_create, for a valid op. */
tandem_status gpu_supports_op(tandem_context *context, const tandem_kit_op *op, uint32_t precision,
                              uint32_t op_index, tandem_error *error);
tandem_status gpu_supports(tandem_context *context, const tandem_op *op, uint32_t precision,
                           tandem_error *error);
/* ---- cost.c ---- */
tandem_status gpu_program_cost(const tandem_program *program, const tandem_run *run,
                               tandem_cost *const *costs, uint32_t n_step, tandem_error *error);
/* ---- run.c ---- */
tandem_status gpu_run(tandem_program *program, const tandem_run *run, tandem_ticket *ticket,
                      tandem_error *error);
/* Writes a valid run into table number `table`; returns the bytes written. */
uint64_t gpu_run_fill_table(const tandem_program *program, const tandem_run *run, uint32_t table);
/* ---- ticket.c ---- */
tandem_status gpu_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                       tandem_error *error);
tandem_status gpu_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                        tandem_error *error);
tandem_status gpu_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                             tandem_error *error);

/* ---- hazard.c ---- */

/* The bytes of a range now: a moving one is looked up. */
gpu_range gpu_range_resolve(const gpu_range *range);
/* 1: some byte belongs to both. Exact. */
int gpu_ranges_overlap(const gpu_range *a, const gpu_range *b);
/* 1: one of the two launches writes what the other touches. */
int gpu_launches_conflict(const tandem_program *program, uint32_t a, uint32_t b);
/* Sets barrier_before of every step: exactly where a hazard with launches since the last barrier is.
 * INTERNAL: two launches of one step conflict. */
tandem_status gpu_place_barriers(tandem_program *program, tandem_error *error);
/* Checks a list of barriers (barrier[i]: before step i) by looking at every pair of launches: conflicting
 * ones must have a barrier between, and every barrier must be the only one between some conflicting pair.
 * Returns the number of faults; the first one as a sentence. */
uint32_t gpu_check_barriers(const tandem_program *program, const uint8_t *barrier, char *sentence,
                            size_t room);

/* ---- schedule.c ---- */

/* Puts steps that do not depend on each other into one, before barriers are placed. */
tandem_status gpu_schedule(tandem_program *program, tandem_error *error);

#endif
