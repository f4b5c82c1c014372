/* matmul_exact_k.cu: products of many rows in f32 (tile_exact.cuh): the other formats. */
#include "tile_exact.cuh"

TILE_KERNELS(q2_k, exact)
TILE_KERNELS(q3_k, exact)
TILE_KERNELS(q4_k, exact)
TILE_KERNELS(q5_k, exact)
TILE_KERNELS(q6_k, exact)
TILE_KERNELS(iq4_nl, exact)
TILE_KERNELS(iq4_xs, exact)
TILE_KERNELS(mxfp4, exact)
