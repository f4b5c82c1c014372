/* error.c: statuses and sentences. */
#include "error.h"
#include "driver.h"

tandem_status vk_fail_driver(tandem_error *error, VkResult result, const char *call) {
    tandem_status status;
    const char *meaning;
    switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
        status = TANDEM_E_OUT_OF_MEMORY;
        meaning = "host memory ran out";
        break;
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
        status = TANDEM_E_OUT_OF_MEMORY;
        meaning = "device memory ran out";
        break;
    case VK_ERROR_TOO_MANY_OBJECTS:
        status = TANDEM_E_OUT_OF_MEMORY;
        meaning = "the driver takes no more objects";
        break;
    case VK_ERROR_DEVICE_LOST:
        status = TANDEM_E_DEVICE_LOST;
        meaning = "the device is lost";
        break;
    default:
        status = TANDEM_E_INTERNAL;
        meaning = "the driver call failed";
        break;
    }
    return tandem_kit_fail_driver(error, status, result, "%s: %s answered %s", meaning, call,
                                  vk_result_name(result));
}

const char *vk_result_name(VkResult result) {
    switch (result) {
#define NAME(code)                                                                                           \
    case code:                                                                                               \
        return #code
        NAME(VK_NOT_READY);
        NAME(VK_TIMEOUT);
        NAME(VK_INCOMPLETE);
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY);
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY);
        NAME(VK_ERROR_INITIALIZATION_FAILED);
        NAME(VK_ERROR_DEVICE_LOST);
        NAME(VK_ERROR_MEMORY_MAP_FAILED);
        NAME(VK_ERROR_LAYER_NOT_PRESENT);
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT);
        NAME(VK_ERROR_FEATURE_NOT_PRESENT);
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER);
        NAME(VK_ERROR_TOO_MANY_OBJECTS);
        NAME(VK_ERROR_FRAGMENTED_POOL);
        NAME(VK_ERROR_OUT_OF_POOL_MEMORY);
        NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS);
        NAME(VK_ERROR_INVALID_SHADER_NV);
        NAME(VK_ERROR_UNKNOWN);
#undef NAME
    default:
        return "an unnamed VkResult";
    }
}

VkResult vk_fault_check(void) {
    vk_fault *fault = &vk_the_plugin.fault;
    atomic_fetch_add_explicit(&fault->n_calls, 1, memory_order_relaxed);
    uint64_t left = atomic_load_explicit(&fault->countdown, memory_order_relaxed);
    while (left > 0) {
        if (!atomic_compare_exchange_weak(&fault->countdown, &left, left - 1))
            continue;
        return left == 1 ? (VkResult)atomic_load(&fault->result) : VK_SUCCESS;
    }
    return VK_SUCCESS;
}
