/* tandem/libtandem.h: run Gemma models through a plugin, from C.
 *
 *     tandem_plugin_open("vulkan", NULL, &plugin, &error);                                  (loader.h)
 *     tandem_model_open(&model_desc, &model, &error);
 *     tandem_session_create(model, &session_desc, &session, &error);
 *     tandem_session_generate(session, ids, n_id, &generate_desc, on_token, user, &result, &error);
 *
 * Structs grow as tandem/base.h says. Every fallible function takes an optional tandem_error last, and leaves
 * its results untouched when it fails. Nothing here prints, exits or keeps hidden state.
 *
 * Threads: a model may be used from any thread; a session belongs to one caller at a time.
 */
#ifndef TANDEM_LIBTANDEM_H
#define TANDEM_LIBTANDEM_H

#include <tandem/tandem.h>

#include "loader.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- models ---- */

typedef struct tandem_model tandem_model;

typedef struct tandem_model_desc {
    uint32_t struct_size;
    uint32_t n_layer;  /* presets: fewer layers than the preset has; 0: all */
    const char *model; /* path of a GGUF file, or a preset ("gemma3-270m"): seeded synthetic weights */
    const char *quant; /* presets: "Q4_0", "Q4_K_M", ...; NULL: Q4_0 */
    uint64_t seed;     /* presets */
    uint32_t n_vocab;  /* presets: smaller vocabulary; 0: the preset's */
    uint32_t reserved;
} tandem_model_desc;

typedef struct tandem_model_info {
    uint32_t struct_size;
    uint32_t n_layer;
    uint32_t d_model;
    uint32_t n_vocab;
    uint32_t n_ctx;         /* trained context length */
    uint32_t has_tokenizer; /* 1: text goes in and out */
    uint32_t bos;           /* begin-of-sequence token, or TANDEM_NONE */
    uint32_t reserved;
    uint64_t weight_bytes;
    char name[160];
} tandem_model_info;

/* NO_DEVICE never; INVALID or UNSUPPORTED, with a sentence, for files that are no model this library
 * reads. */
TANDEM_EXPORT tandem_status tandem_model_open(const tandem_model_desc *desc, tandem_model **model,
                                              tandem_error *error);
/* Takes NULL. The model's sessions must have been destroyed before. */
TANDEM_EXPORT void tandem_model_close(tandem_model *model);
TANDEM_EXPORT tandem_status tandem_model_describe(const tandem_model *model, tandem_model_info *info,
                                                  tandem_error *error);

#define TANDEM_TOKENISE_BOS 1u     /* begin with the begin-of-sequence token if the vocabulary wants one */
#define TANDEM_TOKENISE_SPECIAL 2u /* control tokens written out in the text become those tokens */

/* Ids of text[n_byte] into ids[room]; *n is how many there are, also where there are more than `room` (then
 * INVALID). UNSUPPORTED for a model without a tokenizer. */
TANDEM_EXPORT tandem_status tandem_model_tokenise(const tandem_model *model, const char *text,
                                                  uint64_t n_byte, uint32_t flags, uint32_t *ids,
                                                  uint32_t room, uint32_t *n, tandem_error *error);
/* Bytes of text that the tokens [n] stand for, into text[room]; *n_byte as above. Not terminated; control
 * tokens are silent. */
TANDEM_EXPORT tandem_status tandem_model_detokenise(const tandem_model *model, const uint32_t *ids,
                                                    uint32_t n, char *text, uint64_t room, uint64_t *n_byte,
                                                    tandem_error *error);

/* ---- sessions ---- */

typedef struct tandem_session tandem_session;

typedef struct tandem_session_desc {
    uint32_t struct_size;
    uint32_t device;               /* of the plugin */
    const tandem_backend *backend; /* tandem_plugin_backend; outlives the session */
    uint32_t n_ctx;                /* positions of the cache; >= 1 */
    uint32_t batch;                /* prompt tokens in one run; 0: 256 */
    uint32_t kv_type;              /* TANDEM_TYPE_F32, F16 or Q8_0 */
    uint32_t precision;            /* TANDEM_PRECISION_* */
    uint32_t n_threads;            /* CPU plugins; 0: all cores */
    uint32_t n_score;    /* rows that tandem_session_score looks at together, 1..32; 0: it is not used */
    uint64_t memory_cap; /* bytes; 0: what the device has free */
} tandem_session_desc;

