/* context.h: one device, one order of things.
 *
 * Whatever is put in order (copies, fills, launches) gets its serial number by the next gpu_submit, or by the
 * launch of a run. A ticket of the ABI stands for the serial of a run or placement edit. One caller per
 * context at a time, so nothing here is locked.
 */
#ifndef GPU_CONTEXT_H
#define GPU_CONTEXT_H

#include "limits.h"
#include "memory.h"
#include "services.h"

#include <tandem/message.h>

/* Host memory that copies go through. */
typedef struct gpu_transfer {
    gpu_memory staging; /* GPU_STAGING_BYTES, made at first use */
    uint64_t serial;    /* of the work that used it last */
} gpu_transfer;

/* What is known of a ticket. */
typedef struct gpu_ticket {
    tandem_ticket ticket;
    uint64_t serial;
    uint32_t slot;   /* of the run, TANDEM_NONE: not a run */
    uint32_t n_step; /* step_ns filled, for profile runs */
    uint64_t queued_ns; /* of a run: the host's clock before it was submitted */
    uint64_t host_ns;
    uint64_t upload_bytes;
    uint64_t device_ns; /* 0: unknown */
    uint64_t gap_ns;
    uint64_t *step_ns;
    int finished; /* its times have been read */
} gpu_ticket;

struct gpu_retired;

struct tandem_context {
    gpu_device device;
    gpu_api_context api;
    int lost;
    uint32_t n_object; /* buffers, weights, caches and programs alive */

    gpu_memory_count memory;
    gpu_block *blocks; /* all driver allocations, a list */
    struct gpu_retired *retired;
    uint64_t driver_overhead; /* device memory that making the context cost; 0: unknown */

    uint64_t serial;    /* last submitted */
    uint64_t completed; /* last known to have ended */
    gpu_transfer transfers[GPU_N_TRANSFER];
    uint32_t next_transfer;

    gpu_ticket tickets[GPU_N_TICKET];
    tandem_ticket last_ticket;
    tandem_ticket first_unfinished;           /* its end has not been noted; 1 at first */
    tandem_ticket slot_ticket[GPU_N_PENDING]; /* the run that holds the slot; 0: free */
    gpu_memory next;                          /* next_block: what DEVICE_NEXT continues from */
    uint32_t next_known;                      /* the host's part of it: 1 once a TOPK row was submitted */
    uint32_t next_position;
    uint32_t next_slot;
    uint32_t n_incomplete; /* weight records with missing rows */
};

/* The ABI's functions of the same names. */
tandem_status gpu_context_create(const tandem_context_desc *desc, tandem_context **context,
                                 tandem_error *error);
void gpu_context_destroy(tandem_context *context);
tandem_status gpu_context_memory(tandem_context *context, tandem_memory_info *info, tandem_error *error);

/* DEVICE_LOST once the device is lost, else OK: the first line of every ABI function on a context. */
tandem_status gpu_context_check(const tandem_context *context, tandem_error *error);

/* ---- queue.c: order ---- */

/* Ends what was put in order since the last call: it gets the next serial, also given to the present
 * transfer, whose staging memory and means are busy until then. `serial` may be NULL. Whoever has put
 * something in order calls this, also after a failure: what has no serial is waited for by nobody. */
tandem_status gpu_submit(tandem_context *context, uint64_t *serial, tandem_error *error);
/* TIMEOUT, DEVICE_LOST. */
tandem_status gpu_wait_serial(tandem_context *context, uint64_t serial, uint64_t timeout_ns,
                              tandem_error *error);
/* Whether the work up to `serial` has ended; never waits. */
int gpu_is_done(tandem_context *context, uint64_t serial);
/* Waits for everything submitted. */
tandem_status gpu_wait_all(tandem_context *context, tandem_error *error);
/* For destroy functions: waits for everything, by the bare driver, whatever state the context is in. */
void gpu_drain(tandem_context *context);

/* ---- transfer.c: copies, in order with the runs ---- */

/* bytes from host memory to `memory`. Directly where the host reaches it and nothing is pending, else staged.
 */
tandem_status gpu_upload(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                         const void *source, uint64_t bytes, tandem_error *error);
/* Waits for everything submitted, then copies to the host. */
tandem_status gpu_download(tandem_context *context, const gpu_memory *memory, uint64_t offset, void *target,
                           uint64_t bytes, tandem_error *error);
/* Idle host memory of GPU_STAGING_BYTES to build bytes in, valid until the next submit; gpu_stage_end sends
 * them, with whatever was put in order between. */
tandem_status gpu_stage_begin(tandem_context *context, const gpu_memory **staging, tandem_error *error);
tandem_status gpu_stage_end(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error);
/* Zeroes, with a serial of its own. */
tandem_status gpu_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset, uint64_t bytes,
                       tandem_error *error);

#endif
