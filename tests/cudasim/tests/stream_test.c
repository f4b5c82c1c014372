/* Streams, events and graphs: what waits for what, what is put off until somebody waits, and what a capture
 * records. */
#include "sim.h"

/* to[i] = from[i] + add, n words, one thread. */
static const char step_text[] = ".visible .entry step(.param .u64 from, .param .u64 to, .param .u32 add) { "
                                ".reg .b64 %f, %t; .reg .b32 %v, %a; ld.param.u64 %f, [from];\n"
                                "ld.param.u64 %t, [to]; ld.param.u32 %a, [add]; ld.global.u32 %v, [%f]; "
                                "add.u32 %v, %v, %a; st.global.u32 [%t], %v; ret; }";

static CUresult step(CUfunction f, CUstream s, CUdeviceptr from, CUdeviceptr to, uint32_t add) {
    return cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, s, PARAMS(&from, &to, &add), NULL);
}
static uint32_t word_at(CUdeviceptr p) {
    uint32_t x;
    sim_download(&x, p, 4);
    return x;
}
static CUdeviceptr word(uint32_t value) {
    return sim_upload(&value, 4);
}
static CUstream new_stream(unsigned flags) {
    CUstream s;
    CU(cuStreamCreate(&s, flags));
    return s;
}
static CUevent new_event(unsigned flags) {
    CUevent e;
    CU(cuEventCreate(&e, flags));
    return e;
}

/* ---- delay ---- */

static void puts_work_off(void **state) {
    uint32_t *pinned;
    CUstream s = new_stream(CU_STREAM_NON_BLOCKING);
    CUdeviceptr p = word(0);
    (void)state;
    CU(cuMemHostAlloc((void **)&pinned, 8, 0));
    pinned[0] = 7;
    CU(cuMemcpyHtoDAsync(p, pinned, 4, s));
    pinned[0] = 9; /* too early: the copy reads it later */
    CU(cuStreamSynchronize(s));
    assert_int_equal(word_at(p), 9);
    uint32_t pageable = 11;
    CU(cuMemcpyHtoDAsync(p, &pageable, 4, s));
    pageable = 12; /* allowed: pageable memory is read at the call */
    CU(cuStreamSynchronize(s));
    assert_int_equal(word_at(p), 11);
    pinned[1] = 0;
    CU(cuMemcpyDtoHAsync(pinned + 1, p, 4, s));
    assert_int_equal(pinned[1], 0); /* not yet */
    CU(cuStreamSynchronize(s));
    assert_int_equal(pinned[1], 11);
    CU(cuMemcpyDtoHAsync(pinned + 1, p, 4, s));
    CU(cuMemFreeHost(pinned)); /* under the copy */
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(s));
    SAYS("which was freed");
}

static void runs_no_more_than_demanded(void **state) {
    CUstream a = new_stream(CU_STREAM_NON_BLOCKING), b = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), y = word(0), z = word(0);
    CUevent done = new_event(0);
    (void)state;
    CU(step(f, a, x, y, 1));
    CU(step(f, b, x, z, 5));
    CU(cuEventRecord(done, b));
    CU_IS(CUDA_ERROR_NOT_READY, cuEventQuery(done)); /* asking runs a piece at a time */
    while (cuEventQuery(done) == CUDA_ERROR_NOT_READY)
        ;
    CU(cuEventQuery(done));
    assert_int_equal(word_at(z), 6);
    assert_int_equal(word_at(y), 0); /* nobody has waited for stream a, and the copy does not */
    CU_IS(CUDA_ERROR_NOT_READY, cuStreamQuery(a));
    CU(cuStreamQuery(a));
    assert_int_equal(word_at(y), 2);
}

static void orders_the_default_stream(void **state) {
    CUstream blocking = new_stream(CU_STREAM_DEFAULT), other = new_stream(CU_STREAM_DEFAULT);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), y = word(0), z = word(0);
    (void)state;
    CU(step(f, blocking, x, y, 1)); /* y = 2 */
    CU(step(f, NULL, y, y, 10));    /* after it: y = 12 */
    CU(step(f, other, y, z, 100));  /* after that: z = 112 */
    CU(cuStreamSynchronize(other));
    assert_int_equal(word_at(z), 112);
    CU(step(f, blocking, z, z, 1));
    assert_int_equal(word_at(z), 113); /* a plain copy waits for it */
}