/* Plans memory (OUT_OF_MEMORY says what does not fit), streams the weights to the device, compiles. */
TANDEM_EXPORT tandem_status tandem_session_create(const tandem_model *model, const tandem_session_desc *desc,
                                                  tandem_session **session, tandem_error *error);
/* Takes NULL. */
TANDEM_EXPORT void tandem_session_destroy(tandem_session *session);

/* Positions in the cache. */
TANDEM_EXPORT uint32_t tandem_session_length(const tandem_session *session);
/* Forgets positions >= length: any length down to a batch below the greatest so far, or 0. */
TANDEM_EXPORT tandem_status tandem_session_truncate(tandem_session *session, uint32_t length,
                                                    tandem_error *error);
TANDEM_EXPORT tandem_status tandem_session_memory(tandem_session *session, tandem_memory_info *info,
                                                  tandem_error *error);

/* The likeliest next tokens after one position. Arrays live until the next call on the session. */
typedef struct tandem_choices {
    uint32_t struct_size;
    uint32_t n;         /* at most 64 */
    const uint32_t *id; /* [n] likeliest first */
    const float *logit; /* [n] */
    float logsumexp;    /* over the whole vocabulary */
    float target;       /* logit of the position's target; 0 without one */
} tandem_choices;

/* Appends tokens [n]. choices: what follows the last one; NULL: not wanted, the head is not run. INVALID
 * where the cache has no room. */
TANDEM_EXPORT tandem_status tandem_session_feed(tandem_session *session, const uint32_t *tokens, uint32_t n,
                                                tandem_choices *choices, tandem_error *error);

/* Called for each token in order. logits: [n_vocab], or NULL where they were not asked for. A return other
 * than 0 stops with INVALID. */
typedef int (*tandem_score_row)(void *user, uint32_t index, const tandem_choices *choices,
                                const float *logits);

/* Appends tokens [n] and shows what follows each. targets: [n] ids or TANDEM_NONE, or NULL. */
TANDEM_EXPORT tandem_status tandem_session_score(tandem_session *session, const uint32_t *tokens,
                                                 const uint32_t *targets, uint32_t n, uint32_t want_logits,
                                                 tandem_score_row callback, void *user, tandem_error *error);

typedef struct tandem_generate_desc {
    uint32_t struct_size;
    uint32_t n;          /* most tokens to make */
    float temperature;   /* 0: greedy */
    uint32_t top_k;      /* likeliest tokens to sample from; 0: the whole vocabulary */
    float top_p;         /* their probability mass; 0 counts as 1 */
    uint32_t ignore_end; /* 1: go on after an end token */
    uint64_t seed;
} tandem_generate_desc;

#define TANDEM_STOP_COUNT 0u   /* n tokens made */
#define TANDEM_STOP_END 1u     /* the model ended its turn */
#define TANDEM_STOP_CONTEXT 2u /* the cache is full */
#define TANDEM_STOP_CALLER 3u  /* the callback asked for it */

typedef struct tandem_generate_result {
    uint32_t struct_size;
    uint32_t n_made;
    uint32_t stop; /* TANDEM_STOP_* */
    uint32_t reserved;
    uint64_t prompt_wall_ns, prompt_device_ns;
    uint64_t decode_wall_ns, decode_device_ns;
} tandem_generate_result;

/* Called for each token made, the end token not among them. A return other than 0 stops. */
typedef int (*tandem_token)(void *user, uint32_t id);

/* Feeds prompt [n_prompt], n_prompt >= 1, and makes tokens. Afterwards the cache holds the prompt and all
 * tokens made but the last. result may be NULL. */
TANDEM_EXPORT tandem_status tandem_session_generate(tandem_session *session, const uint32_t *prompt,
                                                    uint32_t n_prompt, const tandem_generate_desc *desc,
                                                    tandem_token callback, void *user,
                                                    tandem_generate_result *result, tandem_error *error);

#ifdef __cplusplus
}
#endif
#endif
