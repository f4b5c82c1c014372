/* What a program takes from the toolkit's headers, each call beside what it must give: lane by lane, in pairs. */
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cooperative_groups/scan.h>
#include <cuda/atomic>
#include <cuda/pipeline>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_pipeline.h>

namespace cg = cooperative_groups;

/* Pairs of results; the last word counts them. */
struct pairs {
    float *at;
    int n;
    __device__ void put(float got, float wanted) {
        at[(n * 2 + 0) * 32 + threadIdx.x % 32] = got;
        at[(n * 2 + 1) * 32 + threadIdx.x % 32] = wanted;
        n++;
    }
};
#define START pairs p = {out, 0}
#define END                                                                                                  \
    if (threadIdx.x == 0)                                                                                    \
    *count = p.n

extern "C" __global__ void half_functions(float *out, int *count) {
    START;
    const float x = 0.25f + 0.125f * (threadIdx.x % 32), y = 3.5f - 0.0625f * (threadIdx.x % 32);
    const __half a = __float2half(x), b = __float2half(y);
    const __half2 u = __halves2half2(a, b), v = __halves2half2(b, a);
    p.put(__half2float(__hadd(a, b)), x + y);
    p.put(__half2float(__hsub(a, b)), x - y);
    p.put(__half2float(__hmul(a, b)), x * y);
    p.put(__half2float(__hfma(a, b, a)), x * y + x);
    p.put(__half2float(__hfma_relu(a, __hneg(b), a)), fmaxf(x - x * y, 0));
    p.put(__half2float(__hdiv(a, b)), x / y);
    p.put(__half2float(__hsub_sat(b, a)), __saturatef(y - x));
    p.put(__half2float(hsqrt(a)), sqrtf(x));
    p.put(__half2float(hrsqrt(a)), rsqrtf(x));
    p.put(__half2float(hrcp(a)), 1 / x);
    p.put(__half2float(hexp(a)), expf(x));
    p.put(__half2float(hexp2(a)), exp2f(x));
    p.put(__half2float(hexp10(__hmul(a, __float2half(0.25f)))), exp10f(x / 4));
    p.put(__half2float(hlog(a)), logf(x));
    p.put(__half2float(hlog2(a)), log2f(x));
    p.put(__half2float(hlog10(a)), log10f(x));
    p.put(__half2float(hsin(a)), sinf(x));
    p.put(__half2float(hcos(a)), cosf(x));
    p.put(__half2float(htanh(a)), tanhf(x));
    p.put(__half2float(hceil(a)), ceilf(x));
    p.put(__half2float(hfloor(a)), floorf(x));
    p.put(__half2float(hrint(a)), rintf(x));
    p.put(__half2float(htrunc(a)), truncf(x));
    p.put(__half2float(__hmin(a, b)), fminf(x, y));
    p.put(__half2float(__hmax_nan(a, b)), fmaxf(x, y));
    p.put(__half2float(__habs(__hneg(a))), x);
    p.put(__low2float(__hadd2(u, v)), x + y);
    p.put(__high2float(__hmul2(u, v)), x * y);
    p.put(__low2float(__hfma2(u, v, v)), x * y + y);
    p.put(__high2float(__h2div(u, v)), y / x);
    p.put(__low2float(h2exp(u)), expf(x));
    p.put(__high2float(h2log(u)), logf(y));
    p.put(__low2float(h2sqrt(u)), sqrtf(x));
    p.put(__low2float(__hmax2(u, v)), fmaxf(x, y));
    p.put(__low2float(__lowhigh2highlow(u)), y);
    p.put(__high2float(__lows2half2(u, v)), y);
    p.put(__low2float(__hgt2(u, v)), x > y);
    p.put(__hlt(a, b), x < y);
    p.put(__hbeq2(u, u), 1);
    p.put(__heq2_mask(u, v) == (x == y ? ~0u : 0u), 1);
    p.put(__hisnan(a), 0);
    p.put(__half2int_rn(a), __float2int_rn(x));
    p.put(__half2uint_rd(a), __float2uint_rd(x));
    p.put(__half2float(__int2half_rn((int)threadIdx.x)), threadIdx.x);
    p.put(__half2float(__shfl_xor_sync(~0u, a, 1)), __shfl_xor_sync(~0u, x, 1));
    p.put(__low2float(__shfl_down_sync(~0u, u, 3)), __shfl_down_sync(~0u, x, 3));
    __shared__ __half2 sum;
    __shared__ __half words[32];
    if (threadIdx.x == 0)
        sum = __float2half2_rn(0.0f);
    words[threadIdx.x] = a;
    __syncthreads();
    atomicAdd(&sum, __halves2half2(__float2half(1.0f), __float2half(2.0f)));
    atomicAdd(&words[threadIdx.x & ~1], __float2half(1.0f));
    __syncthreads();
    p.put(__low2float(sum), 32);
    p.put(__high2float(sum), 64);
    p.put(__half2float(words[threadIdx.x]), threadIdx.x & 1 ? x : x + 2);
    END;
}

