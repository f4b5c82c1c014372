/* Start, errors, and what the device says of itself: a card of compute capability 8.6 with the size of an RTX
 * 3060, that calls itself simulated.
 */
#include "driver.h"
#include "pose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char device_name[] = "tandem simulated GPU";
static const char pci_id[] = "0000:5d:00.0";
static const unsigned char uuid_bytes[16] = {'t', 'a', 'n', 'd', 'e', 'm', '-', 's',
                                             'i', 'm', 'u', 'l', 'a', 't', 'e', 'd'};

bool cpu_can_run(void); /* cpu.c */

static CUresult init(unsigned flags) {
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    if (!options_load())
        return CUDA_ERROR_INVALID_VALUE;
    if (!cpu_can_run())
        return REFUSE(
            CUDA_ERROR_SYSTEM_NOT_READY,
            "the simulator is built for processors with AVX2, FMA, F16C and BMI2, and this one lacks some");
    if (pose_device(options.arch)->since > options.driver_version) {
        driver_ready = false;
        return REFUSE(CUDA_ERROR_NO_DEVICE,
                      "a driver of CUDA %u.%u knows no device of compute capability %u.%u",
                      options.driver_version / 1000, options.driver_version % 1000 / 10, options.arch / 10,
                      options.arch % 10);
    }
    if (!driver_ready)
        counters_write_at_exit();
    driver_ready = true;
    return CUDA_SUCCESS;
}
CUresult cuInit(unsigned flags) {
    API("cuInit", NEEDS_NOTHING, init(flags));
}
CUresult cuDriverGetVersion(int *version) {
    if (!version)
        return api_refuse("cuDriverGetVersion", CUDA_ERROR_INVALID_VALUE);
    options_load();
    *version = (int)options.driver_version;
    return CUDA_SUCCESS;
}

/* ---- errors ---- */

