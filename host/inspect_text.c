/* host/inspect_text.c: what `tandem inspect` prints for people. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "inspect_view.h"
#include "progress.h"
#include "wrap.h"

int view_memory_read(const inspect_view *v, uint32_t n_ctx, uint32_t kv_type, view_memory *memory,
                     tandem_message *message) {
    plan_request request = {.n_ctx = n_ctx, .batch = v->batch < n_ctx ? v->batch : n_ctx, .kv_type = kv_type};
    int status = plan_memory(v->source, &request, false, &memory->resident, message);
    request.expert_placement = TANDEM_PLACE_HOST;
    return status ? status : plan_memory(v->source, &request, false, &memory->offloaded, message);
}

bool view_fits(const view_card *card, const memory_plan *plan) {
    return (double)(card->unified ? plan->total : plan->device) <= card->bytes;
}

const char *view_fit(const view_card *card, const view_memory *memory) {
    return view_fits(card, &memory->resident) ? "yes" : view_fits(card, &memory->offloaded) ? "host" : "no";
}

static void print_tensor(void *user, const source_tensor *t, uint32_t role, uint32_t layer) {
    (void)user;
    (void)role;
    (void)layer;
    printf("  %-36s %-6s [%llu", t->name, gguf_tensor_type_name(t->type), (unsigned long long)t->dims[0]);
    for (uint32_t d = 1; d < t->n_dims; d++)
        printf(", %llu", (unsigned long long)t->dims[d]);
    printf("]\n");
}

static void print_shape(const inspect_view *v) {
    const model_config *c = model_source_config(v->source);
    const model_figures *f = &v->figures;
    const model_layer *first = &c->layers[0], *last = &c->layers[c->n_layer - 1];
    uint32_t n_global = 0;
    for (uint32_t l = 0; l < c->n_layer; l++)
        n_global += c->layers[l].window == 0;
    printf("%s\n", model_source_label(v->source));
    printf("  family       gemma%u, %u layers (%u global)\n  parameters   %.1f million", c->family,
           c->n_layer, n_global, (double)f->total.n_element * 1e-6);
    if (c->n_expert)
        printf(", %.1f of them active", (double)model_active(c, f) * 1e-6);
    printf("\n  width        %u, feed-forward %u", c->d_model, first->d_ff);
    if (last->d_ff != first->d_ff)
        printf(" to %u", last->d_ff);
    printf(", vocabulary %u\n", c->n_vocab);
    printf("  heads        %u query, %u KV, size %u (last layer: %u, %u, %u)\n", first->n_head,
           first->n_kv_head, first->head_dim, last->n_head, last->n_kv_head, last->head_dim);
    printf("  window       %u, trained context %u\n", c->window, c->n_ctx);
    if (c->n_shared_kv)
        printf("  shared       the last %u layers read the cache of earlier ones\n", c->n_shared_kv);
    if (c->n_expert)
        printf("  experts      %u, %u used, width %u\n", c->n_expert, c->n_used, c->d_expert);
}

static void print_tokenizer(const model_source *source) {
    tokenizer *tok = NULL;
    tandem_message message;
    if (!model_source_gguf(source))
        printf("  tokenizer    none (synthetic)\n");
    else if (tokenizer_create(&tok, model_source_gguf(source), &message))
        printf("  tokenizer    none: %s\n", message.text);
    else
        printf("  tokenizer    %u tokens, begin %d, end %d\n", tokenizer_n_vocab(tok),
               (int)tokenizer_bos(tok), (int)tokenizer_eos(tok));
    tokenizer_destroy(tok);
}

static void print_sum(const char *name, const part_sum *sum) {
    char bytes[32], token[32];
    printf("  %-32s %14llu  %10s  %10s\n", name, (unsigned long long)sum->n_element,
           format_bytes(sum->bytes, bytes, sizeof bytes),
           format_bytes(sum->bytes_per_token, token, sizeof token));
}

static void print_parts(const inspect_view *v) {
    const model_figures *f = &v->figures;
    printf("\n  %-32s %14s  %10s  %10s\n", "part", "parameters", "bytes", "a token");
    for (uint32_t p = 0; p < N_PART; p++)
        if (f->parts[p].n_element)
            print_sum(part_name(p), &f->parts[p]);
    print_sum("all", &f->total);
    if (v->has_published)
        print_sum("published, with unused K and V", &v->published.total);
    char bytes[32];
    printf("\n  %-10s %10s  %10s  %s\n", "format", "tensors", "bytes", "bits a weight");
    for (uint32_t i = 0; i < f->n_type; i++)
        printf("  %-10s %10u  %10s  %.2f\n", gguf_tensor_type_name(f->types[i].type), f->types[i].n_tensor,
               format_bytes(f->types[i].bytes, bytes, sizeof bytes),
               8.0 * (double)f->types[i].bytes / (double)f->types[i].n_element);
}

static void print_memory_row(const inspect_view *v, uint32_t n_ctx, uint32_t kv, const view_memory *m) {
    const model_config *c = model_source_config(v->source);
    char cache[32], naive[32], resident[32], offloaded[32];
    printf("  %7u%c %-5s %9s %9s %9s", n_ctx, n_ctx > c->n_ctx ? '*' : ' ', kv_type_name(kv),
           format_bytes(m->resident.kv, cache, sizeof cache),
           format_bytes(model_cache_bytes(c, n_ctx, kv, 0), naive, sizeof naive),
           format_bytes(m->resident.device, resident, sizeof resident));
    if (c->n_expert)
        printf(" %9s", format_bytes(m->offloaded.device, offloaded, sizeof offloaded));
    for (uint32_t k = 0; k < v->n_card; k++)
        printf(" %5s", view_fit(&v->card[k], m));
    printf("\n");
}

/* A card's name where it is as short as a column, else "this": the device of --plugin. */
const char *view_heading(const view_card *card) {
    return strlen(card->name) <= 5 ? card->name : "this";
}

