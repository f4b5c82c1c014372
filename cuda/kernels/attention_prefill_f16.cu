/* attention_prefill_f16.cu: prefill attention over f16 keys and values. What, bytes and order:
 * attention_prefill.cuh. */
#include "attention_prefill.cuh"

PREFILL_KERNEL(f16_256_exact, KV_F16, 256u, true)
PREFILL_KERNEL(f16_256_f16, KV_F16, 256u, false)
PREFILL_KERNEL(f16_512_exact, KV_F16, 512u, true)
PREFILL_KERNEL(f16_512_f16, KV_F16, 512u, false)