#define E(id, text)                                                                                          \
    { CUDA_ERROR_##id, "CUDA_ERROR_" #id, text }
static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    E(INVALID_VALUE, "invalid argument"),
    E(OUT_OF_MEMORY, "out of memory"),
    E(NOT_INITIALIZED, "initialization error"),
    E(DEINITIALIZED, "driver shutting down"),
    E(NO_DEVICE, "no device"),
    E(INVALID_DEVICE, "invalid device ordinal"),
    E(INVALID_IMAGE, "device kernel image is invalid"),
    E(INVALID_CONTEXT, "invalid device context"),
    E(NO_BINARY_FOR_GPU, "no kernel image is available for the device"),
    E(ECC_UNCORRECTABLE, "uncorrectable ECC error"),
    E(UNSUPPORTED_LIMIT, "limit is not supported"),
    E(INVALID_PTX, "a PTX JIT compilation failed"),
    E(UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain."),
    E(INVALID_SOURCE, "invalid source"),
    E(FILE_NOT_FOUND, "file not found"),
    E(INVALID_HANDLE, "invalid resource handle"),
    E(ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    E(NOT_FOUND, "named symbol not found"),
    E(NOT_READY, "device not ready"),
    E(ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    E(LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    E(LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    E(CONTEXT_IS_DESTROYED, "context is destroyed"),
    E(HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"),
    E(HOST_MEMORY_NOT_REGISTERED, "pointer does not correspond to a registered memory region"),
    E(ILLEGAL_INSTRUCTION, "an illegal instruction was encountered"),
    E(MISALIGNED_ADDRESS, "misaligned address"),
    E(INVALID_ADDRESS_SPACE, "operation not supported on global/shared address space"),
    E(LAUNCH_FAILED, "unspecified launch failure"),
    E(COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    E(NOT_PERMITTED, "operation not permitted"),
    E(NOT_SUPPORTED, "operation not supported"),
    E(SYSTEM_NOT_READY, "system not yet initialized"),
    E(STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    E(STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    E(STREAM_CAPTURE_UNMATCHED, "capture was not initiated in this stream"),
    E(STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    E(STREAM_CAPTURE_ISOLATION, "dependency created on uncaptured work in another stream"),
    E(CAPTURED_EVENT, "operation not permitted on an event last recorded in a capturing stream"),
    E(STREAM_CAPTURE_WRONG_THREAD,
      "attempt to terminate a thread-local capture sequence from another thread"),
    E(GRAPH_EXEC_UPDATE_FAILURE, "the graph update was not performed"),
    E(UNKNOWN, "unknown error"),
};

CUresult error_text(CUresult code, const char **text, bool name) {
    if (!text)
        return CUDA_ERROR_INVALID_VALUE;
    *text = NULL;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        if (errors[i].code == code)
            *text = name ? errors[i].name : errors[i].text;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
static CUresult tell(const char *function, CUresult code, const char **text, bool name) {
    const CUresult r = error_text(code, text, name);
    if (r && text)
        message_quietly("%s: %d is no code that is known here", function, (int)code);
    return r && !text ? api_refuse(function, r) : r;
}
CUresult cuGetErrorName(CUresult code, const char **name) {
    return tell("cuGetErrorName", code, name, true);
}
CUresult cuGetErrorString(CUresult code, const char **text) {
    return tell("cuGetErrorString", code, text, false);
}

/* ---- the device ---- */

static CUresult check(CUdevice device, const void *out) {
    return device != 0 ? CUDA_ERROR_INVALID_DEVICE : out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult get_device(CUdevice *device, int ordinal) {
    const CUresult r = check(ordinal, device);
    if (!r)
        *device = 0;
    return r;
}
static CUresult get_text(char *to, int length, CUdevice device, const char *text) {
    const CUresult r = check(device, to);
    if (r || length <= 0)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    snprintf(to, (size_t)length, "%s", text);
    return CUDA_SUCCESS;
}
static CUresult get_count(int *count) {
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    *count = 1;
    return CUDA_SUCCESS;
}
static CUresult get_uuid(CUuuid *uuid, CUdevice device) {
    const CUresult r = check(device, uuid);
    if (!r)
        memcpy(uuid->bytes, uuid_bytes, sizeof uuid_bytes);
    return r;
}
static CUresult get_memory(size_t *bytes, CUdevice device) {
    const CUresult r = check(device, bytes);
    if (!r)
        *bytes = options.memory_bytes;
    return r;
}
static CUresult get_by_pci(CUdevice *device, const char *id) {
    if (!device || !id)
        return CUDA_ERROR_INVALID_VALUE;
    *device = 0;
    return !strcasecmp(id, pci_id) || !strcasecmp(id, pci_id + 5) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* Attributes that are not here are 0 on this device. */
static int attribute(CUdevice_attribute which) {
    switch ((int)which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        return (int)options.arch / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        return (int)options.arch % 10;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        return (int)options.sms;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        return MAX_THREADS_PER_BLOCK;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        return INT32_MAX;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        return SHARED_PER_BLOCK;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        return (int)pose_device(options.arch)->shared_per_block;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        return (int)pose_device(options.arch)->shared_per_sm;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
        return SHARED_RESERVED;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
        return 65536;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        return LANES;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        return REGISTERS_PER_SM;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        return (int)pose_device(options.arch)->threads_per_sm;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        return (int)pose_device(options.arch)->blocks_per_sm;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        return 1777000;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        return 7501000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        return 192;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        return 3 << 20;
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        return 1;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
        return 2;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        return 0x5d;
    case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
        return INT32_MAX;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
        return 512;
    default:
        return 0;
    }
}
static CUresult get_attribute(int *value, CUdevice_attribute which, CUdevice device) {
    const CUresult r = check(device, value);
    if (r || which < CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK || which >= CU_DEVICE_ATTRIBUTE_MAX)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    *value = attribute(which);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    API("cuDeviceGet", NEEDS_INIT, get_device(device, ordinal));
}
CUresult cuDeviceGetCount(int *count) {
    API("cuDeviceGetCount", NEEDS_INIT, get_count(count));
}
CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    API("cuDeviceGetName", NEEDS_INIT, get_text(name, length, device, device_name));
}
CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    API("cuDeviceGetUuid", NEEDS_INIT, get_uuid(uuid, device));
}
#pragma GCC visibility push(default)
#undef cuDeviceGetUuid
CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device);
CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    API("cuDeviceGetUuid", NEEDS_INIT, get_uuid(uuid, device));
}
#pragma GCC visibility pop
CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    API("cuDeviceTotalMem", NEEDS_INIT, get_memory(bytes, device));
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device) {
    API("cuDeviceGetAttribute", NEEDS_INIT, get_attribute(value, which, device));
}
CUresult cuDeviceGetPCIBusId(char *id, int length, CUdevice device) {
    API("cuDeviceGetPCIBusId", NEEDS_INIT, get_text(id, length, device, pci_id));
}
CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *id) {
    API("cuDeviceGetByPCIBusId", NEEDS_INIT, get_by_pci(device, id));
}
