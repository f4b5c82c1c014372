/* The driver API: what the device says, codes of misuse, faults that stick, memory, and injected failures. */
#include "sim.h"

#include <dlfcn.h>

static const char copy_text[] = ".visible .entry copy(.param .u64 from, .param .u64 to, .param .u32 n) { "
                                ".reg .b64 %f, %t, %o; .reg .b32 %i, %n, %v; .reg .pred %p;\n"
                                "ld.param.u64 %f, [from]; ld.param.u64 %t, [to]; ld.param.u32 %n, [n]; "
                                "mov.u32 %i, %tid.x; setp.ge.u32 %p, %i, %n; @%p ret;\n"
                                "mul.wide.u32 %o, %i, 4; add.s64 %f, %f, %o; add.s64 %t, %t, %o; "
                                "ld.global.u32 %v, [%f]; st.global.u32 [%t], %v; ret; }";
static const char crash_text[] =
    ".visible .entry crash() { .reg .b64 %a; .reg .b32 %v; mov.u64 %a, 64; ld.global.u32 %v, [%a]; ret; }";

/* ---- the device ---- */

static void describes_the_device(void **state) {
    char name[64], id[32];
    CUdevice device;
    CUuuid uuid;
    size_t bytes;
    int n, major, minor, sms, value, version;
    (void)state;
    CU(cuDeviceGetCount(&n));
    assert_int_equal(n, 1);
    CU(cuDeviceGet(&device, 0));
    CU_IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGet(&device, 1));
    CU(cuDeviceGetName(name, sizeof name, 0));
    assert_string_equal(name, "tandem simulated GPU");
    CU(cuDeviceGetUuid(&uuid, 0));
    assert_memory_equal(uuid.bytes, "tandem-simulated", 16);
    CU(cuDeviceGetPCIBusId(id, sizeof id, 0));
    CU(cuDeviceGetByPCIBusId(&device, id));
    CU_IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetByPCIBusId(&device, "0000:01:00.0"));
    CU(cuDeviceTotalMem(&bytes, 0));
    assert_true(bytes == 12ull << 30);
    CU(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    CU(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
    CU(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0));
    assert_true(major == 8 && minor == 6 && sms == 28);
    CU(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_INTEGRATED, 0));
    assert_int_equal(value, 0);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuDeviceGetAttribute(&value, 10000, 0));
    CU_IS(CUDA_ERROR_INVALID_DEVICE, cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_INTEGRATED, 3));
    CU(cuDriverGetVersion(&version));
    assert_int_equal(version, 13000);
}

static void names_errors(void **state) {
    const char *text;
    (void)state;
    CU(cuGetErrorName(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_string_equal(text, "CUDA_ERROR_ILLEGAL_ADDRESS");
    CU(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text));
    assert_string_equal(text, "out of memory");
    CU(cuGetErrorName(CUDA_SUCCESS, &text));
    assert_string_equal(text, "CUDA_SUCCESS");
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuGetErrorName((CUresult)12345, &text));
    assert_null(text);
}

