/* limits.h: how much may be under way on a context. */
#ifndef GPU_LIMITS_H
#define GPU_LIMITS_H

#define GPU_N_PENDING 8u  /* runs that may be pending, a power of two: slots of parameters and of times */
#define GPU_N_TICKET 256u /* tickets remembered, a power of two, more than GPU_N_PENDING */
#define GPU_N_TRANSFER 4u /* staged transfers in flight */
#define GPU_STAGING_BYTES (8u << 20)

#endif
