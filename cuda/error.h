/* error.h: statuses and sentences of driver calls. */
#ifndef CU_ERROR_H
#define CU_ERROR_H

#include "driver.h"

#include <tandem/message.h>

/* The status and sentence for a driver call that did not succeed: "cuMemAlloc answered
 * CUDA_ERROR_OUT_OF_MEMORY". */
tandem_status cu_fail_driver(tandem_error *error, CUresult result, const char *call);

/* 1: after this result every call on the CUDA context fails. */
int cu_result_is_lost(CUresult result);

#endif
