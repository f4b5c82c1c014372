/* matvec_iq4_xs.cu: mat-vec of IQ4_XS weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(iq4_xs)
