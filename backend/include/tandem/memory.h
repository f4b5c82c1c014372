/* tandem/memory.h: contexts, buffers and weights.
 *
 * A context is one device and one order of things: writes, reads, placement edits and runs happen as if in the order
 * of the calls, whatever queues the plugin uses. Destroying an object that a pending run uses waits for that run.
 */
#ifndef TANDEM_MEMORY_H
#define TANDEM_MEMORY_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tandem_context_desc {
    uint32_t struct_size;
    uint32_t device;     /* index below device_count */
    uint64_t memory_cap; /* bytes of all allocations of the context together; 0: no cap */
    uint32_t n_threads;  /* CPU plugins: worker threads; 0: one per core */
    uint32_t reserved;
} tandem_context_desc;

/* Bytes allocated by a context, as the driver was asked for them (padding included). */
typedef struct tandem_memory_info {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t cap;             /* 0: none */
    uint64_t total;           /* sum of the parts below */
    uint64_t peak;            /* highest total so far */
    uint64_t weights_device;
    uint64_t weights_host;    /* host-placed records and home copies; borrowed source bytes are not counted */
    uint64_t kv;
    uint64_t buffers;
    uint64_t workspace;       /* programs: scratch, parameters, results */
    uint64_t staging;
    uint64_t driver_overhead; /* measured beside the cap: what the process or device lost on top; 0: unknown */
} tandem_memory_info;

#define TANDEM_PLACE_DEVICE 0u
#define TANDEM_PLACE_HOST 1u /* memory of the host that kernels can read */

/* Plain bytes for activations, norm vectors and results; zero when created. */
typedef struct tandem_buffer_desc {
    uint32_t struct_size;
    uint32_t placement; /* TANDEM_PLACE_*: HOST for what the host reads every token */
    uint64_t bytes;     /* > 0 */
    const char *label;  /* copied; may be NULL */
} tandem_buffer_desc;

typedef struct tandem_buffer_info {
    uint32_t struct_size;
    uint32_t placement;
    uint64_t bytes;
} tandem_buffer_info;

#define TANDEM_READ_NOW 1u /* do not wait for pending runs: the caller has waited on the ticket that wrote the bytes */

#define TANDEM_ROLE_SINGLE 0u
#define TANDEM_ROLE_Q 1u
#define TANDEM_ROLE_K 2u
#define TANDEM_ROLE_V 3u
#define TANDEM_ROLE_GATE 4u
#define TANDEM_ROLE_UP 5u
#define TANDEM_ROLE_GATE_UP 6u /* gate rows first, then as many up rows */
#define TANDEM_ROLE_DOWN 7u

/* One matrix of a record: n_row outputs by n_col inputs, rows of GGUF blocks. */
typedef struct tandem_matrix_desc {
    uint32_t struct_size;
    uint32_t role;  /* TANDEM_ROLE_* */
    uint32_t type;  /* TANDEM_TYPE_* */
    uint32_t reserved;
    uint64_t n_row; /* > 0 */
    uint64_t n_col; /* > 0, a multiple of the type's block */
} tandem_matrix_desc;

/* `n_record` records (experts; else 1) of the same 1..4 matrices. A plugin may repack and interleave a record. Kernels
 * find a record through a table of addresses that is read at execution, so records move between pending runs. */
typedef struct tandem_weights_desc {
    uint32_t struct_size;
    uint32_t n_record;  /* >= 1 */
    uint32_t n_matrix;  /* 1..4 */
    uint32_t placement; /* of every record at first */
    const tandem_matrix_desc *const *matrices; /* [n_matrix] */
    const char *label;                         /* copied; may be NULL */
} tandem_weights_desc;

typedef struct tandem_weights_info {
    uint32_t struct_size;
    uint32_t n_record;
    uint32_t n_matrix;
    uint32_t reserved;
    uint64_t source_bytes; /* GGUF bytes of all records */
    uint64_t device_bytes; /* allocated on the device now */
    uint64_t host_bytes;   /* allocated on the host now */
} tandem_weights_info;

/* weights_write: the source bytes stay valid and unchanged until weights_destroy, so the plugin need not copy them. */
#define TANDEM_WRITE_BORROW 1u

#ifdef __cplusplus
}
#endif
#endif
