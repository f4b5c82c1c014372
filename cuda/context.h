/* context.h: calls of the CUDA driver on a context.
 *
 * Everything that reaches the stream has a serial number and an event behind it.
 */
#ifndef CU_CONTEXT_H
#define CU_CONTEXT_H

#include "error.h"
#include "gpu/hooks.h"

/* cu_fail_driver, and remembers a lost device. */
tandem_status cu_context_failed(tandem_context *context, tandem_error *error, CUresult result,
                                const char *call);

/* Calls context->api.cu->call(...); on failure sets `status` and goes to `fail`. */
#define CU_TRY(context, call, ...)                                                                           \
    do {                                                                                                     \
        CUresult cu_try_result = (context)->api.cu->call(__VA_ARGS__);                                       \
        if (cu_try_result != CUDA_SUCCESS) {                                                                 \
            status = cu_context_failed(context, error, cu_try_result, "cu" #call);                           \
            goto fail;                                                                                       \
        }                                                                                                    \
    } while (0)

#endif
