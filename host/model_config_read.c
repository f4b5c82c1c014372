/* A model's shape from the metadata and the tensors of a GGUF file, with the tolerances that real files need.
 */
#include "model_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#define DEFAULT_PERIOD 6u /* Gemma 3 files do not say: every sixth layer is global */
#define DEFAULT_ROPE_BASE 10000.0f
#define GEMMA3_27B_LAYERS 62u /* its attention scale is not 1 / sqrt(head_dim) */

/* Reads keys "<architecture>.<suffix>"; the first failure sticks. */
typedef struct key_reader {
    const gguf_file *file;
    char architecture[32];
    char key[128];
    int status; /* 1: last key found, 0: absent, negative: failed */
    tandem_message *message;
} key_reader;

static const char *full_key(key_reader *r, const char *suffix) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->architecture, suffix);
    return r->key;
}

static bool read_u32(key_reader *r, const char *suffix, uint32_t *out) {
    if (r->status >= 0)
        r->status = gguf_get_u32(r->file, full_key(r, suffix), out, r->message);
    return r->status == 1;
}

static bool read_f32(key_reader *r, const char *suffix, float *out) {
    if (r->status >= 0)
        r->status = gguf_get_f32(r->file, full_key(r, suffix), out, r->message);
    return r->status == 1;
}

static bool read_list(key_reader *r, const char *suffix, uint32_t *out, uint32_t n) {
    if (r->status >= 0)
        r->status = gguf_get_u32_list(r->file, full_key(r, suffix), out, n, r->message);
    return r->status == 1;
}

static void need(key_reader *r, bool found, const char *suffix) {
    if (!found && r->status >= 0)
        r->status = message_fail(r->message, TANDEM_E_INVALID, "%s: the metadata key %s is missing",
                                 gguf_path(r->file), full_key(r, suffix));
}

static void refuse(key_reader *r, int status, const char *suffix, const char *why) {
    if (r->status >= 0)
        r->status =
            message_fail(r->message, status, "%s: %s %s", gguf_path(r->file), full_key(r, suffix), why);
}

static void read_architecture(key_reader *r, model_config *c) {
    r->status =
        gguf_get_string(r->file, "general.architecture", r->architecture, sizeof r->architecture, r->message);
    if (r->status == 0)
        r->status = message_fail(r->message, TANDEM_E_INVALID, "%s: general.architecture is missing",
                                 gguf_path(r->file));
    if (r->status < 0)
        return;
    if (strcmp(r->architecture, "gemma3") == 0)
        c->family = MODEL_GEMMA3;
    else if (strcmp(r->architecture, "gemma4") == 0)
        c->family = MODEL_GEMMA4;
    else
        r->status = message_fail(r->message, TANDEM_E_UNSUPPORTED,
                                 "%s: models of architecture '%s' are not supported, only gemma3 and gemma4",
                                 gguf_path(r->file), r->architecture);
    const gguf_value *name = gguf_value_by_key(r->file, "general.name");
    gguf_string text;
    if (name && name->type == GGUF_STRING && gguf_element_string(r->file, name, 0, &text))
        snprintf(c->name, sizeof c->name, "%.*s", text.len > 63 ? 63 : (int)text.len, text.data);
}

