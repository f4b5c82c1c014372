/* host/plan.c: predicted memory. */
#include "plan.h"

#include <tandem/quants.h>

#include "graph.h"
#include "progress.h"
#include "session.h"
#include "weights.h"

uint32_t plan_max_chunk(uint32_t batch, uint32_t n_rollback) {
    uint32_t most = batch > n_rollback ? batch : n_rollback;
    return most > SESSION_MAX_PENDING ? most : SESSION_MAX_PENDING;
}

uint64_t plan_kv_layer_bytes(const model_config *c, uint32_t l, const plan_request *request) {
    const model_layer *layer = &c->layers[l];
    if (layer->kv_layer != l)
        return 0;
    uint64_t rows = request->n_ctx,
             ring = (uint64_t)layer->window + plan_max_chunk(request->batch, request->n_rollback);
    if (layer->window && ring < rows)
        rows = ring;
    return 2 * rows * tandem_kit_row_bytes(request->kv_type, (uint64_t)layer->n_kv_head * layer->head_dim);
}

uint64_t plan_kv_bytes(const model_config *c, const plan_request *request) {
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < c->n_layer; l++)
        bytes += plan_kv_layer_bytes(c, l, request);
    return bytes;
}

int plan_memory(const model_source *source, const plan_request *request, bool borrows, memory_plan *plan,
                tandem_message *message) {
    const model_config *c = model_source_config(source);
    weight_bytes weights;
    int status = model_weights_bytes(source, request->expert_placement, &weights, message);
    if (status)
        return status;
    if (borrows && model_source_gguf(source))
        weights = (weight_bytes){0};
    graph_layout layout;
    graph_plan(&layout, c, request->batch, request->n_score ? request->n_score : 1);
    *plan = (memory_plan){
        .weights = weights.device,
        .host = weights.host,
        .kv = plan_kv_bytes(c, request),
        .workspace = layout.bytes + SESSION_RESULT_ROWS * graph_topk_bytes(layout.n_topk),
    };
    plan->device = plan->weights + plan->kv + plan->workspace;
    plan->total = plan->device + plan->host;
    return TANDEM_OK;
}

int plan_check(const memory_plan *plan, const plan_request *request, uint64_t needed, uint64_t limit,
               const char *what, tandem_message *message) {
    if (needed <= limit)
        return TANDEM_OK;
    char total[32], weights[32], host[32], kv[32], workspace[32], most[32];
    bool counts_host = plan->host && needed == plan->total;
    return message_fail(
        message, TANDEM_E_OUT_OF_MEMORY,
        "A context of %u positions needs %s (weights %s%s%s, cache %s, workspace %s), more than %s of %s.",
        request->n_ctx, format_bytes(needed, total, sizeof total),
        format_bytes(plan->weights, weights, sizeof weights), counts_host ? ", in host memory " : "",
        counts_host ? format_bytes(plan->host, host, sizeof host) : "", format_bytes(plan->kv, kv, sizeof kv),
        format_bytes(plan->workspace, workspace, sizeof workspace), what,
        format_bytes(limit, most, sizeof most));
}
