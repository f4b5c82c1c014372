/* host/weights.h: a model's weights as objects of a plugin.
 *
 * Matrices that are multiplied with the same input share one object (q, k, v; gate and up). The experts of a
 * layer are the records of one object. The embedding table is one object, which is also the head where the
 * model ties them. Norm vectors lie in one buffer.
 */
#ifndef TANDEM_HOST_WEIGHTS_H
#define TANDEM_HOST_WEIGHTS_H

#include <tandem/tandem.h>

#include "model_source.h"

/* Norm vectors of a layer, as places in model_weights.vectors. */
enum {
    VECTOR_ATTN_NORM,
    VECTOR_Q_NORM,
    VECTOR_K_NORM,
    VECTOR_POST_ATTENTION,
    VECTOR_FFN_NORM,
    VECTOR_POST_FFW,
    VECTOR_PLE_POST,
    VECTOR_ROUTER_SCALE,
    VECTOR_EXPERT_SCALE,
    VECTOR_PRE_FFW_2,
    VECTOR_POST_FFW_1,
    VECTOR_POST_FFW_2,
    N_LAYER_VECTOR,
};

#define NO_VECTOR UINT64_MAX

typedef struct layer_weights {
    tandem_weights *qkv; /* q; q and k; or q, k and v */
    tandem_weights *output;
    tandem_weights *gate_up;
    tandem_weights *down;
    tandem_weights *router;   /* layers with experts, else NULL */
    tandem_weights *experts;  /* n_expert records: gate_up or gate and up, down */
    tandem_weights *ple_gate; /* per-layer embedding: d_model to d_ple, and back; or NULL */
    tandem_weights *ple_out;
    uint64_t vector[N_LAYER_VECTOR]; /* byte offsets, or NO_VECTOR */
    float scale;                     /* of the whole residual at the layer's end */
} layer_weights;

typedef struct model_weights {
    const tandem_backend *backend;
    tandem_weights *embed;
    tandem_weights *head;      /* == embed where tied */
    tandem_weights *ple_embed; /* per-layer embedding table, in host memory: one row a token; or NULL */
    tandem_weights *ple_project;
    tandem_buffer *vectors;
    uint64_t output_norm; /* byte offset in vectors */
    uint64_t ple_norm;
    uint64_t vector_bytes;
    uint32_t n_layer;
    layer_weights *layers;
} model_weights;

/* GGUF bytes of all objects, and of the vectors: what a plugin that pads nothing would allocate. */
typedef struct weight_bytes {
    uint64_t device;
    uint64_t host; /* per-layer embedding table; experts that are placed there */
} weight_bytes;

/* Called while tensors stream to the device. */
typedef void (*load_progress)(void *user, uint64_t bytes_done, uint64_t bytes_total);

/* UNSUPPORTED, with a sentence, for models that the op set of this build cannot express. */
int model_weights_check(const model_config *config, tandem_message *message);

/* expert_placement: TANDEM_PLACE_*. */
int model_weights_bytes(const model_source *source, uint32_t expert_placement, weight_bytes *bytes,
                        tandem_message *message);

typedef struct load_desc {
    const tandem_backend *backend;
    tandem_context *context;
    const model_source *source;
    uint32_t expert_placement; /* TANDEM_PLACE_* */
    load_progress progress;    /* may be NULL */
    void *user;
} load_desc;

/* Creates and fills everything. Transient memory: one chunk of rows (16 MiB). On failure nothing is left. */
int model_weights_load(model_weights *weights, const load_desc *desc, tandem_message *message);

/* Accepts a zeroed or half-built struct. */
void model_weights_free(model_weights *weights);

#endif
