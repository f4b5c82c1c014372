/* matvec_f32.cu: mat-vec of F32 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(f32)