static void waits_for_events(void **state) {
    CUstream a = new_stream(CU_STREAM_NON_BLOCKING), b = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), y = word(0);
    CUevent e = new_event(0), never = new_event(0);
    float ms;
    (void)state;
    CU(cuStreamWaitEvent(a, never, 0)); /* never recorded: nothing to wait for */
    for (uint32_t i = 0; i < 50; i++) {
        CU(step(f, a, x, y, 1));
        CU(cuEventRecord(e, a));
        CU(cuStreamWaitEvent(b, e, 0));
        CU(step(f, b, y, x, 1));
        CU(cuEventRecord(e, b));
        CU(cuStreamWaitEvent(a, e, 0));
    }
    CU(cuStreamSynchronize(b));
    assert_int_equal(word_at(x), 101);
    CUevent start = new_event(0), end = new_event(0), mute = new_event(CU_EVENT_DISABLE_TIMING);
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, start, end));
    CU(cuEventRecord(start, a));
    CU(step(f, a, x, y, 1));
    CU(cuEventRecord(end, a));
    CU(cuEventRecord(mute, a));
    CU_IS(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&ms, start, end));
    CU(cuEventSynchronize(end));
    CU(cuEventElapsedTime(&ms, start, end));
    assert_true(ms > 0.001f && ms < 0.002f); /* 1 us and some instructions */
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuEventElapsedTime(&ms, start, mute));
    CU(cuEventDestroy(end));
    CU(cuStreamDestroy(a)); /* what it was given still runs */
    CU(cuCtxSynchronize());
}

static void order_of_calls(void *user) {
    ++*(int *)user;
}
static void call_the_driver(void *user) {
    CUdeviceptr p;
    *(CUresult *)user = cuMemAlloc(&p, 4);
}
static void calls_the_host(void **state) {
    CUstream s = new_stream(0);
    CUresult inside = CUDA_SUCCESS;
    int calls = 0;
    (void)state;
    CU(cuLaunchHostFunc(s, order_of_calls, &calls));
    CU(cuLaunchHostFunc(s, call_the_driver, &inside));
    assert_int_equal(calls, 0);
    CU(cuStreamSynchronize(s));
    assert_int_equal(calls, 1);
    assert_int_equal(inside, CUDA_ERROR_NOT_PERMITTED);
}

static void allocates_in_order(void **state) {
    CUstream s = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), p, y = word(0);
    (void)state;
    CU(cuMemAllocAsync(&p, 4, s));
    CU(step(f, s, x, p, 1));
    CU(step(f, s, p, y, 1));
    CU(cuMemFreeAsync(p, s));
    CU(cuStreamSynchronize(s));
    assert_int_equal(word_at(y), 3);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(p));
}

/* ---- capture ---- */

static CUgraphExec instantiate(CUgraph g) {
    CUgraphExec e;
    CU(cuGraphInstantiate(&e, g, 0));
    return e;
}

