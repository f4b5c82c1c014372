/* What an older driver or another device refuses. */
#include "sim.h"

#include <cuda_occupancy.h>
#include <dlfcn.h>
#include <elf.h>

static const char *const releases[] = {"11.0", "11.1", "11.2", "11.3", "11.4", "11.5", "11.6",
                                       "11.7", "11.8", "12.0", "12.1", "12.2", "12.3", "12.4",
                                       "12.5", "12.6", "12.7", "12.8", "12.9", "13.0"};
/* The release history of the PTX ISA document. */
static const double ptx_of[] = {7.0, 7.1, 7.2, 7.3, 7.4, 7.5, 7.6, 7.7, 7.8, 8.0,
                                8.1, 8.2, 8.3, 8.4, 8.5, 8.5, 8.6, 8.7, 8.8, 9.0};
enum { N_RELEASE = sizeof releases / sizeof *releases };

static int version_of(const char *release) {
    int major, minor;
    assert_int_equal(sscanf(release, "%d.%d", &major, &minor), 2);
    return 1000 * major + 10 * minor;
}

/* PTX that stores `value`. */
static void write_ptx(char *text, size_t bytes, double version, const char *target, int value) {
    snprintf(
        text, bytes,
        ".version %.1f\n.target %s\n.address_size 64\n.visible .entry k(.param .u64 p) { .reg .b64 %%to; "
        "ld.param.u64 %%to, [p]; st.global.u32 [%%to], %d; ret; }\n",
        version, target, value);
}

static CUresult load_text(double version, const char *target) {
    char text[512];
    CUmodule m;
    write_ptx(text, sizeof text, version, target, 1);
    return cuModuleLoadData(&m, text);
}

/* ---- fatbins made by hand ---- */

enum { PTX = 1, CUBIN = 2, ARCH_ONLY = 0x100000, FAMILY = 0x200000 };

struct fatbin {
    _Alignas(8) unsigned char data[1 << 18];
    uint64_t used;
};
static void begin(struct fatbin *f) {
    const uint32_t magic = 0xba55ed50;
    const uint16_t numbers[2] = {1, 16};
    memset(f->data, 0, 16);
    memcpy(f->data, &magic, 4);
    memcpy(f->data + 4, numbers, 4);
    f->used = 0;
}
static void put(struct fatbin *f, uint16_t kind, uint32_t arch, uint64_t flags, const void *data,
                uint64_t bytes) {
    unsigned char *at = f->data + 16 + f->used;
    const uint32_t header = 64;
    const uint64_t padded = (bytes + 8) / 8 * 8;
    assert_true(16 + f->used + header + padded <= sizeof f->data);
    memset(at, 0, header + padded);
    memcpy(at, &kind, 2);
    memcpy(at + 4, &header, 4);
    memcpy(at + 8, &padded, 8);
    memcpy(at + 28, &arch, 4);
    memcpy(at + 40, &flags, 8);
    memcpy(at + header, data, bytes);
    f->used += header + padded;
    memcpy(f->data + 8, &f->used, 8);
}
static void put_ptx(struct fatbin *f, double version, uint32_t arch, int value) {
    char text[512], target[16];
    snprintf(target, sizeof target, "sm_%u", arch);
    write_ptx(text, sizeof text, version, target, value);
    put(f, PTX, arch, 0, text, strlen(text) + 1);
}
/* The head of a cubin as ptxas of CUDA 11 and 12 writes it; its body is never looked at here. */
static void put_old_cubin(struct fatbin *f, uint32_t toolkit, uint32_t arch, uint64_t flags) {
    Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT, 0x33, 7},
                    .e_type = ET_EXEC,
                    .e_machine = 190,
                    .e_version = toolkit,
                    .e_flags = 0x560500 | arch,
                    .e_shentsize = sizeof(Elf64_Shdr)};
    put(f, CUBIN, arch, flags, &h, sizeof h);
}
/* The cubin for sm_86 that this build's ptxas has made. */
static void put_new_cubin(struct fatbin *f) {
    size_t bytes;
    char *file = sim_read_file(CUDASIM_FATBIN, &bytes);
    for (size_t at = 16; at < bytes;) {
        uint16_t kind;
        uint32_t header;
        uint64_t size;
        memcpy(&kind, file + at, 2);
        memcpy(&header, file + at + 4, 4);
        memcpy(&size, file + at + 8, 8);
        if (kind == CUBIN)
            put(f, CUBIN, 86, 0, file + at + header, size);
        at += header + size;
    }
    free(file);
}

