/* host/peaks_rig.h: a context with a few objects, whose programs are run and timed. */
#ifndef TANDEM_HOST_PEAKS_RIG_H
#define TANDEM_HOST_PEAKS_RIG_H

#include <stdbool.h>

#include "peaks.h"

#define RIG_MAX_BUFFERS 3u
#define RIG_MAX_PROGRAMS 2u
#define RIG_MAX_OPS 96u

typedef struct rig {
    const peaks_desc *desc;
    const tandem_backend *backend;
    tandem_context *context;
    tandem_weights *weights;
    uint32_t n_buffer, n_program;
    tandem_buffer *buffer[RIG_MAX_BUFFERS];
    tandem_program *program[RIG_MAX_PROGRAMS];
    uint64_t start_ns;
} rig;

int rig_open(rig *r, const peaks_desc *desc, tandem_message *message);
void rig_close(rig *r);
/* Destroys everything but the context. */
void rig_clear(rig *r);

/* buffer[n_buffer++], `bytes` long, filled with copies of piece[piece_bytes]; NULL: zero. */
int rig_buffer(rig *r, uint64_t bytes, const void *piece, uint64_t piece_bytes, tandem_message *message);
/* weights: one matrix of n_row rows, copies of rows[n_distinct] in turn. */
int rig_weights(rig *r, uint32_t type, uint64_t n_row, uint64_t n_col, const void *rows, uint32_t n_distinct,
                tandem_message *message);
/* program[n_program++] */
int rig_program(rig *r, const tandem_op *const *ops, uint32_t n_op, uint32_t n_rows, uint32_t precision,
                tandem_message *message);
/* Steps of a program, its launches, and the kernel of the first. Any may be NULL. */
int rig_steps(rig *r, uint32_t program, uint32_t *n_step, uint32_t *n_dispatch, char kernel[64],
              tandem_message *message);

/* Runs a program on n_rows rows and waits. */
int rig_run(rig *r, uint32_t program, uint32_t n_rows, uint64_t *device_ns, tandem_message *message);

int rig_read(rig *r, uint32_t buffer, uint64_t offset, void *target, uint64_t bytes, tandem_message *message);

/* Seeded, uniform in [-1, 1). */
void rig_random(float *x, uint64_t n, uint64_t seed);

/* peaks_rates.c, peaks_costs.c. seconds: about what each may take. */
int peaks_read(rig *r, double seconds, peak_ladder *out, tandem_message *message);
int peaks_copy(rig *r, double seconds, peak_ladder *out, tandem_message *message);
int peaks_product(rig *r, uint32_t precision, double seconds, peak_ladder *out, tandem_message *message);
int peaks_chains(rig *r, double seconds, peak_cost *dispatch, peak_cost *step, tandem_message *message);
int peaks_submit(rig *r, double seconds, peak_cost *submit, peak_cost *gap, tandem_message *message);

#endif
