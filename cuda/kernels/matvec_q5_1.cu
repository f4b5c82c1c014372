/* matvec_q5_1.cu: mat-vec of Q5_1 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q5_1)
