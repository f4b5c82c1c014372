/* host/inspect.h: figures of a model: bytes by format, bytes a token, memory by context. */
#ifndef TANDEM_HOST_INSPECT_H
#define TANDEM_HOST_INSPECT_H

#include "plan.h"

#define INSPECT_MAX_TYPES 64u

typedef struct type_sum {
    uint32_t type;
    uint32_t n_tensor;
    uint64_t n_element;
    uint64_t bytes;
} type_sum;

typedef struct model_figures {
    uint32_t n_type;
    type_sum types[INSPECT_MAX_TYPES]; /* in order of appearance */
    uint32_t n_tensor;
    uint64_t n_element;
    uint64_t bytes; /* of the tensors that the model uses */
    uint64_t
        bytes_per_token; /* weights that one decoded token must read: tables one row, experts those used */
} model_figures;

int model_figures_read(const model_source *source, model_figures *figures, tandem_message *message);

/* Calls back for every tensor that the model uses, in the order of roles and layers. */
typedef void (*each_tensor)(void *user, const source_tensor *tensor, uint32_t role);
int model_each_tensor(const model_source *source, each_tensor callback, void *user, tandem_message *message);

/* Memory of a context, also of models that this build cannot run. */
uint64_t model_memory(const model_source *source, const plan_request *request);

#endif
