/* context.h: one device, one queue, one order of things.
 *
 * Everything that reaches the queue has a serial number, counted by a timeline semaphore; a ticket of the ABI
 * stands for the serial of a run or placement edit. One caller per context at a time, so nothing here is
 * locked.
 */
#ifndef VK_CONTEXT_H
#define VK_CONTEXT_H

#include "device.h"
#include "memory.h"

#define GPU_N_PENDING 8u   /* runs that may be pending: slots of parameters, timestamps and command buffers */
#define GPU_N_TICKET 256u  /* tickets remembered, a power of two, more than GPU_N_PENDING */
#define GPU_N_TRANSFER 4u  /* transfers in flight */
#define VK_PUSH_BYTES 128u /* push constants of every pipeline: what Vulkan guarantees */
#define GPU_STAGING_BYTES (8u << 20)

/* A command buffer for copies, with its share of the staging memory. */
typedef struct gpu_transfer {
    VkCommandBuffer commands;
    gpu_memory staging; /* GPU_STAGING_BYTES, made at first use */
    uint64_t serial;    /* of its last submit */
    int open;           /* begun and not yet submitted */
} gpu_transfer;

/* What is known of a ticket. */
typedef struct gpu_ticket {
    tandem_ticket ticket;
    uint64_t serial;
    tandem_program *program; /* NULL: a placement edit, or destroyed since */
    uint32_t slot;           /* of the run, TANDEM_NONE: not a run */
    uint32_t n_step;         /* step_ns filled, for profile runs */
    uint64_t host_ns;
    uint64_t upload_bytes;
    uint64_t begin, end; /* device timestamps in ns; 0, 0: unknown */
    uint64_t gap_ns;
    uint64_t *step_ns;
    int finished; /* begin and end have been read */
} gpu_ticket;

struct vk_pipeline_set;

struct tandem_context {
    const vk_instance *instance;
    vk_device device;
    VkDevice handle;
    vk_device_table vk;
    VkQueue queue;
    uint32_t subgroup_size; /* of every pipeline */
    int lost;
    uint32_t n_object; /* buffers, weights, caches and programs alive */

    gpu_memory_count memory;
    gpu_block *blocks; /* all driver allocations, a list */
    struct gpu_retired *retired;
    uint64_t driver_overhead; /* device memory that making the context cost; 0: unknown */

    VkSemaphore timeline;
    uint64_t serial;    /* last submitted */
    uint64_t completed; /* last known to have ended */
    VkCommandPool command_pool;
    gpu_transfer transfers[GPU_N_TRANSFER];
    uint32_t next_transfer;

    VkPipelineLayout pipeline_layout;
    struct vk_pipeline_set *pipelines;

    VkQueryPool timestamps; /* begin and end of each pending slot */
    gpu_ticket tickets[GPU_N_TICKET];
    tandem_ticket last_ticket;
    tandem_ticket first_unfinished;           /* its end has not been noted; 1 at first */
    tandem_ticket slot_ticket[GPU_N_PENDING]; /* the run that holds the slot; 0: free */
    uint64_t last_run_end;                    /* device ns of the last finished run; 0: none */
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

/* vk_fail_driver, and remembers a lost device. */
tandem_status vk_context_failed(tandem_context *context, tandem_error *error, VkResult result,
                                const char *call);

/* Calls context->vk.call(...), or the fault hook instead; on failure sets `status` and goes to `fail`. */
#define VK_TRY(context, call, ...)                                                                           \
    do {                                                                                                     \
        VkResult vk_try_result = vk_fault_check();                                                           \
        if (vk_try_result == VK_SUCCESS)                                                                     \
            vk_try_result = (context)->vk.call(__VA_ARGS__);                                                 \
        if (vk_try_result != VK_SUCCESS) {                                                                   \
            status = vk_context_failed(context, error, vk_try_result, "vk" #call);                           \
            goto fail;                                                                                       \
        }                                                                                                    \
    } while (0)

/* DEVICE_LOST once the device is lost, else OK: the first line of every ABI function on a context. */
tandem_status gpu_context_check(const tandem_context *context, tandem_error *error);

/* ---- queue.c: order ---- */

/* Submits command buffers as one batch and gives it the next serial. */
tandem_status vk_submit(tandem_context *context, const VkCommandBuffer *commands, uint32_t n,
                        uint64_t *serial, tandem_error *error);
/* TIMEOUT, DEVICE_LOST. */
tandem_status gpu_wait_serial(tandem_context *context, uint64_t serial, uint64_t timeout_ns,
                              tandem_error *error);
/* Whether the work up to `serial` has ended; never waits. */
int gpu_is_done(tandem_context *context, uint64_t serial);
/* Waits for everything submitted. */
tandem_status gpu_wait_all(tandem_context *context, tandem_error *error);
/* For destroy functions: waits for everything, by the bare driver, whatever state the context is in. */
void gpu_drain(tandem_context *context);

/* One memory barrier between stages. */
void vk_barrier(tandem_context *context, VkCommandBuffer commands, VkPipelineStageFlags from,
                VkAccessFlags from_access, VkPipelineStageFlags to, VkAccessFlags to_access);

/* ---- transfer.c: copies, in order with the runs ---- */

/* bytes from host memory to `memory`. Directly where the host reaches it and nothing is pending, else staged.
 */
tandem_status gpu_upload(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                         const void *source, uint64_t bytes, tandem_error *error);
/* Waits for everything submitted, then copies to the host. */
tandem_status gpu_download(tandem_context *context, const gpu_memory *memory, uint64_t offset, void *target,
                           uint64_t bytes, tandem_error *error);
/* Idle host memory of GPU_STAGING_BYTES to build bytes in, valid until the next call here; gpu_stage_end
 * sends them. */
tandem_status gpu_stage_begin(tandem_context *context, const gpu_memory **staging, tandem_error *error);
tandem_status gpu_stage_end(tandem_context *context, const gpu_memory *memory, uint64_t offset,
                            uint64_t bytes, tandem_error *error);
/* Copies between ranges; they may not overlap. */
tandem_status gpu_copy(tandem_context *context, const gpu_memory *from, uint64_t from_offset,
                       const gpu_memory *to, uint64_t to_offset, uint64_t bytes, tandem_error *error);
tandem_status gpu_zero(tandem_context *context, const gpu_memory *memory, uint64_t offset, uint64_t bytes,
                       tandem_error *error);
/* A submitted command buffer of the caller's recording, in order with everything else. */
tandem_status vk_commands_begin(tandem_context *context, VkCommandBuffer *commands, tandem_error *error);
tandem_status vk_commands_end(tandem_context *context, tandem_error *error);

#endif
