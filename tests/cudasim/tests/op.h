/* One opcode, one small program: values in, values out, a case a lane.
 *
 * `operands` is the instruction's text after the opcode in which single letters stand for registers: P H R D
 * for results, p h r d for sources (predicate, 16, 32, 64 bits). Everything else is taken as it is. Each
 * opcode runs twice: in all lanes, and under a guard in every second one, where the others must keep what was
 * in their results.
 */
#ifndef CUDASIM_TESTS_OP_H
#define CUDASIM_TESTS_OP_H

#include "sim.h"

/* cases: "1 2 = 3; 0x10 f:1.5 = -1": sources, then results, in the order of the operands. Numbers are decimal
 * or 0x; f: h: d: before a float gives its bits as f32, f16, f64, with NaN as the one that PTX makes. */
struct op_row {
    const char *opcode, *operands, *cases;
};
void op_table(const struct op_row *rows, size_t n);

/* values: n_case times the operands' letters, in their order, results as expected. At most 32 cases. */
void op_add(const char *opcode, const char *operands, uint32_t n_case, const uint64_t *values);
/* As op_add, but never under a guard: what lanes do together. */
void op_add_whole(const char *opcode, const char *operands, uint32_t n_case, const uint64_t *values);
/* Loads and runs what was added. */
void op_run(void);

/* Text that grows. */
struct text {
    char *data;
    size_t used, max;
};
void text_put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* PTX that is loaded goes to files PREFIX0.ptx and so on, for ptxas; NULL for none. */
extern const char *op_dump;
void op_dump_text(const char *text);
/* As sim_ptx, dumped. */
CUfunction op_ptx(const char *text);

#endif
