/* matvec_bf16.cu: mat-vec of BF16 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(bf16)
