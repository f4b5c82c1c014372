/* Names and versions: what cuGetProcAddress and dlsym find. Compiled for any x86-64, as pose.c. */
#include "driver.h"
#include "pose.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#undef cuDeviceGetUuid
#undef cuEventElapsedTime
#undef cuGraphAddDependencies

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device);
CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end);
CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to, size_t n);
CUresult cuCtxCreate_v2(CUcontext *context, unsigned flags, CUdevice device);
CUresult cuCtxCreate_v3(CUcontext *context, CUexecAffinityParam *params, int n, unsigned flags,
                        CUdevice device);
CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                   CUgraph *graph, const CUgraphNode **dependencies, size_t *n);

#define E(name, symbol, version)                                                                             \
    { #name, #symbol, (void (*)(void))symbol, version }
static const struct {
    const char *name, *symbol;
    void (*function)(void);
    int version; /* of CUDA that brought it, as cudaTypedefs.h tells */
} entries[] = {
    E(cuInit, cuInit, 2000),
    E(cuDriverGetVersion, cuDriverGetVersion, 2020),
    E(cuGetErrorName, cuGetErrorName, 6000),
    E(cuGetErrorString, cuGetErrorString, 6000),
    E(cuGetProcAddress, cuGetProcAddress_v2, 12000),
    E(cuDeviceGet, cuDeviceGet, 2000),
    E(cuDeviceGetCount, cuDeviceGetCount, 2000),
    E(cuDeviceGetName, cuDeviceGetName, 2000),
    E(cuDeviceGetUuid, cuDeviceGetUuid, 9020),
    E(cuDeviceGetUuid, cuDeviceGetUuid_v2, 11040),
    E(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020),
    E(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000),
    E(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010),
    E(cuDeviceGetByPCIBusId, cuDeviceGetByPCIBusId, 4010),
    E(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000),
    E(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000),
    E(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 11000),
    E(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2, 11000),
    E(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000),
    E(cuCtxCreate, cuCtxCreate_v2, 3020),
    E(cuCtxCreate, cuCtxCreate_v3, 11040),
    E(cuCtxCreate, cuCtxCreate_v4, 12050),
    E(cuCtxDestroy, cuCtxDestroy_v2, 4000),
    E(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000),
    E(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000),
    E(cuCtxSetCurrent, cuCtxSetCurrent, 4000),
    E(cuCtxGetCurrent, cuCtxGetCurrent, 4000),
    E(cuCtxGetDevice, cuCtxGetDevice, 2000),
    E(cuCtxGetFlags, cuCtxGetFlags, 7000),
    E(cuCtxGetId, cuCtxGetId, 12000),
    E(cuCtxGetApiVersion, cuCtxGetApiVersion, 3020),
    E(cuCtxSynchronize, cuCtxSynchronize, 2000),
    E(cuCtxSetLimit, cuCtxSetLimit, 3010),
    E(cuCtxGetLimit, cuCtxGetLimit, 3010),
    E(cuCtxSetCacheConfig, cuCtxSetCacheConfig, 3020),
    E(cuCtxGetCacheConfig, cuCtxGetCacheConfig, 3020),
    E(cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange, 5050),
    E(cuMemAlloc, cuMemAlloc_v2, 3020),
    E(cuMemFree, cuMemFree_v2, 3020),
    E(cuMemAllocAsync, cuMemAllocAsync, 11020),
    E(cuMemFreeAsync, cuMemFreeAsync, 11020),
    E(cuMemGetInfo, cuMemGetInfo_v2, 3020),
    E(cuMemGetAddressRange, cuMemGetAddressRange_v2, 3020),
    E(cuMemHostAlloc, cuMemHostAlloc, 2020),
    E(cuMemAllocHost, cuMemAllocHost_v2, 3020),
    E(cuMemFreeHost, cuMemFreeHost, 2000),
    E(cuMemHostRegister, cuMemHostRegister_v2, 6050),
    E(cuMemHostUnregister, cuMemHostUnregister, 4000),
    E(cuMemHostGetDevicePointer, cuMemHostGetDevicePointer_v2, 3020),
    E(cuMemHostGetFlags, cuMemHostGetFlags, 2030),
    E(cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020),
    E(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020),
    E(cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020),
    E(cuMemcpy, cuMemcpy, 4000),
    E(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020),
    E(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020),
    E(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020),
    E(cuMemcpyAsync, cuMemcpyAsync, 4000),
    E(cuMemsetD8, cuMemsetD8_v2, 3020),
    E(cuMemsetD16, cuMemsetD16_v2, 3020),
    E(cuMemsetD32, cuMemsetD32_v2, 3020),
    E(cuMemsetD8Async, cuMemsetD8Async, 3020),
    E(cuMemsetD16Async, cuMemsetD16Async, 3020),
    E(cuMemsetD32Async, cuMemsetD32Async, 3020),
    E(cuPointerGetAttribute, cuPointerGetAttribute, 4000),
    E(cuStreamCreate, cuStreamCreate, 2000),
    E(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050),
    E(cuStreamDestroy, cuStreamDestroy_v2, 4000),
    E(cuStreamSynchronize, cuStreamSynchronize, 2000),
    E(cuStreamQuery, cuStreamQuery, 2000),
    E(cuStreamWaitEvent, cuStreamWaitEvent, 3020),
    E(cuStreamGetPriority, cuStreamGetPriority, 5050),
    E(cuStreamGetFlags, cuStreamGetFlags, 5050),
    E(cuStreamGetId, cuStreamGetId, 12000),
    E(cuStreamGetCtx, cuStreamGetCtx, 9020),
    E(cuLaunchHostFunc, cuLaunchHostFunc, 10000),
    E(cuStreamBeginCapture, cuStreamBeginCapture_v2, 10010),
    E(cuStreamEndCapture, cuStreamEndCapture, 10000),
    E(cuStreamIsCapturing, cuStreamIsCapturing, 10000),
    E(cuStreamGetCaptureInfo, cuStreamGetCaptureInfo_v2, 11030),
    E(cuStreamGetCaptureInfo, cuStreamGetCaptureInfo_v3, 12030),
    E(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010),
    E(cuEventCreate, cuEventCreate, 2000),
    E(cuEventDestroy, cuEventDestroy_v2, 4000),
    E(cuEventRecord, cuEventRecord, 2000),
    E(cuEventRecordWithFlags, cuEventRecordWithFlags, 11010),
    E(cuEventSynchronize, cuEventSynchronize, 2000),
    E(cuEventQuery, cuEventQuery, 2000),
    E(cuEventElapsedTime, cuEventElapsedTime, 2000),
    E(cuEventElapsedTime, cuEventElapsedTime_v2, 12080),
    E(cuModuleLoad, cuModuleLoad, 2000),
    E(cuModuleLoadData, cuModuleLoadData, 2000),
    E(cuModuleLoadDataEx, cuModuleLoadDataEx, 2010),
    E(cuModuleLoadFatBinary, cuModuleLoadFatBinary, 2000),
    E(cuModuleUnload, cuModuleUnload, 2000),
    E(cuModuleGetFunction, cuModuleGetFunction, 2000),
    E(cuModuleGetFunctionCount, cuModuleGetFunctionCount, 12040),
    E(cuModuleEnumerateFunctions, cuModuleEnumerateFunctions, 12040),
    E(cuModuleGetGlobal, cuModuleGetGlobal_v2, 3020),
    E(cuModuleGetLoadingMode, cuModuleGetLoadingMode, 11070),
    E(cuFuncGetAttribute, cuFuncGetAttribute, 2020),
    E(cuFuncSetAttribute, cuFuncSetAttribute, 9000),
    E(cuFuncSetCacheConfig, cuFuncSetCacheConfig, 3000),
    E(cuFuncGetModule, cuFuncGetModule, 11000),
    E(cuFuncGetName, cuFuncGetName, 12030),
    E(cuFuncGetParamInfo, cuFuncGetParamInfo, 12040),
    E(cuLibraryLoadData, cuLibraryLoadData, 12000),
    E(cuLibraryUnload, cuLibraryUnload, 12000),
    E(cuLibraryGetKernel, cuLibraryGetKernel, 12000),
    E(cuLibraryGetModule, cuLibraryGetModule, 12000),
    E(cuLibraryGetGlobal, cuLibraryGetGlobal, 12000),
    E(cuKernelGetFunction, cuKernelGetFunction, 12000),
    E(cuKernelGetAttribute, cuKernelGetAttribute, 12000),
    E(cuKernelSetAttribute, cuKernelSetAttribute, 12000),
    E(cuLaunchKernel, cuLaunchKernel, 4000),
    E(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel, 9000),
    E(cuLaunchKernelEx, cuLaunchKernelEx, 11060),
    E(cuOccupancyMaxActiveBlocksPerMultiprocessor, cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050),
    E(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
      cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, 7000),
    E(cuOccupancyMaxPotentialBlockSize, cuOccupancyMaxPotentialBlockSize, 6050),
    E(cuGraphCreate, cuGraphCreate, 10000),
    E(cuGraphDestroy, cuGraphDestroy, 10000),
    E(cuGraphAddKernelNode, cuGraphAddKernelNode_v2, 12000),
    E(cuGraphAddMemcpyNode, cuGraphAddMemcpyNode, 10000),
    E(cuGraphAddMemsetNode, cuGraphAddMemsetNode, 10000),
    E(cuGraphAddHostNode, cuGraphAddHostNode, 10000),
    E(cuGraphAddEmptyNode, cuGraphAddEmptyNode, 10000),
    E(cuGraphAddEventRecordNode, cuGraphAddEventRecordNode, 11010),
    E(cuGraphAddDependencies, cuGraphAddDependencies, 10000),
    E(cuGraphAddDependencies, cuGraphAddDependencies_v2, 12030),
    E(cuGraphGetNodes, cuGraphGetNodes, 10000),
    E(cuGraphGetRootNodes, cuGraphGetRootNodes, 10000),
    E(cuGraphGetEdges, cuGraphGetEdges_v2, 12030),
    E(cuGraphNodeGetType, cuGraphNodeGetType, 10000),
    E(cuGraphKernelNodeSetParams, cuGraphKernelNodeSetParams_v2, 12000),
    E(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, 11040),
    E(cuGraphInstantiateWithParams, cuGraphInstantiateWithParams, 12000),
    E(cuGraphExecKernelNodeSetParams, cuGraphExecKernelNodeSetParams_v2, 12000),
    E(cuGraphExecUpdate, cuGraphExecUpdate_v2, 12000),
    E(cuGraphExecDestroy, cuGraphExecDestroy, 10000),
    E(cuGraphLaunch, cuGraphLaunch, 10000),
    E(cuGraphUpload, cuGraphUpload, 11010),
};

enum { N_ENTRY = sizeof entries / sizeof *entries };

/* ---- what dlsym finds ----
 *
 * A driver of an older version does not export what came later, and a program that asks with dlsym must see
 * that. dlsym passes over a symbol whose value is 0, so the value of such a symbol in this library's own
 * table is set to 0, and put back when the version changes. Everything inside the library is bound by then
 * (-z now); what a program has bound or looked up before stays with it.
 */

static struct {
    ElfW(Sym) * symbol;
    ElfW(Addr) value;
} exported[N_ENTRY];
static const ElfW(Ehdr) * library; /* where it is mapped */

static bool find_exported(void) {
    for (size_t i = 0; i < N_ENTRY; i++) {
        Dl_info info;
        void *symbol = NULL, *function;
        memcpy(&function, &entries[i].function, sizeof function);
        if (!dladdr1(function, &info, &symbol, RTLD_DL_SYMENT) || !symbol || !info.dli_sname ||
            strcmp(info.dli_sname, entries[i].symbol))
            return false;
        library = info.dli_fbase;
        exported[i].symbol = symbol;
        exported[i].value = exported[i].symbol->st_value;
    }
    return true;
}

/* How the segment that holds the table is mapped. */
static int protection_of(const void *at) {
    const ElfW(Phdr) *segment = (const void *)((const char *)library + library->e_phoff);
    const ElfW(Addr) offset = (ElfW(Addr))((const char *)at - (const char *)library);
    for (unsigned i = 0; i < library->e_phnum; i++)
        if (segment[i].p_type == PT_LOAD && offset - segment[i].p_vaddr < segment[i].p_memsz)
            return (segment[i].p_flags & PF_R ? PROT_READ : 0) |
                   (segment[i].p_flags & PF_W ? PROT_WRITE : 0) | (segment[i].p_flags & PF_X ? PROT_EXEC : 0);
    return PROT_READ;
}

static bool set_value(ElfW(Sym) * symbol, ElfW(Addr) value) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)symbol / page * page,
                    to = ((uintptr_t)(symbol + 1) + page - 1) / page * page;
    const int protection = protection_of(symbol);
    if (mprotect((void *)from, to - from, protection | PROT_WRITE))
        return false;
    symbol->st_value = value;
    mprotect((void *)from, to - from, protection);
    return true;
}

