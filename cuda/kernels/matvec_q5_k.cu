/* matvec_q5_k.cu: mat-vec of Q5_K weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(q5_k)
