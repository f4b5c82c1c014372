/* error.c: statuses and sentences of driver calls. */
#include "error.h"

int cu_result_is_lost(CUresult result) {
    switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_NO_DEVICE:
        return 1;
    default:
        return 0;
    }
}

tandem_status cu_fail_driver(tandem_error *error, CUresult result, const char *call) {
    const cu_driver *driver = NULL;
    const char *name = NULL, *meaning = NULL;
    tandem_status status = result == CUDA_ERROR_OUT_OF_MEMORY ? TANDEM_E_OUT_OF_MEMORY
                           : cu_result_is_lost(result)        ? TANDEM_E_DEVICE_LOST
                                                              : TANDEM_E_INTERNAL;
    if (cu_driver_get(&driver, NULL) == TANDEM_OK) {
        driver->GetErrorName(result, &name);
        driver->GetErrorString(result, &meaning);
    }
    return tandem_kit_fail_driver(error, status, (int32_t)result, "%s: %s answered %s",
                                  meaning ? meaning : "the driver call failed", call,
                                  name ? name : "an unnamed result");
}
