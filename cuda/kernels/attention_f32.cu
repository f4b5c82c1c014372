/* attention_f32.cu: attention over f32 keys and values. What, bytes and order: attention_split.cuh. */
#include "attention_split.cuh"

ATTENTION_KERNEL(f32_256_2, KV_F32, false, 2u)
ATTENTION_KERNEL(f32_256_8, KV_F32, false, 8u)
ATTENTION_KERNEL(f32_512_2, KV_F32, true, 2u)
ATTENTION_KERNEL(f32_512_8, KV_F32, true, 8u)
