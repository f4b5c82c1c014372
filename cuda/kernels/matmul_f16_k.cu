/* matmul_f16_k.cu: products of many rows with f16 activations (tile_f16.cuh): the other formats. */
#include "tile_f16.cuh"

TILE_KERNELS(q2_k, f16)
TILE_KERNELS(q3_k, f16)
TILE_KERNELS(q4_k, f16)
TILE_KERNELS(q5_k, f16)
TILE_KERNELS(q6_k, f16)
TILE_KERNELS(iq4_nl, f16)
TILE_KERNELS(iq4_xs, f16)
TILE_KERNELS(mxfp4, f16)
