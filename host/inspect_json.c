/* host/inspect_json.c: what `tandem inspect --json` prints. Sizes are bytes, rates tokens per second. */
#include <cjson/cJSON.h>
#include <stdio.h>

#include "cli.h"
#include "inspect_view.h"

static void add_parts(cJSON *j, const char *name, const model_figures *f) {
    cJSON *parts = cJSON_AddObjectToObject(j, name);
    for (uint32_t p = 0; p <= N_PART; p++) {
        const part_sum *sum = p < N_PART ? &f->parts[p] : &f->total;
        if (!sum->n_element)
            continue;
        cJSON *part = cJSON_AddObjectToObject(parts, p < N_PART ? part_name(p) : "all");
        cJSON_AddNumberToObject(part, "parameters", (double)sum->n_element);
        cJSON_AddNumberToObject(part, "bytes", (double)sum->bytes);
        cJSON_AddNumberToObject(part, "bytes_per_token", (double)sum->bytes_per_token);
    }
}

static void add_shape(cJSON *j, const inspect_view *v) {
    const model_config *c = model_source_config(v->source);
    const model_figures *f = &v->figures;
    cJSON_AddStringToObject(j, "model", model_source_label(v->source));
    cJSON_AddNumberToObject(j, "family", c->family);
    cJSON_AddNumberToObject(j, "n_layer", c->n_layer);
    cJSON_AddNumberToObject(j, "d_model", c->d_model);
    cJSON_AddNumberToObject(j, "n_vocab", c->n_vocab);
    cJSON_AddNumberToObject(j, "n_ctx", c->n_ctx);
    cJSON_AddNumberToObject(j, "window", c->window);
    cJSON_AddNumberToObject(j, "n_expert", c->n_expert);
    cJSON_AddNumberToObject(j, "n_parameter", (double)f->total.n_element);
    cJSON_AddNumberToObject(j, "n_active", (double)model_active(c, f));
    cJSON_AddNumberToObject(j, "bytes", (double)f->total.bytes);
    cJSON_AddNumberToObject(j, "bytes_per_token", (double)f->total.bytes_per_token);
    cJSON_AddNumberToObject(j, "head_bytes", (double)f->head_bytes);
    add_parts(j, "parts", f);
    if (v->has_published)
        add_parts(j, "published_parts", &v->published);
    cJSON *types = cJSON_AddArrayToObject(j, "formats");
    for (uint32_t i = 0; i < f->n_type; i++) {
        cJSON *t = cJSON_CreateObject();
        cJSON_AddStringToObject(t, "type", gguf_tensor_type_name(f->types[i].type));
        cJSON_AddNumberToObject(t, "n_tensor", f->types[i].n_tensor);
        cJSON_AddNumberToObject(t, "bytes", (double)f->types[i].bytes);
        cJSON_AddItemToArray(types, t);
    }
}