static void captures_a_fork_and_a_join(void **state) {
    CUstream a = new_stream(CU_STREAM_NON_BLOCKING), b = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), y = word(0), z = word(0), sum = word(0);
    CUevent fork = new_event(0), join = new_event(0);
    CUstreamCaptureStatus status;
    CUgraph g;
    size_t n = 0;
    (void)state;
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CU(cuStreamIsCapturing(a, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CU(step(f, a, x, y, 1));
    CU(cuEventRecord(fork, a));
    CU(cuStreamWaitEvent(b, fork, 0));
    CU(step(f, b, y, z, 10));
    CU(cuEventRecord(join, b));
    CU(step(f, a, y, y, 100));
    CU(cuStreamWaitEvent(a, join, 0));
    CU(step(f, a, z, sum, 1000));
    CU(cuStreamEndCapture(a, &g));
    CU(cuStreamIsCapturing(b, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
    CU(cuGraphGetNodes(g, NULL, &n));
    assert_int_equal(n, 4);
    CU(cuGraphGetEdges(g, NULL, NULL, NULL, &n));
    assert_int_equal(n, 4);
    CU(cuGraphGetRootNodes(g, NULL, &n));
    assert_int_equal(n, 1);
    CUgraphExec e = instantiate(g);
    CU(cuGraphDestroy(g));
    assert_int_equal(word_at(sum), 0); /* recorded, not run */
    for (int seed = 0; seed < 6; seed++) {
        cudasim_option("SEED", (char[]){(char)('0' + seed), 0});
        CU(cuMemsetD32(sum, 0, 1));
        CU(cuMemsetD32(z, 0, 1));
        CU(cuGraphLaunch(e, a));
        CU(cuGraphLaunch(e, a));
        CU(cuStreamSynchronize(a));
        /* z reads y before or after the other branch adds to it: the graph leaves that open */
        const uint32_t got = word_at(sum);
        assert_true(got == 1012 || got == 1112);
        assert_int_equal(word_at(y), 102);
    }
    assert_int_equal(sim_counter("graph_launches"), 12);
    CU(cuGraphExecDestroy(e));
}

static void spoils_captures(void **state) {
    CUstream a = new_stream(CU_STREAM_NON_BLOCKING), b = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), p;
    CUevent fork = new_event(0), old = new_event(0);
    CUgraph g;
    (void)state;
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU_IS(CUDA_ERROR_ILLEGAL_STATE, cuStreamEndCapture(a, &g));
    /* waiting inside */
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU_IS(CUDA_ERROR_ILLEGAL_STATE, cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuStreamSynchronize(a));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, step(f, a, x, x, 1));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &g));
    assert_null(g);
    /* an allocation while a capture is global */
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemAlloc(&p, 4));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &g));
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU(cuMemAlloc(&p, 4));
    CU(cuStreamEndCapture(a, &g));
    CU(cuGraphDestroy(g));
    /* a branch that does not come back */
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU(cuEventRecord(fork, a));
    CU(cuStreamWaitEvent(b, fork, 0));
    CU(step(f, b, x, x, 1));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, cuStreamEndCapture(a, &g));
    SAYS("was not joined");
    /* an event from outside, and one that is asked about after a capture */
    CU(step(f, b, x, x, 1));
    CU(cuEventRecord(old, b));
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, cuStreamWaitEvent(a, old, 0));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, cuStreamEndCapture(a, &g));
    CU_IS(CUDA_ERROR_CAPTURED_EVENT, cuEventSynchronize(fork));
    /* ended in another stream than begun */
    CU(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    CU(cuEventRecord(fork, a));
    CU(cuStreamWaitEvent(b, fork, 0));
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, cuStreamEndCapture(b, &g));
    uint32_t pageable = 0;
    CU_IS(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, cuMemcpyHtoDAsync(x, &pageable, 4, a));
    CU(cuStreamEndCapture(a, &g));
    CU(cuGraphDestroy(g));
}

/* Device timestamps from inside a graph. */
static void records_events_in_graphs(void **state) {
    CUstream s = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1);
    CUevent before = new_event(0), after = new_event(0);
    CUgraph g;
    float ms;
    (void)state;
    CU(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    CU(cuEventRecordWithFlags(before, s, CU_EVENT_RECORD_EXTERNAL));
    for (int i = 0; i < 5; i++)
        CU(step(f, s, x, x, 1));
    CU(cuEventRecordWithFlags(after, s, CU_EVENT_RECORD_EXTERNAL));
    CU(cuStreamEndCapture(s, &g));
    CUgraphExec e = instantiate(g);
    CU(cuGraphLaunch(e, s));
    CU_IS(CUDA_ERROR_NOT_READY, cuEventElapsedTime(&ms, before, after));
    CU(cuEventSynchronize(after));
    CU(cuEventElapsedTime(&ms, before, after));
    assert_true(ms > 0.005f && ms < 0.0055f);
    assert_int_equal(word_at(x), 6);
}

/* ---- graphs by hand ---- */

static CUDA_KERNEL_NODE_PARAMS kernel_node(CUfunction f, void **params) {
    return (CUDA_KERNEL_NODE_PARAMS){.func = f,
                                     .gridDimX = 1,
                                     .gridDimY = 1,
                                     .gridDimZ = 1,
                                     .blockDimX = 1,
                                     .blockDimY = 1,
                                     .blockDimZ = 1,
                                     .kernelParams = params};
}

