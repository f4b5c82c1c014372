/* A synthetic model as a GGUF file that other engines load: the metadata of a real file, but no vocabulary.
 */
#include "gguf_write.h"
#include "synth_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

#define CHUNK_BYTES (4u << 20)

typedef struct key_writer {
    gguf_writer *w;
    const char *architecture;
    char key[96];
} key_writer;

static const char *full_key(key_writer *k, const char *suffix) {
    snprintf(k->key, sizeof k->key, "%s.%s", k->architecture, suffix);
    return k->key;
}

static void put_u32(key_writer *k, const char *suffix, uint32_t value) {
    gguf_write_u32(k->w, full_key(k, suffix), value);
}

static void put_f32(key_writer *k, const char *suffix, float value) {
    gguf_write_f32(k->w, full_key(k, suffix), value);
}

/* One number if all layers agree, else an array, as real files have it. */
static void put_per_layer(key_writer *k, const char *suffix, const uint32_t *values, uint32_t n) {
    bool equal = true;
    for (uint32_t i = 1; i < n; i++)
        equal = equal && values[i] == values[0];
    if (equal)
        put_u32(k, suffix, values[0]);
    else
        gguf_write_array(k->w, full_key(k, suffix), GGUF_I32, values, n);
}

static void put_general(key_writer *k, const synth *s) {
    char name[96], description[96];
    int n = snprintf(name, sizeof name, "%s synthetic", s->config.name);
    gguf_write_string(k->w, "general.architecture", k->architecture, strlen(k->architecture));
    gguf_write_string(k->w, "general.name", name, (size_t)n);
    n = snprintf(description, sizeof description, "random weights, %s, seed %llu", s->mix.name,
                 (unsigned long long)s->seed);
    gguf_write_string(k->w, "general.description", description, (size_t)n);
    gguf_write_u32(k->w, "general.file_type", s->mix.file_type);
    gguf_write_u32(k->w, "general.quantization_version", 2);
    gguf_write_string(k->w, "tokenizer.ggml.model", "none", 4);
}

/* The last layer of each kind stands for all of them. */
static void put_attention(key_writer *k, const model_config *c) {
    const model_layer *sliding = NULL, *global = NULL;
    uint8_t slides[MODEL_MAX_LAYERS];
    /* note: every model has a layer, which a compiler cannot see. */
    uint32_t kv[MODEL_MAX_LAYERS] = {0}, ff[MODEL_MAX_LAYERS] = {0};
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        slides[l] = layer->window > 0;
        kv[l] = layer->n_kv_head;
        ff[l] = layer->d_ff;
        if (slides[l])
            sliding = layer;
        else
            global = layer;
    }
    bool gemma4 = c->family == MODEL_GEMMA4;
    /* A model cut down to a few layers may have none of one kind; the sizes of that kind are then unused. */
    const model_layer *any = global ? global : sliding;
    uint32_t global_dim = global ? global->head_dim : gemma4 ? 2 * c->n_rope_factor : any->head_dim;
    put_per_layer(k, "feed_forward_length", ff, c->n_layer);
    put_u32(k, "attention.head_count", any->n_head);
    put_per_layer(k, "attention.head_count_kv", kv, c->n_layer);
    put_u32(k, "attention.key_length", global_dim);
    put_u32(k, "attention.value_length", global_dim);
    put_f32(k, "attention.layer_norm_rms_epsilon", c->norm_eps);
    put_u32(k, "attention.sliding_window", c->window);
    gguf_write_array(k->w, full_key(k, "attention.sliding_window_pattern"), GGUF_BOOL, slides, c->n_layer);
    put_f32(k, "rope.freq_base", global ? (float)global->rope_base : 1e6f);
    put_f32(k, "rope.freq_base_swa", sliding ? (float)sliding->rope_base : 1e4f);
    if (gemma4) {
        uint32_t dim = sliding ? sliding->head_dim : global_dim;
        put_u32(k, "attention.key_length_swa", dim);
        put_u32(k, "attention.value_length_swa", dim);
        put_u32(k, "attention.shared_kv_layers", c->n_shared_kv);
        put_u32(k, "rope.dimension_count", global_dim);
        put_u32(k, "rope.dimension_count_swa", dim);
    }
}

static void put_metadata(gguf_writer *w, const synth *s) {
    const model_config *c = &s->config;
    key_writer k = {.w = w, .architecture = c->family == MODEL_GEMMA4 ? "gemma4" : "gemma3"};
    put_general(&k, s);
    put_u32(&k, "vocab_size", c->n_vocab);
    put_u32(&k, "context_length", c->n_ctx);
    put_u32(&k, "embedding_length", c->d_model);
    put_u32(&k, "block_count", c->n_layer);
    put_attention(&k, c);
    if (c->family == MODEL_GEMMA4) {
        put_u32(&k, "embedding_length_per_layer_input", c->d_ple);
        put_f32(&k, "final_logit_softcapping", c->softcap);
    }
    if (c->n_expert) {
        put_u32(&k, "expert_count", c->n_expert);
        put_u32(&k, "expert_used_count", c->n_used);
        put_u32(&k, "expert_feed_forward_length", c->d_expert);
    }
}

static uint64_t row_count(const model_tensor *t) {
    return t->dims[1] * t->dims[2] * t->dims[3];
}

static int put_tensors(gguf_writer *w, const synth *s, synth_progress progress, void *user,
                       tandem_message *message) {
    uint64_t done = 0, total = 0, most = CHUNK_BYTES;
    int status = TANDEM_OK;
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        const model_tensor *t = &s->tensors[i];
        uint64_t row_bytes = tandem_kit_row_bytes(t->type, t->dims[0]);
        status = gguf_write_declare(w, t->name, t->type, t->n_dims, t->dims);
        total += row_bytes * row_count(t);
        if (row_bytes > most)
            most = row_bytes;
    }
    uint8_t *chunk = status == TANDEM_OK ? malloc(most) : NULL;
    if (status == TANDEM_OK && !chunk)
        return message_out_of_memory(message, "synthetic rows", most);
    for (uint32_t i = 0; status == TANDEM_OK && i < s->n_tensors; i++) {
        const model_tensor *t = &s->tensors[i];
        uint64_t row_bytes = tandem_kit_row_bytes(t->type, t->dims[0]), n_row = row_count(t);
        for (uint64_t first = 0; status == TANDEM_OK && first < n_row;) {
            uint64_t n = most / row_bytes < n_row - first ? most / row_bytes : n_row - first;
            synth_fill(s, t, first, n, chunk);
            status = gguf_write_data(w, chunk, n * row_bytes);
            first += n;
            done += n * row_bytes;
            if (status == TANDEM_OK && progress)
                status = progress(user, done, total);
        }
    }
    free(chunk);
    return status;
}

int synth_write(const synth *s, const char *path, synth_progress progress, void *user,
                tandem_message *message) {
    gguf_writer *w = NULL;
    int status = gguf_write_begin(&w, path, NULL, message);
    if (status != TANDEM_OK)
        return status;
    put_metadata(w, s);
    status = put_tensors(w, s, progress, user, message);
    /* A failed writer tells its own sentence when it ends; a stop by the caller or a lack of memory is told
     * already. */
    if (status != TANDEM_OK && gguf_write_status(w) == TANDEM_OK) {
        gguf_write_abort(w);
        return status;
    }
    return gguf_write_end(w, message);
}
