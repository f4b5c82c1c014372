/* matmul_q8_k.cu: products of many rows with q8 activations (tile_q8.cuh): formats of 256 columns. */
#include "tile_q8.cuh"

TILE_KERNELS(q2_k, q8)
TILE_KERNELS(q3_k, q8)
TILE_KERNELS(q4_k, q8)
TILE_KERNELS(q5_k, q8)
TILE_KERNELS(q6_k, q8)