static void builds_graphs(void **state) {
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1), y = word(0);
    CUgraph g, other;
    CUgraphNode fill, kernel, back, first, stray;
    uint32_t add = 1, *pinned;
    CUstream s = new_stream(0);
    (void)state;
    CU(cuMemHostAlloc((void **)&pinned, 4, 0));
    CU(cuGraphCreate(&g, 0));
    CU(cuGraphCreate(&other, 0));
    CUDA_MEMSET_NODE_PARAMS set = {.dst = x, .value = 20, .elementSize = 4, .width = 1, .height = 1};
    CU(cuGraphAddMemsetNode(&fill, g, NULL, 0, &set, NULL));
    void *params[] = {&x, &y, &add};
    CUDA_KERNEL_NODE_PARAMS node = kernel_node(f, params);
    CU(cuGraphAddKernelNode(&kernel, g, &fill, 1, &node));
    CUDA_MEMCPY3D copy = {.srcMemoryType = CU_MEMORYTYPE_DEVICE,
                          .srcDevice = y,
                          .dstMemoryType = CU_MEMORYTYPE_HOST,
                          .dstHost = pinned,
                          .WidthInBytes = 4,
                          .Height = 1,
                          .Depth = 1};
    CU(cuGraphAddMemcpyNode(&back, g, &kernel, 1, &copy, NULL));
    CU(cuGraphAddEmptyNode(&first, g, NULL, 0));
    CU(cuGraphAddDependencies(g, &first, &fill, NULL, 1));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuGraphAddDependencies(g, &back, &first, NULL, 1));
    SAYS("would close a circle");
    CU(cuGraphAddEmptyNode(&stray, other, NULL, 0));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuGraphAddEmptyNode(&first, g, &stray, 1));
    CUgraphNodeType type;
    CU(cuGraphNodeGetType(kernel, &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_KERNEL);
    add = 99; /* parameters were copied */
    CUgraphExec e = instantiate(g);
    for (int seed = 0; seed < 4; seed++) {
        cudasim_option("SEED", (char[]){(char)('0' + seed), 0});
        *pinned = 0;
        CU(cuGraphLaunch(e, s));
        CU(cuStreamSynchronize(s));
        assert_int_equal(*pinned, 21);
    }
    cudasim_option("SEED", "0");
    /* a launch under way keeps its parameters, the next has the new ones */
    CU(cuGraphLaunch(e, s));
    add = 5;
    CU(cuGraphExecKernelNodeSetParams(e, kernel, &node));
    CU(cuStreamSynchronize(s));
    assert_int_equal(*pinned, 21);
    CU(cuGraphLaunch(e, s));
    CU(cuStreamSynchronize(s));
    assert_int_equal(*pinned, 25);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuGraphExecKernelNodeSetParams(e, fill, &node));
    node.blockDimX = 2000;
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuGraphExecKernelNodeSetParams(e, kernel, &node));
    node.blockDimX = 1;
    add = 7;
    CU(cuGraphKernelNodeSetParams(kernel, &node));
    CUgraphExecUpdateResultInfo info;
    CU(cuGraphExecUpdate(e, g, &info));
    CU(cuGraphLaunch(e, s));
    CU(cuStreamSynchronize(s));
    assert_int_equal(*pinned, 27);
    CU_IS(CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE, cuGraphExecUpdate(e, other, &info));
    assert_int_equal(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    CU(cuGraphLaunch(e, s));
    CU(cuGraphExecDestroy(e)); /* under way */
    CU(cuStreamSynchronize(s));
    CU(cuGraphDestroy(g));
    CU(cuGraphDestroy(other));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuGraphDestroy(g));
}

/* A module that goes while its kernel waits is an error, not a crash. */
static void unloads_under_a_launch(void **state) {
    CUstream s = new_stream(CU_STREAM_NON_BLOCKING);
    CUfunction f = sim_ptx(step_text);
    CUdeviceptr x = word(1);
    CUmodule m;
    (void)state;
    CU(cuFuncGetModule(&m, f));
    CU(step(f, s, x, x, 1));
    CU(cuModuleUnload(m));
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuStreamSynchronize(s));
    SAYS("unloaded before it ran");
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(puts_work_off),
        TEST(runs_no_more_than_demanded),
        TEST(orders_the_default_stream),
        TEST(waits_for_events),
        TEST(calls_the_host),
        TEST(allocates_in_order),
        TEST(captures_a_fork_and_a_join),
        TEST(spoils_captures),
        TEST(records_events_in_graphs),
        TEST(builds_graphs),
        TEST(unloads_under_a_launch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
