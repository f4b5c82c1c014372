/* matvec_q3_k.cu: mat-vec of Q3_K weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q3_k)
