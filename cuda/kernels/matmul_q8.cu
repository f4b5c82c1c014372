/* matmul_q8.cu: products of many rows with q8 activations (tile_q8.cuh). */
#include "tile_q8.cuh"

TILE_KERNELS(q4_0, q8)
TILE_KERNELS(q4_1, q8)
TILE_KERNELS(q5_0, q8)
TILE_KERNELS(q5_1, q8)
TILE_KERNELS(q8_0, q8)
TILE_KERNELS(iq4_nl, q8)
TILE_KERNELS(iq4_xs, q8)
TILE_KERNELS(mxfp4, q8)
