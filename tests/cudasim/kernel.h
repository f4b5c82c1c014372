/* What a module becomes once decoded. */
#ifndef CUDASIM_KERNEL_H
#define CUDASIM_KERNEL_H

#include "machine.h"
#include "opcodes.h"

/* Special registers that are filled in when a block starts. */
enum special {
    SPECIAL_TID_X,
    SPECIAL_TID_Y,
    SPECIAL_TID_Z,
    SPECIAL_NTID_X,
    SPECIAL_NTID_Y,
    SPECIAL_NTID_Z,
    SPECIAL_CTAID_X,
    SPECIAL_CTAID_Y,
    SPECIAL_CTAID_Z,
    SPECIAL_NCTAID_X,
    SPECIAL_NCTAID_Y,
    SPECIAL_NCTAID_Z,
    SPECIAL_WARPID,
    SPECIAL_NWARPID,
    SPECIAL_SMID,
    SPECIAL_NSMID,
    SPECIAL_GRIDID,
    SPECIAL_DYNAMIC_SMEM,
    SPECIAL_TOTAL_SMEM,
    SPECIAL_WORKSPACE_HIGH,
    SPECIAL_WORKSPACE_LOW,
    N_SPECIAL
};

struct param {
    uint32_t offset, bytes;
};

struct kernel_stats {
    uint64_t launches, blocks, threads;
    uint64_t class_warp[N_CLASS], class_thread[N_CLASS];
    struct mem_stats global_ld, global_st, shared_ld, shared_st;
    uint64_t divergent; /* branches that split a warp */
};

struct kernel {
    struct kernel *next; /* in its module */
    struct module *module;
    char *name;
    struct inst *code;
    uint32_t n_inst;
    uint32_t *source;         /* line in the .cu, per instruction, when .loc says so */
    const char **source_file; /* without its folders */
    struct arena arena;
    struct site *sites;
    uint32_t n_site;
    uint8_t *rows; /* constant rows */
    uint32_t row_bytes, max_row_bytes;
    uint32_t register_bytes;     /* of one warp */
    uint32_t special[N_SPECIAL]; /* slot, 0 when not used */
    uint32_t *poison; /* pairs of slot and bytes: rows that may be read before anything wrote them */
    uint32_t n_poison;
    struct param *params;
    uint32_t n_param, param_bytes;
    uint32_t static_shared, local_bytes;
    uint32_t max_threads[3];
    bool required_threads;
    uint32_t registers;     /* of a thread, as the cubin says; 0: no cubin said */
    uint32_t stack_bytes;   /* likewise */
    uint32_t max_registers; /* .maxnreg, 0 when not said */
    uint32_t max_dynamic;   /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
    int carveout;
    bool wants_workspace; /* of a barrier of the grid */
    uint32_t arch;
    struct kernel_stats stats;
};

/* Decodes one kernel, whose module's variables have their addresses already. NULL with the reason in `error`.
 */
struct kernel *kernel_decode(const struct ptx_module *ptx, const struct ptx_function *f, char *error,
                             size_t error_bytes);
void kernel_free(struct kernel *kernel);

/* "matvec, PTX line 120 (kernels.cu:33)". */
void kernel_place(const struct kernel *kernel, const struct inst *in, char *text, size_t bytes);

/* Gives every virtual register a row; registers that are never alive together share one (rows.c). */
struct use {
    uint32_t reg, inst;
    uint32_t *slot;
    uint8_t written, keep; /* keep: bits to leave in the slot (a guard's negation) */
};
struct use_list {
    struct use *use;
    uint32_t n, max;
};
bool rows_assign(struct kernel *kernel, const struct ptx_register *registers, uint32_t n_register,
                 const struct use_list *uses);

/* Successors of an instruction, for liveness. Writes at most `most` and returns how many there are. */
uint32_t control_successors(const struct kernel *kernel, uint32_t pc, uint32_t *next, uint32_t most);
struct branch_table {
    uint32_t n;
    uint32_t pc[];
};
/* How an opcode moves the program counter; that it touches memory; that a warp executes it as one. */
enum { FLAG_BRANCH = 1, FLAG_END = 2, FLAG_TABLE = 4, FLAG_SITE = 8, FLAG_ALIGNED = 64 };

#endif
