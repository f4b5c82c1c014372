/* host/session_experts.c: where the experts of a session lie. */
#include <math.h>

#include "progress.h"
#include "session_internal.h"

/* Spread over the layer, so that no routing meets one kind first. */
static bool is_on_host(uint32_t expert, uint32_t n_host, uint32_t n_expert) {
    return (uint64_t)(expert + 1) * n_host / n_expert > (uint64_t)expert * n_host / n_expert;
}

int session_place_experts(session *s, double host_share, tandem_message *message) {
    const uint32_t n = s->config->n_expert, n_host = (uint32_t)lround(host_share * n);
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = TANDEM_OK;
    for (uint32_t l = 0; l < s->config->n_layer && !status; l++)
        for (uint32_t e = 0; e < n && !status; e++) {
            uint32_t place = is_on_host(e, n_host, n) ? TANDEM_PLACE_HOST : TANDEM_PLACE_DEVICE;
            tandem_ticket ticket;
            status =
                plugin_weights_place(s->backend, s->weights.layers[l].experts, e, place, &ticket, &error);
            if (!status)
                status = plugin_wait(s->backend, s->context, ticket, UINT64_MAX, &error);
        }
    return status ? message_plugin(message, status, &error, "placing experts") : TANDEM_OK;
}
