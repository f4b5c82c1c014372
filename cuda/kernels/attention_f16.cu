/* attention_f16.cu: attention over f16 keys and values. What, bytes and order: attention_split.cuh. */
#include "attention_split.cuh"

ATTENTION_KERNEL(f16_256_2, KV_F16, false, 2u)
ATTENTION_KERNEL(f16_256_8, KV_F16, false, 8u)
ATTENTION_KERNEL(f16_512_2, KV_F16, true, 2u)
ATTENTION_KERNEL(f16_512_8, KV_F16, true, 8u)
