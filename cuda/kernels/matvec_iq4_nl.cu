/* matvec_iq4_nl.cu: mat-vec of IQ4_NL weights (matvec.cuh). */
#include "matvec.cuh"

MATVEC_KERNELS(iq4_nl)
