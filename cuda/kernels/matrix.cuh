/* matrix.cuh: instructions of the matrix units, and copies to shared memory that arrive later. */
#ifndef TANDEM_MATRIX_CUH
#define TANDEM_MATRIX_CUH

#include <cuda_fp16.h>
#include <stdint.h>

static __device__ __forceinline__ uint32_t half2_bits(__half2 x) {
    return *reinterpret_cast<uint32_t *>(&x);
}

static __device__ __forceinline__ __half2 bits_half2(uint32_t x) {
    return *reinterpret_cast<__half2 *>(&x);
}

/* c[16][8] += a[16][16] b[16][8]. Lane 4 g + t has c of rows g (c[0], c[1]) and g + 8 (c[2], c[3]), columns
 * 2 t and 2 t + 1; a of those rows: g, g + 8 at k = 2 t and 2 t + 1, then both at 8 more; b of column g at
 * the same k. */
static __device__ __forceinline__ void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                               uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Four blocks of 8 x 8 f16, transposed: lane i brings the address of row i % 8 of block i / 8, 16 bytes, and
 * gets of each block column i / 4, rows 2 (i % 4) and the next. */
static __device__ __forceinline__ uint4 load_transposed(uint32_t lane_row) {
    uint4 v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(lane_row)
                 : "memory");
    return v;
}

/* Addresses in shared memory, so that those of a loop are one register and constants. */
static __device__ __forceinline__ uint32_t shared_address(const void *x) {
    return (uint32_t)__cvta_generic_to_shared(x);
}

static __device__ __forceinline__ uint4 load_shared_16(uint32_t from) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(from)
                 : "memory");
    return v;
}

static __device__ __forceinline__ float4 load_shared_floats(uint32_t from) {
    uint4 v = load_shared_16(from);
    return make_float4(__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z),
                       __uint_as_float(v.w));
}

static __device__ __forceinline__ uint2 load_shared_8(uint32_t from) {
    uint2 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(from) : "memory");
    return v;
}

static __device__ __forceinline__ float load_shared_half(uint32_t from) {
    unsigned short v;
    asm volatile("ld.shared.u16 %0, [%1];" : "=h"(v) : "r"(from) : "memory");
    return __half2float(__ushort_as_half(v));
}

/* 16 bytes, or zeros without is_there, whose address is then not read. */
static __device__ __forceinline__ void copy_16_or_zeros(uint32_t to, uint64_t from, bool is_there) {
    uint32_t bytes = is_there ? 16u : 0u;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void end_copy_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

static __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}

#endif