static struct fatbin fatbin;

/* Loads, runs, and gives what was stored; or minus the error. */
static int run_fatbin(void) {
    CUmodule m;
    CUfunction k;
    uint32_t value = 0;
    const CUresult r = cuModuleLoadData(&m, fatbin.data);
    if (r)
        return -(int)r;
    CUdeviceptr p = sim_alloc(4);
    CU(cuModuleGetFunction(&k, m, "k"));
    CU(sim_run(k, 1, 1, 0, PARAMS(&p)));
    sim_download(&value, p, 4);
    CU(cuModuleUnload(m));
    return (int)value;
}

/* ---- PTX ---- */

static void tells_the_version_it_poses_as(void **state) {
    int version;
    (void)state;
    for (int i = 0; i < N_RELEASE; i++) {
        char number[8];
        assert_int_equal(cudasim_option("DRIVER_VERSION", releases[i]), 0);
        CU(cuDriverGetVersion(&version));
        assert_int_equal(version, version_of(releases[i]));
        snprintf(number, sizeof number, "%d", version);
        assert_int_equal(cudasim_option("DRIVER_VERSION", number), 0);
    }
    static const char *const wrong[] = {"12", "12.10", "13.9", "12.2.1", "10.2", "99999", "banana"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(cudasim_option("DRIVER_VERSION", wrong[i]), -1);
        SAYS("is no version of CUDA from 11.0 to 13.0");
    }
}

static void refuses_ptx_newer_than_the_driver(void **state) {
    (void)state;
    for (int i = 0; i < N_RELEASE; i++) {
        sim_option("DRIVER_VERSION", releases[i]);
        for (int k = 0; k < N_RELEASE; k++)
            CU_IS(ptx_of[k] > ptx_of[i] + 0.01 ? CUDA_ERROR_UNSUPPORTED_PTX_VERSION : CUDA_SUCCESS,
                  load_text(ptx_of[k], "sm_80"));
        CU_IS(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, load_text(9.1, "sm_80"));
        SAYS("the PTX is of version 9.1, and a driver of CUDA");
    }
    /* whatever else is wrong with it */
    CUmodule m;
    CU_IS(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
          cuModuleLoadData(&m, ".version 9.7\n.target sm_999\n.nonsense"));
}

