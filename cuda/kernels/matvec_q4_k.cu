/* matvec_q4_k.cu: mat-vec of Q4_K weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q4_k)
