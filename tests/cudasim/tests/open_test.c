/* As a plugin uses it: opened by its path, entry points looked up by name, options from the environment,
 * counters written when the process ends.
 *
 * usage: open_test LIBRARY COUNTERS   runs itself as a child with the environment set, and reads what the
 * child left
 */
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "open_test: %s:%d: %s\n", __FILE__, __LINE__, #condition);                       \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

typedef CUresult (*lookup_fn)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);

static void *look_up(void *library, const char *name) {
    void *symbol = dlsym(library, "cuGetProcAddress_v2"), *found = NULL;
    lookup_fn lookup;
    EXPECT(symbol != NULL);
    memcpy(&lookup, &symbol, sizeof lookup);
    EXPECT(lookup(name, &found, 12000, 0, NULL) == CUDA_SUCCESS && found);
    return found;
}

static int child(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    EXPECT(library != NULL);
    EXPECT(dlsym(library, "cudasim_message") != NULL);
    /* a driver of CUDA 12.2 has no function that came later, as the environment asks before anything runs */
    EXPECT(dlsym(library, "cuLibraryLoadData") && dlsym(library, "cuCtxCreate_v3"));
    EXPECT(!dlsym(library, "cuFuncGetName") && !dlsym(library, "cuCtxCreate_v4"));
#define GET(name, ...)                                                                                       \
    CUresult (*name)(__VA_ARGS__);                                                                           \
    void *at_##name = look_up(library, #name);                                                               \
    memcpy(&name, &at_##name, sizeof name)
#undef cuCtxCreate
#undef cuMemAlloc
#undef cuMemGetInfo
#undef cuDeviceTotalMem
    GET(cuInit, unsigned);
    GET(cuDriverGetVersion, int *);
    GET(cuDeviceTotalMem, size_t *, CUdevice);
    GET(cuDeviceGetAttribute, int *, CUdevice_attribute, CUdevice);
    GET(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice);
    GET(cuCtxSetCurrent, CUcontext);
    GET(cuMemAlloc, CUdeviceptr *, size_t);
    int version, minor, sms;
    size_t bytes;
    CUcontext context;
    CUdeviceptr p;
    EXPECT(cuInit(0) == CUDA_SUCCESS);
    EXPECT(cuDriverGetVersion(&version) == CUDA_SUCCESS && version == 12020);
    EXPECT(cuDeviceTotalMem(&bytes, 0) == CUDA_SUCCESS && bytes == 64u << 20);
    EXPECT(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0) == CUDA_SUCCESS &&
           minor == 9);
    EXPECT(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0) == CUDA_SUCCESS &&
           sms == 4);
    EXPECT(cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
    EXPECT(cuCtxSetCurrent(context) == CUDA_SUCCESS);
    EXPECT(cuMemAlloc(&p, 32u << 20) == CUDA_SUCCESS);
    EXPECT(cuMemAlloc(&p, 64u << 20) == CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT(cuMemAlloc(&p, 1024) == CUDA_ERROR_OUT_OF_MEMORY); /* injected */
    EXPECT(cuMemAlloc(&p, 1024) == CUDA_SUCCESS);
    return 0;
}

int main(int argc, char **argv) {
    char text[4096] = "";
    int status;
    if (argc == 3 && !strcmp(argv[1], "--child"))
        return child(argv[2]);
    EXPECT(argc == 3);
    unlink(argv[2]);
    const pid_t pid = fork();
    EXPECT(pid >= 0);
    if (pid == 0) {
        setenv("CUDASIM_MEMORY", "64M", 1);
        setenv("CUDASIM_ARCH", "89", 1);
        setenv("CUDASIM_SMS", "4", 1);
        setenv("CUDASIM_DRIVER_VERSION", "12.2", 1);
        setenv("CUDASIM_FAIL", "cuMemAlloc@3=oom", 1);
        setenv("CUDASIM_COUNTERS", argv[2], 1);
        execl(argv[0], argv[0], "--child", argv[1], (char *)NULL);
        _exit(127);
    }
    EXPECT(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    FILE *f = fopen(argv[2], "r");
    EXPECT(f != NULL);
    EXPECT(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    EXPECT(strstr(text, "\"simulated\": true") && strstr(text, "\"cuMemAlloc\": 4"));
    /* an option that means nothing is an error of cuInit, not a default */
    const pid_t wrong = fork();
    EXPECT(wrong >= 0);
    if (wrong == 0) {
        setenv("CUDASIM_SEDE", "1", 1);
        void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL),
             *symbol = library ? dlsym(library, "cuInit") : NULL;
        CUresult (*init)(unsigned);
        memcpy(&init, &symbol, sizeof init);
        _exit(symbol && init(0) == CUDA_ERROR_INVALID_VALUE ? 0 : 1);
    }
    EXPECT(waitpid(wrong, &status, 0) == wrong && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    puts("opened, optioned, counted");
    return 0;
}