static void refuses_targets_newer_than_the_device(void **state) {
    static const struct {
        const char *arch, *target;
        bool runs;
    } cases[] = {
        {"80", "sm_80", true},     {"80", "sm_86", false},    {"86", "sm_80", true},
        {"86", "sm_89", false},    {"89", "sm_86", true},     {"89", "sm_90", false},
        {"90", "sm_90", true},     {"90", "sm_90a", true},    {"100", "sm_90", true},
        {"100", "sm_90a", false},  {"100", "sm_100f", true},  {"103", "sm_100f", true},
        {"103", "sm_100a", false}, {"120", "sm_100f", false}, {"120", "sm_100", true},
        {"121", "sm_120f", true},  {"120", "sm_121", false},  {"120", "sm_86", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sim_option("ARCH", cases[i].arch);
        CU(cuInit(0));
        CU_IS(cases[i].runs ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU, load_text(9.0, cases[i].target));
        if (!cases[i].runs)
            SAYS(cases[i].target);
    }
}

/* ---- fatbins ---- */

static void loads_what_a_driver_of_the_version_would_load(void **state) {
    (void)state;
    if (CUDA_VERSION < 13000)
        skip(); /* the cubin at hand is not of a newer major version */
    const int unsupported = -CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    static const char *const two[] = {"12.2", "13.0"};
    for (int i = 0; i < 2; i++) {
        const bool old = i == 0;
        sim_option("DRIVER_VERSION", two[i]);
        /* cubin and PTX of a newer major version */
        begin(&fatbin);
        put_new_cubin(&fatbin);
        put_ptx(&fatbin, 9.0, 86, 1);
        assert_int_equal(run_fatbin(), old ? unsupported : 1);
        if (old) {
            SAYS("the cubin is of ELF ABI 8, which a driver of CUDA 12.2 does not know");
            SAYS("the PTX is of version 9.0, and a driver of CUDA 12.2 knows up to 8.2");
        }
        /* the cubin is refused, and the PTX compiled */
        begin(&fatbin);
        put_new_cubin(&fatbin);
        put_ptx(&fatbin, 8.2, 86, 2);
        assert_int_equal(run_fatbin(), 2);
        /* a cubin of the same major version and PTX that is too new: the driver runs the cubin */
        begin(&fatbin);
        put_old_cubin(&fatbin, 129, 86, 0);
        put_ptx(&fatbin, 9.0, 86, 3);
        assert_int_equal(run_fatbin(), 3);
        /* the same, for a later minor version of the device's architecture */
        begin(&fatbin);
        put_old_cubin(&fatbin, 122, 89, 0);
        put_ptx(&fatbin, 9.0, 86, 4);
        assert_int_equal(run_fatbin(), old ? unsupported : 4);
        /* and for an earlier one */
        begin(&fatbin);
        put_old_cubin(&fatbin, 122, 80, 0);
        put_ptx(&fatbin, 9.0, 80, 5);
        assert_int_equal(run_fatbin(), 5);
        /* PTX of two versions: the newest of those that it can compile */
        begin(&fatbin);
        put_ptx(&fatbin, 8.0, 80, 6);
        put_ptx(&fatbin, 9.0, 86, 7);
        put_ptx(&fatbin, 8.0, 89, 8);
        assert_int_equal(run_fatbin(), old ? 6 : 7);
        /* nothing for the device */
        begin(&fatbin);
        put_old_cubin(&fatbin, 122, 90, 0);
        put_ptx(&fatbin, 8.0, 90, 9);
        assert_int_equal(run_fatbin(), -CUDA_ERROR_NO_BINARY_FOR_GPU);
        /* a refused cubin alone */
        begin(&fatbin);
        put_new_cubin(&fatbin);
        assert_int_equal(run_fatbin(), old ? -CUDA_ERROR_INVALID_IMAGE : -CUDA_ERROR_NO_BINARY_FOR_GPU);
        SAYS(old ? "does not know, and the fatbin holds no PTX" : "machine code cannot be executed here");
    }
    /* a driver of CUDA 12.9 knows the format, not the version */
    sim_option("DRIVER_VERSION", "12.9");
    begin(&fatbin);
    put_new_cubin(&fatbin);
    put_ptx(&fatbin, 9.0, 86, 1);
    assert_int_equal(run_fatbin(), unsupported);
    SAYS("the cubin was made by CUDA 13.");
    /* 11.8 refuses what 12 made, by the old format's own mark */
    sim_option("DRIVER_VERSION", "11.8");
    begin(&fatbin);
    put_old_cubin(&fatbin, 122, 86, 0);
    put_ptx(&fatbin, 8.2, 86, 1);
    assert_int_equal(run_fatbin(), unsupported);
    SAYS("the cubin was made by CUDA 12.2, and a driver of CUDA 11.8 does not run it");
}

/* The fatbin that this build makes for its own tests. */
static void refuses_the_fatbin_of_a_newer_toolkit(void **state) {
    CUmodule m;
    (void)state;
    if (CUDA_VERSION < 13000)
        skip();
    char *file = sim_read_file(CUDASIM_FATBIN, NULL);
    CU(cuModuleLoadData(&m, file));
    sim_option("DRIVER_VERSION", "12.2");
    CU_IS(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, cuModuleLoadData(&m, file));
    free(file);
}

static void matches_cubins_to_devices(void **state) {
    static const struct {
        const char *arch;
        uint32_t cubin;
        uint64_t flags;
        bool runs;
    } cases[] = {
        {"86", 86, 0, true},         {"86", 80, 0, true},
        {"86", 89, 0, false},        {"89", 86, 0, true},
        {"80", 86, 0, false},        {"90", 89, 0, false},
        {"90", 90, ARCH_ONLY, true}, {"103", 100, ARCH_ONLY, false},
        {"103", 100, FAMILY, true},  {"103", 100, 0, true},
        {"120", 100, FAMILY, false}, {"121", 120, 0, true},
    };
    CUfunction k;
    CUmodule m;
    int arch;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sim_option("ARCH", cases[i].arch);
        sim_option("DRIVER_VERSION", "12.9");
        CU(cuInit(0));
        begin(&fatbin);
        put_old_cubin(&fatbin, 129, cases[i].cubin, cases[i].flags);
        put_ptx(&fatbin, 9.0, 80, 1); /* too new to be compiled, so it runs only where the cubin does */
        assert_int_equal(run_fatbin(), cases[i].runs ? 1 : -CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
        if (!cases[i].runs)
            continue;
        CU(cuModuleLoadData(&m, fatbin.data));
        CU(cuModuleGetFunction(&k, m, "k"));
        CU(cuFuncGetAttribute(&arch, CU_FUNC_ATTRIBUTE_BINARY_VERSION, k));
        assert_int_equal(arch, cases[i].cubin);
    }
    /* alone, by its ELF header */
    Elf64_Ehdr head = {.e_ident = {0x7f, 'E', 'L', 'F', 2, 1, 1, 0x33, 7},
                       .e_machine = 190,
                       .e_version = 129,
                       .e_flags = 90};
    sim_option("ARCH", "86");
    CU_IS(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, &head));
    SAYS("the cubin is for sm_90, and the device is an sm_86");
    head.e_flags = 86;
    CU_IS(CUDA_ERROR_NO_BINARY_FOR_GPU, cuModuleLoadData(&m, &head));
    SAYS("machine code cannot be executed here");
    head.e_version = 130;
    CU_IS(CUDA_ERROR_INVALID_IMAGE, cuModuleLoadData(&m, &head));
}

