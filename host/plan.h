/* host/plan.h: how much memory a session will take, before anything is loaded.
 *
 * A prediction: GGUF bytes of the weights, rows of the cache, activation areas. A plugin may pad; what it
 * really took is in tandem_memory_info and is shown beside.
 */
#ifndef TANDEM_HOST_PLAN_H
#define TANDEM_HOST_PLAN_H

#include <tandem/tandem.h>

#include "model_source.h"

typedef struct memory_plan {
    uint64_t weights; /* on the device */
    uint64_t host;    /* weights in host memory: per-layer embedding table, experts placed there */
    uint64_t kv;
    uint64_t workspace;
    uint64_t device; /* weights, kv and workspace */
    uint64_t total;  /* device and host */
} memory_plan;

typedef struct plan_request {
    uint32_t n_ctx;
    uint32_t batch;
    uint32_t n_rollback; /* as in session_desc */
    uint32_t n_score;    /* rows of the head program; 0: none */
    uint32_t kv_type;
    uint32_t expert_placement; /* TANDEM_PLACE_* */
} plan_request;

/* Positions that a ring holds beyond its window: the batch, what is to be rolled back, and at least the runs
 * that may be pending when generation ends. */
uint32_t plan_max_chunk(uint32_t batch, uint32_t n_rollback);

/* Bytes of one layer's K and V for `request`; 0 where the layer reads another's. */
uint64_t plan_kv_layer_bytes(const model_config *config, uint32_t layer, const plan_request *request);
uint64_t plan_kv_bytes(const model_config *config, const plan_request *request);

/* `borrows`: the plugin reads mapped weights where they are. */
int plan_memory(const model_source *source, const plan_request *request, bool borrows, memory_plan *plan,
                tandem_message *message);

/* OUT_OF_MEMORY with one sentence where the plan's `needed` bytes are more than `limit`; `what` names the
 * limit. */
int plan_check(const memory_plan *plan, const plan_request *request, uint64_t needed, uint64_t limit,
               const char *what, tandem_message *message);

#endif