static void finds_functions_by_name(void **state) {
    CUdriverProcAddressQueryResult status;
    void *f;
    (void)state;
    CU(cuGetProcAddress("cuMemAlloc", &f, 12000, 0, &status));
    assert_true(f == dlsym(RTLD_DEFAULT, "cuMemAlloc_v2") && status == CU_GET_PROC_ADDRESS_SUCCESS);
    CU(cuGetProcAddress("cuCtxCreate", &f, 12000, 0, &status));
    assert_true(f == dlsym(RTLD_DEFAULT, "cuCtxCreate_v3"));
    CU(cuGetProcAddress("cuCtxCreate", &f, 13000, 0, &status));
    assert_true(f == dlsym(RTLD_DEFAULT, "cuCtxCreate_v4"));
    CU_IS(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuGraphLaunch", &f, 9000, 0, &status));
    assert_true(!f && status == CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    CU_IS(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuNoSuchThing", &f, 13000, 0, &status));
    assert_true(!f && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

/* PTX without a cubin: nobody knows its registers, and a compiler would make it fit. */
static void launches_ptx_in_blocks_of_every_size(void **state) {
    static const char text[] = ".visible .entry count(.param .u64 p) { .reg .b64 %p; .reg .b32 %old; "
                               "ld.param.u64 %p, [p]; atom.global.add.u32 %old, [%p], 1; ret; }";
    static const char limited[] = ".visible .entry k() .maxntid 416 { ret; }";
    uint32_t zero = 0, n;
    (void)state;
    CUfunction k = sim_ptx(text), at_most = sim_ptx(limited);
    CUdeviceptr p = sim_alloc(4);
    for (unsigned threads = 1; threads <= 1024; threads++) {
        CU(cuMemcpyHtoD(p, &zero, 4));
        CU(sim_run(k, 1, threads, 0, PARAMS(&p)));
        sim_download(&n, p, 4);
        assert_int_equal(n, threads);
        CU_IS(threads <= 416 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE,
              cuLaunchKernel(at_most, 1, 1, 1, threads, 1, 1, 0, NULL, NULL, NULL));
    }
}

/* ---- contexts ---- */

static void keeps_a_stack_of_contexts(void **state) {
    CUcontext first, second, current, primary, again;
    unsigned flags;
    int active;
    (void)state;
    CU(cuCtxGetCurrent(&first));
    CU(cuCtxCreate(&second, NULL, 0, 0));
    CU(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, second);
    CU(cuCtxPopCurrent(&current));
    assert_ptr_equal(current, second);
    CU(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, first);
    CU(cuCtxPushCurrent(second));
    CU(cuCtxDestroy(second));
    CU(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, first);
    CU_IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxPushCurrent(second));
    CU_IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy(second));
    CU(cuDevicePrimaryCtxRetain(&primary, 0));
    CU(cuDevicePrimaryCtxRetain(&again, 0));
    assert_ptr_equal(primary, again);
    CU(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_true(active);
    CU_IS(CUDA_ERROR_INVALID_CONTEXT, cuCtxDestroy(primary));
    CU(cuDevicePrimaryCtxRelease(0));
    CU(cuDevicePrimaryCtxRelease(0));
    CU(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_false(active);
    CU_IS(CUDA_ERROR_INVALID_CONTEXT, cuDevicePrimaryCtxRelease(0));
    CU(cuCtxSetCurrent(NULL));
    size_t bytes;
    CU_IS(CUDA_ERROR_INVALID_CONTEXT, cuMemGetInfo(&bytes, &bytes));
    CU(cuCtxSetCurrent(first));
}

/* A fault answers every later call on its context, and none on another. */
static void faults_stick(void **state) {
    CUcontext broken;
    CUdeviceptr p;
    size_t bytes;
    (void)state;
    CU(cuCtxCreate(&broken, NULL, 0, 0));
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, sim_run(sim_ptx(crash_text), 1, 1, 0, NULL));
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemAlloc(&p, 4));
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuMemGetInfo(&bytes, &bytes));
    CU(cuCtxDestroy(broken));
    CU(cuMemAlloc(&p, 4));
    CU(cuMemFree(p));
}

/* ---- handles and values ---- */

static void refuses_foreign_handles(void **state) {
    CUstream stream, nowhere = (CUstream)(uintptr_t)0x1230;
    CUevent event;
    CUfunction f = sim_ptx(crash_text);
    CUmodule m;
    (void)state;
    CU(cuStreamCreate(&stream, 0));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize(nowhere));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuStreamSynchronize((CUstream)f));
    CU_IS(CUDA_ERROR_INVALID_HANDLE,
          cuLaunchKernel((CUfunction)stream, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, nowhere, NULL, NULL));
    CU(cuStreamDestroy(stream));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuStreamDestroy(stream));
    CU(cuEventCreate(&event, 0));
    CU(cuEventDestroy(event));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuEventSynchronize(event));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuEventRecord(event, NULL));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload((CUmodule)f));
    CU(cuFuncGetModule(&m, f));
    CU_IS(CUDA_ERROR_NOT_FOUND, cuModuleGetFunction(&f, m, "nobody"));
    CU(cuModuleUnload(m));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuModuleUnload(m));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuModuleGetFunction(&f, m, "crash"));
    CU_IS(CUDA_ERROR_INVALID_HANDLE, cuGraphLaunch((CUgraphExec)(uintptr_t)16, NULL));
}

