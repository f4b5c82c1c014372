/* host/libtandem.c: the public face of the library over models, tokenizers and sessions. */
#include <tandem/libtandem.h>

#include <stdlib.h>
#include <string.h>

#include <tandem/growth.h>
#include <tandem/message.h>

#include "generate.h"
#include "plugin_call.h"
#include "tokenizer.h"

_Static_assert(sizeof(tandem_model_desc) == 40, "layout of tandem_model_desc");
_Static_assert(sizeof(tandem_model_info) == 200, "layout of tandem_model_info");
_Static_assert(sizeof(tandem_session_desc) == 48, "layout of tandem_session_desc");
_Static_assert(sizeof(tandem_choices) == 32, "layout of tandem_choices");
_Static_assert(sizeof(tandem_generate_desc) == 32, "layout of tandem_generate_desc");
_Static_assert(sizeof(tandem_generate_result) == 48, "layout of tandem_generate_result");
_Static_assert(TANDEM_STOP_COUNT == GENERATE_STOP_COUNT && TANDEM_STOP_END == GENERATE_STOP_END &&
                   TANDEM_STOP_CONTEXT == GENERATE_STOP_CONTEXT && TANDEM_STOP_CALLER == GENERATE_STOP_CALLER,
               "one numbering of the reasons to stop");

/* Everything that the first version has is mandatory. */
#define TAKE(type, local, input, error)                                                                      \
    tandem_kit_take(local, (uint32_t)sizeof(type), (uint32_t)sizeof(type), input, error, #type)
#define GIVE(type, output, local, error)                                                                     \
    tandem_kit_give(output, local, (uint32_t)sizeof(type), (uint32_t)sizeof(type), error, #type)

struct tandem_model {
    model_source *source;
    tokenizer *tok; /* NULL: none */
};

struct tandem_session {
    session *s;
    const tandem_model *model;
};

static tandem_status refuse(tandem_error *error, int status, const tandem_message *message) {
    if (status == PLUGIN_WRONG_RESULT)
        status = TANDEM_E_INTERNAL;
    return tandem_kit_fail(error, status, "%s", message->text);
}

/* ---- models ---- */

tandem_status tandem_model_open(const tandem_model_desc *input, tandem_model **out, tandem_error *error) {
    tandem_model_desc desc;
    tandem_status status = TAKE(tandem_model_desc, &desc, input, error);
    if (status)
        return status;
    if (!out || !desc.model || desc.reserved)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "tandem_model_open needs a model name and a place for the model");
    tandem_model *model = calloc(1, sizeof *model);
    if (!model)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "out of memory for a model");
    model_source_desc source = {.model = desc.model,
                                .quant = desc.quant,
                                .seed = desc.seed,
                                .overrides = {.n_layer = desc.n_layer, .n_vocab = desc.n_vocab}};
    tandem_message message;
    status = model_source_open(&model->source, &source, &message);
    const gguf_file *file = status ? NULL : model_source_gguf(model->source);
    /* A file may have no vocabulary that is known here; its ids still work. */
    if (file && tokenizer_create(&model->tok, file, &message) == TANDEM_E_OUT_OF_MEMORY)
        status = TANDEM_E_OUT_OF_MEMORY;
    if (status) {
        tandem_model_close(model);
        return refuse(error, status, &message);
    }
    *out = model;
    return TANDEM_OK;
}

void tandem_model_close(tandem_model *model) {
    if (!model)
        return;
    tokenizer_destroy(model->tok);
    model_source_close(model->source);
    free(model);
}

tandem_status tandem_model_describe(const tandem_model *model, tandem_model_info *info, tandem_error *error) {
    const model_config *c = model_source_config(model->source);
    tandem_model_info local = {.n_layer = c->n_layer,
                               .d_model = c->d_model,
                               .n_vocab = c->n_vocab,
                               .n_ctx = c->n_ctx,
                               .has_tokenizer = model->tok != NULL,
                               .bos = model->tok ? tokenizer_bos(model->tok) : TANDEM_NONE,
                               .weight_bytes = model_source_bytes(model->source)};
    strncpy(local.name, model_source_label(model->source), sizeof local.name - 1);
    return GIVE(tandem_model_info, info, &local, error);
}

