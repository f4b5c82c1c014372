/* context.h: Vulkan calls on a context, and its queue.
 *
 * Everything that reaches the queue has a serial number, counted by a timeline semaphore.
 */
#ifndef VK_CONTEXT_H
#define VK_CONTEXT_H

#include "gpu/hooks.h"

#define VK_PUSH_BYTES 128u /* push constants of every pipeline: what Vulkan guarantees */

/* vk_fail_driver, and remembers a lost device. */
tandem_status vk_context_failed(tandem_context *context, tandem_error *error, VkResult result,
                                const char *call);

/* Calls context->api.vk.call(...), or the fault hook instead; on failure sets `status` and goes to `fail`. */
#define VK_TRY(context, call, ...)                                                                           \
    do {                                                                                                     \
        VkResult vk_try_result = vk_fault_check();                                                           \
        if (vk_try_result == VK_SUCCESS)                                                                     \
            vk_try_result = (context)->api.vk.call(__VA_ARGS__);                                             \
        if (vk_try_result != VK_SUCCESS) {                                                                   \
            status = vk_context_failed(context, error, vk_try_result, "vk" #call);                           \
            goto fail;                                                                                       \
        }                                                                                                    \
    } while (0)

/* ---- queue.c ---- */

/* Submits command buffers as one batch that ends serial `serial`. */
tandem_status vk_submit(tandem_context *context, const VkCommandBuffer *commands, uint32_t n, uint64_t serial,
                        tandem_error *error);
/* The command buffer of what is put in order now, begun if it has to be; gpu_submit sends it. */
tandem_status vk_commands_get(tandem_context *context, VkCommandBuffer *commands, tandem_error *error);

/* One memory barrier between stages. */
void vk_barrier(tandem_context *context, VkCommandBuffer commands, VkPipelineStageFlags from,
                VkAccessFlags from_access, VkPipelineStageFlags to, VkAccessFlags to_access);

#endif