extern "C" __global__ void bfloat_functions(float *out, int *count) {
    START;
    const float x = 0.25f + 0.125f * (threadIdx.x % 32), y = 3.5f - 0.0625f * (threadIdx.x % 32);
    const __nv_bfloat16 a = __float2bfloat16(x), b = __float2bfloat16(y);
    const __nv_bfloat162 u = __halves2bfloat162(a, b), v = __halves2bfloat162(b, a);
    p.put(__bfloat162float(__hadd(a, b)), x + y);
    p.put(__bfloat162float(__hsub(a, b)), x - y);
    p.put(__bfloat162float(__hmul(a, b)), x * y);
    p.put(__bfloat162float(__hfma(a, b, a)), x * y + x);
    p.put(__bfloat162float(__hdiv(a, b)), x / y);
    p.put(__bfloat162float(hsqrt(a)), sqrtf(x));
    p.put(__bfloat162float(hrcp(a)), 1 / x);
    p.put(__bfloat162float(hexp(a)), expf(x));
    p.put(__bfloat162float(hlog(a)), logf(x));
    p.put(__bfloat162float(hsin(a)), sinf(x));
    p.put(__bfloat162float(htanh(a)), tanhf(x));
    p.put(__bfloat162float(hfloor(a)), floorf(x));
    p.put(__bfloat162float(__hmax(a, b)), fmaxf(x, y));
    p.put(__low2float(__hadd2(u, v)), x + y);
    p.put(__high2float(__hfma2(u, v, v)), x * y + x);
    p.put(__high2float(__h2div(u, v)), y / x);
    p.put(__low2float(h2exp2(u)), exp2f(x));
    p.put(__low2float(__hmin2(u, v)), fminf(x, y));
    p.put(__hlt(a, b), x < y);
    p.put(__bfloat162int_rz(a), (int)x);
    p.put(__bfloat162float(__shfl_sync(~0u, a, 3)), __shfl_sync(~0u, x, 3));
    END;
}

extern "C" __global__ void groups(float *out, int *count) {
    START;
    __shared__ int s[32];
    auto block = cg::this_thread_block();
    auto warp = cg::tiled_partition<32>(block);
    auto eight = cg::tiled_partition<8>(warp);
    const int lane = (int)block.thread_rank(), rank = (int)eight.thread_rank();
    s[lane] = lane;
    block.sync();
    p.put(s[31 - lane], 31 - lane);
    p.put(cg::reduce(warp, lane, cg::plus<int>()), 496);
    p.put(cg::reduce(eight, lane, cg::greater<int>()), lane | 7);
    p.put(cg::reduce(eight, 0.5f * rank, cg::plus<float>()), 14);
    p.put(cg::reduce(warp, 1 << lane % 16, cg::bit_or<int>()), 65535);
    p.put(cg::inclusive_scan(warp, lane + 1), (lane + 1) * (lane + 2) / 2);
    p.put(cg::exclusive_scan(eight, 1), rank);
    p.put(eight.shfl(lane, 2), (lane & ~7) + 2);
    p.put(warp.shfl_down(lane, 1), lane < 31 ? lane + 1 : 31);
    p.put(warp.any(lane == 5), 1);
    p.put(eight.all(lane > 5), lane > 7);
    p.put(__popc(warp.ballot(lane & 1)), 16);
    p.put(__popc(eight.match_any(lane & 1)), 4);
    auto quarters = cg::labeled_partition(warp, lane & 3);
    p.put(quarters.size(), 8);
    p.put(quarters.thread_rank(), lane / 4);
    auto halves = cg::binary_partition(warp, lane < 10);
    p.put(cg::reduce(halves, 1, cg::plus<int>()), lane < 10 ? 10 : 22);
    int size = 0, order = 0;
    if (lane & 1) {
        auto odd = cg::coalesced_threads();
        size = (int)odd.size();
        order = (int)odd.thread_rank();
    }
    warp.sync();
    p.put(size, lane & 1 ? 16 : 0);
    p.put(order, lane & 1 ? lane / 2 : 0);
    END;
}

/* Each block waits for all, twice; a cooperative launch. */
extern "C" __global__ void grid_barrier(float *out, int *count, int *words) {
    START;
    auto grid = cg::this_grid();
    const int n = (int)grid.num_blocks(), me = (int)grid.block_rank();
    if (threadIdx.x == 0)
        words[me] = me + 1;
    grid.sync();
    const int next = words[(me + 1) % n];
    grid.sync();
    if (threadIdx.x == 0)
        words[me] = 10 * next;
    grid.sync();
    if (me == 0) {
        for (int i = 0; i < n; i++)
            p.put(words[i], 10 * ((i + 1) % n + 1));
        END;
    }
}

