/* attention_q8_0.cu: attention over q8_0 keys and values. What, bytes and order: attention_split.cuh. */
#include "attention_split.cuh"

ATTENTION_KERNEL(q8_0_256_2, KV_Q8_0, false, 2u)
ATTENTION_KERNEL(q8_0_256_8, KV_Q8_0, false, 8u)
ATTENTION_KERNEL(q8_0_512_2, KV_Q8_0, true, 2u)
ATTENTION_KERNEL(q8_0_512_8, KV_Q8_0, true, 8u)
