/* matvec_mxfp4.cu: mat-vec of MXFP4 weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(mxfp4)