static void print_weights(const inspect_view *v, const view_memory *m) {
    char weights[32], host[32], workspace[32], text[256];
    int n = snprintf(text, sizeof text, "Memory, a prediction: weights %s on the device",
                     format_bytes(m->resident.weights, weights, sizeof weights));
    if (m->resident.host)
        n += snprintf(text + n, sizeof text - (size_t)n, " and %s in host memory",
                      format_bytes(m->resident.host, host, sizeof host));
    n += snprintf(text + n, sizeof text - (size_t)n, ", workspace %s for %u rows a run.",
                  format_bytes(m->resident.workspace, workspace, sizeof workspace), v->batch);
    if (model_source_config(v->source)->n_expert)
        snprintf(text + n, sizeof text - (size_t)n,
                 " With the experts in host memory (--expert-memory host): weights %s and %s.",
                 format_bytes(m->offloaded.weights, weights, sizeof weights),
                 format_bytes(m->offloaded.host, host, sizeof host));
    printf("\n");
    wrap_print(stdout, text, 0, 0);
}

static int print_memory(const inspect_view *v, tandem_message *message) {
    const model_config *c = model_source_config(v->source);
    view_memory m;
    int status = view_memory_read(v, v->context[0], v->kv_type[0], &m, message);
    if (status)
        return status;
    print_weights(v, &m);
    printf("  %7s  %-5s %9s %9s %9s", "context", "type", "cache", "(naive)", "device");
    if (c->n_expert)
        printf(" %9s", "(offload)");
    for (uint32_t k = 0; k < v->n_card; k++)
        printf(" %5s", view_heading(&v->card[k]));
    printf("\n");
    for (uint32_t i = 0; i < v->n_context; i++)
        for (uint32_t t = 0; t < v->n_kv; t++) {
            status = view_memory_read(v, v->context[i], v->kv_type[t], &m, message);
            if (status)
                return status;
            print_memory_row(v, v->context[i], v->kv_type[t], &m);
        }
    printf("  naive: every layer keeps all positions%s\n",
           v->context[v->n_context - 1] > c->n_ctx ? "; *: beyond the trained context" : "");
    if (c->n_expert)
        printf("  offload, host: with the experts in host memory\n");
    for (uint32_t k = 0; k < v->n_card; k++)
        if (strcmp(view_heading(&v->card[k]), v->card[k].name))
            printf("  %s: %s\n", view_heading(&v->card[k]), v->card[k].name);
    return TANDEM_OK;
}

static void print_bound_row(const inspect_view *v, uint32_t n_ctx, uint32_t kv) {
    const model_config *c = model_source_config(v->source);
    const uint64_t cache = model_cache_bytes(c, n_ctx, kv, CACHE_WINDOWED);
    printf("  %7u  %-5s %9.3f GB", n_ctx, n_ctx ? kv_type_name(kv) : "-",
           (double)(v->figures.total.bytes_per_token + cache) * 1e-9);
    for (uint32_t b = 0; b < v->n_rate; b++) {
        double rate = model_bound(c, &v->figures, n_ctx, kv, v->rate[b].bytes_per_s);
        printf("  %11.*f", rate < 20 ? 1 : 0, rate);
    }
    printf("\n");
}

static void print_bounds(const inspect_view *v) {
    const model_figures *f = &v->figures;
    char text[256];
    snprintf(text, sizeof text,
             "Tokens per second that bandwidth alone allows: a prediction, an upper bound. Rates: %s.",
             v->rate_source);
    printf("\n");
    wrap_print(stdout, text, 0, 0);
    printf("One token reads %.3f GB of weights, the head %.3f GB of it, and the cache.\n",
           (double)f->total.bytes_per_token * 1e-9, (double)f->head_bytes * 1e-9);
    if (model_source_config(v->source)->n_expert)
        printf("Experts in host memory: %.3f GB of that come over the bus.\n",
               (double)f->parts[PART_EXPERTS].bytes_per_token * 1e-9);
    printf("  %7s  %-5s %12s", "context", "type", "reads");
    for (uint32_t b = 0; b < v->n_rate; b++)
        printf("  %6.*f GB/s", v->rate[b].bytes_per_s < 20e9 ? 1 : 0, v->rate[b].bytes_per_s * 1e-9);
    printf("\n");
    print_bound_row(v, 0, v->kv_type[0]);
    for (uint32_t i = 0; i < v->n_context; i++)
        for (uint32_t t = 0; t < v->n_kv; t++)
            print_bound_row(v, v->context[i], v->kv_type[t]);
}

int inspect_print_text(const inspect_view *v, tandem_message *message) {
    print_shape(v);
    print_tokenizer(v->source);
    if (v->tensors)
        model_each_tensor(v->source, print_tensor, NULL, message);
    print_parts(v);
    int status = print_memory(v, message);
    if (!status)
        status = inspect_print_fit(v, message);
    if (status)
        return status;
    inspect_print_sharing(v);
    print_bounds(v);
    if (v->images)
        inspect_print_images(v);
    if (v->price_kwh > 0)
        inspect_print_price(v);
    return TANDEM_OK;
}
