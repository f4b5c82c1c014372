/* Every refused call leaves a sentence: each function of the API is called wrongly. */
#include "sim.h"

static const char before[] = "there is no option CUDASIM_NOTHING";

/* Puts a known sentence where the next one must stand. */
static void clear(void) {
    assert_int_equal(cudasim_option("NOTHING", "1"), -1);
    assert_string_equal(cudasim_message(), before);
}

static void leaves_a_sentence(const char *call, CUresult result) {
    const char *said = cudasim_message();
    const bool good = result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY && strcmp(said, before) != 0 &&
                      strlen(said) > 20 && strchr(said, ' ');
    if (!good)
        print_error("%s: %d: %s\n", call, (int)result, said);
    assert_true(good);
}

/* What has been tried, to find what has not. */
static char tried[256][64];
static int n_tried;

#define REFUSED(function, ...)                                                                               \
    do {                                                                                                     \
        assert_true(n_tried < 256);                                                                          \
        snprintf(tried[n_tried++], sizeof *tried, "%s", #function);                                          \
        clear();                                                                                             \
        leaves_a_sentence(#function, function(__VA_ARGS__));                                                 \
    } while (0)

/* An address of the test's own: no handle that the driver gave. */
static int nobody;
#define NOBODY (void *)&nobody

static void refuse_devices_and_contexts(void) {
    CUdevice device;
    CUcontext context;
    CUuuid uuid;
    size_t bytes;
    unsigned version;
    unsigned long long id;
    int value;
    char text[16];
    REFUSED(cuInit, 7);
    REFUSED(cuDriverGetVersion, NULL);
    REFUSED(cuGetErrorName, (CUresult)12345, (const char **)&context);
    REFUSED(cuGetErrorName, CUDA_SUCCESS, NULL);
    REFUSED(cuGetErrorString, (CUresult)12345, (const char **)&context);
    REFUSED(cuGetProcAddress_v2, "cuNoSuchThing", (void **)&context, 13000, 0, NULL);
    REFUSED(cuGetProcAddress_v2, NULL, (void **)&context, 13000, 0, NULL);
    REFUSED(cuGetProcAddress_v2, "cuInit", (void **)&context, 13000, 77, NULL);
    REFUSED(cuDeviceGet, &device, 3);
    REFUSED(cuDeviceGetCount, NULL);
    REFUSED(cuDeviceGetName, text, 0, 0);
    REFUSED(cuDeviceGetUuid_v2, &uuid, 3);
    REFUSED(cuDeviceTotalMem_v2, &bytes, 3);
    REFUSED(cuDeviceGetAttribute, &value, 10000, 0);
    REFUSED(cuDeviceGetPCIBusId, text, 16, 3);
    REFUSED(cuDeviceGetByPCIBusId, &device, "0000:01:00.0");
    REFUSED(cuDevicePrimaryCtxRetain, NULL, 0);
    REFUSED(cuDevicePrimaryCtxRelease_v2, 0);
    REFUSED(cuDevicePrimaryCtxReset_v2, 3);
    REFUSED(cuDevicePrimaryCtxSetFlags_v2, 0, ~0u);
    REFUSED(cuDevicePrimaryCtxGetState, 0, NULL, &value);
    REFUSED(cuCtxCreate_v4, NULL, NULL, 0, 0);
    REFUSED(cuCtxCreate_v4, &context, NULL, 0, 3);
    REFUSED(cuCtxDestroy_v2, NOBODY);
    REFUSED(cuCtxPushCurrent_v2, NOBODY);
    REFUSED(cuCtxSetCurrent, NOBODY);
    REFUSED(cuCtxGetCurrent, NULL);
    REFUSED(cuCtxGetDevice, NULL);
    REFUSED(cuCtxGetFlags, NULL);
    REFUSED(cuCtxGetId, NOBODY, &id);
    REFUSED(cuCtxGetApiVersion, NOBODY, &version);
    REFUSED(cuCtxSetLimit, (CUlimit)77, 5);
    REFUSED(cuCtxGetLimit, &bytes, (CUlimit)77);
    REFUSED(cuCtxGetCacheConfig, NULL);
    REFUSED(cuThreadExchangeStreamCaptureMode, NULL);
}

static void refuse_memory(void) {
    CUdeviceptr p = sim_alloc(64), out;
    size_t bytes;
    unsigned flags;
    void *pinned;
    char here[64];
    CU(cuMemHostAlloc(&pinned, 64, 0));
    REFUSED(cuMemAlloc_v2, &out, 0);
    REFUSED(cuMemAlloc_v2, &out, 1ull << 50);
    SAYS("in use");
    REFUSED(cuMemFree_v2, p + 16);
    SAYS("does not begin what cuMemAlloc gave: it lies 16 bytes inside allocation");
    REFUSED(cuMemFree_v2, 0x1234);
    SAYS("cuMemFree: 0x1234 does not begin what cuMemAlloc gave: nothing is allocated at 0x1234");
    CU(cuMemHostGetDevicePointer(&out, pinned, 0));
    REFUSED(cuMemFree_v2, out);
    SAYS("it is memory of the host");
    CUdeviceptr freed = sim_alloc(64);
    CU(cuMemFree(freed));
    REFUSED(cuMemFree_v2, freed);
    SAYS("which was freed");
    REFUSED(cuMemAllocAsync, NULL, 64, NULL);
    REFUSED(cuMemFreeAsync, p + 4, NULL);
    SAYS("cuMemFreeAsync");
    REFUSED(cuMemFreeAsync, p, NOBODY);
    REFUSED(cuMemGetInfo_v2, NULL, NULL);
    REFUSED(cuMemGetAddressRange_v2, &out, &bytes, 0x1234);
    REFUSED(cuMemHostAlloc, &pinned, 0, 0);
    REFUSED(cuMemAllocHost_v2, NULL, 64);
    REFUSED(cuMemFreeHost, here);
    REFUSED(cuMemHostRegister_v2, pinned, 64, 0);
    REFUSED(cuMemHostUnregister, here);
    REFUSED(cuMemHostGetDevicePointer_v2, &out, here, 0);
    REFUSED(cuMemHostGetFlags, &flags, here);
    REFUSED(cuMemcpyHtoD_v2, p + 32, here, 64);
    SAYS("64 bytes are to be copied to 0x");
    SAYS("lies 32 bytes before the end of allocation");
    REFUSED(cuMemcpyHtoD_v2, p, NULL, 64);
    SAYS("64 bytes are to be copied from NULL");
    REFUSED(cuMemcpyDtoH_v2, here, freed, 64);
    SAYS("which was freed");
    REFUSED(cuMemcpyDtoD_v2, p, 0x1234, 64);
    SAYS("64 bytes are to be copied from 0x1234, but nothing is allocated");
    REFUSED(cuMemcpy, p, 0, 64);
    REFUSED(cuMemcpyHtoDAsync_v2, p + 1, here, 64, NULL);
    REFUSED(cuMemcpyHtoDAsync_v2, p, here, 64, NOBODY);
    REFUSED(cuMemcpyDtoHAsync_v2, NULL, p, 64, NULL);
    REFUSED(cuMemcpyDtoDAsync_v2, p, p + 1, 64, NULL);
    REFUSED(cuMemcpyAsync, 0, p, 64, NULL);
    REFUSED(cuMemsetD8_v2, p, 0, 65);
    SAYS("65 bytes are to be filled at");
    REFUSED(cuMemsetD16_v2, p + 1, 0, 4);
    SAYS("misaligned");
    REFUSED(cuMemsetD32_v2, p, 0, 17);
    REFUSED(cuMemsetD8Async, p, 0, 65, NULL);
    REFUSED(cuMemsetD16Async, p, 0, 33, NULL);
    REFUSED(cuMemsetD32Async, p, 0, 1, NOBODY);
    REFUSED(cuPointerGetAttribute, &bytes, CU_POINTER_ATTRIBUTE_CONTEXT, 0x1234);
}

static void refuse_modules(void) {
    static const char text[] = ".version 8.0\n.target sm_80\n.visible .entry k(.param .u32 p) { ret; }";
    CUmodule m;
    CUfunction f;
    CUdeviceptr p;
    CUlibrary library;
    CUkernel kernel;
    size_t bytes;
    unsigned n;
    int value;
    const char *name;
    CU(cuModuleLoadData(&m, text));
    CU(cuModuleGetFunction(&f, m, "k"));
    REFUSED(cuModuleLoad, &m, "/nowhere/a.fatbin");
    SAYS("/nowhere/a.fatbin");
    REFUSED(cuModuleLoadData, &m, "no PTX");
    REFUSED(cuModuleLoadDataEx, &m, text, 1, NULL, NULL);
    REFUSED(cuModuleLoadFatBinary, &m, NULL);
    REFUSED(cuModuleUnload, NOBODY);
    REFUSED(cuModuleGetFunction, &f, m, "nobody");
    SAYS("the module has no kernel 'nobody'");
    REFUSED(cuModuleGetFunctionCount, &n, NOBODY);
    REFUSED(cuModuleEnumerateFunctions, &f, 1, NOBODY);
    REFUSED(cuModuleGetGlobal_v2, &p, &bytes, m, "nobody");
    SAYS("the module has no variable 'nobody'");
    REFUSED(cuModuleGetLoadingMode, NULL);
    REFUSED(cuFuncGetAttribute, &value, CU_FUNC_ATTRIBUTE_NUM_REGS, NOBODY);
    REFUSED(cuFuncSetAttribute, f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 1 << 20);
    REFUSED(cuFuncSetCacheConfig, NOBODY, CU_FUNC_CACHE_PREFER_L1);
    REFUSED(cuFuncGetModule, NULL, f);
    REFUSED(cuFuncGetName, &name, NOBODY);
    REFUSED(cuFuncGetParamInfo, f, 7, &bytes, &bytes);
    REFUSED(cuLibraryLoadData, &library, "no PTX", NULL, NULL, 0, NULL, NULL, 0);
    REFUSED(cuLibraryUnload, NOBODY);
    REFUSED(cuLibraryGetKernel, &kernel, NOBODY, "k");
    REFUSED(cuLibraryGetModule, &m, NOBODY);
    REFUSED(cuLibraryGetGlobal, &p, &bytes, NOBODY, "x");
    REFUSED(cuKernelGetFunction, &f, NOBODY);
    REFUSED(cuKernelGetAttribute, &value, CU_FUNC_ATTRIBUTE_NUM_REGS, NOBODY, 0);
    REFUSED(cuKernelSetAttribute, CU_FUNC_ATTRIBUTE_NUM_REGS, 3, NOBODY, 0);
    REFUSED(cuLaunchKernel, NOBODY, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    REFUSED(cuLaunchKernel, f, 1, 1, 1, 2000, 1, 1, 0, NULL, NULL, NULL);
    REFUSED(cuLaunchKernel, f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, PARAMS(NOBODY, NOBODY, CU_LAUNCH_PARAM_END));
    REFUSED(cuLaunchCooperativeKernel, f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL);
    REFUSED(cuLaunchKernelEx, NULL, f, NULL, NULL);
    REFUSED(cuOccupancyMaxActiveBlocksPerMultiprocessor, &value, NOBODY, 32, 0);
    REFUSED(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, &value, f, 32, 0, 9);
    REFUSED(cuOccupancyMaxPotentialBlockSize, &value, NULL, f, NULL, 0, 0);
}

static void refuse_streams(void) {
    CUstream s;
    CUevent e;
    CUgraph g;
    CUstreamCaptureStatus status;
    CUcontext context;
    unsigned flags;
    unsigned long long id;
    int value;
    float ms;
    CU(cuStreamCreate(&s, 0));
    CU(cuEventCreate(&e, 0));
    REFUSED(cuStreamCreate, &s, 77);
    REFUSED(cuStreamCreateWithPriority, NULL, 0, 0);
    REFUSED(cuStreamDestroy_v2, NOBODY);
    REFUSED(cuStreamSynchronize, NOBODY);
    REFUSED(cuStreamQuery, NOBODY);
    REFUSED(cuStreamWaitEvent, s, NOBODY, 0);
    REFUSED(cuStreamGetPriority, NOBODY, &value);
    REFUSED(cuStreamGetFlags, NOBODY, &flags);
    REFUSED(cuStreamGetId, NOBODY, &id);
    REFUSED(cuStreamGetCtx, NOBODY, &context);
    REFUSED(cuLaunchHostFunc, s, NULL, NULL);
    REFUSED(cuStreamBeginCapture_v2, NULL, CU_STREAM_CAPTURE_MODE_GLOBAL);
    REFUSED(cuStreamEndCapture, s, &g);
    REFUSED(cuStreamIsCapturing, NOBODY, &status);
    REFUSED(cuStreamGetCaptureInfo_v3, NOBODY, &status, NULL, NULL, NULL, NULL, NULL);
    REFUSED(cuEventCreate, &e, 77);
    REFUSED(cuEventDestroy_v2, NOBODY);
    REFUSED(cuEventRecord, e, NOBODY);
    REFUSED(cuEventRecordWithFlags, e, s, 77);
    REFUSED(cuEventSynchronize, NOBODY);
    REFUSED(cuEventQuery, NOBODY);
    REFUSED(cuEventElapsedTime_v2, &ms, e, e);
}

static void refuse_graphs(void) {
    CUgraph g;
    CUgraphNode node, other;
    CUgraphNodeType type;
    CUgraphExec exec;
    CUDA_KERNEL_NODE_PARAMS kernel = {.func = NOBODY};
    CUDA_MEMCPY3D copy = {.Height = 2};
    CUDA_MEMSET_NODE_PARAMS set = {.elementSize = 3};
    CUDA_HOST_NODE_PARAMS call = {0};
    CUDA_GRAPH_INSTANTIATE_PARAMS how = {0};
    CUgraphExecUpdateResultInfo info;
    size_t n;
    CU(cuGraphCreate(&g, 0));
    CU(cuGraphAddEmptyNode(&node, g, NULL, 0));
    CU(cuGraphAddEmptyNode(&other, g, &node, 1));
    CU(cuGraphInstantiateWithFlags(&exec, g, 0));
    REFUSED(cuGraphCreate, &g, 7);
    REFUSED(cuGraphDestroy, NOBODY);
    REFUSED(cuGraphAddKernelNode_v2, &node, g, NULL, 0, &kernel);
    REFUSED(cuGraphAddMemcpyNode, &node, g, NULL, 0, &copy, NULL);
    REFUSED(cuGraphAddMemsetNode, &node, g, NULL, 0, &set, NULL);
    REFUSED(cuGraphAddHostNode, &node, g, NULL, 0, &call);
    REFUSED(cuGraphAddEmptyNode, &node, NOBODY, NULL, 0);
    REFUSED(cuGraphAddEventRecordNode, &node, g, NULL, 0, NOBODY);
    REFUSED(cuGraphAddDependencies_v2, g, &other, &node, NULL, 1);
    REFUSED(cuGraphGetNodes, NOBODY, NULL, &n);
    REFUSED(cuGraphGetRootNodes, g, NULL, NULL);
    REFUSED(cuGraphGetEdges_v2, NOBODY, NULL, NULL, NULL, &n);
    REFUSED(cuGraphNodeGetType, NOBODY, &type);
    REFUSED(cuGraphKernelNodeSetParams_v2, node, &kernel);
    REFUSED(cuGraphInstantiateWithFlags, &exec, NOBODY, 0);
    REFUSED(cuGraphInstantiateWithParams, &exec, NOBODY, &how);
    REFUSED(cuGraphExecKernelNodeSetParams_v2, exec, node, &kernel);
    CUgraph bigger;
    CU(cuGraphCreate(&bigger, 0));
    REFUSED(cuGraphExecUpdate_v2, exec, bigger, &info);
    REFUSED(cuGraphExecDestroy, NOBODY);
    REFUSED(cuGraphLaunch, exec, NOBODY);
    REFUSED(cuGraphUpload, NOBODY, NULL);
}

/* What has no wrong argument is refused where there is no context; and all of these must have been tried. */
static void a_refused_call_leaves_a_sentence(void **state) {
    (void)state;
    refuse_devices_and_contexts();
    refuse_memory();
    refuse_modules();
    refuse_streams();
    refuse_graphs();
    CUcontext mine;
    CU(cuCtxPopCurrent(&mine));
    CUcontext none;
    int least;
    REFUSED(cuCtxPopCurrent_v2, &none);
    REFUSED(cuCtxSynchronize, );
    SAYS("cuCtxSynchronize: the thread has no current context");
    REFUSED(cuCtxSetCacheConfig, CU_FUNC_CACHE_PREFER_L1);
    REFUSED(cuCtxGetStreamPriorityRange, &least, &least);
    CU(cuCtxPushCurrent(mine));
    char *typedefs = sim_read_file(CUDASIM_TYPEDEFS, NULL), name[64];
    int missing = 0;
    for (const char *at = typedefs; (at = strstr(at, "*PFN_cu")); at++) {
        void *f;
        bool done = false;
        if (sscanf(at, "*PFN_%63[A-Za-z0-9]_v", name) != 1 ||
            cuGetProcAddress(name, &f, 13000, 0, NULL) != CUDA_SUCCESS)
            continue;
        for (int i = 0; i < n_tried && !done; i++) {
            const size_t length = strlen(name);
            done = !strncmp(tried[i], name, length) &&
                   (!tried[i][length] || !strncmp(tried[i] + length, "_v", 2));
        }
        if (!done)
            print_error("%s has not been called wrongly\n", name);
        missing += !done;
    }
    free(typedefs);
    assert_int_equal(missing, 0);
}

/* Before cuInit, inside a host function, after a fault. */
static CUresult inside;
static char said_inside[256];
static void CUDA_CB calls_the_driver(void *user) {
    CUdeviceptr p;
    (void)user;
    inside = cuMemAlloc(&p, 64);
    snprintf(said_inside, sizeof said_inside, "%s", cudasim_message());
}

static void calls_out_of_place_leave_a_sentence(void **state) {
    CUdeviceptr p;
    (void)state;
    CU(cuLaunchHostFunc(NULL, calls_the_driver, NULL));
    clear();
    CU(cuStreamSynchronize(NULL));
    assert_int_equal(inside, CUDA_ERROR_NOT_PERMITTED);
    assert_non_null(
        strstr(said_inside, "cuMemAlloc: a host function that runs in a stream may not call the driver"));
    CUfunction crash =
        sim_ptx(".visible .entry crash() { .reg .b64 %a; .reg .b32 %v; mov.u64 %a, 64; ld.global.u32 "
                "%v, [%a]; ret; }");
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, sim_run(crash, 1, 1, 0, NULL));
    SAYS("crash, PTX line 4");
    clear();
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemAlloc(&p, 64));
    SAYS("cuMemAlloc: the context is lost to an earlier fault: crash, PTX line 4");
}

static void calls_before_init_leave_a_sentence(void **state) {
    int n;
    (void)state;
    clear();
    CU_IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
    SAYS("cuDeviceGetCount: cuInit has not been called");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_before_init_leave_a_sentence), /* so the first */
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(a_refused_call_leaves_a_sentence),
        TEST(calls_out_of_place_leave_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