static void add_cache(cJSON *row, const model_config *c, uint32_t n_ctx, uint32_t kv) {
    static const struct {
        const char *name;
        uint32_t flags;
    } ways[] = {{"cache_naive", 0},
                {"cache_shared", CACHE_SHARED},
                {"cache_windowed", CACHE_WINDOWED},
                {"cache_shared_windowed", CACHE_SHARED | CACHE_WINDOWED}};
    for (uint32_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        cJSON_AddNumberToObject(row, ways[i].name, (double)model_cache_bytes(c, n_ctx, kv, ways[i].flags));
}

static void add_bounds(cJSON *row, const inspect_view *v, uint32_t n_ctx, uint32_t kv) {
    const model_config *c = model_source_config(v->source);
    cJSON *bounds = cJSON_AddArrayToObject(row, "predicted_bounds");
    for (uint32_t b = 0; b < v->n_rate; b++) {
        const double rate = model_bound(c, &v->figures, n_ctx, kv, v->rate[b].bytes_per_s);
        cJSON *bound = cJSON_CreateObject();
        cJSON_AddNumberToObject(bound, "bytes_per_second", v->rate[b].bytes_per_s);
        cJSON_AddNumberToObject(bound, "tokens_per_second", rate);
        if (v->price_kwh > 0) {
            cJSON_AddNumberToObject(bound, "kwh_per_million", 1e6 / rate * v->rate[b].watts / 3.6e6);
            cJSON_AddNumberToObject(bound, "price_per_million",
                                    1e6 / rate * v->rate[b].watts / 3.6e6 * v->price_kwh);
        }
        cJSON_AddItemToArray(bounds, bound);
    }
}

static void add_memory(cJSON *row, const inspect_view *v, const view_memory *m) {
    cJSON_AddNumberToObject(row, "bytes", (double)m->resident.total);
    cJSON_AddNumberToObject(row, "device", (double)m->resident.device);
    cJSON_AddNumberToObject(row, "host", (double)m->resident.host);
    cJSON_AddNumberToObject(row, "cache", (double)m->resident.kv);
    cJSON_AddNumberToObject(row, "workspace", (double)m->resident.workspace);
    if (model_source_config(v->source)->n_expert) {
        cJSON_AddNumberToObject(row, "offloaded_device", (double)m->offloaded.device);
        cJSON_AddNumberToObject(row, "offloaded_host", (double)m->offloaded.host);
    }
    cJSON *fits = cJSON_AddObjectToObject(row, "fits");
    for (uint32_t k = 0; k < v->n_card; k++)
        cJSON_AddStringToObject(fits, v->card[k].name, view_fit(&v->card[k], m));
}

static int add_fit(cJSON *j, const inspect_view *v, tandem_message *message) {
    cJSON *list = cJSON_AddArrayToObject(j, "predicted_largest_context");
    const uint32_t n_place = model_source_config(v->source)->n_expert ? 2 : 1;
    for (uint32_t k = 0; k < v->n_card; k++)
        for (uint32_t t = 0; t < v->n_kv; t++)
            for (uint32_t p = 0; p < n_place; p++) {
                uint32_t n_ctx;
                int status = view_largest_context(v, &v->card[k], v->kv_type[t], p, &n_ctx, message);
                if (status)
                    return status;
                cJSON *fit = cJSON_CreateObject();
                cJSON_AddStringToObject(fit, "card", v->card[k].name);
                cJSON_AddStringToObject(fit, "kv", kv_type_name(v->kv_type[t]));
                cJSON_AddStringToObject(fit, "experts", p == TANDEM_PLACE_HOST ? "host" : "device");
                cJSON_AddNumberToObject(fit, "n_ctx", n_ctx);
                cJSON_AddItemToArray(list, fit);
            }
    return TANDEM_OK;
}

static void add_images(cJSON *j, const inspect_view *v) {
    const model_config *c = model_source_config(v->source);
    cJSON *list = cJSON_AddArrayToObject(j, "predicted_images");
    for (uint32_t i = 0; i < VIEW_N_IMAGE; i++) {
        const uint32_t n = view_image_tokens[i];
        cJSON *image = cJSON_CreateObject();
        cJSON_AddNumberToObject(image, "tokens", n);
        cJSON_AddNumberToObject(image, "flops", model_prefill_flops(c, &v->figures, n, 0));
        cJSON_AddNumberToObject(image, "bytes", model_prefill_bytes(c, &v->figures, n, 0, v->kv_type[0]));
        cJSON *seconds = cJSON_AddArrayToObject(image, "seconds_at_least");
        for (uint32_t b = 0; b < v->n_rate; b++)
            cJSON_AddItemToArray(seconds, cJSON_CreateNumber(model_prefill_seconds(
                                              c, &v->figures, n, 0, v->kv_type[0], v->rate[b].bytes_per_s,
                                              v->rate[b].flops_per_s)));
        cJSON_AddItemToArray(list, image);
    }
}

int inspect_print_json(const inspect_view *v, tandem_message *message) {
    const model_config *c = model_source_config(v->source);
    int status = TANDEM_OK;
    cJSON *j = cJSON_CreateObject();
    add_shape(j, v);
    add_bounds(j, v, 0, v->kv_type[0]);
    cJSON *rows = cJSON_AddArrayToObject(j, "predicted_memory");
    for (uint32_t i = 0; i < v->n_context; i++)
        for (uint32_t t = 0; t < v->n_kv && !status; t++) {
            view_memory m;
            status = view_memory_read(v, v->context[i], v->kv_type[t], &m, message);
            if (status)
                break;
            cJSON *row = cJSON_CreateObject();
            cJSON_AddNumberToObject(row, "n_ctx", v->context[i]);
            cJSON_AddStringToObject(row, "kv", kv_type_name(v->kv_type[t]));
            add_memory(row, v, &m);
            add_cache(row, c, v->context[i], v->kv_type[t]);
            add_bounds(row, v, v->context[i], v->kv_type[t]);
            cJSON_AddItemToArray(rows, row);
        }
    if (!status)
        status = add_fit(j, v, message);
    if (v->images)
        add_images(j, v);
    cJSON_AddStringToObject(j, "rates", v->rate_source);
    char *text = status ? NULL : cJSON_Print(j);
    if (!status)
        printf("%s\n", text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(j);
    return status;
}
