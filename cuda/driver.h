/* driver.h: the CUDA driver, opened at run time. The plugin links to no CUDA library. */
#ifndef CU_DRIVER_H
#define CU_DRIVER_H

#include <cuda.h>

#include <tandem/tandem.h>

/* The oldest driver, of CUDA 12.2 (NVIDIA's 535): 1000 major + 10 minor. note: kernels are lowered to its PTX
 * (CMakeLists.txt). */
#define CU_MIN_DRIVER 12020

/* X(member, function whose type it has, symbol). Symbols of a driver of CUDA 12.2, whatever the header
 * prefers.
 */
#define CU_DRIVER_FUNCTIONS(X)                                                                               \
    X(Init, cuInit, "cuInit")                                                                                \
    X(DriverGetVersion, cuDriverGetVersion, "cuDriverGetVersion")                                            \
    X(GetErrorName, cuGetErrorName, "cuGetErrorName")                                                        \
    X(GetErrorString, cuGetErrorString, "cuGetErrorString")                                                  \
    X(DeviceGetCount, cuDeviceGetCount, "cuDeviceGetCount")                                                  \
    X(DeviceGet, cuDeviceGet, "cuDeviceGet")                                                                 \
    X(DeviceGetName, cuDeviceGetName, "cuDeviceGetName")                                                     \
    X(DeviceGetUuid, cuDeviceGetUuid, "cuDeviceGetUuid_v2")                                                  \
    X(DeviceGetAttribute, cuDeviceGetAttribute, "cuDeviceGetAttribute")                                      \
    X(DeviceTotalMem, cuDeviceTotalMem, "cuDeviceTotalMem_v2")                                               \
    X(CtxDestroy, cuCtxDestroy, "cuCtxDestroy_v2")                                                           \
    X(CtxPushCurrent, cuCtxPushCurrent, "cuCtxPushCurrent_v2")                                               \
    X(CtxPopCurrent, cuCtxPopCurrent, "cuCtxPopCurrent_v2")                                                  \
    X(MemGetInfo, cuMemGetInfo, "cuMemGetInfo_v2")                                                           \
    X(MemAlloc, cuMemAlloc, "cuMemAlloc_v2")                                                                 \
    X(MemFree, cuMemFree, "cuMemFree_v2")                                                                    \
    X(MemHostAlloc, cuMemHostAlloc, "cuMemHostAlloc")                                                        \
    X(MemFreeHost, cuMemFreeHost, "cuMemFreeHost")                                                           \
    X(MemHostGetDevicePointer, cuMemHostGetDevicePointer, "cuMemHostGetDevicePointer_v2")                    \
    X(MemcpyHtoDAsync, cuMemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2")                                            \
    X(MemcpyDtoHAsync, cuMemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2")                                            \
    X(MemcpyDtoDAsync, cuMemcpyDtoDAsync, "cuMemcpyDtoDAsync_v2")                                            \
    X(MemsetD8Async, cuMemsetD8Async, "cuMemsetD8Async")                                                     \
    X(StreamCreate, cuStreamCreate, "cuStreamCreate")                                                        \
    X(StreamDestroy, cuStreamDestroy, "cuStreamDestroy_v2")                                                  \
    X(StreamSynchronize, cuStreamSynchronize, "cuStreamSynchronize")                                         \
    X(EventCreate, cuEventCreate, "cuEventCreate")                                                           \
    X(EventDestroy, cuEventDestroy, "cuEventDestroy_v2")                                                     \
    X(EventRecord, cuEventRecord, "cuEventRecord")                                                           \
    X(EventQuery, cuEventQuery, "cuEventQuery")                                                              \
    X(EventSynchronize, cuEventSynchronize, "cuEventSynchronize")                                            \
    X(EventElapsedTime, cuEventElapsedTime, "cuEventElapsedTime")                                            \
    X(ModuleLoadData, cuModuleLoadData, "cuModuleLoadData")                                                  \
    X(ModuleUnload, cuModuleUnload, "cuModuleUnload")                                                        \
    X(ModuleGetFunction, cuModuleGetFunction, "cuModuleGetFunction")                                         \
    X(FuncGetAttribute, cuFuncGetAttribute, "cuFuncGetAttribute")                                            \
    X(FuncSetAttribute, cuFuncSetAttribute, "cuFuncSetAttribute")                                            \
    X(LaunchKernel, cuLaunchKernel, "cuLaunchKernel")                                                        \
    X(GraphCreate, cuGraphCreate, "cuGraphCreate")                                                           \
    X(GraphDestroy, cuGraphDestroy, "cuGraphDestroy")                                                        \
    X(GraphAddKernelNode, cuGraphAddKernelNode, "cuGraphAddKernelNode_v2")                                   \
    X(GraphInstantiate, cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags")                          \
    X(GraphExecDestroy, cuGraphExecDestroy, "cuGraphExecDestroy")                                            \
    X(GraphLaunch, cuGraphLaunch, "cuGraphLaunch")

typedef struct cu_driver {
#define MEMBER(member, function, symbol) __typeof__(&function) member;
    CU_DRIVER_FUNCTIONS(MEMBER)
#undef MEMBER
    CUresult (*CtxCreate)(CUcontext *context, unsigned flags,
                          CUdevice device); /* the second version's type */
    int version;                            /* 1000 major + 10 minor */
    int simulated;                          /* 1: tests/cudasim poses as the driver */
} cu_driver;

/* The library to open instead of libcuda.so.1; NULL: that one. Before the first cu_driver_get. */
void cu_driver_set_library(const char *path);

/* The driver, opened and initialised by the first call. NO_DEVICE: it is missing, too old, or has no device;
 * the sentence says which. [any-thread] */
tandem_status cu_driver_get(const cu_driver **driver, tandem_error *error);

#endif