static void refuses_wrong_launches(void **state) {
    CUfunction f = sim_ptx(copy_text),
               big = sim_ptx(".visible .entry big() { .shared .align 4 .b8 s[40000]; .reg .b32 %a; mov.u32 "
                             "%a, s; st.shared.u32 [%a], %a; ret; }");
    CUfunction bound = sim_ptx(".visible .entry bound() .maxntid 64, 1, 1 { ret; }"),
               exact = sim_ptx(".visible .entry exact() .reqntid 32, 2, 1 { ret; }");
    CUdeviceptr p = sim_alloc(64);
    uint32_t n = 0;
    uint8_t buffer[64] = {0};
    size_t bytes = 20, short_bytes = 16;
    (void)state;
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(f, 0, 32, 0, PARAMS(&p, &p, &n)));
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(f, 1, 1025, 0, PARAMS(&p, &p, &n)));
    CU_IS(CUDA_ERROR_INVALID_VALUE,
          cuLaunchKernel(f, 1, 65536, 1, 1, 1, 1, 0, NULL, PARAMS(&p, &p, &n), NULL));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 65, 0, NULL, PARAMS(&p, &p, &n), NULL));
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(f, 1, 32, 0, NULL));
    SAYS("takes 3 parameters");
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(f, 1, 32, 0, PARAMS(&p, NULL, &n)));
    void *good[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                    CU_LAUNCH_PARAM_END};
    void *wrong[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, buffer, CU_LAUNCH_PARAM_BUFFER_SIZE, &short_bytes,
                     CU_LAUNCH_PARAM_END};
    CU(cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, good));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuLaunchKernel(f, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, wrong));
    SAYS("16 bytes of parameters, and it takes 20");
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(bound, 1, 65, 0, NULL));
    CU(sim_run(bound, 1, 64, 0, NULL));
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(exact, 1, 64, 0, NULL));
    CU(cuLaunchKernel(exact, 1, 1, 1, 32, 2, 1, 0, NULL, NULL, NULL));
    /* 48 KiB altogether, and more only when the function was told */
    CU(sim_run(big, 1, 1, 49152 - 40000, NULL));
    CU_IS(CUDA_ERROR_INVALID_VALUE, sim_run(big, 1, 1, 49153 - 40000, NULL));
    SAYS("MAX_DYNAMIC_SHARED_SIZE_BYTES");
    CU_IS(CUDA_ERROR_INVALID_VALUE,
          cuFuncSetAttribute(big, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 101376));
    CU(cuFuncSetAttribute(big, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 61376));
    CU(sim_run(big, 1, 1, 61376, NULL));
    CU_IS(CUDA_ERROR_INVALID_PTX,
          sim_ptx_fails(".visible .entry k() { .shared .b8 s[49153]; .reg .b32 %a; mov.u32 %a, s; ret; }"));
    SAYS("49152 are allowed");
}

static void knows_registers_and_occupancy(void **state) {
    CUfunction f = sim_kernel("matmul_f16");
    int registers, shared, blocks, threads, grid, block;
    (void)state;
    CU(cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, f));
    CU(cuFuncGetAttribute(&shared, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, f));
    CU(cuFuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, f));
    assert_true(registers >= 32 && registers <= 128);
    assert_int_equal(shared, 2 * (64 + 32) * 40 * 2);
    assert_int_equal(threads, 128);
    CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, 0));
    const int per_warp = (registers * 32 + 255) / 256 * 256, by_registers = 65536 / per_warp / 4 * 4 / 4,
              by_shared = 102400 / ((shared + 1024 + 127) / 128 * 128);
    assert_int_equal(blocks, by_registers < by_shared ? (by_registers < 12 ? by_registers : 12)
                                                      : (by_shared < 12 ? by_shared : 12));
    CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f, 128, 49152));
    assert_int_equal(blocks, 1);
    CU(cuOccupancyMaxPotentialBlockSize(&grid, &block, f, NULL, 0, 0));
    assert_true(block >= 32 && block <= 128 && grid % 28 == 0);
}

