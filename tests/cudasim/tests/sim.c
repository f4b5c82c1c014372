#include "sim.h"

static CUcontext context;

bool sim_simulated(void) {
    return cudasim_option != NULL;
}
const char *sim_message(void) {
    return sim_simulated() ? cudasim_message() : "";
}
void sim_option(const char *name, const char *value) {
    if (sim_simulated())
        assert_int_equal(cudasim_option(name, value), 0);
}

void sim_check(CUresult result, const char *call, const char *file, int line) {
    if (result != CUDA_SUCCESS)
        print_error("%s: %d: %s\n", call, (int)result, sim_message());
    _assert_int_equal((uintmax_t)result, CUDA_SUCCESS, file, line);
}

void sim_is(CUresult result, CUresult expected, const char *call, const char *file, int line) {
    if (result != expected)
        print_error("%s: %d, not %d: %s\n", call, (int)result, (int)expected, sim_message());
    _assert_int_equal((uintmax_t)result, (uintmax_t)expected, file, line);
}

void sim_says(const char *text, const char *file, int line) {
    const bool found = strstr(sim_message(), text) != NULL;
    if (!found)
        print_error("'%s' does not contain '%s'\n", cudasim_message(), text);
    _assert_true(found, "the message", file, line);
}

void sim_open(void) {
    CU(cuInit(0));
    CU(cuCtxCreate(&context, NULL, 0, 0));
}

void sim_close(void) {
    CU(cuCtxDestroy(context));
    context = NULL;
}

int sim_setup(void **state) {
    (void)state;
    sim_open();
    return 0;
}
int sim_teardown(void **state) {
    (void)state;
    if (sim_simulated())
        cudasim_fail(NULL);
    sim_option("DRIVER_VERSION", "13000");
    sim_option("ARCH", "86");
    sim_option("SEED", "0");
    sim_option("RACES", "1");
    sim_option("UNINITIALISED", "1");
    sim_close();
    return 0;
}

CUdeviceptr sim_alloc(size_t bytes) {
    CUdeviceptr p;
    CU(cuMemAlloc(&p, bytes));
    return p;
}
CUdeviceptr sim_upload(const void *data, size_t bytes) {
    const CUdeviceptr p = sim_alloc(bytes);
    CU(cuMemcpyHtoD(p, data, bytes));
    return p;
}
void sim_download(void *to, CUdeviceptr from, size_t bytes) {
    CU(cuMemcpyDtoH(to, from, bytes));
}

char *sim_read_file(const char *path, size_t *bytes) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    const long size = ftell(f);
    assert_true(size >= 0);
    rewind(f);
    char *data = calloc(1, (size_t)size + 64);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, (size_t)size, f), (size_t)size);
    fclose(f);
    if (bytes)
        *bytes = (size_t)size;
    return data;
}

CUfunction sim_kernel(const char *name) {
    CUfunction f;
    CUmodule m;
    char *data = sim_read_file(CUDASIM_FATBIN, NULL);
    CU(cuModuleLoadData(&m, data));
    free(data);
    CU(cuModuleGetFunction(&f, m, name));
    return f;
}

static char *with_head(const char *text) {
    static const char head[] = ".version 9.0\n.target sm_86\n.address_size 64\n";
    const bool whole = strstr(text, ".version") != NULL;
    char *all = malloc(strlen(text) + sizeof head);
    assert_non_null(all);
    sprintf(all, "%s%s", whole ? "" : head, text);
    return all;
}

CUfunction sim_ptx(const char *text) {
    CUmodule m;
    CUfunction f;
    char *all = with_head(text);
    CU(cuModuleLoadData(&m, all));
    free(all);
    CU(cuModuleEnumerateFunctions(&f, 1, m));
    return f;
}

CUresult sim_ptx_fails(const char *text) {
    CUmodule m;
    char *all = with_head(text);
    const CUresult r = cuModuleLoadData(&m, all);
    free(all);
    return r;
}

CUresult sim_run3(CUfunction f, unsigned gx, unsigned gy, unsigned threads, unsigned dynamic_bytes,
                  void **params) {
    const CUresult r = cuLaunchKernel(f, gx, gy, 1, threads, 1, 1, dynamic_bytes, NULL, params, NULL);
    return r ? r : cuCtxSynchronize();
}
CUresult sim_run(CUfunction f, unsigned grid, unsigned threads, unsigned dynamic_bytes, void **params) {
    return sim_run3(f, grid, 1, threads, dynamic_bytes, params);
}

/* Finds "key": at the level of `at`, an object's inside; in a list of objects, the one whose "name" or
 * "kernel" is the key. */
static const char *member(const char *at, const char *key) {
    char quoted[128];
    int depth = 0;
    const bool list = *at == '[';
    snprintf(quoted, sizeof quoted, list ? "\"name\": \"%s\"" : "\"%s\": ", key);
    for (const char *object = at++; *at && depth >= 0; at++) {
        if (*at == '{' || *at == '[') {
            object = depth == 0 ? at : object;
            depth++;
        }
        if (*at == '}' || *at == ']')
            depth--;
        if (*at == '"' && depth == (list ? 1 : 0) && !strncmp(at, quoted, strlen(quoted)))
            return list ? object : at + strlen(quoted);
    }
    return NULL;
}

double sim_counter(const char *path) {
    char copy[256], *text = cudasim_counters(), *rest = copy;
    assert_non_null(text);
    snprintf(copy, sizeof copy, "%s", path);
    const char *at = text;
    for (char *key; (key = strsep(&rest, "/"));) {
        at = member(at, key);
        if (!at)
            print_error("no counter %s\n%s\n", path, text);
        assert_non_null(at);
    }
    const double value = strtod(at, NULL);
    free(text);
    return value;
}

uint32_t sim_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}
float sim_random_float(uint32_t *state) {
    return (float)(int32_t)sim_random(state) * 0x1p-31f;
}

/* By the definition of the format, one bit pattern after the other: slow and independent of the processor's
 * conversion. */
float sim_from_half(uint16_t x) {
    const uint32_t exponent = x >> 10 & 31, fraction = x & 1023;
    float value = exponent == 31 ? (fraction ? 0.0f / 0.0f : 1.0f / 0.0f)
                  : exponent     ? (float)(1024 + fraction) * 0x1p-25f * (float)(1u << exponent)
                                 : (float)fraction * 0x1p-24f;
    return x >> 15 ? -value : value;
}
uint16_t sim_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const double magnitude = x < 0 ? -(double)x : (double)x;
    if (x != x)
        return 0x7fff;
    if (magnitude >= 65520)
        return sign | 0x7c00;
    /* the spacing of halves around it, then to the nearest, ties to even */
    double step = 0x1p-24;
    while (magnitude >= step * 2048)
        step *= 2;
    uint32_t n = (uint32_t)(magnitude / step);
    const double left = magnitude / step - n;
    n += left > 0.5 || (left == 0.5 && n & 1);
    uint32_t exponent = 0;
    for (double s = step; s > 0x1p-24; s /= 2)
        exponent++;
    return (uint16_t)(sign | (uint16_t)(exponent * 1024 + n));
}
