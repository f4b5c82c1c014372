/* host/inspect_predict.c: what fits. */
#include "inspect_view.h"

#include <math.h>

static int fits_at(const inspect_view *v, const view_card *card, uint32_t n_ctx, uint32_t kv,
                   uint32_t placement, bool *fits, tandem_message *message) {
    view_memory m;
    int status = view_memory_read(v, n_ctx, kv, &m, message);
    *fits = !status && view_fits(card, placement == TANDEM_PLACE_HOST ? &m.offloaded : &m.resident);
    return status;
}

int view_largest_context(const inspect_view *v, const view_card *card, uint32_t kv, uint32_t placement,
                         uint32_t *n_ctx, tandem_message *message) {
    const uint32_t step = 1024; /* as exact as a prediction deserves */
    uint32_t low = 0, high = model_source_config(v->source)->n_ctx / step;
    int status = TANDEM_OK;
    while (low < high && !status) {
        const uint32_t middle = low + (high - low + 1) / 2;
        bool fits;
        status = fits_at(v, card, middle * step, kv, placement, &fits, message);
        low = fits ? middle : low;
        high = fits ? high : middle - 1;
    }
    *n_ctx = low * step;
    return status;
}

int view_host_share(const inspect_view *v, const view_card *card, uint32_t n_ctx, uint32_t kv, double *share,
                    tandem_message *message) {
    const model_config *c = model_source_config(v->source);
    view_memory m;
    int status = view_memory_read(v, n_ctx, kv, &m, message);
    *share = NAN;
    if (status || !c->n_expert || card->unified)
        return status;
    const double expert = (double)v->figures.parts[PART_EXPERTS].bytes / c->n_expert;
    const double away = ceil(fmax((double)m.resident.device - card->bytes, 0) / expert);
    if (away <= c->n_expert)
        *share = away / c->n_expert;
    return TANDEM_OK;
}
