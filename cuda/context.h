/* context.h: one device, one stream, one order of things.
 *
 * Everything that reaches the stream has a serial number and an event behind it; a ticket of the ABI stands
 * for the serial of a run or placement edit. One caller per context at a time, so nothing here is locked.
 */
#ifndef CU_CONTEXT_H
#define CU_CONTEXT_H

#include "device.h"
#include "memory.h"
#include "plugin.h"

#define GPU_N_PENDING 8u  /* runs that may be pending, a power of two: slots of parameters and of events */
#define GPU_N_TICKET 256u /* tickets remembered, a power of two, more than GPU_N_PENDING */
#define GPU_N_TRANSFER 4u /* staged transfers in flight */
#define CU_N_EVENT 64u    /* serials that have an event of their own */
#define GPU_STAGING_BYTES (8u << 20)

/* Pinned memory that copies go through. */
typedef struct gpu_transfer {
    gpu_memory staging; /* GPU_STAGING_BYTES, made at first use */
    uint64_t serial;    /* of the copy that used it last */
} gpu_transfer;

/* What is known of a ticket. */
typedef struct gpu_ticket {
    tandem_ticket ticket;
    uint64_t serial;
    uint32_t slot;   /* of the run, TANDEM_NONE: not a run */
    uint32_t n_step; /* step_ns filled, for profile runs */
    uint64_t host_ns;
    uint64_t upload_bytes;
    uint64_t device_ns; /* 0: unknown */
    uint64_t gap_ns;
    uint64_t *step_ns;
    int finished; /* its times have been read */
} gpu_ticket;

struct cu_kernel;

struct tandem_context {
    const cu_driver *cu;
    cu_device device;
    CUcontext handle;
    CUstream stream;
    int lost;
    uint32_t n_object; /* buffers, weights, caches and programs alive */

    gpu_memory_count memory;
    gpu_block *blocks; /* all driver allocations, a list */
    struct gpu_retired *retired;
    uint64_t driver_overhead; /* device memory that making the context cost */

    uint64_t serial;          /* last submitted */
    uint64_t completed;       /* last known to have ended */
    CUevent ends[CU_N_EVENT]; /* [serial % CU_N_EVENT] */
    gpu_transfer transfers[GPU_N_TRANSFER];
    uint32_t next_transfer;

    CUmodule *modules; /* of each image; NULL: not loaded yet */
    struct cu_kernel *kernels;

    CUevent begin[GPU_N_PENDING], end[GPU_N_PENDING]; /* of the run in a slot, with times */
    CUevent last_end; /* end of the last finished run: changes places with the slot's, so nobody records it
                         anew */
    int last_known;
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

/* cu_fail_driver, and remembers a lost device. */
tandem_status cu_context_failed(tandem_context *context, tandem_error *error, CUresult result,
                                const char *call);

/* Calls context->cu->call(...); on failure sets `status` and goes to `fail`. */
#define CU_TRY(context, call, ...)                                                                           \
    do {                                                                                                     \
        CUresult cu_try_result = (context)->cu->call(__VA_ARGS__);                                           \
        if (cu_try_result != CUDA_SUCCESS) {                                                                 \
            status = cu_context_failed(context, error, cu_try_result, "cu" #call);                           \
            goto fail;                                                                                       \
        }                                                                                                    \
    } while (0)

/* Makes the CUDA context the calling thread's. DEVICE_LOST once the device is lost, else OK: the first line
 * of every ABI function on a context. */
tandem_status gpu_context_check(const tandem_context *context, tandem_error *error);

/* ---- queue.c: order ---- */

/* Ends what was put on the stream since the last call: it gets the next serial. */
tandem_status cu_submit(tandem_context *context, uint64_t *serial, tandem_error *error);
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
/* Idle pinned memory of GPU_STAGING_BYTES to build bytes in, valid until the next call here; gpu_stage_end
 * sends them. */
tandem_status gpu_stage_begin(tandem_context *context, const gpu_memory **staging, tandem_error *error);
tandem_status gpu_stage_end(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error);
/* A copy between ranges, which may not overlap; without a serial of its own until cu_submit. */
tandem_status gpu_copy(tandem_context *context, const gpu_memory *from, uint64_t from_offset,
                       const gpu_memory *to, uint64_t to_offset, uint64_t bytes, tandem_error *error);
tandem_status gpu_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset, uint64_t bytes,
                       tandem_error *error);

#endif
