/* error.h: statuses and sentences.
 *
 * Fallible driver calls go through VK_TRY_INSTANCE and VK_TRY (context.h), which need `status`, `error` and a
 * label `fail:` in scope.
 */
#ifndef VK_ERROR_H
#define VK_ERROR_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include <tandem/message.h>

/* The status and sentence for a driver call that did not succeed: "vkQueueSubmit answered
 * VK_ERROR_DEVICE_LOST". */
tandem_status vk_fail_driver(tandem_error *error, VkResult result, const char *call);

const char *vk_result_name(VkResult result);

/* VK_SUCCESS, or the result injected by the fault hook when its count runs out at this call. */
VkResult vk_fault_check(void);

/* Calls instance->call(...), or the fault hook instead of it; on failure sets `status` and goes to `fail`.
 * Calls on a device use VK_TRY of context.h, which also notes a lost device. */
#define VK_TRY_INSTANCE(instance, call, ...)                                                                 \
    do {                                                                                                     \
        VkResult vk_try_result = vk_fault_check();                                                           \
        if (vk_try_result == VK_SUCCESS)                                                                     \
            vk_try_result = (instance)->call(__VA_ARGS__);                                                   \
        if (vk_try_result != VK_SUCCESS) {                                                                   \
            status = vk_fail_driver(error, vk_try_result, "vk" #call);                                       \
            goto fail;                                                                                       \
        }                                                                                                    \
    } while (0)

#endif
