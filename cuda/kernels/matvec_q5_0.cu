/* matvec_q5_0.cu: mat-vec of Q5_0 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q5_0)