static void read_sizes(key_reader *r, model_config *c) {
    need(r, read_u32(r, "block_count", &c->n_layer), "block_count");
    need(r, read_u32(r, "context_length", &c->n_ctx), "context_length");
    need(r, read_u32(r, "embedding_length", &c->d_model), "embedding_length");
    need(r, read_f32(r, "attention.layer_norm_rms_epsilon", &c->norm_eps),
         "attention.layer_norm_rms_epsilon");
    read_u32(r, "attention.sliding_window", &c->window);
    if (c->family == MODEL_GEMMA4) {
        need(r, c->window > 0, "attention.sliding_window");
        read_u32(r, "embedding_length_per_layer_input", &c->d_ple);
        read_u32(r, "attention.shared_kv_layers", &c->n_shared_kv);
        read_u32(r, "expert_count", &c->n_expert);
    }
    if (c->n_expert > 0) {
        need(r, read_u32(r, "expert_used_count", &c->n_used), "expert_used_count");
        need(r, read_u32(r, "expert_feed_forward_length", &c->d_expert), "expert_feed_forward_length");
    }
    if (r->status >= 0 && (c->n_layer == 0 || c->n_layer > MODEL_MAX_LAYERS))
        refuse(r, TANDEM_E_INVALID, "block_count", "is not a number of layers from 1 to 256");
    if (r->status >= 0 && c->n_shared_kv >= c->n_layer)
        refuse(r, TANDEM_E_INVALID, "attention.shared_kv_layers", "leaves no layer with a cache of its own");
    c->softcap =
        c->family == MODEL_GEMMA4 ? 30.0f : 0.0f; /* what llama.cpp assumes; an explicit 0 switches it off */
    read_f32(r, "final_logit_softcapping", &c->softcap);
    c->embed_scale = sqrtf((float)c->d_model);
    c->v_norm = c->family == MODEL_GEMMA4;
}

/* Which layers slide: an array of bools (or integers), or an integer period whose last layer is global. */
static void read_pattern(key_reader *r, model_config *c) {
    static const char KEY[] = "attention.sliding_window_pattern";
    uint32_t sliding[MODEL_MAX_LAYERS], period = DEFAULT_PERIOD;
    const gguf_value *value = r->status >= 0 ? gguf_value_by_key(r->file, full_key(r, KEY)) : NULL;
    bool list = value && value->type == GGUF_ARRAY;
    if (list)
        read_list(r, KEY, sliding, c->n_layer);
    else if (!read_u32(r, KEY, &period))
        need(r, c->family == MODEL_GEMMA3, KEY);
    for (uint32_t l = 0; r->status >= 0 && l < c->n_layer; l++) {
        bool slides = list ? sliding[l] != 0 : period == 0 || (l + 1) % period != 0;
        c->layers[l].window = slides ? c->window : 0;
    }
}

static void read_heads(key_reader *r, model_config *c) {
    uint32_t heads[MODEL_MAX_LAYERS], kv[MODEL_MAX_LAYERS], ff[MODEL_MAX_LAYERS];
    uint32_t dim = 0, v_dim = 0, dim_swa, v_dim_swa;
    need(r, read_list(r, "attention.head_count", heads, c->n_layer), "attention.head_count");
    need(r, read_list(r, "feed_forward_length", ff, c->n_layer), "feed_forward_length");
    if (r->status < 0)
        return;
    if (!read_list(r, "attention.head_count_kv", kv, c->n_layer))
        memcpy(kv, heads, sizeof kv);
    if (!read_u32(r, "attention.key_length", &dim))
        dim = heads[0] ? c->d_model / heads[0] : 0;
    v_dim = dim;
    dim_swa = dim;
    read_u32(r, "attention.value_length", &v_dim);
    if (c->family == MODEL_GEMMA4)
        need(r, read_u32(r, "attention.key_length_swa", &dim_swa), "attention.key_length_swa");
    v_dim_swa = dim_swa;
    if (c->family == MODEL_GEMMA4)
        read_u32(r, "attention.value_length_swa", &v_dim_swa);
    if (v_dim != dim || v_dim_swa != dim_swa)
        refuse(r, TANDEM_E_UNSUPPORTED, "attention.value_length",
               "differs from key_length, which Gemma does not have");
    for (uint32_t l = 0; r->status >= 0 && l < c->n_layer; l++) {
        model_layer *layer = &c->layers[l];
        layer->n_head = heads[l];
        layer->n_kv_head = kv[l];
        layer->head_dim = layer->window ? dim_swa : dim;
        layer->d_ff = ff[l];
        layer->kv_layer = model_kv_layer(c, l);
    }
    c->attention_scale = 1.0f;
    if (c->family == MODEL_GEMMA3)
        c->attention_scale = c->n_layer == GEMMA3_27B_LAYERS && heads[0]
                                 ? 1.0f / sqrtf((float)(c->d_model / heads[0]))
                                 : 1.0f / sqrtf((float)dim);
}