/* One thread alone, so that each result is known. */
template <class T, cuda::thread_scope scope> __device__ void atomics_of(pairs &p, T *word) {
    cuda::atomic_ref<T, scope> r(*word);
    T expected = 9;
    r.store(5, cuda::memory_order_release);
    p.put((float)r.load(), 5);
    p.put((float)r.fetch_add(2), 5);
    p.put((float)r.fetch_sub(3, cuda::memory_order_acquire), 7);
    p.put((float)r.exchange(9, cuda::memory_order_acq_rel), 4);
    p.put(r.compare_exchange_strong(expected, 11), 1);
    p.put(r.compare_exchange_strong(expected, 12, cuda::memory_order_release, cuda::memory_order_relaxed), 0);
    p.put((float)expected, 11);
    p.put((float)r.fetch_max(20, cuda::memory_order_relaxed), 11);
    p.put((float)r.fetch_min(3), 20);
    p.put((float)r.load(cuda::memory_order_acquire), 3);
}
extern "C" __global__ void atomics(float *out, int *count) {
    START;
    __shared__ union {
        int i;
        unsigned u;
        unsigned long long l;
        float f;
        double d;
        short s;
        unsigned char c;
    } words[32];
    auto *w = &words[threadIdx.x];
    atomics_of<int, cuda::thread_scope_device>(p, &w->i);
    atomics_of<unsigned, cuda::thread_scope_block>(p, &w->u);
    atomics_of<unsigned long long, cuda::thread_scope_system>(p, &w->l);
    atomics_of<float, cuda::thread_scope_device>(p, &w->f);
    atomics_of<double, cuda::thread_scope_block>(p, &w->d);
    atomics_of<short, cuda::thread_scope_device>(p, &w->s);
    atomics_of<unsigned char, cuda::thread_scope_block>(p, &w->c);
    cuda::atomic_thread_fence(cuda::memory_order_seq_cst, cuda::thread_scope_device);
    cuda::atomic_thread_fence(cuda::memory_order_acquire, cuda::thread_scope_block);
    cuda::atomic_thread_fence(cuda::memory_order_release, cuda::thread_scope_system);
    END;
}

extern "C" __global__ void pipelines(float *out, int *count, const float4 *in) {
    START;
    __shared__ float4 s[3][32];
    const int i = threadIdx.x;
    __pipeline_memcpy_async(&s[0][i], in + i, 16);
    __pipeline_commit();
    __pipeline_memcpy_async(&s[1][i], in + 32 + i, 16, 4);
    __pipeline_commit();
    __pipeline_wait_prior(1);
    __syncthreads();
    p.put(s[0][31 - i].x, 4 * (31 - i));
    __pipeline_wait_prior(0);
    __syncthreads();
    p.put(s[1][31 - i].y, 4 * (63 - i) + 1);
    p.put(s[1][31 - i].w, 0); /* the last four bytes are zero filled */
    auto pipe = cuda::make_pipeline();
    pipe.producer_acquire();
    cuda::memcpy_async(&s[2][i], in + i, cuda::aligned_size_t<16>(16), pipe);
    pipe.producer_commit();
    pipe.consumer_wait();
    __syncthreads();
    p.put(s[2][31 - i].z, 4 * (31 - i) + 2);
    pipe.consumer_release();
    END;
}

extern "C" __global__ void intrinsics(float *out, int *count) {
    START;
    const unsigned x = 0x80ff0137u + 0x01030507u * threadIdx.x, y = 0x7f80feffu - 0x02040601u * threadIdx.x;
    unsigned add = 0, sub = 0, difference = 0, sum = 0, largest = 0;
    for (int b = 0; b < 32; b += 8) {
        const int i = x >> b & 255, j = y >> b & 255;
        add |= (unsigned)((i + j) & 255) << b;
        sub |= (unsigned)((i - j) & 255) << b;
        difference |= (unsigned)abs(i - j) << b;
        sum += abs(i - j);
        largest |= (unsigned)(((signed char)i > (signed char)j ? i : j) & 255) << b;
    }
    p.put(__vadd4(x, y) == add, 1);
    p.put(__vsub4(x, y) == sub, 1);
    p.put(__vabsdiffu4(x, y) == difference, 1);
    p.put(__vsadu4(x, y), sum);
    p.put(__vmaxs4(x, y) == largest, 1);
    p.put(__funnelshift_l(x, y, 8) == (y << 8 | x >> 24), 1);
    p.put(__byte_perm(x, y, 0x3210) == x, 1);
    p.put(__clz(x | 1) + __popc(x & 255), 31 - (int)log2f((float)(x | 1)) + __popc(x << 24));
    const double d = 1.0 + threadIdx.x;
    p.put((float)exp(log(d)), (float)d);
    p.put((float)(d / 3.0 * 3.0), (float)d);
    p.put((float)__dadd_rz(d, 0x1p-60), (float)d);
    p.put(__dadd_ru(d, 0x1p-60) > d, 1);
    p.put((float)(rsqrt(d) * sqrt(d)), 1);
    p.put(__syncthreads_count(threadIdx.x < 7), 7);
    p.put(__reduce_add_sync(~0u, threadIdx.x), 496);
    END;
}
