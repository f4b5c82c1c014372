/* matmul_exact.cu: products of many rows in f32 (tile_exact.cuh). */
#include "tile_exact.cuh"

TILE_KERNELS(f32, exact)
TILE_KERNELS(f16, exact)
TILE_KERNELS(bf16, exact)
TILE_KERNELS(q4_0, exact)
TILE_KERNELS(q4_1, exact)
TILE_KERNELS(q5_0, exact)
TILE_KERNELS(q5_1, exact)
TILE_KERNELS(q8_0, exact)
