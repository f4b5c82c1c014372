/* matvec_f16.cu: mat-vec of F16 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(f16)
