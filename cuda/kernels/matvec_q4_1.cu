/* matvec_q4_1.cu: mat-vec of Q4_1 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q4_1)
