/* matmul_f16.cu: products of many rows with f16 activations (tile_f16.cuh). */
#include "tile_f16.cuh"

TILE_KERNELS(f32, f16)
TILE_KERNELS(f16, f16)
TILE_KERNELS(bf16, f16)
TILE_KERNELS(q4_0, f16)
TILE_KERNELS(q4_1, f16)
TILE_KERNELS(q5_0, f16)
TILE_KERNELS(q5_1, f16)
TILE_KERNELS(q8_0, f16)
