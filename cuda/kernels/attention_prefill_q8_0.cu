/* attention_prefill_q8_0.cu: prefill attention over q8_0 keys and values. What, bytes and order:
 * attention_prefill.cuh. */
#include "attention_prefill.cuh"

PREFILL_KERNEL(q8_0_256_exact, KV_Q8_0, 256u, true)
PREFILL_KERNEL(q8_0_256_f16, KV_Q8_0, 256u, false)
PREFILL_KERNEL(q8_0_512_exact, KV_Q8_0, 512u, true)
PREFILL_KERNEL(q8_0_512_f16, KV_Q8_0, 512u, false)