/* ---- memory ---- */

static void accounts_for_memory(void **state) {
    size_t before, after, total;
    CUdeviceptr a, b, base;
    (void)state;
    CU(cuMemGetInfo(&before, &total));
    a = sim_alloc(1000);
    CU(cuMemGetInfo(&after, &total));
    assert_int_equal(before - after, 1024);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemAlloc(&b, 0));
    CU_IS(CUDA_ERROR_OUT_OF_MEMORY, cuMemAlloc(&b, total));
    SAYS("are in use");
    size_t bytes;
    CU(cuMemGetAddressRange(&base, &bytes, a + 10));
    assert_true(base == a && bytes == 1000);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(a + 512));
    CU(cuMemFree(a));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemFree(a));
    CU(cuMemFree(0));
    CU(cuMemGetInfo(&after, &total));
    assert_int_equal(before, after);
    uint32_t x = 0;
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(a, &x, 4));
    b = sim_alloc(64);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyHtoD(b + 62, &x, 4));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemcpyDtoH(&x, b + 61, 4));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(b + 2, 0, 1));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemsetD32(b, 0, 17));
    CU(cuMemsetD32(b, 0x01020304, 16));
    CU(cuMemsetD16(b + 4, 0x0506, 2));
    CU(cuMemsetD8(b + 8, 7, 4));
    uint32_t out[3];
    sim_download(out, b, sizeof out);
    assert_true(out[0] == 0x01020304 && out[1] == 0x05060506 && out[2] == 0x07070707);
}

static void frees_memory_under_a_kernel(void **state) {
    uint32_t words[8] = {1, 2, 3, 4, 5, 6, 7, 8}, n = 8;
    (void)state;
    CUfunction f = sim_ptx(copy_text);
    CUdeviceptr from = sim_upload(words, sizeof words), to = sim_alloc(sizeof words);
    CU(cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, NULL, PARAMS(&from, &to, &n), NULL));
    CU(cuMemFree(from)); /* too early: the launch has not run */
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, cuCtxSynchronize());
    SAYS("which was freed");
}

static void pins_host_memory(void **state) {
    uint32_t *host, words[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8], n = 8;
    CUdeviceptr alias, to = sim_alloc(sizeof words);
    CUfunction f = sim_ptx(copy_text);
    unsigned type;
    (void)state;
    CU(cuMemHostAlloc((void **)&host, sizeof words, CU_MEMHOSTALLOC_DEVICEMAP));
    memcpy(host, words, sizeof words);
    CU(cuMemHostGetDevicePointer(&alias, host + 2, 0));
    assert_true(alias == (CUdeviceptr)(uintptr_t)(host + 2));
    CU(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, alias));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    n = 6;
    CU(sim_run(f, 1, 32, 0, PARAMS(&alias, &to, &n)));
    sim_download(out, to, 24);
    assert_memory_equal(out, words + 2, 24);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(host + 1));
    /* registered: the device has another name for it */
    static uint32_t mine[8];
    memcpy(mine, words, sizeof words);
    CU(cuMemHostRegister(mine, sizeof mine, 0));
    CU_IS(CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, cuMemHostRegister(mine, sizeof mine, 0));
    CU(cuMemHostGetDevicePointer(&alias, mine, 0));
    assert_true(alias != (CUdeviceptr)(uintptr_t)mine);
    n = 8;
    CU(sim_run(f, 1, 32, 0, PARAMS(&alias, &to, &n)));
    CU(cuMemHostUnregister(mine));
    CU_IS(CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, cuMemHostUnregister(mine));
    CU(cuMemFreeHost(host));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuMemFreeHost(host));
    CUdeviceptr raw = (CUdeviceptr)(uintptr_t)mine;
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, sim_run(f, 1, 32, 0, PARAMS(&raw, &to, &n)));
}

