/* host/inspect_answers.c: what fits, what sharing saves, what images and a million tokens cost. Predictions.
 */
#include <math.h>
#include <stdio.h>

#include "cli.h"
#include "inspect_view.h"
#include "progress.h"
#include "wrap.h"

const uint32_t view_image_tokens[VIEW_N_IMAGE] = {70, 140, 280, 560, 1120};

/* ---- what fits ---- */

static int print_contexts(const inspect_view *v, uint32_t kv, uint32_t placement, const char *where,
                          tandem_message *message) {
    printf("  %-5s %-26s", kv_type_name(kv), where);
    for (uint32_t k = 0; k < v->n_card; k++) {
        uint32_t n_ctx;
        int status = view_largest_context(v, &v->card[k], kv, placement, &n_ctx, message);
        if (status)
            return status;
        if (n_ctx)
            printf("  %7u", n_ctx);
        else
            printf("  %7s", "none");
    }
    printf("\n");
    return TANDEM_OK;
}

static int print_shares(const inspect_view *v, uint32_t kv, uint32_t n_ctx, tandem_message *message) {
    char where[40];
    snprintf(where, sizeof where, "%% on the host at %u", n_ctx);
    printf("  %-5s %-26s", kv_type_name(kv), where);
    for (uint32_t k = 0; k < v->n_card; k++) {
        double share;
        int status = view_host_share(v, &v->card[k], n_ctx, kv, &share, message);
        if (status)
            return status;
        if (isnan(share))
            printf("  %7s", "-");
        else
            printf("  %7.0f", ceil(100 * share));
    }
    printf("\n");
    return TANDEM_OK;
}

int inspect_print_fit(const inspect_view *v, tandem_message *message) {
    const model_config *c = model_source_config(v->source);
    const uint32_t n_ctx = v->n_context == 1 ? v->context[0] : c->n_ctx;
    int status = TANDEM_OK;
    printf("\nLargest context that fits, up to the trained one: a prediction.\n  %-32s", "");
    for (uint32_t k = 0; k < v->n_card; k++)
        printf("  %7s", view_heading(&v->card[k]));
    printf("\n");
    for (uint32_t t = 0; t < v->n_kv && !status; t++) {
        status = print_contexts(v, v->kv_type[t], TANDEM_PLACE_DEVICE,
                                c->n_expert ? "experts on the device" : "cache", message);
        if (!status && c->n_expert)
            status = print_contexts(v, v->kv_type[t], TANDEM_PLACE_HOST, "experts in host memory", message);
        if (!status && c->n_expert)
            status = print_shares(v, v->kv_type[t], n_ctx, message);
    }
    if (!status && c->n_expert)
        printf("  %% on the host: least share of the experts in host memory (--expert-memory)\n");
    return status;
}

/* ---- what sharing saves ---- */

void inspect_print_sharing(const inspect_view *v) {
    const model_config *c = model_source_config(v->source);
    const uint32_t n_ctx = v->n_context == 1 ? v->context[0] : c->n_ctx;
    if (!c->n_shared_kv)
        return;
    printf("\nCache at %u positions, with and without sharing; windows count in both.\n", n_ctx);
    for (uint32_t t = 0; t < v->n_kv; t++) {
        char own[32], shared[32], saved[32];
        const uint64_t all = model_cache_bytes(c, n_ctx, v->kv_type[t], CACHE_WINDOWED);
        const uint64_t kept = model_cache_bytes(c, n_ctx, v->kv_type[t], CACHE_WINDOWED | CACHE_SHARED);
        printf("  %-5s %10s instead of %10s: sharing saves %10s, %.0f %%\n", kv_type_name(v->kv_type[t]),
               format_bytes(kept, shared, sizeof shared), format_bytes(all, own, sizeof own),
               format_bytes(all - kept, saved, sizeof saved), 100 * (double)(all - kept) / (double)all);
    }
    printf("  It saves memory, and K and V products in %u of %u layers; each layer still\n"
           "  reads what it attends to, so a token's reads are the same.\n",
           c->n_shared_kv, c->n_layer);
}

/* ---- images ---- */

void inspect_print_images(const inspect_view *v) {
    const model_config *c = model_source_config(v->source);
    char text[400];
    snprintf(text, sizeof text,
             "Prefill of an image at depth 0, milliseconds at best: a prediction from its arithmetic and the "
             "weights read once%s; the image's encoder and the head are not in it. Rates: %s.",
             c->n_expert ? " (of the experts as many as can be chosen)" : "", v->rate_source);
    printf("\n");
    wrap_print(stdout, text, 0, 0);
    printf("  %7s %10s %12s", "tokens", "Gflop", "reads");
    for (uint32_t b = 0; b < v->n_rate; b++)
        printf("  %6.*f Tflop/s",
               v->rate[b].flops_per_s < 1e12     ? 3
               : v->rate[b].flops_per_s < 100e12 ? 1
                                                 : 0,
               v->rate[b].flops_per_s * 1e-12);
    printf("\n");
    for (uint32_t i = 0; i < VIEW_N_IMAGE; i++) {
        const uint32_t n = view_image_tokens[i];
        printf("  %7u %10.1f %9.3f GB", n, model_prefill_flops(c, &v->figures, n, 0) * 1e-9,
               model_prefill_bytes(c, &v->figures, n, 0, v->kv_type[0]) * 1e-9);
        for (uint32_t b = 0; b < v->n_rate; b++)
            printf("  %14.1f", 1e3 * model_prefill_seconds(c, &v->figures, n, 0, v->kv_type[0],
                                                           v->rate[b].bytes_per_s, v->rate[b].flops_per_s));
        printf("\n");
    }
}

/* ---- electricity ---- */

static void print_price_row(const inspect_view *v, uint32_t n_ctx, uint32_t kv) {
    const model_config *c = model_source_config(v->source);
    printf("  %7u  %-5s", n_ctx, n_ctx ? kv_type_name(kv) : "-");
    for (uint32_t b = 0; b < v->n_rate; b++) {
        const double rate = model_bound(c, &v->figures, n_ctx, kv, v->rate[b].bytes_per_s);
        const double kwh = 1e6 / rate * v->rate[b].watts / 3.6e6;
        printf("  %9.3f kWh %8.3f", kwh, kwh * v->price_kwh);
    }
    printf("\n");
}

void inspect_print_price(const inspect_view *v) {
    char text[256];
    snprintf(text, sizeof text,
             "A million decoded tokens: a prediction, the card at its power limit and as fast as the bound "
             "above; slower kernels cost more. Price of a kWh: %g.",
             v->price_kwh);
    printf("\n");
    wrap_print(stdout, text, 0, 0);
    printf("  %7s  %-5s", "context", "type");
    for (uint32_t b = 0; b < v->n_rate; b++)
        printf("  %8.0f W %5s price", v->rate[b].watts, "");
    printf("\n");
    print_price_row(v, 0, v->kv_type[0]);
    for (uint32_t i = 0; i < v->n_context; i++)
        for (uint32_t t = 0; t < v->n_kv; t++)
            print_price_row(v, v->context[i], v->kv_type[t]);
}
