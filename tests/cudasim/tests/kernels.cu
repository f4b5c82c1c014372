// Kernels that the simulator is tried on, in the style of the ones it is for; results are checked against C in kernels_test.c.
#include <cuda_fp16.h>
#include <stdint.h>

// y = a x + y. One thread an element.
extern "C" __global__ void saxpy(float a, const float *__restrict__ x, float *__restrict__ y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        y[i] = a * x[i] + y[i];
}

// y[row] = sum over blocks of 32: scale * (8-bit weights . 8-bit activations). One warp a row; a lane takes 16 weights.
extern "C" __global__ void __launch_bounds__(128) matvec_dp4a(const uint4 *__restrict__ w, const float *__restrict__ scale,
                                                               const uint4 *__restrict__ x, const float *__restrict__ x_scale,
                                                               float *__restrict__ y, int n_row, int n_block) {
    const int row = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n_row)
        return;
    float sum = 0;
    for (int i = lane; i < 2 * n_block; i += 32) {
        const uint4 a = __ldg(w + (size_t)row * 2 * n_block + i), b = x[i];
        int dot = __dp4a((int)a.x, (int)b.x, 0);
        dot = __dp4a((int)a.y, (int)b.y, dot);
        dot = __dp4a((int)a.z, (int)b.z, dot);
        dot = __dp4a((int)a.w, (int)b.w, dot);
        sum = fmaf((float)dot, scale[(size_t)row * n_block + i / 2] * x_scale[i / 2], sum);
    }
    for (int d = 16; d > 0; d /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, d);
    if (lane == 0)
        y[row] = sum;
}

static __device__ __forceinline__ void copy16(void *to, const void *from, bool real) {
    const uint32_t address = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(real ? 16 : 0) : "memory");
}

#define TILE_M 64
#define TILE_N 32
#define TILE_K 32
#define PITCH 40 // halves a row of a tile: 80 bytes, so that eight rows of ldmatrix fall into different banks

// c (m x n, f32) = a (m x k) * b (n x k) transposed, f16 in. Four warps; double-buffered cp.async, ldmatrix, mma m16n8k16.
extern "C" __global__ void __launch_bounds__(128) matmul_f16(const __half *__restrict__ a, const __half *__restrict__ b,
                                                              float *__restrict__ c, int m, int n, int k) {
    __shared__ __align__(16) __half tile_a[2][TILE_M * PITCH], tile_b[2][TILE_N * PITCH];
    const int m0 = blockIdx.y * TILE_M, n0 = blockIdx.x * TILE_N, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float sum[4][4] = {};
    auto fetch = [&](int stage, int k0) {
        for (int i = threadIdx.x; i < TILE_M * 4; i += 128) {
            const int row = i / 4, column = i % 4 * 8;
            const bool real = m0 + row < m;
            copy16(&tile_a[stage][row * PITCH + column], a + (size_t)(real ? m0 + row : 0) * k + k0 + column, real);
        }
        const int row = threadIdx.x / 4, column = threadIdx.x % 4 * 8;
        const bool real = n0 + row < n;
        copy16(&tile_b[stage][row * PITCH + column], b + (size_t)(real ? n0 + row : 0) * k + k0 + column, real);
        asm volatile("cp.async.commit_group;");
    };
    fetch(0, 0);
    for (int k0 = 0, stage = 0; k0 < k; k0 += TILE_K, stage ^= 1) {
        if (k0 + TILE_K < k) {
            fetch(stage ^ 1, k0 + TILE_K);
            asm volatile("cp.async.wait_group 1;" ::: "memory");
        } else {
            asm volatile("cp.async.wait_group 0;" ::: "memory");
        }
        __syncthreads();
        for (int kk = 0; kk < TILE_K; kk += 16) {
            uint32_t fa[4];
            const uint32_t at = (uint32_t)__cvta_generic_to_shared(
                &tile_a[stage][(warp * 16 + lane % 16) * PITCH + kk + lane / 16 * 8]);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(at) : "memory");
            for (int j = 0; j < 4; j++) {
                uint32_t fb[2];
                const uint32_t bt = (uint32_t)__cvta_generic_to_shared(
                    &tile_b[stage][(j * 8 + lane % 8) * PITCH + kk + lane / 8 % 2 * 8]);
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                             : "=r"(fb[0]), "=r"(fb[1]) : "r"(bt) : "memory");
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                             : "+f"(sum[j][0]), "+f"(sum[j][1]), "+f"(sum[j][2]), "+f"(sum[j][3])
                             : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
            }
        }
        __syncthreads();
    }
    const int row = m0 + warp * 16 + lane / 4;
    for (int j = 0; j < 4; j++)
        for (int e = 0; e < 4; e++) {
            const int r = row + e / 2 * 8, column = n0 + j * 8 + lane % 4 * 2 + e % 2;
            if (r < m && column < n)
                c[(size_t)r * n + column] = sum[j][e];
        }
}

