/* driver.c: opens the CUDA driver and fills the table of its functions. */
#include "driver.h"

#include <tandem/message.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_LIBRARY "libcuda.so.1"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char library_path[1024] = DEFAULT_LIBRARY;
static cu_driver the_driver;
static void *library; /* stays open: drivers do not bear being closed */
static int ready;     /* initialised */

void cu_driver_set_library(const char *path) {
    const char *wanted = path && path[0] ? path : DEFAULT_LIBRARY;
    pthread_mutex_lock(&lock);
    if (strcmp(wanted, library_path) != 0) { /* an open driver may have contexts */
        snprintf(library_path, sizeof library_path, "%s", wanted);
        ready = 0;
        library = NULL;
    }
    pthread_mutex_unlock(&lock);
}

static tandem_status missing_function(const char *symbol, tandem_error *error) {
    return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                           "The CUDA driver %s lacks %s: a driver of CUDA %d.%d or newer is needed",
                           library_path, symbol, CU_MIN_DRIVER / 1000, CU_MIN_DRIVER % 1000 / 10);
}

/* The version first, for an old driver lacks functions because it is old. */
static tandem_status load_functions(tandem_error *error) {
    /* note: POSIX lets a function be had from a void pointer; ISO C only by way of its bytes. */
#define LOAD(member, function, symbol)                                                                       \
    {                                                                                                        \
        void *found = dlsym(library, symbol);                                                                \
        if (!found)                                                                                          \
            return missing_function(symbol, error);                                                          \
        memcpy(&the_driver.member, &found, sizeof found);                                                    \
    }
    LOAD(DriverGetVersion, , "cuDriverGetVersion")
    if (the_driver.DriverGetVersion(&the_driver.version) != CUDA_SUCCESS)
        the_driver.version = 0;
    if (the_driver.version < CU_MIN_DRIVER)
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE,
                               "The CUDA driver is of CUDA %d.%d, and one of CUDA %d.%d or newer is needed",
                               the_driver.version / 1000, the_driver.version % 1000 / 10,
                               CU_MIN_DRIVER / 1000, CU_MIN_DRIVER % 1000 / 10);
    CU_DRIVER_FUNCTIONS(LOAD)
    LOAD(CtxCreate, , "cuCtxCreate_v2")
#undef LOAD
    the_driver.simulated = dlsym(library, "cudasim_message") != NULL;
    return TANDEM_OK;
}

static tandem_status open_library(tandem_error *error) {
    library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "The CUDA driver cannot be opened: %s",
                               reason ? reason : library_path);
    }
    tandem_status status = load_functions(error);
    if (status != TANDEM_OK) {
        dlclose(library);
        library = NULL;
    }
    return status;
}

static tandem_status start(tandem_error *error) {
    const char *name = NULL, *meaning = NULL;
    CUresult result = the_driver.Init(0);
    if (result != CUDA_SUCCESS) {
        the_driver.GetErrorName(result, &name);
        the_driver.GetErrorString(result, &meaning);
        return tandem_kit_fail_driver(
            error, TANDEM_E_NO_DEVICE, (int32_t)result, "The CUDA driver %s: cuInit answered %s (%d), %s",
            result == CUDA_ERROR_NO_DEVICE ? "has no device" : "does not start",
            name ? name : "an unnamed result", (int)result, meaning ? meaning : "which it does not explain");
    }
    return TANDEM_OK;
}

tandem_status cu_driver_get(const cu_driver **driver, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    pthread_mutex_lock(&lock);
    if (!library)
        status = open_library(error);
    if (status == TANDEM_OK && !ready)
        status = start(error);
    if (status == TANDEM_OK) {
        ready = 1;
        *driver = &the_driver;
    }
    pthread_mutex_unlock(&lock);
    return status;
}