static void has_variables(void **state) {
    static const char text[] = ".visible .global .align 4 .u32 counter[2] = {5}; .visible .entry bump() { "
                               ".reg .b32 %v; ld.global.u32 %v, [counter]; add.u32 %v, %v, 1;\n"
                               "st.global.u32 [counter+4], %v; ret; }";
    CUdeviceptr p;
    CUmodule m;
    size_t bytes;
    uint32_t out[2];
    (void)state;
    CUfunction f = sim_ptx(text);
    CU(cuFuncGetModule(&m, f));
    CU(cuModuleGetGlobal(&p, &bytes, m, "counter"));
    assert_int_equal(bytes, 8);
    CU(sim_run(f, 1, 1, 0, NULL));
    sim_download(out, p, 8);
    assert_true(out[0] == 5 && out[1] == 6);
    CU_IS(CUDA_ERROR_NOT_FOUND, cuModuleGetGlobal(&p, &bytes, m, "other"));
}

/* ---- images ---- */

static void refuses_images_that_it_cannot_execute(void **state) {
    size_t bytes;
    char *fatbin = sim_read_file(CUDASIM_FATBIN, &bytes), log[256] = "";
    CUmodule m;
    CUjit_option names[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    (void)state;
    /* records: kind at 0, header size at 4, payload size at 8, flags at 40 of each */
    CU(cuModuleLoadData(&m, fatbin));
    uint64_t flags;
    memcpy(&flags, fatbin + 16 + 40, 8);
    flags |= 0x8000;
    memcpy(fatbin + 16 + 40, &flags, 8);
    CU_IS(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadDataEx(&m, fatbin, 2, names, values));
    assert_non_null(strstr(log, "--no-compress"));
    fatbin[16] = 2; /* no PTX at all */
    CU_IS(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, fatbin));
    SAYS("machine code cannot be executed");
    fatbin[16 + 8 + 5] = 1; /* a payload beyond the end */
    CU_IS(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, fatbin));
    SAYS("damaged");
    CU_IS(CUDA_ERROR_INVALID_IMAGE,
          cuModuleLoadData(&m,
                           "\177ELF and more, as long as a header would be, which is 64 bytes at the least"));
    SAYS("no cubin");
    CU_IS(CUDA_ERROR_NO_BINARY_FOR_GPU,
          cuModuleLoadData(&m, ".version 9.0\n.target sm_120\n.address_size 64\n"));
    SAYS("the PTX is for sm_120");
    CU_IS(CUDA_ERROR_FILE_NOT_FOUND, cuModuleLoad(&m, "/nowhere/kernels.fatbin"));
    CU(cuModuleLoad(&m, CUDASIM_FATBIN));
    free(fatbin);
}

/* ---- injected failures ---- */

static CUresult little_program(void) {
    uint32_t words[8] = {0}, n = 8;
    CUdeviceptr from = 0, to = 0;
    CUmodule m = NULL;
    CUfunction f;
    CUstream stream = NULL;
    char text[2048];
    snprintf(text, sizeof text, ".version 9.0\n.target sm_86\n.address_size 64\n%s", copy_text);
    CUresult r = cuModuleLoadData(&m, text);
    if (!r)
        r = cuModuleGetFunction(&f, m, "copy");
    if (!r)
        r = cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    if (!r)
        r = cuMemAlloc(&from, sizeof words);
    if (!r)
        r = cuMemAlloc(&to, sizeof words);
    if (!r)
        r = cuMemcpyHtoD(from, words, sizeof words);
    if (!r)
        r = cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, 0, stream, PARAMS(&from, &to, &n), NULL);
    if (!r)
        r = cuStreamSynchronize(stream);
    if (!r)
        r = cuMemcpyDtoH(words, to, sizeof words);
    if (to)
        cuMemFree(to);
    if (from)
        cuMemFree(from);
    if (stream)
        cuStreamDestroy(stream);
    if (m)
        cuModuleUnload(m);
    return r;
}

