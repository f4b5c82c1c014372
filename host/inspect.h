/* host/inspect.h: figures of a model: parameters and bytes by part and format, bytes a token, cache by
 * context.
 *
 * Everything here is arithmetic over the list of tensors; nothing is loaded. What follows from it about speed
 * or memory is a prediction.
 */
#ifndef TANDEM_HOST_INSPECT_H
#define TANDEM_HOST_INSPECT_H

#include "plan.h"

/* Parts of a model. */
enum {
    PART_EMBEDDING, /* token embedding; also the head where the model ties them */
    PART_HEAD,      /* a head of its own */
    PART_PLE_TABLE,
    PART_PLE_PROJECTION,
    PART_PLE_LAYERS, /* gate and projection of every layer */
    PART_ATTENTION,
    PART_UNUSED_KV, /* K and V matrices of layers that read another's cache */
    PART_FEED_FORWARD,
    PART_ROUTER,
    PART_EXPERTS,
    PART_NORMS, /* and scalars */
    N_PART,
};

const char *part_name(uint32_t part);

typedef struct part_sum {
    uint64_t n_element;
    uint64_t bytes;
    uint64_t bytes_per_token; /* that one decoded token must read: tables a row, of experts those used */
} part_sum;

#define INSPECT_MAX_TYPES 64u

typedef struct type_sum {
    uint32_t type;
    uint32_t n_tensor;
    uint64_t n_element;
    uint64_t bytes;
} type_sum;

typedef struct model_figures {
    part_sum parts[N_PART];
    part_sum total;
    uint32_t n_type;
    type_sum types[INSPECT_MAX_TYPES]; /* in order of appearance */
    uint32_t n_tensor;
    uint64_t head_bytes; /* read for one token by the product that makes logits */
} model_figures;

int model_figures_read(const model_source *source, model_figures *figures, tandem_message *message);

/* Of a model in the shape `config` with formats by `mix`, K and V of sharing layers included, as the files
 * made from the original checkpoints have them. */
int model_figures_published(const model_config *config, const model_mix *mix, model_figures *figures,
                            tandem_message *message);

/* Parameters that take part in one token: of the experts those used. */
uint64_t model_active(const model_config *config, const model_figures *figures);

/* Calls back for every tensor that the model has a role for, by roles and layers (TANDEM_NONE: of none). */
typedef void (*each_tensor)(void *user, const source_tensor *tensor, uint32_t role, uint32_t layer);
int model_each_tensor(const model_source *source, each_tensor callback, void *user, tandem_message *message);

/* Bytes of K and V of `n_ctx` positions. Without CACHE_SHARED every layer counts, also those that read
 * another's; without CACHE_WINDOWED sliding layers keep everything, not only their window. A session's cache
 * has both, and the rows of a chunk beside the window: plan_kv_bytes. CACHE_WINDOWED alone is what one token
 * at that depth reads. */
#define CACHE_SHARED 1u
#define CACHE_WINDOWED 2u
uint64_t model_cache_bytes(const model_config *config, uint32_t n_ctx, uint32_t kv_type, uint32_t flags);

/* Tokens per second that `bytes_per_second` allows at a depth of n_ctx tokens: an upper bound. */
double model_bound(const model_config *config, const model_figures *figures, uint32_t n_ctx, uint32_t kv_type,
                   double bytes_per_second);

/* A prompt of n_tok tokens in one run behind `depth` others, without the head, and without the encoder that
 * an image went through: multiply-adds times two (2 * weights * tokens + 4 * heads * size * visible
 * positions), bytes that must be read at least, and the time that both need at least. */
double model_prefill_flops(const model_config *config, const model_figures *figures, uint32_t n_tok,
                           uint32_t depth);
double model_prefill_bytes(const model_config *config, const model_figures *figures, uint32_t n_tok,
                           uint32_t depth, uint32_t kv_type);
double model_prefill_seconds(const model_config *config, const model_figures *figures, uint32_t n_tok,
                             uint32_t depth, uint32_t kv_type, double bytes_per_second,
                             double flops_per_second);

#endif