void entries_pose(uint32_t driver_version) {
    static bool found;
    if (!found && !(found = find_exported())) {
        message("the library's own symbols cannot be found, so dlsym finds those of every version");
        return;
    }
    for (size_t i = 0; i < N_ENTRY; i++) {
        const ElfW(Addr) value = entries[i].version <= (int)driver_version ? exported[i].value : 0;
        if (exported[i].symbol->st_value != value && !set_value(exported[i].symbol, value))
            message("whether dlsym finds %s cannot be changed", entries[i].symbol);
    }
}

/* ---- what cuGetProcAddress finds ---- */

/* The newest that is not newer than asked for; a driver knows nothing of names that came after it. */
static CUresult find(const char *name, void **out, int version, CUdriverProcAddressQueryResult *status) {
    int best = 0;
    bool known = false;
    *out = NULL;
    for (size_t i = 0; i < N_ENTRY; i++)
        if (!strcmp(entries[i].name, name) && entries[i].version <= (int)options.driver_version) {
            known = true;
            if (entries[i].version <= version && entries[i].version > best) {
                best = entries[i].version;
                memcpy(out, &entries[i].function, sizeof *out);
            }
        }
    if (status)
        *status = best    ? CU_GET_PROC_ADDRESS_SUCCESS
                  : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                          : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return best ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

static CUresult look_up(const char *name, void **out, int version, cuuint64_t flags,
                        CUdriverProcAddressQueryResult *status) {
    if (!name || !out)
        return api_refuse("cuGetProcAddress", CUDA_ERROR_INVALID_VALUE);
    if (flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "a default stream a thread is not simulated");
    if (flags != CU_GET_PROC_ADDRESS_DEFAULT && flags != CU_GET_PROC_ADDRESS_LEGACY_STREAM)
        return api_refuse("cuGetProcAddress", CUDA_ERROR_INVALID_VALUE);
    const CUresult r = find(name, out, version, status);
    if (r)
        message_quietly(
            "cuGetProcAddress: a driver of CUDA %u.%u has no %s that came with CUDA %d.%d or before",
            options.driver_version / 1000, options.driver_version % 1000 / 10, name, version / 1000,
            version % 1000 / 10);
    return r;
}

CUresult cuGetProcAddress_v2(const char *name, void **out, int version, cuuint64_t flags,
                             CUdriverProcAddressQueryResult *status) {
    return look_up(name, out, version, flags, status);
}
#pragma GCC visibility push(default)
#undef cuGetProcAddress
CUresult cuGetProcAddress(const char *name, void **out, int version, cuuint64_t flags);
CUresult cuGetProcAddress(const char *name, void **out, int version, cuuint64_t flags) {
    return look_up(name, out, version, flags, NULL);
}
#pragma GCC visibility pop