static void injects_failures(void **state) {
    size_t before, after, total;
    (void)state;
    CU(cuMemGetInfo(&before, &total));
    CU(little_program());
    assert_int_equal(cudasim_fail("cuMemAlloc@2=oom"), 0);
    CU_IS(CUDA_ERROR_OUT_OF_MEMORY, little_program());
    assert_int_equal(cudasim_calls("cuMemAlloc"), 2);
    CU(little_program()); /* the third and fourth call */
    CU(cuMemGetInfo(&after, &total));
    assert_int_equal(before, after);
    assert_int_equal(cudasim_fail("cuStreamSynchronize@1=700,cuMemcpyDtoH@2+=2"), 0);
    CU_IS(CUDA_ERROR_ILLEGAL_ADDRESS, little_program());
    CU(little_program());
    CU_IS(CUDA_ERROR_OUT_OF_MEMORY, little_program());
    CU_IS(CUDA_ERROR_OUT_OF_MEMORY, little_program());
    assert_int_equal(cudasim_fail("cuMemAlloc"), -1);
    assert_int_equal(cudasim_fail("cuMemAlloc@0=oom"), -1);
    assert_int_equal(cudasim_fail("cuMemAlloc@1=nonsense"), -1);
    SAYS("is not NAME@N=CODE");
    assert_int_equal(cudasim_option("SEEDS", "1"), -1);
    assert_int_equal(cudasim_option("SEED", "one"), -1);
    assert_int_equal(cudasim_option("MEMORY", "8G"), 0);
    CU(cuMemGetInfo(&after, &total));
    assert_true(total == 8ull << 30);
    assert_int_equal(cudasim_option("MEMORY", "12G"), 0);
}

/* A kernel that fails while it runs: found by whoever waits, and sticking. */
static void injects_a_fault(void **state) {
    (void)state;
    assert_int_equal(cudasim_fail("launch@1=fault"), 0);
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, little_program());
    CU_IS(CUDA_ERROR_LAUNCH_FAILED, little_program());
}

/* Must be the last: the device stays lost for the process. */
static void loses_the_device(void **state) {
    CUcontext context;
    CUdeviceptr p;
    (void)state;
    assert_int_equal(cudasim_fail("launch@2=lost"), 0);
    CU(little_program());
    CU_IS(CUDA_ERROR_UNKNOWN, little_program());
    CU_IS(CUDA_ERROR_UNKNOWN, cuMemAlloc(&p, 4));
    CU_IS(CUDA_ERROR_UNKNOWN, cuCtxCreate(&context, NULL, 0, 0));
    CU_IS(CUDA_ERROR_UNKNOWN, cuCtxSynchronize());
}

/* Before anything else: nothing works until cuInit. */
static void wants_initialising(void **state) {
    int n;
    (void)state;
    CU_IS(CUDA_ERROR_NOT_INITIALIZED, cuDeviceGetCount(&n));
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuInit(1));
    CU(cuInit(0));
    CU(cuInit(0));
    size_t bytes;
    CU_IS(CUDA_ERROR_INVALID_CONTEXT, cuMemGetInfo(&bytes, &bytes));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        cmocka_unit_test(wants_initialising),
        TEST(describes_the_device),
        TEST(names_errors),
        TEST(finds_functions_by_name),
        TEST(launches_ptx_in_blocks_of_every_size),
        TEST(keeps_a_stack_of_contexts),
        TEST(faults_stick),
        TEST(refuses_foreign_handles),
        TEST(refuses_wrong_launches),
        TEST(knows_registers_and_occupancy),
        TEST(accounts_for_memory),
        TEST(frees_memory_under_a_kernel),
        TEST(pins_host_memory),
        TEST(has_variables),
        TEST(refuses_images_that_it_cannot_execute),
        TEST(injects_failures),
        TEST(injects_a_fault),
        TEST(loses_the_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
