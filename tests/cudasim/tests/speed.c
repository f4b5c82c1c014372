/* How fast the simulator runs, in thread instructions a second: to know what a test may cost. Not a test
 * itself. */
#include "sim.h"

#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static CUdeviceptr filled(size_t bytes, uint8_t value) {
    const CUdeviceptr p = sim_alloc(bytes);
    CU(cuMemsetD8(p, value, bytes));
    return p;
}

static void report(const char *name, double seconds) {
    char path[128];
    snprintf(path, sizeof path, "kernels/%s/thread_instructions", name);
    const double threads = sim_counter(path);
    snprintf(path, sizeof path, "kernels/%s/warp_instructions", name);
    printf("%-14s %8.1f M thread instructions in %6.3f s: %5.2f G/s, %5.1f ns a warp instruction\n", name,
           threads * 1e-6, seconds, threads / seconds * 1e-9, seconds * 1e9 / sim_counter(path));
    cudasim_counters_reset();
}

static const char loop_ptx[] = ".visible .entry loop(.param .u64 p, .param .u32 n){ .reg .b64 %d<4>; .reg "
                               ".b32 %r<4>; .reg .f32 %f<4>; .reg .pred %q;"
                               " ld.param.u64 %d1, [p]; ld.param.u32 %r1, [n]; mov.u32 %r2, %tid.x; "
                               "mul.wide.u32 %d2, %r2, 4; add.s64 %d1, %d1, %d2;"
                               " mov.f32 %f1, 0f00000000; L: ld.global.f32 %f2, [%d1]; fma.rn.f32 %f1, %f2, "
                               "%f2, %f1; add.s32 %r1, %r1, -1;"
                               " setp.ne.s32 %q, %r1, 0; @%q bra L; st.global.f32 [%d1], %f1; ret; }";

int main(void) {
    sim_open();
    {
        int n = 100000;
        CUdeviceptr p = filled(512, 1);
        CUfunction f = sim_ptx(loop_ptx);
        const double start = now();
        CU(sim_run(f, 28, 128, 0, PARAMS(&p, &n)));
        report("loop", now() - start);
    }
    {
        int n_row = 8192, n_block = 128;
        CUdeviceptr w = filled((size_t)n_row * n_block * 32, 3), s = filled((size_t)n_row * n_block * 4, 0),
                    x = filled((size_t)n_block * 32, 1), xs = filled((size_t)n_block * 4, 0),
                    y = sim_alloc((size_t)n_row * 4);
        CUfunction f = sim_kernel("matvec_dp4a");
        const double start = now();
        CU(sim_run(f, (unsigned)n_row / 4, 128, 0, PARAMS(&w, &s, &x, &xs, &y, &n_row, &n_block)));
        report("matvec_dp4a", now() - start);
    }
    {
        int n_ctx = 65536;
        float scale = 0.1f;
        CUdeviceptr q = filled(512, 0), k = filled((size_t)n_ctx * 256, 0), partial = sim_alloc(64 * 130 * 4),
                    done = filled(4, 0), out = sim_alloc(512);
        CUfunction f = sim_kernel("flash_decode");
        const double start = now();
        CU(sim_run(f, 64, 128, 0, PARAMS(&q, &k, &k, &partial, &done, &out, &n_ctx, &scale)));
        report("flash_decode", now() - start);
    }
    {
        int m = 512, n = 512, k = 1024;
        CUdeviceptr a = filled((size_t)m * k * 2, 0), b = filled((size_t)n * k * 2, 0),
                    c = sim_alloc((size_t)m * n * 4);
        CUfunction f = sim_kernel("matmul_f16");
        const double start = now();
        CU(sim_run3(f, (unsigned)n / 32, (unsigned)m / 64, 128, 0, PARAMS(&a, &b, &c, &m, &n, &k)));
        report("matmul_f16", now() - start);
    }
    {
        int n = 1024, k = 1024;
        CUdeviceptr a = filled((size_t)n * k, 0), b = filled((size_t)n * k, 0),
                    c = sim_alloc((size_t)n * n * 4);
        CUfunction f = sim_kernel("matmul_s8");
        const double start = now();
        CU(sim_run3(f, (unsigned)n / 8, (unsigned)n / 16, 32, 0, PARAMS(&a, &b, &c, &n, &k)));
        report("matmul_s8", now() - start);
    }
    sim_close();
    return 0;
}