// As above for 8-bit integers through mma m16n8k32; one warp a 16 x 8 tile, fragments straight from memory.
extern "C" __global__ void matmul_s8(const int8_t *__restrict__ a, const int8_t *__restrict__ b, int *__restrict__ c, int n, int k) {
    const int lane = threadIdx.x, group = lane / 4, in_group = lane % 4;
    const int8_t *ar = a + (size_t)(blockIdx.y * 16 + group) * k + in_group * 4;
    const int8_t *br = b + (size_t)(blockIdx.x * 8 + group) * k + in_group * 4;
    int sum[4] = {};
    for (int k0 = 0; k0 < k; k0 += 32) {
        const uint32_t a0 = *(const uint32_t *)(ar + k0), a1 = *(const uint32_t *)(ar + 8 * k + k0);
        const uint32_t a2 = *(const uint32_t *)(ar + k0 + 16), a3 = *(const uint32_t *)(ar + 8 * k + k0 + 16);
        const uint32_t b0 = *(const uint32_t *)(br + k0), b1 = *(const uint32_t *)(br + k0 + 16);
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }
    for (int e = 0; e < 4; e++)
        c[(size_t)(blockIdx.y * 16 + group + e / 2 * 8) * n + blockIdx.x * 8 + in_group * 2 + e % 2] = sum[e];
}

#define HEAD 128
// One query head over n_ctx rows of f16 K and V, split over gridDim.x blocks; the last block to finish combines.
extern "C" __global__ void __launch_bounds__(128) flash_decode(const float *__restrict__ q, const __half *__restrict__ keys,
                                                                const __half *__restrict__ values, float *partial, uint32_t *done,
                                                                float *__restrict__ out, int n_ctx, float scale) {
    __shared__ float shared_max[4], shared_sum[4], shared_out[4][HEAD];
    __shared__ bool last;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int chunk = (n_ctx + gridDim.x - 1) / gridDim.x, begin = blockIdx.x * chunk, end = min(begin + chunk, n_ctx);
    float4 mine = *(const float4 *)(q + lane * 4);
    float top = -INFINITY, total = 0, acc[4] = {};
    for (int t = begin + warp; t < end; t += 4) {
        const uint2 raw = *(const uint2 *)(keys + (size_t)t * HEAD + lane * 4);
        const float2 k0 = __half22float2(*(const __half2 *)&raw.x), k1 = __half22float2(*(const __half2 *)&raw.y);
        float dot = mine.x * k0.x + mine.y * k0.y + mine.z * k1.x + mine.w * k1.y;
        for (int d = 16; d > 0; d /= 2)
            dot += __shfl_xor_sync(0xffffffffu, dot, d);
        dot *= scale;
        const float next = fmaxf(top, dot), keep = __expf(top - next), weight = __expf(dot - next);
        const uint2 vraw = *(const uint2 *)(values + (size_t)t * HEAD + lane * 4);
        const float2 v0 = __half22float2(*(const __half2 *)&vraw.x), v1 = __half22float2(*(const __half2 *)&vraw.y);
        acc[0] = acc[0] * keep + weight * v0.x, acc[1] = acc[1] * keep + weight * v0.y;
        acc[2] = acc[2] * keep + weight * v1.x, acc[3] = acc[3] * keep + weight * v1.y;
        total = total * keep + weight, top = next;
    }
    if (lane == 0)
        shared_max[warp] = top, shared_sum[warp] = total;
    for (int e = 0; e < 4; e++)
        shared_out[warp][lane * 4 + e] = acc[e];
    __syncthreads();
    const float all = fmaxf(fmaxf(shared_max[0], shared_max[1]), fmaxf(shared_max[2], shared_max[3]));
    float value = 0, sum = 0;
    for (int w = 0; w < 4; w++) {
        const float f = shared_max[w] == -INFINITY ? 0 : __expf(shared_max[w] - all);
        value += f * shared_out[w][threadIdx.x], sum += f * shared_sum[w];
    }
    float *slot = partial + blockIdx.x * (HEAD + 2);
    slot[threadIdx.x] = value;
    if (threadIdx.x == 0)
        slot[HEAD] = all, slot[HEAD + 1] = sum;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    float best = -INFINITY;
    for (int s = 0; s < gridDim.x; s++)
        best = fmaxf(best, __ldcg(partial + s * (HEAD + 2) + HEAD));
    float numerator = 0, denominator = 0;
    for (int s = 0; s < gridDim.x; s++) {
        const float f = __expf(__ldcg(partial + s * (HEAD + 2) + HEAD) - best);
        numerator += f * __ldcg(partial + s * (HEAD + 2) + threadIdx.x);
        denominator += f * __ldcg(partial + s * (HEAD + 2) + HEAD + 1);
    }
    out[threadIdx.x] = numerator / denominator;
}