static tandem_status need_tokenizer(const tandem_model *model, tandem_error *error) {
    return model->tok ? TANDEM_OK
                      : tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "%s has no vocabulary, only token ids",
                                        model_source_label(model->source));
}

tandem_status tandem_model_tokenise(const tandem_model *model, const char *text, uint64_t n_byte,
                                    uint32_t flags, uint32_t *ids, uint32_t room, uint32_t *n,
                                    tandem_error *error) {
    tandem_status status = need_tokenizer(model, error);
    if (status)
        return status;
    if (flags & ~(TANDEM_TOKENISE_BOS | TANDEM_TOKENISE_SPECIAL))
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "unknown flags %#x", flags);
    token_list list = {0};
    tandem_message message;
    uint32_t how = (flags & TANDEM_TOKENISE_BOS ? TOKENIZE_BOS : 0) |
                   (flags & TANDEM_TOKENISE_SPECIAL ? TOKENIZE_SPECIAL : 0);
    status = tokenizer_encode(model->tok, text, n_byte, how, &list, &message);
    if (status) {
        token_list_free(&list);
        return refuse(error, status, &message);
    }
    *n = (uint32_t)list.n;
    if (list.n > room)
        status =
            tandem_kit_fail(error, TANDEM_E_INVALID, "%zu tokens do not fit an array of %u", list.n, room);
    else if (list.n)
        memcpy(ids, list.ids, list.n * sizeof *ids);
    token_list_free(&list);
    return status;
}

tandem_status tandem_model_detokenise(const tandem_model *model, const uint32_t *ids, uint32_t n, char *text,
                                      uint64_t room, uint64_t *n_byte, tandem_error *error) {
    tandem_status status = need_tokenizer(model, error);
    if (status)
        return status;
    char *piece = malloc(tokenizer_max_decode_bytes(model->tok));
    if (!piece)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "out of memory for text");
    token_stream stream = {0};
    uint64_t used = 0;
    for (uint32_t i = 0; i <= n; i++) {
        size_t bytes = i < n ? tokenizer_decode(model->tok, &stream, ids[i], 0, piece)
                             : tokenizer_decode_end(&stream, piece);
        if (used + bytes <= room && bytes)
            memcpy(text + used, piece, bytes);
        used += bytes;
    }
    free(piece);
    *n_byte = used;
    return used <= room ? TANDEM_OK
                        : tandem_kit_fail(error, TANDEM_E_INVALID, "%llu bytes do not fit an array of %llu",
                                          (unsigned long long)used, (unsigned long long)room);
}

/* ---- sessions ---- */

static tandem_status check_session_desc(const tandem_session_desc *d, tandem_error *error) {
    if (!d->backend)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "a session needs a backend");
    if (!d->n_ctx)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "a session needs n_ctx of at least 1");
    if (d->kv_type != TANDEM_TYPE_F32 && d->kv_type != TANDEM_TYPE_F16 && d->kv_type != TANDEM_TYPE_Q8_0)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "kv_type %u is none of F32, F16 and Q8_0",
                               d->kv_type);
    if (d->precision > TANDEM_PRECISION_Q8)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "precision %u is none of exact, f16 and q8",
                               d->precision);
    return TANDEM_OK;
}

tandem_status tandem_session_create(const tandem_model *model, const tandem_session_desc *input,
                                    tandem_session **out, tandem_error *error) {
    tandem_session_desc d;
    tandem_status status = TAKE(tandem_session_desc, &d, input, error);
    if (!status)
        status = check_session_desc(&d, error);
    if (status)
        return status;
    tandem_session *created = calloc(1, sizeof *created);
    if (!created)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "out of memory for a session");
    session_desc desc = {.backend = d.backend,
                         .source = model->source,
                         .device = d.device,
                         .n_ctx = d.n_ctx,
                         .batch = d.batch ? d.batch : 256,
                         .kv_type = d.kv_type,
                         .precision = d.precision,
                         .n_threads = d.n_threads,
                         .memory_cap = d.memory_cap,
                         .n_score = d.n_score};
    tandem_message message;
    status = session_create(&created->s, &desc, &message);
    if (status) {
        free(created);
        return refuse(error, status, &message);
    }
    created->model = model;
    *out = created;
    return TANDEM_OK;
}