static void read_rope(key_reader *r, model_config *c) {
    float base = DEFAULT_ROPE_BASE, base_swa = DEFAULT_ROPE_BASE, factor = 1;
    uint32_t n_rot;
    char scaling[16] = "none";
    read_f32(r, "rope.freq_base", &base);
    read_f32(r, "rope.freq_base_swa", &base_swa);
    if (r->status >= 0)
        r->status =
            gguf_get_string(r->file, full_key(r, "rope.scaling.type"), scaling, sizeof scaling, r->message);
    if (strcmp(scaling, "linear") == 0)
        read_f32(r, "rope.scaling.factor", &factor);
    else if (strcmp(scaling, "none") != 0)
        refuse(r, TANDEM_E_UNSUPPORTED, "rope.scaling.type", "is neither 'none' nor 'linear'");
    if (!(factor >= 1 && factor <= 1024))
        refuse(r, TANDEM_E_INVALID, "rope.scaling.factor", "is not between 1 and 1024");
    for (uint32_t l = 0; r->status >= 0 && l < c->n_layer; l++) {
        model_layer *layer = &c->layers[l];
        const char *key =
            layer->window && c->family == MODEL_GEMMA4 ? "rope.dimension_count_swa" : "rope.dimension_count";
        layer->rope_base = layer->window ? base_swa : base;
        layer->rope_scale = layer->window ? 1 : 1 / (double)factor; /* sliding layers are never stretched */
        if (read_u32(r, key, &n_rot) && n_rot != layer->head_dim)
            refuse(r, TANDEM_E_UNSUPPORTED, key, "differs from the head size, which Gemma does not have");
    }
}

static bool has_tensor(const gguf_file *file, uint32_t role, uint32_t layer) {
    char name[GGUF_MAX_NAME];
    model_tensor_name(role, layer, name);
    return gguf_tensor_by_name(file, name) != NULL;
}

static void check_vocabulary(key_reader *r, uint32_t rows, uint64_t tokens) {
    if (r->status >= 0 && tokens != rows)
        r->status = message_fail(r->message, TANDEM_E_INVALID,
                                 "%s: token_embd.weight has %u rows, but the vocabulary has %llu tokens",
                                 gguf_path(r->file), rows, (unsigned long long)tokens);
}

static void read_vocabulary(key_reader *r, model_config *c) {
    const gguf_file *file = r->file;
    const gguf_tensor *embedding = gguf_tensor_by_name(file, "token_embd.weight");
    uint32_t n_vocab = 0;
    if (r->status < 0)
        return;
    if (!embedding || embedding->dims[1] > INT32_MAX) {
        r->status = message_fail(r->message, TANDEM_E_INVALID,
                                 "%s: the tensor token_embd.weight is missing or absurd", gguf_path(file));
        return;
    }
    c->n_vocab = (uint32_t)embedding->dims[1];
    const gguf_value *tokens = gguf_value_by_key(file, "tokenizer.ggml.tokens");
    if (read_u32(r, "vocab_size", &n_vocab))
        check_vocabulary(r, c->n_vocab, n_vocab);
    if (tokens)
        check_vocabulary(r, c->n_vocab, tokens->count);
}

/* What only the list of tensors tells. */
static void read_presence(const gguf_file *file, model_config *c) {
    c->has_output = has_tensor(file, MODEL_T_OUTPUT, 0);
    c->split_gate_up = c->n_expert > 0 && !has_tensor(file, MODEL_T_GATE_UP_EXPS, 0);
    for (uint32_t l = 0; l < c->n_layer; l++) {
        model_layer *layer = &c->layers[l];
        bool owner = layer->kv_layer == l;
        layer->k_is_v = c->family == MODEL_GEMMA4 &&
                        (owner ? !has_tensor(file, MODEL_T_ATTN_V, l) : c->layers[layer->kv_layer].k_is_v);
        layer->has_scale = c->family == MODEL_GEMMA4 && has_tensor(file, MODEL_T_LAYER_SCALE, l);
        layer->has_unused_kv = !owner && has_tensor(file, MODEL_T_ATTN_K, l);
        c->has_expert_scale |= c->n_expert > 0 && has_tensor(file, MODEL_T_DOWN_EXPS_SCALE, l);
    }
}

