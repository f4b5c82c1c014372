/* matvec_q4_0.cu: mat-vec of Q4_0 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q4_0)