void tandem_session_destroy(tandem_session *t) {
    if (!t)
        return;
    session_destroy(t->s);
    free(t);
}

uint32_t tandem_session_length(const tandem_session *t) {
    return session_length(t->s);
}

tandem_status tandem_session_truncate(tandem_session *t, uint32_t length, tandem_error *error) {
    tandem_message message;
    int status = session_truncate(t->s, length, &message);
    return status ? refuse(error, status, &message) : TANDEM_OK;
}

tandem_status tandem_session_memory(tandem_session *t, tandem_memory_info *info, tandem_error *error) {
    tandem_memory_info local;
    tandem_message message;
    int status = session_memory(t->s, &local, &message);
    return status ? refuse(error, status, &message)
                  : TANDEM_KIT_GIVE(tandem_memory_info, info, &local, error);
}

static tandem_choices choices_of(const topk_row *row) {
    return (tandem_choices){.struct_size = sizeof(tandem_choices),
                            .n = row->n,
                            .id = row->id,
                            .logit = row->logit,
                            .logsumexp = row->logsumexp,
                            .target = row->target};
}

tandem_status tandem_session_feed(tandem_session *t, const uint32_t *tokens, uint32_t n,
                                  tandem_choices *choices, tandem_error *error) {
    topk_row row;
    tandem_message message;
    int status = session_feed(t->s, tokens, n, choices && n ? &row : NULL, NULL, &message);
    if (status)
        return refuse(error, status, &message);
    if (!choices)
        return TANDEM_OK;
    tandem_choices local = {0};
    if (n)
        local = choices_of(&row);
    return GIVE(tandem_choices, choices, &local, error);
}

typedef struct score_adapter {
    tandem_score_row callback;
    void *user;
    tandem_message *message;
} score_adapter;

static int score_adapted(void *user, uint32_t index, const topk_row *row, const float *logits) {
    score_adapter *a = user;
    tandem_choices choices = choices_of(row);
    if (a->callback(a->user, index, &choices, logits))
        return message_fail(a->message, TANDEM_E_INVALID, "stopped by the caller at row %u", index);
    return TANDEM_OK;
}

tandem_status tandem_session_score(tandem_session *t, const uint32_t *tokens, const uint32_t *targets,
                                   uint32_t n, uint32_t want_logits, tandem_score_row callback, void *user,
                                   tandem_error *error) {
    tandem_message message;
    score_adapter adapter = {callback, user, &message};
    int status = session_score(t->s, tokens, targets, n, want_logits != 0, score_adapted, &adapter, &message);
    return status ? refuse(error, status, &message) : TANDEM_OK;
}

tandem_status tandem_session_generate(tandem_session *t, const uint32_t *prompt, uint32_t n_prompt,
                                      const tandem_generate_desc *input, tandem_token callback, void *user,
                                      tandem_generate_result *result, tandem_error *error) {
    tandem_generate_desc d;
    tandem_status status = TAKE(tandem_generate_desc, &d, input, error);
    if (status)
        return status;
    generate_options options = {.n = d.n, .tokenizer = d.ignore_end ? NULL : t->model->tok};
    sampler_init(&options.sampler, d.temperature, d.top_k, d.top_p > 0 ? d.top_p : 1, d.seed);
    generate_stats stats;
    tandem_message message;
    status = session_generate(t->s, prompt, n_prompt, &options, callback, user, &stats, &message);
    if (status)
        return refuse(error, status, &message);
    if (!result)
        return TANDEM_OK;
    tandem_generate_result local = {.n_made = stats.n_made,
                                    .stop = stats.stop,
                                    .prompt_wall_ns = stats.prompt.wall_ns,
                                    .prompt_device_ns = stats.prompt.device_ns,
                                    .decode_wall_ns = stats.decode.wall_ns,
                                    .decode_device_ns = stats.decode.device_ns};
    return GIVE(tandem_generate_result, result, &local, error);
}
