/* Weights by name, out of a mapped file or made on demand. */
#include "model_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <tandem/quants.h>

#include "synth.h"

#define DEFAULT_MIX "Q4_0"

struct model_source {
    model_config config;
    gguf_file *file; /* or */
    synth *synth;
    model_mix mix; /* of the synthetic one */
    uint64_t bytes;
    char label[160];
};

static bool is_preset(const char *model) {
    for (uint32_t i = 0; model_preset_at(i); i++) {
        if (strcasecmp(model_preset_at(i), model) == 0)
            return true;
    }
    return false;
}

static const model_tensor *find_synthetic(const model_source *s, const char *name) {
    uint32_t n;
    const model_tensor *list = synth_tensors(s->synth, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    }
    return NULL;
}

static int open_preset(model_source *s, const model_source_desc *desc, tandem_message *message) {
    int status = model_config_preset(&s->config, desc->model, message);
    if (status == TANDEM_OK)
        status = model_config_override(&s->config, &desc->overrides, message);
    if (status == TANDEM_OK)
        status = model_mix_by_name(&s->mix, desc->quant ? desc->quant : DEFAULT_MIX, message);
    if (status == TANDEM_OK)
        status = synth_create(&s->synth, &s->config, &s->mix, desc->seed, message);
    if (status == TANDEM_OK)
        snprintf(s->label, sizeof s->label, "%s (synthetic, %s, seed %llu)", s->config.name, s->mix.name,
                 (unsigned long long)desc->seed);
    return status;
}

static int open_file(model_source *s, const model_source_desc *desc, tandem_message *message) {
    static const model_overrides NONE;
    if (desc->quant || memcmp(&desc->overrides, &NONE, sizeof NONE) != 0)
        return message_fail(
            message, TANDEM_E_INVALID,
            "'%s' is no preset: quant mix and dimensions can only be chosen for synthetic models",
            desc->model);
    int status = gguf_open(&s->file, desc->model, message);
    if (status == TANDEM_OK)
        status = model_config_read(&s->config, s->file, message);
    const char *slash = strrchr(desc->model, '/');
    snprintf(s->label, sizeof s->label, "%s", slash ? slash + 1 : desc->model);
    return status;
}

static int count_bytes(model_source *s, tandem_message *message) {
    model_tensor *list;
    uint32_t n;
    int status = model_tensor_list(&s->config, NULL, &list, &n, message);
    if (status != TANDEM_OK)
        return status;
    for (uint32_t i = 0; status >= 0 && i < n; i++) {
        source_tensor tensor;
        if (!list[i].used)
            continue;
        status = model_source_tensor(s, list[i].name, &tensor, message);
        if (status == 1)
            s->bytes += tensor.bytes;
    }
    free(list);
    return status < 0 ? status : TANDEM_OK;
}

int model_source_open(model_source **out, const model_source_desc *desc, tandem_message *message) {
    model_source *s = calloc(1, sizeof *s);
    if (!s)
        return message_out_of_memory(message, "a model", sizeof *s);
    int status = is_preset(desc->model) ? open_preset(s, desc, message) : open_file(s, desc, message);
    if (status == TANDEM_OK)
        status = count_bytes(s, message);
    if (status != TANDEM_OK) {
        model_source_close(s);
        return status;
    }
    *out = s;
    return TANDEM_OK;
}

void model_source_close(model_source *s) {
    if (!s)
        return;
    gguf_close(s->file);
    synth_destroy(s->synth);
    free(s);
}

const model_config *model_source_config(const model_source *s) {
    return &s->config;
}

const gguf_file *model_source_gguf(const model_source *s) {
    return s->file;
}

int model_source_check_unchanged(const model_source *s, tandem_message *message) {
    return s->file ? gguf_check_unchanged(s->file, message) : TANDEM_OK;
}

const model_mix *model_source_mix(const model_source *s) {
    return s->file ? NULL : &s->mix;
}

