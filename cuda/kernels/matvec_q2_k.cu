/* matvec_q2_k.cu: mat-vec of Q2_K weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q2_k)