// The eight largest of 128 logits, ties to the lower index, with their softmax over the eight. One warp a row.
extern "C" __global__ void top8(const float *__restrict__ logits, int *__restrict__ ids, float *__restrict__ weights) {
    const int lane = threadIdx.x;
    uint64_t key[4];
    for (int i = 0; i < 4; i++) {
        const uint32_t bits = __float_as_uint(logits[blockIdx.x * 128 + i * 32 + lane]);
        const uint32_t order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        key[i] = (uint64_t)order << 32 | (0xffffffffu - (i * 32 + lane));
    }
    float first = 0, mine = 0, sum = 0;
    for (int r = 0; r < 8; r++) {
        uint64_t best = key[0];
        for (int i = 1; i < 4; i++)
            best = key[i] > best ? key[i] : best;
        for (int d = 16; d > 0; d /= 2) {
            const uint64_t other = __shfl_xor_sync(0xffffffffu, (unsigned long long)best, d);
            best = other > best ? other : best;
        }
        for (int i = 0; i < 4; i++)
            if (key[i] == best)
                key[i] = 0;
        const uint32_t order = (uint32_t)(best >> 32);
        const float logit = __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
        if (r == 0)
            first = logit;
        const float e = __expf(logit - first);
        sum += e;
        if (lane == r)
            mine = e;
        if (lane == 0)
            ids[blockIdx.x * 8 + r] = (int)(0xffffffffu - (uint32_t)best);
    }
    if (lane < 8)
        weights[blockIdx.x * 8 + lane] = mine / sum;
}

// Every block adds its index to every slot of the one before it, `rounds` times, with a barrier of the whole grid between.
extern "C" __global__ void grid_barrier(uint32_t *slots, uint32_t *counter, int rounds) {
    for (int r = 0; r < rounds; r++) {
        const uint32_t before = slots[(blockIdx.x + gridDim.x - 1) % gridDim.x * blockDim.x + threadIdx.x];
        for (int phase = 0; phase < 2; phase++) {
            __threadfence();
            __syncthreads();
            if (threadIdx.x == 0) {
                atomicAdd(counter, 1);
                const uint32_t goal = (2 * r + phase + 1) * gridDim.x;
                uint32_t seen;
                do {
                    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
                } while (seen < goal);
            }
            __syncthreads();
            if (phase == 0)
                slots[blockIdx.x * blockDim.x + threadIdx.x] = before + blockIdx.x + 1;
        }
    }
}