/* rope_freqs.weight: what the frequencies of Gemma 4's global layers are divided by. */
static void read_rope_factors(key_reader *r, model_config *c) {
    const gguf_tensor *tensor = gguf_tensor_by_name(r->file, "rope_freqs.weight");
    uint32_t wanted = 0;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        if (c->layers[l].window == 0)
            wanted = c->layers[l].head_dim / 2;
    }
    if (r->status < 0 || c->family != MODEL_GEMMA4 || wanted == 0)
        return;
    if (!tensor || tensor->type != TANDEM_TYPE_F32 || tensor->dims[0] != wanted ||
        tensor->bytes != wanted * sizeof *c->rope_factor) {
        r->status = message_fail(r->message, TANDEM_E_INVALID,
                                 "%s: the tensor rope_freqs.weight with %u F32 values is "
                                 "missing",
                                 gguf_path(r->file), wanted);
        return;
    }
    c->n_rope_factor = wanted;
    memcpy(c->rope_factor, tensor->data, tensor->bytes);
}

static int check_tensor(const gguf_file *file, const model_tensor *wanted, tandem_message *message) {
    const gguf_tensor *tensor = gguf_tensor_by_name(file, wanted->name);
    if (!tensor && wanted->optional)
        return TANDEM_OK;
    if (!tensor)
        return message_fail(message, TANDEM_E_INVALID, "%s: the tensor %s is missing", gguf_path(file),
                            wanted->name);
    if (memcmp(tensor->dims, wanted->dims, sizeof wanted->dims) != 0)
        return message_fail(
            message, TANDEM_E_INVALID,
            "%s: the tensor %s is [%llu, %llu, %llu], but the metadata ask for [%llu, %llu, %llu]",
            gguf_path(file), wanted->name, (unsigned long long)tensor->dims[0],
            (unsigned long long)tensor->dims[1], (unsigned long long)tensor->dims[2],
            (unsigned long long)wanted->dims[0], (unsigned long long)wanted->dims[1],
            (unsigned long long)wanted->dims[2]);
    if (!tandem_kit_type(tensor->type)) {
        const char *type = gguf_tensor_type_name(tensor->type);
        char number[24];
        snprintf(number, sizeof number, "number %u", tensor->type);
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s: the tensor %s is of type %s, which is not supported", gguf_path(file),
                            wanted->name, type ? type : number);
    }
    return TANDEM_OK;
}

static int check_tensors(const model_config *c, const gguf_file *file, tandem_message *message) {
    model_tensor *list = NULL;
    uint32_t n = 0;
    int status = model_tensor_list(c, NULL, &list, &n, message);
    for (uint32_t i = 0; status == TANDEM_OK && i < n; i++) {
        if (list[i].used)
            status = check_tensor(file, &list[i], message);
    }
    free(list);
    return status;
}

int model_config_read(model_config *config, const gguf_file *file, tandem_message *message) {
    model_config *c = calloc(1, sizeof *c);
    key_reader r = {.file = file, .message = message};
    if (!c)
        return message_out_of_memory(message, "the model's shape", sizeof *c);
    read_architecture(&r, c);
    read_sizes(&r, c);
    read_pattern(&r, c);
    read_heads(&r, c);
    read_rope(&r, c);
    read_vocabulary(&r, c);
    int status = r.status < 0 ? r.status : model_config_check(c, gguf_path(file), message);
    if (status == TANDEM_OK) {
        r.status = 0;
        read_presence(file, c);
        read_rope_factors(&r, c);
        status = r.status < 0 ? r.status : TANDEM_OK;
    }
    for (uint32_t l = 0; status == TANDEM_OK && l < c->n_layer; l++)
        c->layers[l].n_rope_pair = model_rope_pairs(c, &c->layers[l]);
    if (status == TANDEM_OK)
        status =
            model_config_check(c, gguf_path(file), message); /* now with vocabulary and rotation factors */
    if (status == TANDEM_OK)
        status = check_tensors(c, file, message);
    if (status == TANDEM_OK)
        *config = *c;
    free(c);
    return status;
}
