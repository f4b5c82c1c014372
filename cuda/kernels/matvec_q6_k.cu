/* matvec_q6_k.cu: mat-vec of Q6_K weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q6_k)