/* ---- devices ---- */

/* The device's limits, as the toolkit's own calculator of occupancy wants them. */
static cudaOccDeviceProp properties(void) {
    cudaOccDeviceProp p;
    int value;
    memset(&p, 0, sizeof p);
    p.warpSize = 32;
    p.numSms = 28;
#define GET(member, T, which)                                                                                \
    CU(cuDeviceGetAttribute(&value, CU_DEVICE_ATTRIBUTE_##which, 0));                                        \
    p.member = (T)value
    GET(computeMajor, int, COMPUTE_CAPABILITY_MAJOR);
    GET(computeMinor, int, COMPUTE_CAPABILITY_MINOR);
    GET(maxThreadsPerBlock, int, MAX_THREADS_PER_BLOCK);
    GET(maxThreadsPerMultiprocessor, int, MAX_THREADS_PER_MULTIPROCESSOR);
    GET(regsPerBlock, int, MAX_REGISTERS_PER_BLOCK);
    GET(regsPerMultiprocessor, int, MAX_REGISTERS_PER_MULTIPROCESSOR);
    GET(sharedMemPerBlock, size_t, MAX_SHARED_MEMORY_PER_BLOCK);
    GET(sharedMemPerMultiprocessor, size_t, MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
    GET(sharedMemPerBlockOptin, size_t, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    GET(reservedSharedMemPerBlock, size_t, RESERVED_SHARED_MEMORY_PER_BLOCK);
#undef GET
    return p;
}

/* How many blocks fit, by NVIDIA's calculator. */
static int by_calculator(CUfunction k, int threads) {
    const cudaOccDeviceProp p = properties();
    const cudaOccDeviceState s = {.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED};
    cudaOccFuncAttributes a;
    cudaOccResult result;
    int most, registers, bytes;
    memset(&a, 0, sizeof a);
    CU(cuFuncGetAttribute(&most, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, k));
    CU(cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, k));
    CU(cuFuncGetAttribute(&bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, k));
    a.maxThreadsPerBlock = most;
    a.numRegs = registers;
    a.sharedSizeBytes = (size_t)bytes;
    a.partitionedGCConfig = PARTITIONED_GC_OFF;
    a.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
    a.maxDynamicSharedSizeBytes = p.sharedMemPerBlock - a.sharedSizeBytes;
    assert_int_equal(cudaOccMaxActiveBlocksPerMultiprocessor(&result, &p, &a, &s, threads, 0),
                     CUDA_OCC_SUCCESS);
    return result.activeBlocksPerMultiprocessor;
}

static void fits_as_many_blocks_as_the_toolkit_says(void **state) {
    static const char *const archs[] = {"80", "86", "87", "89", "90", "100", "103", "120", "121"};
    static const struct {
        int threads, registers;
    } kernels[] = {{1024, 16}, {1024, 24}, {1024, 40}, {1024, 64}, {512, 72},
                   {512, 128}, {384, 168}, {256, 248}, {256, 255}};
    (void)state;
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        sim_option("ARCH", archs[i]);
        CU(cuInit(0));
        for (size_t r = 0; r < sizeof kernels / sizeof *kernels; r++) {
            char text[512];
            snprintf(
                text, sizeof text,
                ".version 7.0\n.target sm_80\n.visible .entry k() .maxntid %d .maxnreg %d { .shared .align 4 "
                ".b8 s[%d]; ret; }",
                kernels[r].threads, kernels[r].registers, 4 * kernels[r].registers);
            CUfunction k = sim_ptx(text);
            int value, n;
            CU(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, k));
            assert_int_equal(value, kernels[r].registers);
            for (int threads = 1; threads <= kernels[r].threads; threads += threads % 32 ? 31 : 1) {
                CU(cuOccupancyMaxActiveBlocksPerMultiprocessor(&n, k, threads, 0));
                assert_true(n > 0);
                assert_int_equal(n, by_calculator(k, threads));
            }
        }
    }
}

static void needs_a_driver_that_knows_the_device(void **state) {
    (void)state;
    static const struct {
        const char *arch, *before, *since;
    } cases[] = {{"86", "11.0", "11.1"},  {"89", "11.7", "11.8"},  {"90", "11.7", "11.8"},
                 {"100", "12.7", "12.8"}, {"120", "12.6", "12.8"}, {"121", "12.8", "12.9"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sim_option("ARCH", cases[i].arch);
        sim_option("DRIVER_VERSION", cases[i].before);
        CU_IS(CUDA_ERROR_NO_DEVICE, cuInit(0));
        SAYS("knows no device of compute capability");
        sim_option("DRIVER_VERSION", cases[i].since);
        CU(cuInit(0));
    }
    assert_int_equal(cudasim_option("ARCH", "88"), -1);
    SAYS("no compute capability that is simulated");
}

/* ---- functions ---- */

static void *found(const char *name, int version) {
    void *f = NULL;
    cuGetProcAddress(name, &f, version, 0, NULL);
    return f;
}

/* Between two releases cuGetProcAddress gives another function only where the toolkit's header has a type for
 * it that came with the later one. */
static void finds_functions_from_the_version_that_brought_them(void **state) {
    (void)state;
    char *text = sim_read_file(CUDASIM_TYPEDEFS, NULL);
    int n_name = 0, n_change = 0;
    char names[1000][80];
    for (const char *at = text; (at = strstr(at, "*PFN_cu")); at++) {
        char name[80];
        if (sscanf(at, "*PFN_%79[A-Za-z0-9]_v", name) != 1 || !found(name, 13000))
            continue;
        bool known = false;
        for (int i = 0; i < n_name; i++)
            known |= !strcmp(names[i], name);
        if (known)
            continue;
        assert_true(n_name < 1000);
        strcpy(names[n_name++], name);
        void *before = NULL;
        for (int i = 0; i < N_RELEASE; i++) {
            const int release = version_of(releases[i]), last = i ? version_of(releases[i - 1]) : 0;
            sim_option("DRIVER_VERSION", releases[i]);
            void *now = found(name, 13000);
            bool explained = now == before;
            char typed[100];
            snprintf(typed, sizeof typed, "*PFN_%s_v", name);
            for (const char *t = text; !explained && (t = strstr(t, typed)); t++) {
                const int version = atoi(t + strlen(typed));
                explained = version > last && version <= release;
            }
            if (!explained)
                print_error("%s changes with CUDA %s\n", name, releases[i]);
            assert_true(explained);
            n_change += now != before;
            before = now;
        }
    }
    free(text);
    assert_true(n_name > 100 && n_change > n_name);
}

static void hides_later_functions_from_dlsym(void **state) {
    static const struct {
        const char *symbol, *before, *since;
    } cases[] = {
        {"cuLibraryLoadData", "11.8", "12.0"},
        {"cuGraphAddKernelNode_v2", "11.8", "12.0"},
        {"cuFuncGetName", "12.2", "12.3"},
        {"cuGraphAddDependencies_v2", "12.2", "12.3"},
        {"cuModuleGetFunctionCount", "12.3", "12.4"},
        {"cuCtxCreate_v4", "12.4", "12.5"},
        {"cuEventElapsedTime_v2", "12.7", "12.8"},
    };
    CUdriverProcAddressQueryResult status;
    void *f;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sim_option("DRIVER_VERSION", "13.0");
        void *const always = dlsym(RTLD_DEFAULT, cases[i].symbol);
        assert_non_null(always);
        sim_option("DRIVER_VERSION", cases[i].before);
        assert_null(dlsym(RTLD_DEFAULT, cases[i].symbol));
        assert_non_null(dlsym(RTLD_DEFAULT, "cuInit"));
        assert_non_null(dlsym(RTLD_DEFAULT, "cudasim_message"));
        sim_option("DRIVER_VERSION", cases[i].since);
        assert_true(dlsym(RTLD_DEFAULT, cases[i].symbol) == always);
    }
    /* a name that the driver has never heard of, and a function that it has in an older form */
    sim_option("DRIVER_VERSION", "12.2");
    CU_IS(CUDA_ERROR_NOT_FOUND, cuGetProcAddress("cuFuncGetName", &f, 13000, 0, &status));
    assert_true(!f && status == CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    CU(cuGetProcAddress("cuCtxCreate", &f, 13000, 0, &status));
    assert_true(f == dlsym(RTLD_DEFAULT, "cuCtxCreate_v3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(tells_the_version_it_poses_as),
        TEST(refuses_ptx_newer_than_the_driver),
        TEST(refuses_targets_newer_than_the_device),
        TEST(loads_what_a_driver_of_the_version_would_load),
        TEST(refuses_the_fatbin_of_a_newer_toolkit),
        TEST(matches_cubins_to_devices),
        TEST(fits_as_many_blocks_as_the_toolkit_says),
        TEST(needs_a_driver_that_knows_the_device),
        TEST(finds_functions_from_the_version_that_brought_them),
        TEST(hides_later_functions_from_dlsym),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