uint64_t model_source_bytes(const model_source *s) {
    return s->bytes;
}

const char *model_source_label(const model_source *s) {
    return s->label;
}

static int fill_tensor(source_tensor *out, const char *name, uint32_t type, uint32_t n_dims,
                       const uint64_t *dims, const void *data) {
    out->name = name;
    out->type = type;
    out->n_dims = n_dims;
    memcpy(out->dims, dims, sizeof out->dims);
    out->row_bytes = tandem_kit_row_bytes(type, dims[0]);
    out->n_row = dims[1] * dims[2] * dims[3];
    out->bytes = out->row_bytes * out->n_row;
    out->data = data;
    return 1;
}

int model_source_tensor(const model_source *s, const char *name, source_tensor *out,
                        tandem_message *message) {
    if (s->synth) {
        const model_tensor *t = find_synthetic(s, name);
        return t ? fill_tensor(out, t->name, t->type, t->n_dims, t->dims, NULL) : 0;
    }
    const gguf_tensor *t = gguf_tensor_by_name(s->file, name);
    if (!t)
        return 0;
    if (!tandem_kit_type(t->type))
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s: the tensor %s is of a type (%u) that is not supported", gguf_path(s->file),
                            name, t->type);
    return fill_tensor(out, t->name, t->type, t->n_dims, t->dims, t->data);
}

int model_source_role(const model_source *s, uint32_t role, uint32_t layer, source_tensor *out,
                      tandem_message *message) {
    char name[GGUF_MAX_NAME];
    model_tensor_name(role, layer, name);
    return model_source_tensor(s, name, out, message);
}

int model_source_rows(const model_source *s, const source_tensor *tensor, uint64_t first, uint64_t n,
                      void *scratch, const void **out, tandem_message *message) {
    if (first > tensor->n_row || n > tensor->n_row - first)
        return message_fail(message, TANDEM_E_INVALID, "rows %llu to %llu of %s asked for, which has %llu",
                            (unsigned long long)first, (unsigned long long)(first + n), tensor->name,
                            (unsigned long long)tensor->n_row);
    if (tensor->data) {
        *out = (const uint8_t *)tensor->data + first * tensor->row_bytes;
        return TANDEM_OK;
    }
    const model_tensor *t = s->synth ? find_synthetic(s, tensor->name) : NULL;
    if (!t || !scratch)
        return message_fail(message, TANDEM_E_INVALID, "no rows of %s without a place to make them",
                            tensor->name);
    synth_fill(s->synth, t, first, n, scratch);
    *out = scratch;
    return TANDEM_OK;
}

int model_source_read_f32(const model_source *s, const source_tensor *tensor, float *dst, uint64_t n,
                          tandem_message *message) {
    const void *rows = NULL;
    void *scratch = NULL;
    if (n != tensor->dims[0] * tensor->n_row)
        return message_fail(message, TANDEM_E_INVALID, "%s has %llu elements, not %llu", tensor->name,
                            (unsigned long long)(tensor->dims[0] * tensor->n_row), (unsigned long long)n);
    if (!tensor->data) {
        scratch = malloc(tensor->bytes);
        if (!scratch)
            return message_out_of_memory(message, tensor->name, tensor->bytes);
    }
    int status = model_source_rows(s, tensor, 0, tensor->n_row, scratch, &rows, message);
    if (status == TANDEM_OK && tandem_kit_dequantise(tensor->type, rows, dst, n) != TANDEM_OK)
        status = message_fail(message, TANDEM_E_UNSUPPORTED, "%s is of a type (%u) that is not read",
                              tensor->name, tensor->type);
    free(scratch);
    return status;
}

void model_source_drop(const model_source *s, const source_tensor *tensor) {
    if (!s->file)
        return;
    const gguf_tensor *t = gguf_tensor_by_name(s->file, tensor->name);
    if (t)
        gguf_drop_pages(s->file, t);
}
