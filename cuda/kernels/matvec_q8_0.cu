/* matvec_q8_0.cu: mat-vec of Q8_0 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q8_0)
