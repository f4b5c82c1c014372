/* The table of opcodes: every opcode string that is executed, spelled out. A string that is not in it does
 * not run.
 *
 * Signature, one letter an operand, upper case written, lower case read:
 *   P p predicate   H h 16 bits   R r 32 bits   D d 64 bits   digit: vector of so many of the letter before
 *   q predicate, or false or true as a number
 *   Q   second half of the pair before it (d|p), optional   i  whole number, to inst.imm   a  address   L
 * label ?   what follows may be missing Rows with a `bind` of their own are decoded by it.
 */
#ifndef CUDASIM_OPCODES_H
#define CUDASIM_OPCODES_H

#include "machine.h"
#include "ptx.h"

enum { SPACE_GENERIC = 16 }; /* beyond enum ptx_space */

struct decoder;

struct opcode {
    const char *name, *signature;
    exec_fn fn;
    const void *aux;
    int64_t imm;
    uint8_t cls, bytes, n, width, space, flags;
    bool (*bind)(struct decoder *d, const struct ptx_inst *from, struct inst *to);
    uint64_t count; /* warp instructions executed in this process, of modules since unloaded */
};

/* NULL when the string is unknown. The index goes to *index. */
const struct opcode *opcode_find(const char *name, uint32_t *index);
struct opcode *opcode_at(uint32_t index);
uint32_t opcode_number(void);

/* Adds a row; `format` makes its name. Adding a name twice is an error of the simulator and ends the process.
 */
void opcode_add(struct opcode row, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Called once each. */
void opcodes_move(void);
void opcodes_integer(void);
void opcodes_bits(void);
void opcodes_float(void);
void opcodes_double(void);
void opcodes_half(void);
void opcodes_special(void);
void opcodes_convert(void);
void opcodes_compare(void);
void opcodes_control(void);
void opcodes_sync(void);
void opcodes_matrix(void);
void opcodes_memory(void);
void opcodes_async(void);
void opcodes_atomic(void);
void opcodes_mbarrier(void);

/* ---- for rows that decode themselves; each returns false after decode_fail ---- */
void decode_fail(struct decoder *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool decode_count(struct decoder *d, const struct ptx_inst *from, uint32_t least, uint32_t most);
/* bytes: of the register wanted, exactly. 0: predicate. */
bool decode_read(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot);
bool decode_write(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot);
/* The register may be wider; what it is goes to *width. Immediates take `bytes`, but at least 2. */
bool decode_read_wide(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot,
                      uint8_t *width);
bool decode_write_wide(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot,
                       uint8_t *width);
/* o[index], imm, wide and the site of an address. */
bool decode_address(struct decoder *d, const struct ptx_operand *o, struct inst *to, uint32_t index);
bool decode_is_predicate(const struct decoder *d, const struct ptx_operand *o);
bool decode_label(struct decoder *d, const char *name, uint32_t scope, int64_t *pc);
bool decode_branch_table(struct decoder *d, const struct ptx_operand *o, uint32_t scope, struct inst *to);
bool decode_signature(struct decoder *d, const struct ptx_inst *from, struct inst *to, const char *signature);
uint32_t *decode_vector(struct decoder *d, uint32_t n); /* slots for inst.v; NULL when memory is out */

#endif
